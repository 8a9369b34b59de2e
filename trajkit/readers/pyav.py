"""Reads with PyAV and the FFmpeg inside it: every common codec, exact frame numbers, key-frame seeks."""

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from trajkit.errors import TrajkitError
from trajkit.video import Source, VideoFacts, check_indices, label, places_of

Array = np.ndarray
# Containers of video alone: FFmpeg would also render text files, follow playlists to other hosts, and so on.
FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,ivf,obu,flv,ogg,asf,mxf,gif,yuv4mpegpipe"
INDEXED = ("mov", "matroska")  # seeking to a key frame's decoding time lands on it, or before it


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """Presentation times of a stream's frames, in its time base, ascending; () where the file gives none."""

    frames: int
    pts: tuple[int, ...]
    keys: dict[int, int]  # number of a frame where decoding can start -> its decoding time, for the seek


def probe(source: Source) -> VideoFacts:
    """Facts of the first video stream, by reading every packet and decoding one frame."""
    timeline = _timeline(source)
    with _opened(source) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise TrajkitError(label(source), "no frame of it decodes", "restore the file or make it again")
        width, height = (first.height, first.width) if first.rotation % 180 else (first.width, first.height)
        fps, constant = _rate(timeline, stream)
        return VideoFacts(
            frames=timeline.frames,
            fps=fps,
            width=width,
            height=height,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            constant_rate=constant,
        )


def read(source: Source, indices: Sequence[int] | None = None) -> UInt8[Array, "n h w 3"]:
    """RGB pictures of the frames in the order asked for. Decodes from the nearest key frame before each."""
    timeline = _timeline(source)
    numbers = check_indices(indices, timeline.frames, source)
    places = places_of(numbers)
    pictures = None
    with _opened(source) as (container, stream):
        convert = _Converter(label(source))
        for number, frame in _decode(container, stream, timeline, sorted(places)):
            rgb = convert(frame)
            if pictures is None:
                pictures = np.empty((len(numbers), *rgb.shape), np.uint8)
            pictures[places.pop(number)] = rgb
        if places:
            problem = f"frame {min(places)} of {timeline.frames} does not decode"
            raise TrajkitError(label(source), problem, "restore the file or make it again")
        if pictures is None:
            pictures = np.empty((0, *convert(next(container.decode(stream))).shape), np.uint8)
    return pictures


def stream(source: Source) -> Iterator[UInt8[Array, "h w 3"]]:
    """RGB pictures one by one. Raises TrajkitError at the end where there were fewer than the file announces."""
    return _stream(source, _Converter(label(source)))


def luma(source: Source, size: tuple[int, int]) -> Iterator[UInt8[Array, "h w"]]:
    """Upright luma as stored, averaged down to `size` (width, height), one by one; decoded by one thread."""
    return _stream(source, _Converter(label(source), size), threads=1)


def _stream(source: Source, convert: "_Converter", threads: int | None = None) -> Iterator[Array]:
    frames = _timeline(source).frames
    count = 0
    with _opened(source) as (container, video):
        if threads:
            video.codec_context.thread_count = threads
        for frame in container.decode(video):
            yield convert(frame)
            count += 1
        if count != frames:
            problem = f"{count} of {frames} frames decode"
            raise TrajkitError(label(source), problem, "restore the file or make it again")


