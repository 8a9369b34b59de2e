"""`show --live`: scenes in a viser server: cameras, points or splats, paths accepted and refused, a frustum to move."""

import contextlib
import io
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians
from trajkit.harmonics import C0
from trajkit.rasterize import activate
from trajkit.show.exhibit import Exhibit, colour_at
from trajkit.show.found import select
from trajkit.show.gather import Gathered
from trajkit.show.page import measured
from trajkit.show.place import Place, outline
from trajkit.trajectory import Trajectory

if TYPE_CHECKING:
    import viser

HOST = "127.0.0.1"  # of this machine alone: a viewer from elsewhere comes by a tunnel
SEEN, BAD, NOW = (130, 139, 155), (163, 38, 27), (47, 81, 216)
MOST_SEEN, MOST_SPLATS = 150, 400_000  # frusta and Gaussians that a browser turns smoothly
LAYERS = {"cameras": "captured cameras", "points": "points", "clip": "accepted paths", "refused": "refused paths"}
DASHES = 24  # of a refused path


def serve(shown: Gathered, port: int, say: Callable[[str], None]) -> None:
    """Serves until Ctrl-C; says the address. Raises TrajkitError without viser."""
    server = build(shown, port)
    try:
        say(f"http://{HOST}:{server.get_port()}  (Ctrl-C ends it)")
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        with _silent():
            server.stop()


def _silent() -> contextlib.redirect_stdout:
    """viser greets and parts on stdout, where the command's result goes."""
    return contextlib.redirect_stdout(io.StringIO())


def build(shown: Gathered, port: int) -> "viser.ViserServer":
    """A running server on `port`, or on the next free one: place k under /k, its layers below. The caller stops it.

    Raises TrajkitError without viser.
    """
    try:
        import viser
    except ImportError:
        raise TrajkitError("trajkit show --live", "needs viser, not installed", "pip install trajkit[view]") from None
    with _silent():
        server = viser.ViserServer(host=HOST, port=port, label="trajkit show", verbose=False)
    layers = {}
    for number, place in enumerate(shown.places.values()):
        here = [one for one in shown.exhibits if one.place == place.id]
        layers[place.id] = _add_place(server, f"/{number}", place, here)
    _Hands(server, shown, layers)
    _look(server, next(iter(shown.places.values())), shown.exhibits)
    return server


def _look(server: "viser.ViserServer", place: Place, exhibits: Sequence[Exhibit]) -> None:
    """Puts a visitor's eye behind and above what the first place's cameras look at."""
    here = [one.trajectory for one in exhibits if one.place == place.id]
    corners = outline(place, here)
    back = -np.mean((place.cameras or here[0]).camera_to_world[:, :3, 2], axis=0)
    back /= max(float(np.linalg.norm(back)), 1e-9)
    server.initial_camera.look_at = corners.mean(0)
    server.initial_camera.position = corners.mean(0) + _size(place, here) * (0.5 * back + 0.35 * place.up)


def _add_place(server: "viser.ViserServer", root: str, place: Place, here: Sequence[Exhibit]) -> dict[str, Any]:
    """The handles of its layers, by name."""
    size = _size(place, [one.trajectory for one in here])
    layers = {layer: server.scene.add_frame(f"{root}/{layer}", show_axes=False) for layer in LAYERS}
    if place.cameras:
        for k in select(range(len(place.cameras)), MOST_SEEN):
            _frustum(server, f"{root}/cameras/{k}", place.cameras, k, 0.03 * size, SEEN)
    if place.load:
        _splats(server, f"{root}/points/splats", place.load())
    elif place.cloud:
        cloud = place.cloud
        radius = float(np.median(cloud.radii))
        server.scene.add_point_cloud(f"{root}/points/cloud", cloud.points, cloud.colours, point_size=1.3 * radius)
    for k, one in enumerate(here):
        name, centres = f"{root}/{one.kind}/{k}", one.trajectory.centres
        if one.kind == "clip" and len(centres) > 1:
            ramp = np.array([colour_at(i / (len(centres) - 1)) for i in range(len(centres))], np.uint8)
            _lines(server, name, np.array(list(pairwise(centres))), np.array(list(pairwise(ramp))))
        elif one.refusal:
            _lines(server, name, _dashes(centres), np.array(BAD))
            for frame in {measure.frame for measure in one.refusal.reasons.values()}:
                _frustum(server, f"{name}/blamed/{frame}", one.trajectory, frame, 0.04 * size, BAD)
    return layers


