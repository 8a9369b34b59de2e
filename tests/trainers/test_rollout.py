"""Rollouts: equal to teacher forcing, deterministic, blind to the future, and scheduled as minWM's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trajkit.errors import TrajkitError
from trajkit.trainers import flow
from trajkit.trainers.attention import Cache
from trajkit.trainers.backbones import toy
from trajkit.trainers.batch import Draws
from trajkit.trainers.cameras import Cameras, anchored
from trajkit.trainers.card import Card
from trajkit.trainers.rollout import (
    Rollout,
    Sampling,
    bidirectional,
    chunks,
    gradient_of,
    last_frames,
    self_rollout,
)

SHAPE = (3, 8, 8)
CONDITIONINGS = ("prope", "prope-merged", "plucker", "none")
FEW = Sampling(sigmas=tuple(flow.few_step_sigmas((1000, 750, 500, 250), 5.0).tolist()), solver="consistency")


def network(conditioning: Any = "prope", layers: int = 2) -> toy.Backbone:
    """A tiny network with all weights random, also those that start at zero."""
    options = toy.Options(heads=2, head_dim=16, layers=layers, ffn=32, freq=16, patch=4)
    made = toy.Backbone.random(options, conditioning)
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(0.15 * torch.randn(weight.shape, generator=chance))
    return made.requires_grad_(False)


def cameras(frames: int, batch: int = 1, seed: int = 0) -> Cameras:
    """A bent walk, not starting at the identity."""
    chance = np.random.default_rng(seed)
    w2c = torch.eye(4).repeat(batch, frames, 1, 1)
    for at in range(frames):
        turn = torch.tensor(0.1 * (at + 1) + 0.2 * chance.random())
        rotation = [[turn.cos(), 0, turn.sin()], [0, 1, 0], [-turn.sin(), 0, turn.cos()]]
        w2c[:, at, :3, :3] = torch.tensor(rotation)
        w2c[:, at, :3, 3] = torch.tensor([0.1 * at, 0.02, 0.3 + 0.05 * at * chance.random()])
    K = torch.tensor([[0.6, 0, 0.45], [0, 0.9, 0.55], [0, 0, 1]]).repeat(batch, frames, 1, 1)
    return Cameras(world_to_camera=w2c, K=K)


def draws(batch: int = 1, seed: int = 0, step: int = 0) -> Draws:
    return Draws(seed=seed, positions=torch.arange(batch), step=step)


def rolled(net: toy.Backbone, sampling: Sampling, seen: Cameras, **told: Any) -> Tensor:
    told = {"window": len(seen), "shape": SHAPE, "draws": draws()} | told
    return torch.cat(list(chunks(Rollout(net, sampling, toy.null_text(1), **told), seen)), 1)


class Recorded:
    """A network that keeps what it is called with and what it answers."""

    def __init__(self, net: Any, chunk: int = 4) -> None:
        self.net, self.chunk = net, chunk
        self.calls: list[dict[str, Any]] = []
        self.remembered = 0

    def velocity(
        self, noisy: Tensor, sigma: Tensor, seen: Any, text: Mapping, *, cache: Any = None, **told: Any
    ) -> Tensor:
        answer = self.net.velocity(noisy, sigma, seen, text, cache=cache, **told)
        call = {"x": noisy.detach(), "sigma": sigma, "cameras": seen, "grad": torch.is_grad_enabled()}
        self.calls.append(call | {"v": answer.detach(), "start": self.remembered, "cache": cache, "text": text})
        return answer

    def remember(self, clean: Tensor, seen: Any, text: Mapping, cache: Any, **told: Any) -> None:
        with torch.no_grad():
            call = {"x": clean, "sigma": torch.zeros(clean.shape[:2]), "cameras": seen, "grad": torch.is_grad_enabled()}
        self.calls.append(call | {"start": self.remembered, "requires_grad": clean.requires_grad})
        self.remembered += clean.shape[1]
        self.net.remember(clean, seen, text, cache, **told)

    def cache(self, *size: int, **told: int) -> Any:
        return self.net.cache(*size, **told)


class Stub:
    """A network that answers with a multiple of its weight and keeps no past."""

    def __init__(self) -> None:
        self.weight = torch.tensor(0.3, requires_grad=True)

    def velocity(self, noisy: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.weight * noisy

    def remember(self, *_: Any, **__: Any) -> None:
        pass

    def cache(self, *_: int, **__: int) -> Cache:
        return Cache(1, 1)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_rollout_is_teacher_forcing_on_its_own_clip(conditioning: str) -> None:
    net, seen = network(conditioning), cameras(12)
    recorded = Recorded(net)
    clip = rolled(recorded, FEW, seen)  # type: ignore[arg-type]
    for step in range(FEW.steps):
        calls = [call for call in recorded.calls if "v" in call][step :: FEW.steps]
        noisy, sigma, answers = (torch.cat([call[name] for call in calls], 1) for name in ("x", "sigma", "v"))
        forced = net.velocity(noisy, sigma, anchored(seen), toy.null_text(1), clean=clip)
        assert (forced - answers).abs().max() < 1e-5
        assert answers.abs().max() > 0.01


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_after_eviction_a_one_layer_network_sees_what_a_fresh_cache_of_the_kept_frames_holds(conditioning: str) -> None:
    net, seen = network(conditioning, layers=1), cameras(16)
    recorded = Recorded(net)
    clip = rolled(recorded, FEW, seen, window=8)  # type: ignore[arg-type]
    fresh, told = net.cache(4, 8, 8), anchored(seen)
    fresh.origin = torch.eye(4)[None, None]  # the clip's first camera, which the fresh cache has not seen
    net.remember(clip[:, 8:12], told[8:12], toy.null_text(1), fresh)
    last = [call for call in recorded.calls if "v" in call][-1]
    again = net.velocity(last["x"], last["sigma"], told[12:], toy.null_text(1), cache=fresh)
    assert (again - last["v"]).abs().max() < 1e-5
    whole = rolled(net, FEW, seen)
    assert torch.equal(whole[:, :8], clip[:, :8])
    assert (whole[:, 12:] - clip[:, 12:]).abs().max() > 1e-4  # the window matters


def test_a_sink_keeps_the_first_frames_in_sight() -> None:
    net, seen = network(layers=1), cameras(16)
    plain, kept = (rolled(net, FEW, seen, window=12, sink=sink) for sink in (0, 4))
    assert torch.equal(plain[:, :12], kept[:, :12])
    assert (plain[:, 12:] - kept[:, 12:]).abs().max() > 1e-5


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_cameras_that_come_later_change_nothing_made_before(conditioning: str) -> None:
    net, seen, other = network(conditioning), cameras(12), cameras(12, seed=5)
    mixed = replace(
        seen, world_to_camera=torch.cat([seen.world_to_camera[:, :8], other.world_to_camera[:, 8:] @ shift()], 1)
    )
    one, two = rolled(net, FEW, seen), rolled(net, FEW, mixed)
    assert torch.equal(one[:, :8], two[:, :8])
    assert torch.equal(one[:, 8:], two[:, 8:]) == (conditioning == "none")


def shift() -> Tensor:
    moved = torch.eye(4)
    moved[:3, 3] = torch.tensor([0.5, -1.0, 2.0])
    return moved


def test_the_world_is_that_of_the_first_camera_and_the_scale_is_divided_out() -> None:
    net, seen = network("plucker"), cameras(8)
    one = rolled(net, FEW, seen)
    moved = replace(seen, world_to_camera=seen.world_to_camera @ shift())
    assert torch.allclose(one, rolled(net, FEW, moved), atol=1e-5)
    longer = anchored(seen)
    longer.world_to_camera[..., :3, 3] *= 4
    assert torch.allclose(one, rolled(net, FEW, longer, translation_scale=4.0), atol=1e-5)
    assert not torch.allclose(one, rolled(net, FEW, longer), atol=1e-3)


def test_noise_belongs_to_the_sample_and_a_rollout_repeats_itself() -> None:
    net, seen = network(), cameras(8)
    assert torch.equal(rolled(net, FEW, seen), rolled(net, FEW, seen))
    assert not torch.allclose(rolled(net, FEW, seen), rolled(net, FEW, seen, draws=draws(seed=1)), atol=1e-2)
    two = Rollout(net, FEW, toy.null_text(2), shape=SHAPE, draws=draws(2), window=8)
    pair = torch.cat(list(chunks(two, cameras(8, batch=2))), 1)
    assert torch.allclose(pair[:1], rolled(net, FEW, seen), atol=1e-5)


@pytest.mark.parametrize("drops", ["text", "cameras", "both"])
def test_guidance_has_two_pasts_and_scale_one_has_one(drops: Any) -> None:
    net, seen = network(), cameras(8)
    text = {"embeddings": torch.randn(1, 3, toy.TEXT_WIDTH, generator=torch.Generator().manual_seed(2))}
    null = {"embeddings": torch.zeros(1, 3, toy.TEXT_WIDTH)}
    told = {"shape": SHAPE, "draws": draws(), "window": 8}
    sampling = Sampling(sigmas=(1.0, 0.8, 0.0), guidance=2.5, drops=drops)
    clip = torch.cat(list(chunks(Rollout(net, sampling, text, **told), seen)), 1)  # type: ignore[arg-type]
    untold, blind = text if drops == "cameras" else null, drops != "text"
    caches, placed = (net.cache(4, 8, 8), net.cache(4, 8, 8)), anchored(seen)
    for number in range(2):
        now = placed[4 * number : 4 * number + 4]
        x = draws().normal(f"rollout chunk {number} step 0", (4, *SHAPE))
        for sigma, after in ((1.0, 0.8), (0.8, 0.0)):
            level = torch.full((1, 4), sigma)
            c = net.velocity(x, level, now, text, cache=caches[0])
            u = net.velocity(x, level, None if blind else now, untold, cache=caches[1])
            x = x + (after - sigma) * (u + 2.5 * (c - u))
        assert torch.allclose(x, clip[:, 4 * number : 4 * number + 4], atol=1e-5)
        net.remember(x, now, text, caches[0])
        net.remember(x, None if blind else now, untold, caches[1])
    recorded = Recorded(net)
    plain = rolled(recorded, replace(sampling, guidance=1.0), seen)  # type: ignore[arg-type]
    assert len(recorded.calls) == 2 * 2 + 1  # the last chunk is not remembered: nobody asked for another
    assert not torch.allclose(plain, clip, atol=1e-2)


def test_all_frames_at_once() -> None:
    net, seen = network(), cameras(6)
    sampling = Sampling(sigmas=(1.0, 0.5, 0.0))
    clip = bidirectional(net, sampling, seen, toy.null_text(1), shape=SHAPE, draws=draws())
    x = draws().normal("rollout chunk 0 step 0", (6, *SHAPE))
    for sigma in (1.0, 0.5):
        x = x - 0.5 * net.velocity(x, torch.full((1, 6), sigma), anchored(seen), toy.null_text(1))
    assert torch.allclose(clip, x, atol=1e-6)


def test_solvers_on_minwm_vectors(shared: Any) -> None:
    """hy_euler_traj and hy_cm_traj: four steps each, on velocities and noises that are stored."""
    z = np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False)
    v, x = torch.from_numpy(z["hy_step_v"]), torch.from_numpy(z["hy_step_x"])
    noises = torch.from_numpy(z["hy_cm_noise"])
    sigmas = tuple(map(float, z["hy_sigmas_shift5_4"].astype(np.float64)))
    for solver, wanted in (("euler", z["hy_euler_traj"]), ("consistency", z["hy_cm_traj"])):
        sampling, state = Sampling(sigmas=sigmas, solver=solver), x  # type: ignore[arg-type]
        for step in range(4):
            state = sampling.stepped(state, v[step], step, lambda at: noises[at - 1])  # type: ignore[arg-type]
            assert np.abs(state.numpy() - wanted[step]).max() < 2e-6


@pytest.mark.parametrize("exit_index", range(4))
def test_the_self_rollout_calls_as_minwm_does(shared: Any, exit_index: int) -> None:
    """sfroll_calls_exit*: timestep, first frame, frames, whether with gradient, cameras, first camera."""
    z = np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False)
    seen = cameras(20)
    seen.K[:, :, 0, 0] = torch.arange(20)  # names each camera
    recorded = Recorded(Stub())
    self_rollout(recorded, seen, {}, draws(), FEW, exit_index, shape=SHAPE, name="t")  # type: ignore[arg-type]
    made = []
    for call in recorded.calls:
        told = [
            1000 * float(call["sigma"][0, 0]),
            call["start"],
            call["x"].shape[1],
            float(call["grad"] and "v" in call),
        ]
        made.append([*told, len(call["cameras"]), float(call["cameras"].K[0, 0, 0, 0])])
        assert (call["sigma"] == call["sigma"][0, 0]).all()
    wanted = z[f"sfroll_calls_exit{exit_index}"]
    assert np.abs(np.array(made)[:, 0] - wanted[:, 0]).max() < 1e-3  # stored from float32
    assert np.array_equal(np.array(made)[:, 1:], wanted[:, 1:])


@pytest.mark.parametrize("full", [False, True])
def test_no_gradient_crosses_chunks(full: bool) -> None:
    """Each chunk's loss has the gradient of its one exit pass, the past being constants."""
    net, seen = network().requires_grad_(True), cameras(8)
    recorded = Recorded(net)
    x = self_rollout(recorded, seen, toy.null_text(1), draws(), FEW, 1, shape=SHAPE, name="t", full=full)  # type: ignore[arg-type]
    exits = [call for call in recorded.calls if call["grad"] and "v" in call]
    assert len(exits) == 2
    assert not any(call.get("requires_grad") for call in recorded.calls)
    weights = [one for name, one in net.named_parameters() if "proj_out" in name or "to_v" in name]
    got = torch.autograd.grad(x[:, 4:].square().sum(), weights, allow_unused=True)
    cache = net.cache(8, 8, 8)
    past = next(call["x"] for call in recorded.calls if "v" not in call)
    net.remember(past, anchored(seen)[:4], toy.null_text(1), cache)
    v = net.velocity(exits[1]["x"], exits[1]["sigma"], anchored(seen)[4:], toy.null_text(1), cache=cache)
    twin = flow.clean_from(exits[1]["x"], v, torch.tensor(FEW.sigmas[1]))
    wanted = torch.autograd.grad(twin.square().sum(), weights, allow_unused=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, wanted, strict=True))
    assert max(one.abs().max() for one in wanted) > 0.01


