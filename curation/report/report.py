"""`Report`: everything that the page and the JSON say, worked out once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trajkit import __version__, files
from trajkit.errors import TrajkitError
from trajkit.show.found import FoundClip, find
from trajkit.trajectory import Trajectory

from .choose import chosen, median, worst, worst_by_metric
from .details import Detail, Look, details
from .numbers import Number, Spread, headline, spread, spreads
from .repeats import Repeats, repeats
from .rows import Tables, read

SCHEMA = "trajkit.report/1"
LISTED = 1000  # entries of a list in the JSON
OPTION_BYTES = 1 << 16
MOST = 1000  # clips in detail
LOOKS = {  # clips in detail, up to -> what is kept of each
    40: Look(stills=8, side=224, poses=96),
    120: Look(stills=6, side=176, poses=96),
    250: Look(stills=4, side=144, poses=64),
    500: Look(stills=3, side=112, poses=40),
    MOST: Look(stills=2, side=96, poses=24),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """What to show; see `trajkit report --help`."""

    title: str = "Clips and their poses"
    limit: int = 500  # clips in detail
    seed: int = 0
    workers: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A reason and how many clips it speaks about, by state (refused: candidates that never became clips)."""

    stage: str
    code: str
    counts: dict[str, int]
    example: str

    @property
    def id(self) -> str:
        """What the page filters by."""
        return f"{self.stage}: {self.code}"

    @property
    def has_clips(self) -> bool:
        """Whether any of them exists."""
        return any(count for state, count in self.counts.items() if state != "refused")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric over all clips."""

    metric: str
    unit: str
    better: str
    version: str
    threshold: float | None
    missing: int
    worst: list[str]
    spread: Spread | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A set of clips, told."""

    title: str
    tables: Tables
    headline: list[Number]
    reasons: list[Group]
    metrics: list[Metric]
    probability: Spread | None
    spreads: list[Spread]
    repeats: Repeats
    shown: Mapping[str, str]  # keys in detail, and why each
    worst: list[str]
    median: list[str]
    details: list[Detail]
    options: Mapping[str, str]  # name -> content of the resolved options beside the clips
    command_line: str
    against: str = ""
    deltas: Mapping[str, dict[str, float | None]]

    def number(self, name: str) -> Number:
        """A headline number."""
        return next(one for one in self.headline if one.name == name)

    def value(self, name: str) -> int:
        """A headline number that counts."""
        return int(self.number(name).value or 0)

    def numbers(self) -> dict[str, Any]:
        """The JSON: canonical, without time, host or absolute path."""
        motion = self.tables.clips.drop_nulls("direction").group_by("direction", "turn").len().sort("direction", "turn")
        failures = self.tables.failures.head(LISTED).select("key", "stage", "reason")
        return {
            "schema": SCHEMA,
            "title": self.title,
            "headline": {one.name: one.value for one in self.headline},
            "trace": {one.name: one.query.told() | {"share_of": one.share_of} for one in self.headline},
            "units": {one.name: one.unit for one in self.headline},
            "ledgers": [
                {"folder": one.name, "sha256": one.sha256, "parts": one.parts, "rows": one.rows}
                for one in self.tables.ledgers
            ],
            "versions": {**self.tables.versions, "report": [__version__]},
            "reasons": [
                {"stage": one.stage, "code": one.code, "example": one.example, "clips": one.counts}
                for one in self.reasons
            ],
            "metrics": {one.metric: _metric(one) for one in self.metrics},
            "probability": self.probability.numbers() if self.probability else None,
            "distributions": {one.name: one.numbers() for one in self.spreads},
            "motion": [{"direction": row[0], "turn": row[1], "clips": row[2]} for row in motion.iter_rows()],
            "counts": {
                name: _counts(self.tables.clips, name) for name in ("kind", "scale", "licence", "motion", "source")
            },
            "repeats": self.repeats.told(LISTED),
            "decode_failures": failures.to_dicts(),
            "worst": self.worst,
            "median": self.median,
            "shown": dict(self.shown),
            "against": {"other": self.against, "deltas": dict(self.deltas)} if self.against else None,
        }


