"""The page: one HTML file that needs nothing else, neither network nor server, and lets no string become markup."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trajkit.show.exhibit import RAMP, Exhibit
from trajkit.show.place import Cloud, Place, nearest, outline, seers
from trajkit.trajectory import Trajectory

HERE = Path(__file__).resolve().parent


def page(
    exhibits: Sequence[Exhibit],
    places: Mapping[str, Place],
    *,
    total: int,
    unreadable: Sequence[str] = (),
    video_limit_bytes: int = 8_000_000,
) -> bytes:
    """HTML of the clips in their places; `places` by `place_id`. `total` clips were found, of which these are shown.

    Videos are carried in the clips' order as long as all of them together stay under the limit; the others show stills.
    """
    order = {id: number for number, id in enumerate(places)}
    videos, room = [], video_limit_bytes
    for one in exhibits:
        video = one.video
        videos.append(video if len(video) <= room else b"")
        room -= len(videos[-1])
    carried = sum(map(bool, videos))
    megabytes = f"{video_limit_bytes / 1e6:g} MB"
    content = {
        "clips": [
            {**_clip(one), "place": order[place_id(one)], "video": _base64(video) if video else None}
            for one, video in zip(exhibits, videos, strict=True)
        ],
        "places": [_place(place, exhibits) for place in places.values()],
        "ramp": RAMP,
        "summary": _summary(exhibits, total, len(unreadable)),
        "unreadable": list(unreadable),
        "video_note": f"the page carries {carried} of {len(exhibits)} videos, those that fit into {megabytes}",
    }
    return _fill(content, f"{counted(len(exhibits), 'clip')}: trajkit show")


def place_id(one: Exhibit) -> str:
    """Which place a clip is in: its scene's, or one of its own where no scene is named."""
    return one.clip.provenance.scene or f"clip {one.id}"


def _fill(content: dict[str, Any], title: str) -> bytes:
    """The template with its style, script and content. The page's policy admits this script alone, by its hash."""
    style, template = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.html"))
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in ("view.js", "page.js"))
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


def _summary(exhibits: Sequence[Exhibit], total: int, unreadable: int) -> str:
    scenes = len({one.clip.provenance.scene for one in exhibits} - {""})
    frames = sum(one.clip.frames or len(one.trajectory) for one in exhibits)
    parts = [selection(len(exhibits), total), counted(scenes, "scene") if scenes else "", counted(frames, "frame")]
    parts.append(f"{unreadable} not readable, named below the table" if unreadable else "")
    return "; ".join(filter(None, parts))


def _clip(one: Exhibit) -> dict[str, Any]:
    clip, trajectory = one.clip, one.trajectory
    origin = clip.provenance
    scale = trajectory.scale
    facts = {
        "Kind": origin.kind,
        "Source": origin.source,
        "Path": origin.path,
        "Made by": origin.generator,
        "Seed": str(origin.seed),
        "Scene": origin.scene,
        "Frames": f"{clip.frames or len(trajectory)} at {clip.fps:g} fps, {len(trajectory)} poses",
        "Size": f"{trajectory.width} x {trajectory.height} px",
        "Scale": f"{scale.kind}, {_rounded(scale.factor):g} per unit" if scale.factor != 1 else scale.kind,
        "Depth": {"z": "z-depth", "inverse": "inverse depth"}.get(str(clip.depth_kind), ""),
        "Licence": clip.licence,
        "Versions": ", ".join(f"{name} {number}" for name, number in sorted(origin.versions.items())),
        **{f"Check {name}": str(value) for name, value in sorted(clip.checks.items())},
    }
    speeds, turns = one.speeds, trajectory.turn_rates_deg
    return {
        "id": one.id,
        "caption": clip.caption,
        "path": origin.path,
        "scene": origin.scene,
        "frames": clip.frames or len(trajectory),
        "fps": clip.fps,
        "width": trajectory.width,
        "height": trajectory.height,
        "scale": scale.kind,
        "factor": scale.factor,
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
        "facts": [[name, value] for name, value in facts.items() if value],
        **_cameras(trajectory),
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
    here = [one.trajectory for one in exhibits if place_id(one) == place.id]
    seen = place.cameras
    shown = {"width": seen.width, "height": seen.height, "n": len(seen), **_cameras(seen)} if seen else None
    points = place.cloud.points @ place.up if place.cloud else None
    return {
        "id": place.id,
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
