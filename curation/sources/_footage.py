"""What sources of footage share: keys, videos in folders, and items that cannot be used."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trajkit.errors import TrajkitError
from trajkit.scene import Finding, Rejected
from trajkit.scenes import scene_id
from trajkit.seeding import digest

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
MAX_CAPTION = 100_000  # characters; more is a table whose quotes are broken


@dataclass(frozen=True, kw_only=True, slots=True)
class OnDisk:
    """A video that is a file of its own; calling it gives its path."""

    path: Path

    def __call__(self) -> Path:
        """The path. Raises TrajkitError where the file is gone."""
        if not self.path.is_file():
            raise TrajkitError(self.path, "no such file", "restore it, or run again on what is there")
        return self.path


def is_video(name: str) -> bool:
    """Whether a file of this name counts as a video; what macOS puts beside files does not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def text_of(name: str) -> str:
    """A file's name as text that can be encoded, whatever bytes it has on disk."""
    return os.fsencode(name).decode(errors="replace")


def key_of(name: str, *more: object) -> str:
    """A key that shows the name and differs wherever names do."""
    return f"{scene_id(name.rpartition('/')[2].rpartition('.')[0])}-{digest(name, *more, length=10)}"


def files_under(root: Path, depth: int) -> Iterator[str]:
    """Paths, relative to root, of files up to `depth` folders down, sorted within each; hidden ones are left out.

    Links are followed, since videos often lie on another disk; each folder counts once.
    """
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        within, status = Path(folder).relative_to(root).parts, os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if name[0] != ".") if len(within) < depth else []
        yield from ("/".join([*within, name]) for name in sorted(names) if name[0] != ".")


def rejected(key: str, code: str, where: str, message: str) -> Rejected:
    """An item that cannot be used, with the one reason."""
    return Rejected(key=key, findings=(Finding(code=code, level="error", where=where, message=message),))
