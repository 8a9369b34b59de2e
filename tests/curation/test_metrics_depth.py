"""The depth metric on a ball seen from inside, whose depth and colours are known."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tracked

from trajkit import se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance, write_clip
from trajkit.curation.evidence import Evidence
from trajkit.curation.metrics import depth
from trajkit.members import DepthKind
from trajkit.scene import Frame
from trajkit.trajectory import Trajectory

RADIUS = 4.0
FRAMES = 21
CAMERA = Camera.from_fov(96, 64, 55.0)


def path() -> Trajectory:
    """A walk near the middle of the ball."""
    return Trajectory.from_camera(tracked.walk(FRAMES, step=0.08).camera_to_world, CAMERA, fps=16.0)


def pictures(trajectory: Trajectory, holes: float = 0.0) -> Iterator[Frame]:
    """z-depth of the ball's inside, and colours that belong to its points; `holes` is a share without depth."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width] + 0.5
    rays = CAMERA.rays(np.stack([columns, rows], axis=-1))
    for pose in trajectory.camera_to_world:
        way, centre = rays @ pose[:3, :3].T, pose[:3, 3]
        size, along = (way**2).sum(-1), way @ centre
        z = (-along + np.sqrt(along**2 - size * (centre @ centre - RADIUS**2))) / size
        point = centre + way * z[..., None]
        rgb = (127 + 100 * np.sin(point * 4)).astype(np.uint8)
        yield Frame(rgb=rgb, depth=np.where(rng.random(z.shape) < holes, 0, z).astype(np.float32))


def made(folder: Path, kind: DepthKind = "z", holes: float = 0.0) -> Clip:
    """The clip, written and as it lies in the folder."""
    provenance = Provenance(kind="estimated", source="test:ball", generator="test")
    clip = Clip(key="ball", trajectory=path(), fps=16.0, provenance=provenance, licence="CC0-1.0")
    return write_clip(folder, clip, pictures(path(), holes), depth=kind)


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return made(tmp_path_factory.mktemp("ball"))


def test_exact_depth_and_poses_agree_in_geometry_and_colour(ball: Clip) -> None:
    score = depth.score(Evidence(ball))
    assert score.value is not None
    assert score.value < 0.01
    assert score.values["violates"] < 0.02
    assert score.values["scale"] == pytest.approx(1, rel=0.14)
    assert score.values["colour"] < 0.6
    assert len(score.per_frame) == FRAMES


@pytest.mark.parametrize(("kind", "holes"), [("inverse", 0.0), ("z", 0.4)])
def test_inverse_depth_and_holes_are_read(tmp_path: Path, kind: DepthKind, holes: float) -> None:
    score = depth.score(Evidence(made(tmp_path, kind, holes)))
    assert score.value is not None
    assert score.value < 0.02


def test_translations_of_another_size_are_seen_and_measured(ball: Clip) -> None:
    small = replace(ball, trajectory=ball.trajectory.scaled(0.4))
    score, exact = depth.score(Evidence(small)), depth.score(Evidence(ball))
    assert score.value is not None
    assert exact.value is not None
    assert score.value > 5 * exact.value
    assert score.values["scale"] == pytest.approx(2.5, rel=0.15)
    assert score.values["scale_gain"] > 3
    assert depth.score(Evidence(replace(ball, trajectory=ball.trajectory.scaled(3)))).values["violates"] > 0.2


def test_wrong_poses_are_seen_and_a_mask_leaves_their_pixels_out(ball: Clip) -> None:
    poses = ball.trajectory.camera_to_world.copy()
    poses[:, :3, 3] *= (1, 1, -1)
    wrong = replace(ball, trajectory=replace(ball.trajectory, camera_to_world=poses))
    score = depth.score(Evidence(wrong))
    assert score.value is not None
    assert score.value > 0.05
    hidden = np.ones((FRAMES, 8, 12), bool)
    assert depth.score(Evidence(ball, mask=hidden)).value is None
    hidden[:, :, :6] = False
    assert (depth.score(Evidence(ball, mask=hidden)).value or 1) < 0.01


def test_turning_in_place_shows_turns_alone(ball: Clip) -> None:
    poses = se3.pose(ball.trajectory.camera_to_world[:, :3, :3], np.zeros((FRAMES, 3)))
    assert (depth.score(Evidence(ball)).value or 1) < 0.01
    still = replace(ball, trajectory=replace(ball.trajectory, camera_to_world=poses))
    assert (depth.score(Evidence(still)).value or 0) > 0.05


def test_damaged_depth_is_told_not_raised(ball: Clip) -> None:
    score = depth.score(Evidence(replace(ball, depth=b"nothing")))
    assert score.value is None
    assert score.why