def _size(place: Place, here: Sequence[Trajectory]) -> float:
    """Diagonal of what there is to see, in scene units."""
    return float(np.linalg.norm(np.diff(outline(place, here), axis=0))) or 1.0


def _lines(server: "viser.ViserServer", name: str, ends: Float[np.ndarray, "n 2 3"], colours: np.ndarray) -> None:
    server.scene.add_line_segments(name, ends.astype(np.float32), colours, thickness=3.0, thickness_units="screen")


def _dashes(centres: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 2 3"]:
    """Ends of dashes that are evenly spaced along the polyline: refused paths are told apart without colour."""
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    at = np.linspace(0, travelled[-1], 4 * DASHES).reshape(-1, 4)[:, :3:2]
    return np.stack([np.interp(at, travelled, centres[:, k]) for k in range(3)], axis=-1)


def _splats(server: "viser.ViserServer", name: str, gaussians: Gaussians) -> None:
    """The most opaque of them, in the colour of their constant harmonic."""
    splats = activate(gaussians)
    kept = np.sort(np.argsort(-splats.opacities, kind="stable")[:MOST_SPLATS])
    server.scene.add_gaussian_splats(
        name,
        centers=np.asarray(splats.means)[kept],
        covariances=splats.covariances[kept][:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3),
        rgbs=np.clip(0.5 + C0 * np.asarray(splats.sh)[kept, 0], 0, 1),
        opacities=splats.opacities[kept, None],
    )


def _frustum(
    server: "viser.ViserServer", name: str, trajectory: Trajectory, k: int, size: float, colour: tuple[int, int, int]
) -> Any:
    camera = trajectory.camera(k)
    x, y, z, w = Rotation.from_matrix(trajectory.camera_to_world[k, :3, :3]).as_quat()
    return server.scene.add_camera_frustum(
        name,
        fov=2 * float(np.arctan2(camera.height / 2, camera.fy)),
        aspect=camera.width / camera.height,
        scale=size,
        color=colour,
        wxyz=(w, x, y, z),
        position=trajectory.centres[k],
    )


class _Hands:
    """The controls: which path, which frame, which layers; and the frustum that they move."""

    def __init__(self, server: "viser.ViserServer", shown: Gathered, layers: dict[str, dict[str, Any]]) -> None:
        self.server, self.places, self.layers = server, shown.places, layers
        named = lambda k, one: f"{k + 1}. {one.id}" + (" (refused)" if one.refusal else "")  # noqa: E731
        self.paths = {named(k, one): one for k, one in enumerate(shown.exhibits)}
        self.path = server.gui.add_dropdown("path", tuple(self.paths))
        self.frame: Any = server.gui.add_slider("frame", min=0, max=1, step=1, initial_value=0)
        # a text field, not markdown: what comes from files must not become markup
        self.told: Any = server.gui.add_text("about", "", multiline=True, disabled=True)
        self.boxes = {name: server.gui.add_checkbox(label, True) for name, label in LAYERS.items()}
        for box in self.boxes.values():
            box.on_update(lambda _: self.show_layers())
        self.path.on_update(lambda _: self.choose())
        self.frame.on_update(lambda _: self.move())
        self.choose()

    @property
    def chosen(self) -> Exhibit:
        return self.paths[self.path.value]

    def choose(self) -> None:
        """Shows the chosen path's place alone, at the frame to blame if there is one."""
        one = self.chosen
        place = self.places[one.place]
        self.server.scene.set_up_direction(place.up)
        measures = one.refusal.measures if one.refusal else []
        why = [f"{name} {measured(measure)}" for name, measure in measures]
        reason = one.refusal.reason if one.refusal else one.clip.caption or one.note
        told = [one.clip.provenance.path, reason, *why, place.tally, place.quality]
        self.told.value = "\n".join(filter(None, told))
        self.frame.max = max(len(one.trajectory) - 1, 1)
        self.frame.value = measures[0][1].frame if measures else 0
        self.show_layers()
        self.move()

    def show_layers(self) -> None:
        """Hides the other places, and the layers that are not ticked."""
        for id, layers in self.layers.items():
            for name, layer in layers.items():
                layer.visible = id == self.chosen.place and self.boxes[name].value

    def move(self) -> None:
        """Puts the frustum at the chosen frame."""
        one = self.chosen
        k = min(int(self.frame.value), len(one.trajectory) - 1)
        size = _size(self.places[one.place], [one.trajectory])
        _frustum(self.server, "/now", one.trajectory, k, 0.08 * size, BAD if one.refusal else NOW)
