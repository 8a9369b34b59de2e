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

from trajkit.errors import TrajkitError, nearest
from trajkit.files import write_bytes
from trajkit.work import EXECUTORS

# What does not shape the result; a resolved copy leaves it out, so that it is the same wherever it was made.
UNRESOLVED = {"out", "executor", "gpus", "device", "workers", "dry_run", "as_json", "folders"}
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
    _lay(ctx, section, path, over=False)


def _assign(ctx: click.Context, parameter: click.Parameter, items: tuple[str, ...]) -> None:
    pairs = [item.partition("=") for item in items]
    for key, equals, _ in pairs:
        if not equals:
            raise TrajkitError("--set", f"{key!r} is not of the form key=value", "write --set frames=33")
    _lay(ctx, {key: value for key, _, value in pairs}, "--set", over=True)


def _lay(ctx: click.Context, values: dict[str, Any], where: str, *, over: bool) -> None:
    """Adds to the defaults that click falls back on, over or under those already laid (--set wins in any order)."""
    known = {parameter.name: parameter for parameter in ctx.command.params if parameter.name}
    laid: dict[str, Any] = {}
    for key, value in values.items():
        name = key.removeprefix(f"{ctx.command.name}.").replace("-", "_")
        if name not in known:
            raise TrajkitError(where, f"unknown key {key!r}", nearest(name, known))
        laid[name] = [value] if known[name].multiple and not isinstance(value, list) else value
    before = dict(ctx.default_map or {})
    ctx.default_map = before | laid if over else laid | before


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


class _Size(click.ParamType):
    """WIDTHxHEIGHT in pixels."""

    name = "WxH"

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        width, cross, height = str(value).lower().partition("x")
        if not (
            cross and width.isdecimal() and height.isdecimal() and 0 < int(width) <= 8192 and 0 < int(height) <= 8192
        ):
            self.fail(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 832x480", parameter, ctx)
        return int(width), int(height)


def size_option(default: str) -> Callable[[F], F]:
    """--size WxH, as a (width, height) tuple called `size`."""
    return click.option(
        "--size", type=_Size(), default=default, show_default=True, metavar="WxH", help="Picture size in pixels."
    )


def keep_resolved(out: Path) -> None:
    """Saves the command's resolved options as out/<command>.toml, which --config reads back."""
    ctx = click.get_current_context()
    kept = {name: value for name, value in ctx.params.items() if name not in UNRESOLVED and value is not None}
    lines = [f"{name} = {_toml(value)}" for name, value in sorted(kept.items())]
    write_bytes(out / f"{ctx.command.name}.toml", "\n".join([f"[{ctx.command.name}]", *lines, ""]).encode())


def _toml(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, float) for end in value):
        return json.dumps("..".join(map(str, value)))
    if isinstance(value, tuple) and len(value) == 3 and all(isinstance(channel, int) for channel in value):
        return json.dumps("#" + bytes(value).hex())
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return json.dumps("x".join(map(str, value)))
    return json.dumps(list(map(str, value)) if isinstance(value, tuple) else value if _plain(value) else str(value))


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


executor_option = click.option(
    "--executor",
    type=click.Choice(EXECUTORS),
    default="local",
    show_default=True,
    help="Workers are processes here, or on a Ray cluster (RAY_ADDRESS, else one started here) that shares --out.",
)
gpus_option = click.option(
    "--gpus", type=click.FloatRange(0), default=0.0, show_default=True, metavar="N", help="GPUs of each Ray worker."
)
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


def watch(items: Iterable[T], total: int, unit: str) -> Iterable[T]:
    """`progress` in the form that library functions take."""
    return progress(items, total=total, unit=unit)
