"""Distribution matching distillation: minWM's numbers, and a Gaussian whose scores are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import part
from torch import Tensor, nn

from trajkit.errors import TrajkitError
from trajkit.trainers import flow
from trajkit.trainers.attention import Cache
from trajkit.trainers.backbones import toy
from trajkit.trainers.batch import Batch, Draws
from trajkit.trainers.cameras import Cameras
from trajkit.trainers.stages import dmd

FRAMES, SHAPE = 8, (1, 2, 2)


class Gaussian(nn.Module):
    """The exact network for clips whose values are all N(mean, spread^2): its velocity leads to E[x0 | x]."""

    chunk = 4

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.mean, self.spread = nn.Parameter(torch.tensor(mean)), spread
        self.told: list[float] = []

    def velocity(self, noisy: Tensor, sigma: Tensor, *_: Any, **__: Any) -> Tensor:
        self.told.extend(sigma.flatten().tolist())
        level = flow.spread(sigma, noisy)
        keep = 1 - level
        share = keep * self.spread**2 / (keep**2 * self.spread**2 + level**2)
        return flow.velocity_from(noisy, self.mean + share * (noisy - keep * self.mean), sigma)

    def remember(self, *_: Any, **__: Any) -> None:
        pass

    def cache(self, *_: int, **__: int) -> Cache:
        return Cache(1, 1)


class Sampler(Gaussian):
    """A student that makes such clips in its first step, x0 = mean + spread noise, and keeps them in the others."""

    def velocity(self, noisy: Tensor, sigma: Tensor, *_: Any, **__: Any) -> Tensor:
        return flow.velocity_from(noisy, self.mean + self.spread * noisy, sigma)


def batch(size: int = 4) -> Batch:
    w2c, K = torch.eye(4).repeat(size, FRAMES, 1, 1), torch.eye(3).repeat(size, FRAMES, 1, 1)
    return Batch(
        keys=("a",) * size,
        positions=torch.arange(size),
        latents=torch.zeros(size, FRAMES, *SHAPE),
        cameras=Cameras(world_to_camera=w2c, K=K),
        text=toy.null_text(size),
    )


def draws(step: int = 0, size: int = 4) -> Draws:
    return Draws(seed=0, positions=torch.arange(size) + step * size, step=step)


def roles(mean: float = 2.0, goal: float = -1.0, critic: float | None = None) -> dict[str, Any]:
    teacher = Gaussian(goal, 0.5).requires_grad_(False)
    return {
        "student": Sampler(mean, 0.5),
        "teacher": teacher,
        "critic": Gaussian(mean if critic is None else critic, 0.5),
    }


ONE_STEP = dmd.Options(timesteps="1000", guidance=1.0)


def vector(shared: Any) -> dict[str, Any]:
    z = np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False)
    return {name: torch.from_numpy(z[name]) for name in z.files if name.startswith(("dmd_", "wan_dmd_"))}


@pytest.mark.parametrize("normaliser", ["none", "global", "per_sample"])
def test_minwm_gradients_and_losses(shared: Any, normaliser: str) -> None:
    z = vector(shared)
    x = z["dmd_gen"].clone().requires_grad_(True)
    if normaliser == "none":
        g = z["dmd_fake"] - z["dmd_real"]
    else:
        g = dmd.gradient(z["dmd_fake"], z["dmd_real"], x.detach(), {"global": "batch"}.get(normaliser, "sample"))
    assert (g - z[f"dmd_grad_{normaliser}"]).abs().max() < 2e-6
    loss = dmd.matching_loss(x, g)
    loss.backward()
    assert loss.dtype == torch.float64
    assert abs(loss.item() - z[f"dmd_gloss_{normaliser}"].item()) < 2e-6
    assert (x.grad - z[f"dmd_dgen_{normaliser}"]).abs().max() < 1e-6


def test_minwm_masked_loss(shared: Any) -> None:
    z = vector(shared)
    x = z["dmd_gen"].clone().requires_grad_(True)
    mask = dmd.last_frames(3, 2)
    assert torch.equal(z["dmd_mask"], flow.spread(mask[None], z["dmd_mask"]).expand_as(z["dmd_mask"]))
    loss = dmd.matching_loss(x, z["dmd_grad_per_sample"], mask)
    loss.backward()
    assert abs(loss.item() - z["dmd_gloss_masked64"].item()) < 1e-8  # minWM rounds x - g to float32
    assert (x.grad - z["dmd_dgen_masked64"]).abs().max() < 1e-7


def test_minwm_critic_guidance_and_levels(shared: Any) -> None:
    """dmd_critic_loss(_w); dmd_cfg_*: Wan's 3 is scale 4 here; wan_dmd_timestep_map."""
    z = vector(shared)
    target = flow.velocity(z["dmd_gen"], z["dmd_real"])
    assert abs(flow.mean_square(z["dmd_fake"], target) - z["dmd_critic_loss"]) < 2e-6
    weighted = flow.mean_square(z["dmd_fake"], target, torch.tensor([0.0, 1.0]))
    assert abs(weighted - z["dmd_critic_loss_w"]) < 2e-6
    for name, scale in (("standard_5", 5.0), ("wan_real_3", dmd.Options().guidance)):
        assert (flow.guided(z["dmd_fake"], z["dmd_real"], scale) - z[f"dmd_cfg_{name}"]).abs().max() < 5e-6
    levels = 1000 * dmd.level(torch.arange(1000, dtype=torch.float64) / 1000, dmd.Options())
    assert (levels - z["wan_dmd_timestep_map"]).abs().max() < 1e-3


