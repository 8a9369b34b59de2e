"""How often `probe` names what a pose file holds: right, "cannot tell" or wrong, by kind of motion.

    python -m trajkit.curation.practice --out CLIPS --count 24 && python tests/bench/bench_probe.py CLIPS --trials 500

Each trial takes a clip (tracks are followed once), writes its poses down in a drawn convention, at drawn frames and
with drawn intrinsics, and probes the numbers. One in ten are the poses of another clip, which nothing should explain.
Motions that no clip has (still, turning about one axis, a straight line at constant speed) are projected points.
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tracked

from trajkit import se3, seeding
from trajkit.clip import clip_keys, read_clip
from trajkit.curation import _hypotheses
from trajkit.curation._hypotheses import OPENCV, OPENGL, Convention
from trajkit.curation._rawposes import WXYZ, XYZW, RawPoses
from trajkit.curation.probe import Finding, probe
from trajkit.curation.tracks import Tracks, follow
from trajkit.trajectory import Trajectory

RARE = ("forward right down", "forward left up", "right forward up", "right up forward", "left up forward")


class Case(NamedTuple):
    """Pictures' tracks and the poses that belong to them."""

    kind: str
    trajectory: Trajectory
    tracks: Tracks


class Trial(NamedTuple):
    """What was written down, and how."""

    raw: RawPoses
    convention: Convention
    offset: int
    lens: str


def straight(frames: int = 49) -> Trajectory:
    """Forward along a straight line at constant speed, without a turn."""
    walk = tracked.walk(frames)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 2, 3] = 0.06 * np.arange(frames)
    return _posed(walk, poses)


