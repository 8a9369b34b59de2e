"""Whether footage is fit to be filmed anew: what is in it, what is wrong with it, and its best stretch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, UInt8

from trajkit import video
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.scene import Finding
from trajkit.video import VideoFacts

from . import _fitness_cuts, _fitness_picture, _fitness_still
from .depths import fit_depth
from .footage import Fitness, Footage, Shot, Stillness
from .tracks import LONG_SIDE, _cv2

Array = np.ndarray
SAMPLES, SAMPLE_FPS = 64, 10.0  # pictures kept at LONG_SIDE: at most so many, at most so often
SHARP_SAMPLES = 6
REPEAT, POP = 0.7, 2.5  # grey levels that the most changed of 32 x 18 blocks changes by where a picture is repeated, at
# most; between two repeats it may be coded afresh and change by more
HELD_S = 0.25  # repeats for longer than this are a freeze; shorter ones come from a change of rate
UNSURE = 0.7  # below this the camera is called unsure
FIRST_S = 1.0  # a frozen shot's picture is the sharpest of so long
VERSION = "1"  # of what is measured: evidence of another one is made again


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What footage has to be like."""

    bars: float = option(0.25, "largest share of the picture that black bars may take", low=0, high=1)
    overlay: float = option(0.01, "largest share of the picture that burned-in text and logos may take", low=0, high=1)
    sharpness: float = option(0.08, "least detail, of what the size could hold", low=0, high=1)
    dark: float = option(0.04, "least mean brightness", low=0, high=1)
    bright: float = option(0.95, "largest mean brightness", low=0, high=1)
    height: int = option(240, "least height of the picture without bars", unit="pixels", low=16)
    rate: float = option(0.95, "least rate of the footage, as a share of the clip's", low=0)
    repeats: float = option(0.1, "largest share of the clip's pictures that only repeat the one before", low=0, high=1)
    still: float = option(0.9, "how sure it has to be that the camera stands still", low=0.5, high=0.99)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """What one pass over a video keeps."""

    facts: VideoFacts
    thumbs: UInt8[Array, "f 18 32"]
    change: Float32[Array, "f"]  # grey levels by which the most changed block differs from the frame before
    number: Int[Array, "s"]  # of the frames in `small`
    small: UInt8[Array, "s h w"]
    lightest: UInt8[Array, "h w"]  # of each pixel of the full picture
    darkest: UInt8[Array, "h w"]
    sharpness: float


def examine(source: Path | bytes) -> Fitness:
    """What a video is like, in one pass over its luma. Raises TrajkitError for one that does not decode."""
    cv2 = _cv2()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        seen = look(source)
        cuts = _fitness_cuts.cuts(seen.thumbs, seen.facts.fps)
        picture = _fitness_picture.picture(seen.lightest, seen.darkest)
        overlays, still, moved = _background(seen, cuts, picture)
    finally:
        cv2.setNumThreads(threads)
    camera, sure = _verdict(still)
    left, top, right, bottom = picture
    share = (right - left) * (bottom - top) / (seen.facts.width * seen.facts.height)
    return Fitness(
        frames=seen.facts.frames,
        fps=seen.facts.fps,
        width=seen.facts.width,
        height=seen.facts.height,
        cuts=cuts,
        picture=picture,
        overlays=overlays,
        frozen=_runs(seen.change),
        camera=camera,
        camera_sure=sure,
        camera_px=moved,
        sharpness=seen.sharpness,
        brightness=float(np.clip((seen.thumbs.mean() - 16) / 219 / share, 0, 1)) if len(seen.thumbs) else 0.0,
    )


