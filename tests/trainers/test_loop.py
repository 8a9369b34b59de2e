"""One step of the loop against obvious twins: accumulation, averages, optimisers, precision, counting."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from running import CLIPS, FRAMES, SMALL, Network, batches, clip, job, joined, weights

from trajkit.errors import TrajkitError
from trajkit.trainers import flow, loop, roles, trackers
from trajkit.trainers.batch import Draws
from trajkit.trainers.stages import Role

STUDENT = Role(kind="trained", source="start", causal=False)
CRITIC = Role(kind="trained", source="critic", causal=False)


def cast_of(one: loop.Job) -> roles.Cast:
    return roles.make(one.roles, lambda name, dtype: one.load(name, None, dtype), one.options, torch.device("cpu"))


def with_losses(one: loop.Job, losses, cast=None) -> loop.Job:
    """The job with another stage's losses."""
    stage = SimpleNamespace(losses=losses)
    return dataclasses.replace(one, stage=stage, roles=cast or {"student": STUDENT}, cards={})


def plain_loss(batch, networks, draws, _options, role="student"):
    noise = draws.normal("noise", tuple(batch.latents.shape[1:]))
    sigma = draws.uniform("level")[:, None].expand(-1, FRAMES)
    v = networks[role].velocity(flow.noised(batch.latents, noise, sigma), sigma, batch.cameras, batch.text)
    return flow.mean_square(v, flow.velocity(batch.latents, noise))


