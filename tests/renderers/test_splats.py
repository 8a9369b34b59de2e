"""The CPU renderer of splats, and what the GPU one says without a GPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from splatting import blobs, splat_scene, walk

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians
from trajkit.renderers.splats import Options, Renderer

LOGIT_OPAQUE = 12.0


def wall(depth: float) -> Gaussians:
    """An opaque wall across the view of `walk(1, ...)`, whose camera stands 3 from the origin and looks along z."""
    grid = np.stack(np.meshgrid(np.arange(-4, 4, 0.05), np.arange(-3, 3, 0.05)), axis=-1).reshape(-1, 2)
    n = len(grid)
    return Gaussians(
        means=np.column_stack([grid, np.full(n, depth - 3)]),
        log_scales=np.tile(np.log([0.05, 0.05, 1e-4]), (n, 1)),
        quaternions_wxyz=np.tile([1, 0, 0, 0], (n, 1)),
        logit_opacities=np.full(n, LOGIT_OPAQUE),
        sh=np.zeros((n, 1, 3)),
    )


@pytest.mark.parametrize("depth", ["expected", "median"])
def test_frames_have_the_right_shapes_and_depth_where_alpha_is(tmp_path: Path, depth: str) -> None:
    renderer = Renderer(splat_scene(blobs(500), tmp_path), Options(depth=depth))
    frames = list(renderer.frames(walk(3, 96, 64)))
    assert len(frames) == 3
    for frame in frames:
        assert frame.rgb.shape == (64, 96, 3)
        assert frame.rgb.dtype == np.uint8
        assert frame.depth.shape == frame.alpha.shape == (64, 96)
        assert frame.depth.dtype == frame.alpha.dtype == np.float32
        assert 0 <= frame.alpha.min() < 0.5 < frame.alpha.max() <= 1
        assert (frame.depth[frame.alpha < 0.5] == 0).all()
        inside = frame.depth[frame.alpha > 0.5]
        assert 0.2 < inside.min() < inside.max() < 6
    assert np.abs(frames[0].rgb.astype(int) - frames[2].rgb).mean() > 1


@pytest.mark.parametrize("depth", ["expected", "median"])
def test_depth_of_a_wall_is_its_distance(tmp_path: Path, depth: str) -> None:
    trajectory = walk(3, 80, 60)[1:2]  # the middle of the arc
    frame = next(Renderer(splat_scene(wall(2.75), tmp_path), Options(depth=depth)).frames(trajectory))
    assert frame.alpha.min() > 0.95
    np.testing.assert_allclose(frame.depth, 2.75, atol=1e-3)
    assert np.abs(frame.rgb.astype(int) - 125).max() <= 3  # no harmonics: mid grey


def test_median_depth_ignores_haze_that_moves_the_mean(tmp_path: Path) -> None:
    haze = replace(wall(1.0), logit_opacities=np.full(len(wall(1.0)), -4.0))
    both = {name: np.concatenate([getattr(haze, name), getattr(wall(2.75), name)]) for name in Gaussians.__slots__}
    scene, trajectory = splat_scene(Gaussians(**both), tmp_path), walk(3, 80, 60)[1:2]
    median = next(Renderer(scene, Options(depth="median")).frames(trajectory)).depth
    expected = next(Renderer(scene, Options(depth="expected")).frames(trajectory)).depth
    np.testing.assert_allclose(median, 2.75, atol=1e-3)
    assert expected.max() < 2.72


def test_threads_change_nothing(tmp_path: Path) -> None:
    scene = splat_scene(blobs(300), tmp_path)
    alone = Renderer(scene, Options()).frames(walk(7, 64, 48))
    shared = Renderer(scene, Options(threads=3)).frames(walk(7, 64, 48))
    for first, second in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(first.rgb, second.rgb)
        np.testing.assert_array_equal(first.depth, second.depth)


def test_frames_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    frames = Renderer(splat_scene(blobs(50), tmp_path), Options()).frames(walk(10_000, 64, 48))
    assert next(frames).rgb.shape == (48, 64, 3)


def test_a_distorted_lens_and_a_scene_without_splats_are_refused(tmp_path: Path) -> None:
    scene = splat_scene(blobs(50), tmp_path)
    bent = replace(walk(2, 64, 48), distortion=(0.1, 0, 0, 0))
    with pytest.raises(TrajkitError, match="pinhole"):
        next(Renderer(scene, Options()).frames(bent))
    with pytest.raises(TrajkitError, match="has no splats"):
        Renderer(replace(scene, assets={}), Options())
    (tmp_path / "blobs.ply").write_bytes((tmp_path / "blobs.ply").read_bytes()[:-1])
    with pytest.raises(TrajkitError, match=r"blobs\.ply: truncated"):
        Renderer(scene, Options())


def test_gsplat_without_a_gpu_names_the_cpu_renderer(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    module = plugins.load("renderers", "gsplat")
    with pytest.raises(TrajkitError, match="--renderer splats"):
        module.Renderer(splat_scene(blobs(10), tmp_path), module.Options())
