"""A generator's video, judged and taken back as a clip with the path that was planned."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from trajkit import __version__, files, video
from trajkit.clip import Clip, clip_keys, read_clip, write_clip
from trajkit.errors import TrajkitError
from trajkit.latents import FRAMES_PER_LATENT
from trajkit.members import Provenance, camera_bytes
from trajkit.scene import Frame, Rejected
from trajkit.video import VideoFacts

from ._jobs_record import PICTURE, JobRecord, Planned, rejected

Array = np.ndarray
MIN_FIRST_FRAME_DB = (
    12.0  # models that start from a picture repeat it at 20 and more; pictures of other clips have 5 to 10
)


def made_size(module: ModuleType, record: JobRecord, options: Any) -> tuple[int, int]:
    """Width and height of what the generator makes of such a first picture; most keep its size."""
    rule = getattr(module, "made_size", None)
    return rule(record.width, record.height, options) if rule else (record.width, record.height)


def checked(path: Path, record: JobRecord, size: tuple[int, int]) -> VideoFacts:
    """Facts of a video of which every frame decodes. Raises TrajkitError unless it has the frames and size planned."""
    facts = video.probe(path)
    if facts.frames != record.frames:
        grid = "" if facts.frames % FRAMES_PER_LATENT == 1 else ", which is not 4n+1"
        problem = f"{facts.frames} frames{grid}; {record.frames} were planned, one per pose"
        raise TrajkitError(path, problem, "make it again with the planned length")
    if (facts.width, facts.height) != size:
        problem = f"{facts.width}x{facts.height}, not {size[0]}x{size[1]}, so how it was cropped is unknown"
        raise TrajkitError(path, problem, "plan with a size that the generator keeps")
    if not facts.constant_rate:
        raise TrajkitError(path, "frames at varying times", "have the generator write a constant rate")
    for _ in video.stream(path):
        pass
    return facts


def collected(
    planned: Planned, path: Path, module: ModuleType, options: Any, out: Path, versions: dict[str, str]
) -> Clip | Rejected:
    """The clip of a video, as it now lies in `out`; one that is there already of the same job and video is kept.

    Pose i is that of frame i whatever the rate: generators take poses per latent, and write the rate they know.
    """
    record = planned.record
    try:
        facts = checked(path, record, made_size(module, record, options))
        first_frame_db = _first_frame_db(planned, path)
        if first_frame_db < MIN_FIRST_FRAME_DB:
            problem = f"starts with another picture than it was given ({first_frame_db:g} dB)"
            raise TrajkitError(path, problem, "see whether it is another clip's")
        clip = Clip(
            key=record.key,
            trajectory=replace(planned.trajectory, times_s=np.arange(record.frames) / facts.fps),
            fps=facts.fps,
            caption=planned.caption,
            provenance=Provenance(
                kind=module.KIND,
                source=record.source,
                path=record.path,
                generator=module.GENERATOR,
                seed=record.seed,
                versions={"trajkit": __version__, **versions},
            ),
            licence=f"footage: {record.licence}; {module.GENERATOR}: {module.LICENCE}",
            frames=record.frames,
            checks={
                "lens_known": record.lens_known,
                "first_frame_db": first_frame_db,
                "planned_fps": record.fps,
                "made_sha256": files.sha256(path),
            },
        )
        return _there(clip, out) or write_clip(out, clip, _frames(path, record))
    except TrajkitError as error:
        return rejected(record.key, "wrong-video", error)


def _there(clip: Clip, out: Path) -> Clip | None:
    if not out.is_dir() or clip.key not in clip_keys(out):
        return None
    there = read_clip(out, clip.key)
    said = [(one.provenance.source, one.caption, one.licence, one.checks) for one in (there, clip)]
    same = said[0] == said[1] and camera_bytes(there.trajectory) == camera_bytes(clip.trajectory)
    return there if same else None


def _frames(path: Path, record: JobRecord) -> Iterator[Frame]:
    """The video's pictures at the planned size: a generator that stretches to a size of its own is undone."""
    for rgb in video.stream(path):
        yield Frame(rgb=_sized(rgb, record.width, record.height))


def _sized(rgb: UInt8[Array, "h w 3"], width: int, height: int) -> UInt8[Array, "h2 w2 3"]:
    from PIL import Image

    if rgb.shape[:2] == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))


def _first_frame_db(planned: Planned, path: Path) -> float:
    """PSNR of the video's first frame against the picture that it was to start from: low for another job's video."""
    from PIL import Image

    with Image.open(planned.folder / PICTURE) as image:
        wanted = np.asarray(image.convert("RGB"), np.float64)
    found = _sized(next(video.stream(path)), planned.record.width, planned.record.height)
    return round(float(10 * np.log10(255**2 / max(np.mean((wanted - found) ** 2), 1e-3))), 2)
