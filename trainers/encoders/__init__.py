"""Encoders, one per file: pictures to latents, captions to text tensors. `Encoder(Encoding)` in each."""

import abc
import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from trajkit.errors import TrajkitError, nearest
from trajkit.options import split_spec

NAMES = ("hunyuan", "toy", "wan")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNNAMED = {"dtype", "torch_dtype", "transformers_version"}  # of a config: how it is held
SAMPLED = 64
# what diffusers and transformers raise for a folder or id that is none, or whose parts are missing or damaged
LOAD_FAILURES = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What shapes an encoder's output, apart from its weights."""

    source: str = ""  # a diffusers folder, or a hub id
    size: tuple[int, int] = (64, 64)  # width, height of the pictures that are latents (toy)
    dtype: str = "float32"  # that networks compute in
    tiling: bool = False  # encode pictures in tiles


class Encoding(abc.ABC):
    """Made on the CPU; `to` moves it. `id` names the weights: it is equal wherever they were loaded from."""

    multiple: ClassVar[int] = 1  # sides of the pictures must be one of this
    id: str

    @abc.abstractmethod
    def __init__(self, settings: Settings) -> None: ...

    @abc.abstractmethod
    def frames(self, count: int) -> Int64[np.ndarray, " n"]:
        """Which of a clip's frames `latents` takes."""

    @abc.abstractmethod
    def latents(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "f c h w"]:
        """The latents of a clip, normalised as its backbone takes them, on the CPU."""

    @abc.abstractmethod
    def text(self, caption: str, first: UInt8[np.ndarray, "h w 3"]) -> dict[str, Tensor]:
        """What the backbone is told beside cameras, by its names, without batch axis, on the CPU."""

    def to(self, device: str) -> None:  # noqa: B027 - an encoder without networks has nothing to move
        """Moves the networks."""


def encoder_class(spec: str) -> type[Encoding]:
    """The class that a spec such as "wan:PATH" names; nothing is loaded. Raises TrajkitError for an unknown name."""
    name = split_spec(spec)[0]
    if name not in NAMES:
        raise TrajkitError("--encoder", f"unknown encoder {name!r}", nearest(name, NAMES))
    found: type[Encoding] = importlib.import_module(f"{__name__}.{name}").Encoder
    return found


def part(cls: Any, source: str, name: str, **options: Any) -> Any:
    """One component of a diffusers folder or hub repository. Raises TrajkitError where it has none that loads."""
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        raise TrajkitError(source, "no such folder", "give a folder in diffusers' layout, or a hub id")
    try:
        made = cls.from_pretrained(str(Path(source).expanduser()) if source else source, subfolder=name, **options)
    except LOAD_FAILURES as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise TrajkitError(
            f"{source}/{name}", f"cannot be loaded ({reason})", "give a folder in diffusers' layout"
        ) from None
    return made.eval().requires_grad_(False) if isinstance(made, torch.nn.Module) else made


def identity(name: str, vae: Any, *others: Any) -> str:
    """`name:` and 16 digits that stand for the networks' configs and weights, alike in float32 and bfloat16.

    All of the VAE is hashed. Text encoders have gigabytes: of each of their tensors about 64 values are, evenly spread;
    training moves them all.
    """
    digest = hashlib.sha256()
    for network in (vae, *others):
        config = network.config if isinstance(network.config, Mapping) else network.config.to_diff_dict()
        kept = {key: value for key, value in config.items() if not key.startswith("_") and key not in UNNAMED}
        digest.update(repr(sorted(kept.items(), key=lambda item: item[0])).encode())
        for key, tensor in sorted(network.state_dict().items()):
            step = 1 if network is vae else max(tensor.numel() // SAMPLED, 1)
            some = tensor.flatten()[::step].to(torch.bfloat16).contiguous()
            digest.update(f"{key} {tuple(tensor.shape)}".encode() + some.view(torch.uint8).numpy().tobytes())
    return f"{name}:{digest.hexdigest()[:16]}"


def from_pictures(
    pictures: UInt8[np.ndarray, "n h w 3"], dtype: torch.dtype, device: Any
) -> Float[Tensor, "1 3 n h w"]:
    """Pictures in -1 .. 1 as a VAE takes them."""
    return (torch.from_numpy(pictures).to(device).permute(3, 0, 1, 2)[None] / 127.5 - 1).to(dtype)
