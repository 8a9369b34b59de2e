"""HY-WorldPlay (HY-World 1.5): a video from the first picture along the path, by its own program.

Its terms forbid training other models on what it makes, so it must be asked for: accept_licence=true.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count, latent_frames
from trajkit.motion import LATENT_STEP, LATENT_STEP_DEG
from trajkit.options import option
from trajkit.poses import worldplay
from trajkit.trajectory import Trajectory

from .._jobs_record import PICTURE, Job, read_prompt, read_record
from ._programs import commit, existing, launch, output, place

__all__ = ["command", "output", "place", "write_job"]

KIND = "generated"
GENERATOR = "HY-WorldPlay"
LICENCE = (
    "Tencent HY-WorldPlay Community License: outputs may not be used to improve any other AI model (5(b)); "
    "not valid in the European Union, the United Kingdom and South Korea; over a million monthly users need a licence"
)
COST = "one process per clip loads the model anew: 125 frames take about 4 minutes on four H800 (their issue 8)"
UNRECORDED = ("accept_licence", "repository", "model_path", "action_ckpt", "launcher", "nproc")
SCRIPTS = ("hyvideo/generate.py", "generate.py")  # newer and older checkouts
SIZE = (832, 480)
POSE = "pose.json"
LATENTS = {"ar": 4, "bi": 16}  # a clip's latents come in whole chunks of so many


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where their code and weights are, and which model makes the video."""

    accept_licence: bool = option(False, "whether its terms are read and kept (docs/generators.md)")
    repository: str = option("HY-WorldPlay", "checkout of their code", unit="folder")
    model_path: str = option("HunyuanVideo-1.5", "weights of HunyuanVideo-1.5", unit="folder")
    action_ckpt: str = option("diffusion_pytorch_model.safetensors", "their action checkpoint", unit="file")
    model_type: Literal["ar", "bi"] = option("ar", "what the checkpoint is: ar (autoregressive), bi (bidirectional)")
    few_step: bool = option(True, "whether the checkpoint is distilled")
    steps: int = option(4, "denoising steps (4 for distilled checkpoints, 50 for others)", low=1)
    nproc: int = option(1, "GPUs that share one video", low=1, high=8)
    launcher: str = option("torchrun", "program that starts theirs", unit="file")
    max_step: float = option(2.0, "largest move between latents, times the model's own 0.08 units and 3 degrees", low=0)


def write_job(folder: Path, job: Job, options: Options) -> tuple[str, ...]:
    """Writes pose.json: a pose per latent. Raises TrajkitError for what the model cannot take."""
    where, latents = f"job {job.key}", latent_count(len(job.trajectory))
    if (job.trajectory.width, job.trajectory.height) != SIZE:
        raise TrajkitError(where, f"{job.trajectory.width}x{job.trajectory.height}", "plan at --size 832x480")
    if latents % LATENTS[options.model_type]:
        problem = f"{len(job.trajectory)} frames are {latents} latents, not a multiple of {LATENTS[options.model_type]}"
        raise TrajkitError(where, problem, "plan 77 frames (ar), or 61 or 125 (ar and bi)")
    if job.trajectory.scale.kind != "unit":
        problem = f"the path's scale is {job.trajectory.scale.kind}; the model knows steps of {LATENT_STEP} units alone"
        raise TrajkitError(where, problem, "sample it in the model's unit, with scale kind unit")
    _check_steps(job.trajectory, options.max_step, where)
    worldplay.write(job.trajectory, folder / POSE)
    return (POSE,)


def _check_steps(trajectory: Trajectory, most: float, where: str) -> None:
    poses = trajectory.camera_to_world[latent_frames(len(trajectory))]
    steps = se3.inverse(poses[:-1]) @ poses[1:]
    moved = float(np.linalg.norm(steps[:, :3, 3], axis=1).max(initial=0)) / LATENT_STEP
    turned = float(se3.angle_deg(steps[:, :3, :3]).max(initial=0)) / LATENT_STEP_DEG
    if max(moved, turned) > most + 1e-6:
        problem = f"a step between latents is {max(moved, turned):.3g} times the model's own"
        raise TrajkitError(where, problem, f"slow the path down to {most:g} times, or give max_step")


def command(folder: Path, options: Options) -> list[str]:
    """Their generate.py on one job."""
    record = read_record(folder)
    values = {
        "prompt": read_prompt(folder),
        "image_path": folder / PICTURE,
        "pose": folder / POSE,
        "output_path": output(folder).parent,
        "resolution": "480p",
        "aspect_ratio": "16:9",
        "width": record.width,
        "height": record.height,
        "video_length": record.frames,
        "seed": record.seed,
        "rewrite": "false",
        "sr": "false",
        "model_path": Path(options.model_path).resolve(),
        "action_ckpt": Path(options.action_ckpt).resolve(),
        "model_type": options.model_type,
        "few_step": str(options.few_step).lower(),
        "num_inference_steps": options.steps,
    }
    return launch(options, _script(options), values)


def check(options: Options) -> None:
    """Raises TrajkitError where their code or weights are not there."""
    _script(options)
    existing("model_path", options.model_path, GENERATOR)
    existing("action_ckpt", options.action_ckpt, GENERATOR)


def versions(options: Options) -> dict[str, str]:
    """Their commit, and which checkpoint: its last two names and its size."""
    checkpoint = Path(options.action_ckpt).resolve()
    named = f"{checkpoint.parent.name}/{checkpoint.name}, {math.ceil(checkpoint.stat().st_size / 1e6)} MB"
    return {"worldplay": commit(place(options)), "checkpoint": named}


def _script(options: Options) -> Path:
    found = next((place(options) / name for name in SCRIPTS if (place(options) / name).is_file()), None)
    if found is None:
        problem = f"holds no {SCRIPTS[0]}"
        raise TrajkitError(options.repository, problem, f"give repository=FOLDER, a checkout of {GENERATOR}")
    return found
