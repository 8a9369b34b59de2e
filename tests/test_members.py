"""The codecs of a clip's members: exact round trips, fixed bytes, and one line for anything else."""

import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.members import (
    CONVENTION,
    SCHEMA,
    Provenance,
    Record,
    camera_bytes,
    caption_bytes,
    caption_from_bytes,
    check_key,
    record_bytes,
    record_from_bytes,
    trajectory_from_bytes,
)
from trajkit.trajectory import Scale, Trajectory

ARRAYS = ("camera_to_world", "intrinsics", "times_s", "frame_index")


def exact() -> Trajectory:
    """Quarter turns and binary fractions: the same bits on every machine."""
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    rotations = np.stack([np.eye(3), quarter, quarter @ quarter])
    return Trajectory(
        camera_to_world=se3.pose(rotations, [[0, 0, 0], [0.5, -0.25, 2], [1, 3, -7.5]]),
        intrinsics=[[40.5, 41.25, 32, 24]],
        width=64,
        height=48,
        times_s=np.arange(3) / 16,
        frame_index=np.arange(3),
    )


@st.composite
def trajectories(draw) -> Trajectory:
    count = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(-8, 8))
    return Trajectory(
        camera_to_world=se3.pose(Rotation.random(count, rng).as_matrix(), rng.normal(size=(count, 3)) * 10.0**size),
        intrinsics=rng.uniform(1, 3000, (count, 4)),
        width=draw(st.integers(1, 8192)),
        height=draw(st.integers(1, 8192)),
        times_s=np.sort(rng.uniform(-5, 5, count)),
        frame_index=rng.integers(0, 2**40, count),
        scale=Scale(kind="sfm", factor=2.5),
    )


@given(trajectories())
@settings(deadline=None, max_examples=50, derandomize=True)
def test_a_trajectory_comes_back_to_the_last_bit(trajectory):
    content = camera_bytes(trajectory)
    again = trajectory_from_bytes(content, "a.camera.npz", scale=trajectory.scale)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(trajectory, name))
    assert (again.width, again.height, again.scale) == (trajectory.width, trajectory.height, trajectory.scale)
    assert camera_bytes(again) == content


def test_the_bytes_are_fixed():
    digest = hashlib.sha256(camera_bytes(exact())).hexdigest()
    assert digest == "42b20db1c87555f3c718950a2d2747393f4e33c7afeba46d5bfa5d3308db9ae6"


def test_numpy_alone_reads_it():
    arrays = np.load(io.BytesIO(camera_bytes(exact())), allow_pickle=False)
    assert sorted(arrays) == ["camera_to_world", "frame_index", "intrinsics", "size", "times_s"]
    np.testing.assert_array_equal(arrays["camera_to_world"], exact().camera_to_world)
    np.testing.assert_array_equal(arrays["size"], [64, 48])


def test_what_numpy_writes_is_read():
    arrays = dict(np.load(io.BytesIO(camera_bytes(exact()))))
    arrays["intrinsics"] = np.asfortranarray(arrays["intrinsics"])
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **arrays)
        again = trajectory_from_bytes(stream.getvalue(), "numpy.npz")
        np.testing.assert_array_equal(again.intrinsics, exact().intrinsics)


def test_distortion_is_refused():
    with pytest.raises(TrajkitError, match="has lens distortion; undistort the pictures"):
        camera_bytes(replace(exact(), distortion=(0.1, 0, 0, 0)))
    camera_bytes(replace(exact(), distortion=(0, 0, 0, 0)))


def saved(**changes: object) -> bytes:
    arrays = dict(np.load(io.BytesIO(camera_bytes(exact())))) | changes
    stream = io.BytesIO()
    np.savez(stream, **{name: array for name, array in arrays.items() if array is not None})
    return stream.getvalue()