class _Converter:
    """Frames, all of the first one's size, turned upright: as RGB, or as grey of a size where one is given.

    One swscale context serves all frames.
    """

    def __init__(self, where: str, grey: tuple[int, int] | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self.where, self.grey, self.size, self.reformatter = where, grey, (0, 0), VideoReformatter()

    def __call__(self, frame: Any) -> UInt8[Array, "h w *rgb"]:
        if frame.is_corrupt:
            raise TrajkitError(self.where, "a frame is damaged", "restore the file or make it again")
        if self.size == (0, 0):
            self.size = frame.width, frame.height
        if self.size != (frame.width, frame.height):
            raise TrajkitError(self.where, "changes its picture size midway", "re-encode it at one size")
        if self.grey:
            pixels = self._luma(frame, *self.grey)
        else:
            pixels = self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return np.rot90(pixels, frame.rotation // 90) if frame.rotation else pixels

    def _luma(self, frame: Any, width: int, height: int) -> UInt8[Array, "h w"]:
        if frame.rotation % 180:
            width, height = height, width
        # not format="gray": swscale then goes by way of colours and dithers, six grey levels of noise
        plane = self.reformatter.reformat(frame, width, height, "yuv420p", interpolation="AREA", threads=1).planes[0]
        return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width].copy()


def opened(source: Source) -> str | BinaryIO:
    """The source as FFmpeg takes it: a local path, whatever its name looks like, or a stream at its beginning."""
    if isinstance(source, Path | str):
        return f"file:{source}"
    if isinstance(source, bytes):
        return io.BytesIO(source)
    source.seek(0)
    return source


@contextmanager
def _opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """(container, first video stream). FFmpeg's errors, here and in the block, become TrajkitErrors."""
    import av

    where = label(source)
    try:
        options = {"format_whitelist": FORMATS}
        with av.open(opened(source), container_options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise TrajkitError(where, "holds no video stream", "check that it is the right file")
            yield container, container.streams.video[0]
    except FileNotFoundError:
        raise TrajkitError(where, "no such file", "check the path") from None
    except (av.FFmpegError, OSError) as error:
        reason = (error.strerror or str(error)).lower()
        raise TrajkitError(where, f"damaged, or no video ({reason})", "restore the file or make it again") from None


def _timeline(source: Source) -> Timeline:
    """Reads all packets, decoding none. Raises TrajkitError for a file that holds fewer than it announces, or none."""
    pictures: list[tuple[int | None, int | None, bool]] = []  # (pts, dts, key), in storage order
    stored = damaged = 0
    with _opened(source) as (container, stream):
        for packet in container.demux(stream):
            if packet.size:
                stored += 1
                damaged += packet.is_corrupt
                if not packet.is_discard:  # decoded but not shown: before the first frame of an edit list
                    pictures.append((packet.pts, packet.dts, packet.is_keyframe))
        announced = stream.frames
        indexed = container.format.name.startswith(INDEXED)
    if damaged or stored < announced:
        problem = f"truncated: {stored - damaged} of {max(announced, stored)} frames are there"
        raise TrajkitError(label(source), problem, "restore the file or make it again")
    if not pictures:
        raise TrajkitError(label(source), "holds no frames", "check that it is the right file")
    pts = sorted({time for time, _, _ in pictures if time is not None})
    if len(pts) < len(pictures):
        return Timeline(frames=len(pictures), pts=(), keys={})
    number_of = {time: number for number, time in enumerate(pts)}
    keys = ((number_of[time], dts) for time, dts, key in pictures if key and time is not None and dts is not None)
    return Timeline(frames=len(pictures), pts=tuple(pts), keys=dict(sorted(keys)) if indexed else {})


def _decode(container: Any, stream: Any, timeline: Timeline, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """(number, frame) of the wanted ascending numbers, as far as they decode."""
    number_of = {time: number for number, time in enumerate(timeline.pts)}
    keys = list(timeline.keys)
    decoded: Iterator[tuple[int, Any]] = enumerate(container.decode(stream))
    position = 0  # number of the frame that comes out of the decoder next
    for target in wanted:
        before = bisect_right(keys, target) - 1
        if before >= 0 and keys[before] > position:
            container.seek(timeline.keys[keys[before]], stream=stream)
            decoded = ((number_of.get(frame.pts, -1), frame) for frame in container.decode(stream))
        for number, frame in decoded:
            position = number + 1
            if number >= target:
                yield number, frame
                break
        else:
            return


def _rate(timeline: Timeline, stream: Any) -> tuple[float, bool]:
    """(frames per second, whether it is constant to one tick of the stream's clock)."""
    announced = stream.average_rate or stream.guessed_rate or Fraction(0)
    if len(timeline.pts) < 2:
        return float(announced) or 1.0, len(timeline.pts) == 1
    span = (timeline.pts[-1] - timeline.pts[0]) * stream.time_base
    steps = np.diff(timeline.pts)
    constant = bool(steps.max() - steps.min() <= 1)
    if abs(announced * span - (len(timeline.pts) - 1)) < Fraction(1, 2):  # the header's is exact, pts are rounded
        return float(announced), constant
    return float((len(timeline.pts) - 1) / span), constant
