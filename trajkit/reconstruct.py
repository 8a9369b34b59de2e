"""From a posed capture to Gaussian splats: undistort, triangulate with the poses as they are, fit, measure."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from trajkit import __version__, files, seeding
from trajkit.camera import Camera
from trajkit.errors import TrajkitError
from trajkit.fit import FitOptions, View, Watch, fit, initial, psnr_db
from trajkit.gaussians import Gaussians, write_ply
from trajkit.options import as_dict, option
from trajkit.renderers.splats import near_plane
from trajkit.scene import Scene
from trajkit.sparse import triangulate
from trajkit.undistort import undistorted_image

Array = np.ndarray
RECORD_VERSION = 1
HELD_OUT_EVERY = 8  # photos: 0, 8, 16, ... are never fitted, and judge the result (as in Barron et al. 2022)
FEWEST_PHOTOS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to turn photos into splats."""

    longest: int = option(480, "longest side that photos are reduced to", unit="px", low=64, high=8192)
    iterations: int = option(1000, "steps of the optimiser, one photo each", low=1, high=1_000_000)
    gaussians: int = option(40_000, "most Gaussians that growth may reach", low=100, high=10_000_000)
    sh_degree: int = option(1, "degree of the colours' spherical harmonics", low=0, high=3)
    seed: int = 0


def reconstruct(scene: Scene, options: Options, folder: Path, *, watch: Watch | None = None) -> Path:
    """Path of folder/<scene.id>.ply, Gaussians in the scene's own world; <scene.id>.json beside it says how good.

    Both are whole or absent, and the record is last: when it is there and names the same photos, poses and options,
    nothing is done. Same input and seed, same bytes. `watch` passes the optimiser's steps on and may show them.
    Raises TrajkitError for a scene without photos, a photo that cannot be read, and poses that no points agree with.
    """
    where = f"scene {scene.id}"
    if scene.seen is None or len(scene.photos) != len(scene.seen):
        raise TrajkitError(where, "has no photo for each pose", "reconstruct from a capture, such as dl3dv:FOLDER")
    if len(scene.photos) < FEWEST_PHOTOS:
        raise TrajkitError(where, f"has {len(scene.photos)} photos", f"give at least {FEWEST_PHOTOS}, better 30")
    splat, record = folder / f"{scene.id}.ply", folder / f"{scene.id}.json"
    wanted = {"inputs": _digest(scene), "options": as_dict(options) | {"seed": options.seed}}
    if _finished(splat, record, wanted):
        return splat
    views = photo_views(scene, options.longest)
    fitted = [view for index, view in enumerate(views) if not _held_out(index)]
    points, colours = triangulate(fitted, where)
    gaussians = _fit(initial(points, colours, options.sh_degree), fitted, scene, options, watch)
    write_ply(gaussians, splat)
    quality = _quality(scene, views, gaussians)
    facts = {"points": len(points), "gaussians": len(gaussians), "splat_sha256": files.sha256(splat)}
    versions = {"trajkit": __version__} | {name: version(name) for name in ("numba", "numpy", "pycolmap", "scipy")}
    about = {"version": RECORD_VERSION, "scene": scene.id, "source": scene.source, "licence": scene.licence}
    files.write_bytes(record, files.json_bytes(about | wanted | facts | quality | {"versions": versions}))
    return splat


def photo_views(scene: Scene, longest: int) -> list[View]:
    """Each photo undistorted, reduced to `longest` pixels and cropped to where the lens saw something."""
    if scene.seen is None:
        raise TrajkitError(f"scene {scene.id}", "has no captured cameras", "reconstruct from a posed capture")
    factor = min(1.0, longest / max(scene.seen.width, scene.seen.height))
    size = round(scene.seen.width * factor), round(scene.seen.height * factor)
    targets: dict[Camera, Camera] = {}
    views = []
    for index, (path, pose) in enumerate(zip(scene.photos, scene.seen.world_to_camera, strict=True)):
        camera = scene.seen.camera(index)
        if camera not in targets:
            targets[camera] = inscribed(camera.resized(*size))
        photo = read_photo(path, (camera.width, camera.height), size)
        found = camera.resized(photo.shape[1], photo.shape[0])
        views.append(View(undistorted_image(photo, found, targets[camera]), targets[camera], pose))
    return views


