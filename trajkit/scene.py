"""What a scene source yields (`Scene`), a renderer yields (`Frame`), and an import found wrong (`Finding`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from trajkit.trajectory import Trajectory

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One defect by name: what is wrong, where, and how much of the material is still usable."""

    code: str  # a stable name such as "missing-images"
    level: Literal["error", "warning"]
    where: str
    message: str
    value: float | None = None  # what was measured, where the defect is a limit that was broken
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """A place that can be rendered: captured cameras, photos, files, and how to stand and move in it.

    All coordinates are the scene's own world (right-handed). `unit` is the length of one path unit, so that
    "w*12" means the same walk in every scene: a quarter of the median depth of the captured views.
    """

    id: str  # [A-Za-z0-9_-]+
    source: str  # the spec that finds it again, such as "dl3dv:scans/abc"
    licence: str
    up: Float64[Array, "3"]  # unit vector
    extent: Float64[Array, "2 3"]  # corner and opposite corner of what there is to see
    unit: float
    seen: Trajectory | None = None  # captured cameras, in capture order
    photos: tuple[Path, ...] = ()  # one per pose of `seen`, or none
    assets: Mapping[str, Path] = field(default_factory=dict)  # "splat": a PLY, "colmap": a model folder, ...
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        for name in ("up", "extent"):
            array = np.array(getattr(self, name), np.float64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """An item that a stage could not use: kept, named and counted, never silently dropped."""

    key: str
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """One line with every error found."""
        errors = (finding for finding in self.findings if finding.level == "error")
        return "; ".join(f"{finding.code}: {finding.where}: {finding.message}" for finding in errors)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One rendered picture."""

    rgb: UInt8[Array, "h w 3"]
    depth: Float32[Array, "h w"] | None = None  # z-depth in scene units; 0 where nothing was hit
    alpha: Float32[Array, "h w"] | None = None  # 0..1, how much of the pixel the scene covers
