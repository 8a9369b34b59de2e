"""Camera motions as functions of time: each can be asked for its pose at any moment, as a shutter needs it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from trajkit import se3, seeding
from trajkit.paths._start import anchor
from trajkit.paths.handheld import noise
from trajkit.scene import Scene
from trajkit.scenes import toy

Array = np.ndarray
KINDS = ("dolly", "truck", "orbit", "rise", "walk", "weave")
EYE_M = (1.1, 1.8)  # heights of a camera in a toy room
FREE_M = 0.55  # from a starting camera to the nearest surface
DEPTH_UNITS = 4.0  # a scene's median depth in path units
PAN_DEG = {"rotation": (25, 90), "blur": (45, 100)}  # yaw over a clip
USUAL_S = 4.75  # clips that are longer or shorter go as fast


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Motion:
    """A way from `start`: a line with a bow, or an arc around a point ahead, with turns and shake on top of it."""

    kind: str
    start: Float64[Array, "4 4"]  # camera_to_world
    duration_s: float
    line: Float64[Array, "3"]  # in the start's camera axes, scene units, walked over the clip
    bow: Float64[Array, "3"]  # so far off the line in the middle
    turn_deg: Float64[Array, "3"]  # pitch, yaw and roll over the clip
    sway_deg: float  # of a slow nod and pan
    arc_deg: float  # around the point `depth` ahead; 0 = no arc
    depth: float
    ease: float  # 0 = constant speed, 1 = starts and ends at rest
    shake_deg: float  # rms
    shake: float  # rms, scene units
    zoom: float  # focal length at the end, relative to that at the start
    seed: int  # of the shake

    def poses(self, times_s: Float64[Array, " n"]) -> Float64[Array, "n 4 4"]:
        """camera_to_world at the given moments; the clip runs from 0 to `duration_s`."""
        part = np.asarray(times_s, np.float64) / self.duration_s
        held = np.clip(part, 0, 1)
        part = (1 - self.ease) * part + self.ease * held**2 * (3 - 2 * held)
        offset = part[:, None] * self.line + np.sin(np.pi * part)[:, None] * self.bow
        angles = part[:, None] * self.turn_deg
        angles = angles + self.sway_deg * np.sin(2 * np.pi * part[:, None] * (0.7, 1.1, 0.5) + (0.3, 1.7, 4.0))
        local = se3.pose(Rotation.from_euler("yxz", angles[:, [1, 0, 2]], degrees=True).as_matrix(), offset)
        if self.arc_deg:
            turn = se3.axis_rotation("y", self.arc_deg * part)
            ahead = np.array([0.0, 0.0, self.depth])
            local = se3.pose(turn, ahead - turn @ ahead) @ local
        return self.start @ local @ self._shaken(times_s)

    def focal(self, times_s: Float64[Array, " n"]) -> Float64[Array, " n"]:
        """Factor of the focal length at the given moments."""
        return np.asarray(self.zoom ** (np.asarray(times_s) / self.duration_s))

    def _shaken(self, times_s: Float64[Array, " n"]) -> Float64[Array, "n 4 4"]:
        rng = seeding.generator(self.seed, "shake")
        signal = noise(np.concatenate([[0.0], times_s]), 0.4, rng.uniform(3.0, 6.0), rng)[1:]
        turn = Rotation.from_rotvec(np.radians(self.shake_deg) * signal[:, :3]).as_matrix()
        return se3.pose(turn, self.shake * signal[:, 3:])


def draw(scene: Scene, condition: str, duration_s: float, shaken: bool, rng: np.random.Generator) -> Motion:
    """A motion that suits the condition, from somewhere in the scene. Whether it stays clear is not looked at."""
    depth, blur, usual = DEPTH_UNITS * scene.unit, condition == "blur", duration_s / USUAL_S
    fast = usual * (1.5 if blur else 1.0)
    kind = {"rotation": "turn", "static": "still", "tiny_baseline": "turn"}.get(condition) or str(rng.choice(KINDS))
    side = rng.choice([-1.0, 1.0])
    length = fast * depth * rng.uniform(0.25, 0.6)
    line = {
        "dolly": (rng.uniform(-0.2, 0.2), 0.0, 1.0 if rng.random() < 0.7 else -1.0),
        "truck": (side, 0.0, rng.uniform(-0.3, 0.3)),
        "rise": (0.3 * side, -0.5, rng.uniform(-0.3, 0.3)),
        "walk": (rng.uniform(-0.3, 0.3), 0.0, 1.0),
        "weave": (0.6 * side, rng.uniform(-0.15, 0.15), rng.uniform(-0.6, 0.6)),
    }.get(kind, (0.0, 0.0, 0.0))
    bow = {"walk": (0.25 * side, 0.0, 0.0), "weave": (0.0, 0.1, 0.3)}.get(kind, (0.0, 0.0, 0.0))
    turn = rng.uniform(-1, 1, 3) * {"turn": (10, 0, 5), "still": (0, 0, 0)}.get(kind, (6, 14, 2))
    if kind == "turn" or blur:
        turn[1] = rng.choice([-1.0, 1.0]) * rng.uniform(*PAN_DEG.get(condition, (4, 20)))
    tiny = condition == "tiny_baseline"
    direction = rng.normal(size=3)
    step = rng.uniform(0.002, 0.008) * depth * direction / np.linalg.norm(direction)
    still = kind in ("turn", "still")
    return Motion(
        kind=kind,
        start=_start(scene, rng),
        duration_s=duration_s,
        line=step if tiny else length * np.array(line),
        bow=length * np.array(bow),
        turn_deg=usual * turn,
        sway_deg=0.0 if kind == "still" else rng.uniform(0.5, 2.5) * min(1.0, usual),
        arc_deg=side * rng.uniform(12, 30) * fast if kind == "orbit" else 0.0,
        depth=depth,
        ease=rng.uniform(0, 1),
        shake_deg=(rng.uniform(*((0.4, 0.9) if blur else (0.1, 0.5))) if shaken and kind != "still" else 0.0),
        shake=(rng.uniform(0.002, 0.01) * scene.unit if shaken and not still else 0.0),
        zoom=float(rng.uniform(1.25, 1.7) ** side) if condition == "zoom" else 1.0,
        seed=int(rng.integers(1 << 31)),
    )


def _start(scene: Scene, rng: np.random.Generator) -> Float64[Array, "4 4"]:
    """A captured camera, the scene's middle without any; in a toy room mostly a free place, looking anywhere."""
    if scene.source.startswith("toy:") and rng.random() < 0.6:
        low, high = scene.extent
        for _ in range(100):
            centre = np.array([*rng.uniform(low[:2] + 0.8, high[:2] - 0.8), rng.uniform(*EYE_M)])
            if toy.world(scene).distance(centre[None])[0] > FREE_M:
                angle = rng.uniform(0, 2 * np.pi)
                ahead = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.25, 0.1)])
                return se3.look_at(centre, centre + ahead, scene.up)
    return anchor(scene, rng)
