"""The check stage: what is wrong with clips, shards and folders of either; one finding each, never only the first."""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from trajkit import files, tar
from trajkit.check_clip import Findings, check_clip
from trajkit.clip import clip_keys, member
from trajkit.errors import TrajkitError
from trajkit.members import SUFFIXES
from trajkit.scene import Finding
from trajkit.shard_plan import PLAN, PlanRecord, read_plan, shard_path
from trajkit.shards import Index, index_path, read_index
from trajkit.work import run

BATCH = 8  # clips of a folder that a worker checks at a time
# folders that stages write beside clips and shards
BESIDE = {"ledger", "scenes", "scores", "filter", "original", "fitness"}
NOTES = {".toml", ".md", ".parquet"}  # resolved options, a data card, weights


class Unit(NamedTuple):
    """What one worker checks at a time: one tar, or some clips of a folder."""

    path: Path
    keys: tuple[str, ...] = ()  # of the clips; () = path is a tar

    def __str__(self) -> str:
        return str(self.path)


class Checked(NamedTuple):
    """What was seen and what is wrong with it."""

    keys: tuple[str, ...]
    frames: int
    findings: tuple[Finding, ...]


def check(paths: Sequence[Path], *, decode: bool = True, workers: int = 1) -> Iterator[Checked]:
    """The findings of clip folders, folders of shards, and tars, part by part.

    Raises TrajkitError only for a path where there is nothing to check.
    """
    units: list[Unit] = []
    for path in paths:
        findings = Findings()
        units += list_units(path, findings)
        yield Checked((), 0, tuple(findings))
    twins = Counter[tuple[bool, str]]()  # a clip may lie in a folder and, packed, in a shard
    for unit, result in zip(units, run(functools.partial(check_unit, decode=decode), units, workers), strict=True):
        if isinstance(result, TrajkitError):
            findings = Findings()
            findings.add("failed", unit, f"{result.problem}; {result.remedy}")
            result = Checked((), 0, tuple(findings))
        twins.update((unit.path.is_dir(), key) for key in result.keys)
        yield result
    findings = Findings()
    for (_, key), count in sorted(twins.items()):
        if count > 1:
            findings.add("duplicate-key", key, f"occurs {count} times in what was checked; keys name one clip each")
    yield Checked((), 0, tuple(findings))


def list_units(path: Path, findings: Findings) -> list[Unit]:
    """What to check at a path; what is wrong with the folder itself is added to the findings."""
    if path.is_file():
        return [Unit(path)]
    if not path.is_dir():
        raise TrajkitError(path, "no such file or folder", "check the path")
    if (path / PLAN).exists() or any(path.glob("*.tar")):
        return _list_shards(path, findings)
    units = _list_clips(path, findings)
    if not units and not findings:
        raise TrajkitError(path, "holds neither clips nor shards", "give a folder of clips or shards, or a tar")
    return units


def _list_clips(folder: Path, findings: Findings) -> list[Unit]:
    done = set(clip_keys(folder))
    unfinished: dict[str, list[str]] = {}
    for path in _strangers(folder, findings):
        key, _, suffix = path.name.partition(".")
        if suffix not in SUFFIXES:
            findings.add("stray-file", path, "belongs to no clip", level="warning")
        elif key not in done:
            unfinished.setdefault(key, []).append(suffix)
    for key, suffixes in unfinished.items():
        message = f"not finished: it has {', '.join(suffixes)} but no json; run the same command again, or delete it"
        findings.add("unfinished-clip", folder / key, message)
    keys = sorted(done)
    return [Unit(folder, tuple(keys[start : start + BATCH])) for start in range(0, len(keys), BATCH)]


