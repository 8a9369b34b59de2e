"""The lens in a nerfstudio transforms.json: intrinsics and distortion in pixels of the full-size picture."""

import math
from collections.abc import Mapping
from typing import Any

from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.poses import located, numbers, pixels
from trajkit.trajectory import Trajectory

DISTORTION = ("k1", "k2", "p1", "p2")
HIGHER_TERMS = ("k3", "k4", "k5", "k6")
PLANAR = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
Size = tuple[int, int]


def lens_of(values: Mapping[str, Any], where: str, size: Size | None) -> Camera:
    """The lens at the given picture size; without one, at the size in the file.

    The distortion counts whether or not a camera_model is named (instant-ngp names none).
    Raises TrajkitError for a fisheye, terms beyond k1 k2 p1 p2, or a focal length or size that nobody gives.
    """
    model = values.get("camera_model", "OPENCV")
    if model not in PLANAR or values.get("is_fisheye"):
        raise TrajkitError(where, f"camera model {model!r} is no planar lens", "undistort the photos first")
    if any(_number(values, term, where, 0.0) != 0 for term in HIGHER_TERMS):
        raise TrajkitError(where, "distortion beyond k1 k2 p1 p2", "undistort the photos first")
    width, height = _size(values, where, size)
    fx = _number(values, "fl_x", where, _focal(values, "camera_angle_x", width, where))
    fy = _number(values, "fl_y", where, _focal(values, "camera_angle_y", height, where) or fx)
    if not fx:
        raise TrajkitError(where, "no fl_x, nor camera_angle_x", "check that it is a nerfstudio transforms.json")
    terms = tuple(_number(values, term, where, 0.0) for term in DISTORTION)
    with located(where):
        lens = Camera(
            width=width,
            height=height,
            fx=fx,
            fy=fy,
            cx=_number(values, "cx", where, width / 2),
            cy=_number(values, "cy", where, height / 2),
            distortion=terms if any(terms) else (),
        )
    return lens.resized(*size) if size else lens


def lens_table(trajectory: Trajectory) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """What the file says of the lens at its top, and of each frame (nothing, where all share one)."""
    terms = trajectory.distortion
    top: dict[str, Any] = {
        "camera_model": "OPENCV" if terms else "PINHOLE",
        "w": trajectory.width,
        "h": trajectory.height,
        **dict(zip(DISTORTION, terms, strict=False)),
    }
    each = [dict(zip(("fl_x", "fl_y", "cx", "cy"), map(float, row), strict=True)) for row in trajectory.intrinsics]
    if all(values == each[0] for values in each):
        return top | each[0], [{} for _ in each]
    return top, each


def _size(values: Mapping[str, Any], where: str, size: Size | None) -> Size:
    found = []
    for position, name in enumerate(("w", "h")):
        if name not in values and size is None:
            remedy = "give the photos' size: nerfstudio:width=...,height=..."
            raise TrajkitError(where, f"no picture size ({name})", remedy)
        found.append(pixels(values.get(name, size and size[position]), where, name))
    return found[0], found[1]


def _focal(values: Mapping[str, Any], name: str, length: int, where: str) -> float:
    """Focal length in pixels of a field of view in radians; 0 where the file has none."""
    if name not in values:
        return 0.0
    angle = _number(values, name, where, 0.0)
    if not 0 < angle < math.pi:
        raise TrajkitError(where, f"{name} is {angle:g}", "give it in radians, between 0 and pi")
    return length / 2 / math.tan(angle / 2)


def _number(values: Mapping[str, Any], name: str, where: str, default: float) -> float:
    return float(numbers(values[name], (), where, name)) if name in values else default
