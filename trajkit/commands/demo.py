"""`trajkit demo`."""

from pathlib import Path

import click

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
    places = demo(out, seed=seed, say=lambda line: click.echo(line, err=True))
    result = {name: str(getattr(places, name)) for name in ("capture", "clips", "shards")}
    result["page"], result["sheet"] = str(places.page / "index.html"), str(places.page / "contact_sheet.png")
    emit(result, as_json, [f"{name:8}{path}" for name, path in result.items()])
