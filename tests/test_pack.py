"""The plan, the stage and the command: same bytes whatever happens in between."""

import json
import shutil
from pathlib import Path

import killing
import numpy as np
import pytest
import tinyclips
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import Kitchen, run_and_kill, run_to_end, tree
from test_cli import trajkit

from trajkit import files
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger
from trajkit.pack import pack
from trajkit.shard_plan import make_plan, read_plan, survey
from trajkit.shards import Source, index_path, open_shard

CLIPS = 9
LIMITS = ("--shard-clips", "3")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    tinyclips.hollow(folder, CLIPS, 20_000)
    return folder


@pytest.fixture(scope="module")
def kitchen(clips):
    with Kitchen("warm_packs", "pack", clips, "--out", clips / "out", *LIMITS, "--dry-run") as kitchen:
        yield kitchen


@pytest.fixture(scope="module")
def reference(kitchen, clips, tmp_path_factory) -> dict[str, str]:
    """What an uninterrupted run leaves."""
    out = tmp_path_factory.mktemp("reference") / "out"
    kitchen.run("pack", clips, "--out", out, *LIMITS)
    return tree(out)


def source(key: str, size: int, folder: str = "clips") -> Source:
    return Source(key=key, folder=Path(folder), sizes=(("json", 1), ("mp4", size)), frames=5, content="0" * 64)


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    seed=st.integers(0, 9),
    shard_clips=st.integers(1, 9),
    shard_bytes=st.integers(1, 20_000),
)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_a_plan_holds_each_clip_once_within_the_limits(sizes, seed, shard_clips, shard_bytes):
    sources = [source(f"clip{number:03d}", size) for number, size in enumerate(sizes)]
    limits = {"seed": seed, "shard_clips": shard_clips, "shard_bytes": shard_bytes}
    plan = make_plan(sources, **limits)
    assert sorted(one.key for shard in plan.shards for one in shard) == [one.key for one in sources]
    for shard in plan.shards:
        assert 1 <= len(shard) <= shard_clips
        assert len(shard) == 1 or sum(one.packed_bytes for one in shard) <= shard_bytes
        assert [one.key for one in shard] == sorted(one.key for one in shard)
    assert plan == make_plan(sources, **limits)
    assert plan.record.shards == len(plan.shards)


def test_a_plan_depends_on_seed_and_content_but_not_on_where_the_clips_lie():
    sources = [source(f"clip{number:03d}", 100) for number in range(40)]
    plan = make_plan(sources, shard_clips=10)
    moved = make_plan([one._replace(folder=Path("elsewhere")) for one in sources], shard_clips=10)
    assert moved.record == plan.record
    assert make_plan(sources, seed=1, shard_clips=10).shards != plan.shards
    changed = [sources[0]._replace(content="1" * 64), *sources[1:]]
    assert make_plan(changed, shard_clips=10).record.plan != plan.record.plan
    keys = [one.key for one in plan.shards[0]]
    assert keys != [one.key for one in sources[:10]]  # shuffled over the shards


def test_shards_hold_every_clip_and_the_ledger_says_where(clips, tmp_path):
    code, text, _ = trajkit("pack", clips, "--out", tmp_path / "out", *LIMITS, "--json")
    said = json.loads(text)
    assert code == 0
    assert said["shards"] == [f"shard-{number:06d}.tar" for number in range(3)]
    assert (said["clips"], said["frames"], said["unfinished"]) == (CLIPS, CLIPS * 5, [])
    assert said["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))
    held = {key: number for number in range(3) for key in open_shard(tmp_path / "out" / said["shards"][number]).keys}
    assert sorted(held) == [f"hollow-{number:05d}" for number in range(CLIPS)]
    rows = Ledger(tmp_path / "out").scan().collect()
    assert {row["key"]: json.loads(row["values"])["shard"] for row in rows.iter_rows(named=True)} == held
    assert set(rows["state"]) == {"packed"}


def test_several_workers_write_the_same_bytes(clips, reference, tmp_path):
    code, _, _ = trajkit("pack", clips, "--out", tmp_path / "out", *LIMITS, "--workers", 2)
    assert code == 0
    assert tree(tmp_path / "out") == reference


def test_clips_in_several_folders_give_the_same_bytes(clips, reference, tmp_path):
    for path in sorted(clips.iterdir()):
        folder = tmp_path / ("odd" if path.name.split(".")[0][-1] in "13579" else "even")
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder)
    code, _, _ = trajkit("pack", tmp_path / "even", tmp_path / "odd", "--out", tmp_path / "out", *LIMITS)
    assert code == 0
    assert tree(tmp_path / "out") == reference


