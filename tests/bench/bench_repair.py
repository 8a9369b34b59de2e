"""What repair makes of wrong poses: how many it rescues, and whether it ever makes them worse.

    python tests/bench/bench_repair.py --clips FOLDER [--count 24] [--seed 0] [--families mixture,...] [--rows R.jsonl]

Practice clips (made where missing) with one claim each of several families at moderate severity; the true error before
and after is that of `trajkit.curation.practice.truth`. Clips whose claim is right are tried too: they have to be left
alone.
"""

import argparse
import json
from collections import Counter, defaultdict
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trajkit import seeding
from trajkit.clip import read_clip
from trajkit.curation import practice
from trajkit.curation.corrupt import FAMILIES, corrupt
from trajkit.curation.evidence import Evidence
from trajkit.curation.repair import RepairOptions, refine
from trajkit.errors import TrajkitError
from trajkit.work import run

TRIED = (
    "exact",
    "rotation-jitter",
    "rotation-drift",
    "scale-drift",
    "focal-error",
    "time-offset",
    "smoothed",
    "mixture",
)


def tried(one: practice.Practice, folder: Path, seed: int, families: tuple[str, ...]) -> list[dict[str, Any]]:
    """What became of each claim about one clip."""
    practice.make(one, folder)
    clip, seen = read_clip(folder, one.key), practice.known(folder, one.key)
    evidence, depth = Evidence(clip), float(np.median(seen.depth[seen.depth > 0]))
    rows = []
    for name in families:
        claim = clip.trajectory
        if name != "exact":
            family = FAMILIES[name]
            severity, rng = family.severities[family.moderate], seeding.generator(seed, one.key, name)
            claim = corrupt(clip.trajectory, name, severity, rng, depth=depth)
        before = practice.truth(claim, clip.trajectory, seen.depth, seen.moving)
        found = refine(evidence.claiming(claim), RepairOptions())
        row = {"key": one.key, "condition": one.condition, "family": name, "state": found.state, "reason": found.reason}
        row["before"] = asdict(before)
        if found.clip is not None:
            row["after"] = asdict(practice.truth(found.clip.trajectory, clip.trajectory, seen.depth, seen.moving))
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["family"] != "exact" and row["before"]["bad"]:
            for name in (row["family"], row["condition"], "all bad claims"):
                groups[name].append(row)
    print(f"{'':20} {'bad':>4} {'left':>5} {'refused':>8} {'refined':>8} {'< 1 px':>7}  px over 8 frames before, after")
    for name, mine in groups.items():
        states = Counter(row["state"] for row in mine)
        refined = [row for row in mine if row["state"] == "refined"]
        rescued = sum(row["after"]["px_8"] < 1 for row in refined) / len(mine)
        before = np.median([row["before"]["px_8"] for row in mine])
        after = np.median([row["after"]["px_8"] for row in refined]) if refined else np.nan
        counts = f"{len(mine):4} {states['left']:5} {states['refused']:8} {states['refined']:8}"
        print(f"{name:20} {counts} {rescued:7.2f}  {before:6.2f} {after:6.2f}")
    refined = [row for row in rows if row["state"] == "refined"]
    worse = [row for row in refined if row["after"]["px_8"] > row["before"]["px_8"]]
    print(f"{len(refined)} accepted repairs, {len(worse)} of them with a larger true error than before:")
    for row in worse:
        print(f"  {row['key']} {row['family']} {row['before']['px_8']:.2f} to {row['after']['px_8']:.2f} px")
    exact = Counter(row["state"] for row in rows if row["family"] == "exact")
    print("right claims:", dict(exact))
    reasons = Counter(row["reason"].split(" by ")[0][:70] for row in rows if row["state"] == "refused")
    for reason, count in reasons.most_common(8):
        print(f"  {count:4} refused: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", default=",".join(TRIED))
    parser.add_argument("--rows", type=Path, help="also write what became of each claim")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    asked.clips.mkdir(parents=True, exist_ok=True)
    work = partial(tried, folder=asked.clips, seed=asked.seed, families=tuple(asked.families.split(",")))
    rows: list[dict[str, Any]] = []
    for result in run(work, practice.plan(asked.count, asked.seed), asked.workers, name=lambda one: one.key):
        if isinstance(result, TrajkitError):
            print(f"left out: {result}")
            continue
        rows += result
        print(f"{len(rows)} claims", end="\r", flush=True)
    if asked.rows:
        asked.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table(rows)


if __name__ == "__main__":
    main()
