"""From a posed capture to Gaussian splats: undistort, triangulate with the poses as they are, fit, measure, judge."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from trajkit import __version__, cuda, files, plugins, seeding
from trajkit import options as options_
from trajkit.camera import Camera
from trajkit.depth_error import JUDGES, Judges, depth_error
from trajkit.engines import EngineOptions, Task
from trajkit.errors import TrajkitError
from trajkit.fidelity import Fidelity, fidelity
from trajkit.fit import View, Watch
from trajkit.gaussians import Gaussians, write_ply
from trajkit.ledger import Row
from trajkit.options import as_dict, option
from trajkit.rasterize import activate
from trajkit.renderers.splats import Options as SplatOptions
from trajkit.renderers.splats import Renderer, near_plane
from trajkit.scene import Scene
from trajkit.sfm import estimator, posed
from trajkit.sparse import triangulate
from trajkit.undistort import undistorted_image

Array = np.ndarray
RECORD_VERSION = 2
HELD_OUT_EVERY = 8  # photos: 0, 8, 16, ... are never fitted, and judge the result (as in Barron et al. 2022)
FEWEST_PHOTOS = 3
JUDGING_EVERY = 10  # triangulated points: 0, 10, 20, ... are never Gaussians, and judge the depth
MEASURES = {"psnr_held_out_db": "min_psnr_db", "ssim_held_out": "min_ssim", "coverage_held_out": "min_coverage"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to turn photos into splats, and which splats are good enough."""

    engine: str = option("auto", "cpu, gsplat or nerfstudio, with options; auto: gsplat where there is a GPU, else cpu")
    min_psnr_db: float = option(16.0, "least mean PSNR of held-out photos", unit="dB", low=0.0, high=60.0)
    min_ssim: float = option(0.3, "least mean SSIM of held-out photos", low=0.0, high=1.0)
    min_coverage: float = option(0.6, "least mean share of a held-out photo that splats cover", low=0.0, high=1.0)
    seed: int = 0


def reconstruct(scene: Scene, options: Options, folder: Path, *, watch: Watch | None = None) -> Path:
    """Path of folder/<scene.id>.ply, Gaussians in the scene's own world; <scene.id>.json beside it says how good.

    Photos without poses are posed first (`trajkit.sfm.posed`). Both files are whole or absent, and the record is last:
    when it is there and names the same photos, poses and engine, nothing is fitted again. Same input and seed, same
    bytes (the CPU engine). `watch` passes the optimiser's steps on and may show them. Raises TrajkitError for a scene
    without photos, a photo that cannot be read, poses that no points agree with, and splats that fall below a
    threshold; the files of the latter stay, for looking at.
    """
    where = f"scene {scene.id}"
    name, engine, chosen = engine_of(options.engine)
    scene = posed(scene, folder, watch)
    if scene.seen is None or len(scene.photos) != len(scene.seen):
        raise TrajkitError(where, "has no photo for each pose", "reconstruct from a capture, such as dl3dv:FOLDER")
    if len(scene.photos) < FEWEST_PHOTOS:
        raise TrajkitError(where, f"has {len(scene.photos)} photos", f"give at least {FEWEST_PHOTOS}, better 30")
    splat, record = folder / f"{scene.id}.ply", folder / f"{scene.id}.json"
    recorded = {key: value for key, value in as_dict(chosen).items() if key not in getattr(engine, "UNRECORDED", ())}
    wanted = {"inputs": _digest(scene), "engine": {"name": name} | recorded, "seed": options.seed}
    if not _finished(splat, record, wanted):
        facts = _build(scene, engine, chosen, options.seed, splat, watch)
        versions = {"trajkit": __version__} | {name: version(name) for name in ("numba", "numpy", "pycolmap", "scipy")}
        about = {"version": RECORD_VERSION, "scene": scene.id, "source": scene.source, "licence": scene.licence}
        about |= {
            "poses": estimator(scene) or "as given",
            "findings": [f"{f.code}: {f.message}" for f in scene.findings],
        }
        files.write_bytes(record, files.json_bytes(about | wanted | facts | {"versions": versions}))
    refuse(read_record(record), options, where)
    return splat


def engine_of(spec: str) -> tuple[str, ModuleType, EngineOptions]:
    """(name, module, options) of an engine's spec, such as "cpu:iterations=2000".

    Raises TrajkitError for a wrong spec, and for what the engine's `check(options)`, if it has one, finds missing here.
    """
    name, text = options_.split_spec(spec)
    name = ("gsplat" if cuda.usable() else "cpu") if name == "auto" else name
    module = plugins.load("engines", name)
    chosen = options_.parse(module.Options, text, where=f"--engine {name}")
    if hasattr(module, "check"):
        module.check(chosen)
    return name, module, chosen


def read_record(path: Path) -> dict[str, Any]:
    """The quality record that `reconstruct` wrote. Raises TrajkitError where it is missing or lacks a measure."""
    found = files.read_json(path)
    absent = [name for name in MEASURES if not isinstance(found.get(name), int | float)]
    if absent:
        raise TrajkitError(path, f"no number {absent[0]}", "delete it, so that the scene is reconstructed again")
    return found


