"""The repair stage: claimed poses that the pictures contradict -> refined ones, or the reason why not.

A refinement is kept only where tracks that had no say in it bear it out. The tracks are split by where they lie in the
picture into two halves, as on a chessboard, so that one moving thing cannot vouch for itself from both. The cameras are
adjusted three times: on all tracks, and on each half alone. They are kept if each half's cameras explain the *other*
half better than the claim does, if the two halves agree with each other, and if the refined clip is then accepted.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from trajkit import __version__, files, plugins
from trajkit.clip import Clip, clip_keys, copy_clip, member, read_clip, sweep
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row
from trajkit.members import camera_bytes
from trajkit.score import Verdict
from trajkit.trajectory import Trajectory
from trajkit.work import attempt, run

from . import calibration
from .adjust import Adjusted, adjust, errors_of, induced
from .evidence import Evidence
from .induced import WIDTH
from .score import Item, Unit, measure, read_item, units
from .tracks import Tracks
from .verdict import verdict

ORIGINAL = "original"  # folder of the claimed cameras
SUFFIX = "-refined"  # of the new clip's key: other poses make another clip
CELLS = 4  # squares across of the chessboard
State = Literal["left", "refined", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairOptions:
    """When a refinement is kept; `trajkit repair --help` says what each field means."""

    held_out_px: float = 1.0  # most that tracks without a say may be off, median
    gain: float = 0.8  # of the claim's error on them, at most
    agree_px: float = (
        1.4  # mean over 8 frames by which the two halves' cameras may differ: twice the error of the whole
    )
    agree_worst_px: float = 5.0
    parallax_px: float = (
        2.0  # least motion of points by translation: below it noise makes up a path where there is none
    )
    inliers: float = 0.6  # share of observations that the refined cameras must explain
    calibration: Path = calibration.SHIPPED


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Repaired:
    """What became of a clip's poses."""

    key: str  # of the claimed clip
    state: State
    reason: str = ""
    before: Verdict | None = None
    after: Verdict | None = None
    moved_px: float = 0.0  # by which the refinement moves points over 8 frames
    clip: Clip | None = None  # as refined, where it was kept


def refine(evidence: Evidence, options: RepairOptions) -> Repaired:
    """The clip with refined poses, or why it stays as it is. Nothing is written."""
    clip, claimed, tracks = evidence.clip, evidence.trajectory, evidence.tracks
    before = judged(evidence, options)
    told = functools.partial(Repaired, key=clip.key, before=before)
    if before.state == "accepted":
        return told(state="left", reason="its poses are accepted as they are")
    found = evidence.adjusted
    problem = _unfit(found, options) or _contradicted(claimed, tracks, found, options)
    if problem:
        return told(state="refused", reason=problem)
    refined = evidence.claiming(found.trajectory)
    after = judged(refined, options)
    if after.state != "accepted" or (after.probability or 0) <= (before.probability or 0):
        reasons = "; ".join(one.message for one in after.reasons)
        return told(state="refused", reason=f"the refined poses are {after.state}: {reasons}", after=after)
    return told(state="refined", after=after, moved_px=round(_apart(claimed, found)[0], 3), clip=refined.clip)


def judged(evidence: Evidence, options: RepairOptions) -> Verdict:
    """The verdict on the claimed poses."""
    modules = [plugins.load("metrics", name) for name in plugins.names("metrics")]
    index, width = evidence.trajectory.frame_index.tolist(), evidence.trajectory.width
    return verdict(measure(evidence, modules), calibration.load(options.calibration), index, width)


def _unfit(found: Adjusted, options: RepairOptions) -> str:
    """Why the pictures do not carry an adjustment, or ""."""
    if found.unobservable:
        return f"the pictures do not show {' and '.join(found.unobservable)}"
    if found.parallax_px < options.parallax_px * found.trajectory.width / WIDTH:
        return f"the pictures hardly show translation ({found.parallax_px:.2g} px of parallax)"
    if not found.converged:
        return "the adjustment does not converge"
    if found.inlier_share < options.inliers:
        return f"only {found.inlier_share:.0%} of what is followed belongs to one still scene"
    return ""


