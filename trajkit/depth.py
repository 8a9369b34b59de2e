"""`<key>.depth.npz`: float16 depth of every frame of a clip, written frame by frame."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float16, Float32

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import DepthKind, read_npz
from trajkit.scene import Frame

if TYPE_CHECKING:
    from trajkit.clip import Clip

Array = np.ndarray
LEVEL = 1  # of deflate: a third of the raw size; more costs twice the time for a tenth


@contextmanager
def writing(
    path: Path, frames: Iterable[Frame], shape: tuple[int, int, int], kind: DepthKind
) -> Iterator[Iterator[Frame]]:
    """An iterator of the same frames; who consumes it in the block thereby writes their depth, of `shape` (N, H, W).

    The file appears when the block ends. Raises TrajkitError for another number of frames, for a frame without depth,
    and for depth that float16 cannot hold.
    """
    count = 0

    def passing() -> Iterator[Frame]:
        nonlocal count
        for count, frame in enumerate(frames, 1):
            member.write(_half(frame.depth, shape[1:], kind, f"{path}: frame {count - 1}").tobytes())
            yield frame

    with (
        files.whole(path) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive,
        archive.open("depth.npy", "w", force_zip64=True) as member,
    ):
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        yield passing()
        if count != shape[0]:
            raise TrajkitError(path, f"depth of {count} frames, not {shape[0]}", "give one frame per pose")


def _half(depth: Array | None, shape: tuple[int, ...], kind: DepthKind, where: str) -> Float16[Array, "h w"]:
    """z-depth or inverse depth; 0 where nothing is."""
    if depth is None:
        raise TrajkitError(where, "has no depth", "use a renderer that gives depth, or leave depth out")
    if depth.shape != shape:
        raise TrajkitError(where, f"depth of shape {depth.shape}, not {shape}", "give depth the pictures' size")
    with np.errstate(over="ignore"):
        half = (_inverted(depth) if kind == "inverse" else depth).astype("<f2")
    if not np.isfinite(half).all() or half.min() < 0:
        raise TrajkitError(where, "depth is negative, not finite or beyond 65504", "store inverse depth, or rescale")
    return half


def read_depth(clip: "Clip") -> Float32[Array, "n h w"]:
    """z-depth of every frame in the trajectory's unit, to float16's three digits; 0 where nothing is.

    Raises TrajkitError where the clip has no depth, or a damaged one.
    """
    if clip.depth is None or clip.depth_kind is None:
        raise TrajkitError(f"clip {clip.key}", "has no depth", "render it with depth")
    where = f"{clip.key}.depth.npz" if isinstance(clip.depth, bytes) else clip.depth
    content = clip.depth if isinstance(clip.depth, bytes) else files.read_bytes(clip.depth)
    wanted = {"depth": ("<f2", (clip.frames, clip.trajectory.height, clip.trajectory.width))}
    depth = read_npz(io.BytesIO(content), where, wanted, limit=0)["depth"].astype(np.float32)
    return _inverted(depth) if clip.depth_kind == "inverse" else depth


def _inverted(depth: Array) -> Float32[Array, "..."]:
    depth = depth.astype(np.float32)
    return np.divide(1, depth, out=np.zeros_like(depth), where=depth != 0)
