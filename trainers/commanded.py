"""What `trajkit rollout` is asked for: cameras, from a path, a file or encoded clips, and what the network is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from trajkit import files, latents, options, plugins, seeding
from trajkit.camera import Camera
from trajkit.clip import read_clip
from trajkit.errors import TrajkitError
from trajkit.members import caption_from_bytes, trajectory_from_bytes
from trajkit.scene import Scene
from trajkit.trajectory import Scale, Trajectory

from . import data, latentfile, stored
from .card import Card

CELLS = {"toy": 1, "wan": 8, "hunyuan": 16}  # pixels to a side of a latent's cell
FRAMES = 77
CAMERAS = ".camera.npz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Where the cameras come from (paths, a file, or the clips themselves), and how many clips of which length."""

    paths: tuple[str, ...] = ()
    cameras: Path | None = None
    clips: Path | None = None  # encoded ones, which bring text
    caption: str = ""
    frames: int | None = None
    count: int = 1
    fps: float = 16.0
    fov_deg: float = 58.2  # vertical
    unit: float = 1.0  # length of a path unit
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """One clip to be."""

    number: int
    path: str  # the spec that commands it, or the key of the clip whose cameras it follows
    trajectory: Trajectory  # frame by frame, at the size of the network's pictures
    shape: tuple[int, int, int]  # C, H, W of a latent
    caption: str
    text: dict[str, Tensor] | None  # without batch axis; None = the caption is yet to be encoded
    first: Tensor | None  # (1, C, H, W)


def jobs(request: Request, card: Card) -> list[Job]:
    """The clips to make. Raises TrajkitError for what does not fit together, or does not fit the network."""
    named = bool(request.paths) + (request.cameras is not None)
    if named > 1 or (named == 0 and request.clips is None):
        remedy = "give one of --path, --cameras and --latents"
        raise TrajkitError("trajkit rollout", "the cameras are given twice" if named else "no cameras given", remedy)
    if card.first_frame and request.clips is None:
        problem = "was told each clip's first latent in training, and no clip brings one"
        raise TrajkitError("CKPT", problem, "give --latents SHARDS")
    clips = stored.find([request.clips]) if request.clips is not None else []
    if clips and not named and request.count > len(clips):
        raise TrajkitError(f"--count {request.count}", f"{request.clips} holds {len(clips)} clips", "ask for fewer")
    return [_job(request, card, clips, number) for number in range(request.count)]


def _job(request: Request, card: Card, clips: Sequence[stored.Stored], number: int) -> Job:
    shape, text, first, caption, path, seen = card.latent, None, None, request.caption, "", None
    if clips:
        one = clips[number % len(clips)]
        held, caption, seen = _held(one, card)
        shape, text, path = held.header.latents[1:], held.text, one.key
        first = held.latents[:1].float() if card.first_frame else None
    if len(shape) != 3:
        raise TrajkitError("CKPT", "its card names no size of latents", "give --latents SHARDS of the size")
    height, width = (side * CELLS.get(card.backbone, 1) for side in shape[1:])
    if request.paths:
        path = request.paths[number % len(request.paths)]
        seen = sampled(path, Camera.from_fov(width, height, request.fov_deg), request, number)
    elif request.cameras is not None:
        path, seen = request.cameras.name.removesuffix(CAMERAS), _read(request.cameras)
    assert seen is not None
    return Job(
        number=number,
        path=path,
        trajectory=_cut(seen, request.frames or len(seen), path).resized(width, height),
        shape=shape,
        caption=caption,
        text=text,
        first=first,
    )


def _held(one: stored.Stored, card: Card) -> tuple[latentfile.Latents, str, Trajectory]:
    """An encoded clip, its caption and its cameras. Raises TrajkitError where it is not what the network learned."""
    members = one.read((*data.NEEDED, "txt"))
    held = data.latents_in(members, one.where)
    found, learned = (held.header.encoder, held.header.latents[1:]), (card.encoder, card.latent)
    for name, ours, theirs in zip(("encoder", "latents"), found, learned, strict=True):
        if theirs and ours != theirs:
            problem = f"its {name} are of {ours}, the network learned {theirs}"
            raise TrajkitError(one.where, problem, "encode the clip as those of the training were")
    caption = caption_from_bytes(members.get("txt", b""), one.where)
    return held, caption, data.posed(members, one.where)[1]


def _read(path: Path) -> Trajectory:
    """The cameras of a file; their scale is in the clip's json where that lies beside it."""
    key = path.name.removesuffix(CAMERAS)
    if path.with_name(f"{key}.json").is_file():
        return read_clip(path.parent, key).trajectory
    return trajectory_from_bytes(files.read_bytes(path), path)


def _cut(seen: Trajectory, frames: int, where: str) -> Trajectory:
    """The first so many poses. Raises TrajkitError unless there is one for each of 4n+1 frames."""
    latents.latent_count(frames)
    if seen.frame_index[-1] != len(seen) - 1 or frames > len(seen):
        problem = f"has {len(seen)} poses up to frame {seen.frame_index[-1]}, {frames} frames are wanted"
        raise TrajkitError(where, problem, "give cameras with one pose per frame, or fewer --frames")
    return seen[:frames]


def sampled(spec: str, lens: Camera, request: Request, number: int) -> Trajectory:
    """A path from the world's origin, in a place of which nothing is known. Raises TrajkitError for a wrong spec."""
    name, text = options.split_spec(spec)
    module, frames = plugins.load("paths", name), request.frames or FRAMES
    latents.latent_count(frames)
    told = {"frames": frames, "fps": request.fps, "camera": lens}
    chosen = options.parse(module.Options, text, where=f"--path {name}", **told)
    corner = 4 * request.unit * np.array([1.0, 1.0, 2.0])  # a path unit is a quarter of the median depth, as in scenes
    nowhere = Scene(
        id="nowhere",
        source="",
        licence="unknown",
        up=np.array([0.0, -1.0, 0.0]),
        extent=np.stack([corner * (-1, -1, 0), corner]),
        unit=request.unit,
        seen=Trajectory.from_camera(np.eye(4)[None], lens, fps=request.fps, scale=Scale(kind="unit")),
    )
    path: Trajectory = module.sample(nowhere, chosen, seeding.generator(request.seed, "rollout", spec, number))
    return path