def _contradicted(claimed: Trajectory, tracks: Tracks, found: Adjusted, options: RepairOptions) -> str:
    """What tracks without a say hold against the refinement, or ""."""
    unit = claimed.width / WIDTH
    dark = chessboard(tracks)
    halves = []
    for held in (dark, ~dark):
        half = adjust(claimed, tracks, without=held)
        error_px, _ = errors_of(half.trajectory, tracks.only(held))
        claim_px, _ = errors_of(claimed, tracks.only(held))
        if not error_px < options.held_out_px * unit:
            return f"tracks that had no say are {error_px:.2g} px off"
        if error_px > options.gain * claim_px:
            return f"tracks that had no say are {error_px:.2g} px off, {claim_px:.2g} px under the claim"
        halves.append(half)
    mean_px, worst_px = _apart(halves[0].trajectory, replace(found, trajectory=halves[1].trajectory))
    if not (mean_px < options.agree_px * unit and worst_px < options.agree_worst_px * unit):
        return f"two halves of the picture ask for cameras that differ by {mean_px:.2g} px ({worst_px:.2g} at worst)"
    return ""


def _apart(claimed: Trajectory, found: Adjusted) -> tuple[float, float]:
    """By how many pixels claimed cameras move points off the adjusted ones' over 8 frames: mean, worst."""
    moved = induced(claimed, found)
    row = moved.strides.index(8)
    return float(moved.mean_px[row]), float(moved.worst_px[row])


def chessboard(tracks: Tracks) -> Bool[np.ndarray, "count"]:
    """Whether a track lies, on average, on a dark square of the picture."""
    seen = np.maximum(np.bincount(tracks.track, minlength=tracks.count), 1)
    cell = CELLS / np.array(tracks.size)
    places = [np.bincount(tracks.track, tracks.xy[:, axis], tracks.count) / seen * cell[0] for axis in range(2)]
    return np.asarray((places[0].astype(np.int64) + places[1].astype(np.int64)) % 2 == 1)


def repair(
    places: Sequence[Path], options: RepairOptions, out: Path, *, workers: int = 1, executor: str = "local"
) -> Iterator[Repaired]:
    """Refines every clip that needs it into the clip folder `out`, yielding what became of each once its unit is done.

    Refined clips that are done are kept. Raises TrajkitError before anything is written where options are wrong.
    """
    calibration.load(options.calibration)
    todo = units(places)
    with files.locked(out):
        work = functools.partial(repair_unit, options=options, out=out)
        for unit, result in zip(todo, run(work, todo, workers, executor=executor), strict=True):
            found = [_failed(item.key, result) for item in unit.items] if isinstance(result, TrajkitError) else result
            Ledger(out).append(f"repair-{unit.bucket}", [row(one) for one in found])
            yield from found


def repair_unit(unit: Unit, options: RepairOptions, out: Path) -> list[Repaired]:
    """What became of each clip of the unit; one that cannot be read or written costs itself alone."""

    def one(item: Item) -> Repaired:
        return repair_clip(read_item(item), options, out)

    results = [attempt(one, item) for item in unit.items]
    return [
        _failed(item.key, result) if isinstance(result, TrajkitError) else result
        for item, result in zip(unit.items, results, strict=True)
    ]


def repair_clip(clip: Clip, options: RepairOptions, out: Path) -> Repaired:
    """Refines one clip; the refined one lies in `out`, with the claimed cameras in out/original."""
    result = refine(Evidence(clip), options)
    if result.clip is None:
        return result
    key = clip.key + SUFFIX
    sweep(out, [key])
    content = camera_bytes(clip.trajectory)
    files.write_bytes(out / ORIGINAL / f"{key}.camera.npz", content)
    provenance = replace(clip.provenance, kind="refined", versions={**clip.provenance.versions, "trajkit": __version__})
    checks = {
        **clip.checks,
        "refined_from": clip.key,
        "probability_before": (result.before.probability if result.before else None) or 0.0,
        "probability_after": (result.after.probability if result.after else None) or 0.0,
        "moved_px": result.moved_px,
    }
    refined = replace(clip, key=key, trajectory=result.clip.trajectory, provenance=provenance, checks=checks)
    if key in clip_keys(out) and member(out, key, "camera.npz").read_bytes() == camera_bytes(refined.trajectory):
        return replace(result, clip=read_clip(out, key))
    return replace(result, clip=copy_clip(out, refined))


def row(result: Repaired) -> Row:
    """What the ledger says of it."""
    states = {"left": "accepted", "refined": "refined", "refused": "rejected"}
    values = {"moved_px": result.moved_px}
    for name, one in (("before", result.before), ("after", result.after)):
        if one is not None:
            values |= {f"{name}_{end}": value for end, value in (("low_px", one.low), ("high_px", one.high)) if value}
    return Row(
        key=result.key,
        stage="repair",
        state=states[result.state],
        reason=result.reason,
        metric="poses",
        value=result.after.probability if result.after else None,
        values=values,
        versions={"trajkit": __version__},
    )


def _failed(key: str, error: TrajkitError) -> Repaired:
    return Repaired(key=key, state="refused", reason=str(error))
