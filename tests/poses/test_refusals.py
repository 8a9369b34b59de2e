"""Bad input to every reader: one TrajkitError that names the file, and the line or frame where there is one."""

import json
import os
import pickle

import numpy as np
import pytest

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.poses._arrays import npy_bytes, npz_bytes

EYE, K = np.eye(4).tolist(), [[400, 0, 320], [0, 300, 240], [0, 0, 1]]
NAN, INF = float("nan"), float("inf")
TQ = np.array([[0, 0, 0, 0, 0, 0, 1.0]] * 3)
LENS = np.array([[0.5, 0.9, 0.5, 0.5]] * 3)
MATRICES = np.tile(np.eye(4), (3, 1, 1))
RE10K = "0 0.5 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0"


def _with(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def _capture(matrix=EYE, **changes):
    top = {"w": 640, "h": 480, "fl_x": 500, "cx": 320, "cy": 240} | changes
    frames = [{"file_path": "1.png", "transform_matrix": EYE}, {"file_path": "2.png", "transform_matrix": matrix}]
    return json.dumps({"frames": frames} | {key: value for key, value in top.items() if value is not None})


def _path(**changes):
    frame = {"camera_to_world": np.ravel(EYE).tolist(), "fov": 60} | changes.pop("frame", {})
    return json.dumps({"render_width": 640, "render_height": 480, "fps": 24, "camera_path": [frame]} | changes)


def _entries(second=None, key="1", training=False):
    good = {"w2c": EYE, "intrinsic": K} if training else {"extrinsic": EYE, "K": K}
    return json.dumps({"0": good, key: good | (second or {})})


def _scaled(matrix, factor):
    return (np.diag([factor] * 3 + [1.0]) @ np.array(matrix)).tolist()


REFLECTED = np.diag([1.0, 1, -1, 1]).tolist()
TRANSPOSED = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 2, 3, 1]]

