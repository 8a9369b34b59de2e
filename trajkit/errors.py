"""The one error that a user can cause, and how it reads."""

from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str:
    """The remedy for a name that is none of the choices: the one that is nearest, or all of them."""
    import difflib

    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(choices)}"


class TrajkitError(Exception):
    """Bad input, told in one line: the file or flag, what is wrong with it, and the remedy.

    The command line prints it without a traceback and exits with 1. `item` counts the element at fault, where one is
    (the pose of a trajectory, say), so that a reader can name the file's own line or frame instead.
    """

    def __init__(self, where: object, problem: str, remedy: str, *, item: int | None = None) -> None:
        self.where, self.problem, self.remedy, self.item = str(where), problem, remedy, item
        super().__init__(" ".join(f"{where}: {problem}; {remedy}".split()))

    def __reduce__(self) -> tuple:  # exceptions cross process borders by re-construction
        return type(self), (self.where, self.problem, self.remedy), {"item": self.item}
