"""Networks from folders, released files and the hub, and into folders.

A folder holds what diffusers' from_pretrained reads (config.json, diffusion_pytorch_model*.safetensors) and
camera.safetensors: the layers that cameras need, and whose they are. config.json is written last: without it there are
no weights. No weight is left unloaded and none is dropped: both are errors. The reading is not from_pretrained's,
which leaves new layers on the meta device and drops unknown ones (reference/trainer_peers.md 4.3).
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.options import parse, split_spec

from .. import released
from ..card import NAME as CARD
from ..card import read_card
from ..tensor_file import metadata_of, packed
from . import BackboneModule, Conditioning

CONFIG, CAMERA, WEIGHTS = "config.json", "camera.safetensors", "diffusion_pytorch_model"
INDEX = f"{WEIGHTS}.safetensors.index.json"
RELEASED = "model.pt"  # minWM's name
SHARD_BYTES = 8 << 30
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILES = ["transformer/*", CONFIG, f"{WEIGHTS}*", CAMERA, CARD]
B = TypeVar("B", bound=BackboneModule)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """A network as it is stored."""

    where: Path
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    camera: Mapping[str, Tensor]
    conditioning: Conditioning


def load(cls: type[B], source: str, conditioning: Conditioning | None, dtype: torch.dtype) -> B:
    """See `BackboneModule.load`; conditioning None = that of the source.

    A network without conditioning can be given one: its camera layers are then new, and zero. Any other change is
    refused.
    """
    kind, rest = split_spec(source)
    if kind == "random":
        options = parse(sys.modules[cls.__module__].Options, rest, where=f"backbone {cls.name}: {source}")
        return cls.random(options, conditioning or "none").to(dtype)  # type: ignore[attr-defined]
    found = _found(cls, source)
    wanted = conditioning or found.conditioning
    if found.conditioning not in ("none", wanted):
        problem = f"its cameras come in by {found.conditioning}, not {wanted}"
        raise TrajkitError(found.where, problem, f"ask for {found.conditioning}, or start from weights without cameras")
    made, stored = _empty(cls, found, wanted), found.conditioning == wanted
    model, camera = made.get_submodule("model"), made.get_submodule("camera")
    _fill(model, found.weights, found.where, dtype)
    new = {} if stored else {name: torch.zeros(tensor.shape) for name, tensor in camera.state_dict().items()}
    _fill(camera, found.camera if stored else new, found.where, dtype)
    return made


def save(backbone: BackboneModule, folder: Path) -> None:
    """See `BackboneModule.save`; a kill on the way leaves a folder without config.json."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    model: Any = backbone.get_submodule("model")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / CONFIG, *folder.glob(f"{WEIGHTS}*")):
        old.unlink(missing_ok=True)  # never written over: the tensors may be views of these files
    told = {"backbone": backbone.name, "conditioning": backbone.conditioning}
    files.write_bytes(folder / CAMERA, packed(_state(backbone.get_submodule("camera")), told))
    weights = _state(model)
    pattern = WEIGHTS + "{suffix}.safetensors"
    split = split_torch_state_dict_into_shards(weights, filename_pattern=pattern, max_shard_size=SHARD_BYTES)
    for name, keys in split.filename_to_tensors.items():
        save_file({key: weights[key] for key in keys}, folder / name, {"format": "pt"})
        with open(folder / name, "rb") as stream:
            os.fsync(stream.fileno())
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        files.write_bytes(folder / INDEX, files.json_bytes(index))
    files.write_bytes(folder / CONFIG, model.to_json_string().encode())


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _found(cls: type[BackboneModule], source: str) -> Found:
    """What `source` names: a folder, a file, a folder that holds one of them, or a hub id."""
    path = Path(source)
    if not path.exists() and HUB_ID.fullmatch(source) and not path.parent.exists():
        path = _fetched(source)
    for folder in (path, path / "transformer"):
        if (folder / CONFIG).is_file():
            return _in_folder(cls, folder)
    for file in (path, path / RELEASED):
        if file.is_file():
            return _in_file(cls, file)
    if not path.exists():
        raise TrajkitError(source, "no such folder, file or hub id", "check the path, or give random")
    problem = f"holds neither {CONFIG} nor {RELEASED}"
    raise TrajkitError(path, problem, "give a folder of weights; one whose writing was cut off has to be written again")


