"""The ledger: rows are added, never changed; the same work leaves the same files."""

import json
import math
import subprocess
import sys

import killing
import polars as pl
import pytest

from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row, schema

RENDERED = Row(key="a", stage="render", state="rendered", versions={"trajkit": "0.1", "av": "18"})
REJECTED = Row(key="b", stage="render", state="rejected", reason="leaves the scene; größer", metric="clearance")
SCORED = Row(
    key="a",
    stage="score",
    state="scored",
    metric="sharpness",
    value=0.25,
    threshold=0.1,
    values={"per_frame": [1, 2.5]},
)


def test_rows_come_back(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("render-s1", [RENDERED, REJECTED])
    ledger.append("score-s1", [SCORED])
    rows = ledger.scan().collect().to_dicts()
    assert [(row["key"], row["state"], row["attempt"]) for row in rows] == [
        ("a", "rendered", 1),
        ("b", "rejected", 1),
        ("a", "scored", 1),
    ]
    assert json.loads(rows[0]["versions"]) == {"trajkit": "0.1", "av": "18"}
    assert (rows[1]["reason"], rows[1]["value"], rows[1]["threshold"]) == ("leaves the scene; größer", None, None)
    assert (rows[2]["value"], rows[2]["threshold"]) == (0.25, 0.1)
    assert json.loads(rows[2]["values"]) == {"per_frame": [1, 2.5]}


def test_any_parquet_reader_reads_it(tmp_path):
    Ledger(tmp_path).append("render-s1", [RENDERED, REJECTED])
    Ledger(tmp_path).append("render-s2", [])
    found = pl.scan_parquet(tmp_path / "ledger" / "*.parquet").filter(pl.col("state") == "rejected").collect()
    assert found["key"].to_list() == ["b"]


def test_an_empty_ledger_has_the_columns(tmp_path):
    table = Ledger(tmp_path / "missing").scan().collect()
    assert table.height == 0
    assert dict(table.schema) == schema()


def test_the_same_work_again_changes_nothing(tmp_path):
    ledger = Ledger(tmp_path)
    path = ledger.append("render-s1", [RENDERED, REJECTED])
    before = killing.tree(tmp_path)
    assert ledger.append("render-s1", [RENDERED, REJECTED]) == path
    assert killing.tree(tmp_path) == before
    assert list(before) == ["ledger/render-s1.1.parquet"]


def test_another_outcome_is_added_and_the_rejection_stays(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("render-s1", [RENDERED, REJECTED])
    before = killing.tree(tmp_path)
    recovered = Row(key="b", stage="render", state="rendered")
    for _ in range(2):
        assert ledger.append("render-s1", [RENDERED, recovered]).name == "render-s1.2.parquet"
    assert ledger.append("render-s1", [RENDERED]).name == "render-s1.3.parquet"
    assert before.items() <= killing.tree(tmp_path).items()
    states = ledger.scan().filter(pl.col("key") == "b").select("state", "attempt").collect().rows()
    assert states == [("rejected", 1), ("rendered", 2)]


def test_units_whose_names_start_alike_are_apart(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("render-s1", [RENDERED])
    ledger.append("render-s10", [REJECTED])
    assert ledger.append("render-s1", [RENDERED]).name == "render-s1.1.parquet"


def test_the_bytes_are_the_same_in_any_process(tmp_path):
    program = (
        "import sys; from pathlib import Path; from trajkit.ledger import Ledger, Row; "
        "Ledger(Path(sys.argv[1])).append('render-s1', [Row(key=f'clip-{n:04d}', stage='render', state='rendered', "
        "versions={'b': '1', 'a': '2'}) for n in range(3000)])"
    )
    for folder in ("one", "two"):
        subprocess.run([sys.executable, "-c", program, tmp_path / folder], env=killing.environment(), check=True)
    assert killing.tree(tmp_path / "one") == killing.tree(tmp_path / "two")
    text = (tmp_path / "one/ledger/render-s1.1.parquet").read_bytes()
    assert str(tmp_path).encode() not in text


def test_a_half_written_part_is_no_part(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("render-s1", [RENDERED])
    (tmp_path / "ledger" / "render-s2.1.parquet.part").write_bytes(b"PAR1")
    assert ledger.scan().collect().height == 1


@pytest.mark.parametrize("unit", ["render", "s1", "Render-s1", "render-a.b", "render-../a", "render-"])
def test_a_bad_unit_name_is_refused(tmp_path, unit):
    with pytest.raises(TrajkitError, match="is no unit name; use <stage>-<name>"):
        Ledger(tmp_path).append(unit, [RENDERED])
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(number):
    for name in ("value", "threshold"):
        with pytest.raises(TrajkitError, match="ledger row a: m is not finite"):
            Row(key="a", stage="score", state="scored", metric="m", **{name: number})


def test_a_rejection_has_a_reason():
    with pytest.raises(TrajkitError, match="ledger row a: rejected without a reason; say why"):
        Row(key="a", stage="filter", state="rejected")


@pytest.mark.parametrize("case", ["empty", "text", "cut", "other columns"])
def test_a_damaged_part_is_one_line(tmp_path, case):
    ledger = Ledger(tmp_path)
    path = ledger.append("render-s1", [RENDERED])
    match case:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_bytes(b"key,stage,state\n")
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "other columns":
            pl.DataFrame({"key": ["a"]}).write_parquet(path)
    for attempt in (ledger.scan, lambda: ledger.append("render-s1", [REJECTED])):
        with pytest.raises(
            TrajkitError, match=r"render-s1\.1\.parquet: (damaged ledger part|has columns key;)"
        ) as caught:
            attempt()
        assert "\n" not in str(caught.value)
