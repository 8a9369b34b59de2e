"""The additive model: tables that fall, a fit that finds what separates, files that are refused."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from trajkit.curation import calibration
from trajkit.curation.calibration import Calibration, Spread, Term
from trajkit.errors import TrajkitError
from trajkit.score import Score

MODEL = Calibration(
    schema=calibration.SCHEMA,
    intercept=2.0,
    terms=(Term(feature="induced", log=False, knots=(1.0, 3.0), values=(0.0, -4.0), missing=-0.5),),
    accept=0.6,
    reject=0.3,
    spreads=(Spread(noise_px=0.1, low=0.8, high=1.2), Spread(noise_px=1.0, low=0.5, high=3.0)),
)


def test_log_odds_are_linear_between_knots_and_constant_beyond() -> None:
    for value, expected in ((0.0, 0.0), (1.0, 0.0), (2.0, -2.0), (3.0, -4.0), (99.0, -4.0)):
        assert calibration.parts(MODEL, {"induced": value})["induced"] == pytest.approx(expected)
        odds = 2.0 + expected
        assert calibration.probability(MODEL, {"induced": value}) == pytest.approx(1 / (1 + math.exp(-odds)))
    assert calibration.probability(MODEL, {}) == pytest.approx(1 / (1 + math.exp(-1.5)))


def test_features_are_named_by_metric_and_value() -> None:
    scores = [
        Score(metric="ray", value=0.5, unit="px", better="lower", version="1", values={"worst": 2.0}),
        Score(metric="lag", value=None, unit="", better="lower", version="1", values={"shift": 1.0}, why="too even"),
    ]
    assert calibration.features(scores) == {"ray": 0.5, "ray.worst": 2.0, "lag.shift": 1.0}


def test_the_interval_is_that_of_the_noise_class() -> None:
    assert calibration.interval_px(MODEL, 2.0, 0.05) == pytest.approx((1.6, 2.4))
    assert calibration.interval_px(MODEL, 2.0, 0.5) == pytest.approx((1.0, 6.0))
    assert calibration.interval_px(MODEL, 2.0, math.inf) == pytest.approx((1.0, 6.0))


def test_a_fit_finds_what_separates_and_never_rewards_an_error() -> None:
    rng = np.random.default_rng(0)
    good = rng.random(2000) < 0.5
    telling = np.where(good, rng.lognormal(-1, 0.5, 2000), rng.lognormal(1.5, 0.5, 2000))
    backwards = np.where(good, rng.normal(3, 1, 2000), rng.normal(0, 1, 2000))  # larger where poses are right
    rows = [{"telling": a, "backwards": b, "noise": c} for a, b, c in zip(telling, backwards, rng.random(2000))]  # noqa: B905
    for row in rows[::7]:
        del row["noise"]
    names = {"telling": True, "backwards": False, "noise": False}
    intercept, terms = calibration.fit_terms(names, rows, good, np.ones(2000))
    model = replace(MODEL, intercept=intercept, terms=terms)
    chance = np.array([calibration.probability(model, row) for row in rows])
    assert ((chance > 0.5) == good).mean() > 0.97
    assert abs(np.mean(chance) - good.mean()) < 0.02  # calibrated in the large
    for term in terms:
        assert all(np.diff(term.values) <= 0), term
    drop = {term.feature: -term.values[-1] for term in terms}
    assert drop.get("backwards", 0.0) == 0
    assert drop["telling"] > 10 * drop.get("noise", 0.0)


def test_weights_count() -> None:
    rows = [{"x": 0.0}, {"x": 0.0}, {"x": 1.0}, {"x": 1.0}]
    good = np.array([True, False, True, False])
    chance = []
    for heavy in (1.0, 9.0):
        weight = np.array([heavy, 1.0, heavy, 1.0])
        intercept, terms = calibration.fit_terms({"x": False}, rows, good, weight)
        chance.append(calibration.probability(replace(MODEL, intercept=intercept, terms=terms), {"x": 0.0}))
    assert chance == pytest.approx([0.5, 0.9], abs=0.02)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    calibration.write(tmp_path / "c.json", MODEL)
    assert calibration.load(tmp_path / "c.json") == MODEL
    assert len(calibration.digest(tmp_path / "c.json")) == 64


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"terms": []}, "no terms"),
        ({"spreads": []}, "no terms or no spreads"),
        ({"terms": [asdict(replace(MODEL.terms[0], values=(0.0, 1.0)))]}, "not in order"),
        ({"terms": [asdict(replace(MODEL.terms[0], knots=(3.0, 1.0)))]}, "not in order"),
        ({"terms": [asdict(replace(MODEL.terms[0], knots=(3.0,)))]}, "not in order"),
        ({"accept": "high"}, "accept"),
        ({"schema": "trajkit.calibration/2"}, "schema"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict, problem: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(asdict(MODEL) | change))
    with pytest.raises(TrajkitError, match=problem) as caught:
        calibration.load(path)
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(asdict(MODEL))[:-20])
    with pytest.raises(TrajkitError):
        calibration.load(path)


def test_the_shipped_calibration_loads_and_never_rewards_an_error() -> None:
    model = calibration.load()
    assert 0 < model.reject <= model.accept < 1
    assert len(model.terms) > 3


def test_errors_count_against_the_noise_of_the_clip() -> None:
    found = calibration.over_noise({"induced.px_8": 3.0, "induced.sigma_px": 0.85, "ray.median_8": 1.0})
    assert found == {"induced.px_8/noise": pytest.approx(3.0 / (0.85 + 0.15))}


def test_pixels_count_as_those_of_a_picture_832_wide() -> None:
    common = {"unit": "px", "better": "lower", "version": "1"}
    scores = [Score(metric="ray", value=1.0, values={"median_8": 1.0, "inliers_8": 0.9}, **common)]
    assert calibration.features(scores, 416) == {"ray": 2.0, "ray.median_8": 2.0, "ray.inliers_8": 0.9}
