"""`trajkit demo`."""

import contextlib
import sys
from pathlib import Path

import click

from trajkit.cli import group
from trajkit.commands._common import emit, json_option
from trajkit.demo import demo


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="demo",
    show_default=True,
    metavar="FOLDER",
    help="Where to write.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def command(out: Path, seed: int, as_json: bool) -> None:
    """Run the whole pipeline on the built-in scene: a CPU, no download, a few minutes.

    \b
    trajkit demo --out demo
    """
    places = demo(out, seed=seed, say=_say)
    _say("6/7 scoring the poses of the clips by their pixels")
    _run("score", places.clips, "--out", places.clips)
    report = out / "report.html"
    _say("7/7 writing the report")
    _run("report", places.clips, "--out", report)
    result = {name: str(getattr(places, name)) for name in ("capture", "clips", "shards")}
    result["page"], result["sheet"] = str(places.page / "index.html"), str(places.page / "contact_sheet.png")
    result["report"] = str(report)
    emit(result, as_json, [f"{name:8}{path}" for name, path in result.items()])


def _say(line: str) -> None:
    click.echo(line, err=True)


def _run(*arguments: object) -> None:
    """Another command of the table; what it prints goes to stderr, since stdout holds the demo's own result.

    A clip that is not accepted is no failure: splats of 30 photos are soft, and the score may say so.
    """
    with contextlib.redirect_stdout(sys.stderr):
        group.main([str(one) for one in arguments], prog_name="trajkit", standalone_mode=False)
