"""Fits Gaussians to posed photos on the CPU: Adam on analytic gradients, growth where the picture pulls hardest.

After Kerbl et al. 2023 (clone, split, prune), with a budget of Gaussians in place of a gradient threshold, and with the
first part of the steps at half the photos' size.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from numba import njit
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.camera import Camera
from trajkit.gaussians import Gaussians
from trajkit.harmonics import C0
from trajkit.rasterize import FAST, activate, blend, project
from trajkit.rasterize_backward import backward

Array = np.ndarray
Watch = Callable[
    [Iterable[int], int, str], Iterable[int]
]  # passes on items of a total, counted in a unit, and may show them
Judge = Callable[[Gaussians], float]  # dB, more is better
# Adam's learning rates, four times those of Kerbl et al. 2023 since there are thirty times fewer steps (tuned on a real
# capture: higher ones gain nothing more); that of the means is in units of the scene's size and decays to a tenth
RATES = {"means": 6e-4, "log_scales": 0.02, "quaternions_wxyz": 4e-3, "logit_opacities": 0.05, "sh": 0.01}
DECAY = 0.1
DIRECTIONAL = 1 / 20  # of the colour's rate, for harmonics above the constant one
FIRST_OPACITY = 0.1
LOOK_EVERY = 250  # steps between the judge's looks, once growth has ended
GAIN = 0.02  # dB that counts as one
GROW_EVERY = 100  # steps
GROW_UNTIL = 0.75  # of the steps
HALF_SIZE_UNTIL = 0.6  # of the steps
FAINT = 0.005  # opacity below which a Gaussian is dropped
HUGE = 0.5  # standard deviation, in units of the scene's size, above which one is dropped
LARGE = 0.01  # above which one is split rather than cloned
FREE = 0.4  # of the depth of the nearest points that a camera sees: nothing stands closer before it
NEAREST_PERCENT = 1.0  # of the points in view may be nearer than that: wrong matches
SHRINK = 1.6  # of the halves of a split Gaussian


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """How long and how large."""

    steps: int
    budget: int  # most Gaussians that growth may reach
    sh_degree: int
    near: float  # z below which nothing is drawn, scene units
    patience: int = 0  # looks of the judge without a gain after which to stop; 0 = never


class View(NamedTuple):
    """One undistorted photo and where it was taken."""

    photo: UInt8[Array, "h w 3"]
    camera: Camera
    world_to_camera: Float64[Array, "4 4"]


def fit(
    start: Gaussians,
    views: list[View],
    options: FitOptions,
    rng: np.random.Generator,
    watch: Watch | None = None,
    judge: Judge | None = None,
    held: Sequence[View] = (),
) -> Gaussians:
    """Gaussians that look like the photos from where they were taken; same input and generator, same result.

    Where the `held` views stood is kept free as well; their photos are not looked at.

    With a judge and `patience`, the best that the judge saw; the steps end once it has seen no gain for long.
    """
    fitter = _Fitter(start, scene_size(views, start.means), options.near, free_space([*views, *held], start.means))
    halves = [halved(view) for view in views]
    steps = range(options.steps)
    order = _shuffled(len(views), rng)
    grown = max(1, int(options.steps * GROW_UNTIL))
    best = _Best(judge if options.patience else None)
    with ThreadPoolExecutor(2) as pool:
        for step in watch(steps, options.steps, "step") if watch else steps:
            pictures = halves if step < HALF_SIZE_UNTIL * options.steps else views
            fitter.step(pictures[next(order)], step / options.steps, pool)
            if (step + 1) % GROW_EVERY == 0 and step + 1 <= grown:
                share = (step + 1) / grown
                fitter.grow(int(len(start) * (max(options.budget, len(start)) / len(start)) ** share), rng)
            if step + 1 >= grown and ((step + 1) % LOOK_EVERY == 0 or step + 1 == options.steps):
                fitter.keep(fitter.kept())
                best.look(fitter.gaussians)
                if best.waited >= options.patience > 0:
                    break
    return best.gaussians or fitter.gaussians


class FreeSpace(NamedTuple):
    """Where nothing stands: around each camera, as it saw past it."""

    centres: Float64[Array, "v 3"]
    radii: Float64[Array, " v"]  # scene units

    def entered(self, means: Float[Array, "n 3"], widest: Float[Array, " n"]) -> Bool[Array, " n"]:
        """Which Gaussians reach into it, one standard deviation being theirs."""
        inside = np.zeros(len(means), bool)
        for centre, radius in zip(self.centres, self.radii, strict=True):
            inside |= np.linalg.norm(means - centre, axis=1) - widest < radius
        return inside


def free_space(views: Sequence[View], points: Float[Array, "n 3"]) -> FreeSpace:
    """Balls around the cameras, as wide as FREE of the depth of the nearest triangulated points that each sees.

    Fog close to a camera costs nothing in few photos and ruins every view from elsewhere; no point tells of it.
    """
    radii = []
    for view in views:
        local = points @ view.world_to_camera[:3, :3].T + view.world_to_camera[:3, 3]
        pixels = view.camera.project(local)
        inside = (pixels > 0).all(axis=1) & (pixels < (view.camera.width, view.camera.height)).all(axis=1)
        radii.append(FREE * np.percentile(local[inside, 2], NEAREST_PERCENT) if inside.any() else 0.0)
    return FreeSpace(se3.inverse(np.array([view.world_to_camera for view in views]))[:, :3, 3], np.array(radii))


def initial(points: Float[Array, "n 3"], colours: UInt8[Array, "n 3"], sh_degree: int) -> Gaussians:
    """One faint round Gaussian a point, as wide as its three neighbours are far (at most 4 times the median)."""
    n = len(points)
    distances = cKDTree(points).query(points, k=min(4, n))[0][:, 1:]
    size = np.sqrt((distances**2).mean(axis=1))
    size = np.clip(size, 1e-3 * np.median(size) + 1e-12, 4 * np.median(size))
    sh = np.zeros((n, (sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (colours / 255 - 0.5) / C0
    return Gaussians(
        means=points.astype(np.float32),
        log_scales=np.repeat(np.log(size)[:, None], 3, axis=1).astype(np.float32),
        quaternions_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        logit_opacities=np.full(n, np.log(FIRST_OPACITY / (1 - FIRST_OPACITY)), np.float32),
        sh=sh,
    )


def scene_size(views: list[View], points: Float[Array, "n 3"]) -> float:
    """Length that rates and thresholds scale with: how far the cameras spread, or half the points' median distance."""
    centres = np.array([-view.world_to_camera[:3, :3].T @ view.world_to_camera[:3, 3] for view in views])
    middle = centres.mean(axis=0)
    spread = np.linalg.norm(centres - middle, axis=1).max()
    return float(max(1.1 * spread, 0.5 * np.median(np.linalg.norm(points - middle, axis=1))))


