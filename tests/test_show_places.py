"""What surrounds the clips on the page: points from splats, from depth, from toy rooms; captured cameras; up."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from showclips import DEPTH, FRAMES, LENS, content_of, pictures, walk, write_clips

from trajkit import se3, seeding
from trajkit.clip import Clip, write_clip
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians, write_ply
from trajkit.members import Provenance
from trajkit.scenes import open_scenes
from trajkit.scenes.toy import world
from trajkit.show import ShowOptions, find, show
from trajkit.show.exhibit import sampled
from trajkit.show.place import Cloud, Place, View, cloud_of_gaussians, cloud_of_views, nearest, outline, seers, upwards
from trajkit.trajectory import Trajectory


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    return folder


def points_of(cloud: dict) -> np.ndarray:
    """A page's points, unpacked as its script does."""
    low, high = np.array(cloud["low"]), np.array(cloud["high"])
    return low + np.frombuffer(base64.b64decode(cloud["points"]), "<u2").reshape(-1, 3) / 65535 * (high - low)


def test_cloud_of_views_projects_back_onto_its_pixels() -> None:
    poses, lens = walk(step=0.3)[:3], LENS.resized(32, 24)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (24, 32, 3), np.uint8)
    depth = rng.uniform(1, 3, (24, 32)).astype(np.float32)
    depth[5, 7] = 0
    cloud = cloud_of_views((View(rgb, depth, lens, pose) for pose in poses), 10_000, rng)
    assert len(cloud.points) == 3 * (24 * 32 - 1)
    for index, points in enumerate(np.split(cloud.points, 3)):
        inside = se3.transform(se3.inverse(poses[index]), points)
        pixels = lens.project(inside)
        assert np.abs(pixels % 1 - 0.5).max() < 1e-3
        columns, rows = np.floor(pixels).astype(int).T
        assert np.array_equal(rgb[rows, columns], np.split(cloud.colours, 3)[index])
        assert inside[:, 2] == pytest.approx(depth[rows, columns], abs=1e-5)
    assert len(cloud_of_views([View(rgb, depth, lens, poses[0])], 100, rng).points) == 100
    assert cloud_of_views([View(rgb, 0 * depth, lens, poses[0])], 100, rng) is None


def test_sampled_takes_the_pixel_at_each_centre() -> None:
    depth = np.arange(12.0).reshape(3, 4) + 1
    assert np.array_equal(sampled(depth, (4, 3)), depth)
    assert np.array_equal(sampled(depth, (2, 1)), [[6.0, 8.0]])


@pytest.mark.parametrize("kind", ["z", "inverse"])
def test_depth_of_a_clip_becomes_points(tmp_path: Path, kind: str) -> None:
    write_clips(tmp_path / "clips", depth=kind)
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions())
    places = content_of(tmp_path / "page")["places"]
    assert [place["cloud"]["source"] for place in places] == ["points from depth"] * 3
    assert places[2]["cloud"]["low"][2] == pytest.approx(DEPTH, rel=1e-3), "one pose at the origin, a wall ahead"
    assert places[2]["cloud"]["high"][2] == pytest.approx(DEPTH, rel=1e-3)


def test_seers_are_the_nearest_cameras() -> None:
    place = Place(id="x", up=np.array([0, -1.0, 0]), cameras=Trajectory.from_camera(walk(count=200), LENS, fps=1.0))
    centres = seers(place, [])
    assert len(centres) == 64
    assert centres[[0, -1]] == pytest.approx(place.cameras.centres[[0, -1]])
    points = np.random.default_rng(0).normal(0, 10, (300, 3))
    wanted = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(1)
    assert np.array_equal(nearest(points, centres), wanted)


def gaussians(n: int = 500) -> Gaussians:
    rng = np.random.default_rng(1)
    return Gaussians(
        means=rng.normal(size=(n, 3)).astype(np.float32),
        log_scales=np.log(rng.uniform(0.01, 0.1, (n, 3))).astype(np.float32),
        quaternions_wxyz=np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        logit_opacities=np.where(np.arange(n) % 2, 3.0, -9.0).astype(np.float32),
        sh=np.zeros((n, 1, 3), np.float32) + np.float32([1.0, 0.0, -1.0]),
    )


