"""trajkit convert: camera poses from one format to another."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np

from trajkit import plugins
from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError
from trajkit.options import parse, split_spec
from trajkit.poses import ASPECTS, located
from trajkit.trajectory import Trajectory

MAX_POSES = 10_000_000


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--from", "from_spec", metavar="FORMAT[:KEY=VALUE,...]", help="Format of IN; guessed where it is plain.")
@click.option("--to", "to_spec", metavar="FORMAT[:KEY=VALUE,...]", required=True, help="Format of OUT.")
@click.option(
    "--fps",
    type=click.FloatRange(1e-3),
    metavar="HZ",
    help="Resample to a video of this rate: one pose per frame, slerp and straight lines between the poses of IN.",
)
@json_option
def command(source: Path, target: Path, from_spec: str | None, to_spec: str, fps: float | None, as_json: bool) -> None:
    """Convert camera poses between formats.

    `trajkit plugins` lists the formats; docs/formats.md has each one's options, and what it cannot hold.

    \b
    trajkit convert scan/transforms.json poses.txt --to tum
    trajkit convert clip poses.json --from spatialvid:width=1280,height=720 --fps 16 --to worldplay
    """
    from_name, from_options = split_spec(from_spec or guess(source))
    to_name, to_options = split_spec(to_spec)
    reader, writer = _able(from_name, "read", "--from"), _able(to_name, "write", "--to")
    reading = _options(reader, from_options, f"--from {from_name}")
    writing = _options(writer, to_options, f"--to {to_name}")
    _check_lens(from_name, reading, to_name, writer)
    if source.resolve() == target.resolve():
        raise TrajkitError(target, "is IN as well as OUT", "write to another path")
    target = target if target.name else target.resolve()  # "." has no name to write a .part beside
    trajectory = reader.read(source, *reading)
    if fps is not None:
        with located(source):
            trajectory = at_rate(trajectory, fps)
    with located(target):
        writer.write(trajectory, target, *writing)
    _report(trajectory, from_name, to_name, target, _lost(trajectory, reader, writer), as_json)


def guess(source: Path) -> str:
    """The one format whose files look like `source`. Raises TrajkitError, listing the choices, if that is not plain."""
    if not source.exists():
        raise TrajkitError(source, "no such file or folder", "check the path")
    names = plugins.names("poses")
    fitting = []
    for name in names:
        try:
            looks = getattr(plugins.load("poses", name), "matches", None)
        except TrajkitError:  # a plugin that cannot be loaded here; --from says why
            continue
        if looks is not None and looks(source):
            fitting.append(name)
    if len(fitting) != 1:
        found = f"looks like {' and '.join(fitting)}" if fitting else "looks like no known format"
        raise TrajkitError(source, found, f"say which with --from: {', '.join(fitting or names)}")
    return fitting[0]


def at_rate(trajectory: Trajectory, fps: float) -> Trajectory:
    """The poses of a video of `fps` frames per second over the same span; frame_index counts its frames."""
    span_s = float(trajectory.times_s[-1] - trajectory.times_s[0])
    if not span_s * fps <= MAX_POSES:  # not a number, too
        problem = f"{span_s:g} s at {fps:g} per second is over ten million poses"
        raise TrajkitError("--fps", problem, "check the times of IN")
    count = int(span_s * fps + 1e-6) + 1
    resampled = trajectory.resampled(trajectory.times_s[0] + np.arange(count) / fps)
    return replace(resampled, frame_index=np.arange(count))


def _able(name: str, function: str, flag: str) -> ModuleType:
    module = plugins.load("poses", name)
    if not hasattr(module, function):
        other = "written" if function == "read" else "read"
        raise TrajkitError(f"{flag} {name}", f"files of this format can only be {other}", "choose another format")
    return module


def _options(module: ModuleType, text: str, where: str) -> tuple[Any, ...]:
    """The format's options as the one argument that `read` and `write` take after the path, or none."""
    if hasattr(module, "Options"):
        return (parse(module.Options, text, where=where),)
    if text:
        raise TrajkitError(where, "takes no options", f"leave out {text!r}")
    return ()


def _keeps(module: ModuleType) -> frozenset[str]:
    return getattr(module, "KEEPS", frozenset(ASPECTS))


def _check_lens(from_name: str, reading: tuple[Any, ...], to_name: str, writer: ModuleType) -> None:
    """A nominal lens must not pass for a real one: TrajkitError where OUT holds a lens and IN has none."""
    if "lens" in _keeps(writer) and reading and not getattr(reading[0], "lens_given", True):
        remedy = f"give it: --from {from_name}:width=640,height=480,fx=525 (cx, cy, fy optional)"
        raise TrajkitError(f"--from {from_name}", f"its files hold no lens, which {to_name} needs", remedy)


def _lost(trajectory: Trajectory, reader: ModuleType, writer: ModuleType) -> list[str]:
    """What IN says that OUT's format cannot hold."""
    lost = sorted(_keeps(reader) - _keeps(writer))
    return [aspect for aspect in lost if aspect != "distortion" or any(trajectory.distortion)]


def _report(trajectory: Trajectory, from_name: str, to_name: str, target: Path, lost: list[str], as_json: bool) -> None:
    scale = trajectory.scale
    result = {
        "from": from_name,
        "to": to_name,
        "out": str(target),
        "poses": len(trajectory),
        "path_length": trajectory.path_length,
        "scale": {"kind": scale.kind, "factor": scale.factor},
        "seconds": float(trajectory.times_s[-1] - trajectory.times_s[0]),
        "lost": lost,
    }
    factor = "" if scale.factor == 1 else f" x {scale.factor:g}"
    lines = [
        f"{len(trajectory)} poses from {from_name} to {to_name}: {target}",
        f"path length {trajectory.path_length:.6g}, scale {scale.kind}{factor}, {result['seconds']:.6g} s",
    ]
    if lost:
        lines.append(f"{to_name} cannot hold: {', '.join(lost)}")
    emit(result, as_json, lines)