def declared(shape: tuple[int, ...], compressed_bytes: int = 0, descr: str = "<f8") -> bytes:
    """An npz whose poses claim a shape that they do not have."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(camera_bytes(exact()))) as good, zipfile.ZipFile(stream, "w") as archive:
        for name in good.namelist():
            content = good.read(name)
            if name == "camera_to_world.npy":
                body = io.BytesIO()
                np.lib.format.write_array_header_1_0(body, {"descr": descr, "fortran_order": False, "shape": shape})
                content = body.getvalue() + bytes(compressed_bytes)
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


POSES = exact().camera_to_world
BAD_CAMERAS = {
    "empty": (b"", "damaged npz"),
    "text": (b"hello", "damaged npz"),
    "cut": (camera_bytes(exact())[:-30], "damaged npz"),
    "half": (camera_bytes(exact())[:700], "damaged npz"),
    "flipped": (camera_bytes(exact()).replace(np.float64(-7.5).tobytes(), np.float64(-7.25).tobytes()), "damaged npz"),
    "array missing": (saved(times_s=None), "holds .*not camera_to_world"),
    "array too many": (saved(extra=np.zeros(3)), "holds .*extra"),
    "float32": (saved(camera_to_world=POSES.astype("f4")), "camera_to_world is <f4 .*not <f8 Nx4x4"),
    "big-endian": (saved(times_s=np.zeros(3, ">f8")), "times_s is >f8"),
    "3x4": (saved(camera_to_world=POSES[:, :3]), r"camera_to_world is <f8 \(3, 3, 4\), not <f8 Nx4x4"),
    "pickle": (saved(times_s=np.array([{}, 1, 2], object)), "times_s is |O"),
    "no poses": (saved(camera_to_world=POSES[:0]), r"poses of shape \(0, 4, 4\)"),
    "fewer times": (saved(times_s=np.zeros(2)), "3 poses but 2 times_s"),
    "NaN": (saved(camera_to_world=POSES * [[1, 1, 1, np.nan]]), "not finite"),
    "transposed": (saved(camera_to_world=POSES.transpose(0, 2, 1).copy()), "last row"),
    "scaled": (saved(camera_to_world=POSES * [[2, 2, 2, 1]]), "not a rotation"),
    "mirrored": (saved(camera_to_world=POSES * [[-1, 1, 1, 1]]), "not a rotation"),
    "focal length 0": (saved(intrinsics=np.zeros((3, 4))), "no positive focal length"),
    "size 0": (saved(size=np.zeros(2, "<i8")), "image size 0x0"),
    "claims terabytes": (declared((10**12, 4, 4)), "camera_to_world is"),
    "claims more": (declared((1000, 4, 4)), "shorter or longer"),
    "holds more": (declared((3, 4, 4), 10**6), "shorter or longer"),
    "negative": (declared((-3, 4, 4)), "camera_to_world is"),
    "object": (declared((3, 4, 4), 384, "|O"), "camera_to_world is"),
}


@pytest.mark.parametrize("case", BAD_CAMERAS)
def test_a_bad_camera_npz_is_one_line(case):
    content, problem = BAD_CAMERAS[case]
    with pytest.raises(TrajkitError, match=f"^a.camera.npz: .*{problem}"):
        trajectory_from_bytes(content, "a.camera.npz")


@given(st.data())
@settings(deadline=None, max_examples=50, derandomize=True)
def test_damaged_bytes_never_escape_as_another_error(data):
    good = camera_bytes(exact())
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            again = trajectory_from_bytes(bytes(content), "a.camera.npz")
        except TrajkitError as error:
            assert "\n" not in str(error)  # noqa: PT017 - both ways out are right
        else:  # the zip's own bookkeeping, such as a date, may differ without harm
            np.testing.assert_array_equal(again.camera_to_world, exact().camera_to_world)


RECORD = Record(
    schema=SCHEMA,
    convention=CONVENTION,
    key="a-1",
    scale=Scale(kind="metric", factor=2.0),
    poses=3,
    pose_rate=16.0,
    frames=3,
    fps=16.0,
    width=64,
    height=48,
    provenance=Provenance(kind="rendered", source="toy:", path="keys:w*3", seed=3, versions={"av": "18"}),
    licence="CC0-1.0",
    checks={"visible": 0.5, "ok": True, "count": 3, "word": "größer"},
    depth="z",
    sha256={"mp4": "0" * 64},
)


def test_a_record_comes_back():
    content = record_bytes(RECORD)
    again = record_from_bytes(content, "a-1.json")
    assert again == RECORD
    assert [type(again.checks[name]) for name in ("ok", "count", "visible")] == [bool, int, float]
    assert record_bytes(again) == content
    assert "größer".encode() in content


def altered(**changes: object) -> bytes:
    values = json.loads(record_bytes(RECORD)) | changes
    return json.dumps({name: value for name, value in values.items() if value != "absent"}).encode()


NESTED = json.loads(record_bytes(RECORD))
BAD_RECORDS = {
    "empty": (b"", "Invalid JSON"),
    "list": (b"[]", "should be an object"),
    "null": (b"null", "should be an object"),
    "cut": (record_bytes(RECORD)[:-40], "Invalid JSON"),
    "latin-1": (record_bytes(RECORD).decode().encode("latin-1"), "Invalid JSON|utf-8|UTF-8"),
    "deep": (b"[" * 100_000, "Invalid JSON"),
    "large": (b" " * (1 << 20) + record_bytes(RECORD), "JSON of .* bytes; keep it under"),
    "unknown key": (altered(colour="red"), "colour: Unexpected keyword"),
    "unknown provenance": (altered(provenance=NESTED["provenance"] | {"by": "me"}), "provenance.by: Unexpected"),
    "unknown scale": (altered(scale=NESTED["scale"] | {"unit": "m"}), "scale.unit: Unexpected"),
    "no schema": (altered(schema="absent"), "schema: Field required"),
    "later schema": (altered(schema="trajkit.clip/2"), "schema: .*read it with the trajkit that wrote it"),
    "no convention": (altered(convention="absent"), "convention: Field required"),
    "OpenGL": (altered(convention="camera_to_world opengl float64"), "convention: "),
    "text for a number": (altered(fps="16"), "fps: "),
    "true for a number": (altered(frames=True), "frames: "),
    "fraction": (altered(frames=3.5), "frames: "),
    "zero frames": (altered(frames=0), "frames: "),
    "NaN": (altered(fps=float("nan")), "fps: "),
    "infinity": (altered(pose_rate=float("inf")), "pose_rate: "),
    "overflow": (record_bytes(RECORD).replace(b'"fps": 16.0', b'"fps": 1e999'), "fps: "),
    "negative scale": (altered(scale={"kind": "metric", "factor": -1}), "scale.factor: "),
    "inches": (altered(scale={"kind": "inches", "factor": 1}), "scale.kind: "),
    "key with dot": (altered(key="a.b"), "key: "),
    "key that climbs": (altered(key="../a"), "key: "),
    "key with newline": (altered(key="a\n"), "key: "),
    "no licence": (altered(licence=""), "licence: "),
    "kind": (altered(provenance=NESTED["provenance"] | {"kind": "filmed"}), "provenance.kind: "),
    "depth": (altered(depth="disparity"), "depth: "),
    "digest": (altered(sha256={"mp4": "abc"}), "sha256.mp4: "),
    "checks": (altered(checks={"list": [1]}), "checks.list"),
    "versions": (altered(provenance=NESTED["provenance"] | {"versions": {"av": 18}}), "provenance.versions.av: "),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_json_is_one_line(case):
    content, problem = BAD_RECORDS[case]
    with pytest.raises(TrajkitError, match=f"^a-1.json: .*({problem})") as caught:
        record_from_bytes(content, "a-1.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"fps": float("nan")},
        {"checks": {"a": float("inf")}},
        {"checks": {"a": np.float32(1)}},
        {"licence": ""},
        {"provenance": Provenance(kind="filmed", source="")},
        {"frames": 0},
    ],
)
def test_a_record_that_could_not_be_read_is_not_written(changes):
    with pytest.raises(TrajkitError, match="clip a-1"):
        record_bytes(replace(RECORD, **changes))


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "..", "a b", "ä", "a\n", "a" * 201])
def test_a_bad_key_is_refused(key):
    with pytest.raises(TrajkitError, match="is no clip key; use up to 200 letters"):
        check_key(key, "here")
    assert check_key("a_B-9", "here") == "a_B-9"


def test_captions_come_back_or_are_refused():
    for caption in ("", "one line\nand another", "größer 大きい 🙂"):
        assert caption_from_bytes(caption_bytes(caption, "a.txt"), "a.txt") == caption
    with pytest.raises(TrajkitError, match=r"a\.txt: not UTF-8 text"):
        caption_from_bytes(b"gr\xf6\xdfer", "a.txt")
    with pytest.raises(TrajkitError, match=r"a\.txt: a caption of 1048577 bytes"):
        caption_from_bytes(b"x" * (1 << 20) + b"x", "a.txt")
    with pytest.raises(TrajkitError, match="not valid Unicode"):
        caption_bytes("\ud800", "a.txt")