def refuse(record: dict[str, Any], options: Options, where: str) -> None:
    """Raises TrajkitError naming each measure of the record that falls below its threshold."""
    low = [row for row in measures(record, options) if row.state == "rejected"]
    if low:
        problem = "the reconstruction is not good enough: " + "; ".join(row.reason for row in low)
        remedy = "take more or sharper photos, check the poses' convention, or lower the threshold"
        raise TrajkitError(where, problem, remedy)


def measures(record: dict[str, Any], options: Options) -> list[Row]:
    """One ledger row per measure of held-out photos, with its threshold."""
    rows = []
    for name, threshold in MEASURES.items():
        value, least = float(record[name]), float(getattr(options, threshold))
        low = value < least
        reason = f"{name} {value:.3g} is below {least:g}" if low else ""
        rows.append(
            Row(
                key=str(record["scene"]),
                stage="reconstruct",
                state="rejected" if low else "accepted",
                reason=reason,
                metric=name,
                value=value,
                threshold=least,
            )
        )
    return rows


def ledger_rows(scene: Scene, result: Path | TrajkitError, options: Options, folder: Path) -> list[Row]:
    """What the ledger keeps of one scene's reconstruction in `folder`: its measures, or why there are none."""
    record = folder / f"{scene.id}.json"
    if isinstance(result, TrajkitError) and not record.is_file():
        return [Row(key=scene.id, stage="reconstruct", state="rejected", reason=str(result))]
    return measures(read_record(record), options)


def _build(
    scene: Scene, engine: ModuleType, chosen: EngineOptions, seed: int, splat: Path, watch: Watch | None
) -> dict[str, Any]:
    """Writes the splats and returns what was measured. They are fitted around the origin, where float32 is finest."""
    views = photo_views(scene, chosen.longest)
    fitted = [index for index in range(len(views)) if not _held_out(index)]
    sparse = triangulate([views[index] for index in fitted], f"scene {scene.id}")
    judging = np.arange(len(sparse.points)) % JUDGING_EVERY == 0
    middle = np.median(sparse.points, axis=0)
    moved = [_moved(view, middle) for view in views]
    task = Task(
        scene=scene,
        fitted=[moved[index] for index in fitted],
        held=[view for index, view in enumerate(moved) if _held_out(index)],
        points=sparse.points[~judging] - middle,
        colours=sparse.colours[~judging],
        near=near_plane(scene),
        rng=seeding.generator(seed, "reconstruct", scene.id),
        log=splat.with_suffix(".log"),
    )
    gaussians: Gaussians = engine.fit(task, chosen, watch)
    gaussians = dataclasses.replace(gaussians, means=gaussians.means + middle)
    write_ply(gaussians, splat)
    judges = Judges.of(sparse, judging, np.array(fitted))
    judges.write(splat.with_suffix(JUDGES))
    facts = {"points": len(sparse.points), "gaussians": len(gaussians), "splat_sha256": files.sha256(splat)}
    return facts | _quality(scene, views, gaussians) | _depth(scene, splat, judges)


def _depth(scene: Scene, splat: Path, judges: Judges) -> dict[str, float]:
    """Relative error of the depth that the CPU renderer gives, at triangulated points that were not fitted."""
    assert scene.seen is not None
    renderer = Renderer(dataclasses.replace(scene, assets={"splat": splat}), SplatOptions())
    found = depth_error(renderer, scene.seen, judges)
    if not math.isfinite(found.median):  # no point has depth: coverage will tell
        return {}
    return {"depth_error_median": round(found.median, 5), "depth_error_p90": round(found.p90, 5)}


def _moved(view: View, middle: Float64[Array, "3"]) -> View:
    """The view in a world whose origin is `middle`."""
    pose = view.world_to_camera.copy()
    pose[:3, 3] += pose[:3, :3] @ middle
    return view._replace(world_to_camera=pose)


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


def _held_out(index: int) -> bool:
    return index % HELD_OUT_EVERY == 0


def _quality(scene: Scene, views: list[View], gaussians: Gaussians) -> dict[str, Any]:
    """PSNR (dB), SSIM and coverage of photos that were not fitted, and PSNR of those that were."""
    splats, near = activate(gaussians), near_plane(scene)
    scores = [fidelity(splats, view, near) for view in views]
    held = Fidelity(*np.mean([score for index, score in enumerate(scores) if _held_out(index)], axis=0))
    rest = [score.psnr_db for index, score in enumerate(scores) if not _held_out(index)]
    return {
        "photos": len(views),
        "size": [views[0].camera.width, views[0].camera.height],
        "psnr_held_out_db": round(held.psnr_db, 3),
        "ssim_held_out": round(held.ssim, 4),
        "coverage_held_out": round(held.coverage, 4),
        "psnr_fitted_db": round(float(np.mean(rest)), 3),
        "psnr_by_photo_db": {
            path.name: round(score.psnr_db, 3) for path, score in zip(scene.photos, scores, strict=True)
        },
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