# format -> {case: (files of the input, relative path to read, what the message must say)}
TEXT = {
    "tum": {
        "empty": ("", "empty"),
        "comments only": ("# t x y z qx qy qz qw\n", "empty"),
        "seven columns": ("0 0 0 0 0 0 0 1\n1 0 0 0 0 0 1\n", "line 2: 7 columns, not 8"),
        "commas": ("0,0,0,0,0,0,0,1\n", "line 1: 1 columns"),
        "a word": ("# c\n0 0 0 zero 0 0 0 1\n", "line 2: could not convert"),
        "nan": ("0 0 0 0 0 0 0 1\n1 nan 0 0 0 0 0 1\n", "line 2: not finite"),
        "nan time": ("nan 0 0 0 0 0 0 1\n", "line 1: times_s 0 is not finite"),
        "zero quaternion": ("0 0 0 0 0 0 0 0\n", "line 1: the quaternion's length is 0"),
        "long quaternion": ("0 0 0 0 1 0 0 1\n", "line 1: the quaternion's length is 1.41"),
        "back in time": ("5 0 0 0 0 0 0 1\n\n4 0 0 0 0 0 0 1\n", "line 3: times_s go backwards"),
        "latin-1": (b"0 0 0 0 0 0 0 1 \xe9\n", "not UTF-8"),
        "binary": (bytes(range(256)), "not UTF-8"),
    },
    "kitti": {
        "empty": ("", "empty"),
        "eleven columns": ("1 0 0 0 0 1 0 0 0 0 1\n", "line 1: 11 columns, not 12"),
        "inf": ("1 0 0 inf 0 1 0 0 0 0 1 0\n", "line 1: pose 0 is not finite"),
        "scaled": ("1 0 0 0 0 1 0 0 0 0 1 0\n2 0 0 0 0 2 0 0 0 0 2 0\n", "line 2: pose 1 is not a rotation"),
        "reflected": ("1 0 0 0 0 1 0 0 0 0 -1 0\n", "line 1: pose 0 is not a rotation"),
    },
    "re10k": {
        "empty": ("", "empty"),
        "url only": ("https://example.org\n", "holds no poses"),
        "eighteen columns": (f"https://example.org\n{RE10K[:-2]}\n", "line 2: 18 columns, not 19"),
        "nan": (f"https://example.org\n{RE10K[:-1]}nan\n", "line 2: pose 0 is not finite"),
        "scaled": (f"https://example.org\n{RE10K}\n{RE10K.replace('1', '2')}\n", "line 3: pose 1 is not a rotation"),
        "no focal length": (f"u\n{RE10K.replace('0.9', '0')}\n", "line 2: intrinsics 0 have no positive focal"),
        "distorted": (f"u\n{RE10K.replace('0 0 1', '1 0 1', 1)}\n", "line 2: columns 6 and 7 are not 0"),
        "back in time": (f"u\n1{RE10K}\n{RE10K}\n", "line 3: times_s go backwards"),
    },
    "minwm": {
        "empty": ("", "empty"),
        "unknown key": ("w*3, q*2\n", "line 1: column 6: no key 'q'"),
        "no count": ("w*3,l\n", "line 1: column 5: 'l' is no key with a count"),
        "negative": ("w--3\n", "column 1"),
        "upper case": ("W*3\n", "column 1"),
        "commas only": (",,\n", "an empty pose string"),
        "endless": ("w*999999\n", "more than 100000 steps"),
        "two strings": ("w*3\ns*3\n", "holds 2 pose strings"),
    },
    "tartanair": {
        "empty": ("", "empty"),
        "a time first": ("0 0 0 0 0 0 0 1\n", "line 1: 8 columns, not 7"),
        "a word": ("0 0 0 0 0 0 1\n0 0 north 0 0 0 1\n", "line 2: could not convert"),
        "inf": ("0 0 0 0 0 0 1\n\n0 inf 0 0 0 0 1\n", "line 3: not finite"),
        "long quaternion": ("0 0 0 0 1 0 1\n", "line 1: the quaternion's length is 1.41"),
    },
}
JSON = {
    "nerfstudio": {
        "not json": ("{", "not valid JSON"),
        "a list": ("[]", "not an object"),
        "deep": ("[" * 100_000, "not valid JSON"),
        "no frames": ("{}", "no list of frames"),
        "no frame": ('{"frames": []}', "no list of frames"),
        "frame is text": ('{"frames": ["a"]}', "no list of frames"),
        "no name": ('{"frames": [{"transform_matrix": 1}]}', "frame 0: no file_path"),
        "no matrix": (_capture(None), "frame 2.png: transform_matrix is not 4x4"),
        "ragged": (_capture([[1, 0, 0, 0], [0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]), "frame 2.png: transform_matrix"),
        "texts": (_capture([["1", "0", "0", "0"]] * 4), "frame 2.png: transform_matrix is not 4x4"),
        "nan": (_capture(_with(np.eye(4), (0, 3), NAN).tolist()), "frame 2.png: pose 1 is not finite"),
        "huge": (_capture(_with(np.eye(4), (0, 3), 0).tolist()).replace("0.0", "1" + "0" * 400, 1), "frame"),
        "scaled": (_capture(_scaled(EYE, 1.5)), "frame 2.png: pose 1 is not a rotation"),
        "reflected": (_capture(REFLECTED), "frame 2.png: pose 1 is not a rotation"),
        "transposed": (_capture(TRANSPOSED), "frame 2.png: the last row of pose 1"),
        "no size": (_capture(w=None), "no picture size (w); give the photos' size: nerfstudio:width"),
        "half a pixel": (_capture(w=640.5), "w is 640.5"),
        "no focal length": (_capture(fl_x=None), "no fl_x"),
        "negative focal length": (_capture(fl_x=-5), "not finite and positive"),
        "text focal length": (_capture(fl_x="500"), "fl_x is not a number"),
        "field of view of 4": (_capture(fl_x=None, camera_angle_x=4), "between 0 and pi"),
        "fisheye": (_capture(camera_model="OPENCV_FISHEYE"), "undistort"),
        "instant-ngp fisheye": (_capture(is_fisheye=True), "undistort"),
        "k3": (_capture(k3=0.1), "beyond k1 k2 p1 p2"),
        "bad transform": (_capture(applied_transform=[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]]), "applied_transform"),
        "short transform": (_capture(applied_transform=[[1, 0, 0, 0]]), "applied_transform is not 3x4"),
        "bad scale": (_capture(applied_scale=0), "applied_scale is 0"),
        "path: fisheye": (_path(camera_type="fisheye"), "only perspective"),
        "path: no frames": (_path(camera_path=[]), "no list of frames"),
        "path: no width": (_path(render_width=None), "render_width is not a number"),
        "path: fps 0": (_path(fps=0), "fps is 0"),
        "path: fov 180": (_path(frame={"fov": 180}), "frame 0: fov is 180"),
        "path: 12 numbers": (_path(frame={"camera_to_world": [1.0] * 12}), "frame 0: camera_to_world is not 16"),
        "path: nan": (_path(frame={"camera_to_world": [NAN] * 16}), "frame 0: pose 0 is not finite"),
    },
    "worldplay": {
        "empty": ("{}", "holds no poses"),
        "metadata only": ('{"_metadata": {}}', "holds no poses"),
        "named": (_entries(key="one"), "'one' is not the number"),
        "twice": (_entries(key="00"), "'00' is not the number"),
        "gap": (_entries(key="2"), "not numbered 0 to 1"),
        "no matrix": (_entries({"extrinsic": None}), "entry 1: extrinsic is not 4x4"),
        "nan": (_entries({"extrinsic": _with(np.eye(4), (0, 3), NAN).tolist()}), "entry 1: pose 1 is not finite"),
        "scaled": (_entries({"extrinsic": _scaled(EYE, 2)}), "entry 1: pose 1 is not a rotation"),
        "no K": (_entries({"K": 5}), "entry 1: K is not 3x3"),
        "skew": (_entries({"K": [[400, 9, 320], [0, 300, 240], [0, 0, 1]]}), "entry 1: K has skew"),
        "nan K": (_entries({"K": [[NAN, 0, 320], [0, 300, 240], [0, 0, 1]]}), "entry 1: K is not finite"),
        "negative focal": (_entries({"K": [[-4, 0, 320], [0, 300, 240], [0, 0, 1]]}), "entry 1: intrinsics 1"),
        "training, scaled": (_entries({"w2c": _scaled(EYE, 2)}, "7", True), "entry 7: pose 1 is not a rotation"),
        "an entry is a list": ('{"0": []}', "entry 0: not an object"),
    },
}


