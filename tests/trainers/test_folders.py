"""Folders of weights: diffusers reads what is saved, all that is stored is loaded, and damage is one line."""

import json
import logging
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import diffusers  # noqa: E402
import tiny  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from trajkit import plugins  # noqa: E402
from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.trainers.backbones import _folders  # noqa: E402
from trajkit.trainers.card import Card, write_card  # noqa: E402

WEIGHTS = "diffusion_pytorch_model.safetensors"
EVERY = [(name, how) for name in tiny.names() for how in tiny.CONDITIONINGS]


def backbone_class(name: str) -> type:
    return plugins.load("backbones", name).Backbone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.backbone("toy", "prope").save(tmp_path / "made")
    return tmp_path / "made"


def loaded(folder: Path, conditioning: str | None = None, name: str = "toy"):
    return backbone_class(name).load(str(folder), conditioning)


def refusal(folder: Path, conditioning: str | None = None, name: str = "toy") -> str:
    with pytest.raises(TrajkitError) as caught:
        loaded(folder, conditioning, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "conditioning"), EVERY)
def test_saved_and_loaded_is_the_same(tmp_path: Path, name: str, conditioning: str) -> None:
    made = tiny.backbone(name, conditioning)
    made.save(tmp_path)
    back = loaded(tmp_path, None, name)
    assert back.conditioning == conditioning
    assert {key: tensor.shape for key, tensor in made.state_dict().items()} == {
        key: tensor.shape for key, tensor in back.state_dict().items()
    }
    assert all(torch.equal(tensor, back.state_dict()[key]) for key, tensor in made.state_dict().items())
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in back.parameters())
    buffers = dict(back.named_buffers())  # the rotary tables are in no file
    assert all(torch.equal(buffers[key], buffer) for key, buffer in made.named_buffers() if key in buffers)
    again = tmp_path / "again"
    back.save(again)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()
    }


