"""`show`: a page and a contact sheet of clips and scenes: accepted and refused paths among the captured cameras."""

from pathlib import Path

from trajkit import files
from trajkit.show.found import Found, find
from trajkit.show.gather import Gathered, ShowOptions, gather
from trajkit.show.page import page
from trajkit.show.sheet import contact_sheet

__all__ = ["Found", "Gathered", "ShowOptions", "find", "gather", "show", "write"]
PAGE, SHEET = "index.html", "contact_sheet.png"


def show(found: Found, out: Path, options: ShowOptions) -> Gathered:
    """What was found, read, after writing `index.html` and `contact_sheet.png` into `out`, each whole or absent.

    The same clips give the same bytes. What cannot be read is named on the page. Raises TrajkitError where nothing can.
    """
    shown = gather(found, options)
    write(shown, out, options)
    return shown


def write(shown: Gathered, out: Path, options: ShowOptions) -> tuple[Path, Path]:
    """Paths of the page and of the sheet of what has been read."""
    html = page(shown, video_limit_bytes=options.video_limit_bytes)
    files.write_bytes(out / SHEET, contact_sheet(shown))
    files.write_bytes(out / PAGE, html)
    return out / PAGE, out / SHEET
