"""Every reader gives the same pictures, frame by frame, however a video is stored."""

import importlib
import io
import sys
from pathlib import Path

import numbered
import numpy as np
import pytest

from trajkit import plugins, video
from trajkit.errors import TrajkitError

SAME = 2  # of 255; 0 with today's versions, whose FFmpegs (8, 4 and the system's) convert colours alike
COUNT = 70


def loaded(name: str):
    try:
        reader = plugins.load("readers", name)
        if name == "torchcodec":
            reader._decoder_class()
    except TrajkitError as error:
        pytest.skip(str(error))
    return reader


@pytest.fixture(scope="module", params=plugins.names("readers"))
def reader(request):
    return loaded(request.param)


@pytest.fixture(scope="module", params=["decord", "torchcodec"])
def other(request):
    return loaded(request.param)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Numbered videos: ours, with B-frames and short or open groups, of irregular rate, in Matroska."""
    folder = tmp_path_factory.mktemp("videos")
    times = np.cumsum([1 + (number * 7) % 5 for number in range(COUNT)]).tolist()
    made = {
        "ours": folder / "ours.mp4",
        "b-frames": numbered.coded(folder / "b.mp4", COUNT, bf="3", g="12"),
        "short-groups": numbered.coded(
            folder / "short.mp4", COUNT, **{"bf": "3", "g": "4", "x264-params": "min-keyint=1"}
        ),
        "open-groups": numbered.coded(folder / "open.mp4", COUNT, **{"g": "10", "x264-params": "open-gop=1:bframes=3"}),
        "irregular": numbered.coded(folder / "vfr.mp4", COUNT, times=times, bf="2", g="9"),
        "matroska": numbered.coded(folder / "m.mkv", COUNT, bf="2", g="9"),
        "one-frame": numbered.coded(folder / "one.mp4", 1),
    }
    video.encode(numbered.pictures(COUNT), made["ours"], 16)
    return made


STORED = ["ours", "b-frames", "short-groups", "open-groups", "irregular", "matroska", "one-frame"]


@pytest.mark.parametrize("stored", STORED)
def test_every_frame_is_the_one_asked_for(reader, made, stored):
    facts = reader.probe(made[stored])
    assert facts.frames == (1 if stored == "one-frame" else COUNT)
    assert (facts.width, facts.height, facts.codec) == (numbered.WIDTH, numbered.HEIGHT, "h264")
    whole = reader.read(made[stored], None)
    assert whole.dtype == np.uint8
    assert numbered.numbers_in(whole) == list(range(facts.frames))
    rng = np.random.default_rng(0)
    for size in (1, 5, 40):  # unsorted, with repeats
        indices = rng.integers(0, facts.frames, size).tolist()
        some = reader.read(made[stored], indices)
        assert numbered.numbers_in(some) == indices
        np.testing.assert_array_equal(some, whole[indices])
    assert reader.read(made[stored], []).shape == (0, numbered.HEIGHT, numbered.WIDTH, 3)


@pytest.mark.parametrize("stored", STORED)
def test_readers_agree(other, made, stored):
    expected = video.read(made[stored])
    difference = np.abs(other.read(made[stored]).astype(int) - expected)
    assert difference.max() <= SAME


def test_readers_agree_on_web_clips(other, shared):
    for path in sorted((shared / "data/openvid_like/video").glob("*.mp4"))[:4]:
        indices = list(range(0, video.probe(path).frames, 17))
        difference = np.abs(other.read(path, indices).astype(int) - video.read(path, indices))
        assert difference.max() <= SAME, path.name


def test_sources_may_be_bytes_and_streams(reader, made):
    content = made["ours"].read_bytes()
    stream = io.BytesIO(content)
    stream.seek(100)  # readers start at the beginning, wherever the stream stands
    for source in (content, stream, str(made["ours"])):
        assert numbered.numbers_in(reader.read(source, [3, 60])) == [3, 60]
        assert reader.probe(source).frames == COUNT


def test_a_path_is_a_path_whatever_it_looks_like(reader, tmp_path):
    for name in ("http:odd/%03d é.mp4", "concat:a|b.mp4", "-.mp4"):
        path = tmp_path / name
        video.encode(numbered.pictures(3), path, 16)
        assert numbered.numbers_in(reader.read(path, None)) == [0, 1, 2]


def test_a_relative_path_is_read(reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video.encode(numbered.pictures(3), Path("http:v.mp4"), 16)
    assert numbered.numbers_in(reader.read(Path("http:v.mp4"), [2])) == [2]


def test_an_edit_list_hides_frames(reader, made, tmp_path):
    cut = numbered.cut(made["ours"], tmp_path / "cut.mp4", 5)
    assert reader.probe(cut).frames == COUNT - 5
    if reader.__name__.endswith("decord"):
        with pytest.raises(TrajkitError, match="decord counts 70 of 65 frames; use the reader pyav"):
            reader.read(cut, None)
    else:
        assert numbered.numbers_in(reader.read(cut, None)) == list(range(5, COUNT))
        assert numbered.numbers_in(reader.read(cut, [40, 0, 64])) == [45, 5, 69]


def test_turned_pictures_are_upright(reader, made, tmp_path):
    turned = numbered.turned(made["ours"], tmp_path / "turned.mp4")
    facts = reader.probe(turned)
    assert (facts.width, facts.height) == (numbered.HEIGHT, numbered.WIDTH)
    if reader.__name__.endswith("decord"):
        with pytest.raises(TrajkitError, match="use the reader pyav"):
            reader.read(turned, None)
    else:
        stored = reader.read(made["ours"], None)
        np.testing.assert_array_equal(reader.read(turned, None), np.rot90(stored, -1, axes=(1, 2)))  # clockwise


def test_readers_turn_pictures_the_same_way(made, tmp_path):
    turned = numbered.turned(made["ours"], tmp_path / "turned.mp4")
    np.testing.assert_array_equal(loaded("torchcodec").read(turned, [1, 2]), video.read(turned, [1, 2]))


def test_av1_is_read_or_refused(reader, tmp_path):
    path = numbered.coded(tmp_path / "av1.mp4", 9, codec="libsvtav1", preset="12", crf="10")
    assert reader.probe(path).codec in ("av1", "libdav1d")
    if reader.__name__.endswith("decord"):
        with pytest.raises(TrajkitError, match="use the reader pyav"):
            reader.read(path, None)
    else:
        assert numbered.numbers_in(reader.read(path, None)) == list(range(9))


def bad_sources(folder: Path, good: bytes) -> dict[str, tuple[Path, str]]:
    sources = {
        "missing": (folder / "missing.mp4", "no such file"),
        "folder": (folder, "damaged, or no video"),
        "empty": (folder / "empty.mp4", "damaged, or no video"),
        "text": (folder / "text.mp4", "damaged, or no video"),
        "text-as-text": (folder / "text.txt", "damaged, or no video"),
        "picture": (folder / "picture.png", "damaged, or no video"),
        "playlist": (folder / "list.m3u8", "damaged, or no video"),
        "cut-short": (folder / "short.mp4", "truncated: "),
        "last-byte": (folder / "last.mp4", "truncated: 69 of 70 frames are there"),
        "index-lost": (folder / "index.mp4", "holds no video stream"),
        "sound": (folder / "sound.wav", "damaged, or no video"),
    }
    sources["empty"][0].write_bytes(b"")
    for name in ("text", "text-as-text"):
        sources[name][0].write_text("not a video\n" * 100)
    sources["playlist"][0].write_text("#EXTM3U\n#EXTINF:1,\nours.mp4\n#EXT-X-ENDLIST\n")
    sources["cut-short"][0].write_bytes(good[: len(good) * 2 // 3])
    sources["last-byte"][0].write_bytes(good[:-1])
    sources["index-lost"][0].write_bytes(good[: good.index(b"moov") + 40])
    sources["sound"][0].write_bytes(
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
    )
    from PIL import Image

    Image.fromarray(numbered.picture(3)).save(sources["picture"][0])
    return sources


BAD = ["missing", "folder", "empty", "text", "text-as-text", "picture", "playlist", "cut-short", "last-byte"]


@pytest.mark.parametrize("case", [*BAD, "index-lost", "sound"])
def test_a_bad_source_is_one_line(reader, made, tmp_path, case):
    path, problem = bad_sources(tmp_path, made["ours"].read_bytes())[case]
    for attempt in (reader.probe, lambda source: reader.read(source, None), lambda source: reader.read(source, [0])):
        with pytest.raises(TrajkitError) as caught:
            attempt(path)
        assert str(path) in str(caught.value)
        assert problem in str(caught.value)
        assert "\n" not in str(caught.value)


def test_damage_inside_is_found_by_decoding(reader, shared):
    path = shared / "data/openvid_like/corrupted.mp4"
    assert reader.probe(path).frames == 50
    with pytest.raises(TrajkitError, match=r"corrupted\.mp4: (damaged|decord cannot|torchcodec cannot)") as caught:
        reader.read(path, None)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrajkitError, match="damaged"):
        list(video.stream(path))


def test_odd_metadata_do_no_harm(reader, made):
    content = made["ours"].read_bytes().replace(b"VideoHandler", b"Video\x93\xff dler")
    assert b"\x93\xff" in content
    assert numbered.numbers_in(reader.read(content, [7])) == [7]


@pytest.mark.parametrize("index", [-1, COUNT, 10**12])
def test_an_index_out_of_range_is_named(reader, made, index):
    with pytest.raises(TrajkitError, match=rf"ours.mp4: has {COUNT} frames, no frame {index}; ask for 0 .. 69"):
        reader.read(made["ours"], [0, index])


def test_an_mp4_with_sound_alone_holds_no_video(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(TrajkitError, match="holds no video stream"):
        video.probe(path)


def test_a_reader_that_does_not_load_says_why(monkeypatch, made):
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    torchcodec = importlib.import_module("trajkit.readers.torchcodec")
    with pytest.raises(TrajkitError, match=r"reader torchcodec: does not load \(.*or use the reader pyav"):
        torchcodec.read(made["ours"], [0])


def test_the_reader_is_chosen_by_name(made):
    assert video.load_reader("auto") is video.load_reader("pyav")
    with pytest.raises(TrajkitError, match="did you mean 'pyav'"):
        video.read(made["ours"], reader="pyaw")


def test_seeking_decodes_a_group_not_the_whole_file(made, monkeypatch):
    pyav = importlib.import_module("trajkit.readers.pyav")
    decoded = []

    class Counting:
        def __init__(self, container):
            self.container, self.seek = container, container.seek

        def decode(self, stream):
            for frame in self.container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    original = pyav._decode
    monkeypatch.setattr(pyav, "_decode", lambda container, *rest: original(Counting(container), *rest))
    assert numbered.numbers_in(pyav.read(made["ours"], [66])) == [66]
    assert len(decoded) <= 16
    decoded.clear()
    assert numbered.numbers_in(pyav.read(made["ours"], None)) == list(range(COUNT))
    assert len(decoded) == COUNT


def test_streaming_gives_what_reading_gives(made):
    for path in made.values():
        np.testing.assert_array_equal(np.stack(list(video.stream(path))), video.read(path))
