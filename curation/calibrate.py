"""Makes calibration.json: practice clips, wrong poses of every family and severity on them, and a fit to what is seen.

    python -m trajkit.curation.calibrate --clips FOLDER --rows ROWS.jsonl --out curation/calibration.json [--workers 2]

FOLDER is filled by `trajkit.curation.practice` where clips are missing. Rows are kept, one line of JSON for each claim
about a clip's poses, and read again when the command is repeated: only the fit is made anew.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from trajkit import files, plugins, seeding
from trajkit.clip import read_clip
from trajkit.errors import TrajkitError
from trajkit.trajectory import Trajectory
from trajkit.work import run

from . import practice
from .calibration import SCHEMA, Calibration, Spread, Term, features, fit_terms, probability, write
from .corrupt import FAMILIES, HARMLESS, corrupt
from .evidence import Evidence
from .score import measure
from .verdict import CLAUSES, PX, SURE

Array = np.ndarray
Row = dict[str, Any]
EXACT = "exact"
UNUSED = {"depth", "spatialvid"}  # metrics that say nothing new of practice clips
MIDDLE = 0.3  # weight of rows between clean and bad, whose label is a matter of the limit
QUANTILES = (0.05, 0.95)  # of the interval
NOISE_CLASSES = 4
FOLDS = 5
# shares of clean rows that may be rejected, or not be accepted, and of bad ones that may be accepted
REJECTED, NOT_ACCEPTED, LET_THROUGH = 0.01, 0.04, 0.005


class Claim(NamedTuple):
    """Poses that might be claimed for a clip."""

    family: str
    severity: float
    grade: int  # number of the severity in its family
    moderate: bool  # at least as grave as what a scorer has to find
    trajectory: Trajectory


def claims(exact: Trajectory, depth: float, seed: int, key: str, share: float = 1.0) -> Iterator[Claim]:
    """The right poses, harmless variants of them, and every family's errors; `share` of the severities, drawn."""
    yield Claim(EXACT, 0.0, 0, False, exact)
    for name, family in {**HARMLESS, **FAMILIES}.items():
        for grade, severity in enumerate(family.severities):
            rng = seeding.generator(seed, key, name, grade)
            if len(family.severities) > 1 and rng.random() > share:
                continue
            wrong = corrupt(exact, name, severity, rng, depth=depth)
            yield Claim(name, severity, grade, name in FAMILIES and grade >= family.moderate, wrong)


def rows_of(key: str, folder: Path, seed: int = 0, share: float = 1.0) -> list[Row]:
    """For each claim about a practice clip: how wrong it is, and what the metrics say of it."""
    clip, seen = read_clip(folder, key), practice.known(folder, key)
    modules = [plugins.load("metrics", name) for name in plugins.names("metrics") if name not in UNUSED]
    evidence, depth = Evidence(clip), float(np.median(seen.depth[seen.depth > 0]))
    rows = []
    for claim in claims(clip.trajectory, depth, seed, key, share):
        scores = measure(evidence.claiming(claim.trajectory), modules)
        told = asdict(practice.truth(claim.trajectory, clip.trajectory, seen.depth, seen.moving))
        row = {"key": key, "condition": clip.checks["condition"], **claim._asdict(), "truth": told}
        del row["trajectory"]
        rows.append({**row, "features": features(scores, clip.trajectory.width)})
    return rows


def label(row: Mapping[str, Any]) -> bool | None:
    """True for clean poses, False for bad ones, None in between."""
    return False if row["truth"]["bad"] else True if row["truth"]["clean"] else None


def weights(rows: Sequence[Row]) -> Float64[Array, "n"]:
    """Clean and bad rows weigh the same in all; among the bad, each family does; rows in between weigh less."""
    names = [f"{label(row)} {row['family'] if label(row) is False else ''}" for row in rows]
    count = {name: names.count(name) for name in set(names)}
    families = max(sum(name.startswith("False") for name in count), 1)
    share = {"True": 1.0, "None": MIDDLE, "False": 1.0 / families}
    return np.array([share[name.split(" ")[0]] / count[name] for name in names])


def fit(rows: Sequence[Row], made: Mapping[str, int | float | str]) -> Calibration:
    """The calibration that explains the rows. Its limits are set on clips that a fit has not seen, fold by fold."""
    intercept, terms = _fitted(rows)
    keys = sorted({row["key"] for row in rows})
    clean: list[float] = []
    bad: list[float] = []
    for fold in range(FOLDS):
        held = set(keys[fold::FOLDS])
        other = fit_plain([row for row in rows if row["key"] not in held])
        for row in (row for row in rows if row["key"] in held and label(row) is not None):
            (clean if label(row) else bad).append(probability(other, row["features"]))
    accept, reject = limits(np.array(clean), np.array(bad))
    return _model(intercept, terms, accept=accept, reject=reject, spreads=spreads(rows), made=dict(made))


