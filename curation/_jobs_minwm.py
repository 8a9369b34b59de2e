"""The layout in which minWM keeps generated videos: preencode_input.json, and videos/<place>_<pose string>/gen.mp4.

Its only key is a clip's place in the list, so that a row taken out gives every later video another caption and path.
keys.json beside it has our key of each row and the row's digest; a list that was renumbered is refused.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from trajkit import files
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.members import STRICT, Hex, Key, from_json
from trajkit.poses import minwm, worldplay
from trajkit.scene import Rejected

from ._jobs_record import PICTURE, Job, read_job, rejected, write_common, write_record
from ._jobs_take import collected
from .jobs import MAX_INDEX_BYTES, generator, shaping, text

LIST, KEYS, JOBS, POSE = "preencode_input.json", "keys.json", "jobs", "pose.json"
KEYS_SCHEMA: Final = "trajkit.minwm-keys/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What row i of the list was."""

    __pydantic_config__ = STRICT

    key: Key
    job: Hex  # digest of jobs/<key>/job.json
    row: Hex  # digest of the list's entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """The content of keys.json."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.minwm-keys/1"]
    rows: list[Row]


def write_minwm(jobs: Iterable[Job | Rejected], folder: Path) -> Iterator[Job | Rejected]:
    """Writes the list, with paths relative to `folder`, yielding each job; the list appears last.

    A path must be made of whole key presses, since minWM's encoders make the poses from the pose string.
    """
    entries: list[dict[str, str]] = []
    rows: dict[str, Row] = {}
    with files.locked(folder):
        for name in (LIST, KEYS):
            (folder / name).unlink(missing_ok=True)
        for job in jobs:
            if isinstance(job, Job):
                try:
                    if job.key in rows:
                        raise TrajkitError(f"job {job.key}", "a second job of this key", "give each its own")
                    job = replace(job, trajectory=job.trajectory.relative_to(0))
                    entry, digest = _write(folder / JOBS, job)
                except TrajkitError as error:
                    yield rejected(job.key, "no-job", error)
                    continue
                entries.append(entry)
                rows[job.key] = Row(key=job.key, job=digest, row=_digest(entry))
            yield job
        keys = Keys(schema=KEYS_SCHEMA, rows=list(rows.values()))
        files.write_bytes(folder / KEYS, files.json_bytes(asdict(keys)))
        files.write_bytes(folder / LIST, files.json_bytes(entries))


def _write(root: Path, job: Job) -> tuple[dict[str, str], str]:
    where = f"job {job.key}"
    pose_string = minwm.to_string(worldplay.per_latent(job.trajectory, where), where, "dataset")
    folder = files.inside(root, job.key)
    write_common(folder, job)
    worldplay.write(job.trajectory, folder / POSE)
    entry = {
        "image_path": f"{JOBS}/{job.key}/{PICTURE}",
        "caption": job.caption,
        "pose_str": pose_string,
        "pose_json_path": f"{JOBS}/{job.key}/{POSE}",
    }
    return entry, write_record(folder, job, [POSE])


def collect_minwm(folder: Path, backend: str, options: Any, out: Path) -> Iterator[Clip | Rejected]:
    """As `jobs.collect`, from the videos of this layout; `backend` is what made them (its terms go with the clips).

    Raises TrajkitError, before anything is written, where the list is not the one that was written.
    """
    module = generator(backend, options)
    entries = files.read_json(folder / LIST, expect=list)
    content = files.read_bytes(folder / KEYS, limit=MAX_INDEX_BYTES)
    rows = from_json(Keys, content, folder / KEYS, limit=MAX_INDEX_BYTES).rows
    for place, row in enumerate(rows):
        if place >= len(entries) or _digest(entries[place]) != row.row:
            problem = f"row {place} is not that of {row.key}, so videos would get other captions and paths"
            raise TrajkitError(folder / LIST, problem, "restore the list: minWM finds a video by its place in it")
    if len(entries) > len(rows):
        raise TrajkitError(folder / LIST, f"{len(entries)} rows, {len(rows)} were written", "restore the list")
    return _collect(folder, entries, rows, (module, options), out)


def _collect(
    folder: Path, entries: list[dict[str, str]], rows: list[Row], made_by: tuple[Any, Any], out: Path
) -> Iterator[Clip | Rejected]:
    module, options = made_by
    with files.locked(out):
        for place, (entry, row) in enumerate(zip(entries, rows, strict=True)):
            name = f"{place:06d}_{minwm.video_slug(entry['pose_str'], 'wan')}"
            try:
                job = read_job(folder / JOBS, row.key, row.job)
                video = files.inside(folder, f"videos/{name}/gen.mp4")
                if not video.is_file():
                    raise TrajkitError(f"videos/{name}/gen.mp4", "no such file", "have it made, then collect again")
            except TrajkitError as error:
                yield rejected(row.key, "not-made", error)
            else:
                yield collected(job, video, module, options, out, text(shaping(module, options)))


def _digest(entry: object) -> str:
    return hashlib.sha256(files.json_bytes(entry)).hexdigest()
