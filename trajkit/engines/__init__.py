"""Engines of `trajkit reconstruct`, one per file: `Options(EngineOptions)` and `fit(task, options, watch)`."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from trajkit.fit import View
from trajkit.options import option
from trajkit.scene import Scene

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What every engine can be told; each overrides the defaults with its own."""

    longest: int = option(480, "longest side that photos are reduced to", unit="px", low=64, high=8192)
    iterations: int = option(1000, "steps of the optimiser, one photo each", low=1, high=1_000_000)
    gaussians: int = option(40_000, "most Gaussians that growth may reach", low=100, high=10_000_000)
    sh_degree: int = option(1, "degree of the colours' spherical harmonics", low=0, high=3)


class Task(NamedTuple):
    """What is to be fitted. The world is the scene's own, moved so that the points lie around the origin."""

    scene: Scene  # for its id and licence: its poses are not moved
    fitted: list[View]  # undistorted photos to fit
    held: list[View]  # undistorted photos that judge, never fitted
    points: Float64[Array, "n 3"]  # triangulated
    colours: UInt8[Array, "n 3"]  # of the points
    near: float  # z below which nothing is drawn, scene units
    rng: np.random.Generator
    log: Path | None = None  # file that keeps what programs print, for engines that run any
