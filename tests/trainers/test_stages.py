"""Each stage against a slow twin written from its formula: one sample at a time, the past through a cache."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tiny  # noqa: E402
from tiny import part  # noqa: E402

from trajkit import options, plugins  # noqa: E402
from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.trainers import latentfile, ode_pairs, tensor_file  # noqa: E402
from trajkit.trainers.backbones import toy  # noqa: E402
from trajkit.trainers.batch import Batch, Draws  # noqa: E402
from trajkit.trainers.stages import causal, consistency, finetune, ode  # noqa: E402

STAGES = {"finetune": finetune, "causal": causal, "ode": ode, "consistency": consistency}
FRAMES, CHUNK, CHANNELS, SIDE, TEXT = 4, 2, 4, 4, 8
LEVELS = (1.0, 0.9375, 5 / 6, 0.625)  # 1000 750 500 250 at shift 5


def network(seed: int) -> toy.Backbone:
    """A tiny network whose zero-initialised parts are not zero, so that cameras matter."""
    made = tiny.backbone("toy", "prope", seed=seed, channels=CHANNELS, text=TEXT)
    made.chunk = CHUNK
    return made


def networks(stage: str) -> dict[str, toy.Backbone]:
    return {name: network(number) for number, name in enumerate(STAGES[stage].ROLES)}


def clips(count: int) -> Batch:
    """Clips 3, 4, ... of the run, with cameras, text and a teacher's path."""
    random = torch.Generator().manual_seed(5)
    latents = torch.randn(count, FRAMES, CHANNELS, SIDE, SIDE, generator=random)
    noise, end = torch.randn_like(latents[None].repeat(2, 1, 1, 1, 1, 1)).unbind()
    path = [(1 - s) * end + s * noise for s in LEVELS]
    return Batch(
        keys=tuple(f"clip-{number}" for number in range(count)),
        positions=torch.arange(3, 3 + count),
        latents=latents,
        cameras=tiny.cameras(count, FRAMES, seed=5),
        text={"embeddings": torch.randn(count, 3, TEXT, generator=random)},
        trajectory=torch.stack([*path, end, latents], 1),
    )


def draws_of(batch: Batch, seed: int = 11) -> Draws:
    return Draws(seed=seed, positions=batch.positions)


def loss_of(stage: str, batch: Batch, roles, seed: int = 11, **chosen) -> torch.Tensor:
    module = STAGES[stage]
    ((role, loss),) = module.losses(batch, roles, draws_of(batch, seed), module.Options(**chosen))
    assert role == "student"
    return loss


def chunk_by_chunk(net, noisy, sigma, batch: Batch, text=None) -> torch.Tensor:
    """Velocities of one clip as a rollout would get them: each chunk after the clean ones in the cache."""
    text, found = text or batch.text, []
    cache = net.cache(FRAMES, SIDE, SIDE)
    for start in range(0, FRAMES, CHUNK):
        now = slice(start, start + CHUNK)
        found.append(net.velocity(noisy[:, now], sigma[:, now], batch.cameras[now], text, cache=cache))
        net.remember(batch.latents[:, now], batch.cameras[now], text, cache)
    return torch.cat(found, 1)


def wan_sigma(index: int) -> float:
    s = 1 - index / 1000
    return 5 * s / (1 + 4 * s)


