"""Training stages, one per file: `ROLES`, `Options` and `losses(batch, roles, draws, options)`.

`losses` yields (role, loss) pairs, one after the other: the loop runs backward on each loss as it comes and, once the
step's batches are done, steps the optimisers of the roles that were yielded. A loss is a mean over the batch, so that
accumulating over parts of a batch gives the whole batch's gradient. Networks predict velocities; sigma is exact.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..backbones import BackboneModule

Roles = Mapping[str, BackboneModule]
Losses = Iterator[tuple[str, Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """What a stage needs a network for, and where its weights come from at the start.

    trained: has an optimiser. frozen: never changes. average: the exponential moving average of another role.
    """

    kind: Literal["trained", "frozen", "average"]
    source: str  # the flag that names its checkpoint ("start", "teacher", "critic"), or the role that it averages
    causal: bool  # whether it is called chunk by chunk (teacher forcing, cache)