def test_cloud_of_gaussians_takes_the_solid_ones() -> None:
    splats = gaussians()
    cloud = cloud_of_gaussians(splats, 100, seeding.generator(0))
    assert len(cloud.points) == 100
    solid = {tuple(mean) for mean in splats.means[1::2]}
    assert {tuple(point) for point in cloud.points} <= solid
    assert cloud.colours[0] == pytest.approx([199, 128, 56], abs=1), "0.5 + C0 * coefficient"
    assert len(cloud_of_gaussians(splats, 1000, seeding.generator(0)).points) == 250
    assert cloud_of_gaussians(gaussians(1), 10, seeding.generator(0)) is None


def test_splats_beside_the_clips_are_shown(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    write_ply(gaussians(), tmp_path / "clips/scenes/hall.ply")
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions())
    cloud = content_of(tmp_path / "page")["places"][0]["cloud"]
    assert cloud["source"] == "points from its Gaussians"
    points = points_of(cloud)
    steps = np.frombuffer(base64.b64decode(cloud["radii"]), np.uint8)
    radii = cloud["smallest"] * (cloud["largest"] / cloud["smallest"]) ** (steps / 255)
    assert len(points) == len(radii) == len(base64.b64decode(cloud["colours"])) / 3
    wanted = cloud_of_gaussians(gaussians(), 10_000, seeding.generator(0))
    distance = np.linalg.norm(points[:, None] - wanted.points, axis=-1)
    assert distance.min(1).max() < 1e-3
    assert radii == pytest.approx(wanted.radii[distance.argmin(1)], rel=0.02)


def test_outline_ignores_stray_points() -> None:
    cameras = Trajectory.from_camera(walk(), LENS, fps=1.0)
    points = np.vstack([np.random.default_rng(0).uniform(-1, 1, (2000, 3)), [[900.0, 900.0, 900.0]] * 20])
    cloud = Cloud(
        points=np.float32(points), colours=np.zeros((2020, 3), np.uint8), radii=np.ones(2020, np.float32), source="x"
    )
    low, high = outline(Place(id="x", up=np.array([0, -1.0, 0]), cameras=cameras, cloud=cloud), [])
    assert np.abs([low, high]).max() < 2
    assert low[2] < 0.05
    assert high[2] > 1.0, "the captured cameras are inside"


def test_upwards() -> None:
    assert upwards([Trajectory.from_camera(walk(), LENS, fps=1.0)]) == pytest.approx([0, -1, 0])


def toy_clip(folder: Path, source: str) -> None:
    """A clip of the toy room 3, its frames flat: what the room looks like does not matter here."""
    clip = Clip(
        key="toy",
        trajectory=next(open_scenes("toy:seed=3")).seen[:FRAMES].with_camera(LENS),
        fps=4.0,
        provenance=Provenance(kind="rendered", source=source, scene="toy-3"),
        licence="CC0-1.0",
    )
    write_clip(folder, clip, pictures(LENS))


@pytest.mark.parametrize(("source", "scenes"), [("toy:seed=3", ()), ("elsewhere", ("toy:count=2,seed=2",))])
def test_toy_scene_gives_cameras_and_points(tmp_path: Path, source: str, scenes: tuple[str, ...]) -> None:
    toy_clip(tmp_path / "clips", source)
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions(scenes=scenes))
    (place,) = content_of(tmp_path / "page")["places"]
    scene = next(open_scenes("toy:seed=3"))
    assert place["cameras"]["n"] == len(scene.seen)
    assert place["up"] == [0, 0, 1]
    points = points_of(place["cloud"])
    assert len(points) > 10_000
    assert np.abs(world(scene).distance(points)).max() < 1e-3, "the points lie on the room's surfaces"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [("toy:seed=9", "no clip is of its scenes; clips are of clip street, clip the-one, hall"), ("tey:", "'toy'")],
)
def test_scene_that_does_not_fit(clips: Path, tmp_path: Path, spec: str, problem: str) -> None:
    with pytest.raises(TrajkitError, match=problem):
        show(find([clips]), tmp_path / "page", ShowOptions(scenes=(spec,)))
    assert not (tmp_path / "page").exists()
