"""Distances to surfaces: never more than the truth, and not much less."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import walled

from trajkit.gaussians import Gaussians, write_ply
from trajkit.scene import Scene
from trajkit.scenes import open_scenes
from trajkit.surface import SLACK, SPACING, surface_of

REGION = np.array([[-1.0, -3.0, 0.0], [4.0, 3.0, 3.0]])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return walled.scene(tmp_path_factory.mktemp("walled"))


def inner(count: int) -> np.ndarray:
    """Random points of the photographed half."""
    return np.random.default_rng(1).uniform([0.2, -2.9, 0.1], [3.9, 2.9, 2.9], (count, 3))


def test_splats_give_a_distance_that_is_never_more_than_the_true_one(place: Scene) -> None:
    points = inner(4000)
    points = points[walled.distance(points) > 0.05]
    found, true = surface_of(place, np.empty((0, 3)), REGION).distance(points), walled.distance(points)
    assert np.all(found <= true + 0.005)  # the discs are 4 mm thick
    assert np.all(found >= true - 2 * SLACK * place.unit)


def test_a_few_large_discs_block_as_far_as_they_reach(place: Scene, tmp_path: Path) -> None:
    """A wall of four discs, three units wide each: between their means there is wall, too."""
    means = np.array([[0, y, z] for y in (-3.0, 3.0) for z in (-3.0, 3.0)])
    disc = Gaussians(
        means=means,
        log_scales=np.tile(np.log([1e-3, 3.0, 3.0]), (4, 1)),
        quaternions_wxyz=np.tile([1.0, 0, 0, 0], (4, 1)),
        logit_opacities=np.full(4, 3.0),
        sh=np.zeros((4, 1, 3)),
    )
    write_ply(disc, tmp_path / "wall.ply")
    scene = replace(place, assets={"splat": tmp_path / "wall.ply"}, unit=1.0)
    points = np.stack([np.full(50, 0.7), *np.random.default_rng(0).uniform(-4, 4, (2, 50))], axis=-1)
    found = surface_of(scene, np.empty((0, 3)), np.array([[-5.0] * 3, [5.0] * 3])).distance(points)
    assert np.all(found <= 0.7)
    assert np.all(found > 0.7 - 1.5 * SPACING)


def test_faint_gaussians_do_not_block_but_seen_points_do(place: Scene, tmp_path: Path) -> None:
    faint = Gaussians(
        means=np.zeros((1, 3)), log_scales=np.full((1, 3), -3.0), quaternions_wxyz=np.array([[1.0, 0, 0, 0]]),
        logit_opacities=np.array([-1.0]), sh=np.zeros((1, 1, 3)),
    )  # fmt: skip
    write_ply(faint, tmp_path / "faint.ply")
    scene = replace(place, assets={"splat": tmp_path / "faint.ply"}, unit=1.0)
    region, here = np.array([[-2.0] * 3, [2.0] * 3]), np.array([[1.0, 0, 0]])
    assert surface_of(scene, np.empty((0, 3)), region).distance(here) == np.inf
    assert surface_of(scene, np.zeros((1, 3)), region).distance(here) == pytest.approx(1 - SLACK)
    assert surface_of(scene, np.array([[9.0, 0, 0]]), region).distance(here) == np.inf  # beyond where paths lead


def test_toy_rooms_are_exact() -> None:
    toy = next(open_scenes("toy:"))
    assert isinstance(toy, Scene)
    found = surface_of(toy, np.empty((0, 3)), toy.extent).distance(np.array([[0.0, 0.0, -0.5]]))
    assert found < 0  # below the floor