def near(found, wanted, tolerance=1e-5) -> None:
    torch.testing.assert_close(found, torch.as_tensor(wanted).to(found.dtype), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", plugins.names("stages"))
def test_every_stage_keeps_the_contract(name):
    stage = plugins.load("stages", name)
    assert stage.ROLES["student"].kind == "trained"
    for role in stage.ROLES.values():
        assert role.kind in ("trained", "frozen", "average")
        assert role.source in (stage.ROLES if role.kind == "average" else ("start", "teacher", "critic"))
    defaults = options.as_dict(stage.Options())
    assert "shift" in defaults
    assert options.build(stage.Options, defaults, where=name) == stage.Options()


@torch.no_grad()
def test_finetune_is_its_formula():
    batch, roles = clips(3), networks("finetune")
    total = 0.0
    for at in range(3):
        one = part(batch, slice(at, at + 1))
        draws, x0 = draws_of(one), one.latents
        sigma, noise = wan_sigma(int(draws.index("level", 1000, (1,)))), draws.normal("noise", x0.shape[1:])
        v = roles["student"].velocity(
            (1 - sigma) * x0 + sigma * noise, torch.full((1, FRAMES), sigma), one.cameras, one.text
        )
        total += float(((v - (noise - x0)) ** 2).mean())
    near(loss_of("finetune", batch, roles, text_dropout=0, camera_dropout=0), total / 3)


@torch.no_grad()
def test_causal_is_its_formula_chunk_by_chunk():
    batch, roles = clips(3), networks("causal")
    total = 0.0
    for at in range(3):
        one = part(batch, slice(at, at + 1))
        draws, x0 = draws_of(one), one.latents
        indices, noise = draws.index("level", 1000, (FRAMES // CHUNK,))[0], draws.normal("noise", x0.shape[1:])
        assert indices[0] != indices[1]
        sigma = torch.tensor([[wan_sigma(int(index)) for index in indices for _ in range(CHUNK)]])
        s = sigma[..., None, None, None]
        v = chunk_by_chunk(roles["student"], (1 - s) * x0 + s * noise, sigma, one)
        total += float(((v - (noise - x0)) ** 2).mean())
    near(loss_of("causal", batch, roles, text_dropout=0, camera_dropout=0), total / 3)


@torch.no_grad()
def test_ode_is_its_formula_chunk_by_chunk():
    batch, roles = clips(4), networks("ode")
    total, seen = 0.0, set()
    for at in range(4):
        one = part(batch, slice(at, at + 1))
        k = int(draws_of(one).index("level", 4))
        x, sigma = one.trajectory[:, k], torch.full((1, FRAMES), LEVELS[k])
        x0 = x - LEVELS[k] * chunk_by_chunk(roles["student"], x, sigma, one)
        total += float(((x0 - one.trajectory[:, 4]) ** 2).mean())
        seen.add(k)
    assert len(seen) > 1
    near(loss_of("ode", batch, roles), total / 4)


@torch.no_grad()
def test_consistency_is_its_formula_chunk_by_chunk():
    batch, roles = clips(3), networks("consistency")
    total = 0.0
    for at in range(3):
        one = part(batch, slice(at, at + 1))
        draws, x0 = draws_of(one), one.latents
        i, noise = int(draws.index("level", 50)), draws.normal("noise", x0.shape[1:])
        now, after = wan_sigma(i * 20), wan_sigma((i + 1) * 20)  # 50 steps are every 20th of 1000
        level, next_level = torch.full((1, FRAMES), now), torch.full((1, FRAMES), after)
        x = (1 - now) * x0 + now * noise
        silent = {"embeddings": torch.zeros_like(one.text["embeddings"])}
        vc = chunk_by_chunk(roles["teacher"], x, level, one)
        vu = chunk_by_chunk(roles["teacher"], x, level, one, silent)
        stepped = x - (now - after) * (vu + 3 * (vc - vu))
        target = stepped - after * chunk_by_chunk(roles["target"], stepped, next_level, one)
        x0_student = x - now * chunk_by_chunk(roles["student"], x, level, one)
        total += float(((x0_student - target) ** 2).mean())
    near(loss_of("consistency", batch, roles), total / 3)


@torch.no_grad()
def test_pairs_are_euler_steps_chunk_by_chunk():
    batch, teacher = clips(1), network(0)
    options = ode_pairs.Options(steps=4, timesteps="1000 750 500 250", guidance=2)
    x = noise = ode_pairs.noise_of(batch, 0)
    states, silent = [], {"embeddings": torch.zeros_like(batch.text["embeddings"])}
    for now, after in zip(LEVELS, (*LEVELS[1:], 0.0), strict=True):
        states.append(x)
        level = torch.full((1, FRAMES), now)
        vc = chunk_by_chunk(teacher, x, level, batch)
        vu = chunk_by_chunk(teacher, x, level, batch, silent)
        x = x + (after - now) * (2 * vc - vu)
    found = ode_pairs.pairs(teacher, batch, noise, options)
    near(found, torch.stack([*states, x, batch.latents], 1))


class Heard:
    """Timesteps that a network was told, and its noisy inputs, call by call."""

    def __init__(self, net, monkeypatch) -> None:
        self.timesteps, self.noisy, self.told = [], [], []
        waves, velocity = net.model.condition_embedder.timesteps_proj, net.velocity
        # the noisy half is the latter one under teacher forcing, and nothing of it is at level 0
        waves.register_forward_pre_hook(lambda _, arguments: self.timesteps.append(arguments[0].clone()))

        def recorded(noisy, sigma, cameras, text, **told):
            self.noisy.append(noisy)
            self.told.append({"cameras": cameras, "text": text, **told})
            return velocity(noisy, sigma, cameras, text, **told)

        monkeypatch.setattr(net, "velocity", recorded)


def level_in(noisy, x0, noise) -> torch.Tensor:
    """sigma (B, F) measured in the pixels: the share of the way from x0 to the noise."""
    way = (noise - x0).flatten(2)
    return ((noisy - x0).flatten(2) * way).sum(2) / (way * way).sum(2)


@pytest.mark.parametrize("stage", STAGES)
def test_timestep_is_a_thousand_times_the_level_in_the_pixels(stage, monkeypatch):
    batch, roles = clips(4), networks(stage)
    heard = {name: Heard(net, monkeypatch) for name, net in roles.items()}
    with torch.no_grad():
        loss_of(stage, batch, roles)
    noise, x0 = draws_of(batch).normal("noise", batch.latents.shape[1:]), batch.latents
    if stage == "ode":
        noise, x0 = batch.trajectory[:, 0], batch.trajectory[:, 4]
    for name in ("student", "teacher") if stage == "consistency" else ("student",):
        assert len(heard[name].timesteps) == len(heard[name].noisy) == (2 if name == "teacher" else 1)
        for timesteps, noisy in zip(heard[name].timesteps, heard[name].noisy, strict=True):
            told = timesteps.reshape(4, -1)
            assert told.shape[1] == (FRAMES if stage == "finetune" else 2 * FRAMES)
            near(told[:, -FRAMES:], 1000 * level_in(noisy, x0, noise), 1e-3)
            assert not told[:, :-FRAMES].any()
    if stage == "consistency":
        now, after = (heard[name].timesteps[0].reshape(4, -1)[:, -FRAMES:] for name in ("student", "target"))
        grid = torch.tensor([1000 * wan_sigma(20 * i) for i in range(51)])
        at = (now[..., None] - grid).abs().argmin(-1)
        near(now, grid[at], 1e-4)
        near(after, grid[at + 1], 1e-4)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_the_consistency_step_uses_the_exact_difference_of_levels(monkeypatch):
    batch, roles = clips(8), networks("consistency")
    heard = Heard(roles["target"], monkeypatch)
    monkeypatch.setattr(roles["teacher"], "velocity", lambda noisy, *_, **told: torch.ones_like(noisy))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        loss_of("consistency", batch, roles)
    draws, x0 = draws_of(batch), batch.latents
    for at, i in enumerate(draws.index("level", 50).tolist()):
        now, after = wan_sigma(20 * i), wan_sigma(20 * i + 20)
        x = (1 - now) * x0[at] + now * draws.normal("noise", x0.shape[1:])[at]
        near(heard.noisy[0][at] - x, torch.full_like(x, after - now), 1e-6)


def test_the_end_of_a_clean_latent_is_itself():
    batch = clips(2)
    found = consistency.endpoint(network(0), batch.latents, torch.zeros(2, FRAMES), batch)
    assert torch.equal(found, batch.latents)


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_reach_the_student_alone_and_parts_add_up(stage):
    batch, roles = clips(4), networks(stage)
    loss_of(stage, batch, roles).backward()
    whole = [parameter.grad.clone() for parameter in roles["student"].parameters()]
    assert max(float(grad.abs().max()) for grad in whole) > 1e-3
    assert all(float(one.weight.grad.abs().max()) > 0 for one in (layer.out for layer in roles["student"].camera))
    for name, net in roles.items():
        assert name == "student" or all(parameter.grad is None for parameter in net.parameters())
    roles["student"].zero_grad()
    for at in range(0, 4, 2):
        (loss_of(stage, part(batch, slice(at, at + 2)), roles) / 2).backward()
    for parameter, grad in zip(roles["student"].parameters(), whole, strict=True):
        near(parameter.grad, grad)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("stage", STAGES)
def test_equal_draws_give_equal_losses_and_training_lowers_them(stage):
    batch, roles = clips(1), networks(stage)
    with torch.no_grad():
        first, again, *others = (loss_of(stage, batch, roles, seed) for seed in (11, 11, 12, 13, 14))
        assert torch.equal(first, again)
        assert any(not torch.equal(first, other) for other in others)
        with torch.autocast("cpu", torch.bfloat16):
            short = loss_of(stage, batch, roles)
    assert short.dtype == first.dtype == torch.float32
    near(short, first, 0.05)
    for _ in range(12):
        loss = loss_of(stage, batch, roles)
        parameters = list(roles["student"].parameters())
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.data -= 2e-3 * grad.sign()
    assert loss < 0.8 * first


@pytest.mark.parametrize("stage", ["finetune", "causal"])
@torch.no_grad()
def test_dropped_text_and_cameras_are_the_nulls_that_guidance_asks_for(stage, monkeypatch):
    batch, roles = clips(32), networks(stage)
    heard = Heard(roles["student"], monkeypatch)
    loss_of(stage, batch, roles, text_dropout=0.5, camera_dropout=0.25)
    loss_of(stage, batch, roles, text_dropout=0, camera_dropout=0)
    loss_of(stage, batch, roles, text_dropout=1, camera_dropout=1)
    some, none, every = heard.told
    silent = (some["text"]["embeddings"] == 0).all(2).all(1)
    unposed = ~some["cameras"].present
    assert 8 < silent.sum() < 24
    assert 2 < unposed.sum() < 16
    assert (silent != unposed).any()
    assert torch.equal(some["text"]["embeddings"][~silent], batch.text["embeddings"][~silent])
    assert torch.equal(none["text"]["embeddings"], batch.text["embeddings"])
    assert none["cameras"].present.all()
    assert not every["cameras"].present.any()
    assert not every["text"]["embeddings"].any()
    monkeypatch.setattr(
        roles["student"],
        "null_text",
        lambda text: {"embeddings": torch.full_like(text["embeddings"], 7)},
        raising=False,
    )
    loss_of(stage, batch, roles, text_dropout=1)
    assert (heard.told[-1]["text"]["embeddings"] == 7).all()


@pytest.mark.parametrize("stage", STAGES)
@torch.no_grad()
def test_the_first_latent_is_told_where_asked(stage, monkeypatch):
    batch, roles = clips(1), networks(stage)
    heard = [Heard(net, monkeypatch) for net in roles.values()]
    loss_of(stage, batch, roles, first_frame=True)
    loss_of(stage, batch, roles)
    for one in heard:
        half = len(one.told) // 2
        assert all(torch.equal(told["first"], batch.latents[:, :1]) for told in one.told[:half])
        assert all(told.get("first") is None for told in one.told[half:])


@torch.no_grad()
def test_weight_and_levels():
    sigma = {levels: finetune.drawn_sigma(draws_of(clips(64)), finetune.Options(levels=levels), 3) for levels in
             ("uniform", "logit-normal")}  # fmt: skip
    for found in sigma.values():
        assert found.shape == (64, 3)
        assert found.dtype == torch.float64
        assert ((found > 0) & (found <= 1)).all()
        assert len(found.unique()) > 150
    batch, roles = clips(2), networks("finetune")
    pure = torch.ones(2, FRAMES, dtype=torch.float64)
    for weight, is_zero in (("none", False), ("bell", True)):
        options = finetune.Options(weight=weight)
        loss = finetune.matching_loss(roles["student"], batch, draws_of(batch), options, pure)
        assert (loss == 0) == is_zero


@torch.no_grad()
def test_noise_in_the_past_stays_within_its_level(monkeypatch):
    batch, roles = clips(8), networks("causal")
    heard = Heard(roles["student"], monkeypatch)
    loss_of("causal", batch, roles)
    loss_of("causal", batch, roles, context_noise=0.2)
    clean, aged = heard.told[0]["clean"], heard.told[1]["clean"]
    assert torch.equal(clean, batch.latents)
    level = level_in(aged, batch.latents, draws_of(batch).normal("context noise", batch.latents.shape[1:]))
    assert level.min() > 0
    assert 0.05 < level.max() < 0.2
    near(level, level[:, :1].expand_as(level), 1e-4)


def test_clips_without_the_right_path_are_refused():
    batch, roles = clips(1), networks("ode")
    with pytest.raises(TrajkitError, match="clip-0: holds no path of a teacher; run trajkit pairs first"):
        loss_of("ode", dataclasses.replace(batch, trajectory=None), roles)
    with pytest.raises(TrajkitError, match="its path has 6 states, not 4"):
        loss_of("ode", batch, roles, timesteps="1000 500")


def test_a_path_replaces_one_and_is_finite():
    told = {"encoder": "none", "frames": 5, "content": "c" * 64, "where": "here"}
    content = latentfile.to_bytes(torch.ones(2, CHANNELS, SIDE, SIDE), {}, **told)
    states = torch.ones(6, 2, CHANNELS, SIDE, SIDE)
    once = ode_pairs.extended(content, states, {"steps": 1}, "here")
    twice = ode_pairs.extended(once, 2 * states, {"steps": 2}, "here")
    found = latentfile.from_bytes(twice, "here")
    assert (found.header.encoder, found.header.states, found.header.pairs) == ("none", 6, '{"steps": 2}')
    assert (found.trajectory == 2).all()
    with pytest.raises(TrajkitError, match="trajectory is not finite in float16"):
        ode_pairs.extended(once, 1e6 * states, {}, "big")


def test_tensor_files_are_a_function_of_their_content():
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2).half()}
    metadata = {name: name * 3 for name in "hgfedcba"}
    made = tensor_file.packed(tensors, metadata)
    assert made == tensor_file.packed(dict(sorted(tensors.items())), dict(sorted(metadata.items())))
    assert tensor_file.metadata_of(made, "x") == metadata
    for damage in (b"", b"no tensors", b"\x05\x00\x00\x00\x00\x00\x00\x00[1,2]"):
        with pytest.raises(TrajkitError, match="not a safetensors file"):
            tensor_file.metadata_of(damage, "x")
