"""`trajkit attach`: every video accounted for, poses exact, and the same bytes after a kill."""

import json
from pathlib import Path
from typing import Any

import cv2
import footagebank
import killing
import numpy as np
import pytest
from click.testing import CliRunner

from trajkit import cli, video
from trajkit.check import check, summary
from trajkit.clip import clip_keys, read_clip
from trajkit.curation.assign import sampler
from trajkit.curation.sources import open_footage
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger

ASKED = ("--frames", "17", "--size", "208x120", "--accept", "height=100,sharpness=0")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footagebank.fill(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def made(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("attached")
    return out, attach(f"videos:{bank}", "--with", "reframe", out=out)


def attach(*arguments: object, out: Path, code: int = 3) -> dict[str, Any]:
    done = CliRunner().invoke(
        cli.group, ["attach", *map(str, arguments), *ASKED, "--out", str(out), "--json"], standalone_mode=False
    )
    assert done.exception is None, done.exception
    assert done.return_value == code, done.output
    return json.loads(done.stdout)


def rows(out: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in Ledger(out).scan().collect().to_dicts():
        found.setdefault(json.loads(row["values"])["name"], []).append(row)
    return found


def test_every_video_becomes_a_clip_or_is_refused_for_what_is_wrong_with_it(made) -> None:
    out, told = made
    assert told["attached"] == 1
    assert told["rejected"] == 4
    reasons = {name: {row["metric"] for row in found} for name, found in rows(out).items()}
    assert set(reasons) == {"broken.mp4", "cut.mp4", "short.mp4", "still.mp4", "walk.mp4"}
    assert "cuts" in reasons["cut.mp4"]
    assert "short" in reasons["short.mp4"]
    assert "camera-moves" in reasons["walk.mp4"]
    assert reasons["broken.mp4"] == {"unreadable"}
    states = {name: {row["state"] for row in found} for name, found in rows(out).items()}
    assert states == {name: {"attached" if name == "still.mp4" else "rejected"} for name in states}
    evidence = json.loads(rows(out)["walk.mp4"][0]["values"])
    assert evidence["camera_px"] > 5
    assert evidence["frames"] == footagebank.FRAMES


def test_the_clip_says_where_it_comes_from(made, bank: Path) -> None:
    out, _ = made
    (key,) = clip_keys(out)
    clip = read_clip(out, key)
    assert clip.provenance.kind == "reframed"
    assert clip.provenance.generator == "reframe"
    assert clip.provenance.path == "turn"
    assert str(bank) not in (out / f"{key}.json").read_text()
    assert clip.caption == "a painted room"
    assert clip.licence == "unknown"  # nobody said
    assert clip.checks["assumed_fov_deg"] == 50.0
    assert clip.checks["frozen"] is False
    assert clip.trajectory.path_length == 0
    assert max(clip.trajectory.turn_rates_deg) > 0
    assert len(clip.trajectory) == clip.frames == 17
    assert not summary(check([out])).findings


def test_a_rerun_and_more_workers_give_the_same_bytes(made, bank: Path, tmp_path: Path) -> None:
    out, told = made
    before = killing.tree(out)
    assert attach(f"videos:{bank}", "--with", "reframe", out=out) == told
    assert killing.tree(out) == before
    attach(f"videos:{bank}", "--with", "reframe", "--workers", "2", out=tmp_path)
    assert killing.tree(tmp_path) == before


def test_a_moving_camera_is_frozen_where_that_is_asked_for(bank: Path, tmp_path: Path) -> None:
    told = attach(f"videos:{bank}", "--freeze", "moving", out=tmp_path)
    assert told["attached"] == 2
    clips = [read_clip(tmp_path, key) for key in clip_keys(tmp_path)]
    frozen = {clip.provenance.source.removeprefix("videos:"): clip.checks["frozen"] for clip in clips}
    assert frozen == {"still.mp4": False, "walk.mp4": True}  # a still camera's video is as short as it is


def test_the_commanded_rotation_is_in_the_pixels(bank: Path, tmp_path: Path) -> None:
    attach(f"videos:{bank}", "--path", "turn:pan_deg=6", out=tmp_path)
    (key,) = clip_keys(tmp_path)
    clip = read_clip(tmp_path, key)
    first, last = video.read(clip.video, [0, 16]).astype(np.float32).mean(-1)
    turned = clip.trajectory.camera_to_world[:, :3, :3]
    points = np.array([[x, y] for x in (80, 110, 140) for y in (25, 95)])  # off the thing that goes by
    rays = clip.trajectory.camera(0).rays(points + 0.5) @ turned[0].T
    seen = clip.trajectory.camera(16).project(rays @ turned[16]) - 0.5
    for (x, y), (u, v) in zip(points, seen, strict=True):
        assert abs(x - u) > 10  # it has turned
        patch = first[y - 8 : y + 9, x - 8 : x + 9]
        across, down = int(np.rint(u)), int(np.rint(v))
        window = last[down - 13 : down + 14, across - 13 : across + 14]
        found = np.unravel_index(np.argmax(cv2.matchTemplate(window, patch, cv2.TM_CCOEFF_NORMED)), (11, 11))
        assert np.abs(np.array(found) - 5).max() <= 1, (x, y, found)


def test_where_selects_rows_and_videos_have_no_table(bank: Path) -> None:
    with pytest.raises(TrajkitError, match="no table"):
        open_footage(f"videos:{bank}", where="seconds > 3")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no SOURCE"),
        (["videos:NO"], "no such file"),
        (["nosuch:BANK"], "no such plugin"),
        (["videos:BANK", "--with", "nosuch"], "no such plugin"),
        (["videos:BANK", "--with", "reframe:max_zoo=3"], "did you mean"),
        (["videos:BANK", "--with", "warp"], "needs depth"),
        (["videos:BANK", "--with", "reframe", "--plan"], "makes clips itself"),
        (["videos:BANK", "--with", "standin"], "external generator"),
        (["videos:BANK", "--with", "standin", "--run"], "takes no SOURCE"),
        (["--with", "standin", "--collect"], "--jobs"),
        (["videos:BANK", "--frames", "16"], "4n+1"),
        (["videos:BANK", "--size", "207x120"], "odd"),
        (["videos:BANK", "--path", "turn:kind=x"], "not a choice"),
        (["videos:BANK", "--path", "nosuch"], "no such plugin"),
        (["videos:BANK", "--accept", "sharpnes=1"], "did you mean"),
        (["videos:BANK", "--where", "seconds > 4"], "no table"),
        (["videos:BANK;licenc=x"], "did you mean"),
        (["videos:BANK", "--depth", "vipe:NO"], "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments: list[str], says: str, bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = [one.replace("BANK", str(bank)).replace("NO", str(tmp_path / "none")) for one in arguments]
    done = CliRunner().invoke(cli.group, ["attach", *ASKED, *given, "--out", str(out)], standalone_mode=False)
    assert isinstance(done.exception, TrajkitError), done.output
    assert says in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not out.exists()


def test_a_path_that_moves_is_refused_by_reframe(bank: Path, tmp_path: Path) -> None:
    told = attach(f"videos:{bank}", "--path", "keys:w*4", out=tmp_path)
    assert told["attached"] == 0
    assert {row["metric"] for row in rows(tmp_path)["still.mp4"]} == {"translation"}


def test_samplers_need_but_one_picture() -> None:
    from trajkit import plugins, seeding
    from trajkit.camera import Camera
    from trajkit.curation.assign import place
    from trajkit.trajectory import Scale

    lens = Camera.from_fov(208, 120, 50)
    for name in plugins.names("paths"):
        if name in ("keys", "spline"):
            continue  # a program that has to fit the clip; a path between captured cameras
        module, options = sampler(name, 17, 16.0, lens)
        path = module.sample(place("x", lens, 1.0, Scale()), options, seeding.generator(0, name))
        assert len(path) == 17


def test_kill_9_and_rerun(bank: Path, tmp_path: Path) -> None:
    """Two kills of a run, the second of what the first left, then a rerun: the bytes of an undisturbed one."""
    asked = (f"videos:{footagebank.fill(tmp_path / 'two', ('still', 'walk'))}", "--freeze", "moving")
    command = killing.trajkit("attach", *asked, *ASKED)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    attach(*asked, out=whole)
    assert len(clip_keys(whole)) == 2
    for seen in ("fitness", "ledger"):
        killing.run_and_kill([*command, "--out", str(torn)], torn / seen)
    for key in clip_keys(torn):
        read_clip(torn, key)
    attach(*asked, out=torn)
    assert killing.tree(torn) == killing.tree(whole)


def test_plan_run_and_collect_through_a_program(tmp_path: Path) -> None:
    jobs, clips = tmp_path / "jobs", tmp_path / "clips"
    two = footagebank.fill(tmp_path / "two", ("still", "walk"))
    source = (f"videos:{two}", "--freeze", "all", "--path", "keys:w*4")
    planned = attach(*source, "--with", "standin", "--plan", out=jobs)
    assert planned["planned"] == 2
    assert {row["state"] for found in rows(jobs).values() for row in found} == {"planned", "rejected"}
    made = attach("--with", "standin", "--run", out=jobs, code=0)
    assert made["made"] == 2
    taken = attach("--with", "standin", "--collect", "--jobs", jobs, out=clips, code=0)
    assert taken["collected"] == 2
    for key in clip_keys(clips):
        clip = read_clip(clips, key)
        assert clip.provenance.kind == "generated"
        assert clip.provenance.path == "keys:w*4"
        assert clip.trajectory.scale.kind == "unit"
        assert clip.trajectory.path_length == pytest.approx(4 * 0.08, rel=1e-6)
    before = killing.tree(clips)
    attach(*source, "--with", "standin", "--plan", out=jobs)
    assert attach("--with", "standin", "--run", out=jobs, code=0)["made"] == 2
    attach("--with", "standin", "--collect", "--jobs", jobs, out=clips, code=0)
    assert killing.tree(clips) == before


def test_minwms_list_is_planned_with_its_pose_strings(bank: Path, tmp_path: Path) -> None:
    source = (f"videos:{bank}", "--freeze", "all", "--path", "keys:w*3,l*1")
    assert attach(*source, "--with", "standin", "--plan", "--minwm", out=tmp_path)["planned"] == 4
    listed = json.loads((tmp_path / "preencode_input.json").read_text())
    assert [entry["pose_str"] for entry in listed] == ["w-3, right-1"] * 4
    assert all((tmp_path / entry["image_path"]).is_file() for entry in listed)


def test_worldplay_states_its_terms_and_needs_them_accepted(bank: Path, tmp_path: Path) -> None:
    arguments = ["attach", f"videos:{bank}", "--with", "worldplay", "--plan", "--out", str(tmp_path / "jobs")]
    done = CliRunner().invoke(cli.group, arguments, standalone_mode=False)
    assert "improve any other AI model" in str(done.exception)
    assert "accept_licence=true" in str(done.exception)
    assert not (tmp_path / "jobs").exists()
