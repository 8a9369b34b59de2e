"""`trajkit train` on encoded shards: the line of stages, and every refusal in one line before a network is made."""

import dataclasses
import json
import shutil
from pathlib import Path

import encoded
import pytest
from click.testing import CliRunner
from killing import tree

from trajkit.errors import TrajkitError
from trajkit.options import settable
from trajkit.plugins import load
from trajkit.trainers import loop, preflight
from trajkit.trainers.backbones import toy
from trajkit.trainers.card import read_card, write_card
from trajkit.trainers.commands.train import command
from trajkit.trainers.roles import Options

TINY = "random:heads=2,head_dim=12,layers=1,ffn=16,freq=16,patch=4"
FAST = [f"loop.{one}" for one in ("steps=2", "clips=2", "chunk=2", "save_every=1", "warmup=0", "ema_start=0")]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return encoded.shards(tmp_path_factory.mktemp("encoded"), 3, frames=13)


def train(
    stage: str, shards: Path, out: Path, *more: object, start: object = TINY, assigned: tuple[str, ...] = ()
) -> str:
    """What the command printed; errors are raised."""
    arguments = [stage, str(shards), "--backbone", "toy", "--start", str(start), "--out", str(out), *map(str, more)]
    for item in (*FAST, *assigned):
        arguments += ["--set", item]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_line_of_stages_and_its_cards(shards, tmp_path):
    said = train("finetune", shards, tmp_path / "finetune")
    assert "has no trajkit.json: it is taken to be what finetune needs" in said
    train("causal", shards, tmp_path / "causal", start=tmp_path / "finetune")
    train("consistency", shards, tmp_path / "consistency", start=tmp_path / "causal", assigned=("stage.steps=4",))
    ends = ("--teacher", tmp_path / "finetune")
    train("dmd", shards, tmp_path / "dmd", *ends, start=tmp_path / "consistency", assigned=("stage.ratio=1",))
    card = read_card(tmp_path / "dmd/final/average")
    assert (card.stage, card.solver, card.timesteps, card.step) == ("dmd", "consistency", (1000, 750, 500, 250), 2)
    assert (card.chunk, card.frames, card.conditioning, card.latent) == (2, 4, "prope", (3, 12, 16))
    critic = read_card(tmp_path / "dmd/final/critic")
    assert (critic.stage, critic.timesteps, critic.solver) == ("finetune", (), "euler")
    assert card.translation_scale == read_card(tmp_path / "finetune/final/student").translation_scale > 0
    before = tree(tmp_path / "dmd/final")
    shutil.rmtree(tmp_path / "dmd/final")
    train("dmd", shards, tmp_path / "dmd", *ends, start=tmp_path / "consistency", assigned=("stage.ratio=1",))
    assert tree(tmp_path / "dmd/final") == before


def test_config_reads_back_what_a_run_wrote(shards, tmp_path):
    train("finetune", shards, tmp_path / "one", assigned=("loop.lr=0.003", "stage.shift=2.5"))
    out = train("finetune", shards, tmp_path / "two", "--config", tmp_path / "one/train.toml", "--dry-run", "--json")
    record = json.loads(out)
    assert record["loop"]["lr"] == 0.003
    assert record["stage"]["shift"] == 2.5
    assert not (tmp_path / "two").exists()


REFUSED = [
    ("finetune", {"assigned": ("loop.lrr=1",)}, "--set: unknown option 'loop.lrr'; did you mean 'loop.lr'?"),
    ("finetune", {"assigned": ("lr=1",)}, "--set: unknown option 'lr'; write loop.lr"),
    ("finetune", {"assigned": ("loop.lr=fast",)}, "loop: lr: 'fast' is not a number"),
    ("finetun", {}, "stages 'finetun': no such plugin; did you mean 'finetune'?"),
    ("causal", {"assigned": ("loop.chunk=3",)}, "their 4 latents are no multiple of the chunk of 3"),
    ("ode", {}, "hold no path of a teacher"),
    ("finetune", {"assigned": ("loop.clips=3", "loop.micro=2")}, "use a multiple of 2"),
    ("finetune", {"start": "random:heads=2,head_dim=12,layers=1,channels=16"}, "makes latents of 16 channels"),
    ("consistency", {"assigned": ("loop.ema=0",)}, "loop.ema: the stage needs target"),
]