def test_what_is_not_finite_moves_nothing() -> None:
    x = torch.zeros(2, 1, 1, 1, 2)
    critic = torch.tensor([[float("inf"), 1.0], [float("nan"), 1.0]]).reshape(x.shape)
    g = dmd.gradient(critic, torch.full_like(x, 2.0), x, "sample")
    assert g.flatten().tolist() == [0.0, -0.5, 0.0, -0.5]


@pytest.mark.parametrize("mean", [2.0, -3.0])
def test_the_gradient_points_from_the_student_s_mean_to_the_teacher_s(mean: float) -> None:
    parts = roles(mean)
    dmd.student_loss(batch(), parts, draws(), ONE_STEP).backward()
    assert torch.sign(parts["student"].mean.grad) == np.sign(mean + 1.0)
    at_goal = roles(-1.0)
    dmd.student_loss(batch(), at_goal, draws(), ONE_STEP).backward()
    assert at_goal["student"].mean.grad.abs() < 1e-6


def test_a_student_and_its_critic_arrive_at_the_teacher_s_mean() -> None:
    parts = roles(mean=2.0, goal=-1.0, critic=0.0)
    optimisers = {
        "student": torch.optim.SGD(parts["student"].parameters(), lr=0.2),
        "critic": torch.optim.SGD(parts["critic"].parameters(), lr=0.1),
    }
    for step in range(200):
        for role, loss in dmd.losses(batch(), parts, draws(step), ONE_STEP):
            optimisers[role].zero_grad()
            loss.backward()
            optimisers[role].step()
    assert abs(parts["student"].mean.item() + 1.0) < 0.15
    assert abs(parts["critic"].mean.item() + 1.0) < 0.2


def test_who_learns_when_and_who_gets_gradient() -> None:
    options = dmd.Options(ratio=5)
    yielded = [[role for role, _ in dmd.losses(batch(), roles(), draws(step), options)] for step in range(6)]
    assert yielded == [["student", "critic"], *[["critic"]] * 4, ["student", "critic"]]
    for role, gets, spared in (("student", "student", "critic"), ("critic", "critic", "student")):
        parts = roles()
        parts["teacher"].requires_grad_(True)  # even if somebody forgot to freeze it
        dict(dmd.losses(batch(), parts, draws(), options))[role].backward()
        assert parts[gets].mean.grad.abs() > 0
        assert parts[spared].mean.grad is None
        assert parts["teacher"].mean.grad is None


def test_scores_are_asked_at_one_level_per_clip_within_the_limits() -> None:
    parts, options = roles(), dmd.Options(lowest=0.5, highest=0.6)
    for _, loss in dmd.losses(batch(), parts, draws(), options):
        assert torch.isfinite(loss)
    for name, calls in (("teacher", 2), ("critic", 2)):
        told = np.array(parts[name].told).reshape(calls, 4, FRAMES)
        assert (told == told[..., :1]).all()
        assert told.min() >= 0.5
        assert told.max() <= 0.6 + 1e-6
    assert len({round(one, 4) for one in roles_levels(dmd.Options())}) > 2


def roles_levels(options: dmd.Options) -> list[float]:
    parts = roles()
    dmd.critic_loss(batch(), parts, draws(), options)
    return parts["critic"].told


def test_every_rank_leaves_at_the_same_step_and_each_step_may_be_it() -> None:
    exits = [draws(step).shared_index("student exit", 4) for step in range(40)]
    other = [
        Draws(seed=0, positions=torch.arange(9, 11), step=step).shared_index("student exit", 4) for step in range(40)
    ]
    assert exits == other
    assert set(exits) == {0, 1, 2, 3}


def test_the_toy_network_learns_by_it_in_parts_as_at_once() -> None:
    """N batches of b accumulate to one of N b, for both roles, with the past of either kind."""
    options = toy.Options(heads=2, head_dim=12, layers=1, ffn=16, freq=16, patch=2, channels=1)
    whole = batch(2)
    for past in ("exit", "full"):
        parts = {name: toy.Backbone.random(replace(options, seed=k), "prope") for k, name in enumerate(dmd.ROLES)}
        chosen = dmd.Options(past=past, last=4)  # type: ignore[arg-type]
        found = []
        for pieces in ([slice(0, 2)], [slice(0, 1), slice(1, 2)]):
            for net in parts.values():
                net.zero_grad()
            for piece in pieces:
                one = part(whole, piece)
                for _, loss in dmd.losses(one, parts, Draws(seed=0, positions=one.positions), chosen):
                    (loss / len(pieces)).backward()
            grads = [[p.grad for p in parts[role].parameters() if p.grad is not None] for role in ("student", "critic")]
            found.append([one.clone() for role in grads for one in role])
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))
        assert max(one.abs().max() for one in found[0]) > 1e-3


def test_refusals() -> None:
    with pytest.raises(TrajkitError, match="not a falling list"):
        dmd.Options(timesteps="250 1000")
    short = batch()
    short = replace(short, cameras=short.cameras[:6], latents=short.latents[:, :6])
    with pytest.raises(TrajkitError, match="6 latents: are no whole number of chunks of 4; give 8 latents"):
        list(dmd.losses(short, roles(), draws(), dmd.Options()))
