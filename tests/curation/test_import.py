"""Import: published poses joined to frames. A pose that is one frame late must show."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import filmed
import killing
import numpy as np
import publishedsets as sets
import pytest
from PIL import Image

from trajkit import clip as clips
from trajkit import files, se3, video
from trajkit.curation import importing
from trajkit.curation.commands.importing import command
from trajkit.curation.exr import write_depth_zip
from trajkit.curation.importing import ImportOptions, imported, open_set
from trajkit.curation.windows import Cut
from trajkit.depth import read_depth
from trajkit.ledger import Ledger
from trajkit.poses import nerfstudio, re10k
from trajkit.scene import Rejected

SMALL = {"width": 160, "height": 96}  # another shape than the videos'
POINTS = np.random.default_rng(3).uniform(-1, 1, (200, 3)) * [2, 1, 1] + [0, 0, 4]


def run(spec, out, *, cut=None, **options):
    """What became of the set, without rejections."""
    made = list(imported(open_set(spec), ImportOptions(cut=cut or Cut(frames=21), **SMALL | options), out))
    assert not [one.reason for one in made if isinstance(one, Rejected)]
    return made


def projected(camera_to_world, lens, points=POINTS):
    """Pixels of world points."""
    return lens.project(se3.transform(se3.inverse(camera_to_world), points))


def source_times_s(clip, fps=sets.FPS):
    """When the source showed the clip's frames."""
    return clip.checks["source_first_frame"] / fps + clip.trajectory.times_s


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A clip of SpatialVID, as published."""
    root = tmp_path_factory.mktemp("published")
    sets.spatialvid_clip(root)
    return root


@pytest.fixture(scope="module")
def right(published, tmp_path_factory):
    """Its clips."""
    return run(f"spatialvid:{published}", tmp_path_factory.mktemp("right"))


def test_points_project_where_the_true_cameras_see_them(right):
    assert len(right) == 2
    for clip in right:
        lens = sets.exact(1).camera(0).fitted(160, 96)
        true = sets.walk(source_times_s(clip))
        for number, pose in enumerate(clip.trajectory.camera_to_world):
            off_px = projected(pose, clip.trajectory.camera(number)) - projected(true[number], lens)
            assert np.linalg.norm(off_px, axis=1).max() < 0.5


def test_pixels_are_what_the_cameras_see_and_one_frame_of_shift_shows(published, right, tmp_path):
    def off_px(clip):
        few = clip.trajectory[::4]
        return sets.offsets_px(video.read(clip.video, few.frame_index), few)

    assert off_px(right[0]).max() < 0.5
    for shift in (1, 2):
        root = tmp_path / str(shift)
        sets.annotate(root, 0, shift=shift)
        (root / "videos").symlink_to(published / "videos")
        late = run(f"spatialvid:{root}", tmp_path / f"out-{shift}")
        assert np.median(off_px(late[0])) > 0.5 * shift
        assert late[0].key != right[0].key


def test_a_clip_says_where_it_comes_from(right):
    clip = right[0]
    assert clip.provenance.kind == "estimated"
    assert clip.provenance.scene == sets.UUID.format(0)
    assert clip.provenance.source == f"spatialvid:group_0001/{sets.UUID.format(0)}"
    assert "MegaSaM" in clip.provenance.generator
    assert "principal point set to the middle" in clip.provenance.generator
    assert "NC-SA" in clip.licence
    assert clip.caption == "a painted room"
    assert clip.trajectory.scale.kind == "sfm"
    assert clip.checks["published_pose_rate"] == 5
    assert clip.checks["worst_pose_gap_s"] == 0.2
    assert 0 < clip.checks["worst_frame_off_s"] < 0.0168


def test_the_ledger_has_every_item_and_a_rerun_adds_none(published, tmp_path):
    sets.annotate(tmp_path / "set", 7)  # without a video
    (tmp_path / "set/annotations/group_0000").symlink_to(published / "annotations/group_0001")
    (tmp_path / "set/videos").mkdir()
    (tmp_path / "set/videos/group_0000").symlink_to(published / "videos/group_0001")
    spec, options = f"spatialvid:{tmp_path}/set", ImportOptions(cut=Cut(frames=5), max_clips=2, **SMALL)
    first = list(imported(open_set(spec), options, tmp_path / "out"))
    assert [type(one).__name__ for one in first] == ["Clip", "Clip", "Rejected"]
    before = killing.tree(tmp_path / "out")
    again = list(imported(open_set(spec), options, tmp_path / "out"))
    assert [one.key for one in again] == [one.key for one in first]
    assert killing.tree(tmp_path / "out") == before
    rows = Ledger(tmp_path / "out").scan().collect()
    assert sorted(rows["state"]) == ["imported", "imported", "rejected"]
    assert "no such file" in rows.filter(rows["state"] == "rejected")["reason"][0]
    assert str(tmp_path) not in "".join(rows["reason"])


def test_sparse_keeps_published_poses_to_the_last_digit(published, tmp_path):
    cut = Cut(frames=33, fps=0, sparse=True)
    clip = run(f"spatialvid:{published}", tmp_path, cut=cut)[0]
    assert clip.fps == sets.FPS
    assert list(clip.trajectory.frame_index) == [0, 6, 12, 18, 24, 30]
    assert clip.frames == 33
    assert np.allclose(clip.trajectory.camera_to_world, sets.sparse().camera_to_world[:6], atol=1e-6)


def test_poses_that_are_far_apart_are_not_bridged(published, tmp_path):
    folder = sets.annotate(tmp_path / "set", 0, without=range(7, 10))
    (tmp_path / "set/videos").symlink_to(published / "videos")
    made = run(f"spatialvid:{tmp_path}/set", tmp_path / "out", cut=Cut(frames=13))
    spans = [(one.checks["source_first_frame"], one.checks["source_last_frame"]) for one in made]
    assert spans
    assert all(last <= 36 or first >= 60 for first, last in spans), (folder, spans)


def test_windows_are_chosen(published, tmp_path):
    def first_frames(**options):
        return [one.checks["source_first_frame"] for one in run(f"spatialvid:{published}", tmp_path, **options)]

    cut = Cut(frames=9)
    every = first_frames(cut=cut)
    assert len(every) == 5
    assert first_frames(cut=cut, window="first") == every[:1]
    assert first_frames(cut=cut, window="middle") == every[2:3]
    assert first_frames(cut=cut, max_clips=2) == every[:2]


def test_a_far_window_is_jumped_to_and_is_the_same(published, right, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "AHEAD", 0)
    jumped = run(f"spatialvid:{published}", tmp_path)
    assert files.sha256(jumped[1].video) == files.sha256(right[1].video)


def test_depth_is_kept_for_the_frames_that_have_it(published, tmp_path):
    folder = sets.annotate(tmp_path / "set", 0)
    (tmp_path / "set/videos").symlink_to(published / "videos")
    few = sets.sparse()
    disparity = (1 / frame.depth[::2, ::2] for frame in filmed.pictures(few))
    write_depth_zip(tmp_path / f"set/depths/group_0001/{folder.name}.zip", disparity)
    clip = run(f"spatialvid:{tmp_path}/set", tmp_path / "out", cut=Cut(frames=9, fps=0), depth=True)[0]
    depth = read_depth(clip)
    assert [number for number in range(9) if depth[number].any()] == [0, 6]
    assert clip.checks["depth_frames"] == 2
    true = next(filmed.pictures(clip.trajectory[6:7])).depth
    assert np.median(np.abs(depth[6] / true - 1)) < 0.02


def test_items_can_be_sent_to_workers(published):
    for item in open_set(f"spatialvid:{published}"):
        assert pickle.loads(pickle.dumps(item)).key == item.key  # noqa: S301 - our own


def encode_at(path, pictures, times_s):
    """A video that shows each picture at its own time."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "12"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_video_of_changing_rate_goes_by_the_times_it_shows(tmp_path):
    rng = np.random.default_rng(5)
    times_s = np.cumsum(rng.choice([0.025, 0.033, 0.045], 64))
    times_s -= times_s[0]
    track = sets.exact(64)
    shown = replace(track, camera_to_world=sets.walk(times_s))
    encode_at(tmp_path / "vary.mkv", [frame.rgb for frame in filmed.pictures(shown)], times_s)
    assert not video.probe(tmp_path / "vary.mkv").constant_rate
    stamps = np.arange(0, times_s[-1], 0.1)
    near_s = times_s[[int(np.abs(times_s - stamp).argmin()) for stamp in stamps]]
    told = replace(track[: len(stamps)], camera_to_world=sets.walk(near_s), times_s=near_s)
    re10k.write(told, tmp_path / "vary.txt")
    clip = run(f"re10k:{tmp_path}", tmp_path / "out", cut=Cut(frames=29), width=sets.SIZE[0], height=sets.SIZE[1])[0]
    few = clip.trajectory[::4]
    assert sets.offsets_px(video.read(clip.video, few.frame_index), few).max() < 0.5


