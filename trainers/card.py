"""`Card`: what a checkpoint is, beside its weights, so that nothing can be used for what it was not trained for."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import STRICT, from_json

from .backbones import Conditioning

NAME = "trajkit.json"
MAX_BYTES = 1 << 20
StageName = Literal["none", "finetune", "causal", "ode", "consistency", "dmd"]
Solver = Literal["euler", "consistency"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """The content of trajkit.json in a folder of weights."""

    __pydantic_config__ = STRICT

    schema: Literal["trajkit.checkpoint/1"] = "trajkit.checkpoint/1"
    backbone: str
    conditioning: Conditioning
    stage: StageName  # the last one that it went through
    step: Annotated[int, Ge(0)] = 0
    chunk: Annotated[int, Ge(1)] = 4  # latents per chunk; of no matter before `causal`
    solver: Solver = "euler"  # the only one that its few steps are right for; many-step networks: euler
    timesteps: tuple[float, ...] = ()  # unshifted, of a few-step student: 1000, 750, 500, 250; () = many steps
    shift: Annotated[float, Gt(0)] = 1.0  # of the noise levels that it was trained on
    first_frame: bool = False  # it was told each clip's first latent (image to video), and is to be told it
    translation_scale: Annotated[float, Gt(0)] = 1.0  # translations were divided by it
    latent: tuple[int, ...] = ()  # C H W of the latents it was trained on
    frames: Annotated[int, Ge(0)] = 0  # latents per clip in training
    encoder: str = ""  # that made the latents
    versions: dict[str, str] = field(default_factory=dict)


def write_card(folder: Path, card: Card) -> None:
    """Writes folder/trajkit.json."""
    files.write_bytes(folder / NAME, files.json_bytes(asdict(card)))


def read_card(folder: Path) -> Card:
    """The card of a folder of weights. Raises TrajkitError where it is missing or damaged."""
    path = folder / NAME
    card: Card = from_json(Card, files.read_bytes(path, limit=MAX_BYTES), path, limit=MAX_BYTES)
    return card


def expect(card: Card, where: object, stages: tuple[StageName, ...]) -> None:
    """Raises TrajkitError where the checkpoint did not go through one of the stages."""
    if card.stage not in stages:
        wanted = " or ".join(stages)
        raise TrajkitError(where, f"is a checkpoint of stage {card.stage}", f"give one of {wanted}")
