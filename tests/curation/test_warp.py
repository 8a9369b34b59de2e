"""Warping a still shot through its depth: against ray casting, a slow twin, and the truth behind toy pictures."""

import numpy as np
import pytest
import warpshots
from hypothesis import given, settings
from hypothesis import strategies as st
from warpshots import shot_of

from trajkit import se3
from trajkit.camera import Camera
from trajkit.curation import _mesh, warping
from trajkit.curation.attach import Attached, warp
from trajkit.curation.filling import filled
from trajkit.scene import Frame, Rejected
from trajkit.trajectory import Scale, Trajectory

SIZE = (208, 120)
LENS = Camera.from_fov(64, 48, 60.0)
NEAR_Z, FAR_Z = 2.0, 8.0
RED, BLUE = (200, 20, 20), (20, 20, 200)
BOX = (slice(12, 36), slice(20, 44))  # of the near plane


def planes() -> Frame:
    """A red square in front of a blue wall."""
    depth = np.full((LENS.height, LENS.width), FAR_Z, np.float32)
    rgb = np.full((LENS.height, LENS.width, 3), BLUE, np.uint8)
    depth[BOX], rgb[BOX] = NEAR_Z, RED
    return Frame(rgb=rgb, depth=depth)


def seen_from(frame: Frame, move: tuple[float, float, float], lens: Camera = LENS) -> warping.Warped:
    """The frame, by a camera that has moved and not turned."""
    target_from_source = se3.inverse(se3.pose(np.eye(3), np.array(move)))
    return warping.warp_picture(frame.rgb, warping.surface(frame.depth), lens, lens, target_from_source)


def path(*centres: tuple[float, float, float], kind: str = "sfm", lens: Camera = LENS) -> Trajectory:
    poses = se3.pose(np.eye(3), np.array(centres, np.float64))
    return Trajectory.from_camera(poses, lens, fps=16.0, scale=Scale(kind=kind))


def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_a_camera_that_stays_sees_the_very_picture() -> None:
    frame = Frame(rgb=noise(1, (48, 64, 3)), depth=planes().depth)
    same = seen_from(frame, (0, 0, 0))
    assert np.array_equal(same.rgb, frame.rgb)
    assert same.seen.min() == 1
    np.testing.assert_allclose(1 / same.inverse, frame.depth, rtol=1e-6)


def _twin(mesh: warping.Surface, source: Camera, target: Camera, target_from_source: np.ndarray) -> np.ndarray:
    """Inverse depth at each of the 2x2 samples: every sample's ray against every triangle of every cell."""
    y, x = (np.mgrid[: 2 * target.height, : 2 * target.width] + 0.5) / 2
    rays = target.rays(np.stack([x, y], axis=-1).reshape(-1, 2))
    nearest, hidden = np.full(len(rays), -1.0), np.full(len(rays), -1.0)
    for points, hides in _cells(mesh, source):
        a, b, c, d = se3.transform(target_from_source, points)
        for one, two, three in ((a, b, c), (d, c, b)):  # Moeller and Trumbore 1997
            first, second = two - one, three - one
            across = np.cross(rays, second)
            scale = across @ first
            inside = scale < -1e-12  # clockwise on the screen
            safe = np.where(inside, scale, 1)
            u = across @ -one / safe
            side = np.cross(-one, first)
            v = rays @ side / safe
            z = second @ side / safe
            inside &= (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (z > 0)
            into = hidden if hides else nearest
            into[inside] = np.maximum(into[inside], 1 / z[inside])
    return np.where(hidden > nearest + 1e-7, -1, nearest).reshape(y.shape)


def _cells(mesh: warping.Surface, source: Camera) -> list[tuple[np.ndarray, bool]]:
    """Corner points of each pixel's cell and of what goes on beyond the border, in the source's frame."""
    height, width = mesh.inverse.shape
    found = []
    for y in range(height):
        for x in range(width):
            corners = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)]
            inverse = [_corner(mesh, y, x, row, column) for column, row in corners]
            found.append((source.rays(np.array(corners, float)) / np.array(inverse)[:, None], False))
            ends = [(x, x + 1, -height / 2, 0)] if y == 0 else []
            ends += [(x, x + 1, height, 1.5 * height)] if y == height - 1 else []
            ends += [(-width / 2, 0, y, y + 1)] if x == 0 else []
            ends += [(width, 1.5 * width, y, y + 1)] if x == width - 1 else []
            for left, right, top, bottom in ends:
                beyond = np.array([(left, top), (right, top), (left, bottom), (right, bottom)], float)
                found.append((source.rays(beyond) / mesh.inverse[y, x], True))
    return found