def test_a_dry_run_writes_nothing(clips, tmp_path):
    code, text, _ = trajkit("pack", clips, "--out", tmp_path / "out", *LIMITS, "--dry-run")
    assert code == 0
    assert text.count("3 clips") == 3
    assert not (tmp_path / "out").exists()


def test_a_rerun_touches_no_finished_shard(clips, reference, tmp_path):
    arguments = ("pack", clips, "--out", tmp_path / "out", *LIMITS)
    trajkit(*arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.suffix != ".toml"}
    assert trajkit(*arguments)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tree(tmp_path / "out") == reference


TORN = {
    "no-json": lambda out: index_path(out / "shard-000001.tar").unlink(),
    "no-tar": lambda out: (out / "shard-000001.tar").unlink(),
    "short-tar": lambda out: (out / "shard-000001.tar").write_bytes(b"torn"),
    "torn-json": lambda out: (out / "shard-000001.json").write_bytes(b'{"schema": "trajkit'),
    "other-json": lambda out: shutil.copy(out / "shard-000002.json", out / "shard-000001.json"),
    "part": lambda out: (out / "shard-000001.tar.part").write_bytes(b"torn"),
    "no-ledger": lambda out: shutil.rmtree(out / "ledger"),
}


@pytest.mark.parametrize("case", TORN)
def test_what_is_torn_is_made_again(clips, reference, tmp_path, case):
    arguments = ("pack", clips, "--out", tmp_path / "out", *LIMITS)
    trajkit(*arguments)
    TORN[case](tmp_path / "out")
    assert tree(tmp_path / "out") != reference
    assert trajkit(*arguments)[0] == 0
    assert tree(tmp_path / "out") == reference


