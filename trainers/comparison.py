"""A picture of one clip: its frames, the commanded and the achieved path from above, and the errors frame by frame."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from trajkit.show.sheet import INK, LINE, PAPER, QUIET, REFUSED

from .achieved import Achieved
from .evaluate import MOVES, frame_errors

Array = np.ndarray
FORMS = {
    "rot_err_deg": "rotation {:.2f} deg",
    "trans_err": "translation {:.1%}",
    "direction_deg": "direction {:.1f} deg",
    "cam_mc": "camera {:.3f}",
}
FOUND = (24, 105, 196)
WIDTH, MARGIN, STILLS, STRIP, MAP, CHART = 1000, 20, 6, 120, 330, 150  # pixels
SCALE = 2  # drawn so much larger, and scaled down


class _Pen:
    """A drawing in pixels of the finished picture."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def line(self, points: Float64[Array, "n 2"], colour: tuple[int, int, int], width: float = 1.0) -> None:
        ends = [(float(x) * SCALE, float(y) * SCALE) for x, y in points]
        self.draw.line(ends, fill=colour, width=round(width * SCALE), joint="curve")

    def dot(self, place: Float64[Array, "2"], colour: tuple[int, int, int], radius: float) -> None:
        x, y = (float(one) * SCALE for one in place)
        r = radius * SCALE
        self.draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def text(self, x: float, y: float, words: str, colour: tuple[int, int, int] = INK, size: int = 13) -> None:
        self.draw.text((x * SCALE, y * SCALE), words, font=ImageFont.load_default(size * SCALE), fill=colour)


def comparison(
    row: dict[str, Any], commanded: Float64[Array, "n 4 4"], found: Achieved, pictures: UInt8[Array, "n h w 3"]
) -> bytes:
    """PNG of a measured clip. `commanded` is anchored at its first frame; `row` is `evaluate.measured`'s."""
    top = 52 + STRIP + 12
    pen = _Pen(top + MAP + MARGIN)
    achieved, reach = found.camera_to_world.copy(), [_reach(one) for one in (commanded, found.camera_to_world)]
    achieved[:, :3, 3] *= reach[0] / reach[1] if reach[1] > 0 else 0.0
    pen.text(MARGIN, 8, f"{row['key']}   {row['path']}", size=16)
    pen.text(MARGIN, 30, told(row), REFUSED if row["failed"] else QUIET)
    _strip(pen, pictures)
    _map(pen, (MARGIN, top), commanded, achieved, found.registered)
    per_frame = frame_errors(commanded, found.camera_to_world, row["scale"])
    left = MARGIN + MAP + 50
    moves = np.isfinite(per_frame["trans_err"]).any()
    charts = [("rotation error, degrees", per_frame["rot_err_deg"])]
    charts += [("translation error, % of the command's reach", 100 * per_frame["trans_err"])] if moves else []
    for number, (title, values) in enumerate(charts):
        _chart(pen, (left, top + number * (CHART + 30)), title, values, found.registered)
    stream = io.BytesIO()
    pen.image.resize((WIDTH, pen.image.height // SCALE), Image.Resampling.LANCZOS).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def told(row: dict[str, Any]) -> str:
    """The row's figures in one line."""
    if row["failed"]:
        return f"failed: {row['registered_share']:.0%} of the frames registered"
    return f"{listed(row['registered'])}, {row['registered_share']:.0%} registered"


def listed(errors: Mapping[str, Any]) -> str:
    """The four errors, those that are defined."""
    return ", ".join(form.format(errors[name]) for name, form in FORMS.items() if errors[name] is not None)


def _reach(camera_to_world: Float64[Array, "n 4 4"]) -> float:
    return float(np.linalg.norm(camera_to_world[:, :3, 3], axis=1).max())


def _strip(pen: _Pen, pictures: UInt8[Array, "n h w 3"]) -> None:
    """Frames evenly spaced in time."""
    room = (WIDTH - 2 * MARGIN) // STILLS
    factor = min((room - 4) / pictures.shape[2], STRIP / pictures.shape[1]) * SCALE
    size = round(pictures.shape[2] * factor), round(pictures.shape[1] * factor)
    for place, frame in enumerate(np.linspace(0, len(pictures) - 1, STILLS).round().astype(int)):
        still = Image.fromarray(pictures[frame]).resize(size, Image.Resampling.BICUBIC)
        pen.image.paste(still, ((MARGIN + place * room) * SCALE, 52 * SCALE))


def _map(pen: _Pen, at: tuple[int, int], commanded: Array, achieved: Array, registered: Array) -> None:
    """Both paths from above in the first camera's frame, it looks up the page; ticks show where cameras look."""
    paths = [(commanded, QUIET, 5.0), (achieved[registered], FOUND, 2.0)]
    every = np.concatenate([path[:, [0, 2], 3] for path, _, _ in paths])
    span = float(np.ptp(every, axis=0).max())
    scale, tick = ((MAP - 110) / span, 40) if span > MOVES else (1.0, MAP / 3)
    middle = (every.min(0) + every.max(0)) / 2
    placed = lambda flat: (flat - middle) * (scale, -scale) + np.add(at, MAP / 2)  # noqa: E731
    pen.line(np.add(at, [(0, 0), (MAP, 0), (MAP, MAP), (0, MAP), (0, 0)]), LINE)
    for path, colour, width in paths:
        line = placed(path[:, [0, 2], 3])
        pen.line(line, colour, width)
        pen.dot(line[-1], colour, width + 1)
        for frame in np.unique(np.linspace(0, len(path) - 1, 7).round().astype(int)):
            pen.line(np.stack([line[frame], line[frame] + tick * path[frame, [0, 2], 2] * (1, -1)]), colour, width / 2)
    pen.text(at[0] + 8, at[1] + 6, "commanded", QUIET)
    pen.text(at[0] + 8, at[1] + 22, "achieved, drawn with the same reach", FOUND)
    pen.text(at[0] + 8, at[1] + MAP - 20, "from above; the first camera looks up the page", QUIET, 11)


def _chart(pen: _Pen, at: tuple[int, int], title: str, values: Float64[Array, " n"], registered: Array) -> None:
    """A line over the frames from 0 up; frames that are not registered are red dots below it."""
    width, height = WIDTH - MARGIN - at[0], CHART - 30
    pen.text(at[0], at[1], title)
    top = max(float(np.nanmax(np.where(registered, values, np.nan))), 1e-3) * 1.1
    x = at[0] + np.arange(len(values)) * width / max(len(values) - 1, 1)
    y = at[1] + 20 + height * (1 - np.minimum(values / top, 1))
    pen.line(np.array([(x[0], at[1] + 20), (x[0], at[1] + 20 + height), (x[-1], at[1] + 20 + height)]), LINE)
    if registered.sum() > 1:
        pen.line(np.stack([x, y], axis=1)[registered], FOUND, 1.5)
    for lost in x[~registered]:
        pen.dot(np.array([lost, at[1] + 20 + height]), REFUSED, 2.5)
    for share, words in ((1.0, "0"), (0.0, f"{top:.3g}")):
        pen.text(at[0] - 36, at[1] + 14 + height * share, words, QUIET, 11)
    pen.text(x[-1] - 60, at[1] + 26 + height, f"frame {len(values) - 1}", QUIET, 11)