def test_the_past_is_the_exit_prediction_or_the_result_of_all_steps() -> None:
    net, seen = network(), cameras(8)
    told = {"shape": SHAPE, "name": "rollout"}
    for full in (False, True):
        recorded = Recorded(net)
        x = self_rollout(recorded, seen, toy.null_text(1), draws(), FEW, 1, full=full, **told)  # type: ignore[arg-type]
        past = next(call["x"] for call in recorded.calls if "v" not in call)
        assert torch.equal(past, x[:, :4]) != full
        if full:
            assert torch.equal(past, rolled(net, FEW, seen)[:, :4])
    last = self_rollout(net, seen, toy.null_text(1), draws(), FEW, 3, **told)  # type: ignore[arg-type]
    assert torch.equal(last, rolled(net, FEW, seen))


def test_the_students_cameras_are_not_rounded_under_autocast(monkeypatch: Any) -> None:
    net, told, seen = network(), cameras(8), []
    real = net._trunk
    monkeypatch.setattr(net, "_trunk", lambda x, sigma, at, *more: seen.append(at) or real(x, sigma, at, *more))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        self_rollout(net, told, toy.null_text(1), draws(), FEW, 0, shape=SHAPE, name="student")
    wanted = anchored(told).world_to_camera
    assert torch.allclose(seen[0].world_to_camera, wanted[:, :4], atol=1e-6)
    assert torch.allclose(seen[-1].world_to_camera, wanted[:, 4:], atol=1e-6)


