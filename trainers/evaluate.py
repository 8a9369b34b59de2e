"""How far a video's cameras are from those it was told to follow, and how its pictures hold up: one row per clip.

Both sets of cameras are seen from their first frame. Frames i = 1 .. N-1, commanded [R_i | t_i], achieved [Q_i | u_i]:

    rot_err_deg    mean of arccos((tr(R_i' Q_i) - 1) / 2)                      RotErr, CameraCtrl (arXiv 2404.02101)
    trans_err      mean of |s u_i - t_i| / D                                   TransErr, CameraCtrl
    cam_mc         mean of |[Q_i | s u_i / D] - [R_i | t_i / D]|, Frobenius    CamMC, MotionCtrl (arXiv 2312.03641)
    direction_deg  mean angle between u_i and t_i, where |t_i| > D / 10; 90 for u_i = 0

The papers sum over the frames, in radians and in the command's own unit; `sums` holds that (cam_mc's with D as above).
D is the farthest that the command goes from its first frame, max |t_i|, CamI2V's unit (arXiv 2410.15957). A video has
no scale of its own: s = max(sum u_i . t_i / sum u_i . u_i, 0), least squares over the registered frames of the clip. So
a video that moves too slowly is not told from a larger scene; one that moves another way, or changes its pace, is.
direction_deg needs no scale. A command that only turns has D = 0: trans_err and direction_deg are null, and cam_mc is
that of the rotations alone.

Frames that are not registered are never dropped in silence. Each error is given three times: over the registered ones;
over all frames, where those not registered count as not moved ("counted"); and of a video that never moves ("still").
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from trajkit import se3, video
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.fidelity import psnr_of
from trajkit.trajectory import Trajectory

from .achieved import Achieved, estimate

Array = np.ndarray
LEAST_FRAMES = 3
FAILED = 0.5  # share of frames after the first that must be registered, else the clip counts as failed
MOVES = 1e-6  # D above which a command moves
SEGMENTS = 4
SAME_DEG, SAME_SHARE = 1.0, 0.02  # a revisit: so near in angle, and in place as a share of D
AWAY_DEG, AWAY_SHARE = 5.0, 0.1  # and in between so far away
ERRORS = ("rot_err_deg", "trans_err", "direction_deg", "cam_mc")
VIEWS = ("registered", "counted", "still")
SPEEDS = ("first_latents_s", "first_pictures_s", "fps", "timed", "device")  # checks that `trajkit rollout` leaves
LUMA = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709


def check(clip: Clip) -> None:
    """Raises TrajkitError for a clip that cannot be measured: no video, or fewer than three poses."""
    if clip.video is None:
        raise TrajkitError(f"clip {clip.key}", "has no video", "make it first")
    if len(clip.trajectory) < LEAST_FRAMES:
        problem = f"has {len(clip.trajectory)} frames with a camera"
        raise TrajkitError(f"clip {clip.key}", problem, f"give {LEAST_FRAMES} or more")


def measured(clip: Clip) -> tuple[dict[str, Any], Achieved, UInt8[Array, "n h w 3"]]:
    """The clip's row, the cameras found in its pixels, and the pictures that were used (those that have a pose)."""
    check(clip)
    assert clip.video is not None
    commanded = clip.trajectory.relative_to(0)
    pictures = video.read(clip.video, commanded.frame_index)
    found = estimate(pictures, commanded.intrinsics)
    rate = float(found.registered[1:].mean())
    row = {
        "key": clip.key,
        "path": clip.provenance.path,
        "frames": len(commanded),
        "size": [commanded.width, commanded.height],
        "registered_share": rate,
        "failed": rate < FAILED,
        "turns_only": found.turns_only,
        "residual_px": found.residual_px,
        "scale": scale_of(commanded.camera_to_world, found),
        **errors(commanded.camera_to_world, found),
        "drift": drift(pictures),
        "revisit": revisit(commanded, pictures),
        "speed": {name: clip.checks[name] for name in SPEEDS if name in clip.checks},
    }
    return row, found, pictures


def scale_of(commanded: Float64[Array, "n 4 4"], found: Achieved) -> float:
    """s of the module's formulas: the command's units to one of the achieved cameras, over the registered frames."""
    t, u = commanded[found.registered, :3, 3], found.camera_to_world[found.registered, :3, 3]
    return max(float((u * t).sum() / max((u * u).sum(), 1e-300)), 0.0)


def errors(commanded: Float64[Array, "n 4 4"], found: Achieved) -> dict[str, Any]:
    """registered, counted, still: each with the four errors and their published sums; None where none is defined."""
    later = np.arange(len(commanded)) > 0
    moved = frame_errors(commanded, found.camera_to_world, scale_of(commanded, found))
    still = frame_errors(commanded, np.tile(np.eye(4), (len(commanded), 1, 1)), 1.0)
    used = {"registered": (moved, later & found.registered), "counted": (moved, later), "still": (still, later)}
    return {view: _errors(*one) for view, one in used.items()}


