"""LingBot-World (Cam): a video from the first picture along the path, by its own program, under Apache-2.0.

The model divides every move by the largest one between latents, so that paths keep their shape and lose their size.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from trajkit import se3
from trajkit.errors import TrajkitError
from trajkit.files import read_text
from trajkit.latents import latent_frames
from trajkit.options import option
from trajkit.poses import lingbot
from trajkit.trajectory import Scale, Trajectory

from .._jobs_record import PICTURE, Job, read_prompt, read_record
from ._programs import commit, existing, launch, output, place

__all__ = ["command", "output", "place", "write_job"]

KIND = "generated"
GENERATOR = "LingBot-World"
LICENCE = "Apache-2.0 (code and weights of LingBot-World-Base (Cam))"
COST = "one process per clip loads the two 14B models anew"
UNRECORDED = ("repository", "ckpt_dir", "launcher", "nproc")
ACTION = "action"
SIZES = {"480*832": (832, 480), "720*1280": (1280, 720)}  # their names -> width, height
LENS_SIZE = (832, 480)  # what intrinsics.npy is for, whatever the video's size
OVERLAY = "vis_ui=True"  # in wan/image2video.py of some checkouts: paints keys into the video


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where their code and weights are, and how large the video is."""

    repository: str = option("lingbot-world", "checkout of their code", unit="folder")
    ckpt_dir: str = option("lingbot-world-base-cam", "their weights", unit="folder")
    size: Literal["480*832", "720*1280"] = option("480*832", "area of the video: 480*832, 720*1280")
    nproc: int = option(1, "GPUs that share one video", low=1, high=8)
    launcher: str = option("torchrun", "program that starts theirs", unit="file")


def planned(trajectory: Trajectory) -> Trajectory:
    """The path in the unit that the model takes it: the largest move between latents is 1."""
    poses = trajectory.camera_to_world[latent_frames(len(trajectory))]
    largest = np.linalg.norm((se3.inverse(poses[:-1]) @ poses[1:])[:, :3, 3], axis=1).max(initial=0)
    return replace(trajectory.scaled(1 / largest) if largest > 0 else trajectory, scale=Scale(kind="unit"))


def write_job(folder: Path, job: Job, options: Options) -> tuple[str, ...]:
    """Writes action/poses.npy and intrinsics.npy. Raises TrajkitError for another size than the options'."""
    if (job.trajectory.width, job.trajectory.height) != SIZES[options.size]:
        width, height = SIZES[options.size]
        problem = f"{job.trajectory.width}x{job.trajectory.height} pictures, size={options.size}"
        raise TrajkitError(f"job {job.key}", problem, f"plan at --size {width}x{height}")
    lingbot.write(job.trajectory.resized(*LENS_SIZE), folder / ACTION)
    return f"{ACTION}/poses.npy", f"{ACTION}/intrinsics.npy"


def made_size(width: int, height: int, options: Options) -> tuple[int, int]:
    """Width and height that their rule gives: area and aspect, rounded down to 16. 832x480 becomes 832x464."""
    area, aspect = float(np.prod(SIZES[options.size])), height / width
    # as they compute it: the root of 832x480's area and aspect is a hair below 480
    high, wide = (round(np.sqrt(length) // 8 // 2 * 2) * 8 for length in (area * aspect, area / aspect))
    return wide, high


def command(folder: Path, options: Options) -> list[str]:
    """Their generate.py on one job."""
    record = read_record(folder)
    values = {
        "task": "i2v-A14B",
        "size": options.size,
        "ckpt_dir": Path(options.ckpt_dir).resolve(),
        "image": folder / PICTURE,
        "action_path": folder / ACTION,
        "frame_num": record.frames,
        "base_seed": record.seed,
        "save_file": output(folder),
        "prompt": read_prompt(folder),
    }
    shared = ["--dit_fsdp", "--t5_fsdp", f"--ulysses_size={options.nproc}"] if options.nproc > 1 else []
    return launch(options, place(options) / "generate.py", values) + shared


def check(options: Options) -> None:
    """Raises TrajkitError where code or weights are not there, or their code would spoil the pictures."""
    existing("repository", place(options) / "generate.py", GENERATOR)
    if "cam" not in str(existing("ckpt_dir", options.ckpt_dir, GENERATOR)):
        problem = "the folder's name has no 'cam', by which their code knows weights that take cameras"
        raise TrajkitError(options.ckpt_dir, problem, "rename it to lingbot-world-base-cam")
    model = place(options) / "wan" / "image2video.py"
    if model.is_file() and OVERLAY in read_text(model).replace(" ", ""):
        raise TrajkitError(model, f"{OVERLAY} paints keys into every video", "change it to vis_ui=False there")


def versions(options: Options) -> dict[str, str]:
    """Their commit, and the name of the folder of weights."""
    return {"lingbot-world": commit(place(options)), "checkpoint": Path(options.ckpt_dir).resolve().name}
