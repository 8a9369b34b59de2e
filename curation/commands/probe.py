"""`trajkit probe`: what convention a pose file is in, told from the pixels of its video."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from trajkit import video
from trajkit.cli import REJECTED
from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.trajectory import Trajectory

from .. import _rawposes
from .._hypotheses import KNOWN, OPENCV, Convention, Lens, Timing, opencv_from
from .._rawposes import WXYZ, RawPoses
from ..probe import Answer, Finding, probe
from ..tracks import follow

SHOWN = 10  # rows of the table
NAMED = 4  # readings that say the same
# kind of array, direction of its poses -> the format that reads it, where camera axes are OpenCV's
READS = {
    ("matrices (N, 4, 4)", "camera_to_world"): "lingbot",
    ("rows (N, 7)", "world_to_camera"): "minwm",
    ("rows (N, 8)", "camera_to_world"): "tum",
    ("rows (N, 12)", "camera_to_world"): "kitti",
    ("rows (N, 19)", "world_to_camera"): "re10k",
}


@click.command("probe")
@click.argument("source", metavar="VIDEO|CLIPS", type=click.Path(path_type=Path))
@click.argument("poses", metavar="[POSES]", type=click.Path(path_type=Path), required=False)
@click.option("--format", "spec", metavar="FORMAT[:KEY=VALUE,...]", help="Format of POSES, or array; else guessed.")
@click.option("--fov", "fov_deg", type=float, metavar="DEG", help="Vertical field of view, where POSES has no lens.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Only this clip of CLIPS.")
@json_option
def command(
    source: Path, poses: Path | None, spec: str | None, fov_deg: float | None, keys: tuple[str, ...], as_json: bool
) -> int:
    """Tell the convention of camera poses from the pixels of their video.

    \b
    trajkit probe video.mp4 poses.npy
    trajkit probe clips --key walk-3

    Ranks what the numbers of POSES may mean (direction, camera axes, quaternion order, frames, intrinsics) by how well
    it explains how points move through VIDEO, and says what to do. CLIPS is a clip folder, whose claims are checked.
    Exit code 3: the motion does not decide it.
    """
    if poses is None:
        if spec or fov_deg is not None:
            raise TrajkitError("--format and --fov", "are for VIDEO POSES", "leave them out for a clip folder")
        asked = list(_of_clips(source, keys))
    elif keys:
        raise TrajkitError("--key", "is for a clip folder", "leave it out for VIDEO POSES")
    else:
        raw = _rawposes.read(poses, spec)
        asked = [(str(poses), raw, _clip_of(source))]
    results, lines, undecided = [], [], 0
    for name, raw, clip in asked:
        finding = probe(raw, follow(clip), clip.fps, fov_deg=fov_deg)
        undecided += not finding.sure
        results.append(_result(name, raw, finding))
        lines += _lines(name, raw, finding, whole=len(asked) == 1)
    if len(asked) > 1:
        lines.append(f"{len(asked)} clips: {len(asked) - undecided} decided, {undecided} not")
    emit(results[0] if poses is not None else {"clips": results}, as_json, lines)
    return REJECTED if undecided else 0


def _of_clips(folder: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, RawPoses, Clip]]:
    if folder.is_file():
        raise TrajkitError(folder, "a video without poses", "name the pose file after it: trajkit probe VIDEO POSES")
    there = clip_keys(folder)
    for key in keys:
        if key not in there:
            raise TrajkitError(
                f"--key {key}", f"no such clip in {folder}", f"it holds {', '.join(there[:5]) or 'none'}"
            )
    if not there:
        raise TrajkitError(folder, "holds no clips", "name a clip folder, or a video and its poses")
    for key in keys or there:
        clip = read_clip(folder, key)
        yield key, _rawposes.of_trajectory(clip.trajectory, key, "clip"), clip


def _clip_of(path: Path) -> Clip:
    """A video whose poses are not known."""
    facts = video.probe(path)
    lens = [facts.width, facts.width, facts.width / 2, facts.height / 2]
    trajectory = Trajectory(
        camera_to_world=np.eye(4)[None],
        intrinsics=np.array([lens], np.float64),
        width=facts.width,
        height=facts.height,
        times_s=np.zeros(1),
        frame_index=np.zeros(1, np.int64),
    )
    provenance = Provenance(kind="estimated", source="probe", generator="probe", scene="probe")
    return Clip(key="probe", trajectory=trajectory, video=path, fps=facts.fps, provenance=provenance, licence="unknown")


def _lines(name: str, raw: RawPoses, finding: Finding, *, whole: bool) -> list[str]:
    """What people read: the table, and one conclusion with what to do."""
    conclusion = f"{name}: {_conclusion(finding)}"
    if not whole:
        return [conclusion]
    lines = [f"{len(raw)} poses ({raw.format}); points move {finding.motion_px:.1f} pixels between the frames compared"]
    if finding.rows:
        lines.append("residual px   times best   group   hypothesis")
    for row in finding.rows[:SHOWN]:
        letter = chr(ord("A") + row.group)
        lines.append(f"{row.residual_px:11.3f}   {row.ratio:10.2f}   {letter:5}   {row.hypothesis.text}")
    lines.append(conclusion)
    for part, answer in (("frames", finding.timing), ("lens", finding.lens)):
        if answer is not None and finding.sure:
            lines.append(f"{part}: {answer.chosen.text}{_how_sure(answer)}")
    if finding.sure:
        if abs(finding.focal_factor - 1) > 0.08 and finding.lens and not _tried(finding.lens.chosen):
            lines.append(f"the pixels ask for a focal length {finding.focal_factor:.2f} times that of this lens")
        lines.append(f"to do: {_advice(raw, finding)}")
    return lines


def _conclusion(finding: Finding) -> str:
    if finding.convention is None or not finding.sure:
        return f"cannot tell: {finding.why}"
    answer = finding.convention
    words = f"{answer.chosen.text} ({finding.rows[0].residual_px:.2f} px"
    if np.isfinite(answer.ratio):
        words += f"; the next one that says otherwise leaves {answer.ratio:.1f} times as much"
    words += ")"
    if answer.same:
        named = "; ".join(other.text for other in answer.same[:NAMED])
        more = f" and {len(answer.same) - NAMED} more" if len(answer.same) > NAMED else ""
        words += f"; with this motion the same as: {named}{more}"
    return words


def _how_sure(answer: Answer) -> str:
    others = [*answer.same, *answer.close]
    if answer.sure or not others:
        return ""
    named = "; ".join(other.text for other in others[:NAMED])
    return f" (not told apart from: {named}{' and more' * (len(others) > NAMED)})"


def _tried(lens: Convention | Timing | Lens) -> bool:
    return isinstance(lens, Lens) and lens.tried


def _advice(raw: RawPoses, finding: Finding) -> str:
    """How to get canonical poses from the file."""
    assert finding.best is not None
    convention, timing, lens = finding.best
    later = f"; give pose i the frame of {timing.text}" if timing.offset or _rated(raw, timing) else ""
    meant = f"; {lens.text}" if lens.text != "the file's intrinsics" and not lens.tried else ""
    if raw.declared == convention:
        if raw.format == "clip":
            return f"nothing, the clip says so itself{later}{meant}"
        return f"trajkit convert POSES OUT --from {raw.format} --to ...{later}{meant}"
    format = READS.get((raw.format, convention.direction))
    plain = convention.axes == OPENCV and not convention.transposed and not convention.reading.startswith(WXYZ)
    if raw.declared is None and format and plain and "before" not in convention.reading:
        return f"trajkit convert POSES OUT --from {format} --to ...{later}{meant}"
    declared = f", which is not what {raw.format} declares" if raw.declared else ""
    return f"camera_to_world = {_formula(convention)}{declared}{later}{meant}"


def _rated(raw: RawPoses, timing: Timing) -> bool:
    return timing.rate not in ("one pose per frame", "the file's own frames")


def _formula(convention: Convention) -> str:
    """Canonical camera_to_world of the file's matrix M (of its quaternion and translation)."""
    matrix = "[R' t]" if convention.transposed else "M"
    if convention.direction == "world_to_camera":
        matrix = f"inv({matrix})"
    turn = opencv_from(convention.axes).T
    if convention.axes == OPENCV:
        return matrix + (f" with {convention.reading}" if convention.reading else "")
    rows = [f"[{' '.join(f'{value:g}' for value in row + 0.0)}]" for row in turn]
    text = f"{matrix} @ [[{', '.join(rows)}, 0], [0, 1]]"
    if KNOWN.get(convention.axes) == "OpenGL":
        text = f"{matrix} @ diag(1, -1, -1, 1)"
    return text + (f" with {convention.reading}" if convention.reading else "")


