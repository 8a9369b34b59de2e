"""Encoding: what comes out is what went in, in the right colours, in the same bytes every time."""

import hashlib
import itertools
import subprocess
import sys
import weakref
from pathlib import Path

import av
import numbered
import numpy as np
import pytest

from trajkit import video
from trajkit.errors import TrajkitError

CHECKOUT = Path(__file__).resolve().parents[1]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def patches() -> np.ndarray:
    """64 saturated and plain colours in squares of 32 pixels."""
    colours = np.array(list(itertools.product([0, 85, 170, 255], repeat=3)), np.uint8).reshape(8, 8, 3)
    return colours.repeat(32, axis=0).repeat(32, axis=1)


def test_frames_come_back_in_order_and_number(tmp_path):
    for count in (1, 2, 16, 17, 77):
        path = tmp_path / f"{count}.mp4"
        assert video.encode(numbered.pictures(count), path, 16) == count
        facts = video.probe(path)
        assert facts == video.VideoFacts(
            frames=count,
            fps=16.0,
            width=numbered.WIDTH,
            height=numbered.HEIGHT,
            codec="h264",
            pixel_format="yuv420p",
            constant_rate=True,
        )
        assert facts.duration_s == count / 16
        assert numbered.numbers_in(video.read(path)) == list(range(count))


def test_pictures_survive(tmp_path):
    """A smooth picture with a moving edge: 40 dB at the default quality, more at a better one."""
    y, x = np.mgrid[:96, :128]
    frames = [np.stack([x + t, y * 2, 128 + 0 * x], -1).astype(np.uint8) for t in range(0, 40, 2)]
    errors = []
    for crf in (18, 6):
        video.encode(frames, tmp_path / "v.mp4", 16, crf=crf)
        errors.append(np.mean((video.read(tmp_path / "v.mp4").astype(float) - frames) ** 2))
    assert 10 * np.log10(255**2 / errors[0]) > 40
    assert errors[1] < errors[0]


@pytest.mark.parametrize("reader", ["pyav", "decord", "torchcodec"])
def test_colours_are_right(tmp_path, reader):
    """BT.709, converted and tagged: in the wrong matrix (601) saturated patches would be off by up to 40."""
    wanted = patches()
    video.encode([wanted] * 3, tmp_path / "v.mp4", 16, crf=10)
    try:
        decoded = video.read(tmp_path / "v.mp4", reader=reader)
    except TrajkitError as error:
        pytest.skip(str(error))
    centres = np.s_[16::32, 16::32]
    difference = np.abs(decoded[0][centres].astype(int) - wanted[centres])
    assert difference.max() <= 3
    assert difference.mean() <= 1


def test_colours_are_tagged_bt709_limited(tmp_path):
    video.encode([patches()] * 2, tmp_path / "v.mp4", 16)
    with av.open(tmp_path / "v.mp4") as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
        luma = frame.to_ndarray()[: frame.height]
    assert 16 <= luma.min() <= luma.max() <= 235


def test_the_same_frames_give_the_same_bytes_in_any_process(tmp_path):
    video.encode(numbered.pictures(20), tmp_path / "a.mp4", 16)
    video.encode(numbered.pictures(20), tmp_path / "b.mp4", 16)
    program = (
        "import sys; from pathlib import Path; import numbered; from trajkit import video; "
        "video.encode(numbered.pictures(20), Path(sys.argv[1]), 16)"
    )
    environment = {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'tests'}", "OMP_NUM_THREADS": "3", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", program, tmp_path / "c.mp4"], env=environment, check=True)
    assert sha256(tmp_path / "a.mp4") == sha256(tmp_path / "b.mp4") == sha256(tmp_path / "c.mp4")
    assert str(tmp_path).encode() not in (tmp_path / "a.mp4").read_bytes()


def test_the_bytes_do_not_depend_on_the_processors_instructions(tmp_path, monkeypatch):
    video.encode(numbered.pictures(20), tmp_path / "a.mp4", 16)
    for number, instructions in enumerate(("0", "sse2", "avx")):
        with monkeypatch.context() as patch:
            patch.setattr(video, "X264", f"{video.X264}:asm={instructions}")
            video.encode(numbered.pictures(20), tmp_path / f"{number}.mp4", 16)
        assert sha256(tmp_path / f"{number}.mp4") == sha256(tmp_path / "a.mp4")


@pytest.mark.parametrize("crf", [0, 52, -1])
def test_a_quality_that_is_none_is_refused(tmp_path, crf):
    with pytest.raises(TrajkitError, match=rf"v\.mp4: crf {crf}; give 1 \(best\)"):
        video.encode(numbered.pictures(2), tmp_path / "v.mp4", 16, crf=crf)


