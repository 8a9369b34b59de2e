"""Sets as published, made by hand of filmed dots: once read, each dot lies where the cameras say, in its frame."""

import json
import pickle
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trajkit import options as options_
from trajkit import plugins, se3, video
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance, write_clip
from trajkit.curation.exr import write_depth_zip
from trajkit.curation.imports import Posed
from trajkit.errors import TrajkitError
from trajkit.poses._arrays import npz_bytes
from trajkit.scene import Frame, Rejected
from trajkit.trajectory import Trajectory

WIDTH, HEIGHT, FRAMES, FPS = 208, 120, 21, 16.0
LENS = Camera(width=WIDTH, height=HEIGHT, fx=150, fy=150, cx=WIDTH / 2, cy=HEIGHT / 2)
DOTS = np.array([[0.2, -0.15, 3.0], [-0.5, 0.35, 4.0], [0.7, 0.4, 5.0]])
TURN = np.linspace(-8, 8, FRAMES)
WALK = se3.pose(
    se3.axis_rotation("y", TURN) @ se3.axis_rotation("x", TURN / 2) @ se3.axis_rotation("z", TURN / 3),
    np.stack([TURN / 40, TURN / -80, TURN / 20], axis=1),
)
DEPTH = np.full((HEIGHT, WIDTH), 3.0, np.float32)


