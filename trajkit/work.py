"""One function over many items: in this process, in a pool of processes that outlives a death, or on a Ray cluster."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, TypeVar

from trajkit.errors import TrajkitError, nearest

T = TypeVar("T")
R = TypeVar("R")
EXECUTORS = ("local", "ray")
# Work is shared out among processes. BLAS threads on top wait for each other in loops: where other processes held the
# cores, two workers spent fifteen minutes in matrix products that take milliseconds.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
AHEAD = 4  # results held back per worker while an earlier item is still running


def run(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int = 1,
    *,
    name: Callable[[T], str] = str,
    executor: str = "local",
    gpus: float = 0.0,
) -> Generator[R | TrajkitError, None, None]:
    """For each item, in order, what function(item) returned, or the TrajkitError that it ended with.

    With one local worker the function runs in this process. With more, it and the items are pickled to `workers`
    processes; when one of them dies (killed, out of memory, a crash in native code) its item's result is a
    TrajkitError that starts with name(item), and the other items go on. Any other exception of the function is a
    defect: it is raised. An OSError, such as a full disk, counts as a TrajkitError. Closing the iterator ends the
    processes. Items are pulled as they are needed.

    Executor "ray" does the same on a Ray cluster (see `trajkit.work_ray`), where an item whose worker died is first
    tried again; each worker holds `gpus` GPUs there, a share of one if below 1. The local one ignores `gpus`: its
    processes see them all. Raises TrajkitError for an unknown executor and where Ray is not installed.
    """
    if executor == "local":
        return _run_here(function, items, workers, name)
    if executor != "ray":
        raise TrajkitError("--executor", f"unknown executor {executor!r}", nearest(executor, EXECUTORS))
    from trajkit import work_ray

    return work_ray.run(function, items, workers, name=name, gpus=gpus)


def _run_here(
    function: Callable[[T], R], items: Iterable[T], workers: int, name: Callable[[T], str]
) -> Generator[R | TrajkitError, None, None]:
    if workers == 1:
        for item in items:
            yield attempt(function, item)
        return
    pool = _Pool(function, workers)
    try:
        yield from pool.results(enumerate(items), name)
    finally:
        pool.end()


def attempt(function: Callable[[T], R], item: T) -> R | TrajkitError:
    """What function(item) returned, or the error of the item's own that it ended with."""
    try:
        return function(item)
    except TrajkitError as error:
        return error
    except OSError as error:
        where = error.filename or "file system"
        return TrajkitError(where, error.strerror or str(error), "free space or correct the path")


class _Task(NamedTuple):
    process: BaseProcess
    position: int
    label: str


class _Pool:
    """Processes that each hold one item at a time, so that a death names its item."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        # a fork of this process would copy its threads' locks and its CUDA context
        self.context = multiprocessing.get_context("forkserver")
        self.function, self.workers = function, workers
        self.idle: list[tuple[Connection, BaseProcess]] = []
        self.busy: dict[Connection, _Task] = {}

    def results(self, numbered: Iterator[tuple[int, T]], name: Callable[[T], str]) -> Iterator[Any]:
        """Results in the items' order; at most AHEAD * workers items are begun beyond the one awaited."""
        done: dict[int, Any] = {}
        awaited, exhausted = 0, False
        while True:
            while not exhausted and len(self.busy) < self.workers:
                if len(done) + len(self.busy) >= AHEAD * self.workers:
                    break
                numbered_item = next(numbered, None)
                if numbered_item is None:
                    exhausted = True
                    break
                self._begin(*numbered_item, name(numbered_item[1]))
            if not self.busy:
                return
            for connection in wait(list(self.busy)):
                position, result = self._finish(connection)  # type: ignore[arg-type]
                done[position] = result
            while awaited in done:
                yield done.pop(awaited)
                awaited += 1

    def _begin(self, position: int, item: Any, label: str) -> None:
        connection, process = self.idle.pop() if self.idle else self._start()
        self.busy[connection] = _Task(process, position, label)
        with contextlib.suppress(BrokenPipeError):  # it died while idle: wait() tells
            connection.send(item)

    def _start(self) -> tuple[Connection, BaseProcess]:
        ours, theirs = self.context.Pipe()
        packed = bytes(ForkingPickler.dumps(self.function))
        process = self.context.Process(target=_serve, args=(theirs, packed), daemon=True)
        process.start()
        theirs.close()  # so that its death ends the pipe
        return ours, process

    def _finish(self, connection: Connection) -> tuple[int, Any]:
        task = self.busy.pop(connection)
        try:
            defect, result = connection.recv()
        except (EOFError, ConnectionResetError):
            task.process.join()
            connection.close()
            code = task.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            remedy = "if memory ran out take fewer --workers; run the same command again to go on"
            return task.position, TrajkitError(task.label, f"its worker process died ({how})", remedy)
        self.idle.append((connection, task.process))
        if defect:
            raise RuntimeError(f"worker failed on {task.label}\n{result}")
        return task.position, result

    def end(self) -> None:
        """Ends every process, also in the middle of an item: outputs are whole or absent."""
        held = [*self.idle, *((connection, task.process) for connection, task in self.busy.items())]
        for _, process in held:
            process.kill()
        for connection, process in held:
            process.join()
            connection.close()


def _serve(connection: Connection, packed: bytes) -> None:
    """A worker's life: items in, (defect?, result or traceback) out, until the pipe or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    for name in ONE_THREAD:  # before NumPy comes in with the function
        os.environ.setdefault(name, "1")
    function = ForkingPickler.loads(packed)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            message = ForkingPickler.dumps((False, attempt(function, item)))
        except Exception:
            message = ForkingPickler.dumps((True, traceback.format_exc()))
        connection.send_bytes(message)


def _end_with_parent() -> None:
    """Ends this process when its parent is gone (kill -9), lest an orphan write beside the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
