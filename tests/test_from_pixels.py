"""A rendered clip judged from its pixels alone: COLMAP finds the cameras that the clip says it was made with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trajkit import se3
from trajkit.clip import Clip
from trajkit.render import render
from trajkit.render_scene import RenderOptions
from trajkit.scenes import list_scenes
from trajkit.sfm import posed
from trajkit.video import read

pytest.importorskip("pycolmap")
EVERY = 4  # frames


def errors_from_pixels(clip: Clip, folder: Path) -> tuple[float, float, int]:
    """Median rotation error (degrees), median centre error (share of the path's length), and frames that fit together.

    pycolmap gets the pictures and nothing else: no focal length, no poses. One similarity (Sim(3)) aligns its world
    with the clip's: its rotation is the mean (chordal) of what takes each estimated orientation to the commanded one,
    scale and translation fit the centres. An arc's centres alone would leave the turn about its chord open.
    """
    assert clip.video is not None
    (folder / "photos").mkdir(parents=True)
    chosen = list(range(0, clip.frames, EVERY))
    for number, picture in zip(chosen, read(clip.video, chosen), strict=True):
        Image.fromarray(picture).save(folder / "photos" / f"{number:04d}.png", compress_level=1)
    (scene,) = list_scenes([f"photos:{folder / 'photos'};lens=SIMPLE_PINHOLE"])
    found = posed(scene, folder).seen  # type: ignore[arg-type, union-attr]
    assert found is not None
    truth = clip.trajectory[np.array([int(Path(name).stem) for name in found.names])]
    ours, theirs = truth.camera_to_world[:, :3, :3], found.camera_to_world[:, :3, :3]
    turn = se3.nearest_rotation((ours @ np.swapaxes(theirs, 1, 2)).mean(axis=0))
    wanted, got = truth.centres - truth.centres.mean(axis=0), (found.centres - found.centres.mean(axis=0)) @ turn.T
    scale = (wanted * got).sum() / (got**2).sum()
    rotation = se3.angle_deg(np.swapaxes(turn @ theirs, 1, 2) @ ours)
    centre = np.linalg.norm(scale * got - wanted, axis=1) / truth.path_length
    return float(np.median(rotation)), float(np.median(centre)), len(found)


def rendered(spec: str, path: str, out: Path, width: int, height: int) -> Clip:
    options = RenderOptions(
        paths=(path,), frames=49, width=width, height=height, fov_deg=(55.0, 55.0), renderer="auto", seed=1
    )
    (clip,) = render(list_scenes([spec]), options, out)
    assert isinstance(clip, Clip), clip
    return clip


@pytest.mark.slow
def test_of_a_toy_room(tmp_path: Path) -> None:
    clip = rendered("toy:", "orbit:turns=0.1", tmp_path / "clips", 832, 480)
    rotation_deg, centre, count = errors_from_pixels(clip, tmp_path)
    assert count == 13
    print(f"rotation {rotation_deg:.4f} deg, centre {centre:.5f} of the path")
    assert rotation_deg < 0.2
    assert centre < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("path", ["orbit:turns=0.1", "spline"])
def test_of_the_fox(shared: Path, tmp_path: Path, path: str) -> None:
    clip = rendered(f"dl3dv:{shared / 'data' / 'fox'}", path, tmp_path / "clips", 480, 832)
    rotation_deg, centre, count = errors_from_pixels(clip, tmp_path)
    assert count == 13
    print(f"rotation {rotation_deg:.4f} deg, centre {centre:.5f} of the path")
    assert rotation_deg < 0.2
    assert centre < 0.01
