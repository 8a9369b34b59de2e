"""What is measured in footage, on videos made to have it: cuts, bars, overlays, freezes, cameras that move a little."""

from dataclasses import replace

import numpy as np
import pytest
import staged
from hypothesis import given, settings
from hypothesis import strategies as st
from staged import FPS, Staged, pictures

from trajkit import video
from trajkit.camera import Camera
from trajkit.curation import _fitness_cuts as cutting
from trajkit.curation import _fitness_picture as looking
from trajkit.curation import fitness
from trajkit.curation.fitness import Limits, examine, shot, unfit
from trajkit.curation.footage import Fitness, Footage, Shot
from trajkit.errors import TrajkitError
from trajkit.seeding import generator

cv2 = pytest.importorskip("cv2")

GOOD = Fitness(
    frames=300,
    fps=30.0,
    width=640,
    height=360,
    cuts=(),
    picture=(0, 0, 640, 360),
    overlays=(),
    frozen=(),
    camera="still",
    camera_sure=0.99,
    camera_px=0.1,
    sharpness=0.4,
    brightness=0.5,
)


def scene(seed: int, frames: int, pan: float = 0.0) -> np.ndarray:
    """Thumbs of a scene that the camera pans over, in thumb pixels a frame; grain included."""
    rng = generator(seed, "scene")
    rough = rng.uniform(40, 210, (18, 80)).astype(np.float32)
    wide = cv2.GaussianBlur(cv2.resize(rough, (400, 18)), (0, 0), 1.5)
    seen = [wide[:, 20 + round(pan * number) :][:, :32] for number in range(frames)]
    return (np.array(seen) + rng.normal(size=(frames, 18, 32))).clip(0, 255).astype(np.uint8)


def blend(one: np.ndarray, other: np.ndarray, frames: int) -> np.ndarray:
    share = np.linspace(0, 1, frames + 2)[1:-1, None, None]
    return (one * (1 - share) + other * share).astype(np.uint8)


def test_cuts_are_found_and_flashes_pans_and_light_are_none():
    a, b = scene(0, 40), scene(1, 40)
    assert cutting.cuts(np.concatenate([a, b]), 25) == (40,)
    flash = a.copy()
    flash[20:22] = 250
    assert cutting.cuts(flash, 25) == ()
    assert cutting.cuts(scene(2, 60, pan=4.0), 25) == ()
    light = (a * np.linspace(0.3, 1, 40)[:, None, None]).astype(np.uint8)
    assert cutting.cuts(light, 25) == ()
    assert cutting.cuts(a[:1], 25) == ()


def test_a_crowd_over_faint_ground_is_no_dissolve():
    crowd = Staged(place="weak", motion="still", sight="crowd", crf=18, seed=5)
    grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures(crowd))
    thumbs = np.array([cv2.resize(one, cutting.THUMB, interpolation=cv2.INTER_AREA) for one in grey])
    assert cutting.cuts(thumbs, FPS) == ()


@pytest.mark.parametrize("length", [12, 20])
def test_dissolves_and_fades_are_shots_of_their_own(length):
    a, b, black = scene(0, 60), scene(1, 60), np.full((60, 18, 32), 16, np.uint8)
    for after in (b, black):
        first, last = cutting.cuts(np.concatenate([a, blend(a[-1], after[0], length), after]), 25)
        assert abs(first - 60) <= 3
        assert abs(last - 60 - length) <= 3


def barred(top: int, left: int) -> np.ndarray:
    """Pictures in bars that the coding has made a little uneven."""
    rng = generator(3, "bars")
    pictures = rng.integers(30, 220, (6, 180, 320)).astype(np.uint8)
    bar = 16 + rng.integers(0, 3, pictures.shape).astype(np.uint8)
    inside = np.zeros((180, 320), bool)
    inside[top : 180 - top, left : 320 - left] = True
    return np.where(inside, pictures, bar)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (20, 0), (0, 70), (16, 40)])
def test_bars_are_cut_at_their_edges(top, left):
    pictures = barred(top, left)
    box = looking.picture(pictures.max(0), pictures.min(0))
    grown = [side + 2 * (side > 0) for side in (left, top)]
    assert box == (grown[0], grown[1], 320 - grown[0], 180 - grown[1])


def test_a_dark_scene_has_no_bars():
    pictures = barred(0, 0)
    y, x = np.mgrid[:180, :320]
    lit = np.hypot(x - 120, y - 120) < 70  # a lamp's pool of light
    pictures = np.where(lit, pictures, 17)
    assert looking.picture(pictures.max(0), pictures.min(0)) == (0, 0, 320, 180)
    black = np.full((180, 320), 16, np.uint8)
    assert looking.picture(black, black) == (0, 0, 320, 180)


