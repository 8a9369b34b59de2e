"""HunyuanVideo 1.5: equal to the stock network where that has an answer, to a mask or a loop where it has none."""

import dataclasses
import types
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from trajkit.errors import TrajkitError
from trajkit.trainers.attention import Pass, attend, teacher_forcing_mask
from trajkit.trainers.backbones import BackboneModule, hunyuan
from trajkit.trainers.backbones._hunyuan_text import stripped
from trajkit.trainers.cameras import Projection

aten: Any = torch.ops.aten
SIZE = {"channels": 4, "patch": 1, "heads": 2, "head_dim": 24, "layers": 2, "refiner": 1, "text": 16, "byt5": 12}
LEVELS = torch.tensor([[0.3, 0.8]]).repeat_interleave(4, 1)
FRAMES, CHUNK, HEIGHT, WIDTH = 8, 4, 2, 3


def made(conditioning: str = "none", **size: int) -> BackboneModule:
    options = hunyuan.Options(**(SIZE | {"image": 8, "mlp_ratio": 2.0} | size))
    return tiny.liven(hunyuan.Backbone.random(options, conditioning))


@pytest.fixture(scope="module")
def networks() -> dict[str, BackboneModule]:
    return {one: made(one) for one in tiny.CONDITIONINGS}


def text(batch: int = 1, *, image: bool = True, tokens: tuple[int, ...] = (5, 3), drawn: tuple[int, ...] = (2, 0)):
    """Padded prompts of so many valid tokens each; the padding is not zero, and must not matter."""
    g = torch.Generator().manual_seed(3)
    out = {
        "embeddings": torch.randn(batch, 7, 16, generator=g),
        "mask": (torch.arange(7) < torch.tensor(tokens[:batch])[:, None]).long(),
        "byt5": torch.randn(batch, 4, 12, generator=g),
        "byt5_mask": (torch.arange(4) < torch.tensor(drawn[:batch])[:, None]).long(),
    }
    return out | ({"image": torch.randn(batch, 3, 8, generator=g)} if image else {})


def clip(seed: int = 0, batch: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, FRAMES, 4, HEIGHT, WIDTH, generator=g)


def stock(network: BackboneModule, x: Tensor, sigma: Tensor, words: dict[str, Tensor], first: Tensor | None) -> Tensor:
    """The stock forward with channels laid out by hand."""
    beside = torch.zeros(x.shape[0], FRAMES, 5, HEIGHT, WIDTH)
    if first is not None:
        beside[:, 0, :4], beside[:, 0, 4] = first[:, 0], 1
    return network.model(
        torch.cat([x, beside], 2).transpose(1, 2),
        1000 * sigma,
        words["embeddings"],
        words["mask"],
        encoder_hidden_states_2=words["byt5"],
        encoder_attention_mask_2=words["byt5_mask"],
        image_embeds=words.get("image", torch.zeros(x.shape[0], 3, 8)),
        return_dict=False,
    )[0].transpose(1, 2)


def rolled(network: BackboneModule, clean: Tensor, noisy: Tensor, sigma: Tensor, cameras, words, first) -> Tensor:
    """Each chunk of noisy frames after a cache of the clean ones before it."""
    cache, out = network.cache(FRAMES, HEIGHT, WIDTH), []
    for start in range(0, FRAMES, CHUNK):
        own = slice(start, start + CHUNK)
        args = (None if cameras is None else cameras[own], words)
        with torch.no_grad():
            out.append(network.velocity(noisy[:, own], sigma[:, own], *args, cache=cache, first=first))
        network.remember(clean[:, own], *args, cache, first=first)
    return torch.cat(out, 1)


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("tokens", [(7, 7), (5, 5), (5, 3)])
@torch.no_grad()
def test_it_equals_the_stock_network_for_any_padding_and_without_an_image(networks, tokens, image) -> None:
    words = text(2, image=image, tokens=tokens, drawn=(4, 4) if tokens == (7, 7) else (2, 0))
    x, sigma, first = clip(1, 2), torch.tensor([0.7, 0.2]), clip(2, 2)[:, :1] if image else None
    ours = networks["none"].velocity(x, sigma[:, None].expand(2, FRAMES), None, words, first=first)
    torch.testing.assert_close(ours, stock(networks["none"], x, sigma, words, first), rtol=0, atol=1e-5)