def _corner(mesh: warping.Surface, y: int, x: int, row: int, column: int) -> float:
    """Mean inverse depth of those of a corner's pixels that a chain of small steps joins to (y, x)."""
    height, width = mesh.inverse.shape
    around = [(i, j) for i in (row - 1, row) for j in (column - 1, column) if 0 <= i < height and 0 <= j < width]
    joined, grown = {(y, x)}, True
    while grown:
        more = {
            one
            for one in around
            for other in joined
            if abs(one[0] - other[0]) + abs(one[1] - other[1]) == 1
            and abs(mesh.inverse[one] - mesh.inverse[other]) <= _mesh.JUMP * max(mesh.inverse[one], mesh.inverse[other])
        }
        grown = not more <= joined
        joined |= more
    return float(np.mean([mesh.inverse[one] for one in joined]))


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_the_slow_twin_draws_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth = (8 * rng.uniform(0.99, 1.01, (7, 9))).astype(np.float32)
    row, column = rng.integers(0, 5), rng.integers(0, 6)
    depth[row : row + 3, column : column + 4] /= rng.choice([2, 4])
    mesh, lens = warping.surface(depth, sharpen=False), Camera.from_fov(9, 7, 60.0)
    target = Camera(width=8, height=6, fx=7.1, fy=6.7, cx=4.2, cy=2.9)
    turn = se3.axis_rotation("y", rng.uniform(-6, 6)) @ se3.axis_rotation("x", rng.uniform(-6, 6))
    moved = se3.inverse(se3.pose(turn, rng.uniform(-0.25, 0.25, 3)))
    drawn, twin = warping._drawn(mesh, lens, target, moved), _twin(mesh, lens, target, moved)
    differ = np.abs(drawn - twin) > 1e-5
    assert differ.mean() <= 0.01  # a sample on an edge may fall to either side


@pytest.mark.parametrize("move", [0.2, -0.2])
def test_what_a_near_square_uncovers_is_a_hole_of_the_right_width(move: float) -> None:
    warped = seen_from(planes(), (move, 0, 0))
    row = warped.seen[24]
    shift = LENS.fx * move  # per unit of inverse depth
    near, far = sorted((44 if move > 0 else 20) - shift / z for z in (NEAR_Z, FAR_Z))
    hole = np.clip(np.minimum(np.arange(64) + 1, far) - np.maximum(np.arange(64), near), 0, 1)
    inside = slice(4, 60)  # the border loses some too
    np.testing.assert_allclose(1 - row[inside], hole[inside], atol=0.5)
    assert abs((1 - row[inside]).sum() - (far - near)) <= 0.5


def test_nothing_behind_shows_through_a_square_that_fills_the_view() -> None:
    warped = seen_from(planes(), (0, 0, 1.5))  # four times as large
    red = warped.seen == 1
    assert red[12:36].all()
    assert np.array_equal(np.unique(warped.rgb[12:36].reshape(-1, 3), axis=0), [RED])


def test_colours_do_not_bleed_over_an_edge() -> None:
    warped = seen_from(planes(), (0.13, 0.07, 0))
    whole = warped.rgb[warped.seen == 1].astype(int)
    part = whole[:, 0] / (RED[0] - BLUE[0]) - BLUE[0] / (RED[0] - BLUE[0])
    quarters = np.abs(part * 4 - np.rint(part * 4)) < 0.05  # a pixel is so many quarters of either surface
    assert quarters.all()


def test_a_surface_that_the_border_cuts_hides_what_is_behind_its_other_part() -> None:
    frame = planes()
    frame.depth[:36, 20:44], frame.rgb[:36, 20:44] = NEAR_Z, RED  # goes on above the picture
    warped = seen_from(frame, (0, -0.4, 0))
    assert warped.seen[:8, 22:42].max() == 0
    assert warped.seen[3:8, 50:].min() == 1


def test_a_grazing_floor_stays_whole() -> None:
    y = np.arange(48) + 0.5
    depth = np.where(y > LENS.cy, 1.5 * LENS.fy / np.maximum(y - LENS.cy, 1e-6), np.inf)
    frame = Frame(rgb=noise(2, (48, 64, 3)), depth=np.repeat(depth[:, None], 64, 1).astype(np.float32))
    warped = seen_from(frame, (0, -0.3, 0.1))
    floor = slice(29, 44)  # nearer to the horizon, a pixel holds several depths
    assert warped.seen[floor, 4:60].min() == 1
    expected = (y[floor] - LENS.cy) / LENS.fy / 1.8
    np.testing.assert_allclose(warped.inverse[floor, 32], expected, rtol=0.02, atol=1e-3)


