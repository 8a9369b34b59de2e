"""Photos without poses: `reconstruct` estimates them by pycolmap (SIFT, matching, structure from motion)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trajkit.errors import TrajkitError
from trajkit.options import option
from trajkit.poses._photos import FOLDERS, numbered
from trajkit.scene import Finding, Rejected, Scene
from trajkit.scenes import scene_id, spec_of
from trajkit.scenes._photos import SHOWN, SUFFIXES, error, photo_size, warning

FEWEST = 3  # photos


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which photos to take, and how to find out where they were taken."""

    mapper: Literal["both", "incremental", "global"] = option(
        "both", "structure from motion: incremental (COLMAP), global (GLOMAP), or the better result of both"
    )
    lens: Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"] = option(
        "SIMPLE_RADIAL", "COLMAP's model of the one lens that all photos share"
    )
    focal_px: float | None = option(
        None, "focal length to start from (default: EXIF's, else a guess)", unit="pixels", low=1
    )
    max_photos: int = option(300, "photos to take at most, evenly spread over their order", low=FEWEST)
    licence: str = option("unknown", "terms of the photos, kept with every clip")


def scenes(root: Path | None, options: Options) -> Iterator[Scene | Rejected]:
    """The folder's photos as one scene without cameras (`seen` is None), ordered by the integers in their names.

    `trajkit.sfm.posed` gives it cameras, unit, extent and up; until then those are nominal. Rejected for
    too-few-frames. Dropped with a warning: photos that cannot be read (image-unreadable), those of another size than
    most (size-mismatch), and those beyond max_photos (photos-left-out). Raises TrajkitError where root is no folder.
    """
    root = Path(root or ".")
    if not root.is_dir():
        raise TrajkitError(root, "no folder", "name the folder of the photos")
    named = root.resolve()
    key = scene_id((named.parent if named.name in FOLDERS else named).name)
    photos, findings = _usable(root, options)
    if len(photos) < FEWEST:
        findings.append(error("too-few-frames", root, f"{len(photos)} usable photos, not {FEWEST}"))
        yield Rejected(key=key, findings=tuple(findings))
        return
    yield Scene(
        id=key,
        source=spec_of("photos", root, options),
        licence=options.licence,
        up=np.array([0.0, -1.0, 0.0]),
        extent=np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]),
        unit=1.0,
        photos=tuple(photos),
        findings=tuple(findings),
    )


def _usable(root: Path, options: Options) -> tuple[list[Path], list[Finding]]:
    """Photos that can be used together, and what is wrong with the others."""
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    sizes = {path: photo_size(path) for path in found}
    readable = [path for path in found if sizes[path] is not None]
    usual = Counter(sizes[path] for path in readable).most_common(1)
    alike = [path for path in readable if sizes[path] == usual[0][0]]
    if alike:
        alike = [alike[position] for position in numbered([path.name for path in alike])[0]]
    spread = np.unique(np.linspace(0, len(alike) - 1, min(options.max_photos, len(alike))).round().astype(int))
    taken = [alike[int(position)] for position in spread]
    shape = "{}x{}".format(*usual[0][0]) if usual and usual[0][0] else ""
    dropped = {
        "image-unreadable": ("not a readable picture", set(found) - set(readable)),
        "size-mismatch": (f"not {shape} as most are", set(readable) - set(alike)),
        "photos-left-out": (f"beyond max_photos={options.max_photos}", set(alike) - set(taken)),
    }
    return taken, [
        warning(code, root, f"{len(paths)} of {len(found)} photos {problem}: {_few(paths)}")
        for code, (problem, paths) in dropped.items()
        if paths
    ]


def _few(paths: set[Path]) -> str:
    names = sorted(path.name for path in paths)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
