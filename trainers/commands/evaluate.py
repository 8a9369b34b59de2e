"""`trajkit evaluate`: commanded against achieved cameras."""

from pathlib import Path
from typing import Any

import click

from trajkit import files
from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.commands._common import emit, json_option, progress
from trajkit.errors import TrajkitError

from ..comparison import comparison, listed, told
from ..evaluate import check, measured, summary

WHEN = {
    "registered": "of clips that registered",
    "counted": "unregistered as not moved",
    "still": "of a video that stands still",
}


@click.command("evaluate")
@click.argument("clips", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Where to write.")
@json_option
def command(clips: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Measure how far generated videos follow the cameras they were told, and how their pictures hold up.

    \b
    trajkit evaluate clips --out evaluation
    trajkit evaluate clips-with clips-without --out evaluation

    CLIPS are clip folders whose cameras are the commanded ones, as `trajkit rollout` writes them. The achieved cameras
    are estimated from the pixels and the lens alone. Writes OUT/evaluate.json and a picture of each clip, OUT/KEY.png
    (OUT/FOLDER-KEY.png for several folders). docs/evaluate.md has the formulas and the estimate's own error.
    """
    found = _clips(clips)
    todo = [(folder, clip) for folder, ones in found.items() for clip in ones]
    rows: dict[str, list[dict[str, Any]]] = {folder: [] for folder in found}
    for folder, clip in progress(todo, total=len(todo), unit="clips"):
        row, achieved, pictures = measured(clip)
        name = f"{folder}-{clip.key}.png" if len(found) > 1 else f"{clip.key}.png"
        commanded = clip.trajectory.relative_to(0).camera_to_world
        files.write_bytes(out / name, comparison(row, commanded, achieved, pictures))
        rows[folder].append(row)
    folders = {folder: {"summary": summary(ones), "clips": ones} for folder, ones in rows.items()}
    files.write_bytes(out / "evaluate.json", files.json_bytes({"schema": "trajkit.evaluate/1", "folders": folders}))
    lines = [line for folder, one in folders.items() for line in _lines(folder, one)]
    emit({"out": str(out), **{folder: one["summary"] for folder, one in folders.items()}}, as_json, lines)


def _clips(folders: tuple[Path, ...]) -> dict[str, list[Clip]]:
    """The clips by their folder's name. Raises TrajkitError for an empty folder, two of one name, an unfit clip."""
    found: dict[str, list[Clip]] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in found:
            raise TrajkitError(folder, f"is the second folder called {name}", "rename one, or measure it by itself")
        found[name] = [read_clip(folder, key) for key in clip_keys(folder)]
        if not found[name]:
            raise TrajkitError(folder, "holds no clips", "give a folder that `trajkit rollout` wrote")
        for clip in found[name]:
            check(clip)
    return found


def _lines(folder: str, one: dict[str, Any]) -> list[str]:
    """A line for each clip, then the means."""
    whole = one["summary"]
    lines = [f"{row['key']}: {told(row)}" for row in one["clips"]]
    lines.append(f"{folder}: {whole['clips']} clips, {whole['failed']} failed to register")
    lines += [f"  {words}: {listed(whole[view]) or 'none'}" for view, words in WHEN.items()]
    last, again = whole["last_quarter"], whole["revisit"]
    drifts = [f"{name} {value:.2f}" for name, value in last.items() if value is not None]
    lines.append(f"  last quarter against the first: {', '.join(drifts)}")
    if again["psnr_db"] is not None:
        lines.append(f"  seen again: {again['psnr_db']:.1f} dB in {again['clips']} clips")
    if speeds := [f"{name} {value:.3g}" for name, value in whole["speed"].items() if value is not None]:
        lines.append(f"  {', '.join(speeds)} ({'; '.join(whole['timed'])})")
    return lines
