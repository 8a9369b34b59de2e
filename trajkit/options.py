"""Options are frozen dataclasses: defaults, units, help and errors all come from the fields.

A spec is `name`, `name:key=value,key=value`, or, for options with a field called `program`, `name:PROGRAM;key=value`,
where a program that holds semicolons stands in brackets: `name:(PROGRAM);key=value`.
A field made by `option(default, "help", unit="...")` can be set from text; any other field only by code.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from trajkit.errors import TrajkitError

T = TypeVar("T")


def option(default: Any, help: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field that users can set, with its help line, unit and inclusive range."""
    metadata = {"help": help, "unit": unit, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


def settable(cls: type) -> dict[str, dataclasses.Field]:
    """The fields that users can set, by name."""
    return {field.name: field for field in dataclasses.fields(cls) if "help" in field.metadata}


def split_spec(spec: str) -> tuple[str, str]:
    """("name", "rest") of `name:rest`."""
    name, _, rest = spec.partition(":")
    return name, rest


def parse(cls: type[T], text: str, *, where: str, **fixed: Any) -> T:
    """Options from the text after the plugin's name; `fixed` fields come from code.

    Raises TrajkitError, naming `where`, for an unknown key (with the nearest one) or a value that does not fit.
    """
    values: dict[str, str] = {}
    if "program" in settable(cls):
        head, text = _split_program(text, where)
        if head:
            values["program"] = head
    for item in (item.strip() for part in text.split(";") for item in part.split(",")):
        if not item:
            continue
        key, equals, value = item.partition("=")
        if not equals:
            raise TrajkitError(where, f"{item!r} is not of the form key=value", f"keys are {_keys(cls)}")
        if key.strip() in values:
            raise TrajkitError(where, f"{key.strip()!r} is given twice", "keep one")
        values[key.strip()] = value.strip()
    return build(cls, values, where=where, **fixed)


def build(cls: type[T], values: Mapping[str, object], *, where: str, **fixed: Any) -> T:
    """Options from a mapping of texts or TOML values; same errors as `parse`."""
    fields, hints = settable(cls), typing.get_type_hints(cls)
    converted: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"keys are {_keys(cls)}"
            raise TrajkitError(where, f"unknown option {key!r}", remedy)
        converted[name] = _convert(value, hints[name], fields[name], f"{where}: {key}")
    return cls(**converted, **fixed)


def as_dict(options: Any) -> dict[str, Any]:
    """The settable fields and their values, for provenance and the resolved copy."""
    return {name: getattr(options, name) for name in settable(type(options))}


def _split_program(text: str, where: str) -> tuple[str, str]:
    """(program, options): the program ends at the first semicolon, or at the bracket that closes its first one."""
    if not text.startswith("("):
        program, _, rest = text.partition(";")
        return program, rest
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[1:index], text[index + 1 :]
    raise TrajkitError(where, f"the bracket of {text!r} is never closed", "add a ) after the program")


def _keys(cls: type) -> str:
    return ", ".join(settable(cls)) or "none: this plugin takes no options"


def _convert(value: object, hint: Any, field: dataclasses.Field, where: str) -> Any:
    """`value` as the field's type. Unions take the first member that accepts it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value in (None, "none") and type(None) in typing.get_args(hint):
            return None
        hint = next(member for member in typing.get_args(hint) if member is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            choices = ", ".join(map(str, typing.get_args(hint)))
            raise TrajkitError(where, f"{value!r} is not a choice", f"use one of {choices}")
        return value
    try:
        if hint is bool:
            result: Any = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                str(value).lower()
            ]
        elif hint in (int, float) and not isinstance(value, bool):
            result = hint(str(value))
        elif hint is str:
            result = str(value)
        else:
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise TrajkitError(where, f"{value!r} is not {_kind(hint)}", f"the default is {field.default}") from None
    low, high = field.metadata["low"], field.metadata["high"]
    if hint in (int, float) and not ((low is None or result >= low) and (high is None or result <= high)):
        bounds = f"{'-inf' if low is None else low} .. {'inf' if high is None else high}"
        raise TrajkitError(where, f"{result} is out of range", f"stay within {bounds}")
    return result


def _kind(hint: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(hint, str(hint))
