"""Paths of a causal teacher from noise to its end, which `ode` learns from; kept in each clip's latents.

The teacher is teacher-forced on the true clip, all frames at one level: one pass per step instead of one per chunk and
step. Kept are the states at the student's levels, the path's end and the true clip, in this order (reference/minwm.md
1.9, 10.3). The noise is a function of the seed and the clip's key.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from trajkit import seeding
from trajkit.errors import TrajkitError
from trajkit.members import record_from_bytes, trajectory_from_bytes
from trajkit.options import as_dict, option

from . import flow, latentfile, tensor_file
from .backbones import BackboneModule
from .batch import Batch
from .cameras import Cameras, anchored
from .data import cameras_of
from .guidance import guided_velocity
from .latentfile import SUFFIX

RECORD = "trajectory"  # metadata of a latent file: how its path was made, JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The teacher's steps, and the levels of the student that are kept."""

    steps: int = option(48, "Euler steps from noise to clip", low=1, high=1000)
    shift: float = option(5.0, "moves noise levels towards noise; 1 leaves them", low=0.01, high=100)
    guidance: float = option(6.0, "guidance scale; 1 is none", low=0, high=50)
    timesteps: str = option("1000 750 500 250", "the student's levels before the shift", unit="1/1000")
    first_frame: bool = option(False, "tell the network the clip's first latent (image to video)")
    precision: Literal["float32", "bf16"] = option("bf16", "what the teacher computes in")
    seed: int = option(0, "seed of the noise")

    def __post_init__(self) -> None:
        self.kept()

    def kept(self) -> tuple[int, ...]:
        """Steps before which the state is kept. Raises TrajkitError for a level between two steps."""
        wanted = [self.steps * (1 - level / flow.TIMESTEPS) for level in flow.timesteps_of(self.timesteps)]
        if any(abs(step - round(step)) > 1e-9 for step in wanted):
            problem = f"{self.steps} steps do not stop at each of them"
            raise TrajkitError(f"timesteps {self.timesteps!r}", problem, "change steps, such as 48 for quarters")
        return tuple(map(round, wanted))


@torch.no_grad()
def pairs(
    teacher: BackboneModule, batch: Batch, noise: Float[Tensor, "b f c h w"], options: Options
) -> Float[Tensor, "b n f c h w"]:
    """States at the student's levels, the path's end and the true clip, float32."""
    grid, kept, clip = flow.grid(options.steps, options.shift).to(noise.device), options.kept(), batch.latents
    told = {"clean": clip, "first": clip[:, :1] if options.first_frame else None}
    states, x = [], noise
    for step in range(options.steps):
        if step in kept:
            states.append(x)
        sigma, after = (level.expand(clip.shape[:2]) for level in (grid[step], grid[step + 1]))
        v = guided_velocity(teacher, x, sigma, batch.cameras, batch.text, options.guidance, **told)
        x = flow.euler(x, v, sigma, after)
    return torch.stack([*states, x, clip], 1)


def noise_of(batch: Batch, seed: int) -> Float[Tensor, "b f c h w"]:
    """Standard normal, a function of (seed, key) for each clip; drawn on the CPU, so alike on every device."""
    each = [torch.Generator().manual_seed(int(seeding.digest(seed, "pairs", key, length=15), 16)) for key in batch.keys]
    shape = batch.latents.shape[1:]
    return torch.stack([torch.randn(shape, generator=one) for one in each]).to(batch.latents.device)


class Pairs:
    """The maker of `trajkit pairs` (trainers/encoding.py): latent files in, the same with a path out.

    `load` gives the teacher, `name` identifies its weights, translations are divided by `scale` as in its training.
    """

    stage = "pairs"
    needs: Collection[str] = ("camera.npz", "json", SUFFIX)

    def __init__(
        self, load: Callable[[], BackboneModule], name: str, scale: float, options: Options, device: str = "cpu"
    ) -> None:
        self.load, self.scale, self.options, self.device = load, scale, options, device
        self.identity: Mapping[str, Any] = {"teacher": name, "scale": scale, **as_dict(options)}

    def start(self) -> None:
        """Loads the teacher onto the device."""
        self.teacher = self.load().to(self.device)

    def prepare(self, where: str, contents: Mapping[str, bytes]) -> tuple[bytes, Batch]:
        """The latent file, and its clip as a batch of one. Raises TrajkitError where a member is missing or damaged."""
        for suffix in self.needs:
            if suffix not in contents:
                raise TrajkitError(f"{where}.{suffix}", "no such file", "run trajkit encode first")
        found = latentfile.from_bytes(contents[SUFFIX], f"{where}.{SUFFIX}")
        record = record_from_bytes(contents["json"], f"{where}.json")
        trajectory = trajectory_from_bytes(contents["camera.npz"], f"{where}.camera.npz", scale=record.scale)
        world_to_camera, K = (torch.from_numpy(one)[None] for one in cameras_of(trajectory, record.frames, where))
        batch = Batch(
            keys=(record.key,),
            positions=torch.zeros(1, dtype=torch.int64),
            latents=found.latents[None].float(),
            cameras=anchored(Cameras(world_to_camera=world_to_camera, K=K), self.scale),
            text={name: (one.float() if one.is_floating_point() else one)[None] for name, one in found.text.items()},
        )
        return contents[SUFFIX], batch

    def finish(self, where: str, prepared: tuple[bytes, Batch]) -> bytes:
        """The latent file with the teacher's path. Raises TrajkitError where a state is not finite."""
        content, batch = prepared[0], prepared[1].to(self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.options.precision == "bf16"):
            states = pairs(self.teacher, batch, noise_of(batch, self.options.seed), self.options)[0]
        return extended(content, states, json.dumps(self.identity, sort_keys=True), f"{where}.{SUFFIX}")


def extended(content: bytes, states: Float[Tensor, "n f c h w"], told: str, where: object) -> bytes:
    """A latent file's bytes with a path in the dtype of its latents, in place of one that it had."""
    from safetensors.torch import load

    tensors = load(content)
    tensors[latentfile.PATH] = states.to("cpu", tensors[latentfile.LATENTS].dtype)
    made = tensor_file.packed(tensors, {**tensor_file.metadata_of(content, where), RECORD: told})
    latentfile.from_bytes(made, where)
    return made
