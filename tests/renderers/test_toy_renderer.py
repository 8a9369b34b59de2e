"""The toy renderer: depth against a march along exact distances, known corners in the picture, views that agree."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from trajkit import se3, toy_world
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.renderers.toy import Options, Renderer
from trajkit.scenes import open_scenes
from trajkit.toy_world.pictures import MARKER_CELLS, MARKER_RIM
from trajkit.trajectory import Trajectory
from trajkit.undistort import undistorted_image

SEED = 3  # as in other tests, so that one room is painted
WIDE = Camera.from_fov(832, 480, 60)
SMALL = Camera.from_fov(160, 90, 55)


@pytest.fixture(scope="module")
def scene():
    (scene,) = open_scenes(f"toy:seed={SEED}")
    return scene


@pytest.fixture(scope="module")
def renderer(scene):
    return Renderer(scene, Options())


def frames(renderer, poses, camera):
    return list(renderer.frames(Trajectory.from_camera(np.asarray(poses), camera, fps=16)))


def rays(camera):
    """Camera rays (z = 1) of all pixel centres."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return camera.rays(np.stack([x, y], axis=-1))


def unprojected(frame, pose, camera):
    return se3.transform(pose, rays(camera) * frame.depth[..., None].astype(float))


def march(world, pose, camera, steps=200):
    """z-depth by sphere tracing: the slow twin, which knows nothing but distances. NaN where it does not arrive."""
    direction = (rays(camera) @ pose[:3, :3].T).reshape(-1, 3)
    length = np.linalg.norm(direction, axis=1)
    depth, arrived = np.zeros(len(direction)), np.zeros(len(direction), bool)
    for _ in range(steps):
        walking = np.flatnonzero(~arrived)
        if not len(walking):
            break
        away = world.distance(pose[:3, 3] + depth[walking, None] * direction[walking])
        depth[walking] += np.maximum(away, 0) / length[walking]
        arrived[walking] = away < 2e-6
    return np.where(arrived, depth, np.nan).reshape(camera.height, camera.width)


@pytest.mark.parametrize("index", [0, 17, 41])
def test_depth_is_that_of_a_march_along_exact_distances(scene, renderer, index):
    camera, pose = Camera.from_fov(24, 14, 55), scene.seen.camera_to_world[index]
    (frame,) = frames(renderer, [pose], camera)
    marched = march(renderer.world, pose, camera)
    there = np.isfinite(marched)
    assert there.mean() > 0.97
    np.testing.assert_allclose(frame.depth[there], marched[there], rtol=1e-4)


@pytest.mark.parametrize("distortion", [(), (0.06, -0.02, -0.001, 0.0005)])
def test_every_pixel_lies_on_a_surface(scene, renderer, distortion):
    camera = replace(SMALL, distortion=distortion, cx=70.3, fy=91.0)
    poses = scene.seen.camera_to_world[::20]
    for frame, pose in zip(frames(renderer, poses, camera), poses, strict=True):
        assert np.abs(renderer.world.distance(unprojected(frame, pose, camera))).max() < 1e-5
        assert (frame.alpha == 1).all()
        assert frame.rgb.dtype == np.uint8
        assert frame.depth.dtype == frame.alpha.dtype == np.float32


def board(world):
    """World positions of the marker board's inner corners, row by row, and the middle of its front."""
    solid = next(solid for solid in world.solids if any(skin.material == "marker" for skin in solid.skins))
    front = np.array(solid.centre) - (solid.size[0], 0, 0)  # it hangs on the +x wall and faces -x
    cells = (MARKER_RIM + (1 - 2 * MARKER_RIM) * np.arange(1, MARKER_CELLS) / MARKER_CELLS) * 2 - 1
    right, down = np.meshgrid(cells, cells)  # seen from the front, right is -y
    offsets = np.stack([0 * right, -right * solid.size[1], -down * solid.size[2]], axis=-1)
    return front + offsets.reshape(-1, 3), front


def saddle(grey, start, radius=4, rounds=8):
    """Sub-pixel corner near `start`: the point to which all grey gradients around it are perpendicular."""
    down, right = np.gradient(grey)
    point = np.array(start, float)
    for _ in range(rounds):
        i, j = np.round(point - 0.5).astype(int)
        window = (slice(j - radius, j + radius + 1), slice(i - radius, i + radius + 1))
        g = np.stack([right[window], down[window]], axis=-1).reshape(-1, 2)
        y, x = np.mgrid[window]
        at = np.stack([x + 0.5, y + 0.5], axis=-1).reshape(-1, 2)
        weight = np.exp(-((at - point) ** 2).sum(1) / (0.5 * radius) ** 2)[:, None, None]
        gram = weight * g[:, :, None] * g[:, None, :]
        point = np.linalg.solve(gram.sum(0), (gram @ at[:, :, None]).sum(0))[:, 0]
    return point


