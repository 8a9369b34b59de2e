"""Repair on real pixels: wrong poses come out right, right ones stay, and what the pictures do not carry is refused."""

import json
from dataclasses import replace
from pathlib import Path

import filmed
import numpy as np
import pytest
from test_cli import trajkit

from trajkit import seeding
from trajkit.clip import Clip, read_clip
from trajkit.curation import repair
from trajkit.curation.corrupt import corrupt
from trajkit.curation.evidence import Evidence
from trajkit.curation.induced import Sights, best_scale, errors_px
from trajkit.curation.repair import ORIGINAL, SUFFIX, RepairOptions, chessboard, refine, repair_clip
from trajkit.curation.tracks import Tracks, follow
from trajkit.depth import read_depth
from trajkit.ledger import Ledger
from trajkit.members import camera_bytes
from trajkit.trajectory import Trajectory

CLAIMS = {"rotation-drift": 2.0, "focal-error": 0.2, "time-offset": 2.0, "rotation-jitter": 0.2, "mixture": 2.0}


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return filmed.film(tmp_path_factory.mktemp("exact"), "exact", filmed.walk(), depth=True)


@pytest.fixture(scope="module")
def evidence(exact: Clip) -> Evidence:
    """Every second of its tracks, which are followed once."""
    tracks = follow(exact)
    assert tracks.count > 300
    return Evidence(exact, tracks=tracks.only(np.arange(tracks.count) % 2 == 0))


def wrong(exact: Clip, family: str) -> Trajectory:
    return corrupt(exact.trajectory, family, CLAIMS[family], seeding.generator(3, family), depth=4.0)


@pytest.fixture(scope="module")
def mixture(exact: Clip, evidence: Evidence) -> Evidence:
    """Wrong poses, adjusted once."""
    return evidence.claiming(wrong(exact, "mixture"))


def true_error_px(claimed: Trajectory, exact: Clip) -> float:
    """Mean over points and pairs eight frames apart, against the depth that the clip was filmed with."""
    depth = read_depth(exact)
    places = [(x, y) for y in range(20, filmed.HEIGHT, 40) for x in range(20, filmed.WIDTH, 40)]
    first = np.repeat(np.arange(filmed.FRAMES - 8), len(places))
    xy = np.tile(np.array(places, float) + 0.5, (filmed.FRAMES - 8, 1))
    z = np.concatenate([[depth[frame, y, x] for x, y in places] for frame in range(filmed.FRAMES - 8)])
    sights = Sights(xy, z.astype(float), first, first + 8)
    scale = best_scale(claimed, exact.trajectory, sights)
    return float(np.nanmean(errors_px(claimed, exact.trajectory, sights, scale)))


@pytest.mark.parametrize("family", CLAIMS)
def test_wrong_poses_come_out_right(exact: Clip, evidence: Evidence, family: str) -> None:
    claimed = wrong(exact, family)
    found = refine(evidence.claiming(claimed), RepairOptions())
    assert found.state == "refined", found.reason
    assert found.before is not None
    assert found.after is not None
    assert (found.before.state, found.after.state) == ("rejected", "accepted")
    before, after = true_error_px(claimed, exact), true_error_px(found.clip.trajectory, exact)
    assert before > 0.7
    assert after < min(0.5, before / 2)
    assert found.moved_px == pytest.approx(before, rel=0.5)


def test_right_poses_are_left_alone(evidence: Evidence) -> None:
    found = refine(evidence, RepairOptions())
    assert (found.state, found.clip) == ("left", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"held_out_px": 0.01}, "no say are"),
        ({"gain": 0.001}, "under the claim"),
        ({"agree_px": 0.001}, "two halves"),
        ({"agree_worst_px": 0.001}, "two halves"),
        ({"inliers": 1.01}, "belongs to one still scene"),
        ({"parallax_px": 1000.0}, "hardly show translation"),
    ],
)
def test_each_condition_can_refuse(mixture: Evidence, change: dict, reason: str) -> None:
    found = refine(mixture, replace(RepairOptions(), **change))
    assert (found.state, found.clip) == ("refused", None)
    assert reason in found.reason


