"""What all exports share: the loop over clips, the poses that a layout wants, pictures, and the files beside the index.

Beside its layout each export has `clips.jsonl`, a row for each clip in the index's order (key, caption, licence,
source, unit of the translations, what was lost), and `LICENCES.txt`, the distinct terms.
"""

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trajkit import files, video
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.scene import Finding, Rejected
from trajkit.trajectory import Trajectory

from . import Exported

ASPECTS = ("lens", "size", "times", "frames", "names", "caption", "depth", "scale")  # what a layout may hold
CLIPS, LICENCES = "clips.jsonl", "LICENCES.txt"
FARTHEST_S = 0.5  # a frame this far from every pose has no known camera
HEAD = "Terms of the clips here, as their sources state them; clips.jsonl says which clip has which.\n"

Add = Callable[[Clip, int], tuple[Mapping[str, Any], list[str]]]
Put = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told(Exported):
    """What an export wrote and left out."""

    rejected: tuple[Rejected, ...] = ()  # clips that the layout cannot hold, or that are damaged
    licences: Mapping[str, int] = field(default_factory=dict)  # distinct terms -> clips


def write(
    clips: Iterable[Clip],
    out: Path,
    add: Add,
    *,
    index: str = CLIPS,
    keeps: frozenset[str],
    finish: Callable[[], None] = lambda: None,
) -> Told:
    """Adds each clip by `add(clip, number)` -> (its row of the index, what was lost beyond `keeps`), the index last.

    A clip for which `add` raises TrajkitError is left out and takes no number. `finish` runs before the index
    appears. `index` is a JSON list, or clips.jsonl itself where the layout has none.
    """
    lost: dict[str, str] = {}
    rejected: list[Rejected] = []
    licences: Counter[str] = Counter()
    with ExitStack() as stack:
        put_row = stack.enter_context(_json_list(out / index)) if index != CLIPS else None
        put_note = stack.enter_context(_json_lines(out / CLIPS))
        for clip in clips:
            try:
                _check_video(clip)
                row, gone = add(clip, licences.total())
            except TrajkitError as error:
                message = f"{error.problem}; {error.remedy}"
                finding = Finding(code="not-exported", level="error", where=error.where, message=message)
                rejected.append(Rejected(key=clip.key, findings=(finding,)))
                continue
            gone = [*_aspects(clip, keeps), *gone]
            if gone:
                lost[clip.key] = ", ".join(gone)
            licences[clip.licence] += 1
            put_note(_note(clip, gone))
            if put_row:
                put_row(row)
        finish()
        terms = [f"\n{count} clips:\n{licence}\n" for licence, count in sorted(licences.items())]
        files.write_bytes(out / LICENCES, "".join([HEAD, *terms]).encode())
    return Told(clips=licences.total(), index=index, lost=lost, rejected=tuple(rejected), licences=licences)


def _check_video(clip: Clip) -> None:
    if clip.video is None:
        raise TrajkitError(f"clip {clip.key}", "has no video", "make it first")
    facts = video.probe(clip.video)
    said, found = (
        (clip.frames, clip.trajectory.width, clip.trajectory.height),
        (facts.frames, facts.width, facts.height),
    )
    if said != found:
        problem = "its video has {} frames of {}x{}, its json and cameras say {} of {}x{}".format(*found, *said)
        raise TrajkitError(f"clip {clip.key}", problem, "make the clip again")


def _aspects(clip: Clip, keeps: frozenset[str]) -> list[str]:
    """What the clip has and the layout has no place for."""
    scale = clip.trajectory.scale
    has = {
        "times": True,
        "caption": bool(clip.caption),
        "depth": clip.depth is not None,
        f"scale ({scale.kind}{'' if scale.factor == 1 else f' x {scale.factor:g}'})": scale.kind != "unknown",
    }
    return [name for name, there in has.items() if there and name.split()[0] not in keeps]


