"""Draws docs/paths.png: each sampler on a small ring of captured cameras. Needs matplotlib (comes with evo)."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from trajkit import options, plugins, se3, seeding
from trajkit.camera import Camera
from trajkit.scene import Scene
from trajkit.trajectory import Scale, Trajectory

# spec, seed: the seeds put the paths at different places of the ring
SPECS = [
    ("keys:w*12,l*7", 4),
    ("keys:w+l*10~in-out,d@0.5*9", 4),
    ("blocks", 7),
    ("orbit", 1),
    ("spiral", 1),
    ("spline", 3),
    ("revisit:(keys:w+j*9.5;ease=in-out)", 2),
    ("handheld:spline;shake=0.03,shake_deg=1.5", 3),
]


def ring(camera: Camera) -> Scene:
    """24 cameras around a subject at the origin; z is up."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 2 + 0.12 * np.cos(3 * angle)
    centre = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.3 + 0.1 * np.sin(2 * angle)], axis=-1)
    poses = se3.look_at(centre, np.zeros(3), np.array([0.0, 0.0, 1.0]))
    seen = Trajectory.from_camera(poses, camera, fps=5, scale=Scale(kind="unit"))
    extent = np.array([[-2.0, -2, -1], [2, 2, 1]])
    return Scene(id="ring", source="", licence="CC0", up=np.array([0, 0, 1.0]), extent=extent, unit=1.0, seen=seen)


def draw(axes: pyplot.Axes, scene: Scene, spec: str, seed: int, camera: Camera) -> None:
    """One path from above (the spiral: from behind the camera), dark to bright, a view direction every 8 frames."""
    name, text = options.split_spec(spec)
    module = plugins.load("paths", name)
    parsed = options.parse(module.Options, text, where=name, frames=77, fps=16.0, camera=camera)
    path = module.sample(scene, parsed, seeding.generator(seed, scene.id))
    right, down = path.camera_to_world[0, :3, :2].T
    across, along = (right, -down) if name == "spiral" else np.eye(3)[:2]
    flat = lambda vectors: (vectors @ across, vectors @ along)  # noqa: E731
    middle = path.centres.mean(axis=0)
    views, captured = path.camera_to_world[::8], scene.seen.camera_to_world
    if name != "spiral":
        axes.quiver(*flat(captured[:, :3, 3]), *flat(captured[:, :3, 2]), color="0.8", scale=9, width=0.006)
    axes.plot(*flat(path.centres), color="0.3", linewidth=0.7)
    axes.quiver(*flat(views[:, :3, 3]), *flat(views[:, :3, 2]), np.arange(10), scale=9, width=0.008, cmap="plasma")
    axes.scatter(*flat(path.centres), c=np.arange(77), s=5, cmap="plasma", zorder=3)
    left, low = np.array(flat(middle)) - 1.1
    axes.set(aspect="equal", xlim=(left, left + 2.2), ylim=(low, low + 2.2), xticks=[], yticks=[])
    axes.set_title(spec, size=8)


def main() -> None:
    """Writes the picture."""
    camera = Camera.from_fov(832, 480, 58.0)
    figure, grid = pyplot.subplots(2, 4, figsize=(12, 6.4), layout="constrained")
    for axes, (spec, seed) in zip(grid.flat, SPECS, strict=True):
        draw(axes, ring(camera), spec, seed, camera)
    target = Path(__file__).parents[2] / "docs" / "paths.png"
    figure.savefig(target, dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    main()
