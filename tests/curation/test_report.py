"""Numbers of a report against plain Polars on the ledger; its gates; bad input."""

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scoredclips import FRAMES, PLAN, numbers_of, scored

from trajkit import files
from trajkit.curation.commands.report import command
from trajkit.curation.report import ReportOptions, broken, compare, gather, page, write
from trajkit.curation.report.items import content
from trajkit.curation.report.numbers import QUANTILES, spread
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "clips"
    scored(folder)
    return folder


@pytest.fixture(scope="module")
def made(clips: Path) -> Path:
    """The page of the scored clips; its numbers lie beside it."""
    return write(gather([clips], ReportOptions()), clips.parent / "report.html")[0]


def headline_of(*folders: Path) -> dict:
    return {one.name: one.value for one in gather(folders, ReportOptions(limit=0)).headline}


# ---- numbers ------------------------------------------------------------------------------------------------------


def test_headline_is_what_the_ledger_says(clips: Path, made: Path) -> None:
    """Every headline number, worked out again from the Parquet files by other means."""
    rows = pl.read_parquet(clips / "ledger/*.parquet")
    told = rows.filter((pl.col("stage") == "score") & (pl.col("metric") == "poses"))
    values = [json.loads(text) for text in told["values"]]
    column = lambda name: [value[name] for value in values]  # noqa: E731
    judged = rows.filter(pl.col("stage") == "score").group_by("key").agg(pl.col("state").first())
    rendered = set(rows.filter(pl.col("state") == "rendered")["key"])
    keys = rendered | set(judged["key"])
    states = judged["state"].to_list()
    refused = set(rows.filter((pl.col("stage") == "render") & (pl.col("state") == "rejected"))["key"]) - keys
    wanted = {
        "clips": len(keys),
        **{state: states.count(state) for state in ("accepted", "rejected", "undetermined")},
        **{f"{state}_share": states.count(state) / len(keys) for state in ("accepted", "rejected", "undetermined")},
        "unjudged": len(keys - set(judged["key"])),
        "unjudged_share": len(keys - set(judged["key"])) / len(keys),
        "refused": len(refused),
        "refused_share": len(refused) / (len(refused) + len(keys)),
        "hours": sum(column("seconds")) / 3600,
        "accepted_hours": sum(v["seconds"] for v, s in zip(values, told["state"], strict=True) if s == "accepted")
        / 3600,
        "frames": sum(column("frames")),
        "poses": sum(column("poses")),
        "scenes": len(set(column("scene"))),
        "metric_share": column("scale").count("metric") / len(values),
        **{f"{one}_share": column("motion").count(one) / len(values) for one in ("static", "rotation", "parallax")},
        **{f"{one}_share": column("kind").count(one) / len(values) for one in ("estimated", "rendered")},
        "probability_median": float(np.median(told["value"].drop_nulls().to_numpy())),
        **{
            f"{name}_median": float(np.median(column(name)))
            for name in ("path_length", "speed", "turn_rate_deg", "fov_deg", "seconds", "fps", "caption_length")
        },
        "duplicates": len(values) - len(set(column("clip"))),
        "duplicate_share": (len(values) - len(set(column("clip")))) / len(keys),
        "alike_paths": 0,
        "leaked_scenes": 0,
        "empty_captions": column("caption_length").count(0),
        "empty_caption_share": column("caption_length").count(0) / len(values),
        "unknown_licence_share": column("licence").count("unknown") / len(values),
        "decode_failures": 1,
    }
    assert numbers_of(made)["headline"] == pytest.approx(wanted)
    assert wanted["duplicates"] == 1
    assert wanted["refused"] == 1


def test_numbers_are_traced(clips: Path, made: Path) -> None:
    found = numbers_of(made)
    assert set(found["trace"]) == set(found["headline"])
    assert found["trace"]["rejected_share"] == {
        "stage": "filter, else score",
        "metric": "poses",
        "state": "rejected",
        "where": "",
        "take": "keys",
        "share_of": "clips",
    }
    lines = [f"{path.name} {files.sha256(path)}\n" for path in sorted((clips / "ledger").glob("*.parquet"))]
    assert found["ledgers"] == [
        {
            "folder": "clips",
            "parts": 2,
            "rows": len(pl.read_parquet(clips / "ledger/*.parquet")),
            "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
        }
    ]


