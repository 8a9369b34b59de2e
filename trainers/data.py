"""Encoded clips to `Batch`es, in an order that is a function of (seed, epoch, position) alone.

Position p of the endless sequence is clip order(seed, p // n)[p % n] of the n clips in the order of their keys. A step
takes world * accumulate * micro positions: the ranks' shares of its first micro-batch, then those of the second one. So
neither the number of threads nor that of ranks changes which samples a step sees, and a run resumes by its step alone.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from trajkit import seeding
from trajkit.errors import TrajkitError
from trajkit.latents import frame_count, latent_poses
from trajkit.members import Record, record_from_bytes, trajectory_from_bytes
from trajkit.se3 import inverse
from trajkit.trajectory import Trajectory

from . import latentfile
from .batch import Batch
from .cameras import Cameras, anchored
from .latentfile import HEAD_BYTES, SUFFIX, Header
from .stored import Stored, ahead, find

Array = np.ndarray
NEEDED = ("camera.npz", "json", SUFFIX)
MEASURED = 1000  # clips that the scale of translations comes from
STILL = 1e-9  # of a clip's unit; less is no motion


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What all clips of a data set have in common."""

    clips: int
    latents: int  # per clip
    latent: tuple[int, int, int]  # C, H, W
    frames: int  # of video per clip
    encoder: str
    text: Mapping[str, tuple[int, ...]]  # shapes of a clip's text, by name
    states: int  # of a teacher's path, for `ode`; 0 = none


class _Sample(NamedTuple):
    key: str
    latents: Tensor  # (F, C, H, W)
    cameras: Cameras  # of a batch of one
    text: dict[str, Tensor]
    trajectory: Tensor | None


def facts(sources: Sequence[Path], *, only: Collection[str] | None = None, latents: int | None = None) -> Facts:
    """What the clips have in common, from the headers of all their latent files.

    With `latents` the first so many of each clip count. Raises TrajkitError for no clips, one without latents, a
    damaged header, and clips that differ in anything but the number of latents, or in that without `latents`.
    """
    clips = find(sources, only, NEEDED)
    first, said = clips[0], None
    for clip in clips:
        said_here = _common(_header(clip), latents, clip.where)
        said = said or said_here
        for name, value in said_here.items():
            if value != said[name]:
                problem = f"{name} {_shown(value)}, of clip {first.key} {_shown(said[name])}"
                remedy = "encode all clips alike, or name alike ones with a list of keys"
                raise TrajkitError(f"{clip.where}.{SUFFIX}", problem, remedy)
    assert said is not None
    shape = said["latents"]
    return Facts(
        clips=len(clips),
        latents=shape[0],
        latent=shape[1:],
        frames=frame_count(shape[0]),
        encoder=said["encoder"],
        text=said["text"],
        states=said["states"],
    )


def _header(clip: Stored) -> Header:
    if not clip.size(SUFFIX):
        raise TrajkitError(
            f"{clip.where}.{SUFFIX}", "no such file: the clip has no latents", "run trajkit encode first"
        )
    start = clip.read([SUFFIX], HEAD_BYTES)[SUFFIX]
    return latentfile.header_of(start, clip.size(SUFFIX), f"{clip.where}.{SUFFIX}")


def _common(header: Header, latents: int | None, where: str) -> dict:
    count, *shape = header.latents
    if latents is not None and not 1 <= latents <= count:
        problem = f"{count} latents, {latents} are asked for"
        raise TrajkitError(f"{where}.{SUFFIX}", problem, "ask for fewer, or leave the clip out")
    told = {"encoder": header.encoder, "text": header.text, "states": header.states}
    return {**told, "latents": (latents or count, *shape)}


def _shown(value: object) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in value.items()) if isinstance(value, Mapping) else str(value)


def translation_scale(
    sources: Sequence[Path], *, only: Collection[str] | None = None, latents: int | None = None
) -> float:
    """One number for a data set: the median over its moving clips of how far a latent's camera gets from the first one.

    Of the first 1,000 clips in the order of their keys, in the clips' units; 1.0 where all stand still.
    """
    reach = []
    for clip in find(sources, only, NEEDED)[:MEASURED]:
        record, trajectory = _posed(clip, clip.read(["camera.npz", "json"]))
        world_to_camera, _ = cameras_of(trajectory, record.frames, clip.where)
        centres = inverse(world_to_camera[:latents])[:, :3, 3]
        reach.append(float(np.linalg.norm(centres, axis=1).max()))
    moving = [far for far in reach if far > STILL]
    return float(np.median(moving)) if moving else 1.0


def _posed(clip: Stored, contents: Mapping[str, bytes]) -> tuple[Record, Trajectory]:
    for suffix in ("camera.npz", "json"):
        if suffix not in contents:
            raise TrajkitError(f"{clip.where}.{suffix}", "no such file", "make the clip again")
    record = record_from_bytes(contents["json"], f"{clip.where}.json")
    camera = trajectory_from_bytes(contents["camera.npz"], f"{clip.where}.camera.npz", scale=record.scale)
    return record, camera


