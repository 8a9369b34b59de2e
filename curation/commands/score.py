"""`trajkit score`: which clips' poses can be believed, and why."""

import io
from collections import Counter
from pathlib import Path

import click

from trajkit.cli import REJECTED
from trajkit.commands._common import emit, executor_option, keep_resolved, progress, stage_options
from trajkit.errors import TrajkitError
from trajkit.files import write_bytes
from trajkit.scene import Rejected
from trajkit.score import ScoreRecord

from .. import calibration, spatialvid
from ..score import ScoreOptions, score, units


@click.command("score")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Measure only these, without a verdict.")
@click.option(
    "--calibration",
    "model",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="How metrics become a probability.  [default: the one shipped]",
)
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="<key>.npz with `mask` (frames, height, width), True where something moves.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Clips of the same keys whose poses are right: adds ATE, RPE, RotErr, TransErr, CamMC, AUC.",
)
@click.option(
    "--published",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="SpatialVID's metadata: its moveDist, rotAngle, ... beside what they should be, in OUT/spatialvid.parquet.",
)
@executor_option
@stage_options
def command(
    folders: tuple[Path, ...],
    metrics: tuple[str, ...],
    model: Path | None,
    masks: Path | None,
    reference: Path | None,
    published: Path | None,
    **stage: object,
) -> int:
    """Score how far the poses of clips can be believed, from their pixels.

    \b
    trajkit score clips --out clips --workers 2

    CLIPS are clip folders, shards, or folders of shards; --out may be the folder itself. Each clip gets
    OUT/scores/<key>.json, with evidence for each frame, and its rows in OUT/ledger: a probability that the poses are
    good enough to train on, and a verdict (accepted, rejected, undetermined) with reasons. `trajkit plugins metrics`
    lists what is measured. Run the same command again to go on after an interruption. Exit code 3: some clips are not
    accepted.
    """
    out, workers = Path(str(stage["out"])), int(str(stage["workers"]))
    for beside, flag in ((masks, "--masks"), (reference, "--reference")):
        if beside is not None and not beside.is_dir():
            raise TrajkitError(f"{flag} {beside}", "no such folder", "check the path")
    if published is not None and metrics and "spatialvid" not in metrics:
        raise TrajkitError("--published", "needs the metric spatialvid", "add --metric spatialvid")
    options = ScoreOptions(metrics=metrics, calibration=model or calibration.SHIPPED, masks=masks, reference=reference)
    if stage["dry_run"]:
        planned = [item for unit in units(folders) for item in unit.items]
        lines = [f"{item.key}  {item.place}" for item in planned]
        emit({"clips": [item.key for item in planned], "out": str(out)}, bool(stage["as_json"]), lines)
        return 0
    total = sum(len(unit.items) for unit in units(folders))
    found = progress(
        score(folders, options, out, workers=workers, executor=str(stage["executor"])), total=total, unit="clips"
    )
    counts: Counter[str] = Counter()
    told = []
    columns: dict[str, spatialvid.Recomputed] = {}
    if published is not None:
        spatialvid.published(published)  # a wrong table is an error before anything is measured
    for one in found:
        if published is not None and isinstance(one, ScoreRecord):
            told_by = {score.metric: score for score in one.scores}
            columns[one.key] = spatialvid.of_score(told_by["spatialvid"].values)
        state, chance, reason = (
            ("rejected", None, one.reason)
            if isinstance(one, Rejected)
            else (one.verdict.state, one.verdict.probability, "; ".join(r.message for r in one.verdict.reasons))
        )
        counts[state] += 1
        told.append({"key": one.key, "state": state, "probability": chance, "reason": reason})
    keep_resolved(out)
    told.sort(key=lambda one: str(one["key"]))
    lines = [f"{one['state']:12}  {one['key']}  {_percent(one['probability'])}  {one['reason']}" for one in told]
    summary = ", ".join(f"{counts[state]} {state}" for state in ("accepted", "rejected", "undetermined"))
    if published is not None:
        lines += _published(published, columns, out)
    emit({"clips": told, **counts}, bool(stage["as_json"]), [*lines, f"{total} clips in {out}: {summary}"])
    return REJECTED if counts["rejected"] or counts["undetermined"] else 0


def _published(csv: Path, columns: dict[str, spatialvid.Recomputed], out: Path) -> list[str]:
    """Writes the comparison, and tells each column's median differences."""
    table = spatialvid.compare(csv, columns)
    content = io.BytesIO()
    table.write_parquet(content)
    write_bytes(out / "spatialvid.parquet", content.getvalue())
    known = table.drop_nulls("published")
    lines = []
    for name in spatialvid.PUBLISHED:
        part = known.filter(known["column"] == name)
        if part.height:
            theirs, ours = (float(part[one].abs().median()) for one in ("difference", "error"))  # type: ignore[arg-type]
            lines.append(
                f"{name:9} of {part.height} clips: median difference {theirs:.3g} to the same formula on "
                f"world-to-camera translations, {ours:.3g} on camera centres"
            )
    return lines


def _percent(chance: object) -> str:
    return "  - " if chance is None else f"{float(str(chance)):4.2f}"
