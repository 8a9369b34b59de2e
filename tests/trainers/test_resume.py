"""A run that was killed and run again has the bits of one that was not; two processes do what one does."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killing import tree
from running import Network, crew, job, weights

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.trainers import checkpoint, loop
from trajkit.trainers.batch import Draws

STAGES = {
    "finetune": {"ema": 0.9, "ema_start": 2},
    "causal": {},
    "ode": {"optimizer": "muon"},
    "consistency": {"ema": 0.9},
    "dmd": {"ema": 0.9, "warmup": 4, "stage_options": {"ratio": 2, "timesteps": "1000 500"}},
}
SAVED = {"finetune": {"average"}, "consistency": {"target"}, "dmd": {"critic", "average"}}
SHORT = {"steps": 4, "keep": 1, "micro": 2}
HALF = 40_000  # bytes of an optimiser's file
DEATHS = (
    ("save", "checkpoints/0000002.part/state/student.safetensors", HALF),
    ("open", "checkpoints/0000004.part/state/state.json.part"),
    ("os.rename", "checkpoints/0000004.part"),
    ("os.rename", "checkpoints/0000002"),  # both are whole, one is to be kept
    ("os.remove", "state.json"),  # its removal has begun
    ("os.link", "checkpoints/0000004/student/trajkit.json"),
    ("os.rename", "final.part"),
)


def kept(run: Path) -> dict[str, str]:
    """Hashes of all that a run is to be judged by; the log holds times."""
    return {name: one for name, one in tree(run).items() if name != "log.jsonl"}


def killed(stage: str, run: Path, deaths: tuple, **given: object) -> dict[str, str]:
    """What is kept of a run that died so often on its way, each time killed by the next of `deaths`."""
    for death in deaths:
        assert crew().run(stage, run, die=death, **given), f"outlived {death}"
        if HALF in death:
            assert (run / "checkpoints/0000002.part/state/student.safetensors").stat().st_size == HALF
    assert not crew().run(stage, run, **given)
    return kept(run)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_again_and_again_has_the_bits_of_one_that_was_not(stage, tmp_path):
    given = {**SHORT, **STAGES[stage]}
    crew().run(stage, tmp_path / "whole", **given)
    assert killed(stage, tmp_path / "killed", DEATHS, **given) == kept(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "whole/final").iterdir()} == SAVED.get(stage, set()) | {"student"}
    assert [path.name for path in (tmp_path / "whole/checkpoints").iterdir()] == ["0000004"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_before_any_write_goes_on_with_the_same_bits(stage, tmp_path):
    given, number = {**SHORT, **STAGES[stage]}, 1
    crew().run(stage, tmp_path / "whole", **given)
    while crew().run(stage, tmp_path / "killed", die=(number,), **given):
        assert killed(stage, tmp_path / "killed", (), **given) == kept(tmp_path / "whole"), f"before write {number}"
        shutil.rmtree(tmp_path / "killed")
        number += 3
    assert number > 50


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A run of dmd, and one that stopped half-way."""
    folder = tmp_path_factory.mktemp("halves")
    for name, steps in (("whole", 4), ("half", 2)):
        loop.train(job("dmd", folder / name, **{**SHORT, **STAGES["dmd"], "steps": steps}))
    return folder


def loading(change: Callable[[str, Path], Path | None]) -> Callable[[loop.Job], loop.Job]:
    """A job whose networks are read from elsewhere."""
    return lambda one: replace(one, load=lambda name, saved, dtype: one.load(name, change(name, saved), dtype))


FORGOTTEN = {
    "nothing": lambda one: one,
    "student": loading(lambda name, saved: None if name == "student" else saved),
    "critic": loading(lambda name, saved: None if name == "critic" else saved),
    "average": loading(lambda name, saved: saved.with_name("student") if name == "average" else saved),
    "position": lambda one: replace(one, batches=lambda start, *share: one.batches(start - 1, *share)),
}
MISREAD = {
    "optimiser": (checkpoint, "restore", lambda *_: None),
    "noise": (loop, "Draws", lambda **given: Draws(**{**given, "positions": given["positions"] + 1})),
    "exits": (loop, "Draws", lambda **given: Draws(**{**given, "step": given["step"] - 2})),
}


@pytest.mark.parametrize("what", [*FORGOTTEN, *MISREAD])
def test_all_that_a_resumed_run_might_forget_would_be_noticed(what, halves, tmp_path, monkeypatch):
    if what in MISREAD:
        monkeypatch.setattr(*MISREAD[what])
    one = job("dmd", shutil.copytree(halves / "half", tmp_path / "run"), **{**SHORT, **STAGES["dmd"]})
    loop.train(FORGOTTEN.get(what, FORGOTTEN["nothing"])(one))
    assert (kept(tmp_path / "run") == kept(halves / "whole")) == (what == "nothing")


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


@pytest.mark.parametrize(
    ("stage", "shard", "optimizer", "far"),
    [
        ("finetune", False, "adamw", 1e-3),
        ("finetune", True, "adamw", 1e-3),
        ("finetune", True, "muon", 0.1),
        ("dmd", True, "adamw", 1e-2),  # passes without backward between steps: stale weights would be 0.1 and more
    ],
)
def test_two_processes_reach_the_weights_of_one(stage, shard, optimizer, far, tmp_path):
    """Distances are shares of the way from the start; Muon orthogonalises in bfloat16, which sharding rounds anew."""
    given = {"clips": 4, "ema": 0.9, "steps": 4, "lr": 1e-3, "optimizer": optimizer}
    given |= {"stage_options": {"ratio": 1}, "steps": 3} if stage == "dmd" else {}
    assert not crew().run(stage, tmp_path / "one", **given)
    assert not crew().run(stage, tmp_path / "two", world=2, shard=shard, **given)
    start = Network.load("random").state_dict()
    for role in ("student", "average"):
        one, two = weights(tmp_path / "one", role), weights(tmp_path / "two", role)
        assert one.keys() == two.keys()
        assert apart(one, two) < far * apart(one, start)
    assert apart(weights(tmp_path / "one"), one) > 0.1 * apart(one, start)
    for figure in ("student loss", "student gradient"):
        logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("one", "two")]
        first, second = ([json.loads(line)[figure] for line in lines] for lines in logs)
        assert first == pytest.approx(second, rel=1e-3 if optimizer == "adamw" else 0.1), figure


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The distance of two networks' weights."""
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def test_two_processes_killed_resume_with_the_same_bits_also_sharded(tmp_path):
    given = {**SHORT, "clips": 4, "world": 2, "shard": True}
    crew().run("causal", tmp_path / "whole", **given)
    assert killed("causal", tmp_path / "killed", DEATHS[:2], **given) == kept(tmp_path / "whole")
    assert torch.isfinite(weights(tmp_path / "whole")["model.proj_out.weight"]).all()
