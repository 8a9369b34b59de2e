"""Metrics against a reference: evo on real trajectories, slow twins, invariances, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation import reference as ref
from trajkit.errors import TrajkitError
from trajkit.trajectory import Scale, Trajectory

LENS = Camera.from_fov(64, 48, 60.0)
quick = settings(deadline=None, max_examples=25, derandomize=True)


def walk(seed, poses=40, turn=0.08, step=0.1):
    """Cameras on a smooth random walk with a bend, so that every alignment is defined."""
    rng = np.random.default_rng(seed)
    rotation, centre, found = np.eye(3), rng.normal(size=3), []
    velocity, spin = rng.normal(size=3), rng.normal(size=3)
    for _ in range(poses):
        velocity += 0.3 * rng.normal(size=3)
        spin += 0.3 * rng.normal(size=3)
        centre = centre + step * velocity
        rotation = rotation @ se3.exp(np.concatenate([np.zeros(3), turn * spin]))[:3, :3]
        found.append(se3.pose(se3.nearest_rotation(rotation), centre))
    return Trajectory.from_camera(np.array(found), LENS, fps=16)


def shaken(trajectory, seed, size=0.02):
    rng = np.random.default_rng(seed)
    twists = size * rng.normal(size=(len(trajectory), 6))
    return replace(trajectory, camera_to_world=trajectory.camera_to_world @ se3.exp(twists))


def similarity(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return se3.Similarity(scale, se3.exp(np.concatenate([np.zeros(3), rng.normal(size=3)]))[:3, :3], rng.normal(size=3))


def numbers(estimate, reference, align):
    return ref.flat(ref.compare(estimate, reference, align))


# ----------------------------------------------------------------------------------------------- evo


def real_pairs(shared):
    from evo.core import sync
    from evo.tools import file_interface

    folder = shared / "data/trajectories"
    yield (
        file_interface.read_kitti_poses_file(folder / "KITTI_00_gt.txt"),
        file_interface.read_kitti_poses_file(folder / "KITTI_00_ORB.txt"),
    )
    for name in ("freiburg1_xyz-rgbdslam.txt", "freiburg1_xyz-rgbdslam_drift.txt"):
        truth = file_interface.read_tum_trajectory_file(folder / "freiburg1_xyz-groundtruth.txt")
        yield sync.associate_trajectories(truth, file_interface.read_tum_trajectory_file(folder / name))


def ours(path):
    return Trajectory.from_camera(np.array(path.poses_se3), LENS, fps=10)


def snapped(trajectory):
    """evo's path of the same poses: the files' own rotations have six digits and are no rotations to 1e-9."""
    from evo.core.trajectory import PosePath3D

    return PosePath3D(poses_se3=list(trajectory.camera_to_world.copy()))


@pytest.mark.parametrize("align", ["none", "se3", "sim3"])
def test_evo_agrees_on_real_trajectories(shared, align):
    metrics = pytest.importorskip("evo.core.metrics")
    for truth, guess in real_pairs(shared):
        step = max(1, truth.num_poses // 100)  # evo takes a Python loop per pair
        keep = np.arange(0, truth.num_poses, step)
        truth.reduce_to_ids(keep)
        guess.reduce_to_ids(keep)
        theirs, mine = ours(truth), ours(guess)
        truth, guess = snapped(theirs), snapped(mine)
        if align != "none":
            guess.align(truth, correct_scale=align == "sim3")
        length = float(ref._path(theirs.camera_to_world)[-1])
        records = ref.compare(mine, theirs, align, path=(length / 8,))

        error = metrics.APE(metrics.PoseRelation.translation_part)
        error.process_data((truth, guess))
        assert_same(records["ate"], error)
        parts = {"translation": "translation_part", "rotation_deg": "rotation_angle_deg"}
        for name, relation in parts.items():
            for frames in ref.FRAMES:
                error = metrics.RPE(metrics.PoseRelation[relation], frames, metrics.Unit.frames, all_pairs=True)
                error.process_data((truth, guess))
                record = records[f"rpe_{frames}"]
                assert record.pairs == len(error.error)
                assert_same(getattr(record, name), error)
            error = metrics.RPE(
                metrics.PoseRelation[relation],
                length / 8,
                metrics.Unit.meters,
                rel_delta_tol=ref.PATH_TOLERANCE,
                all_pairs=True,
                pairs_from_reference=True,
            )
            error.process_data((truth, guess))
            record = records[f"rpe_path_{length / 8:g}"]
            assert record.pairs == len(error.error) > 0
            assert_same(getattr(record, name), error)


def assert_same(spread, error):
    theirs = error.get_all_statistics()
    for name in ("rmse", "mean", "median", "max"):
        assert getattr(spread, name) == pytest.approx(theirs[name], rel=1e-9)


# ----------------------------------------------------------------------------------------------- twins


def slow_auc(estimate, reference, limit):
    """Recall integrated over a fine grid, one pair after the other."""
    errors = []
    for i in range(len(estimate)):
        for j in range(i + 1, len(estimate)):
            here = np.linalg.inv(estimate[i]) @ estimate[j]
            there = np.linalg.inv(reference[i]) @ reference[j]
            trace = np.trace(there[:3, :3].T @ here[:3, :3])
            turned = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
            cosine = here[:3, 3] @ there[:3, 3] / np.linalg.norm(here[:3, 3]) / np.linalg.norm(there[:3, 3])
            errors.append(max(turned, np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    grid = (np.arange(20000) + 0.5) / 20000 * limit
    return float(np.mean([(np.array(errors) <= level).mean() for level in grid]))


@pytest.mark.parametrize("size", [0.003, 0.02, 0.1])
def test_auc_is_the_area_under_recall(size):
    truth = walk(1, poses=14)
    guess = shaken(truth, 2, size)
    found = ref.auc(ref.aligned(guess, truth, "none"))
    assert found.pairs == 14 * 13 / 2
    assert found.without_baseline == 0
    for limit in ref.AUC_DEG:
        slow = slow_auc(guess.camera_to_world, truth.camera_to_world, limit)
        assert getattr(found, f"at_{limit}") == pytest.approx(slow, abs=2e-4)


@given(st.integers(0, 999), st.floats(1e-3, 0.3), st.floats(0.05, 20))
@quick
def test_camera_errors_are_those_that_papers_print(seed, size, scale):
    """CamI2V's definitions, written out: poses relative to the first, each divided by its (or the truth's) reach."""
    truth = walk(seed)
    guess = shaken(truth, seed + 1, size).moved(similarity(seed, scale))
    one, two = ([np.linalg.inv(t.camera_to_world[0]) @ pose for pose in t.camera_to_world] for t in (truth, guess))
    reaches = [max(np.linalg.norm(pose[:3, 3]) for pose in poses) for poses in (one, two)]
    for align, divisor in (("first_frame_scale", reaches[1]), ("first_frame", reaches[0])):
        rotation = translation = both = 0.0
        for mine, theirs in zip(two, one, strict=True):
            cosine = (np.trace(theirs[:3, :3].T @ mine[:3, :3]) - 1) / 2
            rotation += np.arccos(np.clip(cosine, -1, 1))
            apart = mine[:3, 3] / divisor - theirs[:3, 3] / reaches[0]
            translation += np.linalg.norm(apart)
            both += np.sqrt(apart @ apart + ((mine - theirs)[:3, :3] ** 2).sum())
        found = ref.camera_errors(ref.aligned(guess, truth, align))
        assert found.rot_err_rad == pytest.approx(rotation, rel=1e-6, abs=1e-6)
        assert found.trans_err == pytest.approx(translation, rel=1e-9)
        assert found.cam_mc == pytest.approx(both, rel=1e-9)
        assert found.rot_err_mean_deg == pytest.approx(np.degrees(rotation) / 40, rel=1e-6, abs=1e-6)
        assert found.trans_err_mean * 40 == pytest.approx(found.trans_err)
        assert found.reach == pytest.approx(reaches[0])


def test_pairs_along_a_path_with_pauses_are_those_of_a_slow_search():
    rng = np.random.default_rng(5)
    centres = np.cumsum(rng.normal(size=(60, 3)) * (rng.random((60, 1)) < 0.5), axis=0)
    truth = Trajectory.from_camera(se3.pose(np.eye(3), centres), LENS, fps=16)
    guess = shaken(truth, 6)
    path = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    for distance in (2.0, 7.0, 20.0):
        slow = []
        for i in range(59):
            off = np.abs(path[i + 1 :] - path[i] - distance)
            if off.min() <= 0.1 * distance:
                slow.append((i, i + 1 + int(off.argmin())))  # the first of those that are equally near
        found = ref.relative_along(ref.aligned(guess, truth, "none"), distance)
        here, there = (np.linalg.inv(t.camera_to_world) for t in (guess, truth))
        shifts = []
        for i, j in slow:
            error = np.linalg.inv(there[i] @ truth.camera_to_world[j]) @ here[i] @ guess.camera_to_world[j]
            shifts.append(np.linalg.norm(error[:3, 3]))
        assert found.pairs == len(slow) > 5
        assert found.translation.mean == pytest.approx(np.mean(shifts))
        assert found.distance == pytest.approx(np.mean([path[j] - path[i] for i, j in slow]))


def test_known_errors_by_hand():
    """Five cameras on a bent line, the estimate off by 0.3 in one place and turned by 2 degrees there."""
    centres = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 2], [2, 0, 2.0]])
    poses = se3.pose(np.eye(3), centres)
    wrong = poses.copy()
    wrong[2, :3, 3] += (0, 0.3, 0)
    wrong[2, :3, :3] = se3.axis_rotation("y", 2.0)
    truth, guess = (Trajectory.from_camera(one, LENS, fps=16) for one in (poses, wrong))
    records = ref.compare(guess, truth, "none")
    assert records["ate"] == pytest.approx((0.3 / np.sqrt(5), 0.06, 0.0, 0.3))
    assert records["rpe_1"].rotation_deg == pytest.approx((np.sqrt(2.0), 1.0, 1.0, 2.0))
    assert records["rpe_8"] == ref.Relative(None, 0, None, None)
    assert records["camera"].rot_err_rad == pytest.approx(np.radians(2))
    assert records["camera"].trans_err == pytest.approx(0.3 / np.sqrt(8))
    assert records["rpe_path_50pct"].distance == 2.0
    assert records["rpe_path_50pct"].pairs == 3


# ----------------------------------------------------------------------------------------------- invariance


@given(st.integers(0, 999), st.floats(0.01, 50))
@quick
def test_sim3_and_scaled_first_frame_ignore_a_similarity_of_the_estimate(seed, scale):
    truth = walk(seed)
    guess = shaken(truth, seed + 1)
    moved = guess.moved(similarity(seed + 2, scale))
    for align in ("sim3", "first_frame_scale"):
        before, after = numbers(guess, truth, align), numbers(moved, truth, align)
        assert after.pop("association.scale") == pytest.approx(before.pop("association.scale") / scale)
        assert after == pytest.approx(before, rel=1e-6, abs=1e-7)


@given(st.integers(0, 999))
@quick
def test_se3_and_first_frame_ignore_a_rigid_motion_of_the_estimate(seed):
    truth = walk(seed)
    guess = shaken(truth, seed + 1)
    moved = guess.moved(similarity(seed + 2))
    for align in ("se3", "first_frame"):
        assert numbers(moved, truth, align) == pytest.approx(numbers(guess, truth, align), rel=1e-6, abs=1e-7)


@given(st.integers(0, 999), st.floats(1.2, 5))
@quick
def test_a_wrong_scale_is_seen_unless_the_alignment_removes_it(seed, scale):
    truth = walk(seed)
    guess = truth.scaled(scale)
    for align, clean in (("none", False), ("se3", False), ("first_frame", False), ("sim3", True)):
        assert (numbers(guess, truth, align)["ate.rmse"] < 1e-9) == clean
    assert numbers(guess, truth, "none")["auc.at_5"] == pytest.approx(1)


@given(st.integers(0, 999))
@quick
def test_the_same_cameras_have_no_error_under_any_alignment(seed):
    truth = walk(seed)
    for align in ref.ALIGNMENTS:
        found = numbers(truth, truth, align)
        assert found["auc.at_5"] == pytest.approx(1)
        errors = {name: value for name, value in found.items() if "rpe" in name or name.startswith("ate")}
        assert max(value for name, value in errors.items() if not name.endswith(("pairs", "distance"))) < 1e-6


@given(st.integers(0, 999))
@quick
def test_each_alignment_is_the_best_of_its_kind(seed):
    truth = walk(seed)
    guess = shaken(truth, seed + 1, 0.1).moved(similarity(seed, 1.7))
    rmse = {align: numbers(guess, truth, align)["ate.rmse"] for align in ref.ALIGNMENTS}
    assert rmse["sim3"] <= min(rmse.values()) + 1e-12
    assert rmse["se3"] <= min(rmse["none"], rmse["first_frame"]) + 1e-12


# ----------------------------------------------------------------------------------------------- odd input


def test_frames_are_paired_by_their_number_and_the_rest_is_counted():
    truth = walk(3)
    guess = truth[np.arange(4, 40, 6)]
    moved = replace(guess, frame_index=guess.frame_index + 5)
    records = ref.compare(guess, truth[:30], "none")
    assert records["association"] == ref.Association(5, 1, 25, 1.0, "none", "reference units")
    assert records["ate"].max == 0.0
    assert records["rpe_1"].distance == 6.0  # the first pose that is at least a frame later
    assert records["rpe_8"].distance == 12.0
    assert ref.compare(moved, truth, "none")["ate"].rmse > 0.01


def test_metric_trajectories_are_compared_in_metres():
    truth = replace(walk(4), scale=Scale(kind="metric", factor=0.5))
    guess = replace(walk(4).scaled(0.25), scale=Scale(kind="metric", factor=2.0))
    records = ref.compare(guess, truth, "none")
    assert records["association"].unit == "metres"
    assert records["ate"].max < 1e-12
    assert ref.compare(replace(guess, scale=Scale()), truth, "none")["ate"].max > 0.1


@pytest.mark.parametrize("poses", [1, 2, 3])
def test_few_poses_have_what_they_can_have(poses):
    truth = walk(5, poses=poses)
    records = ref.compare(truth, truth, "first_frame")
    assert records["ate"].max < 1e-12
    assert records["rpe_1"].pairs == poses - 1
    assert records["auc"].pairs == poses * (poses - 1) // 2
    assert (records["camera"].trans_err is None) == (poses == 1)
    assert all(np.isfinite(value) for value in ref.flat(records).values())


def test_still_cameras_are_judged_by_rotation_alone():
    poses = se3.pose(se3.axis_rotation("y", np.arange(10.0)), np.tile([3.0, 1, 2], (10, 1)))
    truth = Trajectory.from_camera(poses, LENS, fps=16)
    jittered = replace(truth, camera_to_world=poses + np.pad(1e-13 * np.ones((10, 3, 1)), ((0, 0), (0, 1), (3, 0))))
    for guess in (truth, jittered):
        records = ref.compare(guess, truth, "first_frame_scale")
        assert records["auc"].without_baseline == records["auc"].pairs == 45
        assert records["auc"].at_5 == pytest.approx(1)
        assert records["camera"].trans_err is records["camera"].cam_mc is None
        assert records["rpe_path_50pct"].pairs == 0


def test_an_estimate_without_motion_fails_where_the_reference_moves():
    truth = walk(6)
    poses = truth.camera_to_world.copy()
    poses[:, :3, 3] = poses[0, :3, 3]
    found = ref.auc(ref.aligned(replace(truth, camera_to_world=poses), truth, "none"))
    assert found.at_20 == 0.0
    assert found.without_baseline == 0


def test_a_reversed_direction_is_an_error_of_180_degrees():
    truth = walk(7)
    poses = truth.camera_to_world.copy()
    poses[:, :3, 3] *= -1
    assert ref.auc(ref.aligned(replace(truth, camera_to_world=poses), truth, "none")).at_20 < 0.1


def test_long_trajectories_are_thinned_for_auc():
    truth = walk(8, poses=1000)
    assert ref.auc(ref.aligned(truth, truth, "none")).pairs == ref.AUC_POSES * (ref.AUC_POSES - 1) // 2


def line(poses=10):
    centres = np.arange(poses)[:, None] * [0.0, 0, 1]
    return Trajectory.from_camera(se3.pose(np.eye(3), centres), LENS, fps=16)


def still(poses=10):
    return Trajectory.from_camera(np.tile(np.eye(4), (poses, 1, 1)), LENS, fps=16)


REFUSED = {
    "unknown alignment": (lambda: (walk(1), walk(1), "sim2"), "did you mean 'sim3'"),
    "nothing shared": (lambda: (walk(1), replace(walk(1), frame_index=np.arange(100, 140)), "none"), "0..39"),
    "two poses a frame": (lambda: (replace(walk(1), frame_index=np.arange(40) // 2), walk(1), "none"), "2 poses"),
    "a line": (lambda: (line(), line(), "se3"), "use first_frame"),
    "two poses": (lambda: (walk(1)[:2], walk(1)[:2], "sim3"), "at least 3"),
    "a still reference": (lambda: (line(), still(), "first_frame_scale"), "the reference alone stands still"),
    "a still estimate": (lambda: (still(), line(), "first_frame_scale"), "the estimate alone stands still"),
    "too far": (lambda: (line().scaled(1e200), line(), "none"), "beyond"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_told_in_one_line(name):
    make, words = REFUSED[name]
    with pytest.raises(TrajkitError) as caught:
        ref.compare(*make())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
