"""The toy's latents are pictures: frame 4i in a small size, RGB in -1 .. 1; its text is one null token."""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from trajkit.latents import latent_frames

from ..backbones.toy import null_text
from . import Encoding, Settings


class Encoder(Encoding):
    """Averages over areas; cameras are normalised by the picture's size, so another size needs no other cameras."""

    id = "toy"

    def __init__(self, settings: Settings) -> None:
        self.size = settings.size

    def frames(self, count: int) -> Int64[np.ndarray, " n"]:
        """0, 4, 8, ..."""
        return latent_frames(count)

    def latents(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "f c h w"]:
        """(F, 3, H, W)."""
        small = np.stack([np.asarray(Image.fromarray(one).resize(self.size, Image.Resampling.BOX)) for one in pictures])
        return torch.from_numpy(small).permute(0, 3, 1, 2) / 127.5 - 1

    def text(self, caption: str, first: UInt8[np.ndarray, "h w 3"]) -> dict[str, Tensor]:
        """No words: one token of zeros."""
        return {name: one[0] for name, one in null_text(1).items()}
