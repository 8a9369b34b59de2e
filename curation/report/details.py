"""What a report shows of one clip: a few pictures, its path, its evidence over time."""

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trajkit import files
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.members import from_json
from trajkit.score import Score, ScoreRecord
from trajkit.show.found import FoundClip
from trajkit.show.place import upwards
from trajkit.trajectory import Trajectory
from trajkit.video import read

RECORD_BYTES = 1 << 26
CAPTION = 2000  # characters
SCORES = "scores"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How much the page carries of a clip."""

    stills: int  # pictures
    side: int  # pixels of their longer side
    poses: int  # of its path, and values of its evidence


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """A JPEG of the video's frame that pose `at` (an index into the detail's poses) belongs to."""

    at: int
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detail:
    """One clip in detail. Without its files `cameras` is None; without its score record there is no evidence."""

    key: str
    cameras: Trajectory | None = None  # every `stride`th pose
    stride: int = 1
    pictures: tuple[Picture, ...] = ()
    caption: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    evidence: tuple[dict[str, Any], ...] = ()
    blamed: tuple[tuple[int, int], ...] = ()  # first and last video frame of each stretch
    missing: tuple[str, ...] = ()  # what could not be read, one line each


def details(
    keys: Sequence[str],
    clips: Mapping[str, FoundClip],
    folders: Sequence[Path],
    look: Look,
    *,
    workers: int,
) -> list[Detail]:
    """A detail of each key, in their order."""
    one = lambda key: detail(key, clips.get(key), folders, look)  # noqa: E731
    with ThreadPoolExecutor(workers) as pool:  # decoding and scaling leave the interpreter's lock
        return list(pool.map(one, keys))


def detail(key: str, found: FoundClip | None, folders: Sequence[Path], look: Look) -> Detail:
    """What can be read of one clip; what cannot is named."""
    missing: list[str] = []
    record = _record(key, folders, missing)
    clip = None
    if found:
        try:
            clip = found.read()
        except TrajkitError as error:
            missing.append(str(error))
    blamed = record.verdict.frames if record else ()
    if clip is None:
        return Detail(key=key, evidence=_evidence(record, look), blamed=blamed, missing=tuple(missing))
    stride = -(-len(clip.trajectory) // look.poses)
    cameras = clip.trajectory[::stride]
    pictures: tuple[Picture, ...] = ()
    try:
        pictures = _pictures(clip, cameras, look)
    except TrajkitError as error:
        missing.append(str(error))
    return Detail(
        key=key,
        cameras=cameras,
        stride=stride,
        pictures=pictures,
        caption=clip.caption if len(clip.caption) <= CAPTION else f"{clip.caption[:CAPTION]}…",
        facts=_facts(clip),
        evidence=_evidence(record, look),
        blamed=blamed,
        missing=tuple(missing),
    )


def _record(key: str, folders: Sequence[Path], missing: list[str]) -> ScoreRecord | None:
    for folder in folders:
        path = folder / SCORES / f"{key}.json"
        if path.is_file():
            try:
                content = files.read_bytes(path, limit=RECORD_BYTES)
                record: ScoreRecord = from_json(ScoreRecord, content, path.name, limit=RECORD_BYTES)
                return record
            except TrajkitError as error:
                missing.append(str(error))
    return None


def _pictures(clip: Clip, cameras: Trajectory, look: Look) -> tuple[Picture, ...]:
    if clip.video is None:
        return ()
    at = np.unique(np.linspace(0, len(cameras) - 1, look.stills).round().astype(int))
    frames = read(clip.video, [int(cameras.frame_index[k]) for k in at])
    return tuple(Picture(at=int(k), jpeg=_jpeg(frame, look.side)) for k, frame in zip(at, frames, strict=True))


def _jpeg(rgb: np.ndarray, side: int) -> bytes:
    image = Image.fromarray(rgb)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=68, optimize=True)
    return stream.getvalue()


def _facts(clip: Clip) -> tuple[tuple[str, str], ...]:
    origin, cameras = clip.provenance, clip.trajectory
    facts = {
        "Path": origin.path,
        "Made by": origin.generator,
        "Frames": f"{clip.frames or len(cameras)} at {clip.fps:g} fps, {len(cameras)} poses",
        "Size": f"{cameras.width} × {cameras.height} px",
        "Focal length": f"{cameras.intrinsics[:, 1].mean():.4g} px",
    }
    return tuple((name, text) for name, text in facts.items() if text)


def _evidence(record: ScoreRecord | None, look: Look) -> tuple[dict[str, Any], ...]:
    """Per metric its value and, where it has one, its course: of each few poses the worst."""
    if record is None:
        return ()
    return tuple(
        {
            "metric": one.metric,
            "value": _rounded(one.value),
            "unit": one.unit,
            "better": one.better,
            "why": one.why,
            "course": _course(one, -(-len(one.per_frame) // look.poses) or 1),
        }
        for one in record.scores
    )


def _course(score: Score, stride: int) -> list[float | None]:
    pick = min if score.better == "higher" else max
    course: list[float | None] = []
    for start in range(0, len(score.per_frame), stride):
        known = [value for value in score.per_frame[start : start + stride] if value is not None]
        course.append(_rounded(pick(known)) if known else None)
    return course


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def drawn(one: Detail) -> dict[str, Any]:
    """The path as the page's 3D view takes it: rows of camera_to_world (3x4 float32), lens, up and extent."""
    cameras = one.cameras
    if cameras is None:
        return {"poses": "", "index": [], "n": 0}
    lens = [[round(float(value), 2) for value in row] for row in cameras.intrinsics]
    low, high = cameras.centres.min(0), cameras.centres.max(0)
    return {
        "n": len(cameras),
        "poses": base64.b64encode(
            np.ascontiguousarray(cameras.camera_to_world[:, :3].reshape(-1, 12), "<f4").tobytes()
        ).decode(),
        "lens": lens[:1] if all(row == lens[0] for row in lens) else lens,
        "width": cameras.width,
        "height": cameras.height,
        "index": cameras.frame_index.tolist(),
        "up": [round(float(value), 5) for value in upwards([cameras])],
        "box": [[float(f"{value:.5g}") for value in corner] for corner in (low, high)],
    }
