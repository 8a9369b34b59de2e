"""`report`: one offline page about a set of clips, and the same numbers as JSON.

Every number comes from the ledgers; pictures, paths and evidence of the clips that are shown come from their files.
"""

from dataclasses import replace
from pathlib import Path

from trajkit import files

from .gate import broken, deltas, read_headline
from .page import page
from .report import Report, ReportOptions, gather
from .rows import read

__all__ = ["Report", "ReportOptions", "broken", "compare", "gather", "page", "read", "write"]


def compare(report: Report, other: Path, options: ReportOptions) -> Report:
    """The report with the change of each headline number against another's JSON, or against a folder of clips."""
    if other.is_dir():
        before = {one.name: one.value for one in gather([other], replace(options, limit=0)).headline}
    else:
        before = read_headline(other)
    now = {one.name: one.value for one in report.headline}
    return replace(report, against=other.name, deltas=deltas(now, before))


def write(report: Report, out: Path) -> tuple[Path, Path]:
    """Paths of the page and of the JSON beside it, each whole or absent. The same clips give the same bytes."""
    numbers = out.with_suffix(".json")
    files.write_bytes(numbers, files.json_bytes(report.numbers()))
    files.write_bytes(out, page(report))
    return out, numbers
