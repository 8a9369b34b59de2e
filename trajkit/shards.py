"""Shards: `<name>.tar`, which any WebDataset reader reads, and `<name>.json`, its index, written last.

A shard without its json is not done. Clips are read at random through the index, by offset.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal, NamedTuple

from annotated_types import Ge

from trajkit import files, tar
from trajkit.clip import Clip, assemble, member
from trajkit.errors import TrajkitError
from trajkit.members import STRICT, Hex, Key, from_json

SCHEMA: Final = "trajkit.shard/1"
CHUNK_BYTES = 1 << 20  # what is held of a member while it is copied
MAX_INDEX_BYTES = 1 << 28
RECORD_BYTES = 10240  # tar pads archives to 20 blocks, and so do we
Count = Annotated[int, Ge(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """The content of `<shard>.json`."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.shard/1"]
    plan: Hex  # of the plan that the shard belongs to
    shard: Count  # its number
    shards: Count  # of so many
    clips: Count
    frames: Count
    bytes: Count  # size of the tar
    sha256: Hex  # of the tar
    members: dict[Key, dict[str, tuple[Count, Count]]]  # key -> suffix -> (offset, size) in the tar


class Source(NamedTuple):
    """A finished clip in a folder, as far as packing it needs to know."""

    key: str
    folder: Path
    sizes: tuple[tuple[str, int], ...]  # (suffix, bytes) of its members, sorted
    frames: int
    content: str  # SHA-256 of its json, which holds those of its other members
    elsewhere: tuple[tuple[str, Path, int], ...] = ()  # (suffix, file, first byte) of members that lie in other files

    def place(self, suffix: str) -> tuple[Path, int]:
        """The file that holds a member, and the byte where it starts there; 0 = it is the whole file."""
        for name, path, start in self.elsewhere:
            if name == suffix:
                return path, start
        return member(self.folder, self.key, suffix), 0

    @property
    def packed_bytes(self) -> int:
        """Bytes that its members take in a tar (512 more for each name over 100 characters, times two)."""
        return sum(
            len(tar.header(f"{self.key}.{suffix}", size)) + size + len(tar.padding(size)) for suffix, size in self.sizes
        )


def index_path(shard: Path) -> Path:
    """Path of a shard's json."""
    return shard.with_suffix(".json")


def write_shard(path: Path, sources: Sequence[Source], *, plan: str, shard: int, shards: int) -> Index:
    """Writes the tar, then its json, each whole or absent; what they hold depends on the arguments and clips alone.

    The SHA-256 is computed on the way. Raises TrajkitError for a member that changed since it was planned.
    """
    index_path(path).unlink(missing_ok=True)
    members: dict[str, dict[str, tuple[int, int]]] = {}
    with files.whole(path) as stream:
        out = _Hashed(stream)
        for source in sources:
            places = members[source.key] = {}
            for suffix, size in source.sizes:
                out.write(tar.header(f"{source.key}.{suffix}", size))
                places[suffix] = (out.position, size)
                out.copy(*source.place(suffix), size)
                out.write(tar.padding(size))
        out.write(tar.END)
        out.write(tar.padding(out.position, RECORD_BYTES))
    index = Index(
        schema=SCHEMA,
        plan=plan,
        shard=shard,
        shards=shards,
        clips=len(sources),
        frames=sum(source.frames for source in sources),
        bytes=out.position,
        sha256=out.digest.hexdigest(),
        members=members,
    )
    files.write_bytes(index_path(path), files.json_bytes(asdict(index)))
    return index


class _Hashed:
    """A stream that knows its position and digest, and copies files through one small buffer."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.position, self.digest = stream, 0, hashlib.sha256()
        self.buffer = memoryview(bytearray(CHUNK_BYTES))

    def write(self, content: bytes | memoryview) -> None:
        self.stream.write(content)
        self.digest.update(content)
        self.position += len(content)

    def copy(self, path: Path, start: int, size: int) -> None:
        try:
            with open(path, "rb", buffering=0) as source:
                source.seek(start)
                end = self.position + size
                while self.position < end:
                    count = source.readinto(self.buffer[: min(CHUNK_BYTES, end - self.position)])
                    if not count:
                        break
                    self.write(self.buffer[:count])
                changed = self.position < end or (not start and source.read(1))
        except FileNotFoundError:
            changed = True
        if changed:
            raise TrajkitError(path, "changed while it was packed", "run again when nothing writes there")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A finished shard, open for reading: holds no file handle, so it can be sent to other processes."""

    path: Path
    index: Index

    def __len__(self) -> int:
        return len(self.index.members)

    def __iter__(self) -> Iterator[Clip]:
        return map(self.clip, self.keys)

    @property
    def keys(self) -> list[str]:
        """Keys of its clips, in the tar's order."""
        return sorted(self.index.members)

    def clip(self, key: str) -> Clip:
        """One clip, its pictures and depth as bytes of the mp4 and npz. Raises TrajkitError where it is damaged."""
        return assemble(key, self.members(key), f"{self.path}: {key}")

    def members(self, key: str) -> dict[str, bytes]:
        """Content of a clip's members by suffix. Raises TrajkitError for an unknown key or where the tar is another."""
        if key not in self.index.members:
            raise TrajkitError(self.path, f"has no clip {key!r}", "keys are in its json")
        places = self.index.members[key]
        return read_members(
            self.path, [tar.Member(key, suffix, *places[suffix]) for suffix in places], self.index.bytes
        )


