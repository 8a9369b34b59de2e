"""A folder of videos; captions from <stem>.txt beside each, or from a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.scene import Rejected

from .. import table
from ..footage import Footage
from ._footage import MAX_CAPTION, OnDisk, files_under, is_video, key_of, rejected, text_of

FOLDERS = 8  # deep, at most


@dataclass(frozen=True, kw_only=True)
class Options:
    """What goes with the videos."""

    captions: str = option("", "CSV or JSON lines under the root with columns video and caption (default: <stem>.txt)")
    licence: str = option("unknown", "terms of the videos, kept with every clip")
    limit: int | None = option(None, "videos to take at most, in the order of their names", low=1)


def footage(root: Path, options: Options) -> Iterator[Footage | Rejected]:
    """The videos under root (hidden folders left out) in the order of their paths.

    Rejected with `caption` where <stem>.txt is no text, or is long. Raises TrajkitError, at once, where root is no
    folder or holds no video, and for a table that cannot be read.
    """
    if not root.is_dir():
        raise TrajkitError(root, "no folder", "name the folder of the videos")
    found = sorted(filter(is_video, files_under(root, FOLDERS)))[: options.limit]
    if not found:
        raise TrajkitError(root, "holds no video", "name the folder of the videos (mp4, mov, mkv, webm, avi ...)")
    captions = _captions(root / options.captions) if options.captions else None
    return (_item(root, path, captions, options) for path in found)


def _captions(path: Path) -> dict[str, str]:
    """Caption by the video's path under the root, or by its name alone."""
    rows = table.open_table(path)
    if "caption" not in rows.collect_schema():
        raise TrajkitError(path, "has no column 'caption'", "name the table with columns video and caption")
    pairs = rows.select("video", "caption").drop_nulls()
    return {video: caption for batch in table.batches(pairs, path) for video, caption in batch.iter_rows()}


def _item(root: Path, path: str, captions: dict[str, str] | None, options: Options) -> Footage | Rejected:
    name = text_of(path)
    key, beside = key_of(name), (root / path).with_suffix(".txt")
    caption = ""
    try:
        if captions is not None:
            caption = captions.get(name, captions.get(Path(name).name, ""))
        elif beside.is_file():
            caption = files.read_text(beside).strip()
    except TrajkitError as error:
        return rejected(key, "caption", text_of(beside.name), f"{error.problem}; {error.remedy}")
    if len(caption) > MAX_CAPTION:
        return rejected(key, "caption", name, f"a caption of {len(caption)} characters")
    return Footage(
        key=key,
        name=name,
        open=OnDisk(path=root / path),
        source=f"videos:{name}",
        licence=options.licence or "unknown",
        caption=caption,
    )