def test_an_unfinished_clip_is_left_out_and_named(clips, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    (folder / "hollow-00003.json").unlink()
    code, text, _ = trajkit("pack", folder, "--out", tmp_path / "out")
    assert code == 3
    assert "left out hollow-00003: not finished" in text
    assert open_shard(tmp_path / "out" / "shard-000000.tar").index.clips == CLIPS - 1


def one_line(clips: Path, tmp_path: Path, *arguments: object) -> str:
    """The error of a command that must fail with one line and exit code 1."""
    code, _, text = trajkit("pack", *arguments, "--out", tmp_path / "out")
    assert code == 1
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_shards_of_two_plans_are_not_mixed(clips, tmp_path):
    trajkit("pack", clips, "--out", tmp_path / "out", *LIMITS)
    before = tree(tmp_path / "out")
    for change, told in ((("--shard-clips", 4), "shard_clips 3, now 4"), ((*LIMITS, "--seed", 1), "seed 0, now 1")):
        assert told in one_line(clips, tmp_path, clips, *change)
    tinyclips.hollow(tmp_path / "more", 1, 5, prefix="more")
    assert "clips 9, now 10" in one_line(clips, tmp_path, clips, tmp_path / "more", *LIMITS)
    folder = tmp_path / "changed"
    shutil.copytree(clips, folder)
    record = json.loads((folder / "hollow-00000.json").read_bytes())
    (folder / "hollow-00000.json").write_text(json.dumps(record | {"licence": "MIT"}))
    assert "(other clips)" in one_line(clips, tmp_path, folder, *LIMITS)
    assert tree(tmp_path / "out") == before


def test_tars_of_others_are_not_overwritten(clips, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shard-000000.tar").write_bytes(b"precious")
    assert "holds shard-000000.tar but no plan.json" in one_line(clips, tmp_path, clips)
    assert (tmp_path / "out" / "shard-000000.tar").read_bytes() == b"precious"


def test_a_folder_that_another_process_packs_into_is_left_alone(clips, tmp_path):
    plan = make_plan(survey([clips])[0], shard_clips=3)
    running = pack(plan, tmp_path / "out")
    next(running)
    with pytest.raises(TrajkitError, match="another trajkit is writing into it"):
        next(pack(plan, tmp_path / "out"))
    running.close()
    assert len(list(pack(plan, tmp_path / "out"))) == 3


def _spoil(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


BAD_INPUT = {
    "no-mp4": ("hollow-00000.mp4", None, "hollow-00000.mp4: no such file"),
    "no-npz": ("hollow-00000.camera.npz", None, "camera.npz: no such file"),
    "no-caption": ("hollow-00000.txt", None, "hollow-00000.txt: no such file"),
    "torn-json": ("hollow-00000.json", b'{"schema', "Invalid JSON"),
    "list": ("hollow-00000.json", b"[]", "hollow-00000.json"),
    "dotted-key": ("a.b.mp4", b"", "'a.b' is no clip key"),
    "strange-json": ("other.json", b"{}", "other.json"),
    "shards-as-clips": ("plan.json", b"{}", "holds shards, not clips"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_clips_are_one_line_before_anything_is_written(clips, tmp_path, case):
    name, content, told = BAD_INPUT[case]
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    _spoil(folder, name, content)
    assert told in one_line(clips, tmp_path, folder)
    assert not (tmp_path / "out").exists()


def test_other_bad_input_is_one_line_too(clips, tmp_path):
    assert "none: no such folder" in one_line(clips, tmp_path, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no finished clips" in one_line(clips, tmp_path, tmp_path / "empty")
    shutil.copytree(clips, tmp_path / "copy")
    assert f"clip hollow-00000 is also in {clips}" in one_line(clips, tmp_path, clips, tmp_path / "copy")
    code, _, text = trajkit("pack", clips, "--out", clips)
    assert code == 1
    assert "is a clip folder" in text


def test_a_failed_shard_is_told_after_the_others_are_done(clips, tmp_path):
    folder, out = tmp_path / "clips", tmp_path / "out"
    shutil.copytree(clips, folder)
    plan = make_plan(survey([folder])[0], shard_clips=3)
    lost = plan.shards[1][0].key
    (folder / f"{lost}.mp4").unlink()
    with pytest.raises(TrajkitError, match=f"{lost}.mp4: changed while it was packed"):
        list(pack(plan, out))
    assert sorted(path.name for path in out.glob("*.tar")) == [f"shard-{number:06d}.tar" for number in (0, 2)]
    shutil.copy(clips / f"{lost}.mp4", folder)
    assert len(list(pack(plan, out))) == 3


def test_killed_before_every_write_step_a_rerun_gives_the_same_bytes(kitchen, clips, reference, tmp_path):
    arguments = ("pack", clips, "--out", tmp_path / "out", *LIMITS)
    steps = 0
    while kitchen.kill_at_step(tmp_path / "out", steps + 1, *arguments):
        steps += 1
        kitchen.run(*arguments)
        assert tree(tmp_path / "out") == reference, f"killed before step {steps}"
        shutil.rmtree(tmp_path / "out")
    assert steps > 30  # folders, parts, fsyncs, renames of the plan, 3 tars, 3 jsons, 3 ledger parts, the options
    assert tree(tmp_path / "out") == reference


def test_killed_in_the_middle_of_a_file_a_rerun_gives_the_same_bytes(kitchen, clips, reference, tmp_path):
    arguments = ("pack", clips, "--out", tmp_path / "out", *LIMITS)
    for number in [1, 100, 700, 5000, 21_000, 71_679]:
        assert kitchen.kill_at_byte(number, *arguments)
        kitchen.run(*arguments)
        assert tree(tmp_path / "out") == reference, f"killed at byte {number}"
        shutil.rmtree(tmp_path / "out")


def test_killed_at_random_moments_a_rerun_gives_the_same_bytes(kitchen, clips, reference, tmp_path):
    arguments = ("pack", clips, "--out", tmp_path / "out", *LIMITS)
    duration_s = kitchen.run(*arguments)
    killed = 0
    for moment in np.random.default_rng(0).uniform(0, duration_s, 8):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        killed += kitchen.kill_after(moment, *arguments)
        kitchen.run(*arguments)
        assert tree(tmp_path / "out") == reference, f"killed after {moment} s"
    assert killed > 0


def test_killed_again_and_again_it_still_ends_with_the_same_bytes(kitchen, clips, reference, tmp_path):
    arguments = ("pack", clips, "--out", tmp_path / "out", *LIMITS)
    number = 3
    while kitchen.kill_at_step(tmp_path / "out", number, *arguments):
        number += 3
        assert number < 300
    assert tree(tmp_path / "out") == reference


def test_a_cold_process_with_workers_is_killed_and_its_orphans_do_no_harm(clips, reference, tmp_path):
    command = killing.trajkit("pack", clips, "--out", tmp_path / "out", *LIMITS, "--workers", 2)
    run_and_kill(command, tmp_path / "out" / "shard-000000.tar.part")
    run_to_end(command)
    assert tree(tmp_path / "out") == reference


def test_the_plan_file_is_read_back(clips, tmp_path):
    trajkit("pack", clips, "--out", tmp_path / "out", *LIMITS)
    plan = read_plan(tmp_path / "out" / "plan.json")
    assert (plan.seed, plan.shard_clips, plan.clips, plan.frames, plan.shards) == (0, 3, CLIPS, CLIPS * 5, 3)
    (tmp_path / "out" / "plan.json").write_bytes(files.json_bytes({"schema": "trajkit.plan/1"}))
    assert "plan.json: plan: Field required" in one_line(clips, tmp_path, clips)
