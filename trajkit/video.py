"""Video files: encoding to one fixed kind of mp4, and reading frames through the reader plugins."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Int, UInt8

from trajkit import files, plugins
from trajkit.errors import TrajkitError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

Array = np.ndarray
Source = Path | bytes | BinaryIO  # a file, its content, or a seekable binary stream
# Constant quality. One thread, no SIMD-dependent choices: the same frames give the same bytes on every machine with
# this x264. Closed groups of 16 frames without B-frames: any frame is at most 16 decoded frames away.
X264 = "keyint=16:min-keyint=16:scenecut=0:open-gop=0:bframes=0:threads=1:lookahead-threads=1:cpu-independent=1"
PRESET = "veryfast"  # 150 frames per second at 832x480 on one core, three times medium, for 0.6 dB
CONTAINER = {"movflags": "+faststart", "fflags": "+bitexact"}  # bitexact: no muxer version or time in the file
BT709, LIMITED = 1, 1  # ITU-T H.273 code points: matrix, primaries and transfer 1; limited ("MPEG") range


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFacts:
    """What a video file holds. `frames` counts pictures that can be decoded, in the order they are shown."""

    frames: int
    fps: float  # mean rate; exact where constant_rate
    width: int  # pixels, as shown (after rotation)
    height: int
    codec: str  # FFmpeg's name, such as "h264"
    pixel_format: str  # FFmpeg's name, such as "yuv420p"
    constant_rate: bool

    @property
    def duration_s(self) -> float:
        """Seconds from the first picture to the end of the last one."""
        return self.frames / self.fps


def probe(source: Source, *, reader: str = "auto") -> VideoFacts:
    """Facts of a video. Raises TrajkitError for what is missing, truncated or no video."""
    return load_reader(reader).probe(source)


def read(
    source: Source, indices: Sequence[int] | Int[Array, " n"] | None = None, reader: str = "auto"
) -> UInt8[Array, "n h w 3"]:
    """RGB pictures of the given frames in the given order (repeats allowed), or of all frames.

    Raises TrajkitError for an index out of range, and for what is missing, truncated or no video.
    """
    return load_reader(reader).read(source, None if indices is None else [int(index) for index in indices])


def stream(source: Source) -> Iterator[UInt8[Array, "h w 3"]]:
    """RGB pictures one by one, in the order they are shown; memory does not grow with the video's length."""
    return load_reader("auto").stream(source)


def luma(source: Source, size: tuple[int, int]) -> Iterator[UInt8[Array, "h w"]]:
    """Luma of the pictures as stored (16 .. 235 of most), averaged down to `size` (width, height); takes one thread."""
    return load_reader("auto").luma(source, size)


def load_reader(name: str) -> Any:
    """The reader plugin; "auto" is pyav, which every installation has and which carries its own FFmpeg."""
    return plugins.load("readers", "pyav" if name == "auto" else name)


def label(source: Source) -> str:
    """What an error calls the source."""
    return str(source) if isinstance(source, Path | str) else str(getattr(source, "name", "video in memory"))


def check_indices(indices: Sequence[int] | None, frames: int, source: Source) -> list[int]:
    """The frame numbers, all of them for None. Raises TrajkitError for one outside 0 .. frames-1."""
    if indices is None:
        return list(range(frames))
    for index in indices:
        if not 0 <= index < frames:
            problem = f"has {frames} frames, no frame {index}"
            raise TrajkitError(label(source), problem, f"ask for 0 .. {frames - 1}")
    return list(indices)


def places_of(numbers: Sequence[int]) -> dict[int, list[int]]:
    """Frame number -> where it stands in `numbers`."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    return places


def encode(frames: Iterable[UInt8[Array, "h w 3"]], path: Path, fps: float, *, crf: int = 18) -> int:
    """Writes frames as H.264 yuv420p, BT.709, constant rate, index first; returns how many. Whole file or none.

    Frames are encoded as they come. `crf` is x264's constant rate factor, 1 best .. 51 worst.
    Raises TrajkitError for no frames, odd sizes, frames of differing size, a rate or crf that is none, a full disk.
    """
    import av

    path = Path(path)
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise TrajkitError(path, f"fps {fps}", "give a frame rate above 0, up to 1000")
    if not 1 <= crf <= 51:
        raise TrajkitError(path, f"crf {crf}", "give 1 (best) .. 51 (worst); 18 is the default")
    # The muxer opens the .part file by name a second time; renaming and syncing it stay with `whole`.
    with files.whole(path) as part:
        try:
            with av.open(f"file:{part.name}", "w", format="mp4", options=CONTAINER) as container:
                return _encode(container, frames, path, fps, crf)
        except av.FFmpegError as error:
            problem = f"cannot be encoded ({error.strerror})"
            raise TrajkitError(path, problem, "check the free space, --size and fps") from None


def _encode(container: "OutputContainer", frames: Iterable[Array], path: Path, fps: float, crf: int) -> int:
    count, output, shape = 0, None, ()
    for count, rgb in enumerate(frames, 1):
        if output is None:
            output, shape = _output(container, rgb, fps, crf, path), rgb.shape
        if rgb.shape != shape or rgb.dtype != np.uint8:
            problem = f"frame {count - 1} is {rgb.dtype} {rgb.shape}, the first one {shape}"
            raise TrajkitError(path, problem, "give uint8 frames of one size")
        container.mux(output.encode(_to_yuv(rgb, count - 1)))
    if output is None:
        raise TrajkitError(path, "no frames to encode", "give at least one")
    container.mux(output.encode(None))
    return count


def _output(container: "OutputContainer", rgb: Array, fps: float, crf: int, path: Path) -> "VideoStream":
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise TrajkitError(path, f"frame 0 has shape {rgb.shape}", "give (H, W, 3) RGB frames")
    height, width = rgb.shape[:2]
    if width % 2 or height % 2:
        even = f"{width + width % 2}x{height + height % 2}"
        raise TrajkitError(path, f"{width}x{height} is odd, H.264 yuv420p needs even sizes", f"render at {even}")
    rate = Fraction(fps).limit_denominator(1001)  # 30000/1001 and the like stay exact
    options = {"preset": PRESET, "crf": str(crf), "x264-params": X264}
    output: VideoStream = container.add_stream("libx264", rate=rate, options=options)
    output.width, output.height, output.pix_fmt = width, height, "yuv420p"
    context = output.codec_context
    context.thread_count = 1
    # Tagged as what it is: untagged, swscale and players guess BT.601 or BT.709 by themselves.
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return output


def _to_yuv(rgb: UInt8[Array, "h w 3"], number: int) -> "VideoFrame":
    """The frame in yuv420p: BT.709 matrix, chroma the mean of 2x2 pixels, exact rounding on every CPU."""
    from av import VideoFrame
    from av.video.reformatter import Interpolation

    how = Interpolation.AREA | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    frame = frame.reformat(
        format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED, interpolation=how, threads=1
    )
    frame.pts = number
    return frame


@cache
def versions() -> dict[str, str]:
    """Versions of what shapes an encoded file's bytes, for provenance: PyAV, its FFmpeg, and x264's core number."""
    import av

    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 16, 16, "yuv420p", Fraction(1, 1)
    packets = [*encoder.encode(av.VideoFrame(16, 16, "yuv420p")), *encoder.encode(None)]
    core = re.search(rb"x264 - core (\d+)", b"".join(map(bytes, packets)))
    return {
        "av": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "x264": core.group(1).decode() if core else "unknown",
    }
