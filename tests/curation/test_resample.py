"""The resampler against truths that need no resampler: analytic pictures, and a slow twin in float64."""

import numpy as np
import pytest
from textured import texture

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation.resample import Resampler, coefficient_filter, corners, scales

SOURCE = Camera.from_fov(320, 180, 45.0)


def homography(
    angles_deg: tuple[float, float, float],
    zoom: float = 1.0,
    source: Camera = SOURCE,
    size: tuple[int, int] = (208, 120),
) -> np.ndarray:
    """K1 R K2^-1 for a pan, tilt and roll, and an output camera of the source's field of view over zoom."""
    lens = Camera.from_fov(*size, 45.0)
    out = np.diag([zoom, zoom, 1.0]) @ lens.matrix
    out[:2, 2] = lens.cx, lens.cy
    turn = np.eye(3)
    for axis, angle in zip("yxz", angles_deg, strict=True):
        turn = turn @ se3.axis_rotation(axis, angle)
    return source.matrix @ turn @ np.linalg.inv(out)


def mapped(h: np.ndarray, width: int, height: int) -> np.ndarray:
    """Source places of all pixel centres, (height, width, 2)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    u, v, w = np.moveaxis(np.stack([x, y, np.ones_like(x)], axis=-1) @ h.T, -1, 0)
    return np.stack([u / w, v / w], axis=-1)


def twin(source: np.ndarray, h: np.ndarray, width: int, height: int) -> np.ndarray:
    """Every pixel by its own Lanczos-3 kernel around its place, as wide as the reduction; float64, obvious, slow."""
    reduction = max(1.0, scales(h, width, height).mean())
    places, out = mapped(h, width, height), np.empty((height, width, 3))

    def lanczos(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)

    for y in range(height):
        for x in range(width):
            u, v = places[y, x]
            columns = np.arange(int(u - 3 * reduction) - 1, int(u + 3 * reduction) + 2)
            rows = np.arange(int(v - 3 * reduction) - 1, int(v + 3 * reduction) + 2)
            across, down = lanczos((columns + 0.5 - u) / reduction), lanczos((rows + 0.5 - v) / reduction)
            rows, columns = rows.clip(0, len(source) - 1), columns.clip(0, source.shape[1] - 1)
            window = source[rows[:, None], columns].astype(np.float64)
            out[y, x] = np.einsum("r,c,rcd->d", down / down.sum(), across / across.sum(), window)
    return np.clip(out, 0, 255)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize(("width", "height"), [(208, 120), (5, 7), (1, 1)])
def test_the_identity_gives_the_same_bytes(width, height) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)  # the hardest picture there is
    assert np.array_equal(Resampler(width, height)(noise, np.eye(3)), noise)


def test_whole_pixels_are_copied() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (60, 90, 3), np.uint8)
    moved = Resampler(40, 30)(noise, np.array([[1.0, 0, 17], [0, 1, 9], [0, 0, 1]]))
    assert np.array_equal(moved, noise[9:39, 17:57])


@pytest.mark.parametrize(
    ("angles_deg", "zoom", "least_db"),
    [((0, 0, 0), 1, 50), ((6, 2, 5), 1, 44), ((-8, 3, -20), 1.5, 42), ((3, 1, 45), 1.8, 42)],
)
def test_agrees_with_the_slow_twin(angles_deg, zoom, least_db) -> None:
    small = (60, 34)
    source, h = texture(92, 52), homography(angles_deg, zoom, Camera.from_fov(92, 52, 45.0), small)
    assert psnr(Resampler(*small)(source, h), twin(source, h, *small)) > least_db


@pytest.mark.parametrize("angles_deg", [(0, 0, 0), (5, 2, 4)])
def test_waves_that_fit_stay_and_waves_that_do_not_vanish(angles_deg) -> None:
    h = homography(angles_deg)
    most, least = scales(h, 208, 120).max(), scales(h, 208, 120).min()
    places, own = mapped(h, 208, 120), mapped(np.eye(3), 320, 180)
    inside = np.all((places > 12) & (places < (308, 168)), axis=-1)
    for direction in np.radians([10, 100, 190]):
        axis = np.array([np.cos(direction), np.sin(direction)])

        def wave(where: np.ndarray, cycles: float, axis: np.ndarray = axis) -> np.ndarray:
            return 127.5 + 100 * np.cos(2 * np.pi * cycles * (where @ axis))

        def made(cycles: float) -> np.ndarray:
            plane = np.rint(wave(own, cycles)).astype(np.uint8)
            return Resampler(208, 120)(np.repeat(plane[..., None], 3, axis=2), h)[..., 1].astype(float)

        kept, gone = 0.5 / most * 0.6, min(0.5 / least * 1.4, 0.49)
        assert np.abs(made(kept) - wave(places, kept))[inside].max() < 5
        assert np.abs(made(gone) - 127.5)[inside].max() < 5


def test_a_zone_plate_turns_grey_where_its_rings_are_too_fine() -> None:
    """cos(pi r^2 / 720) has r / 720 cycles a pixel: 1/6, all that a third of the size holds, at r = 120."""
    x, y = np.meshgrid(np.arange(720) - 359.5, np.arange(720) - 359.5)
    plate = np.rint(127.5 + 120 * np.cos(np.pi * (x**2 + y**2) / 720)).astype(np.uint8)
    small = Resampler(240, 240)(np.repeat(plate[..., None], 3, axis=2), np.diag([3.0, 3, 1]))[..., 0].astype(float)
    x, y = x[:240, :240] + 240, y[:240, :240] + 240  # small pixels from the middle
    radius, true = 3 * np.hypot(x, y), 127.5 + 120 * np.cos(np.pi * 9 * (x**2 + y**2) / 720)
    assert np.abs(small - true)[radius < 80].max() < 6
    fineness = np.maximum(np.abs(x), np.abs(y)) / 40  # along the worse axis; 1 = all that the small picture holds
    away = fineness < 115 / 40  # from the border, where a wave is cut off
    assert np.abs(small - 127.5)[away & (fineness > 1.1)].max() < 50
    assert np.abs(small - 127.5)[away & (fineness > 1.5)].max() < 3


def test_nothing_turns_black_at_or_beyond_the_border() -> None:
    flat = np.full((180, 320, 3), (255, 17, 128), np.uint8)
    for h in (homography((14, 9, 30), 0.6), homography((0, 0, 0)), np.array([[1.0, 0, 900], [0, 1, -700], [0, 0, 1]])):
        assert np.array_equal(Resampler(208, 120)(flat, h), np.broadcast_to(flat[0, 0], (120, 208, 3)))


def test_places_are_exact_and_constant_motion_stays_constant() -> None:
    """A wave's phase tells where its picture lies: within 2/1000 pixel of the place asked for, at 97 odd shifts."""
    own, seen = mapped(np.eye(3), 256, 40), mapped(np.eye(3), 192, 24)
    turns = 2j * np.pi * np.array([1 / 15.7, 1 / 23.3])  # slanted, so that no two pixels are rounded alike
    wave = np.rint(127.5 + 120 * np.exp(own @ turns).real).astype(np.uint8)
    source, resample = np.repeat(wave[..., None], 3, axis=2), Resampler(192, 24)
    basis = np.exp(seen @ turns).ravel()
    basis = np.stack([basis.real, basis.imag, np.ones(basis.size)], axis=-1)
    shifts, found = 8 + 16 * np.linspace(0, 1, 97), []
    for shift in shifts:
        values = resample(source, np.array([[1.0, 0, shift], [0, 1, 8], [0, 0, 1]]))[..., 0]
        (real, imaginary, _), *_ = np.linalg.lstsq(basis, values.ravel(), rcond=None)
        found.append(-np.arctan2(imaginary, real) / (2 * np.pi) * 15.7)
    error = (np.array(found) - shifts - 8 * 15.7 / 23.3 + 7.85) % 15.7 - 7.85
    assert np.abs(error).max() < 2e-3
    assert error.std() < 1e-3


def test_a_change_of_the_reduction_never_jumps() -> None:
    source, resample = texture(320, 180, falloff=0.5), Resampler(150, 90)
    before = None
    for reduction in np.linspace(0.98, 2.0, 52):
        made = resample(source, np.diag([reduction, reduction, 1.0]))
        corner = made[:2, :2].astype(int)  # hardly moves
        assert before is None or np.abs(corner - before).max() < 12
        before = corner
    tails = [np.pad(coefficient_filter(r), (0, 20))[:12] for r in np.linspace(1, 2, 1001)]
    assert np.abs(np.diff(tails, axis=0)).max() < 5e-3


def test_scales_are_the_share_of_area_that_finite_differences_find() -> None:
    h, step = homography((9, -4, 25), 1.3), 1e-4
    for corner, scale in zip(corners(208, 120)[:, :2], scales(h, 208, 120), strict=True):
        around = corner + np.array([(0, 0), (step, 0), (0, step)])
        u, v, w = h @ np.vstack([around.T, np.ones(3)])
        places = np.stack([u / w, v / w], axis=-1)
        area = abs(np.linalg.det(np.stack([places[1] - places[0], places[2] - places[0]]))) / step**2
        assert scale == pytest.approx(np.sqrt(area), rel=1e-3)