def test_gradient_checkpointing_after_the_cache_has_grown_changes_nothing() -> None:
    found = []
    for checkpointing in (False, True):
        net = network().requires_grad_(True)
        net.gradient_checkpointing = checkpointing
        self_rollout(
            net, cameras(8), toy.null_text(1), draws(), FEW, 2, shape=SHAPE, name="t"
        ).square().sum().backward()
        found.append([one.grad for one in net.parameters() if one.grad is not None])
    assert len(found[0]) > 10
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_frames_without_gradient(shared: Any) -> None:
    """sf_mask, sf_out, sf_dvideo; and a chunk that needs none runs without."""
    z = np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False)
    mask = last_frames(8, 3)
    assert np.array_equal(mask.numpy(), z["sf_mask"] == 1)
    video = torch.from_numpy(z["sf_video"]).transpose(1, 2).clone().requires_grad_(True)  # B F C H W
    out = gradient_of(video, mask)
    out.square().sum().backward()
    assert np.array_equal(out.detach().transpose(1, 2).numpy(), z["sf_out"])
    assert video.grad is not None
    assert np.allclose(video.grad.transpose(1, 2).numpy(), z["sf_dvideo"], atol=1e-7)
    recorded = Recorded(Stub())
    self_rollout(recorded, cameras(12), {}, draws(), FEW, 1, shape=SHAPE, name="t", last=6)  # type: ignore[arg-type]
    assert [call["start"] for call in recorded.calls if call["grad"] and "v" in call] == [4, 8]


