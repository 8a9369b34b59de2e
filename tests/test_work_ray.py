"""The Ray executor against what the local one promises, on a cluster of this machine that one start serves."""

import functools
import gc
import itertools
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import killing
import pytest
from test_work import alive, fails, full_disk, process_id, rejects_two, slow_first, square, wait_for

from trajkit.errors import TrajkitError
from trajkit.work import AHEAD, run

ray = pytest.importorskip("ray", reason="needs trajkit[ray]")
HERE = Path(__file__).resolve()
CHECKOUT = HERE.parents[1]
on_ray = functools.partial(run, workers=2, executor="ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two CPUs and one GPU, in name only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE.parent))  # so that its workers find this module
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        here = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        ray.init("local", log_to_driver=False, logging_level="ERROR", **here)
    yield
    ray.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray does not wait for the processes that it has ended
        gc.collect()


def dies_once_on_three(number: int, marker: Path) -> int:
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def dies_on_two(number: int, log: Path) -> int:
    if number == 2:
        with log.open("a") as stream:
            stream.write("died\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def naps(folder: Path, number: int) -> int:
    (folder / f"{number}-{os.getpid()}").touch()
    time.sleep(60 if number else 0)
    return number


def counts_in_its_process(number: int, seen: list = []) -> tuple[int, int]:  # noqa: B006 - what the worker holds
    seen.append(number)
    return os.getpid(), len(seen)


def devices(number: int) -> str | None:
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def render_with_accident(unit, *, marker: Path, folder: Path, **options):
    """Renders; the process that comes first dies while it writes its first clip, having named itself."""
    from trajkit.render_scene import render_unit  # not above: every worker imports this module

    if not marker.exists():
        marker.write_text(str(os.getpid()))
        killing.arm({"step": [str(folder), 6]})
    return render_unit(unit, **options)


def working_folder(number: int) -> Path:
    return Path.cwd()


def test_results_come_in_the_order_of_the_items():
    assert list(on_ray(square, range(20))) == [number * number for number in range(20)]
    assert list(on_ray(slow_first, range(12))) == list(range(12))
    assert list(on_ray(square, [])) == []
    assert list(on_ray(square, range(5), workers=1)) == [0, 1, 4, 9, 16]


def test_an_item_with_an_error_does_not_stop_the_others():
    results = list(on_ray(rejects_two, range(5)))
    assert str(results[2]) == "clip two: is bad; drop it"
    assert results[:2] + results[3:] == [0, 1, 3, 4]
    (result,) = on_ray(full_disk, [0])
    assert isinstance(result, TrajkitError)
    assert str(result) == "out/shard.tar: No space left on device; free space or correct the path"


def test_a_defect_is_raised_with_its_traceback():
    with pytest.raises(RuntimeError, match="worker failed on item 0") as caught:
        list(on_ray(fails, [1, 0, 1], name=lambda number: f"item {number}"))
    assert "return 1 // number" in str(caught.value)
    assert "ZeroDivisionError" in str(caught.value)


def test_an_item_whose_worker_is_killed_is_tried_again(tmp_path):
    marker = tmp_path / "killed"
    results = list(on_ray(functools.partial(dies_once_on_three, marker=marker), range(8)))
    assert marker.exists()
    assert results == [number * number for number in range(8)]


def test_an_item_that_always_kills_its_worker_is_one_line_and_the_others_go_on(tmp_path):
    log = tmp_path / "log"
    work = functools.partial(dies_on_two, log=log)
    results = list(on_ray(work, range(9), name=lambda number: f"shard {number}"))
    assert str(results[2]).startswith("shard 2: its worker process died 3 times (ActorDiedError); ")
    assert "\n" not in str(results[2])
    assert results[:2] + results[3:] == [0, 1, 3, 4, 5, 6, 7, 8]
    assert log.read_text().split() == ["died"] * 3


def test_few_items_are_begun_beyond_the_one_awaited():
    begun = []
    results = on_ray(slow_first, (begun.append(number) or number for number in itertools.count()))
    assert list(itertools.islice(results, 10)) == list(range(10))
    assert 10 < len(begun) <= 10 + 2 * AHEAD
    results.close()


def test_closing_the_iterator_ends_the_work(tmp_path):
    results = on_ray(functools.partial(naps, tmp_path), itertools.count())
    assert next(results) == 0
    wait_for(lambda: list(tmp_path.glob("1-*")))
    workers = [int(path.name.split("-")[1]) for path in tmp_path.iterdir()]
    assert all(map(alive, workers))
    results.close()
    wait_for(lambda: not any(map(alive, workers)))
    assert ray.is_initialized()  # this cluster was not started by it


def test_a_worker_keeps_what_it_holds_from_one_item_to_the_next():
    answers = list(on_ray(counts_in_its_process, range(10)))
    workers = {process for process, _ in answers}
    assert os.getpid() not in workers
    assert len(workers) <= 2
    assert sum(max(count for process, count in answers if process == worker) for worker in workers) == 10


def test_iterators_that_are_open_together_share_their_workers():
    outer = on_ray(process_id, itertools.count())
    workers = {next(outer) for _ in range(6)}
    for _ in range(3):
        workers |= set(on_ray(process_id, range(4))) | {next(outer)}
    assert len(workers) <= 2
    outer.close()


def test_an_open_iterator_does_not_starve_one_that_needs_gpus():
    outer = on_ray(process_id, itertools.count())
    for _ in range(2):
        next(outer)
        assert list(on_ray(devices, range(4), gpus=0.5)) == ["0"] * 4
    outer.close()


def test_more_workers_than_the_cluster_has_room_for():
    assert list(on_ray(square, range(30), workers=8)) == [number * number for number in range(30)]
    assert list(on_ray(devices, range(3), gpus=1.0)) == ["0"] * 3


def test_clips_have_the_same_bytes_as_local_ones_also_where_a_worker_died_midway(tmp_path, monkeypatch):
    from splatting import blobs

    from trajkit.gaussians import write_ply
    from trajkit.render import RenderOptions, render
    from trajkit.scene import Rejected
    from trajkit.scenes import list_scenes

    options = RenderOptions(paths=("orbit:turns=0.05",), count=4, frames=5, width=64, height=36, accept=None)
    write_ply(blobs(50), tmp_path / "blobs.ply")
    scenes = list_scenes([f"splat:{tmp_path / 'blobs.ply'}"])
    assert not any(isinstance(clip, Rejected) for clip in render(scenes, options, tmp_path / "local"))
    marker, out = tmp_path / "died", tmp_path / "ray"
    accident = functools.partial(render_with_accident, marker=marker, folder=out)
    monkeypatch.setattr("trajkit.render.render_unit", accident)
    clips = list(render(scenes, options, out, workers=2, executor="ray"))
    assert [clip.trajectory.camera_to_world.shape for clip in clips] == [(5, 4, 4)] * 4
    assert not alive(int(marker.read_text()))
    assert killing.tree(out) == killing.tree(tmp_path / "local")


def test_gpus_that_no_machine_has():
    with pytest.raises(TrajkitError, match=r"--gpus: 1.5 GPUs are neither"):
        list(on_ray(square, range(3), gpus=1.5))
    with pytest.raises(TrajkitError, match=r"no GPU to give \(4 wanted per worker\); add a machine") as caught:
        list(on_ray(square, range(3), gpus=4.0))
    assert "\n" not in str(caught.value)
    assert list(on_ray(square, range(3))) == [0, 1, 4]


def test_relative_paths_mean_the_same_in_a_worker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(on_ray(working_folder, range(3))) == [tmp_path] * 3


def test_a_machine_that_does_not_share_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "elsewhere"))
    with pytest.raises(TrajkitError, match=r"elsewhere: a Ray worker cannot enter it .*; let the machines .* share"):
        list(on_ray(square, range(3)))


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "auto:x", "nonsense"])
def test_a_cluster_that_cannot_be_joined(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(TrajkitError, match=f"cannot join the cluster {address} .*; correct RAY_ADDRESS") as caught:
        list(on_ray(square, range(3)))
    assert "\n" not in str(caught.value)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TrajkitError, match=r"--executor ray: needs ray, not installed; pip install trajkit\[ray\]"):
        on_ray(square, range(3))


