"""The contact sheet: a row per clip, its stills in time, and its path from above at the end."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trajkit.show.exhibit import STILLS, Exhibit, colour_at
from trajkit.show.page import place_id, selection
from trajkit.show.place import Place

CELL_WIDTH, CELL_HEIGHT, MAP_WIDTH = 208, 120, 200
GAP, MARGIN, HEAD, LABEL = 4, 24, 64, 34  # pixels: between cells, around, the title's height, a row's text
PAPER, INK, QUIET, LINE, SUNK = (255, 255, 255), (20, 24, 31), (89, 98, 115), (217, 221, 228), (236, 238, 242)
SEEN = (130, 139, 155)
WIDTH = 2 * MARGIN + STILLS * (CELL_WIDTH + GAP) + MAP_WIDTH
ROW = LABEL + CELL_HEIGHT + 14


def contact_sheet(exhibits: Sequence[Exhibit], places: Mapping[str, Place], *, total: int) -> bytes:
    """PNG of the clips; `total` is how many there were before the selection, and the title says so."""
    sheet = Image.new("RGB", (WIDTH, HEAD + len(exhibits) * ROW + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    _text(pen, (MARGIN, 20), selection(len(exhibits), total), 22, INK)
    legend = "frames evenly spaced in time; right: the path from above, start hollow, end solid, captured cameras grey"
    _text(pen, (WIDTH - MARGIN, 28), legend, 14, QUIET, right=True)
    for number, one in enumerate(exhibits):
        _row(sheet, pen, one, places[place_id(one)], HEAD + number * ROW)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _row(sheet: Image.Image, pen: ImageDraw.ImageDraw, one: Exhibit, place: Place, top: int) -> None:
    pen.line([(MARGIN, top), (WIDTH - MARGIN, top)], fill=LINE)
    trajectory = one.trajectory
    facts = _facts(one)
    edge = WIDTH - MARGIN - pen.textlength(facts, font=_font(14)) - 24
    _text(pen, (WIDTH - MARGIN, top + 10), facts, 14, QUIET, right=True)
    end = _text(pen, (MARGIN, top + 8), one.id, 16, INK, room=edge - MARGIN)
    _text(pen, (end + 18, top + 10), one.clip.provenance.path, 14, QUIET, room=edge - end - 18)
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
    sheet.paste(path_plot(one, place), (WIDTH - MARGIN - MAP_WIDTH, top + LABEL))


def _facts(one: Exhibit) -> str:
    trajectory, unit = one.trajectory, one.unit
    speed, turn = one.speeds.max(initial=0), trajectory.turn_rates_deg.max(initial=0)
    parts = [
        f"{one.clip.frames or len(trajectory)} frames",
        f"{trajectory.width}x{trajectory.height}",
        f"{one.clip.fps:g} fps",
        f"{one.length:.3g} {unit}",
        f"max {speed:.3g} {unit}/s, {turn:.3g} deg/s",
    ]
    return "   ".join(parts)


def path_plot(one: Exhibit, place: Place) -> Image.Image:
    """The path seen from above, in colours of time, among the captured cameras; drawn at 3x and scaled down."""
    factor = 3
    image = Image.new("RGB", (MAP_WIDTH * factor, CELL_HEIGHT * factor), PAPER)
    pen = ImageDraw.Draw(image)
    side = np.eye(3)[int(np.argmin(np.abs(place.up)))]
    east = np.cross(side, place.up)
    east /= np.linalg.norm(east)
    axes = np.stack([east, np.cross(east, place.up)], axis=1)  # image x and y: up points at the reader
    path = one.trajectory.centres @ axes
    seen = place.cameras.centres @ axes if place.cameras else np.zeros((0, 2))
    every = np.concatenate([path, seen])
    middle = (every.min(0) + every.max(0)) / 2
    room = np.array([MAP_WIDTH - 24, CELL_HEIGHT - 24]) * factor
    scale = float((room / np.maximum(np.ptp(every, axis=0), 1e-9)).min())
    place_at = lambda points: (points - middle) * scale + np.array([MAP_WIDTH, CELL_HEIGHT]) * factor / 2  # noqa: E731
    for x, y in place_at(seen):
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=SEEN)
    line = place_at(path)
    for number in range(len(line) - 1):
        ends = [tuple(line[number]), tuple(line[number + 1])]
        pen.line(ends, fill=colour_at(number / (len(line) - 1)), width=8, joint="curve")
    for (x, y), share in ((line[0], 0.0), (line[-1], 1.0)):
        fill = PAPER if share == 0 else colour_at(share)
        pen.ellipse([x - 12, y - 12, x + 12, y + 12], fill=fill, outline=colour_at(share), width=6)
    return image.resize((MAP_WIDTH, CELL_HEIGHT), Image.Resampling.LANCZOS)


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
    """Draws one line, shortened in the middle to fit `room` pixels; returns where it ends."""
    font = _font(size)
    shown, kept = text, len(text)
    while kept > 2 and pen.textlength(shown, font=font) > room:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
    length = pen.textlength(shown, font=font)
    pen.text((at[0] - length if right else at[0], at[1]), shown, font=font, fill=colour)
    return at[0] + length
