"""From the scores of a clip to a verdict: probability, interval, reasons, and the frames to blame."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trajkit.score import Reason, Score, State, Verdict

from .calibration import NOISE, OVER_NOISE, SIGMA, Calibration, Term, features, interval_px, parts, probability
from .induced import WIDTH
from .metrics.convention import NAMES

PX, SURE = "induced.px_8", SIGMA  # what the interval is about, and how sure that is
BLAMED_PX = 1.5  # over eight frames: what makes poses bad
MOST_REASONS = 4
LEAST_LOSS = 0.7  # log-odds that a reason costs


class Clause(NamedTuple):
    """A feature of the calibration, and how it is told to people; {value} is its value with the unit."""

    log: bool
    text: str
    unit: str


def verdict(
    scores: Sequence[Score], calibration: Calibration, frame_index: Sequence[int], width: int = WIDTH
) -> Verdict:
    """The clip's verdict. `frame_index` holds the video frame of each pose, `width` is that of the pictures.

    Undetermined where the clip does not decide it (`undecided`), or where the probability lies between the
    calibration's two limits. Reasons: what is not known, what is known to be the matter, then what costs most.
    """
    found, pixel = features(scores, width), width / WIDTH
    why = {score.metric: score.why for score in scores}
    unknown = [Reason(metric=name, message=why.get(name) or text) for name, text in undecided(found).items()]
    chance = round(probability(calibration, found), 4)
    state = decided(chance, bool(unknown), calibration)
    low = high = None
    if PX in found:
        low, high = (round(end * pixel, 3) for end in interval_px(calibration, found[PX], found.get(SURE, np.inf)))
    reasons: list[Reason] = []
    if state != "accepted":
        reasons = _one_each(
            [*(unknown if state == "undetermined" else []), *_matters(found), *_costs(found, calibration, pixel)]
        )
        reasons = reasons or [
            Reason(metric="poses", message=_weighed(state, chance), value=chance, threshold=calibration.accept)
        ]
    return Verdict(
        state=state,
        probability=None if unknown and state == "undetermined" else chance,
        low=low,
        high=high,
        reasons=tuple(reasons),
        frames=() if state == "accepted" else _blamed(scores, frame_index, pixel),
    )


def undecided(found: Mapping[str, float]) -> dict[str, str]:
    """What the clip does not decide, by metric, each with a clause that says so; empty where all is known."""
    missing = {name: f"{name} has no value" for name in DECIDING if name not in found}
    claims_motion = "motion.path_extent" in found  # some path: a claim of none agrees with pictures that show none
    if not missing and claims_motion and found.get("induced.translation_unknown", 0.0) > 0:
        missing["translation"] = "the cameras are said to move, but the pictures show no parallax to tell by"
    return missing


def _matters(found: Mapping[str, float]) -> list[Reason]:
    """Faults that have a name: another convention, other frames, another focal length, stretches that stand still."""
    told = []
    if found.get("convention", 0.0) > MATTER["convention"] and found.get("convention.residual", 99.0) < EXPLAINED_PX:
        told.append(("convention", f"read as {NAMES[int(found['convention.best'])]}, the poses fit the pictures"))
    if found.get("lag", 0.0) > MATTER["lag"]:
        told.append(("lag", f"the poses fit pictures that are {found['lag.shift']:+.0f} frames away"))
    if found.get("focal", 0.0) > MATTER["focal"]:
        told.append(("focal", f"a focal length of {found['focal.factor']:.2f} times the claimed one fits the pictures"))
    for name in ("motion.claims_still", "motion.claims_motion"):
        if found.get(name, 0.0) > MATTER[name]:
            told.append((name, CLAUSES[name].text.format(value=f"{found[name]:.2g}")))
    return [
        Reason(metric=name.partition(".")[0], message=text, value=round(found[name], 4), threshold=MATTER[name])
        for name, text in told
    ]


def _costs(found: Mapping[str, float], calibration: Calibration, pixel: float) -> list[Reason]:
    """What costs the probability most. `pixel`: of the clip, in pixels at WIDTH."""
    lost = sorted(parts(calibration, found).items(), key=lambda part: part[1])
    return [_reason(name, found, calibration, pixel) for name, loss in lost if loss < -LEAST_LOSS]


def _one_each(reasons: list[Reason]) -> list[Reason]:
    """The first of each metric, at most MOST_REASONS."""
    first: dict[str, Reason] = {}
    for reason in reasons:
        first.setdefault(reason.metric, reason)
    return list(first.values())[:MOST_REASONS]


def decided(chance: float, unknown: bool, calibration: Calibration) -> State:
    """The state for a probability; `unknown`: a metric says that the clip does not decide it."""
    if chance < calibration.reject:
        return "rejected"
    return "undetermined" if unknown or chance < calibration.accept else "accepted"


def _weighed(state: State, chance: float) -> str:
    if state == "rejected":
        return f"no single metric is far off, together they leave a probability of {chance:.2f}"
    return f"a probability of {chance:.2f} decides neither way"


def _reason(name: str, found: Mapping[str, float], calibration: Calibration, pixel: float) -> Reason:
    """What the feature says; its threshold is where its table begins to fall, in the feature's own unit."""
    base, metric = name.removesuffix(OVER_NOISE), name.partition(".")[0]
    if base not in found:
        return Reason(metric=metric, message=f"{base} cannot be measured")
    clause = CLAUSES[base] if base in CLAUSES else Clause(False, base + " is {value}", "")
    own = pixel if clause.unit == "px" else 1.0
    message = clause.text.format(value=f"{found[base] * own:.3g}{' ' + clause.unit if clause.unit else ''}")
    limit = _begins(next(term for term in calibration.terms if term.feature == name))
    if name != base and name in found:
        message += f" ({found[name]:.2g} times the noise here)"
        limit *= found[base] / found[name]
    value, threshold = round(found[base] * own, 4), round(limit * own, 4)
    return Reason(metric=metric, message=message, value=value, threshold=threshold, unit=clause.unit)


