"""`trajkit plugins`."""

from collections.abc import Iterator
from typing import Any

import click

from trajkit import options, plugins
from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError, nearest


@click.command("plugins")
@click.argument("kind", required=False, metavar="[KIND]")
@click.argument("name", required=False, metavar="[NAME]")
@json_option
def command(kind: str | None, name: str | None, as_json: bool) -> None:
    """List plugins and what they need, or the options of one.

    KIND is scenes, poses, paths, renderers or readers. NAME is one plugin, also as package.module.

    \b
    trajkit plugins
    trajkit plugins paths orbit
    """
    kinds = [_kind(kind)] if kind else list(plugins.KINDS)
    rows = [_row(one) for each in kinds for one in plugins.survey(each) if name in (None, one.name)]
    if kind and name and not rows:
        plugins.load(kind, name)  # a dotted name, or an error that names the nearest
        rows = [_row(plugins.Plugin(kind=kind, name=name, module=name))]
    if name and rows[0]["missing"]:
        problem, _, remedy = rows[0]["missing"].rpartition("; ")
        raise TrajkitError(f"{kind} {name}", problem, remedy)
    emit({"plugins": rows}, as_json, _lines(rows, full=bool(kind)))


def _kind(kind: str) -> str:
    if kind not in plugins.KINDS:
        raise TrajkitError(f"KIND {kind!r}", "no such kind of plugin", nearest(kind, plugins.KINDS))
    return kind


def _row(plugin: plugins.Plugin) -> dict[str, Any]:
    """One plugin as --json prints it, with the options that users can set."""
    row: dict[str, Any] = {
        "kind": plugin.kind,
        "name": plugin.name,
        "summary": plugin.summary,
        "missing": plugin.missing,
        "defines": [],
        "options": [],
    }
    if plugin.missing:
        return row
    module = plugins.load(plugin.kind, plugin.name)
    row["summary"] = (module.__doc__ or "").strip().split("\n")[0]
    wanted = [name for names in plugins.KINDS[plugin.kind][1] for name in names.split("|")]
    row["defines"] = [name for name in wanted if hasattr(module, name)]
    for key, field in options.settable(module.Options).items() if hasattr(module, "Options") else ():
        row["options"].append(
            {"name": key, "default": field.default, "unit": field.metadata["unit"], "help": field.metadata["help"]}
        )
    return row


def _lines(rows: list[dict[str, Any]], *, full: bool) -> Iterator[str]:
    """A table by kind: name and first line, then the options, one a line where a kind was asked for."""
    kind = ""
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        if row["kind"] != kind:
            yield from ([""] if kind else [])
            kind = row["kind"]
            yield click.style(kind, bold=True)
        if row["missing"]:
            yield f"  {row['name']:{width}}  " + click.style(f"unavailable: {row['missing']}", fg="yellow")
            continue
        abilities = f" ({' and '.join(row['defines'])})" if kind == "poses" else ""  # not every format does both
        yield f"  {row['name']:{width}}  {row['summary']}{abilities}"
        settings = [
            (f"{one['name']}={'none' if one['default'] is None else one['default']}", one["unit"], one["help"])
            for one in row["options"]
        ]
        if full:
            room = max((len(f"{setting} {unit}") for setting, unit, _ in settings), default=0)
            for setting, unit, help in settings:
                yield f"  {'':{width}}    {f'{setting} {unit}'.strip():{room}}  {help}"
        elif settings:
            line = ", ".join(f"{setting} {unit}".strip() for setting, unit, _ in settings)
            yield f"  {'':{width}}  {click.style(line, dim=True)}"
