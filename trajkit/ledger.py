"""The ledger: Parquet parts beside the clips, one row per event. Append-only: a rejected clip keeps its reason.

Reports and filters read it alone. Rows carry no time, host or rank, so a rerun writes the same rows.
"""

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import STRICT

if TYPE_CHECKING:
    import polars as pl

FOLDER = "ledger"
NAME = re.compile(r"[a-z]+-[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One event in the life of one clip. Raises TrajkitError for a value that is not finite.

    A verdict that looked at several metrics is several rows: one per metric with its value and threshold.
    """

    __pydantic_config__ = STRICT

    key: str  # of the clip, or what names a scene that gave none
    stage: str  # the command: render, attach, score, filter, pack, ...
    state: str  # what the clip is now: rendered, packed, accepted, rejected, undetermined, ...
    reason: str = ""  # why, for people; never empty for a rejected clip
    metric: str = ""
    value: float | None = None
    threshold: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)  # further numbers; JSON text in the file
    versions: Mapping[str, str] = field(default_factory=dict)  # of the code that decided; JSON text in the file

    def __post_init__(self) -> None:
        if any(number is not None and not math.isfinite(number) for number in (self.value, self.threshold)):
            raise TrajkitError(f"ledger row {self.key}", f"{self.metric} is not finite", "leave it out and say why")
        if self.state == "rejected" and not self.reason:
            raise TrajkitError(f"ledger row {self.key}", "rejected without a reason", "say why")


class Ledger:
    """The parts in `folder`/ledger, one or more per unit of work."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder) / FOLDER

    def append(self, unit: str, rows: Sequence[Row]) -> Path:
        """The part that holds the rows of a unit (named `<stage>-<name>`): `<unit>.<attempt>.parquet`, written whole.

        The same rows again change nothing; other rows become the unit's next attempt, and the earlier ones stay.
        """
        import polars as pl

        if not NAME.fullmatch(unit):
            raise TrajkitError(
                self.folder, f"{unit!r} is no unit name", "use <stage>-<name> of letters, digits, _ and -"
            )
        attempt, latest = self._latest(unit)
        columns = {name: [_cell(getattr(row, name)) for row in rows] for name in schema() if name != "attempt"}
        table = pl.DataFrame(columns | {"attempt": [attempt] * len(rows)}, schema=schema())
        if latest is not None:
            if table.equals(_checked(latest).collect()):
                return latest
            attempt += 1
            table = table.with_columns(pl.lit(attempt, pl.Int64).alias("attempt"))
        path = self.folder / f"{unit}.{attempt}.parquet"
        content = io.BytesIO()
        table.write_parquet(content, compression="zstd", statistics=True)
        files.write_bytes(path, content.getvalue())
        return path

    def _latest(self, unit: str) -> tuple[int, Path | None]:
        attempts = {int(path.name.split(".")[1]): path for path in _parts(self.folder, unit)}
        return (max(attempts), attempts[max(attempts)]) if attempts else (1, None)

    def scan(self) -> "pl.LazyFrame":
        """All rows, lazily, by unit and attempt. Raises TrajkitError naming a part that is damaged or no ledger."""
        import polars as pl

        parts = [_checked(path) for path in _parts(self.folder)]
        return pl.concat(parts) if parts else pl.LazyFrame(schema=schema())


def _parts(folder: Path, unit: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(f"{unit}.*.parquet") if path.stem.rpartition(".")[2].isdecimal())


def schema() -> dict[str, Any]:
    """Column names and Polars types of a part."""
    import polars as pl

    numbers = {"value": pl.Float64, "threshold": pl.Float64}
    return {one.name: numbers.get(one.name, pl.String) for one in fields(Row)} | {"attempt": pl.Int64}


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return json.dumps(dict(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return value


def _checked(path: Path) -> "pl.LazyFrame":
    import polars as pl

    try:
        found = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise TrajkitError(path, f"damaged ledger part ({reason})", "remove it and run its stage again") from None
    if dict(found) != schema():
        raise TrajkitError(path, f"has columns {', '.join(found)}", "remove what is no ledger part, or update trajkit")
    return pl.scan_parquet(path)
