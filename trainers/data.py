"""Encoded clips to `Batch`es, in an order that is a function of (seed, epoch, position) alone.

Position p of the endless sequence is clip order(seed, p // n)[p % n] of the n clips in the order of their keys. A step
takes world * accumulate * micro positions: the ranks' shares of its first micro-batch, then those of the second one. So
neither the number of threads nor that of ranks changes which samples a step sees, and a run resumes by its step alone.
"""

import functools
import itertools
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float64, Int64

from trajkit import seeding
from trajkit.errors import TrajkitError
from trajkit.latents import frame_count, latent_poses
from trajkit.members import Record, record_from_bytes, trajectory_from_bytes
from trajkit.se3 import inverse
from trajkit.trajectory import Trajectory

from . import latentfile
from .batch import Batch
from .cameras import Cameras, anchored
from .latentfile import HEAD_BYTES, SUFFIX, Header, Latents
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
    pairs: str  # how that path was made, JSON


class Share(TypedDict, total=False):
    """What a rank takes of a step: `accumulate` micro-batches of `micro` clips, as do the other ranks of `world`."""

    micro: Required[int]
    accumulate: int
    rank: int
    world: int


def facts(sources: Sequence[Path], *, only: Collection[str] | None = None, latents: int | None = None) -> Facts:
    """What the clips have in common, from the headers of all their latent files.

    With `latents` the first so many of each clip count. Raises TrajkitError for no clips, one without latents, a
    damaged header, and clips that differ in anything but the number of latents, or in that without `latents`.
    """
    clips = find(sources, only, NEEDED)
    said = _common(_header(clips[0]), latents, clips[0].where)
    for clip in clips[1:]:
        for name, value in _common(_header(clip), latents, clip.where).items():
            if value != said[name]:
                problem = f"{name} {_shown(value)}, of clip {clips[0].key} {_shown(said[name])}"
                remedy = "encode all clips alike, or name alike ones with a list of keys"
                raise TrajkitError(f"{clip.where}.{SUFFIX}", problem, remedy)
    count, *shape = said.pop("latents")
    return Facts(clips=len(clips), latents=count, latent=tuple(shape), frames=frame_count(count), **said)


def _header(clip: Stored) -> Header:
    start = _present(clip.read([SUFFIX], HEAD_BYTES), clip.where)
    return latentfile.header_of(start, clip.size(SUFFIX), f"{clip.where}.{SUFFIX}")


def _present(contents: Mapping[str, bytes], where: str) -> bytes:
    if SUFFIX not in contents:
        raise TrajkitError(f"{where}.{SUFFIX}", "no such file: the clip has no latents", "run trajkit encode first")
    return contents[SUFFIX]


def latents_in(contents: Mapping[str, bytes], where: str) -> Latents:
    """What is in the latent file among a clip's members. Raises TrajkitError where it is missing or damaged."""
    return latentfile.from_bytes(_present(contents, where), f"{where}.{SUFFIX}")


def _common(header: Header, latents: int | None, where: str) -> dict:
    count, *shape = header.latents
    if latents is not None and not 1 <= latents <= count:
        problem = f"{count} latents, {latents} are asked for"
        raise TrajkitError(f"{where}.{SUFFIX}", problem, "ask for fewer, or leave the clip out")
    told = {"encoder": header.encoder, "text": header.text, "states": header.states, "pairs": header.pairs}
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
        record, trajectory = posed(clip.read(["camera.npz", "json"]), clip.where)
        world_to_camera, _ = cameras_of(trajectory, record.frames, clip.where)
        centres = inverse(world_to_camera[:latents])[:, :3, 3]
        reach.append(float(np.linalg.norm(centres, axis=1).max()))
    moving = [far for far in reach if far > STILL]
    return float(np.median(moving)) if moving else 1.0


def posed(contents: Mapping[str, bytes], where: str) -> tuple[Record, Trajectory]:
    """A clip's json and its cameras. Raises TrajkitError where one is missing or damaged."""
    for suffix in ("camera.npz", "json"):
        if suffix not in contents:
            raise TrajkitError(f"{where}.{suffix}", "no such file", "make the clip again")
    record = record_from_bytes(contents["json"], f"{where}.json")
    return record, trajectory_from_bytes(contents["camera.npz"], f"{where}.camera.npz", scale=record.scale)


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


def positions(step: int, part: int, **share: Unpack[Share]) -> Int64[Array, " micro"]:
    """The positions of micro-batch `part` of a step on a rank: step * G + (part * world + rank) * micro + 0, 1, ..."""
    micro, world = share["micro"], share.get("world", 1)
    first = step * share.get("accumulate", 1) * world + part * world + share.get("rank", 0)
    return first * micro + np.arange(micro)


def batches(
    sources: Sequence[Path],
    *,
    seed: int,
    start_step: int = 0,
    workers: int = 1,
    scale: float = 1.0,
    only: Collection[str] | None = None,
    latents: int | None = None,
    **share: Unpack[Share],
) -> Iterator[Batch]:
    """The micro-batches of a rank from a step on, without end: `accumulate` of them are a step. On the CPU, float32.

    Translations are divided by `scale`. `workers` threads read ahead. With `latents` a clip is its first so many.
    Raises TrajkitError, naming the clip, where one is damaged or unlike the first one; none is left out or replaced.
    """
    clips = find(sources, only, NEEDED)
    like = _common(_header(clips[0]), latents, clips[0].where)

    def made(places: Int64[Array, " micro"]) -> Batch:
        chosen = [clips[order(seed, int(place) // len(clips), len(clips))[int(place) % len(clips)]] for place in places]
        parts = [sample(one.read(NEEDED), one.where, scale=scale, latents=latents, like=like) for one in chosen]
        return replace(Batch.joined(parts), positions=torch.from_numpy(places))

    steps, parts = itertools.count(start_step), range(share.get("accumulate", 1))
    asked = (positions(step, part, **share) for step in steps for part in parts)
    return _raised(ahead(made, asked, workers))


def _raised(results: Generator[Batch | TrajkitError, None, None]) -> Iterator[Batch]:
    with closing(results):
        for one in results:
            if isinstance(one, TrajkitError):
                raise one
            yield one


def sample(
    contents: Mapping[str, bytes],
    where: str,
    *,
    scale: float = 1.0,
    latents: int | None = None,
    like: Mapping[str, Any] | None = None,
) -> Batch:
    """A clip's members as a batch of one, as `batches` has them; `like` is what it must have in common with others.

    Raises TrajkitError where a member is missing or damaged, or the latents are not those of the clip's video.
    """
    name, found = f"{where}.{SUFFIX}", latents_in(contents, where)
    record, trajectory = posed(contents, where)
    if found.header.frames != record.frames or record.sha256.get("mp4", found.header.content) != found.header.content:
        raise TrajkitError(name, "was made from another video than the clip's", latentfile.REMEDY)
    if like is not None and _common(found.header, latents, where) != like:
        raise TrajkitError(name, "is unlike the data set's first clip in shape, text or encoder", latentfile.REMEDY)
    world_to_camera, K = (torch.from_numpy(one[:latents])[None] for one in cameras_of(trajectory, record.frames, where))
    path = found.trajectory
    return Batch(
        keys=(record.key,),
        positions=torch.zeros(1, dtype=torch.int64),
        latents=found.latents[None, :latents].float(),
        cameras=anchored(Cameras(world_to_camera=world_to_camera, K=K), scale),
        text={name: (one.float() if one.is_floating_point() else one)[None] for name, one in found.text.items()},
        trajectory=None if path is None else path[None, :, :latents].float(),
    )
