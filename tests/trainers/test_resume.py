"""A run that was killed and run again has the bits of one that was not; two processes do what one does."""

import shutil
from pathlib import Path

import pytest
import torch
from killing import tree
from running import SMALL, crew, job, weights

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.trainers import checkpoint, loop

STAGES = {
    "finetune": {"ema": 0.9, "ema_start": 2},
    "causal": {},
    "ode": {"optimizer": "muon"},
    "consistency": {"ema": 0.9},
    "dmd": {"ema": 0.9, "warmup": 4},
}


def kept(run: Path) -> dict[str, str]:
    """Hashes of all that a run is to be judged by; the log holds times."""
    return {name: one for name, one in tree(run).items() if name != "log.jsonl"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_stops_and_goes_on_has_the_bits_of_one_that_does_not(stage, tmp_path):
    options = {"save_every": 3, **STAGES[stage]}
    own = {"ratio": 2} if stage == "dmd" else {}
    loop.train(job(stage, tmp_path / "whole", stage_options=own, **options))
    loop.train(job(stage, tmp_path / "halves", stage_options=own, **options, steps=3))
    loop.train(job(stage, tmp_path / "halves", stage_options=own, **options))
    assert kept(tmp_path / "halves") == kept(tmp_path / "whole")
    assert len(list((tmp_path / "whole/checkpoints").iterdir())) == 2
    names = {"consistency": {"student", "target"}, "dmd": {"student", "critic", "average"}}.get(stage, {"student"})
    assert names <= {path.name for path in (tmp_path / "whole/final").iterdir()}


def test_forgetting_the_optimiser_would_be_noticed(tmp_path, monkeypatch):
    loop.train(job("finetune", tmp_path / "whole", save_every=3))
    loop.train(job("finetune", tmp_path / "halves", save_every=3, steps=3))
    monkeypatch.setattr(checkpoint, "restore", lambda *_: None)
    loop.train(job("finetune", tmp_path / "halves", save_every=3))
    assert kept(tmp_path / "halves") != kept(tmp_path / "whole")


@pytest.mark.parametrize(
    ("stage", "stride"), [("finetune", 29), *(pytest.param(stage, 5, marks=pytest.mark.slow) for stage in STAGES)]
)
def test_a_run_killed_before_a_write_goes_on_with_the_same_bits(stage, stride, tmp_path):
    given = {**STAGES[stage], "steps": 4, "keep": 1}
    assert not crew().run(stage, tmp_path / "whole", **given)
    wanted, number, killed = kept(tmp_path / "whole"), 3, True
    while killed:
        run = tmp_path / "killed"
        killed = crew().run(stage, run, die_before=number, **given)
        crew().run(stage, run, **given)
        assert kept(run) == wanted, f"killed before write {number}"
        shutil.rmtree(run)
        number += stride
    assert number > 30


def test_a_finished_run_is_left_alone(tmp_path):
    loop.train(job("finetune", tmp_path, steps=2))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    def never(*_: object) -> None:
        raise AssertionError

    again = job("finetune", tmp_path, steps=2)
    object.__setattr__(again, "load", never)
    loop.train(again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_only_the_last_checkpoints_are_kept_and_the_log_has_each_step_once(tmp_path):
    loop.train(job("finetune", tmp_path, keep=2, save_every=1, steps=3))
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 4, "student loss": 1}\n{"step": 5, "stu')
    loop.train(job("finetune", tmp_path, keep=2, save_every=1, steps=5))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["0000004", "0000005"]
    steps = [line.split('"step": ')[1].split(",")[0] for line in files.read_text(tmp_path / "log.jsonl").splitlines()]
    assert steps == ["1", "2", "3", "4", "5"]


def test_damaged_checkpoints_are_named_in_one_line(tmp_path):
    loop.train(job("finetune", tmp_path, steps=2))
    state = tmp_path / "checkpoints/0000002/state"
    content = (state / "student.safetensors").read_bytes()
    (state / "student.safetensors").write_bytes(content[:-5])
    with pytest.raises(TrajkitError, match=r"student.safetensors: cannot be read .*; remove .*0000002"):
        loop.train(job("finetune", tmp_path))
    (state / "student.safetensors").write_bytes(content)
    (state / "state.json").write_text("{}")
    with pytest.raises(TrajkitError, match=r"state.json: not of the form"):
        loop.train(job("finetune", tmp_path))


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_reach_the_weights_of_one(shard, tmp_path):
    given = {"clips": 4, "ema": 0.9, "steps": 4, "lr": 1e-3}
    assert not crew().run("finetune", tmp_path / "one", **given)
    assert not crew().run("finetune", tmp_path / "two", world=2, shard=shard, **given)
    for role in ("student", "average"):
        one, two = weights(tmp_path / "one", role), weights(tmp_path / "two", role)
        assert one.keys() == two.keys()
        assert max((one[name] - two[name]).abs().max() for name in one) < 1e-6
    moved = (
        weights(tmp_path / "one")["model.proj_out.weight"]
        - weights(tmp_path / "one", "average")["model.proj_out.weight"]
    )
    assert moved.abs().max() > 1e-4


def test_two_processes_resume_with_the_same_bits_also_sharded(tmp_path):
    given = {"clips": 4, "steps": 4, "world": 2, "shard": True}
    crew().run("causal", tmp_path / "whole", **given)
    crew().run("causal", tmp_path / "halves", **{**given, "steps": 2})
    crew().run("causal", tmp_path / "halves", **given)
    assert kept(tmp_path / "halves") == kept(tmp_path / "whole")
    assert SMALL["save_every"] == 2
    assert torch.isfinite(weights(tmp_path / "whole")["model.proj_out.weight"]).all()
