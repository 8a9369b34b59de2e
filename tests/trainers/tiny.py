"""Networks so small that a call takes milliseconds, and what they are called with; all a function of seeds."""

import torch
from torch import Tensor

from trajkit import plugins
from trajkit.trainers.backbones import BackboneModule
from trajkit.trainers.batch import Batch
from trajkit.trainers.cameras import Cameras

CONDITIONINGS = ("prope", "prope-merged", "plucker", "none")
SIZE = {"heads": 2, "head_dim": 24, "layers": 2, "ffn": 32, "channels": 4, "patch": 2, "text": 16, "freq": 16}
SIZE |= {"refiner": 1, "mlp_ratio": 1.5, "byt5": 8, "image": 8}  # of hunyuan alone
TEXTS = {"embeddings": ("text_dim", "text_embed_dim"), "byt5": ("text_embed_2_dim",), "image": ("image_embed_dim",)}
TOY_CHANNELS = 3


def names() -> list[str]:
    """The backbones that can be made here."""
    return [found.name for found in plugins.survey("backbones") if not found.missing]


def backbone(name: str = "toy", conditioning: str = "prope", *, seed: int = 0, **size: int) -> BackboneModule:
    """A backbone with random weights, those of its camera layers not zero as they would be at the start."""
    plugin = plugins.load("backbones", name)
    known = set(plugin.Options.__dataclass_fields__)
    chosen = SIZE | ({"channels": TOY_CHANNELS} if name == "toy" else {}) | size
    made = plugin.Backbone.random(
        plugin.Options(seed=seed, **{key: value for key, value in chosen.items() if key in known}), conditioning
    )
    return liven(made, seed)


def liven(made: BackboneModule, seed: int = 0) -> BackboneModule:
    """The same one with every parameter that is zero re-drawn from N(0, 0.2), so that no term of it is hidden."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


def cameras(batch: int = 1, frames: int = 8, seed: int = 0) -> Cameras:
    """Paths that turn and move by about 0.3 a latent from the identity; principal points off the middle."""
    generator = torch.Generator().manual_seed(seed)
    turns = 0.15 * torch.randn(batch, frames, 3, generator=generator)
    skew = torch.zeros(batch, frames, 4, 4)
    skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0] = turns.unbind(-1)
    skew = skew - skew.mT
    skew[..., :3, 3] = 0.3 * torch.randn(batch, frames, 3, generator=generator)
    steps = torch.linalg.matrix_exp(skew.double())
    steps[:, 0] = torch.eye(4)
    poses = [steps[:, 0]]
    for frame in range(1, frames):
        poses.append(steps[:, frame] @ poses[-1])
    K = torch.tensor([[0.6, 0, 0.52], [0, 0.9, 0.45], [0, 0, 1]]).repeat(batch, frames, 1, 1)
    return Cameras(world_to_camera=torch.stack(poses, 1), K=K)


def text(made: BackboneModule, batch: int = 1, seed: int = 0, tokens: int = 5) -> dict[str, Tensor]:
    """Random text embeddings, as the backbone's encoder would name and shape them."""
    generator = torch.Generator().manual_seed(seed)
    config = made.model.config
    widths = {name: config[key] for name, keys in TEXTS.items() for key in keys if key in config}
    return {name: torch.randn(batch, tokens, width, generator=generator) for name, width in widths.items()}


def latents(
    made: BackboneModule, batch: int = 1, frames: int = 8, seed: int = 0, height: int = 4, width: int = 6
) -> Tensor:
    """Standard normal latents (B, F, C, H, W)."""
    channels = made.model.config.out_channels
    return torch.randn(batch, frames, channels, height, width, generator=torch.Generator().manual_seed(seed))


def part(batch: Batch, which: slice) -> Batch:
    """Some of a batch's samples."""
    cameras = Cameras(world_to_camera=batch.cameras.world_to_camera[which], K=batch.cameras.K[which])
    return Batch(
        keys=batch.keys[which],
        positions=batch.positions[which],
        latents=batch.latents[which],
        cameras=cameras,
        text={name: value[which] for name, value in batch.text.items()},
        trajectory=None if batch.trajectory is None else batch.trajectory[which],
    )
