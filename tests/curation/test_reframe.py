"""`reframe`: the commanded rotation found again in the pixels, points that project where they should, and refusals."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation
from textured import texture

from trajkit import plugins, se3, seeding
from trajkit.camera import Camera
from trajkit.curation.attach import Attached, reframe
from trajkit.curation.footage import Fitness, Footage, Shot
from trajkit.errors import TrajkitError
from trajkit.options import parse
from trajkit.scene import Frame, Rejected, Scene
from trajkit.trajectory import Trajectory

SMALL = (416, 240)


def shot_of(pictures: list[np.ndarray], lens: Camera, **changes: object) -> Shot:
    """Pictures of a still camera as a shot."""
    footage = Footage(
        key="clip", name="clip.mp4", open=lambda: Path("clip.mp4"), source="folder:clip.mp4", licence="CC0-1.0"
    )
    fitness = Fitness(
        frames=len(pictures), fps=16.0, width=lens.width, height=lens.height, cuts=(),
        picture=(0, 0, lens.width, lens.height), overlays=(), frozen=(), camera="still", camera_sure=1.0, camera_px=0.0,
        sharpness=1.0, brightness=0.5,
    )  # fmt: skip
    shot = Shot(
        footage=footage, fitness=fitness, lens=lens, lens_known=True, frozen=False, frames=lambda: iter(pictures)
    )
    return replace(shot, **changes)


def turn(spec: str, lens: Camera, size: tuple[int, int] = SMALL, *, frames: int = 5, seed: int = 0) -> Trajectory:
    """A path of the sampler `turn` in a bare scene, through the lens fitted to the output."""
    scene = Scene(id="clip", source="clip", licence="", up=np.array([0.0, -1, 0]), extent=np.zeros((2, 3)), unit=1.0)
    module = plugins.load("paths", "turn")
    options = parse(module.Options, spec, where="path", frames=frames, fps=16.0, camera=lens.fitted(*size))
    return module.sample(scene, options, seeding.generator(seed))


def attached(shot: Shot, path: Trajectory, **options: object) -> Attached:
    made = reframe.attach(shot, path, reframe.Options(**options))
    assert isinstance(made, Attached), made.reason
    return made


def rotation_from_pixels(a: np.ndarray, b: np.ndarray, lens_a: Camera, lens_b: Camera) -> np.ndarray:
    """Rotation a <- b that carries the rays of matched SIFT points onto each other (Kabsch, worst ones trimmed)."""
    import cv2

    sift = cv2.SIFT_create(1500)
    (points_a, found_a), (points_b, found_b) = (
        sift.detectAndCompute(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), None) for x in (a, b)
    )
    pairs = cv2.BFMatcher().knnMatch(found_a, found_b, k=2)
    pairs = [best for best, second in pairs if best.distance < 0.75 * second.distance]
    half = 0.5  # OpenCV counts from the first pixel's centre
    rays_a = lens_a.rays(np.array([points_a[pair.queryIdx].pt for pair in pairs]) + half)
    rays_b = lens_b.rays(np.array([points_b[pair.trainIdx].pt for pair in pairs]) + half)
    rays_a, rays_b = (rays / np.linalg.norm(rays, axis=1, keepdims=True) for rays in (rays_a, rays_b))
    keep = np.ones(len(pairs), bool)
    for _ in range(10):
        rotation = Rotation.align_vectors(rays_a[keep], rays_b[keep])[0].as_matrix()
        error = np.linalg.norm(rays_a - rays_b @ rotation.T, axis=1)
        keep = error <= max(2.5 * np.median(error), 1e-6)
    return rotation


def errors_deg(lens: Camera, size: tuple[int, int], picture: np.ndarray, seed: int) -> list[float]:
    """By how much the rotations found in a random path's pixels miss the commanded ones."""
    zoom = [1.0, 1.0, 1.3, 0.8][seed % 4]
    path = turn(f"zoom={zoom},ease=in-out", lens, size, seed=seed)
    made = attached(shot_of([picture], lens, frozen=True), path)
    pictures, cameras = [frame.rgb for frame in made.frames], made.trajectory
    found = []
    for i in (2, 4):
        said = cameras.relative_to(0).camera_to_world[i, :3, :3]
        seen = rotation_from_pixels(pictures[0], pictures[i], cameras.camera(0), cameras.camera(i))
        found.append(float(se3.angle_deg(said.T @ seen)))
    return found


