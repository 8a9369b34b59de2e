"""Figures as SVG that every reader of the page has in words too. States differ in colour and in pattern."""

import math
from collections.abc import Mapping, Sequence

from .markup import Markup, joined, tag
from .numbers import Spread
from .rows import STATES
from .told import counted, share, told

MARKS = {"accepted": "✓", "undetermined": "?", "rejected": "✕", "unjudged": "·", "refused": "⊘"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 150, 8, 8, 24, 22
SHADES = 8


def patterns() -> Markup:
    """The fills of the states, once per page: plain, dotted, hatched, ruled."""
    shapes = {
        "accepted": (),
        "undetermined": (tag("circle", cx=2.5, cy=2.5, r=1.1), tag("circle", cx=6.5, cy=6.5, r=1.1)),
        "rejected": (tag("path", d="M-2 2L2 -2M0 8L8 0M6 10L10 6", class_="cut"),),
        "unjudged": (tag("path", d="M0 2H8M0 6H8", class_="cut"),),
        "refused": (tag("path", d="M0 0L8 8M8 0L0 8", class_="cut"),),
    }
    made = [
        tag(
            "pattern",
            tag("rect", width=8, height=8, class_=f"ground-{state}"),
            tag("g", shape, class_="cuts") if shape else None,
            id=f"fill-{state}",
            width=8,
            height=8,
            patternUnits="userSpaceOnUse",
        )
        for state, shape in shapes.items()
    ]
    return tag("svg", tag("defs", made), class_="defs", width=0, height=0, aria_hidden="true")


def badge(state: str) -> Markup:
    """The state with its mark, told apart without colour."""
    return tag("span", tag("span", MARKS[state], aria_hidden="true"), f" {state}", class_=f"badge {state}")


def stack(counts: Mapping[str, int]) -> Markup:
    """One bar of all clips, split by state, with its legend."""
    whole, at, parts = sum(counts.values()), 0.0, []
    for state, count in counts.items():
        width = 1000 * count / max(whole, 1)
        parts.append(tag("rect", x=at, y=0, width=max(width - 2, 0.5 * bool(count)), height=30, class_=f"bar {state}"))
        at += width
    said = ", ".join(f"{state} {count}" for state, count in counts.items())
    bar = tag(
        "svg", parts, viewBox="0 0 1000 30", preserveAspectRatio="none", role="img", aria_label=said, class_="stack"
    )
    legend = [
        tag("li", swatch(state), badge(state), f" {told(n)}, {share(n, whole)}") for state, n in counts.items() if n
    ]
    return joined(bar, tag("ul", legend, class_="legend"))


def swatch(state: str) -> Markup:
    """A small square of the state's fill."""
    square = tag("rect", width=14, height=14, rx=2, class_=f"bar {state}")
    return tag("svg", square, viewBox="0 0 14 14", class_="swatch", aria_hidden="true")


def bar(parts: Mapping[str, int], most: int) -> Markup:
    """A bar of counts by state, against the largest of its table. The cells beside it hold the numbers."""
    at, drawn = 0.0, []
    for state, count in parts.items():
        width = 140 * count / max(most, 1)
        if count:
            drawn.append(tag("rect", x=at, y=0, width=max(width, 0.8), height=12, class_=f"bar {state}"))
        at += width
    return tag("svg", drawn, viewBox="0 0 140 12", class_="row-bar", aria_hidden="true")


def histogram(one: Spread) -> Markup:
    """Counts per bin stacked by state under a box of quantiles, with the quantiles as a table below."""
    if one.distinct:
        return _listed(one)
    place = _axis(one)
    unit = one.unit
    q = one.quantiles
    said = (
        f"{one.title}: median {told(q['q50'], unit)}; 5 % are below {told(q['q05'], unit)} and 5 % above "
        f"{told(q['q95'], unit)}; from {told(one.least)} to {told(one.most, unit)}"
    )
    drawn = [*_bars(one, place), *_box(one, place), *_ticks(one, place)]
    svg = tag("svg", drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said, class_="histogram")
    notes = [
        f"{counted(one.n, 'clip')}",
        "logarithmic axis" if one.log else "",
        f"{told(one.missing)} without" * bool(one.missing),
    ]
    notes.append(f"{told(one.below_or_zero)} are 0 or below and not drawn" * bool(one.below_or_zero))
    rows = [("smallest", one.least), *((f"{int(name[1:])} %", value) for name, value in q.items())]
    rows += [("largest", one.most), ("mean", one.mean)]
    body = [
        tag("tr", tag("th", name, scope="row"), tag("td", told(value, unit), class_="number")) for name, value in rows
    ]
    listed = tag("details", tag("summary", "Quantiles"), tag("table", tag("caption", one.title), tag("tbody", body)))
    title = tag("b", one.title), f" median {told(q['q50'], unit)}"
    caption = tag("figcaption", tag("span", title), tag("span", "; ".join(filter(None, notes)), class_="quiet"))
    return tag("figure", caption, svg, listed, class_="spread")


def _listed(one: Spread) -> Markup:
    """The few values that there are, each with a bar."""
    columns = [dict(zip(one.counts, column, strict=True)) for column in zip(*one.counts.values(), strict=True)]
    totals = [sum(column.values()) for column in columns]
    rows = [
        tag(
            "tr",
            tag("th", told(value, one.unit), scope="row"),
            tag("td", n, class_="number"),
            tag("td", bar(column, max(totals))),
        )
        for value, n, column in zip(one.distinct, totals, columns, strict=True)
    ]
    heads = [tag("th", one.title, scope="col"), tag("th", "Clips", scope="col", class_="number"), tag("td")]
    inner = tag("table", tag("caption", one.title), tag("thead", tag("tr", heads)), tag("tbody", rows))
    note = tag("span", f"{told(one.missing)} without" if one.missing else "", class_="quiet")
    caption = tag(
        "figcaption", tag("span", tag("b", one.title), f" median {told(one.quantiles['q50'], one.unit)}"), note
    )
    return tag("figure", caption, inner, class_="spread few")


def _axis(one: Spread) -> "tuple[float, float, bool]":
    low, high = one.edges[0], one.edges[-1]
    return (math.log(low), math.log(high), True) if one.log else (low, high, False)


def _x(value: float, place: tuple[float, float, bool]) -> float:
    low, high, log = place
    at = math.log(max(value, 1e-300)) if log else value
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max((at - low) / (high - low), 0.0), 1.0)


