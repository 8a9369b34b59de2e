"""The GPU renderer (gsplat's CUDA kernels) and the CPU one on the same Gaussians.

Set TRAJKIT_AGREEMENT to a folder to keep the figures (agreement.json) and pictures, and TRAJKIT_SPLAT to a PLY to
compare on it too.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from splatting import blobs, relief, splat_scene, walk

from trajkit.gaussians import Gaussians, read_ply
from trajkit.rasterize import activate, rasterize
from trajkit.renderers import gsplat, splats
from trajkit.se3 import Similarity
from trajkit.trajectory import Trajectory

pytestmark = pytest.mark.gpu
MEAN_RGB = 1e-5  # of 0..1
OFF, SHARE_OFF = 1e-3, 1e-4  # few pixels may differ by more: where one kernel counts a faint Gaussian, or stops earlier
WORST_RGB = 0.15  # stopping one Gaussian earlier loses up to a tenth of the light
MEAN_DEPTH = 1e-4  # relative, where both have depth
CASES = {
    "blobs, degree 0": (lambda: blobs(20_000, sh_degree=0), (832, 480)),
    "blobs, degree 1": (lambda: blobs(5_000, sh_degree=1), (333, 217)),
    "blobs, degree 2": (lambda: blobs(50_000, sh_degree=2), (256, 144)),
    "blobs, degree 3": (lambda: blobs(200_000, sh_degree=3), (832, 480)),
    "relief": (relief, (832, 480)),
    "far from the origin": (lambda: blobs(20_000, sh_degree=1), (320, 192)),
}


def keep(name: str, figures: dict, pictures: list[np.ndarray]) -> None:
    """Adds figures to the report and a side-by-side picture, when TRAJKIT_AGREEMENT asks for them."""
    folder = os.environ.get("TRAJKIT_AGREEMENT")
    if not folder:
        return
    report = Path(folder) / "agreement.json"
    known = json.loads(report.read_text()) if report.exists() else {}
    report.write_text(json.dumps(known | {name: figures}, indent=2) + "\n")
    if pictures:
        side_by_side = (np.concatenate(pictures, axis=1).clip(0, 1) * 255).astype(np.uint8)
        Image.fromarray(side_by_side).save(Path(folder) / f"{name.split(',')[0].replace(' ', '-')}.png")


def compare(name: str, gaussians: Gaussians, trajectory: Trajectory, folder: Path) -> dict:
    """Differences of colour (0..1), coverage and depth (relative) over all frames, before rounding to 8 bits."""
    scene = splat_scene(gaussians, folder)
    renderer = gsplat.Renderer(scene, gsplat.Options(batch=3))
    pictures, alphas = (tensor.cpu().numpy() for tensor in renderer.pixels(trajectory))
    rgb, alpha, depth = [], [], []
    for index, pose in enumerate(trajectory.world_to_camera):
        mine = rasterize(activate(gaussians), trajectory.camera(index), pose)
        rgb.append(np.abs(pictures[index, ..., :3] - mine.rgb))
        alpha.append(np.abs(alphas[index] - mine.alpha))
        both = (mine.alpha > 0.5) & (alphas[index] > 0.5)
        depth.append(np.abs(pictures[index, ..., 3] * mine.alpha - mine.depth)[both] / mine.depth[both])
    figures = {
        "gaussians": len(gaussians),
        "size": [trajectory.width, trajectory.height],
        "rgb_mean": float(np.mean(rgb)),
        "rgb_max": float(np.max(rgb)),
        "rgb_share_off": float(np.mean(np.max(rgb, axis=-1) > OFF)),
        "alpha_mean": float(np.mean(alpha)),
        "alpha_max": float(np.max(alpha)),
        "depth_relative_mean": float(np.mean(np.concatenate(depth))),
        "depth_relative_max": float(np.max(np.concatenate(depth))),
    }
    keep(name, figures, [mine.rgb, pictures[-1, ..., :3], 100 * rgb[-1]])
    return figures


def check(figures: dict) -> None:
    assert figures["rgb_mean"] < MEAN_RGB
    assert figures["rgb_share_off"] < SHARE_OFF
    assert figures["rgb_max"] < WORST_RGB
    assert figures["depth_relative_mean"] < MEAN_DEPTH


@pytest.mark.parametrize("name", CASES)
def test_gpu_and_cpu_draw_the_same(name: str, tmp_path: Path) -> None:
    make, (width, height) = CASES[name]
    gaussians, trajectory = make(), walk(4, width, height)
    if name.startswith("far"):
        away = Similarity(1.0, np.eye(3), np.array([512.0, -256.0, 1024.0]))
        gaussians, trajectory = gaussians.moved(away), trajectory.moved(away)
    figures = compare(name, gaussians, trajectory, tmp_path)
    check(figures)


def test_frames_agree_to_a_level_of_eight_bits(tmp_path: Path) -> None:
    scene, trajectory = splat_scene(blobs(20_000, sh_degree=3), tmp_path), walk(9, 320, 192)
    ours = list(splats.Renderer(scene, splats.Options()).frames(trajectory))
    theirs = list(gsplat.Renderer(scene, gsplat.Options(batch=4)).frames(trajectory))
    assert len(theirs) == 9
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.rgb.dtype, mine.depth.dtype, mine.alpha.dtype) == (
            other.rgb.dtype,
            other.depth.dtype,
            other.alpha.dtype,
        )
        assert np.abs(mine.rgb.astype(int) - other.rgb).max() <= 2
        assert np.mean(mine.rgb != other.rgb) < 1e-3
        assert np.mean((mine.depth > 0) != (other.depth > 0)) < 1e-3


def test_a_given_splat_is_drawn_the_same_and_how_fast(tmp_path: Path) -> None:
    given = os.environ.get("TRAJKIT_SPLAT")
    if not given:
        pytest.skip("needs TRAJKIT_SPLAT, a PLY")
    gaussians = read_ply(Path(given))
    middle = np.median(gaussians.means.astype(np.float64), axis=0)
    scale = 1.5 / float(np.median(np.linalg.norm(gaussians.means - middle, axis=1)))
    moved = gaussians.moved(Similarity(scale, np.eye(3), -scale * middle))
    figures = compare("given splat", moved, walk(4, 832, 480), tmp_path)
    check(figures)
    speeds = {}
    for batch in (1, 8, 32):
        renderer = gsplat.Renderer(splat_scene(moved, tmp_path), gsplat.Options(batch=batch))
        list(renderer.frames(walk(32, 832, 480)))  # warms up
        begun = time.perf_counter()
        count = sum(1 for _ in renderer.frames(walk(64, 832, 480)))
        speeds[f"frames_per_s_batch_{batch}"] = round(count / (time.perf_counter() - begun), 1)
    keep("speed of frames() at 832x480", {"gaussians": len(moved)} | speeds, [])
