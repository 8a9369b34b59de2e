"""`trajkit attach`: footage without cameras -> clips along synthetic paths."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from trajkit.camera import Camera
from trajkit.cli import REJECTED
from trajkit.clip import Clip
from trajkit.commands._common import emit, keep_resolved, progress, size_option, stage_options
from trajkit.errors import TrajkitError
from trajkit.options import parse
from trajkit.scene import Rejected

from .._jobs_minwm import collect_minwm
from ..assign import Menu, coverage, menu
from ..attaching import AttachOptions, Outcome, attach, backend, check_options, collected, jobs
from ..fitness import Limits
from ..footage import Footage
from ..jobs import collect, generator, run
from ..sources import open_footage

ROTATIONS, WALKS = ("turn",), ("blocks",)  # samplers where none is given
SHOWN = 20  # rejections told one by one; the ledger has all


@click.command("attach")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option(
    "--with",
    "backend_spec",
    default="reframe",
    show_default=True,
    metavar="SPEC",
    help="reframe, warp, or a generator.",
)
@click.option("--path", "paths", multiple=True, metavar="SPEC", help="Sampler; repeat to choose from several.")
@click.option("--balance", is_flag=True, help="Deal motions, directions and speeds out evenly over the set.")
@click.option("--frames", type=int, default=77, show_default=True, metavar="4N+1", help="Frames per clip.")
@size_option("832x480")
@click.option("--fps", type=click.FloatRange(1, 240), default=16.0, show_default=True, metavar="HZ", help="Frame rate.")
@click.option(
    "--fov",
    "fov_deg",
    type=click.FloatRange(5, 150),
    default=50.0,
    show_default=True,
    metavar="DEG",
    help="Vertical field of view that the footage is taken to have, where nobody knows it.",
)
@click.option(
    "--freeze",
    type=click.Choice(["never", "moving", "all"]),
    default="never",
    show_default=True,
    help="Film one frozen picture: of no video, of those whose own camera is not known to stand still, or of all.",
)
@click.option(
    "--accept", default="", metavar="KEY=VALUE,...", help="Limits that footage must keep to (docs/fitness.md)."
)
@click.option("--depth", default="", metavar="SPEC", help="Where z-depth comes from (docs/warp.md).")
@click.option("--keep-depth", is_flag=True, help="Also keep the warped z-depth in the clips.")
@click.option("--where", metavar="EXPRESSION", help='Rows to take, such as "seconds >= 4 and aesthetic_score > 5".')
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take the first N rows.")
@click.option("--plan", "step", flag_value="plan", help="External generator: write its jobs into --out.")
@click.option("--run", "step", flag_value="run", help="External generator: make what is planned in --out.")
@click.option("--collect", "step", flag_value="collect", help="External generator: take what --jobs made as clips.")
@click.option("--jobs", "folder", type=click.Path(path_type=Path), metavar="FOLDER", help="Of --collect.")
@click.option("--minwm", is_flag=True, help="Of --plan and --collect: minWM's list and folders in place of jobs.")
@stage_options
def command(
    sources: tuple[str, ...],
    backend_spec: str,
    paths: tuple[str, ...],
    balance: bool,
    size: tuple[int, int],
    accept: str,
    where: str | None,
    limit: int | None,
    step: str | None,
    folder: Path | None,
    minwm: bool,
    out: Path,
    workers: int,
    dry_run: bool,
    as_json: bool,
    **fields: Any,
) -> int:
    """Give footage of a still camera, or a frozen picture, a camera path, and write clips into the folder --out.

    \b
    trajkit attach openvid:OpenVid-1M --where "seconds >= 5" --with reframe --balance --out clips
    trajkit attach openvid:OpenVid-1M --with lingbot --plan --out jobs
    trajkit attach --with lingbot:repository=lingbot-world --run --out jobs
    trajkit attach --with lingbot --collect --jobs jobs --out clips

    SOURCE is openvid:FOLDER (the published table with its archives or videos) or videos:FOLDER. Footage is looked at
    first: cuts, bars, text, frozen pictures, and whether its own camera moves, which no synthetic path can undo.
    reframe turns and zooms by an exact homography; warp also moves, with depth; external generators are planned, run
    and collected. What is refused is in the ledger with its reason. Run the same command again to go on after an
    interruption. Exit code 3: some videos were refused.
    """
    module, chosen = backend(backend_spec)
    _check_step(module, backend_spec, step, sources, folder)
    name = backend_spec.partition(":")[0]
    if step:
        generator(name, chosen)  # its terms, before anything is written
    if step == "run":
        made = run(out, name, chosen, limit=limit, workers=workers)
        return _tell("made", ((one.key, one) for one in progress(made, total=None, unit="videos")), out, as_json)
    if step == "collect":
        assert folder is not None
        taken = collected((collect_minwm if minwm else collect)(folder, name, chosen, out), out)
        return _tell("collected", ((one.key, one) for one in progress(taken, total=None, unit="videos")), out, as_json)
    given = (one for spec in [open_footage(source, where=where, limit=limit) for source in sources] for one in spec)
    limits = parse(Limits, accept, where="--accept")
    menu_ = Menu(specs=paths or ROTATIONS if module.KIND == "reframed" else paths or WALKS)
    options = AttachOptions(backend=backend_spec, menu=menu_, width=size[0], height=size[1], limits=limits, **fields)
    check_options(options)
    lens = Camera.from_fov(*size, options.fov_deg)
    menu_ = menu(menu_.specs, options.frames, options.fps, lens, balance=balance, seed=options.seed)
    options = dataclasses.replace(options, menu=menu_)
    if dry_run:
        return _dry_run(given, options, as_json)
    keep_resolved(out)
    state = "planned" if step == "plan" else "attached"
    stage = functools.partial(jobs, minwm=minwm) if step == "plan" else attach
    done = progress(stage(given, options, out, workers=workers), total=None, unit="videos")
    cells: Counter[str] = Counter()
    return _tell(state, ((one.name, one.result) for one in counted(done, cells)), out, as_json, menu_, cells)


def _check_step(module: ModuleType, spec: str, step: str | None, sources: tuple[str, ...], folder: Path | None) -> None:
    """Raises TrajkitError where the step, the backend and the arguments do not fit each other."""
    where = f"--with {spec}"
    if hasattr(module, "attach") == (step is not None):
        remedy = "leave --plan, --run and --collect out" if step else "use --plan, then --run, then --collect"
        raise TrajkitError(where, "makes clips itself" if step else "is an external generator", remedy)
    if (step in ("run", "collect")) == bool(sources):
        problem = f"--{step} takes no SOURCE" if sources else "no SOURCE is given"
        raise TrajkitError(where, problem, "leave it out" if sources else "name one, such as openvid:FOLDER")
    if (step == "collect") != (folder is not None):
        raise TrajkitError("--jobs", "goes with --collect", "give both: --collect --jobs FOLDER --out CLIPS")


def counted(outcomes: Iterable[Outcome], cells: Counter[str]) -> Iterator[Outcome]:
    """Passes the outcomes on and counts the motions of the clips among them."""
    for one in outcomes:
        if isinstance(one.result, Clip):
            cells[str(one.result.checks["motion"])] += 1
        yield one


def _tell(
    state: str,
    results: Iterable[tuple[str, Any]],
    out: Path,
    as_json: bool,
    wanted: Menu | None = None,
    cells: Counter[str] | None = None,
) -> int:
    """Prints what became of each video and how many of each; returns the exit code."""
    done, codes, shown = 0, Counter[str](), dict[str, str]()
    for name, result in results:
        if not isinstance(result, Rejected):
            done += 1
            continue
        codes[result.reason.partition(":")[0]] += 1
        if len(shown) < SHOWN:
            shown[name] = result.reason
    refused = codes.total()
    summary: dict[str, Any] = {"out": str(out), state: done, "rejected": refused, "first_reasons": dict(codes)}
    summary["rejections"] = shown
    lines = [f"rejected {name}: {reason}" for name, reason in shown.items()]
    lines += [f"... and {refused - SHOWN} more: see the ledger"] if refused > SHOWN else []
    if codes:
        lines.append("first reasons: " + ", ".join(f"{code} {count}" for code, count in codes.most_common()))
    if wanted is not None and cells:
        summary["coverage"] = coverage(cells.elements(), wanted)
        told = summary["coverage"]
        lines += [f"{count:6} {cell}" for cell, count in told["cells"].items()]
        lines.append(
            f"motions: {len(told['cells'])} kinds, {told['fewest']} to {told['most']} clips each",
        )
    lines.append(f"{done} {state} in {out}, {refused} rejected")
    emit(summary, as_json, lines)
    return REJECTED if refused else 0


def _dry_run(given: Iterable[Footage | Rejected], options: AttachOptions, as_json: bool) -> int:
    resolved = {name: value for name, value in dataclasses.asdict(options).items() if name != "menu"}
    work, refused = list[str](), dict[str, str]()
    for one in given:
        if isinstance(one, Rejected):
            refused[one.key] = one.reason
        else:
            work.append(one.name)
    lines = [f"{name}: {value}" for name, value in resolved.items()] + work
    lines += [f"rejected {key}: {reason}" for key, reason in refused.items()]
    emit({"options": resolved, "work": work, "rejected": refused}, as_json, lines)
    return REJECTED if refused else 0
