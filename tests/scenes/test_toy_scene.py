"""The toy scene source, and the geometry of its world."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import toy_world
from trajkit.errors import TrajkitError
from trajkit.scenes import open_scenes
from trajkit.scenes.toy import VIEWS, world
from trajkit.toy_world import cast, solids
from trajkit.toy_world.solids import Skin, face_edges

PAINT = Skin(material="wood")
SHAPES = [
    solids.box((1, 2, 3), (0.4, 1.0, 0.2), PAINT, yaw_deg=30, pitch_deg=-20),
    solids.ball((1, -2, 0.5), 0.7, PAINT),
    solids.cone((0, 1, 2), (0.5, 0.2), 0.9, PAINT, yaw_deg=50),
    solids.cone((0, 1, 2), (0.1, 0.6), 0.3, PAINT),
    solids.room((4, 5, 3), (PAINT,) * 6),
]


def test_specs_open_rooms_that_differ_and_can_be_opened_again():
    first, second = open_scenes("toy:count=2,seed=3")
    assert [first.id, second.id] == ["toy-3", "toy-4"]
    (again,) = open_scenes(second.source)
    assert (again.id, again.unit, again.source) == (second.id, second.unit, second.source)
    np.testing.assert_array_equal(again.seen.camera_to_world, second.seen.camera_to_world)
    assert not np.array_equal(first.extent, second.extent)
    (plain,) = open_scenes("toy:")
    assert plain.source == "toy:"


@pytest.mark.parametrize("seed", range(6))
def test_the_walk_stays_clear_of_things_and_sees_the_room(seed):
    (scene,) = open_scenes(f"toy:seed={seed}")
    place = world(scene)
    assert len(scene.seen) == VIEWS
    assert place.distance(scene.seen.centres).min() > 0.25
    assert scene.seen.scale.kind == "metric"
    assert 0.5 < scene.unit < 2
    low, high = scene.extent
    assert ((scene.seen.centres > low) & (scene.seen.centres < high)).all()
    steps = np.linalg.norm(np.diff(scene.seen.centres, axis=0), axis=1)
    assert 0.1 < steps.min() < steps.max() < 0.6


@pytest.mark.parametrize("spec", ["toy:count=0", "toy:seed=-1", "toy:kount=2", "toy:count=x"])
def test_wrong_options_are_refused(spec):
    with pytest.raises(TrajkitError):
        list(open_scenes(spec))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.sampled_from(SHAPES), st.integers(0, 5), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_faces_lie_on_surfaces_and_lay_flat_without_loss(solid, face, across, down):
    face %= solids.FACES[solid.kind]
    width, height = face_edges(solid, face)
    u, v = across * width, down * height
    if solid.kind == solids.CONE and face > 0:  # stay on the disc within its square
        rim = solid.size[2 - face] * 0.99 / max(solid.size[:2])
        u, v = width / 2 + (u - width / 2) * rim * 0.7, height / 2 + (v - height / 2) * rim * 0.7
    point, normal = cast.face_point(solid.kind, solid.size, face, u, v)
    np.testing.assert_allclose(cast.face_uv(solid.kind, solid.size, face, point), (u, v), atol=1e-9)
    world_point = solid.rotation @ point + solid.centre
    outward = solid.rotation @ normal
    assert np.linalg.norm(outward) == pytest.approx(1)
    assert solids.distance([solid], world_point) == pytest.approx(0, abs=1e-9)
    assert solids.distance([solid], world_point + 1e-3 * outward) == pytest.approx(1e-3, rel=1e-5)
    assert solids.distance([solid], world_point - 1e-3 * outward) < 0


@pytest.mark.parametrize("solid", SHAPES)
def test_distance_is_that_to_the_nearest_surface_point(solid):
    """The twin: the nearest of very many points spread over all faces."""
    rng = np.random.default_rng(1)
    spread = []
    for face in range(solids.FACES[solid.kind]):
        width, height = face_edges(solid, face)
        for u, v in rng.random((4000, 2)) * (width, height):
            point, _ = cast.face_point(solid.kind, solid.size, face, u, v)
            if solid.kind != solids.CONE or face == 0 or np.hypot(*point[:2]) <= solid.size[2 - face]:
                spread.append(point)
    surface = np.array(spread) @ solid.rotation.T + solid.centre
    half = np.array(solids.half_extent(solid))
    points = np.array(solid.centre) + rng.uniform(-1, 1, (60, 3)) * half * 1.5
    nearest = np.linalg.norm(points[:, None] - surface, axis=2).min(axis=1)
    exact = np.abs(solids.distance([solid], points))
    inside_corner = solid.kind == solids.ROOM
    keep = solids.distance([solid], points) > 0 if inside_corner else np.ones(60, bool)
    assert (exact[keep] <= nearest[keep] + 1e-9).all()
    np.testing.assert_allclose(exact[keep], nearest[keep], atol=0.12)


def test_a_room_is_made_of_its_seed_alone():
    toy_world.build.cache_clear()
    first = toy_world.build(9).solids
    toy_world.build.cache_clear()
    second = toy_world.build(9).solids
    assert [solid.centre for solid in first] == [solid.centre for solid in second]
