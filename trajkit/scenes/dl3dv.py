"""Captures with a nerfstudio transforms.json: DL3DV, and any other folder of posed photos."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.files import read_json
from trajkit.options import option
from trajkit.poses import nerfstudio
from trajkit.poses._photos import FOLDERS, photo_paths
from trajkit.poses.colmap import find_model
from trajkit.scene import Finding, Rejected, Scene
from trajkit.scenes import scene_id, spec_of
from trajkit.scenes._photos import distorted, error, extra_images, photo_size, select
from trajkit.scenes._stance import extent_of, read_points, unit_of, upward
from trajkit.trajectory import ROTATION_TOLERANCE

Array = np.ndarray
LICENCE = "DL3DV-10K terms, CC BY-NC 4.0: non-commercial, no re-sharing"
DEPTH = 3  # folders below the root that are searched: batch/hash/nerfstudio
ASPECT_TOLERANCE = 0.01  # photos halved three times round to whole pixels


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to take, and under which terms."""

    licence: str = option(
        "auto", "terms of the photos, kept with every clip; auto: DL3DV's for its hashes, else unknown"
    )
    min_frames: int = option(8, "usable frames below which a capture is rejected", low=1)


def scenes(root: Path | None, options: Options) -> Iterator[Scene | Rejected]:
    """The capture at root, or those in the folders below it (batch/hash/...), by name.

    Rejected for missing-transforms, unreadable-transforms, bad-pose, non-finite-pose, bad-determinant, not-a-rotation,
    unusable-photos (all absent, or outside the folder), image-unreadable (the first one), size-mismatch (of the first
    one's shape), too-few-frames. Single frames are dropped with a warning for missing-images, image-unreadable,
    size-mismatch, huge-translation. Warnings alone: gaps, extra-images, distorted-model.
    """
    for folder in _captures(Path(root or "."), DEPTH):
        named = folder.resolve()
        key = scene_id((named.parent if named.name == "nerfstudio" else named).name)
        try:
            yield _scene(folder, key, options)
        except _Unusable as unusable:
            yield Rejected(key=key, findings=tuple(unusable.findings))


class _Unusable(Exception):
    """Ends the import of one capture."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(*findings)
        self.findings = findings


def _captures(root: Path, depth: int) -> Iterator[Path]:
    """Folders that are, or should be, a capture: with a transforms.json, with photos, or without folders below.

    Raises TrajkitError where the root is no folder.
    """
    if not root.is_dir():
        raise TrajkitError(root, "no folder", "name the capture's folder, or one of captures")
    below = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if (root / "transforms.json").exists() or any(path.name in FOLDERS for path in below) or not below or depth == 0:
        yield root
        return
    if (root / "nerfstudio").is_dir():  # the benchmark set has gaussian_splat beside it
        below = [root / "nerfstudio"]
    for path in below:
        yield from _captures(path, depth - 1)


def _scene(folder: Path, key: str, options: Options) -> Scene:
    path = folder / "transforms.json"
    if not path.is_file():
        raise _Unusable(error("missing-transforms", path, "no transforms.json"))
    table = _attempt("unreadable-transforms", path, lambda: read_json(path))
    _check_poses(table, path)
    names = [name for frame in _frames(table) if isinstance(name := frame.get("file_path"), str) and name]
    listed = _attempt("unusable-photos", path, lambda: photo_paths(folder, names))
    size = _size(table, listed, path)
    seen = _attempt(
        "unreadable-transforms", path, lambda: nerfstudio.read(path, nerfstudio.Options(width=size[0], height=size[1]))
    )
    seen, photos, findings = select(seen, photo_paths(folder, seen.names), options.min_frames, path)
    if any(finding.level == "error" for finding in findings):
        raise _Unusable(*findings)
    points = _points(folder)
    unit = unit_of(seen, points)
    return Scene(
        id=key,
        source=spec_of("dl3dv", folder, options),
        licence=_licence(folder) if options.licence == "auto" else options.licence,
        up=upward(seen),
        extent=extent_of(seen, points, unit),
        unit=unit,
        seen=seen,
        photos=photos,
        findings=(*findings, *extra_images(listed, path), *distorted(seen, path)),
    )


def _licence(folder: Path) -> str:
    """DL3DV's terms where a folder of the path is named by one of its hashes; transforms.json itself says nothing."""
    return LICENCE if any(re.fullmatch(r"[0-9a-f]{64}", name) for name in folder.resolve().parts) else "unknown"


def _attempt(code: str, path: Path, action: Any) -> Any:
    """What the action returns; its TrajkitError becomes a finding of this code."""
    try:
        return action()
    except TrajkitError as problem:
        raise _Unusable(error(code, problem.where, f"{problem.problem}; {problem.remedy}")) from None


def _frames(table: dict[str, Any]) -> list[dict[str, Any]]:
    frames = table.get("frames")
    return [frame for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []


def _check_poses(table: dict[str, Any], path: Path) -> None:
    """Raises _Unusable naming every kind of broken matrix: a file with one was not written by a working exporter."""
    kinds: dict[str, list[str]] = {}
    for number, frame in enumerate(_frames(table)):
        code = _pose_defect(frame.get("transform_matrix"))
        if code:
            kinds.setdefault(code, []).append(str(frame.get("file_path", number)))
    if kinds:
        raise _Unusable(*(error(code, path, f"{len(at)} frames, first {at[0]}") for code, at in kinds.items()))


def _pose_defect(value: Any) -> str:
    """The name of what is wrong with a transform_matrix, "" for a rigid motion."""
    try:
        matrix = np.array(value, np.float64)
    except (TypeError, ValueError):
        return "bad-pose"
    if matrix.shape not in ((4, 4), (3, 4)):
        return "bad-pose"
    if not np.isfinite(matrix).all():
        return "non-finite-pose"
    if abs(np.linalg.det(matrix[:3, :3]) - 1) > 1e-2:
        return "bad-determinant"
    return "not-a-rotation" if se3.rotation_defect(matrix[:3, :3]) > ROTATION_TOLERANCE else ""


def _size(table: dict[str, Any], photos: tuple[Path, ...], path: Path) -> tuple[int, int]:
    """Size of the photos, from the first that can be opened, once its aspect is found to be the file's."""
    there = [photo for photo in photos if photo.is_file()]
    size = photo_size(there[0])
    if size is None:
        raise _Unusable(error("image-unreadable", there[0], "the first photo cannot be opened"))
    stated = [length for name in "wh" if isinstance(length := table.get(name), int | float) and length > 0]
    if len(stated) == 2 and abs(size[0] * stated[1] / (size[1] * stated[0]) - 1) > ASPECT_TOLERANCE:
        message = f"photos have {size[0]}x{size[1]} pixels, which is no scaled {stated[0]:g}x{stated[1]:g}"
        raise _Unusable(error("size-mismatch", path, message))
    return size


def _points(folder: Path) -> Array:
    """3D points of the COLMAP model beside the photos (in the same world: nerfstudio's own changes are undone)."""
    try:
        return read_points(find_model(folder)[0])
    except TrajkitError:  # none, or damaged: the cameras alone tell enough
        return np.empty((0, 3))
