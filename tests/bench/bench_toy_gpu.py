"""Whether a toy network trained on toy rooms follows the commanded camera, beside one trained without cameras.

    python tests/bench/bench_toy_gpu.py OUT [--minutes 4] [--rooms 80] [--size 64]

Rooms and paths are drawn from fixed seeds; clips are 12 pictures from moving cameras, exactly rendered (on all cores).
Both networks (22 million parameters, patches of 8) are trained from the same weights on the same clips by `finetune`
through the loop, for equal numbers of minutes. Then they make clips for the paths of rooms that no training saw, from
the same noise, and `trajkit evaluate` says how far the achieved cameras are from the commanded ones. The true renders
of those paths are evaluated as well: no network can be told to be better than that.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from trajkit import se3, seeding
from trajkit.camera import Camera
from trajkit.scenes import toy as toy_scenes
from trajkit.trainers import comparison, evaluate, flow, loop, preflight, roles
from trajkit.trainers.achieved import estimate
from trajkit.trainers.backbones import toy
from trajkit.trainers.batch import Batch, Draws
from trajkit.trainers.cameras import Cameras, anchored
from trajkit.trainers.rollout import Sampling, bidirectional
from trajkit.trainers.stages import finetune

FRAMES, FOV_DEG, SEED = 12, 60.0, 0
CLEAR_M = 0.45  # cameras stay so far from every surface
HELD_OUT = 100_000  # seed of the first room that no training sees
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def room(seed: int, *, clips: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (clips, F, h, w, 3) uint8 and camera_to_world (clips, F, 4, 4) of one room."""
    scene = next(iter(toy_scenes.scenes(None, toy_scenes.Options(seed=seed))))
    world, lens = toy_scenes.world(scene), Camera.from_fov(size, size, FOV_DEG)
    rng, pictures, poses = seeding.generator(seed, "bench paths"), [], []
    while len(poses) < clips:
        path = drawn_path(scene.seen.camera_to_world[rng.integers(len(scene.seen))], rng)
        if world.distance(path[:, :3, 3]).min() > CLEAR_M:
            frames = world.frames(path, iter([lens] * FRAMES), 2)
            pictures.append(np.stack([one.rgb for one in frames]))
            poses.append(path)
    return np.stack(pictures), np.stack(poses)


