"""The text of HunyuanVideo: padding is stripped, so that attention needs no mask; samples then differ in length."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from trajkit.errors import TrajkitError

from ..attention import Cache
from ..cameras import Cameras
from . import Text

MASKS = {"embeddings": "mask", "byt5": "byt5_mask", "image": "image"}  # of the kinds of text, in their numbers' order
_places: Any = WeakIdKeyDictionary()  # valid places of each mask that is alive: read from the device once


class SampleCache(Cache):
    """A cache that splits into one per sample where the samples' texts differ in length."""

    def __init__(self, layers: int, capacity: int, sink: int = 0) -> None:
        super().__init__(layers, capacity, sink)
        self.samples: list[Cache] = []

    def sample(self, number: int) -> Cache:
        """The cache of one sample, all of which are asked for in their order."""
        if number == len(self.samples):
            self.samples.append(Cache(len(self.buffers), self.capacity, self.sink))
        one = self.samples[number]
        one.origin = None if self.origin is None else self.origin[number : number + 1]
        return one

    def commit(self, tokens: int) -> None:
        """See `Cache.commit`."""
        super().commit(tokens)
        for one in self.samples:
            one.commit(tokens)


def stripped(text: Text) -> list[dict[str, Tensor]]:
    """The valid tokens of each sample, a mapping per sample; one for all where the text has no masks.

    Whether a batch is cut up does not depend on values: all processes of a sharded network gather its layers equally
    often.
    """
    told = [name for name in MASKS if name in text]
    if not any(mask in text for mask in MASKS.values()):
        return [{name: text[name] for name in told}]
    samples: list[dict[str, Tensor]] = [{} for _ in text["embeddings"]]
    for name in told:
        places = _valid(text[MASKS[name]], text[name].device) if MASKS[name] in text else None
        for number, sample in enumerate(samples):
            own = text[name][number : number + 1]
            sample[name] = own if places is None else own.index_select(1, places[number])
    if any(not sample["embeddings"].shape[1] for sample in samples):
        raise TrajkitError("text", "a sample has no valid token", "give its mask at least one")
    return samples


def _valid(mask: Tensor, device: torch.device) -> list[Tensor]:
    """Places of each row that are not zero; all or none for pictures (B, T, D), of which one of zeros is none.

    A mask on a device is read once, however often it is asked for; one on the CPU costs no wait at all.
    """
    if mask not in _places:
        rows = mask if mask.ndim == 2 else mask.flatten(1).any(1, keepdim=True).expand(mask.shape[:2])
        _places[mask] = [row.nonzero()[:, 0].to(device) for row in rows.cpu()]
    return _places[mask]


def of_sample(cameras: Cameras, own: slice) -> Cameras:
    """The cameras of some samples."""
    present = None if cameras.present is None else cameras.present[own]
    return replace(cameras, world_to_camera=cameras.world_to_camera[own], K=cameras.K[own], present=present)
