"""The local executor: order, errors as values, and the death of a worker or of the parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trajkit.errors import TrajkitError
from trajkit.work import run

pytestmark = pytest.mark.filterwarnings("error")


def square(number: int) -> int:
    return number * number


def slow_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number


def rejects_two(number: int) -> int:
    if number == 2:
        raise TrajkitError("clip two", "is bad", "drop it")
    return number


def dies_on_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leaves_on_one(number: int) -> int:
    if number == 1:
        os._exit(7)
    return number


def fails(number: int) -> int:
    return 1 // number


def full_disk(number: int) -> int:
    raise OSError(28, "No space left on device", "out/shard.tar")


def unpicklable(number: int) -> object:
    return lambda: number


def process_id(number: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(run(square, range(20), workers)) == [number * number for number in range(20)]
    assert list(run(slow_first, range(12), workers)) == list(range(12))
    assert list(run(square, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_with_an_error_does_not_stop_the_others(workers):
    results = list(run(rejects_two, range(5), workers))
    assert isinstance(results[2], TrajkitError)
    assert str(results[2]) == "clip two: is bad; drop it"
    assert results[:2] + results[3:] == [0, 1, 3, 4]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_an_error_of_its_item(workers):
    (result,) = run(full_disk, [0], workers)
    assert str(result) == "out/shard.tar: No space left on device; free space or correct the path"


def test_a_killed_worker_is_one_line_and_the_others_go_on():
    results = list(run(dies_on_two, range(9), 2, name=lambda number: f"shard {number}"))
    assert str(results[2]).startswith("shard 2: its worker process died (SIGKILL); ")
    assert "\n" not in str(results[2])
    assert results[:2] + results[3:] == [0, 1, 3, 4, 5, 6, 7, 8]


def test_a_worker_that_exits_is_named_with_its_code():
    results = list(run(leaves_on_one, range(3), 2))
    assert "(exit code 7)" in str(results[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_defect_is_raised(workers):
    with pytest.raises((ZeroDivisionError, RuntimeError), match="division"):
        list(run(fails, [1, 0, 1], workers))


def test_a_result_that_cannot_be_pickled_is_a_defect():
    with pytest.raises(RuntimeError, match="pickle"):
        list(run(unpicklable, [1], 2))


def test_few_items_are_begun_beyond_the_one_awaited():
    begun = []

    def items():
        for number in range(1000):
            begun.append(number)
            yield number

    results = run(slow_first, items(), 2)
    assert next(results) == 0
    assert len(begun) <= 2 * 4 + 1
    results.close()


def test_closing_the_iterator_ends_the_processes():
    results = run(process_id, iter(int, 1), 2)
    workers = {next(results) for _ in range(6)}
    results.close()
    assert not any(alive(worker) for worker in workers)
    assert os.getpid() not in workers


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    pids = tmp_path / "pids"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with subprocess.Popen([sys.executable, str(script), str(pids)], env=environment) as parent:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        parent.kill()
    workers = [int(word) for word in pids.read_text().split()]
    wait_for(lambda: not any(alive(worker) for worker in workers))


PARENT = """
import os, sys, time
from trajkit.work import run

def nap(item):
    with open(sys.argv[1], "a") as stream:
        stream.write(f"{os.getpid()} ")
    time.sleep(60)

if __name__ == "__main__":
    list(run(nap, [1, 2], 2))
"""


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {limit_s} s")
        time.sleep(0.02)
