"""What of the gsplat engine can be tested without a GPU: its loss, exposures, growth, options and refusal.

gsplat's kernels need CUDA: where a whole fit is tested here, a few lines of torch draw in their place.
"""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import fidelity, options, plugins, seeding
from trajkit.camera import Camera
from trajkit.engines import Task
from trajkit.errors import TrajkitError
from trajkit.fit import View
from trajkit.gaussians import Gaussians

torch = pytest.importorskip("torch")
pytest.importorskip("gsplat")
from trajkit.engines import gsplat as engine  # noqa: E402
from trajkit.engines._photometric import Exposure, photometric_loss, ssim  # noqa: E402

SIDE = 24  # pixels


def picture(seed: int, height: int = 20, width: int = 31) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (height, width, 3))


def task(photos: int = 6) -> Task:
    """Six photos, each of one grey, of a cloud of points before six cameras in a row."""
    rng = np.random.default_rng(1)
    camera = Camera(width=SIDE, height=SIDE, fx=20.0, fy=20.0, cx=12.0, cy=12.0)
    views = []
    for index in range(photos):
        pose = np.eye(4)
        pose[:3, 3] = index - 2.5, 0, 6
        views.append(View(np.full((SIDE, SIDE, 3), 40 * index, np.uint8), camera, pose))
    points, colours = rng.normal(0, 1, (300, 3)), rng.integers(0, 256, (300, 3)).astype(np.uint8)
    return Task(None, views, [], points, colours, 0.01, seeding.generator(0, "test"))  # type: ignore[arg-type]