def test_metrics_have_quantiles_units_thresholds_and_worst_clips(made: Path) -> None:
    induced = numbers_of(made)["metrics"]["induced"]
    assert (induced["unit"], induced["better"], induced["version"]) == ("px", "lower", "1")
    assert induced["threshold"] == 1.5
    assert induced["worst"][:2] == ["d-jump", "f-drift"]
    assert induced["n"] == len(PLAN)
    points = numbers_of(made)["metrics"]["points"]
    assert points["worst"][:2] == ["d-jump", "f-drift"]
    assert points["version"] == "2"
    texture = numbers_of(made)["metrics"]["texture"]
    assert (texture["n"], texture["missing"], texture["worst"]) == (0, len(PLAN), [])


def test_reasons_count_clips_and_refused_candidates(made: Path) -> None:
    found = {(one["stage"], one["code"]): one["clips"] for one in numbers_of(made)["reasons"]}
    assert found == {
        ("score", "induced"): {"rejected": 2},
        ("score", "texture"): {"rejected": 2, "undetermined": 2},
        ("score", "readable"): {"rejected": 1},
        ("render", "clearance"): {"refused": 1},
        ("render", "unseen"): {"refused": 1},
    }


def test_worst_and_median_are_by_probability(made: Path) -> None:
    found = numbers_of(made)
    assert found["worst"] == ["d-jump", "f-drift", "c-turn", "b-copy", "a-clean"]
    assert sorted(found["median"]) == sorted(found["worst"])


def test_filter_decides_before_score(tmp_path: Path) -> None:
    scored(tmp_path)
    rows = [
        Row(
            key="a-clean",
            stage="filter",
            state="rejected",
            metric="poses",
            reason="rule poses: 0.98 < 0.99",
            value=0.98,
        ),
        Row(key="d-jump", stage="filter", state="accepted"),
    ]
    Ledger(tmp_path).append("filter-0", rows)
    report = gather([tmp_path], ReportOptions(limit=0))
    states = dict(report.tables.clips.select("key", "state").iter_rows())
    assert (states["a-clean"], states["d-jump"], states["f-drift"]) == ("rejected", "accepted", "rejected")
    assert {(one.stage, one.code): one.counts for one in report.reasons}["filter", "poses"] == {"rejected": 1}
    assert {(one.stage, one.code): one.counts for one in report.reasons}["score", "induced"] == {"rejected": 1}


def test_only_the_newest_attempt_counts(tmp_path: Path) -> None:
    first = [Row(key="one", stage="score", state="rejected", metric="readable", reason="one.mp4: no decoder")]
    second = [Row(key="one", stage="score", state="accepted", metric="poses", value=0.9)]
    Ledger(tmp_path).append("score-0", first)
    assert headline_of(tmp_path)["decode_failures"] == 1
    Ledger(tmp_path).append("score-0", second)
    found = headline_of(tmp_path)
    assert (found["accepted"], found["rejected"], found["decode_failures"]) == (1, 0, 0)


def test_scenes_in_two_folders_and_alike_paths(tmp_path: Path, clips: Path) -> None:
    def verdict(key: str, split: dict) -> Row:
        path = {"path_length": 2.0, "speed": 0.5, "turn_rate_deg": 3.0, "poses": 9, "frames": 9, "turn": "left"}
        about = {"scene": "hall", "clip": key, "direction": "forward", **path, **split}
        return Row(key=key, stage="score", state="accepted", metric="poses", value=0.9, values=about)

    for name in ("train", "test"):
        Ledger(tmp_path / name).append("score-0", [verdict(name, {})])
    report = gather([tmp_path / "train", tmp_path / "test"], ReportOptions())
    assert report.repeats.leaked == (("hall", ("train", "test")),)
    assert report.repeats.alike == ((("test", "train"), "not compared"),)
    Ledger(tmp_path / "split").append("score-0", [verdict("p", {"split": "a"}), verdict("q", {"split": "b"})])
    assert gather([tmp_path / "split"], ReportOptions()).repeats.leaked == (("hall", ("a", "b")),)


