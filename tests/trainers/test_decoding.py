"""Decoding chunk by chunk is decoding at once; and how long a clip took is what it says."""

from typing import Any

import pytest
import torch

from trajkit.errors import TrajkitError
from trajkit.trainers import decoding
from trajkit.trainers.backbones import toy
from trajkit.trainers.batch import Draws
from trajkit.trainers.cameras import Cameras
from trajkit.trainers.rollout import Rollout, Sampling


@pytest.fixture(scope="module")
def wan() -> Any:
    """A tiny AutoencoderKLWan with random weights and norms that are not 0 and 1."""
    from diffusers import AutoencoderKLWan

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKLWan(
            base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
            latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.7, 1.0, 2.0],
        ).eval()  # fmt: skip


def latents(frames: int, channels: int, seed: int = 0, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, frames, channels, 2, 4, generator=torch.Generator().manual_seed(seed))


def whole(vae: Any, z: torch.Tensor) -> torch.Tensor:
    """Pictures of one whole decode, by the autoencoder's own method."""
    std, mean = (torch.tensor(one).reshape(1, 1, -1, 1, 1) for one in (vae.config.latents_std, vae.config.latents_mean))
    with torch.no_grad():
        out = vae.decode((z * std + mean).transpose(1, 2)).sample
    return ((out + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal pictures, but for a level here and there: convolutions of other lengths may add up in another order."""
    off = (one.int() - other.int()).abs()
    return one.shape == other.shape and off.max() <= 1 and (off > 0).float().mean() < 1e-3


@pytest.mark.parametrize("sizes", [(4, 4), (1, 2, 5), (3, 5)])
def test_chunks_decode_as_the_whole_clip(wan: Any, sizes: tuple[int, ...]) -> None:
    z, other = latents(8, 4), latents(8, 4, seed=1)
    decoder, beside = decoding.decoder("wan", wan), decoding.decoder("wan", wan)
    parts, others, first = [], [], 0
    for size in sizes:
        parts.append(decoder.next(z[:, first : first + size], end=False))
        others.append(beside.next(other[:, first : first + size], end=False))  # a second clip through the same weights
        first += size
    assert [part.shape[1] for part in parts] == [4 * sizes[0] - 3, *(4 * size for size in sizes[1:])]
    assert alike(torch.cat(parts, 1), whole(wan, z))
    assert parts[0].shape[2:] == (16, 32, 3)
    assert parts[0].float().std() > 1
    assert alike(torch.cat(others, 1), whole(wan, other))


def test_hunyuan_waits_for_the_end() -> None:
    from diffusers import AutoencoderKLHunyuanVideo15

    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKLHunyuanVideo15(
            latent_channels=4, block_out_channels=(32, 32, 32, 32, 32), layers_per_block=1, scaling_factor=0.5
        ).eval()  # fmt: skip
    z = latents(2, 4, batch=1)
    decoder = decoding.decoder("hunyuan", vae)
    assert not decoder.streams
    assert decoder.next(z[:, :1], end=False).shape[1] == 0
    got = decoder.next(z[:, 1:], end=True)
    with torch.no_grad():
        wanted = vae.decode((z / 0.5).transpose(1, 2)).sample
    assert torch.equal(got, decoding.pictures(wanted.transpose(1, 2)))
    assert got.shape == (1, 5, 32, 64, 3)


def test_a_toy_latent_is_a_picture() -> None:
    z = torch.tensor([-1.0, 0.0, 1.0, 5.0]).reshape(1, 1, 1, 1, 4).expand(1, 2, 3, 1, 4)
    got = decoding.decoder("toy", None).next(z, end=False)
    assert got.shape == (1, 2, 1, 4, 3)
    assert got[0, 0, 0, :, 0].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize("streams", [True, False])
def test_the_clock_starts_at_the_first_cameras_and_a_chunk_ends_in_pictures(streams: bool, monkeypatch: Any) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(decoding.time, "perf_counter", lambda: float(next(ticks)))
    options = toy.Options(heads=2, head_dim=12, layers=1, ffn=16, freq=16, patch=2)
    network = toy.Backbone.random(options, "none")
    K, w2c = torch.eye(3).expand(1, 12, 3, 3), torch.eye(4).expand(1, 12, 4, 4)
    told = {"shape": (3, 4, 4), "draws": Draws(seed=0, positions=torch.arange(1)), "window": 12}
    rollout = Rollout(network, Sampling(sigmas=(1.0, 0.0)), toy.null_text(1), **told)  # type: ignore[arg-type]
    decoder = decoding.Plain() if streams else _Late()
    played = decoding.play(rollout, decoder, Cameras(world_to_camera=w2c, K=K))
    assert played.latents.shape == (1, 12, 3, 4, 4)
    assert torch.equal(played.pictures, decoding.Plain().next(played.latents, end=True))
    if streams:  # the clock is read at the start, then after each chunk's latents and after its pictures
        assert (played.first_latents_s, played.first_pictures_s, played.fps) == (1, 2, 8 / 4)
    else:
        assert (played.first_latents_s, played.first_pictures_s, played.fps) == (1, 4, 12 / 4)


class _Late(decoding.Plain):
    streams = False

    def __init__(self) -> None:
        self.held: list[torch.Tensor] = []

    def next(self, latents: torch.Tensor, *, end: bool) -> torch.Tensor:
        self.held.append(latents)
        return super().next(torch.cat(self.held, 1) if end else latents[:, :0], end=end)


def test_an_autoencoder_is_loaded_from_safetensors_or_refused(wan: Any, tmp_path: Any) -> None:
    wan.save_pretrained(tmp_path / "vae")
    again = decoding.load_vae("wan", str(tmp_path), torch.float32)
    assert torch.equal(whole(again, latents(2, 4)), whole(wan, latents(2, 4)))
    assert decoding.load_vae("toy", "", torch.float32) is None
    for backbone, source, problem in (
        ("wan", "", "needs its autoencoder"),
        ("wan", str(tmp_path / "nowhere"), "no such folder"),
        ("other", "", "has no decoder"),
    ):
        with pytest.raises(TrajkitError, match=problem):
            decoding.load_vae(backbone, source, torch.float32)
