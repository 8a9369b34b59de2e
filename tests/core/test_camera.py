"""Camera: projection, resizing, cropping and distortion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit.camera import Camera
from trajkit.errors import TrajkitError

FOX = Camera(
    width=1080,
    height=1920,
    fx=1375.52,
    fy=1374.49,
    cx=554.558,
    cy=965.268,
    distortion=(0.0578421, -0.0805099, -0.000980296, 0.00015575),
)
quick = settings(max_examples=30, deadline=None, derandomize=True)


@quick
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_rays_and_project_are_inverse(seed: int, distorted: bool) -> None:
    camera = FOX if distorted else FOX.undistorted()
    pixels = np.random.default_rng(seed).uniform((0, 0), (1080, 1920), (50, 2))
    np.testing.assert_allclose(camera.project(camera.rays(pixels) * 3.7), pixels, atol=1e-8)


def test_project_agrees_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    points = np.random.default_rng(0).uniform((-1, -2, 2), (1, 2, 5), (40, 3))
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), FOX.matrix, np.array(FOX.distortion))
    np.testing.assert_allclose(FOX.project(points), theirs[:, 0], atol=1e-8)


def test_points_behind_the_camera_have_no_pixel() -> None:
    assert np.isnan(FOX.project(np.array([[0.0, 0.0, -1.0], [1.0, 1.0, 0.0]]))).all()


@quick
@given(st.integers(0, 2**32 - 1), st.integers(16, 2000), st.integers(16, 2000))
def test_resizing_scales_pixels_and_fitting_keeps_pixels_square(seed: int, width: int, height: int) -> None:
    points = np.random.default_rng(seed).uniform((-1, -1, 2), (1, 1, 4), (20, 3))
    pixels = FOX.undistorted().project(points)
    resized = FOX.undistorted().resized(width, height)
    np.testing.assert_allclose(resized.project(points), pixels * (width / 1080, height / 1920), rtol=1e-9)
    fitted = FOX.fitted(width, height)
    assert (fitted.width, fitted.height) == (width, height)
    np.testing.assert_allclose(fitted.fx / fitted.fy, FOX.fx / FOX.fy, rtol=1e-12)
    # what the fitted view sees, the whole view sees: its corners lie inside the original picture
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    back = FOX.undistorted().project(fitted.undistorted().rays(corners))
    np.testing.assert_allclose(back.mean(0), [540, 960], atol=1e-6)  # and both have one middle
    assert (back >= -1e-6).all()
    assert (back <= np.array([1080, 1920]) + 1e-6).all()


def test_crop_moves_the_principal_point() -> None:
    crop = FOX.cropped(100, 50, 200, 300)
    assert (crop.cx, crop.cy, crop.fx) == (FOX.cx - 100, FOX.cy - 50, FOX.fx)


def test_field_of_view() -> None:
    camera = Camera.from_fov(832, 480, 60)
    assert camera.fov_deg[1] == pytest.approx(60)
    worldplay = Camera(width=1920, height=1080, fx=969.69697, fy=969.69697, cx=960, cy=540)
    assert worldplay.fov_deg == pytest.approx((89.42, 58.22), abs=0.02)  # reference/data_formats.md 4.2
    assert worldplay.normalized == pytest.approx((0.50505, 0.89787, 0.5, 0.5), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "image size"),
        ({"fx": -1.0}, "positive"),
        ({"fy": float("nan")}, "finite"),
        ({"cx": float("inf")}, "finite"),
        ({"distortion": (0.1,)}, "distortion"),
    ],
)
def test_impossible_cameras_are_refused(change: dict, words: str) -> None:
    fields = {"width": 10, "height": 10, "fx": 5.0, "fy": 5.0, "cx": 5.0, "cy": 5.0} | change
    with pytest.raises(TrajkitError, match=words):
        Camera(**fields)


def test_a_lens_that_folds_over_is_refused() -> None:
    folding = Camera(width=640, height=480, fx=200.0, fy=200.0, cx=320.0, cy=240.0, distortion=(0.0, -0.08, 0.0, 0.0))
    with pytest.raises(TrajkitError, match="does not invert"):
        folding.rays(np.array([[0.0, 0.0]]))
