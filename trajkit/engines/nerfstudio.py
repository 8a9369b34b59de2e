"""Fits Gaussians by nerfstudio's splatfacto, run as a program in an environment of its own (make nerfstudio; GPU).

`ns-train splatfacto` and `ns-export gaussian-splat` of nerfstudio 1.1.5 read and write files in a temporary folder.
trajkit reads the exported PLY and dataparser_transforms.json alone: config.yml can run code when it is loaded.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from trajkit import files, se3
from trajkit.engines import EngineOptions, Task
from trajkit.errors import TrajkitError
from trajkit.fit import View, Watch
from trajkit.gaussians import Gaussians, read_ply
from trajkit.options import option
from trajkit.poses._camera_path import OPENCV_FROM_OPENGL
from trajkit.poses.nerfstudio import read_dataparser_transforms

Array = np.ndarray
UNRECORDED = ("programs",)  # a place on this machine, which does not shape the result
RUN = Path("runs/scene/splatfacto/run")  # output-dir/experiment-name/method/timestamp
WARM_UP, GROWN, SHARPENING = 500, 15_000, 3_000  # steps: splatfacto's own for its 30,000
POINT = np.dtype([(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")])


@dataclass(frozen=True, kw_only=True)
class Options(EngineOptions):
    """Options of the nerfstudio engine."""

    longest: int = option(1600, "longest side that photos are reduced to", unit="px", low=64, high=8192)
    iterations: int = option(30_000, "steps of the optimiser, one photo each", low=1, high=1_000_000)
    gaussians: int = option(
        3_000_000,
        "most Gaussians that are kept, the most opaque ones; splatfacto has no limit",
        low=100,
        high=10_000_000,
    )
    sh_degree: int = option(3, "degree of the colours' spherical harmonics", low=0, high=3)
    programs: str = option("path", "folder of ns-train and ns-export, such as .nerfstudio/bin; path: those on PATH")


def check(options: Options) -> None:
    """Raises TrajkitError, before any work is done, where one of the programs is not there."""
    for name in ("ns-train", "ns-export"):
        _program(name, options)


def fit(task: Task, options: Options, watch: Watch | None = None) -> Gaussians:
    """Gaussians in the task's world, nerfstudio's normalisation undone. Held-out photos are never fitted.

    What the programs print is kept in `task.log`. Raises TrajkitError, naming it, where one of them is missing, fails
    or leaves no export. Not the same bytes each time: splatfacto's sums on a GPU have no fixed order.
    """
    where = f"scene {task.scene.id}"
    train, export = (_program(name, options) for name in ("ns-train", "ns-export"))
    with tempfile.TemporaryDirectory(prefix="trajkit-") as name:
        folder = Path(name)
        write_capture(task, folder / "capture")
        log = task.log or folder / "log"
        log.parent.mkdir(parents=True, exist_ok=True)
        seed = int(task.rng.integers(2**31))
        commands = [
            [train, *training(options, seed, folder)],
            [export, "gaussian-splat", "--load-config", str(folder / RUN / "config.yml"), "--output-dir", str(folder)],
        ]
        with open(log, "wb") as stream:
            for number in watch(range(2), 2, "program") if watch else range(2):
                _run(commands[number], options, stream.fileno(), log, where)
        return _exported(folder, options, log, where)


def training(options: Options, seed: int, folder: Path) -> list[str]:
    """Arguments of ns-train (nerfstudio 1.1.5). Stages of growth end in proportion where there are fewer steps."""
    share = min(1.0, options.iterations / 30_000)
    model = {
        "sh-degree": options.sh_degree,
        "warmup-length": round(WARM_UP * share),
        "stop-split-at": round(GROWN * share),
        "stop-screen-size-at": round(4_000 * share),
        "resolution-schedule": max(1, round(SHARPENING * share)),
        "sh-degree-interval": max(1, round(1_000 * share)),
    }
    flags = {
        "output-dir": folder / RUN.parts[0],
        "experiment-name": RUN.parts[1],
        "timestamp": RUN.parts[3],
        "max-num-iterations": options.iterations,
        "machine.seed": seed,
        "vis": "tensorboard",  # the viewer would wait for a visitor at the end
        **dict.fromkeys(("steps-per-eval-batch", "steps-per-eval-image", "steps-per-eval-all-images"), 0),
        **{f"pipeline.model.{key}": value for key, value in model.items()},
    }
    capture = {"data": folder / "capture", "downscale-factor": 1, "load-3D-points": True}
    spoken = lambda table: [word for key, value in table.items() for word in (f"--{key}", str(value))]  # noqa: E731
    return ["splatfacto", *spoken(flags), "nerfstudio-data", *spoken(capture)]


def write_capture(task: Task, folder: Path) -> None:
    """The task's photos, points.ply and a transforms.json with a lens for each photo and the split in words."""
    (folder / "images").mkdir(parents=True)
    names = {"train": _write_photos(task.fitted, folder, "train"), "val": _write_photos(task.held, folder, "val")}
    frames = [
        _frame(name, view)
        for name, view in zip([*names["train"], *names["val"]], [*task.fitted, *task.held], strict=True)
    ]
    split = {f"{part}_filenames": names[part] for part in ("train", "val")} | {"test_filenames": names["val"]}
    table = {"camera_model": "OPENCV", "ply_file_path": "points.ply", "frames": frames, **split}
    files.write_bytes(folder / "transforms.json", files.json_bytes(table))
    files.write_bytes(folder / "points.ply", points_ply(task.points, task.colours))


