"""The rasteriser and its gradients against a slow, obvious twin in torch float64."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from trajkit import se3
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians
from trajkit.rasterize import activate, blend, project, rasterize
from trajkit.rasterize_backward import backward

torch = pytest.importorskip("torch")


def cloud(count: int, degree: int, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    as_f32 = lambda array: np.ascontiguousarray(array, np.float32)  # noqa: E731
    return Gaussians(
        means=as_f32(rng.uniform(-1, 1, (count, 3)) * (1.6, 1.2, 1)),
        log_scales=as_f32(np.log(0.12) + rng.normal(0, 0.6, (count, 3))),
        quaternions_wxyz=as_f32(rng.normal(size=(count, 4))),
        logit_opacities=as_f32(rng.normal(0, 2, count)),
        sh=as_f32(rng.normal(0, 0.4, (count, (degree + 1) ** 2, 3))),
    )


def view(width: int = 52, height: int = 37) -> tuple[Camera, np.ndarray]:
    camera = Camera(width=width, height=height, fx=41.0, fy=43.5, cx=width * 0.45, cy=height * 0.56)
    return camera, se3.inverse(se3.look_at(np.array([0.3, -0.2, -1.9]), np.zeros(3), np.array([0.1, -1.0, 0])))


def parameters(gaussians: Gaussians) -> list:
    names = "means", "log_scales", "quaternions_wxyz", "logit_opacities", "sh"
    return [torch.tensor(getattr(gaussians, name), dtype=torch.float64, requires_grad=True) for name in names]


def directions_basis(directions, degree: int):
    """The same functions written out by name, from the Cartesian table of real harmonics."""
    x, y, z = directions.unbind(-1)
    pi, rows = math.pi, [torch.full_like(x, 0.5 / math.sqrt(math.pi))]
    if degree > 0:
        rows += [-math.sqrt(3 / (4 * pi)) * y, math.sqrt(3 / (4 * pi)) * z, -math.sqrt(3 / (4 * pi)) * x]
    if degree > 1:
        k = math.sqrt(15 / pi)
        rows += [k / 2 * x * y, -k / 2 * y * z, math.sqrt(5 / pi) / 4 * (2 * z**2 - x**2 - y**2), -k / 2 * x * z]
        rows += [k / 4 * (x**2 - y**2)]
    if degree > 2:
        k, q, r2 = math.sqrt(35 / (2 * pi)) / 4, math.sqrt(21 / (2 * pi)) / 4, (directions**2).sum(-1)
        rows += [-k * y * (3 * x**2 - y**2), math.sqrt(105 / pi) / 2 * x * y * z, -q * y * (5 * z**2 - r2)]
        rows += [math.sqrt(7 / pi) / 4 * (5 * z**3 - 3 * z * r2), -q * x * (5 * z**2 - r2)]
        rows += [math.sqrt(105 / pi) / 4 * (x**2 - y**2) * z, -k * x * (x**2 - 3 * y**2)]
    return torch.stack(rows, -1)


def twin(values: list, camera: Camera, world_to_camera: np.ndarray):
    """Every Gaussian over the whole image, one after the other, by depth: rgb, expected depth, median depth, alpha."""
    means, log_scales, quaternions, logits, sh = values
    pose = torch.tensor(world_to_camera)
    q = quaternions / quaternions.norm(dim=-1, keepdim=True)
    w, x, y, z = q.unbind(-1)
    entries = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    entries += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    entries += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    turn = torch.stack(entries, -1).reshape(-1, 3, 3)
    half = turn * log_scales.exp()[:, None, :]
    covariance = pose[:3, :3] @ half @ half.transpose(1, 2) @ pose[:3, :3].T
    camera_points = means @ pose[:3, :3].T + pose[:3, 3]
    centre = -pose[:3, :3].T @ pose[:3, 3]
    directions = torch.nn.functional.normalize(means - centre, dim=-1)
    degree = math.isqrt(sh.shape[1]) - 1
    colours = (0.5 + torch.einsum("nk,nkc->nc", directions_basis(directions, degree), sh)).clamp(min=0)
    rows, columns = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    light = torch.ones(camera.height, camera.width, dtype=torch.float64)
    done = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    rgb = torch.zeros(camera.height, camera.width, 3, dtype=torch.float64)
    alpha, expected, median = (torch.zeros_like(light) for _ in range(3))
    for i in torch.argsort(camera_points[:, 2], stable=True).tolist():
        px, py, pz = camera_points[i]
        if pz < 0.01:
            continue
        u = (px / pz).clamp(-camera.cx / camera.fx - 0.15 * camera.width / camera.fx, None)
        u = u.clamp(None, (camera.width - camera.cx) / camera.fx + 0.15 * camera.width / camera.fx)
        v = (py / pz).clamp(-camera.cy / camera.fy - 0.15 * camera.height / camera.fy, None)
        v = v.clamp(None, (camera.height - camera.cy) / camera.fy + 0.15 * camera.height / camera.fy)
        zero = torch.zeros_like(pz)
        jacobian = torch.stack(
            [camera.fx / pz, zero, -camera.fx * u / pz, zero, camera.fy / pz, -camera.fy * v / pz]
        ).reshape(2, 3)
        image = jacobian @ covariance[i] @ jacobian.T + 0.3 * torch.eye(2)
        conic = torch.linalg.inv(image)
        dx, dy = camera.fx * px / pz + camera.cx - columns, camera.fy * py / pz + camera.cy - rows
        sigma = 0.5 * (conic[0, 0] * dx * dx + conic[1, 1] * dy * dy) + conic[0, 1] * dx * dy
        level = (torch.sigmoid(logits[i]) * torch.exp(-sigma)).clamp(max=0.999)
        level = torch.where((level >= 1 / 255) & (sigma >= 0), level, 0.0)
        after = light * (1 - level)
        done = done | (after <= 1e-4)
        weight = torch.where(done, 0.0, light * level)
        median = torch.where(~done & (light > 0.5) & (after <= 0.5), pz, median)
        light = torch.where(done, light, after)
        rgb = rgb + weight[..., None] * colours[i]
        alpha, expected = alpha + weight, expected + weight * pz
    return rgb, expected, median, alpha


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_picture_is_the_twins(degree: int) -> None:
    gaussians, (camera, pose) = cloud(300, degree, seed=degree), view()
    with torch.no_grad():
        rgb, expected, median, alpha = (part.numpy() for part in twin(parameters(gaussians), camera, pose))
    mine = rasterize(activate(gaussians), camera, pose)
    np.testing.assert_allclose(mine.rgb, rgb, atol=2e-3)
    assert np.abs(mine.rgb - rgb).mean() < 1e-6
    np.testing.assert_allclose(mine.alpha, alpha, atol=2e-3)
    np.testing.assert_allclose(mine.depth, expected, atol=5e-3)
    other = rasterize(activate(gaussians), camera, pose, median_depth=True)
    assert np.mean(np.abs(other.depth - median) > 1e-5) < 2e-3  # a crossing of one half may fall to the neighbour
    np.testing.assert_array_equal(other.rgb, mine.rgb)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_gradients_are_autograds(degree: int) -> None:
    gaussians, (camera, pose) = cloud(200, degree, seed=10 + degree), view()
    upstream = np.random.default_rng(1).normal(size=(camera.height, camera.width, 3)).astype(np.float32)
    values = parameters(gaussians)
    (twin(values, camera, pose)[0] * torch.tensor(upstream)).sum().backward()
    splats = activate(gaussians)
    seen = project(splats, camera, pose)
    out = backward(gaussians, splats, seen, camera, pose, rasterize(splats, camera, pose).rgb, upstream)
    for mine, value in zip(out, values, strict=False):
        truth = value.grad.numpy()
        error = np.abs(mine - truth).max() / np.abs(truth).max()
        assert error < 1e-4


def test_two_threads_make_the_same_picture_and_gradients() -> None:
    gaussians, (camera, pose) = cloud(400, 1), view(200, 120)
    splats = activate(gaussians)
    seen = project(splats, camera, pose)
    upstream = np.random.default_rng(1).normal(size=(camera.height, camera.width, 3)).astype(np.float32)
    with ThreadPoolExecutor(2) as pool:
        alone, shared = (blend(seen, 200, 120, pool=one) for one in (None, pool))
        mine, ours = (
            backward(gaussians, splats, seen, camera, pose, alone.rgb, upstream, pool=p) for p in (None, pool)
        )
    for first, second in zip((*alone, *mine), (*shared, *ours), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_gaussian_lands_where_the_camera_projects_its_mean() -> None:
    """Off-centre principal point, two focal lengths: centroid within a thousandth of a pixel of `Camera.project`."""
    camera, pose = view(60, 44)
    point = np.array([0.25, -0.1, 0.2])
    dot = Gaussians(
        means=point[None],
        log_scales=np.full((1, 3), np.log(0.01)),
        quaternions_wxyz=np.array([[1, 0, 0, 0]]),
        logit_opacities=np.array([5.0]),
        sh=np.zeros((1, 1, 3)),
    )
    alpha = rasterize(activate(dot), camera, pose).alpha.astype(np.float64)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    centroid = np.array([(columns * alpha).sum(), (rows * alpha).sum()]) / alpha.sum()
    np.testing.assert_allclose(centroid, camera.project(se3.transform(pose, point)), atol=0.02)


def test_a_moved_world_seen_from_the_moved_camera_looks_the_same() -> None:
    gaussians, (camera, pose) = cloud(200, 3), view()
    move = se3.Similarity(2.5, se3.axis_rotation("x", 70.0) @ se3.axis_rotation("y", -35.0), np.array([4.0, -7, 2]))
    moved_pose = se3.inverse(move.poses(se3.inverse(pose)))
    here = rasterize(activate(gaussians), camera, pose)
    there = rasterize(activate(gaussians.moved(move)), camera, moved_pose)
    assert np.abs(there.rgb - here.rgb).mean() < 1e-5
    assert np.abs(there.depth - 2.5 * here.depth).mean() < 1e-4


def test_nothing_to_see_is_black() -> None:
    gaussians, (camera, pose) = cloud(50, 0), view()
    away = se3.axis_rotation("y", 180.0)
    turned = se3.pose(away, np.zeros(3)) @ pose
    for picture in (
        rasterize(activate(gaussians), camera, turned, near=0.5),
        rasterize(activate(gaussians), camera, pose, near=100.0),
    ):
        assert not picture.rgb.any()
        assert not picture.alpha.any()
        assert not picture.depth.any()


def test_monstrous_gaussians_do_no_harm() -> None:
    """Sizes, places and opacities at the ends of float32: finite pictures, no crash, no endless loop."""
    extremes = np.array([-3e38, -1e20, -1e3, 0.0, 1e3, 1e20, 3e38], np.float32)
    means = np.stack(np.meshgrid(extremes, extremes, extremes), axis=-1).reshape(-1, 3)
    n = len(means)
    for log_scale in (-100.0, 0.0, 40.0, 88.0, 200.0):
        giants = Gaussians(
            means=means,
            log_scales=np.full((n, 3), log_scale),
            quaternions_wxyz=np.tile([1e-20, 0, 0, 1e-20], (n, 1)),
            logit_opacities=np.linspace(-1e3, 1e3, n),
            sh=np.zeros((n, 4, 3)),
        )
        with np.errstate(over="ignore", invalid="ignore"):
            picture = rasterize(activate(giants), *view())
        assert np.isfinite(picture.rgb).all()
        assert np.isfinite(picture.alpha).all()


def test_splats_that_all_cover_everything_are_refused_before_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    giants = replace(cloud(100, 0), log_scales=np.full((100, 3), 3.0), logit_opacities=np.full(100, 3.0))
    monkeypatch.setattr("trajkit.rasterize.MOST_MEETINGS", 1000)
    with pytest.raises(TrajkitError, match="drop the largest"):
        rasterize(activate(giants), *view())
