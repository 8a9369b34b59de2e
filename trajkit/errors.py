"""The one error that a user can cause, and how it reads."""


class TrajkitError(Exception):
    """Bad input, told in one line: the file or flag, what is wrong with it, and the remedy.

    The command line prints it without a traceback and exits with 1.
    """

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(" ".join(f"{where}: {problem}; {remedy}".split()))

    def __reduce__(self) -> tuple:  # exceptions cross process borders by re-construction
        return type(self), (self.where, self.problem, self.remedy)
