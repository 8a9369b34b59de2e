"""minWM: preencode_input.json, videos/<number>_<keys>/gen.mp4, poses/<key>.json; with lmdb=true its training LMDB, too.

A clip's number is its place in the list. `pose_str` is there where the motion is whole key steps (0.08 units or 3
degrees per latent): only then can minWM's encoders take the clip. `lmdb` holds any motion: latents (from
<key>.latent.safetensors beside the clip), prompts, intrinsics, and a pose for each latent, of frames 0, 4, 8, ...
"""

import errno
import json
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16

from trajkit import files
from trajkit.clip import Clip, member
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count, latent_frames
from trajkit.options import option
from trajkit.poses import minwm, tq_from_poses
from trajkit.trajectory import Trajectory

from . import _layout

Array = np.ndarray
KEEPS = frozenset({"lens", "size", "times", "frames", "caption"})
MAP_BYTES = 1 << 30  # of the LMDB at first; doubled whenever it is full
Put = Callable[[Mapping[str, bytes]], None]
LATENT_TYPES = {"F16": "<f2", "F32": "<f4"}  # of a safetensors file


@dataclass(frozen=True, kw_only=True)
class Options:
    """What clips to take, and whether to write the training LMDB."""

    frames: int = option(77, "frames that a clip must have; minWM's models take 77, which are 20 latents", low=5)
    lmdb: bool = option(False, "write lmdb/, too; clips then need latents")
    lossy: bool = option(False, "take clips whose principal point is off the middle, which poses/*.json move there")

    def __post_init__(self) -> None:
        latent_count(self.frames)


def export(clips: Iterable[Clip], out: Path, options: Options) -> _layout.Told:
    """Writes the data set into the folder. A clip of another length is rejected: its latents would not fit."""
    with ExitStack() as stack:
        put = stack.enter_context(_whole_lmdb(out / "lmdb")) if options.lmdb else None
        add = _adder(out, options, put)
        return _layout.write(clips, out, add, index="preencode_input.json", keeps=KEEPS, finish=stack.close)


def _adder(out: Path, options: Options, put: Put | None) -> _layout.Add:
    shape: tuple[int, ...] | None = None  # of the first clip's latents

    def add(clip: Clip, number: int) -> tuple[Mapping[str, Any], list[str]]:
        nonlocal shape
        if clip.frames != options.frames:
            remedy = f"make clips of {options.frames} frames, or give minwm:frames={clip.frames}"
            raise TrajkitError(f"clip {clip.key}", f"{clip.frames} frames, not {options.frames}", remedy)
        dense, gone = _layout.per_frame(clip)
        poses = dense[latent_frames(clip.frames)].relative_to(0)
        keys, why = _pose_string(poses)
        row = {
            "image_path": f"images/{clip.key}.png",
            "caption": clip.caption,
            "pose_str": keys,
            "pose_json_path": f"poses/{clip.key}.json",
        }
        latents = _latents(clip, shape) if put else None
        minwm.write(poses, out / row["pose_json_path"], minwm.Options(lossy=options.lossy))
        if not (out / row["image_path"]).is_file():
            _layout.pictures(clip, {0: out / row["image_path"]})
        # nothing below rejects the clip: a rejected one must leave nothing under its number, which the next one takes
        if put and latents is not None:
            shape = latents.shape
            put(_sample(number, latents, clip.caption, poses))
        _layout.copy_video(clip, out / f"videos/{number:06d}_{minwm.video_slug(keys, 'wan')}/gen.mp4")
        return row, [*gone, *why, *_layout.moving_lens(dense), *_layout.off_middle(dense)]

    return add