def _result(name: str, raw: RawPoses, finding: Finding) -> dict[str, Any]:
    """What --json prints of one file or clip."""
    found: dict[str, Any] = {
        "name": name,
        "format": raw.format,
        "poses": len(raw),
        "sure": finding.sure,
        "why": finding.why,
        "motion_px": finding.motion_px,
    }
    if finding.best is None:
        return found
    convention, timing, lens = finding.best
    found |= {
        "convention": convention._asdict() | {"text": convention.text},
        "timing": timing._asdict(),
        "lens": lens.text,
        "focal_px": finding.focal_px,
        "focal_factor": finding.focal_factor,
        "residual_px": finding.rows[0].residual_px,
        "as_declared": raw.declared == convention if raw.declared else None,
        "advice": _advice(raw, finding) if finding.sure else "",
        "rows": [asdict(row) | {"hypothesis": row.hypothesis.text} for row in finding.rows],
    }
    for part in ("convention", "timing", "lens"):
        answer = getattr(finding, part)
        found[f"{part}_answer"] = {
            "sure": answer.sure,
            "ratio": answer.ratio if np.isfinite(answer.ratio) else None,
            "ratio_low": answer.ratio_low if np.isfinite(answer.ratio_low) else None,
            "same": [other.text for other in answer.same],
            "close": [other.text for other in answer.close],
        }
    return found
