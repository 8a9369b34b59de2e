"""What the adapters of programs under torchrun share."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trajkit.errors import TrajkitError


def output(folder: Path) -> Path:
    """Where the program writes the video of a job."""
    return folder / "making" / "gen.mp4"


def place(options: Any) -> Path:
    """The checkout, which is the folder that the program runs in."""
    return Path(options.repository).resolve()


def launch(options: Any, script: Path, values: Mapping[str, object]) -> list[str]:
    """The script under torchrun. Each value is joined to its flag, so that no caption passes for a flag."""
    # standalone: a free port, so that several run beside each other
    start = [options.launcher, "--standalone", f"--nproc_per_node={options.nproc}", str(script)]
    return [*start, *(f"--{name}={value}" for name, value in values.items())]


def existing(option: str, path: str | Path, generator: str) -> Path:
    """The absolute path that an option names. Raises TrajkitError unless it is there."""
    if not Path(path).exists():
        raise TrajkitError(path, "no such file or folder", f"give {option}=PATH: {generator} needs it")
    return Path(path).resolve()


def commit(repository: Path) -> str:
    """The commit of a checkout, with -dirty where files differ from it; "unknown" for a folder without git."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"