def halved(view: View) -> View:
    """The view at half its size (rounded down), each pixel the mean of four."""
    height, width = view.photo.shape[0] // 2, view.photo.shape[1] // 2
    blocks = view.photo[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
    camera = view.camera.cropped(0, 0, 2 * width, 2 * height).resized(width, height)
    return View(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8), camera, view.world_to_camera)


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Numbers of views without end: all of them in a random order, then all again in another."""
    while True:
        yield from map(int, rng.permutation(count))


class _Best:
    """The best Gaussians that a judge has seen, and how many looks ago that was."""

    def __init__(self, judge: Judge | None) -> None:
        self.judge, self.top, self.waited = judge, -math.inf, 0
        self.gaussians: Gaussians | None = None

    def look(self, gaussians: Gaussians) -> None:
        """Judges them, and keeps a copy where they are better."""
        if self.judge is None:
            return
        score = self.judge(gaussians)
        self.waited = 0 if score > self.top + GAIN else self.waited + 1
        if score > self.top:
            self.top = score
            self.gaussians = Gaussians(**{name: getattr(gaussians, name).copy() for name in RATES})


class _Fitter:
    """The Gaussians being fitted, with Adam's moments and the statistics that growth goes by."""

    def __init__(self, start: Gaussians, size: float, near: float, free: FreeSpace) -> None:
        self.size, self.near, self.free, self.steps = size, near, free, 0
        self._put({name: getattr(start, name).copy() for name in RATES})
        self.first = {name: np.zeros_like(array) for name, array in self.arrays.items()}
        self.second = {name: np.zeros_like(array) for name, array in self.arrays.items()}

    def _put(self, arrays: dict[str, Array]) -> None:
        """Takes new arrays; `gaussians` is a read-only view of them, and follows the steps."""
        self.arrays, self.gaussians = arrays, Gaussians(**arrays)
        self.pull, self.visits = np.zeros(len(self.gaussians), np.float32), np.zeros(len(self.gaussians), np.int32)

    def step(self, view: View, progress: float, pool: Executor) -> None:
        """One step of Adam on the mean absolute difference from one photo; `progress` runs from 0 to 1."""
        splats = activate(self.gaussians)
        seen = project(splats, view.camera, view.world_to_camera, self.near)
        rgb = blend(seen, view.camera.width, view.camera.height, pool=pool).rgb
        pull = _l1_gradient(rgb, view.photo)
        gradients = backward(self.gaussians, splats, seen, view.camera, view.world_to_camera, rgb, pull, pool=pool)
        self.pull += gradients.pull
        self.visits[seen.owner] += 1
        self.steps += 1
        for name, array in self.arrays.items():
            rates = np.full(array[0].size, RATES[name], np.float32)
            if name == "means":
                rates *= self.size * DECAY**progress
            if name == "sh":
                rates[3:] *= DIRECTIONAL
            shape, gradient = (len(array), -1), getattr(gradients, name).reshape(len(array), -1)
            first, second = self.first[name].reshape(shape), self.second[name].reshape(shape)
            _adam(array.reshape(shape), gradient, first, second, rates, self.steps)

    def kept(self) -> Bool[Array, " n"]:
        """Which Gaussians are neither faint nor huge, and stay out of free space; all, where none would be left."""
        widest = np.exp(self.arrays["log_scales"]).max(axis=1)
        kept = (self.arrays["logit_opacities"] > np.log(FAINT / (1 - FAINT))) & (widest < HUGE * self.size)
        kept &= ~self.free.entered(self.arrays["means"], widest)
        return kept if kept.any() else np.ones(len(kept), bool)

    def keep(self, kept: Bool[Array, " n"]) -> None:
        """Drops the others."""
        for moments in (self.first, self.second):
            for name, array in moments.items():
                moments[name] = array[kept]
        self._put({name: array[kept] for name, array in self.arrays.items()})

    def grow(self, target: int, rng: np.random.Generator) -> None:
        """Drops those that are not `kept`, then clones or splits those that photos pull at hardest, to `target`."""
        widest, kept = np.exp(self.arrays["log_scales"]).max(axis=1), self.kept()
        pull = np.where(kept, self.pull / np.maximum(self.visits, 1), 0)
        room = int(np.clip(target - kept.sum(), 0, kept.sum() // 2))
        chosen = np.argsort(-pull, kind="stable")[:room]
        chosen = chosen[pull[chosen] > 0]
        added = {name: array[chosen] for name, array in self.arrays.items()}
        split = widest[chosen] > LARGE * self.size
        offset = np.where(split[:, None], _sample(added, rng), 0)
        shrink = np.where(split, np.log(SHRINK), 0)[:, None].astype(np.float32)
        self.arrays["means"][chosen] -= offset
        self.arrays["log_scales"][chosen] -= shrink
        added["means"] += offset
        added["log_scales"] -= shrink
        for moments in (self.first, self.second):
            for name, array in moments.items():
                moments[name] = np.concatenate([array[kept], np.zeros_like(added[name])])
        self._put({name: np.concatenate([array[kept], added[name]]) for name, array in self.arrays.items()})


def _sample(arrays: dict[str, Array], rng: np.random.Generator) -> Float32[Array, "n 3"]:
    """One random offset from the mean of each Gaussian, distributed as the Gaussian."""
    turns = Rotation.from_quat(arrays["quaternions_wxyz"][:, [1, 2, 3, 0]])
    scales = np.exp(arrays["log_scales"].astype(np.float64))
    return turns.apply(rng.standard_normal(scales.shape) * scales).astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _l1_gradient(rgb: Array, photo: Array) -> Array:
    """d mean |rgb - photo| / d rgb, the photo being 8-bit."""
    out, unit = np.empty_like(rgb), np.float32(1 / rgb.size)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            for c in range(3):
                difference = rgb[y, x, c] - photo[y, x, c] * np.float32(1 / 255)
                out[y, x, c] = unit if difference > 0 else -unit
    return out


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _adam(value: Array, gradient: Array, first: Array, second: Array, rates: Array, step: int) -> None:
    """Kingma & Ba 2015, algorithm 1, with one rate a column and the epsilon of Kerbl et al. 2023 (1e-15)."""
    one, b1, b2 = np.float32(1), np.float32(0.9), np.float32(0.999)
    c1, c2 = np.float32(1 / (1 - 0.9**step)), np.float32(1 / (1 - 0.999**step))
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            g = gradient[i, j]
            first[i, j] = b1 * first[i, j] + (one - b1) * g
            second[i, j] = b2 * second[i, j] + (one - b2) * g * g
            value[i, j] -= rates[j] * c1 * first[i, j] / (np.sqrt(second[i, j] * c2) + np.float32(1e-15))
