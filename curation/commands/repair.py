"""`trajkit repair`: poses that the pixels contradict, refined where the pixels carry it."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.commands._common import emit, executor_option, keep_resolved, progress, stage_options

from .. import calibration
from ..repair import Repaired, RepairOptions, repair
from ..score import units

DEFAULTS = RepairOptions()


@click.command("repair")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option(
    "--held-out",
    "held_out_px",
    type=click.FloatRange(0),
    default=DEFAULTS.held_out_px,
    show_default=True,
    metavar="PX",
    help="Most that tracks which had no say may be off, at 832 pixels of width.",
)
@click.option(
    "--agree",
    "agree_px",
    type=click.FloatRange(0),
    default=DEFAULTS.agree_px,
    show_default=True,
    metavar="PX",
    help="Most that the cameras of two halves of the picture may differ over 8 frames.",
)
@click.option(
    "--calibration",
    "model",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="How metrics become a probability.  [default: the one shipped]",
)
@executor_option
@stage_options
def command(folders: tuple[Path, ...], held_out_px: float, agree_px: float, model: Path | None, **stage: object) -> int:
    """Refine the poses and focal length of clips whose poses are not accepted, by bundle adjustment.

    \b
    trajkit repair clips --out repaired --workers 2

    A refinement is kept where tracks that had no say in it bear it out, where two halves of the picture agree, and
    where the refined clip is accepted. It becomes the clip <key>-refined in --out, its provenance `refined`, with the
    claimed cameras in OUT/original. Clips that are accepted as they are, and those that the pictures do not carry, are
    named with the reason and left alone. Exit code 3: some clips could not be repaired.
    """
    out = Path(str(stage["out"]))
    options = RepairOptions(held_out_px=held_out_px, agree_px=agree_px, calibration=model or calibration.SHIPPED)
    planned = [item for unit in units(folders) for item in unit.items]
    if stage["dry_run"]:
        lines = [f"{item.key}  {item.place}" for item in planned]
        emit({"clips": [item.key for item in planned], "out": str(out)}, bool(stage["as_json"]), lines)
        return 0
    work = repair(folders, options, out, workers=int(str(stage["workers"])), executor=str(stage["executor"]))
    found = sorted(progress(work, total=len(planned), unit="clips"), key=lambda one: one.key)
    keep_resolved(out)
    counts: Counter[str] = Counter(one.state for one in found)
    told = [_told(one) for one in found]
    lines = [f"{one.state:8}  {one.key}  {_change(one)}" for one in found]
    summary = ", ".join(f"{counts[state]} {state}" for state in ("left", "refined", "refused"))
    emit({"clips": told, **counts}, bool(stage["as_json"]), [*lines, f"{len(found)} clips: {summary}"])
    return REJECTED if counts["refused"] else 0


def _told(one: Repaired) -> dict[str, object]:
    kept = {name: getattr(one, name) for name in ("key", "state", "reason", "moved_px")}
    return kept | {name: asdict(part) for name in ("before", "after") if (part := getattr(one, name)) is not None}


def _change(one: Repaired) -> str:
    if one.state != "refined" or one.before is None or one.after is None:
        return one.reason
    return (
        f"probability {one.before.probability or 0:.2f} to {one.after.probability or 0:.2f}, "
        f"points moved by {one.moved_px:.2g} px over 8 frames"
    )
