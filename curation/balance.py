"""Sampling weights that even out how cameras move: motion x direction x turn x speed, tempered and capped.

A clip in a bin of n clips weighs n^-power: power 0 leaves the set as it is, power 1 gives every bin the same share.
No clip weighs more than `cap` times the lightest. Weights sum to one over the accepted clips.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float64

from trajkit import files
from trajkit.errors import TrajkitError

from .filter import collect, newest_rows, scored

Array = np.ndarray
WEIGHTS = "weights.parquet"
NAMES = ("motion", "direction", "turn")  # of facts; their values make up a bin's name, the speed comes last
UNKNOWN = "unknown"
STILL = "still"


class Coverage(NamedTuple):
    """How evenly sampled clips lie over the bins."""

    clips: float  # effective number of clips: 1 / sum of squared weights (Kish)
    entropy: float  # of the bins' shares, in nats
    bins: float  # effective number of bins: e^entropy


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Balance:
    """`weights` has key, weight and bin, by key; `bins` has bin, clips, before and after (shares), largest first."""

    weights: pl.DataFrame
    bins: pl.DataFrame
    before: Coverage
    after: Coverage
    capped: int  # clips whose weight the cap lowered


def balance(folders: Sequence[Path], *, power: float = 0.5, cap: float = 10.0, speeds: int = 3) -> Balance:
    """Weights of the accepted clips of the folders' ledgers.

    Raises TrajkitError where nothing is scored or accepted. Speeds are compared among clips of one kind of scale.
    """
    clips = accepted(folders)
    names = pl.concat_str([*(pl.col(name).fill_null(UNKNOWN) for name in NAMES), _speed(clips, speeds)], separator=" ")
    clips = clips.select("key", names.alias("bin"))
    count = clips.select(pl.len().over("bin"))["len"].to_numpy().astype(np.float64)
    free = count**-power
    weight = np.minimum(free, cap * free.min())
    capped = int((weight < free).sum())
    weight /= weight.sum()
    weights = clips.select("key", pl.Series("weight", weight), "bin")
    bins = weights.group_by("bin").agg(clips=pl.len(), after=pl.col("weight").sum())
    bins = bins.sort(["clips", "bin"], descending=[True, False])
    bins = bins.select("bin", "clips", (pl.col("clips") / len(clips)).alias("before"), "after")
    even = np.full(len(clips), 1 / len(clips))
    return Balance(
        weights=weights,
        bins=bins,
        before=_coverage(even, bins["before"].to_numpy()),
        after=_coverage(weight, bins["after"].to_numpy()),
        capped=capped,
    )


def accepted(folders: Sequence[Path]) -> pl.DataFrame:
    """The clips that trajkit filter accepted or, where it said nothing, score: key, NAMES, speed and scale, by key."""
    said = pl.concat([collect(newest_rows(one, "filter").select("key", "state"), one) for one in folders])
    refused = said.filter(pl.col("state") != "accepted")["key"].unique()
    judged = [one for one in folders if len(collect(newest_rows(one, "score").select("key").head(1), one))]
    table = scored(judged or folders).table([*NAMES, "speed", "scale", "state"])
    kept = pl.col("key").is_in(said["key"].implode()) | (pl.col("state") == "accepted")
    clips = table.filter(kept & ~pl.col("key").is_in(refused.implode()))
    if not len(clips):
        where = ", ".join(map(str, folders))
        raise TrajkitError(where, "no clip is accepted", "change the rules of trajkit filter, or score more clips")
    return clips


def _speed(clips: pl.DataFrame, speeds: int) -> pl.Series:
    """`1/3` (slowest) to `3/3` among clips of one kind of scale, `still`, or `unknown`."""
    names = np.full(len(clips), UNKNOWN, dtype=object)
    speed = clips["speed"].cast(pl.Float64).to_numpy()
    scale = clips["scale"].fill_null(UNKNOWN).to_numpy()
    still = (speed == 0) | (clips["direction"].fill_null("") == STILL).to_numpy()
    for kind in np.unique(scale.astype(str)):
        mine = (scale == kind) & np.isfinite(speed) & ~still
        if mine.any():
            edges = np.quantile(speed[mine], np.arange(1, speeds) / speeds)
            names[mine] = [f"{1 + place}/{speeds}" for place in np.searchsorted(edges, speed[mine])]
    names[still] = STILL
    return pl.Series("speed", names.tolist(), dtype=pl.String)


def _coverage(weights: Float64[Array, "n"], shares: Float64[Array, "b"]) -> Coverage:
    entropy = float(-(shares * np.log(shares)).sum())
    return Coverage(float(1 / (weights**2).sum()), max(entropy, 0.0), float(np.exp(max(entropy, 0.0))))


def write(found: Balance, out: Path) -> None:
    """Writes OUT/weights.parquet: key, weight, bin, sorted by key."""
    content = io.BytesIO()
    found.weights.write_parquet(content, compression="zstd", statistics=True)
    with files.locked(out):
        files.write_bytes(out / WEIGHTS, content.getvalue())