def grey(path, frames, fps, size=(64, 36)):
    """A video that shows nothing, for checks of cameras."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video.encode((np.full((*size[::-1], 3), 128, np.uint8) for _ in range(frames)), path, fps)


@pytest.mark.parametrize("name", ["0bf152ef84195293", "0c11dbe781b1c11c", "0c9b371cc6225682", "0f47577ab3441480"])
def test_real_cameras_of_re10k_project_as_their_numbers_say(shared, tmp_path, name):
    path = shared / f"data/re10k/{name}.txt"
    rows = np.loadtxt(path, skiprows=1)
    (tmp_path / "cameras").mkdir()
    (tmp_path / "cameras" / path.name).write_bytes(path.read_bytes())
    span_s = (rows[-1, 0] - rows[0, 0]) * 1e-6
    grey(tmp_path / f"videos/{name}.mp4", int(span_s * 30) + 2, 30)
    frames = int(span_s * 30) // 4 * 4 + 1
    cut = Cut(frames=frames, fps=0, sparse=True, max_gap_s=2)
    spec = f"re10k:{tmp_path}/cameras;videos={tmp_path}/videos,start=pose"
    clip = run(spec, tmp_path / "out", cut=cut, width=64, height=36)[0]
    kept = len(clip.trajectory)
    assert kept >= len(rows) - 1
    assert np.abs(clip.trajectory.times_s - (rows[:kept, 0] - rows[0, 0]) * 1e-6).max() < 0.5 / 30 + 1e-3
    world_to_camera = rows[:kept, 7:].reshape(-1, 3, 4)
    points = np.linalg.inv(world_to_camera[0, :, :3]) @ (POINTS - world_to_camera[0, :, 3]).T
    for number in (0, kept // 2, kept - 1):
        seen = world_to_camera[number, :, :3] @ points + world_to_camera[number, :, 3:]
        wanted = np.stack([rows[number, 1] * seen[0], rows[number, 2] * seen[1]]) / seen[2]
        wanted = (wanted.T + rows[number, 3:5]) * (64, 36)
        found = projected(clip.trajectory.camera_to_world[number], clip.trajectory.camera(number), points.T)
        near = np.abs(found).max(1) < 500
        assert near.sum() > 20
        assert np.abs(found - wanted)[near].max() < 1e-3
    centres = -np.einsum("nji,nj->ni", world_to_camera[..., :3], world_to_camera[..., 3])
    length = np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()
    assert clip.trajectory.path_length == pytest.approx(length, rel=1e-5)
    assert clip.trajectory.scale.kind == "sfm"


def test_frames_named_by_time(shared, tmp_path):
    path = shared / "data/re10k/0f68374b76390082.txt"
    stamps = np.loadtxt(path, skiprows=1)[:, 0].astype(int)
    folder = tmp_path / path.stem
    folder.mkdir()
    (tmp_path / path.name).write_bytes(path.read_bytes())
    for number, stamp in enumerate(stamps):
        if number != 3:
            Image.new("RGB", (64, 36), (number, 0, 0)).save(folder / f"{stamp}.png")
    clip = run(f"re10k:{tmp_path}", tmp_path / "out", cut=Cut(frames=9, fps=0, max_gap_s=1))[0]
    assert clip.checks["published_pose_rate"] == pytest.approx(clip.fps, rel=0.2)
    assert clip.checks["source_first_frame"] == 3  # a clip that began earlier would have a hole
    assert np.array_equal(video.read(clip.video)[:, 0, 0, 0] > 3, np.full(9, True))


@pytest.mark.parametrize("name", ["00", "01"])
def test_real_arrays_of_lingbot_project_as_their_numbers_say(shared, tmp_path, name):
    given = shared / f"data/lingbot/{name}"
    refused = list(open_set(f"lingbot:{given}"))
    assert "no video" in refused[0].reason
    folder = tmp_path / name
    folder.mkdir()
    for file in ("poses.npy", "intrinsics.npy", "prompt.txt", "image.jpg"):
        (folder / file).write_bytes((given / file).read_bytes())
    poses, intrinsics = np.load(given / "poses.npy"), np.load(given / "intrinsics.npy")
    grey(folder / "made.mp4", 81, 16, (104, 60))  # the model may make fewer frames than there are poses
    clip = run(f"lingbot:{tmp_path}", tmp_path / "out", cut=Cut(frames=81), width=104, height=60)[0]
    assert np.allclose(clip.trajectory.camera_to_world, poses[:81], atol=1e-6)
    points = POINTS @ poses[40, :3, :3].T + poses[40, :3, 3]
    seen = (points - poses[40, :3, 3]) @ poses[40, :3, :3]
    wanted = seen[:, :2] / seen[:, 2:] * intrinsics[40, :2] + intrinsics[40, 2:]
    found = projected(clip.trajectory.camera_to_world[40], clip.trajectory.camera(40), points)
    assert np.abs(found - wanted * (104 / 832)).max() < 1e-3
    steps = np.linalg.norm(np.diff(poses[:81, :3, 3].astype(float), axis=0), axis=1)
    assert clip.trajectory.path_length == pytest.approx(steps.sum(), rel=1e-4)
    assert clip.caption == (given / "prompt.txt").read_text().strip()


def test_a_real_scan_agrees_with_its_depth(shared, tmp_path):
    given = shared / "data/sevenscenes"
    spec = f"files:{given};poses=*.pose.txt,video=*.color.jpg,width=640,height=480,fx=585,fps=30,scale=metric"
    clip = run(spec, tmp_path, cut=Cut(frames=77, fps=0), width=320, height=240)[0]
    track = clip.trajectory
    centres = np.stack([np.loadtxt(given / f"frame-{number:06d}.pose.txt")[:3, 3] for number in range(77)])
    assert track.path_length == pytest.approx(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum(), rel=1e-4)
    assert (track.scale.kind, track.scale.factor) == ("metric", 1)
    depths = {n: np.asarray(Image.open(given / f"frame-{n:06d}.depth.png")) / 1000 for n in (0, 66)}
    depths = {n: np.where(depth > 20, 0, depth)[::2, ::2] for n, depth in depths.items()}

    def off_m(one, other):
        """How far surfaces that one frame sees are off those that the other sees there."""
        y, x = np.mgrid[:240:4, :320:4]
        lens = track.camera(one)
        points = lens.rays(np.stack([x, y], axis=-1) + 0.25) * depths[one][y, x, None]
        points = se3.transform(track.camera_to_world[one], points[depths[one][y, x] > 0])
        seen = se3.transform(se3.inverse(track.camera_to_world[other]), points)
        u, v = np.floor(lens.project(seen)).T
        there = (u >= 0) & (u < 320) & (v >= 0) & (v < 240)
        found = depths[other][v[there].astype(int), u[there].astype(int)]
        return float(np.median(np.abs(found - seen[there, 2])[found > 0]))

    assert off_m(0, 66) < 0.025
    track = replace(track, camera_to_world=track.world_to_camera)
    assert off_m(0, 66) > 0.1


def test_a_distorted_lens_is_undone(tmp_path):
    track = replace(sets.exact(5), distortion=(-0.15, 0.02, 0.003, -0.002))
    track = replace(track, names=tuple(f"images/{number:03d}.png" for number in range(5)))
    (tmp_path / "images").mkdir()
    for name, frame in zip(track.names, filmed.pictures(track), strict=True):
        Image.fromarray(frame.rgb).save(tmp_path / name)
    nerfstudio.write(track, tmp_path / "images/transforms.json")
    spec = f"files:{tmp_path}/images;poses=transforms.json,format=nerfstudio,video=*.png,fps=30"
    clip = run(spec, tmp_path / "out", cut=Cut(frames=5, fps=0))[0]
    assert clip.checks["undistorted"]
    assert sets.offsets_px(video.read(clip.video), clip.trajectory).max() < 0.5


def test_killed_anywhere_a_rerun_gives_the_same_bytes(tmp_path):
    program = Path(__file__).parents[1] / "import_killing.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)], env=killing.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 5


def test_the_command_counts_what_was_rejected(published, tmp_path, capsys):
    sets.annotate(tmp_path / "set", 1)
    arguments = ["--out", str(tmp_path / "out"), "--json", "--size", "160x96", "--frames", "21"]
    assert command.main([f"spatialvid:{tmp_path}/set", *arguments], standalone_mode=False) == 3
    assert sets.UUID.format(1) in json.loads(capsys.readouterr().out)["rejected"]
    one = str(published / "annotations/group_0001" / sets.UUID.format(0))
    flags = [*arguments, "--window", "first", "--dry-run"]
    assert command.main([f"spatialvid:{published}", *flags], standalone_mode=False) == 0
    assert json.loads(capsys.readouterr().out)["videos"], one
    assert command.main([f"spatialvid:{published}", *flags[:-1]], standalone_mode=False) == 0
    assert len(json.loads(capsys.readouterr().out)["clips"]) == 1
    assert len(clips.clip_keys(tmp_path / "out")) == 1
