"""Bad input to score and what follows it, as a table: one line with file and remedy, the good clips are done."""

# ruff: noqa: E501 - a table: one case, one line
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tinyclips
from test_bad_input import field, poses, remove, rewrite, text
from test_cli import trajkit

from trajkit import files
from trajkit.ledger import Ledger
from trajkit.video import encode

BAD = "clip-0001"
Spoil = Callable[[Path, str], object]
Make = Callable[[Path], list[object]]


class Case(NamedTuple):
    """A mistake: what is done in a folder that holds `clips`, the command then given, and words of its one line."""

    name: str
    make: Make
    words: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, scored once."""
    folder = tmp_path_factory.mktemp("made")
    tinyclips.real(folder / "clips", 3)
    assert trajkit("score", folder / "clips", "--out", folder / "scored")[0] == 3
    return folder


@pytest.fixture
def at(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def clip(spoil: Spoil, *options: str) -> Make:
    """The second clip is spoiled before all are scored again."""

    def make(at: Path) -> list[object]:
        spoil(at / "clips", BAD)
        return ["score", at / "clips", "--out", at / "scored", *(option.replace("AT", str(at)) for option in options)]

    return make


def film(frames: int, width: int, height: int) -> Spoil:
    """Another video in the place of the clip's."""
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return lambda folder, key: encode([picture] * frames, folder / f"{key}.mp4", 16.0)


def bits(old: bytes) -> bytes:
    """Noise in the place of the pictures; the index stays."""
    start = old.index(b"mdat") + 700
    return old[:start] + np.random.default_rng(0).bytes(len(old) - start)


def scaled(factor: float) -> Callable[[dict], object]:
    return lambda a: a["camera_to_world"].__setitem__(
        (slice(None), slice(0, 3), 3), factor * np.arange(15).reshape(5, 3)
    )


def entry(name: str, index: tuple, value: float) -> Spoil:
    return poses(lambda a: a[name].__setitem__(index, value))


def mask(save: Callable[[Path], object]) -> Make:
    """A mask for the second clip."""

    def spoil(folder: Path, key: str) -> None:
        (folder.parent / "masks").mkdir()
        save(folder.parent / f"masks/{key}.npz")

    return clip(spoil, "--masks", "AT/masks")


def known(spoil: Spoil) -> Make:
    """A reference for the second clip, spoiled."""

    def lay(folder: Path, key: str) -> None:
        other = folder.parent / "known"
        other.mkdir()
        shutil.copy(folder / f"{key}.camera.npz", other / f"{key}.camera.npz")
        spoil(other, key)

    return clip(lay, "--reference", "AT/known")


def frames_of(key: str) -> np.ndarray:
    return np.zeros((5, 6, 8), bool)


