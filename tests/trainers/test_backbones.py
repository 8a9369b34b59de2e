"""What every backbone keeps to, whatever its conditioning: causality, frames of the world, lenses, drops, counts."""

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tiny  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from trajkit import plugins  # noqa: E402
from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.trainers import cameras as camera_maths  # noqa: E402
from trajkit.trainers.backbones import BackboneModule  # noqa: E402
from trajkit.trainers.cameras import Cameras, Projection, anchored  # noqa: E402

FRAMES, CHUNK = 6, 2
MIDDLE = slice(2, 4)  # the second chunk
EVERY = list(itertools.product(tiny.names(), tiny.CONDITIONINGS))
SEEING = [(name, how) for name, how in EVERY if how != "none"]
every = pytest.mark.parametrize(("name", "conditioning"), EVERY)
seeing = pytest.mark.parametrize(("name", "conditioning"), SEEING)


class Case:
    """A network and what it is called with; attributes may be changed before `forced` or `at_once`."""

    def __init__(self, name: str, conditioning: str, batch: int = 1) -> None:
        self.made = tiny.backbone(name, conditioning)
        self.made.chunk = CHUNK
        self.noisy, self.clean = (tiny.latents(self.made, batch, FRAMES, seed) for seed in (1, 2))
        self.sigma = torch.tensor([0.9, 0.5, 0.2]).repeat_interleave(CHUNK).repeat(batch, 1)
        self.cameras: Cameras | None = tiny.cameras(batch, FRAMES)
        self.text = tiny.text(self.made, batch)

    def forced(self) -> torch.Tensor:
        return self.made.velocity(self.noisy, self.sigma, self.cameras, self.text, clean=self.clean)

    @torch.no_grad()
    def at_once(self, cameras: Cameras | None) -> torch.Tensor:
        return self.made.velocity(self.noisy, self.sigma, cameras, self.text)

    @torch.no_grad()
    def rolled(self) -> torch.Tensor:
        """Chunk by chunk with a cache of the clean ones."""
        cache = self.made.cache(FRAMES, *self.noisy.shape[-2:])
        out = []
        for start in range(0, FRAMES, CHUNK):
            now = slice(start, start + CHUNK)
            seen = None if self.cameras is None else self.cameras[now]
            out.append(self.made.velocity(self.noisy[:, now], self.sigma[:, now], seen, self.text, cache=cache))
            self.made.remember(self.clean[:, now], seen, self.text, cache)
        return torch.cat(out, 1)


def moved(cameras: Cameras, frames: slice, by: float = 0.5) -> Cameras:
    w2c = cameras.world_to_camera.clone()
    w2c[:, frames, :3, 3] += by
    return Cameras(world_to_camera=w2c, K=cameras.K)


@every
@torch.no_grad()
def test_teacher_forcing_is_the_cached_rollout(name: str, conditioning: str) -> None:
    case = Case(name, conditioning, batch=2)
    for cameras in (case.cameras, case.cameras.dropped(torch.tensor([True, False])), None):
        case.cameras = cameras
        torch.testing.assert_close(case.forced(), case.rolled(), atol=1e-5, rtol=0)


@every
@torch.no_grad()
def test_the_future_changes_nothing_and_the_past_does(name: str, conditioning: str) -> None:
    case = Case(name, conditioning)
    before = case.forced()[:, MIDDLE]
    past, world = case.clean.clone(), case.cameras
    case.clean = torch.cat([past[:, : MIDDLE.start], past[:, MIDDLE.start :] + 1], 1)
    case.noisy = case.noisy + torch.tensor([1.0, 0, 1]).repeat_interleave(CHUNK).reshape(1, -1, 1, 1, 1)
    case.cameras = moved(world, slice(MIDDLE.stop, None))
    assert torch.equal(case.forced()[:, MIDDLE], before)
    case.cameras = moved(world, slice(0, 1))
    assert torch.equal(case.forced()[:, MIDDLE], before) == (conditioning == "none")
    case.cameras, case.clean = world, past + torch.eye(FRAMES)[0].reshape(1, -1, 1, 1, 1)
    assert not torch.allclose(case.forced()[:, MIDDLE], before, atol=1e-4)


@pytest.mark.parametrize("conditioning", ["prope", "plucker"])
@pytest.mark.parametrize("name", tiny.names())
@torch.no_grad()
def test_new_camera_layers_leave_the_network_as_it_was(name: str, conditioning: str) -> None:
    case = Case(name, conditioning)
    base = Case(name, "none")
    base.made.model.load_state_dict(case.made.model.state_dict())
    for parameter in case.made.camera.parameters():
        assert parameter.any()
        parameter.zero_()
    assert torch.equal(case.at_once(case.cameras), base.at_once(None))
    assert torch.equal(case.forced(), base.forced())


