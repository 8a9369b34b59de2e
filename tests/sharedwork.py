"""What one session of tests does once, however many workers it has: compiling kernels and painting toy rooms.

Both cost seconds and are functions of their input alone. Programs that a test starts share nothing.
"""

import contextlib
import fcntl
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def shared(folder: Path, worker: bool) -> Iterator[None]:
    """While inside, this process finds in the folder what another worker made, or makes it for all."""
    if worker and "numba" in sys.modules:
        _compile_in_turn(folder / "compiling")
    if "trajkit.toy_world" in sys.modules:
        _paint_once(folder)
    yield
    for path in folder.glob("room-*.npz"):  # 30 MB each; a worker that still needs one paints it again
        with _alone(path.with_suffix(".lock")):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While inside, no other process is inside with the same file."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile_in_turn(lock: Path) -> None:
    """Kernels are kept beside their source (cache=True): who waits for its turn loads what was compiled meanwhile."""
    from numba.core.dispatcher import Dispatcher

    compile_one, inside = Dispatcher.compile, []

    def compile_alone(self: Any, signature: Any) -> Any:
        if inside:  # a kernel that another one calls
            return compile_one(self, signature)
        with _alone(lock):
            inside.append(signature)
            try:
                return compile_one(self, signature)
            finally:
                inside.pop()

    Dispatcher.compile = compile_alone


def _paint_once(folder: Path) -> None:
    """A room's paint is read back from the folder; `toy_world.World.painted.func` still paints."""
    from trajkit.toy_world import World, paint

    World.painted.func = _kept(World.painted.func, folder, paint.Paint)


def _kept(painted: Callable, folder: Path, kind: type) -> Callable:
    @functools.wraps(painted)
    def kept(world: Any) -> Any:
        name = hashlib.sha256(repr(world).encode()).hexdigest()[:16]
        path = folder / f"room-{name}.npz"
        with _alone(folder / f"room-{name}.lock"):
            if not path.exists():
                made = painted(world)
                np.savez(path, **made._asdict())
                return made
        with np.load(path, allow_pickle=False) as arrays:
            return kind(**arrays)

    return kept
