"""Zip archives of videos, whole or split into parts: their members are found once and read one by one, never unpacked.

The parts of a split archive (`OpenVid_part3_partaa`, `_partab`) are what `cat` would join; here they stay where they
are and are read as one stream.
"""

import io
import itertools
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trajkit.errors import TrajkitError
from trajkit.members import DAMAGE

MAX_BYTES = 2 << 30  # of one member, unpacked
MAX_RATIO = 200  # unpacked to packed; videos hardly shrink
PART = re.compile(r"(?P<stem>.+?)[._]part_?(?P<letters>[a-z]{2})")  # both OpenVid's and OpenVidHD's spelling
LOCAL = struct.Struct("<4s5H3I2H")  # header before each member: PKWARE's APPNOTE, 4.3.7
MAGIC, STREAMED, ENCRYPTED = b"PK\x03\x04", 8, 1
REMEDY = "download it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A zip file, or the parts that make one up."""

    name: str  # relative to where it was found; of parts, what they have in common
    parts: tuple[Path, ...]
    gap: str = ""  # the part that is not there

    def stream(self) -> io.BufferedReader:
        """Its bytes from end to end, seekable. Raises OSError."""
        return io.BufferedReader(Joined(self.parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file in an archive; calling it gives the content. Only `name`, without folders, is kept of its path."""

    archive: Archive
    name: str
    offset: int  # of its local header, bytes
    packed: int  # bytes in the archive
    size: int  # bytes unpacked
    crc: int
    method: int  # 0 stored, 8 deflated

    def __call__(self) -> bytes:
        """The content. Raises TrajkitError where it is damaged, or larger than a video should be."""
        where = f"{self.archive.name}/{self.name}"
        if self.size > MAX_BYTES or self.size > MAX_RATIO * self.packed + (1 << 20) or self.packed > MAX_BYTES:
            problem = f"unpacks from {self.packed} to {self.size} bytes"
            raise TrajkitError(where, problem, "leave it out; no video packs like that")
        try:
            content = self._unpacked()
        except (OSError, struct.error, zlib.error, ValueError) as error:
            raise TrajkitError(where, f"damaged ({_reason(error)})", f"{REMEDY}: {self.archive.name}") from None
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            problem = "damaged (its content does not fit its checksum)"
            raise TrajkitError(where, problem, f"{REMEDY}: {self.archive.name}")
        return content

    def _unpacked(self) -> bytes:
        with self.archive.stream() as stream:
            stream.seek(self.offset)
            magic, _, flags, *_, name_bytes, extra_bytes = LOCAL.unpack(stream.read(LOCAL.size))
            if magic != MAGIC or flags & ENCRYPTED or self.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(
                    "encrypted, or packed by a method other than deflate" if magic == MAGIC else "no member"
                )
            stream.seek(name_bytes + extra_bytes, io.SEEK_CUR)
            packed = stream.read(self.packed)
        if self.method == zipfile.ZIP_STORED:
            return packed
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, self.size + 1)


class Joined(io.RawIOBase):
    """Files one after the other, as one seekable stream of bytes."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: list[io.FileIO] = []
        try:
            for path in paths:
                self._files.append(io.FileIO(path))
        except OSError:
            self.close()
            raise
        self._ends = list(itertools.accumulate(file.seek(0, io.SEEK_END) for file in self._files))
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new position. Raises ValueError where it lies before the first byte."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        if at < 0:
            raise ValueError(f"position {at}")
        self._at = at
        return at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # typeshed's Buffer is not in Python 3.11
        """How many bytes were read, at most up to the end of one file; 0 at the end of the last."""
        for file, start, end in zip(self._files, [0, *self._ends], self._ends, strict=False):
            if self._at < end:
                file.seek(self._at - start)
                count = file.readinto(memoryview(buffer)[: end - self._at]) or 0
                self._at += count
                return count
        return 0

    def close(self) -> None:
        """Closes all files."""
        for file in self._files:
            file.close()
        super().close()


def find(root: Path, names: Iterable[str]) -> list[Archive]:
    """The archives among files of root (paths relative to it), sorted by name; parts of one count as one."""
    found: dict[str, Archive] = {}
    parts: dict[str, dict[int, str]] = {}
    for name in sorted(names):
        match = PART.fullmatch(name)
        if match:
            high, low = (ord(letter) - ord("a") for letter in match["letters"])
            parts.setdefault(match["stem"], {})[26 * high + low] = name
        elif name.lower().endswith(".zip"):
            found[name] = Archive(name=name, parts=(root / name,))
    for stem, numbered in parts.items():
        absent = next((number for number in range(max(numbered)) if number not in numbered), None)
        gap = "" if absent is None else f"part{chr(97 + absent // 26)}{chr(97 + absent % 26)}"
        paths = tuple(root / numbered[number] for number in sorted(numbered))
        found[stem + "_part*"] = Archive(name=stem + "_part*", parts=paths, gap=gap)
    return [found[name] for name in sorted(found)]


def members(archive: Archive) -> list[Member]:
    """The files in an archive, by its directory. Raises TrajkitError where the archive is truncated or damaged."""
    if archive.gap:
        raise TrajkitError(archive.name, f"{archive.gap} is not there", "download it beside the other parts")
    try:
        with archive.stream() as stream, zipfile.ZipFile(stream) as opened:
            listed, end = opened.infolist(), opened.start_dir
    except (*DAMAGE, struct.error) as error:
        raise TrajkitError(archive.name, f"truncated or damaged ({_reason(error)})", REMEDY) from None
    # Bytes that got lost before the directory shift all members, the first one away from the archive's start.
    first = min((entry.header_offset for entry in listed), default=0)
    last = max((entry.header_offset + LOCAL.size + entry.compress_size for entry in listed), default=0)
    if first or last > end:
        raise TrajkitError(archive.name, "damaged (its members are not where its directory says)", REMEDY)
    return [
        Member(
            archive=archive,
            name=base_name(entry.filename),
            offset=entry.header_offset,
            packed=entry.compress_size,
            size=min(entry.file_size, MAX_BYTES + 1),  # a hostile one does not fit 63 bits
            crc=entry.CRC,
            method=entry.compress_type,
        )
        for entry in listed
        if not entry.filename.endswith("/") and not stat.S_ISLNK(entry.external_attr >> 16)
    ]


def names_in_damaged(archive: Archive) -> Iterator[str]:
    """Names of the members of an archive without a directory: those that follow each other from its start."""
    try:
        with archive.stream() as stream:
            while True:
                magic, _, flags, *_, packed, _, name_bytes, extra_bytes = LOCAL.unpack(stream.read(LOCAL.size))
                if magic != MAGIC:
                    return
                name = stream.read(name_bytes)
                if len(name) == name_bytes:
                    yield base_name(name.decode(errors="replace"))
                if flags & STREAMED:  # its size stands behind it
                    return
                stream.seek(extra_bytes + packed, io.SEEK_CUR)
    except (OSError, struct.error):
        return


def _reason(error: BaseException) -> str:
    """What went wrong, without a path, which would name somebody's machine."""
    return error.strerror or "" if isinstance(error, OSError) else str(error)


def base_name(path: str) -> str:
    """A member's name without folders, by either slash."""
    return path.replace("\\", "/").rpartition("/")[2]
