"""COLMAP models (text or binary) with their photos."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trajkit.errors import TrajkitError
from trajkit.files import inside
from trajkit.options import option
from trajkit.poses import colmap
from trajkit.scene import Rejected, Scene
from trajkit.scenes import scene_id, spec_of
from trajkit.scenes._photos import at_photo_size, distorted, error, extra_images, select
from trajkit.scenes._stance import extent_of, read_points, unit_of, upward

MODEL_FOLDERS = ("sparse", "colmap", "models")  # and numbers: not what a capture is called


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the photos are, and under which terms."""

    images: str = option("auto", "folder of the photos; auto: images beside or above the model")
    licence: str = option("unknown", "terms of the photos, kept with every clip")
    min_frames: int = option(3, "usable frames below which a capture is rejected", low=1)


def scenes(root: Path | None, options: Options) -> Iterator[Scene | Rejected]:
    """The one capture whose model lies in root or where COLMAP puts it below (sparse/0, colmap/sparse/0, sparse).

    Photos of another size than the model's (an images_4 folder) rescale its lens. Findings are those of dl3dv, and
    unreadable-model.
    """
    root = Path(root or ".")
    key = scene_id(_capture_name(root.resolve()))
    try:
        model, suffix = colmap.find_model(root)
        seen, points = colmap.read(model), read_points(model)
        folder = _photo_folder(root, model, options)
        photos = tuple(inside(folder, name) for name in seen.names)
    except TrajkitError as problem:
        found = error("unreadable-model", problem.where, f"{problem.problem}; {problem.remedy}")
        yield Rejected(key=key, findings=(found,))
        return
    where = model / f"images{suffix}"
    kept, photos, findings = select(at_photo_size(seen, photos), photos, options.min_frames, where)
    if any(finding.level == "error" for finding in findings):
        yield Rejected(key=key, findings=tuple(findings))
        return
    unit = unit_of(kept, points)
    yield Scene(
        id=key,
        source=spec_of("colmap", root, options),
        licence=options.licence,
        up=upward(kept),
        extent=extent_of(kept, points, unit),
        unit=unit,
        seen=kept,
        photos=photos,
        assets={"colmap": model},
        findings=(*findings, *extra_images(photos, where), *distorted(kept, where)),
    )


def _capture_name(root: Path) -> str:
    """The folder's name, or that of the first one above it that is not a part of COLMAP's own layout."""
    for path in (root, *root.parents):
        if path.name and path.name not in MODEL_FOLDERS and not path.name.isdigit():
            return path.name
    return "colmap"


def _photo_folder(root: Path, model: Path, options: Options) -> Path:
    """The folder that the model's photo names start from. Raises TrajkitError where there is none."""
    if options.images != "auto":
        given = (Path(options.images), root / options.images)
        folder = next((path for path in given if path.is_dir()), None)
    else:
        above = [root, model, *list(model.resolve().parents)[:3]]
        folder = next((path / "images" for path in above if (path / "images").is_dir()), None)
    if folder is None:
        raise TrajkitError(root, f"no folder of photos ({options.images})", "give images=FOLDER")
    return folder
