"""Broken sets: each item becomes one line that names its file; a wrong request writes nothing."""

import numpy as np
import publishedsets as sets
import pytest
from PIL import Image

from trajkit import video
from trajkit.curation.commands.importing import command
from trajkit.curation.importing import ImportOptions, imported, open_set
from trajkit.curation.windows import Cut
from trajkit.errors import TrajkitError
from trajkit.scene import Rejected

FOLDER = f"annotations/group_0001/{sets.UUID.format(0)}"
FILM = f"videos/group_0001/{sets.UUID.format(0)}.mp4"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A video of 31 small frames."""
    path = tmp_path_factory.mktemp("tiny") / "a.mp4"
    video.encode((np.full((36, 64, 3), number * 8, np.uint8) for number in range(31)), path, 30)
    return path


@pytest.fixture
def published(tmp_path, tiny):
    """A sound clip of SpatialVID, to be broken: six poses."""
    sets.annotate(tmp_path / "set", 0, without=range(6, 99))
    (tmp_path / "set" / FILM).parent.mkdir(parents=True)
    (tmp_path / "set" / FILM).write_bytes(tiny.read_bytes())
    return tmp_path / "set"


def reasons(spec, out, cut=None, **options):
    """Why each item was rejected; all is told in one line, without a path of this machine."""
    made = imported(
        open_set(spec), ImportOptions(cut=cut or Cut(frames=5), **{"width": 32, "height": 16} | options), out
    )
    told = [one.reason for one in made if isinstance(one, Rejected)]
    assert not [reason for reason in told if "\n" in reason or str(out.parent) in reason]
    assert not list(out.glob("*.part"))
    return told


def array(path, change):
    """Writes the array again, changed."""
    found = np.load(path)
    np.save(path, change(found))


def with_entry(value, row=3, column=5):
    """A change of one number."""

    def change(found):
        found[row, column] = value
        return found

    return change


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN = {
    "no video": (lambda root: (root / FILM).unlink(), "no such file"),
    "video truncated": (lambda root: truncated(root / FILM), "mp4"),
    "video empty": (lambda root: (root / FILM).write_bytes(b""), "no video"),
    "video is text": (lambda root: (root / FILM).write_text("#EXTM3U\nhttp://example.org"), "no video"),
    "poses truncated": (lambda root: truncated(root / FOLDER / "poses.npy"), "poses.npy"),
    "poses pickled": (
        lambda root: np.save(root / FOLDER / "poses.npy", np.array([{}]), allow_pickle=True),
        "poses.npy",
    ),
    "poses of matrices": (lambda root: np.save(root / FOLDER / "poses.npy", np.zeros((6, 4, 4))), "shape"),
    "poses not finite": (lambda root: array(root / FOLDER / "poses.npy", with_entry(np.nan)), "row 3"),
    "quaternion not unit": (lambda root: array(root / FOLDER / "poses.npy", with_entry(9)), "quaternion"),
    "no poses": (lambda root: (root / FOLDER / "poses.npy").unlink(), "no such file"),
    "no intrinsics": (lambda root: (root / FOLDER / "intrinsics.npy").unlink(), "no such file"),
    "intrinsics negative": (
        lambda root: array(root / FOLDER / "intrinsics.npy", with_entry(-1, column=0)),
        "focal length",
    ),
    "intrinsics too few": (
        lambda root: array(root / FOLDER / "intrinsics.npy", lambda found: found[:4]),
        "4 rows for 6",
    ),
    "no indexes": (lambda root: (root / FOLDER / "indexes.txt").unlink(), "indexes.txt"),
    "indexes too few": (lambda root: (root / FOLDER / "indexes.txt").write_text("0 0\n1 6\n"), "2 lines for 6"),
    "indexes not numbers": (lambda root: (root / FOLDER / "indexes.txt").write_text("0 zero\n"), "line 1"),
    "indexes beyond the video": (
        lambda root: (root / FOLDER / "indexes.txt").write_text("".join(f"{n} {n * 7}\n" for n in range(6))),
        "frames 0 to 35",
    ),
    "two poses on one frame": (
        lambda root: (root / FOLDER / "indexes.txt").write_text("".join(f"{n} {n // 2}\n" for n in range(6))),
        "as an earlier one",
    ),
    "caption not JSON": (lambda root: (root / FOLDER / "caption.json").write_text("{"), "caption.json"),
    "caption of numbers": (lambda root: (root / FOLDER / "caption.json").write_text('{"SceneSummary": 3}'), "not text"),
    "annotations empty": (lambda root: [path.unlink() for path in (root / FOLDER).iterdir()], "poses.npy"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_clip_is_rejected_in_one_line(published, tmp_path, name):
    change, word = BROKEN[name]
    change(published)
    (reason,) = reasons(f"spatialvid:{published}", tmp_path / "out")
    assert word in reason


def test_the_sound_one_is_not(published, tmp_path):
    assert reasons(f"spatialvid:{published}", tmp_path / "out") == []


@pytest.mark.parametrize(
    ("cut", "word"),
    [(Cut(frames=5, fps=60), "would repeat"), (Cut(frames=81), "last 1 s"), (Cut(frames=9, max_gap_s=0.1), "gap")],
)
def test_a_video_that_does_not_fit_the_request(published, tmp_path, cut, word):
    (reason,) = reasons(f"spatialvid:{published}", tmp_path / "out", cut)
    assert word in reason


def test_depth_that_is_damaged_ends_its_clips(published, tmp_path):
    (published / "depths/group_0001").mkdir(parents=True)
    (published / f"depths/group_0001/{sets.UUID.format(0)}.zip").write_bytes(b"PK\x03\x04 no zip")
    assert all("damaged" in reason for reason in reasons(f"spatialvid:{published}", tmp_path / "out", depth=True))
    assert reasons(f"spatialvid:{published}", tmp_path / "out") == []


def test_two_videos_of_one_key(published, tmp_path):
    for part in ("annotations", "videos"):
        (published / part / "group_0002").symlink_to(published / part / "group_0001")
    (reason,) = reasons(f"spatialvid:{published}", tmp_path / "out")
    assert "share this key" in reason


def re10k(folder, text, **names):
    folder.mkdir(parents=True)
    (folder / "abc.txt").write_text(text)
    return f"re10k:{folder}"


LINE = "{} 0.5 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0\n"
URL = "https://www.youtube.com/watch?v=QShWPZxTDoE\n"
TIMES = [0, 100_000, 200_000, 300_000, 400_000]


@pytest.mark.parametrize(
    ("times", "film", "word"),
    [
        (TIMES, None, "no video"),
        ([5_000_000 + time for time in TIMES], "abc.mp4", "start=pose"),
        (TIMES[::-1], "abc.mp4", "backwards"),
        ([0, 100, 200, 300], "abc.mp4", "as an earlier one"),
        (["nan", 1], "QShWPZxTDoE.mp4", "not finite"),
    ],
)
def test_cameras_of_re10k_that_fit_no_video(tmp_path, tiny, times, film, word):
    spec = re10k(tmp_path / "set", URL + "".join(LINE.format(time) for time in times))
    if film:
        (tmp_path / "set" / film).write_bytes(tiny.read_bytes())
    (reason,) = reasons(spec, tmp_path / "out")
    assert word in reason


@pytest.mark.parametrize("made", ["no frames", "other times", "not a picture", "two sizes"])
def test_frames_of_re10k_that_fit_no_cameras(tmp_path, made):
    spec = re10k(tmp_path / "set", URL + "".join(LINE.format(time) for time in TIMES))
    folder = tmp_path / "set/abc"
    folder.mkdir()
    for number, time in enumerate(TIMES if made != "no frames" else ()):
        size = (64, 36) if number < 3 or made != "two sizes" else (32, 18)
        Image.new("RGB", size).save(folder / f"{time + 50_000 * (made == 'other times')}.png")
    if made == "not a picture":
        (folder / "0.png").write_text("%!PS\nshowpage")
    assert len(reasons(spec, tmp_path / "out", Cut(frames=5, fps=0))) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"spec": "spatialvit:."},
        {"spec": "spatialvid:nowhere"},
        {"spec": "spatialvid:"},
        {"spec": "spatialvid:.;groop=3"},
        {"spec": "spatialvid:empty"},
        {"spec": "re10k:empty"},
        {"spec": "re10k:.;videos=nowhere"},
        {"spec": "re10k:.;start=end"},
        {"spec": "lingbot:empty"},
        {"spec": "files:empty"},
        {"spec": "files:empty;poses=a.txt,format=nonsense"},
        {"spec": "files:empty;poses=*.txt"},
        {"--frames": "76"},
        {"--size": "33x16"},
    ],
)
def test_a_wrong_request_writes_nothing(published, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    flags = [text for flag, value in options.items() if flag != "spec" for text in (flag, value)]
    with pytest.raises(TrajkitError) as told:
        command.main([options.get("spec", f"spatialvid:{published}"), "--out", "out", *flags], standalone_mode=False)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("poses=../a.txt,format=tum,fx=50,width=64,height=36", "outside"),
        ("poses=a.txt,format=tum,fx=50,width=64,height=36", "no such file"),
        ("poses=bad.txt,format=tum,fx=50,width=64,height=36", "columns"),
        ("poses=bad.txt,format=tum", "no lens"),
        ("poses=b*.txt,fx=50,width=64,height=36", "columns"),
        ("poses=c*.txt,fx=50,width=64,height=36", "no file fits"),
        ("poses=bad.txt,format=tum,fx=50,width=36,height=64", "columns"),
        ("poses=good.txt,format=tum,fx=50,width=36,height=64", "its shape differs"),
        ("poses=good.txt,format=tum,fx=50,width=64,height=36,video=b.mp4", "no such file"),
        ("poses=good.txt,format=tum,fx=50,width=64,height=36,video=*.jpg", "no photo fits"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, tiny, text, word):
    root = tmp_path / "set"
    root.mkdir()
    (root / "a.mp4").write_bytes(tiny.read_bytes())
    (root / "bad.txt").write_text("1 2 3\n")
    (root / "good.txt").write_text("".join(f"{number / 30} 0 0 0 0 0 0 1\n" for number in range(31)))
    (reason,) = reasons(f"files:{root};{text}", tmp_path / "out")
    assert word in reason