def drawn_path(start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A steady turn of up to 3.5 degrees a frame with a steady step of up to 17 cm: walks, trucks, arcs and turns."""
    yaw, pitch = rng.uniform(-3.5, 3.5), rng.uniform(-0.8, 0.8)
    step = rng.uniform(-1, 1, 3) * (0.12, 0.04, 0.12)
    twist = np.array([*step, np.radians(pitch), np.radians(yaw), 0.0])
    return start @ se3.exp(np.arange(FRAMES)[:, None] * twist)


def rendered(first: int, rooms: int, clips: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All clips of several rooms."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(partial(room, clips=clips, size=size), range(first, first + rooms)))
    return np.concatenate([one[0] for one in made]), np.concatenate([one[1] for one in made])


def cameras_of(poses: np.ndarray, scale: float) -> Cameras:
    """As `data` hands them to a network: seen from the first latent, translations divided by the scale."""
    focal = 0.5 / np.tan(np.radians(FOV_DEG) / 2)
    K = torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]]).repeat(*poses.shape[:2], 1, 1)
    world_to_camera = torch.from_numpy(se3.inverse(poses)).float()
    return anchored(Cameras(world_to_camera=world_to_camera, K=K), scale)


class Clips:
    """The training set on the GPU, and its endless order."""

    def __init__(self, pictures: np.ndarray, poses: np.ndarray, scale: float) -> None:
        self.pictures = torch.from_numpy(pictures).to(DEVICE)
        self.cameras = cameras_of(poses, scale).to(DEVICE)

    def batch(self, step: int, clips: int) -> Batch:
        """The clips of a step."""
        chosen = torch.from_numpy(seeding.generator(SEED, "order", step).integers(len(self.pictures), size=clips))
        chosen = chosen.to(DEVICE)
        w2c, K = self.cameras.world_to_camera[chosen], self.cameras.K[chosen]
        return Batch(
            keys=("toy",) * clips,
            positions=torch.arange(step * clips, (step + 1) * clips),
            latents=self.pictures[chosen].permute(0, 1, 4, 2, 3).float() / 127.5 - 1,
            cameras=Cameras(world_to_camera=w2c, K=K),
            text=toy.null_text(clips, DEVICE),
        )


def trained(conditioning: Any, clips: Clips, given: argparse.Namespace) -> Any:
    """The average of the student's weights after the given minutes, through the loop's own steps."""
    options = roles.Options(
        clips=given.clips, micro=given.clips, lr=given.lr, warmup=200, beta2=0.99, ema=0.999, ema_start=200,
        checkpointing=False, deterministic=False, precision="bf16" if DEVICE == "cuda" else "float32",
    )  # fmt: skip
    own = finetune.Options(shift=given.shift, levels="logit-normal")
    kinds = preflight.roles_of("finetune", options)

    def load(name: str, dtype: torch.dtype) -> Any:
        size = {"heads": 2, "head_dim": 24, "layers": 2, "ffn": 32} if given.tiny else {}
        made = toy.Backbone.random(toy.Options(seed=SEED, **size), conditioning).to(dtype)
        if DEVICE == "cuda":
            made.compile_blocks()
        return made

    cast = roles.make(kinds, load, options, torch.device(DEVICE))
    job: Any = SimpleNamespace(stage=finetune, stage_options=own, options=options, seed=SEED)
    begun, step, seen = time.perf_counter(), 0, []
    while (spent := time.perf_counter() - begun) < 60 * given.minutes:
        losses, _ = loop.forward_backward(job, cast, [clips.batch(step, given.clips)], step)
        roles.set_rates(cast, step, options)
        late = min(1.0, (1 - spent / 60 / given.minutes) / 0.3)  # the rate falls to 0 over the last 30 %
        for optimizer in cast.optimizers["student"]:
            for group in optimizer.param_groups:
                group["lr"] *= late
            optimizer.step()
        roles.update_averages(cast, {"student"}, step, options)
        seen.append(losses["student"])
        step += 1
        if step % 500 == 0:
            print(f"{conditioning} step {step} loss {np.mean(seen[-500:]):.4f} {spent:.0f} s", flush=True)
    print(json.dumps({"trained": conditioning, "steps": step, "clips_seen": step * given.clips,
                      "loss": round(float(np.mean(seen[-500:])), 4)}), flush=True)  # fmt: skip
    return cast.networks[roles.AVERAGE].eval()


@torch.no_grad()
def made(network: Any, poses: np.ndarray, scale: float, size: int, given: argparse.Namespace) -> np.ndarray:
    """Pictures (n, F, h, w, 3) that the network makes for the paths, as `trajkit rollout` would."""
    follows = network.conditioning != "none"
    sigmas = tuple(flow.grid(given.sampling_steps, given.shift).tolist())
    sampling = Sampling(sigmas=sigmas, guidance=given.guidance if follows else 1.0, drops="cameras")
    parts = []
    for start in range(0, len(poses), 32):
        some = cameras_of(poses[start : start + 32], 1.0).to(DEVICE)
        count = len(some.world_to_camera)
        draws = Draws(seed=SEED, positions=torch.arange(start, start + count), device=DEVICE)
        told = {"shape": (3, size, size), "draws": draws, "translation_scale": scale}
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            latents = bidirectional(network, sampling, some, toy.null_text(count, DEVICE), **told)
        parts.append(((latents.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy())
    return np.concatenate(parts)


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


def picture(clips: dict[str, np.ndarray], shown: list[int], out: Path) -> None:
    """Rows of frames: for each path the true render, with cameras, without."""
    from PIL import Image

    rows = []
    for number in shown:
        for pictures in clips.values():
            frames = pictures[number][:: max(1, FRAMES // 6)]
            rows.append(
                np.concatenate([np.pad(one, ((1, 1), (1, 1), (0, 0)), constant_values=255) for one in frames], 1)
            )
        rows.append(np.full((8, rows[-1].shape[1], 3), 255, np.uint8))
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.BICUBIC).save(out)


def compared(clips: dict[str, np.ndarray], poses: np.ndarray, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of every clip by model; and `trajkit evaluate`'s picture of some."""
    results = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name, pictures in clips.items():
            both = list(pool.map(judged, pictures, poses, [f"{name} {number}" for number in range(len(poses))]))
            results[name] = [row for row, _ in both]
            print(json.dumps({"model": name, **told(results[name])}), flush=True)
            for number in range(2):
                row, found = both[number]
                drawn = comparison.comparison(
                    row, se3.inverse(poses[number][0]) @ poses[number], found, pictures[number]
                )
                (out / f"{name}-{number}.png").write_bytes(drawn)
    return results


def main() -> None:
    """Renders, trains twice, rolls out, evaluates; prints JSON lines and writes pictures into OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--rooms", type=int, default=80)
    parser.add_argument("--per-room", type=int, default=100)
    parser.add_argument("--held-out", type=int, default=12, help="rooms, 4 paths each")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--clips", type=int, default=64, help="per step")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--guidance", type=float, default=2.0, help="away from the prediction without cameras")
    parser.add_argument("--sampling-steps", type=int, default=50)
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    room(SEED, clips=1, size=given.size)  # compiles the ray caster once, for all processes
    pictures, poses = rendered(SEED, given.rooms, given.per_room, given.size)
    truth, paths = rendered(HELD_OUT, given.held_out, 4, given.size)
    print(json.dumps({"rendered": len(poses), "seconds": round(time.perf_counter() - begun)}), flush=True)
    moved = se3.inverse(poses[:, 0]) @ poses[:, -1]
    scale = float(np.linalg.norm(moved[:, :3, 3], axis=-1).mean())
    clips = Clips(pictures, poses, scale)
    shown = {"truth": truth}
    for conditioning in ("prope", "none"):
        network = trained(conditioning, clips, given)
        shown[conditioning] = made(network, paths, scale, given.size, given)
        picture(shown, list(range(0, len(paths), max(1, len(paths) // 4))), given.out / "toy_frames.png")
    results = compared(shown, paths, given.out)
    (given.out / "toy.json").write_text(json.dumps(results))
    with_cameras, without = (told(results[name])["counted"] for name in ("prope", "none"))
    ratios = {name: round(with_cameras[name] / without[name], 3) for name in evaluate.ERRORS}
    print(json.dumps({"error with cameras over error without": ratios}))


if __name__ == "__main__":
    main()
