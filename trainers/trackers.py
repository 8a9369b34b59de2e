"""Where a run's figures go: RUN/log.jsonl always, and a tracker that `--track` names."""

import importlib.util
import json
from pathlib import Path
from typing import IO, Any

from trajkit import files
from trajkit.errors import TrajkitError

LOG = "log.jsonl"
TRACKERS = ("none", "tensorboard", "wandb", "trackio")


def check(name: str) -> None:
    """Raises TrajkitError where the tracker's package is not installed."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise TrajkitError(f"--track {name}", "its package is not installed", f"pip install {name}")


class Log:
    """One JSON object a line, and the same figures to the tracker; a context manager.

    A resumed run first drops the lines after its checkpoint, so that each step is there once. Only the process that
    `writes` does anything.
    """

    def __init__(self, run: Path, step: int, track: str = "none", *, writes: bool = True) -> None:
        self.stream: IO[str] | None = None
        self.tracker = _tracker(track, run) if writes else None
        if writes:
            path = run / LOG
            files.write_bytes(path, "".join(_lines_until(path, step)).encode())
            self.stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.close()
        if self.tracker is not None:
            self.tracker.finish()

    def write(self, step: int, figures: dict[str, float]) -> None:
        """The figures of the steps up to `step`."""
        if self.stream is not None:
            self.stream.write(json.dumps({"step": step, **figures}, sort_keys=True) + "\n")
            self.stream.flush()
        if self.tracker is not None:
            self.tracker.log(figures, step=step)


def _lines_until(path: Path, step: int) -> list[str]:
    """The whole lines of a log that belong to the first `step` steps."""
    kept = []
    for line in files.read_text(path).splitlines(keepends=True) if path.exists() else []:
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # torn by a kill
    return kept


def _tracker(name: str, run: Path) -> Any:
    if name == "none":
        return None
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    told = (name, run) if name == "tensorboard" else (run.resolve().name,)
    made: Any = LOGGER_TYPE_TO_CLASS[name](*told)
    made.start()
    return made
