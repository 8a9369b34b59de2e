"""Cameras as attention sees them: PRoPE's projective matrices, Pluecker rays, and the scale of translations.

Matrices are float32 whatever the network computes in, one per camera and never per token. Vectors of a head are cut in
fours; each four is multiplied by the 4x4 of its token's camera.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cameras:
    """One camera per latent: world_to_camera (B, F, 4, 4) and K (B, F, 3, 3), float32, OpenCV axes.

    K is for a picture of width and height 1: fx / W, fy / H, cx / W, cy / H (0.5 = the middle).
    `present` (B,) is False where a sample has no cameras (dropped, so that guidance has a trained null).
    """

    world_to_camera: Float[Tensor, "b f 4 4"]
    K: Float[Tensor, "b f 3 3"]
    present: Tensor | None = None  # (B,) bool; None = all

    def __post_init__(self) -> None:
        for name in ("world_to_camera", "K"):
            object.__setattr__(self, name, getattr(self, name).float())

    def __len__(self) -> int:
        return self.world_to_camera.shape[1]

    def __getitem__(self, frames: slice) -> "Cameras":
        """The cameras of some frames."""
        return replace(self, world_to_camera=self.world_to_camera[:, frames], K=self.K[:, frames])

    def repeated(self, times: int) -> "Cameras":
        """The cameras of [clean | noisy]: the same ones again along the frames."""
        w2c, K = self.world_to_camera.repeat(1, times, 1, 1), self.K.repeat(1, times, 1, 1)
        return replace(self, world_to_camera=w2c, K=K)

    def dropped(self, keep: Tensor) -> "Cameras":
        """The same, without cameras for the samples where `keep` (B,) is False."""
        return replace(self, present=keep if self.present is None else self.present & keep)

    def to(self, device: torch.device | str) -> "Cameras":
        """On another device; float32 stays."""
        present = None if self.present is None else self.present.to(device)
        return Cameras(world_to_camera=self.world_to_camera.to(device), K=self.K.to(device), present=present)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Projection:
    """The 4x4 of each camera: P = lift(K) world_to_camera, its transpose and its inverse, (B, F, 4, 4) float32."""

    forward: Tensor
    transposed: Tensor
    inverse: Tensor
    present: Tensor | None = None

    @classmethod
    def of(cls, cameras: Cameras, *, keep_principal: bool = True) -> "Projection":
        """P and P^-1, the inverse by parts: exact for rotations, no matrix is solved.

        lift(K) = [[fx, 0, cx', 0], [0, fy, cy', 0], [0, 0, 1, 0], [0, 0, 0, 1]] with cx' = cx - 1/2 (arXiv 2507.10496).
        minWM sets cx' = cy' = 0; `keep_principal=False` does too. The identity where a sample has no cameras.
        """
        w2c, K = cameras.world_to_camera, cameras.K
        fx, fy = K[..., 0, 0], K[..., 1, 1]
        cx, cy = (K[..., 0, 2] - 0.5, K[..., 1, 2] - 0.5) if keep_principal else (0 * fx, 0 * fy)
        lift = torch.eye(4, device=K.device).repeat(*K.shape[:2], 1, 1)
        lift[..., 0, 0], lift[..., 1, 1], lift[..., 0, 2], lift[..., 1, 2] = fx, fy, cx, cy
        drop = torch.eye(4, device=K.device).repeat(*K.shape[:2], 1, 1)
        drop[..., 0, 0], drop[..., 1, 1] = 1 / fx, 1 / fy
        drop[..., 0, 2], drop[..., 1, 2] = -cx / fx, -cy / fy
        with torch.autocast(K.device.type, enabled=False):
            forward, inverse = lift @ w2c, inverse_pose(w2c) @ drop
        if cameras.present is not None:
            there, identity = cameras.present.reshape(-1, 1, 1, 1), torch.eye(4, device=K.device)
            forward, inverse = forward.where(there, identity), inverse.where(there, identity)
        return cls(forward=forward, transposed=forward.mT, inverse=inverse, present=cameras.present)


def inverse_pose(pose: Float[Tensor, "*n 4 4"]) -> Float[Tensor, "*n 4 4"]:
    """The inverse of rotation and translation, by transposing; not narrowed by autocast."""
    out = torch.zeros_like(pose)
    out[..., :3, :3] = pose[..., :3, :3].mT
    with torch.autocast(pose.device.type, enabled=False):
        out[..., :3, 3] = -(pose[..., :3, :3].mT @ pose[..., :3, 3:])[..., 0]
    out[..., 3, 3] = 1
    return out


def transform(vectors: Float[Tensor, "b n h d"], matrices: Float[Tensor, "b f 4 4"]) -> Float[Tensor, "b n h d"]:
    """Each consecutive four of a head's vector times the 4x4 of its token's camera; n is f equal runs of tokens.

    Computed in float32, also under autocast; returned in the vectors' dtype.
    """
    b, n, h, d = vectors.shape
    f = matrices.shape[1]
    with torch.autocast(vectors.device.type, enabled=False):
        split = vectors.float().reshape(b, f, n // f, h, d // 4, 4)
        if torch.compiler.is_compiling():  # fuses with what comes before and after; a matrix product does not
            turned = summed(split, matrices)
        else:
            turned = torch.einsum("bfij,bfthgj->bfthgi", matrices, split)
    return turned.reshape(b, n, h, d).to(vectors.dtype)


def summed(split: Float[Tensor, "b f t h g 4"], matrices: Float[Tensor, "b f 4 4"]) -> Float[Tensor, "b f t h g 4"]:
    """Each four times its camera's 4x4, as four products that are added."""
    columns = matrices[:, :, None, None, None].unbind(-1)
    products = [column * split[..., j : j + 1] for j, column in enumerate(columns)]
    return products[0] + products[1] + products[2] + products[3]


