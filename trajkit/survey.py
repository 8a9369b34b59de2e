"""What the captured cameras saw of a scene, at the size of a preview: the ground that a path is judged on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.ndimage import maximum_filter, minimum_filter

from trajkit import se3
from trajkit.scene import Scene
from trajkit.surface import Surface, surface_of
from trajkit.trajectory import Trajectory

Array = np.ndarray
LONGEST = 96  # pixels of a preview's longer side
MOST_VIEWS = 150  # captured cameras that are previewed, spread over the capture
NEAREST = 12  # captured cameras, by place and direction, that each previewed frame is compared with
STRIDE = 2  # of the pixels that are compared
AGREE = 0.1  # of the depth: by so much a point may lie off the depth that a captured camera has there
ANGLE_DEG = 45.0  # between the directions that a point is looked at from, beyond which it is another side of it
CLOSER = 3.0  # times closer than a photo was taken, beyond which the picture has no detail
WITNESSES = 2  # photos that have to show a point: one alone does not tell how far it is
AROUND = 3.0  # path units around the captured cameras in which surfaces matter: farther out no path is accepted


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Survey:
    """A scene's captured depth maps and surfaces, and a way to look at it from anywhere."""

    scene: Scene
    renderer: Any  # as trajkit.renderers has them; its frames carry depth and alpha
    surface: Surface
    views: Trajectory | None  # captured cameras at preview size; None where none are needed or known
    nearest_depth: Float32[Array, "v h w"]  # smallest and largest depth around each pixel of them; 0 = none
    farthest_depth: Float32[Array, "v h w"]
    spread: float  # median relative difference of depth where two captured cameras see the same place; nan: unknown

    def look(self, path: Trajectory) -> tuple[Float32[Array, "n h w"], Float32[Array, "n h w"]]:
        """Depth (scene units, 0 = none) and coverage of each pose of a path, which has to be of preview size."""
        return _look(self.renderer, path)

    def camera_distance(self, points: Float[Array, "n 3"]) -> Float64[Array, " n"]:
        """Scene units from points to the nearest captured camera; 0 where the scene has none."""
        if self.scene.seen is None:
            return np.zeros(len(points))
        return np.linalg.norm(points[:, None] - self.scene.seen.centres[None], axis=-1).min(axis=1)

    def seen_share(self, path: Trajectory, depth: Float32[Array, "n h w"]) -> Float64[Array, " n"]:
        """Share 0..1 of each picture that a captured camera photographed, from a like side and distance.

        A pixel counts where its point lies in the pictures of two of the nearest captured cameras, at the depth seen
        there (within 10 %: nothing hides it), looked at from at most 45 degrees away and from no more than three times
        as far. Pixels without depth count as not seen.
        """
        return np.array([self._seen(path, index, depth[index]) for index in range(len(path))])

    def _seen(self, path: Trajectory, index: int, depth: Float32[Array, "h w"]) -> float:
        assert self.views is not None
        pose = path.camera_to_world[index]
        rows, columns = np.mgrid[STRIDE // 2 : depth.shape[0] : STRIDE, STRIDE // 2 : depth.shape[1] : STRIDE]
        z = depth[rows, columns].astype(np.float64).ravel()
        there = z > 0
        rays = path.camera(index).rays(np.stack([columns, rows], axis=-1).reshape(-1, 2)[there] + 0.5)
        points = se3.transform(pose, rays * z[there, None])
        chosen = self._neighbours(pose)
        local = np.einsum("kij,pj->kpi", self.views.world_to_camera[chosen, :3, :3], points)
        local += self.views.world_to_camera[chosen, None, :3, 3]
        there_depth = _lookup(self.views, chosen, local, self.nearest_depth, self.farthest_depth)
        ours, theirs = pose[:3, 3] - points, self.views.centres[chosen, None] - points
        far, captured_far = np.linalg.norm(ours, axis=-1), np.linalg.norm(theirs, axis=-1)
        cosine = np.einsum("pi,kpi->kp", ours, theirs) / np.maximum(far * captured_far, 1e-12)
        like = (cosine >= np.cos(np.radians(ANGLE_DEG))) & (captured_far <= CLOSER * far)
        witnesses = (there_depth & like).sum(axis=0)
        return float((witnesses >= min(WITNESSES, len(chosen))).sum() / len(z))

    def _neighbours(self, pose: Float64[Array, "4 4"]) -> Any:
        """Numbers of the captured cameras nearest to a pose: a path unit counts like 20 degrees."""
        assert self.views is not None
        apart = np.linalg.norm(self.views.centres - pose[:3, 3], axis=1) / self.scene.unit
        turned = np.degrees(np.arccos(np.clip(self.views.camera_to_world[:, :3, 2] @ pose[:3, 2], -1, 1))) / 20
        return np.argsort(apart + turned, kind="stable")[:NEAREST]


def survey(scene: Scene, renderer: Any) -> Survey:
    """Looks at the scene from its captured cameras (at most 150 of them), through the given renderer.

    A toy room is known from every side, so where its cameras stood does not matter.
    """
    if scene.seen is None or scene.source.startswith("toy:"):
        nothing = np.zeros((0, 1, 1), np.float32)
        surface = surface_of(scene, np.empty((0, 3)), scene.extent)
        return Survey(
            scene=scene, renderer=renderer, surface=surface, views=None,
            nearest_depth=nothing, farthest_depth=nothing, spread=float("nan"),
        )  # fmt: skip
    chosen = np.unique(np.linspace(0, len(scene.seen) - 1, MOST_VIEWS).round().astype(int))
    views = preview(_pinhole(scene.seen[chosen]))
    depth, _ = _look(renderer, views)
    points = np.concatenate([_points(views, index, depth[index]) for index in range(len(views))])
    around = AROUND * scene.unit
    region = np.stack([scene.seen.centres.min(axis=0) - around, scene.seen.centres.max(axis=0) + around])
    low = minimum_filter(np.where(depth > 0, depth, np.inf), (1, 3, 3), mode="nearest")
    return Survey(
        scene=scene,
        renderer=renderer,
        surface=surface_of(scene, points, region),
        views=views,
        nearest_depth=np.where(np.isfinite(low), low, 0).astype(np.float32),
        farthest_depth=maximum_filter(depth, (1, 3, 3), mode="nearest"),
        spread=_spread(views, depth),
    )


def preview(path: Trajectory) -> Trajectory:
    """The path's cameras at preview size: 96 pixels on the longer side."""
    factor = LONGEST / max(path.width, path.height)
    return path.resized(max(8, round(path.width * factor)), max(8, round(path.height * factor)))


def _pinhole(seen: Trajectory) -> Trajectory:
    """The captured cameras without their lens's distortion, whose last few pixels do not matter here."""
    from dataclasses import replace

    return replace(seen, distortion=())


def _look(renderer: Any, path: Trajectory) -> tuple[Float32[Array, "n h w"], Float32[Array, "n h w"]]:
    frames = list(_whole(renderer.frames(path)))
    return np.stack([depth for depth, _ in frames]), np.stack([alpha for _, alpha in frames])


def _whole(frames: Iterable[Any]) -> Iterable[tuple[Array, Array]]:
    for frame in frames:
        alpha = frame.alpha if frame.alpha is not None else np.ones(frame.rgb.shape[:2], np.float32)
        yield np.asarray(frame.depth, np.float32), np.asarray(alpha, np.float32)


def _points(views: Trajectory, index: int, depth: Float32[Array, "h w"]) -> Float64[Array, "m 3"]:
    """World points of a view's pixels that have depth."""
    rows, columns = np.nonzero(depth > 0)
    rays = views.camera(index).rays(np.stack([columns, rows], axis=-1) + 0.5)
    return se3.transform(views.camera_to_world[index], rays * depth[rows, columns, None].astype(np.float64))


def _pixels(views: Trajectory, chosen: Any, local: Float64[Array, "k p 3"]) -> tuple[Any, Any, Any]:
    """(inside, row, column) of camera-frame points in the pictures of the chosen views."""
    fx, fy, cx, cy = (column[:, None] for column in views.intrinsics[chosen].T)
    z = np.maximum(local[..., 2], 1e-9)
    x, y = fx * local[..., 0] / z + cx, fy * local[..., 1] / z + cy
    inside = (local[..., 2] > 0) & (x >= 0) & (y >= 0) & (x < views.width) & (y < views.height)
    limit = lambda value, size: np.clip(np.where(inside, value, 0), 0, size - 1).astype(int)  # noqa: E731
    return inside, limit(y, views.height), limit(x, views.width)


def _lookup(views: Trajectory, chosen: Any, local: Float64[Array, "k p 3"], low: Array, high: Array) -> Any:
    """Whether each point lies in the picture of each view, at the depth that the view has there."""
    inside, row, column = _pixels(views, chosen, local)
    number = np.asarray(chosen)[:, None]
    near, far, z = low[number, row, column], high[number, row, column], local[..., 2]
    return inside & (far > 0) & (z >= (1 - AGREE) * near) & (z <= (1 + AGREE) * far)


def _spread(views: Trajectory, depth: Float32[Array, "v h w"]) -> float:
    """Median over captured views of the median relative difference between their depth and the next view's."""
    found = []
    for index in range(len(views) - 1):
        points = _points(views, index, depth[index])
        local = se3.transform(views.world_to_camera[index + 1], points)[None]
        inside, row, column = _pixels(views, [index + 1], local)
        other = depth[index + 1][row[0], column[0]]
        both = inside[0] & (other > 0)
        if both.sum() >= 50:
            found.append(float(np.median(np.abs(local[0, both, 2] / other[both] - 1))))
    return float(np.median(found)) if found else float("nan")