def _in_folder(cls: type[BackboneModule], folder: Path) -> Found:
    config = files.read_json(folder / CONFIG)
    if config.get("_class_name") != cls.architecture:
        problem = f"describes a {config.get('_class_name')}, and backbone {cls.name} is a {cls.architecture}"
        raise TrajkitError(folder / CONFIG, problem, f"give a diffusers folder of a {cls.architecture}")
    names = {f"{WEIGHTS}.safetensors"}
    if (folder / INDEX).is_file():
        placed = files.read_json(folder / INDEX).get("weight_map")
        if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
            raise TrajkitError(folder / INDEX, "has no weight_map of file names", "copy the folder again")
        names = set(placed.values())
    weights: dict[str, Tensor] = {}
    for name in sorted(names):
        weights |= released.tensors_of(files.inside(folder, name))
    name, conditioning, camera = _cameras(folder)
    if name not in ("", cls.name):
        raise TrajkitError(folder, f"holds weights of backbone {name}, not {cls.name}", f"use backbone {name}")
    return Found(where=folder, config=config, weights=weights, camera=camera, conditioning=conditioning)


def _cameras(folder: Path) -> tuple[str, Conditioning, dict[str, Tensor]]:
    """(backbone or "", conditioning, camera layers) by the card and by camera.safetensors, which must agree."""
    told: set[tuple[str, Any]] = set()
    camera: dict[str, Tensor] = {}
    if (folder / CARD).is_file():
        card = read_card(folder)
        told.add((card.backbone, card.conditioning))
    if (folder / CAMERA).is_file():
        camera = released.tensors_of(folder / CAMERA)
        header = metadata_of(files.read_bytes(folder / CAMERA), folder / CAMERA)
        told.add((header.get("backbone", ""), header.get("conditioning", "")))
    if len(told) > 1:
        raise TrajkitError(folder, f"{CARD} and {CAMERA} are of different networks", "copy the whole folder again")
    found: tuple[str, Any] = told.pop() if told else ("", "none")
    name, how = found
    if how not in get_args(Conditioning):
        raise TrajkitError(folder / CAMERA, f"names no conditioning ({how!r})", "copy the whole folder again")
    return name, how, camera


def _in_file(cls: type[BackboneModule], path: Path) -> Found:
    if cls.name != "wan":
        raise TrajkitError(path, f"released files are read for backbone wan, not {cls.name}", "give a diffusers folder")
    state = released.read(path)
    config = released.config_of(state, path)
    weights, camera = released.to_diffusers(state)
    how: Conditioning = "prope" if camera else "none"
    return Found(where=path, config=config, weights=weights, camera=camera, conditioning=how)


def _fetched(repository: str) -> Path:
    """The folder where the hub's copy lies. Raises TrajkitError where the hub does not hand it out."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(repository, allow_patterns=HUB_FILES))
    except (OSError, ValueError, HfHubHTTPError) as error:
        problem = f"no such folder, and the hub does not hand it out ({str(error).strip().splitlines()[0]})"
        raise TrajkitError(repository, problem, "check the name, the network and the access token") from None


def _empty(cls: type[B], found: Found, conditioning: Conditioning) -> B:
    """The network without memory for its weights."""
    import diffusers
    from accelerate import init_empty_weights

    try:
        with init_empty_weights():
            model = getattr(diffusers, cls.architecture).from_config(dict(found.config))
            return cls(model, conditioning)
    except (TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
        problem = f"describes no {cls.architecture} that can be made ({error})"
        raise TrajkitError(found.where, problem, "restore its config.json") from None


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], where: Path, dtype: torch.dtype) -> None:
    """Gives every parameter its tensor. Raises TrajkitError for one missing, too many, misshapen or not finite."""
    expected = module.state_dict()
    for problem, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("holds unknown", tensors.keys() - expected.keys()),
        ("holds misshapen", {name for name in expected.keys() & tensors.keys() if _differs(expected, tensors, name)}),
        ("holds not finite", {name for name, tensor in tensors.items() if not tensor.isfinite().all()}),
    ):
        if names:
            some = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise TrajkitError(where, f"{problem} weights: {some} ({len(names)} in all)", "give the whole network's")
    wide = tuple(getattr(module, "_keep_in_fp32_modules", None) or ())
    cast = {  # copies: a file's map lies at any address, and BLAS rounds by alignment, so a resumed run would differ
        name: tensor.to(torch.float32 if set(name.split(".")) & set(wide) else dtype, copy=True)
        for name, tensor in tensors.items()
    }
    module.load_state_dict(cast, assign=True)


def _differs(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str) -> bool:
    return expected[name].shape != tensors[name].shape