def anchored(cameras: Cameras, scale: float | Tensor = 1.0, origin: Float[Tensor, "b 1 4 4"] | None = None) -> Cameras:
    """The same cameras with the first one at the identity, or the camera_to_world `origin`; translations divided by
    `scale` ((B,) or a number).
    """
    if origin is None:
        origin = inverse_pose(cameras.world_to_camera[:, :1])
    with torch.autocast(origin.device.type, enabled=False):
        w2c = cameras.world_to_camera @ origin
    w2c[..., :3, 3] /= torch.as_tensor(scale, dtype=torch.float32, device=w2c.device).reshape(-1, 1, 1)
    return replace(cameras, world_to_camera=w2c)


def plucker(cameras: Cameras, height: int, width: int) -> Float[Tensor, "b f 6 h w"]:
    """(o x d, d) of the ray through each cell's centre: d the unit direction and o the camera centre, in the world.

    Zero where a sample has no cameras (d is never zero otherwise).
    """
    device = cameras.K.device
    c2w = inverse_pose(cameras.world_to_camera)
    across = (torch.arange(width, device=device) + 0.5) / width
    down = (torch.arange(height, device=device) + 0.5) / height
    v, u = torch.meshgrid(down, across, indexing="ij")
    K = cameras.K[..., None, None]
    x = (u - K[:, :, 0, 2]) / K[:, :, 0, 0]
    y = (v - K[:, :, 1, 2]) / K[:, :, 1, 1]
    rays = torch.stack([x, y, torch.ones_like(x)], 2)  # (b, f, 3, h, w)
    with torch.autocast(device.type, enabled=False):
        directions = torch.einsum("bfij,bfjhw->bfihw", c2w[..., :3, :3], rays)
    directions = directions / directions.norm(dim=2, keepdim=True)
    origins = c2w[..., :3, 3, None, None].expand_as(directions)
    both = torch.cat([torch.linalg.cross(origins, directions, dim=2), directions], 2)
    return both if cameras.present is None else both * cameras.present.reshape(-1, 1, 1, 1, 1)
