"""What is in footage: looked at once, and kept in OUT/fitness for as long as its content stays the same."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.members import from_json
from trajkit.scene import Rejected
from trajkit.work import attempt

from .fitness import VERSION, examine
from .footage import Fitness, Footage

FITNESS = "fitness"
MAX_RECORD_BYTES = 1 << 22


class Seen(NamedTuple):
    """A video that was looked at."""

    footage: Footage
    content: str  # SHA-256 of the video
    fitness: Fitness


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    schema: Literal["trajkit.fitness/1"]
    content: str
    version: str
    fitness: Fitness


def look(one: Footage | Rejected, out: Path) -> Seen | Rejected:
    """What is in the video: from OUT/fitness where the same content was looked at before, else measured and kept.

    Raises TrajkitError where it does not decode.
    """
    if isinstance(one, Rejected):
        return one
    video = one.open()
    content = hashlib.sha256(video).hexdigest() if isinstance(video, bytes) else files.sha256(video)
    path = out / FITNESS / f"{one.key}.json"
    if path.is_file():
        kept = attempt(_read_record, path)  # one that is damaged is made again
        if not isinstance(kept, TrajkitError) and (kept.content, kept.version) == (content, VERSION):
            return Seen(one, content, kept.fitness)
    fitness = examine(video)
    record = _Record(schema="trajkit.fitness/1", content=content, version=VERSION, fitness=fitness)
    files.write_bytes(path, files.json_bytes(asdict(record)))
    return Seen(one, content, fitness)


def _read_record(path: Path) -> _Record:
    record: _Record = from_json(_Record, files.read_bytes(path, limit=MAX_RECORD_BYTES), path, limit=MAX_RECORD_BYTES)
    return record