def test_alike_figures_are_confirmed_by_poses(tmp_path: Path) -> None:
    scored(tmp_path)
    rows = pl.read_parquet(tmp_path / "ledger/score-00.1.parquet")
    same = pl.col("values").str.replace_all(r'"(speed|path_length|turn_rate_deg)": [0-9.e-]+', '"$1": 1.5')
    same = same.str.replace_all(r'"(direction|turn)": "\w+"', '"$1": "mixed"')
    same = same.str.replace_all(r'"clip": "\w+"', '"clip": ""')
    rows.with_columns(same).write_parquet(tmp_path / "ledger/score-00.1.parquet")
    found = gather([tmp_path], ReportOptions()).repeats
    assert found.alike == ((("a-clean", "b-copy"), "confirmed"),)


@pytest.mark.parametrize("seed", range(3))
def test_spread_is_numpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 2, 500)
    states = rng.choice(["accepted", "rejected"], 500)
    one = spread(pl.DataFrame({"state": states, "value": values}), "x", "X", "m")
    assert one is not None
    assert list(one.quantiles.values()) == pytest.approx(np.quantile(values, QUANTILES))
    assert one.log
    assert sum(map(sum, one.counts.values())) == 500
    assert one.edges[0] == values.min()
    flat = spread(pl.DataFrame({"state": states, "value": rng.uniform(1, 2, 500)}), "x", "X", "m")
    assert flat is not None
    assert not flat.log
    few = spread(pl.DataFrame({"state": states, "value": rng.choice([0.0, 16.0, 24.0], 500)}), "x", "X", "m")
    assert few is not None
    assert few.distinct == (0.0, 16.0, 24.0)
    assert sum(map(sum, few.counts.values())) == 500


def test_zeros_of_a_heavy_tail_are_told(tmp_path: Path) -> None:
    values = np.concatenate([np.zeros(10), np.geomspace(0.1, 1000, 90)])
    one = spread(pl.DataFrame({"state": ["accepted"] * 100, "value": values}), "x", "X", "m")
    assert one is not None
    assert one.log
    assert one.below_or_zero == 10


# ---- gates --------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> int:
    return command.main([str(one) for one in arguments], standalone_mode=False)


