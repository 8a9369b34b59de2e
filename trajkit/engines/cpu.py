"""Fits Gaussians on the CPU, by trajkit's own rasteriser and its analytic backward pass."""

from dataclasses import dataclass

import numpy as np

from trajkit.engines import EngineOptions, Task
from trajkit.fidelity import psnr_db
from trajkit.fit import FitOptions, Watch, initial
from trajkit.fit import fit as fit_gaussians
from trajkit.gaussians import Gaussians
from trajkit.options import option

JUDGES = 8  # held-out photos that early stopping looks at


@dataclass(frozen=True, kw_only=True)
class Options(EngineOptions):
    """Options of the CPU engine."""

    patience: int = option(
        3,
        "looks at held-out photos (every 250 steps) without a gain before it stops; 0 = never",
        low=0,
        high=1000,
    )


def fit(task: Task, options: Options, watch: Watch | None = None) -> Gaussians:
    """Gaussians in the task's world; same task and options, same bytes."""
    settings = FitOptions(
        steps=options.iterations,
        budget=options.gaussians,
        sh_degree=options.sh_degree,
        near=task.near,
        patience=options.patience,
    )
    judges = [task.held[int(k)] for k in np.unique(np.linspace(0, len(task.held) - 1, JUDGES).round())]
    start = initial(task.points, task.colours, options.sh_degree)
    judge = lambda gaussians: float(np.mean([psnr_db(gaussians, view, task.near) for view in judges]))  # noqa: E731
    return fit_gaussians(start, task.fitted, settings, task.rng, watch, judge if judges else None, task.held)
