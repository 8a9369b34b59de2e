"""The error of rendered depth is measured right: against points whose depth is known."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trajkit import se3
from trajkit.depth_error import Judges, depth_error
from trajkit.errors import TrajkitError
from trajkit.renderers import toy
from trajkit.scene import Frame, Scene
from trajkit.scenes import open_scenes
from trajkit.scenes.toy import world
from trajkit.sparse import Sparse
from trajkit.trajectory import Trajectory


class Biased:
    """A renderer whose depth is wrong by a factor, and absent in the left half."""

    def __init__(self, scene: Scene, factor: float) -> None:
        self.inner, self.factor = toy.Renderer(scene, toy.Options(samples=1)), factor

    def frames(self, trajectory: Trajectory) -> Iterator[Frame]:
        for frame in self.inner.frames(trajectory):
            assert frame.depth is not None
            depth = frame.depth * np.float32(self.factor)
            depth[:, : trajectory.width // 2] = 0
            yield replace(frame, depth=depth)


@pytest.fixture(scope="module")
def room() -> Scene:
    scene = next(open_scenes("toy:"))
    assert isinstance(scene, Scene)
    return scene


@pytest.fixture(scope="module")
def judges(room: Scene) -> Judges:
    """Pixel centres of captured views at 480x270, as points: every 40th of every fifth view."""
    assert room.seen is not None
    points, tracks = [], []
    views = room.seen.resized(480, 270)
    for view in range(0, len(views), 5):
        depth = world(room).depth(views.camera_to_world[view], views.camera(view))
        rows, columns = (grid.ravel() for grid in np.mgrid[7:270:40, 7:480:40])
        rays = views.camera(view).rays(np.stack([columns, rows], axis=-1) + 0.5)
        here = se3.transform(views.camera_to_world[view], rays * depth[rows, columns, None])
        tracks += [(len(np.concatenate(points)) if points else 0) + k for k in range(len(here))]
        points.append(here)
    every = np.concatenate(points)
    views_of = np.repeat(np.arange(0, len(views), 5), len(points[0]))
    return Judges(every, np.stack([tracks, views_of], axis=-1))


def test_exact_depth_has_no_error_and_a_bias_is_found(room: Scene, judges: Judges) -> None:
    assert room.seen is not None
    exact = depth_error(toy.Renderer(room, toy.Options(samples=1)), room.seen, judges)
    assert exact.median < 1e-5
    assert exact.missing == 0
    biased = depth_error(Biased(room, 1.07), room.seen, judges)
    assert biased.median == pytest.approx(0.07, abs=1e-4)
    assert biased.missing == pytest.approx(0.5, abs=0.05)


def test_points_are_kept_with_the_captures_own_view_numbers(judges: Judges, tmp_path: Path) -> None:
    sparse = Sparse(np.arange(12.0).reshape(4, 3), np.zeros((4, 3), np.uint8), np.array([[0, 0], [1, 2], [3, 1]]))
    kept = Judges.of(sparse, np.array([False, True, False, True]), np.array([1, 2, 4]))
    assert kept.points.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert kept.tracks.tolist() == [[0, 4], [1, 2]]
    kept.write(tmp_path / "a.npz")
    again = Judges.read(tmp_path / "a.npz")
    assert np.array_equal(again.points, kept.points)
    assert np.array_equal(again.tracks, kept.tracks)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(TrajkitError, match="damaged"):
        Judges.read(tmp_path / "a.npz")


def test_nothing_to_compare_is_not_a_number(room: Scene, judges: Judges) -> None:
    assert room.seen is not None
    none = Judges(np.empty((0, 3)), np.empty((0, 2), np.int64))
    assert np.isnan(depth_error(toy.Renderer(room, toy.Options()), room.seen, none).median)
    gone = depth_error(Biased(room, 0.0), room.seen, judges)
    assert np.isnan(gone.median)
    assert gone.missing == 1
