"""`trajkit show` of refused paths: the records that render leaves, the page, the sheet, and damaged ones."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from showclips import EVIL, FPS, LENS, content_of, walk, write_clips, write_refused

from trajkit import files
from trajkit.cli import group
from trajkit.clip import read_clip
from trajkit.errors import TrajkitError
from trajkit.members import camera_bytes
from trajkit.show import ShowOptions, find, gather, show
from trajkit.show.exhibit import RAMP
from trajkit.show.place import Place
from trajkit.show.refused import Measure, Refusal, counted_reasons, read_refusal
from trajkit.show.sheet import CARD, HEAD, LABEL, MARGIN, QUIET, REFUSED, ROW, WIDTH, paths_map
from trajkit.trajectory import Trajectory


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips, two of them in the hall, where three paths were refused."""
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    write_refused(folder)
    return folder


@pytest.fixture(scope="module")
def shown(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    show(find([clips]), out, ShowOptions())
    return out


def run(*arguments: object):
    return CliRunner().invoke(group, ["show", *map(str, arguments)], standalone_mode=False)


def test_page_tells_why(shown: Path) -> None:
    content = content_of(shown)
    assert [item["kind"] for item in content["items"]] == ["clip"] * 4 + ["refused"] * 3
    first, second, _ = content["items"][4:]
    assert first["caption"] == EVIL, "what comes from the file is text"
    assert ["Refused for clearance", "0.031 against 0.15 at frame 6"] in first["facts"]
    assert second["reasons"] == [
        {"name": "clearance", "value": 0.031, "threshold": 0.15, "frame": 6},
        {"name": "unseen", "value": 0.4, "threshold": 0.9, "frame": 11},
    ]
    assert (second["tries"], second["thumbs"], second["video"], second["path"]) == (8, [], None, "orbit")
    assert EVIL not in (shown / "index.html").read_text(encoding="utf-8")


def test_counts_and_quality_of_a_scene(shown: Path) -> None:
    content = content_of(shown)
    hall, street, _ = content["places"]
    assert content["summary"].endswith("; 3 of 7 paths refused: clearance 3, unseen 1")
    assert hall["tally"] == "3 of 5 paths refused: clearance 3, unseen 1"
    assert hall["quality"] == "50 photos, held-out PSNR 24.13 dB, SSIM 0.812, coverage 0.970"
    assert (street["tally"], street["quality"]) == ("", "")
    assert content["refused_note"] == "3 of 7 paths refused: clearance 3, unseen 1"


def test_more_refused_paths_than_the_limit(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    write_refused(tmp_path / "clips", 9)
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions(limit=2))
    content = content_of(tmp_path / "page")
    refused = [item["id"] for item in content["items"] if item["kind"] == "refused"]
    assert refused == ["hall-refused-0", "hall-refused-8"]
    assert content["refused_note"].endswith("clearance 9, unseen 4; 2 of them are shown, evenly spaced")
    assert content["places"][0]["tally"] == "9 paths refused: clearance 9, unseen 4", "not all of its clips were read"


def test_checks_of_accepted_clips(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    path = tmp_path / "clips/hall-a.json"
    record = json.loads(path.read_text())
    record["checks"] = {"clearance": 0.21456, "repair": "slowed 0.7", EVIL: True}
    path.write_text(json.dumps(record))
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions())
    item = content_of(tmp_path / "page")["items"][0]
    assert item["checks"] == record["checks"]
    assert item["facts"][-2:] == [["Check clearance", "0.2146"], ["Check repair", "slowed 0.7"]]
    assert EVIL not in (tmp_path / "page/index.html").read_text(encoding="utf-8")


def test_nothing_but_refused_paths(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "refused", tmp_path / "out/refused")
    result = run(tmp_path / "out", "--out", tmp_path / "page")
    assert result.exception is None
    assert result.return_value == 0
    assert result.output.splitlines()[:2] == ["1 scene", "3 of 3 paths refused: clearance 3, unseen 1"]
    content = content_of(tmp_path / "page")
    assert [item["kind"] for item in content["items"]] == ["refused"] * 3
    with Image.open(tmp_path / "page/contact_sheet.png") as sheet:
        assert sheet.size == (WIDTH, HEAD + CARD + MARGIN)
    told = json.loads(run(tmp_path / "out", "--out", tmp_path / "page", "--json").output)
    assert (told["total"], told["shown"], told["refused"]) == (0, [], "3 of 3 paths refused: clearance 3, unseen 1")


DAMAGES = {
    "not json": lambda json_, npz: json_.write_text("{"),
    "a list": lambda json_, npz: json_.write_text("[]"),
    "another version": lambda json_, npz: json_.write_text(json_.read_text().replace('"version": 1', '"version": 2')),
    "a value that is none": lambda json_, npz: json_.write_text(json_.read_text().replace("0.031", "NaN")),
    "a text for a number": lambda json_, npz: json_.write_text(json_.read_text().replace("0.031", '"0.031"')),
    "a scene that climbs": lambda json_, npz: json_.write_text(json_.read_text().replace('"hall"', '"../hall"')),
    "another's key": lambda json_, npz: json_.write_text(json_.read_text().replace("hall-refused-1", "hall-other")),
    "a frame beyond the path": lambda json_, npz: json_.write_text(
        json_.read_text().replace('"frame": 11', '"frame": 15')
    ),
    "a frame before it": lambda json_, npz: json_.write_text(json_.read_text().replace('"frame": 11', '"frame": -1')),
    "no cameras": lambda json_, npz: npz.unlink(),
    "cut cameras": lambda json_, npz: npz.write_bytes(npz.read_bytes()[:300]),
    "cameras of photos": lambda json_, npz: npz.write_bytes(
        camera_bytes(replace(cameras(), frame_index=np.arange(3) * 9))
    ),
    "an endless json": lambda json_, npz: json_.write_bytes(b" " * (1 << 21)),
}


def cameras() -> Trajectory:
    return Trajectory.from_camera(walk(count=3), LENS, fps=FPS)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_a_line(clips: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    json_ = tmp_path / "clips/refused/hall-refused-1.json"
    before = json_.read_bytes(), json_.with_suffix(".camera.npz").read_bytes()
    DAMAGES[damage](json_, json_.with_suffix(".camera.npz"))
    after = (
        json_.read_bytes(),
        json_.with_suffix(".camera.npz").exists() and json_.with_suffix(".camera.npz").read_bytes(),
    )
    assert before != after
    result = run(tmp_path / "clips", "--out", tmp_path / "page")
    assert result.exception is None
    assert result.return_value == 3
    content = content_of(tmp_path / "page")
    (line,) = content["unreadable"]
    assert "hall-refused-1" in line
    assert "\n" not in line
    assert str(tmp_path) not in line
    assert [item["id"] for item in content["items"]][4:] == ["hall-refused-0", "hall-refused-2"]


@pytest.mark.parametrize("record", ['{"psnr_held_out_db": "good"}', '{"photos": true}', '{"photos": NaN}', "[1]", "{"])
def test_a_damaged_quality_record_is_a_line(clips: Path, tmp_path: Path, record: str) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips/scenes/hall.json").write_text(record)
    gathered = gather(find([tmp_path / "clips"]), ShowOptions())
    assert [line.split(":")[0] for line in gathered.unreadable] == ["hall.json"]
    assert gathered.places["hall"].quality == ""
    assert gathered.places["hall"].tally


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "out/refused/x.json", b"{}")
    result = run(tmp_path / "out", "--out", tmp_path / "page")
    assert isinstance(result.exception, TrajkitError)
    assert "nothing is readable: refused x.json" in str(result.exception)
    assert not (tmp_path / "page").exists()


def test_a_scene_of_a_clip_does_not_lead_out_of_the_folder(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "a/clips")
    shutil.copytree(clips / "scenes", tmp_path / "a/scenes")  # what ../../scenes/hall would find
    path = tmp_path / "a/clips/hall-a.json"
    path.write_text(path.read_text().replace('"scene": "hall"', '"scene": "../../scenes/hall"'))
    assert read_clip(tmp_path / "a/clips", "hall-a").provenance.scene == "../../scenes/hall"
    gathered = gather(find([tmp_path / "a/clips"]), ShowOptions())
    assert gathered.places["../../scenes/hall"].cameras is None


def test_reasons_are_counted_for_every_path() -> None:
    measure = Measure(value=0.0, threshold=1.0, frame=0)
    make = lambda *names: Refusal(  # noqa: E731
        version=1, key="k", scene="s", path="p", reason="r", reasons=dict.fromkeys(names, measure), tries=1
    )
    assert counted_reasons([make("a"), make("b", "a"), make("b"), make("c"), make()]) == "a 2, b 2, c 1, other 1"


def test_reasons_go_along_the_path() -> None:
    frames = {"a": 9, "b": 3, "c": 3}
    reasons = {name: Measure(value=0.0, threshold=1.0, frame=frame) for name, frame in frames.items()}
    refusal = Refusal(version=1, key="k", scene="s", path="p", reason="r", reasons=reasons, tries=1)
    assert [name for name, _ in refusal.measures] == ["b", "c", "a"]


def test_reading_a_record(clips: Path) -> None:
    found = read_refusal(clips / "refused/hall-refused-1.json")
    assert found.reasons["unseen"] == Measure(value=0.4, threshold=0.9, frame=11)
    assert (found.scene, found.tries) == ("hall", 8)


# ---- the contact sheet ------------------------------------------------------------------------------------------


def near(image: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of a colour."""
    return np.argwhere(np.abs(image.astype(int) - rgb).sum(-1) < 60)


def test_map_dashes_refused_paths_and_crosses_the_frame(clips: Path) -> None:
    gathered = gather(find([clips]), ShowOptions())
    place = Place(id="hall", up=np.array([0.0, -1.0, 0.0]))
    refused = [one for one in gathered.exhibits if one.id == "hall-refused-0"]
    image = np.asarray(paths_map(refused, place, (300, 200)))
    assert not len(near(image, RAMP[0]))
    centres = refused[0].trajectory.centres[:, [0, 2]]
    share = (centres[6] - centres.min(0))[1] / np.ptp(centres, axis=0)[1]
    cross, dashes = near(image, REFUSED), near(image, QUIET)
    assert cross[:, 1].mean() == pytest.approx(288 - 276 * share, abs=2), "the path fills the map, z to the left"
    assert 0.3 < len(np.unique(dashes[:, 1])) / 276 < 0.9, "dashes leave gaps"


def test_sheet_counts_by_reason(shown: Path) -> None:
    sheet = np.asarray(Image.open(shown / "contact_sheet.png").convert("RGB"))
    assert sheet.shape[:2] == (HEAD + 4 * ROW + CARD + MARGIN, WIDTH)
    card = sheet[HEAD + 4 * ROW + 4 :]
    assert len(near(card[LABEL:, : WIDTH // 3], REFUSED)) > 100, "crosses and the count in red"
    assert (sheet[HEAD + 4 * ROW + 4 :, WIDTH // 3 + MARGIN :] == 255).all(), "nothing leaves the card"


def test_text_of_a_card_fits(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    path = tmp_path / "clips/refused/hall-refused-0.json"
    record = json.loads(path.read_text())
    record["reasons"] = {f"{'w' * 90}-{n}": {"value": 1.0, "threshold": 2.0, "frame": 0} for n in range(40)}
    path.write_text(json.dumps(record))
    show(find([tmp_path / "clips"]), tmp_path / "page", ShowOptions())
    sheet = np.asarray(Image.open(tmp_path / "page/contact_sheet.png").convert("RGB"))
    assert (sheet[HEAD + 4 * ROW + 4 :, WIDTH // 3 + MARGIN :] == 255).all()
    assert (sheet[-MARGIN:] == 255).all()
