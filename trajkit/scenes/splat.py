"""Gaussian splats in a PLY, with the cameras they were made from where a file of them is given."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians, read_ply
from trajkit.options import option
from trajkit.poses import colmap, nerfstudio
from trajkit.scene import Rejected, Scene
from trajkit.scenes import scene_id, spec_of
from trajkit.scenes._stance import extent_of, unit_of, upward
from trajkit.trajectory import Trajectory

Array = np.ndarray
DATAPARSER = "dataparser_transforms.json"
VISIBLE = np.log(1 / 254)  # logit of the opacity 1/255, below which no renderer draws a Gaussian
OPAQUE = 0.0  # logit of the opacity above which a Gaussian counts as surface
AXES = {sign + axis: value * np.eye(3)[k] for k, axis in enumerate("xyz") for sign, value in (("+", 1), ("-", -1))}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What belongs to the splats. Files are looked for as given, then beside the PLY."""

    cameras: str = option("none", "captured cameras: a transforms.json, or a COLMAP model's folder")
    dataparser: str = option("auto", f"nerfstudio's normalisation to undo; auto: {DATAPARSER} beside the PLY, or none")
    up: Literal["auto", "+x", "-x", "+y", "-y", "+z", "-z"] = option(
        "auto", "axis that points up; auto: from the cameras, else +z of nerfstudio's world, else -y as COLMAP has it"
    )
    licence: str = option("unknown", "terms of the splats, kept with every clip")


def scenes(root: Path | None, options: Options) -> Iterator[Scene | Rejected]:
    """One scene, in the world of the capture: where nerfstudio normalised it, that is undone (`load_gaussians`).

    Extent: the box of the opaque Gaussians without the outer two percent on each side. Unit: as for captures, with
    the opaque Gaussians as points; without cameras an eighth of the extent's median edge, and samplers start from the
    extent's middle. Raises TrajkitError for a file that was asked for by name and cannot be used; a damaged PLY comes
    as Rejected (unreadable-splat), as does one without anything to see (invisible-splats).
    """
    from trajkit.scenes._photos import error

    path = Path(root or ".")
    key = scene_id(path.stem)
    dataparser = _beside(path, options.dataparser, DATAPARSER)
    seen = _cameras(path, options)
    undo = _undo(dataparser)
    try:
        gaussians = read_ply(path)
    except TrajkitError as problem:
        found = error("unreadable-splat", problem.where, f"{problem.problem}; {problem.remedy}")
        yield Rejected(key=key, findings=(found,))
        return
    if not (gaussians.logit_opacities >= VISIBLE).any():
        yield Rejected(key=key, findings=(error("invisible-splats", path, f"all {len(gaussians)} are transparent"),))
        return
    opaque = undo.points(gaussians.means[_solid(gaussians)])
    box = np.percentile(opaque, [2, 98], axis=0)
    unit = unit_of(seen, opaque) if seen else float(np.median(box[1] - box[0])) / 8
    yield Scene(
        id=key,
        source=spec_of("splat", path, options),
        licence=options.licence,
        up=_up(options, seen, undo if dataparser else None),
        extent=extent_of(seen, opaque, unit) if seen else box,
        unit=unit if unit > 0 else 1.0,
        seen=seen,
        assets={"splat": path} | ({"dataparser": dataparser} if dataparser else {}),
    )


def load_gaussians(scene: Scene) -> Gaussians:
    """The scene's Gaussians in the scene's world, nerfstudio's normalisation undone.

    Raises TrajkitError where the scene has none or the file is damaged.
    """
    if "splat" not in scene.assets:
        raise TrajkitError(f"scene {scene.id}", "has no splats", "run trajkit reconstruct, or open a splat: scene")
    gaussians = read_ply(scene.assets["splat"])
    return gaussians.moved(_undo(scene.assets["dataparser"])) if "dataparser" in scene.assets else gaussians


def _undo(dataparser: Path | None) -> se3.Similarity:
    if dataparser is None:
        return se3.Similarity(1.0, np.eye(3), np.zeros(3))
    return nerfstudio.read_dataparser_transforms(dataparser)


def _solid(gaussians: Gaussians) -> Array:
    """Which Gaussians count as surface: the opaque ones, or all where hardly any is."""
    opaque = gaussians.logit_opacities > OPAQUE
    return opaque if opaque.sum() >= 10 else np.ones(len(opaque), bool)


def _beside(path: Path, name: str, usual: str) -> Path | None:
    """The file of that name, as given or beside the PLY; for "auto" the usual one, if it is there.

    Raises TrajkitError where a named one is absent.
    """
    if name == "none":
        return None
    if name == "auto":
        return path.parent / usual if (path.parent / usual).is_file() else None
    for candidate in (Path(name), path.parent / name):
        if candidate.exists():
            return candidate
    raise TrajkitError(name, f"no such file, neither here nor beside {path}", "check the path")


def _cameras(path: Path, options: Options) -> Trajectory | None:
    file = _beside(path, options.cameras, "transforms.json")
    if file is None:
        return None
    return (nerfstudio if nerfstudio.matches(file) else colmap).read(file)


def _up(options: Options, seen: Trajectory | None, undo: se3.Similarity | None) -> Float64[Array, "3"]:
    if options.up != "auto":
        return AXES[options.up]
    if seen is not None:
        return upward(seen)
    return AXES["-y"] if undo is None else undo.rotation @ AXES["+z"]
