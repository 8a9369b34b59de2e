"""Which photos of a capture can be used, and what is wrong with the others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image, UnidentifiedImageError

from trajkit.scene import Finding
from trajkit.trajectory import Trajectory

Array = np.ndarray
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
HUGE = 1e3  # a camera farther out, in the capture's unit, is a failed registration (DepthSplat's limit for DL3DV)
SHOWN = 5  # names per finding


def photo_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the photo's header, before any rotation tag; None where it is no readable picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return None


def warning(code: str, where: object, message: str) -> Finding:
    """A finding that leaves the rest usable."""
    return Finding(code=code, level="warning", where=str(where), message=message)


def error(code: str, where: object, message: str) -> Finding:
    """A finding for which the scene is rejected."""
    return Finding(code=code, level="error", where=str(where), message=message)


def select(
    seen: Trajectory, photos: Sequence[Path], least: int, where: Path
) -> tuple[Trajectory, tuple[Path, ...], list[Finding]]:
    """The cameras whose photo can be used, their photos, and the findings.

    Dropped with a warning: photos that are absent (missing-images), have another size than the trajectory
    (size-mismatch) or no readable header (image-unreadable), and cameras beyond HUGE (huge-translation). An error:
    the first photo there is cannot be read, or fewer than `least` frames stay (too-few-frames).
    """
    present = np.array([photo.is_file() for photo in photos])
    sizes = [photo_size(photo) if there else None for photo, there in zip(photos, present, strict=True)]
    readable = np.array([size is not None for size in sizes])
    fits = np.array([size == (seen.width, seen.height) for size in sizes])
    near = np.abs(seen.centres).max(axis=1) <= HUGE
    keep = present & readable & fits & near
    findings = [
        *_dropped("missing-images", where, photos, ~present, "listed but absent"),
        *_dropped("image-unreadable", where, photos, present & ~readable, "not a readable picture"),
        *_dropped("size-mismatch", where, photos, readable & ~fits, f"not {seen.width}x{seen.height}"),
        *_dropped("huge-translation", where, photos, ~near, f"farther than {HUGE:g} from the origin"),
    ]
    first = int(np.argmax(present))
    if present[first] and not readable[first]:
        findings.append(error("image-unreadable", photos[first], "the first photo cannot be opened"))
    if keep.sum() < least:
        lost = {"missing-images": ~present, "image-unreadable": present & ~readable, "huge-translation": ~near}
        lost["size-mismatch"] = readable & ~fits
        why = ", ".join(f"{bad.sum()} {code}" for code, bad in sorted(lost.items()) if bad.any())
        message = f"{keep.sum()} usable of {len(photos)} listed, not {least}" + (f" ({why})" if why else "")
        findings.append(error("too-few-frames", where, message))
    index = np.flatnonzero(keep)  # none: the caller rejects
    kept = seen[index] if len(index) else seen
    used = tuple(photo for photo, good in zip(photos, keep, strict=True) if good)
    return kept, used, findings + _gaps(kept.frame_index, where)


def at_photo_size(seen: Trajectory, photos: Sequence[Path]) -> Trajectory:
    """The cameras at the size of the first readable photo, where that is the stated one scaled (within a percent)."""
    size = next((size for photo in photos if photo.is_file() and (size := photo_size(photo))), None)
    if size and abs(size[0] * seen.height - size[1] * seen.width) <= 0.01 * size[0] * seen.height:
        return seen.resized(*size)
    return seen


def extra_images(photos: Sequence[Path], where: Path) -> list[Finding]:
    """A warning for pictures in the photos' folders that no frame lists."""
    listed = set(photos)
    others = [
        path
        for folder in sorted({photo.parent for photo in photos})
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and path not in listed
    ]
    return [warning("extra-images", where, f"{len(others)} without a pose: {_few(others)}")] if others else []


def distorted(seen: Trajectory, where: Path) -> list[Finding]:
    """A warning for a lens that bends lines: reconstruct undistorts the photos, other readers may not."""
    if not any(seen.distortion):
        return []
    terms = " ".join(f"{value:.4g}" for value in seen.distortion)
    return [warning("distorted-model", where, f"OPENCV distortion k1 k2 p1 p2 = {terms}; photos will be undistorted")]


def _gaps(frame_index: Int64[Array, " n"], where: Path) -> list[Finding]:
    steps = np.diff(frame_index)
    usual = int(np.median(steps)) if len(steps) else 1
    wide = steps > max(usual, 1)
    if not wide.any():
        return []
    largest = int(np.argmax(steps))
    before, after = frame_index[largest : largest + 2]
    message = f"{wide.sum()} gaps in the photos' numbers, the largest from {before} to {after}"
    return [warning("gaps", where, message)]


def _dropped(code: str, where: Path, photos: Sequence[Path], bad: Bool[Array, " n"], problem: str) -> list[Finding]:
    if not bad.any():
        return []
    names = [photo for photo, is_bad in zip(photos, bad, strict=True) if is_bad]
    return [warning(code, where, f"{bad.sum()} of {len(photos)} frames {problem}, dropped: {_few(names)}")]


def _few(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")