def cameras_of(
    trajectory: Trajectory, frames: int, where: object
) -> tuple[Float64[Array, "f 4 4"], Float64[Array, "f 3 3"]]:
    """World-to-camera and normalised K of the latents of a clip of so many frames; the first camera is the world.

    Translations are in the unit of the trajectory's scale (its numbers times scale.factor); K is for a picture of width
    and height 1, the principal point kept. In float64: float32 would lose small motions far from the world's origin.
    """
    try:
        places = latent_poses(trajectory.frame_index, frames)
    except TrajkitError as error:
        raise TrajkitError(where, f"{error.where}: {error.problem}", error.remedy) from None
    camera_to_world = trajectory.camera_to_world[places]
    world_to_camera = inverse(camera_to_world) @ camera_to_world[0]
    world_to_camera[:, :3, 3] *= trajectory.scale.factor
    fx, fy, cx, cy = trajectory.intrinsics[places].T
    K = np.zeros((len(places), 3, 3))
    K[:, 0, 0], K[:, 0, 2] = fx / trajectory.width, cx / trajectory.width
    K[:, 1, 1], K[:, 1, 2] = fy / trajectory.height, cy / trajectory.height
    K[:, 2, 2] = 1
    return world_to_camera, K


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, clips: int) -> Int64[Array, " n"]:
    """Which clip, in the order of keys, stands at each place of an epoch."""
    return seeding.generator(seed, "order", epoch).permutation(clips)


def positions(
    step: int, part: int, *, micro: int, accumulate: int = 1, rank: int = 0, world: int = 1
) -> Int64[Array, " micro"]:
    """The positions of micro-batch `part` of a step on a rank: step * G + (part * world + rank) * micro + 0, 1, ..."""
    return step * world * accumulate * micro + (part * world + rank) * micro + np.arange(micro)


def batches(
    sources: Sequence[Path],
    *,
    seed: int,
    micro: int,
    accumulate: int = 1,
    rank: int = 0,
    world: int = 1,
    start_step: int = 0,
    workers: int = 1,
    scale: float = 1.0,
    only: Collection[str] | None = None,
    latents: int | None = None,
) -> Iterator[Batch]:
    """The micro-batches of a rank from a step on, without end: `accumulate` of them are a step. On the CPU, float32.

    Translations are divided by `scale`. `workers` threads read ahead. With `latents` a clip is its first so many.
    Raises TrajkitError, naming the clip, where one is damaged or unlike the first one; none is left out or replaced.
    """
    clips = find(sources, only, NEEDED)
    like = _common(_header(clips[0]), latents, clips[0].where)

    def made(places: Int64[Array, " micro"]) -> Batch:
        chosen = [clips[order(seed, int(place) // len(clips), len(clips))[int(place) % len(clips)]] for place in places]
        return _batch([_sample(clip, scale, like, latents) for clip in chosen], places)

    share = {"micro": micro, "accumulate": accumulate, "rank": rank, "world": world}
    asked = (
        positions(step, part, **share) for step in itertools.count(start_step) for part in range(accumulate)
    )  # fmt: skip
    return _told(made, asked, workers)


def _told(made: Callable[[Array], Batch], asked: Iterator[Array], workers: int) -> Iterator[Batch]:
    with closing(ahead(made, asked, workers)) as ready:
        for one in ready:
            if isinstance(one, TrajkitError):
                raise one
            yield one


def _sample(clip: Stored, scale: float, like: Mapping, latents: int | None) -> _Sample:
    contents = clip.read(NEEDED)
    where, count = f"{clip.where}.{SUFFIX}", like["latents"][0]
    if SUFFIX not in contents:
        raise TrajkitError(where, "no such file: the clip has no latents", "run trajkit encode first")
    found = latentfile.from_bytes(contents[SUFFIX], where)
    record, trajectory = _posed(clip, contents)
    if found.header.frames != record.frames or record.sha256.get("mp4", found.header.content) != found.header.content:
        raise TrajkitError(where, "was made from another video than the clip's", latentfile.REMEDY)
    if _common(found.header, latents, clip.where) != like:
        raise TrajkitError(where, "is unlike the data set's first clip in shape, text or encoder", latentfile.REMEDY)
    world_to_camera, K = (_float32(one[:count])[None] for one in cameras_of(trajectory, record.frames, clip.where))
    path = found.trajectory
    return _Sample(
        key=clip.key,
        latents=found.latents[:count].float(),
        cameras=anchored(Cameras(world_to_camera=world_to_camera, K=K), scale),
        text={name: one.float() if one.is_floating_point() else one for name, one in found.text.items()},
        trajectory=None if path is None else path[:, :count].float(),
    )


def _float32(array: Float64[Array, "*n"]) -> Float32[Tensor, "*n"]:
    return torch.from_numpy(array).float()


def _batch(samples: Sequence[_Sample], places: Int64[Array, " b"]) -> Batch:
    paths = [one.trajectory for one in samples if one.trajectory is not None]
    return Batch(
        keys=tuple(one.key for one in samples),
        positions=torch.from_numpy(places),
        latents=torch.stack([one.latents for one in samples]),
        cameras=Cameras(
            world_to_camera=torch.cat([one.cameras.world_to_camera for one in samples]),
            K=torch.cat([one.cameras.K for one in samples]),
        ),
        text={name: torch.stack([one.text[name] for one in samples]) for name in samples[0].text},
        trajectory=torch.stack(paths) if paths else None,
    )
