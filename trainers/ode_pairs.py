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
from trajkit.options import as_dict, option

from . import data, flow, latentfile, tensor_file
from .backbones import BackboneModule
from .batch import Batch
from .guidance import guided_velocity
from .latentfile import SUFFIX

LEARNED = ("shift", "timesteps", "first_frame")  # options that the stage has too


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
    needs: Collection[str] = data.NEEDED

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
        return contents[SUFFIX], data.sample(contents, where, scale=self.scale)

    def finish(self, where: str, prepared: tuple[bytes, Batch]) -> bytes:
        """The latent file with the teacher's path. Raises TrajkitError where a state is not finite."""
        content, batch = prepared[0], prepared[1].to(self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.options.precision == "bf16"):
            states = pairs(self.teacher, batch, noise_of(batch, self.options.seed), self.options)[0]
        return extended(content, states, self.identity, f"{where}.{SUFFIX}")


def extended(content: bytes, states: Float[Tensor, "n f c h w"], made: Mapping[str, Any], where: object) -> bytes:
    """A latent file's bytes with a path in the dtype of its latents, and how it was made, in place of one it had."""
    from safetensors.torch import load

    tensors = load(content)
    tensors[latentfile.PATH] = states.to("cpu", tensors[latentfile.LATENTS].dtype)
    told = {**tensor_file.metadata_of(content, where), latentfile.PATH: json.dumps(made, sort_keys=True)}
    packed = tensor_file.packed(tensors, told)
    latentfile.from_bytes(packed, where)
    return packed


def check(made: str, options: Any) -> None:
    """Raises TrajkitError unless paths that were `made` so (JSON) are those that the stage ode learns from."""
    try:
        said = {name: json.loads(made)[name] for name in LEARNED}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TrajkitError("clips", "do not say how their paths were made", "run trajkit pairs again") from None
    for name, value in said.items():
        asked = getattr(options, name)
        if value != asked:
            problem = f"their paths were made with {name} {value}, the stage has {asked}"
            raise TrajkitError("clips", problem, f"give --set stage.{name}={value!r}, or make paths for the stage")
