"""Clips to practise on: pictures under many conditions whose poses, depth and moving parts are known exactly.

Scoring is calibrated and measured on them, with `trajkit.curation.corrupt` for the errors and `truth` for their size.
`OUT` is an ordinary clip folder; `OUT/truth/<key>.npz` holds depth and movers at every eighth pixel,
`OUT/truth/practice.json` what each clip is. To make a set:

    python -m trajkit.curation.practice --out OUT --count 48 --seed 0 --workers 2
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from trajkit import __version__, files, seeding
from trajkit.camera import Camera
from trajkit.clip import Clip, clip_keys, read_clip, write_clip
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.safe_path import safe_path
from trajkit.safety import Accept
from trajkit.scene import Frame, Rejected, Scene
from trajkit.scenes import open_scenes
from trajkit.survey import survey
from trajkit.trajectory import Scale, Trajectory
from trajkit.work import run

from ._motions import Motion, draw
from ._movers import Mover, Setting, Troupe, propose
from ._stage import LINEAR, Stage, band_count
from ._truth import Truth, places, truth

__all__ = ["CONDITIONS", "Practice", "Truth", "known", "make", "places", "plan", "truth"]

Array = np.ndarray
CONDITIONS = (
    *("plain", "moving", "rotation", "blur", "low_texture", "zoom"),
    *("plain", "moving_heavy", "static", "compression", "tiny_baseline", "rolling"),
)  # in turn; "plain" comes twice
MOVING = {"moving": (0.10, 0.18), "moving_heavy": (0.30, 0.45)}  # share of the pixels
SHAKEN = {"static": 0.0, "blur": 1.0}  # share of the clips, where it is not half of them
FOV_DEG = (32.0, 58.0)  # vertical
CRF, CRF_HARD = 18, 40
ACCEPT = Accept(clearance=0.3, near=0.4, seen=0.9, speed=5.0, turn_deg=170.0, tries=60, repair=False)
METRE_UNITS = 1.15  # path units that are taken for a metre in a scene of unknown scale
EYE_M = 1.4  # height of its cameras above the floor
PROPOSALS = 60  # of movers, before the best one so far is taken
SMALL = (104, 60)  # pixels that they are judged at


@dataclass(frozen=True, kw_only=True, slots=True)
class Practice:
    """One clip to be: a function of its fields alone."""

    key: str
    condition: str  # one of CONDITIONS
    scene: str  # spec, such as "toy:seed=3"
    shaken: bool  # as by a hand
    seed: int
    index: int
    frames: int = 77
    width: int = 832  # pixels
    height: int = 480
    fps: float = 16.0


def plan(
    count: int,
    seed: int,
    *,
    scenes: Sequence[str] = (),
    frames: int = 77,
    size: tuple[int, int] = (832, 480),
    fps: float = 16.0,
) -> list[Practice]:
    """Clips that take the conditions in turn, each in a toy room of its own; every second one in a given scene.

    Low texture is made of toy rooms alone, whose paint can be taken away.
    """
    practices = []
    for index in range(count):
        rng = seeding.generator(seed, "practice", index)
        condition = CONDITIONS[index % len(CONDITIONS)]
        turn, around = divmod(index, len(CONDITIONS))
        scene = f"toy:seed={int(rng.integers(1 << 20))}"
        if scenes and (turn + around) % 2 and condition != "low_texture":
            scene = scenes[(index // 2) % len(scenes)]
        practices.append(
            Practice(
                key=f"{condition}-{seed}-{index:03d}",
                condition=condition,
                scene=scene,
                shaken=bool(rng.random() < SHAKEN.get(condition, 0.5)),
                seed=seed,
                index=index,
                frames=frames,
                width=size[0],
                height=size[1],
                fps=fps,
            )
        )
    return practices


class Known(NamedTuple):
    """What is known of a practice clip beside its poses, at `places` of each picture."""

    depth: Float32[Array, "n h w"]  # z, in the clip's unit; 0 = nothing there
    moving: Bool[Array, "n h w"]


def known(folder: Path, key: str) -> Known:
    """Depth and movers of a clip. Raises TrajkitError where the file is missing or damaged."""
    path = folder / "truth" / f"{key}.npz"
    try:
        with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as archive:
            return Known(archive["depth"].astype(np.float32), archive["moving"].astype(bool))
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise TrajkitError(path, f"cannot be read ({error})", "make the practice clips again") from None


def make(practice: Practice, out: Path) -> Clip:
    """The clip, made or found done. Raises TrajkitError where the scene leaves no room for such a motion."""
    if practice.key in clip_keys(out):
        return read_clip(out, practice.key)
    scene = _scene(practice.scene)
    rng = seeding.generator(practice.seed, practice.index, practice.scene, "made")
    motion, trajectory = _way(practice, scene, rng)
    stage = _stage(practice, scene, trajectory, rng)
    clip = Clip(
        key=practice.key,
        trajectory=trajectory,
        fps=practice.fps,
        provenance=_provenance(practice, scene, motion),
        licence=scene.licence,
        checks={
            "condition": practice.condition,
            "motion": motion.kind,
            "shaken": practice.shaken,
            "movers": len(stage.troupe.movers),
        },
    )
    crf = CRF_HARD if practice.condition == "compression" else CRF
    return write_clip(out, clip, _frames(practice, stage, motion, trajectory, out, rng), crf=crf)


def _scene(spec: str) -> Scene:
    found = next(iter(open_scenes(spec)), None)
    if isinstance(found, Rejected):
        raise TrajkitError(spec, found.reason, "give a scene that can be rendered")
    if found is None or not (spec.startswith("toy:") or "splat" in found.assets):
        raise TrajkitError(spec, "no scene that can be rendered", "give toy:seed=N or splat:FILE.ply")
    return found


def _provenance(practice: Practice, scene: Scene, motion: Motion) -> Provenance:
    return Provenance(
        kind="rendered",
        source=scene.source,
        scene=scene.id,
        path=f"practice:{practice.condition},{motion.kind}",
        generator="practice",
        seed=practice.seed,
        versions={"trajkit": __version__} | {name: version(name) for name in ("numba", "numpy")},
    )


def _way(practice: Practice, scene: Scene, rng: np.random.Generator) -> tuple[Motion, Trajectory]:
    """A motion that keeps clear of things, and the poses that it has at the frames."""
    lens = Camera.from_fov(practice.width, practice.height, rng.uniform(*FOV_DEG))
    times_s = np.arange(practice.frames) / practice.fps
    duration_s = max(float(times_s[-1]), 1 / practice.fps)
    scale = scene.seen.scale if scene.seen else Scale(kind="unit")
    motions: list[Motion] = []

    def drawn(number: int) -> Trajectory:
        motions.append(draw(scene, practice.condition, duration_s, practice.shaken, rng))
        path = Trajectory.from_camera(motions[-1].poses(times_s), lens, fps=practice.fps, scale=scale)
        return _zoomed(path, motions[-1].focal(times_s))

    stage = Stage(scene, Troupe(()), practice.seed)
    found = safe_path(survey(scene, stage.looking()), ACCEPT, drawn)
    if found.reasons:
        problem = "; ".join(reason.text for reason in found.reasons)
        raise TrajkitError(
            practice.key, f"no motion stays clear in {scene.id} ({problem})", "use another scene or seed"
        )
    return motions[found.draw], found.trajectory


def _zoomed(path: Trajectory, factor: Float64[Array, " n"]) -> Trajectory:
    return replace(path, intrinsics=path.intrinsics * np.stack([factor, factor, factor**0, factor**0], axis=-1))


def _stage(practice: Practice, scene: Scene, trajectory: Trajectory, rng: np.random.Generator) -> Stage:
    """The scene with movers where the condition asks for them (and before every other still camera)."""
    flat = seeding.generator(practice.seed, practice.index, "flat") if practice.condition == "low_texture" else None
    share = MOVING.get(practice.condition)
    if practice.condition == "static" and rng.random() < 0.6:
        share = MOVING["moving"]
    movers = _movers(scene, trajectory, share, rng) if share else []
    return Stage(scene, Troupe(movers), practice.seed, flat)


def _movers(scene: Scene, trajectory: Trajectory, share: tuple[float, float], rng: np.random.Generator) -> list[Mover]:
    """Movers that cover about so much of the pictures and keep away from the camera."""
    toy_room = scene.source.startswith("toy:")
    metre = 1.0 if toy_room else METRE_UNITS * scene.unit
    heights = trajectory.centres @ scene.up
    setting = Setting(
        poses=trajectory.camera_to_world,
        times_s=trajectory.times_s,
        up=scene.up,
        metre=metre,
        floor=0.0 if toy_room else float(np.median(heights)) - EYE_M * metre,
        fov=trajectory.width / 2 / float(trajectory.intrinsics[0, 0]),
    )
    small = trajectory.resized(*SMALL)[:: max(1, len(trajectory) // 10)]
    best: tuple[float, list[Mover]] = (np.inf, [])
    for _ in range(PROPOSALS):
        count = int(rng.integers(1, 4)) + (share[0] > 0.2)
        movers = propose(setting, count, rng)
        for _ in range(4):
            covered, clear = _covered(Stage(scene, Troupe(movers), 0), small, metre)
            miss = max(share[0] - covered, covered - share[1], 0.0) + (0 if clear else 10)
            if miss < best[0]:
                best = (miss, movers)
            if miss == 0:
                return movers
            if not clear or covered == 0:
                break
            grow = float(np.clip(np.sqrt(np.mean(share) / covered), 0.6, 1.6))
            movers = [replace(mover, size=float(np.clip(grow * mover.size, 0.4, 1.8))) for mover in movers]
    return best[1]


def _covered(stage: Stage, small: Trajectory, metre: float) -> tuple[float, bool]:
    """Mean share of the pictures that movers cover, and whether none comes near the camera or fills the view."""
    shares, clear = [], True
    for number, time_s in enumerate(small.times_s):
        things = stage.things_at(small.camera_to_world[number], small.camera(number), float(time_s))
        shares.append(float((things > 0).mean()))
        shapes = stage.troupe.at(float(time_s))
        away = np.linalg.norm(shapes.centre - small.centres[number], axis=1) - np.linalg.norm(shapes.half, axis=1)
        clear &= bool(away.min() > 0.35 * metre) and shares[-1] < 0.7
    return float(np.mean(shares)), clear


def _frames(
    practice: Practice, stage: Stage, motion: Motion, trajectory: Trajectory, out: Path, rng: np.random.Generator
) -> Iterator[Frame]:
    """The pictures as a camera takes them; at the end what is known of them is written."""
    blur = practice.condition == "blur"
    shutter = 0.9 if blur else rng.uniform(0.1, 0.4)  # of a frame's time
    readout = rng.uniform(0.5, 0.9)
    noise, drift, phase = rng.uniform(0.6, 2.0), rng.uniform(0.03, 0.2), rng.uniform(0, 2 * np.pi)
    rows, columns = places(practice.width, practice.height)
    depths, moving = [], []
    for number, time_s in enumerate(trajectory.times_s):
        camera = trajectory.camera(number)
        if practice.condition == "rolling":
            bands = band_count(practice.height)
            moments = time_s + ((np.arange(bands) + 0.5) / bands - 0.5) * readout / practice.fps
            shot = stage.rolled(motion.poses(moments), camera, moments)
            light = LINEAR[shot.rgb]
        else:
            light, shot = stage.exposed(motion.poses, camera, float(time_s), shutter / practice.fps, 3 if blur else 1)
        depths.append(shot.depth[np.ix_(rows, columns)].astype(np.float16))
        moving.append(shot.thing[np.ix_(rows, columns)] > 0)
        gain = 2.0 ** (drift * np.sin(phase + 2 * np.pi * 0.15 * time_s))
        yield Frame(rgb=_developed(light, gain, noise, rng))
    content = io.BytesIO()
    np.savez_compressed(content, depth=np.array(depths), moving=np.array(moving))
    files.write_bytes(out / "truth" / f"{practice.key}.npz", content.getvalue())


def _developed(
    light: Float32[Array, "h w 3"], gain: float, noise: float, rng: np.random.Generator
) -> UInt8[Array, "h w 3"]:
    """sRGB (as a power of 2.2) of linear light under an exposure, with a sensor's noise (rms, in 8-bit steps)."""
    value = 255 * (light * np.float32(gain)) ** np.float32(1 / 2.2)
    value += np.float32(noise) * rng.standard_normal(light.shape, np.float32)
    return np.rint(value).clip(0, 255).astype(np.uint8)


