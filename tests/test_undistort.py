"""Undistortion against pictures whose every value is known."""

from dataclasses import replace

import numpy as np
import pytest

from trajkit.camera import Camera
from trajkit.undistort import undistorted_image

LENS = Camera(width=96, height=64, fx=80.0, fy=82.0, cx=47.0, cy=33.0, distortion=(0.08, -0.03, 0.002, -0.001))


def centres(camera: Camera) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)


def noise(camera: Camera) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)


def test_the_same_lens_changes_nothing():
    pinhole = LENS.undistorted()
    np.testing.assert_array_equal(undistorted_image(noise(pinhole), pinhole, pinhole), noise(pinhole))


def test_half_size_is_the_mean_of_four_pixels():
    pinhole = LENS.undistorted()
    means = noise(pinhole).reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    result = undistorted_image(noise(pinhole), pinhole, pinhole.resized(48, 32))
    assert np.abs(result - means).max() <= 0.51


@pytest.mark.parametrize("size", [(96, 64), (48, 32), (30, 20), (120, 90)])
def test_every_pixel_comes_from_where_the_lens_put_it(size):
    """A picture whose red is its own x and green its own y: the result tells where it was sampled."""
    target = LENS.undistorted().resized(*size)
    picture = np.zeros((LENS.height, LENS.width, 3), np.uint8)
    picture[..., :2] = centres(LENS) * (2, 3)
    source = LENS.project(target.rays(centres(target)))
    inside = ((source > 1) & (source < (LENS.width - 1, LENS.height - 1))).all(axis=-1)
    result = undistorted_image(picture, LENS, target)
    error = result[inside][:, :2] - source[inside] * (2, 3) + (0, 0.5)  # 3 (y + 0.5) loses its half as it is stored
    assert inside.mean() > 0.7
    assert np.abs(error).max() < 1.0  # rounding, and what the lens bends within a pixel
    assert np.abs(error.mean(axis=0)).max() < 0.1


def test_shrinking_does_not_alias():
    stripes = np.zeros((LENS.height, LENS.width, 3), np.uint8)
    stripes[:, ::2] = 255
    result = undistorted_image(stripes, LENS, LENS.undistorted().resized(24, 16))
    assert np.abs(result[3:-3, 3:-3].astype(float) - 127.5).max() < 50
    assert result[3:-3, 3:-3].std() < 20


def test_the_border_repeats():
    wide = replace(LENS.undistorted(), fx=40.0, fy=41.0)
    picture = np.full((LENS.height, LENS.width, 3), 77, np.uint8)
    np.testing.assert_array_equal(undistorted_image(picture, LENS, wide), 77)
