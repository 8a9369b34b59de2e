"""Fits Gaussians on an NVIDIA GPU, by gsplat's kernels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from trajkit import cuda
from trajkit.engines import EngineOptions, Task
from trajkit.errors import TrajkitError
from trajkit.fit import FAINT, LARGE, View, Watch, initial, scene_size
from trajkit.gaussians import Gaussians
from trajkit.options import option
from trajkit.rasterize import BLUR, TILE

if TYPE_CHECKING:
    from torch import Tensor

REQUIRES = ("torch", "gsplat")
EXTRA = "render"
DEVICE = "cuda"
# Adam's learning rates, those of Kerbl et al. 2023; that of the means is in units of the scene's size
RATES = {"means": 1.6e-4, "scales": 5e-3, "quats": 1e-3, "opacities": 5e-2, "sh0": 2.5e-3, "shN": 1.25e-4}
DECAY = 0.01  # of the means' rate, over all steps
EPSILON = 1e-15  # Adam's
DEGREE_EVERY = 1000  # steps after which one more degree of harmonics takes part, or a seventh of all steps
GROW_EVERY = 100  # steps
GROW_FROM, GROW_UNTIL = 500, 0.75  # first step (or a fourteenth of them all), and share of the steps
RESET_EVERY = 3000  # steps after which all opacities fall to RESET_TO, so that haze has to earn its place again
RESET_TO = 2 * FAINT
SMALLEST = 11  # pixels that SSIM needs of a photo
PULL = 2e-4  # gradient of the loss by the place in the picture, from which a Gaussian grows
WIDE = 0.1  # standard deviation, in units of the scene's size, above which one is dropped after the first reset
MCMC_OPACITY, MCMC_SIZE = 0.5, 0.1  # opacity, and share of the size, that MCMC begins with (Kheradmand et al. 2024)
MCMC_PULL = 0.01  # of opacities and sizes towards zero under MCMC
MCMC_UNTIL = 0.83  # share of the steps in which it adds and moves


@dataclass(frozen=True, kw_only=True)
class Options(EngineOptions):
    """Options of the GPU engine."""

    longest: int = option(1600, "longest side that photos are reduced to", unit="px", low=64, high=8192)
    iterations: int = option(7000, "steps of the optimiser, one photo each", low=1, high=1_000_000)
    gaussians: int = option(1_000_000, "most Gaussians that growth may reach", low=100, high=10_000_000)
    sh_degree: int = option(3, "degree of the colours' spherical harmonics", low=0, high=3)
    strategy: Literal["default", "mcmc"] = option("default", "how Gaussians grow: clone and split, or MCMC")
    ssim: float = option(0.2, "weight of 1 - SSIM in the loss; the rest is the mean absolute difference", low=0, high=1)
    exposure: bool = option(
        False, "learn a change of colour for each photo; held-out photos, which have none, then score lower"
    )


def fit(task: Task, options: Options, watch: Watch | None = None) -> Gaussians:
    """Gaussians in the task's world. The same task starts the same, but CUDA adds in any order: bytes differ.

    Raises TrajkitError without a CUDA device, with too little memory on it, and for photos too small for SSIM.
    """
    import torch

    cuda.require("engine gsplat", "reconstruct with --engine cpu")
    smallest = min(min(view.photo.shape[:2]) for view in task.fitted)
    if options.ssim and smallest < SMALLEST:
        problem = f"a photo reduced to {options.longest} px is {smallest} px narrow, less than SSIM's window"
        raise TrajkitError("engine gsplat", problem, "give a larger longest, or ssim=0")
    try:
        return _fitted(task, options, watch)
    except torch.cuda.OutOfMemoryError as error:
        problem = f"the GPU's memory is full ({str(error).split('. ')[0]})"
        raise TrajkitError("engine gsplat", problem, "lower gaussians or longest") from error


def _fitted(task: Task, options: Options, watch: Watch | None) -> Gaussians:
    import torch

    start = initial(task.points, task.colours, options.sh_degree)
    size = scene_size(task.fitted, start.means)
    photos = [_photo(view, size) for view in task.fitted]
    order = np.concatenate([task.rng.permutation(len(photos)) for _ in range(-(-options.iterations // len(photos)))])
    steps = range(options.iterations)
    with torch.random.fork_rng(devices=[DEVICE]):
        torch.manual_seed(int(task.rng.integers(2**31)))
        fitter = _Fitter(start, size, task.near / size, len(photos), options)
        for step in watch(steps, options.iterations, "step") if watch else steps:
            index = int(order[step])
            fitter.step(step, index, photos[index])
    return fitter.gaussians(size)


class _Photo(NamedTuple):
    """One photo on the GPU, in a world whose unit is the scene's size."""

    pixels: "Tensor"  # (h, w, 3), 8 bit
    world_to_camera: "Tensor"  # (4, 4)
    intrinsics: "Tensor"  # (3, 3), pixels