CLIP = [
    Case("mp4 cut short", clip(rewrite("mp4", lambda old: old[: len(old) // 2])), f"{BAD}.mp4"),
    Case("mp4 without its last bytes", clip(rewrite("mp4", lambda old: old[:-40])), f"{BAD}.mp4"),
    Case("mp4 of no bytes", clip(rewrite("mp4", b"")), f"{BAD}.mp4"),
    Case("mp4 of zeros", clip(rewrite("mp4", bytes(5000))), f"{BAD}.mp4"),
    Case("mp4 is text", clip(rewrite("mp4", b"no video " * 99)), f"{BAD}.mp4"),
    Case("mp4 is a picture", clip(rewrite("mp4", b"\x89PNG\r\n\x1a\n" + bytes(99))), f"{BAD}.mp4"),
    Case("mp4 of noise after its index", clip(rewrite("mp4", bits)), f"{BAD}.mp4"),
    Case("mp4 with fewer frames", clip(film(3, 32, 24)), f"{BAD}.mp4: 3 frames, its json says 5"),
    Case("mp4 with more frames", clip(film(8, 32, 24)), f"{BAD}.mp4: 8 frames, its json says 5"),
    Case("mp4 missing", clip(remove("mp4")), f"{BAD}.mp4: no such file"),
    Case("poses missing", clip(remove("camera.npz")), f"{BAD}.camera.npz: no such file"),
    Case("caption missing", clip(remove("txt")), f"{BAD}.txt: no such file"),
    Case("npz cut short", clip(rewrite("camera.npz", lambda old: old[:300])), f"{BAD}.camera.npz"),
    Case("npz of no bytes", clip(rewrite("camera.npz", b"")), f"{BAD}.camera.npz"),
    Case("npz is text", clip(rewrite("camera.npz", b"poses")), f"{BAD}.camera.npz"),
    Case("npz with a pickle", clip(poses(lambda a: a.update(x=np.array([{}], dtype=object)))), f"{BAD}.camera.npz"),
    Case("npz without intrinsics", clip(poses(lambda a: a.pop("intrinsics"))), f"{BAD}.camera.npz"),
    Case("poses in float32", clip(poses(lambda a: a.update(camera_to_world=a["camera_to_world"].astype("f4")))), f"{BAD}.camera.npz"),
    Case("NaN in a pose", clip(entry("camera_to_world", (2, 0, 3), np.nan)), "not finite"),
    Case("infinity in a pose", clip(entry("camera_to_world", (2, 0, 3), np.inf)), "not finite"),
    Case("a pose that is no rotation", clip(entry("camera_to_world", (2, 0, 0), 2.0)), "not a rotation"),
    Case("NaN in the intrinsics", clip(entry("intrinsics", (1, 0), np.nan)), f"{BAD}.camera.npz"),
    Case("focal length of zero", clip(entry("intrinsics", (1, 0), 0.0)), f"{BAD}.camera.npz"),
    Case("frame numbers that go back", clip(entry("frame_index", (2,), 0)), f"{BAD}."),
    Case("a frame number beyond all frames", clip(entry("frame_index", (4,), 1 << 40)), f"{BAD}."),
    Case("poses of another size", clip(entry("size", (0,), 64)), "width"),
    Case("one pose too few", clip(poses(lambda a: a.update({k: v[:-1] for k, v in a.items() if k != "size"}))), "says poses"),
    Case("caption that is not UTF-8", clip(rewrite("txt", b"\xff\xfe")), f"{BAD}.txt"),
    Case("json is a list", clip(rewrite("json", b"[]")), f"{BAD}.json"),
    Case("json cut short", clip(rewrite("json", lambda old: old[:40])), f"{BAD}.json"),
    Case("json of no bytes", clip(rewrite("json", b"")), f"{BAD}.json"),
    Case("json with an unknown field", clip(field("colour", "red")), "colour"),
    Case("json of another schema", clip(field("schema", "trajkit.clip/9")), f"{BAD}.json"),
    Case("json with a huge number of frames", clip(field("frames", 1 << 50)), f"{BAD}."),
    Case("json with no frames", clip(field("frames", 0)), f"{BAD}.json"),
    Case("json of another clip", clip(field("key", "clip-0009")), "says key"),
    Case("mask of other frames", mask(lambda path: np.savez(path, mask=frames_of(BAD)[:4])), f"{BAD}.npz: mask is |b1 (4, 6, 8)"),
    Case("mask of numbers", mask(lambda path: np.savez(path, mask=frames_of(BAD).astype(np.uint8))), f"{BAD}.npz: mask is |u1"),
    Case("mask of one picture", mask(lambda path: np.savez(path, mask=frames_of(BAD)[0])), f"{BAD}.npz: mask is"),
    Case("mask without pixels", mask(lambda path: np.savez(path, mask=np.zeros((5, 0, 8), bool))), f"{BAD}.npz: mask has shape"),
    Case("mask of pickles", mask(lambda path: np.savez(path, mask=np.array([{}], dtype=object))), f"{BAD}.npz"),
    Case("mask of another name", mask(lambda path: np.savez(path, moving=frames_of(BAD))), f"{BAD}.npz: holds moving.npy, not mask"),
    Case("mask that is text", mask(lambda path: text(path, "mask")), f"{BAD}.npz: damaged"),
    Case("reference cut short", known(rewrite("camera.npz", lambda old: old[:300])), f"known/{BAD}.camera.npz: damaged"),
    Case("reference with NaN", known(entry("camera_to_world", (2, 0, 3), np.nan)), f"known/{BAD}.camera.npz"),
]  # fmt: skip


def score(*options: str) -> Make:
    return lambda at: ["score", *(option.replace("AT", str(at)) for option in ("AT/clips", "--out=AT/out", *options))]


def first(change: Callable[[Path], object], *command: str) -> Make:
    """A change to the folder, then a command."""

    def make(at: Path) -> list[object]:
        change(at)
        return [part.replace("AT", str(at)) for part in command]

    return make


def calibration(content: str) -> Make:
    return first(
        lambda at: text(at / "c.json", content), "score", "AT/clips", "--out=AT/out", "--calibration=AT/c.json"
    )


def packed(spoil: Callable[[Path], object]) -> Make:
    def change(at: Path) -> None:
        assert trajkit("pack", at / "clips", "--out", at / "shards")[0] == 0
        spoil(next((at / "shards").glob("*.tar")))

    return first(change, "score", "AT/shards", "--out=AT/out")


def ledger(change: Callable[[Path], object], *command: str) -> Make:
    """The first part of the scored clips' ledger is changed."""
    return first(lambda at: change(sorted((at / "scored/ledger").iterdir())[0]), *command)


SHIPPED = json.loads((Path(__file__).parents[2] / "curation/calibration.json").read_text())
TERM = SHIPPED["terms"][0]
AGAIN = ("score", "AT/clips", "--out=AT/scored")
FILTER = ("filter", "AT/scored", "--rules=AT/r.toml", "--out=AT/out")
REPAIR = ("repair", "AT/clips", "--out=AT/out")
RULES = '[[rule]]\nname = "good"\nrequire = "probability > 0.5"\n'
COMMAND = [
    Case("no such folder", score("AT/no"), "no: no such file"),
    Case("an empty folder", first(lambda at: (at / "e").mkdir(), "score", "AT/e", "--out=AT/out"), "no finished clips"),
    Case("a folder of other things", first(lambda at: text(at / "e/notes.txt", "x"), "score", "AT/e", "--out=AT/out"), "no finished clips"),
    Case("a video for a folder", score(f"AT/clips/{BAD}.mp4"), f"{BAD}.mp4"),
    Case("a key in two folders", first(lambda at: shutil.copytree(at / "clips", at / "more"), "score", "AT/clips", "AT/more", "--out=AT/out"), "clip-0000 is also in"),
    Case("a folder twice", score("AT/clips"), "clip-0000 is also in"),
    Case("--out is a file", first(lambda at: text(at / "o", ""), "score", "AT/clips", "--out=AT/o"), "/o"),
    Case("--out in a file", first(lambda at: text(at / "o", ""), "score", "AT/clips", "--out=AT/o/p"), "/o"),
    Case("an unknown metric", score("--metric=sampsen"), "did you mean 'sampson'"),
    Case("an unknown executor option", score("--set=worker=3"), "did you mean 'workers'"),
    Case("masks missing", score("--masks=AT/no"), "--masks"),
    Case("masks of other clips", first(lambda at: text(at / "m/x.npz", ""), "score", "AT/clips", "--out=AT/out", "--masks=AT/m"), "check --masks"),
    Case("reference missing", score("--reference=AT/no"), "--reference"),
    Case("reference of other clips", first(lambda at: (at / "m").mkdir(), "score", "AT/clips", "--out=AT/out", "--reference=AT/m"), "check --reference"),
    Case("calibration missing", score("--calibration=AT/no.json"), "no.json: no such file"),
    Case("calibration missing, one metric", score("--calibration=AT/no.json", "--metric=ray"), "no.json: no such file"),
    Case("calibration is a folder", score("--calibration=AT/clips"), "clips"),
    Case("calibration of no bytes", calibration(""), "c.json"),
    Case("calibration cut short", calibration(json.dumps(SHIPPED)[:300]), "c.json"),
    Case("calibration is a list", calibration("[]"), "c.json"),
    Case("calibration of another schema", calibration(json.dumps(SHIPPED | {"schema": "trajkit.calibration/9"})), "c.json"),
    Case("calibration without terms", calibration(json.dumps(SHIPPED | {"terms": []})), "no terms"),
    Case("calibration that rewards an error", calibration(json.dumps(SHIPPED | {"terms": [TERM | {"values": list(range(len(TERM["knots"])))}]})), TERM["feature"]),
    Case("calibration with NaN", calibration(json.dumps(SHIPPED | {"intercept": float("nan")})), "c.json"),
    Case("shard without its json", packed(lambda tar: tar.with_suffix(".json").unlink()), "is not done"),
    Case("shard cut short", packed(lambda tar: tar.write_bytes(tar.read_bytes()[:3000])), "its json says"),
    Case("shard whose json is a list", packed(lambda tar: tar.with_suffix(".json").write_text("[]")), ".json"),
    Case("ledger part cut short", ledger(lambda part: part.write_bytes(part.read_bytes()[:200]), *AGAIN), "damaged ledger part"),
    Case("ledger part is text", ledger(lambda part: part.write_text("rows"), *AGAIN), "damaged ledger part"),
    Case("report on a ledger cut short", ledger(lambda part: part.write_bytes(part.read_bytes()[:200]), "report", "AT/scored", "--out=AT/r.html"), "damaged ledger part"),
    Case("balance on a ledger cut short", ledger(lambda part: part.write_bytes(part.read_bytes()[:200]), "balance", "AT/scored", "--out=AT/out"), "damaged ledger part"),
    Case("filter on a ledger cut short", ledger(lambda part: (text(part.parents[2] / "r.toml", RULES), part.write_bytes(part.read_bytes()[:200])), *FILTER), "damaged ledger part"),
    Case("filter of clips without scores", first(lambda at: text(at / "r.toml", RULES), "filter", "AT/clips", "--rules=AT/r.toml", "--out=AT/out"), "trajkit score"),
    Case("balance of clips without scores", first(lambda at: None, "balance", "AT/clips", "--out=AT/out"), "clips"),
    Case("filter without rules", first(lambda at: None, *FILTER), "r.toml: no such file"),
    Case("probe of a clip that is none", first(lambda at: rewrite("mp4", b"x")(at / "clips", BAD), "probe", "AT/clips", f"--key={BAD}"), f"{BAD}.mp4"),
    Case("repair into a file", first(lambda at: text(at / "out", ""), *REPAIR), "/out"),
    Case("repair with a calibration missing", first(lambda at: None, *REPAIR, "--calibration=AT/no.json"), "no.json: no such file"),
    Case("repair of an empty folder", first(lambda at: (at / "e").mkdir(), "repair", "AT/e", "--out=AT/out"), "no finished clips"),
]  # fmt: skip
LATE = {"repair"} if not (Path(__file__).parents[2] / "curation/commands/repair.py").exists() else set()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CLIP, ids=[case.name for case in CLIP])
def test_a_bad_clip_is_named_and_the_good_ones_are_scored(case: Case, at: Path) -> None:
    before = files.sha256(at / "scored/scores/clip-0000.json")
    code, out, err = trajkit(*case.make(at))
    assert code == 3, out + err
    told = [line for line in (out + err).splitlines() if case.words in line]
    assert len(told) == 1, out + err
    assert told[0].startswith(f"rejected      {BAD}")
    assert "; " in told[0], "what to do"
    assert "Traceback" not in out + err
    assert out.count("undetermined  clip-") == 2
    assert sorted(path.stem for path in (at / "scored/scores").iterdir()) == ["clip-0000", "clip-0002"]
    if "mask" not in case.name and "reference" not in case.name:
        assert files.sha256(at / "scored/scores/clip-0000.json") == before
    rows = Ledger(at / "scored").scan().collect().filter(key=BAD, metric="readable").to_dicts()
    assert [(row["state"], row["attempt"]) for row in rows] == [("rejected", 2)]
    assert case.words in rows[0]["reason"]
    assert not list(at.rglob("*.part"))


@pytest.mark.parametrize("case", COMMAND, ids=[case.name for case in COMMAND])
def test_a_bad_command_is_one_line_and_writes_nothing(case: Case, at: Path) -> None:
    command = case.make(at)
    if command[0] in LATE:
        pytest.skip(f"trajkit {command[0]} is not there yet")
    before = tree(at)
    code, out, err = trajkit(*command)
    assert code == 1, out + err
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert case.words in err
    assert "; " in err, "what to do"
    assert tree(at) == before


@pytest.mark.parametrize("factor", [1e9, 1e29, 1e100, 1e305])
@pytest.mark.parametrize("what", ["centres", "focal length", "centre of the picture"])
def test_cameras_out_of_this_world_get_a_line_and_no_crash(at: Path, what: str, factor: float) -> None:
    spoils = {
        "centres": poses(scaled(factor)),
        "focal length": entry("intrinsics", (slice(None), slice(0, 2)), factor),
        "centre of the picture": entry("intrinsics", (slice(None), slice(2, 4)), factor),
    }
    code, out, err = trajkit(*clip(spoils[what])(at))
    assert code == 3
    assert len([line for line in out.splitlines() if f" {BAD} " in line]) == 1
    assert "Traceback" not in out + err
    assert out.count("undetermined  clip-") >= 2


def test_a_clip_that_is_mended_gets_its_verdict_back(at: Path) -> None:
    whole = (at / f"clips/{BAD}.mp4").read_bytes()
    wanted = tree(at / "scored/scores")
    command = clip(rewrite("mp4", b"x"))(at)
    assert "rejected      clip-0001" in trajkit(*command)[1]
    (at / f"clips/{BAD}.mp4").write_bytes(whole)
    assert "undetermined  clip-0001" in trajkit(*command)[1]
    assert tree(at / "scored/scores") == wanted


def test_a_damaged_member_in_a_shard_is_named_by_tar_and_key(at: Path) -> None:
    rewrite("mp4", b"no video")(at / "clips", BAD)
    assert trajkit("pack", at / "clips", "--out", at / "shards")[0] == 0
    code, out, _ = trajkit("score", at / "shards", "--out", at / "out")
    assert code == 3
    (line,) = (line for line in out.splitlines() if line.startswith("rejected"))
    assert BAD in line
    assert "; " in line
    assert out.count("undetermined  clip-") == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("suffix", ["mp4", "camera.npz", "json", "txt"])
def test_a_file_that_may_not_be_read_is_named(at: Path, suffix: str) -> None:
    (at / f"clips/{BAD}.{suffix}").chmod(0)
    code, out, _ = trajkit("score", at / "clips", "--out", at / "out")
    assert code == 3
    assert f"{BAD}.{suffix}: Permission denied" in out


def test_a_video_that_may_not_be_read_costs_no_other_clip(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trajkit.curation import score as stage

    def refuses(clip: object) -> str:
        if getattr(clip, "key", "") == BAD:
            raise PermissionError(13, "Permission denied", f"{BAD}.mp4")
        return real(clip)  # type: ignore[arg-type]

    real = stage.digest
    monkeypatch.setattr(stage, "digest", refuses)
    unit = stage.Unit("00", tuple(item for one in stage.units([at / "clips"]) for item in one.items))
    found = stage.score_unit(unit, stage.ScoreOptions(), at / "out")
    assert [type(one).__name__ for one in sorted(found, key=lambda one: one.key)] == [
        "ScoreRecord",
        "Rejected",
        "ScoreRecord",
    ]


def test_a_reference_of_other_frames_says_so_beside_a_verdict(at: Path) -> None:
    code, _, _ = trajkit(*known(poses(lambda a: a["frame_index"].__iadd__(100)))(at))
    assert code == 3
    scores = json.loads((at / f"scored/scores/{BAD}.json").read_text())["scores"]
    (one,) = (one for one in scores if one["metric"] == "reference")
    assert one["value"] is None
    assert "meet none" in one["why"]


def test_a_damaged_ledger_is_found_before_the_work(at: Path) -> None:
    shutil.rmtree(at / "scored/scores")
    last = sorted((at / "scored/ledger").iterdir())[-1]
    last.write_bytes(b"rows")
    code, _, err = trajkit("score", at / "clips", "--out", at / "scored")
    assert code == 1
    assert f"{last}: damaged ledger part" in err
    assert not (at / "scored/scores").exists()


def test_the_tables_are_as_long_as_was_asked() -> None:
    assert len(CLIP) + len(COMMAND) >= 80
    assert len({case.name for case in (*CLIP, *COMMAND)}) == len(CLIP) + len(COMMAND)
