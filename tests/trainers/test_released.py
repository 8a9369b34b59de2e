"""minWM's weights and numbers (reference/minwm.md section 19, groups K and L) through the project's own networks."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tiny  # noqa: E402
from diffusers import WanTransformer3DModel  # noqa: E402

from trajkit import plugins  # noqa: E402
from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.trainers import released  # noqa: E402
from trajkit.trainers.backbones import wan  # noqa: E402
from trajkit.trainers.cameras import Cameras  # noqa: E402

HEADS = {"heads": 1, "head_dim": released.HEAD_DIM, "layers": 2, "ffn": 8}


@pytest.fixture(scope="module")
def Z(shared: Path) -> dict[str, torch.Tensor]:
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as found:
        return {name: torch.from_numpy(found[name]) for name in found.files if name.startswith(("tiny_", "time_"))}


@pytest.fixture(scope="module")
def network(Z) -> wan.Backbone:
    """minWM's tiny network from its own state dict."""
    state = {f"model.{name[8:]}": tensor for name, tensor in Z.items() if name.startswith("tiny_sd/")}
    state = {released.WRAPPING.sub("", name): tensor for name, tensor in state.items()}
    weights, camera = released.to_diffusers(state)
    config = released.config_of(state, "tiny", head_dim=16)
    made = wan.Backbone(WanTransformer3DModel(**config), "prope")
    made.model.load_state_dict(weights)
    made.camera.load_state_dict(camera)
    made.chunk = 2
    return made


def given(Z) -> tuple[torch.Tensor, torch.Tensor, Cameras, dict[str, torch.Tensor]]:
    noisy, clean = (Z[f"tiny_in_x_{half}"].transpose(1, 2) for half in ("noisy", "clean"))
    cameras = Cameras(world_to_camera=Z["tiny_in_viewmats"], K=Z["tiny_in_Ks"])
    return noisy, clean, cameras, {"embeddings": Z["tiny_in_context"][None]}


@torch.no_grad()
def test_teacher_forcing_is_minwms(Z, network) -> None:
    noisy, clean, cameras, text = given(Z)
    sigma = Z["tiny_in_t"] / 1000
    for expected, seen in (("camera", cameras), ("nocam", None)):
        out = network.velocity(noisy, sigma, seen, text, clean=clean)
        torch.testing.assert_close(out.transpose(1, 2), Z[f"tiny_out_tf_{expected}"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_all_at_once_is_minwms(Z, network) -> None:
    noisy, _, cameras, text = given(Z)
    out = network.velocity(noisy, torch.full((1, 8), 0.625), cameras, text)
    torch.testing.assert_close(out.transpose(1, 2), Z["tiny_out_bidir_camera_t625"], atol=2e-5, rtol=0)


def test_sinusoid_is_minwms(Z, network) -> None:
    waves = network.model.condition_embedder.timesteps_proj(Z["time_pos"])
    torch.testing.assert_close(waves.double(), Z["time_sinusoid_16"], atol=1e-5, rtol=0)


def test_a_new_projective_branch_is_zero_as_minwms_is(Z) -> None:
    made = wan.Backbone.random(wan.Options(**{**HEADS, "text": 4, "freq": 4, "channels": 2}), "prope")
    assert bool(Z["tiny_prope_zero_init"])
    assert not any(parameter.any() for parameter in made.camera.parameters())


def test_names_go_there_and_back(Z) -> None:
    theirs = {name[8:]: tensor for name, tensor in Z.items() if name.startswith("tiny_sd/")}
    weights, camera = released.to_diffusers(theirs)
    back = released.from_diffusers(weights, camera)
    assert back.keys() == theirs.keys()
    assert all(back[name] is theirs[name] for name in theirs)
    assert len(camera) == 4


def files_of(made: wan.Backbone) -> dict[str, torch.Tensor]:
    return released.from_diffusers(made.model.state_dict(), made.camera.state_dict())


@pytest.mark.parametrize("collection", ["generator", "generator_ema", None])
def test_model_pt_loads(tmp_path: Path, collection: str | None) -> None:
    made = tiny.backbone("wan", "prope", **HEADS)
    state = {f"model._fsdp_wrapped_module.{name}": tensor for name, tensor in files_of(made).items()}
    state = {name.replace("blocks.1.", "blocks.1._fsdp_wrapped_module."): tensor for name, tensor in state.items()}
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    content = {collection: state, "generator" if collection != "generator" else "critic": other, "step": 3}
    torch.save(content if collection else state, tmp_path / "model.pt")
    for source in (tmp_path, tmp_path / "model.pt"):
        loaded = wan.Backbone.load(str(source), None)
        assert loaded.conditioning == "prope"
        assert (loaded.model.config.num_attention_heads, loaded.model.config.ffn_dim) == (1, 8)
        for name, tensor in made.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name


def test_safetensors_load_and_cameras_are_optional(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    made = tiny.backbone("wan", "none", **HEADS)
    save_file(files_of(made), tmp_path / "wan.safetensors")
    assert wan.Backbone.load(str(tmp_path / "wan.safetensors"), None).conditioning == "none"
    loaded = wan.Backbone.load(str(tmp_path / "wan.safetensors"), "prope")
    assert torch.equal(loaded.model.proj_out.weight, made.model.proj_out.weight)
    assert not any(parameter.any() for parameter in loaded.camera.parameters())


class Hostile:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('unpickled')",))


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    state = files_of(tiny.backbone("wan", "prope", **HEADS))

    def refused(content: object, match: str) -> None:
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(TrajkitError, match=match) as caught:
            wan.Backbone.load(str(tmp_path), None)
        assert "\n" not in str(caught.value)

    refused({"generator": Hostile()}, "not a whole file of tensors")
    refused([1, 2], "holds no state dict")
    refused({"generator": {"epoch": 3}}, "holds no state dict")
    refused({"generator": {"a.weight": torch.ones(1)}}, r"is no Wan network \(it holds a.weight\)")
    refused({**state, "head.extra": torch.ones(1)}, r"unknown weights: head.extra")
    refused({name: one for name, one in state.items() if "ffn.2" not in name}, r"lacks weights: blocks.0.ffn.net.2")
    refused(
        {name: one for name, one in state.items() if "blocks.1.self_attn.prope" not in name}, "lacks weights: 1.out"
    )
    refused({**state, "head.head.bias": torch.ones(3)}, "misshapen weights: proj_out.bias")
    refused({**state, "head.head.bias": torch.full((16,), torch.nan)}, "not finite weights: proj_out.bias")
    refused({**state, "patch_embedding.weight": torch.ones(96, 4, 1, 2, 2)}, "width 96 are not Wan's")
    whole = (tmp_path / "model.pt").read_bytes()
    for cut in (0, 10, len(whole) // 2):
        (tmp_path / "model.pt").write_bytes(whole[:cut])
        with pytest.raises(TrajkitError, match="not a whole file of tensors"):
            wan.Backbone.load(str(tmp_path), None)


@pytest.mark.parametrize("name", ["toy", "hunyuan"])
def test_others_have_no_released_weights(tmp_path: Path, name: str) -> None:
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(TrajkitError, match=f"read for backbone wan, not {name}"):
        plugins.load("backbones", name).Backbone.load(str(tmp_path), None)
