"""Bundle adjustment: derivatives and equations against slow twins, and the right cameras from wrong claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tracked

from trajkit import se3, video
from trajkit.camera import Camera
from trajkit.clip import Clip
from trajkit.curation import _bundle, corrupt
from trajkit.curation._bundle import Sightings, Views
from trajkit.curation._solve import triangulated
from trajkit.curation.adjust import adjust, errors_of, induced
from trajkit.curation.induced import Sights, best_scale, errors_px
from trajkit.curation.residuals import partners, unit_world
from trajkit.curation.tracks import Tracks, follow
from trajkit.render import render
from trajkit.render_scene import RenderOptions
from trajkit.scenes import list_scenes
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

DEPTH = 7.0  # median, of the points of `tracked.tracks`


def true_error(claimed: Trajectory, exact: Trajectory, stride: int = 8) -> float:
    """Mean induced flow error over points at depths 2 to 12 all over the picture."""
    second = partners(exact, stride)
    first = np.repeat(np.flatnonzero(second >= 0), 8)
    rng = generator(0, "sights")
    xy, depth = rng.uniform((0, 0), tracked.SIZE, (len(first), 2)), rng.uniform(2, 12, len(first))
    sights = Sights(xy, depth, first, second[first])
    return float(np.nanmean(errors_px(claimed, exact, sights, best_scale(claimed, exact, sights))))


def problem() -> tuple[Views, np.ndarray, Sightings]:
    """A small adjustment: 6 poses, 14 points, some off by pixels."""
    walk = tracked.walk(6)
    tracks = tracked.tracks(walk, points=14, noise_px=0.5)
    keep = np.bincount(tracks.track, minlength=14) >= 3
    tracks = tracks.only(keep)
    cameras, _, _ = unit_world(walk)
    lenses = np.column_stack([walk.intrinsics, np.linspace(-1, 1, 6)])
    point = tracks.track.astype(np.int64)
    start = np.searchsorted(point, np.arange(tracks.count + 1))
    seen = Sightings(start, tracks.frame.astype(np.int64), tracks.xy.astype(np.float64), point)
    views = Views(cameras, lenses, np.array([0.02, -0.01]))
    return views, triangulated(views, seen, 2.0), seen


def test_derivatives_are_those_of_the_projection():
    views, points, _ = problem()
    place, basis = np.empty(5), np.empty((4, 3))
    rows = np.empty((2, 6)), np.empty((2, 2)), np.empty((2, 3))
    camera, lens, point = views.cameras[3], views.lenses[3], points[0]
    _bundle.tangent(point, basis)
    assert _bundle.project(camera, lens, views.shared, point, place)
    _bundle.rows_of(camera, lens, views.shared, point, basis, place, *rows)

    def pixel(step: np.ndarray) -> np.ndarray:
        moved, there = camera.copy(), np.empty(5)
        _bundle.apply_twist(moved, step[:6])
        assert _bundle.project(moved, lens, views.shared + step[6:8], point + basis @ step[8:], there)
        return there[:2].copy()

    size = 1e-6
    numeric = np.stack([(pixel(size * e) - pixel(-size * e)) / (2 * size) for e in np.eye(11)], axis=1)
    np.testing.assert_allclose(np.concatenate(rows, axis=1), numeric, rtol=1e-4, atol=1e-3)


def test_reduced_equations_give_the_step_of_all_equations():
    """Schur complement and banded layout against one dense system of all unknowns."""
    views, points, seen = problem()
    n, p, scale = len(views.cameras), len(points), 1.5
    total = 6 * n + 2 + 3 * p
    dense, right, cost = np.zeros((total, total)), np.zeros(total), 0.0
    place, basis = np.empty(5), np.empty((4, 3))
    rows = np.empty((2, 6)), np.empty((2, 2)), np.empty((2, 3))
    for m, (k, pose) in enumerate(zip(seen.point, seen.pose, strict=True)):
        _bundle.tangent(points[k], basis)
        assert _bundle.project(views.cameras[pose], views.lenses[pose], views.shared, points[k], place)
        _bundle.rows_of(views.cameras[pose], views.lenses[pose], views.shared, points[k], basis, place, *rows)
        error = place[:2] - seen.xy[m]
        cost += scale**2 * np.log(1 + error @ error / scale**2)
        jacobian = np.zeros((2, total))
        jacobian[:, 6 * pose : 6 * pose + 6], jacobian[:, 6 * n : 6 * n + 2] = rows[0], rows[1]
        jacobian[:, 6 * n + 2 + 3 * k : 6 * n + 5 + 3 * k] = rows[2]
        weight = 1 / (1 + error @ error / scale**2)
        dense += weight * jacobian.T @ jacobian
        right += weight * jacobian.T @ error
    dense[range(6 * n + 2), range(6 * n + 2)] += 1.0  # a prior, so that there is one solution
    dense[range(6 * n + 2, total), range(6 * n + 2, total)] += _bundle.RIDGE
    wanted = -np.linalg.solve(dense, right)

    system = _bundle.blank(n, seen)
    assert _bundle.observe(views, points, seen, scale, system) == pytest.approx(cost)
    assert _bundle.robust(views, points, seen, scale) == pytest.approx(cost)
    system.band[0] += 1.0
    system.corner[:] += np.eye(2)
    _bundle.eliminate(seen, 0.0, system)
    reduced = np.zeros((6 * n, 6 * n))
    for below in range(len(system.band)):
        reduced += np.diag(system.band[below, : 6 * n - below], -below) if below < 6 * n else 0
    reduced = np.tril(reduced) + np.tril(reduced, -1).T
    whole = np.block([[reduced, system.border], [system.border.T, system.corner]])
    step = -np.linalg.solve(whole, np.concatenate([system.right, system.right_shared]))
    np.testing.assert_allclose(step, wanted[: 6 * n + 2], rtol=1e-5, atol=1e-8)
    moved = np.empty_like(points)
    _bundle.points_step(points, seen, system, step[: 6 * n], step[6 * n :], moved)
    for k in range(p):
        _bundle.tangent(points[k], basis)
        there = points[k] + basis @ wanted[6 * n + 2 + 3 * k : 6 * n + 5 + 3 * k]
        np.testing.assert_allclose(moved[k], there / np.linalg.norm(there), atol=1e-8)


CLAIMS = [
    ("rotation-jitter", 1.0),
    ("translation-jitter", 0.01),
    ("rotation-drift", 8.0),
    ("translation-drift", 0.4),
    ("scale-drift", 2.0),
    ("focal-error", 0.3),
    ("focal-drift", 0.2),
    ("time-offset", 5.0),
    ("frozen", 0.4),
    ("frozen-then-back", 0.4),
    ("jump", 5.0),
    ("smoothed", 8.0),
    ("translation-zeroed", 1.0),
    ("identity", 1.0),
    ("half-inverted", 1.0),
    ("mirrored", 1.0),
    ("opengl", 1.0),
]


@pytest.mark.parametrize(("family", "severity"), CLAIMS)
def test_wrong_claims_come_right(family, severity):
    walk = tracked.walk()
    tracks = outlying(tracked.tracks(walk, points=250, noise_px=0.2))
    claimed = corrupt.corrupt(walk, family, severity, generator(3, family), depth=DEPTH)
    adjusted = adjust(claimed, tracks)
    before = true_error(claimed, walk)
    assert true_error(adjusted.trajectory, walk) < 0.3
    assert true_error(adjusted.trajectory, walk, 1) < 0.3
    if before > 1.5:
        assert induced(claimed, adjusted).mean_px[1] == pytest.approx(before, rel=0.5)
    assert adjusted.unobservable == ()
    np.testing.assert_array_equal(adjusted.trajectory.frame_index, claimed.frame_index)
    np.testing.assert_array_equal(adjusted.trajectory.times_s, claimed.times_s)


def outlying(tracks: Tracks, share: float = 0.2) -> Tracks:
    """The tracks, a share of which wanders off on its own."""
    rng = generator(4, "outliers")
    bad = rng.uniform(size=tracks.count) < share
    drift = rng.normal(size=(tracks.count, 2)) * 3 * bad[:, None]
    first = np.searchsorted(tracks.track, np.arange(tracks.count))
    age = tracks.frame - tracks.frame[np.minimum(first, len(tracks.frame) - 1)][tracks.track]
    return replace(tracks, xy=(tracks.xy + drift[tracks.track] * age[:, None]).astype(np.float32))


def test_right_claims_stay():
    walk = tracked.walk()
    adjusted = adjust(walk, outlying(tracked.tracks(walk, noise_px=0.2)))
    said = induced(walk, adjusted)
    assert true_error(adjusted.trajectory, walk) < 0.2
    assert said.mean_px[1] < 0.3
    assert said.worst_px[1] < 0.6
    assert said.scale == pytest.approx(1.0, abs=0.03)
    assert (said.mean_px < 3 * said.sigma_px).all()
    assert adjusted.focal_factor == pytest.approx(1.0, abs=4 * adjusted.focal_sigma)
    assert adjusted.focal_sigma < 0.03
    assert adjusted.focal_drift == pytest.approx(1.0, abs=0.001)
    assert adjusted.converged
    assert not adjusted.restarted
    assert 0.6 < adjusted.support[:, 1].min() < 1
    assert np.linalg.eigvalsh(adjusted.covariance).min() > -1e-9
    assert adjusted.trajectory.path_length == pytest.approx(walk.path_length, rel=0.05)


def test_a_jump_is_found_where_it_is():
    walk = tracked.walk()
    poses = walk.camera_to_world.copy()
    poses[20:, :3, :3] = poses[20:, :3, :3] @ se3.axis_rotation("y", 1.0)
    said = induced(
        replace(walk, camera_to_world=poses),
        adjust(replace(walk, camera_to_world=poses), outlying(tracked.tracks(walk))),
    )
    assert said.worst_frame[0] == 19
    assert said.worst_px[0] == pytest.approx(np.radians(1) * walk.intrinsics[0, 0], rel=0.4)
    assert np.nanmedian(said.by_pose_px[0]) < 0.2


def test_what_turning_on_the_spot_does_not_show():
    turning = tracked.turning()
    adjusted = adjust(turning, tracked.tracks(turning))
    assert "translation" in adjusted.unobservable
    assert induced(turning, adjusted).mean_px[1] < 0.2


def test_few_poses_of_a_long_video():
    walk = tracked.walk()
    tracks = tracked.tracks(walk)
    sparse = walk[np.arange(0, 41, 3)]
    wrong = corrupt.corrupt(sparse, "rotation-jitter", 0.5, generator(0), depth=DEPTH)
    adjusted = adjust(wrong, tracks)
    assert true_error(adjusted.trajectory, sparse) < 0.2
    said = induced(wrong, adjusted)
    assert said.mean_px[1] > 2
    assert len(said.by_pose_px[0]) == len(sparse)
    two = adjust(walk[np.array([0, 20])], tracks)
    assert np.isfinite(induced(walk[np.array([0, 20])], two).mean_px[1:]).sum() <= 2


@pytest.mark.parametrize("poses", [1, 2, 3, 41])
def test_without_tracks_the_claim_stays_unknown(poses):
    walk = tracked.walk(poses)
    adjusted = adjust(walk, tracked.nothing(poses))
    assert adjusted.trajectory is walk
    assert adjusted.unobservable == ("all",)
    assert not adjusted.converged
    said = induced(walk, adjusted)
    assert np.isnan(said.mean_px).all()
    assert np.isnan(errors_of(walk, tracked.nothing(poses))).all()


def test_tracks_left_out_judge_the_rest():
    walk = tracked.walk()
    tracks = outlying(tracked.tracks(walk), 0.05)
    left = tracks.xy[np.searchsorted(tracks.track, np.arange(tracks.count)).clip(max=len(tracks.xy) - 1), 0] < 300
    wrong = corrupt.corrupt(walk, "rotation-jitter", 0.3, generator(0), depth=DEPTH)
    adjusted = adjust(wrong, tracks, without=left)
    assert adjusted.points.xyzw.shape[0] == np.count_nonzero(~left)
    before, after = errors_of(wrong, tracks.only(left)), errors_of(adjusted.trajectory, tracks.only(left))
    assert after[0] < 0.3 < before[0]
    assert after[1] > 0.9 > before[1]


def test_movers_do_not_pull():
    walk = tracked.walk()
    adjusted = adjust(walk, tracked.tracks(walk, movers=0.3, noise_px=0.2))
    assert true_error(adjusted.trajectory, walk) < 0.3
    assert adjusted.inlier_share < 0.95


def test_rendered_video(tmp_path):
    """25 small frames of the toy world: what the claim says is what the tracks ask for, and errors are found."""
    pytest.importorskip("cv2")
    clip = rendered(tmp_path)
    tracks = follow(clip)
    assert len(tracks.track) / 25 > 100
    said = induced(clip.trajectory, adjust(clip.trajectory, tracks))
    assert said.mean_px[1] < 0.35
    wrong = corrupt.corrupt(clip.trajectory, "rotation-jitter", 0.5, generator(0), depth=3.0)
    assert induced(wrong, adjust(wrong, tracks)).mean_px[1] > 2


def rendered(folder: Path) -> Clip:
    options = RenderOptions(paths=("handheld",), frames=25, width=416, height=240, renderer="auto", seed=1)
    (clip,) = render(list_scenes(["toy:"]), options, folder)
    assert isinstance(clip, Clip), clip
    return clip


def test_real_video_names_the_focal_length_of_the_other_camera(shared, tmp_path):
    """7-Scenes ships the depth camera's focal length of 585; the pictures want about 10 % less (reference README)."""
    pytest.importorskip("cv2")
    from PIL import Image

    folder = shared / "data/sevenscenes"
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.color.jpg"))[:49]]
    video.encode(pictures, tmp_path / "scene.mp4", 16)
    poses = np.stack([np.loadtxt(path) for path in sorted(folder.glob("*.pose.txt"))[:49]])
    poses[:, :3, :3] = se3.nearest_rotation(poses[:, :3, :3])
    lens = Camera(width=640, height=480, fx=585, fy=585, cx=320, cy=240)
    claimed = Trajectory.from_camera(poses, lens, fps=16.0)
    adjusted = adjust(claimed, follow(tracked.clip(claimed, video=tmp_path / "scene.mp4", frames=49)))
    assert 0.85 < adjusted.focal_factor < 0.97
    assert adjusted.residual_px < 0.5
    assert 0.3 < induced(claimed, adjusted).mean_px[1] < 5
