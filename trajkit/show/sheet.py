"""The contact sheet: a row per clip, its stills in time and its path from above; then a card per scene."""

import bisect
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trajkit.show.exhibit import STILLS, Exhibit, colour_at
from trajkit.show.gather import Gathered
from trajkit.show.page import headline
from trajkit.show.place import Place

CELL_WIDTH, CELL_HEIGHT, MAP_WIDTH = 208, 120, 200
GAP, MARGIN, HEAD, LABEL = 4, 24, 64, 34  # pixels: between cells, around, the title's height, a row's text
PAPER, INK, QUIET, LINE, SUNK = (255, 255, 255), (20, 24, 31), (89, 98, 115), (217, 221, 228), (236, 238, 242)
SEEN = (130, 139, 155)
WIDTH = 2 * MARGIN + STILLS * (CELL_WIDTH + GAP) + MAP_WIDTH
ROW = LABEL + CELL_HEIGHT + 14
CARDS, CARD_MAP, CARD = 3, (300, 200), 254  # cards in a row, pixels of a card's map, of a row of cards
REFUSED = (163, 38, 27)
SCALE = 3  # maps are drawn so much larger, and scaled down


def contact_sheet(shown: Gathered) -> bytes:
    """PNG of what was gathered: rows of clips and of scenes' cameras, then maps of scenes with all their paths."""
    rows = [one for one in shown.exhibits if one.stills]
    cards = [place for place in shown.places.values() if _is_scene(place, shown.exhibits)]
    below = HEAD + len(rows) * ROW
    sheet = Image.new("RGB", (WIDTH, below + -(-len(cards) // CARDS) * CARD + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    legend = "frames evenly spaced in time; right: the path from above, start hollow, end solid, captured cameras grey"
    edge = _text(pen, (WIDTH - MARGIN, 28), legend, 14, QUIET, right=True)
    _text(pen, (MARGIN, 20), "; ".join(filter(None, [headline(shown), shown.tally])), 22, INK, room=edge - 2 * MARGIN)
    for number, one in enumerate(rows):
        _row(sheet, pen, one, shown.places[one.place], HEAD + number * ROW)
    for number, place in enumerate(cards):
        left = MARGIN + number % CARDS * ((WIDTH - 2 * MARGIN) // CARDS)
        _card(sheet, pen, place, shown.exhibits, (left, below + number // CARDS * CARD))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _is_scene(place: Place, exhibits: Sequence[Exhibit]) -> bool:
    """Whether its map says more than those of its clips: several paths, or refused ones."""
    here = [one for one in exhibits if one.place == place.id]
    return bool(place.tally) or sum(one.kind == "clip" for one in here) > 1


def _card(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, place: Place, exhibits: Sequence[Exhibit], at: tuple[int, int]
) -> None:
    """A scene's map with its name, how many paths were accepted and refused, why, and how good its splats are."""
    left, top = at
    here = [one for one in exhibits if one.place == place.id and one.kind != "cameras"]
    room = (WIDTH - 2 * MARGIN) // CARDS - CARD_MAP[0] - 34
    pen.line([(left, top), (left + (WIDTH - 2 * MARGIN) // CARDS - 18, top)], fill=LINE)
    sheet.paste(paths_map(here, place, CARD_MAP), (left, top + LABEL))
    _text(pen, (left, top + 8), place.id, 16, INK, room=CARD_MAP[0] + room)
    accepted = sum(one.kind == "clip" for one in here)
    refused, _, reasons = place.tally.partition(": ")
    lines = [(f"{accepted} accepted, solid", INK), *([(f"{refused}: dashed, cross where", REFUSED)] if refused else [])]
    lines += [(f"   {reason}", QUIET) for reason in reasons.split(", ") if reason]
    lines += [(figure, QUIET) for figure in place.quality.split(", ") if figure]
    fitting = CARD_MAP[1] // 19
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], (f"   and {len(lines) - fitting + 1} more", QUIET)]
    for number, (line, colour) in enumerate(lines):
        _text(pen, (left + CARD_MAP[0] + 16, top + LABEL + 19 * number), line, 14, colour, room=room)


def _row(sheet: Image.Image, pen: ImageDraw.ImageDraw, one: Exhibit, place: Place, top: int) -> None:
    pen.line([(MARGIN, top), (WIDTH - MARGIN, top)], fill=LINE)
    trajectory = one.trajectory
    facts = _facts(one)
    edge = WIDTH - MARGIN - pen.textlength(facts, font=_font(14)) - 24
    _text(pen, (WIDTH - MARGIN, top + 10), facts, 14, QUIET, right=True)
    end = _text(pen, (MARGIN, top + 8), one.id, 16, INK, room=edge - MARGIN)
    _text(pen, (end + 18, top + 10), one.clip.provenance.path or one.note, 14, QUIET, room=edge - end - 18)
    for column, still in enumerate(one.stills):
        left = MARGIN + column * (CELL_WIDTH + GAP)
        pen.rectangle([left, top + LABEL, left + CELL_WIDTH - 1, top + LABEL + CELL_HEIGHT - 1], fill=SUNK)
        picture = still.copy()
        picture.thumbnail((CELL_WIDTH, CELL_HEIGHT), Image.Resampling.LANCZOS)
        spare = CELL_WIDTH - picture.width, CELL_HEIGHT - picture.height
        sheet.paste(picture, (left + spare[0] // 2, top + LABEL + spare[1] // 2))
        under = top + LABEL + CELL_HEIGHT
        share = one.at[column] / max(len(trajectory) - 1, 1)
        pen.rectangle([left, under, left + CELL_WIDTH - 1, under + 3], fill=colour_at(share))
    sheet.paste(paths_map([one], place, (MAP_WIDTH, CELL_HEIGHT)), (WIDTH - MARGIN - MAP_WIDTH, top + LABEL))


def _facts(one: Exhibit) -> str:
    trajectory, unit = one.trajectory, one.unit
    if one.kind == "cameras":
        return f"{len(trajectory)} cameras   {trajectory.width}x{trajectory.height}"
    speed, turn = one.speeds.max(initial=0), trajectory.turn_rates_deg.max(initial=0)
    parts = [
        f"{one.clip.frames or len(trajectory)} frames",
        f"{trajectory.width}x{trajectory.height}",
        f"{one.clip.fps:g} fps",
        f"{one.length:.3g} {unit}",
        f"max {speed:.3g} {unit}/s, {turn:.3g} deg/s",
    ]
    return "   ".join(parts)


def paths_map(here: Sequence[Exhibit], place: Place, size: tuple[int, int]) -> Image.Image:
    """The paths seen from above among the captured cameras (grey): clips in colours of time from a hollow start to a
    solid end, refused paths dashed grey with a cross at each frame to blame."""
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    pen = ImageDraw.Draw(image)
    axes = _ground(place.up)
    seen = place.cameras.centres @ axes if place.cameras else np.zeros((0, 2))
    paths = [one.trajectory.centres @ axes for one in here]
    every = np.concatenate([*paths, seen])
    middle = (every.min(0) + every.max(0)) / 2
    scale = float(((np.array(size) - 24) * SCALE / np.maximum(np.ptp(every, axis=0), 1e-9)).min())
    placed = lambda points: (points - middle) * scale + np.array(size) * SCALE / 2  # noqa: E731
    for x, y in placed(seen):
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=SEEN)
    for one, path in sorted(zip(here, paths, strict=True), key=lambda pair: pair[0].kind == "refused"):
        (_refused_line if one.refusal else _accepted_line)(pen, one, placed(path))
    return image.resize(size, Image.Resampling.LANCZOS)


def _ground(up: np.ndarray) -> np.ndarray:
    """(3, 2): image x and y in the world, so that up points at the reader."""
    side = np.eye(3)[int(np.argmin(np.abs(up)))]
    east = np.cross(side, up)
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(east, up)], axis=1)


def _accepted_line(pen: ImageDraw.ImageDraw, one: Exhibit, line: np.ndarray) -> None:
    for number in range(len(line) - 1):
        ends = [tuple(line[number]), tuple(line[number + 1])]
        pen.line(ends, fill=colour_at(number / (len(line) - 1)), width=8, joint="curve")
    for (x, y), share in ((line[0], 0.0), (line[-1], 1.0)):
        fill = PAPER if share == 0 else colour_at(share)
        pen.ellipse([x - 12, y - 12, x + 12, y + 12], fill=fill, outline=colour_at(share), width=6)


def _refused_line(pen: ImageDraw.ImageDraw, one: Exhibit, line: np.ndarray) -> None:
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    for start in np.arange(0.0, travelled[-1], 30.0):
        at = np.linspace(start, min(start + 18.0, travelled[-1]), 4)
        dash = [tuple(point) for point in np.stack([np.interp(at, travelled, line[:, k]) for k in range(2)], axis=1)]
        pen.line(dash, fill=QUIET, width=6, joint="curve")
    for measure in one.refusal.reasons.values() if one.refusal else ():
        x, y = line[measure.frame]
        for ends in ([(x - 13, y - 13), (x + 13, y + 13)], [(x - 13, y + 13), (x + 13, y - 13)]):
            pen.line(ends, fill=REFUSED, width=7)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    *,
    right: bool = False,
    room: float = float("inf"),
) -> float:
    """Draws one line, shortened in the middle to fit `room` pixels; returns where it ends (with `right`: begins)."""
    font, shown = _font(size), text
    if pen.textlength(text, font=font) > room:
        shorter = [f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}" for kept in range(2, len(text))]
        fitting = bisect.bisect_right(shorter[1:], room, key=lambda line: pen.textlength(line, font=font))
        shown = shorter[fitting] if shorter else text
    length = pen.textlength(shown, font=font)
    pen.text((at[0] - length if right else at[0], at[1]), shown, font=font, fill=colour)
    return at[0] - length if right else at[0] + length
