"""Pictures from latents, chunk by chunk where the autoencoder allows it.

Wan's decoder is causal: what it keeps between latents lies in a list of features, which `Streaming` carries from chunk
to chunk, so that its pictures are those of one whole decode. HunyuanVideo 1.5's autoencoder keeps nothing: its decoder
sees the whole clip at once, and no picture is there before the last latent. A toy latent is a picture.
"""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from trajkit.errors import TrajkitError

from .cameras import Cameras
from .encoders import part
from .rollout import Rollout, chunks

Latents = Float[Tensor, "b f c h w"]
Pictures = UInt8[Tensor, "b n h w 3"]
KINDS = {"toy": "", "wan": "AutoencoderKLWan", "hunyuan": "AutoencoderKLHunyuanVideo15"}


class Decoder(Protocol):
    """Takes a clip's latents in order and gives its pictures, on the CPU."""

    streams: bool  # whether pictures come with each chunk; else all come with the last

    def next(self, latents: Latents, *, end: bool) -> Pictures:
        """Pictures that the next latents finish; `end` says that no more will come."""


class Plain:
    """Latents that are pictures, RGB in -1 .. 1: one each."""

    streams = True

    def next(self, latents: Latents, *, end: bool) -> Pictures:
        """See `Decoder`."""
        return pictures(latents)


class Streaming:
    """AutoencoderKLWan, which it shares with others: the features are this object's own."""

    streams = True

    def __init__(self, vae: Any) -> None:
        self.vae, self.done = vae, 0
        vae.clear_cache()
        self.features = list(vae._feat_map)

    @torch.no_grad()
    def next(self, latents: Latents, *, end: bool) -> Pictures:
        """See `Decoder`; the clip's first latent gives one picture, each later one four."""
        config = self.vae.config
        values = latents.new_tensor([config.latents_std, config.latents_mean])[:, None, None, :, None, None]
        z = self.vae.post_quant_conv(_placed(latents * values[0] + values[1], self.vae))
        parts = []
        for at in range(z.shape[2]):
            told = {"feat_cache": self.features, "feat_idx": [0], "first_chunk": self.done == 0}
            parts.append(self.vae.decoder(z[:, :, at : at + 1], **told))
            self.done += 1
        out = torch.cat(parts, 2)
        if config.patch_size is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

            out = unpatchify(out, patch_size=config.patch_size)
        return pictures(out.transpose(1, 2))


class Whole:
    """AutoencoderKLHunyuanVideo15: holds the latents back until the last one is there."""

    streams = False

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self.held: list[Tensor] = []

    @torch.no_grad()
    def next(self, latents: Latents, *, end: bool) -> Pictures:
        """See `Decoder`; nothing before the end."""
        self.held.append(latents)
        if not end:
            return torch.empty(len(latents), 0, 1, 1, 3, dtype=torch.uint8)
        z = torch.cat(self.held, 1) / self.vae.config.scaling_factor
        self.held.clear()
        return pictures(self.vae.decode(_placed(z, self.vae)).sample.transpose(1, 2))


def load_vae(backbone: str, source: str, dtype: torch.dtype) -> Any:
    """The autoencoder of a backbone's latents, from a diffusers folder or hub id, on the CPU; None where there is none.

    Raises TrajkitError where the backbone's latents need one and none is named, or it cannot be loaded.
    """
    kind = KINDS.get(backbone)
    if kind is None:
        raise TrajkitError(f"backbone {backbone}", "has no decoder", f"those that have: {', '.join(KINDS)}")
    if not kind:
        return None
    if not source:
        problem = f"needs its autoencoder ({kind}) to show pictures"
        raise TrajkitError(f"backbone {backbone}", problem, f"give --encoder {backbone}:FOLDER")
    import diffusers

    return part(getattr(diffusers, kind), source, "vae", torch_dtype=dtype, use_safetensors=True)


def decoder(backbone: str, vae: Any) -> Decoder:
    """A decoder for one clip."""
    if vae is None:
        return Plain()
    return Streaming(vae) if backbone == "wan" else Whole(vae)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Played:
    """A clip as it was made, and how long that took, from the moment when the first cameras were there.

    In: all of the networks' passes and, but for `first_latents_s`, decoding to pictures on the CPU. Out: the text, and
    writing the video. The pass that puts a chunk into the cache counts for the chunk after it.
    """

    pictures: Pictures
    latents: Latents
    first_latents_s: float  # until the first chunk's latents
    first_pictures_s: float  # until its pictures, or the clip's where the decoder does not stream
    fps: float  # pictures per second after the first chunk; of the whole clip where it comes at once


def play(rollout: Rollout, decoder: Decoder, cameras: Cameras) -> Played:
    """The clip that the cameras command."""
    latents, shown, moments = [], [], [_now(cameras)]
    for chunk in chunks(rollout, cameras):
        latents.append(chunk)
        moments.append(_now(cameras))
        end = sum(one.shape[1] for one in latents) == len(cameras)
        made = decoder.next(chunk, end=end)
        if made.shape[1]:
            shown.append(made)
            moments.append(time.perf_counter())
    pictures = torch.cat(shown, 1)
    first = moments[2] if decoder.streams else moments[-1]
    later = pictures.shape[1] - shown[0].shape[1]
    fps = later / (moments[-1] - first) if later else pictures.shape[1] / (moments[-1] - moments[0])
    return Played(
        pictures=pictures,
        latents=torch.cat(latents, 1),
        first_latents_s=moments[1] - moments[0],
        first_pictures_s=first - moments[0],
        fps=fps,
    )


def _now(cameras: Cameras) -> float:
    """Seconds, once the device has done all that it was asked."""
    if cameras.K.device.type == "cuda":
        torch.cuda.synchronize(cameras.K.device)
    return time.perf_counter()


def pictures(values: Float[Tensor, "b n 3 h w"]) -> Pictures:
    """-1 .. 1 to 0 .. 255, rounded, beyond clamped; channels last, on the CPU."""
    scaled = (values.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu()


def _placed(latents: Latents, vae: Any) -> Tensor:
    """(B, C, F, H, W) on the autoencoder's device, in its dtype."""
    weight = next(vae.parameters())
    return latents.transpose(1, 2).to(weight.device, weight.dtype)