def describe(practice: Practice, clip: Clip, out: Path) -> dict[str, Any]:
    """What truth/practice.json says of a clip."""
    found = known(out, practice.key)
    return asdict(practice) | dict(clip.checks) | {"moving_share": round(float(found.moving.mean()), 4)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes a set of practice clips; what is there already is kept."""
    parser = argparse.ArgumentParser(prog="practice", description="Makes clips with exactly known poses.")
    parser.add_argument("--out", type=Path, required=True, help="clip folder")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--frames", type=int, default=77)
    parser.add_argument("--size", type=_size, default=(832, 480), help="WIDTHxHEIGHT")
    parser.add_argument("--scene", action="append", default=[], help="also take this scene, such as splat:FILE.ply")
    given = parser.parse_args(arguments)
    planned = plan(given.count, given.seed, scenes=given.scene, frames=given.frames, size=given.size)
    given.out.mkdir(parents=True, exist_ok=True)
    listed: dict[str, Any] = {}
    failed = 0
    results = run(partial(make, out=given.out), planned, given.workers, name=lambda practice: practice.key)
    for practice, result in zip(planned, results, strict=True):
        if isinstance(result, TrajkitError):
            failed += 1
            sys.stdout.write(f"{result}\n")
            continue
        listed[practice.key] = describe(practice, result, given.out)
        sys.stdout.write(f"{practice.key}\n")
    files.write_bytes(given.out / "truth" / "practice.json", files.json_bytes(listed))
    return 1 if failed else 0


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 1 and int(height) > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 832x480")
    return int(width), int(height)


if __name__ == "__main__":
    raise SystemExit(main())
