"""`Batch`: what a stage gets, and `Draws`: its random numbers, which depend on the sample and never on the rank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trajkit import seeding

from .cameras import Cameras


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Samples of equal shape. Latents (B, F, C, H, W) float32, one camera per latent."""

    keys: tuple[str, ...]
    positions: Int64[Tensor, " b"]  # of the samples in the run's endless sequence: step * global batch + place
    latents: Float[Tensor, "b f c h w"]
    cameras: Cameras
    text: dict[str, Tensor]  # by the names that the backbone's encoder gave
    trajectory: Float[Tensor, "b n f c h w"] | None = None  # states of a teacher's path, for `ode`

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def joined(cls, parts: Sequence["Batch"]) -> "Batch":
        """The samples of all parts; either each part has a path, or none."""
        paths = [one.trajectory for one in parts if one.trajectory is not None]
        return cls(
            keys=sum((one.keys for one in parts), ()),
            positions=torch.cat([one.positions for one in parts]),
            latents=torch.cat([one.latents for one in parts]),
            cameras=Cameras(
                world_to_camera=torch.cat([one.cameras.world_to_camera for one in parts]),
                K=torch.cat([one.cameras.K for one in parts]),
            ),
            text={name: torch.cat([one.text[name] for one in parts]) for name in parts[0].text},
            trajectory=torch.cat(paths) if paths else None,
        )

    def to(self, device: torch.device | str) -> "Batch":
        """On another device."""
        return replace(
            self,
            latents=self.latents.to(device, non_blocking=True),
            cameras=self.cameras.to(device),
            text={name: value.to(device, non_blocking=True) for name, value in self.text.items()},
            trajectory=None if self.trajectory is None else self.trajectory.to(device, non_blocking=True),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draws:
    """Random numbers of one batch: each sample's are a function of (seed, its position, the name of the draw).

    So ranks never share noise, and N batches of b accumulated draw what one batch of N b draws.
    """

    seed: int
    positions: Int64[Tensor, " b"]
    device: torch.device | str = "cpu"
    step: int = 0

    def normal(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal (B, *shape), float32."""
        return torch.stack([torch.randn(shape, generator=one, device=self.device) for one in self._each(name)])

    def uniform(self, name: str, shape: tuple[int, ...] = ()) -> Tensor:
        """Uniform in [0, 1), (B, *shape), float32."""
        return torch.stack([torch.rand(shape, generator=one, device=self.device) for one in self._each(name)])

    def index(self, name: str, below: int, shape: tuple[int, ...] = ()) -> Tensor:
        """Whole numbers 0 .. below - 1, (B, *shape), int64."""
        each = self._each(name)
        return torch.stack([torch.randint(below, shape, generator=one, device=self.device) for one in each])

    def shared_index(self, name: str, below: int) -> int:
        """One whole number for all samples of a step, on all ranks: a function of (seed, step)."""
        return int(seeding.generator(self.seed, "shared", name, self.step).integers(below))

    def _each(self, name: str) -> list[torch.Generator]:
        return [
            torch.Generator(self.device).manual_seed(int(seeding.digest(self.seed, name, int(place), length=15), 16))
            for place in self.positions
        ]
