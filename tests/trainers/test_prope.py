"""Projective attention, re-anchored paths and rays: minWM's numbers and the properties that define them."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tiny  # noqa: E402
from torch import Tensor  # noqa: E402

from trajkit import se3  # noqa: E402
from trajkit.trainers.attention import Pass, attend  # noqa: E402
from trajkit.trainers.cameras import Cameras, Projection, anchored, inverse_pose, plucker, summed, transform  # noqa: E402


@pytest.fixture(scope="module")
def Z(shared: Path) -> dict[str, Tensor]:
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as found:
        wanted = [name for name in found.files if name.startswith(("prope_", "pose_", "reanchor_"))]
        return {name: torch.from_numpy(found[name]) for name in wanted if found[name].dtype.kind != "U"}


def laid(heads_first: Tensor) -> Tensor:
    """(B, H, N, D), as minWM has it, from (B, N, H, D) or back."""
    return heads_first.transpose(1, 2)


def full(q: Tensor, k: Tensor, v: Tensor, p: Projection) -> Tensor:
    out = attend(transform(q, p.transposed), transform(k, p.inverse), transform(v, p.inverse), Pass(rotary=None), 0)
    return transform(out, p.forward)


@pytest.mark.parametrize("keep_principal", [True, False])
@pytest.mark.parametrize("lens", ["K", "noK"])
def test_projections_are_minwms(Z, lens: str, keep_principal: bool) -> None:
    K = Z["prope_Ks"].clone()
    if lens == "noK":  # minWM's K = None: a lens of focal length 1 with its principal point in the middle
        K[:] = torch.tensor([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    p = Projection.of(Cameras(world_to_camera=Z["prope_viewmats"], K=K), keep_principal=keep_principal)
    q, k, v, out = (laid(Z[f"prope_{name}"]) for name in ("q", "k", "v", "attnout_in"))
    for name, found in (
        ("q", transform(q, p.transposed)),
        ("k", transform(k, p.inverse)),
        ("v", transform(v, p.inverse)),
        ("o", transform(out, p.forward)),
        ("full", full(q, k, v, p)),
    ):
        torch.testing.assert_close(laid(found), Z[f"prope_{lens}_{name}"], atol=2e-6, rtol=0)


def test_another_frame_of_the_world_gives_the_same(Z) -> None:
    shifted = Cameras(world_to_camera=Z["prope_viewmats"] @ Z["prope_world_T"], K=Z["prope_Ks"])
    found = full(*(laid(Z[f"prope_{name}"]) for name in "qkv"), Projection.of(shifted))
    torch.testing.assert_close(laid(found), Z["prope_K_full_worldshift"], atol=2e-6, rtol=0)
    torch.testing.assert_close(laid(found), Z["prope_K_full"], atol=2e-6, rtol=0)


def test_the_principal_point_is_kept_where_minwm_drops_it(Z) -> None:
    K = Z["prope_Ks"].clone()
    K[..., 0, 2] += 0.1
    assert bool(Z["prope_principal_point_ignored"])
    q = laid(Z["prope_q"])
    for keep_principal in (True, False):
        p = Projection.of(Cameras(world_to_camera=Z["prope_viewmats"], K=K), keep_principal=keep_principal)
        same = torch.allclose(laid(transform(q, p.transposed)), Z["prope_K_q"], atol=1e-3)
        assert same != keep_principal


def poses(tq: Tensor) -> Tensor:
    """(N, 7) world_to_camera [t, quaternion xyzw] to (1, N, 4, 4)."""
    wide = tq.double().numpy()
    return torch.from_numpy(se3.pose(se3.from_quaternion_xyzw(wide[:, 3:]), wide[:, :3]))[None]


def test_re_anchored_paths_are_minwms(Z) -> None:
    for number, intrinsics in enumerate(Z["pose_intrinsics"]):
        K = Z["pose_Ks"][number]
        torch.testing.assert_close(K[[0, 1, 0, 1], [0, 1, 2, 2]], intrinsics, atol=1e-5, rtol=0)
        cameras = Cameras(world_to_camera=poses(Z["pose_tq"][number]), K=K.repeat(1, 20, 1, 1))
        found = anchored(cameras).world_to_camera[0]
        torch.testing.assert_close(found, Z["pose_viewmats"][number], atol=1e-5, rtol=0)
    offset = Cameras(world_to_camera=poses(Z["reanchor_tq"]), K=cameras.K)
    found = anchored(offset).world_to_camera[0]
    torch.testing.assert_close(found, Z["reanchor_viewmats"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found, Z["pose_viewmats"][0], atol=1e-5, rtol=0)


def test_anchoring_divides_translations_and_nothing_else() -> None:
    cameras = tiny.cameras(2, 5)
    whole, scaled = anchored(cameras), anchored(cameras, torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(scaled.world_to_camera[..., :3, :3], whole.world_to_camera[..., :3, :3])
    for sample, by in ((0, 2), (1, 4)):
        expected = whole.world_to_camera[sample, :, :3, 3] / by
        torch.testing.assert_close(scaled.world_to_camera[sample, :, :3, 3], expected)
    torch.testing.assert_close(scaled.world_to_camera[:, 0], torch.eye(4).repeat(2, 1, 1))


def test_parts_are_what_a_solver_finds() -> None:
    cameras = tiny.cameras(2, 4)
    p = Projection.of(cameras)
    torch.testing.assert_close(p.inverse, torch.linalg.inv(p.forward.double()).float(), atol=1e-5, rtol=0)
    inverse = inverse_pose(cameras.world_to_camera)[1, 3].double().numpy()
    expected = se3.inverse(cameras.world_to_camera[1, 3].double().numpy())
    np.testing.assert_allclose(inverse, expected, atol=1e-6)


def test_nothing_is_narrowed_by_autocast() -> None:
    cameras = tiny.cameras(1, 4)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = (anchored(cameras).world_to_camera, Projection.of(cameras).inverse, plucker(cameras, 2, 3))
    wide = (anchored(cameras).world_to_camera, Projection.of(cameras).inverse, plucker(cameras, 2, 3))
    assert all(torch.equal(*pair) for pair in zip(narrow, wide, strict=True))


def test_a_projected_point_lands_where_the_lens_puts_it() -> None:
    cameras = tiny.cameras(1, 3)
    point = torch.tensor([0.3, -0.2, 4.0, 1.0])
    x, y, depth, _ = (Projection.of(cameras).forward[0, 2] @ point).tolist()
    seen = (cameras.world_to_camera[0, 2] @ point)[:3]
    pixel = cameras.K[0, 2] @ (seen / seen[2])
    assert (x / depth + 0.5, y / depth + 0.5) == pytest.approx(tuple(pixel[:2].tolist()), abs=1e-5)


def test_rays_pass_through_the_centre_and_the_pixel() -> None:
    cameras = tiny.cameras(1, 3)
    moment, direction = plucker(cameras, 4, 6)[0, 2].split(3)
    c2w = torch.linalg.inv(cameras.world_to_camera[0, 2])
    K = cameras.K[0, 2]
    for row, column in ((0, 0), (3, 1), (2, 5)):
        pixel = torch.tensor([(column + 0.5) / 6, (row + 0.5) / 4, 1])
        ray = c2w[:3, :3] @ (torch.linalg.inv(K) @ pixel)
        ray = ray / ray.norm()
        torch.testing.assert_close(direction[:, row, column], ray, atol=1e-5, rtol=0)
        expected = torch.linalg.cross(c2w[:3, 3], ray)
        torch.testing.assert_close(moment[:, row, column], expected, atol=1e-5, rtol=0)


def test_rays_of_dropped_cameras_are_zero() -> None:
    rays = plucker(tiny.cameras(2, 3).dropped(torch.tensor([False, True])), 4, 6)
    assert not rays[0].any()
    assert rays[1].any()


def test_what_compiled_blocks_add_up_is_the_same_product() -> None:
    vectors, p = (
        torch.randn(2, 8, 3, 24, generator=torch.Generator().manual_seed(0)),
        Projection.of(tiny.cameras(2, 4, 0)),
    )
    added = summed(vectors.reshape(2, 4, 2, 3, 6, 4), p.forward).reshape(vectors.shape)
    torch.testing.assert_close(added, transform(vectors, p.forward), rtol=0, atol=2e-6)