def _metric(one: Metric) -> dict[str, Any]:
    shown = {name: getattr(one, name) for name in ("unit", "better", "version", "threshold", "missing", "worst")}
    return shown | (one.spread.numbers() if one.spread else {"n": 0})


def _counts(clips: pl.DataFrame, column: str) -> dict[str, int]:
    found = clips.group_by(pl.col(column).fill_null("")).len().sort("len", column, descending=[True, False])
    return dict(found.head(LISTED).iter_rows())


def gather(paths: Sequence[Path], options: ReportOptions, *, command_line: str = "") -> Report:
    """The report about the clips that these folders' ledgers name. Raises TrajkitError where there is no ledger."""
    if not 0 <= options.limit <= MOST:
        raise TrajkitError("--limit", f"{options.limit} clips in detail", f"show at most {MOST}")
    tables = read(paths)
    clips = found_clips(paths)
    repeated = repeats(tables.clips, [one.name for one in tables.ledgers], _poses(clips))
    shown = chosen(tables, options.limit, options.seed)
    look = next(look for most, look in LOOKS.items() if len(shown) <= most)
    folders = [path if path.is_dir() else path.parent for path in paths]
    return Report(
        title=options.title,
        tables=tables,
        headline=headline(tables, repeated.numbers),
        reasons=_groups(tables),
        metrics=_metrics(tables),
        probability=spread(
            tables.clips.select("state", value="probability"),
            "probability",
            "Probability that poses are good",
            "",
            ends=(0.0, 1.0),
        ),
        spreads=spreads(tables.clips),
        repeats=repeated,
        shown=shown,
        worst=[key for key in worst(tables) if key in shown],
        median=[key for key in median(tables) if key in shown],
        details=details(list(shown), clips, folders, look, workers=options.workers),
        options=_options(folders),
        command_line=command_line,
        deltas={},
    )


def found_clips(paths: Sequence[Path]) -> dict[str, FoundClip]:
    """The clips in these folders and shards, unread; none where they hold ledgers alone."""
    clips: dict[str, FoundClip] = {}
    for path in paths:
        try:
            clips |= {one.key: one for one in find([path]).clips}
        except TrajkitError:
            continue
    return clips


def _poses(clips: Mapping[str, FoundClip]) -> dict[str, Callable[[], Trajectory]]:
    return {key: lambda one=one: one.read().trajectory for key, one in clips.items()}  # type: ignore[misc]


def _groups(tables: Tables) -> list[Group]:
    counts = tables.reasons.unique(["stage", "code", "key"], keep="first", maintain_order=True)
    grouped = counts.group_by("stage", "code", "state").agg(pl.len().alias("n"), pl.col("message").min())
    found: dict[tuple[str, str], Group] = {}
    for stage, code, state, n, message in grouped.sort("stage", "code", "state").iter_rows():
        one = found.setdefault((stage, code), Group(stage=stage, code=code, counts={}, example=message))
        one.counts[state] = n
    return sorted(found.values(), key=lambda one: (-sum(one.counts.values()), one.id))


def _metrics(tables: Tables) -> list[Metric]:
    limits = tables.reasons.filter((pl.col("stage") == "score") & (pl.col("state") == "rejected")).drop_nulls(
        "threshold"
    )
    modes = limits.group_by("code", "unit").agg(pl.col("threshold").mode().sort().first())
    usual = {(code, unit): threshold for code, unit, threshold in modes.iter_rows()}
    bad = worst_by_metric(tables)
    made = []
    for metric, about in tables.units.items():
        values = tables.metrics.filter(pl.col("metric") == metric)
        made.append(
            Metric(
                metric=metric,
                unit=about["unit"],
                better=about["better"],
                version=about["version"],
                threshold=usual.get((metric, about["unit"])),
                missing=values["value"].null_count(),
                worst=bad.get(metric, []),
                spread=spread(values.select("state", "value"), metric, metric, about["unit"]),
            )
        )
    return made


def _options(folders: Sequence[Path]) -> dict[str, str]:
    """The resolved options that commands left in the folders, by folder and file name."""
    found = {}
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.glob("*.toml")):
            if path.stat().st_size <= OPTION_BYTES:
                found[f"{folder.resolve().name}/{path.name}"] = files.read_text(path)
    return found
