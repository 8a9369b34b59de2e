"""The headline numbers, each with the query of the ledger that gives it, and the distributions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from .rows import STATES, Tables

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 32
FEW = 6  # distinct values that are listed instead of drawn
HEAVY, WIDE = 5, 30  # 95 % quantile over median, and largest over smallest value, from which an axis is logarithmic


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which rows, in their newest attempt, and what is taken of them. "" = any."""

    stage: str = "filter, else score"
    metric: str = "poses"
    state: str = ""
    where: str = ""  # a condition on `values`
    take: str = "keys"

    def told(self) -> dict[str, str]:
        """As the JSON says it."""
        return {"stage": self.stage, "metric": self.metric, "state": self.state, "where": self.where, "take": self.take}


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A headline number: `value` is None where no clip gives it."""

    name: str
    title: str
    value: float | int | None
    unit: str = ""
    query: Query
    share_of: str = ""  # the number that it is divided by


def headline(tables: Tables, found: Mapping[str, int]) -> list[Number]:
    """All headline numbers; `found` holds those of duplicates and leakage."""
    clips, refused = tables.clips, tables.refused
    total, judged = len(clips), clips["blamed"].count()  # a row of metric "poses" gave the latter
    numbers = [
        _one("clips", "Clips", total, query=Query(stage="any but reconstruct", metric="", where="not only rejected")),
        *_states(clips),
        _one("refused", "Candidates refused before they became clips", len(refused), query=REFUSED),
        _share("refused_share", "Refused candidates", len(refused), total + len(refused), REFUSED, "clips + refused"),
        *_sums(clips),
        _one("scenes", "Scenes", clips["scene"].replace("", None).drop_nulls().n_unique(), query=_took("scene")),
        *(
            _share(f"{name}_share", title, _count(clips, column, value), judged, _where(column, value), "scored clips")
            for name, title, column, value in SHARES
        ),
        *(_median(clips, *one) for one in MEDIANS),
        *_found(found, total),
        *_captions(clips, judged),
        _one("decode_failures", "Clips that do not decode or cannot be read", len(tables.failures), query=DECODE),
    ]
    return numbers


REFUSED = Query(stage="any but filter, score, reconstruct", metric="", state="rejected", where="no clip of that key")
DECODE = Query(stage="any", metric="", where="failed, or rejected as readable or with a reason about decoding")
SHARES = (
    ("metric", "Metric scale", "scale", "metric"),
    ("static", "Static cameras", "motion", "static"),
    ("rotation", "Cameras that only turn", "motion", "rotation"),
    ("parallax", "Cameras that move", "motion", "parallax"),
    ("estimated", "Estimated poses", "kind", "estimated"),
    ("rendered", "Rendered poses", "kind", "rendered"),
)
MEDIANS = (
    ("probability", "Probability that poses are good", ""),
    ("path_length", "Path length", "units"),
    ("speed", "Speed", "units/s"),
    ("turn_rate_deg", "Turn rate", "deg/s"),
    ("fov_deg", "Vertical field of view", "deg"),
    ("seconds", "Clip length", "s"),
    ("fps", "Frame rate", "fps"),
    ("caption_length", "Caption length", "characters"),
)


def _one(name: str, title: str, value: float | int | None, unit: str = "", *, query: Query) -> Number:
    return Number(name=name, title=title, value=value, unit=unit, query=query)


def _share(name: str, title: str, part: int, whole: int, query: Query, of: str) -> Number:
    value = part / whole if whole else None
    return Number(name=name, title=f"{title}, share", value=value, query=query, share_of=of)


def _took(column: str, take: str = "distinct") -> Query:
    return Query(stage="score", take=f"{take} values.{column}")


def _where(column: str, value: str) -> Query:
    return Query(stage="score", where=f"values.{column} = {value}")


def _count(clips: pl.DataFrame, column: str, value: str) -> int:
    return len(clips.filter(pl.col(column) == value))


def _states(clips: pl.DataFrame) -> list[Number]:
    numbers = []
    for state in STATES:
        query = Query(state=state) if state != "unjudged" else Query(stage="none of filter, score", metric="")
        count = _count(clips, "state", state)
        title = f"{state.capitalize()} clips"
        numbers += [_one(state, title, count, query=query)]
        numbers += [_share(f"{state}_share", title, count, len(clips), query, "clips")]
    return numbers


def _sums(clips: pl.DataFrame) -> list[Number]:
    accepted = clips.filter(pl.col("state") == "accepted")
    sums = [
        ("hours", "Video", float(clips["seconds"].sum()) / 3600, "h", _took("seconds", "sum / 3600 of")),
        ("accepted_hours", "Accepted video", float(accepted["seconds"].sum()) / 3600, "h", None),
        ("frames", "Frames", int(clips["frames"].sum()), "", _took("frames", "sum of")),
        ("poses", "Poses", int(clips["poses"].sum()), "", _took("poses", "sum of")),
    ]
    of_accepted = Query(stage="score", where="verdict accepted", take="sum / 3600 of values.seconds")
    return [_one(name, title, value, unit, query=query or of_accepted) for name, title, value, unit, query in sums]


def _median(clips: pl.DataFrame, column: str, title: str, unit: str) -> Number:
    value = clips[column].median()
    query = Query(stage="score", take="median value") if column == "probability" else _took(column, "median of")
    number = None if value is None else float(value)  # type: ignore[arg-type]
    return _one(f"{column}_median", f"{title}, median", number, unit, query=query)


def _found(found: Mapping[str, int], total: int) -> list[Number]:
    beyond = "keys beyond the first of each group"
    same = Query(stage="score", where="values.clip of another key too", take=beyond)
    numbers = [
        _one("duplicates", "Clips that repeat the pictures and poses of another", found["duplicates"], query=same),
        _share("duplicate_share", "Duplicate clips", found["duplicates"], total, same, "clips"),
    ]
    figures = "speed / path_length and turn_rate_deg to 5 digits, poses, frames, direction and turn"
    alike = Query(
        stage="score", where=f"values {figures} of another key too, and its poses within 0.02 where there", take=beyond
    )
    numbers.append(_one("alike_paths", "Clips that repeat the path of another", found["alike_paths"], query=alike))
    several = Query(stage="score", where="values.scene in several folders or values.split", take="distinct scenes")
    return [
        *numbers,
        _one("leaked_scenes", "Scenes in several folders or splits", found["leaked_scenes"], query=several),
    ]


def _captions(clips: pl.DataFrame, judged: int) -> list[Number]:
    empty, query = len(clips.filter(pl.col("caption_length") == 0)), _where("caption_length", "0")
    unknown = Query(stage="score", where="values.licence is unknown or empty")
    unlicensed = len(clips.filter(pl.col("licence").str.to_lowercase().is_in(["", "unknown"])))
    return [
        _one("empty_captions", "Empty captions", empty, query=query),
        _share("empty_caption_share", "Empty captions", empty, judged, query, "scored clips"),
        _share("unknown_licence_share", "Unknown licence", unlicensed, judged, unknown, "scored clips"),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A distribution: quantiles, and counts per bin and state. `log` where the axis is logarithmic."""

    name: str
    title: str
    unit: str
    n: int
    missing: int
    least: float
    most: float
    mean: float
    quantiles: dict[str, float]
    log: bool
    edges: tuple[float, ...]  # of the bins; () where there are few distinct values
    distinct: tuple[float, ...]  # those
    counts: dict[str, tuple[int, ...]]  # by state: per bin, or per distinct value
    below_or_zero: int = 0  # values that a logarithmic axis cannot hold

    def numbers(self) -> dict[str, Any]:
        """As the JSON says it."""
        shown = {name: getattr(self, name) for name in ("title", "unit", "n", "missing", "mean", "log", "quantiles")}
        return shown | {
            "min": self.least,
            "max": self.most,
            "edges": list(self.edges),
            "distinct": list(self.distinct),
            "counts": {state: list(counts) for state, counts in self.counts.items()},
            "not_positive": self.below_or_zero,
        }