def _spatialvid(index="0 0\n1 6\n2 12\n", poses=TQ, intrinsics=LENS):
    return {"poses.npy": poses, "intrinsics.npy": intrinsics, "indexes.txt": index}


def _lingbot(poses=MATRICES, intrinsics=LENS * 100):
    return {"poses.npy": poses, "intrinsics.npy": intrinsics}


def _vipe(pose=None, lens=None, camera="0: PINHOLE\n"):
    pose = {"data": MATRICES, "inds": np.arange(3)} | (pose or {})
    lens = {"data": LENS * 100, "inds": np.arange(3)} | (lens or {})
    return {"pose/a.npz": pose, "intrinsics/a.npz": lens, "intrinsics/a_camera.txt": camera}


ARRAYS = {
    "minwm": {
        "six columns": ({"poses.npy": TQ[:, :6]}, "shape (3, 6), not numbers of shape (N, 7)"),
        "no rows": ({"poses.npy": TQ[:0]}, "shape (0, 7)"),
        "texts": ({"poses.npy": TQ.astype("U9")}, "not numbers"),
        "nan": ({"poses.npy": _with(TQ, (1, 0), NAN)}, "row 1: not finite"),
        "wrong quaternion": ({"poses.npy": _with(TQ, (2, 6), 0.5)}, "row 2: the quaternion's length is 0.5"),
        "empty file": ({"poses.npy": b""}, "damaged or not a NumPy file"),
        "other file": ({"poses.npy": b"hello, I am no array"}, "damaged or not a NumPy file"),
        "truncated": ({"poses.npy": npy_bytes(TQ)[:-1]}, "damaged or not a NumPy file"),
        "truncated header": ({"poses.npy": npy_bytes(TQ)[:40]}, "damaged or not a NumPy file"),
        "pickle": ({"poses.npy": pickle.dumps([1, 2])}, "damaged or not a NumPy file"),
        "object array": ({"poses.npy": np.array([{}])}, "damaged or not a NumPy file"),
        "boasting header": ({"poses.npy": npy_bytes(TQ).replace(b"(3, 7)", b"(9999999999, 7)")}, "damaged"),
        "lens of three": ({"poses.npy": TQ, "intrinsics.npy": LENS[0, :3]}, "intrinsics.npy: the array is"),
        "lens for others": ({"poses.npy": TQ, "intrinsics.npy": LENS[:2]}, "intrinsics.npy: the array is"),
    },
    "spatialvid": {
        "no folder": ({}, "poses.npy: no such file"),
        "no intrinsics": ({"poses.npy": TQ}, "intrinsics.npy: no such file"),
        "no indexes": ({"poses.npy": TQ, "intrinsics.npy": LENS}, "indexes.txt: no such file"),
        "fewer intrinsics": (_spatialvid(intrinsics=LENS[:2]), "intrinsics.npy: 2 rows for 3 poses"),
        "fewer indexes": (_spatialvid("0 0\n1 6\n"), "indexes.txt: 2 lines for 3 poses"),
        "one column": (_spatialvid("0\n1\n2\n"), "indexes.txt, line 1: 1 columns"),
        "skipped": (_spatialvid("0 0\n2 6\n3 9\n"), "indexes.txt, line 2: not the next pose number"),
        "half frame": (_spatialvid("0 0\n1 6.5\n2 9\n"), "indexes.txt, line 2"),
        "nan": (_spatialvid(poses=_with(TQ, (1, 2), NAN)), "poses.npy, row 1: not finite"),
        "inf lens": (_spatialvid(intrinsics=_with(LENS, (1, 0), INF)), "row 1: intrinsics 1 is not finite"),
    },
    "lingbot": {
        "no intrinsics": ({"poses.npy": MATRICES}, "intrinsics.npy: no such file"),
        "rows of seven": (_lingbot(poses=TQ), "poses.npy: the array is float64 of shape (3, 7)"),
        "fewer intrinsics": (_lingbot(intrinsics=LENS[:2]), "intrinsics.npy: 2 rows for 3 poses"),
        "scaled": (_lingbot(poses=_with(MATRICES, (1, 0, 0), 2)), "poses.npy, frame 1: pose 1 is not a rotation"),
        "last row": (_lingbot(poses=_with(MATRICES, (2, 3, 0), 2)), "frame 2: the last row of pose 2"),
    },
    "vipe": {
        "no folder": ({}, "holds no pose/*.npz"),
        "no inds": ({"pose/a.npz": {"data": MATRICES}}, "pose/a.npz: holds data, not inds"),
        "no intrinsics": ({"pose/a.npz": {"data": MATRICES, "inds": np.arange(3)}}, "intrinsics/a.npz: no such file"),
        "no archive": (_vipe() | {"pose/a.npz": b"PK nothing"}, "pose/a.npz: damaged"),
        "an array": (_vipe() | {"pose/a.npz": npy_bytes(TQ)}, "pose/a.npz: damaged"),
        "truncated": (_vipe() | {"pose/a.npz": npz_bytes({"data": MATRICES, "inds": np.arange(3)})[:-200]}, "damaged"),
        "fewer inds": (_vipe({"inds": np.arange(2)}), "pose/a.npz: 2 inds for 3 rows"),
        "inds twice": (_vipe({"inds": np.array([0, 1, 1])}), "pose/a.npz: inds are not distinct"),
        "inds of floats": (_vipe({"inds": np.array([0, 1, 2.5])}), "pose/a.npz: inds are not distinct"),
        "lens for others": (_vipe({"inds": np.arange(3, 6)}), "intrinsics/a.npz: no intrinsics for frame 3"),
        "nan": (_vipe({"data": _with(MATRICES, (1, 0, 3), NAN)}), "frame 1: pose 1 is not finite"),
        "nan lens": (_vipe(lens={"data": _with(LENS, (0, 2), NAN)}), "frame 0: intrinsics 0 is not finite"),
        "panorama": (_vipe(camera="0: PANORAMA\n"), "a_camera.txt: the camera model is PANORAMA"),
        "two videos": (_vipe() | {"pose/b.npz": {"data": MATRICES}}, "holds 2 videos (a, b); name one: vipe:name=a"),
    },
}