def points_ply(points: Float64[Array, "n 3"], colours: UInt8[Array, "n 3"]) -> bytes:
    """A binary point cloud that open3d reads."""
    rows = np.empty(len(points), POINT)
    for column, name in enumerate(POINT.names or ()):
        rows[name] = points[:, column] if column < 3 else colours[:, column - 3]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {'float' if name in 'xyz' else 'uchar'} {name}" for name in POINT.names or ()]
    return "\n".join([*header, "end_header", ""]).encode() + rows.tobytes()


def _write_photos(views: list[View], folder: Path, part: str) -> list[str]:
    names = [f"images/{part}_{index:05d}.png" for index in range(len(views))]
    for name, view in zip(names, views, strict=True):
        Image.fromarray(view.photo).save(folder / name, compress_level=1)
    return names


def _frame(name: str, view: View) -> dict[str, object]:
    camera = view.camera
    lens = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy, "w": camera.width}
    pose = se3.inverse(view.world_to_camera) @ OPENCV_FROM_OPENGL
    return {"file_path": name, "transform_matrix": pose.tolist(), "h": camera.height, **lens}


def _program(name: str, options: Options) -> str:
    """The program's path. Raises TrajkitError where it is not there."""
    folder = None if options.programs == "path" else str(Path(options.programs).absolute())
    found = shutil.which(name, path=folder)
    if found is None:
        problem = f"needs the program {name}, which is not {f'in {folder}' if folder else 'on PATH'}"
        remedy = "make nerfstudio, then --engine nerfstudio:programs=.nerfstudio/bin"
        raise TrajkitError("--engine nerfstudio", problem, remedy)
    return found


def _run(command: list[str], options: Options, log_descriptor: int, log: Path, where: str) -> None:
    """Runs one program to its end. Raises TrajkitError where that is not a good one."""
    name = Path(command[0]).name
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # ours, not its
    if options.programs != "path":
        programs = Path(options.programs).absolute()
        # ninja lies beside the programs, and what gsplat compiles there is not what our own gsplat can load
        environment["PATH"] = os.pathsep.join([str(programs), environment.get("PATH", os.defpath)])
        environment.setdefault("TORCH_EXTENSIONS_DIR", str(programs.parent / "torch_extensions"))
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log_descriptor, stderr=log_descriptor, env=environment
        )
    except OSError as error:
        raise TrajkitError(where, f"{name} does not start ({error.strerror})", "make nerfstudio again") from None
    if done.returncode != 0:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        raise TrajkitError(where, f"{name} failed ({how}): {_last_line(log)}", f"{log} has all that it printed")


def _last_line(log: Path) -> str:
    """What the program said last, in short."""
    said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip(" ╭╰╮╯─│\t")]
    return said[-1][:200] if said else "it printed nothing"


def _exported(folder: Path, options: Options, log: Path, where: str) -> Gaussians:
    """The exported Gaussians in the capture's world, at most `options.gaussians` of them."""
    try:
        original_from_normalised = read_dataparser_transforms(folder / RUN)
        gaussians = read_ply(folder / "splat.ply").moved(original_from_normalised)
    except TrajkitError as error:
        problem = f"the programs left no export that can be read ({Path(error.where).name}: {error.problem})"
        raise TrajkitError(where, problem, f"{log} has all that they printed") from None
    if len(gaussians) <= options.gaussians:
        return gaussians
    kept = np.sort(np.argsort(-gaussians.logit_opacities, kind="stable")[: options.gaussians])
    names = ("means", "log_scales", "quaternions_wxyz", "logit_opacities", "sh")
    return replace(gaussians, **{name: getattr(gaussians, name)[kept] for name in names})