def _photo(view: View, size: float) -> _Photo:
    import torch

    pose = view.world_to_camera.copy()
    pose[:3, 3] /= size
    put = lambda array: torch.as_tensor(np.array(array, np.float32), device=DEVICE)  # noqa: E731
    return _Photo(torch.as_tensor(np.array(view.photo), device=DEVICE), put(pose), put(view.camera.matrix))


class _Fitter:
    """The Gaussians being fitted, in units of the scene's size, with their optimisers."""

    def __init__(self, start: Gaussians, size: float, near: float, photos: int, options: Options) -> None:
        import torch

        from trajkit.engines._photometric import Exposure

        self.options, self.near = options, near
        mcmc = options.strategy == "mcmc"
        opacities = np.full(len(start), math.log(MCMC_OPACITY / (1 - MCMC_OPACITY))) if mcmc else start.logit_opacities
        first = {
            "means": start.means / size,
            "scales": start.log_scales + math.log(MCMC_SIZE / size if mcmc else 1 / size),
            "quats": start.quaternions_wxyz,
            "opacities": opacities,
            "sh0": start.sh[:, :1],
        }
        if options.sh_degree:
            first["shN"] = start.sh[:, 1:]
        put = lambda array: torch.as_tensor(np.array(array, np.float32), device=DEVICE)  # noqa: E731
        self.splats = {name: torch.nn.Parameter(put(array)) for name, array in first.items()}
        self.optimizers = {
            name: torch.optim.Adam([value], lr=RATES[name], eps=EPSILON, fused=True)
            for name, value in self.splats.items()
        }
        self.exposure = Exposure(photos, DEVICE) if options.exposure else None
        self.grow = (_mcmc if mcmc else _Growth)(self.splats, self.optimizers, options)

    def step(self, step: int, index: int, photo: _Photo) -> None:
        """One step of Adam on one photo, and growth where it is due."""
        from trajkit.engines._photometric import photometric_loss

        progress = step / self.options.iterations
        picture, seen = self._picture(photo, step)
        if self.exposure:
            picture = self.exposure(picture, index)
        loss = photometric_loss(picture, photo.pixels / 255, self.options.ssim)
        if self.exposure:
            loss = loss + self.exposure.pull(index)
        if self.options.strategy == "mcmc":
            loss = loss + MCMC_PULL * self.splats["opacities"].sigmoid().mean()
            loss = loss + MCMC_PULL * self.splats["scales"].exp().mean()
        seen["means2d"].retain_grad()
        loss.backward()
        rate = RATES["means"] * DECAY**progress
        self.optimizers["means"].param_groups[0]["lr"] = rate
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        if self.exposure:
            self.exposure.step(progress)
        self.grow(step, seen, rate)

    def _picture(self, photo: _Photo, step: int) -> tuple["Tensor", dict[str, Any]]:
        """Red, green and blue (h, w, 3), and what gsplat says about each Gaussian's place in the picture."""
        import torch
        from gsplat import rasterization

        every = max(1, min(DEGREE_EVERY, self.options.iterations // 7))
        height, width = photo.pixels.shape[:2]
        pictures, _, seen = rasterization(
            means=self.splats["means"],
            quats=self.splats["quats"],
            scales=self.splats["scales"].exp(),
            opacities=self.splats["opacities"].sigmoid(),
            colors=torch.cat([self.splats[name] for name in ("sh0", "shN") if name in self.splats], dim=1),
            viewmats=photo.world_to_camera[None],
            Ks=photo.intrinsics[None],
            width=width,
            height=height,
            near_plane=self.near,
            eps2d=BLUR,
            tile_size=TILE,
            sh_degree=min(step // every, self.options.sh_degree),
            packed=False,
        )
        return pictures[0], seen

    def gaussians(self, size: float) -> Gaussians:
        """What has been fitted, `size` times as large."""
        found = {name: value.detach().cpu().numpy() for name, value in self.splats.items()}
        return Gaussians(
            means=found["means"] * np.float32(size),
            log_scales=found["scales"] + np.float32(math.log(size)),
            quaternions_wxyz=found["quats"],
            logit_opacities=found["opacities"],
            sh=np.concatenate([found[name] for name in ("sh0", "shN") if name in found], axis=1),
        )


class _Growth:
    """Clones, splits and drops Gaussians (Kerbl et al. 2023), to a budget; those pulled at hardest come first.

    gsplat's DefaultStrategy knows no budget, and in version 1.5.3 never resets opacities.
    """

    def __init__(self, splats: dict[str, Any], optimizers: dict[str, Any], options: Options) -> None:
        self.splats, self.optimizers, self.options = splats, optimizers, options
        self.begin = min(GROW_FROM, options.iterations // 14)
        self.end = GROW_UNTIL * options.iterations
        self._forget()

    def _forget(self) -> None:
        opacities = self.splats["opacities"].detach()
        self.sums = {name: opacities.new_zeros(len(opacities)) for name in ("pull", "visits")}

    def __call__(self, step: int, seen: dict[str, Any], rate: float) -> None:
        """Notes how hard each Gaussian in the picture was pulled at, and grows when it is time to."""
        import torch

        if step >= self.end:
            return
        across, down = seen["means2d"].grad[0].unbind(dim=-1)
        pull = torch.hypot(across * (seen["width"] / 2), down * (seen["height"] / 2))
        visible = seen["radii"][0].amin(dim=-1) > 0
        self.sums["pull"] += pull * visible
        self.sums["visits"] += visible
        if step > self.begin and step % GROW_EVERY == 0:
            self._grow()
            self._prune(step > RESET_EVERY)
            self._forget()
        if step and step % RESET_EVERY == 0 and step + GROW_EVERY < self.end:
            self._reset()

    def _grow(self) -> None:
        import torch
        from gsplat.strategy.ops import duplicate, split

        pull = self.sums["pull"] / self.sums["visits"].clamp_min(1)
        room = max(0, self.options.gaussians - len(pull))
        grows = pull > PULL
        if int(grows.sum()) > room:
            grows = torch.zeros_like(grows)
            grows[pull.topk(min(room, len(pull))).indices] = True
        large = self.splats["scales"].exp().amax(dim=-1) > LARGE
        cloned, halved = grows & ~large, grows & large
        count = int(cloned.sum())
        changed = {"params": self.splats, "optimizers": self.optimizers, "state": self.sums}
        duplicate(**changed, mask=cloned)
        split(**changed, mask=torch.cat([halved, halved.new_zeros(count)]))

    def _prune(self, wide_too: bool) -> None:
        from gsplat.strategy.ops import remove

        dropped = self.splats["opacities"].sigmoid() < FAINT
        if wide_too:
            dropped |= self.splats["scales"].exp().amax(dim=-1) > WIDE
        if not bool(dropped.all()):
            remove(params=self.splats, optimizers=self.optimizers, state=self.sums, mask=dropped)

    def _reset(self) -> None:
        from gsplat.strategy.ops import reset_opa

        reset_opa(params=self.splats, optimizers=self.optimizers, state=self.sums, value=RESET_TO)


def _mcmc(splats: dict[str, Any], optimizers: dict[str, Any], options: Options) -> Callable[..., None]:
    """gsplat's MCMC: dead Gaussians move to where live ones are, new ones join up to the budget, and all are shaken."""
    from gsplat import MCMCStrategy

    strategy = MCMCStrategy(
        cap_max=options.gaussians,
        refine_start_iter=min(GROW_FROM, options.iterations // 14),
        refine_stop_iter=int(MCMC_UNTIL * options.iterations),
        refine_every=GROW_EVERY,
        min_opacity=FAINT,
    )
    state = strategy.initialize_state()
    return lambda step, seen, rate: strategy.step_post_backward(splats, optimizers, state, step, seen, lr=rate)
