"""What is wrong with one clip, given its members: schema, cameras, times, lens, checksums, pictures, depth."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from trajkit import files, se3, video
from trajkit.clip import assemble
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.members import REQUIRED, Record, caption_from_bytes, record_from_bytes, trajectory_from_bytes
from trajkit.scene import Finding
from trajkit.trajectory import Trajectory

FOV_DEG = (2.0, 160.0)  # of a pinhole lens that somebody uses
ROUGH = 1e-6  # |R'R - I| that a float64 pose stays below unless it came through float32 or text
DRIFT_FRAMES = 0.05  # how far a pose's time may lie from its frame's
RATE = 1e-3  # relative difference of two frame rates that count as one


class Findings(list[Finding]):
    """A list that is easy to add to."""

    def add(self, code: str, where: object, message: str, *, level: Literal["error", "warning"] = "error") -> None:
        """One more line."""
        self.append(Finding(code=code, level=level, where=str(where), message=" ".join(message.split())))

    def note(self, code: str, error: TrajkitError, where: object = None) -> None:
        """An error as a finding."""
        self.add(code, where or error.where, f"{error.problem}; {error.remedy}")

    @contextmanager
    def noting(self, code: str, where: object = None) -> Iterator[None]:
        """Turns a TrajkitError in the block into a finding."""
        try:
            yield
        except TrajkitError as error:
            self.note(code, error, where)


def check_clip(
    key: str, contents: Mapping[str, bytes | Path], where: str, findings: Findings, *, decode: bool = True
) -> int:
    """Adds what is wrong with a clip whose members are given by suffix; returns how many frames its json says.

    `where` names the clip in the findings. With `decode` every picture and depth map is decoded.
    """
    record = trajectory = clip = None
    small: dict[str, bytes | Path] = dict(contents)
    for suffix in REQUIRED:
        if suffix not in contents:
            findings.add("missing-member", f"{where}.{suffix}", "is missing; make the clip again")
        elif suffix != "mp4":
            with findings.noting("unreadable", f"{where}.{suffix}"):
                small[suffix] = _bytes(contents[suffix])
    if isinstance(content := small.get("json"), bytes):
        with findings.noting("bad-json"):
            record = record_from_bytes(content, f"{where}.json")
    if isinstance(content := small.get("txt"), bytes):
        with findings.noting("bad-caption"):
            caption_from_bytes(content, f"{where}.txt")
    if isinstance(content := small.get("camera.npz"), bytes):
        with findings.noting("bad-camera"):
            trajectory = trajectory_from_bytes(content, f"{where}.camera.npz")
            _check_rotations(content, f"{where}.camera.npz", findings)
    if trajectory:
        _check_lens(trajectory, f"{where}.camera.npz", findings)
    if record:
        _check_sums(record, small, where, findings)
        if trajectory and "mp4" in contents:
            with findings.noting("mismatch"):
                clip = assemble(key, small, where)
            _check_times(trajectory, record, f"{where}.camera.npz", findings)
    if "mp4" in contents:
        with findings.noting("bad-video", f"{where}.mp4"):
            _check_video(contents["mp4"], record, f"{where}.mp4", findings, decode)
    if clip and clip.depth is not None and decode:
        with findings.noting("bad-depth", f"{where}.depth.npz"):
            read_depth(clip)
    return record.frames if record else 0


def _bytes(content: bytes | Path) -> bytes:
    return files.read_bytes(content) if isinstance(content, Path) else content


def _check_rotations(content: bytes, where: str, findings: Findings) -> None:
    """As stored: readers make rotations exact, which hides that they were rough."""
    stored = np.load(io.BytesIO(content), allow_pickle=False)["camera_to_world"]
    defect = float(se3.rotation_defect(stored[:, :3, :3]).max())
    if defect > ROUGH:
        message = f"rotations are off SE(3) by {defect:.2g}; readers make them exact, write them in float64"
        findings.add("rough-rotation", where, message, level="warning")


def _check_lens(trajectory: Trajectory, where: str, findings: Findings) -> None:
    fx, fy, cx, cy = trajectory.intrinsics.T
    width, height = trajectory.width, trajectory.height
    for name, focal, centre, size in (("horizontal", fx, cx, width), ("vertical", fy, cy, height)):
        fov_deg = np.degrees(2 * np.arctan(size / 2 / focal))  # as if centred
        if fov_deg.min() < FOV_DEG[0] or fov_deg.max() > FOV_DEG[1]:
            message = f"{name} field of view {fov_deg.min():.3g}..{fov_deg.max():.3g} deg; are intrinsics in pixels?"
            findings.add("bad-lens", where, message)
        elif centre.min() < 0 or centre.max() > size:
            message = f"principal point {centre.min():.5g}..{centre.max():.5g} lies outside {size} pixels; a crop?"
            findings.add("odd-lens", where, message, level="warning")
    if np.any(fx / fy > 2) or np.any(fy / fx > 2):
        findings.add("odd-lens", where, "fx and fy differ by more than 2; is the size swapped?", level="warning")


def _check_sums(record: Record, contents: Mapping[str, bytes | Path], where: str, findings: Findings) -> None:
    for suffix, wanted in record.sha256.items():
        if suffix not in contents:
            if suffix not in REQUIRED:
                findings.add("missing-member", f"{where}.{suffix}", "is missing, its json has its checksum")
            continue
        content = contents[suffix]
        found = files.sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        if found != wanted:
            message = "its SHA-256 is not that in the clip's json; restore it or make the clip again"
            findings.add("checksum", f"{where}.{suffix}", message)


def _check_times(trajectory: Trajectory, record: Record, where: str, findings: Findings) -> None:
    steps = np.diff(trajectory.times_s)
    if np.any(steps <= 0):
        at = int(np.argmax(steps <= 0)) + 1
        findings.add("bad-times", where, f"pose {at} is not later than the one before; give each pose its own time")
        return
    frames = (trajectory.times_s - trajectory.times_s[0]) * record.fps
    drift = np.abs(frames - (trajectory.frame_index - trajectory.frame_index[0])).max()
    if drift > DRIFT_FRAMES:
        message = f"times and frame_index drift apart by {drift:.3g} frames at {record.fps:g} fps"
        findings.add("odd-times", where, message, level="warning")


def _check_video(source: bytes | Path, record: Record | None, where: str, findings: Findings, decode: bool) -> None:
    facts = video.probe(source)
    if record:
        size, wanted = f"{facts.width}x{facts.height}", f"{record.width}x{record.height}"
        if size != wanted:
            findings.add("video-mismatch", where, f"pictures of {size}, cameras of {wanted}; make the clip again")
        if abs(facts.fps / record.fps - 1) > RATE:
            findings.add("video-mismatch", where, f"{facts.fps:.6g} frames per second, its json says {record.fps:.6g}")
        if facts.frames != record.frames:
            findings.add("video-mismatch", where, f"{facts.frames} frames, its json says {record.frames}")
    if not facts.constant_rate or (facts.codec, facts.pixel_format) != ("h264", "yuv420p"):
        rate = "constant" if facts.constant_rate else "variable"
        message = f"{facts.codec} {facts.pixel_format} at {rate} rate, not h264 yuv420p at constant rate"
        findings.add("video-format", where, message, level="warning")
    if decode:
        for _ in video.stream(source):
            pass
