"""The rows of the ledgers that a report is about, as three tables: clips, their reasons, their metrics.

A row counts only in its newest attempt: the highest of its ledger, stage and key. What decides about a clip is the
first stage of `DECIDING` that has a row for it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.ledger import FOLDER, Ledger

DECIDING = ("filter", "score")
VERDICT, UNREADABLE = "poses", "readable"  # metrics of rows that hold a clip's verdict, or why it has none
SCENES = ("reconstruct",)  # stages whose keys are scenes
FIGURES = (
    *("fps", "frames", "poses", "width", "height", "seconds", "fov_deg"),
    *("caption_length", "path_length", "speed", "turn_rate_deg"),
)
WORDS = ("kind", "source", "scene", "licence", "scale", "motion", "direction", "turn", "clip", "split")
STATES = ("accepted", "undetermined", "rejected", "unjudged")
BATCH = 20_000  # verdicts whose JSON is held at a time


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """One folder that was given: its name, the hash over its ledger's parts, and how many rows they hold."""

    name: str
    sha256: str
    parts: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tables:
    """What the ledgers say. `clips` has one row per clip, `refused` one per candidate that never became one."""

    ledgers: tuple[Part, ...]
    clips: pl.DataFrame  # key, folder, state, stage, probability, low, high, frames, first_code, shard, FIGURES, WORDS
    refused: pl.DataFrame  # key, folder, stage
    reasons: pl.DataFrame  # key, stage, code, message, value, threshold, unit, state
    metrics: pl.DataFrame  # key, metric, value, state
    units: dict[str, dict[str, str]]  # by metric: unit, better, version
    failures: pl.DataFrame  # key, stage, reason of what did not decode
    versions: dict[str, list[str]]  # of everything that wrote rows


def read(paths: Sequence[Path]) -> Tables:
    """The ledgers in these folders (for a tar: beside it). Raises TrajkitError where none of them has one."""
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))
    for path in paths:
        if not path.exists():
            raise TrajkitError(path, "no such file or folder", "check the path")
    scans = [Ledger(folder).scan().with_columns(pl.lit(n).alias("folder")) for n, folder in enumerate(folders)]
    every = pl.concat(scans)
    newest = every
    if every.select(pl.col("attempt").max()).collect().item() != 1:  # else there is nothing to compare
        newest = every.filter(pl.col("attempt") == pl.col("attempt").max().over("folder", "stage", "key"))
    measured = (pl.col("stage") == "score") & ~pl.col("metric").is_in([VERDICT, UNREADABLE, ""])
    rows = newest.filter(~measured).unique(["key", "stage", "metric"], keep="last", maintain_order=True).collect()
    metrics = newest.filter(measured).select("key", "metric", "value")
    metrics = metrics.unique(["key", "metric"], keep="last", maintain_order=True)
    named = newest.filter(measured).group_by("metric").agg(pl.col("values", "versions").last()).sort("metric")
    if not len(rows):
        where = ", ".join(map(str, paths))
        raise TrajkitError(where, "no ledger rows", "give folders that trajkit render, score or filter wrote")
    clips, reasons = _clips(rows, paths[0])
    states = clips.select("key", "state")
    bad = pl.col("reason").str.contains("(?i)decod") | (pl.col("metric") == UNREADABLE)
    unread = (pl.col("state") == "failed") | ((pl.col("state") == "rejected") & bad)
    return Tables(
        ledgers=tuple(_part(folder, scan) for folder, scan in zip(folders, scans, strict=True)),
        clips=clips,
        refused=_refused(rows, clips),
        reasons=pl.concat([reasons, _refusals(rows, clips)]),
        metrics=metrics.collect().join(states, on="key", how="inner"),
        units=_units(named.collect(), paths[0]),
        failures=rows.filter(unread).select("key", "stage", "reason").unique("key", keep="first", maintain_order=True),
        versions=_versions(every),
    )


def _part(folder: Path, scan: pl.LazyFrame) -> Part:
    digest, parts = hashlib.sha256(), sorted((folder / FOLDER).glob("*.parquet"))
    for path in parts:
        digest.update(f"{path.name} {files.sha256(path)}\n".encode())
    rows = int(scan.select(pl.len()).collect().item())
    return Part(name=folder.resolve().name, sha256=digest.hexdigest(), parts=len(parts), rows=rows)


