"""The checkout that the tests run in, without what git ignores: environments and caches hold gigabytes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IGNORED = (".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()))


def committable() -> Iterator[Path]:
    """Every file of the checkout that git does not ignore."""
    ignore = shutil.ignore_patterns(*IGNORED)
    for folder, folders, names in os.walk(ROOT):
        folders[:] = set(folders) - ignore(folder, folders)
        yield from (Path(folder, name) for name in names)


def copy(target: Path, *unwanted: str) -> None:
    """Copies those files to a new folder, but none of these names."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*IGNORED, *unwanted))