def check(found: list[float]) -> None:
    low, middle, high, most = np.percentile(found, [10, 50, 90, 100])
    print(f"rotation from pixels, {len(found)} pairs: {low:.4f} / {middle:.4f} / {high:.4f} / max {most:.4f} deg")  # noqa: T201
    assert middle < 0.02
    assert most < 0.1


def test_the_commanded_rotation_is_in_the_pixels() -> None:
    lens = Camera.from_fov(480, 270, 50.0)
    picture = texture(480, 270)
    check([error for seed in range(12) for error in errors_deg(lens, (312, 180), picture, seed)])


@pytest.mark.slow
def test_the_commanded_rotation_of_200_paths_is_in_the_pixels() -> None:
    lens = Camera.from_fov(1280, 720, 50.0)
    picture = texture(1280, 720)
    check([error for seed in range(200) for error in errors_deg(lens, (832, 480), picture, seed)])


@pytest.mark.parametrize("zoom", [1.0, 1.4])
def test_points_project_where_the_pictures_show_them(zoom) -> None:
    """Dots found in the first picture, carried by the poses and lenses alone, lie on the dots of the others."""
    lens = replace(Camera.from_fov(640, 360, 50.0), cx=305.0, cy=190.0)
    x, y = np.meshgrid(np.arange(640) + 0.5, np.arange(360) + 0.5)
    dots = [(40 + 70 * i + 3.3 * j, 35 + 60 * j - 2.7 * i) for i in range(9) for j in range(6)]
    plane = sum(230 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 3.0**2)) for u, v in dots)
    picture = np.repeat(np.rint(np.clip(plane, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)
    made = attached(shot_of([picture] * 5, lens), turn(f"pan_deg=7,tilt_deg=-4,roll_deg=12,zoom={zoom}", lens))
    path, found = made.trajectory, [_centroids(frame.rgb) for frame in made.frames]
    rays = path.camera(0).rays(found[0]) @ path.camera_to_world[0, :3, :3].T
    for i in range(1, 5):
        expected = path.camera(i).project(rays @ path.camera_to_world[i, :3, :3])
        nearest = np.linalg.norm(expected[:, None] - found[i][None], axis=-1).min(axis=1)
        inside = np.all((expected > 10) & (expected < np.array(SMALL) - 10), axis=1)
        assert inside.sum() > 10
        assert np.median(nearest[inside]) < 0.04
        assert nearest[inside].max() < 0.1


def _centroids(rgb: np.ndarray) -> np.ndarray:
    """Centres of dots that lie wholly in the picture, (n, 2) pixels."""
    plane = rgb[..., 1].astype(float)
    labels, _ = ndimage.label(plane > 6)
    boxes = ndimage.find_objects(labels)
    whole = [
        k + 1
        for k, (rows, columns) in enumerate(boxes)
        if rows.start and columns.start and rows.stop < plane.shape[0] and columns.stop < plane.shape[1]
    ]
    return np.array(ndimage.center_of_mass(plane, labels, whole))[:, ::-1] + 0.5


angles = st.floats(-25, 25)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(pan=angles, tilt=angles, roll=st.floats(-60, 60), zoom=st.floats(0.6, 1.6), shift=st.floats(-40, 40))
def test_the_zoom_is_the_smallest_that_keeps_every_pixel_in_the_picture(pan, tilt, roll, zoom, shift) -> None:
    lens = replace(Camera.from_fov(640, 360, 60.0), cx=320 + shift, cy=180 - shift / 2)
    path = turn(f"pan_deg={pan!r},tilt_deg={tilt!r},roll_deg={roll!r},zoom={zoom!r}", lens)
    view = reframe._view(lens, path, 1.0)
    x, y = np.meshgrid(np.linspace(0, SMALL[0], 27), np.linspace(0, SMALL[1], 17))  # the border and the inside

    def outside_px(view: reframe.View) -> float:
        places = (
            np.stack([x, y, np.ones_like(x)], axis=-1) @ np.swapaxes(reframe._homographies(lens, view), 1, 2)[:, None]
        )
        assert places[..., 2].min() > 0
        places = places[..., :2] / places[..., 2:]
        return float(max(-places.min(), (places - (640, 360)).max()))

    assert outside_px(view) < 1e-9
    if view.zoom > 1:
        less = view._replace(intrinsics=view.intrinsics * (0.999, 0.999, 1, 1))
        assert outside_px(less) > 0
    relative = path.relative_to(0).camera_to_world[:, :3, :3]
    assert np.allclose(view.first.T @ view.rotations, relative, atol=1e-9)
    assert np.allclose(view.intrinsics, path.intrinsics * (view.zoom, view.zoom, 1, 1))


LENS = Camera.from_fov(640, 360, 50.0)
PICTURE = texture(640, 360)


def test_the_whole_path_is_kept_where_it_fits() -> None:
    world = se3.pose(se3.axis_rotation("y", 40.0) @ se3.axis_rotation("z", 15.0), np.array([3.0, 4.0, 5.0]))
    path = turn("pan_deg=8", LENS)
    path = replace(path, camera_to_world=world @ path.camera_to_world)
    made = attached(shot_of([PICTURE] * 5, LENS), path)
    assert np.allclose(made.trajectory.camera_to_world, path.camera_to_world, atol=1e-12)
    assert np.array_equal(made.trajectory.times_s, path.times_s)
    assert made.checks["path_share"] == 1.0
    assert made.checks["added_zoom"] > 1.0
    assert made.checks["lens_known"] is True
    growth = made.trajectory.intrinsics[:, :2] / path.intrinsics[:, :2]
    assert np.allclose(growth, made.checks["added_zoom"], atol=1e-6)


def test_a_still_path_at_the_sources_size_gives_the_sources_bytes() -> None:
    made = attached(shot_of([PICTURE], LENS, frozen=True), turn("pan_deg=0", LENS, (640, 360), frames=2))
    assert all(np.array_equal(frame.rgb, PICTURE) for frame in made.frames)


def test_a_path_that_does_not_fit_is_walked_in_part() -> None:
    path = turn("pan_deg=30,zoom=1.2", LENS)
    made = attached(shot_of([PICTURE] * 5, LENS), path, max_zoom=1.3)
    share = made.checks["path_share"]
    assert 0.25 < share < 0.9
    assert made.checks["added_zoom"] == pytest.approx(1.3, abs=1e-3)
    said = made.trajectory.relative_to(0).camera_to_world[-1, :3, :3]
    assert Rotation.from_matrix(said).as_rotvec(degrees=True) == pytest.approx([0, 30 * share, 0], abs=1e-4)
    assert made.trajectory.intrinsics[-1, 0] / made.trajectory.intrinsics[0, 0] == pytest.approx(1.2**share, abs=1e-4)
    assert made.trajectory.camera_to_world[0] == pytest.approx(path.camera_to_world[0], abs=1e-12)


def test_a_turn_around_is_walked_in_part_too() -> None:
    made = attached(shot_of([PICTURE] * 33, LENS), turn("pan_deg=400", LENS, frames=33), least_share=0.01)
    assert 0 < made.checks["path_share"] < 0.1
    assert made.checks["added_zoom"] <= 2.0


@pytest.mark.parametrize(
    ("spec", "options", "code", "says"),
    [
        ("pan_deg=45", {"fit": "reject"}, "narrow-picture", "% of the path fits into a 640x360 picture within"),
        ("pan_deg=200", {}, "narrow-picture", "use a smaller turn"),
        ("zoom=8", {"least_share": 0.9}, "narrow-picture", "detail=0.5"),
        ("pan_deg=0", {"detail": 2.0}, "narrow-picture", "too small for 416x240"),
    ],
)
def test_what_does_not_fit_is_rejected_by_name(spec, options, code, says) -> None:
    made = reframe.attach(shot_of([PICTURE] * 5, LENS), turn(spec, LENS), reframe.Options(**options))
    assert isinstance(made, Rejected)
    assert (made.key, made.findings[0].code, made.findings[0].where) == ("clip", code, "folder:clip.mp4")
    assert says in made.reason


def test_translation_is_rejected_however_small() -> None:
    path = turn("pan_deg=4", LENS)
    moved = path.camera_to_world.copy()
    moved[3, :3, 3] += 1e-8
    made = reframe.attach(shot_of([PICTURE] * 5, LENS), replace(path, camera_to_world=moved), reframe.Options())
    assert isinstance(made, Rejected)
    assert made.findings[0].code == "translation"
    assert "--with warp" in made.reason


@pytest.mark.parametrize(
    ("shot", "says"),
    [
        (shot_of([PICTURE[:-2]] * 5, LENS), "a picture of shape (358, 640, 3), its lens is 640x360; give pictures of"),
        (shot_of([PICTURE] * 5, replace(LENS, distortion=(0.1, 0, 0, 0))), "has lens distortion; undistort it"),
    ],
)
def test_wrong_shots_are_told(shot, says) -> None:
    with pytest.raises(TrajkitError, match="footage clip: ") as caught:
        list(attached(shot, turn("pan_deg=4", LENS)).frames)
    assert says in str(caught.value)


def test_frames_come_one_by_one_and_end_with_the_footage() -> None:
    taken = []

    def pictures() -> Iterator[np.ndarray]:
        for number in range(4):
            taken.append(number)
            yield np.full((360, 640, 3), 50 * number, np.uint8)

    shot = shot_of([], LENS, frames=pictures)
    frames = attached(shot, turn("pan_deg=9,roll_deg=20", LENS, frames=6)).frames
    assert taken == []
    first: Frame = next(frames)
    assert len(taken) <= 1
    assert [first.rgb.max(), *(frame.rgb.min() for frame in frames)] == [0, 50, 100, 150]  # never black at an edge


def test_a_frozen_shot_shows_its_one_picture_in_every_frame() -> None:
    path = turn("kind=roll", LENS, frames=4)
    one = [frame.rgb for frame in attached(shot_of([PICTURE], LENS, frozen=True), path).frames]
    many = [frame.rgb for frame in attached(shot_of([PICTURE] * 4, LENS), path).frames]
    assert len(one) == 4
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


def test_a_constant_pan_moves_evenly() -> None:
    """What lies ahead of each camera moves as the poses say: the mean shift from frame to frame has no jitter."""
    path = turn("pan_deg=3", LENS, frames=25)
    made = attached(shot_of([PICTURE], LENS, frozen=True), path)
    strips = [frame.rgb[80:160, 128:288].mean(axis=2) for frame in made.frames]
    focal = made.trajectory.intrinsics[0, 0]
    shifts = np.array([_shift(a, b) for a, b in pairwise(strips)])
    assert np.abs(shifts + focal * np.tan(np.radians(3 / 24))).max() < 0.02


def _shift(a: np.ndarray, b: np.ndarray) -> float:
    """Pixels to the right from a to b: phase correlation's slope over the low frequencies (window: Hann)."""
    window = np.hanning(a.shape[0])[:, None] * np.hanning(a.shape[1])
    total = 0.0
    for _ in range(3):  # the window moves along, so that both see the same part
        moved = ndimage.shift(b, (0, -total), order=5, mode="nearest")
        cross = np.fft.fft2((a - a.mean()) * window) * np.conj(np.fft.fft2((moved - moved.mean()) * window))
        k = np.fft.fftfreq(a.shape[1])[None, :] + 0 * cross.real
        weight = np.abs(cross) * (np.abs(k) < 0.1)
        total += (weight * k * np.angle(cross)).sum() / (2 * np.pi * (weight * k * k).sum())
    return total