@seeing
@torch.no_grad()
def test_the_frame_of_the_world_is_of_no_matter(name: str, conditioning: str) -> None:
    """At once, teacher-forced and with a cache; cameras whose first is the identity are taken bit for bit."""
    case, case.cameras = Case(name, conditioning, batch=2), None
    blind, given = case.forced(), tiny.cameras(2, FRAMES)
    world = torch.stack([tiny.cameras(1, 2, seed).world_to_camera[0, 1] for seed in (5, 6)])[:, None]
    shifted, other = replace(given, world_to_camera=given.world_to_camera @ world), moved(given, slice(3, 4))
    assert torch.equal(anchored(given).world_to_camera, given.world_to_camera)
    for call in (lambda: case.at_once(case.cameras), case.forced, case.rolled):
        found = []
        for case.cameras in (given, shifted, other):
            found.append(call())
        torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=0)
        assert not torch.allclose(found[2], found[0], atol=1e-4)
        assert not torch.allclose(found[0], blind, atol=1e-3)


@torch.no_grad()
def test_a_clips_world_is_that_of_its_first_camera_however_often_a_chunk_is_tried() -> None:
    case = Case("wan", "plucker")
    expected = case.rolled()
    cache, first = case.made.cache(FRAMES, *case.noisy.shape[-2:]), slice(0, CHUNK)
    elsewhere = moved(tiny.cameras(1, FRAMES, seed=4), slice(None))
    for cameras in (elsewhere, case.cameras):
        case.made.velocity(case.noisy[:, first], case.sigma[:, first], cameras[first], case.text, cache=cache)
    case.made.remember(case.clean[:, first], case.cameras[first], case.text, cache)
    again = case.made.velocity(
        case.noisy[:, MIDDLE], case.sigma[:, MIDDLE], case.cameras[MIDDLE], case.text, cache=cache
    )
    assert torch.equal(again, expected[:, MIDDLE])


@seeing
def test_the_lens_matters(name: str, conditioning: str) -> None:
    case = Case(name, conditioning)
    before = case.at_once(case.cameras)
    for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)):
        K = case.cameras.K.clone()
        K[..., row, column] += 0.1
        changed = case.at_once(Cameras(world_to_camera=case.cameras.world_to_camera, K=K))
        assert not torch.allclose(changed, before, atol=1e-4), (row, column)


@seeing
def test_dropped_cameras_are_none(name: str, conditioning: str) -> None:
    case = Case(name, conditioning, batch=2)
    whole, none = case.at_once(case.cameras), case.at_once(None)
    assert not torch.allclose(whole[1], none[1], atol=1e-4)
    torch.testing.assert_close(case.at_once(case.cameras.dropped(torch.tensor([False, False]))), none, atol=0, rtol=0)
    mixed = case.at_once(case.cameras.dropped(torch.tensor([True, False])))
    torch.testing.assert_close(mixed, torch.stack([whole[0], none[1]]), atol=1e-6, rtol=0)