def test_a_crowd_that_moves_over_half_the_picture_is_refused(exact: Clip, evidence: Evidence) -> None:
    """Half of the tracks slide along together, from all over the picture: two stories, and no way to choose."""
    tracks = evidence.tracks
    slides = np.arange(tracks.count) % 2 == 0
    xy = tracks.xy + np.where(slides[tracks.track], 2.0 * tracks.frame, 0.0)[:, None].astype(np.float32)
    crowd = Tracks(
        track=tracks.track, frame=tracks.frame, xy=xy, count=tracks.count, frames=tracks.frames, size=tracks.size
    )
    found = refine(Evidence(replace(exact, trajectory=wrong(exact, "mixture")), tracks=crowd), RepairOptions())
    assert found.state == "refused"


def test_squares_of_the_chessboard_hold_whole_tracks() -> None:
    track = np.repeat(np.arange(4, dtype=np.int32), 2)
    frame = np.tile(np.array([0, 1], np.int32), 4)
    places = np.array([[10, 10], [14, 10], [60, 10], [64, 10], [10, 60], [14, 60], [60, 60], [64, 60]], np.float32)
    tracks = Tracks(track=track, frame=frame, xy=places, count=4, frames=2, size=(200, 200))
    assert chessboard(tracks).tolist() == [False, True, True, False]


def test_a_refined_clip_is_a_new_one_with_the_claim_kept_beside_it(exact: Clip, tmp_path: Path) -> None:
    claimed = filmed.claim(exact, tmp_path / "in", "claimed", wrong(exact, "rotation-drift"))
    out = tmp_path / "out"
    found = repair_clip(claimed, RepairOptions(), out)
    clip = read_clip(out, f"claimed{SUFFIX}")
    assert found.clip is not None
    assert clip.provenance.kind == "refined"
    assert clip.provenance.generator == claimed.provenance.generator
    assert clip.checks["refined_from"] == "claimed"
    assert clip.checks["probability_after"] > clip.checks["probability_before"]
    assert clip.video.read_bytes() == claimed.video.read_bytes()
    assert (out / ORIGINAL / f"claimed{SUFFIX}.camera.npz").read_bytes() == camera_bytes(claimed.trajectory)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir() if path.is_file()}
    repair_clip(claimed, RepairOptions(), out)
    assert {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir() if path.is_file()
    } == before


def test_the_command_tells_each_clip_and_the_ledger_keeps_it(exact: Clip, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    filmed.claim(exact, folder, "right", exact.trajectory)
    filmed.claim(exact, folder, "drifted", wrong(exact, "rotation-drift"))
    filmed.film(folder, "flat", filmed.walk(17), flat=True)
    (filmed.claim(exact, folder, "torn", exact.trajectory).video).write_bytes(b"no video")
    code, told, err = trajkit("repair", folder, "--out", out, "--json")
    assert code == 3, err
    states = {one["key"]: one["state"] for one in json.loads(told)["clips"]}
    assert states == {"right": "left", "drifted": "refined", "flat": "refused", "torn": "refused"}
    rows = {row["key"]: row for row in Ledger(out).scan().collect().to_dicts()}
    assert {key: row["state"] for key, row in rows.items()} == {
        "right": "accepted", "drifted": "refined", "flat": "rejected", "torn": "rejected",
    }  # fmt: skip
    assert "torn.mp4" in rows["torn"]["reason"]
    code, checked, _ = trajkit("check", out)
    assert code == 0, checked
    assert not list(out.rglob("*.part"))


def test_a_clip_is_not_repaired_onto_itself(exact: Clip, tmp_path: Path) -> None:
    claimed = filmed.claim(exact, tmp_path, "claimed", wrong(exact, "rotation-drift"))
    repair_clip(claimed, RepairOptions(), tmp_path)  # another key: the folder may be the same
    assert camera_bytes(read_clip(tmp_path, "claimed").trajectory) == camera_bytes(claimed.trajectory)
    assert repair.SUFFIX in "".join(path.name for path in tmp_path.glob("*.json"))
