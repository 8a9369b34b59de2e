"""What `trajkit score` says of real pictures: right poses pass, wrong ones fall for a reason, the rest stays open."""

import json
from pathlib import Path
from typing import Any

import filmed
import numpy as np
import polars as pl
import pytest
from test_cli import trajkit

from trajkit.clip import Clip, read_clip
from trajkit.curation import calibration
from trajkit.curation.score import FOLDER, read_record
from trajkit.ledger import Ledger
from trajkit.score import ScoreRecord

# wrong claim -> metrics of which one at least must be among the reasons
MATTER = {
    "w2c": {"convention", "induced", "ray", "triangulation"},
    "opengl": {"convention", "induced", "ray", "triangulation"},
    "frozen": {"motion", "induced", "ray", "triangulation"},
    "offset": {"lag", "induced", "ray", "triangulation"},
    "jump": {"regularity", "induced", "ray", "triangulation"},
}
OPEN = ("flat", "single")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One walk under right and wrong poses, a still camera, a grey room, a single picture."""
    folder = tmp_path_factory.mktemp("filmed")
    exact = filmed.film(folder, "exact", filmed.walk(), depth=True, caption="a walk")
    for name in MATTER:
        filmed.claim(exact, folder, name, filmed.wrong(name, exact.trajectory))
    filmed.claim(exact, folder, "lens", filmed.lens(1.3, exact.trajectory))
    filmed.film(folder, "still", filmed.still())
    filmed.film(folder, "flat", filmed.walk(17), flat=True)
    filmed.film(folder, "single", filmed.walk(1))
    return folder


@pytest.fixture(scope="module")
def told(clips: Path) -> dict[str, Any]:
    code, out, err = trajkit("score", clips, "--out", clips, "--json")
    assert code == 3, err
    return json.loads(out)


@pytest.fixture(scope="module")
def records(clips: Path, told: dict[str, Any]) -> dict[str, ScoreRecord]:
    return {path.stem: read_record(path) for path in sorted((clips / FOLDER).iterdir())}


def value(record: ScoreRecord, metric: str) -> float | None:
    return next(one.value for one in record.scores if one.metric == metric)


def test_right_poses_are_accepted(records: dict[str, ScoreRecord]) -> None:
    found = records["exact"].verdict
    assert found.state == "accepted"
    assert found.probability is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.high < 1.5  # pixels over 8 frames: what makes poses bad
    assert (found.reasons, found.frames) == ((), ())


@pytest.mark.parametrize("name", [*MATTER, "lens"])
def test_wrong_poses_are_rejected_for_a_reason_that_can_be_read(records: dict[str, ScoreRecord], name: str) -> None:
    found = records[name].verdict
    assert found.state == "rejected"
    assert found.probability is not None
    assert found.probability < calibration.load().reject
    assert {one.metric for one in found.reasons} & MATTER.get(name, {"focal", "induced"})
    for reason in found.reasons:
        assert reason.message
        assert "{" not in reason.message
        if reason.value is not None and reason.threshold is not None and reason.metric != "poses":
            assert reason.value > reason.threshold
    assert found.frames, "where to look"
    assert all(0 <= first <= last < filmed.FRAMES for first, last in found.frames)


def test_the_probability_falls_with_the_error(records: dict[str, ScoreRecord]) -> None:
    exact = records["exact"].verdict.probability or 0.0
    assert all(exact > (records[name].verdict.probability or 0.0) for name in (*MATTER, "lens"))


def test_metrics_name_what_is_wrong(records: dict[str, ScoreRecord]) -> None:
    for name in ("w2c", "opengl"):
        other, right = value(records[name], "convention"), value(records["exact"], "convention")
        assert right is None or (other is not None and other > 2 * right), name
    assert (value(records["lens"], "focal") or 0) > 2 * (value(records["exact"], "focal") or 0)
    assert (value(records["frozen"], "motion") or 0) > 0.5
    assert (value(records["jump"], "regularity") or 0) > 3 * (value(records["exact"], "regularity") or 0)


@pytest.mark.parametrize("name", OPEN)
def test_what_the_pictures_do_not_decide_stays_open_and_says_why(records: dict[str, ScoreRecord], name: str) -> None:
    found = records[name].verdict
    assert found.state == "undetermined"
    assert found.low is None
    assert any("points" in one.message for one in found.reasons)


def test_a_still_camera_is_not_taken_for_a_fault(records: dict[str, ScoreRecord]) -> None:
    assert records["still"].verdict.state != "rejected"
    assert records["still"].about["motion"] == "static"
    assert records["still"].about["direction"] == "still"


def test_facts_of_a_clip(records: dict[str, ScoreRecord], clips: Path) -> None:
    about, clip = records["exact"].about, read_clip(clips, "exact")
    assert about["motion"] == "parallax"
    assert about["direction"] == "forward"
    assert about["turn"] == "right"
    assert (about["frames"], about["poses"]) == (filmed.FRAMES, filmed.FRAMES)
    assert (about["width"], about["height"], about["fps"]) == (filmed.WIDTH, filmed.HEIGHT, clip.fps)
    assert (about["caption_length"], about["licence"], about["scene"]) == (6, "CC0-1.0", "room")
    assert about["path_length"] == pytest.approx(clip.trajectory.path_length)
    assert about["clip"] == records["exact"].clip


def test_every_metric_speaks_of_every_clip_in_finite_numbers(records: dict[str, ScoreRecord], clips: Path) -> None:
    names = {one.metric for one in records["exact"].scores}
    for record in records.values():
        assert {one.metric for one in record.scores} == names
        poses = len(read_clip(clips, record.key).trajectory)
        for one in record.scores:
            assert (one.value is None) == bool(one.why), (record.key, one.metric)
            assert one.value is None or np.isfinite(one.value)
            assert np.isfinite(list(one.values.values())).all()
            assert len(one.per_frame) in (0, poses), (record.key, one.metric)


def test_rows_of_the_ledger_say_what_the_records_say(
    records: dict[str, ScoreRecord], clips: Path, told: dict[str, Any]
) -> None:
    table = Ledger(clips).scan().collect().to_dicts()
    assert {row["key"] for row in table} == set(records)
    for row in table:
        record = records[row["key"]]
        values = json.loads(row["values"])
        assert (row["stage"], row["attempt"], row["state"]) == ("score", 1, record.verdict.state)
        if row["metric"] == "poses":
            assert row["value"] == record.verdict.probability
            assert row["threshold"] == calibration.load().accept
            assert (values["low"], values["high"]) == (record.verdict.low, record.verdict.high)
            assert [tuple(pair) for pair in values["blamed"]] == list(record.verdict.frames)
            assert [one[1] for one in values["reasons"]] == [one.message for one in record.verdict.reasons]
            assert {name: values[name] for name in record.about} == record.about
        else:
            one = next(one for one in record.scores if one.metric == row["metric"])
            assert row["value"] == one.value
            assert values == {**one.values, "unit": one.unit, "better": one.better}
            assert json.loads(row["versions"]) == {one.metric: one.version}
    rows = sum(len(record.scores) + 1 for record in records.values())
    assert len(table) == rows
    assert {one["key"]: one["state"] for one in told["clips"]} == {k: r.verdict.state for k, r in records.items()}


def test_a_part_of_the_metrics_gives_no_verdict(clips: Path, tmp_path: Path) -> None:
    code, out, _ = trajkit("score", clips, "--metric=ray", "--metric=texture", "--metric=ray", "--out", tmp_path)
    assert code == 3
    assert out.count("only ray, texture was measured") == out.count("undetermined  ")
    record = read_record(tmp_path / FOLDER / "exact.json")
    assert [one.metric for one in record.scores] == ["ray", "texture"]
    assert (record.verdict.state, record.verdict.probability) == ("undetermined", None)


def test_what_moves_is_left_out_by_its_mask(clips: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    left = np.zeros((filmed.FRAMES, 24, 40), bool)
    left[:, :, :20] = True
    np.savez_compressed(masks / "exact.npz", mask=left)
    only = ("--metric=texture", "--metric=coverage")
    code, _, _ = trajkit("score", _alone(clips, tmp_path), *only, "--masks", masks, "--out", tmp_path / "masked")
    assert code == 3
    trajkit("score", _alone(clips, tmp_path), *only, "--out", tmp_path / "bare")
    masked, bare = (read_record(tmp_path / name / FOLDER / "exact.json") for name in ("masked", "bare"))
    covered = [
        next(one for one in record.scores if one.metric == "texture").values["covered"] for record in (masked, bare)
    ]
    assert covered[0] < 0.6 < covered[1]


def _alone(clips: Path, tmp_path: Path) -> Path:
    clip: Clip = read_clip(clips, "exact")
    if not (tmp_path / "alone").exists():
        filmed.claim(clip, tmp_path / "alone", "exact", clip.trajectory)
    return tmp_path / "alone"


def test_known_poses_add_the_usual_figures(clips: Path, tmp_path: Path) -> None:
    exact = read_clip(clips, "exact")
    filmed.claim(exact, tmp_path / "known", "jump", exact.trajectory)
    filmed.claim(exact, tmp_path / "known", "exact", exact.trajectory)
    filmed.claim(exact, tmp_path / "claimed", "jump", filmed.wrong("jump", exact.trajectory))
    filmed.claim(exact, tmp_path / "claimed", "exact", exact.trajectory)
    filmed.claim(exact, tmp_path / "claimed", "unknown", exact.trajectory)
    code, _, _ = trajkit(
        "score", tmp_path / "claimed", "--metric=coverage", "--reference", tmp_path / "known", "--out", tmp_path / "out"
    )
    assert code == 3
    ate = {}
    for key in ("jump", "exact", "unknown"):
        (one,) = (x for x in read_record(tmp_path / "out" / FOLDER / f"{key}.json").scores if x.metric == "reference")
        ate[key] = one
    assert ate["exact"].value == pytest.approx(0, abs=1e-6)
    assert ate["jump"].values["rpe_1.rotation_deg.max"] == pytest.approx(9, abs=0.2)
    assert {name.split(".")[0] for name in ate["jump"].values} >= {"ate", "rpe_1", "camera", "auc"}
    assert (ate["unknown"].value, ate["unknown"].why) == (None, "there is no unknown.camera.npz")


def test_published_columns_are_told_beside_what_they_should_be(clips: Path, tmp_path: Path) -> None:
    csv = tmp_path / "spatialvid.csv"
    csv.write_text("id,moveDist,distLevel,rotAngle,trajTurns\nexact,9.5,4,0.2,1\n")
    code, out, err = trajkit("score", clips, "--out", tmp_path / "out", "--metric", "spatialvid", "--published", csv)
    assert code == 3, err
    assert "moveDist  of 1 clips: median difference" in out
    table = pl.read_parquet(tmp_path / "out/spatialvid.parquet").filter(pl.col("id") == "exact")
    row = table.filter(pl.col("column") == "moveDist").to_dicts()[0]
    assert row["published"] == 9.5
    assert row["centres"] == pytest.approx(read_clip(clips, "exact").trajectory.path_length)
    assert row["error"] == pytest.approx(9.5 - row["centres"])


def test_published_columns_without_a_table_are_an_error_at_once(clips: Path, tmp_path: Path) -> None:
    csv = tmp_path / "other.csv"
    csv.write_text("id,length\nexact,1\n")
    code, _, err = trajkit("score", clips, "--out", tmp_path / "out", "--published", csv)
    assert code == 1
    assert "moveDist" in err
    assert not (tmp_path / "out").exists()


def test_published_columns_need_their_metric(clips: Path, tmp_path: Path) -> None:
    code, _, err = trajkit(
        "score", clips, "--out", tmp_path / "o", "--metric", "ray", "--published", tmp_path / "c.csv"
    )
    assert code == 1
    assert "--metric spatialvid" in err
    assert "Traceback" not in err
