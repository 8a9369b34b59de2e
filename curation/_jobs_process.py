"""Runs a generator's command: a list of arguments, never a shell, in a session that ends with this process."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from . import _jobs_guard

LOG_TAIL_BYTES = 2000
POLL_S = 0.05


def run_command(
    command: Sequence[str],
    log: Path,
    *,
    folder: Path,
    environment: dict[str, str],
    timeout_s: float,
    stop: threading.Event,
) -> str:
    """Runs the command in `folder`; returns "" or why it failed. All it prints goes to the file `log`."""
    guard = [sys.executable, "-I", "-S", _jobs_guard.__file__, *command]
    log.unlink(missing_ok=True)  # never through a link
    with open(log, "xb") as stream:
        process = subprocess.Popen(
            guard,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    end = time.monotonic() + timeout_s
    try:
        while process.poll() is None and time.monotonic() < end and not stop.is_set():
            time.sleep(POLL_S)
        late = process.poll() is None
    finally:
        assert process.stdin
        process.stdin.close()  # the guard ends whatever still runs
        process.wait()
    if late:
        return "was stopped" if stop.is_set() else f"was ended after {timeout_s:g} s, the limit"
    return "" if process.returncode == 0 else f"ended with code {process.returncode}{_last_line(log)}"


def _last_line(log: Path) -> str:
    """What it said last, for a one-line report."""
    with open(log, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_TAIL_BYTES))
        lines = stream.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    shown = "".join(letter for letter in said[-1][:200] if letter.isprintable()) if said else ""
    return f" ({shown})" if shown else ""
