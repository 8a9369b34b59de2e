"""The Ray executor: the same items, answers and order as the local one, by workers on any machine of a cluster."""

import itertools
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from trajkit.errors import TrajkitError
from trajkit.work import AHEAD, attempt

T = TypeVar("T")
R = TypeVar("R")
LIVES = 3  # times that an item is begun before its workers' deaths are its own fault
STORE_BYTES = 128 * 2**20  # of a cluster started here: only items and results pass through it, pictures go by disk


def run(
    function: Callable[[T], R], items: Iterable[T], workers: int, *, name: Callable[[T], str], gpus: float
) -> Generator[R | TrajkitError, None, None]:
    """What `work.run` promises, by at most `workers` Ray workers of one CPU and `gpus` GPUs each.

    Joins the cluster that RAY_ADDRESS names, else starts one here, which ends with the last iterator open. Iterators
    that are open at the same time share their workers; they belong to one thread. An item whose worker is lost is
    begun again, LIVES times in all. Raises TrajkitError at once where Ray is not installed.
    """
    ray = _library()
    return _results(ray, _Errand(function, enumerate(items), workers, name=name, gpus=gpus))


def _results(ray: ModuleType, errand: "_Errand") -> Generator[Any, None, None]:
    try:
        while errand.pull() or not errand.finished():
            crew = _hired(ray, errand)
            while errand.pull() and crew.take(errand):
                pass
            if errand.awaited in errand.done:
                yield errand.done.pop(errand.awaited)
                errand.awaited += 1
            else:
                crew.wait()
            if errand.defect:
                raise RuntimeError(errand.defect)
    finally:
        _dismiss(errand)


def _library() -> ModuleType:
    # Ray reads both when it is imported. What it would report of lost workers goes to stdout, where results go.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError:
        raise TrajkitError("--executor ray", "needs ray, not installed", "pip install trajkit[ray]") from None
    return ray


@dataclass(slots=True)
class _Task:
    errand: "_Errand"
    position: int
    item: Any
    label: str
    lives: int = LIVES


class _Errand:
    """One call of `run`: what is still to be begun, and what was answered and not yet asked for."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        numbered: Iterator[tuple[int, Any]],
        workers: int,
        *,
        name: Callable[[Any], str],
        gpus: float,
    ) -> None:
        self.function, self.numbered, self.workers, self.name, self.gpus = function, numbered, workers, name, gpus
        self.shipped: Any = None  # the function in Ray's store, so that it is sent once and not with every item
        self.waiting: deque[_Task] = deque()
        self.done: dict[int, Any] = {}
        self.pulled = self.awaited = 0
        self.exhausted = False
        self.defect = ""

    def pull(self) -> bool:
        """Whether items wait to be begun; at most AHEAD * workers are out beyond the last one answered."""
        room = min(self.workers - len(self.waiting), AHEAD * self.workers - (self.pulled - self.awaited))
        for position, item in itertools.islice(self.numbered, max(room, 0)):
            self.waiting.append(_Task(self, position, item, self.name(item)))
            self.pulled, room = position + 1, room - 1
        self.exhausted |= room > 0
        return bool(self.waiting)

    def finished(self) -> bool:
        """Whether every item was answered."""
        return self.exhausted and self.awaited == self.pulled


class _Worker:
    """What runs in a Ray worker process."""

    def enter(self, folder: str) -> None:
        """Goes to the folder in which trajkit was started, so that relative paths mean the same."""
        os.chdir(folder)

    def answer(self, function: Callable[[Any], Any], item: Any) -> Any:
        """The item's result, or the TrajkitError that it ended with."""
        return attempt(function, item)


@dataclass(slots=True, eq=False)
class _Hand:
    """A Ray worker as seen from here; without a task it is starting or idle."""

    actor: Any
    gpus: float
    task: _Task | None = None


