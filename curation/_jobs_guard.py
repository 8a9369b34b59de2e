"""A program: runs a command in a session of its own, and ends all that it started when stdin ends.

Whoever started this holds the other end of stdin: when he closes it (a timeout) or is killed, nothing of the command
is left, neither a process that holds a GPU nor one that writes beside the next attempt. Exits with the command's code.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    """Adopts what loses its parent, since torchrun's workers have sessions of their own; those end last."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def end_with_stdin() -> None:
        os.read(0, 1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)

    threading.Thread(target=end_with_stdin, daemon=True).start()
    code = command.wait()
    while left := children():
        for process in left:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return code if code >= 0 else 128 - code


def children() -> list[int]:
    """Processes whose parent is this one."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parent = place.read_text(errors="replace").rpartition(")")[2].split()[1]
            found += [int(place.parent.name)] * (int(parent) == os.getpid())
    return found


if __name__ == "__main__":
    sys.exit(main())
