"""Points followed through made-up videos whose motion is known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tracked

from trajkit import video
from trajkit.camera import Camera
from trajkit.curation.tracks import LONG_SIDE, follow
from trajkit.errors import TrajkitError
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

cv2 = pytest.importorskip("cv2")
SHIFT = np.array([2.5, -1.25])  # pixels a frame


def texture(seed: int, size: tuple[int, int] = (900, 700)) -> np.ndarray:
    rng = generator(seed, "texture")
    rough = rng.integers(0, 256, (size[1] // 6, size[0] // 6, 3), dtype=np.uint8)
    return cv2.resize(rough, size, interpolation=cv2.INTER_CUBIC)


def window(picture: np.ndarray, corner: np.ndarray, width: int, height: int) -> np.ndarray:
    move = np.array([[1.0, 0, -corner[0]], [0, 1.0, -corner[1]]])
    return cv2.warpAffine(picture, move, (width, height), flags=cv2.INTER_CUBIC)


def clip_of(path: Path, frames: list[np.ndarray]):
    video.encode(frames, path, 16)
    height, width = frames[0].shape[:2]
    poses = np.tile(np.eye(4), (len(frames), 1, 1))
    trajectory = Trajectory.from_camera(poses, Camera.from_fov(width, height, 50.0), fps=16.0)
    return tracked.clip(trajectory, video=path, frames=len(frames))


@pytest.fixture(scope="module")
def panned(tmp_path_factory):
    """A window that moves over a picture: 13 frames of 640x384."""
    picture = texture(0)
    frames = [window(picture, (100, 150) + SHIFT * number, 640, 384) for number in range(13)]
    return clip_of(tmp_path_factory.mktemp("video") / "pan.mp4", frames)


def test_points_move_as_the_picture_does(panned):
    tracks = follow(panned)
    assert (tracks.frames, tracks.size) == (13, (640, 384))
    assert len(tracks.track) / 13 > 150
    here, there, track = tracks.pair(2, 10)
    assert len(track) > 100
    np.testing.assert_allclose(np.median(there - here, axis=0), -8 * SHIFT, atol=0.05)
    assert np.percentile(np.abs(there - here + 8 * SHIFT), 95) < 0.4
    assert np.ptp(here, axis=0).min() > 250  # spread over the picture


def test_observations_are_sorted_and_whole(panned):
    tracks = follow(panned)
    assert tracks.track.dtype == np.int32 == tracks.frame.dtype
    assert tracks.xy.dtype == np.float32
    step = np.diff(tracks.track)
    assert ((step == 0) | (step == 1)).all()
    assert (np.diff(tracks.frame)[step == 0] == 1).all()
    assert np.bincount(tracks.track).min() >= 2
    assert tracks.count == tracks.track[-1] + 1
    assert (tracks.xy > 0).all()
    assert (tracks.xy < tracks.size).all()


def test_the_same_video_gives_the_same_tracks_whatever_opencv_is_set_to(panned):
    one = follow(panned)
    cv2.setNumThreads(2)
    other = follow(panned)
    assert cv2.getNumThreads() == 2  # as it was
    np.testing.assert_array_equal(one.xy, other.xy)
    np.testing.assert_array_equal(one.track, other.track)


def test_only_and_pair(panned):
    tracks = follow(panned)
    keep = np.arange(tracks.count) % 3 == 0
    few = tracks.only(keep)
    assert few.count == np.count_nonzero(keep)
    np.testing.assert_array_equal(few.xy, tracks.xy[tracks.track % 3 == 0])
    np.testing.assert_array_equal(np.flatnonzero(keep)[few.track], tracks.track[tracks.track % 3 == 0])
    assert len(tracks.pair(0, 99)[0]) == 0


def test_a_cut_ends_all_tracks(tmp_path):
    one, other = texture(1), texture(2)
    frames = [window(one, SHIFT * number, 416, 240) for number in range(6)]
    frames += [window(other, 50 + SHIFT * number, 416, 240) for number in range(6)]
    tracks = follow(clip_of(tmp_path / "cut.mp4", frames))
    assert len(tracks.pair(5, 6)[0]) == 0
    assert len(tracks.pair(4, 5)[0]) > 100
    assert len(tracks.pair(6, 7)[0]) > 100


def test_nothing_is_followed_under_the_mask(panned):
    mask = np.zeros((13, 48, 80), bool)
    mask[:, :, 40:] = True
    tracks = follow(panned, mask=mask)
    assert len(tracks.track) / 13 > 50
    assert tracks.xy[:, 0].max() < 320
    short = follow(panned, mask=mask[:4])  # nothing moves past the mask's end
    assert short.xy[short.frame >= 6, 0].max() > 400
    with pytest.raises(TrajkitError, match="mask"):
        follow(panned, mask=mask[0])


def test_flat_pictures_have_no_tracks(tmp_path):
    tracks = follow(clip_of(tmp_path / "grey.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 5))
    assert (tracks.count, tracks.frames, len(tracks.track)) == (0, 5, 0)


def test_luma_is_brightness_averaged(tmp_path):
    """No noise is added (swscale's own grey has six levels of it), and nothing shifts."""
    grey = np.repeat(texture(3)[:384, :640, :1], 3, axis=2)
    video.encode([grey], tmp_path / "grey.mp4", 16, crf=1)
    size = LONG_SIDE, round(384 * LONG_SIDE / 640)
    found = next(iter(video.luma(tmp_path / "grey.mp4", size)))
    wanted = cv2.resize(16 + 219 / 255 * grey[:, :, 0].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    assert found.shape == wanted.shape
    assert found.dtype == np.uint8
    assert np.abs(found - wanted).mean() < 0.6


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_damaged_videos_say_so(panned, tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(panned.video.read_bytes()[:9000] if content is None else content)
    with pytest.raises(TrajkitError, match=r"bad\.mp4"):
        follow(replace(panned, video=path))
    with pytest.raises(TrajkitError, match="no video"):
        follow(replace(panned, video=None))


def test_without_opencv(panned, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(TrajkitError, match=r"pip install trajkit\[quality\]"):
        follow(panned)
