"""What the package's own metadata asks for, and whether it is installed; nothing is imported."""

import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One line of the package's metadata: `name` of at least `low`, for an extra ("" = core), on this platform."""

    name: str
    extra: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    here: bool


def requirements() -> Iterable[Requirement]:
    """The package's own metadata, parsed. A checkout that is not installed has none."""
    try:
        lines = requires("trajkit") or []
    except PackageNotFoundError:
        return
    for line in lines:
        condition = line.partition(";")[2]
        extra = re.search(r"extra == ['\"]([\w-]+)", condition)
        here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}
        claims = re.findall(r"(sys_platform|platform_machine) == ['\"](\w+)", condition)
        yield Requirement(
            name=re.match(r"[\w.-]+", line)[0],  # type: ignore[index]
            extra=extra[1] if extra else "",
            low=_numbers(line, ">="),
            high=_numbers(line, "<"),
            here=all(here[key] == value for key, value in claims),
        )


def _numbers(text: str, sign: str) -> tuple[int, ...]:
    found = re.search(rf"{sign}(\d+(?:\.\d+)*)", text.partition(";")[0])
    return tuple(map(int, found[1].split("."))) if found else ()


def unmet(wanted: Requirement) -> str:
    """Why a requirement is not met by what is installed, "" if it is."""
    try:
        installed = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    numbers = tuple(map(int, re.findall(r"\d+", installed)))
    if numbers < wanted.low:
        return f"{wanted.name} {installed} is older than {'.'.join(map(str, wanted.low))}"
    if wanted.high and numbers >= wanted.high:
        return f"{wanted.name} {installed} is not older than {'.'.join(map(str, wanted.high))}"
    return ""