def test_the_sky_turns_with_the_camera_and_missing_depth_is_unseen() -> None:
    frame = planes()
    frame.depth[:, :32], frame.depth[30:, 50:] = np.inf, np.nan
    still = seen_from(frame, (0, 0, 0))
    assert (still.inverse[:, :32] == 0).all()
    assert (still.seen[:, :32] == 1).all()
    assert (still.seen[31:, 51:] == 0).all()
    assert (seen_from(frame, (0.3, 0, 0)).inverse[:, :16] == 0).all()  # it does not move


def test_a_blurred_edge_is_sharpened_before_it_is_cut() -> None:
    depth = np.full((20, 30), 8.0, np.float32)
    depth[:, 15:] = 2.0
    depth[:, 14:16] = 1 / np.array([0.25, 0.375])  # an estimator's
    inverse = warping.surface(depth).inverse
    assert set(np.unique(inverse).tolist()) == {0.125, 0.5}
    assert len(np.unique(warping.surface(depth, sharpen=False).inverse)) == 4


def test_toy_pictures_are_as_they_truly_are_and_move_as_commanded() -> None:
    size = (320, 184)
    first, made, frames, truth = warpshots.filmed(9, size, 2)
    end, walk, true = frames[-1], made.trajectory, next(truth)
    assert warpshots.psnr_db(end.rgb, true.rgb, end.alpha >= 1) > 28
    found = warpshots.recovered(first, Camera.from_fov(*size, 50.0), end.rgb, walk.camera(0))
    moved = walk.camera_to_world[-1][:3, 3]
    assert np.linalg.norm(found[:3, 3] - moved) < 0.01 * np.linalg.norm(moved)
    known = (end.alpha >= 1) & (end.depth > 0)
    assert np.median(np.abs(end.depth - true.depth)[known] / true.depth[known]) < 1e-3


def test_what_counts_as_unseen_is_what_the_first_camera_truly_did_not_see() -> None:
    draw, pose, lens = warpshots.room(3, SIZE)
    walk = warpshots.random_path(4, lens, 2).scaled(0.6)
    two = list(draw.frames(Trajectory.from_camera(pose @ walk.camera_to_world, lens, fps=16.0)))
    relative = se3.inverse(walk.camera_to_world[1])
    warped = warping.warp_picture(two[0].rgb, warping.surface(two[0].depth), lens, lens, relative)
    y, x = np.mgrid[: lens.height, : lens.width] + 0.5
    points = lens.rays(np.stack([x, y], axis=-1)) * two[1].depth[..., None]
    before = se3.transform(walk.camera_to_world[1], points)
    pixel = lens.project(before)
    inside = np.isfinite(pixel).all(-1) & (pixel > 0).all(-1) & (pixel < SIZE).all(-1)
    column, row = np.where(inside[..., None], pixel, 0).astype(int).transpose(2, 0, 1)
    visible = inside & (np.abs(1 / two[0].depth[row, column] - 1 / before[..., 2]) < 0.03 / before[..., 2])
    assert 0.02 < (~visible).mean() < 0.5
    assert ((warped.seen >= 0.5) == visible).mean() > 0.975
    share = warping.unseen_share(warping.surface(two[0].depth), lens, lens, relative)
    assert abs(share - (~visible).mean()) < 0.01


@pytest.mark.parametrize("fill", ["edge", "inpaint"])
def test_holes_are_filled_from_behind_and_stay_unseen(fill: str) -> None:
    warped = seen_from(planes(), (0.2, 0, 0))
    picture = filled(warped, fill)
    hole = warped.seen == 0
    assert hole.sum() > 100
    assert np.abs(picture[hole].astype(int) - BLUE).max() < 90  # of 180
    assert np.abs(picture[hole].astype(int) - BLUE).mean() < 12
    assert np.array_equal(picture[warped.seen == 1], warped.rgb[warped.seen == 1])
    assert np.array_equal(picture, filled(seen_from(planes(), (0.2, 0, 0)), fill))
    assert (filled(warped, "none")[hole] == 0).all()