@pytest.mark.parametrize("stage", ["finetune", "causal", "ode", "consistency", "dmd"])
def test_accumulating_parts_of_a_batch_is_the_whole_batch(stage, tmp_path):
    one = job(stage, tmp_path, clips=4, ema=0.9)
    cast = cast_of(one)
    found = []
    for micro in (1, 4):
        options = dataclasses.replace(one.options, micro=micro)
        stream = batches(options, 0, 0, loop.share(options, 1), 0, 1)
        losses, norms = loop.forward_backward(one, cast, [next(stream) for _ in range(4 // micro)], 0)
        gradients = {
            f"{name} {key}": p.grad for name in cast.optimizers for key, p in cast.networks[name].named_parameters()
        }
        found.append((losses, norms, {key: g.clone() for key, g in gradients.items() if g is not None}))
    (losses, norms, parts), (whole_losses, whole_norms, whole) = found
    assert losses == pytest.approx(whole_losses, rel=1e-5)
    assert norms == pytest.approx(whole_norms, rel=1e-5)
    assert parts.keys() == whole.keys()
    for key, gradient in parts.items():
        assert torch.allclose(gradient, whole[key], atol=1e-5), key


def test_a_run_is_plain_adamw_on_the_clips_in_order(tmp_path):
    given = {"clips": 2, "micro": 2, "steps": 3, "clip": 0.1, "warmup": 2, "ema": 0.5, "ema_start": 1, "lr": 1e-2}
    given |= {"weight_decay": 0.3}
    one = job("finetune", tmp_path, **given)
    stage = SimpleNamespace(losses=lambda *told: iter([("student", plain_loss(*told))]))
    loop.train(dataclasses.replace(one, stage=stage))
    twin, average = Network.load("random"), Network.load("random")
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0, betas=(0.9, 0.999), weight_decay=0.3)
    for step in range(3):
        batch = next(batches(one.options, 0, step, 1, 0, 1))
        assert batch.positions.tolist() == [2 * step, 2 * step + 1]
        optimizer.zero_grad()
        plain_loss(batch, {"student": twin}, Draws(seed=0, positions=batch.positions), None).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
        optimizer.param_groups[0]["lr"] = 1e-2 * (0.5, 1, 1)[step]
        optimizer.step()
        for mean, latest in zip(average.parameters(), twin.parameters(), strict=True):
            mean.data = latest.data.clone() if step < 1 else 0.5 * mean.data + 0.5 * latest.data
    for name, network in (("student", twin), ("average", average)):
        for key, value in weights(tmp_path, name).items():
            assert torch.allclose(value, network.state_dict()[key], atol=1e-7), (name, key)


def test_averages_are_those_of_minwm(shared):
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as vectors:
        before, model, after = (torch.from_numpy(vectors[f"ema_{name}"]) for name in ("before", "model", "after_099"))
    roles.average([before], [model], 0.99)
    assert torch.allclose(before, after, atol=1e-7, rtol=0)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
def test_a_pass_without_gradient_leaves_the_next_one_its_gradient_in_bf16(tmp_path):
    def losses(batch, networks, draws, _):
        with torch.no_grad():
            plain_loss(batch, networks, draws, None)
        yield "student", plain_loss(batch, networks, draws, None)

    one = with_losses(job("finetune", tmp_path, precision="bf16"), losses)
    cast = cast_of(one)
    loop.forward_backward(one, cast, [clip(0)], 0)
    assert all(parameter.grad is not None for parameter in cast.networks["student"].model.blocks.parameters())
    assert {parameter.dtype for parameter in cast.networks["student"].parameters()} == {torch.float32}


def test_only_roles_that_a_step_yields_are_stepped(tmp_path):
    def losses(batch, networks, draws, _):
        if draws.step % 2 == 1:
            yield "student", plain_loss(batch, networks, draws, None)
        yield "critic", plain_loss(batch, networks, draws, None, "critic")

    own = {
        "student": STUDENT,
        "critic": CRITIC,
        "teacher": Role(kind="frozen", source="teacher", causal=False),
        "average": Role(kind="average", source="student", causal=False),
    }
    one = with_losses(job("finetune", tmp_path, ema=0.5, lr_critic=3e-3), losses, own)
    cast, first = cast_of(one), Network.load("random").state_dict()
    assert [group["full_lr"] for name in ("student", "critic") for group in cast.optimizers[name][0].param_groups] == [
        1e-2,
        3e-3,
    ]
    moved, means = [], [Network.load("random").state_dict()]
    for step in range(4):
        found, _ = loop.forward_backward(one, cast, [clip(0)], step)
        for name in found:
            cast.optimizers[name][0].step()
        roles.update_averages(cast, set(found), step, one.options)
        moved.append(
            {
                name
                for name in own
                if any(not torch.equal(v, first[k]) for k, v in cast.networks[name].state_dict().items())
            }
        )
        latest, own_mean = cast.networks["student"].state_dict(), means[-1]
        stepped = step % 2 == 1  # an average follows only steps that were made
        means.append({k: 0.5 * own_mean[k] + 0.5 * latest[k] if stepped else own_mean[k] for k in latest})
        for key, value in cast.networks["average"].state_dict().items():
            assert torch.allclose(value, means[-1][key], atol=1e-7), (step, key)
    assert moved[:2] == [{"critic"}, {"student", "critic", "average"}]


def test_averages_are_float32_where_frozen_networks_are_not(tmp_path):
    cast = cast_of(job("dmd", tmp_path, ema=0.5, precision="bf16"))
    kinds = {name: {p.dtype for p in network.parameters()} for name, network in cast.networks.items()}
    assert kinds["student"] == kinds["critic"] == kinds["average"] == {torch.float32}
    assert torch.bfloat16 in kinds["teacher"]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_keeps_its_checkpoint(what, tmp_path):
    def losses(batch, networks, draws, _):
        loss = plain_loss(batch, networks, draws, None)
        if draws.step == 3:
            zero = loss - loss.detach()
            loss = loss * float("nan") if what == "loss" else loss + 0 * zero.sqrt()  # whose slope is infinite
        yield "student", loss

    one = dataclasses.replace(with_losses(job("finetune", tmp_path), losses), cards=job("finetune", tmp_path).cards)
    with pytest.raises(TrajkitError, match=rf"step 4: the student's {what} is nan; .*checkpoints/0000002"):
        loop.train(one)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0000002"]


def test_checkpointing_changes_no_gradient_and_muon_takes_the_matrices(tmp_path):
    found = []
    for checkpointing in (False, True):
        one = job("causal", tmp_path, checkpointing=checkpointing, optimizer="muon")
        cast = cast_of(one)
        loop.forward_backward(one, cast, [clip(0), clip(1)], 0)
        found.append([p.grad.clone() for p in cast.parameters("student") if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    muon, adamw = cast.optimizers["student"]
    assert {p.ndim for p in muon.param_groups[0]["params"]} == {2}
    assert 2 not in {p.ndim for p in adamw.param_groups[0]["params"]}


def test_operations_are_counted_by_the_calls_that_are_made(tmp_path):
    made = Network.load("random")
    made.chunk = SMALL["chunk"]
    forward, forced = made.flops(FRAMES, 4, 4), made.flops(FRAMES, 4, 4, clean=True)
    for stage, wanted in (("finetune", 3 * forward), ("causal", 3 * forced), ("consistency", (2 + 1 + 3) * forced)):
        one = job(stage, tmp_path, ema=0.9)
        cast = cast_of(one)
        loop.forward_backward(one, cast, [clip(0), clip(1)], 0)
        assert cast.meter.model == pytest.approx(2 * wanted), stage
        assert cast.meter.tokens == 2 * FRAMES * 4
        assert cast.meter.hardware > cast.meter.model  # checkpointing is on


def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path):
    with pytest.raises(TrajkitError, match=r"loop.clips: 2 clips .* 3 processes x 1 clips; use a multiple of 3"):
        loop.share(roles.Options(clips=2), 3)
    with pytest.raises(TrajkitError, match=r"loop.ema: the stage needs target"):
        job("consistency", tmp_path)


def test_trackers_get_what_the_log_gets(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    loop.train(dataclasses.replace(job("finetune", tmp_path, steps=1), track="tensorboard"))
    assert list((tmp_path / "tensorboard").glob("events*"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrajkitError, match="pip install wandb"):
        trackers.check("wandb")


def test_processes_share_out_the_positions_of_a_step():
    options = roles.Options(clips=8, micro=2)
    alone = [next_.positions.tolist() for next_, _ in zip(batches(options, 0, 3, 4, 0, 1), range(4), strict=False)]
    both = [
        [one.positions.tolist() for one, _ in zip(batches(options, 0, 3, 2, rank, 2), range(2), strict=False)]
        for rank in (0, 1)
    ]
    for parts in (alone, both[0] + both[1]):
        assert sorted(place for part in parts for place in part) == list(range(24, 32))
    seen = [Draws(seed=0, positions=torch.tensor(places)).normal("noise", (3,)) for places in both[0] + both[1]]
    assert len({tuple(row.tolist()) for one in seen for row in one}) == 8
    assert joined([clip(0), clip(CLIPS - 1)], [0, 1]).keys == ("clip0", "clip10")


def test_networks_are_compiled_on_a_gpu_where_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Network, "compile_blocks", lambda network: asked.append(network))
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: module)  # as if there were a GPU
    one = job("dmd", tmp_path, ema=0.9)
    for device, compiled, wanted in (("cuda", True, 4), ("cuda", False, 0), ("cpu", True, 0)):
        asked.clear()
        given = dataclasses.replace(one.options, compile=compiled)
        made = roles.make(one.roles, lambda name, dtype: Network.load("random"), given, torch.device(device))
        assert asked == list(made.networks.values())[:wanted]
