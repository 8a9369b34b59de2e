"""What a job folder holds, and how it is written and read back: nothing in it is ever run or evaluated.

JOBS/<key>/ has first.png, prompt.txt, camera.npz (the planned path, one pose per frame), the generator's pose
files, and job.json, which has the digest of each. JOBS/jobs.json has the digest of each job.json and is written last.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from annotated_types import Ge, Gt, MinLen
from jaxtyping import UInt8

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count
from trajkit.members import (
    STRICT,
    Hex,
    Key,
    camera_bytes,
    caption_bytes,
    caption_from_bytes,
    check_key,
    from_json,
    trajectory_from_bytes,
)
from trajkit.scene import Finding, Rejected
from trajkit.trajectory import Scale, Trajectory

Array = np.ndarray
SCHEMA: Final = "trajkit.job/1"
RECORD, PICTURE, PROMPT, CAMERA = "job.json", "first.png", "prompt.txt", "camera.npz"
MAX_PROMPT_BYTES = 1 << 16  # Linux takes 128 KiB for one argument
MAX_CAMERA_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """A clip that a generator is to make: its first picture, and the path that the camera takes from there.

    Raises TrajkitError for a key that is none.
    """

    key: str  # of the clip to be; [A-Za-z0-9_-]+
    picture: UInt8[Array, "h w 3"]  # what the first pose sees, of the trajectory's size
    caption: str
    trajectory: Trajectory  # 4n+1 poses, one per frame, with the lens of `picture`
    seed: int  # 0 .. 2**31-1
    source: str  # of the footage
    licence: str  # of the footage; "unknown" where nobody said
    path: str = ""  # spec that sampled the trajectory
    lens_known: bool = False  # False: an assumed field of view

    def __post_init__(self) -> None:
        check_key(self.key, self.source)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """The content of job.json."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.job/1"]
    key: Key
    source: str
    licence: Annotated[str, MinLen(1)]
    path: str
    seed: Annotated[int, Ge(0)]
    lens_known: bool
    frames: Annotated[int, Ge(1)]
    fps: Annotated[float, Gt(0)]  # that the path was planned for
    width: Annotated[int, Ge(1)]
    height: Annotated[int, Ge(1)]
    scale: Scale
    sha256: dict[str, Hex] = field(default_factory=dict)  # of each other file of the plan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Planned:
    """A job as it was read back."""

    folder: Path
    record: JobRecord
    caption: str
    trajectory: Trajectory


def rejected(key: str, code: str, error: TrajkitError) -> Rejected:
    """The job refused for what one error says."""
    message = f"{error.problem}; {error.remedy}"
    return Rejected(key=key, findings=(Finding(code=code, level="error", where=error.where, message=message),))


def write_common(folder: Path, job: Job) -> None:
    """Writes what every generator gets: picture, prompt and path. Raises TrajkitError for what cannot be a job."""
    where, frames = f"job {job.key}", len(job.trajectory)
    latent_count(frames)
    if not np.array_equal(job.trajectory.frame_index, np.arange(frames)):
        raise TrajkitError(where, "its poses are not those of frames 0, 1, 2, ...", "resample the path to the frames")
    if not job.trajectory.fps > 0:
        raise TrajkitError(where, "its path takes no time", "plan more than one frame")
    size = (job.trajectory.height, job.trajectory.width, 3)
    if job.picture.shape != size or job.picture.dtype != np.uint8:
        problem = f"its picture is {job.picture.dtype} {job.picture.shape}, its cameras see {size[1]}x{size[0]}"
        raise TrajkitError(where, problem, "crop the picture to the cameras' size")
    if not 0 <= job.seed < 1 << 31:
        raise TrajkitError(where, f"seed {job.seed}", "use 0 to 2147483647; generators draw their own below 0")
    prompt = caption_bytes(job.caption, where)
    if len(prompt) > MAX_PROMPT_BYTES or b"\0" in prompt:
        raise TrajkitError(where, "a caption that no program takes (NUL, or over 64 KiB)", "shorten or correct it")
    contents = {PICTURE: png_bytes(job.picture), PROMPT: prompt, CAMERA: camera_bytes(job.trajectory)}
    for name, content in contents.items():
        files.write_bytes(folder / name, content)


def write_record(folder: Path, job: Job, names: Iterable[str]) -> str:
    """Writes job.json over the files of these names, which are there; returns its digest."""
    path = job.trajectory
    record = JobRecord(
        schema=SCHEMA,
        key=job.key,
        source=job.source,
        licence=job.licence or "unknown",
        path=job.path,
        seed=job.seed,
        lens_known=job.lens_known,
        frames=len(path),
        fps=path.fps,
        width=path.width,
        height=path.height,
        scale=path.scale,
        sha256={name: files.sha256(folder / name) for name in (PICTURE, PROMPT, CAMERA, *names)},
    )
    content = files.json_bytes(asdict(record))
    from_json(JobRecord, content, f"job {job.key}")
    files.write_bytes(folder / RECORD, content)
    return hashlib.sha256(content).hexdigest()


def read_job(root: Path, key: str, digest: str) -> Planned:
    """The job as it was planned. Raises TrajkitError where any file of it is missing or not the planned one."""
    folder = files.inside(root, key)
    _same(folder / RECORD, digest)
    record = from_json(JobRecord, files.read_bytes(folder / RECORD), folder / RECORD)
    if record.key != key:
        raise TrajkitError(folder / RECORD, f"is of job {record.key!r}", "plan again")
    for name, wanted in record.sha256.items():
        _same(files.inside(folder, name), wanted)
    content = files.read_bytes(folder / CAMERA, limit=MAX_CAMERA_BYTES)
    trajectory = trajectory_from_bytes(content, folder / CAMERA, scale=record.scale)
    if (len(trajectory), trajectory.width, trajectory.height) != (record.frames, record.width, record.height):
        raise TrajkitError(folder / CAMERA, "is at odds with job.json", "plan again")
    return Planned(folder=folder, record=record, caption=read_prompt(folder), trajectory=trajectory)


def read_record(folder: Path) -> JobRecord:
    """The job.json of a folder that `read_job` has checked."""
    record: JobRecord = from_json(JobRecord, files.read_bytes(folder / RECORD), folder / RECORD)
    return record


def read_prompt(folder: Path) -> str:
    """The caption. Raises TrajkitError where it is no text, or none that a program takes."""
    caption = caption_from_bytes(files.read_bytes(folder / PROMPT, limit=MAX_PROMPT_BYTES), folder / PROMPT)
    if "\0" in caption:
        raise TrajkitError(folder / PROMPT, "holds a NUL", "plan again")
    return caption


def png_bytes(picture: UInt8[Array, "h w 3"]) -> bytes:
    """The picture as a PNG; the same pixels give the same bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def _same(path: Path, wanted: str) -> None:
    if not path.is_file():
        raise TrajkitError(path, "no such file", "plan again")
    if files.sha256(path) != wanted:
        raise TrajkitError(path, "is not what was planned", "plan again")


def text(values: dict[str, Any]) -> dict[str, str]:
    """Values as provenance keeps them."""
    return {name: str(value) for name, value in values.items()}
