"""The contracts: schemas as generated, examples that both jsonschema and trajkit accept, and what both refuse."""

import copy
import json
import re
from dataclasses import fields
from pathlib import Path

import golden_examples
import jsonschema
import numpy as np
import polars as pl
import pytest

from trajkit import files, ledger, schema, video
from trajkit.clip import clip_keys, read_clip
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.members import Provenance, Record, adapter, camera_bytes, from_json
from trajkit.shards import open_shard
from trajkit.trajectory import Scale

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
CLIPS, SHARDS = golden_examples.EXAMPLES / "clips", golden_examples.EXAMPLES / "shards"
EXAMPLES = {
    "clip/1": CLIPS / f"{golden_examples.KEY}.json",
    "plan/1": SHARDS / "plan.json",
    "score/1": CLIPS / "scores" / f"{golden_examples.KEY}.json",
    "shard/1": SHARDS / "shard-000000.json",
}


def ledger_rows() -> list[dict]:
    rows = ledger.Ledger(CLIPS).scan().drop("attempt").collect().to_dicts()
    return [row | {name: json.loads(row[name]) for name in ("values", "versions")} for row in rows]


def examples(contract: str) -> list[dict]:
    return ledger_rows() if contract == "ledger/1" else [json.loads(EXAMPLES[contract].read_text())]


def test_the_schemas_are_what_the_types_say(tmp_path):
    """Run `python -m trajkit.schema` after a change of the types, and think of the version."""
    written = schema.write(tmp_path)
    assert sorted(path.name for path in written) == sorted(path.name for path in SCHEMAS.glob("*.schema.json"))
    for path in written:
        assert path.read_bytes() == (SCHEMAS / path.name).read_bytes(), path.name


