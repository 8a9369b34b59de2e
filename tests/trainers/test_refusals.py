"""What no stage can learn from: one line through the command line, before any weights are loaded."""

import json
import shutil
from pathlib import Path

import encoded
import pytest
import torch
from test_cli import trajkit

from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row
from trajkit.trainers import data, preflight
from trajkit.trainers.backbones import toy
from trajkit.trainers.card import Card, write_card
from trajkit.trainers.encoders import toy as toy_encoder
from trajkit.trainers.roles import Options
from trajkit.trainers.stages import ode

SIZE = {"encoder": "toy", "latent": (3, 12, 16), "frames": 2, "chunk": 2}
LIST = "ledger; list the clips to use, one key a line, as trajkit filter does in filter/accepted.txt"
ALIKE = "encode all clips alike, or name alike ones with a list of keys"
MADE = {"teacher": "toy causal, step 7", "shift": 5.0, "timesteps": "1000 750 500 250", "first_frame": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 5 frames as a clip folder with latents, `held`; one of 9 frames, `long`; cards of networks."""
    root = tmp_path_factory.mktemp("refusals")
    encoded.unpacked(encoded.shards(root / "made", 3, frames=5), root / "held")
    encoded.unpacked(encoded.shards(root / "more", 1, frames=9, prefix="long"), root / "long")
    for stage in ("finetune", "causal"):
        write_card(root / stage, Card(backbone="toy", conditioning="prope", stage=stage, **SIZE))
    write_card(
        root / "other", Card(backbone="toy", conditioning="prope", stage="finetune", **SIZE | {"encoder": "wan"})
    )
    write_card(
        root / "small", Card(backbone="toy", conditioning="prope", stage="causal", **SIZE | {"latent": (3, 4, 4)})
    )
    return root


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that has weights can be made."""

    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(toy.Backbone, "load", loaded)
    monkeypatch.setattr(toy_encoder.Encoder, "__init__", loaded)
    monkeypatch.setattr(torch.nn.Module, "to", loaded)


def changed(path: Path, told: dict[str, str] | None = None, **tensors: torch.Tensor) -> None:
    path.write_bytes(encoded.rewritten(path.read_bytes(), told or {}, **tensors))


def judged(folder: Path, state: str) -> None:
    """What `trajkit filter` leaves, with clip-0001 in that state."""
    states = {"clip-0000": "accepted", "clip-0001": state, "clip-0002": "accepted"}
    rows = [Row(key=key, stage="filter", state=one, reason="poses off") for key, one in states.items()]
    Ledger(folder).append("filter-rules", rows)


def one_line(at: Path, *arguments: object) -> str:
    code, out, said = trajkit(*arguments)
    assert (code, out) == (1, "")
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said.removeprefix("error: ").rstrip("\n").replace(f"{at}/", "")


def finetuned(at: Path, clips: str = "held") -> list[object]:
    """The command that fine-tunes on the clips."""
    return ["train", "finetune", at / clips, "--backbone", "toy", "--start", at / "finetune", "--out", at / "out"]


def stage(at: Path, name: str, start: str, *more: object) -> list[object]:
    given = ["--backbone", "toy", "--start", at / start, "--out", at / "out", "--set", "loop.chunk=2", *more]
    return ["train", name, at / "held", *given]


@pytest.fixture
def at(folders: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(folders, tmp_path / "at")


LATENT = "held/clip-0002.latent.safetensors"
CLIPS = {
    "no clips": (
        lambda at: [one.unlink() for one in (at / "held").iterdir()],
        "held: no finished clips; give folders of",
    ),
    "a shard that is not done": (
        lambda at: shutil.rmtree(at / "held") or (at / "held").write_bytes(b""),
        "held: is not done: held.json is missing; run the same trajkit pack again",
    ),
    "missing latents": (
        lambda at: (at / LATENT).unlink(),
        f"{LATENT}: no such file: the clip has no latents; run trajkit encode first",
    ),
    "truncated latents": (
        lambda at: (at / LATENT).write_bytes((at / LATENT).read_bytes()[:-7]),
        "truncated?); encode the clip again with trajkit encode",
    ),
    "another encoder": (
        lambda at: changed(at / LATENT, {"encoder": "wan:01"}),
        f"{LATENT}: encoder wan:01, of clip clip-0000 toy; {ALIKE}",
    ),
    "another shape": (
        lambda at: changed(at / LATENT, latents=torch.zeros(2, 3, 8, 8).half()),
        f"{LATENT}: latents (2, 3, 8, 8), of clip clip-0000 (2, 3, 12, 16); {ALIKE}",
    ),
    "mixed frame counts": (
        lambda at: shutil.copytree(at / "long", at / "held", dirs_exist_ok=True),
        f"held/long-0000.latent.safetensors: latents (3, 3, 12, 16), of clip clip-0000 (2, 3, 12, 16); {ALIKE}",
    ),
    "rejected": (lambda at: judged(at / "held", "rejected"), f"held/clip-0001: is rejected (poses off) by its {LIST}"),
    "undetermined": (
        lambda at: judged(at / "held", "undetermined"),
        f"held/clip-0001: is undetermined (poses off) by its {LIST}",
    ),
}


@pytest.mark.parametrize("case", CLIPS)
def test_clips_that_no_stage_can_learn_from(at: Path, case: str) -> None:
    spoil, words = CLIPS[case]
    spoil(at)
    said = one_line(at, *finetuned(at))
    assert said.endswith(words) or said.startswith(words), said
    if case != "mixed frame counts":  # a path is as long as its clip
        assert one_line(at, "pairs", at / "held", "--teacher", at / "causal", "--out", at / "out") == said
    assert not (at / "out").exists()


NETWORKS = {
    "a checkpoint for another stage": (
        lambda at: stage(at, "ode", "finetune"),
        "--start finetune: is a checkpoint of stage finetune; give one of causal or ode",
    ),
    "a teacher for another stage": (
        lambda at: ["pairs", at / "held", "--teacher", at / "finetune", "--out", at / "out"],
        "--teacher finetune: is a checkpoint of stage finetune; give one of causal",
    ),
    "trained on another encoder": (
        lambda at: stage(at, "causal", "other"),
        "--start other: was trained on latents of wan, the clips have those of toy; encode the clips for it",
    ),
    "trained on another size": (
        lambda at: stage(at, "causal", "small"),
        "--start small: was trained on latents of 3x4x4, the clips have 3x12x16; encode the clips for it",
    ),
    "no path of a teacher": (
        lambda at: stage(at, "ode", "causal"),
        "clips: hold no path of a teacher, which ode learns from; run trajkit pairs first",
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_that_do_not_fit(at: Path, case: str) -> None:
    arguments, line = NETWORKS[case]
    assert one_line(at, *arguments(at)) == line
    assert not (at / "out").exists()


def test_only_accepted_clips_are_encoded_and_trained_on(at: Path) -> None:
    judged(at / "held", "rejected")
    said = one_line(at, "encode", at / "held", "--encoder", "toy", "--out", at / "out")
    assert said == f"held/clip-0001: is rejected (poses off) by its {LIST}"
    (at / "some.txt").write_text("clip-0000\nclip-0002\n")
    code, out, _ = trajkit(*finetuned(at), "--only", at / "some.txt", "--dry-run")
    assert code == 0
    assert "train.clips = 2" in out
    judged(at / "held", "accepted")
    assert trajkit(*finetuned(at), "--dry-run")[0] == 0, "the newest verdict counts"


def paired(folder: Path, made: str) -> data.Facts:
    """Gives each clip a path of a teacher that was made so."""
    for path in folder.glob("*.safetensors"):
        changed(path, {"trajectory": made}, trajectory=torch.zeros(6, 2, 3, 12, 16).half())
    return data.facts([folder])


OTHER = {
    "shift": (3.0, "shift 3.0, the stage has 5.0; give --set stage.shift=3.0, or make paths for the stage"),
    "timesteps": (
        "1000 500",
        "timesteps 1000 500, the stage has 1000 750 500 250; give --set stage.timesteps='1000 500'",
    ),
    "first_frame": (True, "first_frame True, the stage has False; give --set stage.first_frame=True, or make paths"),
}


def test_paths_for_another_student_are_refused(at: Path) -> None:
    def check(made: str) -> None:
        preflight.check_clips(paired(at / "held", made), {}, "ode", Options(chunk=2), ode.Options())

    check(json.dumps(MADE))
    for name, (value, words) in OTHER.items():
        with pytest.raises(TrajkitError, match=f"^clips: their paths were made with {words}"):
            check(json.dumps(MADE | {name: value}))
    for damaged in ("", "[]", "3", "{", json.dumps({"shift": 5.0})):
        with pytest.raises(TrajkitError, match=r"^clips: do not say how their paths were made; run trajkit pairs"):
            check(damaged)


def test_ode_refuses_paths_for_another_student_and_tells_whose_they_are(at: Path) -> None:
    for name, (value, words) in OTHER.items():
        paired(at / "held", json.dumps(MADE | {name: value}))
        said = one_line(at, *stage(at, "ode", "causal"))
        assert said.startswith(f"clips: their paths were made with {words}")
    paired(at / "held", json.dumps(MADE))
    code, out, _ = trajkit(*stage(at, "ode", "causal", "--set", "loop.clips=1", "--dry-run"))
    assert code == 0
    assert "train.pairs = " in out
    assert MADE["teacher"] in out