def test_attached_frames_say_what_they_are() -> None:
    walk = path((0, 0, 0), (0.1, 0, 0), (0.2, 0, 0))
    made = warp.attach(shot_of([planes()], LENS), walk, warp.Options(max_zoom=1))
    assert isinstance(made, Attached)
    frames = list(made.frames)
    assert made.depth
    assert made.trajectory.scale == Scale(kind="metric")
    assert made.checks["path_share"] == 1
    assert made.checks["zoom"] == 1
    measured = [1 - frame.alpha.mean() for frame in frames]
    assert made.checks["unseen_worst"] == pytest.approx(max(measured), abs=0.02)
    assert made.checks["unseen_mean"] == pytest.approx(np.mean(measured), abs=0.02)
    np.testing.assert_allclose(made.trajectory.centres, walk.centres)
    assert all(np.isfinite(frame.depth).all() for frame in frames)
    unknown = warp.attach(shot_of([planes()], LENS, scale="unknown"), walk, warp.Options())
    assert unknown.trajectory.scale == Scale(kind="unknown")


def test_path_units_are_a_quarter_of_the_median_depth() -> None:
    made = warp.attach(shot_of([planes()], LENS), path((0, 0, 0), (0.05, 0, 0), kind="unit"), warp.Options())
    assert made.trajectory.path_length == pytest.approx(0.05 * FAR_Z / 4)


def test_a_lens_is_narrowed_to_keep_borders_out_and_says_so() -> None:
    far = Frame(rgb=planes().rgb, depth=np.full((48, 64), FAR_Z, np.float32))
    walk = path((0, 0, 0), (0.6, 0, 0))
    options = warp.Options(max_unseen=0.01, max_zoom=1.25, slow=False)
    made = warp.attach(shot_of([far], LENS), walk, options)
    assert made.checks["zoom"] == pytest.approx(1.118, abs=0.01)
    np.testing.assert_allclose(made.trajectory.intrinsics[:, 0], LENS.fx * made.checks["zoom"], rtol=1e-3)
    assert made.trajectory.camera(0).cx == LENS.cx
    refused = warp.attach(shot_of([far], LENS), walk, warp.Options(max_unseen=0.01, max_zoom=1, slow=False))
    assert isinstance(refused, Rejected)


def test_a_path_that_shows_too_much_is_slowed_then_refused() -> None:
    walk = path((0, 0, 0), (1.2, 0, 0), (2.5, 0, 0))
    made = warp.attach(shot_of([planes()], LENS), walk, warp.Options(max_zoom=1))
    assert 0.25 <= made.checks["path_share"] < 1
    assert made.trajectory.path_length == pytest.approx(made.checks["path_share"] * 2.5, rel=0.05)
    assert made.checks["unseen_worst"] <= 0.25
    np.testing.assert_array_equal(made.trajectory.times_s, walk.times_s)
    refused = warp.attach(shot_of([planes()], LENS), path((0, 0, 0), (9, 0, 0)), warp.Options())
    assert isinstance(refused, Rejected)
    (finding,) = refused.findings
    assert (finding.code, finding.threshold) == ("unseen", 0.25)
    assert finding.value > 0.25


def test_each_frame_of_a_still_shot_is_warped_by_its_own_depth() -> None:
    shots = [planes(), planes()]
    shots[1].rgb[BOX] = (10, 200, 10)
    made = warp.attach(shot_of(shots, LENS, frozen=False), path((0, 0, 0), (0.05, 0, 0)), warp.Options())
    first, second = made.frames
    assert first.rgb[24, 30].tolist() == list(RED)
    assert second.rgb[24, 30].tolist() == [10, 200, 10]


def test_finer_pictures_are_reduced_without_aliasing() -> None:
    big = LENS.resized(256, 192)
    stripes = np.zeros((192, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    frame = Frame(rgb=stripes, depth=np.full((192, 256), FAR_Z, np.float32))
    made = warp.attach(shot_of([frame], big), path((0, 0, 0), (0.02, 0, 0)), warp.Options())
    grey = list(made.frames)[-1].rgb[4:-4, 4:-4].astype(int)
    assert np.abs(grey - 128).max() < 10


def test_shots_without_usable_depth_are_refused_with_the_reason() -> None:
    walk = path((0, 0, 0), (0.1, 0, 0))
    none = Frame(rgb=planes().rgb, depth=np.full((48, 64), np.nan, np.float32))
    flat = Frame(rgb=planes().rgb, depth=np.ones((10, 64), np.float32))
    for frames, frozen, problem in (
        ([none], True, "no depth is known"),
        ([planes()], False, "1 depth pictures for 2 frames"),
        ([flat], True, "depth of 64x10 for pictures of 64x48"),
    ):
        refused = warp.attach(shot_of(frames, LENS, frozen=frozen), walk, warp.Options())
        assert isinstance(refused, Rejected)
        assert refused.findings[0].code == "depth"
        assert problem in refused.reason
