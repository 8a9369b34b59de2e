"""The pack stage: clip folders -> shards. The unit of work is one shard."""

import functools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from trajkit import __version__, files
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row
from trajkit.shard_plan import PLAN, Plan, PlanRecord, read_plan, shard_path
from trajkit.shards import Index, Source, index_path, read_index, write_shard
from trajkit.work import run

REMEDY = "give another --out, or delete that folder"


def claim(out: Path, plan: Plan) -> None:
    """Makes `out` a folder of this plan's shards by writing plan.json, and removes half-written files.

    Raises TrajkitError where the folder holds shards of another plan, or tars that no plan names: none is touched.
    """
    content, mine = files.json_bytes(asdict(plan.record)), out / PLAN
    if out.resolve() in {folder.resolve() for folder in {source.folder for shard in plan.shards for source in shard}}:
        raise TrajkitError(out, "is a clip folder", "give --out a folder of its own")
    if mine.is_file():
        theirs = read_plan(mine)
        if theirs.plan != plan.record.plan:
            raise TrajkitError(out, f"holds shards of another plan ({_difference(theirs, plan.record)})", REMEDY)
    elif stray := sorted(out.glob("*.tar")):
        raise TrajkitError(out, f"holds {stray[0].name} but no {PLAN}", REMEDY)
    files.remove_parts(out, "shard-")
    if not mine.is_file() or mine.read_bytes() != content:
        files.write_bytes(mine, content)


def _difference(theirs: PlanRecord, ours: PlanRecord) -> str:
    for name in ("seed", "shard_clips", "shard_bytes", "clips"):
        if getattr(theirs, name) != getattr(ours, name):
            return f"{name} {getattr(theirs, name)}, now {getattr(ours, name)}"
    return "other clips"


def pack(plan: Plan, out: Path, *, workers: int = 1, executor: str = "local") -> Iterator[Index]:
    """The finished shards' indexes in their order; those that are done are kept, torn ones written again.

    Raises the first TrajkitError after every other shard is done.
    """
    failures = []
    with files.locked(out):
        claim(out, plan)
        done = {number for number in range(plan.record.shards) if kept(out, number, plan.record)}
        jobs = ((number, shard) for number, shard in enumerate(plan.shards) if number not in done)
        ledger = Ledger(out)
        write = functools.partial(_write, out=out, record=plan.record)
        with closing(run(write, jobs, workers, name=_name, executor=executor)) as fresh:
            for number, shard in enumerate(plan.shards):
                result = (kept(out, number, plan.record) if number in done else None) or next(fresh)
                if isinstance(result, TrajkitError):
                    failures.append(result)
                    continue
                ledger.append(f"pack-{number:06d}", [_row(source, number) for source in shard])
                yield result
    if failures:
        more = f" ({len(failures) - 1} more shards failed)" if len(failures) > 1 else ""
        raise TrajkitError(failures[0].where, failures[0].problem + more, failures[0].remedy)


def _name(job: tuple[int, tuple[Source, ...]]) -> str:
    return shard_path(Path(), job[0]).name


def _write(job: tuple[int, tuple[Source, ...]], out: Path, record: PlanRecord) -> Index:
    number, sources = job
    return write_shard(shard_path(out, number), sources, plan=record.plan, shard=number, shards=record.shards)


def kept(out: Path, number: int, record: PlanRecord) -> Index | None:
    """The index of a shard that is done. A json that does not fit its tar, or is damaged, is a torn shard."""
    path = shard_path(out, number)
    if not (path.is_file() and index_path(path).is_file()):
        return None
    try:
        index = read_index(index_path(path))
    except TrajkitError:
        return None
    whole = (index.plan, index.shard, index.bytes) == (record.plan, number, path.stat().st_size)
    return index if whole else None


def _row(source: Source, number: int) -> Row:
    return Row(
        key=source.key, stage="pack", state="packed", values={"shard": number}, versions={"trajkit": __version__}
    )