def _list_shards(folder: Path, findings: Findings) -> list[Unit]:
    plan = None
    with findings.noting("bad-plan"):
        plan = read_plan(folder / PLAN)
    tars = sorted(folder.glob("*.tar"))
    mine = {folder / PLAN, *tars, *map(index_path, tars)}
    wanted = [shard_path(folder, number) for number in range(plan.shards if plan else 0)]
    for path in wanted:
        if path not in mine:
            findings.add("missing-shard", path, f"is missing; {PLAN} says {len(wanted)} shards; run trajkit pack again")
            mine.add(index_path(path))
    for path in tars:
        if plan and path not in wanted:
            findings.add("stray-shard", path, f"is none of the {len(wanted)} shards of {PLAN}")
        elif plan and index_path(path).is_file():
            with findings.noting("bad-index"):
                _check_plan(path, read_index(index_path(path)), plan, findings)
    for path in _strangers(folder, findings):
        if path not in mine:
            findings.add("stray-file", path, "belongs to no shard", level="warning")
    return [Unit(path) for path in tars]


def _check_plan(path: Path, index: Index, plan: PlanRecord, findings: Findings) -> None:
    if (index.plan, index.shards) != (plan.plan, plan.shards) or path != shard_path(path.parent, index.shard):
        findings.add("other-plan", path, f"was written by another plan than {PLAN}; pack again into a new folder")


def _strangers(folder: Path, findings: Findings) -> Iterable[Path]:
    """The folder's entries, apart from what any stage leaves there. A .part file is a finding."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith(files.PART):
            findings.add("part-file", path, "half written; run the same command again, or delete it")
        elif not (path.name in BESIDE and path.is_dir()) and path.suffix not in NOTES:
            yield path


def check_unit(unit: Unit, decode: bool) -> Checked:
    """What is wrong with one unit's content."""
    if not unit.keys:
        return _check_tar(unit.path, decode)
    findings, frames = Findings(), 0
    for key in unit.keys:
        paths = {suffix: member(unit.path, key, suffix) for suffix in SUFFIXES}
        contents = {suffix: path for suffix, path in paths.items() if path.is_file()}
        frames += check_clip(key, contents, str(unit.path / key), findings, decode=decode)
    return Checked(unit.keys, frames, tuple(findings))


def _check_tar(path: Path, decode: bool) -> Checked:
    findings, frames, keys = Findings(), 0, []
    index = None
    if index_path(path).is_file():
        with findings.noting("bad-index"):
            index = read_index(index_path(path))
    else:
        findings.add("unfinished-shard", path, f"has no {index_path(path).name}; run the same trajkit pack again")
    listed: list[tar.Member] = []
    with findings.noting("bad-tar"):
        for entry in tar.members(path, lambda error: findings.note("unsafe-member", error)):
            listed.append(entry)
    if index:
        _compare(path, index, listed, findings)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for key, entries in groupby(listed, attrgetter("key")):
            contents = {entry.suffix: os.pread(descriptor, entry.size, entry.offset) for entry in entries}
            frames += check_clip(key, contents, f"{path}: {key}", findings, decode=decode)
            keys.append(key)
    finally:
        os.close(descriptor)
    if index and index.frames != frames:
        findings.add("counts", path, f"its json says {index.frames} frames, its clips {frames}; pack again")
    return Checked(tuple(keys), frames, tuple(findings))


def _compare(path: Path, index: Index, listed: list[tar.Member], findings: Findings) -> None:
    """The tar against its json: size, checksum, and where each member lies."""
    size = path.stat().st_size
    if size != index.bytes:
        findings.add("checksum", path, f"has {size} bytes, its json says {index.bytes}; {tar.RESTORE}")
    elif files.sha256(path) != index.sha256:
        findings.add("checksum", path, f"its SHA-256 is not that in its json; {tar.RESTORE}")
    said = {
        tar.Member(key, suffix, *place) for key, places in index.members.items() for suffix, place in places.items()
    }
    for entry in sorted(said - set(listed)):
        message = f"{entry.name} is not at byte {entry.offset} with {entry.size} bytes, as its json says; {tar.RESTORE}"
        findings.add("offsets", path, message)
    for entry in sorted(set(listed) - said):
        findings.add("offsets", path, f"{entry.name} at byte {entry.offset} is not in its json; {tar.RESTORE}")


def summary(parts: Iterable[Checked]) -> Checked:
    """All parts as one."""
    keys: list[str] = []
    findings: list[Finding] = []
    frames = 0
    for part in parts:
        keys += part.keys
        frames += part.frames
        findings += part.findings
    return Checked(tuple(keys), frames, tuple(findings))
