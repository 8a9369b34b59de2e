"""COLMAP models, binary or text: world to camera, OpenCV axes, quaternions scalar first, pixel corner at (0, 0).

Read and written here rather than through pycolmap (4.2.1), which takes a truncated cameras.bin for a good one, does not
return from a truncated images.bin, and cuts names at blanks in text models. Tests compare with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.files import read_bytes, read_text
from trajkit.options import option
from trajkit.poses import inverted, located, poses_from_tq, tq_from_poses, write_together
from trajkit.poses._binary import Cursor, packed
from trajkit.poses._photos import capture, numbered, photo_names
from trajkit.trajectory import Trajectory

KEEPS = frozenset({"lens", "size", "distortion", "frames", "names"})
# model id -> (name, parameter count); ids and orders from COLMAP's src/colmap/sensor/models.h
MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
}
FOLDERS = ("", "sparse/0", "colmap/sparse/0", "sparse")  # where tools put the model below a capture
MARKER = "images"  # written last


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to read (photo rate) and how to write (binary or text)."""

    fps: float = option(1.0, "rate of the numbers in the photos' names, for times", unit="per second", low=1e-3)
    form: Literal["binary", "text"] = option("binary", "what to write: binary, text")


DEFAULT = Options()


class _Image(NamedTuple):
    name: str
    camera: int
    row: tuple[float, ...]  # qw qx qy qz tx ty tz, world to camera, as the files have it
    place: str


def read(path: Path, options: Options = DEFAULT) -> Trajectory:
    """The registered photos, ordered by the integers in their names, then by name; binary preferred if both exist.

    `path` is the model's folder or the capture's above it. Raises TrajkitError naming the file, and the photo or line,
    for a damaged model, one with photos of several sizes or lens distortions, or a camera model beyond OPENCV.
    """
    folder, suffix = find_model(path)
    cameras_path, images_path = folder / f"cameras{suffix}", folder / f"images{suffix}"
    cameras = dict(_binary_cameras(cameras_path) if suffix == ".bin" else _text_cameras(cameras_path))
    images = list(_binary_images(images_path) if suffix == ".bin" else _text_images(images_path))
    if not images:
        raise TrajkitError(images_path, "no photo is registered", "run COLMAP's mapper again")
    order, number = numbered([image.name for image in images])
    images = [images[index] for index in order]
    for image in images:
        if image.camera not in cameras:
            raise TrajkitError(f"{images_path}, {image.place}", f"no camera {image.camera}", "restore the model")
    lenses = [cameras[image.camera] for image in images]
    names, rows = [image.name for image in images], np.array([image.row for image in images])
    place = lambda pose: images[pose].place  # noqa: E731
    world_to_camera = poses_from_tq(rows[:, [4, 5, 6, 1, 2, 3, 0]], images_path, place)
    with located(images_path, place):
        return inverted(capture(world_to_camera, lenses, names, number, fps=options.fps, path=cameras_path))


def write(trajectory: Trajectory, path: Path, options: Options = DEFAULT) -> None:
    """Writes a model without points into the folder: one PINHOLE or OPENCV camera per lens, photos named by names.

    The layout is the one of before rigs (COLMAP 3.11), which every version opens.
    Raises TrajkitError where the folder holds a model with points, or one of the other form.
    """
    suffix = ".bin" if options.form == "binary" else ".txt"
    _check_free(path, suffix)
    with located(path):
        names = photo_names(trajectory, "")
    lenses, camera_ids = np.unique(trajectory.intrinsics, axis=0, return_inverse=True)
    cameras = [
        Camera(
            width=trajectory.width,
            height=trajectory.height,
            **dict(zip(("fx", "fy", "cx", "cy"), map(float, lens), strict=True)),
            distortion=trajectory.distortion,
        )
        for lens in lenses
    ]
    rows = tq_from_poses(trajectory.world_to_camera)[:, [6, 3, 4, 5, 0, 1, 2]] + 0.0  # no -0.0
    images = [
        _Image(name, int(camera) + 1, tuple(map(float, row)), "")
        for name, camera, row in zip(names, camera_ids, rows, strict=True)
    ]
    encode = _binary_contents if suffix == ".bin" else _text_contents
    write_together(path, {name + suffix: content for name, content in encode(cameras, images).items()})


def matches(path: Path) -> bool:
    """Whether it is a model's folder or has one where tools put it."""
    return any((path / folder / f"images{suffix}").is_file() for folder in FOLDERS for suffix in (".bin", ".txt"))


def find_model(path: Path) -> tuple[Path, str]:
    """The folder of the model at or below a path, and its suffix (.bin or .txt). Raises TrajkitError if none is."""
    for folder in FOLDERS:
        for suffix in (".bin", ".txt"):
            if all((path / folder / f"{name}{suffix}").is_file() for name in ("cameras", MARKER)):
                return path / folder, suffix
    raise TrajkitError(path, "holds no COLMAP model", "name the folder of cameras.bin and images.bin (or .txt)")