@pytest.mark.parametrize("contract", schema.CONTRACTS)
def test_each_schema_is_one_and_names_its_version(contract):
    body = json.loads((SCHEMAS / f"{contract.partition('/')[0]}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(body)
    assert body["$id"] == f"urn:trajkit:{contract}"
    assert re.search(r"/\d+$", body["$id"])
    assert body["additionalProperties"] is False


@pytest.mark.parametrize("contract", schema.CONTRACTS)
def test_the_examples_fit_both_readers(contract):
    validator = jsonschema.Draft202012Validator(schema.json_schema(contract))
    for example in examples(contract):
        validator.validate(example)
        from_json(schema.CONTRACTS[contract], json.dumps(example).encode(), "example")


def spoilt(contract: str) -> list[tuple[str, dict]]:
    """The example with one thing wrong at a time: an unknown key, a lost key, a value of another type."""
    (example, *_) = examples(contract)
    required = schema.json_schema(contract)["required"]
    cases = [("unknown key", example | {"colour": "red"})]
    cases += [(f"no {name}", {key: value for key, value in example.items() if key != name}) for name in required]
    for name, value in example.items():
        cases += [(f"{name} list", example | {name: [[]]})]
        if name != "values":  # which takes anything by name
            cases += [(f"{name} null inside", example | {name: {"": None}})]
        if isinstance(value, int | float) and not isinstance(value, bool):
            cases += [(f"{name} text", example | {name: str(value)}), (f"{name} true", example | {name: True})]
        if name in ("poses", "frames", "width", "height", "shards", "clips", "bytes"):
            cases += [(f"{name} negative", example | {name: -1}), (f"{name} fraction", example | {name: 1.5})]
    return cases


NESTED = [
    ("clip/1", ["provenance", "kind"], "filmed"),
    ("clip/1", ["provenance", "by"], "me"),
    ("clip/1", ["provenance", "seed"], "7"),
    ("clip/1", ["provenance", "versions", "av"], 18),
    ("clip/1", ["scale", "kind"], "inches"),
    ("clip/1", ["scale", "factor"], 0),
    ("clip/1", ["scale", "unit"], "m"),
    ("clip/1", ["sha256", "mp4"], "abc"),
    ("clip/1", ["schema"], "trajkit.clip/2"),
    ("clip/1", ["convention"], "world_to_camera"),
    ("clip/1", ["key"], "../a"),
    ("clip/1", ["licence"], ""),
    ("clip/1", ["depth"], "disparity"),
    ("clip/1", ["fps"], 0),
    ("shard/1", ["members", "../a"], {"mp4": [0, 1]}),
    ("shard/1", ["members", "a"], {"mp4": [0, -1]}),
    ("shard/1", ["members", "a"], {"mp4": [0]}),
    ("shard/1", ["sha256"], "ABC"),
    ("plan/1", ["plan"], "0" * 63),
    ("ledger/1", ["versions", "av"], 18),
    ("score/1", ["verdict", "state"], "good"),
    ("score/1", ["verdict", "probability"], "high"),
    ("score/1", ["scores", 0, "per_frame"], 1.0),
    ("score/1", ["scores", 0, "better"], "larger"),
    ("score/1", ["verdict", "reasons", 0, "metric"], None),
]


def both_refuse(contract: str, example: dict, name: str) -> None:
    validator = jsonschema.Draft202012Validator(schema.json_schema(contract))
    assert not validator.is_valid(example), f"jsonschema takes {name}"
    with pytest.raises(TrajkitError, match=r"^example: ") as caught:
        from_json(schema.CONTRACTS[contract], json.dumps(example).encode(), "example")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("contract", schema.CONTRACTS)
def test_what_is_spoilt_both_readers_refuse(contract):
    cases = spoilt(contract)
    assert len(cases) > 15
    for name, example in cases:
        both_refuse(contract, example, name)


@pytest.mark.parametrize(("contract", "place", "value"), NESTED)
def test_what_is_spoilt_inside_both_readers_refuse(contract, place, value):
    example = copy.deepcopy(examples(contract)[0])
    inner = example
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    both_refuse(contract, example, f"{place}={value}")


def test_the_example_clip_reads_as_it_was_written():
    assert clip_keys(CLIPS) == [golden_examples.KEY]
    clip = read_clip(CLIPS, golden_examples.KEY)
    trajectory = golden_examples.trajectory()
    np.testing.assert_array_equal(clip.trajectory.camera_to_world, trajectory.camera_to_world)
    assert camera_bytes(trajectory) == (CLIPS / f"{golden_examples.KEY}.camera.npz").read_bytes()
    assert clip.caption == "a checkerboard, größer als ein Schachbrett"
    pictures = np.stack([frame.rgb for frame in golden_examples.frames()])
    assert np.abs(video.read(clip.video).astype(int) - pictures).mean() < 6
    depth = np.stack([frame.depth for frame in golden_examples.frames()])
    np.testing.assert_allclose(read_depth(clip), depth, rtol=1e-3)
    for suffix, digest in json.loads(EXAMPLES["clip/1"].read_text())["sha256"].items():
        assert files.sha256(CLIPS / f"{golden_examples.KEY}.{suffix}") == digest


def test_the_example_shard_holds_the_example_clip():
    shard = open_shard(SHARDS / "shard-000000.tar")
    assert shard.keys == [golden_examples.KEY]
    for suffix, content in shard.members(golden_examples.KEY).items():
        assert (CLIPS / f"{golden_examples.KEY}.{suffix}").read_bytes() == content


def test_the_examples_are_written_anew_with_the_same_bytes(tmp_path):
    """As far as the versions that made them are the ones at hand."""
    made = json.loads(EXAMPLES["clip/1"].read_text())["provenance"]["versions"]
    if made != video.versions():
        pytest.skip(f"the examples were encoded by {made}")
    golden_examples.write(tmp_path)
    for path in sorted(CLIPS.glob("*.*")):
        assert (tmp_path / "clips" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_text_names_every_field_and_array():
    text = (SCHEMAS / "FORMAT.md").read_text()
    names = {field.name for cls in (Record, Provenance, Scale, ledger.Row) for field in fields(cls)} | set(
        ledger.schema()
    )
    names |= set(np.load(CLIPS / f"{golden_examples.KEY}.camera.npz"))
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_ledger_columns_are_the_rows_fields():
    assert set(ledger.schema()) == {field.name for field in fields(ledger.Row)} | {"attempt"}
    assert adapter(ledger.Row).json_schema()["properties"].keys() == {field.name for field in fields(ledger.Row)}
    assert ledger.schema()["value"] == pl.Float64
