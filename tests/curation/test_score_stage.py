"""The score stage: what is done is kept, what changed is measured again, and nobody sees who did the work."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import filmed
import numpy as np
import pytest
import tinyclips
from killing import Kitchen, tree
from test_cli import trajkit

from trajkit import files, plugins
from trajkit.clip import copy_clip, read_clip
from trajkit.curation import calibration
from trajkit.curation import score as stage
from trajkit.curation.filter import newest_rows
from trajkit.curation.score import FOLDER, ScoreOptions, read_record, score, units
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger
from trajkit.scene import Rejected

TINY = 4
REAL = "room"
ONE = "--metric=ray"  # where it does not matter what is measured


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips of next to nothing, and one that can be judged."""
    folder = tmp_path_factory.mktemp("made")
    tinyclips.real(folder, TINY)
    filmed.film(folder, REAL, filmed.walk(17).resized(208, 120), depth=True)
    return folder


@pytest.fixture
def clips(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "clips"))


@pytest.fixture(scope="module")
def scored(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every file that scoring the clips by one metric leaves, by one worker."""
    out = tmp_path_factory.mktemp("scored") / "out"
    run(made, out, ONE)
    return tree(out)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the clips that were measured since."""
    keys: list[str] = []
    measure = stage.measure

    def counted(evidence: Any, modules: Any) -> Any:
        keys.append(evidence.clip.key)
        return measure(evidence, modules)

    monkeypatch.setattr(stage, "measure", counted)
    return keys


def run(clips: Path, out: Path, *options: object) -> str:
    code, told, err = trajkit("score", clips, "--out", out, *options)
    assert code == 3, err  # tiny clips decide nothing
    return told


def recolour(clips: Path, key: str, **changes: Any) -> None:
    """The clip with other words or cameras in the place of itself."""
    aside = clips.with_name("aside")
    copy_clip(aside, replace(read_clip(clips, key), **changes))
    (clips / f"{key}.depth.npz").unlink(missing_ok=True)
    shutil.copytree(aside, clips, dirs_exist_ok=True)
    shutil.rmtree(aside)


def reverse(clips: Path) -> None:
    path = read_clip(clips, "clip-0001").trajectory
    recolour(clips, "clip-0001", trajectory=replace(path, camera_to_world=path.camera_to_world[::-1].copy()))


def test_a_second_run_measures_nothing_and_changes_nothing(clips: Path, measured: list[str]) -> None:
    first = run(clips, clips)
    assert sorted(measured) == sorted([*(f"clip-{number:04d}" for number in range(TINY)), REAL])
    before = tree(clips)
    stamps = {path: path.stat().st_mtime_ns for path in (clips / FOLDER).iterdir()}
    assert run(clips, clips) == first
    assert len(measured) == TINY + 1
    assert tree(clips) == before
    assert {path: path.stat().st_mtime_ns for path in (clips / FOLDER).iterdir()} == stamps
    assert not [name for name in before if ".2." in name]


def test_a_changed_clip_is_measured_again_and_its_new_row_wins(clips: Path, measured: list[str]) -> None:
    run(clips, clips, ONE)
    before, measured[:] = tree(clips), []
    reverse(clips)
    run(clips, clips, ONE)
    assert measured == ["clip-0001"]
    after = tree(clips)
    fresh = [name for name in after if name.startswith("ledger/") and name not in before]
    assert len(fresh) == 1
    assert fresh[0].endswith(".2.parquet")
    assert before.items() - after.items() <= {
        (name, before[name]) for name in before if name.startswith(("clip-0001.", f"{FOLDER}/clip-0001."))
    }
    rows = newest_rows(clips, "score").collect().to_dicts()
    verdicts = [row for row in rows if row["metric"] == "poses"]
    assert len(verdicts) == TINY + 1
    (row,) = (row for row in verdicts if row["key"] == "clip-0001")
    assert json.loads(row["values"])["clip"] == read_record(clips / FOLDER / "clip-0001.json").clip
    assert row["attempt"] == 2


def test_a_clip_that_is_added_leaves_the_others_alone(clips: Path, measured: list[str]) -> None:
    run(clips, clips, ONE)
    before, measured[:] = tree(clips), []
    tinyclips.real(clips, 1, prefix="late")
    run(clips, clips, ONE)
    assert measured == ["late-0000"]
    assert before.items() <= tree(clips).items()


WORDS: dict[str, dict[str, Any]] = {
    "licence": {"licence": "CC-BY-4.0"},
    "caption": {"caption": "quite another one, and longer"},
    "depth": {"depth": None, "depth_kind": None},
}


@pytest.mark.parametrize("what", WORDS)
def test_words_and_depth_of_a_clip_are_part_of_it(clips: Path, measured: list[str], what: str) -> None:
    run(clips, clips, ONE)
    measured.clear()
    recolour(clips, REAL, **WORDS[what])
    run(clips, clips, ONE)
    assert measured == [REAL]
    about = read_record(clips / FOLDER / f"{REAL}.json").about
    assert about["licence"] == read_clip(clips, REAL).licence
    assert about["caption_length"] == len(read_clip(clips, REAL).caption)


def test_another_calibration_measures_all_again(clips: Path, measured: list[str]) -> None:
    run(clips, clips)
    measured.clear()
    shipped = calibration.load()
    calibration.write(clips.parent / "other.json", replace(shipped, intercept=shipped.intercept - 30))
    run(clips, clips, "--calibration", clips.parent / "other.json")
    assert len(measured) == TINY + 1
    assert read_record(clips / FOLDER / f"{REAL}.json").verdict.state == "rejected"
    run(clips, clips, "--calibration", clips.parent / "other.json")
    assert len(measured) == TINY + 1


def test_another_version_of_a_metric_measures_all_again(
    clips: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clips, clips, ONE)
    measured.clear()
    monkeypatch.setattr(plugins.load("metrics", "ray"), "VERSION", "999")
    run(clips, clips, ONE)
    assert len(measured) == TINY + 1


def test_masks_and_references_count_by_their_content(clips: Path, measured: list[str], tmp_path: Path) -> None:
    masks, known = tmp_path / "masks", tmp_path / "known"
    masks.mkdir()
    mask = np.zeros((17, 6, 8), bool)
    np.savez(masks / f"{REAL}.npz", mask=mask)
    copy_clip(known, read_clip(clips, REAL))
    beside = ("--metric=ray", "--masks", masks, "--reference", known)
    run(clips, clips, *beside)
    elsewhere = Path(shutil.move(masks, tmp_path / "moved"))
    measured.clear()
    run(clips, clips, "--metric=ray", "--masks", elsewhere, "--reference", known)
    assert measured == []
    mask[:, :, 4:] = True
    np.savez(elsewhere / f"{REAL}.npz", mask=mask)
    run(clips, clips, "--metric=ray", "--masks", elsewhere, "--reference", known)
    assert measured == [REAL]
    (known / f"{REAL}.camera.npz").write_bytes((clips / "clip-0000.camera.npz").read_bytes())
    run(clips, clips, "--metric=ray", "--masks", elsewhere, "--reference", known)
    assert measured == [REAL, REAL]


@pytest.mark.parametrize(
    "damage",
    [lambda old: old[:99], lambda old: b"", lambda old: b"[]", lambda old: old.replace(b"score/1", b"score/0")],
)
def test_a_damaged_record_is_measured_again(
    clips: Path, scored: dict[str, str], measured: list[str], damage: Callable[[bytes], bytes]
) -> None:
    run(clips, clips.parent / "out", ONE)
    measured.clear()
    path = clips.parent / "out" / FOLDER / f"{REAL}.json"
    path.write_bytes(damage(path.read_bytes()))
    run(clips, clips.parent / "out", ONE)
    assert measured == [REAL]
    assert tree(clips.parent / "out") == scored


def test_a_record_of_another_clip_is_not_taken_for_ones_own(
    clips: Path, scored: dict[str, str], measured: list[str]
) -> None:
    copy_clip(clips.parent / "aside", replace(read_clip(clips, REAL), key="twin"))
    run(clips.parent / "aside", clips.parent / "out", "--metric=texture")
    run(clips, clips.parent / "out", "--metric=texture")
    shutil.copy(clips.parent / "out" / FOLDER / "twin.json", clips.parent / "out" / FOLDER / f"{REAL}.json")
    measured.clear()
    run(clips, clips.parent / "out", "--metric=texture")
    assert measured == [REAL]


def test_two_workers_write_what_one_writes(clips: Path) -> None:
    """Of all metrics."""
    for workers in (1, 2):
        run(clips, clips.parent / str(workers), f"--workers={workers}")
    assert tree(clips.parent / "2") == tree(clips.parent / "1")


def test_shards_give_what_their_clips_give(clips: Path, scored: dict[str, str]) -> None:
    assert trajkit("pack", clips, "--shard-clips=2", "--out", clips.parent / "shards")[0] == 0
    run(clips.parent / "shards", clips.parent / "out", ONE)
    assert tree(clips.parent / "out") == scored
    one = next((clips.parent / "shards").glob("*.tar"))
    told = run(one, clips.parent / "single", ONE)
    assert "2 clips in" in told or "1 clips in" in told


def test_the_order_of_folders_does_not_matter(clips: Path, scored: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in clips.glob("clip-0002.*"):
        path.rename(other / path.name)
    code, _, err = trajkit("score", other, clips, "--out", tmp_path / "out", ONE)
    assert code == 3, err
    assert tree(tmp_path / "out") == scored


def test_a_dry_run_lists_the_clips_and_writes_nothing(clips: Path) -> None:
    before = tree(clips)
    code, out, _ = trajkit("score", clips, "--out", clips / "out", "--dry-run")
    assert (code, len(out.splitlines())) == (0, TINY + 1)
    assert tree(clips) == before
    assert not (clips / "out").exists()


def test_two_runs_do_not_write_into_one_folder(clips: Path) -> None:
    with files.locked(clips):
        code, _, err = trajkit("score", clips, "--out", clips)
    assert (code, err.count("\n")) == (1, 1)
    assert "another trajkit is writing" in err


def test_work_is_dealt_out_by_key_and_handed_over_bit_by_bit(tmp_path: Path, measured: list[str]) -> None:
    keys = [f"many-{number:05d}" for number in range(600)]
    for key in keys:
        (tmp_path / f"{key}.json").write_text("{}")
    some, todo = units([tmp_path]), {}
    for unit in some:
        todo |= {item.key: unit.bucket for item in unit.items}
    assert sorted(todo) == keys
    assert len(some) > 200
    assert max(len(unit.items) for unit in some) < 20
    for key in keys[::2]:
        (tmp_path / f"{key}.json").unlink()
    assert all(todo[item.key] == unit.bucket for unit in units([tmp_path]) for item in unit.items)


def test_records_come_as_they_are_done(clips: Path) -> None:
    found = score([clips], ScoreOptions(metrics=("coverage",)), clips.parent / "out")
    first = next(found)
    assert len(list((clips.parent / "out" / FOLDER).iterdir())) <= max(len(one.items) for one in units([clips]))
    assert len(list((clips.parent / "out/ledger").iterdir())) == 1
    found.close()
    with files.locked(clips.parent / "out"):  # let go
        assert first.key


def test_a_unit_that_dies_is_told_of_and_done_by_the_next_run(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(unit: Any, **_: Any) -> Any:
        raise TrajkitError(unit, "its worker process died (SIGKILL)", "take fewer --workers")

    monkeypatch.setattr(stage, "score_unit", dies)
    found = list(score([clips], ScoreOptions(), clips))
    assert len(found) == TINY + 1
    assert all(isinstance(one, Rejected) and "worker process died" in one.reason for one in found)
    monkeypatch.undo()
    assert not [one for one in score([clips], ScoreOptions(), clips) if isinstance(one, Rejected)]
    newest = newest_rows(clips, "score").collect()
    assert "readable" not in newest["metric"].to_list()
    assert len(Ledger(clips).scan().collect()) > len(newest)


@pytest.fixture(scope="module")
def kitchen(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    with Kitchen("warm_scores", "score", made, "--out", tmp_path_factory.mktemp("warm"), "--dry-run") as kitchen:
        yield kitchen


@pytest.mark.parametrize("step", range(1, 44, 10))
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    kitchen: Kitchen, made: Path, scored: dict[str, str], tmp_path: Path, step: int
) -> None:
    out = tmp_path / "out"
    assert kitchen.kill_at_step(out, step, "score", made, "--out", out, ONE)
    kitchen.run("score", made, "--out", out, ONE)
    assert tree(out) == scored


@pytest.mark.parametrize("byte", [2500])
def test_a_file_that_breaks_off_is_written_anew(
    kitchen: Kitchen, made: Path, scored: dict[str, str], tmp_path: Path, byte: int
) -> None:
    assert kitchen.kill_at_byte(byte, "score", made, "--out", tmp_path / "out", ONE)
    assert list((tmp_path / "out").rglob("*.part"))
    kitchen.run("score", made, "--out", tmp_path / "out", ONE)
    assert tree(tmp_path / "out") == scored


@pytest.mark.slow
def test_ray_writes_what_one_worker_writes(clips: Path, scored: dict[str, str]) -> None:
    pytest.importorskip("ray", reason="needs trajkit[ray]")
    run(clips, clips.parent / "out", ONE, "--executor=ray", "--workers=2")
    assert tree(clips.parent / "out") == scored
