"""Kills a real trajkit process: at a moment in time, before its n-th write step, or at the n-th byte of a file.

`Kitchen` starts processes from a warm one (fork), so that a test can afford hundreds; `run_and_kill` starts a cold one.
"""

import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.truncate", "os.link", "os.symlink"}


def environment() -> dict[str, str]:
    """One that finds this checkout and writes nothing beside it."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


def trajkit(*arguments: object) -> list[str]:
    """The command that runs trajkit with these arguments."""
    return [sys.executable, "-m", "trajkit", *map(str, arguments)]


def run_to_end(command: list[str]) -> float:
    """Seconds that it took. Raises AssertionError with what it said on stderr unless it succeeds."""
    start = time.monotonic()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}: {done.stderr}")
    return time.monotonic() - start


def run_and_kill(command: list[str], moment: float | Path) -> bool:
    """Whether the process was still running `moment` seconds after its start, or when that file appeared.

    Then it gets SIGKILL, but its workers do not.
    """
    start = time.monotonic()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if moment.exists() if isinstance(moment, Path) else time.monotonic() - start > moment:
                process.kill()
                break
            time.sleep(0.001)
    return was_killed(process.returncode)


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under the folder, by its path in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def was_killed(code: int) -> bool:
    """Whether an exit code is that of a kill; 0 is none. Raises AssertionError for any other."""
    if code not in (0, -signal.SIGKILL, -signal.SIGXFSZ):
        raise AssertionError(f"exit code {code}")
    return code != 0


class Kitchen:
    """A process that imports the module, runs trajkit once with `warm_up`, and then forks a child for each command.

    Use as a context manager. The warm-up must start no threads: a dry run, for one.
    """

    def __init__(self, module: str, *warm_up: object) -> None:
        command = [sys.executable, __file__, module, *map(str, warm_up)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> "Kitchen":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(self, *arguments: object) -> float:
        """Seconds that the command took to its end. Raises AssertionError unless it succeeds."""
        start = time.monotonic()
        self._start(arguments)
        if self._end():
            raise AssertionError("killed by another")
        return time.monotonic() - start

    def kill_after(self, moment_s: float, *arguments: object) -> bool:
        """Whether the command was still running after moment_s seconds, and so was killed."""
        process_id = self._start(arguments)
        time.sleep(moment_s)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
        return self._end()

    def kill_at_step(self, folder: Path, number: int, *arguments: object) -> bool:
        """Whether the command got to its write step `number` inside the folder, and died before it."""
        self._start(arguments, step=[str(folder), number])
        return self._end()

    def kill_at_byte(self, number: int, *arguments: object) -> bool:
        """Whether the command died when a file of its grew beyond so many bytes, which are written."""
        self._start(arguments, byte=number)
        return self._end()

    def _start(self, arguments: tuple[object, ...], **kill: Any) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"arguments": [*map(str, arguments)], **kill}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def _end(self) -> bool:
        assert self.process.stdout
        return was_killed(int(self.process.stdout.readline()))


def _serve(module: str, *warm_up: str) -> None:
    __import__(module)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    if _exit_code(list(warm_up)):
        raise SystemExit("the warm-up failed")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            os.dup2(1, 0)
            arm(request)
            os._exit(_exit_code(request["arguments"]))
        answers.write(f"{child}\n")
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _exit_code(arguments: list[str]) -> int:
    from trajkit.cli import main

    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 70


def arm(request: dict[str, Any]) -> None:
    """Makes this process die at {"step": [folder, number]} or {"byte": number}, if either is given."""
    os.fsync = lambda descriptor: None  # kill -9 loses no page that was written; waiting for the disk tests nothing
    if "step" in request:
        _die_before_step(*request["step"])
    if "byte" in request:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["byte"], request["byte"]))


def _die_before_step(folder: str, number: int) -> None:
    """From now on this process counts what it does to files in the folder, fsync included, and dies before one."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        opens_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (opens_to_write or event in WRITES) and str(arguments[0]).startswith(folder):
            step()

    sys.addaudithook(hook)
    os.fsync = lambda descriptor: step()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