def fit_plain(rows: Sequence[Row]) -> Calibration:
    """The same probabilities, with limits of one half."""
    return _model(*_fitted(rows))


def _fitted(rows: Sequence[Row]) -> tuple[float, tuple[Term, ...]]:
    good = np.array([not row["truth"]["bad"] for row in rows])
    names = {name: clause.log for name, clause in CLAUSES.items()}
    return fit_terms(names, [row["features"] for row in rows], good, weights(rows))


def _model(intercept: float, terms: tuple[Term, ...], **rest: Any) -> Calibration:
    plain = {"accept": 0.5, "reject": 0.5, "spreads": (Spread(noise_px=1.0, low=1.0, high=1.0),), **rest}
    return Calibration(schema=SCHEMA, intercept=intercept, terms=terms, **plain)


def limits(clean: Float64[Array, "n"], bad: Float64[Array, "m"]) -> tuple[float, float]:
    """From which probability on to accept, and below which to reject: shares of clean rows that may fall."""
    accept = min(max(float(np.quantile(clean, NOT_ACCEPTED)), float(np.quantile(bad, 1 - LET_THROUGH)), 0.5), 0.99)
    return round(accept, 3), round(min(float(np.quantile(clean, REJECTED)), 0.5), 3)


def spreads(rows: Sequence[Row]) -> tuple[Spread, ...]:
    """Factors of the estimated error that hold nine in ten true ones, for classes of rising noise of the estimate."""
    pairs = [
        (row["features"].get(SURE, math.inf), row["features"][PX], row["truth"]["px_8"])
        for row in rows
        if PX in row["features"] and row["truth"]["px_8"] > 0.2
    ]
    noise, estimate, true = (np.array(column) for column in zip(*pairs, strict=True))
    factor = true / np.maximum(estimate, 0.05)
    found = []
    for part in np.array_split(np.argsort(noise, kind="stable"), NOISE_CLASSES):
        low, high = np.quantile(factor[part], QUANTILES)
        edge = float(noise[part].max())
        found.append(Spread(noise_px=round(edge, 4) if edge < 1e6 else 1e6, low=round(low, 4), high=round(high, 4)))
    return tuple(found)


def read_rows(path: Path) -> list[Row]:
    """The rows in a file of JSON lines."""
    try:
        return [json.loads(line) for line in files.read_text(path).splitlines()]
    except json.JSONDecodeError as error:
        raise TrajkitError(path, f"is damaged ({error})", "remove it and run the command again") from None


def make_rows(
    folder: Path, path: Path, clips: Sequence[practice.Practice], *, seed: int, workers: int, share: float
) -> list[Row]:
    """The rows of practice clips, from `path` or made and kept there."""
    if path.is_file():
        return read_rows(path)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    made = run(partial(clip_rows, folder=folder, seed=seed, share=share), clips, workers, name=lambda one: one.key)
    for number, part in enumerate(made, 1):
        if isinstance(part, TrajkitError):
            sys.stderr.write(f"left out: {part}\n")
            continue
        rows += part
        sys.stderr.write(f"{number}/{len(clips)} clips, {len(rows)} rows\n")
    files.write_bytes(path, _lines(rows))
    return rows


def clip_rows(one: practice.Practice, folder: Path, seed: int, share: float) -> list[Row]:
    """The rows of one practice clip, which is made first where it is missing; kept in folder/rows."""
    kept = folder / "rows" / f"{one.key}.jsonl"
    if not kept.is_file():
        practice.make(one, folder)
        files.write_bytes(kept, _lines(rows_of(one.key, folder, seed, share)))
    return read_rows(kept)


def _lines(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of practice clips")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=36)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--scene", action="append", default=[], help="a captured scene too, such as splat:F.ply")
    parser.add_argument("--share", type=float, default=1.0, help="of the severities")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    clips = practice.plan(asked.count, asked.seed, scenes=asked.scene)
    rows = make_rows(asked.clips, asked.rows, clips, seed=asked.seed, workers=asked.workers, share=asked.share)
    made = {"clips": len({row["key"] for row in rows}), "rows": len(rows), "seed": asked.seed}
    write(asked.out, fit(rows, made))


if __name__ == "__main__":
    main()