@pytest.mark.parametrize("sink", [0, 2])
def test_the_cache_rolls_as_minwm_s(shared: Any, sink: int) -> None:
    """kvroll_*: what a chunk attends to, in a window of 6 frames of one token, chunks of 2, each laid down twice."""
    wanted = np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False)[f"kvroll_sink{sink}_win6_blk2"]
    cache = Cache(1, 6 - 2, sink)  # as Rollout makes it: the window holds the present chunk too
    for row in range(6):
        ids = torch.tensor([2.0 * row, 2.0 * row + 1]).reshape(1, 2, 1, 1)
        for _ in ("noisy", "clean"):
            seen = cache.joined(0, ids, ids, cache.length)[0].flatten().tolist()
        cache.commit(2)
        assert seen == [one for one in wanted[row] if one >= 0]


def test_sampling_follows_the_card() -> None:
    many = Card(backbone="toy", conditioning="none", stage="causal", shift=5.0)
    few = replace(many, stage="dmd", solver="consistency", timesteps=(1000.0, 750.0, 500.0, 250.0))
    assert Sampling.of(few) == FEW
    assert Sampling.of(few, guidance=2.0).guidance == 2
    assert Sampling.of(many).sigmas[:2] == pytest.approx((1.0, 5 * 0.98 / (1 + 4 * 0.98)))
    assert (Sampling.of(many).steps, Sampling.of(many).guidance, Sampling.of(many, steps=7).steps) == (50, 3.0, 7)
    with pytest.raises(TrajkitError, match="was trained for the consistency solver, not euler"):
        Sampling.of(few, solver="euler")
    with pytest.raises(TrajkitError, match="was trained for 4 steps, not 8"):
        Sampling.of(few, steps=8)


def test_refusals() -> None:
    net, told = network(), {"shape": SHAPE, "draws": draws()}
    for window, sink, problem in ((7, 0, "holds no latent before a chunk of 4"), (12, 5, "leaves no room")):
        with pytest.raises(TrajkitError, match=problem):
            Rollout(net, FEW, toy.null_text(1), window=window, sink=sink, **told)  # type: ignore[arg-type]
    with pytest.raises(TrajkitError, match="3 cameras for a chunk of 4"):
        Rollout(net, FEW, toy.null_text(1), window=8, **told).next_chunk(cameras(3))  # type: ignore[arg-type]
    with pytest.raises(TrajkitError, match="10 latents: are no whole number of chunks of 4; give 8 latents: 29 frames"):
        rolled(net, FEW, cameras(10))
    with pytest.raises(TrajkitError, match="10 latents: are no whole"):
        self_rollout(net, cameras(10), toy.null_text(1), draws(), FEW, 0, shape=SHAPE, name="t")
