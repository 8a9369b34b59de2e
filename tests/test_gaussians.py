"""The value, its move between worlds, and its files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from trajkit.errors import TrajkitError
from trajkit.gaussians import SHAPES, Gaussians, read_ply, write_ply
from trajkit.harmonics import basis, rotation
from trajkit.se3 import Similarity

GOLDEN = Path(__file__).parent / "golden"


def cloud(count: int = 20, degree: int = 1, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    return Gaussians(
        means=rng.normal(size=(count, 3)),
        log_scales=rng.normal(-3, 1, (count, 3)),
        quaternions_wxyz=rng.normal(size=(count, 4)),
        logit_opacities=rng.normal(0, 2, count),
        sh=rng.normal(0, 0.3, (count, (degree + 1) ** 2, 3)),
    )


def similarity(seed: int) -> Similarity:
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=rng.integers(2**31)).as_matrix()
    return Similarity(float(np.exp(rng.normal())), turn, rng.normal(size=3))


def covariances(gaussians: Gaussians) -> np.ndarray:
    turn = Rotation.from_quat(gaussians.quaternions_wxyz[:, [1, 2, 3, 0]]).as_matrix()
    half = turn * np.exp(gaussians.log_scales.astype(np.float64))[:, None, :]
    return half @ half.transpose(0, 2, 1)


@given(st.integers(0, 2**31), st.integers(0, 3))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_moved_carries_centre_shape_and_colour(seed: int, degree: int) -> None:
    gaussians, move = cloud(degree=degree, seed=seed), similarity(seed)
    moved = gaussians.moved(move)
    np.testing.assert_allclose(moved.means, move.points(gaussians.means), atol=1e-5)
    turned = move.scale**2 * move.rotation @ covariances(gaussians) @ move.rotation.T
    np.testing.assert_allclose(covariances(moved), turned, rtol=1e-3, atol=1e-5 * np.abs(turned).max())
    directions = np.random.default_rng(seed).normal(size=(8, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = np.einsum("vk,nkc->nvc", basis(directions, degree), gaussians.sh)
    after = np.einsum("vk,nkc->nvc", basis(directions @ move.rotation.T, degree), moved.sh)
    np.testing.assert_allclose(after, before, atol=1e-5)


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_harmonic_rotations_are_orthogonal_and_compose(seed: int) -> None:
    first, second = similarity(seed).rotation, similarity(seed + 1).rotation
    np.testing.assert_allclose(rotation(first @ second, 3), rotation(first, 3) @ rotation(second, 3), atol=1e-10)
    np.testing.assert_allclose(rotation(first, 3) @ rotation(first, 3).T, np.eye(16), atol=1e-10)


def test_harmonics_are_orthonormal_over_the_sphere() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(8)
    turns = np.arange(16) * 2 * np.pi / 16
    z, phi = np.meshgrid(nodes, turns, indexing="ij")
    radius = np.sqrt(1 - z**2)
    directions = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=-1).reshape(-1, 3)
    values = basis(directions, 3)
    gram = values.T @ (values * np.repeat(weights * 2 * np.pi / 16, 16)[:, None])
    np.testing.assert_allclose(gram, np.eye(16), atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_round_trip_is_exact(tmp_path: Path, degree: int) -> None:
    gaussians = cloud(degree=degree)
    write_ply(gaussians, tmp_path / "a.ply")
    again = read_ply(tmp_path / "a.ply")
    for name in SHAPES:
        np.testing.assert_array_equal(getattr(again, name), getattr(gaussians, name))
    write_ply(again, tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.ply", "b.ply"]


def test_writes_the_golden_bytes(tmp_path: Path) -> None:
    write_ply(read_ply(GOLDEN / "splats_inria.ply"), tmp_path / "again.ply")
    assert (tmp_path / "again.ply").read_bytes() == (GOLDEN / "splats_inria.ply").read_bytes()


def test_reads_what_gsplat_compressed() -> None:
    """Both files hold the same 300 splats (degree 1); gsplat 1.5.3's exporter packed and reordered the second."""
    exact, packed = read_ply(GOLDEN / "splats_inria.ply"), read_ply(GOLDEN / "splats_compressed.ply")
    distance, match = cKDTree(exact.means).query(packed.means)
    assert sorted(match) == list(range(300))
    assert distance.max() < 4 / 1023 * np.sqrt(3)  # the box is 4 wide; the coarsest axis has ten bits
    np.testing.assert_allclose(packed.log_scales, exact.log_scales[match], atol=4 / 1023)
    as_opacity = lambda logits: 1 / (1 + np.exp(-logits))  # noqa: E731
    np.testing.assert_allclose(as_opacity(packed.logit_opacities), as_opacity(exact.logit_opacities[match]), atol=2e-3)
    np.testing.assert_allclose(packed.sh[:, 0], exact.sh[match, 0], atol=0.02)
    np.testing.assert_allclose(packed.sh[:, 1:], exact.sh[match, 1:], atol=1 / 64 + 1e-6)
    unit = exact.quaternions_wxyz[match] / np.linalg.norm(exact.quaternions_wxyz[match], axis=1, keepdims=True)
    assert np.abs((unit * packed.quaternions_wxyz).sum(axis=1)).min() > 1 - 1e-5