def look(source: Path | bytes) -> Seen:
    """One pass over the luma: all pictures as thumbs, some of them small, and each pixel's extremes."""
    cv2 = _cv2()
    facts = video.probe(source)
    stride = max(1, math.ceil(facts.frames / SAMPLES), round(facts.fps / SAMPLE_FPS))
    sharp_at = set(np.linspace(0, facts.frames - 1, SHARP_SAMPLES + 2).astype(int)[1:-1].tolist())
    factor = min(1.0, LONG_SIDE / max(facts.width, facts.height))
    size = max(round(facts.width * factor), 16), max(round(facts.height * factor), 16)
    thumbs, change, kept, sharp = [], [], [], []
    lightest, darkest = np.zeros((1, 1), np.uint8), np.full((1, 1), 255, np.uint8)
    before = None
    for number, grey in enumerate(video.luma(source, (facts.width, facts.height))):
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        thumbs.append(cv2.resize(small, _fitness_cuts.THUMB, interpolation=cv2.INTER_AREA))
        change.append(np.inf if before is None else _changed(before, small, cv2))
        before = small
        if number % stride == 0:
            kept.append(small)
            lightest, darkest = np.maximum(lightest, grey), np.minimum(darkest, grey)
        if number in sharp_at or facts.frames < SHARP_SAMPLES:
            sharp.append(_fitness_picture.sharpness(grey))
    return Seen(
        facts=facts,
        thumbs=np.array(thumbs),
        change=np.array(change, np.float32),
        number=np.arange(len(kept)) * stride,
        small=np.array(kept),
        lightest=lightest,
        darkest=darkest,
        sharpness=float(np.median(sharp)),
    )


def _changed(before: Array, after: Array, cv2: Any) -> float:
    blocks = cv2.resize(
        cv2.absdiff(before, after).astype(np.float32), _fitness_cuts.THUMB, interpolation=cv2.INTER_AREA
    )
    return float(blocks.max())


def stance(seen: Seen, cuts: Sequence[int], picture: _fitness_picture.Box) -> tuple[_fitness_still.Stance, list]:
    """(how the background of the longest shot stands, boxes of overlays in `seen.small`)."""
    cv2 = _cv2()
    height, width = seen.small.shape[1:]
    scale = np.array([width, height] * 2) / ([seen.facts.width, seen.facts.height] * 2)
    left, top, right, bottom = np.rint(picture * scale).astype(int)
    inside = np.zeros((height, width), np.uint8)
    inside[top:bottom, left:right] = 1
    inside = cv2.erode(inside, np.ones((9, 9))) > 0  # a bar's edge always stands still; the picture's own is kept
    overlays = _fitness_picture.overlays(seen.small, inside, cv2)
    for left, top, right, bottom in overlays:
        inside[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] = False
    first, last = longest(cuts, seen.facts.frames)
    in_shot = (seen.number >= first) & (seen.number < last)
    return _fitness_still.stance(seen.small[in_shot], inside, cv2), overlays


def longest(cuts: Sequence[int], frames: int) -> tuple[int, int]:
    """First and past-last frame of the longest shot."""
    return max(pairwise([0, *cuts, frames]), key=lambda shot: shot[1] - shot[0])


def _background(
    seen: Seen, cuts: Sequence[int], picture: _fitness_picture.Box
) -> tuple[tuple[_fitness_picture.Box, ...], float | None, float | None]:
    """(overlays in pixels of the video, probability that the camera stands still, how far it moved)."""
    found, boxes = stance(seen, cuts, picture)
    scale = np.array([seen.facts.width, seen.facts.height] * 2) / ([*seen.small.shape[:0:-1]] * 2)
    overlays = [tuple(np.rint(box * scale).astype(int).tolist()) for box in boxes]
    return tuple(overlays), found.still, found.evidence[0] if found.evidence else None


def _verdict(still: float | None) -> tuple[Stillness, float]:
    """The likelier answer and how likely it is; "unsure" below 0.7."""
    if still is None:
        return "unsure", 0.5
    sure = min(max(still, 1 - still), _fitness_still.SURE)
    return ("unsure" if sure < UNSURE else "still" if still > 0.5 else "moving"), sure


def _runs(change: Float32[Array, "f"]) -> tuple[tuple[int, int], ...]:
    """(first, last) of each run of pictures that are all alike."""
    repeats = change < REPEAT
    repeats[1:-1] |= (change[1:-1] < POP) & repeats[:-2] & repeats[2:]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], repeats.astype(np.int8), [0]])))
    return tuple((int(first) - 1, int(last) - 1) for first, last in edges.reshape(-1, 2))


