"""Gaussian splats on an NVIDIA GPU, by gsplat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trajkit import cuda
from trajkit.options import option
from trajkit.rasterize import BLUR, TILE
from trajkit.renderers.splats import COVERED, near_plane, refuse_distortion
from trajkit.scene import Frame, Scene
from trajkit.scenes.splat import load_gaussians
from trajkit.trajectory import Trajectory

Array = np.ndarray
REQUIRES = ("torch", "gsplat")
EXTRA = "render"


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to render."""

    batch: int = option(8, "frames a call; on an H100, 32 draw at most a fifth faster than 8", low=1, high=1024)


class Renderer:
    """Renders a scene's splats over black; z-depth (expected) in scene units, 0 where alpha is below one half.

    Raises TrajkitError without a CUDA device.
    """

    def __init__(self, scene: Scene, options: Options) -> None:
        import torch

        cuda.require("renderer gsplat", "render with --renderer splats")
        gaussians = load_gaussians(scene)
        self.batch, self.near = options.batch, near_plane(scene)
        self.origin = np.median(gaussians.means.astype(np.float64), axis=0)  # float32 on the device: keep numbers small
        put = lambda array: torch.as_tensor(np.array(array, np.float32), device="cuda")  # noqa: E731
        self.splats = {
            "means": put(gaussians.means - self.origin),
            "quats": put(gaussians.quaternions_wxyz),
            "scales": put(gaussians.log_scales).exp(),
            "opacities": put(gaussians.logit_opacities).sigmoid(),
            "colors": put(gaussians.sh),
            "sh_degree": gaussians.sh_degree,
        }

    def frames(self, trajectory: Trajectory) -> Iterator[Frame]:
        """One frame per pose, in order. Raises TrajkitError for a distorted lens.

        While a batch's frames are taken, the GPU draws the next.
        """
        refuse_distortion(trajectory)
        waiting: _Batch | None = None
        for start in range(0, len(trajectory), self.batch):
            begun = self._begin(trajectory[start : start + self.batch])
            if waiting:
                yield from waiting.frames()
            waiting = begun
        if waiting:
            yield from waiting.frames()

    def _begin(self, trajectory: Trajectory) -> "_Batch":
        """Has every pose drawn and copied to the host, without waiting for either."""
        import torch

        with torch.inference_mode():
            pictures, alphas = self.pixels(trajectory)
            rgb = (pictures[..., :3].clamp(0, 1) * 255).round().byte()
            depth = pictures[..., 3] * (alphas >= COVERED)
            # a copy that does not block goes to page-locked memory, which torch keeps for the next batch: a pageable
            # one crosses four times slower, and from 32 MiB on is taken from the system, page by page, each time
            rgb, depth, alpha = (tensor.to("cpu", non_blocking=True) for tensor in (rgb, depth, alphas.clamp(0, 1)))
            done = torch.cuda.Event()
            done.record()
        return _Batch(rgb, depth, alpha, done)

    def pixels(self, trajectory: Trajectory) -> tuple[Any, Any]:
        """Tensors of every pose, in one call: red, green, blue, expected depth (N, H, W, 4); coverage (N, H, W)."""
        import torch
        from gsplat import rasterization

        world_to_camera = trajectory.world_to_camera.copy()
        world_to_camera[:, :3, 3] += world_to_camera[:, :3, :3] @ self.origin
        lenses = np.stack([trajectory.camera(index).matrix for index in range(len(trajectory))])
        with torch.inference_mode():
            pictures, alphas, _ = rasterization(
                **self.splats,
                viewmats=torch.as_tensor(world_to_camera.astype(np.float32), device="cuda"),
                Ks=torch.as_tensor(lenses.astype(np.float32), device="cuda"),
                width=trajectory.width,
                height=trajectory.height,
                near_plane=self.near,
                eps2d=BLUR,
                tile_size=TILE,
                render_mode="RGB+ED",
                rasterize_mode="classic",
            )
        return pictures, alphas[..., 0]


class _Batch(NamedTuple):
    """Frames on their way from the GPU: tensors on the host, filled once the event is over."""

    rgb: Any
    depth: Any
    alpha: Any
    done: Any

    def frames(self) -> Iterator[Frame]:
        """The frames, once they have arrived."""
        self.done.synchronize()
        for rgb, depth, alpha in zip(self.rgb.numpy(), self.depth.numpy(), self.alpha.numpy(), strict=True):
            yield Frame(rgb=rgb, depth=depth, alpha=alpha)
