"""Files that are whole or absent, and paths that stay under their root."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from trajkit.errors import TrajkitError

PART = ".part"  # suffix of a file that is being written; nothing reads it, a rerun removes it


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` only when the block ends without error: .part, fsync, rename.

    On an error, and after a kill, `path` is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    try:
        with open(part, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a power cut (no-op where folders cannot be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes that ask for it out; a killed holder's lock goes with it.

    Raises TrajkitError where another process holds it. Does nothing on file systems without locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "another trajkit is writing into it"
            raise TrajkitError(folder, problem, "wait for it, or give another folder") from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or none."""
    with whole(path) as stream:
        stream.write(content)


def json_bytes(value: Any) -> bytes:
    """Canonical JSON: sorted keys, two-space indent, UTF-8, a final newline. NaN and infinity raise ValueError."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path, *, expect: type[dict] | type[list] = dict) -> Any:
    """Parsed JSON whose top level is an object (dict) or a list. Raises TrajkitError naming the file otherwise."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise TrajkitError(path, f"not valid JSON ({error})", "restore the file or write it again") from None
    if not isinstance(value, expect):
        wanted = "an object" if expect is dict else "a list"
        raise TrajkitError(path, f"JSON holds {type(value).__name__}, not {wanted}", "check that it is the right file")
    return value


def read_text(path: Path) -> str:
    """UTF-8 text of a file. Raises TrajkitError where it is missing or not text."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise TrajkitError(path, "not UTF-8 text", "check that it is the right file") from None


def read_bytes(path: Path, *, limit: int = 1 << 40) -> bytes:
    """Content of a file. Raises TrajkitError where it is missing, cannot be read, or holds more than `limit` bytes."""
    try:
        size = Path(path).stat().st_size
        if size > limit:
            raise TrajkitError(path, f"{size} bytes, more than {limit}", "check that it is the right file")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise TrajkitError(path, "no such file", "check the path") from None
    except OSError as error:
        raise TrajkitError(path, error.strerror or str(error), "check the path and its permissions") from None


def inside(root: Path, name: str) -> Path:
    """root/name, provided that it stays under root. Raises TrajkitError for absolute paths, .. and links out."""
    root = Path(root).resolve()
    try:
        path = (root / name).resolve()
    except (ValueError, OSError, RuntimeError):  # a zero byte, a name too long, links in a circle
        raise TrajkitError(root, f"refers to {name[:80]!r}, which is no path", "correct the name") from None
    if not path.is_relative_to(root):
        raise TrajkitError(root, f"refers to {name!r}, which lies outside", "keep referenced files under it")
    return path


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_parts(folder: Path, prefix: str) -> None:
    """Deletes what an interrupted run left half written directly in `folder` under names that start with `prefix`."""
    for part in folder.glob(f"{prefix}*{PART}"):
        part.unlink(missing_ok=True)
