"""What the PATHs of `trajkit show` hold: clips that have not been read yet, refused paths, scenes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.errors import TrajkitError
from trajkit.scene import Rejected, Scene
from trajkit.scenes import open_scenes
from trajkit.shards import open_shard
from trajkit.show.refused import refusals

T = TypeVar("T")


class FoundClip(NamedTuple):
    """A clip that has not been read yet."""

    key: str
    folder: Path  # where `scenes/` may lie
    read: Callable[[], Clip]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Clips sorted by key, jsons of refused paths, and scenes that were named by their spec."""

    clips: tuple[FoundClip, ...] = ()
    refused: tuple[Path, ...] = ()
    scenes: tuple[Scene | Rejected, ...] = ()


def find(paths: Sequence[Path | str]) -> Found:
    """What clip folders, shards, folders of shards and specs of scenes such as "toy:" hold. Raises TrajkitError for
    nothing at all."""
    specs = [str(path) for path in paths if ":" in str(path) and not Path(path).exists()]
    places = [Path(path) for path in paths if str(path) not in specs]
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in places))
    found = Found(
        clips=tuple(
            sorted((one for path in places for one in _clips(path)), key=lambda one: (one.key, str(one.folder)))
        ),
        refused=tuple(path for folder in folders for path in refusals(folder)),
        scenes=tuple(scene for spec in specs for scene in open_scenes(spec)),
    )
    if not (found.clips or found.refused or found.scenes):
        where = ", ".join(map(str, paths))
        remedy = "give clip folders or shards that trajkit render or pack wrote, or a scene such as splat:FILE.ply"
        raise TrajkitError(where, "no finished clips", remedy)
    return found


def _clips(path: Path) -> Iterator[FoundClip]:
    if path.is_dir() and not any(path.glob("*.tar")):
        for key in clip_keys(path):
            yield FoundClip(key, path, lambda key=key: read_clip(path, key))  # type: ignore[misc]
        return
    for tar in sorted(path.glob("*.tar")) if path.is_dir() else [path]:
        shard = open_shard(tar)
        for key in shard.keys:
            yield FoundClip(key, tar.parent, lambda key=key, shard=shard: shard.clip(key))  # type: ignore[misc]


def select(found: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of them, evenly spaced, the first and the last included."""
    if len(found) <= limit:
        return list(found)
    return [found[int(k)] for k in np.linspace(0, len(found) - 1, limit).round()]