def _droid(poses=MATRICES, matrix=K, **pictures):
    return {"a_droid.npz": {"cam_c2w": poses, "intrinsic": np.array(matrix, np.float64)} | pictures}


ARRAYS["megasam"] = {
    "no archive": ({}, "a_droid.npz: no such file"),
    "no poses": ({"a_droid.npz": {"intrinsic": np.eye(3)}}, "holds intrinsic, not cam_c2w"),
    "an array": ({"a_droid.npz": npy_bytes(TQ)}, "a_droid.npz: damaged"),
    "pickle": ({"a_droid.npz": pickle.dumps([1, 2])}, "a_droid.npz: damaged"),
    "rows of seven": (_droid(TQ), "cam_c2w is float64 of shape (3, 7)"),
    "K of four": (_droid(matrix=LENS[0]), "intrinsic is float64 of shape (4,)"),
    "K transposed": (_droid(matrix=np.transpose(K)), "intrinsic has skew or a last row"),
    "nan K": (_droid(matrix=_with(np.array(K), (0, 0), 0) * [[1, 1, NAN], [1, 1, 1], [1, 1, 1]]), "not finite"),
    "nan": (_droid(_with(MATRICES, (1, 0, 3), NAN)), "a_droid.npz, frame 1: pose 1 is not finite"),
    "mirrored": (_droid(_with(MATRICES, (2, 0, 0), -1)), "a_droid.npz, frame 2: pose 2 is not a rotation"),
}
CAMERAS, IMAGES = "1 PINHOLE 640 480 400 300 320 240\n", "1 1 0 0 0 0 0 0 1 1.png\n\n"


