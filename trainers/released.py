"""Weights under the names of minWM (and of Wan's first release): to diffusers' names and camera layers, and back.

minWM writes `model.pt`: {"generator": {...}} or {"generator_ema": {...}}, names with `model.` in front and FSDP's
wrapping anywhere in them (reference/minwm.md 13). Its norm3 is diffusers' norm2; its prope_o is the output of the
projective branch. A file says nothing of heads: Wan's are 128 wide in every size.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trajkit.errors import TrajkitError

HEAD_DIM = 128
COLLECTIONS = ("generator_ema", "generator")  # the first that is there: what minWM rolls out is the average
WRAPPING = re.compile(r"(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.|^(model|module)\.")
PLACE = re.compile(r"(?:blocks\.(\d+)\.)?(.+?)(\.weight|\.bias)?")
TOP = {  # minWM's -> diffusers'
    "patch_embedding": "patch_embedding",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
BLOCK = {
    **{f"self_attn.{theirs}": f"attn1.{ours}" for theirs, ours in _ATTENTION.items()},
    **{f"cross_attn.{theirs}": f"attn2.{ours}" for theirs, ours in _ATTENTION.items()},
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}
CAMERA = "self_attn.prope_o"  # of block i: `<i>.out` of the camera layers


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a released file, safetensors or torch's (no pickled code is run), names without wrapping.

    Raises TrajkitError where it cannot be read or holds no Wan network.
    """
    content: Any = tensors_of(path) if path.suffix == ".safetensors" else _unpickled(path)
    if isinstance(content, Mapping):
        content = next((content[name] for name in COLLECTIONS if name in content), content)
    if not isinstance(content, Mapping) or not all(isinstance(one, Tensor) for one in content.values()):
        raise TrajkitError(path, "holds no state dict", f"give minWM's model.pt, with {' or '.join(COLLECTIONS)}")
    return {WRAPPING.sub("", str(name)): tensor for name, tensor in content.items()}


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, read as they are used. Raises TrajkitError where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise TrajkitError(path, "no such file", "copy the whole folder again") from None
    except (OSError, SafetensorError) as error:
        raise TrajkitError(path, f"not a whole safetensors file ({error})", "copy it again") from None


def _unpickled(path: Path) -> Any:
    """What torch.save wrote, tensors and plain containers only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        problem = f"not a whole file of tensors ({str(error).splitlines()[0][:120] if str(error) else 'empty'})"
        raise TrajkitError(path, problem, "copy it again; files that hold more than tensors are not read") from None


def to_diffusers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(weights under diffusers' names, camera layers' weights); names that are not minWM's stay as they are."""
    weights, camera = {}, {}
    for name, tensor in state.items():
        number, part, end = _split(name)
        if part == CAMERA:
            camera[f"{number}.out{end}"] = tensor
        else:
            weights[_renamed(number, part, end, TOP, BLOCK)] = tensor
    return weights, camera


def from_diffusers(weights: Mapping[str, Tensor], camera: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """minWM's state dict, without `model.` in front: the inverse of `to_diffusers`."""
    top, block = ({ours: theirs for theirs, ours in table.items()} for table in (TOP, BLOCK))
    state = {_renamed(*_split(name), top, block): tensor for name, tensor in weights.items()}
    for name, tensor in camera.items():
        number, end = name.split(".out")
        state[f"blocks.{number}.{CAMERA}{end}"] = tensor
    return state


def config_of(state: Mapping[str, Tensor], where: object, head_dim: int = HEAD_DIM) -> dict[str, Any]:
    """diffusers' configuration of the network, read off the shapes. Raises TrajkitError where they are not Wan's."""
    try:
        width, channels, *patch = state["patch_embedding.weight"].shape
        text, freq = state["text_embedding.0.weight"].shape[1], state["time_embedding.0.weight"].shape[1]
        ffn, out = state["blocks.0.ffn.0.weight"].shape[0], state["head.head.weight"].shape[0]
    except (KeyError, ValueError, IndexError):
        found = ", ".join(sorted(state)[:2]) or "nothing"
        raise TrajkitError(where, f"is no Wan network (it holds {found})", "give minWM's model.pt for Wan") from None
    if len(patch) != 3 or width % head_dim:
        problem = f"patches of {len(patch)} axes and width {width} are not Wan's"
        raise TrajkitError(where, problem, f"Wan has 3 axes and heads {head_dim} wide; give a diffusers folder")
    return {
        "patch_size": patch,
        "num_attention_heads": width // head_dim,
        "attention_head_dim": head_dim,
        "in_channels": channels,
        "out_channels": out // (patch[0] * patch[1] * patch[2]),
        "text_dim": text,
        "freq_dim": freq,
        "ffn_dim": ffn,
        "num_layers": len({_split(name)[0] for name in state} - {""}),
    }


def _split(name: str) -> tuple[str, str, str]:
    """(number of the block or "", part, ".weight", ".bias" or "")."""
    number, part, end = PLACE.fullmatch(name).groups("")  # type: ignore[union-attr]
    return number, part, end


def _renamed(number: str, part: str, end: str, top: Mapping[str, str], block: Mapping[str, str]) -> str:
    return f"blocks.{number}.{block.get(part, part)}{end}" if number else f"{top.get(part, part)}{end}"
