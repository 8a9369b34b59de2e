"""Tar members as shards hold them: headers that depend on name and size alone, and a reader that trusts nothing."""

import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from trajkit.errors import TrajkitError
from trajkit.members import SUFFIXES, check_key

BLOCK = tarfile.BLOCKSIZE  # 512
END = bytes(2 * BLOCK)  # two zero blocks end an archive
MAX_PAX_BYTES = 1 << 16
HARMLESS = {"atime", "comment", "ctime", "gid", "gname", "mtime", "uid", "uname"}  # pax records that change no content
REMEDY = "don't use it; pack the clips again with trajkit pack"
RESTORE = "restore it, or delete it and pack again"
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_LONGNAME: "a GNU long name",
    tarfile.GNUTYPE_LONGLINK: "a GNU long link",
    tarfile.GNUTYPE_SPARSE: "a GNU sparse file",
    tarfile.XGLTYPE: "a global pax header",
}


class Member(NamedTuple):
    """One regular file in a tar: `size` bytes at byte `offset` of the archive."""

    key: str
    suffix: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        """The name in the archive, such as "a1.camera.npz"."""
        return f"{self.key}.{self.suffix}"


def header(name: str, size: int) -> bytes:
    """The header block of a member: ustar, owner 0, time 0, mode 0644 (plus a pax path where the name is over 100)."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def padding(size: int, block: int = BLOCK) -> bytes:
    """Zeros from the end of `size` bytes to the next multiple of `block`."""
    return bytes(-size % block)


def refuse(error: TrajkitError) -> None:
    """Raises it: the default answer to an unsafe member."""
    raise error


def members(path: Path, unsafe: Callable[[TrajkitError], None] = refuse) -> Iterator[Member]:
    """The members of an uncompressed tar in their order. Contents are not read.

    Raises TrajkitError where the file is no tar or is truncated. Anything but regular files named <key>.<suffix>,
    each once, a key's members side by side, is handed to `unsafe` as a TrajkitError and left out.
    """
    current: set[str] = set()
    closed: set[str] = set()
    last = ""
    for name, kind, offset, size in _entries(path):
        try:
            if kind:
                raise TrajkitError(path, f"member {name[:200]!r} is {kind}", REMEDY)
            key, suffix = split(name, path)
            if key != last:
                closed.add(last)
                current, last = set(), key
            if suffix in current:
                raise TrajkitError(path, f"holds {name!r} twice", REMEDY)
            if key in closed:
                raise TrajkitError(path, f"the members of {key!r} are not side by side", REMEDY)
            current.add(suffix)
        except TrajkitError as error:
            unsafe(error)
            continue
        yield Member(key, suffix, offset, size)


def split(name: str, where: object) -> tuple[str, str]:
    """(key, suffix) of a member's name. Raises TrajkitError, naming `where`, for any other kind of name."""
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise TrajkitError(where, f"member {name[:200]!r} climbs out of its folder", REMEDY)
    key, _, suffix = name.partition(".")
    if suffix not in SUFFIXES:
        problem = f"member {name[:200]!r} is not named <key>.<suffix> with a suffix of {', '.join(SUFFIXES)}"
        raise TrajkitError(where, problem, REMEDY)
    return check_key(key, where), suffix


def matches(block: bytes, member: Member) -> bool:
    """Whether a header block is that of the member: type, size, and name (its first 100 bytes)."""
    try:
        entry = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        return False
    return entry.isreg() and entry.name == member.name[: tarfile.LENGTH_NAME] and entry.size == member.size


def _entries(path: Path) -> Iterator[tuple[str, str, int, int]]:
    """(name, what is wrong with its kind or "", content's offset, size) of each entry.

    Strict where tarfile is not: tarfile takes a damaged header for the end of the archive.
    """
    if not path.is_file():  # opening a named pipe would wait for ever
        raise TrajkitError(path, "no such file" if not path.exists() else "is no file", "check the path")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length, offset, renamed, oddity = os.fstat(descriptor).st_size, 0, "", ""
        while True:
            block = os.pread(descriptor, BLOCK, offset)
            if len(block) < BLOCK:
                problem = "is truncated: it has no end of archive" if offset else "is no tar file"
                raise TrajkitError(path, problem, RESTORE)
            if not block.strip(b"\0"):
                return
            entry = _parse(block, path, offset)
            offset += BLOCK
            if entry.size > length - offset:
                problem = f"is truncated: member {entry.name[:200]!r} is not all there"
                raise TrajkitError(path, problem, RESTORE)
            if entry.type == tarfile.XHDTYPE:
                renamed, oddity = _pax(os.pread(descriptor, min(entry.size, MAX_PAX_BYTES), offset))
            else:
                yield renamed or entry.name, oddity or _oddity(entry), offset, entry.size
                renamed = oddity = ""
            offset += entry.size + -entry.size % BLOCK
    finally:
        os.close(descriptor)


def _oddity(entry: tarfile.TarInfo) -> str:
    """What makes an entry other than a plain file, or ""."""
    if entry.isdir():  # also a file of the old kind whose name ends in a slash
        return "a folder"
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        return KINDS.get(entry.type, f"of type {entry.type!r}")
    return "a file with a link's target" if entry.linkname else ""


def _parse(block: bytes, path: Path, offset: int) -> tarfile.TarInfo:
    try:
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if entry.size < 0:
            raise tarfile.HeaderError("negative size")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        problem = f"has a damaged header at byte {offset} ({error})" if offset else "is no uncompressed tar file"
        raise TrajkitError(path, problem, RESTORE) from None
    return entry


def _pax(content: bytes) -> tuple[str, str]:
    """(the path that a pax header gives or "", what is wrong with the header or "")."""
    path = ""
    while content:
        match = re.match(rb"(\d{1,5}) ([^=]+)=", content)
        length = int(match[1]) if match else 0
        record, content = content[:length], content[length:]
        if match is None or length <= match.end() or not record.endswith(b"\n"):
            return "", "under a damaged pax header"
        keyword = match[2].decode("ascii", "replace")
        if keyword == "path":
            path = record[match.end() : -1].decode("utf-8", "replace")
        elif keyword not in HARMLESS:
            return "", f"under a pax header that sets {keyword[:50]!r}"
    return path, ""