def _model(cameras=CAMERAS, images=IMAGES):
    return {"cameras.txt": cameras, "images.txt": images}


ARRAYS["colmap"] = {
    "no folder": ({}, "holds no COLMAP model"),
    "no images": ({"cameras.txt": CAMERAS}, "holds no COLMAP model"),
    "empty": (_model("", ""), "images.txt: no photo is registered"),
    "no camera": (_model(""), "images.txt, line 1: no camera 1"),
    "short camera": (_model("1 PINHOLE 640\n"), "cameras.txt, line 1: not ID MODEL"),
    "word in camera": (_model("1 PINHOLE 640 480 400 f 320 240\n"), "cameras.txt, line 1: not ID MODEL"),
    "parameter missing": (_model("# c\n1 PINHOLE 640 480 400 320 240\n"), "line 2: 3 parameters for PINHOLE"),
    "zero focal length": (_model("1 PINHOLE 640 480 0 300 320 240\n"), "cameras.txt, line 1: intrinsics"),
    "fisheye": (_model("1 OPENCV_FISHEYE 640 480 1 1 1 1 0 0 0 0\n"), "cameras.txt, line 1: camera model"),
    "short image": (_model(images=f"{IMAGES}2 1 0 0 0 0 0 0 1\n\n"), "images.txt, line 3: not IMAGE_ID"),
    "nan": (_model(images=f"{IMAGES}2 1 0 0 0 nan 0 0 1 2.png\n\n"), "images.txt, line 3: not finite"),
    "zero quaternion": (_model(images="1 0 0 0 0 0 0 0 1 1.png\n\n"), "images.txt, line 1: the quaternion's length"),
}
FLAT = [
    (kind, case, {name: content}, name, says)
    for group, name in ((TEXT, "input.txt"), (JSON, "input.json"))
    for kind, cases in group.items()
    for case, (content, says) in cases.items()
]
FOLDERS = [
    (kind, case, content, {"minwm": "poses.npy", "megasam": "a_droid.npz"}.get(kind, ""), says)
    for kind, cases in ARRAYS.items()
    for case, (content, says) in cases.items()
]


