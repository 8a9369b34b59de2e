"""What convention a pose file is in, told from the pixels of its video: readings ranked by how well they explain them.

A reading says how the numbers make camera_to_world poses (direction, camera axes, order of the quaternion, transposed
rotation), which frame each pose belongs to, and what the intrinsics are measured in. Its residual is the mean, over
pairs of frames, of the median half-line residual (see `residuals`) of points followed between them, in pixels. The
search goes in stages on few points, then measures the best readings, and all that differ from the best one in one part,
on all of them. Readings that claim the same motion up to pixels form a group: no video of this motion tells them apart.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from trajkit.errors import TrajkitError

from . import _explain
from ._hypotheses import Convention, Hypothesis, Lens, Timing
from ._rawposes import RawPoses
from ._search import Answered, Search
from .induced import WIDTH
from .tracks import Tracks

Array = np.ndarray
STILL_PX = 0.4  # median image motion below which a camera is still
SAME_PX = 0.05  # readings whose predictions differ less say the same
EXPLAINED_PX = 1.5  # residual that counts as an explanation, where it is
EXPLAINED_SHARES = (0.06, 0.15)  # of the image motion: what always counts, and what a residual must be below anyway
TOLD_APART, TOLD_APART_LOW = 1.5, 1.2  # times the best residual: of the next reading, and its bootstrapped 1 % bound
TOLD_APART_RARE = 4.0  # the same where the best reading is rare and the next one is more common
BLOCKS, DRAWS = 12, 300
SHOWN = 16  # rows of the table
FEWEST_PAIRS = 6
Part = Convention | Timing | Lens


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    hypothesis: Hypothesis
    residual_px: float
    ratio: float  # to the best one
    group: int  # rows of a group say the same; 0 is the best one's


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One part of the best hypothesis, and how sure it is."""

    chosen: Part
    sure: bool
    same: tuple[Part, ...]  # what says the same here
    close: tuple[Part, ...]  # what says something else and explains the pixels about as well
    ratio: float  # residual of the next best one that says something else, to the chosen one's; inf without
    ratio_low: float  # its bootstrapped 1 % bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What the pixels say about a pose file. `why` is empty where they decide."""

    why: str
    motion_px: float  # median image motion between the frames that were compared
    rows: tuple[Row, ...] = ()
    convention: Answer | None = None
    timing: Answer | None = None
    lens: Answer | None = None
    focal_px: float = 0.0  # median of the chosen lens, in pixels of the video
    focal_factor: float = 1.0  # by which that explains the pixels best

    @property
    def sure(self) -> bool:
        """Whether the convention is decided."""
        return not self.why

    @property
    def best(self) -> Hypothesis | None:
        """The chosen hypothesis, sure or not."""
        return self.rows[0].hypothesis if self.rows else None


def probe(raw: RawPoses, tracks: Tracks, fps: float, *, fov_deg: float | None = None) -> Finding:
    """What the file's numbers mean, as far as the motion decides it.

    `fov_deg` is the vertical field of view, where it is known and the file does not say. Raises TrajkitError for a
    field of view that is none.
    """
    if fov_deg is not None and not 1 <= fov_deg <= 170:
        raise TrajkitError(f"--fov {fov_deg:g}", "is no vertical field of view", "give degrees between 1 and 170")
    search = Search(raw, tracks, fps, fov_deg)
    scale = tracks.size[0] / WIDTH
    motion_px = search.full.motion_px
    if len(search.full.first) < FEWEST_PAIRS:
        why = "too few poses for the frames" if len(search.frames) < FEWEST_PAIRS else "too little can be followed"
        return Finding(why=why, motion_px=motion_px)
    if motion_px < STILL_PX * scale:
        return Finding(why="the camera is still", motion_px=motion_px)
    search.narrow()
    return _judged(search, search.measured(), scale)


