"""Options that commands share, and how they report: progress on stderr, result on stdout."""

import json
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from tqdm import tqdm

from trajkit.errors import TrajkitError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def _configure(ctx: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Lays the command's table of a TOML file, then --set, under the flags (flags win)."""
    if path is None:
        return
    try:
        with open(path, "rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError:
        raise TrajkitError(path, "no such file", "check --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrajkitError(path, f"not valid TOML ({error})", "correct the file") from None
    section = table.get(ctx.command.name or "", {})
    if not isinstance(section, dict):
        raise TrajkitError(path, f"{ctx.command.name} is not a table", f"write [{ctx.command.name}]")
    _lay(ctx, section, path)


def _assign(ctx: click.Context, parameter: click.Parameter, items: tuple[str, ...]) -> None:
    pairs = [item.partition("=") for item in items]
    for key, equals, _ in pairs:
        if not equals:
            raise TrajkitError("--set", f"{key!r} is not of the form key=value", "write --set frames=33")
    _lay(ctx, {key: value for key, _, value in pairs}, "--set")


def _lay(ctx: click.Context, values: dict[str, Any], where: str) -> None:
    import difflib

    known = {parameter.name: parameter for parameter in ctx.command.params if parameter.name}
    merged = dict(ctx.default_map or {})
    for key, value in values.items():
        name = key.removeprefix(f"{ctx.command.name}.").replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise TrajkitError(
                where, f"unknown key {key!r}", f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
            )
        merged[name] = [value] if known[name].multiple and not isinstance(value, list) else value  # type: ignore[attr-defined]
    ctx.default_map = merged


def stage_options(function: F) -> F:
    """The options of every stage command: --out --seed --workers --dry-run --json --config --set."""
    decorators = [
        click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Where to write."),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice."),
        click.option(
            "--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Worker processes."
        ),
        click.option("--dry-run", is_flag=True, help="Print the resolved options and the work list; write nothing."),
        json_option,
        click.option(
            "--config", is_eager=True, expose_value=False, callback=_configure, metavar="TOML", help="Options file."
        ),
        click.option(
            "--set",
            is_eager=True,
            expose_value=False,
            multiple=True,
            callback=_assign,
            metavar="KEY=VALUE",
            help="Override one option of the file.",
        ),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def emit(result: dict[str, Any], as_json: bool, lines: Iterable[str]) -> None:
    """The result on stdout: one JSON object, or the given lines for people."""
    if as_json:
        click.echo(json.dumps(result, indent=2, sort_keys=True, default=str))
    else:
        for line in lines:
            click.echo(line)


def progress(items: Iterable[T], *, total: int | None, unit: str) -> Iterator[T]:
    """Passes items on with a bar on stderr, or with a line every 10 s where stderr is no terminal."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, unit=unit, file=sys.stderr)
        return
    last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > 10:
            last = time.monotonic()
            click.echo(f"{number}/{total if total is not None else '?'} {unit}", err=True)
