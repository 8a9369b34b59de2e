"""Checkpoints: whole or absent, and enough to go on as if nothing had happened.

RUN/checkpoints/<step>/<role>/ holds the weights of each trained role and average, with its card, and
RUN/checkpoints/<step>/state/ the optimisers; state.json is written last. Random numbers are functions of the seed and
of positions (`Draws`), so the step is all the state that they have. Everything is safetensors or JSON.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trajkit import files
from trajkit.errors import TrajkitError

from .card import NAME as CARD
from .card import Card, write_card
from .roles import Cast, spread_like, whole

CHECKPOINTS, FINAL, STATE = "checkpoints", "final", "state"
SCHEMA = "trajkit.training/1"


def latest(run: Path) -> Path | None:
    """The folder of the last whole checkpoint of a run, if it has one."""
    found = _all(run)
    return found[-1] if found else None


def step_of(checkpoint: Path) -> int:
    """Steps that were done when it was written. Raises TrajkitError where state.json is damaged."""
    path = checkpoint / STATE / "state.json"
    state = files.read_json(path)
    if state.get("schema") != SCHEMA or not isinstance(state.get("step"), int):
        raise TrajkitError(path, f"not of the form {SCHEMA}", "remove this checkpoint; the one before it is used")
    return int(state["step"])


def clear(run: Path, keep: int) -> None:
    """Removes what an interrupted run left half written, and what it had yet to remove: see `save`."""
    for part in [*(run / CHECKPOINTS).glob(f"*{files.PART}"), run / f"{FINAL}{files.PART}"]:
        shutil.rmtree(part, ignore_errors=True)
    _forget(run, keep)


def save(run: Path, cast: Cast, step: int, cards: Mapping[str, Card], *, writes: bool, keep: int) -> Path:
    """Writes RUN/checkpoints/<step> and removes all but the last `keep` ones; all processes call, one writes."""
    folder = run / CHECKPOINTS / f"{step:07d}"
    part = folder.with_name(folder.name + files.PART)
    for name, card in cards.items():
        _save_network(cast, name, part / name, writes)
        if writes:
            write_card(part / name, card)
    for name in cast.optimizers:
        state = dict(_optimizer_state(cast, name))
        if writes:
            _write_tensors(part / STATE / f"{name}.safetensors", state)
    if writes:
        files.write_bytes(part / STATE / "state.json", files.json_bytes({"schema": SCHEMA, "step": step}))
        _publish(part, folder)
        _forget(run, keep)
    return folder


def restore(checkpoint: Path, cast: Cast) -> None:
    """Puts the optimisers into the state that the checkpoint holds. Raises TrajkitError where it does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name, optimizers in cast.optimizers.items():
        path = checkpoint / STATE / f"{name}.safetensors"
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            remedy = f"remove {checkpoint}; the checkpoint before it is used"
            raise TrajkitError(path, f"cannot be read ({error})", remedy) from None
        names = {id(one): its for its, one in cast.networks[name].named_parameters()}
        for number, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            parameters = optimizer.param_groups[0]["params"]
            for index, parameter in enumerate(parameters):
                for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer"):
                    value = tensors.pop(f"{number}.{key}.{names[id(parameter)]}", None)
                    if value is not None:
                        state.setdefault(index, {})[key] = value if key == "step" else spread_like(value, parameter)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        if tensors:
            raise TrajkitError(path, f"holds {min(tensors)}, which no parameter has", "start a run of its own")


def finish(run: Path, checkpoint: Path) -> None:
    """RUN/final: the weights of a checkpoint, as links where the file system has them."""
    part, final = run / f"{FINAL}{files.PART}", run / FINAL
    saved = sorted(path for path in checkpoint.iterdir() if path.name != STATE)
    if all(_same(role / CARD, final / role.name / CARD) for role in saved):
        return
    for role in saved:
        shutil.copytree(role, part / role.name, copy_function=_link)
    shutil.rmtree(final, ignore_errors=True)
    _publish(part, final)


def _all(run: Path) -> list[Path]:
    return sorted(path for path in (run / CHECKPOINTS).glob("*") if path.name.isdecimal())


def _forget(run: Path, keep: int) -> None:
    for old in _all(run)[:-keep] if keep else []:
        gone = old.with_name(old.name + files.PART)
        os.replace(old, gone)
        shutil.rmtree(gone)


def _save_network(cast: Cast, name: str, folder: Path, writes: bool) -> None:
    network = cast.networks[name]
    if name not in cast.bare:
        if writes:
            network.save(folder)
        return
    state = {key: whole(value) for key, value in network.state_dict().items()}
    if writes:
        bare = cast.bare[name]
        bare.load_state_dict(state, assign=True)
        bare.save(folder)
        bare.to("meta")


def _optimizer_state(cast: Cast, name: str) -> Iterator[tuple[str, Tensor]]:
    """("<number>.<key>.<parameter>", tensor) of a role's optimisers, in the order of the parameters."""
    names = {id(one): its for its, one in cast.networks[name].named_parameters()}
    for number, optimizer in enumerate(cast.optimizers[name]):
        for parameter in optimizer.param_groups[0]["params"]:
            state: Mapping[str, Any] = optimizer.state.get(parameter, {})
            for key, value in state.items():
                yield f"{number}.{key}.{names[id(parameter)]}", whole(value).contiguous()


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.clone() if tensor._is_view() else tensor for key, tensor in tensors.items()}, path)


def _publish(part: Path, folder: Path) -> None:
    """Renames a finished folder once its bytes are on the disk."""
    for path in sorted(part.rglob("*")):
        if path.is_file():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
        else:
            files.sync_folder(path)
    files.sync_folder(part)
    os.replace(part, folder)
    files.sync_folder(folder.parent)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and files.read_bytes(one) == files.read_bytes(other)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def digest(folder: Path) -> str:
    """SHA-256 of all files of a folder of weights and of their names: the same weights elsewhere are the same."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [f"{path.relative_to(folder).as_posix()} {files.sha256(path)}\n" for path in paths]
    return hashlib.sha256("".join(told).encode()).hexdigest()