def panning(frames: int = 49) -> Trajectory:
    """Turning right about the vertical axis, in one place, at constant speed."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = se3.axis_rotation("y", 0.8 * np.arange(frames))
    return _posed(tracked.walk(frames), poses)


def orbiting(frames: int = 49) -> Trajectory:
    """Round a point at constant speed: forward and yaw alone."""
    angle = np.radians(0.9 * np.arange(frames))
    centres = np.stack([5 * np.sin(angle), 0 * angle, -5 * np.cos(angle)], axis=-1)
    return _posed(tracked.walk(frames), se3.look_at(centres, np.zeros(3), np.array([0.0, -1.0, 0.0])))


def _posed(like: Trajectory, poses: np.ndarray) -> Trajectory:
    return Trajectory.from_camera(poses, like.camera(0), fps=tracked.FPS)


def cases(folder: Path) -> list[Case]:
    """The practice clips, and projected points of simple motions."""
    found = []
    for key in clip_keys(folder):
        clip = read_clip(folder, key)
        found.append(Case(key.rsplit("-", 2)[0], clip.trajectory, follow(clip)))
    simple = {
        "points: walk": tracked.walk(49),
        "points: turning": tracked.turning(49),
        "points: still": tracked.still(49),
        "points: straight": straight(),
        "points: pan": panning(),
        "points: orbit": orbiting(),
    }
    return found + [Case(kind, path, tracked.tracks(path, points=900, noise_px=0.2)) for kind, path in simple.items()]


def draw(case: Case, claimed: Trajectory, rng: np.random.Generator) -> Trial:
    """The claimed poses, written down in a drawn way for the frames of the case."""
    quaternions = rng.random() < 0.4
    axes = str(rng.choice([OPENCV, OPENGL])) if rng.random() < 0.75 else str(rng.choice(RARE))
    direction = ("camera_to_world", "world_to_camera")[int(rng.random() < 0.5)]
    transposed = not quaternions and rng.random() < 0.1 and axes in (OPENCV, OPENGL)
    offset = int(rng.integers(-4, 5)) if rng.random() < 0.5 else 0
    frames = np.clip(np.arange(case.tracks.frames) + offset, 0, len(claimed) - 1)
    lens = str(rng.choice(["pixels", "fractions", "half", "order", "none"]))
    turn = np.eye(4)
    turn[:3, :3] = _hypotheses.opencv_from(axes)
    world = se3.exp(rng.normal(size=6))
    motions = world @ turn.T @ claimed.camera_to_world[frames] @ turn * 1.0
    if direction == "world_to_camera":
        motions = se3.inverse(motions)
    if transposed:
        motions = se3.pose(np.swapaxes(motions[:, :3, :3], 1, 2), motions[:, :3, 3])
    reading, readings = "", {"": motions}
    if quaternions:
        xyzw = se3.to_quaternion_xyzw(motions[:, :3, :3])
        swapped = rng.random() < 0.5
        reading = WXYZ if swapped else XYZW
        stored = np.roll(xyzw, 1, axis=1) if swapped else xyzw
        readings = {
            name: se3.pose(se3.from_quaternion_xyzw(np.roll(stored, roll, axis=1)), motions[:, :3, 3])
            for name, roll in ((XYZW, 0), (WXYZ, -1))
        }
    numbers = _written_lens(claimed.intrinsics[frames], claimed, lens)
    raw = RawPoses(source="trial", format="trial", readings=readings, numbers=numbers)
    return Trial(raw, Convention(reading, direction, transposed, axes), offset, lens)


def _written_lens(pixels: np.ndarray, claimed: Trajectory, lens: str) -> np.ndarray | None:
    size = np.array([claimed.width, claimed.height] * 2)
    forms = {"pixels": pixels, "fractions": pixels / size, "half": pixels / 2, "order": pixels[:, [0, 2, 1, 3]]}
    return forms.get(lens)


def outcome(trial: Trial, finding: Finding, foreign: bool) -> str:
    """One word for what the probe said."""
    if not finding.sure or finding.convention is None or finding.best is None:
        return "cannot tell"
    if foreign:
        return "wrong"
    if finding.best.convention == trial.convention:
        return "right"
    if trial.convention in finding.convention.same:
        return "same told"
    return "close told" if trial.convention in finding.convention.close else "wrong"


def frames_outcome(trial: Trial, finding: Finding) -> str:
    """The same for the frames, where the convention is decided."""
    assert finding.timing is not None
    assert finding.best is not None
    if finding.best.timing.offset == trial.offset:
        return "right" if finding.timing.sure else "right, unsure"
    told = [timing.offset for timing in (*finding.timing.same, *finding.timing.close)]
    return "unsure" if trial.offset in told else "wrong"


def lens_outcome(trial: Trial, finding: Finding, truth: np.ndarray) -> str:
    """Within 4 % of the true focal length (15 % where it was searched), or not."""
    assert finding.best is not None
    fx = finding.focal_px
    fits = abs(np.log(fx / float(np.median(truth[:, 0])))) < (0.15 if trial.lens == "none" else 0.04)
    sure = finding.lens is not None and finding.lens.sure
    return "right" if fits else "wrong" if sure else "unsure"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    known = cases(given.clips)
    words = ("right", "same told", "close told", "cannot tell", "wrong")
    table: dict[str, Counter] = defaultdict(Counter)
    timing, lens, seconds = Counter(), Counter(), []
    for number in range(given.trials):
        rng = seeding.generator(given.seed, "probe", number)
        case = known[number % len(known)]
        foreign = rng.random() < 0.1
        others = [other for other in known if len(other.trajectory) >= case.tracks.frames and other is not case]
        claimed = others[int(rng.integers(len(others)))].trajectory if foreign else case.trajectory
        trial = draw(case, claimed, rng)
        start = time.process_time()
        finding = probe(trial.raw, case.tracks, 16.0)
        seconds.append(time.process_time() - start)
        word = outcome(trial, finding, foreign)
        table["(foreign poses)" if foreign else case.kind][word] += 1
        if word not in ("cannot tell", "wrong") and not foreign:
            of_frames = frames_outcome(trial, finding)
            of_lens = lens_outcome(trial, finding, claimed.intrinsics)
            timing[of_frames] += 1
            lens[of_lens] += 1
            if given.verbose and "wrong" in (of_frames, of_lens):
                print(f"frames {of_frames}, lens {of_lens}: {case.kind} {trial.offset} {trial.lens}")
                print(f"    said {finding.best.text} x {finding.focal_factor:.3f}")
        if given.verbose and word in ("wrong", "close told", "cannot tell"):
            best = finding.best.text if finding.best else "-"
            told = finding.convention
            ratios = f"{told.ratio:.2f} {told.ratio_low:.2f}" if told else ""
            left = f"{finding.rows[0].residual_px:.2f}" if finding.rows else ""
            print(
                f"{word} {case.kind}{' foreign' * foreign}: wrote {trial.convention.text}; {trial.offset}; {trial.lens}"
            )
            print(f"    said {best} [{left} of {finding.motion_px:.1f} px, ratio {ratios}] {finding.why}")
    print("| motion | " + " | ".join(words) + " |")
    print("|---" * (len(words) + 1) + "|")
    for kind, counts in sorted(table.items()):
        print(f"| {kind} | " + " | ".join(str(counts[word]) for word in words) + " |")
    total = sum(table.values(), Counter())
    print("| all | " + " | ".join(str(total[word]) for word in words) + " |")
    print(f"frames, where the convention is right: {dict(timing)}")
    print(f"focal length there: {dict(lens)}")
    print(f"seconds a probe, tracks apart: median {np.median(seconds):.2f}, largest {max(seconds):.2f}")


if __name__ == "__main__":
    main()
