"""How often `examine` says rightly whether the camera stands still, how sure it may be, and what it costs.

python tests/bench/bench_fitness.py practice [--count 400]   # confusion, calibration, weights for _fitness_still.py
python tests/bench/bench_fitness.py draw --videos FOLDER --out docs/images/fitness.png
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

import numpy as np
import staged

from trajkit.curation import _fitness_cuts, _fitness_still, fitness

STILL_PX, MOVING_PX = 0.3, 0.6  # of a picture 832 wide: what counts as still, and what as moving; not asked between
RIDGE = 0.3
STANCES: list[_fitness_still.Stance] = []  # what `examine` went by


def practice(count: int) -> None:
    """Prints what became of the staged videos."""
    rows, truths, seconds = [], [], []
    judge = _fitness_still.stance
    _fitness_still.stance = lambda *given: STANCES.append(judge(*given)) or STANCES[-1]
    asked = [one for one in staged.plan(count) if not STILL_PX <= staged.moved_px(one) <= MOVING_PX]
    with tempfile.TemporaryDirectory() as folder:
        for one in asked:
            path = staged.film(one, Path(folder) / "one.mp4")
            start = time.process_time()
            found = fitness.examine(path)
            seconds.append(time.process_time() - start)
            rows.append((found, STANCES.pop()))
            truths.append(staged.moved_px(one) < STILL_PX)
    truth = np.array(truths)
    print(
        f"{len(asked)} videos of {asked[0].frames} frames; {np.median(seconds):.2f} CPU s each; cuts found: "
        f"{sum(bool(found.cuts) for found, _ in rows)}, overlays: {sum(bool(found.overlays) for found, _ in rows)}"
    )
    said = np.array([found.camera for found, _ in rows])
    for label, is_true in (("still", True), ("moving", False)):
        counts = {answer: int(np.sum(said[truth == is_true] == answer)) for answer in ("still", "moving", "unsure")}
        print(f"truly {label}: {counts}")
    for (found, stance), one, still in zip(rows, asked, truth, strict=True):
        if found.camera != ("still" if still else "moving") and one.place != "flat":
            print("  ", one, f"{staged.moved_px(one):.2f}", found.camera, f"{found.camera_sure:.2f}", stance.evidence)
    sure = np.array([found.camera_sure for found, _ in rows])
    right = (said == "still") == truth
    for low, high in ((0.7, 0.9), (0.9, 0.98), (0.98, 1)):
        inside = (sure > low) & (sure <= high) & (said != "unsure")
        print(
            f"sure {low} .. {high}: {inside.sum()} videos, {right[inside].mean() if inside.any() else 1:.3f} right, "
            f"{sure[inside].mean() if inside.any() else 1:.3f} claimed"
        )
    known = [number for number, (_, stance) in enumerate(rows) if stance.evidence]
    x = np.array([_fitness_still.features(*rows[number][1].evidence) for number in known])
    half = np.arange(len(known)) % 2 == 0
    for name, part, other in (("first half", half, ~half), ("all", half | ~half, half | ~half)):
        weights = fit(x[part], truth[known][part])
        p = 1 / (1 + np.exp(-x[other] @ weights))
        loss = -np.mean(np.log(np.where(truth[known][other], p, 1 - p).clip(1e-6)))
        print(
            f"weights of {name}: {np.round(weights, 2)}, loss on the others {loss:.3f}, "
            f"right {np.mean((p > 0.5) == truth[known][other]):.3f}"
        )


def fit(x: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Logistic regression with a ridge, by Newton's method."""
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(x.shape[1])
        weights += np.linalg.solve(hessian, x.T @ (still - p) - RIDGE * weights)
    return weights


def draw(videos: Path, out: Path) -> None:
    """Curves of motion and change for each video; none of its pixels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = sorted(videos.glob("*.mp4"))
    figure, axes = pyplot.subplots(len(paths), 2, figsize=(11, 1.5 * len(paths)), sharex="row", layout="constrained")
    for (left, right), path in zip(axes, paths, strict=True):
        found, seen = fitness.examine(path), fitness.look(path)
        stance, _ = fitness.stance(seen, found.cuts, found.picture)
        first, last = fitness.longest(found.cuts, found.frames)
        at = seen.number[(seen.number >= first) & (seen.number < last)]
        left.plot(at / found.fps, np.maximum(stance.moved_px, 0.01), color="tab:blue")
        left.fill_between(at / found.fps, 0.01, 0.01 * 10 ** (5 * stance.standing), color="tab:green", alpha=0.2)
        left.set(yscale="log", ylim=(0.01, 1000), title=f"{path.stem}: {found.camera} ({found.camera_sure:.2f})")
        right.plot(np.arange(found.frames) / found.fps, _fitness_cuts.changes(seen.thumbs), color="tab:red")
        right.set(ylim=(0, 0.8), title=f"cuts {found.cuts or 'none'}")
        for cut in found.cuts:
            right.axvline(cut / found.fps, color="black", linestyle=":")
        for axis in (left, right):
            axis.title.set_size(8)
            axis.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("px of 832", fontsize=7)
    axes[-1, 0].set_xlabel("s; blue: background moved, green: share of corners standing (full = 1)", fontsize=7)
    axes[-1, 1].set_xlabel("s; difference from the picture before", fontsize=7)
    figure.savefig(out, dpi=80, metadata={"Software": None})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("practice", "draw"))
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    practice(arguments.count) if arguments.what == "practice" else draw(arguments.videos, arguments.out)


if __name__ == "__main__":
    main()
