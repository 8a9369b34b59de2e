"""How well scores tell right poses from wrong ones, on clips that the calibration has never seen.

    python tests/bench/bench_trust.py --clips FOLDER --rows ROWS.jsonl [--count 36] [--seed 0] [--workers 2]
        [--trained TRAINING_ROWS.jsonl]

Clips, claims and their scores are made on the spot (rows are kept for another look). A claim is bad where it moves
points by more than 1.5 px over 8 frames (or 4 over 32, 6 at worst, 0.6 degrees from one frame to the next), clean where
by less than 0.5 (1.5 at worst); those in between count in the correlation only. With the calibration's own rows each
family is also judged by a calibration that was fitted without it, over all claims and over those that the clip decides.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from trajkit.curation import calibrate, calibration, practice
from trajkit.curation.corrupt import FAMILIES
from trajkit.curation.verdict import PX, SURE, decided, undecided

Row = dict[str, Any]
ALONE = (
    "induced.px_8",
    "induced.worst_px",
    "ray.median_8",
    "triangulation",
    "sampson.median_8",
    "relative",
    "regularity",
)
STATES = ("accepted", "undetermined", "rejected")


def auc(clean: Sequence[float], bad: Sequence[float]) -> float:
    """Chance that a clean row has the higher figure than a bad one; ties count half."""
    if not len(clean) or not len(bad):
        return float("nan")
    ranks = rankdata([*clean, *bad])
    return float((ranks[: len(clean)].sum() - len(clean) * (len(clean) + 1) / 2) / (len(clean) * len(bad)))


def found_at(clean: Sequence[float], bad: Sequence[float], alarms: float = 0.05) -> float:
    """Share of bad rows below the value that so many clean ones fall below."""
    return float((np.array(bad) < np.quantile(clean, alarms)).mean())


def split(rows: Sequence[Row], figure: Callable[[Row], float]) -> tuple[list[float], list[float]]:
    """The figure of clean rows, and of bad ones."""
    labels = [calibrate.label(row) for row in rows]
    return (
        [figure(row) for row, one in zip(rows, labels, strict=True) if one is True],
        [figure(row) for row, one in zip(rows, labels, strict=True) if one is False],
    )


def chance_by(model: calibration.Calibration) -> Callable[[Row], float]:
    """Probability of a row by a calibration."""
    return lambda row: calibration.probability(model, row["features"])


def overall(rows: Sequence[Row], chance: Callable[[Row], float]) -> None:
    clean, bad = split(rows, chance)
    keys = {row["key"] for row in rows}
    print(f"{len(keys)} clips, {len(rows)} claims: {len(clean)} clean, {len(bad)} bad")
    print(f"probability      AUC {auc(clean, bad):.4f}  found at 5 % false alarms {found_at(clean, bad):.3f}")
    for name in ALONE:
        good, wrong = split(rows, lambda row, name=name: -row["features"].get(name, 1e6))
        print(f"{name:16} AUC {auc(good, wrong):.4f}  found at 5 % false alarms {found_at(good, wrong):.3f}")
    truth = [row["truth"]["px_8"] for row in rows]
    rho = spearmanr([-chance(row) for row in rows], truth).statistic
    alone = spearmanr([row["features"].get(PX, 1e6) for row in rows], truth).statistic
    print(f"rank correlation with the true error over 8 frames: probability {rho:.3f}, {PX} {alone:.3f}")


def families(rows: Sequence[Row], chance: Callable[[Row], float], trained: Sequence[Row] | None) -> None:
    clean, _ = split(rows, chance)
    print(
        f"\n{'family':22} {'bad':>4} {'px':>6} {'AUC':>6} {'moderate':>8} {'left out':>8} {'decided':>8}  by severity"
    )
    for name, family in FAMILIES.items():
        mine = [row for row in rows if row["family"] == name and calibrate.label(row) is False]
        moderate = [chance(row) for row in mine if row["moderate"]]
        grades = [
            f"{severity:g}: {auc(clean, [chance(row) for row in mine if row['grade'] == grade]):.3f}"
            for grade, severity in enumerate(family.severities)
        ]
        px = np.median([row["truth"]["px_8"] for row in mine]) if mine else np.nan
        without = decides = float("nan")
        if trained is not None and mine:
            model = calibrate.fit_plain([row for row in trained if row["family"] != name])
            other = chance_by(model)
            without = auc(split(rows, other)[0], [other(row) for row in mine])
            known = [row for row in rows if not undecided(row["features"])]
            decides = auc(split(known, other)[0], [other(row) for row in mine if not undecided(row["features"])])
        print(
            f"{name:22} {len(mine):4} {px:6.1f} {auc(clean, [chance(row) for row in mine]):6.3f} "
            f"{auc(clean, moderate):8.3f} {without:8.3f} {decides:8.3f}  {'  '.join(grades)}",
            flush=True,
        )


def conditions(rows: Sequence[Row], model: calibration.Calibration) -> None:
    chance = chance_by(model)
    counts: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for row in rows:
        label = calibrate.label(row)
        if label is not None:
            state = decided(chance(row), bool(undecided(row["features"])), model)
            for name in (row["condition"], "all"):
                counts[name, label][state] += 1
    print(f"\n{'condition':14} {'AUC':>6}   clean: {'  '.join(STATES)}     bad: {'  '.join(STATES)}")
    for name in (*sorted({row["condition"] for row in rows}), "all"):
        mine = [row for row in rows if name in (row["condition"], "all")]
        shares = [
            "  ".join(f"{counts[name, label][state] / max(counts[name, label].total(), 1):8.3f}" for state in STATES)
            for label in (True, False)
        ]
        print(f"{name:14} {auc(*split(mine, chance)):6.3f}   {shares[0]}     {shares[1]}")


def reliability(rows: Sequence[Row], model: calibration.Calibration) -> None:
    chance = np.array([chance_by(model)(row) for row in rows])
    good = np.array([not row["truth"]["bad"] for row in rows])
    weight = calibrate.weights(rows)
    print("\nprobability   claims  of them good (clean and bad weigh the same)")
    for low in np.arange(0, 1, 0.1):
        inside = (chance >= low) & (chance < low + 0.1 + (low > 0.85))
        if inside.any():
            share = np.average(good[inside], weights=weight[inside])
            print(f"{low:.1f} to {low + 0.1:.1f}   {inside.sum():6}  {share:.3f}")
    held = [
        low <= row["truth"]["px_8"] <= high
        for row in rows
        if PX in row["features"] and row["truth"]["px_8"] > 0.2
        for low, high in [calibration.interval_px(model, row["features"][PX], row["features"].get(SURE, np.inf))]
    ]
    print(f"the 90 % interval holds {np.mean(held):.3f} of {len(held)} true errors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--count", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scene", action="append", default=[], help="a captured scene too, such as splat:F.ply")
    parser.add_argument("--share", type=float, default=0.4, help="of the severities")
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--calibration", type=Path, default=calibration.SHIPPED)
    asked = parser.parse_args()
    clips = practice.plan(asked.count, asked.seed, scenes=asked.scene)
    rows = calibrate.make_rows(
        asked.clips, asked.rows, clips, seed=asked.seed, workers=asked.workers, share=asked.share
    )
    model = calibration.load(asked.calibration)
    if model.made.get("seed") == asked.seed:
        sys.exit(f"error: --seed {asked.seed} is the calibration's own; take another one")
    overall(rows, chance_by(model))
    families(rows, chance_by(model), calibrate.read_rows(asked.trained) if asked.trained else None)
    conditions(rows, model)
    reliability(rows, model)
    print("\nmade:", json.dumps(dict(model.made)))


if __name__ == "__main__":
    main()