def read_members(path: Path, wanted: Sequence[tar.Member], tar_bytes: int, limit: int = 1 << 40) -> dict[str, bytes]:
    """The content of members of a tar of so many bytes, by suffix, each up to `limit` bytes from its start.

    Raises TrajkitError where the tar holds something else there.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            return {one.suffix: _read(stream.fileno(), path, one, tar_bytes, limit) for one in wanted}
    except OSError as error:
        raise TrajkitError(path, error.strerror or str(error), "restore the tar beside its json") from None


def _read(descriptor: int, path: Path, wanted: tar.Member, tar_bytes: int, limit: int) -> bytes:
    if not tar.BLOCK <= wanted.offset <= tar_bytes - wanted.size:
        raise TrajkitError(index_path(path), f"places {wanted.name} outside the tar", tar.RESTORE)
    size = min(wanted.size, limit)
    content = os.pread(descriptor, tar.BLOCK + size, wanted.offset - tar.BLOCK)
    if len(content) < tar.BLOCK + size or not tar.matches(content[: tar.BLOCK], wanted):
        problem = f"does not hold {wanted.name} at byte {wanted.offset}, as its json says"
        raise TrajkitError(path, problem, tar.RESTORE)
    return content[tar.BLOCK :]


def open_shard(path: Path) -> Shard:
    """A finished shard by its tar's path. Raises TrajkitError where it is not done, or not as its json says."""
    path = Path(path)
    if not path.is_file():
        raise TrajkitError(path, "no such file", "check the path")
    if not index_path(path).is_file():
        raise TrajkitError(path, f"is not done: {index_path(path).name} is missing", "run the same trajkit pack again")
    index = read_index(index_path(path))
    if path.stat().st_size != index.bytes:
        raise TrajkitError(path, f"has {path.stat().st_size} bytes, its json says {index.bytes}", tar.RESTORE)
    return Shard(path=path, index=index)


def read_index(path: Path) -> Index:
    """A shard's json. Raises TrajkitError for anything that does not fit, such as names that no member may have."""
    index: Index = from_json(Index, files.read_bytes(path), path, limit=MAX_INDEX_BYTES)
    for key, places in index.members.items():
        for suffix in places:
            tar.split(f"{key}.{suffix}", path)
    if index.clips != len(index.members):
        raise TrajkitError(path, f"says {index.clips} clips but lists {len(index.members)}", tar.RESTORE)
    return index


def dataset(shards: str | Path | Sequence[str | Path], *, shuffle_shards: int = 0, seed: int = 0) -> Any:
    """A webdataset pipeline of `Clip`s: `for clip in dataset("shards/shard-{000000..000009}.tar")`.

    `shuffle_shards` is the size of the buffer in which shards are shuffled; 0 keeps their order. Nothing is unpickled.
    Split over DataLoader workers by webdataset; over nodes with `.append(...)` of its splitters.
    """
    import webdataset

    paths = [str(shard) for shard in ([shards] if isinstance(shards, str | Path) else shards)]
    pipeline = webdataset.WebDataset(
        paths[0] if len(paths) == 1 else paths,
        shardshuffle=shuffle_shards or False,
        seed=seed,
        select_files=lambda name: bool(tar.split(name, "shard")),
    )
    return pipeline.map(_clip)


def _clip(sample: dict[str, Any]) -> Clip:
    contents = {suffix: content for suffix, content in sample.items() if not suffix.startswith("__")}
    return assemble(sample["__key__"], contents, f"{sample['__url__']}: {sample['__key__']}")
