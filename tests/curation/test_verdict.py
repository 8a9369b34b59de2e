"""Verdicts: states, reasons, blamed frames, and what is not known."""

import math

import pytest

from trajkit.curation.calibration import SCHEMA, Calibration, Spread, Term
from trajkit.curation.verdict import CLAUSES, decided, verdict
from trajkit.score import Score

MODEL = Calibration(
    schema=SCHEMA,
    intercept=3.0,
    terms=(
        Term(feature="induced.px_8", log=True, knots=(math.log(0.5), math.log(4.0)), values=(0.0, -8.0), missing=0.0),
        Term(feature="lag", log=False, knots=(1.0, 2.0), values=(0.0, -1.0), missing=0.0),
    ),
    accept=0.7,
    reject=0.2,
    spreads=(Spread(noise_px=1.0, low=0.5, high=2.0),),
)


def scores(
    px: float | None, *, lag: float = 1.0, per_frame: tuple[float | None, ...] = (), why: str = ""
) -> list[Score]:
    common = {"unit": "px", "better": "lower", "version": "1"}
    values = {} if px is None else {"px_8": px, "sigma_px": 0.1}
    return [
        Score(metric="induced", value=px, values=values, per_frame=per_frame, why=why, **common),
        Score(metric="lag", value=lag, values={"shift": 2.0}, **common),
        Score(metric="texture", value=200.0, **common),
    ]


def test_states_follow_the_probability() -> None:
    assert [verdict(scores(px), MODEL, [0]).state for px in (0.2, 1.3, 5.0)] == ["accepted", "undetermined", "rejected"]
    good = verdict(scores(0.2), MODEL, [0])
    assert good.probability == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-4)
    assert (good.reasons, good.frames) == ((), ())
    assert (good.low, good.high) == (0.1, 0.4)


def test_reasons_name_the_worst_first_with_value_threshold_and_unit() -> None:
    lag, induced = verdict(scores(5.0, lag=3.0), MODEL, [0]).reasons  # what has a name comes first
    assert (lag.metric, lag.value, lag.threshold) == ("lag", 3.0, 1.5)
    assert "+2 frames" in lag.message
    assert induced.metric == "induced"
    assert "5 px" in induced.message
    assert "8 frames" in induced.message
    assert induced.value == 5.0
    assert 0 < induced.threshold < 5
    assert induced.unit == "px"


def test_translation_without_parallax_is_not_known_unless_none_is_claimed() -> None:
    common = {"unit": "", "better": "neither", "version": "1"}
    blind = Score(metric="induced", value=0.1, values={"px_8": 0.1, "translation_unknown": 1.0}, **common)
    moves = Score(metric="motion", value=0.0, values={"path_extent": 1.0}, **common)
    turns = Score(metric="motion", value=0.0, **common)
    assert verdict([*scores(0.1)[1:], blind, moves], MODEL, [0]).state == "undetermined"
    assert "parallax" in verdict([*scores(0.1)[1:], blind, moves], MODEL, [0]).reasons[0].message
    assert verdict([*scores(0.1)[1:], blind, turns], MODEL, [0]).state == "accepted"


def test_a_convention_is_named_only_where_it_explains_the_pictures() -> None:
    common = {"unit": "", "better": "lower", "version": "1"}
    for residual, named in ((0.3, True), (20.0, False)):
        values = {"best": 1.0, "residual": residual}
        told = verdict(
            [*scores(9.0), Score(metric="convention", value=30.0, values=values, **common)], MODEL, [0]
        ).reasons
        assert any(reason.metric == "convention" for reason in told) is named


def test_what_is_not_known_is_never_accepted_and_says_why() -> None:
    found = verdict(scores(None, why="nothing can be followed"), MODEL, [0])
    assert found.state == "undetermined"
    assert found.reasons[0].message == "nothing can be followed"
    assert (found.low, found.high, found.probability) == (None, None, None)
    assert decided(0.99, True, MODEL) == "undetermined"
    assert decided(0.01, True, MODEL) == "rejected"


def test_a_verdict_against_a_clip_always_has_a_reason() -> None:
    between = verdict(scores(0.9, lag=1.0), MODEL, [0])
    for found in (between, verdict(scores(5.0), MODEL, [0])):
        assert found.state == "accepted" or found.reasons


def test_blamed_frames_are_those_of_the_video() -> None:
    blamed = (0.1, 2.0, 9.0, None, 0.2, 7.0)
    assert verdict(scores(9.0, per_frame=blamed), MODEL, [0, 3, 6, 9, 12, 15]).frames == ((3, 6), (15, 15))
    assert verdict(scores(0.1, per_frame=blamed), MODEL, [0, 3, 6, 9, 12, 15]).frames == ()
    assert verdict(scores(9.0, per_frame=blamed), MODEL, [0, 3]).frames == ()  # evidence of another length


def test_every_feature_has_a_clause_that_tells_its_value() -> None:
    assert all("{value}" in clause.text for clause in CLAUSES.values())


def test_the_same_error_is_worse_in_a_smaller_picture() -> None:
    small, large = (verdict(scores(1.0), MODEL, [0], width) for width in (208, 1664))
    assert (small.state, large.state) == ("rejected", "accepted")
    assert "1 px" in small.reasons[0].message  # told in the clip's own pixels
    assert (small.low, small.high) == (0.5, 2.0)
