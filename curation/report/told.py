"""Numbers as people read them."""

import math


def told(value: object, unit: str = "") -> str:
    """Three significant digits, thousands set off by a thin space; "-" for None."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{_number(value)} {unit}".rstrip()


def _number(value: int | float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1000 and abs(value) < 1e12):
        return f"{round(value):,}".replace(",", "\u202f")
    return f"{value:.3g}"


def share(part: int, whole: int) -> str:
    """Such as "25 %"; "-" of nothing."""
    return "–" if not whole else f"{100 * part / whole:.3g}\u202f%"


def counted(number: int, word: str) -> str:
    """ "1 clip", "2 clips", with thousands set off."""
    return f"{told(number)} {word}{'' if number == 1 else 's'}"