def test_an_unknown_executor():
    with pytest.raises(TrajkitError, match="did you mean 'local'"):
        run(square, range(3), 2, executor="locale")


OWN_CLUSTER = """
import functools, os, signal, sys, time
from trajkit.work import run

def work(item, log):
    if item == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    with open(log, "a") as stream:
        stream.write(f"{os.getpid()} ")
    time.sleep(60 if item > 1 else 0)
    return item

if __name__ == "__main__":
    work = functools.partial(work, log=sys.argv[1])
    print(list(run(work, [0, 1], 2, executor="ray"))[1], flush=True)
    assert not sys.modules["ray"].is_initialized()
    list(run(work, [2, 3], 2, executor="ray"))
"""


def test_a_cluster_started_for_the_work_says_nothing_and_ends_with_it_or_with_its_driver(tmp_path):
    (tmp_path / "driver.py").write_text(OWN_CLUSTER)
    log, command = tmp_path / "log", [sys.executable, tmp_path / "driver.py", tmp_path / "log"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=out) as driver,
    ):
        wait_for(lambda: log.exists() and len(log.read_text().split()) == 3)
        driver.kill()
    wait_for(lambda: not any(map(alive, map(int, log.read_text().split()))))
    assert (tmp_path / "out").read_text() == "1\n"  # what Ray says of the death would stand among results