def _note(clip: Clip, gone: list[str]) -> dict[str, Any]:
    made, scale = clip.provenance, clip.trajectory.scale
    told = {name: getattr(made, name) for name in ("kind", "source", "generator") if getattr(made, name)}
    counts = {"frames": clip.frames, "poses": len(clip.trajectory), "fps": clip.fps}
    unit = {"kind": scale.kind, "factor": scale.factor}
    return {
        "key": clip.key,
        "licence": clip.licence,
        "caption": clip.caption,
        **told,
        **counts,
        "scale": unit,
        "lost": gone,
    }


@contextmanager
def _json_list(path: Path) -> Iterator[Put]:
    """Writes a JSON list row by row; ASCII, since readers open it in whatever encoding their machine has."""
    with files.whole(path) as stream:
        comma = b"["

        def put(row: Mapping[str, Any]) -> None:
            nonlocal comma
            stream.write(comma + b"\n" + json.dumps(row, allow_nan=False).encode())
            comma = b","

        yield put
        stream.write(b"\n]\n" if comma == b"," else b"[]\n")


@contextmanager
def _json_lines(path: Path) -> Iterator[Put]:
    with files.whole(path) as stream:

        def put(row: Mapping[str, Any]) -> None:
            stream.write(json.dumps(row, allow_nan=False).encode() + b"\n")

        yield put


def per_frame(clip: Clip) -> tuple[Trajectory, list[str]]:
    """A pose for each frame of the video, at frame / fps seconds, and what to say of it.

    Where poses are sparser, rotations between them are slerped and camera centres joined by straight lines; the first
    and the last pose hold to the video's ends. Raises TrajkitError where a frame is half a second from every pose.
    """
    trajectory, frame = clip.trajectory, np.arange(clip.frames)
    known = trajectory.frame_index
    after = known[np.minimum(np.searchsorted(known, frame), len(known) - 1)]
    before = known[np.maximum(np.searchsorted(known, frame, "right") - 1, 0)]
    apart = np.minimum(np.abs(frame - before), np.abs(after - frame))
    if apart.max() > FARTHEST_S * clip.fps:
        problem = f"no pose within {FARTHEST_S} s of frame {apart.argmax()}"
        raise TrajkitError(f"clip {clip.key}", problem, "cut the clip where its poses end")
    trajectory = replace(trajectory, times_s=known / clip.fps)
    if len(known) == len(frame):
        return trajectory, []
    dense = replace(trajectory.resampled(frame / clip.fps), frame_index=frame)
    held = int(known[0] + clip.frames - 1 - known[-1])
    ends = f" and {held} held at the ends" if held else ""
    return dense, [f"which poses were given ({len(known)} of {clip.frames} frames: the others are interpolated{ends})"]


def moving_lens(trajectory: Trajectory) -> list[str]:
    """What to say of a layout that holds one lens for all frames, the first one."""
    return ["changes of the lens"] if np.ptp(trajectory.intrinsics, axis=0).max() > 1e-6 else []


def off_middle(trajectory: Trajectory) -> list[str]:
    """What to say of a layout whose principal point is the picture's middle."""
    offset = np.abs(trajectory.intrinsics[:, 2:] - np.array([trajectory.width, trajectory.height]) / 2).max()
    return [f"the principal point (moved by {offset:.3g} px)"] if offset > 0.01 else []


def copy_video(clip: Clip, path: Path) -> None:
    """The clip's mp4, byte for byte, unless it is there."""
    if path.is_file():
        return
    if isinstance(clip.video, bytes):
        files.write_bytes(path, clip.video)
    elif clip.video is not None:
        with open(clip.video, "rb") as source, files.whole(path) as stream:
            shutil.copyfileobj(source, stream, 1 << 20)


def pictures(clip: Clip, named: Mapping[int, Path]) -> None:
    """The frames by number, as lossless png or as jpg of quality 95, by the path's suffix. They are decoded one by one.

    Raises TrajkitError where one does not decode.
    """
    from PIL import Image

    last = max(named)
    for number, rgb in enumerate(video.stream(clip.video)):  # type: ignore[arg-type]
        if path := named.get(number):
            content = io.BytesIO()
            Image.fromarray(rgb).save(content, "PNG" if path.suffix == ".png" else "JPEG", quality=95, compress_level=4)
            files.write_bytes(path, content.getvalue())
        if number == last:
            break
