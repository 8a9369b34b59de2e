"""`trajkit doctor`."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from trajkit.commands._common import emit, json_option

if TYPE_CHECKING:
    from trajkit.doctor import Check

MARKS = {"ok": ("ok", "green"), "absent": ("no", "yellow"), "broken": ("!!", "red")}


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Say what this machine can and cannot run.

    Each library is tried in a process of its own. "no": not installed, or not in this machine. "!!": installed, but
    it does not work. Exits with 1 only where a core dependency is missing or broken.

    \b
    trajkit doctor
    trajkit doctor --json
    """
    from trajkit.doctor import examine

    if sys.stderr.isatty():
        click.echo("trying each library in a process of its own ...", err=True)
    checks = examine()
    sick = any(check.area == "core" and check.state != "ok" for check in checks)
    emit({"ok": not sick, "checks": list(map(asdict, checks))}, as_json, _lines(checks))
    return 1 if sick else 0


def _lines(checks: "list[Check]") -> Iterator[str]:
    width = max(len(check.name) for check in checks)
    area = ""
    for check in checks:
        if check.area != area:
            yield from ([""] if area else [])
            area = check.area
            yield click.style(area, bold=True)
        mark, colour = MARKS[check.state]
        yield f"  {click.style(mark, fg=colour)}  {check.name:{width}}  {check.found}"
        if check.remedy:
            yield f"      {'':{width}}  {click.style('-> ' + check.remedy, fg=colour)}"