SPREADS = (
    ("path_length", "Path length", "units"),
    ("speed", "Speed", "units/s"),
    ("turn_rate_deg", "Turn rate", "deg/s"),
    ("fov_deg", "Vertical field of view", "deg"),
    ("seconds", "Clip length", "s"),
    ("fps", "Frame rate", "fps"),
    ("height", "Picture height", "px"),
    ("poses", "Poses", ""),
    ("caption_length", "Caption length", "characters"),
)


def spreads(clips: pl.DataFrame) -> list[Spread]:
    """The distributions of what a report must tell; those that no clip gives are left out."""
    made = [spread(clips.select("state", value=name), name, title, unit) for name, title, unit in SPREADS]
    return [one for one in made if one]


def spread(
    table: pl.DataFrame, name: str, title: str, unit: str, *, ends: tuple[float, float] | None = None
) -> Spread | None:
    """The distribution of `value` by `state`; None where there is no value. `ends` are those of a linear axis."""
    held = table.drop_nulls("value")
    values = held["value"].to_numpy()
    if not len(values):
        return None
    quantiles = np.quantile(values, QUANTILES)
    distinct = np.unique(values)
    positive = values > 0
    heavy = not ends and positive.mean() >= 0.8 and quantiles[5] > HEAVY * quantiles[3] > 0
    log = bool(heavy and len(distinct) > FEW and distinct[-1] > WIDE * distinct[distinct > 0][0])
    drawn = positive if log else np.ones(len(values), bool)
    few = len(distinct) <= FEW and not ends
    edges = np.array([]) if few else _edges(values[drawn] if ends is None else np.array(ends), log)
    states = held["state"].to_numpy()
    counts = {
        state: _counts(values[(states == state) & drawn], edges, distinct)
        for state in STATES
        if (states == state).any()
    }
    return Spread(
        name=name,
        title=title,
        unit=unit,
        n=len(values),
        missing=len(table) - len(values),
        least=float(values.min()),
        most=float(values.max()),
        mean=float(values.mean()),
        quantiles={f"q{round(100 * q):02d}": float(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
        log=log,
        edges=tuple(map(float, edges)),
        distinct=tuple(map(float, distinct)) if not len(edges) else (),
        counts=counts,
        below_or_zero=int((~drawn).sum()),
    )


def _counts(values: np.ndarray, edges: np.ndarray, distinct: np.ndarray) -> tuple[int, ...]:
    if len(edges):
        return tuple(np.histogram(values, edges)[0].tolist())
    return tuple(int((values == one).sum()) for one in distinct)


def _edges(values: np.ndarray, log: bool) -> np.ndarray:
    """Bin edges from the least to the largest value."""
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)
    edges[0], edges[-1] = low, high
    return edges
