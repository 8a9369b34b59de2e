"""Layouts that other people's trainers read, one per file: `KEEPS`, `Options` and `export(clips, out, options)`.

`export` writes a whole data set into the folder `out` and returns what its layout could not hold, by clip key. It can
be run again after a kill: what is finished stays, and the same clips give the same bytes. Its index is written last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export wrote."""

    clips: int
    index: str  # name of the file in `out` that lists them; it is written last
    lost: Mapping[str, str] = field(default_factory=dict)  # clip key -> what the layout could not hold of it
