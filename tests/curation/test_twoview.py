"""Relative poses of pairs from tracks alone."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import tracked

from trajkit import se3
from trajkit.curation import twoview
from trajkit.errors import TrajkitError


@pytest.fixture(params=["poselib", "opencv"])
def solver(request, monkeypatch):
    if request.param == "opencv":
        monkeypatch.setitem(sys.modules, "poselib", None)
    else:
        pytest.importorskip("poselib")
    return request.param


def found(claimed, **changes):
    walk = tracked.walk()
    return twoview.relative(claimed, tracked.tracks(walk, **changes), twoview.spread(claimed, 8, 6))


def test_right_poses_agree(solver):
    views = found(tracked.walk(), movers=0.15)
    assert len(views) == 6
    assert np.median([view.rotation_error_deg for view in views]) < 0.1
    assert np.median([view.direction_error_deg for view in views]) < 3
    assert not any(view.only_rotation for view in views)
    assert 0.5 < np.median([view.inliers for view in views]) < 0.95
    assert all(view.parallax_px > 3 for view in views)


def test_wrong_poses_do_not(solver):
    walk = tracked.walk()
    turned = walk.camera_to_world.copy()
    turned[:, :3, :3] = turned[:, :3, :3] @ se3.axis_rotation("y", np.arange(len(walk)) * 0.25)
    views = found(replace(walk, camera_to_world=turned))
    assert np.median([view.rotation_error_deg for view in views]) == pytest.approx(2.0, abs=0.2)
    back = replace(walk, camera_to_world=se3.pose(walk.camera_to_world[:, :3, :3], -walk.centres))
    assert np.median([view.direction_error_deg for view in found(back)]) > 175


def test_rotation_alone_gives_no_direction(solver):
    turning = tracked.turning()
    views = twoview.relative(turning, tracked.tracks(turning), twoview.spread(turning, 8, 4))
    assert views
    assert all(view.only_rotation and np.isnan(view.direction_error_deg) for view in views)
    assert max(view.rotation_error_deg for view in views) < 0.05


def test_a_claim_without_translation_has_no_direction(solver):
    walk = tracked.walk()
    views = found(replace(walk, camera_to_world=se3.pose(walk.camera_to_world[:, :3, :3], np.zeros(3))))
    assert views
    assert all(np.isnan(view.direction_error_deg) for view in views)


def test_pairs_with_few_points_are_left_out(solver):
    walk = tracked.walk()
    assert twoview.relative(walk, tracked.nothing(41), [(0, 8), (3, 11)]) == []
    assert twoview.spread(walk[:1], 8, 5) == []


def test_without_either_solver(monkeypatch):
    monkeypatch.setitem(sys.modules, "poselib", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(TrajkitError, match="pip install trajkit"):
        found(tracked.walk())
