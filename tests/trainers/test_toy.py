"""What the toy adds to Wan's layers: it says the clean picture, and may be told the first one."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import tiny  # noqa: E402

from trajkit.trainers import flow  # noqa: E402
from trajkit.trainers.backbones import wan  # noqa: E402
from trajkit.trainers.batch import Draws  # noqa: E402
from trajkit.trainers.rollout import Rollout, Sampling, bidirectional  # noqa: E402

FRAMES, CHUNK = 4, 2
SIGMA = torch.tensor([[0.9, 0.5, 0.2, 0.01]])


@pytest.fixture
def network():
    made = tiny.backbone("toy", "prope")
    made.chunk = CHUNK
    return made


def asked(network, noisy, **told):
    return network.velocity(noisy, SIGMA[:, : noisy.shape[1]], None, tiny.text(network), **told)


@torch.no_grad()
def test_the_layers_say_the_clean_picture(network) -> None:
    noisy = tiny.latents(network, 1, FRAMES, 1)
    said = wan.Backbone.velocity(network, noisy, SIGMA, None, tiny.text(network))
    v = asked(network, noisy)
    torch.testing.assert_close(flow.clean_from(noisy, v, SIGMA)[:, :3], said[:, :3])
    torch.testing.assert_close(v[:, 3:], (noisy - said)[:, 3:] / 0.05)  # and no more at little noise


@torch.no_grad()
def test_the_first_picture_stands_in_the_first_frame_without_noise(network) -> None:
    noisy, first = tiny.latents(network, 1, FRAMES, 1), tiny.latents(network, 1, 1, 2)
    level, put = SIGMA.clone(), noisy.clone()
    level[:, 0], put[:, :1] = 0, first
    others = network.velocity(put, level, None, tiny.text(network))[:, 1:]
    v = asked(network, noisy, first=first)
    assert torch.equal(v[:, 1:], others)
    torch.testing.assert_close(flow.clean_from(noisy, v, SIGMA)[:, :1], first)
    assert not torch.allclose(v[:, 1:], asked(network, noisy)[:, 1:], atol=1e-3)


@torch.no_grad()
def test_all_at_once_a_clip_begins_with_the_picture_that_it_is_told(network) -> None:
    first = tiny.latents(network, 1, 1, 2)
    sampling = Sampling(sigmas=tuple(flow.grid(5, 3.0).tolist()))
    draws = Draws(seed=0, positions=torch.arange(1))
    told = {"shape": tuple(first.shape[2:]), "draws": draws, "first": first}
    made = bidirectional(network, sampling, tiny.cameras(1, FRAMES), tiny.text(network), **told)
    torch.testing.assert_close(made[:, :1], first, rtol=0, atol=1e-5)


@torch.no_grad()
def test_chunk_by_chunk_the_first_one_alone_is_told(network) -> None:
    first, cameras = tiny.latents(network, 1, 1, 2), tiny.cameras(1, FRAMES)
    sampling = Sampling(sigmas=tuple(flow.grid(5, 3.0).tolist()), solver="consistency")
    shape, draws = tuple(first.shape[2:]), Draws(seed=0, positions=torch.arange(1))
    rollout = Rollout(network, sampling, tiny.text(network), shape=shape, draws=draws, window=FRAMES, first=first)
    parts = [rollout.next_chunk(cameras[start : start + CHUNK]) for start in (0, CHUNK)]
    torch.testing.assert_close(parts[0][:, :1], first, rtol=0, atol=1e-5)
    assert (parts[1][:, :1] - first).abs().max() > 0.1


@torch.no_grad()
def test_told_the_first_picture_teacher_forcing_is_the_cached_rollout(network) -> None:
    noisy, clean, cameras = tiny.latents(network, 1, FRAMES, 1), tiny.latents(network, 1, FRAMES, 2), None
    forced = asked(network, noisy, clean=clean, first=clean[:, :1])
    cache, parts = network.cache(FRAMES, *noisy.shape[-2:]), []
    for start in (0, CHUNK):
        now = slice(start, start + CHUNK)
        told = {"cache": cache, "first": clean[:, :1]}
        parts.append(network.velocity(noisy[:, now], SIGMA[:, now], cameras, tiny.text(network), **told))
        network.remember(clean[:, now], cameras, tiny.text(network), cache, first=clean[:, :1])
    torch.testing.assert_close(forced, torch.cat(parts, 1), rtol=0, atol=1e-4)  # the last frame's level: times 20


def test_a_known_frame_has_no_loss_at_any_level(network) -> None:
    clip, noise = tiny.latents(network, 1, FRAMES, 1), tiny.latents(network, 1, FRAMES, 2)
    for sigma in (1e-3, 0.05, 1.0):
        level = torch.full((1, FRAMES), sigma)
        v = network.velocity(flow.noised(clip, noise, level), level, None, tiny.text(network), first=clip[:, :1])
        torch.testing.assert_close(v[:, :1], flow.velocity(clip, noise)[:, :1], rtol=0, atol=1e-3)
