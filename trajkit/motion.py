"""Body motions and the keys that name them: the one place where camera steps are integrated into poses.

A move is one row of six numbers in the camera's own OpenCV axes, MOVE gives their order. Positive yaw turns right,
pitch looks up, roll turns the camera clockwise (seen from behind it), `right`, `down` and `forward` translate.
"""

from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float64

from trajkit import se3

Array = np.ndarray

MOVE = ("yaw_deg", "pitch_deg", "roll_deg", "right", "down", "forward")
LATENT_STEP_DEG = 3.0  # minWM and HY-WorldPlay: one latent (4 frames) turns 3 degrees
LATENT_STEP = 0.08  # ... or moves 0.08 units

# key -> the move of one unit (1 degree or 1 length unit); reference/minwm.md section 17
_UNIT = {
    "w": (0, 0, 0, 0, 0, 1),
    "s": (0, 0, 0, 0, 0, -1),
    "a": (0, 0, 0, -1, 0, 0),
    "d": (0, 0, 0, 1, 0, 0),
    "u": (0, 0, 0, 0, -1, 0),
    "dn": (0, 0, 0, 0, 1, 0),
    "j": (-1, 0, 0, 0, 0, 0),
    "l": (1, 0, 0, 0, 0, 0),
    "i": (0, 1, 0, 0, 0, 0),
    "k": (0, -1, 0, 0, 0, 0),
}
ALIASES = MappingProxyType({"up": "i", "down": "k", "left": "j", "right": "l"})  # the arrow keys turn, they don't move
KEYS = MappingProxyType({**_UNIT, **{alias: _UNIT[key] for alias, key in ALIASES.items()}})


def key_move(key: str, step: float = LATENT_STEP, step_deg: float = LATENT_STEP_DEG) -> Float64[Array, "6"]:
    """The move of one press of `key`: `step` length units or `step_deg` degrees. Raises KeyError for an unknown key."""
    return np.array(KEYS[key], np.float64) * ([step_deg] * 3 + [step] * 3)


def integrate(
    moves: Float[Array, "n 6"], *, orbit_yaw_deg: Float[Array, " n"] | None = None, orbit_radius: float = 1.0
) -> Float64[Array, "n_plus_1 4 4"]:
    """camera_to_world before the first and after each of n moves; the first pose is the identity.

    Each step turns first, about the camera's own axes, then moves along the turned ones (reference/minwm.md 1.3):
    R <- R Ry(yaw) Rx(pitch) Rz(roll);  t <- t + R (right, down, forward).
    `orbit_yaw_deg` then swings the camera about the point `orbit_radius` ahead, which stays in the picture's middle:
    T <- T Trans(0,0,r) Ry(-angle) Trans(0,0,-r); a positive angle moves the camera to the right.
    """
    moves = np.asarray(moves, np.float64).reshape(-1, 6)
    turn = se3.axis_rotation("y", moves[:, 0]) @ se3.axis_rotation("x", moves[:, 1])
    turn = turn @ se3.axis_rotation("z", moves[:, 2])
    step = se3.pose(turn, np.einsum("nij,nj->ni", turn, moves[:, 3:]))
    if orbit_yaw_deg is not None:
        swing = se3.axis_rotation("y", -np.asarray(orbit_yaw_deg, np.float64))
        ahead = np.array([0.0, 0.0, orbit_radius])
        step = step @ se3.pose(swing, ahead - swing @ ahead)
    poses = np.empty((len(moves) + 1, 4, 4))
    poses[0] = np.eye(4)
    for index, motion in enumerate(step):
        poses[index + 1] = poses[index] @ motion
    return poses