def test_groups_are_closed_and_short(tmp_path):
    """Decoding can start at every 16th frame: the frames before it are not needed."""
    path = tmp_path / "v.mp4"
    video.encode(numbered.pictures(50), path, 16)
    with av.open(path) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 16, 32, 48]
        assert all(packet.pts == packet.dts for packet in packets)  # no B-frames
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = stream.codec_context.extradata
        frames = [frame for packet in packets[32:48] for frame in decoder.decode(packet)] + decoder.decode(None)
    assert numbered.numbers_in(np.stack([frame.to_ndarray(format="rgb24") for frame in frames])) == list(range(32, 48))


def test_the_index_comes_first(tmp_path):
    video.encode(numbered.pictures(5), tmp_path / "v.mp4", 16)
    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(("fps", "shown"), [(16, 16.0), (23.976, 23.976), (30000 / 1001, 30000 / 1001), (0.5, 0.5)])
def test_rates_are_kept(tmp_path, fps, shown):
    video.encode(numbered.pictures(9), tmp_path / "v.mp4", fps)
    facts = video.probe(tmp_path / "v.mp4")
    assert facts.fps == pytest.approx(shown, rel=1e-12)
    assert facts.constant_rate


def test_an_irregular_rate_is_told(tmp_path):
    path = numbered.coded(tmp_path / "v.mp4", 5, times=[0, 1, 5, 6, 10], g="2")
    facts = video.probe(path)
    assert not facts.constant_rate
    assert facts.fps == pytest.approx(10.0)  # four steps in 10/25 s


def test_frames_are_not_held(tmp_path):
    """The generator's frames die as they are encoded, and as they are streamed."""
    living = most = 0

    def died():
        nonlocal living
        living -= 1

    def watched(frames):
        nonlocal living, most
        for frame in frames:
            weakref.finalize(frame, died)
            living += 1
            most = max(most, living)
            yield frame

    video.encode(watched(numbered.pictures(100)), tmp_path / "v.mp4", 16)
    assert most <= 3
    assert [numbered.number_in(frame) for frame in watched(video.stream(tmp_path / "v.mp4"))] == list(range(100))
    assert most <= 3


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "fps", "problem"),
    [
        ([], 16, "no frames to encode; give at least one"),
        ([black(48, 63)], 16, "63x48 is odd, H.264 yuv420p needs even sizes; render at 64x48"),
        ([black(47, 64)], 16, "64x47 is odd, H.264 yuv420p needs even sizes; render at 64x48"),
        ([black(48, 64), black(32, 64)], 16, r"frame 1 is uint8 \(32, 64, 3\), the first one \(48, 64, 3\)"),
        ([black(48, 64), black(48, 64) / 2], 16, "frame 1 is float64"),
        ([black(48, 64).astype(float)], 16, "frame 0 is float64"),
        ([np.zeros((48, 64), np.uint8)], 16, "frame 0 has shape"),
        ([np.zeros((48, 64, 4), np.uint8)], 16, "frame 0 has shape"),
        ([np.zeros((0, 64, 3), np.uint8)], 16, "frame 0 has shape"),
        ([black(48, 64)], 0, "fps 0; give a frame rate"),
        ([black(48, 64)], float("nan"), "fps nan"),
        ([black(48, 64)], float("inf"), "fps inf"),
    ],
)
def test_what_cannot_be_encoded_is_one_line_and_leaves_nothing(tmp_path, frames, fps, problem):
    path = tmp_path / "v.mp4"
    with pytest.raises(TrajkitError, match=f"v.mp4: {problem}"):
        video.encode(frames, path, fps)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")

    def failing():
        yield from numbered.pictures(30)
        raise RuntimeError("renderer died")

    with pytest.raises(RuntimeError, match="renderer died"):
        video.encode(failing(), path, 16)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["v.mp4"]


def test_a_full_disk_is_one_line(tmp_path):
    """A limit on file size stands in for the full disk."""
    program = (
        "import resource, sys; from pathlib import Path; import numbered; from trajkit import video\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "from trajkit.errors import TrajkitError\n"
        "try: video.encode(numbered.pictures(60), Path(sys.argv[1]), 16)\n"
        "except TrajkitError as error: sys.stdout.write(str(error))"
    )
    environment = {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'tests'}"}
    command = [sys.executable, "-c", program, tmp_path / "v.mp4"]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert "v.mp4: cannot be encoded (File too large)" in said
    assert list(tmp_path.iterdir()) == []


def test_versions_name_the_encoder():
    versions = video.versions()
    assert versions["av"] == av.__version__
    assert versions["x264"].isdecimal()
    assert versions["ffmpeg"]