def _bars(one: Spread, place: tuple[float, float, bool]) -> list[Markup]:
    totals = [sum(column) for column in zip(*one.counts.values(), strict=True)]
    most, room, drawn = max(totals), HEIGHT - TOP - BOTTOM, []
    for k in range(len(totals)):
        left, right, foot = _x(one.edges[k], place), _x(one.edges[k + 1], place), float(HEIGHT - BOTTOM)
        for state in STATES:
            count = one.counts.get(state, (0,) * len(totals))[k]
            height = room * count / most
            if count:
                foot -= height
                said = tag("title", f"{told(one.edges[k])} to {told(one.edges[k + 1], one.unit)}: {count} {state}")
                width = max(right - left - 1, 0.8)
                box = {"x": round(left, 2), "y": round(foot, 2), "width": round(width, 2), "height": round(height, 2)}
                drawn.append(tag("rect", said, class_=f"bar {state}", **box))
    return drawn


def _box(one: Spread, place: tuple[float, float, bool]) -> list[Markup]:
    q = {name: round(_x(value, place), 2) for name, value in one.quantiles.items()}
    middle = TOP / 2
    return [
        tag("line", x1=q["q05"], x2=q["q95"], y1=middle, y2=middle, class_="whisker"),
        tag("rect", x=q["q25"], y=middle - 5, width=max(q["q75"] - q["q25"], 1.0), height=10, class_="box"),
        tag("line", x1=q["q50"], x2=q["q50"], y1=middle - 8, y2=middle + 8, class_="middle"),
    ]


def _ticks(one: Spread, place: tuple[float, float, bool]) -> list[Markup]:
    foot = HEIGHT - BOTTOM
    drawn = [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=foot, y2=foot, class_="axis")]
    last = -99.0
    for value in ticks(one.edges[0], one.edges[-1], one.log):
        x, label = round(_x(value, place), 2), told(value)
        half = 3.4 * len(label)
        anchor = "start" if x - half < LEFT else "end" if x + half > WIDTH - RIGHT else "middle"
        begin = x - {"start": 0.0, "middle": half, "end": 2 * half}[anchor]
        if begin > last:
            last = begin + 2 * half + 6
            drawn.append(tag("line", x1=x, x2=x, y1=foot, y2=foot + 4, class_="axis"))
            drawn.append(tag("text", label, x=x, y=foot + 16, text_anchor=anchor))
    return drawn


def ticks(low: float, high: float, log: bool) -> list[float]:
    """Round values between the ends: decades with 2 and 5 where few of them, else about five steps."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 4 else (1,)
        return [step * 10.0**k for k in decades for step in steps if low <= step * 10.0**k <= high]
    raw = (high - low) / 5
    ten = 10.0 ** math.floor(math.log10(raw))
    step = next(ten * k for k in (1, 2, 5, 10) if ten * k >= raw * 0.999)
    return [round(k * step, 12) + 0.0 for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def heat(caption: str, rows: Sequence[str], columns: Sequence[str], counts: Mapping[tuple[str, str], int]) -> Markup:
    """A table of counts whose cells are shaded by their number."""
    most, whole = max(counts.values(), default=0), sum(counts.values())
    head = tag("tr", tag("th", "direction \\ turn", scope="col"), [tag("th", name, scope="col") for name in columns])
    body = []
    for row in rows:
        cells = []
        for column in columns:
            count = counts.get((row, column), 0)
            shade = math.ceil(SHADES * math.sqrt(count / most)) if most else 0
            said = f"{row}, {column}: {counted(count, 'clip')}, {share(count, whole)}"
            cells.append(tag("td", told(count) if count else "·", class_=f"number shade-{shade}", title=said))
        body.append(tag("tr", tag("th", row, scope="row"), cells))
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_="heat")
    return tag("div", inner, class_="scroller", tabindex="0", role="group", aria_label=caption)