@pytest.mark.parametrize(("stage", "given", "message"), REFUSED, ids=[one[2][:40] for one in REFUSED])
def test_bad_options_are_refused_in_one_line(stage, given, message, shards, tmp_path):
    with pytest.raises(TrajkitError) as refused:
        train(stage, shards, tmp_path / "run", **given)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_file_of_options_with_an_unknown_section_is_refused(shards, tmp_path):
    (tmp_path / "own.toml").write_text("[lop]\nlr = 1\n")
    with pytest.raises(TrajkitError, match=r"own.toml: lop is no section of options; use loop or stage"):
        train("finetune", shards, tmp_path / "run", "--config", tmp_path / "own.toml")


@pytest.fixture
def finetuned(shards, tmp_path):
    train("finetune", shards, tmp_path / "finetuned", assigned=("loop.steps=1",))
    return tmp_path / "finetuned"


def test_wrong_checkpoints_are_refused_before_a_network_is_made(shards, finetuned, tmp_path, monkeypatch):
    def recarded(**changed: object) -> Path:
        folder = tmp_path / "recarded"
        shutil.copytree(finetuned / "final/student", folder, dirs_exist_ok=True)
        write_card(folder, dataclasses.replace(read_card(finetuned / "final/student"), **changed))
        return folder

    monkeypatch.setattr(toy.Backbone, "load", None)
    for stage, changed, more, message in (
        ("ode", {}, (), "is a checkpoint of stage finetune; give one of causal or ode"),
        ("finetune", {"stage": "dmd"}, (), "give one of none or finetune"),
        ("dmd", {"stage": "ode"}, (), "for the critic: is a checkpoint of stage ode; give one of finetune"),
        ("causal", {"latent": (3, 8, 8)}, (), "was trained on latents of 3x8x8, the clips have 3x12x16"),
        ("finetune", {"latent": (16, 12, 16)}, (), "was trained on latents of 16x12x16"),
        ("causal", {"encoder": "wan"}, (), "was trained on latents of wan"),
        ("causal", {"stage": "causal", "chunk": 4}, (), "was trained on chunks of 4 latents, not 2"),
        ("causal", {"first_frame": True}, (), "was told each clip's first latent; give --set stage.first_frame=true"),
        ("causal", {"backbone": "wan"}, (), "is of backbone wan; give --backbone wan"),
        ("causal", {}, ("--conditioning", "plucker"), "has conditioning prope"),
        ("consistency", {"stage": "causal"}, ("--teacher", finetuned), "--teacher"),
    ):
        with pytest.raises(TrajkitError) as refused:
            train(stage, shards, tmp_path / "run", *more, start=recarded(**changed))
        assert message in str(refused.value), message
        assert not (tmp_path / "run").exists()


def test_a_run_goes_on_only_as_it_began(shards, finetuned):
    with pytest.raises(TrajkitError, match=r"train.toml: the run began with loop.lr = 0.0001, not 0.5; give the same"):
        train("finetune", shards, finetuned, assigned=("loop.lr=0.5",))
    train("finetune", shards, finetuned, assigned=("loop.steps=3",))
    assert read_card(finetuned / "final/student").step == 3
    train("finetune", shards, finetuned.with_name("whole"), assigned=("loop.steps=3",))
    assert tree(finetuned.with_name("whole") / "final") == tree(finetuned / "final"), "the clips went on in their order"


def test_clips_that_cannot_be_trained_on_are_refused(shards, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrajkitError):
        train("finetune", tmp_path / "empty", tmp_path / "run")
    with pytest.raises(TrajkitError, match="no latents"):
        train("finetune", shards.parent / "clips", tmp_path / "run")
    (tmp_path / "half/checkpoints").mkdir(parents=True)
    with pytest.raises(TrajkitError, match="is a run that is not finished"):
        train("causal", shards, tmp_path / "run", start=tmp_path / "half")


@pytest.mark.parametrize("backbone", ["toy", "wan", "hunyuan"])
def test_defaults_fit_and_say_where_they_come_from(backbone):
    path = preflight.DEFAULTS / f"{backbone}.toml"
    assert set(preflight.read_toml(path)) == {"finetune", "causal", "ode", "consistency", "dmd"}
    for stage in preflight.read_toml(path):
        options, own = preflight.settle(stage, backbone, None, ())
        assert isinstance(options, Options)
        assert type(own) is load("stages", stage).Options
        assert settable(type(own))
        assert loop.share(options, 1) == options.clips
    numbers = [line for line in path.read_text().splitlines() if " = " in line and not line.startswith("#")]
    assert [line for line in numbers if "#" not in line] == []
