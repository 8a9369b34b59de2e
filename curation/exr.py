"""Zips of one-channel OpenEXR pictures, as ViPE and SpatialVID keep depth: `00000.exr`, ... of half floats."""

import contextlib
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import DAMAGE

Array = np.ndarray
MAX_BYTES = 1 << 28  # of one picture, packed or not
MAX_PIXELS = 1 << 25
MAX_RATIO, SMALL = 200, 1 << 20  # of the zip's packing, for members above SMALL bytes: EXR is packed already
MAX_FRAMES = 1_000_000
NUMBERED = re.compile(r"(?:.*/)?[^/]*?([0-9]{1,9})\.exr", re.IGNORECASE)


def depth_frames(zip_path: Path, *, channel: str = "Z") -> Iterator[Float32[Array, "h w"]]:
    """The channel of every picture, as stored, by the number in its name.

    Raises TrajkitError naming the zip, and the member at fault: damaged, absent from the row of numbers, too large, or
    without that channel. The zip is checked before the first picture is read.
    """
    exr = _openexr()
    try:
        with zipfile.ZipFile(zip_path) as archive:
            for info in _in_order(archive, zip_path):
                yield _channel(exr, archive.read(info), channel, f"{zip_path}: {info.filename}")
    except FileNotFoundError:
        raise TrajkitError(zip_path, "no such file", "check the path") from None
    except DAMAGE as error:
        raise TrajkitError(zip_path, f"damaged zip ({error})", "restore the file") from None


def write_depth_zip(path: Path, frames: Iterable[Float32[Array, "h w"]]) -> None:
    """Writes half-float pictures 00000.exr, ... with channel Z; the same frames give the same bytes.

    Raises TrajkitError for depth that half floats cannot hold; the file is then absent.
    """
    exr = _openexr()
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with files.whole(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for number, depth in enumerate(frames):
            with np.errstate(over="ignore"):
                half = np.ascontiguousarray(depth, np.float16)
            if half.ndim != 2 or not np.isfinite(half).all():
                problem = f"frame {number} is no picture of finite depth below 65504"
                raise TrajkitError(path, problem, "rescale the depth, or put 0 where it is unknown")
            content = io.BytesIO()
            exr.File(header, {"Z": half}).write(content)
            archive.writestr(zipfile.ZipInfo(f"{number:05d}.exr"), content.getvalue())  # dated 1980


def _in_order(archive: zipfile.ZipFile, where: Path) -> list[zipfile.ZipInfo]:
    """The EXR members by number, none left out and none twice. Members are read, never unpacked to their paths."""
    numbered: dict[int, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        match = NUMBERED.fullmatch(info.filename)
        if not match:
            continue
        number, size = int(match[1]), info.file_size
        if size > MAX_BYTES or (size > SMALL and size > MAX_RATIO * info.compress_size):
            problem = f"{info.filename} unpacks from {info.compress_size} to {size} bytes"
            raise TrajkitError(where, problem, "check that it is a zip of depth pictures")
        if number in numbered:
            problem = f"{info.filename} and {numbered[number].filename} have the same number"
            raise TrajkitError(where, problem, "keep one")
        numbered[number] = info
    if not numbered:
        raise TrajkitError(where, "holds no NUMBER.exr", "check that it is a zip of depth pictures")
    first, last = min(numbered), max(numbered)
    if last - first + 1 != len(numbered) or len(numbered) > MAX_FRAMES:
        missing = next(number for number in range(first, last) if number not in numbered)
        raise TrajkitError(where, f"picture {missing} of {first} to {last} is missing", "restore the file")
    return [numbered[number] for number in sorted(numbered)]


def _channel(exr: Any, content: bytes, channel: str, where: str) -> Float32[Array, "h w"]:
    """One channel of an EXR file's bytes; its size is checked before its pixels are read."""
    try:
        with contextlib.redirect_stdout(None):  # the reader prints its warnings
            low, high = exr.File(io.BytesIO(content), header_only=True).header()["dataWindow"]
            width, height = (int(b) - int(a) + 1 for a, b in zip(low, high, strict=True))
            if min(width, height) < 1 or width * height > MAX_PIXELS:
                raise TrajkitError(where, f"is {width}x{height} pixels", "check that it is a depth picture")
            channels = exr.File(io.BytesIO(content), separate_channels=True).channels()
            if channel not in channels:
                problem = f"holds channels {', '.join(channels) or 'none'}, not {channel}"
                raise TrajkitError(where, problem, "check that it is a depth picture")
            pixels = np.array(channels[channel].pixels, np.float32)
    except DAMAGE as error:
        raise TrajkitError(where, f"damaged EXR ({error})", "restore the file") from None
    if pixels.shape != (height, width):
        raise TrajkitError(where, f"holds {pixels.shape} of {height, width} pixels", "restore the file")
    return pixels


def _openexr() -> Any:
    try:
        import OpenEXR
    except ImportError:
        raise TrajkitError("depth pictures", "need OpenEXR, not installed", "pip install trajkit[exchange]") from None
    return OpenEXR