def _camera(model: str, width: int, height: int, values: tuple[float, ...], where: str) -> Camera:
    """A Camera of a COLMAP camera model and its parameters."""
    counts = dict(MODELS.values())
    if model not in counts:
        raise TrajkitError(where, f"camera model {model}", "undistort (colmap image_undistorter), or use OPENCV")
    if len(values) != counts[model]:
        raise TrajkitError(where, f"{len(values)} parameters for {model}", f"it has {counts[model]}")
    pair = model in ("PINHOLE", "OPENCV")  # two focal lengths; the others have one
    fx, fy, cx, cy, *rest = values if pair else (values[0], *values)
    distortion = tuple((*rest, 0.0, 0.0, 0.0, 0.0)[:4])
    distortion = distortion if any(distortion) else ()
    with located(where):
        return Camera(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion)


def _binary_cameras(path: Path) -> Iterator[tuple[int, Camera]]:
    cursor = Cursor(read_bytes(path), path)
    for _ in range(*cursor.take("Q")):
        number, model, width, height = cursor.take("IiQQ")
        where = f"{path}, camera {number}"
        if model not in MODELS:
            raise TrajkitError(where, f"camera model number {model}", "undistort (colmap image_undistorter)")
        name, count = MODELS[model]
        yield number, _camera(name, width, height, cursor.take(f"{count}d"), where)
    cursor.end()


def _binary_images(path: Path) -> Iterator[_Image]:
    cursor = Cursor(read_bytes(path), path)
    for _ in range(*cursor.take("Q")):
        number, *row, camera = cursor.take("I7dI")
        name = cursor.text()
        cursor.skip(24 * cursor.take("Q")[0])  # its observations
        yield _Image(name, camera, tuple(row), f"image {number} ({name})")
    cursor.end()


def _text_cameras(path: Path) -> Iterator[tuple[int, Camera]]:
    for line_number, line in enumerate(read_text(path).splitlines(), 1):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        where = f"{path}, line {line_number}"
        try:
            number, width, height = int(cells[0]), int(cells[2]), int(cells[3])
            values = tuple(map(float, cells[4:]))
        except (ValueError, IndexError):
            raise TrajkitError(where, "not ID MODEL WIDTH HEIGHT PARAMETERS", "restore the model") from None
        yield number, _camera(cells[1], width, height, values, where)


def _text_images(path: Path) -> Iterator[_Image]:
    """Images of two lines each; the second, with the observations, may be empty and is not looked at."""
    observations = False
    for line_number, line in enumerate(read_text(path).splitlines(), 1):
        if observations:
            observations = False
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = line.split(maxsplit=9)
        try:
            row = tuple(map(float, cells[1:8]))
            image = _Image(cells[9].strip(), int(cells[8]), row, f"line {line_number}")
        except (ValueError, IndexError):
            problem = "not IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise TrajkitError(f"{path}, line {line_number}", problem, "restore the model") from None
        observations = True
        yield image


def _check_free(folder: Path, suffix: str) -> None:
    other = ".txt" if suffix == ".bin" else ".bin"
    for stale in (f"{MARKER}{other}", f"rigs{suffix}", f"frames{suffix}"):
        if (folder / stale).exists():
            raise TrajkitError(folder, f"holds {stale} of another model", "write to another folder")
    points = folder / f"points3D{suffix}"
    if points.is_file():
        content = points.read_bytes()
        bare = all(line.startswith(b"#") for line in content.splitlines()) if suffix == ".txt" else len(content) <= 8
        if not bare:
            raise TrajkitError(points, "holds 3D points, which would no longer fit", "write to another folder")


def _parameters(camera: Camera) -> tuple[int, tuple[float, ...]]:
    return (4 if camera.distortion else 1), (camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion)


def _binary_contents(cameras: list[Camera], images: list[_Image]) -> dict[str, bytes]:
    lenses = [packed("Q", len(cameras))]
    for number, camera in enumerate(cameras, 1):
        model, values = _parameters(camera)
        lenses.append(packed(f"IiQQ{len(values)}d", number, model, camera.width, camera.height, *values))
    poses = [packed("Q", len(images))]
    for number, image in enumerate(images, 1):
        poses.append(packed("I7dI", number, *image.row, image.camera) + image.name.encode() + b"\0" + packed("Q", 0))
    return {"cameras": b"".join(lenses), "points3D": packed("Q", 0), MARKER: b"".join(poses)}


def _text_contents(cameras: list[Camera], images: list[_Image]) -> dict[str, bytes]:
    lenses = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for number, camera in enumerate(cameras, 1):
        model, values = _parameters(camera)
        lenses.append(f"{number} {MODELS[model][0]} {camera.width} {camera.height} {' '.join(map(repr, values))}")
    poses = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# (an empty line: no observations)"]
    for number, image in enumerate(images, 1):
        poses += [f"{number} {' '.join(map(repr, image.row))} {image.camera} {image.name}", ""]
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]"]
    contents = {"cameras": lenses, "points3D": points, MARKER: poses}
    return {name: ("\n".join(rows) + "\n").encode() for name, rows in contents.items()}
