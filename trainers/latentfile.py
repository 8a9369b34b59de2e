"""`<key>.latent.safetensors`: what a clip is to a trainer. schemas/FORMAT.md describes it.

Nothing is unpickled, and every declared size is checked against the file before a tensor is made.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16
from torch import Tensor

from trajkit.errors import TrajkitError
from trajkit.latents import latent_count

from . import tensor_file

SCHEMA = "trajkit.latent/1"
SUFFIX = "latent.safetensors"
HEAD_BYTES = 1 << 14  # of the file's start; its JSON header lies within
LATENTS, PATH, TEXT = "latents", "trajectory", "text."  # names of tensors; the last one is a prefix
HALF = {"F16": 2, "BF16": 2}  # dtype -> bytes
ANY = {**HALF, "F32": 4, "I64": 8, "BOOL": 1}
REMEDY = "encode the clip again with trajkit encode"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a latent file says of itself."""

    encoder: str  # that made the latents
    frames: int  # of the video
    content: str  # SHA-256 of the video
    shapes: Mapping[str, tuple[int, ...]]  # of its tensors, by name
    pairs: str = ""  # how its path of a teacher was made: a JSON object

    @property
    def latents(self) -> tuple[int, int, int, int]:
        """F, C, H, W."""
        return self.shapes[LATENTS]  # type: ignore[return-value]

    @property
    def text(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the text's tensors, by the backbone's names."""
        return {name.removeprefix(TEXT): shape for name, shape in self.shapes.items() if name.startswith(TEXT)}

    @property
    def states(self) -> int:
        """Number of states of a teacher's path; 0 = it has none."""
        return self.shapes.get(PATH, (0,))[0]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Latents:
    """A latent file's tensors, as they are stored."""

    header: Header
    latents: Float[Tensor, "f c h w"]
    text: dict[str, Tensor]
    trajectory: Float[Tensor, "n f c h w"] | None


def to_bytes(
    latents: Float[Tensor, "f c h w"],
    text: Mapping[str, Tensor],
    *,
    encoder: str,
    frames: int,
    content: str,
    where: object,
) -> bytes:
    """A latent file: latents in float16, text as it is. Equal content gives equal bytes.

    Raises TrajkitError where the latents are not those of so many frames, or not finite in float16.
    """
    half: Float16[Tensor, "f c h w"] = latents.to(torch.float16)
    told = {"schema": SCHEMA, "encoder": encoder, "frames": str(frames), "content": content}
    packed = tensor_file.packed({LATENTS: half, **{TEXT + name: one for name, one in text.items()}}, told)
    from_bytes(packed, where)
    return packed


def header_of(start: bytes, size: int, where: object) -> Header:
    """The header of a latent file of `size` bytes, of which `start` are the first HEAD_BYTES, or all.

    Raises TrajkitError naming `where` for anything but a whole file of this schema.
    """
    length = int.from_bytes(start[: tensor_file.LENGTH_BYTES], "little")
    end = tensor_file.LENGTH_BYTES + length
    if size < end or len(start) < min(size, HEAD_BYTES):
        raise TrajkitError(where, f"is truncated, or no safetensors file ({size} bytes)", REMEDY)
    if end > HEAD_BYTES:
        raise TrajkitError(where, f"has a header of {length} bytes, not up to {HEAD_BYTES}", REMEDY)
    try:
        entries = json.loads(start[tensor_file.LENGTH_BYTES : end])
        told = {"schema": "none", PATH: "", **entries.pop("__metadata__")}
        if told["schema"] != SCHEMA:
            raise TrajkitError(where, f"is of schema {told['schema']!r}, not {SCHEMA}", REMEDY)
        if not re.fullmatch(r"[1-9][0-9]{0,8}", told["frames"]):
            raise ValueError(f"frames is {told['frames']!r}")
        own = {"encoder": told["encoder"], "content": told["content"], "pairs": told[PATH]}
        header = Header(**own, frames=int(told["frames"]), shapes=_shapes(entries, size - end))
        _check(header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise TrajkitError(where, f"damaged latent file ({said[:200]})", REMEDY) from None
    return header


def _shapes(entries: Mapping[str, Mapping], data_bytes: int) -> dict[str, tuple[int, ...]]:
    """Shapes by name. Raises ValueError unless known tensors fill the data without gap or overlap."""
    shapes: dict[str, tuple[int, ...]] = {}
    filled = 0
    for name, entry in sorted(entries.items(), key=lambda pair: pair[1]["data_offsets"]):
        widths = HALF if name in (LATENTS, PATH) else ANY
        if name not in (LATENTS, PATH) and not re.fullmatch(r"text\.[a-z0-9_]{1,40}", name):
            raise ValueError(f"unknown tensor {name[:80]!r}")
        if entry["dtype"] not in widths:
            raise ValueError(f"{name} is of type {entry['dtype']}, not {' or '.join(widths)}")
        shape = tuple(entry["shape"])
        if not all(type(side) is int and side > 0 for side in shape):
            raise ValueError(f"{name} has shape {shape}")
        begin, end = entry["data_offsets"]
        if begin != filled or end - begin != math.prod(shape) * widths[entry["dtype"]]:
            raise ValueError(f"{name} of shape {shape} does not lie at bytes {begin} to {end}")
        shapes[name], filled = shape, end
    if filled != data_bytes:
        raise ValueError(f"tensors take {filled} bytes, the file holds {data_bytes}: truncated?")
    return shapes


def _check(header: Header) -> None:
    """Raises ValueError where the header contradicts itself."""
    shape, path = header.shapes.get(LATENTS, ()), header.shapes.get(PATH)
    if not all(isinstance(told, str) for told in (header.encoder, header.content, header.pairs)):
        raise ValueError("its metadata are texts")
    try:
        wanted = latent_count(header.frames)
    except TrajkitError as error:
        raise ValueError(f"{error.where}: {error.problem}") from None
    if len(shape) != 4 or shape[0] != wanted:
        raise ValueError(f"latents of shape {shape} for {header.frames} frames, not ({wanted}, C, H, W)")
    if path is not None and (len(path) != 5 or path[1:] != shape):
        raise ValueError(f"a path of shape {path} to latents of {shape}")


def from_bytes(content: bytes, where: object) -> Latents:
    """A latent file's content. Raises TrajkitError naming `where` where it is damaged or a number is not finite."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = header_of(content[:HEAD_BYTES], len(content), where)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise TrajkitError(where, f"damaged latent file ({error})", REMEDY) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise TrajkitError(where, f"{name} is not finite in {str(tensor.dtype).removeprefix('torch.')}", REMEDY)
    text = {name: tensors[TEXT + name] for name in header.text}
    return Latents(header=header, latents=tensors[LATENTS], text=text, trajectory=tensors.get(PATH))