def drawn(means: Any, quats: Any, scales: Any, opacities: Any, colors: Any, viewmats: Any, **named: Any) -> tuple:
    """Stands in for gsplat.rasterization: everything the Gaussians hold pulls at one flat picture."""
    at = means @ viewmats[0, :3, :3].T + viewmats[0, :3, 3]
    means2d = (at[:, :2] / at[:, 2:])[None]
    level = (1 - means2d[0].square().sum(-1)).mean() + scales.mean() + 0 * (quats.sum() + opacities.sum())
    flat = level + 0.5 + 0.28 * colors.sum(dim=1).mean(dim=0)
    radii = torch.ones(1, len(means), 2, dtype=torch.int32)
    pictures = flat.expand(1, named["height"], named["width"], 3)
    return pictures, None, {"means2d": means2d, "radii": radii, "width": named["width"], "height": named["height"]}


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine with its kernels replaced and its tensors on the CPU."""
    monkeypatch.setattr(engine, "DEVICE", "cpu")
    monkeypatch.setattr("gsplat.rasterization", drawn)
    monkeypatch.setattr("trajkit.cuda.require", lambda where, remedy: None)
    fork = torch.random.fork_rng
    monkeypatch.setattr("torch.random.fork_rng", lambda devices: fork(devices=[]))


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.integers(0, 1000), st.integers(11, 40), st.integers(11, 40), st.floats(0, 1))
def test_ssim_is_that_of_the_quality_record(seed: int, height: int, width: int, noise: float) -> None:
    one = picture(seed, height, width)
    other = (1 - noise) * one + noise * picture(seed + 1, height, width)
    mine = ssim(torch.from_numpy(one), torch.from_numpy(other)).item()
    assert mine == pytest.approx(fidelity.ssim(one, other), abs=1e-9)


def test_single_precision_ssim_stays_close() -> None:
    one, other = picture(0, 60, 80), np.clip(picture(0, 60, 80) + 0.1 * picture(1, 60, 80), 0, 1)
    mine = ssim(torch.from_numpy(one).float(), torch.from_numpy(other).float()).item()
    assert mine == pytest.approx(fidelity.ssim(one, other), abs=1e-5)


def test_the_losss_gradient_is_its_slope() -> None:
    photo = torch.from_numpy(picture(0, 12, 13))
    guess = torch.from_numpy(picture(1, 12, 13)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: photometric_loss(x, photo, 0.2), (guess,), eps=1e-7, atol=1e-6)
    assert photometric_loss(photo, photo, 0.2).item() == pytest.approx(0, abs=1e-12)
    plain = photometric_loss(guess, photo, 0).item()
    assert plain == pytest.approx(np.abs(picture(1, 12, 13) - picture(0, 12, 13)).mean())


def test_exposures_begin_as_none_and_average_to_none() -> None:
    exposure, seen = Exposure(4, "cpu"), torch.from_numpy(picture(2)).float()
    assert torch.equal(exposure(seen, 1), seen)
    assert exposure.pull(1).item() == 0
    for step in range(50):
        index = step % 4
        loss = (exposure(seen, index) - seen * (0.8 + 0.1 * index)).abs().mean() + exposure.pull(index)
        loss.backward()
        exposure.step(step / 50)
    assert exposure.change.mean(dim=0).abs().max().item() < 1e-6
    brightness = [exposure(seen, index).mean().item() for index in range(4)]
    assert brightness == sorted(brightness)
    assert brightness[0] < seen.mean().item() < brightness[3]


def test_an_exposure_is_an_affine_change_of_colour() -> None:
    exposure, seen = Exposure(2, "cpu"), torch.from_numpy(picture(3)).float()
    change = np.random.default_rng(0).normal(0, 0.1, (3, 4)).astype(np.float32)
    with torch.no_grad():
        exposure.change[1] = torch.from_numpy(change)
    wanted = seen.numpy() @ (np.eye(3) + change[:, :3]).T + change[:, 3]
    np.testing.assert_allclose(exposure(seen, 1).detach().numpy(), wanted, atol=1e-6)
    assert exposure.pull(1).item() == pytest.approx(0.1 * float((change**2).sum()), rel=1e-5)


@pytest.mark.parametrize("spec", ["", "exposure=true", "sh_degree=0", "sh_degree=1,ssim=0"])
def test_a_fit_grows_to_its_budget_and_no_further(spec: str, on_cpu: None) -> None:
    chosen = options.parse(engine.Options, spec, where="test", **{})
    chosen = engine.Options(**(options.as_dict(chosen) | {"iterations": 250, "gaussians": 500}))
    counted: list[int] = []
    fitted = engine.fit(task(), chosen, lambda steps, total, unit: (counted.append(step) or step for step in steps))
    assert counted == list(range(250))
    assert isinstance(fitted, Gaussians)
    assert 300 < len(fitted) <= 500
    assert fitted.sh.shape[1] == (chosen.sh_degree + 1) ** 2


def test_the_same_task_grows_the_same(on_cpu: None) -> None:
    chosen = engine.Options(iterations=250, gaussians=400)
    one, other = engine.fit(task(), chosen), engine.fit(task(), chosen)
    for name in ("means", "log_scales", "quaternions_wxyz", "logit_opacities", "sh"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def growth(count: int, **chosen: Any) -> engine._Growth:
    """Growth of `count` opaque Gaussians of size 0.05 (to be split), all in a row."""
    splats = {
        "means": torch.linspace(0, 1, count)[:, None].repeat(1, 3),
        "scales": torch.full((count, 3), float(np.log(0.05))),
        "quats": torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        "opacities": torch.full((count,), 2.0),
        "sh0": torch.zeros(count, 1, 3),
    }
    splats = {name: torch.nn.Parameter(value) for name, value in splats.items()}
    optimizers = {name: torch.optim.Adam([value]) for name, value in splats.items()}
    return engine._Growth(splats, optimizers, engine.Options(**chosen))


def noted(grown: engine._Growth, step: int, pull: torch.Tensor) -> None:
    """Tells the growth of one picture of 2x2 pixels, where each Gaussian was pulled at so hard."""
    means2d = torch.zeros(1, len(pull), 2, requires_grad=True)
    (means2d[0, :, 0] * pull).sum().backward()
    radii = torch.ones(1, len(pull), 2, dtype=torch.int32)
    grown(step, {"means2d": means2d, "radii": radii, "width": 2, "height": 2}, 0.0)


def test_those_pulled_at_hardest_grow_first() -> None:
    grown = growth(10, gaussians=12)
    pull = torch.full((10,), 0.001)
    pull[[3, 7]] = 0.1
    noted(grown, 600, pull)
    sizes = grown.splats["scales"].exp()[:, 0]
    assert len(sizes) == 12
    assert int((sizes < 0.04).sum()) == 4  # two halves each
    assert len(grown.sums["pull"]) == 12


def test_small_ones_are_cloned_and_quiet_ones_stay() -> None:
    grown = growth(10, gaussians=1000)
    with torch.no_grad():
        grown.splats["scales"][:4] = float(np.log(0.001))
    pull = torch.zeros(10)
    pull[:5] = 0.1
    noted(grown, 600, pull)
    sizes = grown.splats["scales"].exp()[:, 0]
    assert (len(sizes), int((sizes < 0.01).sum())) == (15, 8)


def test_faint_ones_are_dropped_and_wide_ones_after_the_first_reset() -> None:
    grown = growth(10, gaussians=1000)
    with torch.no_grad():
        grown.splats["opacities"][:3] = -10
        grown.splats["scales"][9] = 1.0
    noted(grown, 600, torch.zeros(10))
    assert len(grown.splats["means"]) == 7
    noted(grown, 3100, torch.zeros(7))
    assert len(grown.splats["means"]) == 6


def test_opacities_are_reset() -> None:
    grown = growth(10, gaussians=1000)
    noted(grown, 3000, torch.zeros(10))
    assert torch.allclose(grown.splats["opacities"].sigmoid(), torch.tensor(0.01), atol=1e-6)
    with torch.no_grad():
        grown.splats["opacities"][:] = 2.0
    noted(grown, 6000, torch.zeros(10))  # growth has ended: the last steps refine what there is
    assert torch.all(grown.splats["opacities"] == 2.0)


def test_without_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trajkit.cuda.usable", lambda: False)
    with pytest.raises(TrajkitError, match=r"engine gsplat: finds no CUDA device.*--engine cpu"):
        engine.fit(task(), engine.Options())


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        ({"_C": None}, "has no kernels and finds no nvcc"),
        ({}, r"do not compile \(cannot import name '_C'"),
    ],
)
def test_kernels_that_cannot_be_had_are_one_line(
    backend: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("gsplat.cuda._backend")
    vars(module).update(backend)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", module)
    monkeypatch.setattr("trajkit.cuda.usable", lambda: True)
    with pytest.raises(TrajkitError, match=rf"engine gsplat: gsplat.*{problem}.*CUDA toolkit"):
        engine.fit(task(), engine.Options())


def test_a_full_gpu_is_one_line(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. More")

    monkeypatch.setattr("gsplat.rasterization", full)
    with pytest.raises(TrajkitError, match=r"memory is full \(CUDA out of memory\); lower gaussians or longest"):
        engine.fit(task(), engine.Options())


def test_photos_smaller_than_the_window_of_ssim_are_refused(on_cpu: None) -> None:
    narrow = task()
    narrow.fitted[0] = narrow.fitted[0]._replace(photo=np.zeros((24, 10, 3), np.uint8))
    with pytest.raises(TrajkitError, match=r"10 px narrow.*ssim=0"):
        engine.fit(narrow, engine.Options(iterations=1))
    assert len(engine.fit(narrow, engine.Options(iterations=1, ssim=0.0))) == 300


def test_it_is_a_plugin_with_options_of_its_own() -> None:
    assert plugins.load("engines", "gsplat") is engine
    chosen = options.parse(engine.Options, "strategy=mcmc,longest=960,exposure=yes", where="test")
    assert (chosen.strategy, chosen.longest, chosen.exposure, chosen.sh_degree) == ("mcmc", 960, True, 3)
    with pytest.raises(TrajkitError, match="use one of default, mcmc"):
        options.parse(engine.Options, "strategy=other", where="test")


def test_torch_is_not_imported_by_looking() -> None:
    code = "import sys, trajkit.engines.gsplat; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
