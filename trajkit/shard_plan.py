"""Which clip goes to which shard: planned before any is written, from the clips, a seed and two limits alone."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from annotated_types import Ge

from trajkit import files, seeding
from trajkit.clip import clip_keys, member
from trajkit.errors import TrajkitError
from trajkit.members import REQUIRED, STRICT, SUFFIXES, Hex, check_key, from_json, record_from_bytes
from trajkit.shards import Source

PLAN = "plan.json"
SCHEMA: Final = "trajkit.plan/1"
SHARD_CLIPS = 1000
SHARD_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRecord:
    """The content of `plan.json`, which is written before the first shard: what this folder of shards will hold."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.plan/1"]
    plan: Hex  # digest of everything below and of each clip's key, sizes and content
    seed: int
    shard_clips: Annotated[int, Ge(1)]
    shard_bytes: Annotated[int, Ge(1)]
    shards: Annotated[int, Ge(1)]
    clips: Annotated[int, Ge(1)]
    frames: Annotated[int, Ge(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which clip goes to which shard: a function of the clips, the seed and the two limits."""

    record: PlanRecord
    shards: tuple[tuple[Source, ...], ...]  # in each shard the clips are sorted by key


def survey(folders: Sequence[Path], only: Collection[str] | None = None) -> tuple[list[Source], list[str]]:
    """The finished clips of the folders (or those of them in `only`), sorted by key, and the keys of unfinished ones.

    Raises TrajkitError for a clip with a missing member or a damaged json, for a key that occurs twice, for an mp4
    whose name is no key, and for a key in `only` that no folder holds.
    """
    found: dict[str, Source] = {}
    unfinished: set[str] = set()
    for folder in folders:
        if (folder / PLAN).is_file():
            raise TrajkitError(folder, "holds shards, not clips", "give clip folders")
        for key in clip_keys(folder):
            if only is not None and key not in only:
                continue
            source = _source(folder, key)
            if key in found:
                problem = f"clip {key} is also in {found[key].folder}"
                raise TrajkitError(folder, problem, "give each clip once, or rename the folder's clips")
            found[key] = source
        unfinished |= {check_key(path.name.removesuffix(".mp4"), folder) for path in folder.glob("*.mp4")}
    absent = sorted(set(only or ()) - found.keys())
    if absent:
        problem = f"no finished clip {absent[0]}" + (f", nor {len(absent) - 1} other listed ones" * (len(absent) > 1))
        raise TrajkitError(", ".join(map(str, folders)), problem, "give the folders that the list was made from")
    if not found:
        raise TrajkitError(", ".join(map(str, folders)), "no finished clips", "give folders that trajkit render wrote")
    unfinished -= found.keys()
    return [found[key] for key in sorted(found)], sorted(unfinished if only is None else unfinished & set(only))


def _source(folder: Path, key: str) -> Source:
    json = member(folder, key, "json")
    content = files.read_bytes(json)
    record = record_from_bytes(content, json)
    if record.key != key:
        raise TrajkitError(json, f"is the json of clip {record.key}", "rename the clip's files back")
    sizes = {}
    for suffix in SUFFIXES:
        path = member(folder, key, suffix)
        if path.is_file():
            sizes[suffix] = path.stat().st_size
        elif suffix in REQUIRED or (suffix == "depth.npz" and record.depth):
            raise TrajkitError(path, "no such file", "make the clip again; its json says that it is done")
    digest = hashlib.sha256(content).hexdigest()
    return Source(key=key, folder=folder, sizes=tuple(sorted(sizes.items())), frames=record.frames, content=digest)


def make_plan(
    sources: Sequence[Source], *, seed: int = 0, shard_clips: int = SHARD_CLIPS, shard_bytes: int = SHARD_BYTES
) -> Plan:
    """The plan of these clips (sorted by key): shuffled by the seed, then cut where a shard would pass a limit.

    A clip that is larger than shard_bytes gets a shard of its own.
    """
    shards: list[list[Source]] = []
    filled = 0
    for position in seeding.generator(seed, "pack").permutation(len(sources)):
        source = sources[position]
        if not shards or len(shards[-1]) == shard_clips or filled + source.packed_bytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(source)
        filled += source.packed_bytes
    digest = hashlib.sha256(f"{SCHEMA} {seed} {shard_clips} {shard_bytes}".encode())
    for source in sources:
        digest.update(f"\n{source.key} {source.sizes} {source.content}".encode())
    record = PlanRecord(
        schema=SCHEMA,
        plan=digest.hexdigest(),
        seed=seed,
        shard_clips=shard_clips,
        shard_bytes=shard_bytes,
        shards=len(shards),
        clips=len(sources),
        frames=sum(source.frames for source in sources),
    )
    return Plan(record=record, shards=tuple(tuple(sorted(shard)) for shard in shards))


def shard_path(out: Path, number: int) -> Path:
    """Path of a shard's tar."""
    return out / f"shard-{number:06d}.tar"


def read_plan(path: Path) -> PlanRecord:
    """The content of plan.json. Raises TrajkitError for anything that does not fit."""
    record: PlanRecord = from_json(PlanRecord, files.read_bytes(path), path)
    return record