@every
def test_checkpointing_leaves_the_gradients_as_they_are(name: str, conditioning: str) -> None:
    case = Case(name, conditioning)
    gradients = []
    for case.made.gradient_checkpointing in (False, True):
        case.made.zero_grad()
        case.forced().square().mean().backward()
        gradients.append({key: one.grad.clone() for key, one in case.made.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(one, gradients[1][key]) for key, one in gradients[0].items())
    assert all(one.any() for key, one in gradients[0].items() if key.startswith("camera."))


@pytest.mark.parametrize("name", tiny.names())
def test_a_pass_whose_past_is_gone_is_not_run_again(name: str) -> None:
    case = Case(name, "prope")
    case.made.gradient_checkpointing = True
    for room, refused in ((FRAMES, False), (CHUNK, True)):
        cache = case.made.cache(room, *case.noisy.shape[-2:])
        case.made.remember(case.clean[:, :CHUNK], case.cameras[:CHUNK], case.text, cache)
        v = case.made.velocity(
            case.noisy[:, MIDDLE], case.sigma[:, MIDDLE], case.cameras[MIDDLE], case.text, cache=cache
        )
        case.made.remember(case.clean[:, MIDDLE], case.cameras[MIDDLE], case.text, cache)
        assert (cache.dropped > 0) == refused
        with pytest.raises(TrajkitError, match="whose past was dropped") if refused else contextlib.nullcontext():
            v.square().sum().backward()


@pytest.mark.parametrize("conditioning", ["prope", "prope-merged"])
@pytest.mark.parametrize("name", ["wan", "hunyuan"])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which the compiler looks for
def test_compiled_blocks_give_the_same_and_no_length_of_the_past_is_a_new_shape(name: str, conditioning: str) -> None:
    case, graphs = Case(name, conditioning), []
    plain = [case.forced(), case.rolled()]
    (expected,) = torch.autograd.grad(plain[0].square().mean(), case.made.model.proj_out.weight)

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable:
        graphs.append(graph)
        return graph.forward

    case.made.compile_blocks(backend)
    forced = case.forced()
    assert len(graphs) == 2  # before and after attention, whatever the number of layers
    (found,) = torch.autograd.grad(forced.square().mean(), case.made.model.proj_out.weight)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for one, other in zip((forced, case.rolled()), plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert len(graphs) == 4  # without gradient and for one chunk; three chunks with pasts of 0 to 4 latents


@pytest.mark.parametrize("conditioning", ["prope", "prope-merged"])
def test_rotary_waves_are_the_tables_of_diffusers_and_know_no_end(conditioning: str) -> None:
    made = tiny.backbone("wan", conditioning)
    rope = type(made.model.rope)(24 if conditioning == "prope" else 12, (1, 2, 2), 1024)
    x = torch.empty(1, 1, 1024, 4, 6)
    assert all(torch.equal(*pair) for pair in zip(made._rotary(torch.arange(1024), 2, 3), rope(x), strict=True))
    cos, sin = made._rotary(torch.tensor([5000]), 1, 1)
    turned = torch.tensor(5000 / 10000.0 ** (2 / rope.t_dim), dtype=torch.float64)  # of the second pair
    assert (float(cos[0, 0, 0, 2]), float(sin[0, 0, 0, 3])) == pytest.approx((float(turned.cos()), float(turned.sin())))


@pytest.mark.parametrize("name", ["wan", "hunyuan"])
@torch.no_grad()
def test_a_clip_may_be_longer_than_a_thousand_latents(name: str) -> None:
    case = Case(name, "prope")
    cache, now = case.made.cache(CHUNK, *case.noisy.shape[-2:]), slice(0, CHUNK)
    for seen in (0, 2000):
        cache.seen = cache.length + seen * case.made._tokens(case.noisy)
        case.made.remember(case.clean[:, now], case.cameras[now], case.text, cache)
    assert (
        case.made.velocity(case.noisy[:, now], case.sigma[:, now], case.cameras[now], case.text, cache=cache)
        .isfinite()
        .all()
    )


def timesteps_told(made: BackboneModule) -> list[float]:
    """What reaches the network's sinusoids, as it comes."""
    told: list[float] = []
    for module in made.modules():
        if type(module).__name__ in ("Timesteps", "Sinusoid"):
            module.register_forward_hook(lambda _, given, __: told.extend(given[0].double().flatten().tolist()))
    return told


@pytest.mark.parametrize("name", tiny.names())
@torch.no_grad()
def test_a_timestep_is_a_thousand_sigmas(name: str) -> None:
    case = Case(name, "prope")
    told = timesteps_told(case.made)
    levels = {900.0, 500.0, 200.0}
    for call, allowed in ((case.forced, {0.0} | levels), (lambda: case.at_once(None), levels)):
        told.clear()
        call()
        assert {round(one, 3) for one in told} == allowed
    told.clear()
    case.rolled()
    assert {round(one, 3) for one in told} == {0.0} | levels


@pytest.mark.parametrize("conditioning", ["prope", "prope-merged"])
@pytest.mark.parametrize("name", tiny.names())
@torch.no_grad()
def test_matrices_stay_wide_under_autocast(name: str, conditioning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(name, conditioning)
    seen, einsum = [], torch.einsum

    def spied(rule: str, *given: torch.Tensor) -> torch.Tensor:
        out = einsum(rule, *given)
        seen.append({one.dtype for one in (*given, out)})
        return out

    monkeypatch.setattr(camera_maths.torch, "einsum", spied)
    with torch.autocast("cpu", torch.bfloat16):
        out = case.forced()
    assert len(seen) == 8  # q, k, v and the output, in two layers
    assert all(kinds == {torch.float32} for kinds in seen)
    monkeypatch.undo()
    torch.testing.assert_close(out.float(), case.forced(), atol=0.1, rtol=0)


def test_a_thousand_cameras_are_inverted_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        matrices = Projection.of(anchored(tiny.cameras(1, 1000, seed=3)))
        assert matrices.forward.dtype == matrices.inverse.dtype == torch.float32
    product = matrices.forward.double() @ matrices.inverse.double()
    assert (product - torch.eye(4)).abs().max() < 1e-5


@every
def test_operations_are_those_that_torch_counts(name: str, conditioning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which meta tensors have not
    plugin = plugins.load("backbones", name)
    with torch.device("meta"):  # nothing is computed, so the layers are as large as real ones
        made = plugin.Backbone.random(plugin.Options(layers=3), conditioning)
        side = 30 * made.patch
        frames = 8
        cameras = Cameras(world_to_camera=torch.empty(1, frames, 4, 4), K=torch.empty(1, frames, 3, 3))
        x, sigma = torch.empty(1, frames, made.model.config.out_channels, side, side), torch.empty(1, frames)
        words = 300 if name == "hunyuan" else made.words
        text = {"embeddings": torch.empty(1, words, tiny.text(made)["embeddings"].shape[2])}
        cache = made.cache(12, side, side)
        cache.length = cache.seen = 4 * 900
        calls = ({}, {"clean": x}, {"cache": cache})
        if name == "hunyuan":  # the text's keys lie in the cache by then
            cache.extra = [(torch.empty(1, words, made.heads, made.width // made.heads),) * 2] * made.layers
        for told in calls:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                made.velocity(x, sigma, cameras, text, **told)
            past = 4 if "cache" in told else 0
            counted = made.flops(frames, side, side, clean="clean" in told, past=past)
            assert counted == pytest.approx(counter.get_total_flops(), rel=0.02), told.keys()
