"""`trajkit rollout` on a toy: clips that the rest of trajkit reads, reruns, and refusals before a network is loaded."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from trajkit import video
from trajkit.camera import Camera
from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.trainers import drawing, latentfile
from trajkit.trainers.backbones import toy
from trajkit.trainers.card import Card, write_card
from trajkit.trainers.commands.rollout import command
from trajkit.trajectory import Trajectory

CARD = Card(
    backbone="toy",
    conditioning="prope",
    stage="dmd",
    solver="consistency",
    timesteps=(1000.0, 500.0),
    shift=5.0,
    latent=(3, 16, 16),
    frames=8,
    encoder="toy",
    translation_scale=2.0,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("weights") / "student"
    toy.Backbone.random(toy.Options(heads=2, head_dim=12, layers=1, ffn=16, freq=16, patch=8), "prope").save(folder)
    write_card(folder, CARD)
    return folder


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_clips_follow_the_commanded_path(weights: Path, tmp_path: Path) -> None:
    told = [weights, "--path", "keys:w*7", "--frames", 29, "--out", tmp_path]
    made = run(*told, "--draw")
    [key] = clip_keys(tmp_path)
    assert set(made["clips"][key]) == {"first_latents_s", "first_pictures_s", "fps"}
    assert (made["solver"], made["steps"], made["guidance"], made["window"]) == ("consistency", 2, 1.0, 8)
    clip = read_clip(tmp_path, key)
    assert (clip.provenance.kind, clip.provenance.path, clip.frames, clip.fps) == ("generated", "keys:w*7", 8, 4.0)
    assert np.allclose(clip.trajectory.centres[:, 2], 0.08 * np.arange(8))
    assert clip.checks["first_pictures_s"] > 0
    shown = video.probe(tmp_path / "drawn" / f"{key}.mp4")
    assert (shown.frames, shown.height, shown.width) == (8, 240, 480)
    before = (tmp_path / f"{key}.mp4").read_bytes()
    assert run(*told)["clips"] == {key: None}  # kept
    (tmp_path / f"{key}.json").unlink()
    run(*told)
    assert (tmp_path / f"{key}.mp4").read_bytes() == before
    other = run(*told, "--seed", 1)
    assert set(other["clips"]) - {key}


def test_clips_follow_the_cameras_of_encoded_ones(weights: Path, tmp_path: Path) -> None:
    made = run(weights, "--path", "orbit", "--frames", 29, "--out", tmp_path / "clips")
    [key] = made["clips"]
    source = read_clip(tmp_path / "clips", key)
    encoded(tmp_path / "clips", key, "toy")
    with pytest.raises(TrajkitError, match="8 poses"):  # toy clips hold every fourth frame
        run(weights, "--latents", tmp_path / "clips", "--frames", 29, "--out", tmp_path / "out")
    few = replace(CARD, frames=4, chunk=1, first_frame=True)
    write_card(tmp_path / "few", few)
    for name in ("config.json", "diffusion_pytorch_model.safetensors", "camera.safetensors"):
        (tmp_path / "few" / name).write_bytes((weights / name).read_bytes())
    told = [tmp_path / "few", "--latents", tmp_path / "clips", "--frames", 5]
    [again] = run(*told, "--out", tmp_path / "out")["clips"]
    clip = read_clip(tmp_path / "out", again)
    assert np.allclose(clip.trajectory.camera_to_world, source.trajectory.camera_to_world[[0, 4]])
    with pytest.raises(TrajkitError, match="first latent in training, and no clip brings one; give --latents"):
        run(*told[:1], "--path", "orbit", "--frames", 5, "--out", tmp_path / "out")
    [third] = run(*told[:3], "--cameras", tmp_path / "clips" / f"{key}.camera.npz", "--frames", 5,
                  "--out", tmp_path / "out")["clips"]  # fmt: skip
    assert np.array_equal(read_clip(tmp_path / "out", third).trajectory.centres, clip.trajectory.centres)
    encoded(tmp_path / "clips", key, "other")
    with pytest.raises(TrajkitError, match="its encoder are of other, the network learned toy"):
        run(*told, "--out", tmp_path / "out")


def test_a_clip_is_kept_only_where_nothing_that_shapes_it_has_changed(weights: Path, tmp_path: Path) -> None:
    network = Path(shutil.copytree(weights, tmp_path / "network"))
    told = [network, "--path", "orbit", "--frames", 29, "--guidance", 2, "--out", tmp_path / "out"]
    first, other = run(*told)["clips"], run(*told, "--drop", "cameras")["clips"]
    toy.Backbone.random(toy.Options(heads=2, head_dim=12, layers=1, ffn=16, freq=16, patch=8, seed=1), "prope").save(
        network
    )
    later = run(*told)["clips"]
    assert len({*first, *other, *later}) == len(clip_keys(tmp_path / "out")) == 3


def encoded(folder: Path, key: str, encoder: str) -> None:
    text = {name: one[0] for name, one in toy.null_text(1).items()}
    told: dict[str, Any] = {"encoder": encoder, "frames": 29, "content": "0" * 64, "where": key}
    content = latentfile.to_bytes(torch.zeros(8, 3, 16, 16), text, **told)
    (folder / f"{key}.latent.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--path", "keys:w*7"], "lasts 7 latents, but a clip of 77 frames lasts 19"),
        (["--path", "orbit", "--frames", "21"], "6 latents: are no whole number of chunks of 4"),
        (["--path", "orbit", "--frames", "20"], "the video VAE takes 4n.1 frames"),
        (
            ["--path", "orbit", "--frames", "29", "--solver", "euler"],
            "was trained for the consistency solver, not euler",
        ),
        (["--path", "orbit", "--frames", "29", "--window", "5"], "window 5: holds no latent before a chunk"),
        (["--path", "orbit", "--cameras", "x.camera.npz"], "the cameras are given twice"),
        ([], "no cameras given"),
        (["--path", "orbit", "--frames", "29", "--device", "xyz"], "--device xyz: no such device here"),
        (["--path", "orbit", "--frames", "29", "--guidance", "nan"], "--guidance nan: is no number"),
        (["--path", "orbit", "--frames", "29", "--encoder", "wan:x"], "the network is of toy; give toy:FOLDER"),
    ],
)
def test_refusals_come_before_the_network(
    weights: Path, tmp_path: Path, monkeypatch: Any, arguments: list[str], problem: str
) -> None:
    monkeypatch.setattr(toy.Backbone, "load", lambda *_, **__: pytest.fail("the network was loaded"))
    with pytest.raises(TrajkitError, match=problem):
        run(weights, *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match=r"has no trajkit.json"):
        run(tmp_path, "--path", "orbit", "--out", tmp_path / "out")


def test_on_the_map_ahead_is_up_and_right_is_right() -> None:
    """A walk ahead, then to the right, in a world that is turned: the coloured line's last end lies up and right."""
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, 2, 3], poses[5:, 0, 3] = np.arange(9), np.arange(4)
    turned = np.eye(4)
    turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    lens = Camera.from_fov(64, 48, 60)
    origin = Provenance(kind="generated", source="")
    path = Trajectory.from_camera(turned @ poses, lens, fps=4)
    clip = Clip(key="a", trajectory=path, fps=4, provenance=origin, licence="unknown")
    frames = list(drawing.beside(clip, np.zeros((9, 48, 64, 3), np.uint8)))
    assert frames[0].shape == (240, 320 + 240, 3)
    first, last = (
        np.argwhere(np.ptp(one[:210, 320:].astype(int), axis=2) > 60).mean(0) for one in (frames[1], frames[8])
    )
    assert last[0] < first[0]  # rows
    assert last[1] > first[1]
    assert not frames[0][:, :320].any()