def frame_errors(
    commanded: Float64[Array, "n 4 4"], achieved: Float64[Array, "n 4 4"], scale: float
) -> dict[str, Float64[Array, " n"]]:
    """Per frame the four errors, NaN where one is not defined, and |s u - t| in the command's unit."""
    t, u = commanded[:, :3, 3], achieved[:, :3, 3]
    gone, far = np.linalg.norm(t, axis=1), float(np.linalg.norm(t, axis=1).max())
    unit = far if far > MOVES else np.inf
    rot_deg = se3.angle_deg(np.swapaxes(commanded[:, :3, :3], 1, 2) @ achieved[:, :3, :3])
    miss = np.linalg.norm(scale * u - t, axis=1)
    length = gone * np.linalg.norm(u, axis=1)
    cosine = (t * u).sum(1) / np.where(length > 0, length, 1)
    apart = np.sqrt(((commanded[:, :3, :3] - achieved[:, :3, :3]) ** 2).sum((1, 2)) + (miss / unit) ** 2)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return {
        "rot_err_deg": rot_deg,
        "trans_err": np.where(far > MOVES, miss / unit, np.nan),
        "direction_deg": np.where((far > MOVES) & (gone > far / 10), angle, np.nan),
        "cam_mc": apart,
        "trans_err_unit": miss,
    }


def _errors(all_frames: dict[str, Array], used: Bool[Array, " n"]) -> dict[str, Any]:
    per_frame = {name: one[used] for name, one in all_frames.items()}
    sums = {
        "rot_err_rad": float(np.radians(per_frame["rot_err_deg"]).sum()),
        "trans_err": float(per_frame["trans_err_unit"].sum()),
        "cam_mc": float(per_frame["cam_mc"].sum()),
    }
    return {**{name: mean(per_frame[name]) for name in ERRORS}, "sums": sums}


def mean(values: Sequence[float | None] | Float64[Array, " n"]) -> float | None:
    """The mean of those that are defined; None where none is."""
    kept = [float(one) for one in values if one is not None and np.isfinite(one)]
    return float(np.mean(kept)) if kept else None


def drift(pictures: UInt8[Array, "n h w 3"]) -> list[dict[str, Any]]:
    """Per quarter of the clip, and against the first: sharpness, contrast and colour. What is in view shapes them too.

    sharpness: variance of the 4-neighbour Laplacian of luma (0..255), mean over frames. contrast: standard deviation of
    luma. colour: mean R, G, B. colour_shift: distance of that from the first quarter's.
    """
    rows: list[dict[str, Any]] = []
    for part in np.array_split(pictures, min(SEGMENTS, len(pictures))):
        luma = part @ LUMA
        inner = luma[:, 1:-1, 1:-1]
        round_ = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
        row: dict[str, Any] = {
            "sharpness": float((round_ - 4 * inner).var(axis=(1, 2)).mean()) if inner.size else 0.0,
            "contrast": float(luma.std(axis=(1, 2)).mean()),
            "colour": [float(one) for one in part.mean(axis=(0, 1, 2))],
        }
        first = rows[0] if rows else row
        for name in ("sharpness", "contrast"):
            row[f"{name}_ratio"] = row[name] / first[name] if first[name] > 0 else None
        row["colour_shift"] = float(np.linalg.norm(np.subtract(row["colour"], first["colour"])))
        rows.append(row)
    return rows


def revisit(commanded: Trajectory, pictures: UInt8[Array, "n h w 3"]) -> dict[str, Any]:
    """Pairs of frames that are told to see the same again after having been away, and their mean PSNR (dB).

    Each frame is paired with the earliest one within 1 degree and 2 % of D, if 5 degrees or 10 % of D lie in between.
    """
    poses = commanded.camera_to_world
    far = float(np.linalg.norm(poses[:, :3, 3], axis=1).max())
    far = far if far > MOVES else np.inf
    pairs = []
    for last in range(2, len(poses)):
        angle = se3.angle_deg(poses[last, :3, :3].T @ poses[:last, :3, :3])
        share = np.linalg.norm(poses[:last, :3, 3] - poses[last, :3, 3], axis=1) / far
        away = (angle > AWAY_DEG) | (share > AWAY_SHARE)
        left = np.flatnonzero(away)[-1:]  # the last frame that was elsewhere
        near = np.flatnonzero((angle < SAME_DEG) & (share < SAME_SHARE))
        if len(left) and len(near) and near[0] < left[0]:
            pairs.append((int(near[0]), last))
    psnr = [psnr_of(pictures[first] / 255, pictures[last] / 255) for first, last in pairs]
    return {"pairs": len(pairs), "psnr_db": mean(psnr)}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over clips. registered: over clips that did not fail; counted and still: over all of them."""
    views = {view: [row[view] for row in rows if view != "registered" or not row["failed"]] for view in VIEWS}
    last = [row["drift"][-1] for row in rows]
    speeds = [row["speed"] for row in rows]
    return {
        "clips": len(rows),
        "failed": sum(bool(row["failed"]) for row in rows),
        "registered_share": mean([row["registered_share"] for row in rows]),
        **{view: {name: mean([one[name] for one in ones]) for name in ERRORS} for view, ones in views.items()},
        "last_quarter": {
            name: mean([one[name] for one in last]) for name in ("sharpness_ratio", "contrast_ratio", "colour_shift")
        },
        "revisit": {
            "clips": sum(row["revisit"]["pairs"] > 0 for row in rows),
            "psnr_db": mean([row["revisit"]["psnr_db"] for row in rows]),
        },
        "speed": {name: mean([one.get(name) for one in speeds]) for name in SPEEDS[:3]},
        "timed": sorted({str(one["timed"]) for one in speeds if "timed" in one}),
    }