def unfit(fitness: Fitness, limits: Limits, *, frames: int, fps: float, freeze: bool = False) -> tuple[Finding, ...]:
    """What speaks against making a clip of so many frames at `fps`; nothing, where the footage is fit.

    `freeze`: one picture will do, so that neither length nor motion matter.
    """
    left, top, right, bottom = fitness.picture
    area = (right - left) * (bottom - top)
    bars = 1 - area / (fitness.width * fitness.height)
    overlay = sum((r - x) * (b - y) for x, y, r, b in fitness.overlays) / area
    where = ", ".join(f"{r - x}x{b - y} pixels at ({x}, {y})" for x, y, r, b in fitness.overlays)
    lit, detail = fitness.brightness, fitness.sharpness
    found = [
        _over("bars", f"black bars take {bars:.0%} of the picture", bars, limits.bars),
        _over("overlay", f"burned-in text or logos: {where}", overlay, limits.overlay),
        _under("soft", f"holds {detail:.2f} of the detail that its size could", detail, limits.sharpness),
        _under("dark", f"mean brightness is {lit:.2f} of white", lit, limits.dark),
        _over("bright", f"mean brightness is {lit:.2f} of white", lit, limits.bright),
        _under("small", f"the picture is {bottom - top} pixels high", bottom - top, limits.height),
    ]
    if not freeze:
        rate = f"{fitness.fps:.4g} frames per second, of which the clip's {fps:g} cannot be made without repeats"
        found += [
            _under("slow-rate", rate, fitness.fps / fps, limits.rate),
            _short(fitness, frames, fps) or _repeated(fitness, limits, frames, fps),
            _moves(fitness, limits),
        ]
    return tuple(finding for finding in found if finding)


def _over(code: str, message: str, value: float, limit: float) -> Finding | None:
    wrong = Finding(code=code, level="error", where="footage", message=message, value=value, threshold=limit)
    return wrong if value > limit else None


def _under(code: str, message: str, value: float, limit: float) -> Finding | None:
    wrong = Finding(code=code, level="error", where="footage", message=message, value=value, threshold=limit)
    return wrong if value < limit else None


def _moves(fitness: Fitness, limits: Limits) -> Finding | None:
    still = fitness.camera_sure if fitness.camera == "still" else 1 - fitness.camera_sure
    if fitness.camera == "moving":
        moved = f"the background shifts by {fitness.camera_px:.1f} pixels of a picture {_fitness_still.WIDE} wide"
        return _under("camera-moves", f"the camera moves: {moved}", still, limits.still)
    return _under("camera-unsure", f"that the camera stands still is sure to {still:.2f} only", still, limits.still)


def _short(fitness: Fitness, frames: int, fps: float) -> Finding | None:
    """Where there is no stretch that is long enough: because of a cut, a freeze, or the video's end."""
    need = _source_frames(fitness, 0, frames, fps)[-1] + 1
    first, past = stretch(fitness)
    start, end = longest(fitness.cuts, fitness.frames)
    seconds = f"{(past - first) / fitness.fps:.1f} s are left, the clip wants {need / fitness.fps:.1f} s"
    if end - start < need <= fitness.frames:
        cuts = ", ".join(map(str, fitness.cuts))
        return _under("cuts", f"cuts at frame {cuts}: {seconds}", past - first, need)
    if past - first < need <= end - start:
        held = ", ".join(f"{a} to {b}" for a, b in _held(fitness))
        return _under("frozen", f"the picture is frozen from frame {held}: {seconds}", past - first, need)
    return _under("short", seconds, past - first, need)


def _repeated(fitness: Fitness, limits: Limits, frames: int, fps: float) -> Finding | None:
    """Where the clip's pictures would repeat each other, as after a change of rate."""
    picture = np.arange(fitness.frames)
    for first, last in fitness.frozen:
        picture[first : last + 1] = first
    chosen = _source_frames(fitness, stretch(fitness)[0], frames, fps)
    share = float(np.sum((np.diff(picture[chosen]) == 0) & (np.diff(chosen) > 0))) / frames
    starts = np.diff([first for first, _ in fitness.frozen])
    each = f" (about every {np.median(starts):.0f}th is a repeat)" if len(starts) > 2 else ""
    message = f"{len(fitness.frozen)} pictures or runs of pictures repeat the one before{each}"
    return _over("repeats", message, share, limits.repeats)


def _held(fitness: Fitness) -> list[tuple[int, int]]:
    return [(first, last) for first, last in fitness.frozen if last - first > HELD_S * fitness.fps]


