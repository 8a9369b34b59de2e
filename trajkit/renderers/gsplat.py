"""Gaussian splats on an NVIDIA GPU, by gsplat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trajkit.errors import TrajkitError
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

    batch: int = option(8, "frames a call; 8 was the fastest of 1, 8 and 32 on an H100", low=1, high=1024)


class Renderer:
    """Renders a scene's splats over black; z-depth (expected) in scene units, 0 where alpha is below one half.

    Raises TrajkitError without a CUDA device: gsplat has no CPU kernels, and importing it does not tell.
    """

    def __init__(self, scene: Scene, options: Options) -> None:
        import torch

        if not torch.cuda.is_available():
            raise TrajkitError("renderer gsplat", "finds no CUDA device", "render with --renderer splats")
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
        """One frame per pose, in order. Raises TrajkitError for a distorted lens."""
        refuse_distortion(trajectory)
        for start in range(0, len(trajectory), self.batch):
            pictures, alphas = self.pixels(trajectory[start : start + self.batch])
            rgb = (pictures[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()
            depth = (pictures[..., 3] * (alphas >= COVERED)).cpu().numpy()
            alpha = alphas.clamp(0, 1).cpu().numpy()
            for index in range(len(rgb)):
                yield Frame(rgb=rgb[index], depth=depth[index], alpha=alpha[index])

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