def _pose_string(poses: Trajectory) -> tuple[str, list[str]]:
    """The pose string and what it loses; "" where the motion is none of whole steps."""
    try:
        keys = minwm.to_string(poses, grammar="dataset")
    except TrajkitError:
        return "", ["pose_str (the motion is not whole key steps: only lmdb holds it)"]
    lens = poses.intrinsics[0] / ([poses.width, poses.height] * 2)
    known = np.allclose(lens, minwm.LENS, atol=1e-3)
    return keys, [] if known else [
        "the lens of pose_str (minWM's encoders assume WorldPlay's; poses/ and lmdb have it)"
    ]


def _latents(clip: Clip, like: tuple[int, ...] | None) -> Float16[Array, "latents c h w"]:
    """The clip's latents: `latents` of its safetensors file, or the one tensor there; of the shape `like` if given.

    Raises TrajkitError where it has none that fit.
    """
    path = member(clip.video.parent, clip.key, "latent.safetensors") if isinstance(clip.video, Path) else None
    if path is None or not path.is_file():
        raise TrajkitError(f"clip {clip.key}", "has no latents", "encode them first, or leave out lmdb=true")
    content = files.read_bytes(path, limit=1 << 30)
    try:
        (size,) = struct.unpack_from("<Q", content)
        entries = json.loads(content[8 : 8 + size])
        named = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        tensor = named.get("latents") or dict(zip(("latents",), named.values(), strict=True))["latents"]
        start, end = tensor["data_offsets"]
        array = np.frombuffer(content[8 + size :][start:end], LATENT_TYPES[tensor["dtype"]]).reshape(tensor["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"holds no F16 or F32 tensor called latents ({error})"
        raise TrajkitError(path, problem, "encode the clip again") from None
    if array.ndim != 4 or len(array) != latent_count(clip.frames) or not array.size:
        problem = f"latents of shape {array.shape} for {clip.frames} frames"
        raise TrajkitError(path, problem, f"give ({latent_count(clip.frames)}, channels, height, width)")
    if like not in (None, array.shape):
        raise TrajkitError(path, f"latents of shape {array.shape}, of clips before {like}", "encode all clips alike")
    with np.errstate(over="ignore"):
        half = array.astype("<f2")
    if not np.isfinite(half).all():
        raise TrajkitError(path, "latents are not finite in float16", "encode the clip again")
    return half


def _sample(number: int, latents: Float16[Array, "latents c h w"], caption: str, poses: Trajectory) -> dict[str, bytes]:
    """The LMDB's entries of one sample, and the shapes of all arrays up to it."""
    lens = poses.intrinsics[0] / ([poses.width, poses.height] * 2)
    rows = tq_from_poses(poses.world_to_camera)
    arrays = {"latents": latents, "intrinsics": lens.astype("<f4"), "poses": rows.astype("<f4")}
    shapes = {name: array.shape for name, array in arrays.items()} | {"prompts": ()}
    contents = {name: array.tobytes() for name, array in arrays.items()} | {"prompts": caption.encode()}
    entries = {f"{name}_{number}_data": content for name, content in contents.items()}
    return entries | {
        f"{name}_shape": " ".join(map(str, (number + 1, *shape))).encode() for name, shape in shapes.items()
    }


@contextmanager
def _whole_lmdb(path: Path) -> Iterator[Put]:
    """A function that puts entries into an LMDB, which is at `path` once the block ends without error.

    One that is there already is left alone.
    """
    import lmdb

    if path.is_dir():
        yield lambda entries: None
        return
    part = path.with_name(path.name + files.PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        # without the lock file, which holds process ids: the same clips give the same bytes
        with lmdb.open(str(part), map_size=MAP_BYTES, lock=False, sync=False) as base:
            yield lambda entries: _put(base, entries, lmdb.MapFullError)
            base.sync(True)
    except lmdb.Error as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    part.rename(path)
    files.sync_folder(path.parent)


def _put(base: Any, entries: Mapping[str, bytes], full: type[Exception]) -> None:
    try:
        with base.begin(write=True) as transaction:
            for name, content in entries.items():
                transaction.put(name.encode(), content)
    except full:
        base.set_mapsize(2 * base.info()["map_size"])
        _put(base, entries, full)
