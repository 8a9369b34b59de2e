"""The page: one HTML file that needs nothing else, neither network nor server, and lets no string become markup."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trajkit.show.exhibit import RAMP, Exhibit
from trajkit.show.gather import Gathered
from trajkit.show.place import Cloud, Place, nearest, outline, seers
from trajkit.show.refused import Measure, Refusal
from trajkit.trajectory import Trajectory

HERE = Path(__file__).resolve().parent
SCRIPTS = ("view.js", "routes.js", "tables.js", "page.js")


def page(shown: Gathered, *, video_limit_bytes: int = 8_000_000) -> bytes:
    """HTML of what was gathered.

    Videos are carried in the clips' order as long as all of them together stay under the limit; the others show stills.
    """
    order = {id: number for number, id in enumerate(shown.places)}
    videos, room = [], video_limit_bytes
    for one in shown.exhibits:
        video = one.video
        videos.append(video if len(video) <= room else b"")
        room -= len(videos[-1])
    clips = sum(one.kind == "clip" for one in shown.exhibits)
    carried, megabytes = sum(map(bool, videos)), f"{video_limit_bytes / 1e6:g} MB"
    content = {
        "items": [
            {**_item(one), "place": order[one.place], "video": _base64(video) if video else None}
            for one, video in zip(shown.exhibits, videos, strict=True)
        ],
        "places": [_place(place, shown.exhibits) for place in shown.places.values()],
        "ramp": RAMP,
        "summary": _summary(shown, clips),
        "refused_note": _refused_note(shown),
        "unreadable": list(shown.unreadable),
        "video_note": f"the page carries {carried} of {clips} videos, those that fit into {megabytes}",
    }
    return _fill(content, f"{counted(clips, 'clip')}: trajkit show")


def _fill(content: dict[str, Any], title: str) -> bytes:
    """The template with its style, script and content. The page's policy admits this script alone, by its hash."""
    style, template = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.html"))
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "{style-hash}": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "{script-hash}": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "{title}": title,
        "{style}": style,
        "{script}": script,
        "{content}": script_json(content),
    }
    for name, text in parts.items():  # the content comes last: nothing is replaced inside it
        before, _, after = template.partition(name)
        template = before + text + after
    return template.encode()


def script_json(value: Any) -> str:
    """JSON that no HTML parser sees an end tag or a comment in, and that stays valid JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def counted(number: int, word: str) -> str:
    """ "1 clip", "2 clips"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def selection(shown: int, total: int) -> str:
    """How many clips are shown, and of how many."""
    return counted(shown, "clip") if shown == total else f"{shown} of {total} clips, evenly spaced"


def headline(shown: Gathered) -> str:
    """How many clips are shown, and of how many; without clips, how many scenes."""
    clips = sum(one.kind == "clip" for one in shown.exhibits)
    return selection(clips, shown.total) if shown.total else counted(len(shown.places), "scene")


def _summary(shown: Gathered, clips: int) -> str:
    scenes = len({one.clip.provenance.scene for one in shown.exhibits} - {""})
    frames = sum(one.clip.frames or len(one.trajectory) for one in shown.exhibits if one.kind == "clip")
    parts = [
        headline(shown),
        counted(scenes, "scene") if scenes and clips else "",
        counted(frames, "frame") if clips else "",
        shown.tally,
        f"{len(shown.unreadable)} not readable, named below the table" if shown.unreadable else "",
    ]
    return "; ".join(filter(None, parts))


def _refused_note(shown: Gathered) -> str:
    """The count by reason over all scenes, and how many of the refused paths the page carries."""
    here = sum(one.kind == "refused" for one in shown.exhibits)
    return shown.tally + (f"; {here} of them are shown, evenly spaced" if here < shown.refused else "")


def _facts(one: Exhibit) -> dict[str, str]:
    """What is told beside the picture; the empty ones are left out."""
    clip, trajectory = one.clip, one.trajectory
    origin, scale = clip.provenance, trajectory.scale
    size = f"{trajectory.width} x {trajectory.height} px"
    if one.refusal:
        blamed = {f"Refused for {name}": measured(measure) for name, measure in one.refusal.measures}
        tries = counted(one.refusal.tries, "candidate")
        return blamed | {"Path": origin.path, "Tries": tries, "Scene": origin.scene, "Frames": str(len(trajectory))}
    if one.kind == "cameras":
        return {"Scene": origin.scene, "Source": origin.source, "Cameras": str(len(trajectory)), "Size": size} | {
            "Licence": clip.licence
        }
    return {
        "Kind": origin.kind,
        "Source": origin.source,
        "Path": origin.path,
        "Made by": origin.generator,
        "Seed": str(origin.seed),
        "Scene": origin.scene,
        "Frames": f"{clip.frames or len(trajectory)} at {clip.fps:g} fps, {len(trajectory)} poses",
        "Size": size,
        "Scale": f"{scale.kind}, {_rounded(scale.factor):g} per unit" if scale.factor != 1 else scale.kind,
        "Depth": {"z": "z-depth", "inverse": "inverse depth"}.get(str(clip.depth_kind), ""),
        "Licence": clip.licence,
        "Versions": ", ".join(f"{name} {number}" for name, number in sorted(origin.versions.items())),
        **{f"Check {name}": _check(value) for name, value in sorted(clip.checks.items())},
    }


