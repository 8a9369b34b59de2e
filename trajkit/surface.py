"""How far a camera is from what there is: exact in toy rooms, else from opaque Gaussians and captured depth."""

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from trajkit.gaussians import Gaussians
from trajkit.scene import Scene
from trajkit.scenes.splat import load_gaussians
from trajkit.scenes.toy import world

Array = np.ndarray
SPACING = 0.1  # path units between neighbouring samples of a surface
SLACK = SPACING / np.sqrt(2)  # how far a surface may lie beyond its nearest sample: half the diagonal of their grid
OPAQUE = 0.0  # logit of the opacity from which a Gaussian stands in the way
REACH = 1.5  # standard deviations up to which an opaque Gaussian counts as solid
MOST_ALONG = 64  # samples along one axis of a Gaussian
BLOCK = 1 << 20  # samples made at a time: bounds the memory


class Surface(Protocol):
    """Something with a distance to it."""

    def distance(self, points: Float[Array, "n 3"]) -> Float64[Array, " n"]:
        """Scene units from points to the nearest surface, never more than it is; negative inside a solid."""


class Samples(NamedTuple):
    """A surface known by samples of it, `slack` apart at most."""

    tree: cKDTree  # empty: nothing is in the way, and the distance is infinite
    slack: float  # scene units

    def distance(self, points: Float[Array, "n 3"]) -> Float64[Array, " n"]:
        """Distance to the nearest sample, less the slack."""
        return np.asarray(self.tree.query(points)[0] - self.slack)


def surface_of(scene: Scene, seen_points: Float[Array, "n 3"], region: Float64[Array, "2 3"]) -> Surface:
    """The surface near the box `region` (corners), where paths may lead; `seen_points` are of captured depth maps.

    Toy rooms know it exactly. Splats: samples of the opaque Gaussians, out to 1.5 standard deviations, and the seen
    points, which stand for what many faint Gaussians make opaque together.
    """
    if scene.source.startswith("toy:"):
        return world(scene)
    step = SPACING * scene.unit
    found = [_within(np.asarray(seen_points, np.float64), region)]
    if "splat" in scene.assets:
        found += list(_samples(load_gaussians(scene), region, step))
    points = np.concatenate(found)
    _, first = np.unique(np.floor(points / (step / 4)), axis=0, return_index=True)
    return Samples(cKDTree(points[first]), float(SLACK * scene.unit))


def _within(points: Float64[Array, "n 3"], region: Float64[Array, "2 3"]) -> Float64[Array, "m 3"]:
    return points[((points >= region[0]) & (points <= region[1])).all(axis=1)]


def _samples(gaussians: Gaussians, region: Float64[Array, "2 3"], step: float) -> list[Float64[Array, "n 3"]]:
    """Points at most `step` apart on the plane of each opaque Gaussian's two longest axes, inside the region."""
    scales = np.exp(gaussians.log_scales.astype(np.float64))
    means = gaussians.means.astype(np.float64)
    reach = REACH * scales.max(axis=1, keepdims=True)
    near = ((means + reach >= region[0]) & (means - reach <= region[1])).all(axis=1)
    chosen = np.flatnonzero(near & (gaussians.logit_opacities > OPAQUE))
    if not len(chosen):
        return []
    means, scales = means[chosen], scales[chosen]
    turns = Rotation.from_quat(gaussians.quaternions_wxyz[chosen][:, [1, 2, 3, 0]]).as_matrix()
    order = np.argsort(-scales, axis=1)[:, :2]
    half = REACH * np.take_along_axis(scales, order, axis=1)  # of the two longest axes
    axes = np.take_along_axis(turns, order[:, None, :], axis=2) * half[:, None, :]  # (n, 3, 2)
    counts = 2 ** np.ceil(np.log2(np.clip(2 * half / step, 1, MOST_ALONG))).astype(int)
    found = []
    for along, across in np.unique(counts, axis=0):
        grid = np.stack(np.meshgrid(_steps(along), _steps(across), indexing="ij"), axis=-1).reshape(-1, 2)
        group = np.flatnonzero((counts == (along, across)).all(axis=1))
        for part in np.array_split(group, -(-len(group) * len(grid) // BLOCK)):
            points = means[part, None, :] + np.einsum("nik,gk->ngi", axes[part], grid)
            found.append(_within(points.reshape(-1, 3), region))
    return found


def _steps(count: int) -> Float64[Array, " c"]:
    """The middles of `count` equal parts of -1..1."""
    return (2 * np.arange(count) + 1) / count - 1
