"""What the page's script knows: the clips in detail, and how many clips there are of each combination."""

import base64
import json
from typing import Any

import polars as pl

from trajkit.show.exhibit import RAMP

from .details import Detail, drawn
from .report import Report
from .rows import FIGURES, STATES, WORDS

CONTENT_BYTES = 8_500_000  # of the page's JSON; pictures take what paths and evidence leave
NAMED = 60  # values of a filter; what is rarer is "other"


def content(report: Report) -> dict[str, Any]:
    """The content of the page's JSON element."""
    codes = [one.id for one in report.reasons if one.has_clips]
    by_key = _by_key(report, codes)
    about = _about(report)
    items = [_item(report, one, about[one.key]) for one in report.details]
    _add_pictures(items, report.details)
    names = {column: _frequent(report.tables.clips, column) for column in ("kind", "source", "motion")}
    return {
        "ramp": RAMP,
        "states": list(STATES),
        "codes": codes,
        "names": names,
        "total": len(report.tables.clips),
        "combinations": _combinations(report, by_key, names),
        "items": items,
        "worst": report.worst,
        "median": report.median,
        "pictures": sum(bool(one["pictures"]) for one in items),
    }


def _add_pictures(items: list[dict[str, Any]], details: list[Detail]) -> None:
    """Gives the clips their pictures, the most telling clips first, as long as the content stays under its limit."""
    left = CONTENT_BYTES - sum(len(json.dumps(item)) for item in items)
    for item, one in zip(items, details, strict=True):
        pictures: list[dict[str, Any]] = [{"at": shot.at, "src": _uri(shot.jpeg)} for shot in one.pictures]
        size = sum(len(picture["src"]) + 20 for picture in pictures)
        if size <= left:
            item["pictures"] = pictures
            left -= size
        else:
            item["missing"].append("its pictures do not fit into the page")


def _by_key(report: Report, codes: list[str]) -> pl.DataFrame:
    """The reasons' names of each clip, sorted."""
    named = report.tables.reasons.select("key", id=pl.format("{}: {}", "stage", "code")).filter(
        pl.col("id").is_in(codes)
    )
    return named.unique().sort("key", "id").group_by("key", maintain_order=True).agg("id")


def _frequent(clips: pl.DataFrame, column: str) -> list[str]:
    found = clips.drop_nulls(column).group_by(column).len().sort("len", column, descending=[True, False])
    return [str(name) for name in found[column].head(NAMED)]


def _combinations(report: Report, by_key: pl.DataFrame, names: dict[str, list[str]]) -> list[list[Any]]:
    """[state, reasons, kind, source, motion, clips]; so the page counts all clips though it holds a few."""
    codes = [one.id for one in report.reasons if one.has_clips]
    place = {code: number for number, code in enumerate(codes)}
    named = [
        pl.when(pl.col(column).is_in(found) | pl.col(column).is_null())
        .then(column)
        .otherwise(pl.lit("other"))
        .alias(column)
        for column, found in names.items()
    ]
    clips = report.tables.clips.select("key", "state", *named).join(by_key, on="key", how="left")
    grouped = clips.group_by("state", "id", *names).len().sort("state", *names, "len", nulls_last=True)
    return [
        [state, sorted(place[code] for code in found or []), *words, count]
        for state, found, *words, count in grouped.select("state", "id", *names, "len").iter_rows()
    ]


def _item(report: Report, one: Detail, about: dict[str, Any]) -> dict[str, Any]:
    return {
        **about,
        **drawn(one),
        "why": report.shown[one.key],
        "caption": one.caption,
        "facts": [*one.facts],
        "pictures": [],
        "evidence": list(one.evidence),
        "blamed": list(one.blamed) or about["blamed"],
        "missing": list(one.missing),
    }


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _about(report: Report) -> dict[str, dict[str, Any]]:
    """State, figures, words and reasons of each clip in detail, by key."""
    keys = list(report.shown)
    place = {one.id: number for number, one in enumerate(one for one in report.reasons if one.has_clips)}
    found: dict[str, dict[str, Any]] = {}
    names = ("key", "state", "stage", "probability", "low", "high", "blamed", *FIGURES, *WORDS)
    for row in report.tables.clips.filter(pl.col("key").is_in(keys)).select(names).iter_rows(named=True):
        row["blamed"] = json.loads(row["blamed"] or "[]")
        found[row["key"]] = row | {"codes": [], "reasons": []}
    reasons = report.tables.reasons.filter(pl.col("key").is_in(keys))
    for key, stage, *told in reasons.select(
        "key", "stage", "code", "message", "value", "threshold", "unit"
    ).iter_rows():
        code = place[f"{stage}: {told[0]}"]
        if code not in found[key]["codes"]:
            found[key]["codes"].append(code)
        found[key]["reasons"].append([f"{told[0]}", *told[1:]])
    return found