def _check(value: bool | int | float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measured(measure: Measure) -> str:
    """Such as "0.03 against 0.15 at frame 41"."""
    return f"{measure.value:.3g} against {measure.threshold:.3g} at frame {measure.frame}"


def _item(one: Exhibit) -> dict[str, Any]:
    clip, trajectory = one.clip, one.trajectory
    speeds, turns = one.speeds, trajectory.turn_rates_deg
    return {
        "id": one.id,
        "kind": one.kind,
        "caption": one.refusal.reason if one.refusal else clip.caption or one.note,
        "path": clip.provenance.path,
        "scene": clip.provenance.scene,
        "frames": clip.frames or len(trajectory),
        "fps": clip.fps,
        "width": trajectory.width,
        "height": trajectory.height,
        "scale": trajectory.scale.kind,
        "factor": trajectory.scale.factor,
        "unit": one.unit,
        "length": _rounded(one.length),
        "speeds": list(map(_rounded, speeds)),
        "turns": list(map(_rounded, turns)),
        "speed": _mean_max(speeds),
        "turn": _mean_max(turns),
        "times": [round(float(time), 6) for time in trajectory.times_s],
        "index": trajectory.frame_index.tolist(),
        "thumb_at": list(one.at),
        "thumbs": [_jpeg(still) for still in one.stills],
        "checks": dict(clip.checks),
        "facts": [[name, value] for name, value in _facts(one).items() if value],
        **(_refusal(one.refusal) if one.refusal else {}),
        **_cameras(trajectory),
    }


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "tries": refusal.tries,
        "reasons": [
            {"name": name, "value": one.value, "threshold": one.threshold, "frame": one.frame}
            for name, one in refusal.measures
        ],
    }


def _mean_max(rates: np.ndarray) -> dict[str, float | None]:
    """Mean of the finite rates and the maximum of all; None = infinite (two poses at one time)."""
    finite = rates[np.isfinite(rates)]
    mean = _rounded(finite.mean()) if len(finite) else 0.0
    return {"mean": mean, "max": _rounded(rates.max()) if len(rates) else 0.0}


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _cameras(trajectory: Trajectory) -> dict[str, Any]:
    """Poses as rows of camera_to_world (3x4 float32), and one intrinsics row where all are alike."""
    rows = [[round(float(value), 3) for value in row] for row in trajectory.intrinsics]
    poses = np.ascontiguousarray(trajectory.camera_to_world[:, :3].reshape(-1, 12), "<f4")
    return {"poses": _base64(poses.tobytes()), "intrinsics": rows[:1] if all(row == rows[0] for row in rows) else rows}


def _place(place: Place, exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    here = [one.trajectory for one in exhibits if one.place == place.id]
    seen = place.cameras
    shown = {"width": seen.width, "height": seen.height, "n": len(seen), **_cameras(seen)} if seen else None
    points = place.cloud.points @ place.up if place.cloud else None
    return {
        "id": place.id,
        "quality": place.quality,
        "tally": place.tally,
        "up": [round(float(value), 6) for value in place.up],
        "box": [[_rounded(value) for value in corner] for corner in outline(place, here)],
        "floor": _rounded(np.quantile(points, 0.02)) if points is not None else None,
        "cameras": shown,
        "cloud": _cloud(place.cloud, seers(place, here)) if place.cloud else None,
    }


def _cloud(cloud: Cloud, centres: np.ndarray) -> dict[str, Any]:
    """Positions as 16 bits in the box that holds 99 % of the points on each axis, radii as 8 bits on a log scale.

    Each point carries which of the camera centres is nearest: seen from behind it is not drawn, so that a room opens.
    """
    low, high = np.quantile(cloud.points, [0.005, 0.995], axis=0)
    high = np.maximum(high, low + 1e-9)
    kept = ((cloud.points >= low) & (cloud.points <= high)).all(1)
    share = (cloud.points[kept] - low) / (high - low)
    radii = np.maximum(cloud.radii[kept], 1e-9)
    smallest, largest = float(radii.min()), float(radii.max() * (1 + 1e-6))
    steps = np.log(radii / smallest) / np.log(largest / smallest) * 255
    return {
        "source": cloud.source,
        "low": [float(value) for value in low],
        "high": [float(value) for value in high],
        "points": _base64(np.ascontiguousarray(np.rint(share * 65535), "<u2").tobytes()),
        "colours": _base64(np.ascontiguousarray(cloud.colours[kept]).tobytes()),
        "smallest": smallest,
        "largest": largest,
        "centres": [[_rounded(value) for value in centre] for centre in centres],
        "seer": _base64(nearest(cloud.points[kept], centres).tobytes()),
        "radii": _base64(np.rint(steps).astype(np.uint8).tobytes()),
    }


def _jpeg(image: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=78, optimize=True)
    return f"data:image/jpeg;base64,{_base64(stream.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
