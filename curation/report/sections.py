"""The sections of the page, each the answer to one question about a set of clips."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from .figures import badge, bar, heat, histogram, stack
from .markup import Markup, joined, table, tag
from .numbers import Number
from .report import Report
from .rows import STATES
from .told import counted, share, told

ROWS = 40  # of a table; the JSON has all
DIRECTIONS = ("forward", "backward", "left", "right", "up", "down", "mixed", "still")
TURNS = ("none", "left", "right", "up", "down", "roll", "mixed")
TILES = (
    "clips",
    "accepted_share",
    "undetermined_share",
    "rejected_share",
    "hours",
    "scenes",
    "metric_share",
    "duplicates",
)


def section(id: str, title: str, lead: str, *parts: object) -> Markup:
    """A part of the page under a heading that the table of contents links to."""
    heading = tag("h2", title, id=f"{id}-title")
    return tag(
        "section", heading, tag("p", lead, class_="lead") if lead else None, parts, id=id, aria_labelledby=f"{id}-title"
    )


def tiles(report: Report) -> Markup:
    """The figures that one looks at first."""
    named = {number.name: number for number in report.headline}
    made = []
    for name in TILES:
        number = named[name]
        delta = report.deltas.get(name)
        change = tag("small", _signed(delta["delta"], number), class_="change") if delta else None
        made.append(tag("li", tag("b", _told(number)), tag("span", SHORT[name]), change))
    return tag("ul", made, class_="tiles")


SHORT = {
    "clips": "clips",
    "accepted_share": "accepted",
    "undetermined_share": "undetermined",
    "rejected_share": "rejected",
    "hours": "of video",
    "scenes": "scenes",
    "metric_share": "metric scale",
    "duplicates": "duplicates",
}


def _told(number: Number) -> str:
    if number.value is not None and number.name.endswith("_share"):
        return f"{100 * number.value:.3g}\u202f%"
    if number.unit == "h" and number.value is not None and number.value < 1:
        return told(60 * number.value, "min")
    return told(number.value, number.unit)


def _signed(delta: float | None, number: Number) -> str:
    if delta is None:
        return "new"
    if delta == 0:
        return "±0"
    size = told(100 * abs(delta), "pp") if number.name.endswith("_share") else _told(replace(number, value=abs(delta)))
    return f"{'+' if delta > 0 else '−'}{size}"


def verdicts(report: Report) -> Markup:
    """How many clips are accepted, and why others are not."""
    counts = {state: report.value(state) for state in STATES}
    groups = report.reasons
    most = max((sum(one.counts.values()) for one in groups), default=0)
    rows = []
    for one in groups[:ROWS]:
        link = tag("button", "Show clips", type="button", data_reason=one.id, class_="link")
        cells = (tag("code", one.code), one.example, one.stage, sum(one.counts.values()), bar(one.counts, most))
        rows.append((*cells, link if one.has_clips else None))
    heads = ("Reason", "For example", "Stage", "Clips", "", "Examples")
    listed = table("Reasons, most frequent first; a clip may have several", heads, rows, numbers=[3], class_="reasons")
    whole = report.value("clips")
    lead = f"{counted(whole, 'clip')}; {counted(report.value('refused'), 'candidate')} refused before becoming clips."
    return section(
        "verdicts", "Verdicts and reasons", lead, stack(counts), listed if rows else tag("p", "Nothing was rejected.")
    )


def origins(report: Report) -> Markup:
    """Where poses come from: kind, scale, rate, source."""
    clips = report.tables.clips
    lead = (
        f"{_told(report.number('metric_share'))} of scored clips are metric. All poses are camera_to_world in OpenCV "
        "axes (x right, y down, z forward): clips hold no other convention."
    )
    parts = [
        _tally(clips, ["kind", "scale"], "Kind of poses and their scale", ("Kind", "Scale")),
        _tally(clips, ["source"], "Sources", ("Source",)),
        _tally(clips.with_columns(_rate(clips)), ["rate"], "Poses per second of video", ("Poses per second",)),
    ]
    return section("origins", "Where poses come from", lead, tag("div", parts, class_="columns"))


def _rate(clips: pl.DataFrame) -> pl.Series:
    rates = clips.select(pl.col("poses") / pl.col("seconds"))["poses"].round_sig_figs(2)
    return rates.replace(float("inf"), None).cast(pl.String).alias("rate")


def _tally(clips: pl.DataFrame, columns: list[str], caption: str, heads: tuple[str, ...]) -> Markup:
    """Clips per combination of words, with the states of each."""
    known = clips.filter(pl.col("state") != "unjudged")
    if not len(known):
        return table(caption, (*heads, "Clips"), [], numbers=[len(heads)])
    states = [pl.col("state").eq(state).sum().alias(f"n_{state}") for state in STATES]
    groups = known.group_by([pl.col(name).fill_null("not said") for name in columns], maintain_order=True)
    tallied = groups.agg(pl.len().cast(pl.Int64).alias("clips"), *states).sort(-pl.col("clips"), *columns)
    most = max(tallied["clips"])
    rows = [
        (
            *(row[name] or "not said" for name in columns),
            row["clips"],
            share(row["clips"], len(known)),
            bar(_states(row), most),
        )
        for row in tallied.head(ROWS).iter_rows(named=True)
    ]
    more = len(tallied) - ROWS
    title = f"{caption}: the {ROWS} most frequent of {told(len(tallied))}" if more > 0 else caption
    return table(title, (*heads, "Clips", "Share", ""), rows, numbers=[len(columns), len(columns) + 1])


def _states(row: Mapping[str, int]) -> dict[str, int]:
    return {state: row[f"n_{state}"] for state in STATES}


def quality(report: Report) -> Markup:
    """Each metric: quantiles, threshold, version, worst clips, histogram."""
    rows = []
    for one in report.metrics:
        q = one.spread.quantiles if one.spread else {}
        worst = [
            tag("button", key, type="button", data_open=key, class_="link") for key in one.worst if key in report.shown
        ]
        cells = [told(q.get(name)) for name in ("q05", "q50", "q95")]
        made = (tag("code", one.metric), one.unit or "–", {"lower": "lower", "higher": "higher"}.get(one.better, "–"))
        clips = one.spread.n if one.spread else 0
        rows.append(
            (*made, *cells, told(one.threshold), one.version, clips, one.missing, tag("div", worst, class_="keys"))
        )
    heads = ("Metric", "Unit", "Better", "5 %", "Median", "95 %", "Threshold", "Version", "Clips", "No value", "Worst")
    listed = table("Metrics over all scored clips", heads, rows, numbers=[3, 4, 5, 6, 8, 9])
    drawn = [histogram(one.spread) for one in report.metrics if one.spread]
    probability = [histogram(report.probability)] if report.probability else []
    lead = (
        "Values as trajkit score wrote them. The threshold is the one that reasons of rejected clips name most often."
    )
    return section("quality", "Pose quality", lead, listed, tag("div", probability + drawn, class_="spreads"))


def distributions(report: Report) -> Markup:
    """How clips are distributed in length, speed, turn rate, lens and size."""
    drawn = [histogram(one) for one in report.spreads]
    lead = "Bars are counts, split by verdict; the box above holds the middle half, its line reaches from 5 % to 95 %."
    sizes = report.tables.clips.drop_nulls("width").with_columns(
        size=pl.format("{} × {} px", pl.col("width").cast(pl.Int64), pl.col("height").cast(pl.Int64))
    )
    return section(
        "spreads",
        "Distributions",
        lead,
        tag("div", drawn, class_="spreads"),
        _tally(sizes, ["size"], "Picture size", ("Size",)),
    )


def motion(report: Report) -> Markup:
    """Which motions the set covers."""
    clips = report.tables.clips.drop_nulls("direction")
    counts = {(row[0], row[1]): row[2] for row in clips.group_by("direction", "turn").len().iter_rows() if row[1]}
    extra = lambda known, k: [*known, *sorted({pair[k] for pair in counts} - set(known))]  # noqa: E731
    table_ = heat("Clips by main direction of travel and of turning", extra(DIRECTIONS, 0), extra(TURNS, 1), counts)
    shares = ", ".join(
        f"{_told(report.number(f'{name}_share'))} {text}"
        for name, text in (("static", "static"), ("rotation", "only turn"), ("parallax", "move with parallax"))
    )
    return section(
        "motion",
        "Motion coverage",
        f"Of scored clips, {shares}.",
        table_,
        _tally(clips, ["motion"], "Motion", ("Motion",)),
    )


def repetition(report: Report) -> Markup:
    """Duplicates, alike paths and scenes in several places."""
    found = report.repeats
    keys = lambda group: ", ".join(group[:6]) + (f" and {len(group) - 6} more" if len(group) > 6 else "")  # noqa: E731
    same = [(keys(group), len(group)) for group in found.same[:ROWS]]
    alike = [(keys(group), len(group), how) for group, how in found.alike[:ROWS]]
    leaked = [(scene, ", ".join(places)) for scene, places in found.leaked[:ROWS]]
    lead = (
        f"{counted(report.value('duplicates'), 'clip')} repeat another's pictures and poses, "
        f"{counted(report.value('alike_paths'), 'clip')} another's path; "
        f"{counted(report.value('leaked_scenes'), 'scene')} occur in several folders or splits."
    )
    parts = [
        table("Same pictures and poses (SHA-256) under several keys", ("Keys", "Clips"), same, numbers=[1])
        if same
        else None,
        table("Near-identical paths, up to place and scale", ("Keys", "Clips", "Poses compared"), alike, numbers=[1])
        if alike
        else None,
        table("Scenes in several folders or splits", ("Scene", "Where"), leaked) if leaked else None,
    ]
    return section("repeats", "Duplicates and leakage", lead, tag("div", parts, class_="columns"))


def materials(report: Report) -> Markup:
    """Captions, licences, what does not decode, shards."""
    clips, failures = report.tables.clips, report.tables.failures
    lead = (
        f"{counted(report.value('empty_captions'), 'caption')} are empty; "
        f"{counted(len(failures), 'clip')} did not decode; "
        f"{_told(report.number('unknown_licence_share'))} have no known licence."
    )
    failed = [(key, stage, reason) for key, stage, reason in failures.head(ROWS).iter_rows()]
    shards = clips.drop_nulls("shard").group_by("shard").agg(pl.len().alias("n"), pl.col("frames").sum()).sort("shard")
    sizes = [(f"shard {row[0]}", row[1], int(row[2] or 0)) for row in shards.head(ROWS).iter_rows()]
    parts = [
        _tally(clips, ["licence"], "Licences", ("Licence",)),
        table("Did not decode", ("Clip", "Stage", "Reason"), failed) if failed else None,
        table(f"Shards, {min(len(shards), ROWS)} of {len(shards)}", ("Shard", "Clips", "Frames"), sizes, numbers=[1, 2])
        if sizes
        else None,
    ]
    return section("materials", "Captions, licences, files", lead, tag("div", parts, class_="columns"))


def numbers(report: Report) -> Markup:
    """Every headline number, what the other report said, and the query that gives it."""
    rows = []
    for one in report.headline:
        delta = report.deltas.get(one.name)
        against = (_told(replace(one, value=delta["before"])), _signed(delta["delta"], one)) if delta else ("–", "new")
        query = one.query
        said = " ".join(f"{name}: {text};" for name, text in query.told().items() if text).rstrip(";")
        of = f" / {one.share_of}" if one.share_of else ""
        rows.append(
            (
                tag("code", one.name),
                one.title,
                _told(one),
                *(against if report.against else ()),
                tag("span", said + of, class_="quiet"),
            )
        )
    heads = (
        "Name",
        "Meaning",
        "Value",
        *(("Before", "Change") if report.against else ()),
        "From the ledger's newest rows",
    )
    lead = f"Changes are against {report.against}." if report.against else "Names that --fail-if takes."
    return section(
        "numbers",
        "All headline numbers",
        lead,
        table("Headline numbers", heads, rows, numbers=[2, *([3, 4] if report.against else [])]),
    )


def provenance(report: Report) -> Markup:
    """What made the clips, and which ledgers this page is about."""
    ledgers = [(one.name, one.rows, one.parts, tag("code", one.sha256)) for one in report.tables.ledgers]
    versions = [(name, ", ".join(found)) for name, found in report.tables.versions.items()]
    options = [
        tag("details", tag("summary", name), tag("pre", text), open=len(text) < 1500)
        for name, text in sorted(report.options.items())
    ]
    parts = [
        table("Ledgers", ("Folder", "Rows", "Parts", "SHA-256 over its parts"), ledgers, numbers=[1, 2]),
        table("Versions that wrote rows", ("What", "Version"), versions),
    ]
    made = tag("pre", report.command_line)
    return section(
        "provenance",
        "Provenance",
        "",
        parts,
        tag("h3", "This report"),
        made,
        tag("h3", "Options of the commands") if options else None,
        options,
    )


def legend() -> Markup:
    """The marks of the states."""
    return joined([badge(state) for state in STATES])
