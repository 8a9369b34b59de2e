"""A table with one row per video, CSV or JSON lines, read lazily: a million rows are selected from, never held.

Column names count in snake case: "aesthetic score" and "aesthetic_score" are one. A selection is a condition in the
language of `trajkit.curation.rules`: "seconds >= 4 and camera_motion in ['static', 'zoom_in']".
"""

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars import selectors

from trajkit.errors import TrajkitError, nearest

from .rules import Rule, compiled, parse

ROW = "_row"  # counts the rows from 1
HEAD = 1000  # rows whose values tell numbers from texts
TEXTS = ("video", "caption")  # whatever they look like
FAULTS = (pl.exceptions.PolarsError, OSError)


class Selection(Rule):
    """A condition that comes from an option; errors name the option."""

    __slots__ = ()

    @property
    def where(self) -> str:
        """How errors call it."""
        return self.name


def open_table(path: Path) -> pl.LazyFrame:
    """The rows in their order: columns in snake case, Float64 (null where no finite number) or String, and `_row`.

    Raises TrajkitError for a file that cannot be read as a table, or has no column `video`.
    """
    if not path.is_file():
        raise TrajkitError(path, "no such file", "check the path")
    try:
        raw = _raw(path)
        given = raw.collect_schema().names()
        names = [re.sub(r"\W+", "_", name.strip().lower()).strip("_") or f"column_{n}" for n, name in enumerate(given)]
        for name in names:
            if names.count(name) > 1:
                raise TrajkitError(path, f"two columns are called {name!r}", "rename one")
        if "video" not in names:
            raise TrajkitError(path, f"has no column 'video' ({', '.join(names)[:200]!r})", "name the right table")
        rows = raw.rename(dict(zip(given, names, strict=True)))
        numeric = [column.name for column in rows.head(HEAD).collect() if _is_number(column)]
    except FAULTS as error:
        raise _fault(path, error) from None
    # Not a number counts as larger than any number: "score > 5" would take it.
    value = pl.col(numeric).cast(pl.Float64, strict=False)
    return rows.with_columns(pl.when(value.is_finite()).then(value)).with_row_index(ROW, offset=1)


def _is_number(column: pl.Series) -> bool:
    nulls = column.cast(pl.Float64, strict=False).null_count()
    return column.name not in TEXTS and nulls == column.null_count() < len(column)


def _raw(path: Path) -> pl.LazyFrame:
    """All values as texts; those of JSON lines that are lists or objects are left out."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        flat = selectors.string() | selectors.numeric() | selectors.boolean()
        return pl.scan_ndjson(path).select(flat.cast(pl.String))
    return pl.scan_csv(path, infer_schema=False, encoding="utf8-lossy")


def selected(rows: pl.LazyFrame, condition: str, option: str = "--where") -> pl.LazyFrame:
    """The rows that meet the condition; a missing value meets none. All rows for an empty one.

    Raises TrajkitError for a condition that is none, for an unknown column, or a comparison that does not fit one.
    """
    if not condition.strip():
        return rows
    tree = parse(condition.strip(), option)
    rule = Selection(name=option, verb="require", condition=condition.strip(), missing="reject", tree=tree)
    types = {name: dtype for name, dtype in rows.collect_schema().items() if name != ROW}
    for name in rule.names:
        if name not in types:
            raise TrajkitError(option, f"the table has no column {name!r}", nearest(name, types))
    return rows.filter(compiled(rule, types))


def batches(rows: pl.LazyFrame, path: Path) -> Iterator[pl.DataFrame]:
    """The rows some thousands at a time, in order. Raises TrajkitError where the table turns out broken on the way."""
    try:
        yield from rows.collect_batches(maintain_order=True)
    except FAULTS as error:
        raise _fault(path, error) from None


def _fault(path: Path, error: Exception) -> TrajkitError:
    reason = " ".join(str(error).split())[:160]
    return TrajkitError(path, f"not a table that can be read ({reason})", "correct its quotes and columns")
