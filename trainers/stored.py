"""Clips wherever they lie: folders of clips, folders of shards, single tars. Members are read at random."""

import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from trajkit import tar
from trajkit.clip import clip_keys, member
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger
from trajkit.members import SUFFIXES
from trajkit.shard_plan import PLAN, read_plan, shard_path
from trajkit.shards import open_shard, read_members
from trajkit.work import attempt

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # items held ready per worker


class Stored(NamedTuple):
    """A finished clip and where its members lie."""

    key: str
    home: Path  # a clip folder, or a tar
    members: tuple[tuple[str, int, int], ...]  # (suffix, first byte, bytes), sorted; in a folder the first byte is 0
    tar_bytes: int = 0  # 0 = in a folder

    @property
    def where(self) -> str:
        """What an error calls it."""
        return f"{self.home}: {self.key}" if self.tar_bytes else str(self.home / self.key)

    def read(self, suffixes: Collection[str], limit: int = 1 << 40) -> dict[str, bytes]:
        """Content of those of the members that it has, each up to `limit` bytes from its start.

        Raises TrajkitError where one is missing, or the tar holds something else there.
        """
        wanted = [tar.Member(self.key, *one) for one in self.members if one[0] in suffixes]
        if self.tar_bytes:
            return read_members(self.home, wanted, self.tar_bytes, limit)
        return {one.suffix: _start(member(self.home, self.key, one.suffix), limit) for one in wanted}

    def size(self, suffix: str) -> int:
        """Bytes of a member; 0 = it has none."""
        return next((size for name, _, size in self.members if name == suffix), 0)


def _start(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(min(limit, os.fstat(stream.fileno()).st_size))
    except OSError as error:
        raise TrajkitError(path, error.strerror or str(error), "make the clip again, or restore the file") from None


def find(
    sources: Sequence[Path], only: Collection[str] | None = None, suffixes: Collection[str] = SUFFIXES
) -> list[Stored]:
    """The finished clips of all sources (or those in `only`), sorted by key, and where those members of theirs lie.

    Raises TrajkitError for sources without clips, a shard that is not done, a key that occurs twice, a clip that the
    ledger beside it does not accept, and for a key in `only` that no source holds.
    """
    found: dict[str, Stored] = {}
    for source in sources:
        refused = _refused(source if source.is_dir() else source.parent)
        for clip in _clips(source, suffixes):
            if only is not None and clip.key not in only:
                continue
            if clip.key in refused:
                remedy = "list the clips to use, one key a line, as trajkit filter does in filter/accepted.txt"
                raise TrajkitError(clip.where, f"is {refused[clip.key]} by its ledger", remedy)
            if clip.key in found:
                problem = f"clip {clip.key} is also in {found[clip.key].home}"
                raise TrajkitError(clip.home, problem, "give each clip once")
            found[clip.key] = clip
    where = ", ".join(map(str, sources)) or "sources"
    absent = sorted(set(only or ()) - found.keys())
    if absent:
        problem = f"no finished clip {absent[0]}" + (f", nor {len(absent) - 1} other listed ones" * (len(absent) > 1))
        raise TrajkitError(where, problem, "give what the list was made from")
    if not found:
        raise TrajkitError(where, "no finished clips", "give folders of shards or clips that are done, or tars")
    return [found[key] for key in sorted(found)]


def _refused(folder: Path) -> dict[str, str]:
    """What `trajkit filter` called the clips of a folder that it did not accept, and why."""
    import polars as pl

    rows = Ledger(folder).scan().filter(pl.col("stage") == "filter").collect()
    newest = rows.filter(pl.col("attempt") == pl.col("attempt").max(), pl.col("state") != "accepted")
    told = newest.unique("key", keep="first").select("key", "state", "reason").iter_rows()
    return {key: f"{state} ({reason})" for key, state, reason in told}


def _clips(source: Path, suffixes: Collection[str]) -> Iterator[Stored]:
    if source.is_file():
        yield from _in_shard(source, suffixes)
    elif (source / PLAN).is_file():
        for number in range(read_plan(source / PLAN).shards):
            yield from _in_shard(shard_path(source, number), suffixes)
    elif tars := sorted(source.glob("*.tar")):
        for path in tars:
            yield from _in_shard(path, suffixes)
    else:
        for key in clip_keys(source):
            paths = {suffix: member(source, key, suffix) for suffix in sorted(suffixes)}
            places = ((suffix, 0, path.stat().st_size) for suffix, path in paths.items() if path.is_file())
            yield Stored(key, source, tuple(places))


def _in_shard(path: Path, suffixes: Collection[str]) -> Iterator[Stored]:
    index = open_shard(path).index
    for key, places in index.members.items():
        kept = ((suffix, *place) for suffix, place in sorted(places.items()) if suffix in suffixes)
        yield Stored(key, path, tuple(kept), index.bytes)


def ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R | TrajkitError, None, None]:
    """For each item, in order, what function(item) returned, or the TrajkitError that it ended with.

    Threads work on the items to come; with 0 workers each is made when it is asked for. Reading, decoding and tensors
    leave Python's lock free, and threads share memory, so processes would add copies and no speed.
    """
    if not workers:
        for item in items:
            yield attempt(function, item)
        return
    pool, waiting = ThreadPoolExecutor(workers), deque()  # type: ignore[var-annotated]
    try:
        for item in items:
            waiting.append(pool.submit(attempt, function, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
