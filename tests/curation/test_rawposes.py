"""Pose files of any kind are read as what they hold; what holds no poses is refused in one line."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tracked

from trajkit import plugins, se3
from trajkit.curation import _hypotheses, _rawposes
from trajkit.curation._hypotheses import OPENCV, OPENGL, Convention
from trajkit.curation._rawposes import WXYZ, XYZW
from trajkit.errors import TrajkitError
from trajkit.options import parse

WALK = tracked.walk(21)
MOTIONS = WALK.camera_to_world
XYZW_ROWS = np.hstack([MOTIONS[:, :3, 3], se3.to_quaternion_xyzw(MOTIONS[:, :3, :3])])
ROLLED = np.hstack([XYZW_ROWS[:, :3], np.roll(XYZW_ROWS[:, 3:], 1, axis=1)])
FIRST = np.hstack([ROLLED[:, 3:], ROLLED[:, :3]])
LENS = WALK.intrinsics


@pytest.mark.parametrize(
    ("array", "reading"),
    [
        (MOTIONS, ""),
        (MOTIONS[:, :3], ""),
        (MOTIONS[:, :3].reshape(-1, 12), ""),
        (MOTIONS.reshape(-1, 16), ""),
        (np.swapaxes(MOTIONS, 1, 2), "row vectors"),
        (np.swapaxes(MOTIONS[:, :3], 1, 2).reshape(-1, 12), "row vectors"),
        (XYZW_ROWS, XYZW),
        (ROLLED, WXYZ),
        (FIRST, f"{WXYZ} before the translation"),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "npz", "json", "txt", "csv"])
def test_arrays_of_every_kind(tmp_path, array, reading, ending):
    path = tmp_path / f"numbers.{ending}"
    if ending == "npy":
        np.save(path, array)
    elif ending == "npz":
        np.savez(path, poses=array, K=LENS)
    elif ending == "json":
        path.write_text(json.dumps(array.tolist()))
    elif array.ndim == 3:
        pytest.skip("text holds rows")
    else:
        np.savetxt(path, array, delimiter="," if ending == "csv" else " ", header="one row per pose")
    raw = _rawposes.read(path, "array")
    assert reading in raw.readings
    np.testing.assert_allclose(raw.readings[reading], MOTIONS, atol=1e-9)
    assert (raw.numbers is None) == (ending != "npz")


@pytest.mark.parametrize("change", ["scaled", "mirrored", "three digits", "a time first"])
def test_matrices_that_are_nearly_poses(tmp_path, change):
    matrices = MOTIONS.copy()
    if change == "scaled":
        matrices[:, :3, :3] *= 2.5
    elif change == "mirrored":
        matrices[:, :3, :3] = matrices[:, :3, :3] @ np.diag([1, -1, 1])
    elif change == "three digits":
        matrices = np.round(matrices, 3)
    rows = matrices.reshape(-1, 16)
    path = tmp_path / "poses.txt"
    np.savetxt(path, np.c_[np.arange(len(rows)), rows] if change == "a time first" else rows)
    read = _rawposes.read(path).readings[""]
    gram = np.swapaxes(read[:, :3, :3], 1, 2) @ read[:, :3, :3]
    np.testing.assert_allclose(gram, np.tile(np.eye(3), (len(read), 1, 1)), atol=1e-9)
    back = _hypotheses.canonical(read, Convention("", "camera_to_world", False, OPENCV))
    expected = np.diag([1, -1, 1, 1.0]) @ MOTIONS @ np.diag([1, -1, 1, 1.0]) if change == "mirrored" else MOTIONS
    if change != "mirrored":
        np.testing.assert_allclose(back, expected, atol=2e-3)
    assert np.linalg.det(back[0, :3, :3]) == pytest.approx(1)


def test_poses_that_are_no_numbers_keep_their_frame(tmp_path):
    array = MOTIONS.copy()
    array[[3, 4]] = -np.inf
    np.save(tmp_path / "poses.npy", array)
    np.save(tmp_path / "intrinsics.npy", LENS)
    raw = _rawposes.read(tmp_path / "poses.npy", "array")
    assert len(raw) == len(raw.numbers) == len(array) - 2
    assert raw.frame_index.tolist() == [0, 1, 2, *range(5, 21)]


@pytest.mark.parametrize(
    "entries",
    [
        {key: {"extrinsic": MOTIONS[number].tolist()} for key, number in (("0", 0), ("10", 2), ("9", 1))},
        [{"c2w": pose.tolist(), "K": np.eye(3).tolist()} for pose in MOTIONS[:3]],
        {"poses": MOTIONS[:3].tolist(), "K": [1, 1, 0.5, 0.5]},
    ],
)
def test_tables_of_poses_are_sorted_by_number(tmp_path, entries):
    path = tmp_path / "poses.json"
    path.write_text(json.dumps(entries))
    np.testing.assert_allclose(_rawposes.read(path, "array").readings[""], MOTIONS[:3])


FORMATS = [name for name in plugins.names("poses") if hasattr(plugins.load("poses", name), "write")]
TEXT = dict.fromkeys(("tum", "kitti", "re10k"), "a.txt")
TARGETS = TEXT | {"nerfstudio": "transforms.json", "worldplay": "a.json", "minwm": "poses.npy"}


def write(trajectory, format: str, folder: Path) -> Path:
    """A file of the format; walks are of 832x480 pictures."""
    if format == "colmap":
        pytest.importorskip("pycolmap")
    path = folder / TARGETS.get(format, "poses")
    module = plugins.load("poses", format)
    text = "form=training" if format == "worldplay" else ""
    given = (parse(module.Options, text, where=format),) if hasattr(module, "Options") else ()
    module.write(trajectory, path, *given)
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_taken_back_to_what_its_file_holds(tmp_path, format):
    """Reading the numbers as the format declares gives the cameras again."""
    path = write(WALK, format, tmp_path)
    raw = _rawposes.read(path, format)
    assert raw.format == format
    convention = raw.declared
    got = _hypotheses.canonical(raw.readings[convention.reading], convention)
    read = plugins.load("poses", format).read(path)
    relative = lambda poses: se3.inverse(poses[:-1]) @ poses[1:]  # noqa: E731
    np.testing.assert_allclose(relative(got), relative(read.camera_to_world), atol=1e-6)
    if format in ("kitti", "tum"):
        assert raw.numbers is None
    else:
        first = next(iter(raw.lenses((read.width, read.height), None).values()))
        np.testing.assert_allclose(first, read.intrinsics, rtol=1e-5)


@pytest.mark.parametrize("format", ["re10k", "nerfstudio", "spatialvid", "vipe", "lingbot"])
def test_formats_are_guessed(tmp_path, format):
    assert _rawposes.read(write(WALK, format, tmp_path)).format in (format, "minwm")


def test_a_file_that_only_looks_like_a_format_is_read_as_numbers(tmp_path):
    path = tmp_path / "poses.txt"
    np.savetxt(path, np.c_[np.arange(21), FIRST])  # eight columns, as TUM's, but quaternions first
    raw = _rawposes.read(path)
    assert raw.format == "rows (N, 8)"
    np.testing.assert_allclose(raw.readings[f"{WXYZ} before the translation"], MOTIONS, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("absent.npy", None, "no such file"),
        ("a.npy", b"\x93NUMPY\x01\x00broken", "damaged"),
        ("a.npy", pickle.dumps([1, 2]), "damaged"),
        ("a.npz", b"PK\x03\x04", "damaged"),
        ("a.json", b"{", "not valid JSON"),
        ("a.json", b"[[1, 2], [3]]", "differing length"),
        ("a.json", b'{"words": 3}', "not numbers"),
        ("a.txt", b"some words\nand more\n", "no rows"),
        ("a.txt", b"1 2 3\n4 5 6\n", "shape (2, 3)"),
        ("a.txt", b"1 2 3 4 5 6 7\n1 2 3\n", "3 numbers"),
        ("a.txt", b"1 2 3 4 5 6 7\n1 2 3 4 5 6 7\n", "length 1"),
        ("a.txt", (b" ".join([b"nan"] * 12) + b"\n") * 4, "no finite pose"),
        ("a.txt", (b" ".join([b"2"] * 12) + b"\n") * 4, "no rotations"),
    ],
)
def test_what_holds_no_poses_is_refused(tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrajkitError) as caught:
        _rawposes.read(path, "array")
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"poses": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", poses=np.array([{"poses": 1}], object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(TrajkitError, match="damaged"):
            _rawposes.read(tmp_path / name)


def test_lens_numbers_get_every_meaning():
    size, pixels = (832, 480), np.array([[600.0, 610.0, 416.0, 240.0]])
    for numbers in (pixels, pixels / [832, 480, 832, 480], pixels / 2, pixels * 2, pixels[:, [0, 2, 1, 3]]):
        found = _hypotheses.lenses(numbers, None, size, None)
        fitting = [lens for lens, values in found.items() if np.allclose(values, pixels, rtol=1e-6)]
        assert len(fitting) == 1
        assert not fitting[0].tried


def test_axes_are_all_different_rotations_and_mirrors():
    axes = _hypotheses.all_axes()
    turns = np.stack([_hypotheses.opencv_from(one) for one in axes])
    assert len(set(axes)) == len(np.unique(turns.reshape(48, 9), axis=0)) == 48
    assert sorted(np.rint(np.linalg.det(turns)).astype(int).tolist()) == [-1] * 24 + [1] * 24
    np.testing.assert_array_equal(_hypotheses.opencv_from(OPENGL), np.diag([1, -1, -1]))