def header(*lines: str) -> bytes:
    return "\n".join(["ply", "format binary_little_endian 1.0", *lines, "end_header", ""]).encode()


POINTS = header("element vertex 2", *(f"property float {axis}" for axis in "xyz"))
BROKEN = {
    "empty file": (b"", "not a PLY"),
    "no PLY": (b"\x89PNG" + bytes(100), "not a PLY"),
    "header without end": (b"ply\n" + b"comment x\n" * 9000, "not a PLY"),
    "ascii": (b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n", "not binary little-endian"),
    "big-endian": (b"ply\nformat binary_big_endian 1.0\nend_header\n", "not binary little-endian"),
    "point cloud": (POINTS + bytes(24), "no property f_dc_0"),
    "no vertices": (header("element vertex 0", "property float x"), "holds no Gaussians"),
    "no elements": (header(), "holds no Gaussians"),
    "count beyond the file": (header("element vertex 99999999999", "property float x"), "truncated"),
    "count that is none": (header("element vertex -1", "property float x"), "fits no splat file"),
    "list property": (header("element face 1", "property list uchar int v"), "fits no splat file"),
    "unknown type": (header("element vertex 1", "property quad x"), "fits no splat file"),
    "property twice": (header("element vertex 1", "property float x", "property float x"), "fits no splat file"),
    "property of nothing": (header("property float x"), "fits no splat file"),
    "chunks missing": (
        header("element vertex 1", *(f"property uint packed_{part}" for part in ("position", "rotation"))) + bytes(8),
        "do not fit together",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_say_so_in_one_line(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    path = tmp_path / "broken.ply"
    path.write_bytes(content)
    with pytest.raises(TrajkitError, match=message) as caught:
        read_ply(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_cut_or_tail_is_noticed(tmp_path: Path) -> None:
    whole, path = (GOLDEN / "splats_inria.ply").read_bytes(), tmp_path / "cut.ply"
    for size in (0, 3, 100, 700, 5000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(TrajkitError, match=r"cut\.ply: (not a PLY file|truncated)"):
            read_ply(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(TrajkitError, match="longer than its header says"):
        read_ply(path)
    with pytest.raises(TrajkitError, match="no such file"):
        read_ply(tmp_path / "absent.ply")
    with pytest.raises(TrajkitError, match="check the path"):
        read_ply(tmp_path)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "1 Gaussians not finite"), (np.inf, "1 Gaussians not finite")])
def test_numbers_that_are_none_are_refused(tmp_path: Path, value: float, message: str) -> None:
    content = bytearray((GOLDEN / "splats_inria.ply").read_bytes())
    start = content.index(b"end_header\n") + len(b"end_header\n")
    content[start : start + 4] = np.float32(value).tobytes()
    (tmp_path / "bad.ply").write_bytes(content)
    with pytest.raises(TrajkitError, match=rf"bad\.ply: means of {message}"):
        read_ply(tmp_path / "bad.ply")


def test_wrong_number_of_harmonics_is_refused(tmp_path: Path) -> None:
    content = (
        (GOLDEN / "splats_inria.ply").read_bytes().replace(b"property float f_rest_8\n", b"property float other\n")
    )
    (tmp_path / "bad.ply").write_bytes(content)
    with pytest.raises(TrajkitError, match="8 f_rest properties"):
        read_ply(tmp_path / "bad.ply")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": np.zeros((20, 2))}, "means of shape"),
        ({"logit_opacities": np.zeros((20, 1))}, "logit_opacities of shape"),
        ({"log_scales": np.zeros((19, 3))}, "log_scales of shape"),
        ({"sh": np.zeros((20, 5, 3))}, "5 harmonics"),
        ({"quaternions_wxyz": np.eye(20, 4)}, "quaternion 4 is zero"),
    ],
)
def test_wrong_arrays_are_refused(change: dict, message: str) -> None:
    arrays = {name: getattr(cloud(), name) for name in SHAPES} | change
    with pytest.raises(TrajkitError, match=message):
        Gaussians(**arrays)