@torch.no_grad()
def test_patches_of_two_cells_are_those_of_the_stock_network() -> None:
    network = made(patch=2, layers=1)
    x, words = torch.randn(1, FRAMES, 4, 4, 6), text()
    ours = network.velocity(x, torch.full((1, FRAMES), 0.4), None, words)
    padded = torch.cat([x, torch.zeros(1, FRAMES, 5, 4, 6)], 2).transpose(1, 2)
    names = {"encoder_hidden_states_2": "byt5", "encoder_attention_mask_2": "byt5_mask", "image_embeds": "image"}
    told = {name: words[own] for name, own in names.items()} | {"image_embeds": torch.zeros(1, 3, 8)}  # no `first`
    theirs = network.model(padded, torch.tensor([400.0]), words["embeddings"], words["mask"], **told).sample
    torch.testing.assert_close(ours, theirs.transpose(1, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("conditioning", tiny.CONDITIONINGS)
@torch.no_grad()
def test_teacher_forcing_is_the_cached_rollout(networks, conditioning: str, ragged: bool) -> None:
    network, batch = networks[conditioning], 2 if ragged else 1
    cameras, words, sigma = tiny.cameras(batch, FRAMES), text(batch), LEVELS.expand(batch, -1)
    cameras = cameras.dropped(torch.tensor([True, False])) if ragged else cameras
    clean, noisy = clip(0, batch), clip(1, batch)
    forced = network.velocity(noisy, sigma, cameras, words, clean=clean, first=clean[:, :1])
    cached = rolled(network, clean, noisy, sigma, cameras, words, clean[:, :1])
    torch.testing.assert_close(forced, cached, rtol=0, atol=1e-5)
    assert (forced[:, CHUNK:] - network.velocity(noisy, sigma, cameras, words)[:, CHUNK:]).abs().max() > 1e-3


@torch.no_grad()
def test_a_batch_of_texts_of_different_length_is_its_samples_one_by_one(networks) -> None:
    cameras, words, sigma, clean, noisy = tiny.cameras(2, FRAMES), text(2), LEVELS.repeat(2, 1), clip(0, 2), clip(1, 2)
    network = networks["prope"]
    both = network.velocity(noisy, sigma, cameras, words, clean=clean)
    for one in range(2):
        own = slice(one, one + 1)
        w2c, K = cameras.world_to_camera[own], cameras.K[own]
        alone = dataclasses.replace(cameras, world_to_camera=w2c, K=K)
        told = {name: value[own] for name, value in words.items()}
        torch.testing.assert_close(
            both[own], network.velocity(noisy[own], sigma[own], alone, told, clean=clean[own]), rtol=0, atol=1e-6
        )


@torch.no_grad()
def test_teacher_forcing_is_the_masked_network_over_all_tokens(networks) -> None:
    """The slow twin: one dense mask over [text | clean | noisy], written out for one block."""
    network, tokens = made(layers=1), HEIGHT * WIDTH
    clean, noisy, words = clip(0), clip(1), text(image=False, drawn=(0,))
    ours = network.velocity(noisy, LEVELS, None, words, clean=clean)
    model, block = network.model, network.model.transformer_blocks[0]
    levels = torch.cat([torch.zeros_like(LEVELS), LEVELS], 1)[0].repeat_interleave(tokens)
    temb = model.time_embed(1000 * levels)[None]
    x = torch.cat([torch.cat([clean, noisy], 1), torch.zeros(1, 2 * FRAMES, 5, HEIGHT, WIDTH)], 2)
    hidden = model.x_embedder(x.transpose(1, 2))
    said = model.context_embedder(words["embeddings"][:, :5], torch.zeros(1)) + model.cond_type_embed.weight[0]
    still = model.time_embed(torch.zeros(1))[None]
    mod = block.norm1.linear(torch.nn.functional.silu(temb)).chunk(6, -1)
    own = block.norm1_context.linear(torch.nn.functional.silu(still)).chunk(6, -1)
    a, b = block.norm1.norm(hidden) * (1 + mod[1]) + mod[0], block.norm1_context.norm(said) * (1 + own[1]) + own[0]
    heads = lambda layer, x: layer(x).unflatten(2, (2, 24))  # noqa: E731
    t = block.attn
    table = model.rope(x[:, :FRAMES].transpose(1, 2))
    wave = [one.repeat(2, 1)[None, :, None] for one in table]
    turn = lambda v: v * wave[0] + torch.stack([-v[..., 1::2], v[..., ::2]], -1).flatten(-2) * wave[1]  # noqa: E731
    q, k = turn(t.norm_q(heads(t.to_q, a))), turn(t.norm_k(heads(t.to_k, a)))
    k, v = (
        torch.cat([t.norm_added_k(heads(t.add_k_proj, b)), k], 1),
        torch.cat([heads(t.add_v_proj, b), heads(t.to_v, a)], 1),
    )
    mask = torch.cat(
        [torch.ones(2 * FRAMES * tokens, 5, dtype=torch.bool), teacher_forcing_mask(FRAMES, tokens, CHUNK)], 1
    )
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / 24**0.5
    out = torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)
    hidden = hidden + t.to_out[0](out.flatten(2)) * mod[2]
    hidden = hidden + block.ff(block.norm2(hidden) * (1 + mod[4]) + mod[3]) * mod[5]
    scale, shift = model.norm_out.linear(torch.nn.functional.silu(temb)).chunk(2, -1)
    end = model.proj_out(model.norm_out.norm(hidden) * (1 + scale) + shift)[:, FRAMES * tokens :]
    twin = end.reshape(1, FRAMES, HEIGHT, WIDTH, 4).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(ours, twin, rtol=0, atol=1e-5)


@pytest.mark.parametrize("conditioning", ["prope", "plucker"])
@torch.no_grad()
def test_cameras_change_nothing_before_they_are_trained(networks, conditioning: str) -> None:
    fresh = hunyuan.Backbone(networks[conditioning].model, conditioning)
    noisy, words, cameras = clip(1), text(), tiny.cameras(1, FRAMES)
    for told in ({}, {"clean": clip(0)}):
        with_cameras = fresh.velocity(noisy, LEVELS, cameras, words, **told)
        assert torch.equal(with_cameras, fresh.velocity(noisy, LEVELS, None, words, **told))
        livened = networks[conditioning].velocity(noisy, LEVELS, cameras, words, **told)
        assert (livened - with_cameras).abs().max() > 1e-3


@torch.no_grad()
def test_a_later_chunk_sees_the_past_and_never_the_future(networks) -> None:
    network, cameras, words = networks["prope"], tiny.cameras(1, FRAMES), text()
    clean, noisy = clip(0), clip(1)
    base = network.velocity(noisy, LEVELS, cameras, words, clean=clean)
    for changed, frame, early, late in (("clean", 5, 0.0, 0.0), ("noisy", 5, 0.0, 1e-4), ("clean", 1, 0.0, 1e-4)):
        told = {"clean": clean.clone(), "noisy": noisy.clone()}
        told[changed][:, frame] += 1
        difference = (network.velocity(told["noisy"], LEVELS, cameras, words, clean=told["clean"]) - base).abs()
        assert difference[:, :CHUNK].max() <= early
        assert (difference[:, CHUNK:].max() > late) == (late > 0)


@torch.no_grad()
def test_each_frame_has_its_own_timestep(networks) -> None:
    network, words = networks["none"], text()
    base = network.velocity(clip(1), LEVELS, None, words, clean=clip(0))
    level = LEVELS.clone()
    level[:, 6] = 0.5
    changed = (network.velocity(clip(1), level, None, words, clean=clip(0)) - base).abs().amax((0, 2, 3, 4))
    assert changed[:CHUNK].max() == 0
    assert changed[6] > 10 * changed[[4, 5, 7]].max() > 0


@torch.no_grad()
def test_the_first_latent_is_told_to_the_first_chunk_alone(networks) -> None:
    network, words, clean = networks["none"], text(image=False), clip(0)
    caches = [network.cache(FRAMES, HEIGHT, WIDTH) for _ in range(2)]
    told = [{"first": clean[:, :1]}, {}]
    starts = [
        network.velocity(clean[:, :4], LEVELS[:, :4], None, words, cache=c, **t)
        for c, t in zip(caches, told, strict=True)
    ]
    assert (starts[0] - starts[1]).abs().max() > 1e-3
    for cache in caches:
        network.remember(clean[:, :4], None, words, cache, first=clean[:, :1])
    later = [
        network.velocity(clean[:, 4:], LEVELS[:, 4:], None, words, cache=c, **t)
        for c, t in zip(caches, told, strict=True)
    ]
    assert torch.equal(*later)


@torch.no_grad()
def test_the_words_are_spoken_once_per_cache(networks, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(
        networks["prope"].model.context_embedder, "forward", lambda *args: calls.append(args) or torch.zeros(1, 5, 48)
    )
    rolled(networks["prope"], clip(0), clip(1), LEVELS, tiny.cameras(1, FRAMES), text(), None)
    assert len(calls) == 1
    assert not calls[0][1].any()


@pytest.mark.parametrize("causal", [False, True])
def test_checkpointing_gives_the_same_gradients(causal: bool) -> None:
    network, cameras, words = made("prope"), tiny.cameras(2, FRAMES), text(2)
    found = []
    for network.gradient_checkpointing in (False, True):
        network.zero_grad()
        network.velocity(
            clip(1, 2),
            LEVELS.repeat(2, 1),
            cameras,
            words,
            clean=clip(0, 2) if causal else None,
            first=clip(2, 2)[:, :1],
        ).square().sum().backward()
        found.append({name: one.grad for name, one in network.named_parameters()})
    for name, one in found[0].items():
        unread = any(part in name for part in ("ff_context", "to_add_out", "add_q_proj", "norm_added_q"))
        assert (one is None) == (unread and "blocks.1." in name), name  # nobody reads the last block's words
        assert one is None or torch.equal(one, found[1][name]), name


def test_bfloat16_is_close_whether_by_autocast_or_by_weights(networks) -> None:
    network, cameras, words, noisy = networks["prope"], tiny.cameras(1, FRAMES), text(), clip(1)
    told = {"clean": clip(0), "first": clip(0)[:, :1]}
    exact = network.velocity(noisy, LEVELS, cameras, words, **told)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = network.velocity(noisy, LEVELS, cameras, words, **told)
    small = made("prope").to(torch.bfloat16).velocity(noisy.bfloat16(), LEVELS, cameras, words, **told)
    for one in (cast, small):
        assert (one - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("conditioning", tiny.CONDITIONINGS)
@pytest.mark.parametrize("mode", ["all", "clean", "past"])
@torch.no_grad()
def test_operations_are_those_that_torch_counts(conditioning: str, mode: str) -> None:
    network = made(conditioning)
    words = {"embeddings": torch.randn(1, 11, 16)}
    cameras, cache, told = tiny.cameras(1, FRAMES), network.cache(FRAMES, HEIGHT, WIDTH), {}
    if mode == "past":
        network.remember(clip(0)[:, :4], cameras[:4], words, cache)
        told = {"cache": cache}
    elif mode == "clean":
        told = {"clean": clip(0)}
    own = slice(4 if mode == "past" else 0, 8)
    with FlopCounterMode(display=False) as counter:
        network.velocity(clip(1)[:, own], LEVELS[:, own], cameras[own], words, **told)
    past = 4 if mode == "past" else 0
    counted = network.flops(FRAMES - past, HEIGHT, WIDTH, clean=mode == "clean", past=past, words=11)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_default_is_the_8b() -> None:
    with torch.device("meta"):
        network = hunyuan.Backbone.random(hunyuan.Options(), "prope")
    assert sum(one.numel() for one in network.model.parameters()) == pytest.approx(8.33e9, rel=1e-3)
    assert sum(one.numel() for one in network.camera.parameters()) == 54 * (2048 * 2048 + 2048)
    assert tuple(network.model.config.rope_axes_dim) == (16, 56, 56)


def test_the_null_text_has_one_token_and_keeps_the_image(networks) -> None:
    words = text(2)
    null = networks["none"].null_text(words)
    assert {name: one.shape for name, one in null.items()} == {name: one.shape for name, one in words.items()}
    assert [one.shape[1] for one in stripped(null)[0].values()] == [1, 0, 3]
    assert networks["none"].velocity(clip(1, 2), LEVELS.repeat(2, 1), None, null).isfinite().all()
    empty = torch.randn(2, 3, 16)
    null = networks["none"].null_text(words | {"null": empty})  # as `encode` stores the empty prompt
    assert all(torch.equal(sample["embeddings"][0], empty[number]) for number, sample in enumerate(stripped(null)))
    assert torch.equal(null["null"], empty)
    with pytest.raises(TrajkitError, match="no valid token"):
        stripped(words | {"mask": torch.zeros(2, 7)})


def test_a_mask_is_read_once(monkeypatch) -> None:
    words, reads, read = text(2), [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: reads.append(1) or read(self))
    samples = stripped(words)
    assert [tuple(sample["embeddings"].shape) for sample in samples] == [(1, 5, 16), (1, 3, 16)]
    assert torch.equal(samples[1]["embeddings"][0], words["embeddings"][1, :3])
    stripped(dict(words))
    assert len(reads) == 3


@torch.no_grad()
def test_an_image_of_zeros_is_none(networks) -> None:
    words, told, first = text(), (clip(1), LEVELS, None), clip(0)[:, :1]
    bare, zeros = text(image=False), words | {"image": torch.zeros(1, 3, 8)}
    call = networks["none"].velocity
    assert torch.equal(call(*told, bare, first=first), call(*told, zeros, first=first))
    assert not torch.equal(call(*told, bare, first=first), call(*told, words, first=first))
    assert torch.equal(call(*told, bare), call(*told, words)), "text to video is not told a picture"


class Unread(TorchDispatchMode):
    """Refuses what would make a program wait for its device: values that are read, shapes that depend on values."""

    def __torch_dispatch__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert called.overloadpacket not in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal)
        return called(*args, **(kwargs or {}))


@pytest.mark.parametrize("conditioning", tiny.CONDITIONINGS)
def test_nothing_waits_for_the_device(networks, conditioning: str) -> None:
    network, clean, sigma, words = networks[conditioning], clip(0, 2), LEVELS.repeat(2, 1), text(2)
    cameras = tiny.cameras(2, FRAMES).dropped(torch.tensor([True, False]))
    with pytest.raises(AssertionError), Unread():
        stripped(words)
    stripped(words)  # the masks are read once
    cache = network.cache(FRAMES, HEIGHT, WIDTH)
    with Unread():
        network.velocity(clean, sigma, cameras, words, clean=clean, first=clean[:, :1])
        network.velocity(clean, sigma, cameras, words)
        network.remember(clean[:, :4], cameras[:4], words, cache, first=clean[:, :1])
        network.velocity(clean[:, 4:], sigma[:, 4:], cameras[4:], words, cache=cache)


def test_networks_whose_parts_would_be_passed_over_are_refused() -> None:
    config = made(layers=1).model.config
    for change in ({"in_channels": 10}, {"patch_size_t": 2}, {"use_meanflow": True}):
        other = types.SimpleNamespace(config=types.SimpleNamespace(**dict(config) | change))
        with pytest.raises(TrajkitError, match="not super-resolution"):
            hunyuan.Backbone(other, "none")
    with pytest.raises(TrajkitError, match="hunyuan: heads 20 wide cannot be cut for prope-merged"):
        made("prope-merged", head_dim=20)


@pytest.mark.parametrize("conditioning", tiny.CONDITIONINGS)
def test_saved_and_loaded_is_the_same(networks, tmp_path, conditioning: str) -> None:
    networks[conditioning].save(tmp_path)
    back = hunyuan.Backbone.load(str(tmp_path), None)
    assert back.conditioning == conditioning
    told = (clip(1), LEVELS, tiny.cameras(1, FRAMES), text())
    assert all(torch.equal(one, back.state_dict()[name]) for name, one in networks[conditioning].state_dict().items())
    with torch.no_grad():  # weights that lie elsewhere in memory round otherwise
        torch.testing.assert_close(back.velocity(*told), networks[conditioning].velocity(*told), rtol=0, atol=1e-5)


@pytest.mark.parametrize("conditioning", ["prope", "prope-merged"])
@torch.no_grad()
def test_among_pictures_only_relative_cameras_count(networks, conditioning: str) -> None:
    """The text has no camera, so the world would matter to what it says: `velocity` anchors it at the first one."""
    network, cameras, tokens = networks[conditioning], tiny.cameras(1, FRAMES), HEIGHT * WIDTH
    q, k, v = torch.randn(3, 1, FRAMES * tokens, 2, 24, generator=torch.Generator().manual_seed(0))
    rotary, attn = network._rotary(torch.arange(FRAMES), HEIGHT, WIDTH), network.model.transformer_blocks[0].attn
    w2c = cameras.world_to_camera
    updates = []
    for seen in (w2c, w2c @ w2c[:, 3:4], w2c[:, [0] * FRAMES]):
        projection = Projection.of(dataclasses.replace(cameras, world_to_camera=seen))
        out = attend(*network._laid(q, k, v, rotary, projection), Pass(rotary=None), 0)
        updates.append(network._read(attn, network.camera[0] if network.camera else None, out, projection))
    torch.testing.assert_close(updates[1], updates[0], rtol=0, atol=1e-5)
    assert (updates[2] - updates[0]).abs().max() > 1e-2


@pytest.mark.parametrize("conditioning", ["prope", "prope-merged", "plucker"])
@torch.no_grad()
def test_dropped_cameras_are_none(networks, conditioning: str) -> None:
    network, cameras, words, told = networks[conditioning], tiny.cameras(1, FRAMES), text(), {"clean": clip(0)}
    dropped = network.velocity(clip(1), LEVELS, cameras.dropped(torch.tensor([False])), words, **told)
    torch.testing.assert_close(dropped, network.velocity(clip(1), LEVELS, None, words, **told), rtol=0, atol=1e-5)
    assert (dropped - network.velocity(clip(1), LEVELS, cameras, words, **told)).abs().max() > 1e-3
