"""Photos with `PHOTO.camera` files beside them, as in Strecha's multi-view benchmark."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.files import inside
from trajkit.options import option
from trajkit.poses import strecha
from trajkit.scene import Rejected, Scene
from trajkit.scenes import scene_id, spec_of
from trajkit.scenes._photos import at_photo_size, error, extra_images, select
from trajkit.scenes._stance import extent_of, unit_of, upward


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which captures can be used, and under which terms."""

    licence: str = option("unknown", "terms of the photos, kept with every clip")
    min_frames: int = option(3, "usable frames below which a capture is rejected", low=1)


def scenes(root: Path | None, options: Options) -> Iterator[Scene | Rejected]:
    """The capture at root, or those in the folders directly below it, by name; poses in metres.

    Photos that are a scaled copy of the stated size rescale the lens. Findings are those of dl3dv, and
    unreadable-cameras.
    """
    root = Path(root or ".")
    below = [] if strecha.matches(root) or not root.is_dir() else sorted(filter(strecha.matches, root.iterdir()))
    for folder in below or [root]:
        yield _scene(folder, scene_id(folder.resolve().name), options)


def _scene(folder: Path, key: str, options: Options) -> Scene | Rejected:
    try:
        stated = strecha.read(folder)
        listed = tuple(inside(folder, name) for name in stated.names)
    except TrajkitError as problem:
        found = error("unreadable-cameras", problem.where, f"{problem.problem}; {problem.remedy}")
        return Rejected(key=key, findings=(found,))
    seen, photos, findings = select(at_photo_size(stated, listed), listed, options.min_frames, folder)
    if any(finding.level == "error" for finding in findings):
        return Rejected(key=key, findings=tuple(findings))
    points = np.empty((0, 3))
    unit = unit_of(seen, points)
    return Scene(
        id=key,
        source=spec_of("strecha", folder, options),
        licence=options.licence,
        up=upward(seen),
        extent=extent_of(seen, points, unit),
        unit=unit,
        seen=seen,
        photos=photos,
        findings=(*findings, *extra_images(listed, folder)),
    )
