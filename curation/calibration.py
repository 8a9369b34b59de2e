"""From metrics to one probability: an additive model whose tables can be read, in `calibration.json`.

log-odds(good) = intercept + sum over terms of value(x), x = the feature, or its log. `value` is linear between the
knots of the term's table, constant beyond them, and falls as x grows wherever a larger x is worse: no table can reward
an error. A feature that a clip does not have adds the term's `missing`. It is a generalised additive model (Hastie and
Tibshirani 1990) with monotone pieces, fitted by `trajkit.curation.calibrate` to clips made by trajkit itself.
"""

import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float64

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import STRICT, from_json
from trajkit.score import Score

from .induced import WIDTH

Array = np.ndarray
SCHEMA: Final = "trajkit.calibration/1"
SHIPPED = Path(__file__).with_name("calibration.json")
LEAST = 1e-3  # added to a feature before its log is taken
RESIDUAL, SIGMA, WORST_SIGMA = "induced.residual_px", "induced.sigma_px", "induced.worst_sigma_px"
# the same error means less where points cannot be followed well: feature -> what it is divided by, after so many pixels
# are added to that
NOISE = {
    "induced.px_1": (RESIDUAL, 0.1),
    "induced.px_8": (SIGMA, 0.15),
    "induced.px_32": (RESIDUAL, 0.1),
    "induced.worst_px": (WORST_SIGMA, 0.3),
    "induced.worst_1_px": (RESIDUAL, 0.1),
    "induced.rotation_deg": (RESIDUAL, 0.1),
    "ray.median_8": (RESIDUAL, 0.05),
    "ray.median_32": (RESIDUAL, 0.05),
    "ray.worst_1": (RESIDUAL, 0.05),
    "ray.worst_8": (RESIDUAL, 0.05),
    "triangulation": (RESIDUAL, 0.05),
    "triangulation.worst": (RESIDUAL, 0.05),
}
OVER_NOISE = "/noise"  # ends the names of these quotients
# features in pixels: of the claim against pictures, which grow with their size
PIXELS = re.compile(
    r"induced(\.(px_\d+|worst(_\d+)?_px|borne_\w+|residual_px|sigma_px|worst_sigma_px))?"
    r"|(ray|sampson)(\.(median|p90|worst)_\d+)?|triangulation(\.(p90|worst))?|convention\.(residual|claimed)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One feature's part: its log-odds at each knot."""

    __pydantic_config__ = STRICT

    feature: str  # "<metric>" or "<metric>.<name of a value>"
    log: bool  # knots are of ln(x + 0.001)
    knots: tuple[float, ...]
    values: tuple[float, ...]  # log-odds, 0 where the feature is best
    missing: float  # log-odds where the clip has no such number


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How far the true induced error lies from the estimated one: factors of it for a class of clips."""

    __pydantic_config__ = STRICT

    noise_px: float  # the class: estimates whose own sigma is up to this
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The content of calibration.json."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.calibration/1"]
    intercept: float
    terms: tuple[Term, ...]
    accept: float  # probabilities from here on are accepted
    reject: float  # below it, rejected; in between, undetermined
    spreads: tuple[Spread, ...]  # by rising noise; the last one holds for all above
    made: dict[str, int | float | str] = field(default_factory=dict)  # clips, rows, seed, what the fit reached


def features(scores: Sequence[Score], width: int = WIDTH) -> dict[str, float]:
    """Every number that the metrics gave, by "<metric>" and "<metric>.<name>"; pixels as if `width` were WIDTH."""
    found = {score.metric: score.value for score in scores if score.value is not None}
    found |= {f"{score.metric}.{name}": value for score in scores for name, value in score.values.items()}
    found = {name: value * WIDTH / width if PIXELS.fullmatch(name) else value for name, value in found.items()}
    return found | over_noise(found)


def over_noise(found: Mapping[str, float]) -> dict[str, float]:
    """The features of NOISE in units of how well points are followed in this clip."""
    return {
        name + OVER_NOISE: found[name] / (found[noise] + floor)
        for name, (noise, floor) in NOISE.items()
        if name in found and noise in found
    }


def parts(calibration: Calibration, found: Mapping[str, float]) -> dict[str, float]:
    """Log-odds that each term adds, by feature; at most 0 where the feature is there."""
    return {term.feature: _part(term, found.get(term.feature)) for term in calibration.terms}


def probability(calibration: Calibration, found: Mapping[str, float]) -> float:
    """Probability that the poses are good enough to train on."""
    total = calibration.intercept + sum(parts(calibration, found).values())
    return 1 / (1 + math.exp(-min(max(total, -50.0), 50.0)))


def interval_px(calibration: Calibration, induced_px: float, noise_px: float) -> tuple[float, float]:
    """Ends of the 90 % interval of the true induced error over 8 frames, in pixels."""
    for spread in calibration.spreads:
        if noise_px <= spread.noise_px:
            break
    return induced_px * spread.low, induced_px * spread.high


def _part(term: Term, value: float | None) -> float:
    if value is None:
        return term.missing
    return float(np.interp(transformed(value, term.log), term.knots, term.values))


def transformed(value: float, log: bool) -> float:
    """The feature as the knots count it."""
    return math.log(max(value, 0.0) + LEAST) if log else value


@functools.cache
def load(path: Path = SHIPPED) -> Calibration:
    """The calibration in a file. Raises TrajkitError for one that is damaged, or that rewards an error."""
    found: Calibration = from_json(Calibration, files.read_bytes(path, limit=1 << 20), path)
    if not found.terms or not found.spreads:
        raise TrajkitError(path, "has no terms or no spreads", "make it again (docs/score.md)")
    for term in found.terms:
        rising = len(term.knots) == len(term.values) > 0 and all(np.diff(term.knots) > 0)
        if not rising or any(np.diff(term.values) > 0):
            raise TrajkitError(path, f"the table of {term.feature} is not in order", "make it again (docs/score.md)")
    return found


@functools.cache
def digest(path: Path = SHIPPED) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(files.read_bytes(path)).hexdigest()


def write(path: Path, calibration: Calibration) -> None:
    """The file, whole or not at all."""
    files.write_bytes(path, files.json_bytes(asdict(calibration)))


def fit_terms(
    names: Mapping[str, bool],
    rows: Sequence[Mapping[str, float]],
    good: Bool[Array, "n"],
    weight: Float64[Array, "n"],
    *,
    knots: int = 7,
    stiffness: float = 0.1,
) -> tuple[float, tuple[Term, ...]]:
    """Intercept and terms that explain which rows are good: weighted logistic loss, ridge on the drops, L-BFGS-B.

    `names` maps each feature to whether its log is taken; larger is worse in each. A table is a sum of drops of at
    least 0 between neighbouring knots, which keeps it falling; knots are quantiles of the rows that have the feature.
    """
    from scipy.optimize import minimize

    columns, owners, tables = [np.ones((len(rows), 1))], [0], []
    for name, log in names.items():
        raw = np.array([row.get(name, np.nan) for row in rows])
        there = np.isfinite(raw)
        x = np.array([transformed(value, log) if known else 0.0 for value, known in zip(raw, there, strict=True)])
        grid = _grid(x[there], knots)
        if len(grid) < 2:
            continue
        ramps = np.clip((x[:, None] - grid[:-1]) / np.diff(grid), 0, 1) * there[:, None]
        tables.append((name, log, grid))
        columns += [-ramps, (~there).astype(float)[:, None]]
        owners += [1] * (len(grid) - 1) + [2]
    design, kind = np.concatenate(columns, axis=1), np.array(owners)
    sign, weight = np.where(good, 1.0, -1.0), weight / weight.sum()

    def loss(x: Array) -> tuple[float, Array]:
        margin = sign * (design @ x)
        grip = stiffness * (kind > 0)
        value = weight @ np.logaddexp(0, -margin) + 0.5 * float((grip * x * x).sum()) / len(kind)
        slope = -design.T @ (weight * sign / (1 + np.exp(np.clip(margin, -50, 50)))) + grip * x / len(kind)
        return float(value), slope

    bounds = [(0, None) if one == 1 else (None, 4.0 if one == 2 else None) for one in kind]
    x = minimize(loss, np.zeros(len(kind)), jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 3000}).x
    terms, at = [], 1
    for name, log, grid in tables:
        drops = x[at : at + len(grid) - 1]
        values = -np.r_[0.0, np.cumsum(drops)]
        missing = float(x[at + len(grid) - 1])
        at += len(grid)
        terms.append(_term(name, log, grid, values, missing))
    return round(float(x[0]), 4), tuple(term for term in terms if term.values[-1] < -1e-3 or abs(term.missing) > 1e-2)


def _grid(x: Float64[Array, "m"], knots: int) -> Float64[Array, "k"]:
    """Quantiles, thinned to what differs."""
    if not len(x):
        return np.zeros(0)
    grid = np.round(np.quantile(x, np.linspace(0.02, 0.98, knots)), 4)
    return np.asarray(grid[np.r_[True, np.diff(grid) > 1e-3]])


def _term(name: str, log: bool, grid: Array, values: Array, missing: float) -> Term:
    return Term(
        feature=name,
        log=log,
        knots=tuple(float(round(knot, 4)) for knot in grid),
        values=tuple(float(round(value, 4)) for value in values),
        missing=round(missing, 4),
    )