def _begins(term: Term) -> float:
    """The feature from which on a term costs something."""
    falls = (knot for knot, value in zip(term.knots, term.values, strict=True) if value < -LEAST_LOSS / 2)
    begins = next(falls, term.knots[-1])
    return float(np.exp(begins)) if term.log else float(begins)


def _blamed(scores: Sequence[Score], frame_index: Sequence[int], pixel: float) -> tuple[tuple[int, int], ...]:
    """Stretches of video frames where the induced error is large, and single frames where poses jump."""
    stretches: list[tuple[int, int]] = []
    for score in scores:
        limit = BLAMED.get(score.metric)
        if limit is None or len(score.per_frame) != len(frame_index):
            continue
        limit *= pixel if score.unit == "px" else 1.0
        begun = None
        for position, value in enumerate((*score.per_frame, None)):
            bad = value is not None and value > limit
            if bad and begun is None:
                begun = position
            elif not bad and begun is not None:
                stretches.append((int(frame_index[begun]), int(frame_index[position - 1])))
                begun = None
    return _merged(stretches)


def _merged(stretches: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


DECIDING = ("induced", "texture")  # metrics without which nothing can be said
# ratios and shares beyond which a fault has a name
MATTER = {"convention": 2.0, "lag": 1.5, "focal": 1.5, "motion.claims_still": 0.1, "motion.claims_motion": 0.1}
EXPLAINED_PX = 2.5  # that another convention may leave, if it is to be named
BLAMED = {"induced": BLAMED_PX, "regularity": 8.0}  # metric -> value per frame beyond which a frame is blamed
_OFF = "the cameras move points {value} off what the pictures ask for, over "
_RAY = "points lie {value} off where the poses allow them to be, "
# What the calibration looks at: whether as a logarithm, and how it is told. Larger is worse in each. Figures of a
# path's shape alone (jerk, smoothness) are left out: fitted to some motions they reject others (docs/decisions.md).
CLAUSES = {
    "induced.px_1": Clause(True, _OFF + "one frame", "px"),
    "induced.px_8": Clause(True, _OFF + "8 frames", "px"),
    "induced.px_32": Clause(True, _OFF + "32 frames", "px"),
    "induced.worst_1_px": Clause(True, _OFF + "the worst frame", "px"),
    "induced.worst_px": Clause(True, _OFF + "the worst 8 frames", "px"),
    "induced.borne_1": Clause(True, _OFF + "one frame, and the tracks bear it out", "px"),
    "induced.borne_8": Clause(True, _OFF + "8 frames, and the tracks bear it out", "px"),
    "induced.borne_32": Clause(True, _OFF + "32 frames, and the tracks bear it out", "px"),
    "induced.borne_worst_1": Clause(True, _OFF + "the worst frame, and the tracks bear it out", "px"),
    "induced.borne_worst_8": Clause(True, _OFF + "the worst 8 frames, and the tracks bear it out", "px"),
    "induced.relief": Clause(
        False, "other cameras take away a share of {value} of what the claim leaves unexplained", ""
    ),
    "induced.rotation_deg": Clause(True, "the view turns {value} too far or too little between two frames", "deg"),
    "induced.focal_off": Clause(True, "the focal length is off by a share of {value}", ""),
    "ray.median_1": Clause(True, _RAY + "over one frame", "px"),
    "ray.median_8": Clause(True, _RAY + "over 8 frames", "px"),
    "ray.median_32": Clause(True, _RAY + "over 32 frames", "px"),
    "ray.worst_1": Clause(True, _RAY + "in the worst frame", "px"),
    "ray.worst_8": Clause(True, _RAY + "in the worst 8 frames", "px"),
    "triangulation": Clause(True, "still points are seen {value} off where the poses put them", "px"),
    "triangulation.worst": Clause(True, "points of the worst frame are {value} off where the poses put them", "px"),
    "triangulation.over_2px": Clause(
        False, "a share of {value} of what is followed fits no point of a still world", ""
    ),
    "triangulation.behind": Clause(False, "a share of {value} of the points would lie behind the camera", ""),
    "convention": Clause(True, "another convention explains the pictures {value} times as well", ""),
    "focal": Clause(True, "another focal length explains the pictures {value} times as well", ""),
    "lag": Clause(True, "poses of other frames explain the pictures {value} times as well", ""),
    "relative": Clause(True, "two pictures alone ask for a rotation {value} apart", "deg"),
    "scale_drift": Clause(True, "the scale of the path drifts by a factor of e to the {value}", ""),
    "motion.claims_still": Clause(False, "for a share of {value} the poses stand still while the picture moves", ""),
    "motion.claims_motion": Clause(False, "for a share of {value} the poses move while the picture stands still", ""),
    "texture.scarce": Clause(False, "too little can be followed ({value}, 1 = nothing)", ""),
}
CLAUSES |= {name + OVER_NOISE: Clause(True, CLAUSES[name].text, "") for name in NOISE}