def _put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        path.write_bytes(npz_bytes(content))
    else:
        np.save(path, content, allow_pickle=True)


@pytest.mark.parametrize(
    ("kind", "contents", "relative", "says"),
    [(kind, contents, relative, says) for kind, _, contents, relative, says in FLAT + FOLDERS],
    ids=[f"{kind}-{case}".replace(" ", "_") for kind, case, *_ in FLAT + FOLDERS],
)
def test_bad_input_is_one_line_that_names_the_place(kind, contents, relative, says, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, content in contents.items():
        _put(folder / name, content)
    with pytest.raises(TrajkitError) as caught:
        plugins.load("poses", kind).read(folder / relative)
    message = str(caught.value)
    assert says in message, message
    assert str(folder) in message, message
    assert "\n" not in message
    assert caught.value.remedy


@pytest.mark.parametrize("kind", plugins.names("poses"))
def test_a_missing_input_is_named(kind, tmp_path):
    for path in (tmp_path / "absent.txt", tmp_path / "absent.json", tmp_path / "absent.npy", tmp_path / "absent"):
        with pytest.raises(TrajkitError, match="absent"):
            plugins.load("poses", kind).read(path)


@pytest.mark.parametrize(
    "kind", [name for name in plugins.names("poses") if hasattr(plugins.load("poses", name), "write")]
)
@pytest.mark.parametrize("seed", range(2))
def test_any_cut_or_flipped_byte_is_an_error_or_a_trajectory(kind, seed, exact_trajectory, tmp_path):
    """Damage at random places of each file: never another exception (values may change within what is legal)."""
    module = plugins.load("poses", kind)
    writing = {"lingbot": {"width": 640, "height": 480}}.get(kind, {})
    target = {"minwm": "poses.npy", "nerfstudio": "t.json", "worldplay": "p.json"}.get(kind, "out")
    module.write(exact_trajectory, tmp_path / target, module.Options(**writing))
    rng = np.random.default_rng(seed)
    for path in [file for file in tmp_path.rglob("*") if file.is_file()]:
        content = path.read_bytes()
        for _ in range(25):
            damaged = bytearray(content[: rng.integers(len(content))] if rng.random() < 0.3 else content)
            for place in rng.integers(max(len(damaged), 1), size=rng.integers(3)):
                if damaged:
                    damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                found = module.read(tmp_path / target, module.Options())
            except TrajkitError:
                continue
            assert np.isfinite(found.camera_to_world).all()
        path.write_bytes(content)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text("0 0 0 0 0 0 0 1\n")
    path.chmod(0)
    with pytest.raises(TrajkitError, match="Permission denied"):
        plugins.load("poses", "tum").read(path)