class _Crew:
    """The Ray workers that all open errands share.

    Actors, not Ray tasks: an actor keeps its GPU and its process, and with them the renderer that it holds, from one
    item to the next, while a task's process is ended after each use of a GPU. But an idle actor keeps its CPU and its
    GPU too; with workers of its own, an errand that waits for its turn would starve the one that it waits for.
    """

    def __init__(self, ray: ModuleType, workers: int) -> None:
        self.ray = ray
        self.started = not ray.is_initialized()
        if self.started:
            _connect(ray, workers)
        self.errands: list[_Errand] = []
        self.false_starts = 0  # in a row
        self.idle: list[_Hand] = []
        self.busy: dict[Any, _Hand] = {}  # by the reference to what they are to answer

    def join(self, errand: _Errand) -> None:
        """Counts the errand in. Raises TrajkitError where no machine has the GPUs that it asks for."""
        self.errands.append(errand)
        if not (errand.gpus <= 1 or errand.gpus.is_integer()):
            problem = f"{errand.gpus:g} GPUs are neither a share of one nor a whole number"
            raise TrajkitError("--gpus", problem, "give 0.5, 1 or 2, for example")
        if errand.gpus > self.ray.cluster_resources().get("GPU", 0):
            problem = f"the cluster has no GPU to give ({errand.gpus:g} wanted per worker)"
            raise TrajkitError("--executor ray", problem, "add a machine with one, or ask for what runs on the CPU")
        errand.shipped = self.ray.put(errand.function)

    def leave(self, errand: _Errand) -> None:
        """Ends the workers that are at the errand; with the last errand ends all, and Ray if it was started here."""
        self.errands.remove(errand)
        for reference, hand in list(self.busy.items()):
            if not self.errands or (hand.task and hand.task.errand is errand):
                self.ray.kill(hand.actor)
                del self.busy[reference]
        if not self.errands:
            self._end_idle()
            if self.started:
                self.ray.shutdown()

    def take(self, errand: _Errand) -> bool:
        """Whether an idle worker began the errand's next item; where none is idle, another may be on its way."""
        fit = [hand for hand in self.idle if hand.gpus == errand.gpus]
        if fit:
            hand, hand.task = fit[0], errand.waiting.popleft()
            self.idle.remove(hand)
            self.busy[hand.actor.answer.remote(errand.shipped, hand.task.item)] = hand
            return True
        self._end_idle()  # they are of another kind, and may hold what this kind waits for
        starting = sum(hand.task is None and hand.gpus == errand.gpus for hand in self.busy.values())
        for _ in range(min(len(errand.waiting) - starting, errand.workers - len(self.busy))):
            self._start(errand.gpus)
        return False

    def _start(self, gpus: float) -> None:
        kind = self.ray.remote(_Worker).options(num_cpus=1, num_gpus=gpus, max_restarts=0)
        hand = _Hand(kind.remote(), gpus)
        # it gets its first item when it has answered this: a crowded cluster may never start it
        self.busy[hand.actor.enter.remote(os.getcwd())] = hand

    def wait(self) -> None:
        """Waits until a worker has started, answered or died, and keeps the answer with its errand."""
        (reference,), _ = self.ray.wait(list(self.busy), num_returns=1)
        hand = self.busy.pop(reference)
        task, hand.task = hand.task, None
        try:
            result = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if task is None:
                remedy = "let the machines of the cluster share the folder in which trajkit runs"
                raise TrajkitError(os.getcwd(), f"a Ray worker cannot enter it ({error.cause})", remedy) from None
            task.errand.defect = f"worker failed on {task.label}\n{error}"
            self.idle.append(hand)
        except self.ray.exceptions.RayError as error:
            self._lost(task, type(error).__name__)
        else:
            self.idle.append(hand)
            self.false_starts = 0
            if task:
                task.errand.done[task.position] = result

    def _lost(self, task: _Task | None, how: str) -> None:
        if task is None:
            self.false_starts += 1
            if self.false_starts == LIVES:
                problem, remedy = f"a worker died at its start ({how})", "install the same trajkit on every machine"
                raise TrajkitError("--executor ray", problem, remedy)
            return
        task.lives -= 1
        if task.lives:
            task.errand.waiting.appendleft(task)
            return
        problem = f"its worker process died {LIVES} times ({how})"
        remedy = "if memory ran out take fewer --workers; run the same command again to go on"
        task.errand.done[task.position] = TrajkitError(task.label, problem, remedy)

    def _end_idle(self) -> None:
        for hand in self.idle:
            self.ray.kill(hand.actor)
        self.idle.clear()


def _connect(ray: ModuleType, workers: int) -> None:
    address = os.environ.get("RAY_ADDRESS", "local")
    here: dict[str, Any] = {}
    if address == "local":
        cpus = max(workers, os.cpu_count() or 1)
        here = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    try:
        if ":" in address:  # Ray itself would knock for ten minutes
            place = urlsplit(address if "://" in address else f"//{address}")
            socket.create_connection((place.hostname or "", place.port or 0), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR", **here)
    except Exception as error:  # Ray raises no narrower one where its own processes do not come up in 30 s
        if address == "local":
            problem, remedy = "Ray cannot be started here", "free memory and processors, or use --executor local"
        else:
            problem, remedy = f"cannot join the cluster {address}", "correct RAY_ADDRESS; unset, Ray is started here"
        raise TrajkitError("--executor ray", f"{problem} ({error})", remedy) from error


_crew: _Crew | None = None  # one a process, while an errand is open


def _hired(ray: ModuleType, errand: _Errand) -> _Crew:
    global _crew
    _crew = _crew or _Crew(ray, errand.workers)
    if errand not in _crew.errands:
        _crew.join(errand)
    return _crew


def _dismiss(errand: _Errand) -> None:
    global _crew
    if _crew and errand in _crew.errands:
        _crew.leave(errand)
        if not _crew.errands:
            _crew = None
