"""nerfstudio's camera_path.json: a video's frames, camera to world in OpenGL axes, with a vertical field of view."""

from pathlib import Path
from typing import Any

import numpy as np

from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.poses import centred, located, numbers, pixels, positive
from trajkit.trajectory import Scale, Trajectory

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # on the camera's side; its own inverse
NOMINAL_FPS = 24.0  # of a file without fps, as ns-render has it


def read(path: Path, table: dict[str, Any]) -> Trajectory:
    """The frames of a camera path, in the normalised world of the trained model that it belongs to (scale unit)."""
    if table.get("camera_type", "perspective") != "perspective":
        raise TrajkitError(path, f"camera_type {table['camera_type']!r}", "only perspective cameras can be read")
    frames = table["camera_path"]
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise TrajkitError(path, "camera_path is no list of frames", "check that it is a nerfstudio camera_path.json")
    width, height = (pixels(table.get(name), path, name) for name in ("render_width", "render_height"))
    fps = positive(table.get("fps", NOMINAL_FPS), path, "fps")
    place = "frame {}".format
    poses, focal = [], []
    for position, frame in enumerate(frames):
        where = f"{path}, {place(position)}"
        flat = np.shape(frame.get("camera_to_world")) != (4, 4)  # the viewer writes 16 numbers, scripts also 4 rows
        matrix = numbers(frame.get("camera_to_world"), (16,) if flat else (4, 4), where, "camera_to_world")
        fov_deg = positive(frame.get("fov"), where, "fov")
        if fov_deg >= 180:
            raise TrajkitError(where, f"fov is {fov_deg:g}", "give the vertical field of view in degrees")
        poses.append(matrix.reshape(4, 4) @ OPENCV_FROM_OPENGL)
        focal.append(Camera.from_fov(width, height, fov_deg).fy)
    with located(path, place):
        return Trajectory(
            camera_to_world=np.array(poses),
            intrinsics=np.array([[f, f, width / 2, height / 2] for f in focal]),
            width=width,
            height=height,
            times_s=np.arange(len(poses)) / fps,
            frame_index=np.arange(len(poses)),
            scale=Scale(kind="unit"),
        )


def table_of(trajectory: Trajectory, path: Path, *, lossy: bool) -> dict[str, Any]:
    """The JSON of a camera path. Of the lens it holds the vertical field of view only, of the times a constant rate.

    Raises TrajkitError where that changes the cameras, unless `lossy` allows it.
    """
    trajectory = centred(trajectory, path, lossy=lossy)
    fx, fy = trajectory.intrinsics[:, 0], trajectory.intrinsics[:, 1]
    steps = np.diff(trajectory.times_s)
    losses = {
        "lens distortion": any(trajectory.distortion),
        "a pixel aspect": bool(np.abs(fx / fy - 1).max() > 1e-6),
        "an uneven frame rate": len(steps) > 0 and float(np.ptp(steps)) > 1e-3 * float(steps.mean()),
    }
    found = [name for name, there in losses.items() if there]
    if found and not lossy:
        remedy = "undistort, resize or resample (--fps) first, or give the option lossy=true"
        raise TrajkitError(path, f"a camera_path cannot hold {' and '.join(found)}", remedy)
    fov_deg = np.degrees(2 * np.arctan(trajectory.height / 2 / fy))
    aspect = trajectory.width / trajectory.height
    frames = [
        {"camera_to_world": (pose @ OPENCV_FROM_OPENGL + 0.0).ravel().tolist(), "fov": float(fov), "aspect": aspect}
        for pose, fov in zip(trajectory.camera_to_world, fov_deg, strict=True)
    ]
    fps = trajectory.fps or NOMINAL_FPS
    return {
        "camera_path": frames,
        "camera_type": "perspective",
        "crop": None,
        "fps": fps,
        "is_cycle": False,
        "keyframes": [],
        "render_height": trajectory.height,
        "render_width": trajectory.width,
        "seconds": len(frames) / fps,
        "smoothness_value": 0,
    }
