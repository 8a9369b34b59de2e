"""The search for what a pose file's numbers mean: many hypotheses on few points, then few on all of them."""

import numpy as np
from jaxtyping import Float64

from . import _explain, _hypotheses
from ._explain import Sample
from ._hypotheses import Convention, Hypothesis, Lens, Timing
from ._rawposes import RawPoses
from .induced import WIDTH
from .tracks import Tracks

Array = np.ndarray
CAP_PX = 16.0  # of a pair of frames: worse says nothing more
PREFERRED = 1.1  # a common reading wins over a rare one that is better by less
COARSE, MIDDLE = (24, 12), (40, 16)  # pairs of frames and points of each while searching
TOP = 20  # conventions that are looked at closely
Answered = dict[Hypothesis, Float64[Array, "k"]]  # residuals of the pairs of frames
Base = tuple[str, _hypotheses.Direction, bool]  # a convention but for the camera's axes


class Search:
    """The hypotheses of one file and video, and their residuals so far."""

    def __init__(self, raw: RawPoses, tracks: Tracks, fps: float, fov_deg: float | None) -> None:
        self.raw, self.count, self.size = raw, tracks.frames, tracks.size
        self.axes = _hypotheses.all_axes()
        self.opencv_from = np.stack([_hypotheses.opencv_from(axes) for axes in self.axes])
        own = raw.rates(tracks.frames, fps)
        natural = next(iter(own.values()))
        reach = min(_hypotheses.OFFSETS, int(min(natural[-1] - natural[0], tracks.frames) / 8))
        frames = np.unique(np.rint(natural).astype(np.int64))
        inside = (frames - reach >= natural[0]) & (frames + reach <= natural[-1]) & (frames >= 0)
        self.frames = frames[inside & (frames < tracks.frames)]
        offsets = sorted(range(-reach, reach + 1), key=abs)
        self.timings = {Timing(rate, offset): at + offset for rate, at in own.items() for offset in offsets}
        self.lenses = raw.lenses(tracks.size, fov_deg)
        self.full = _explain.sample(tracks, self.frames) if len(self.frames) >= 2 else _nothing()
        self.coarse, self.middle = self.full.thinned(*COARSE), self.full.thinned(*MIDDLE)
        self.scale = tracks.size[0] / WIDTH
        self.poses: dict[tuple[Base, Timing], tuple[Array, float]] = {}
        self.lens_at: dict[tuple[Lens, Timing], Array] = {}
        self.found: dict[Hypothesis, float] = {}  # mean residual on few points
        self.kept: list[Convention] = []  # that are looked at closely
        self.focussed: set[tuple[Convention, Timing]] = set()

    def residuals(
        self, base: Base, axes: list[int], timing: Timing, lens: Lens, batch: Sample
    ) -> Float64[Array, "b k"]:
        """Residuals of the pairs of frames for one file's reading under each of some camera axes."""
        poses, still = self._poses(base, timing)
        motion = _explain.turned(_explain.relative(poses, batch, still), self.opencv_from[axes])
        values = self.lens_values(lens, timing)
        return np.minimum(
            _explain.medians(motion, values[batch.first], values[batch.second], batch), CAP_PX * self.scale
        )

    def of(self, hypothesis: Hypothesis, batch: Sample) -> Float64[Array, "k"]:
        """Residuals of the pairs of frames under one hypothesis."""
        reading, direction, transposed, axes = hypothesis.convention
        base = (reading, direction, transposed)
        return self.residuals(base, [self.axes.index(axes)], hypothesis.timing, hypothesis.lens, batch)[0]

    def fitted(self, hypothesis: Hypothesis) -> Sample:
        """The points as the hypothesis has them, without noise."""
        motion = self.motion(hypothesis)
        values = self.lens_values(hypothesis.lens, hypothesis.timing)
        return _explain.fitted(motion, values[self.full.first], values[self.full.second], self.full)

    def motion(self, hypothesis: Hypothesis, batch: Sample | None = None) -> _explain.Relative:
        """Relative poses of the pairs of frames (of all, unless given) under one hypothesis."""
        reading, direction, transposed, axes = hypothesis.convention
        poses, still = self._poses((reading, direction, transposed), hypothesis.timing)
        found = _explain.relative(poses, self.full if batch is None else batch, still)
        return _explain.turned(found, self.opencv_from[[self.axes.index(axes)]])

    def narrow(self) -> None:
        """Fills `found`: all conventions roughly, then the better ones with all timings, then with all lenses."""
        own = [lens for lens in self.lenses if not lens.tried][:4]
        rough = own or [lens for lens in self.lenses if lens.tried][2::3]
        first = next(iter(self.timings)).rate
        times = [time for time in self.timings if time.offset == 0 or (time.rate == first and abs(time.offset) == 3)]
        for base in _hypotheses.conventions(list(self.raw.readings)):
            for timing in times:
                for lens in rough:
                    self._try(base, list(range(len(self.axes))), timing, lens, self.coarse)
        self.kept = kept = self._kept()
        usual = list(dict.fromkeys(self._best_of(convention, 1)[0].lens for convention in kept))[:3]
        for base, axes in _by_base(kept, self.axes).items():
            for timing in self.timings:
                for lens in usual:
                    self._try(base, axes, timing, lens, self.coarse)
        for convention in kept:
            base, axes_of = convention[:3], [self.axes.index(convention.axes)]
            for timing in dict.fromkeys(one.timing for one in self._best_of(convention, 4)):
                for lens in self.lenses:
                    self._try(base, axes_of, timing, lens, self.coarse)

    def measured(self) -> Answered:
        """Residuals on all points: of the best hypotheses of each kept convention, and of the neighbours of the best.

        Thrice, for the best one on all points may differ from the best on few.
        """
        measured: Answered = {}
        for convention in self.kept:
            for hypothesis in self._best_of(convention, 3):
                measured[hypothesis] = self.of(hypothesis, self.full)
            self._focus(min(self._best_of(convention, 3), key=lambda one: measured[one].mean()), measured)
        for _ in range(3):
            best = self.preferred(measured)
            for hypothesis in self._neighbours(best):
                if hypothesis not in measured:
                    measured[hypothesis] = self.of(hypothesis, self.full)
            for convention in self.kept:
                if convention.rank <= best.convention.rank:
                    self._focus(best._replace(convention=convention), measured)
        return measured

    def preferred(self, measured: Answered) -> Hypothesis:
        """The hypothesis with the least residual, or one hardly worse that is stated or more common."""
        means = {hypothesis: float(residuals.mean()) for hypothesis, residuals in measured.items()}
        limit = PREFERRED * min(means.values()) + 0.01 * self.scale
        timings, lenses = list(self.timings), list(self.lenses)

        def order(one: Hypothesis) -> tuple[float, ...]:
            rank = -1 if one.convention == self.raw.declared else one.convention.rank
            return rank, timings[0] != one.timing, one.lens.tried, lenses[0] != one.lens, means[one]

        return min((one for one, mean in means.items() if mean <= limit), key=order)

    def _focus(self, hypothesis: Hypothesis, measured: Answered) -> None:
        """Measures the hypothesis with the field of view that suits it best, where its own was only tried."""
        if not hypothesis.lens.tried or hypothesis[:2] in self.focussed:
            return
        self.focussed.add(hypothesis[:2])
        batch, values = self.middle, self.lenses[hypothesis.lens]
        motion = self.motion(hypothesis, batch)
        best, span = 0.0, 0.16
        for _ in range(3):  # of the focal length's logarithm, each time four times as fine
            logs = best + span * np.linspace(-1, 1, 9)
            means = []
            for log in logs:
                scaled = np.tile(values * (np.exp(log), np.exp(log), 1, 1), (len(batch.first), 1))
                means.append(_explain.medians(motion, scaled, scaled, batch).mean())
            best, span = float(logs[int(np.argmin(means))]), span / 4
        values = values * (np.exp(best), np.exp(best), 1, 1)
        lens = Lens(f"{2 * np.degrees(np.arctan(self.size[0] / 2 / values[0, 0])):.4g} degrees wide, tried", True)
        self.lenses.setdefault(lens, values)
        one = hypothesis._replace(lens=lens)
        measured[one] = self.of(one, self.full)

    def _neighbours(self, best: Hypothesis) -> list[Hypothesis]:
        """What differs from the best one in one part: in a convention that has been met or explains much, say."""
        bases = _hypotheses.conventions(list(self.raw.readings))
        met = [Convention(*base, axes) for base in bases for axes in _hypotheses.KNOWN]
        near = dict.fromkeys([*(one for one in met if one.rank < 2), *self.kept])
        return [
            *(best._replace(convention=convention) for convention in near),
            *(best._replace(timing=timing) for timing in self.timings),
            *(best._replace(lens=lens) for lens in self.lenses),
        ]

    def _try(self, base: Base, axes: list[int], timing: Timing, lens: Lens, batch: Sample) -> None:
        means = self.residuals(base, axes, timing, lens, batch).mean(1)
        for number, mean in zip(axes, means, strict=True):
            self.found[Hypothesis(Convention(*base, self.axes[number]), timing, lens)] = float(mean)

    def _kept(self) -> list[Convention]:
        """The conventions that explain most so far, with the common ones and what the file declares."""
        best: dict[Convention, float] = {}
        for hypothesis, mean in self.found.items():
            best[hypothesis.convention] = min(mean, best.get(hypothesis.convention, np.inf))
        order = sorted(best, key=lambda convention: best[convention])
        common = [one for one in order if one.rank == 0 or one == self.raw.declared]
        return list(dict.fromkeys(order[:TOP] + common))

    def _best_of(self, convention: Convention, count: int) -> list[Hypothesis]:
        mine = [hypothesis for hypothesis in self.found if hypothesis.convention == convention]
        return sorted(mine, key=lambda hypothesis: self.found[hypothesis])[:count]

    def _poses(self, base: Base, timing: Timing) -> tuple[Float64[Array, "f 4 4"], float]:
        if (base, timing) not in self.poses:
            reading, direction, transposed = base
            poses = _hypotheses.as_camera_to_world(self.raw.readings[reading], direction, transposed)
            still = 1e-6 * float(np.abs(poses[:, :3, 3]).max() + np.ptp(poses[:, :3, 3], axis=0).max())
            self.poses[base, timing] = _hypotheses.at_frames(poses, self.timings[timing], self.count), still
        return self.poses[base, timing]

    def lens_values(self, lens: Lens, timing: Timing) -> Float64[Array, "f 4"]:
        """fx fy cx cy for each frame of the video, in its pixels."""
        if (lens, timing) not in self.lens_at:
            values, frames = self.lenses[lens], np.arange(self.count)
            at = self.timings[timing]
            columns = [
                np.interp(frames, at, column) if len(column) == len(at) > 1 else np.full(self.count, column[0])
                for column in values.T
            ]
            self.lens_at[lens, timing] = np.stack(columns, axis=-1)
        return self.lens_at[lens, timing]


def _nothing() -> Sample:
    none = np.empty(0, np.int64)
    return Sample(none, none, np.empty((0, 1, 2)), np.empty((0, 1, 2)))


def _by_base(conventions: list[Convention], axes: list[str]) -> dict[Base, list[int]]:
    """Conventions that differ in the camera's axes alone, as numbers of those."""
    found: dict[Base, list[int]] = {}
    for convention in conventions:
        found.setdefault(convention[:3], []).append(axes.index(convention.axes))
    return found
