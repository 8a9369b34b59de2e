"""Whether a toy network that is told a picture and a path follows the path, beside one that is told the picture alone.

    python tests/bench/bench_toy_gpu.py OUT [--minutes 20] [--rooms 160] [--conditionings "prope none"]

Rooms and paths are drawn from fixed seeds and exactly rendered on all cores, while training is under way. The networks
start from the same weights and take turns at `finetune`'s steps: the same clips, the same noise, equally many steps. In
the end they make clips for the paths of rooms that no training saw, from the same noise, told the first picture; and
`trajkit evaluate` says how far the achieved cameras are from the commanded ones. The true renders of those paths are
evaluated as well: no network can be told to be better than that. Lines are JSON; OUT/toy_frames.png has for each path
the truth and what each network makes of it, new every `--every` minutes. On a CPU: `--network`, `--size`, `--clips`.
"""

import argparse
import json
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from trajkit import options as options_
from trajkit import se3, seeding
from trajkit.camera import Camera
from trajkit.fidelity import psnr_of
from trajkit.scenes import toy as toy_scenes
from trajkit.trainers import comparison, evaluate, flow, loop, preflight, roles
from trajkit.trainers.achieved import estimate
from trajkit.trainers.backbones import toy
from trajkit.trainers.batch import Batch, Draws
from trajkit.trainers.cameras import Cameras, anchored
from trajkit.trainers.rollout import Sampling, bidirectional
from trajkit.trainers.stages import finetune

