"""`trajkit pairs`: paths that `ode` trains on, reruns, and refusals before a network is loaded."""

import dataclasses
import shutil
from pathlib import Path

import encoded
import pytest
import tiny
import torch
from click.testing import CliRunner
from killing import tree

from trajkit import files
from trajkit.cli import COMMANDS
from trajkit.errors import TrajkitError
from trajkit.trainers import data, latentfile, ode_pairs
from trajkit.trainers.backbones import toy
from trajkit.trainers.card import Card, read_card, write_card
from trajkit.trainers.commands import pairs, train
from trajkit.trainers.stored import find

SIZE = {"heads": 2, "head_dim": 12, "layers": 1, "ffn": 16, "freq": 16, "patch": 4}
FEW = ("--steps", 4, "--guidance", 2.5)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return encoded.shards(tmp_path_factory.mktemp("encoded"), 3, frames=13)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "final/student"
    tiny.liven(toy.Backbone.random(toy.Options(**SIZE), "prope")).save(folder)  # so that cameras matter
    card = {"latent": (3, 12, 16), "frames": 4, "encoder": "toy", "translation_scale": 0.5, "shift": 3.0, "chunk": 2}
    write_card(folder, Card(backbone="toy", conditioning="prope", stage="causal", step=7, **card))
    return folder


def made(shards: Path, teacher: Path, out: Path, *more: object) -> str:
    """What the command printed; errors are raised."""
    given = [shards, "--teacher", teacher, "--out", out, *FEW, *more]
    done = CliRunner().invoke(pairs.command, [str(one) for one in given], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert done.return_value == 0
    return done.output


def paths(folder: Path) -> dict[str, torch.Tensor]:
    """Each clip's path."""
    held = {clip.key: clip.read([latentfile.SUFFIX])[latentfile.SUFFIX] for clip in find([folder])}
    return {key: latentfile.from_bytes(content, key).trajectory for key, content in held.items()}


def test_paths_are_those_of_the_teacher_and_ode_trains_on_them(shards, teacher, tmp_path):
    assert "pairs" in COMMANDS
    said = made(shards, teacher.parents[1], tmp_path / "pairs")
    assert "3 clips" in said
    assert "teacher toy causal, step 7" in said
    network = toy.Backbone.load(str(teacher), "prope")
    network.chunk = 2
    found, options = paths(tmp_path / "pairs"), ode_pairs.Options(steps=4, guidance=2.5, precision="float32")
    for batch in (one for one, _ in zip(data.batches([shards], seed=0, micro=1, scale=0.5), range(3), strict=False)):
        wanted = ode_pairs.pairs(network, batch, ode_pairs.noise_of(batch, 0), options)[0]
        path = found[batch.keys[0]]
        assert path.shape == (6, 4, 3, 12, 16)
        torch.testing.assert_close(path.float(), wanted, atol=2e-3, rtol=2e-3)  # float16
        assert torch.equal(path[-1].float(), batch.latents[0])
    given = ["ode", tmp_path / "pairs", "--backbone", "toy", "--start", teacher, "--out", tmp_path / "ode"]
    for item in ("loop.steps=1", "loop.clips=2", "loop.chunk=2"):
        given += ["--set", item]
    train.command.main([str(one) for one in given], standalone_mode=False)
    assert read_card(tmp_path / "ode/final/student").solver == "consistency"


def test_a_rerun_keeps_what_is_done_and_makes_what_is_not(shards, teacher, tmp_path, monkeypatch):
    made(shards, teacher, tmp_path / "pairs", "--shard-clips", 2)
    before = tree(tmp_path / "pairs")
    lost = next((tmp_path / "pairs").glob("*-000001.tar"))
    lost.unlink()
    lost.with_suffix(".json").unlink()
    moved = shutil.copytree(teacher, tmp_path / "moved")
    made(shards, moved, tmp_path / "pairs", "--shard-clips", 2)
    after = tree(tmp_path / "pairs")
    alike = before.keys() - {"pairs.toml"}  # it names the teacher's folder
    assert {name: after[name] for name in alike} == {name: before[name] for name in alike}
    monkeypatch.setattr(toy.Backbone, "load", None)
    made(shards, moved, tmp_path / "pairs", "--shard-clips", 2)
    files.write_bytes(moved / "new", b"other weights")
    with pytest.raises(TrajkitError, match="plan"):
        made(shards, moved, tmp_path / "pairs", "--shard-clips", 2)


def test_what_cannot_teach_is_refused_before_a_network_is_loaded(shards, teacher, tmp_path, monkeypatch):
    def recarded(**changed: object) -> Path:
        folder = shutil.copytree(teacher, tmp_path / "recarded", dirs_exist_ok=True)
        write_card(folder, dataclasses.replace(read_card(teacher), **changed))
        return folder

    monkeypatch.setattr(toy.Backbone, "load", None)
    for changed, more, message in (
        ({"stage": "finetune"}, (), "is a checkpoint of stage finetune; give one of causal"),
        ({"latent": (16, 12, 16)}, (), "was trained on latents of 16x12x16"),
        ({"encoder": "wan"}, (), "was trained on latents of wan"),
        ({}, ("--steps", 3), "3 steps do not stop at each of them"),
        ({}, ("--steps", 0), "trajkit pairs: steps"),
        ({}, ("--device", "tpu"), "--device tpu: no such device here"),
    ):
        with pytest.raises(TrajkitError) as refused:
            made(shards, recarded(**changed), tmp_path / "out", *more)
        assert message in str(refused.value), str(refused.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(TrajkitError, match=r"has no trajkit\.json"):
        made(shards, tmp_path, tmp_path / "out")
    with pytest.raises(TrajkitError, match="no such file: the clip has no latents"):
        made(shards.parent / "clips", teacher, tmp_path / "out")
    assert "3 clips" in made(shards, teacher, tmp_path / "out", "--dry-run")
    assert not (tmp_path / "out").exists()