def lettered(frames: int, pan: float) -> np.ndarray:
    ground = cv2.cvtColor(staged.place("paint", 0), cv2.COLOR_RGB2GRAY)
    small = np.array([ground[100:334, 50 + round(pan * n) :][:, :416] for n in range(frames)])
    for one in small:
        cv2.putText(one, "NEWS 24", (20, 214), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    return small


def test_text_is_found_where_the_rest_moves_and_never_else():
    inside = np.ones((234, 416), bool)
    (box,) = looking.overlays(lettered(24, 3.0), inside, cv2)
    assert 12 <= box[0] <= 24
    assert 195 <= box[1] <= 204
    assert 100 <= box[2] <= 125
    assert looking.overlays(lettered(24, 0.0), inside, cv2) == []


def test_upsampled_pictures_are_soft():
    rough = generator(6, "rough").integers(0, 256, (540, 960)).astype(np.uint8)
    grey = cv2.GaussianBlur(rough, (0, 0), 1.0)
    small = cv2.resize(grey, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
    assert looking.sharpness(soft) < Limits().sharpness < looking.sharpness(grey) <= 1
    assert looking.sharpness(np.full((200, 200), 90, np.uint8)) == looking.sharpness(grey[:20]) == 0


@pytest.mark.parametrize(
    ("one", "camera"),
    [
        (Staged("paint", "still", "big", 28, 1), "still"),
        (Staged("paint", "still", "water", 35, 2), "still"),
        (Staged("paint", "still", "light", 28, 3), "still"),
        (Staged("paint", "creep", "movers", 28, 4), "moving"),
        (Staged("sky", "zoom", "movers", 28, 5), "moving"),
        (Staged("paint", "shake", "noise", 28, 6), "moving"),
        (Staged("flat", "pan", "calm", 28, 7), "unsure"),
    ],
)
def test_the_camera_is_seen_to_stand_or_move(tmp_path, one, camera):
    found = examine(staged.film(one, tmp_path / "one.mp4"))
    assert found.camera == camera
    assert found.camera_sure <= 0.99
    assert found.cuts == found.overlays == ()
    if camera != "unsure":
        assert found.camera_px == pytest.approx(staged.moved_px(one), rel=0.4, abs=0.2)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """80 frames at 60 per second, each as bright as its number says, in bars; frame 40 to 59 stand still."""
    rough = generator(5, "grain").uniform(-15, 15, (45, 60, 1))
    rough -= cv2.resize(rough, (240, 180)).mean()
    grain = np.pad(cv2.resize(rough, (240, 180)), ((0, 0), (40, 40)))[..., None]
    lit = np.pad(np.ones((180, 240)), ((0, 0), (40, 40)))[..., None]
    frames = [(lit * (45 + 2 * min(n, 40 if n < 60 else n)) + grain * (1 + n % 3)).clip(0, 255) for n in range(80)]
    frames = [frames[40] if 40 <= number < 60 else one for number, one in enumerate(frames)]
    path = tmp_path_factory.mktemp("video") / "counted.mp4"
    video.encode([one.astype(np.uint8).repeat(3, 2) for one in frames], path, 60, crf=10)
    return path


def numbers(one: Shot) -> list[int]:
    return [round((float(picture.mean()) - 45) / 2) for picture in one.frames()]


def footage(path, **more) -> Footage:
    return Footage(key="a", name="a.mp4", open=lambda: path, source="test:a", licence="CC0-1.0", **more)


def test_a_shot_takes_the_nearest_frames_of_the_stretch_before_the_freeze(counted):
    found = replace(examine(counted), camera="still", camera_sure=0.95)
    ((first, last),) = found.frozen
    assert 40 <= first <= 42 < last == 59
    assert fitness.stretch(found) == (0, first + 1)
    one = shot(footage(counted), found, Limits(height=100, bars=0.5), frames=9, fps=16, fov_deg=50, freeze=False)
    assert isinstance(one, Shot)
    wanted = [0, 4, 7, 11, 15, 19, 22, 26, 30]  # 3.75 apart; of two that are as near, the earlier
    np.testing.assert_allclose(numbers(one), wanted, atol=1)
    assert numbers(one) == numbers(one)
    assert next(one.frames()).shape == (180, 236, 3)


def test_lens_and_depth_are_those_of_the_picture_without_bars(counted):
    found = replace(examine(counted), camera="still", camera_sure=0.95)
    depth = lambda: (np.full((90, 160), number + 1.0, np.float32) for number in range(80))  # noqa: E731
    asked = {"frames": 9, "fps": 16, "fov_deg": 50.0, "freeze": False}
    one = shot(footage(counted, depth=depth), found, Limits(height=100, bars=0.5), **asked)
    assert isinstance(one, Shot)
    assert one.lens == Camera.from_fov(320, 180, 50.0).cropped(42, 0, 236, 180)
    assert not one.lens_known
    depths = list(one.depth())
    assert [int(picture[0, 0]) - 1 for picture in depths] == [0, 4, 7, 11, 15, 19, 22, 26, 30]
    assert depths[0].shape == (180, 236)
    lens = Camera.from_fov(320, 180, 70.0)
    known = shot(footage(counted, lens=lens), found, Limits(height=100, bars=0.5), **asked)
    assert known.lens_known
    assert known.lens == lens.cropped(42, 0, 236, 180)
    bent = shot(
        footage(counted, lens=replace(lens, distortion=(0.1, 0, 0, 0))), found, Limits(height=100, bars=0.5), **asked
    )
    assert [finding.code for finding in bent] == ["distorted"]


def test_a_frozen_shot_is_its_sharpest_early_picture(counted):
    found = replace(examine(counted), camera="moving")
    one = shot(footage(counted), found, Limits(height=100, bars=0.5), frames=77, fps=16, fov_deg=50, freeze=True)
    assert isinstance(one, Shot)
    assert one.frozen
    (number,) = numbers(one)
    assert number % 3 == 2  # these have most contrast


def test_a_video_that_lost_its_end_is_named(counted):
    found = replace(GOOD, picture=(0, 0, 320, 180), width=320, height=180)
    one = shot(footage(counted), found, Limits(height=100, bars=0.5), frames=77, fps=16, fov_deg=50, freeze=False)
    with pytest.raises(TrajkitError, match=r"a.mp4: ends before frame 8\d"):
        list(one.frames())


FAULTS = {
    "bars": {"picture": (140, 0, 500, 360)},
    "overlay": {"overlays": ((0, 0, 100, 50),)},
    "soft": {"sharpness": 0.02},
    "dark": {"brightness": 0.01},
    "bright": {"brightness": 0.99},
    "small": {"picture": (0, 70, 640, 290)},
    "slow-rate": {"fps": 12.0},
    "cuts": {"cuts": (100, 200)},
    "frozen": {"frozen": ((100, 180),)},
    "repeats": {"frozen": tuple((number, number + 1) for number in range(0, 300, 2)), "fps": 17.0},
    "short": {"frames": 60},
    "camera-moves": {"camera": "moving", "camera_px": 4.0},
    "camera-unsure": {"camera_sure": 0.8},
}


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_is_told_with_its_value_and_limit(code):
    assert unfit(GOOD, Limits(), frames=77, fps=16) == ()
    limits = Limits(bars=0.5) if code == "small" else Limits()
    (finding,) = unfit(replace(GOOD, **FAULTS[code]), limits, frames=77, fps=16)
    assert (finding.code, finding.level) == (code, "error")
    assert finding.value != finding.threshold
    assert finding.message
    cured = code not in ("bars", "overlay", "soft", "dark", "bright", "small")
    assert (unfit(replace(GOOD, **FAULTS[code]), limits, frames=77, fps=16, freeze=True) == ()) == cured


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    source=st.floats(5, 120),
    fps=st.floats(5, 60),
    cuts=st.lists(st.integers(1, 299), max_size=4, unique=True).map(sorted),
    frozen=st.lists(st.integers(0, 270), max_size=3, unique=True).map(sorted),
)
def test_a_stretch_holds_no_cut_and_no_freeze_and_its_frames_are_the_nearest(source, fps, cuts, frozen):
    runs = tuple((first, first + 40) for first in frozen if first + 40 < 300)
    one = replace(GOOD, fps=source, cuts=tuple(cuts), frozen=runs)
    first, past = fitness.stretch(one)
    assert 0 <= first < past <= 300
    assert not any(first < cut < past for cut in cuts)
    assert not any(min(past - 1, last) - max(first, start) > 0 for start, last in fitness._held(one))
    chosen = fitness._source_frames(one, first, 20, fps)
    assert chosen[0] == first
    assert np.abs((chosen - first) / source - np.arange(20) / fps).max() <= 0.5 / source + 1e-6