def _judged(search: Search, measured: Answered, scale: float) -> Finding:
    """The finding that follows from the residuals of all hypotheses measured."""
    best = search.preferred(measured)
    comparison = _Comparison(search, measured, best, scale)
    convention = comparison.answer("convention")
    timing, lens = comparison.answer("timing"), comparison.answer("lens")
    residual = float(measured[best].mean())
    motion_px = search.full.motion_px
    always, never = (share * motion_px for share in EXPLAINED_SHARES)
    why = ""
    if residual > max(always, min(EXPLAINED_PX * scale, never)):
        why = f"no reading explains the pixels: the best leaves {residual:.2f} of {motion_px:.1f} pixels of motion"
    elif not convention.sure:
        why = comparison.doubt(convention)
    return Finding(
        why=why,
        motion_px=motion_px,
        rows=comparison.rows(),
        convention=convention,
        timing=timing,
        lens=lens,
        focal_px=float(np.median(search.lenses[best.lens][:, 0])),
        focal_factor=comparison.focal_factor(),
    )


class _Comparison:
    """One hypothesis against all others that were measured."""

    def __init__(self, search: Search, measured: Answered, best: Hypothesis, scale: float) -> None:
        self.search, self.measured, self.best, self.scale = search, measured, best, scale
        self.residual = max(float(measured[best].mean()), 1e-3 * scale)
        self.noiseless = search.fitted(best)
        self.draws = _block_draws(search.full.first)
        self.apart: dict[Hypothesis, float] = {}

    def says_the_same(self, other: Hypothesis) -> bool:
        """Whether the other one predicts the best one's points to within SAME_PX."""
        if other not in self.apart:
            self.apart[other] = float(self.search.of(other, self.noiseless).mean())
        return self.apart[other] < SAME_PX * self.scale

    def ratio(self, other: Hypothesis) -> tuple[float, float]:
        """Residual of the other one to that of the best, and its bootstrapped lower bound."""
        floor = 1e-3 * self.scale
        drawn = self.draws @ np.stack([self.measured[other], self.measured[self.best]], axis=-1)
        ratios = np.maximum(drawn[:, 0], floor) / np.maximum(drawn[:, 1], floor)
        return float(self.measured[other].mean()) / self.residual, float(np.percentile(ratios, 1))

    def answer(self, part: str) -> Answer:
        """How sure one part of the best hypothesis is. Conventions compete at their own best timing and lens."""
        chosen: Part = getattr(self.best, part)
        place = Hypothesis._fields.index(part)
        others: dict[Part, list[Hypothesis]] = {}
        for hypothesis in self.measured:
            alone = self._with(place, hypothesis[place]) == hypothesis
            if hypothesis[place] != chosen and (alone or part == "convention"):
                others.setdefault(hypothesis[place], []).append(hypothesis)
        same: list[Part] = []
        close: list[tuple[float, Part]] = []
        ratios = [(np.inf, np.inf)]
        for other, hypotheses in others.items():
            nearest = min(hypotheses, key=lambda one: self.measured[one].mean())
            one = self._with(place, other)
            if self.says_the_same(nearest) or (one in hypotheses and self.says_the_same(one)):
                same.append(other)
                continue
            ratio, low = self.ratio(nearest)
            if ratio < self._limit(other) or low < TOLD_APART_LOW:
                close.append((ratio, other))
            if self._blocks(other):
                ratios.append((ratio, low))
        blocking = [other for other in [*same, *(other for _, other in close)] if self._blocks(other)]
        return Answer(
            chosen=chosen,
            sure=not blocking,
            same=tuple(same),
            close=tuple(other for _, other in sorted(close, key=lambda pair: pair[0])),
            ratio=min(ratios)[0],
            ratio_low=min(ratios)[1],
        )

    def _with(self, place: int, value: Part) -> Hypothesis:
        """The best hypothesis with one of its parts replaced."""
        return Hypothesis(*(value if number == place else part for number, part in enumerate(self.best)))  # type: ignore[arg-type]

    def _limit(self, other: Part) -> float:
        rarer = isinstance(other, Convention) and other.rank < self.best.convention.rank
        return TOLD_APART_RARE if rarer else TOLD_APART

    def _blocks(self, other: Part) -> bool:
        """Whether another value makes the chosen one unsure: rarer conventions, and fields of view tried, do not."""
        if isinstance(other, Convention):
            return other.rank <= self.best.convention.rank or other == self.search.raw.declared
        return not (isinstance(other, Lens) and other.tried and not self.best.lens.tried)

    def rows(self) -> tuple[Row, ...]:
        """The best hypothesis, then the best one of each other convention, then those that differ in one other part."""
        shown = {self.best.convention: self.best}
        for hypothesis in sorted(self.measured, key=lambda one: self.measured[one].mean()):
            shown.setdefault(hypothesis.convention, hypothesis)
        others = [one for one in shown.values() if one != self.best]
        once = [one for one in self.measured if sum(a != b for a, b in zip(one, self.best, strict=True)) == 1]
        once.sort(key=lambda one: self.measured[one].mean())
        timings = [one for one in once if one.timing != self.best.timing]
        lenses = [one for one in once if one.lens != self.best.lens]
        order = [self.best, *others[: SHOWN // 2], *timings[: SHOWN // 4], *lenses[: SHOWN // 4]]
        rows: list[Row] = []
        groups = [self.noiseless]  # the points as the first one of each group has them
        for one in list(dict.fromkeys(order))[:SHOWN]:
            mean = float(self.measured[one].mean())
            apart = [self.search.of(one, points).mean() for points in groups]
            group = next((number for number, px in enumerate(apart) if px < SAME_PX * self.scale), len(groups))
            if group == len(groups):
                groups.append(self.search.fitted(one))
            rows.append(
                Row(hypothesis=one, residual_px=mean, ratio=mean / self.residual, group=0 if not rows else group)
            )
        rows = [rows[0], *sorted(rows[1:], key=lambda row: (row.group > 0, row.residual_px))]
        number = {group: place for place, group in enumerate(dict.fromkeys(row.group for row in rows))}
        return tuple(replace(row, group=number[row.group]) for row in rows)

    def doubt(self, answer: Answer) -> str:
        """Why the convention stays open."""
        rival = next((other for other in answer.same if self._blocks(other)), None)
        motion = self.search.motion(self.best)
        still = motion._replace(translation=np.zeros_like(motion.translation))
        values = self.search.lens_values(self.best.lens, self.best.timing)
        full = self.search.full
        far = _explain.medians(still, values[full.first], values[full.second], full).mean()
        turns = _spread(motion.rotation[0])
        if far < self.residual + 0.5 * self.scale:
            kind = "the camera turns about one axis alone" if turns[1] < 0.15 * turns[0] else "the camera only turns"
        elif turns[0] < 0.01:
            kind = "the camera hardly turns"
        elif turns[1] < 0.15 * turns[0]:
            kind = "the camera turns about one axis alone"
        else:
            kind = "the motion is too simple"
        if rival is not None:
            return f"{kind}, and {rival.text} says the same"
        close = next(other for other in answer.close if self._blocks(other))
        return f"{kind}, and {close.text} explains the pixels about as well ({answer.ratio:.2f} times the residual)"

    def focal_factor(self) -> float:
        """By how much a focal length other than the chosen lens's explains the pixels best."""
        search, best = self.search, self.best
        motion = search.motion(best)
        values, full = search.lens_values(best.lens, best.timing), search.full
        factors = np.exp(np.linspace(-0.5, 0.5, 21))
        means = []
        for factor in factors:
            lens = values * (factor, factor, 1.0, 1.0)
            means.append(float(_explain.medians(motion, lens[full.first], lens[full.second], full).mean()))
        return float(factors[int(np.argmin(means))])


def _spread(rotations: Float64[Array, "k 3 3"]) -> Float64[Array, "3"]:
    """Root mean squares, in radians, of how far rotations turn about their main axes, the largest first."""
    skew = rotations - np.swapaxes(rotations, 1, 2)
    vectors = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=-1) / 2
    return np.linalg.svd(vectors, compute_uv=False) / np.sqrt(len(vectors))


def _block_draws(first: Array) -> Float64[Array, "d k"]:
    """Weights of pairs of frames in bootstrapped means: runs of frames are drawn, for neighbours share their points."""
    rng = np.random.default_rng(0)
    block = np.argsort(np.argsort(first, kind="stable")) * BLOCKS // len(first)
    drawn = rng.multinomial(BLOCKS, np.ones(BLOCKS) / BLOCKS, DRAWS).astype(np.float64)
    weights = drawn[:, block]
    return weights / np.maximum(weights.sum(1, keepdims=True), 1.0)