def test_fail_if(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(clips, "--fail-if", "rejected_share > 0.5 or clips < 3") == 0
    assert capsys.readouterr().err == ""
    assert run(clips, "--fail-if", "rejected_share > 0.2 and duplicates > 0") == 1
    assert capsys.readouterr().err == "error: --fail-if: rejected_share is 0.375, duplicates is 1\n"


def test_conditions() -> None:
    headline = {"a": 2, "b": 0.5, "none": None}
    assert broken("a > 1 and b > 0.6", headline) == ""
    assert broken("a > 1 or b > 0.6", headline) == "a is 2, b is 0.5"
    assert broken("not (a < 3)", headline) == ""
    assert broken("none > 1", headline) == "none is not known"
    for condition in ("aa > 1", "a >", "__import__('os')", "a", "1 < 'x'", "a.b > 1", ""):
        with pytest.raises(TrajkitError, match=r"--fail-if"):
            broken(condition, headline)
    with pytest.raises(TrajkitError, match=r"did you mean 'rejected_share'"):
        broken("rejected_shar > 1", {"rejected_share": 0.1})


def test_against(clips: Path, made: Path, tmp_path: Path) -> None:
    before = numbers_of(made)
    before["headline"] |= {"rejected": 1, "hours": None}
    del before["headline"]["scenes"]
    other = tmp_path / "before.json"
    other.write_text(json.dumps(before))
    report = compare(gather([clips], ReportOptions(limit=0)), other, ReportOptions())
    assert report.deltas["rejected"] == {"before": 1, "now": 3, "delta": 2}
    assert report.deltas["hours"]["delta"] is None
    assert "scenes" not in report.deltas
    assert report.numbers()["against"]["other"] == "before.json"
    assert "Changes are against before.json" in page(report).decode()
    itself = compare(report, clips, ReportOptions())
    assert {one["delta"] for one in itself.deltas.values()} == {0}


def test_command_writes_both_files(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new/report.html"
    assert run(clips, "--out", out, "--dry-run") == 0
    assert not out.exists()
    assert "rejected_share 0.375" in capsys.readouterr().out
    assert run(clips, "--out", out, "--json", "--title", "T") == 0
    assert json.loads(capsys.readouterr().out) == numbers_of(out)
    assert "trajkit report clips --limit 500 --seed 0" in out.read_text()


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CLIPS",), "neither --out nor --fail-if"),
        (("CLIPS", "--out", "page.pdf"), "does not end in .html"),
        (("CLIPS/missing", "--fail-if", "clips > 1"), "no such file or folder"),
        (("EMPTY", "--fail-if", "clips > 1"), "no ledger rows"),
        (("CLIPS", "--dry-run", "--against", "CLIPS/score.toml"), "not valid JSON"),
        (("CLIPS", "--dry-run", "--against", "CLIPS/scores/a-clean.json"), "is no report"),
        (("CLIPS", "--dry-run", "--against", "EMPTY/missing.json"), "no such file"),
        (("CLIPS", "--dry-run", "--against", "EMPTY/odd.json"), "headline clips is"),
    ],
)
def test_bad_arguments(clips: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "odd.json").write_text('{"schema": "trajkit.report/1", "headline": {"clips": "many"}}')
    named = [one.replace("CLIPS", str(clips)).replace("EMPTY", str(tmp_path)) for one in arguments]
    with pytest.raises(TrajkitError, match=message):
        run(*named)


@pytest.mark.parametrize("values", ["[1, 2]", "{", '"text"'])
def test_damaged_ledger_values(tmp_path: Path, values: str) -> None:
    Ledger(tmp_path).append("score-0", [Row(key="one", stage="score", state="accepted", metric="poses", value=0.9)])
    path = next((tmp_path / "ledger").iterdir())
    pl.read_parquet(path).with_columns(values=pl.lit(values)).write_parquet(path)
    with pytest.raises(TrajkitError, match="one"):
        gather([tmp_path], ReportOptions())


@pytest.mark.parametrize(
    "about",
    [
        {"frames": "many", "fps": None, "reasons": "none", "scene": 3, "speed": True},
        {"reasons": [["a"], 1, ["m", "text", "x", None, None]], "frames": [[1], [2, 3]]},
        {},
    ],
)
def test_odd_ledger_values_are_missing_values(tmp_path: Path, about: dict) -> None:
    row = Row(key="one", stage="score", state="rejected", metric="poses", reason="r", value=None, values=about)
    Ledger(tmp_path).append("score-0", [row])
    write(gather([tmp_path], ReportOptions()), tmp_path / "report.html")
    assert numbers_of(tmp_path / "report.html")["headline"]["rejected"] == 1


def test_damaged_clips_and_records_are_named(tmp_path: Path) -> None:
    scored(tmp_path)
    (tmp_path / "scores/a-clean.json").write_text("{")
    (tmp_path / "b-copy.mp4").write_bytes(b"no video")
    (tmp_path / "c-turn.camera.npz").write_bytes(b"no npz")
    items = {one["key"]: one for one in content(gather([tmp_path], ReportOptions()))["items"]}
    assert "a-clean.json" in items["a-clean"]["missing"][0]
    assert len(items["b-copy"]["missing"]) == 1
    assert items["b-copy"]["n"] == FRAMES
    assert "c-turn.camera.npz" in items["c-turn"]["missing"][0]


def test_a_render_ledger_alone(tmp_path: Path) -> None:
    Ledger(tmp_path).append("render-0", [Row(key="one", stage="render", state="rendered")])
    found = headline_of(tmp_path)
    assert (found["clips"], found["unjudged"], found["hours"]) == (1, 1, 0)
    assert found["metric_share"] is None
    page(gather([tmp_path], ReportOptions()))