def stretch(fitness: Fitness) -> tuple[int, int]:
    """First and past-last frame of the longest part of the longest shot in which the picture is never frozen."""
    first, past = longest(fitness.cuts, fitness.frames)
    held = [(max(a, first), min(b, past)) for a, b in _held(fitness) if a < past and b > first]
    starts, ends = [first, *(b for _, b in held)], [*(a + 1 for a, _ in held), past]
    return max(zip(starts, ends, strict=True), key=lambda part: part[1] - part[0])


def _source_frames(fitness: Fitness, first: int, frames: int, fps: float) -> Int[Array, "n"]:
    """The source's frame that is nearest in time to each of the clip's; the earlier one of two that are as near."""
    return first + np.ceil(np.arange(frames) * (fitness.fps / fps) - 0.5 - 1e-6).astype(int)


def shot(
    footage: Footage, fitness: Fitness, limits: Limits, *, frames: int, fps: float, fov_deg: float, freeze: bool
) -> Shot | tuple[Finding, ...]:
    """The best stretch of footage as `frames` pictures at `fps`, or as one picture (`freeze`); or why there is none.

    `fov_deg` is the vertical field of view that is assumed for the full picture, bars included, where the source knows
    no lens. Raises TrajkitError where a picture has to be chosen and the video does not decode.
    """
    wrong = unfit(fitness, limits, frames=frames, fps=fps, freeze=freeze)
    if footage.lens is not None and footage.lens.distortion:
        message = "its lens bends lines, which only undistorted pictures are free of"
        wrong += (Finding(code="distorted", level="error", where="footage", message=message),)
    if wrong:
        return tuple(replace(finding, where=footage.name) for finding in wrong)
    left, top, right, bottom = fitness.picture
    known = footage.lens.resized(fitness.width, fitness.height) if footage.lens else None
    lens = known or Camera.from_fov(fitness.width, fitness.height, fov_deg)
    numbers = [_sharpest(footage, fitness)] if freeze else _source_frames(fitness, stretch(fitness)[0], frames, fps)
    some: dict[str, Any] = {"numbers": tuple(int(number) for number in numbers), "box": np.array(fitness.picture)}
    size = np.array([fitness.width, fitness.height])
    return Shot(
        footage=footage,
        fitness=fitness,
        lens=lens.cropped(left, top, right - left, bottom - top),
        lens_known=known is not None,
        frozen=freeze,
        frames=partial(_pictures, footage, **some),
        depth=None if footage.depth is None else partial(_depths, footage, size=size, **some),
    )


def _pictures(footage: Footage, numbers: Sequence[int], box: Array) -> Iterator[UInt8[Array, "h w 3"]]:
    left, top, right, bottom = box
    return (rgb[top:bottom, left:right] for rgb in _chosen(video.stream(footage.open()), numbers, footage.name))


def _depths(footage: Footage, numbers: Sequence[int], box: Array, size: Array) -> Iterator[Float32[Array, "h w"]]:
    """Depth of the same pictures, pixel for pixel; 0 where it is not known."""
    assert footage.depth is not None
    left, top, right, bottom = box
    for depth in _chosen(footage.depth(), numbers, f"{footage.name}: depth"):
        whole = fit_depth(depth, int(size[0]), int(size[1]), f"{footage.name}: depth")
        yield whole[top:bottom, left:right]


def _chosen(pictures: Iterator[Array], numbers: Sequence[int], where: str) -> Iterator[Array]:
    """Those of the pictures that `numbers`, which ascend, count; one that is named twice comes twice."""
    place = 0
    for number, one in enumerate(pictures):
        while place < len(numbers) and numbers[place] == number:
            yield one
            place += 1
        if place == len(numbers):
            return
    raise TrajkitError(where, f"ends before frame {numbers[place]}", "restore what was there when it was examined")


def _sharpest(footage: Footage, fitness: Fitness) -> int:
    """The frame with most detail near the start of the best stretch; black ones hold none."""
    first, past = stretch(fitness)
    left, top, right, bottom = fitness.picture
    last = min(past, first + max(round(FIRST_S * fitness.fps), 1))
    best = (-1.0, first)
    for number, grey in enumerate(video.luma(footage.open(), (fitness.width, fitness.height))):
        if number >= last:
            break
        if number >= first:
            part = grey[top:bottom, left:right].astype(np.float32)
            best = max(best, (float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part)).mean()), number))
    return best[1]
