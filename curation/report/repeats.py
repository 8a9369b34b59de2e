"""Repetition: the same clip under several keys, the same path twice, the same scene in several folders or splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trajkit.errors import TrajkitError
from trajkit.trajectory import Trajectory

DIGITS = 5  # of the figures by which paths are first compared
TOLERANCE = 0.02  # of path length, and of a rotation matrix's entries, by which two paths may differ
EXAMINED = 400  # clips whose poses are read to confirm that their paths are alike
FIGURES = ("pace", "turn_rate_deg", "poses", "frames", "direction", "turn")  # none of them has the path's scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeats:
    """Groups of keys, largest first; `alike` says of each group whether the poses themselves were compared."""

    same: tuple[tuple[str, ...], ...]  # same SHA-256 of poses and video
    alike: tuple[tuple[tuple[str, ...], str], ...]  # (keys, "confirmed" | "not compared")
    refuted: int  # groups whose figures are alike and whose poses are not
    leaked: tuple[tuple[str, tuple[str, ...]], ...]  # scene, and where it occurs

    @property
    def numbers(self) -> dict[str, int]:
        """What the headline says: clips beyond the first of their group, and scenes."""
        return {
            "duplicates": sum(len(keys) - 1 for keys in self.same),
            "alike_paths": sum(len(keys) - 1 for keys, _ in self.alike),
            "leaked_scenes": len(self.leaked),
        }

    def told(self, limit: int) -> dict[str, Any]:
        """As the JSON says it, at most `limit` groups of each."""
        return {
            "same_clip": [list(keys[:limit]) for keys in self.same[:limit]],
            "alike_paths": [{"keys": list(keys[:limit]), "poses": how} for keys, how in self.alike[:limit]],
            "alike_by_figures_only": self.refuted,
            "leaked_scenes": {scene: list(places) for scene, places in self.leaked[:limit]},
        }


def repeats(clips: pl.DataFrame, names: list[str], poses: Mapping[str, Callable[[], Trajectory]]) -> Repeats:
    """What repeats among the clips of the table. `names` are those of the folders, `poses` reads a clip's cameras."""
    hashed = clips.filter(pl.col("clip").is_not_null() & (pl.col("clip") != ""))
    same = _groups(hashed, ["clip"])
    later = hashed.filter(~pl.col("clip").is_first_distinct())["key"]
    moving = clips.filter((pl.col("path_length") > 0) | (pl.col("turn_rate_deg") > 0))
    moving = moving.filter(~pl.col("key").is_in(later.implode())).drop_nulls(["path_length", "speed", "turn_rate_deg"])
    pace = pl.when(pl.col("path_length") > 0).then(pl.col("speed") / pl.col("path_length")).otherwise(0.0)
    rounded = moving.with_columns(
        pace.round_sig_figs(DIGITS).alias("pace"), pl.col("turn_rate_deg").round_sig_figs(DIGITS)
    )
    alike, refuted, room = [], 0, EXAMINED
    for keys in _groups(rounded, list(FIGURES)):
        if len(keys) > room or not all(key in poses for key in keys):
            alike.append((keys, "not compared"))
            continue
        room -= len(keys)
        kept = [group for group in _confirmed(keys, poses) if len(group) > 1]
        refuted += not kept
        alike += [(group, "confirmed") for group in kept]
    return Repeats(same=same, alike=tuple(alike), refuted=refuted, leaked=_leaked(clips, names))


def _groups(table: pl.DataFrame, columns: list[str]) -> tuple[tuple[str, ...], ...]:
    groups = table.group_by(columns, maintain_order=True).agg("key").filter(pl.col("key").list.len() > 1)["key"]
    return tuple(sorted((tuple(sorted(keys)) for keys in groups.to_list()), key=lambda keys: (-len(keys), keys)))


def _confirmed(keys: tuple[str, ...], poses: Mapping[str, Callable[[], Trajectory]]) -> list[tuple[str, ...]]:
    """The keys in groups of one path, up to where it is and its scale."""
    groups: list[tuple[np.ndarray, list[str]]] = []
    for key in keys:
        try:
            shape = _shape(poses[key]())
        except TrajkitError:
            continue
        for first, group in groups:
            if first.shape == shape.shape and float(np.abs(shape - first).max()) < TOLERANCE:
                group.append(key)
                break
        else:
            groups.append((shape, [key]))
    return [tuple(group) for _, group in groups]


def _shape(trajectory: Trajectory) -> np.ndarray:
    """(N, 3, 4): poses relative to the first, translations as shares of the path's length."""
    relative = trajectory.relative_to(0).camera_to_world[:, :3].copy()
    relative[:, :, 3] /= max(trajectory.path_length, 1e-12)
    return relative


def _leaked(clips: pl.DataFrame, names: list[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    place = pl.when(pl.col("split").is_not_null()).then("split").otherwise(pl.col("folder").cast(pl.String))
    known = clips.filter(pl.col("scene").is_not_null() & (pl.col("scene") != ""))
    several = (
        known.select("scene", place=place)
        .unique()
        .sort("scene", "place")
        .group_by("scene", maintain_order=True)
        .agg("place")
        .filter(pl.col("place").list.len() > 1)
    )
    folder = {str(number): name for number, name in enumerate(names)}
    return tuple((scene, tuple(folder.get(one, one) for one in places)) for scene, places in several.iter_rows())
