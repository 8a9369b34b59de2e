"""`Clip`: pictures with poses, and the flat folder that holds clips: `<key>.mp4 .camera.npz .txt (.depth.npz) .json`.

The json is written last: a clip without it is not done, and a rerun makes it again with the same bytes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import (
    CONVENTION,
    REQUIRED,
    SCHEMA,
    SUFFIXES,
    DepthKind,
    Provenance,
    Record,
    camera_bytes,
    caption_bytes,
    caption_from_bytes,
    check_key,
    is_key,
    record_bytes,
    record_from_bytes,
    trajectory_from_bytes,
)
from trajkit.scene import Frame
from trajkit.trajectory import Trajectory

HELD = ("camera.npz", "json", "txt")  # read at once; the others stay where they are
MAX_MEMBER_BYTES = 1 << 28  # of those
POSE_PER_FRAME = ("rendered", "reframed", "warped", "generated")  # estimated poses may be sparser than the frames


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """Pictures at a constant rate, the cameras that see them, and where both come from.

    `video` and `depth` are a file, or the bytes of one (a clip in a shard), or None (not made, or not loaded).
    Raises TrajkitError for a key that is none, a distorted camera, or poses that do not fit the frames.
    """

    key: str  # [A-Za-z0-9_-]+
    trajectory: Trajectory  # frame_index counts the video's frames
    video: Path | bytes | None = None
    fps: float  # of the video
    caption: str = ""
    provenance: Provenance
    licence: str  # "unknown" where nobody said
    frames: int = 0  # pictures in the video; 0 = not made yet
    depth: Path | bytes | None = None
    depth_kind: DepthKind | None = None
    checks: Mapping[str, bool | int | float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"clip {self.key}"
        check_key(self.key, "clip")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise TrajkitError(where, f"fps {self.fps}", "give a positive frame rate")
        if any(self.trajectory.distortion):
            raise TrajkitError(where, "has lens distortion", "undistort the pictures; clips are pinhole")
        index, times_s = self.trajectory.frame_index, self.trajectory.times_s
        if index[0] < 0 or np.any(np.diff(index) <= 0):
            raise TrajkitError(where, "frame_index does not count up from 0", "give each pose a frame of its own")
        if self.provenance.kind in POSE_PER_FRAME and index[-1] != len(index) - 1:
            problem = f"frame_index of {len(index)} poses goes up to {index[-1]}"
            raise TrajkitError(where, problem, f"a {self.provenance.kind} clip has one pose per frame, from frame 0")
        drift = np.abs((times_s - times_s[0]) * self.fps - (index - index[0]))
        if drift.max() > 0.5:
            at = int(np.argmax(drift > 0.5))
            problem = f"pose {at} is {drift[at]:.3g} frames off its time at {self.fps:g} fps"
            raise TrajkitError(where, problem, "correct fps, times_s or frame_index")
        if self.frames:
            _check_frames(self, self.frames)


def _check_frames(clip: Clip, frames: int) -> None:
    index = clip.trajectory.frame_index
    where = f"clip {clip.key}"
    if index[-1] >= frames:
        raise TrajkitError(where, f"{frames} frames but a pose for frame {index[-1]}", "make one frame per pose")
    if clip.provenance.kind in POSE_PER_FRAME and len(index) != frames:
        problem = f"{frames} frames but {len(index)} poses"
        raise TrajkitError(where, problem, f"a {clip.provenance.kind} clip has one pose per frame")


def member(folder: Path, key: str, suffix: str) -> Path:
    """Path of one member, such as suffix "camera.npz"."""
    return folder / f"{key}.{suffix}"


def clip_keys(folder: Path) -> list[str]:
    """Keys of the clips that are done (their json is there), sorted. Raises TrajkitError where there is no folder."""
    if not folder.is_dir():
        raise TrajkitError(folder, "no such folder", "check the path")
    return sorted(path.stem for path in folder.glob("*.json") if is_key(path.stem))


def sweep(folder: Path, keys: Iterable[str]) -> list[str]:
    """Removes what an interrupted run left of these clips: .part files, and members where the json is missing.

    Returns the removed names, sorted. Files of other names are left alone: the folder may hold anything of its owner's.
    """
    removed = []
    for key in keys:
        done = member(folder, key, "json").exists()
        for suffix in SUFFIXES:
            for ending in (files.PART,) if done else ("", files.PART):
                path = member(folder, key, suffix + ending)
                if path.is_file():
                    path.unlink()
                    removed.append(path.name)
    return sorted(removed)


def read_clip(folder: Path, key: str) -> Clip:
    """One clip of a folder; pictures and depth stay on disk.

    Raises TrajkitError naming the member that is missing, damaged, or at odds with the json.
    """
    check_key(key, folder)
    contents: dict[str, bytes | Path] = {}
    for suffix in SUFFIXES:
        path = member(folder, key, suffix)
        if path.exists():
            contents[suffix] = files.read_bytes(path, limit=MAX_MEMBER_BYTES) if suffix in HELD else path
    return assemble(key, contents, folder / key)


def assemble(key: str, contents: Mapping[str, bytes | Path], where: object) -> Clip:
    """The clip whose members are given by suffix: small ones as bytes, mp4 and depth as bytes or a path.

    Raises TrajkitError naming `where` and the member that is missing, damaged, or at odds with the json.
    """
    for suffix in REQUIRED:
        if suffix not in contents:
            raise TrajkitError(f"{where}.{suffix}", "no such file", "make the clip again; its other members are there")
    record = record_from_bytes(_bytes(contents["json"]), f"{where}.json")
    trajectory = trajectory_from_bytes(_bytes(contents["camera.npz"]), f"{where}.camera.npz", scale=record.scale)
    caption = caption_from_bytes(_bytes(contents["txt"]), f"{where}.txt")
    _compare(f"{where}.json", record, key, trajectory, "depth.npz" in contents)
    try:
        return Clip(
            key=key,
            trajectory=trajectory,
            video=contents["mp4"],
            fps=record.fps,
            caption=caption,
            provenance=record.provenance,
            licence=record.licence,
            frames=record.frames,
            depth=contents.get("depth.npz"),
            depth_kind=record.depth,
            checks=record.checks,
        )
    except TrajkitError as error:
        raise TrajkitError(f"{where}.json", error.problem, error.remedy) from None


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else files.read_bytes(content)


def _compare(where: str, record: Record, key: str, trajectory: Trajectory, depth: bool) -> None:
    claims = {
        "key": (record.key, key),
        "poses": (record.poses, len(trajectory)),
        "width": (record.width, trajectory.width),
        "height": (record.height, trajectory.height),
        "pose_rate": (record.pose_rate, trajectory.fps),
        "depth": (record.depth is not None, depth),
    }
    for name, (said, found) in claims.items():
        if said != found:
            raise TrajkitError(where, f"says {name} {said}, its other members {found}", "make the clip again")


def write_clip(
    folder: Path, clip: Clip, frames: Iterable[Frame], *, depth: DepthKind | None = None, crf: int = 18
) -> Clip:
    """The clip as it now lies in the folder; `frames` are encoded as they come, none is kept.

    A clip of that key that was done stops being done first; the json appears last.
    Raises TrajkitError for frames that do not fit the poses in number or size; then the clip is not done.
    """
    from trajkit import video
    from trajkit.depth import writing

    versions = dict(clip.provenance.versions) | video.versions()
    clip = replace(clip, depth_kind=depth, provenance=replace(clip.provenance, versions=versions))
    shape = (clip.frames or int(clip.trajectory.frame_index[-1]) + 1, clip.trajectory.height, clip.trajectory.width)
    small = {"camera.npz": camera_bytes(clip.trajectory), "txt": caption_bytes(clip.caption, f"clip {clip.key}")}
    record_bytes(_record(replace(clip, frames=shape[0]), {}))  # what will not fit is found before anything is rendered
    paths = {suffix: member(folder, clip.key, suffix) for suffix in SUFFIXES}
    paths["json"].unlink(missing_ok=True)
    pictures = _fitting(frames, clip)
    with ExitStack() as stack:
        if depth:
            pictures = stack.enter_context(writing(paths["depth.npz"], pictures, shape, depth))
        else:
            paths["depth.npz"].unlink(missing_ok=True)
        count = video.encode((frame.rgb for frame in pictures), paths["mp4"], clip.fps, crf=crf)
    for suffix, content in small.items():
        files.write_bytes(paths[suffix], content)
    done = replace(clip, frames=count, video=paths["mp4"], depth=paths["depth.npz"] if depth else None)
    digests = {suffix: files.sha256(paths[suffix]) for suffix in ("mp4", *small, *(["depth.npz"] if depth else []))}
    files.write_bytes(paths["json"], record_bytes(_record(done, digests)))
    return done


def copy_clip(folder: Path, clip: Clip) -> Clip:
    """The clip as it now lies in another folder: the same pictures and depth, the cameras and words it has now.

    The json appears last. Raises TrajkitError where the clip has no video yet, or lies in that folder already.
    """
    if clip.video is None or not clip.frames:
        raise TrajkitError(f"clip {clip.key}", "has no video", "make it first")
    paths = {suffix: member(folder, clip.key, suffix) for suffix in SUFFIXES}
    held = {"mp4": clip.video} | ({"depth.npz": clip.depth} if clip.depth is not None else {})
    if any(isinstance(one, Path) and one.resolve() == paths[suffix].resolve() for suffix, one in held.items()):
        raise TrajkitError(folder, f"is where clip {clip.key} lies", "give --out a folder of its own")
    small = {"camera.npz": camera_bytes(clip.trajectory), "txt": caption_bytes(clip.caption, f"clip {clip.key}")}
    record_bytes(_record(clip, {}))  # what will not fit is found before anything is written
    paths["json"].unlink(missing_ok=True)
    if clip.depth is None:
        paths["depth.npz"].unlink(missing_ok=True)
    for suffix, content in {**held, **small}.items():
        files.write_bytes(paths[suffix], _bytes(content))
    done = replace(clip, video=paths["mp4"], depth=paths["depth.npz"] if clip.depth is not None else None)
    digests = {suffix: files.sha256(paths[suffix]) for suffix in (*held, *small)}
    files.write_bytes(paths["json"], record_bytes(_record(done, digests)))
    return done


def _fitting(frames: Iterable[Frame], clip: Clip) -> Iterator[Frame]:
    """The frames, as long as they have the size of the cameras; after the last one, as many as the poses want."""
    width, height = clip.trajectory.width, clip.trajectory.height
    count = 0
    for count, frame in enumerate(frames, 1):
        if frame.rgb.shape != (height, width, 3) or frame.rgb.dtype != np.uint8:
            problem = f"frame {count - 1} is {frame.rgb.dtype} {frame.rgb.shape}, its camera {width}x{height}"
            raise TrajkitError(f"clip {clip.key}", problem, "render uint8 pictures of the cameras' size")
        yield frame
    _check_frames(clip, count)


def _record(clip: Clip, digests: dict[str, str]) -> Record:
    return Record(
        schema=SCHEMA,
        convention=CONVENTION,
        key=clip.key,
        scale=clip.trajectory.scale,
        poses=len(clip.trajectory),
        pose_rate=clip.trajectory.fps,
        frames=clip.frames,
        fps=float(clip.fps),
        width=clip.trajectory.width,
        height=clip.trajectory.height,
        provenance=clip.provenance,
        licence=clip.licence,
        checks=dict(clip.checks),
        depth=clip.depth_kind,
        sha256=digests,
    )
