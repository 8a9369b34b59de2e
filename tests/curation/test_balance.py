"""Sampling weights over bins of motion: their sum, their limits, what they even out, and what is refused."""

import json

import numpy as np
import polars as pl
import pytest
import scorerows
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit.curation.balance import accepted, balance
from trajkit.curation.commands.balance import command
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row


def run(*arguments):
    return command.main([str(one) for one in arguments], standalone_mode=False)


def many(folder, counts, **about):
    """A folder with so many accepted clips of each direction, at one speed."""
    clips = [
        scorerows.clip_rows(f"{direction}-{number:04d}", direction=direction, **about)
        for direction, count in counts.items()
        for number in range(count)
    ]
    return scorerows.scored_folder(folder, *clips)


@given(
    st.dictionaries(st.sampled_from(["left", "right", "up", "down", "mixed"]), st.integers(1, 40), min_size=1),
    st.floats(0, 1),
    st.floats(1, 20),
)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_weights_are_those_of_the_formula(tmp_path_factory, counts, power, cap):
    folder = many(tmp_path_factory.mktemp("clips"), counts)
    found = balance([folder], power=power, cap=cap)
    weights = dict(found.weights.select("key", "weight").iter_rows())
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    assert max(weights.values()) <= cap * min(weights.values()) * (1 + 1e-12)
    free = {key: counts[key.split("-")[0]] ** -power for key in weights}
    slow = {key: min(one, cap * min(free.values())) for key, one in free.items()}
    assert weights == pytest.approx({key: one / sum(slow.values()) for key, one in slow.items()})
    assert found.capped == sum(slow[key] < free[key] for key in free)
    assert found.after.clips == pytest.approx(1 / sum(one**2 for one in weights.values()))
    assert found.before.clips == pytest.approx(sum(counts.values()))
    assert found.after.bins >= found.before.bins - 1e-9


def test_power_goes_from_the_set_as_it_is_to_bins_of_equal_share(tmp_path):
    folder = many(tmp_path, {"left": 90, "right": 9, "up": 1})
    shares = {power: balance([folder], power=power, cap=1000).bins["after"].to_list() for power in (0.0, 0.5, 1.0)}
    assert shares[0.0] == pytest.approx([0.9, 0.09, 0.01])
    assert shares[1.0] == pytest.approx([1 / 3] * 3)
    roots = np.sqrt([90, 9, 1])
    assert shares[0.5] == pytest.approx(roots / roots.sum())
    assert balance([folder], power=1.0, cap=1000).after.bins == pytest.approx(3)
    assert balance([folder], power=1.0, cap=1000).after.entropy == pytest.approx(np.log(3))


def test_bins_are_motion_direction_turn_and_speed(tmp_path):
    clips = [scorerows.clip_rows(f"c{number}", speed=float(number), turn="left") for number in range(1, 10)]
    clips += [scorerows.clip_rows(f"m{number}", speed=1000.0 * number, scale="metric") for number in range(1, 4)]
    clips.append(scorerows.clip_rows("still", speed=0.0, motion="static", direction="still"))
    clips.append(scorerows.clip_rows("odd", speed=..., turn=...))
    found = dict(balance([scorerows.scored_folder(tmp_path, *clips)]).weights.select("key", "bin").iter_rows())
    assert [found[f"c{number}"] for number in (1, 3, 4, 6, 7, 9)] == [
        *("parallax forward left 1/3",) * 2,
        *("parallax forward left 2/3",) * 2,
        *("parallax forward left 3/3",) * 2,
    ]
    assert found["m1"] == "parallax forward none 1/3"  # slow for a metric clip, whatever the others' units are
    assert found["still"] == "static still none still"
    assert found["odd"] == "parallax forward unknown unknown"


def test_only_accepted_clips_have_a_weight(tmp_path):
    folder = scorerows.scored_folder(
        tmp_path / "clips",
        scorerows.clip_rows("a"),
        scorerows.clip_rows("b", 0.2, "rejected"),
        scorerows.clip_rows("c", None, "undetermined"),
        scorerows.clip_rows("d"),
        scorerows.unreadable_rows("e"),
    )
    assert accepted([folder])["key"].to_list() == ["a", "d"]
    rows = [
        Row(key="a", stage="filter", state="rejected", metric="stills", reason="stills"),
        Row(key="a", stage="filter", state="rejected", metric="licence", reason="licence"),
        Row(key="b", stage="filter", state="accepted"),
    ]
    Ledger(tmp_path / "filtered").append("filter-rules", rows)
    assert accepted([folder, tmp_path / "filtered"])["key"].to_list() == ["b", "d"]  # the filter has the last word
    Ledger(tmp_path / "filtered").append("filter-rules", [Row(key="a", stage="filter", state="accepted")])
    assert accepted([tmp_path / "filtered", folder])["key"].to_list() == ["a", "b", "d"]


def test_the_command_writes_the_weights_and_prints_the_coverage(tmp_path, capsys):
    folder = many(tmp_path / "clips", {"left": 90, "right": 9, "up": 1})
    assert not run(folder, "--out", tmp_path / "out")
    assert capsys.readouterr().out.splitlines() == [
        "bin                       clips  before   after",
        "parallax left none 1/3       90   90.0%   70.3%",
        "parallax right none 1/3       9    9.0%   22.2%",
        "parallax up none 1/3          1    1.0%    7.4%",
        "100 clips in 3 bins, 0 capped",
        "before: as good as 100.0 clips and 1.4 bins evenly sampled (entropy 0.358)",
        "after: as good as 60.6 clips and 2.2 bins evenly sampled (entropy 0.775)",
    ]
    table = pl.read_parquet(tmp_path / "out/weights.parquet")
    assert table.columns == ["key", "weight", "bin"]
    assert table["key"].is_sorted()
    assert table["weight"].sum() == pytest.approx(1)
    content = (tmp_path / "out/weights.parquet").read_bytes()
    run(folder, "--config", tmp_path / "out/balance.toml", "--out", tmp_path / "again")
    assert (tmp_path / "again/weights.parquet").read_bytes() == content


def test_a_dry_run_writes_nothing_and_json_has_every_bin(tmp_path, capsys):
    folder = many(tmp_path / "clips", {"left": 3, "right": 1})
    run(folder, "--out", tmp_path / "out", "--dry-run", "--json", "--power", 1)
    told = json.loads(capsys.readouterr().out)
    assert [(one["clips"], one["after"]) for one in told["bins"]] == [(3, pytest.approx(0.5)), (1, pytest.approx(0.5))]
    assert told["after"]["bins"] == pytest.approx(2)
    assert not (tmp_path / "out").exists()


def nothing_accepted(folder):
    scorerows.scored_folder(folder, scorerows.clip_rows("a", 0.1, "rejected"))


def only_rendered(folder):
    Ledger(folder).append("render-a", [Row(key="a", stage="render", state="rendered")])


def damaged(folder):
    nothing_accepted(folder)
    path = folder / "ledger/score-00.1.parquet"
    path.write_bytes(path.read_bytes()[:-9])


REFUSED = {
    "nothing accepted": (nothing_accepted, "no clip is accepted"),
    "not scored": (only_rendered, "no scored clips"),
    "damaged": (damaged, "damaged ledger part"),
    "no ledger": (lambda folder: folder.mkdir(), "has no ledger"),
    "no folder": (lambda folder: None, "no such folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_weighed_is_told_in_one_line(name, tmp_path):
    make, words = REFUSED[name]
    make(tmp_path / "clips")
    with pytest.raises(TrajkitError) as caught:
        run(tmp_path / "clips", "--out", tmp_path / "out")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