def read_photo(path: Path, size: tuple[int, int], least: tuple[int, int]) -> UInt8[Array, "h w 3"]:
    """A photo of `size` (width, height), reduced while it is decoded where its format can, never below `least`.

    Raises TrajkitError when it is damaged or of another size.
    """
    try:
        with Image.open(path) as image:
            if image.size != size:
                problem = f"is {image.width}x{image.height}, but its pose is for {size[0]}x{size[1]}"
                raise TrajkitError(path, problem, "give the photos that the poses were estimated from")
            image.draft("RGB", least)
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise TrajkitError(path, "no such file", "restore the photo, or drop its pose") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TrajkitError(path, f"not a readable picture ({error})", "restore the photo, or drop its pose") from None


def inscribed(camera: Camera) -> Camera:
    """The pinhole with the same focal length whose whole picture the distorted lens has seen (no black border)."""
    across, down = np.arange(camera.width + 1.0), np.arange(camera.height + 1.0)

    def edge(x: Array | float, y: Array | float) -> Array:
        with np.errstate(all="ignore"):  # a hopeless lens overflows: found out below
            rays = camera.rays(np.stack(np.broadcast_arrays(x, y), axis=-1))
        return rays[:, :2] * (camera.fx, camera.fy) + (camera.cx, camera.cy)

    left, right = edge(0.0, down)[:, 0].max(), edge(camera.width, down)[:, 0].min()
    top, bottom = edge(across, 0.0)[:, 1].max(), edge(across, camera.height)[:, 1].min()
    if not (camera.width / 4 <= right - left < np.inf and camera.height / 4 <= bottom - top < np.inf):
        raise TrajkitError("camera", f"distortion {camera.distortion} leaves no picture", "correct the coefficients")
    left, right, top, bottom = math.ceil(left), math.floor(right), math.ceil(top), math.floor(bottom)
    return camera.undistorted().cropped(left, top, right - left, bottom - top)


def _fit(start: Gaussians, views: list[View], scene: Scene, options: Options, watch: Watch | None) -> Gaussians:
    """Fits around the origin, where float32 is finest, and moves the result back into the scene's world."""
    middle = np.median(start.means.astype(np.float64), axis=0)
    moved = []
    for view in views:
        pose = view.world_to_camera.copy()
        pose[:3, 3] += pose[:3, :3] @ middle
        moved.append(view._replace(world_to_camera=pose))
    settings = FitOptions(
        steps=options.iterations, budget=options.gaussians, sh_degree=options.sh_degree, near=near_plane(scene)
    )
    rng = seeding.generator(options.seed, "reconstruct", scene.id)
    gaussians = fit(dataclasses.replace(start, means=start.means - middle), moved, settings, rng, watch)
    return dataclasses.replace(gaussians, means=gaussians.means + middle)


def _held_out(index: int) -> bool:
    return index % HELD_OUT_EVERY == 0


def _quality(scene: Scene, views: list[View], gaussians: Gaussians) -> dict[str, Any]:
    """PSNR (dB) of every photo, those that were fitted and those that were not."""
    scores = [round(psnr_db(gaussians, view, near_plane(scene)), 3) for view in views]
    held = [score for index, score in enumerate(scores) if _held_out(index)]
    rest = [score for index, score in enumerate(scores) if not _held_out(index)]
    return {
        "photos": len(views),
        "size": [views[0].camera.width, views[0].camera.height],
        "psnr_held_out_db": round(float(np.mean(held)), 3),
        "psnr_fitted_db": round(float(np.mean(rest)), 3),
        "psnr_by_photo_db": {path.name: score for path, score in zip(scene.photos, scores, strict=True)},
        "held_out": [path.name for index, path in enumerate(scene.photos) if _held_out(index)],
    }


def _digest(scene: Scene) -> str:
    """Name of what the splats depend on: poses, lenses, and the photos' names and sizes in bytes."""
    hasher = hashlib.sha256()
    seen = scene.seen
    assert seen is not None
    for array in (seen.camera_to_world, seen.intrinsics, np.array([seen.width, seen.height, *seen.distortion])):
        hasher.update(np.ascontiguousarray(array, "<f8").tobytes())
    for path in scene.photos:
        size = path.stat().st_size if path.is_file() else -1
        hasher.update(f"{path.name}\0{size}\0".encode())
    return hasher.hexdigest()


def _finished(splat: Path, record: Path, wanted: dict[str, Any]) -> bool:
    if not (splat.is_file() and record.is_file()):
        return False
    found = files.read_json(record)
    return all(found.get(key) == value for key, value in wanted.items()) and found.get("splat_sha256") == files.sha256(
        splat
    )
