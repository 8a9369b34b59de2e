"""The export stage: clip folders and shards -> a folder in another trainer's layout, in the order of the keys.

`export.json` is written first: it says which layout, options and clips the folder is for, and nothing else may lie
there. What is finished stays on a rerun; the layout's index is written last.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trajkit import __version__, files, plugins
from trajkit.clip import Clip, member
from trajkit.errors import TrajkitError
from trajkit.options import as_dict, parse, split_spec
from trajkit.scene import Finding, Rejected
from trajkit.shards import open_shard
from trajkit.work import attempt

from .exports import Exported
from .score import Item, read_item, units

PLAN = "export.json"
SCHEMA = "trajkit.export/1"
Watch = Callable[[Iterable[Item], int, str], Iterable[Item]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What goes into which layout, known before anything is written."""

    layout: str
    module: ModuleType
    options: Any
    items: tuple[Item, ...]  # by key
    content: bytes  # of export.json


def make_plan(places: Sequence[Path], spec: str, only: Collection[str] | None = None) -> Plan:
    """The plan of a spec `NAME[:KEY=VALUE,...]` and the finished clips of folders and shards, or those in `only`.

    Raises TrajkitError for an unknown layout or option, a place without clips, and a key in `only` that none has.
    """
    layout, text = split_spec(spec)
    module = plugins.load("exports", layout)
    options = parse(module.Options, text, where=f"--to {layout}")
    found = {item.key: item for unit in units(places) for item in unit.items}
    if absent := sorted(set(only or ()) - found.keys()):
        more = f", nor {len(absent) - 1} other listed ones" if len(absent) > 1 else ""
        raise TrajkitError(", ".join(map(str, places)), f"no finished clip {absent[0]}{more}", "check --keys")
    items = tuple(found[key] for key in sorted(found if only is None else only))
    if not items:
        raise TrajkitError("--keys", "lists no clip", "accept some clips first")
    told = {"layout": layout, "options": as_dict(options), "clips": len(items), "trajkit": __version__}
    record = {"schema": SCHEMA, **told, "content": _digest(items)}
    return Plan(layout=layout, module=module, options=options, items=items, content=files.json_bytes(record))


def _digest(items: Iterable[Item]) -> str:
    """Over each clip's key and what holds its checksums: its json, or its shard's."""
    digest, shards = hashlib.sha256(), dict[Path, str]()
    for place, key in items:
        if place.is_dir():
            content = hashlib.sha256(files.read_bytes(member(place, key, "json"))).hexdigest()
        else:
            content = shards[place] = shards.get(place) or open_shard(place).index.sha256
        digest.update(f"{key} {content}\n".encode())
    return digest.hexdigest()


def export(
    plan: Plan, out: Path, *, watch: Watch = lambda items, total, unit: items
) -> tuple[Exported, list[Rejected]]:
    """Writes the folder; what the layout says of it, and the clips left out, by key.

    Raises TrajkitError before anything is written where the folder holds something else or another export.
    """
    unread: list[Rejected] = []

    def clips() -> Iterator[Clip]:
        for item in watch(plan.items, len(plan.items), "clips"):
            clip = attempt(read_item, item)
            if isinstance(clip, TrajkitError):
                message = f"{clip.problem}; {clip.remedy}"
                finding = Finding(code="unreadable", level="error", where=clip.where, message=message)
                unread.append(Rejected(key=item.key, findings=(finding,)))
            else:
                yield clip

    with files.locked(out):
        _check_free(out, plan.content)
        files.write_bytes(out / PLAN, plan.content)
        exported: Exported = plan.module.export(clips(), out, plan.options)
    left = [*unread, *getattr(exported, "rejected", ())]
    return exported, sorted(left, key=lambda one: one.key)


def _check_free(out: Path, content: bytes) -> None:
    remedy = "give --out a folder of its own, or delete that one"
    mine = out / PLAN
    if mine.is_file():
        if mine.read_bytes() != content:
            theirs, ours = files.read_json(mine), json.loads(content)
            others = ", ".join(name for name, value in ours.items() if theirs.get(name) != value)
            raise TrajkitError(out, f"holds another export (of another {others})", remedy)
    elif out.is_dir():
        strangers = sorted(path.name for path in out.iterdir() if path.name != PLAN + files.PART)
        if strangers:
            raise TrajkitError(out, f"holds {strangers[0]} but no {PLAN}", remedy)