@pytest.mark.parametrize("name", tiny.names())
def test_diffusers_reads_what_is_saved(tmp_path: Path, name: str) -> None:
    made = tiny.backbone(name, "prope")
    made.save(tmp_path)
    stock = getattr(diffusers, made.architecture)
    model, told = stock.from_pretrained(tmp_path, output_loading_info=True, local_files_only=True)
    assert not any(told.values()), told
    assert all(torch.equal(tensor, made.model.state_dict()[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("place", [".", "transformer"])
def test_what_diffusers_saves_is_read_sharded_or_not(tmp_path: Path, place: str) -> None:
    made = tiny.backbone("wan", "none")
    made.model.save_pretrained(tmp_path / place, max_shard_size="20KB" if place == "." else "10GB")
    assert len(list((tmp_path / place).glob("*.safetensors"))) > 1 or place != "."
    for conditioning in (None, "prope", "plucker", "prope-merged"):
        back = loaded(tmp_path, conditioning, "wan")
        assert back.conditioning == conditioning or conditioning is None
        assert all(torch.equal(tensor, back.model.state_dict()[key]) for key, tensor in made.model.state_dict().items())
        assert not any(parameter.any() for parameter in back.camera.parameters())


def test_large_networks_are_sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_folders, "SHARD_BYTES", 20_000)
    made = tiny.backbone("toy", "prope")
    made.save(tmp_path)
    assert len(list(tmp_path.glob("*-of-*.safetensors"))) > 2
    diffusers.WanTransformer3DModel.from_pretrained(tmp_path, local_files_only=True)
    assert all(torch.equal(tensor, loaded(tmp_path).state_dict()[key]) for key, tensor in made.state_dict().items())
    monkeypatch.undo()
    loaded(tmp_path).save(tmp_path)  # onto the very files that its tensors came from
    assert [path.name for path in tmp_path.glob("diffusion*")] == [WEIGHTS]
    assert all(torch.equal(tensor, loaded(tmp_path).state_dict()[key]) for key, tensor in made.state_dict().items())


def test_half_precision_keeps_what_has_to_be_wide(folder: Path) -> None:
    back = backbone_class("toy").load(str(folder), None, dtype=torch.bfloat16)
    kinds = {name: parameter.dtype for name, parameter in back.named_parameters()}
    assert kinds["model.blocks.0.attn1.to_q.weight"] == kinds["camera.0.out.weight"] == torch.bfloat16
    assert kinds["model.blocks.0.scale_shift_table"] == torch.float32
    assert kinds["model.condition_embedder.time_embedder.linear_1.weight"] == torch.float32


def test_random_is_a_function_of_its_options() -> None:
    toy = backbone_class("toy")
    spec = "random:heads=1,head_dim=24,layers=1,ffn=8,seed=3"
    one, same, other = (toy.load(text, "prope") for text in (spec, spec, spec.replace("seed=3", "seed=4")))
    assert torch.equal(one.model.proj_out.weight, same.model.proj_out.weight)
    assert not torch.equal(one.model.proj_out.weight, other.model.proj_out.weight)
    assert toy.load("random:layers=1", None).conditioning == "none"
    for spec, problem in (
        ("random:depth=3", "unknown option 'depth'"),
        ("random:layers=none", "layers"),
        ("random:layers=1,head_dim=6", "heads 6 wide cannot be cut for prope"),
    ):
        with pytest.raises(TrajkitError, match=problem):
            toy.load(spec, "prope")


def test_conditioning_is_the_cards_and_changes_only_from_none(tmp_path: Path) -> None:
    for how in ("prope", "plucker"):
        tiny.backbone("toy", how).save(tmp_path / how)
    assert "cameras come in by prope, not plucker" in refusal(tmp_path / "prope", "plucker")
    assert "cameras come in by plucker, not none" in refusal(tmp_path / "plucker", "none")
    card = Card(backbone="toy", conditioning="plucker", stage="finetune")
    write_card(tmp_path / "plucker", card)
    assert loaded(tmp_path / "plucker").conditioning == "plucker"
    write_card(tmp_path / "prope", card)
    assert "are of different networks" in refusal(tmp_path / "prope")
    (tmp_path / "plucker" / "camera.safetensors").unlink()
    assert "lacks weights: 0.bias, 0.weight (2 in all)" in refusal(tmp_path / "plucker")


def test_another_backbone_is_refused(tmp_path: Path, folder: Path) -> None:
    assert "holds weights of backbone toy, not wan" in refusal(folder, None, "wan")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": "UNet2DModel"}))
    assert "describes a UNet2DModel, and backbone toy is a WanTransformer3DModel" in refusal(folder)
    (folder / "config.json").write_text(
        '{"_class_name": "HunyuanVideo_1_5_DiffusionTransformer"}'
    )  # as it was released
    assert "give a diffusers folder of a HunyuanVideo15Transformer3DModel" in refusal(folder, None, "hunyuan")


def test_networks_whose_parts_would_be_passed_over_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for change in ({"image_dim": 8}, {"in_channels": 5}, {"added_kv_proj_dim": 8}, {"patch_size": [2, 2, 2]}):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert "give a text-to-video network" in refusal(folder)


def test_no_weight_is_left_out_and_none_is_dropped(folder: Path) -> None:
    whole, camera = load_file(folder / WEIGHTS), load_file(folder / "camera.safetensors")
    gone = "blocks.1.attn1.to_q.weight"

    def refused(weights: dict) -> str:
        (folder / WEIGHTS).unlink()
        save_file(weights, folder / WEIGHTS)
        return refusal(folder)

    assert f"lacks weights: {gone} (1 in all)" in refused({key: one for key, one in whole.items() if key != gone})
    assert "holds unknown weights: extra (1 in all)" in refused(whole | {"extra": torch.ones(1)})
    assert f"holds misshapen weights: {gone}" in refused(whole | {gone: torch.ones(3)})
    assert f"holds not finite weights: {gone}" in refused(whole | {gone: whole[gone] / 0})
    refused({})
    save_file(whole, folder / WEIGHTS)
    told = {"backbone": "toy", "conditioning": "prope"}
    save_file({key: one for key, one in camera.items() if key[0] == "0"}, folder / "camera.safetensors", told)
    assert "lacks weights: 1.out.bias, 1.out.weight" in refusal(folder)


def test_damage_is_one_line(folder: Path) -> None:
    for name in (WEIGHTS, "camera.safetensors", "config.json"):
        content = (folder / name).read_bytes()
        for damaged in (b"", content[:7], content[: len(content) // 2], b"\xff" * 64, b"[1]\n"):
            (folder / name).unlink()
            (folder / name).write_bytes(damaged)
            assert name in refusal(folder)
        (folder / name).write_bytes(content)
    loaded(folder)
    for content in ({"num_layers": 1}, {"num_layers": "two"}, {"patch_size": 3}):
        (folder / "config.json").write_text(json.dumps({"_class_name": "WanTransformer3DModel"} | content))
        refusal(folder)


def test_an_index_names_only_files_beside_it(folder: Path) -> None:
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    for content, problem in (
        ({"weight_map": {"a": "../other.safetensors"}}, "lies outside"),
        ({"weight_map": {"a": "absent.safetensors"}}, "no such file"),
        ({"weight_map": ["a"]}, "has no weight_map"),
        ({}, "has no weight_map"),
    ):
        index.write_text(json.dumps(content))
        assert problem in refusal(folder)


def test_a_folder_whose_writing_was_cut_off_is_no_folder_of_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="no space"):
        tiny.backbone("toy", "prope", seed=1).save(folder)
    assert "holds neither config.json nor model.pt" in refusal(folder)


def test_hub_ids_are_asked_for_and_paths_are_not(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, allow_patterns: list[str]) -> str:
        asked.append(repository)
        if repository != "someone/network":
            raise OSError("401 Unauthorized\nand more")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert loaded(Path("someone/network")).conditioning == "prope"
    assert "the hub does not hand it out (401 Unauthorized)" in refusal(Path("someone/else"))
    (tmp_path / "runs").mkdir()
    assert "no such folder, file or hub id" in refusal(Path("runs/typo"))
    assert "no such folder, file or hub id" in refusal(tmp_path / "a" / "b")
    assert asked == ["someone/network", "someone/else"]


def test_nothing_is_logged_on_the_way(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded(folder)
    assert not caplog.records