def _clips(rows: pl.DataFrame, where: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row per clip, and the reasons of those that a deciding stage spoke about."""
    judged = rows.filter(pl.col("stage").is_in(DECIDING))
    rank = pl.col("stage").replace_strict({stage: n for n, stage in enumerate(DECIDING)}, return_dtype=pl.Int32)
    deciding = judged.filter(rank == rank.min().over("key"))
    made = rows.filter((pl.col("state") != "rejected") & ~pl.col("stage").is_in(SCENES + DECIDING))
    keys = pl.concat([judged, made]).select("key").unique().sort("key")
    worst = pl.col("state").replace_strict({"rejected": 0, "undetermined": 1}, default=2, return_dtype=pl.Int32)
    first = deciding.sort(worst, maintain_order=True).unique("key", keep="first", maintain_order=True)
    verdicts = judged.filter((pl.col("stage") == "score") & (pl.col("metric") == VERDICT))
    described = [_described(batch, where) for batch in verdicts.iter_slices(BATCH)]
    about = pl.concat([one for one, _ in described]) if described else pl.DataFrame(schema=ABOUT)
    shards = _shards(rows)
    state = pl.when(pl.col("state").is_in(STATES)).then("state").otherwise(pl.lit("undetermined"))
    clips = (
        keys.join(first.select("key", "folder", state.alias("state"), "stage"), on="key", how="left")
        .join(about, on="key", how="left")
        .join(shards, on="key", how="left")
        .with_columns(pl.col("state").fill_null("unjudged"))
        .sort("key")
    )
    scored = [one for _, one in described] or [pl.DataFrame(schema=REASONS)]
    reasons = pl.concat([*scored, _filtered(deciding)])
    reasons = reasons.join(clips.select("key", "state", decided="stage"), on="key", how="inner")
    reasons = reasons.filter((pl.col("stage") == pl.col("decided")) & (pl.col("state") != "accepted")).drop("decided")
    codes = reasons.group_by("key", maintain_order=True).agg(first_code=pl.col("code").first())
    return clips.join(codes, on="key", how="left").sort("key"), reasons


REASONS = {
    **dict.fromkeys(("key", "stage", "code", "message"), pl.String),
    **dict.fromkeys(("value", "threshold"), pl.Float64),
    "unit": pl.String,
}
ABOUT: dict[str, Any] = {
    "key": pl.String,
    **dict.fromkeys(("probability", "low", "high"), pl.Float64),
    "blamed": pl.String,  # JSON of [[first, last], ...]
    **dict.fromkeys(FIGURES, pl.Float64),
    **dict.fromkeys(WORDS, pl.String),
}


def _described(batch: pl.DataFrame, where: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the JSON of verdict rows holds: figures and words of each clip, and its reasons."""
    about: list[tuple] = []
    reasons: list[tuple] = []
    for key, probability, text in batch.select("key", "value", "values").iter_rows():
        values = _object(text, key, where)
        figures = [_figure(values.get(name)) for name in FIGURES]
        words = [None if values.get(name) is None else str(values[name]) for name in WORDS]
        ends = _figure(values.get("low")), _figure(values.get("high"))
        about.append((key, probability, *ends, json.dumps(_stretches(values)), *figures, *words))
        reasons += [(key, "score", *reason) for reason in _reasons(values.get("reasons"))]
    return (
        pl.DataFrame(about, schema=ABOUT, orient="row"),
        pl.DataFrame(reasons, schema=REASONS, orient="row"),
    )


def _object(text: str, key: str, where: object) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TrajkitError(where, f"ledger row of {key} holds no JSON ({error})", "run its stage again") from None
    if not isinstance(value, dict):
        raise TrajkitError(where, f"values of ledger row {key} are no object", "run its stage again")
    return value


def _stretches(values: dict[str, Any]) -> list[Any]:
    """Frames to blame; a count of the same name may stand in their place, then the score record has them."""
    for listed in (values.get("blamed"), values.get("frames")):
        if isinstance(listed, list):
            return [one for one in listed if isinstance(one, list) and len(one) == 2]
    return []


def _figure(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _reasons(listed: object) -> Iterator[tuple]:
    """(code, message, value, threshold, unit) of each well-formed entry."""
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, list) and len(one) == 5:
            yield str(one[0]), str(one[1]), _figure(one[2]), _figure(one[3]), str(one[4] or "")


CODE = pl.when(pl.col("metric") != "").then("metric").otherwise(pl.col("reason").str.split(":").list.first())


def _filtered(deciding: pl.DataFrame) -> pl.DataFrame:
    rows = deciding.filter(((pl.col("metric") != VERDICT) | (pl.col("stage") != "score")) & (pl.col("reason") != ""))
    shown = (CODE.alias("code"), pl.col("reason").alias("message"), "value", "threshold", pl.lit("").alias("unit"))
    return rows.select("key", "stage", *shown)


def _refused(rows: pl.DataFrame, clips: pl.DataFrame) -> pl.DataFrame:
    """Candidates that a stage refused and that never became a clip."""
    refused = rows.filter((pl.col("state") == "rejected") & ~pl.col("stage").is_in(DECIDING + SCENES))
    refused = refused.join(clips.select("key"), on="key", how="anti")
    return refused.select("key", "folder", "stage").unique("key", keep="first", maintain_order=True).sort("key")


def _refusals(rows: pl.DataFrame, clips: pl.DataFrame) -> pl.DataFrame:
    refused = rows.filter((pl.col("state") == "rejected") & ~pl.col("stage").is_in(DECIDING + SCENES))
    shown = (CODE.alias("code"), pl.col("reason").alias("message"), "value", "threshold", pl.lit("").alias("unit"))
    named = refused.join(clips.select("key"), on="key", how="anti").select("key", "stage", *shown)
    return named.with_columns(state=pl.lit("refused"))


def _shards(rows: pl.DataFrame) -> pl.DataFrame:
    packed = rows.filter(pl.col("stage") == "pack").unique("key", keep="last", maintain_order=True)
    number = pl.col("values").str.json_path_match("$.shard").cast(pl.Int64, strict=False)
    return packed.select("key", shard=number)


def _units(named: pl.DataFrame, where: object) -> dict[str, dict[str, str]]:
    units = {}
    for metric, values, versions in named.iter_rows():
        about, made = _object(values, metric, where), _object(versions, metric, where)
        units[metric] = {"unit": str(about.get("unit", "")), "better": str(about.get("better", "lower"))}
        units[metric]["version"] = str(made.get(metric, ""))
    return units


def _versions(every: pl.LazyFrame) -> dict[str, list[str]]:
    """Name -> versions, of everything that decided about a row."""
    found: dict[str, set[str]] = {}
    for stage, text in every.select("stage", "versions").unique().sort("stage", "versions").collect().iter_rows():
        for name, version in _object(text, stage, "ledger").items():
            found.setdefault(str(name), set()).add(str(version))
    return {name: sorted(versions) for name, versions in sorted(found.items())}
