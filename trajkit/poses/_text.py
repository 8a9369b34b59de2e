"""Tables of numbers in text files, with the line each row came from."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from trajkit.errors import TrajkitError
from trajkit.files import read_text

PEEK_BYTES = 4096


def lines(path: Path) -> list[tuple[int, str]]:
    """(line number from 1, text) of each line that is neither empty nor a # comment. Raises TrajkitError if none is."""
    found = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    found = [(number, line) for number, line in found if line and not line.startswith("#")]
    if not found:
        raise TrajkitError(path, "empty", "restore the file or write it again")
    return found


def table(
    path: Path, rows: Iterable[tuple[int, str]], columns: int, meaning: str
) -> tuple[Float64[np.ndarray, "n k"], list[int]]:
    """The numbers of the rows and their line numbers; columns are parted by blanks.

    Raises TrajkitError, naming the line, for another column count or for what is not a number.
    """
    values, numbers = [], []
    for number, line in rows:
        cells = line.split()
        if len(cells) != columns:
            remedy = f"write {columns} columns parted by blanks: {meaning}"
            raise TrajkitError(f"{path}, line {number}", f"{len(cells)} columns, not {columns}", remedy)
        try:
            values.append([float(cell) for cell in cells])
        except ValueError as error:
            raise TrajkitError(f"{path}, line {number}", str(error), f"write numbers: {meaning}") from None
        numbers.append(number)
    if not values:
        raise TrajkitError(path, "holds no poses", "restore the file or write it again")
    return np.array(values), numbers


def peek(path: Path) -> list[str]:
    """The first lines of a text file that are neither empty nor comments; [] for anything else."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(PEEK_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    found = [line.strip() for line in head.splitlines()]
    return [line for line in found if line and not line.startswith("#")]


def number_count(line: str) -> int:
    """How many numbers a line consists of, or 0 if anything else stands in it."""
    try:
        return len([float(cell) for cell in line.split()])
    except ValueError:
        return 0


def text(rows: Iterable[Iterable[float]]) -> bytes:
    """One line per row: the shortest decimals that read back as the same float64, parted by single blanks."""
    return "".join(" ".join(repr(float(value) + 0.0) for value in row) + "\n" for row in rows).encode()  # no -0.0
