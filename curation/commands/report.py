"""`trajkit report`: one offline page about a set of clips, and the same numbers as JSON."""

from pathlib import Path

import click

from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError


@click.command("report")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CLIPS...")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="HTML", help="The page; its numbers go beside it as .json."
)
@click.option(
    "--title", default="Clips and their poses", show_default=True, metavar="TEXT", help="Heading of the page."
)
@click.option(
    "--limit",
    type=click.IntRange(0, 1000),
    default=500,
    show_default=True,
    metavar="CLIPS",
    help="Clips in detail: the worst, the median, some at random of each reason. The numbers are always of all.",
)
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="JSON|CLIPS", help="Show changes against another report."
)
@click.option("--fail-if", "fail_if", metavar="CONDITION", help='Exit with 1 where it holds: "rejected_share > 0.2".')
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the clips drawn at random.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Threads that decode."
)
@click.option("--dry-run", is_flag=True, help="Print the numbers; write nothing.")
@json_option
def command(
    paths: tuple[Path, ...],
    out: Path | None,
    against: Path | None,
    fail_if: str | None,
    dry_run: bool,
    as_json: bool,
    **fields: object,
) -> int:
    """Tell what is in a set of clips, which poses can be believed, and why others were rejected.

    CLIPS are folders that trajkit render, score, filter or pack wrote: their ledgers give the numbers, their clips
    the pictures, their scores the evidence over time.

    \b
    trajkit report clips --out report.html
    trajkit report clips scores --out report.html --against last/report.json
    trajkit report scores --fail-if "rejected_share > 0.2 or duplicates > 0"

    Exit code 1: the condition of --fail-if holds, or the report could not be made.
    """
    from trajkit.curation.report import ReportOptions, broken, compare, gather, write

    options = ReportOptions(**fields)
    if out is None and fail_if is None and not (dry_run or as_json):
        raise TrajkitError("trajkit report", "neither --out nor --fail-if is given", "name a page: --out report.html")
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise TrajkitError(out, "does not end in .html", "name a page: --out report.html")
    report = gather(paths, options, command_line=_command_line(paths, options.limit, options.seed, against, fail_if))
    if against is not None:
        report = compare(report, against, options)
    lines = [f"{one.name} {one.value}" for one in report.headline if one.value is not None]
    if out is not None and not dry_run:
        page, numbers = write(report, out)
        lines = [str(page), str(numbers)]
    emit(report.numbers(), as_json, lines)
    failure = broken(fail_if, {one.name: one.value for one in report.headline}) if fail_if else ""
    if failure:
        click.echo(f"error: --fail-if: {failure}", err=True)
    return 1 if failure else 0


def _command_line(paths: tuple[Path, ...], limit: int, seed: int, against: Path | None, fail_if: str | None) -> str:
    """The command as the page tells it: folders by their names, since a page travels."""
    words = ["trajkit report", *(path.resolve().name for path in paths), f"--limit {limit}", f"--seed {seed}"]
    words += [f"--against {against.name}"] if against else []
    return " ".join([*words, *([f'--fail-if "{fail_if}"'] if fail_if else [])])
