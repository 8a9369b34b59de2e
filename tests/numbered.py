"""Videos whose pictures carry their own number as a bar code, in every shape that readers stumble over."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, CELL = 10, 8
WIDTH, HEIGHT = BITS * CELL, 48
IDENTITY = bytes.fromhex("00010000" + "00000000" * 3 + "00010000" + "00000000" * 3 + "40000000")  # of an mp4 track
QUARTER_TURN = bytes.fromhex("00000000" + "00010000" + "00000000" + "FFFF0000" + "00000000" * 4 + "40000000")


def picture(number: int) -> np.ndarray:
    """Black and white columns, most significant bit at the left, over a moving gradient."""
    rgb = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:] = ((np.arange(WIDTH)[None] * 2 + number * 5) % 256)[..., None]
    bits = [number >> bit & 1 for bit in reversed(range(BITS))]
    rgb[: HEIGHT // 2] = np.repeat(np.array(bits, np.uint8) * 255, CELL)[None, :, None]
    return rgb


def pictures(count: int) -> Iterator[np.ndarray]:
    """Pictures 0 .. count-1."""
    return (picture(number) for number in range(count))


def number_in(rgb: np.ndarray) -> int:
    """The number that a decoded picture shows."""
    cells = rgb[: HEIGHT // 2].astype(float).mean(axis=(0, 2)).reshape(BITS, CELL).mean(axis=1)
    return int("".join("1" if cell > 127 else "0" for cell in cells), 2)


def numbers_in(video: np.ndarray) -> list[int]:
    """The numbers that decoded pictures show."""
    return [number_in(rgb) for rgb in video]


def coded(
    path: Path, count: int, *, codec: str = "libx264", times: Sequence[int] | None = None, **options: str
) -> Path:
    """A video of `count` pictures at 1/25 s each, or at the given times in that unit, by FFmpeg's own defaults."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = (number if times is None else times[number]), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(source: Path, path: Path, frames: int) -> Path:
    """A copy whose first frames are stored and decoded but not shown: an mp4 edit list, as editing tools write it."""
    with av.open(source) as read, av.open(path, "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.dts is not None:
                shift = int(frames / stream.average_rate / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                written.mux(packet)
    return path


def turned(source: Path, path: Path) -> Path:
    """A copy that players show turned by a quarter, as telephones store upright videos."""
    content = source.read_bytes()
    at = content.index(IDENTITY, content.index(b"tkhd"))
    path.write_bytes(content[:at] + QUARTER_TURN + content[at + len(IDENTITY) :])
    return path
