"""The gsplat engine on a GPU: what it fits looks like photos it never saw."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from splatting import blobs, relief, splat_scene, walk

from trajkit import fidelity, seeding
from trajkit.engines import Task, gsplat
from trajkit.fit import View
from trajkit.gaussians import Gaussians
from trajkit.renderers import splats

pytestmark = pytest.mark.gpu
QUICK = {"iterations": 900, "gaussians": 8000}
GAINS = (0.8, 1.25, 1.0)  # of the photos' brightness, in turn


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Twenty photos, 240x180, of a wavy wall and of points on it."""
    truth, path = relief(), walk(20, 240, 180)
    frames = splats.Renderer(splat_scene(truth, tmp_path_factory.mktemp("relief")), splats.Options()).frames(path)
    poses = path.world_to_camera
    views = [View(frame.rgb, path.camera(index), poses[index]) for index, frame in enumerate(frames)]
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(truth), 1500, replace=False)
    points = truth.means[chosen] + rng.normal(0, 0.01, (1500, 3))
    return Task(
        scene=splat_scene(truth, tmp_path_factory.mktemp("scene")),
        fitted=[view for index, view in enumerate(views) if index % 8],
        held=views[::8],
        points=points,
        colours=np.full((1500, 3), 128, np.uint8),
        near=0.01,
        rng=seeding.generator(0, "test"),
    )


def held_out_db(task: Task, **chosen: Any) -> tuple[float, Gaussians]:
    fresh = task._replace(rng=seeding.generator(0, "test"))
    fitted = gsplat.fit(fresh, gsplat.Options(**(QUICK | chosen)))
    return float(np.mean([fidelity.psnr_db(fitted, view, task.near) for view in task.held])), fitted


@pytest.mark.parametrize("chosen", [{}, {"strategy": "mcmc"}, {"sh_degree": 0, "ssim": 0.0}])
def test_held_out_photos_are_explained(task: Task, chosen: dict[str, Any]) -> None:
    psnr_db, fitted = held_out_db(task, **chosen)
    assert psnr_db > 22
    assert 1000 < len(fitted) <= QUICK["gaussians"]


def test_exposures_take_up_what_the_cameras_did(task: Task) -> None:
    """Photos brightened and darkened in turn: with exposures, the scene between them is found sharper."""

    def exposed(index: int, view: View) -> View:
        gain = GAINS[index % len(GAINS)]
        return view._replace(photo=np.rint(view.photo * 0.75 * gain).clip(0, 255).astype(np.uint8))

    plain = [view._replace(photo=np.rint(view.photo * 0.75).astype(np.uint8)) for view in task.held]
    changed = task._replace(fitted=[exposed(*item) for item in enumerate(task.fitted)], held=plain)
    without, _ = held_out_db(changed)
    having, _ = held_out_db(changed, exposure=True)
    assert having > without + 0.3


def test_ssim_on_the_gpu_is_that_of_the_quality_record() -> None:
    import torch

    from trajkit.engines._photometric import ssim

    rng = np.random.default_rng(0)
    one = rng.uniform(0.4, 0.6, (200, 300, 3)).astype(np.float32)  # low contrast: where a rounded kernel would show
    other = one + rng.normal(0, 0.02, one.shape).astype(np.float32)
    found = ssim(torch.as_tensor(one, device="cuda"), torch.as_tensor(other, device="cuda")).item()
    assert found == pytest.approx(fidelity.ssim(one, other), abs=2e-4)


def test_the_callers_random_numbers_are_left_alone(task: Task) -> None:
    import torch

    torch.manual_seed(5)
    wanted = torch.rand(3, device="cuda")
    torch.manual_seed(5)
    gsplat.fit(task, gsplat.Options(iterations=60, gaussians=2000, strategy="mcmc"))
    assert torch.equal(torch.rand(3, device="cuda"), wanted)


def test_frames_are_the_callers_to_keep(tmp_path: Path) -> None:
    """A frame still holds its own picture after later batches have come through the same memory."""
    from trajkit.renderers import gsplat as renderer

    scene, path = splat_scene(blobs(5000), tmp_path), walk(11, 160, 96)
    kept = list(renderer.Renderer(scene, renderer.Options(batch=2)).frames(path))
    for index in (0, 5, 10):
        alone = next(renderer.Renderer(scene, renderer.Options(batch=1)).frames(path[index : index + 1]))
        for field in dataclasses.fields(alone):
            one, other = getattr(kept[index], field.name), getattr(alone, field.name)
            np.testing.assert_allclose(
                one.astype(float), other.astype(float), atol=1 if one.dtype == np.uint8 else 1e-3
            )
