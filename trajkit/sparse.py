"""3D points of a posed capture: SIFT, matching and triangulation by pycolmap, with the poses kept as they are."""

import tempfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.fit import View

Array = np.ndarray
NEIGHBOURS = 10  # photos that each is matched with: those that look alike, by place and direction
FEWEST = 100  # points below which a capture is not worth fitting


class Sparse(NamedTuple):
    """Triangulated points of a capture."""

    points: Float64[Array, "n 3"]  # world
    colours: UInt8[Array, "n 3"]
    tracks: Int64[Array, "m 2"]  # which point is seen in which view


def triangulate(views: list[View], where: str) -> Sparse:
    """World points that photos agree on; the same views give the same points (one thread, fixed seeds).

    Raises TrajkitError naming `where` when pycolmap is missing or hardly any point agrees with the poses.
    """
    pycolmap = quiet_pycolmap(where)
    with tempfile.TemporaryDirectory(prefix="trajkit-") as name:
        folder = Path(name)
        names = _match(pycolmap, views, folder)
        model = _triangulate(pycolmap, views, names, folder)
    view_of = {image.image_id: names.index(image.name) for image in model.images.values()}
    points = [model.points3D[key] for key in sorted(model.points3D)]
    if len(points) < FEWEST:
        problem = f"only {len(points)} points of its {len(views)} photos agree with the poses"
        raise TrajkitError(where, problem, "check the poses' convention and the lens, or take sharper photos")
    tracks = sorted({(n, view_of[one.image_id]) for n, point in enumerate(points) for one in point.track.elements})
    colours = np.array([point.color for point in points], np.uint8)
    return Sparse(np.array([point.xyz for point in points]), colours, np.array(tracks, np.int64))


def quiet_pycolmap(where: str) -> ModuleType:
    """pycolmap with fixed seeds and without its progress. Raises TrajkitError naming `where` when it is missing."""
    try:
        import pycolmap
    except ImportError:
        raise TrajkitError(where, "needs pycolmap, not installed", "pip install trajkit[capture]") from None
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value  # its progress would drown ours
    pycolmap.set_random_seed(0)
    return pycolmap


def pairs(camera_to_world: Float64[Array, "n 4 4"]) -> list[tuple[int, int]]:
    """Pairs of photos worth matching: each with its nearest ones by distance of centres and angle of view (radians).

    Distances count in units of their own median, so that one unit weighs as much as turning by one radian.
    """
    centres, forward = camera_to_world[:, :3, 3], camera_to_world[:, :3, 2]
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    unit = max(float(np.median(apart)), 1e-12)
    cost = apart / unit + np.arccos(np.clip(forward @ forward.T, -1, 1))
    np.fill_diagonal(cost, -1.0)
    nearest = np.argsort(cost, axis=1, kind="stable")[:, 1 : NEIGHBOURS + 1]
    return sorted({(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row})


def _match(pycolmap, views: list[View], folder: Path) -> list[str]:  # type: ignore[no-untyped-def]
    """Fills folder/database.db with features and verified matches; returns the photos' names in it."""
    names = [f"{index:05d}.png" for index in range(len(views))]
    for name, view in zip(names, views, strict=True):
        Image.fromarray(view.photo).save(folder / name, compress_level=1)
    extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
    extraction.num_threads = matching.num_threads = 1
    reader, verification = pycolmap.ImageReaderOptions(), pycolmap.TwoViewGeometryOptions()
    reader.camera_model = "PINHOLE"
    verification.ransac.random_seed = 0
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = str(folder / "pairs.txt")
    poses = se3.inverse(np.array([view.world_to_camera for view in views]))
    (folder / "pairs.txt").write_text("".join(f"{names[i]} {names[j]}\n" for i, j in pairs(poses)))
    database = folder / "database.db"
    cpu = pycolmap.Device.cpu
    pycolmap.extract_features(
        database,
        folder,
        image_names=names,
        camera_mode=pycolmap.CameraMode.PER_IMAGE,
        reader_options=reader,
        extraction_options=extraction,
        device=cpu,
    )
    with pycolmap.Database.open(database) as opened:
        for name, view in zip(names, views, strict=True):
            camera = opened.read_camera(opened.read_image_with_name(name).camera_id)
            camera.params = [view.camera.fx, view.camera.fy, view.camera.cx, view.camera.cy]
            camera.has_prior_focal_length = True
            opened.update_camera(camera)
    pycolmap.match_image_pairs(
        database, matching_options=matching, pairing_options=pairing, verification_options=verification, device=cpu
    )
    return names


def _triangulate(pycolmap, views: list[View], names: list[str], folder: Path):  # type: ignore[no-untyped-def]
    """A pycolmap model with the given poses and the points that matched features agree on."""
    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(folder / "database.db") as opened:
        for name, view in zip(names, views, strict=True):
            stored = opened.read_image_with_name(name)
            model.add_camera_with_trivial_rig(opened.read_camera(stored.camera_id))
            image = pycolmap.Image(name=name, camera_id=stored.camera_id, image_id=stored.image_id)
            model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(view.world_to_camera[:3]))
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, 0
    return pycolmap.triangulate_points(model, folder / "database.db", folder, folder, options=options)