FOV_DEG, SEED = 60.0, 0
YAW_DEG, PITCH_DEG, STEP_M = 3.5, 0.8, (0.12, 0.04, 0.12)  # largest, a frame: walks, trucks, arcs and turns
CLEAR_M = 0.45  # cameras stay so far from every surface
HELD_OUT = 100_000  # seed of the first room that no training sees
MIRROR = np.diag([-1.0, 1, 1, 1])
SHOWN, GROUP = 4, 16  # paths in the picture; clips made at a time
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def room(seed: int, clips: int, frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (clips, F, h, w, 3) uint8 and camera_to_world (clips, F, 4, 4) of one room, at a steady pace each."""
    scene = next(iter(toy_scenes.scenes(None, toy_scenes.Options(seed=seed))))
    world, lens = toy_scenes.world(scene), Camera.from_fov(size, size, FOV_DEG)
    rng, pictures, poses = seeding.generator(seed, "bench paths"), [], []
    while len(poses) < clips:
        start = scene.seen.camera_to_world[rng.integers(len(scene.seen))]
        yaw, pitch = rng.uniform(-YAW_DEG, YAW_DEG), rng.uniform(-PITCH_DEG, PITCH_DEG)
        twist = np.array([*(rng.uniform(-1, 1, 3) * STEP_M), np.radians(pitch), np.radians(yaw), 0.0])
        path = start @ se3.exp(np.arange(frames)[:, None] * twist)
        if world.distance(path[:, :3, 3]).min() > CLEAR_M:
            pictures.append(np.stack([one.rgb for one in world.frames(path, iter([lens] * frames), 2)]))
            poses.append(path)
    return np.stack(pictures), np.stack(poses)


def cameras_of(poses: np.ndarray, scale: float) -> Cameras:
    """As `data` hands them to a network: seen from the first latent, translations divided by the scale."""
    focal = 0.5 / np.tan(np.radians(FOV_DEG) / 2)
    K = torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]).repeat(*poses.shape[:2], 1, 1)
    world_to_camera = torch.from_numpy(se3.inverse(poses)).float()
    return anchored(Cameras(world_to_camera=world_to_camera, K=K), scale)


def latents_of(pictures: np.ndarray) -> torch.Tensor:
    """(n, F, 3, h, w) in -1 .. 1."""
    return torch.from_numpy(pictures).to(DEVICE).permute(0, 1, 4, 2, 3).float() / 127.5 - 1


class Clips:
    """The training set, which grows as rooms are done, and its endless order."""

    def __init__(self, rooms: list[Future[tuple[np.ndarray, np.ndarray]]]) -> None:
        self.coming, self.rooms, self.scale = rooms, [], 0.0

    def grow(self, least: int = 0) -> None:
        """Takes the rooms that are done by now; waits for the first `least`."""
        done = [one for place, one in enumerate(self.coming) if place < least or one.done()]
        self.coming = [one for one in self.coming if one not in done]
        self.rooms += [one.result() for one in done]
        self.scale = self.scale or scale_of(np.concatenate([poses for _, poses in self.rooms]))

    def batch(self, step: int, clips: int) -> Batch:
        """The clips of a step; half of them run backwards, half are seen in a mirror."""
        rng = seeding.generator(SEED, "order", step)
        places = [(rng.integers(len(self.rooms)), rng.integers(len(self.rooms[0][1]))) for _ in range(clips)]
        pictures, poses = (np.stack([self.rooms[place][kind][clip] for place, clip in places]) for kind in (0, 1))
        back, mirrored = rng.random((2, clips)) < 0.5
        pictures[back], poses[back] = pictures[back, ::-1], poses[back, ::-1]
        pictures[mirrored], poses[mirrored] = pictures[mirrored, :, :, ::-1], MIRROR @ poses[mirrored] @ MIRROR
        return Batch(
            keys=("toy",) * clips,
            positions=torch.arange(step * clips, (step + 1) * clips),
            latents=latents_of(pictures),
            cameras=cameras_of(poses, self.scale).to(DEVICE),
            text=toy.null_text(clips, DEVICE),
        )


def scale_of(poses: np.ndarray) -> float:
    """How far the paths get from their first frame, on average."""
    return float(np.linalg.norm((se3.inverse(poses[:, 0]) @ poses[:, -1])[:, :3, 3], axis=-1).mean())


class Student:
    """A network that is trained by `finetune` through the loop's own steps, and the average of its weights."""

    def __init__(self, conditioning: Any, given: argparse.Namespace) -> None:
        self.options = roles.Options(
            clips=given.clips, micro=given.clips, optimizer="muon", lr=given.lr, warmup=100, beta2=0.99, ema=0.99,
            ema_start=100,
            checkpointing=False, deterministic=False, compile=True, precision="bf16" if DEVICE == "cuda" else "float32",
        )  # fmt: skip
        size = options_.parse(toy.Options, given.network, where="--network")

        def load(name: str, dtype: torch.dtype) -> Any:
            return toy.Backbone.random(size, conditioning).to(dtype)

        self.cast = roles.make(preflight.roles_of("finetune", self.options), load, self.options, torch.device(DEVICE))
        own = finetune.Options(
            shift=given.shift, levels="logit-normal", text_dropout=0.0, camera_dropout=0.0, first_frame=True
        )
        self.job: Any = SimpleNamespace(stage=finetune, stage_options=own, options=self.options, seed=SEED)

    def step(self, batch: Batch, step: int, share: float) -> float:
        """The loss of a step at a share of the learning rate."""
        losses, _ = loop.forward_backward(self.job, self.cast, [batch], step)
        if not np.isfinite(losses["student"]):
            raise SystemExit(f"step {step}: the loss is {losses['student']}; lower --lr")
        roles.set_rates(self.cast, step, self.options)
        for optimizer in self.cast.optimizers["student"]:
            for group in optimizer.param_groups:
                group["lr"] *= share
            optimizer.step()
        roles.update_averages(self.cast, {"student"}, step, self.options)
        return losses["student"]

    @torch.no_grad()
    def made(self, truth: np.ndarray, poses: np.ndarray, scale: float, given: argparse.Namespace) -> np.ndarray:
        """Pictures (n, F, h, w, 3) that the average makes for the paths, as `trajkit rollout --first-frame` would."""
        sampling = Sampling(sigmas=tuple(flow.grid(given.sampling_steps, given.shift).tolist()))
        parts = []
        for start in range(0, len(poses), GROUP):
            known = latents_of(truth[start : start + GROUP, :1])
            count = len(known)
            draws = Draws(seed=SEED, positions=torch.arange(start, start + count), device=DEVICE)
            told = {"shape": tuple(known.shape[2:]), "draws": draws, "first": known, "translation_scale": scale}
            with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
                some, text = cameras_of(poses[start : start + GROUP], 1.0).to(DEVICE), toy.null_text(count, DEVICE)
                latents = bidirectional(self.cast.networks[roles.AVERAGE], sampling, some, text, **told)
            pixels = ((latents.float().clamp(-1, 1) + 1) * 127.5).round().byte()
            parts.append(pixels.permute(0, 1, 3, 4, 2).cpu().numpy())
        return np.concatenate(parts)


def trained(
    students: dict[str, Student],
    clips: Clips,
    held: tuple[np.ndarray, np.ndarray],
    begun: float,
    given: argparse.Namespace,
) -> None:
    """Steps of all students in turn until the time is up; the rate falls to 0 over the last 30 %."""
    first, step, shown, losses = time.perf_counter(), 0, 0.0, {name: [] for name in students}
    length, some = 60 * given.minutes - (first - begun), [one[:: max(1, len(one) // SHOWN)][:SHOWN] for one in held]
    while (spent := time.perf_counter() - first) < length:
        clips.grow()
        batch = clips.batch(step, given.clips)
        for name, student in students.items():
            losses[name].append(student.step(batch, step, min(1.0, (1 - spent / length) / 0.3)))
        step += 1
        if step == 1 or time.perf_counter() - first - shown > 60 * given.every:
            shown = time.perf_counter() - first
            rows = {name: student.made(*some, clips.scale, given) for name, student in students.items()}
            sheet({"truth": some[0], **rows}, given.out / "toy_frames.png")
            report = {"step": step, "seconds": round(shown), "rooms": len(clips.rooms)}
            for name, pictures in rows.items():
                loss = round(float(np.mean(losses[name][-200:])), 4)
                report[name] = {"loss": loss, "last_frame_psnr_db": likeness(some[0], pictures)}
            print(json.dumps(report), flush=True)
    print(json.dumps({"trained": list(students), "steps": step, "clips_seen": step * given.clips}), flush=True)


def likeness(truth: np.ndarray, pictures: np.ndarray) -> float:
    """Mean PSNR (dB) of the clips' last frames."""
    return round(float(np.mean([psnr_of(a[-1] / 255, b[-1] / 255) for a, b in zip(truth, pictures, strict=True)])), 2)


def judged(pictures: np.ndarray, poses: np.ndarray, name: str = "") -> tuple[dict[str, Any], Any]:
    """One clip's row, as far as cameras go, and what was found in its pictures."""
    size = pictures.shape[2]
    lens = Camera.from_fov(size, size, FOV_DEG)
    commanded = se3.inverse(poses[0]) @ poses
    found = estimate(pictures, np.tile([lens.fx, lens.fy, lens.cx, lens.cy], (len(poses), 1)))
    rate = float(found.registered[1:].mean())
    row = {"registered_share": rate, "failed": rate < evaluate.FAILED, "scale": evaluate.scale_of(commanded, found)}
    return {"key": name, "path": "", **row, **evaluate.errors(commanded, found)}, found


def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over clips, each of `evaluate`'s three views."""
    views = {view: [row[view] for row in rows if view != "registered" or not row["failed"]] for view in evaluate.VIEWS}
    means = {
        view: {name: evaluate.mean([one[name] for one in ones]) for name in evaluate.ERRORS}
        for view, ones in views.items()
    }
    share = evaluate.mean([row["registered_share"] for row in rows])
    return {"clips": len(rows), "failed": sum(row["failed"] for row in rows), "registered_share": share, **means}


def sheet(clips: dict[str, np.ndarray], out: Path) -> None:
    """For each path a row of frames from each of the clips; the file is whole at any time."""
    from PIL import Image

    rows = []
    for number in range(len(next(iter(clips.values())))):
        for pictures in clips.values():
            framed = np.pad(pictures[number], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
            rows.append(np.concatenate(list(framed), 1))
        rows.append(np.full((8, rows[-1].shape[1], 3), 255, np.uint8))
    image = Image.fromarray(np.concatenate(rows))
    image.save(out.with_suffix(".part"), "png")
    out.with_suffix(".part").replace(out)


def compared(clips: dict[str, np.ndarray], poses: np.ndarray, pool: Any, out: Path) -> dict[str, dict[str, Any]]:
    """`evaluate`'s means by model, printed; every clip's row in a file, and `trajkit evaluate`'s picture of two."""
    results = {}
    for name, pictures in clips.items():
        both = list(pool.map(judged, pictures, poses, [f"{name} {number}" for number in range(len(poses))]))
        (out / f"{name}.json").write_text(json.dumps([row for row, _ in both]))
        results[name] = told([row for row, _ in both])
        print(json.dumps({"model": name, "psnr_db": likeness(clips["truth"], pictures), **results[name]}), flush=True)
        for number in range(2):
            path = se3.inverse(poses[number][0]) @ poses[number]
            drawn = comparison.comparison(*(both[number][0], path, both[number][1]), pictures[number])
            (out / f"{name}-{number}.png").write_bytes(drawn)
    return results


def main() -> None:
    """Renders and trains at the same time, makes clips, evaluates; prints JSON lines and writes pictures into OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0, help="until training ends, since the start")
    parser.add_argument("--every", type=float, default=2.0, help="minutes between pictures")
    parser.add_argument("--conditionings", default="prope none")
    parser.add_argument("--network", default="", help="size, as of random:; layers=6,heads=4,...")
    parser.add_argument("--rooms", type=int, default=160)
    parser.add_argument("--per-room", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=12, help="rooms, 4 paths each")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--clips", type=int, default=64, help="per step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--shift", type=float, default=8.0)
    parser.add_argument("--sampling-steps", type=int, default=25)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    room(SEED, 1, 2, given.size)  # compiles the ray caster once, for all processes
    workers = max(1, (os.cpu_count() or 1) - 2)  # what is left feeds the GPU
    with ProcessPoolExecutor(workers) as pool:  # which forks before there is a CUDA context
        about = given.frames, given.size
        unseen = [pool.submit(room, HELD_OUT + number, 4, *about) for number in range(given.held_out)]
        clips = Clips([pool.submit(room, SEED + number, given.per_room, *about) for number in range(given.rooms)])
        truth, poses = (np.concatenate(parts) for parts in zip(*[one.result() for one in unseen], strict=True))
        clips.grow(least=min(given.rooms, 8))
        print(json.dumps({"begins": round(time.perf_counter() - begun), "rooms": len(clips.rooms)}), flush=True)
        students = {name: Student(name, given) for name in given.conditionings.split()}
        trained(students, clips, (truth, poses), begun, given)
        made = {name: student.made(truth, poses, clips.scale, given) for name, student in students.items()}
        np.savez_compressed(given.out / "made.npz", truth=truth, poses=poses, **made)
        results = compared({"truth": truth, **made}, poses, pool, given.out)
    last = results[given.conditionings.split()[-1]]["counted"]
    for name in made:
        ratios = {error: round(results[name]["counted"][error] / last[error], 3) for error in evaluate.ERRORS}
        print(json.dumps({"errors of": name, "over those of": given.conditionings.split()[-1], **ratios}), flush=True)


if __name__ == "__main__":
    main()