def dots(lens: Camera, pose: np.ndarray) -> np.ndarray:
    """A grey picture with a bright dot wherever the camera sees one."""
    y, x = np.mgrid[: lens.height, : lens.width] + 0.5
    light = np.full((lens.height, lens.width), 20.0)
    for at in lens.project(se3.transform(se3.inverse(pose), DOTS)):
        light += 215 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 4)
    return light.clip(0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def film(path: Path, lens: Camera = LENS, poses: np.ndarray = WALK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    video.encode((dots(lens, pose) for pose in poses), path, FPS)
    return path


def photos(folder: Path, name: str, lens: Camera = LENS, numbers=range(FRAMES)) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(dots(lens, WALK[number])).save(folder / name.format(number))


def off_px(item: Posed, shift: int = 0) -> float:
    """How far dots lie from where the cameras say: the worst one, in pixels; infinite for one that is not there."""
    size = None
    worst, count = 0.0, 0
    for place, frame in enumerate(item.trajectory.frame_index + shift):
        if not 0 <= frame < (len(item.video) if isinstance(item.video, tuple) else FRAMES):
            continue
        picture = _picture(item.video, int(frame))
        size = picture.shape[1::-1]
        track = item.trajectory.resized(*size)
        for at in track.camera(place).project(se3.transform(track.world_to_camera[place], DOTS)):
            left, top = (np.nan_to_num(at, nan=-99) - 7).astype(int)
            if left < 0 or top < 0 or left + 14 > size[0] or top + 14 > size[1]:
                continue
            light = picture[top : top + 14, left : left + 14, 1].astype(float) - 40
            if light.max() < 60:
                return np.inf
            light = light.clip(0)
            y, x = np.mgrid[:14, :14] + 0.5
            seen = np.array([(light * x).sum(), (light * y).sum()]) / light.sum() + (left, top)
            worst, count = max(worst, float(np.linalg.norm(seen - at))), count + 1
    return worst if count > len(item.trajectory) else np.inf


def _picture(source, frame: int) -> np.ndarray:
    if isinstance(source, tuple):
        return np.asarray(Image.open(source[frame]).convert("RGB"))
    return video.read(source, [frame])[0]


def quaternions(motions: np.ndarray) -> np.ndarray:
    return np.hstack([motions[:, :3, 3], se3.to_quaternion_xyzw(motions[:, :3, :3])])


def write_vipe(root: Path, name: str = "a", frames=range(2, FRAMES)) -> None:
    film(root / f"rgb/{name}.mp4")
    index = np.array(frames)
    lens = np.tile([150, 150, WIDTH / 2, HEIGHT / 2], (FRAMES, 1)).astype(np.float32)
    for folder, array in (("pose", WALK[index].astype(np.float32)), ("intrinsics", lens[index])):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}.npz").write_bytes(npz_bytes({"data": array, "inds": index}))
    (root / f"intrinsics/{name}_camera.txt").write_text("2: PINHOLE\n")
    write_depth_zip(root / f"depth/{name}.zip", (DEPTH + number for number in range(FRAMES)))


def write_megasam(root: Path, name: str = "a", form: str = "outputs_cvd/{}_sgd_cvd_hr.npz") -> None:
    """What MegaSaM makes of 208x120: 583x336, of which 576x336 are kept."""
    film(root / f"originals/{name}.mp4")
    factors = np.array([583 / WIDTH, 336 / HEIGHT])
    matrix = np.diag([*factors, 1]) @ LENS.matrix
    depths = np.full((FRAMES, 336, 576), 3, np.float16) + np.arange(FRAMES, dtype=np.float16)[:, None, None]
    path = root / form.format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(npz_bytes({"cam_c2w": WALK.astype(np.float32), "intrinsic": matrix, "depths": depths}))


def write_minwm(root: Path, slug: str = "right3up2", row: dict | None = None) -> None:
    """Three steps to the right, two up: 3 degrees each, one per 4 frames; the lens of all of WorldPlay's pictures."""
    step = np.arange(FRAMES) / 4
    poses = se3.pose(
        se3.axis_rotation("y", 3 * np.minimum(step, 3)) @ se3.axis_rotation("x", 3 * np.maximum(step - 3, 0)),
        np.zeros((FRAMES, 3)),
    )
    k = Camera(width=WIDTH, height=HEIGHT, fx=0.5050505 * WIDTH, fy=0.8978675 * HEIGHT, cx=WIDTH / 2, cy=HEIGHT / 2)
    film(root / f"videos/000000_{slug}/gen.mp4", k, poses)
    row = {"image_path": "/elsewhere/a.png", "caption": "three dots", "pose_str": "right-3, up-2"} | (row or {})
    (root / "preencode_input.json").write_text(json.dumps([row]))


def write_worldplay(root: Path, form: str = "inference") -> None:
    """Inference: the first pose is the identity, so the dots are seen from there; K is for 1920x1080."""
    tall = replace(LENS, fx=969.69697 / 1920 * WIDTH, fy=969.69697 / 1080 * HEIGHT)
    film(root / "one/gen.mp4", tall)
    matrix = [[969.69697, 0, 960], [0, 969.69697, 540], [0, 0, 1]]
    if form == "inference":
        table = {str(k): {"extrinsic": WALK[4 * k].tolist(), "K": matrix} for k in (*range(5, -1, -1),)}
    else:
        table = {str(k): {"w2c": pose.tolist(), "intrinsic": matrix} for k, pose in enumerate(se3.inverse(WALK))}
    (root / "one/pose.json").write_text(json.dumps(table))
    (root / "one/prompt.txt").write_text("three dots\n")


def write_tartanair(root: Path, camera: str = "left") -> None:
    """North is the camera's z, east its x, down its y."""
    folder = root / "house/Easy/P000"
    square = Camera(width=WIDTH, height=HEIGHT, fx=WIDTH / 2, fy=WIDTH / 2, cx=WIDTH / 2, cy=HEIGHT / 2)
    photos(folder / f"image_{camera}", "{:06d}_" + camera + ".png", square)
    ned = np.tile(np.eye(4), (FRAMES, 1, 1))
    ned[:, :3, :3] = WALK[:, [2, 0, 1]][:, :, [2, 0, 1]]
    ned[:, :3, 3] = WALK[:, [2, 0, 1], 3]
    np.savetxt(folder / f"pose_{camera}.txt", quaternions(ned))
    (folder / f"depth_{camera}").mkdir()
    for number in range(FRAMES):
        depth = DEPTH + number
        depth[0, :2] = 10_000, np.inf
        path = folder / f"depth_{camera}" / f"{number:06d}_{camera}_depth.npy"
        if camera == "left":
            np.save(path, depth)
        else:  # OpenCV takes the four bytes for blue, green, red, alpha
            bgra = depth.view(np.uint8).reshape(HEIGHT, WIDTH, 4)
            Image.fromarray(bgra[..., [2, 1, 0, 3]].copy(), "RGBA").save(path.with_suffix(".png"))


def write_dl3dv(root: Path) -> None:
    """Distorted photos 3, 4, ... without number 10, in the world of nerfstudio's old transform, OpenGL axes."""
    lens = replace(LENS, distortion=(0.1, -0.05, 0.01, -0.01))
    numbers = [number for number in range(3, FRAMES) if number != 10]
    photos(root / "scan/images", "frame_{:05d}.png", lens, numbers)
    old = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1.0]])
    frames = [
        {
            "file_path": f"images/frame_{number:05d}.png",
            "transform_matrix": (old @ WALK[number] @ np.diag([1, -1, -1, 1])).tolist(),
        }
        for number in reversed(numbers)
    ]
    table = {"w": WIDTH, "h": HEIGHT, "fl_x": 150, "fl_y": 150, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    table |= {"k1": 0.1, "k2": -0.05, "p1": 0.01, "p2": -0.01, "camera_model": "OPENCV"}
    (root / "scan/transforms.json").write_text(
        json.dumps(table | {"frames": frames, "applied_transform": old[:3].tolist()})
    )


@dataclass(frozen=True)
class Set:
    """A set's writer and what reading it must say."""

    write: object
    poses: int
    kind: str
    scale: str
    licence: str
    text: str = ""
    caption: str = ""


SETS = {
    "vipe": Set(write_vipe, FRAMES - 2, "estimated", "unknown", "footage"),
    "megasam": Set(write_megasam, FRAMES, "estimated", "sfm", "footage", "videos=originals"),
    "minwm": Set(write_minwm, 6, "generated", "unit", "must not be used to train", caption="three dots"),
    "worldplay": Set(write_worldplay, 6, "generated", "unit", "must not be used to train", caption="three dots"),
    "tartanair": Set(write_tartanair, FRAMES, "rendered", "metric", "CC-BY-4.0"),
    "dl3dv": Set(write_dl3dv, FRAMES - 4, "estimated", "sfm", "unknown"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Each set once; tests that damage one copy it first."""
    folders = {}
    for name, case in SETS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        case.write(folders[name])
    return folders


def found(name: str, root: Path, text: str | None = None) -> list[Posed | Rejected]:
    module = plugins.load("imports", name)
    text = (SETS[name].text if text is None else text).replace("originals", str(root / "originals"))
    return list(module.posed(root, options_.parse(module.Options, text, where=name)))


def only(name: str, root: Path, text: str | None = None) -> Posed:
    (item,) = found(name, root, text)
    assert isinstance(item, Posed), item.reason
    return item


@pytest.mark.parametrize("name", SETS)
def test_dots_lie_where_the_cameras_say_and_not_a_frame_later(name, made):
    item = only(name, made[name])
    assert off_px(item) < 0.35
    assert off_px(item, shift=1) > 0.9
    assert off_px(item, shift=-1) > 0.9


@pytest.mark.parametrize("name", SETS)
def test_what_a_set_says_of_its_videos(name, made):
    case, item = SETS[name], only(name, made[name])
    assert len(item.trajectory) == case.poses
    assert (item.kind, item.trajectory.scale.kind, item.caption) == (case.kind, case.scale, case.caption)
    assert case.licence in item.licence
    assert item.source.startswith(f"{name}:")
    assert str(made[name]) not in item.source + item.key
    assert item.estimator
    assert plugins.load("imports", name).LICENCE


def test_vipe_joins_poses_and_depth_by_frame(made):
    item = only("vipe", made["vipe"], "scale=metric")
    assert item.trajectory.frame_index.tolist() == list(range(2, FRAMES))
    assert item.trajectory.scale.kind == "metric"
    assert [float(depth[5, 5]) for depth in item.depth()] == [3.0 + number for number in range(2, FRAMES)]


@pytest.mark.parametrize("form", ["outputs/{}_droid.npz", "outputs_cvd/{}_sgd_cvd_hr.npz"])
def test_megasam_depth_covers_the_original_picture(form, tmp_path):
    write_megasam(tmp_path, form=form)
    depths = list(only("megasam", tmp_path).depth())
    assert [depth.shape for depth in depths] == [(336, 583)] * FRAMES
    assert [float(depth[9, 9]) for depth in depths] == [3.0 + number for number in range(FRAMES)]
    assert not depths[0][:, 576:].any()  # the strip that MegaSaM cut off


def test_megasam_of_every_second_frame(tmp_path):
    write_megasam(tmp_path)
    path = tmp_path / "outputs_cvd/a_sgd_cvd_hr.npz"
    arrays = dict(np.load(path))
    path.write_bytes(npz_bytes(arrays | {"cam_c2w": arrays["cam_c2w"][::2], "depths": arrays["depths"][::2]}))
    (item,) = found("megasam", tmp_path)
    assert "11 poses for 21 pictures" in item.reason
    item = only("megasam", tmp_path, "videos=originals,step=2")
    assert item.trajectory.frame_index.tolist() == list(range(0, FRAMES, 2))
    assert off_px(item) < 0.35


def test_megasam_of_photos(tmp_path):
    write_megasam(tmp_path, form="outputs/{}_droid.npz")
    (tmp_path / "originals/a.mp4").unlink()
    photos(tmp_path / "originals/a", "{:04d}.png")
    item = only("megasam", tmp_path, "videos=originals,fps=8")
    assert (len(item.video), item.fps, item.trajectory.times_s[8]) == (FRAMES, 8.0, 1.0)
    assert off_px(item) < 0.35


def test_worldplay_training_files_hold_a_pose_per_frame(tmp_path):
    write_worldplay(tmp_path, "training")
    item = only("worldplay", tmp_path)
    assert len(item.trajectory) == FRAMES
    assert off_px(item) < 0.35


def test_minwm_names_of_either_encoder_and_what_its_json_says(tmp_path):
    down = {"0": np.eye(4)} | {str(k): np.eye(4) for k in range(1, 6)}
    for k in range(1, 6):
        down[str(k)] = se3.pose(
            se3.axis_rotation("y", np.array(3.0 * min(k, 3))) @ se3.axis_rotation("x", np.array(-3.0 * max(k - 3, 0))),
            np.zeros(3),
        )
    matrix = [[969.69697, 0, 960], [0, 969.69697, 540], [0, 0, 1]]
    write_minwm(tmp_path, "Right3Up2", {"pose_str": "right-3, up-2", "pose_json_path": "pose.json"})
    (tmp_path / "videos/000000_Right3Up2").rename(tmp_path / "videos/000000_right3up2")
    table = {key: {"extrinsic": pose.tolist(), "K": matrix} for key, pose in down.items()} | {"_metadata": {}}
    (tmp_path / "pose.json").write_text(json.dumps(table))
    (item,) = found("minwm", tmp_path)
    assert "pose_str and pose_json_path differ" in item.reason
    assert off_px(only("minwm", tmp_path, "poses=string")) < 0.35
    assert off_px(only("minwm", tmp_path, "poses=json")) > 2  # its exporter's pitch is the other way round


def test_tartanair_depth_is_metres_without_the_sky(tmp_path, made):
    write_tartanair(tmp_path, "lcam_front")
    for root, camera in ((made["tartanair"], "left"), (tmp_path, "lcam_front")):
        item = only("tartanair", root)
        assert item.source == f"tartanair:house/Easy/P000/image_{camera}"
        depths = list(item.depth())
        assert [float(depth[5, 5]) for depth in depths] == [3.0 + number for number in range(FRAMES)]
        assert depths[0][0, :2].tolist() == [0, 0]


def test_dl3dv_photos_keep_their_lens_and_their_gap(made):
    item = only("dl3dv", made["dl3dv"])
    assert item.trajectory.distortion == (0.1, -0.05, 0.01, -0.01)
    assert item.trajectory.frame_index.tolist() == list(range(FRAMES - 4))  # of the photos that there are
    steps_s = np.diff(item.trajectory.times_s)
    assert np.flatnonzero(steps_s > 0.3).tolist() == [6]  # number 10 is missing
    assert steps_s[6] == pytest.approx(0.4)


def out_of(root: Path, path: Path) -> None:
    """Moves a file out of the set and leaves a link to it."""
    target = root.parent / f"{root.name}_outside{path.suffix}"
    shutil.move(path, target)
    path.symlink_to(target)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rows(root: Path, change: dict) -> None:
    path = root / "preencode_input.json"
    path.write_text(json.dumps([json.loads(path.read_text())[0] | change]))


def edit(path: Path, **change) -> None:
    arrays = {name: array for name, array in np.load(path).items()} | change
    path.write_bytes(npz_bytes({name: array for name, array in arrays.items() if array is not None}))


CVD, POSE = "outputs_cvd/a_sgd_cvd_hr.npz", "house/Easy/P000/pose_left.txt"
MP4 = "videos/000000_right3up2/gen.mp4"
DAMAGES = [
    ("vipe", lambda root: (root / "rgb/a.mp4").unlink(), "rgb/a.mp4: no such file"),
    ("vipe", lambda root: cut(root / "rgb/a.mp4"), "rgb/a.mp4"),
    ("vipe", lambda root: (root / "pose/a.npz").unlink(), "pose/a.npz: no such file"),
    ("vipe", lambda root: (root / "pose/a.npz").write_bytes(pickle.dumps([1])), "pose/a.npz: damaged"),
    ("vipe", lambda root: np.savez(root / "pose/a.npz", data=np.array([{}]), inds=[0]), "pose/a.npz: damaged"),
    ("vipe", lambda root: edit(root / "pose/a.npz", data=WALK[2:] * np.nan), "pose 0 is not finite"),
    ("vipe", lambda root: (root / "intrinsics/a.npz").unlink(), "intrinsics/a.npz: no such file"),
    ("vipe", lambda root: (root / "intrinsics/a_camera.txt").write_text("0: PANORAMA\n"), "PANORAMA"),
    ("vipe", lambda root: edit(root / "intrinsics/a.npz", data=np.full((19, 4), 320)), "off the middle"),
    ("vipe", lambda root: cut(root / "depth/a.zip"), "depth/a.zip: damaged zip"),
    ("vipe", lambda root: write_depth_zip(root / "depth/a.zip", [DEPTH] * 9), "no depth of frame 9"),
    ("vipe", lambda root: out_of(root, root / "pose/a.npz"), "lies outside"),
    ("vipe", lambda root: out_of(root, root / "intrinsics/a.npz"), "lies outside"),
    ("vipe", lambda root: out_of(root, root / "rgb/a.mp4"), "lies outside"),
    ("megasam", lambda root: (root / "originals/a.mp4").unlink(), "a.mp4: no such file"),
    ("megasam", lambda root: cut(root / CVD), f"{CVD}: damaged"),
    ("megasam", lambda root: np.savez(root / CVD, cam_c2w=np.array([{}]), intrinsic=np.eye(3)), f"{CVD}: damaged"),
    ("megasam", lambda root: edit(root / CVD, cam_c2w=WALK[1:]), "20 poses for 21 pictures"),
    ("megasam", lambda root: edit(root / CVD, depths=np.zeros((FRAMES, 384, 512), "f2")), "poses of 512x384 pictures"),
    ("megasam", lambda root: out_of(root, root / "originals/a.mp4"), "lies outside"),
    ("minwm", lambda root: (root / MP4).unlink(), "gen.mp4: no such file"),
    ("minwm", lambda root: cut(root / MP4), "gen.mp4"),
    ("minwm", lambda root: rows(root, {"pose_str": "right-3, up2"}), "no key with a count"),
    ("minwm", lambda root: rows(root, {"caption": ["a"]}), "row 0: no object with texts as pose_str and caption"),
    ("minwm", lambda root: rows(root, {"pose_json_path": "../pose.json"}), "lies outside"),
    ("minwm", lambda root: rows(root, {"pose_json_path": "a\0b.json"}), "is no path"),
    ("minwm", lambda root: out_of(root, root / MP4), "lies outside"),
    ("worldplay", lambda root: (root / "one/pose.json").unlink(), "one/gen.mp4: has no pose file"),
    ("worldplay", lambda root: (root / "one/gen.mp4").unlink(), "one/pose.json: has no video"),
    ("worldplay", lambda root: cut(root / "one/pose.json"), "one/pose.json: not valid JSON"),
    (
        "worldplay",
        lambda root: film(root / "one/gen.mp4", poses=WALK[:17]),
        "6 latents are 21 frames, the video has 17",
    ),
    ("worldplay", lambda root: out_of(root, root / "one/gen.mp4"), "lies outside"),
    ("worldplay", lambda root: out_of(root, root / "one/pose.json"), "lies outside"),
    ("tartanair", lambda root: (root / POSE).unlink(), "pose_left.txt: no such file"),
    ("tartanair", lambda root: (root / POSE).write_text("0 0 0 0 0 0 1\n"), "1 poses for 21 pictures"),
    ("tartanair", lambda root: (root / POSE).write_text("0 0 0 0 0 0 0 1\n"), "line 1: 8 columns"),
    ("tartanair", lambda root: next((root / POSE).parent.glob("image_left/*7_*")).unlink(), "21 poses for 20 pictures"),
    ("tartanair", lambda root: next((root / POSE).parent.glob("depth_left/*7_*")).unlink(), "depth.npy: no such file"),
    ("tartanair", lambda root: shutil.rmtree((root / POSE).with_name("image_left")), "image_left"),
    ("tartanair", lambda root: out_of(root, root / POSE), "lies outside"),
    ("tartanair", lambda root: out_of(root, (root / POSE).parent / "image_left/000003_left.png"), "lies outside"),
    ("dl3dv", lambda root: (root / "scan/transforms.json").unlink(), "missing-transforms"),
    ("dl3dv", lambda root: cut(root / "scan/transforms.json"), "unreadable-transforms"),
    ("dl3dv", lambda root: shutil.rmtree(root / "scan/images"), "unusable-photos"),
]


@pytest.mark.parametrize(
    ("name", "damage", "says"), DAMAGES, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(DAMAGES)]
)
def test_damage_is_one_rejection_with_its_reason(name, damage, says, made, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(made[name], root)
    damage(root)
    (item,) = found(name, root)
    assert isinstance(item, Rejected)
    assert says in item.reason, item.reason
    assert len(item.findings) == 1


def test_damaged_depth_is_told_when_it_is_read(tmp_path):
    write_megasam(tmp_path)
    item = only("megasam", tmp_path)
    cut(tmp_path / CVD)
    with pytest.raises(TrajkitError, match="damaged depth"):
        list(item.depth())


def test_without_videos_megasam_says_what_is_missing(made):
    (item,) = found("megasam", made["megasam"], "")
    assert "no video; name the folder of the originals" in item.reason


def test_every_video_is_accounted_for_once(tmp_path):
    """Good, without poses, without a video, and of a name that is no key."""
    root = tmp_path / "vipe"
    write_vipe(root, "b")
    film(root / "rgb/a b.mp4")
    film(root / "rgb/a-b.mp4")
    shutil.copy(root / "pose/b.npz", root / "pose/z.npz")
    items = found("vipe", root)
    assert [isinstance(item, Posed) for item in items] == [False, False, True, False]
    assert len({item.key for item in items}) == 4
    assert (items[2].key, items[3].key) == ("b", "z")


def test_minwm_videos_that_no_row_names_and_latents_without_pictures(tmp_path):
    write_minwm(tmp_path)
    film(tmp_path / "videos/000001_w5/gen.mp4")  # its row was taken out
    (tmp_path / "preencode_input.json").write_text(
        json.dumps([{"pose_str": "right-3, up-2"}, {"pose_str": "right-5"}, {"caption": ["a"]}, 7])
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data/data.mdb").write_bytes(b"")
    first, *others = found("minwm", tmp_path)
    assert first.key == "000000_right3up2"
    assert [item.reason.partition(": ")[2] for item in others] == [
        "videos/000001_right5/gen.mp4: no such file; check the path",
        "preencode_input.json, row 2: no object with texts as pose_str and caption; restore the row",
        "preencode_input.json, row 3: no object with texts as pose_str and caption; restore the row",
        "videos/000001_w5: no row of preencode_input.json names it; take the table that it was made with",
        "data/data.mdb: latents and poses without pictures make no clip; take the videos that they encode",
    ]


def test_worldplay_beside_the_video_and_its_enlarged_copy(tmp_path):
    write_worldplay(tmp_path)
    shutil.copy(tmp_path / "one/gen.mp4", tmp_path / "two.mp4")
    shutil.copy(tmp_path / "one/pose.json", tmp_path / "two.json")
    shutil.copy(tmp_path / "one/gen.mp4", tmp_path / "one/gen_sr.mp4")
    items = found("worldplay", tmp_path)
    assert [item.source for item in items] == ["worldplay:one/gen.mp4", "worldplay:two.mp4"]
    assert len({item.key for item in items}) == 2


def test_worldplay_rows_of_a_training_list(tmp_path):
    write_worldplay(tmp_path, "training")
    for folder, old, new in (("videos", "gen.mp4", "a.mp4"), ("poses", "pose.json", "a.json")):
        (tmp_path / folder).mkdir()
        shutil.move(tmp_path / "one" / old, tmp_path / folder / new)
    row = {"latent_path": "a.pt", "video_path": "videos/a.mp4", "pose_path": "poses/a.json", "caption": "as listed"}
    bad = [{"latent_path": "a.pt", "pose_path": "b.json"}, {"video_path": "../a.mp4", "pose_path": "poses/a.json"}, 3]
    (tmp_path / "train.json").write_text(json.dumps([row, *bad]))
    first, *others = found("worldplay", tmp_path)
    assert (off_px(first) < 0.35, first.caption, len(others)) == (True, "as listed", 3)
    for item, says in zip(others, ("row 1: names no video_path", "lies outside", "row 3: names no"), strict=True):
        assert says in item.reason


@pytest.mark.parametrize("name", ["minwm", "vipe", "worldplay"])
def test_what_is_exported_comes_back(name, tmp_path):
    """The same pictures and cameras, through the layout of another project."""
    clip = Clip(
        key="dots",
        trajectory=Trajectory.from_camera(WALK, LENS, fps=FPS),
        fps=FPS,
        caption="three dots",
        provenance=Provenance(kind="rendered", source="test:"),
        licence="CC0-1.0",
    )
    clip = write_clip(tmp_path / "clips", clip, (Frame(rgb=dots(LENS, pose)) for pose in WALK))
    module = plugins.load("exports", name)
    text = f"frames={FRAMES}" if name == "minwm" else ""
    module.export([clip], tmp_path / "out", options_.parse(module.Options, text, where=name))
    item = only(name, tmp_path / "out")
    assert item.caption == ("" if name == "vipe" else "three dots")
    if name == "minwm":  # which makes the first pose the identity
        poses = WALK[0] @ item.trajectory.camera_to_world
        item = replace(item, trajectory=replace(item.trajectory, camera_to_world=poses))
    assert off_px(item) < 0.35
    assert off_px(item, shift=1) > 0.9


@pytest.mark.parametrize("name", SETS)
def test_a_folder_of_something_else_is_told_at_once(name, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here\n")
    if name == "dl3dv":  # which takes a folder without folders for a capture that lacks its file
        assert "missing-transforms" in found(name, tmp_path)[0].reason
        return
    with pytest.raises(TrajkitError):
        found(name, tmp_path)


def test_the_fox_through_dl3dv(shared):
    """50 of its 67 listed photos are there; all look at the bust, and the gaps between their numbers are kept."""
    (item,) = found("dl3dv", shared / "data/fox", "fps=2,licence=NVIDIA source code licence: non-commercial")
    track = item.trajectory
    assert len(item.video) == len(track) == 50
    assert (item.key, item.source[:9], item.fps) == ("fox", "dl3dv:fox", None)
    assert "non-commercial" in item.licence
    numbers = [int(path.stem) for path in item.video]
    np.testing.assert_allclose(track.times_s * 2, np.array(numbers) - numbers[0])
    axes = track.camera_to_world[:, :3, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    bust = np.linalg.solve(across.sum(0), (across @ track.centres[:, :, None]).sum(0))[:, 0]
    seen = se3.transform(track.world_to_camera, bust)
    pixels = track.camera(0).project(seen)
    assert (seen[:, 2] > 0).all()
    assert np.all((pixels > 0) & (pixels < (1080, 1920)), axis=1).mean() > 0.95