@pytest.mark.parametrize("offset", [(-2.2, -0.9, 0.1), (-1.4, -0.5, -0.3)])
@pytest.mark.parametrize("samples", [1, 2])
def test_painted_corners_land_on_their_pixels(scene, offset, samples):
    renderer = Renderer(scene, Options(samples=samples))
    corners, middle = board(renderer.world)
    pose = se3.look_at(middle + offset, np.add(middle, (0, 0.2, 0.05)), scene.up)
    (frame,) = frames(renderer, [pose], WIDE)
    expected = WIDE.project(se3.transform(se3.inverse(pose), corners))
    grey = frame.rgb.astype(float).mean(axis=-1)
    rng = np.random.default_rng(0)
    found = np.array([saddle(grey, pixel + rng.uniform(-1, 1, 2)) for pixel in expected])
    assert np.abs(found - expected).max() < 0.15
    at = np.floor(expected).astype(int)
    depth = se3.transform(se3.inverse(pose), corners)[:, 2]
    np.testing.assert_allclose(frame.depth[at[:, 1], at[:, 0]], depth, rtol=5e-3)  # within a pixel of the corner


def test_views_of_the_same_place_have_the_same_colour(scene, renderer):
    poses, camera = scene.seen.camera_to_world[[10, 13]], Camera.from_fov(416, 240, 60)
    first, second = frames(renderer, poses, camera)
    local = se3.transform(se3.inverse(poses[1]), unprojected(first, poses[0], camera))
    pixels = camera.project(local)
    inside = (np.nan_to_num(pixels, nan=-1) >= 0.5).all(-1) & (pixels < (camera.width - 0.5, camera.height - 0.5)).all(
        -1
    )
    at = np.floor(pixels[inside]).astype(int)
    same = np.abs(second.depth[at[:, 1], at[:, 0]] / local[inside][:, 2] - 1) < 0.01
    assert same.mean() > 0.8
    difference = np.abs(first.rgb[inside][same].astype(int) - second.rgb[at[same, 1], at[same, 0]]).mean(axis=-1)
    assert np.median(difference) < 3
    shuffled = np.abs(first.rgb[inside][same].astype(int) - np.roll(second.rgb[at[same, 1], at[same, 0]], 999, axis=0))
    assert np.median(shuffled) > 20  # what unrelated places would give


def test_filtering_agrees_with_many_rays(scene, renderer):
    camera = Camera.from_fov(208, 120, 60)
    pose = scene.seen.camera_to_world[[25]]
    (frame,) = frames(renderer, pose, camera)
    (fine,) = frames(Renderer(scene, Options(samples=1)), pose, camera.resized(208 * 6, 120 * 6))
    brute = fine.rgb.astype(float).reshape(120, 6, 208, 6, 3).mean(axis=(1, 3))
    difference = np.abs(frame.rgb - brute)
    assert difference.mean() < 2.5
    assert np.abs((frame.rgb - brute).mean()) < 0.3
    (rough,) = frames(Renderer(scene, Options(samples=1)), pose, camera)
    assert np.square(rough.rgb - brute).mean() > 1.15 * np.square(frame.rgb - brute).mean()  # samples smooth edges


def test_same_seed_same_bytes(scene, renderer):
    again = toy_world.World(seed=SEED, solids=renderer.world.solids)
    again.__dict__["painted"] = inspect.unwrap(toy_world.World.painted.func)(again)  # afresh: others are kept
    pose = scene.seen.camera_to_world[:1]
    first, second = frames(renderer, pose, SMALL)[0], next(again.frames(pose, iter([SMALL]), 2))
    for name in ("rgb", "depth", "alpha"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_outside_the_room_there_is_nothing(scene, renderer):
    outside = se3.look_at(scene.extent[1] * (3, 0, 1), np.zeros(3), scene.up)
    (frame,) = frames(renderer, [outside], SMALL)
    empty = frame.alpha == 0
    assert 0.1 < empty.mean() < 0.95
    assert (frame.depth[empty] == 0).all()
    assert (frame.rgb[empty] == 0).all()


def test_undistorting_a_distorted_picture_gives_the_pinhole_one(scene, renderer):
    lens = replace(WIDE, distortion=(0.08, -0.06, 0.001, -0.002), fx=430.0)
    pinhole = lens.undistorted().resized(416, 240)
    pose = scene.seen.camera_to_world[[33]]
    (bent,), (straight,) = frames(renderer, pose, lens), frames(renderer, pose, pinhole)
    result = undistorted_image(bent.rgb, lens, pinhole)
    shown = lens.project(rays(pinhole))
    inside = ((shown > 1) & (shown < (lens.width - 1, lens.height - 1))).all(-1)
    error = np.square(result[inside].astype(float) - straight.rgb[inside]).mean()
    assert 10 * np.log10(255**2 / error) > 33
    naive = bent.rgb[::2, ::2][inside].astype(float)
    assert np.square(naive - straight.rgb[inside]).mean() > 4 * error


def test_other_scenes_are_refused(scene):
    with pytest.raises(TrajkitError, match="not from toy"):
        Renderer(replace(scene, source="dl3dv:fox"), Options())
