"""`trajkit show`: what the page holds, what it cannot hold, and the contact sheet."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from showclips import EVIL, FPS, FRAMES, LENS, colour, content_of, walk, write_clips

from trajkit.cli import group
from trajkit.errors import TrajkitError
from trajkit.show import ShowOptions, find, show
from trajkit.show.exhibit import RAMP, STILLS, colour_at
from trajkit.show.found import select
from trajkit.show.page import HERE, script_json
from trajkit.show.place import Place
from trajkit.show.sheet import CARD, CELL_HEIGHT, CELL_WIDTH, GAP, HEAD, LABEL, MAP_WIDTH, MARGIN, ROW, WIDTH, paths_map


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder)
    return folder


@pytest.fixture(scope="module")
def shown(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    show(find([clips]), out, ShowOptions())
    return out


class Tags(html.parser.HTMLParser):
    """Collects start tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


# ---- the page ---------------------------------------------------------------------------------------------------


def test_page_needs_nothing_else(shown: Path) -> None:
    text = (shown / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//cdn|@import|url\((?!#)", text)
    for tag, attributes in Tags(text).tags:
        assert not {"href", "srcset", "action", "data"} & attributes.keys(), tag
        assert attributes.get("src") is None
        assert not [name for name in attributes if name.startswith("on")]
    assert str(shown) not in text


def test_policy_admits_the_pages_own_script_and_style_alone(shown: Path) -> None:
    text = (shown / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="(.*?)">', text)[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" in policy


def test_strings_from_data_stay_text(shown: Path) -> None:
    text = (shown / "index.html").read_text(encoding="utf-8")
    assert EVIL not in text
    assert "<img src=x" not in text
    assert [tag for tag, _ in Tags(text).tags].count("script") == 2
    clip = content_of(shown)["items"][0]
    assert clip["caption"] == EVIL
    assert ["Source", EVIL] in clip["facts"]
    assert "innerHTML" not in text
    assert "insertAdjacentHTML" not in text


@pytest.mark.parametrize("evil", [EVIL, "<!--<script>", "]]>", "\u2028\u2029", "&lt;", "\ud800", '"\\'])
def test_script_json(evil: str) -> None:
    text = script_json({"x": evil})
    assert json.loads(text) == {"x": evil}
    assert not set("<>&\u2028\u2029") & set(text)


def test_numbers_of_a_clip(shown: Path) -> None:
    hall, _, street, one = content_of(shown)["items"]
    assert (hall["unit"], hall["scale"], hall["frames"], hall["width"], hall["height"]) == ("u", "sfm", FRAMES, 64, 48)
    assert hall["length"] == pytest.approx(0.1 * (FRAMES - 1), rel=1e-4)
    assert hall["speed"] == {"mean": pytest.approx(1.0, rel=1e-4), "max": pytest.approx(1.0, rel=1e-4)}
    assert hall["turn"]["max"] == pytest.approx(20.0, rel=1e-4)
    assert len(hall["speeds"]) == FRAMES - 1
    assert (street["unit"], street["index"]) == ("m", list(range(0, FRAMES, 2)))
    assert street["length"] == pytest.approx(0.5 * 2.0 * (FRAMES - 1), rel=1e-4)
    assert street["speed"]["max"] == pytest.approx(0.5 * 2.0 * FPS, rel=1e-4), "a metric factor applies"
    assert (one["frames"], one["length"], one["speeds"], one["speed"]) == (1, 0.0, [], {"mean": 0.0, "max": 0.0})


def test_poses_and_lens_of_a_clip(shown: Path) -> None:
    hall = content_of(shown)["items"][0]
    poses = np.frombuffer(base64.b64decode(hall["poses"]), "<f4").reshape(-1, 3, 4)
    assert poses == pytest.approx(walk()[:, :3], abs=1e-6)
    assert hall["intrinsics"] == [[LENS.fx, LENS.fy, LENS.cx, LENS.cy]]


def test_captured_cameras_belong_to_their_scene(shown: Path) -> None:
    content = content_of(shown)
    places = [content["places"][clip["place"]] for clip in content["items"]]
    assert [place["id"] for place in places] == ["hall", "hall", "clip street", "clip the-one"]
    assert places[0]["cameras"]["n"] == 3
    assert places[2]["cameras"] is None
    assert places[0]["up"] == pytest.approx([0, -1, 0])


def test_same_clips_same_bytes(clips: Path, shown: Path, tmp_path: Path) -> None:
    show(find([clips]), tmp_path, ShowOptions())
    for name in ("index.html", "contact_sheet.png"):
        assert (tmp_path / name).read_bytes() == (shown / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contact_sheet.png", "index.html"]


@pytest.mark.parametrize(("limit", "carried"), [(0, 0), (1, 1), (10**8, 4)])
def test_videos_within_the_limit(clips: Path, tmp_path: Path, limit: int, carried: int) -> None:
    size = (clips / "hall-a.mp4").stat().st_size
    show(find([clips]), tmp_path, ShowOptions(video_limit_bytes=size if limit == 1 else limit))
    content = content_of(tmp_path)
    videos = [clip["video"] for clip in content["items"]]
    assert sum(map(bool, videos)) == carried
    assert f"carries {carried} of 4 videos" in content["video_note"]
    if carried:
        assert base64.b64decode(videos[0]) == (clips / "hall-a.mp4").read_bytes()


def test_stills_are_evenly_spaced(shown: Path) -> None:
    hall, tall, street, one = content_of(shown)["items"]
    assert hall["thumb_at"] == np.linspace(0, FRAMES - 1, STILLS).round().tolist()
    assert one["thumb_at"] == [0]
    for clip in (hall, street):
        for at, source in zip(clip["thumb_at"], clip["thumbs"], strict=True):
            image = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
            assert image.size == (64, 48), "never enlarged"
            assert image.getpixel((30, 20)) == pytest.approx(colour(clip["index"][at]), abs=8)
    assert Image.open(io.BytesIO(base64.b64decode(tall["thumbs"][0].partition(",")[2]))).size == (36, 64)


def test_limit(clips: Path, tmp_path: Path) -> None:
    written = show(find([clips]), tmp_path, ShowOptions(limit=2))
    assert [one.id for one in written.exhibits] == ["hall-a", "the-one"]
    assert content_of(tmp_path)["summary"].startswith("2 of 4 clips, evenly spaced; 1 scene; 16 frames")
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.height == HEAD + 2 * ROW + MARGIN


def test_select_keeps_both_ends() -> None:
    assert select(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert select(list(range(3)), 5) == [0, 1, 2]
    assert select(list(range(9)), 1) == [0]


# ---- the contact sheet ------------------------------------------------------------------------------------------


def test_sheet_rows_are_clips_and_columns_are_times(shown: Path) -> None:
    sheet = Image.open(shown / "contact_sheet.png").convert("RGB")
    assert sheet.size == (WIDTH, HEAD + 4 * ROW + CARD + MARGIN)
    for column, at in enumerate(np.linspace(0, FRAMES - 1, STILLS).round().astype(int)):
        left = MARGIN + column * (CELL_WIDTH + GAP)
        middle = (left + CELL_WIDTH // 2, HEAD + LABEL + CELL_HEIGHT // 2)
        assert sheet.getpixel(middle) == pytest.approx(colour(int(at)), abs=8)
        assert sheet.getpixel((left + 5, HEAD + LABEL + CELL_HEIGHT + 1)) == colour_at(at / (FRAMES - 1))


def test_sheet_has_text(shown: Path) -> None:
    sheet = np.asarray(Image.open(shown / "contact_sheet.png").convert("L"))
    for row in range(4):
        line = sheet[HEAD + row * ROW + 4 : HEAD + row * ROW + LABEL - 4]
        assert (line[:, MARGIN : MARGIN + 60] < 100).sum() > 50, "no key in the row"
        assert (line[:, WIDTH - 300 : WIDTH - MARGIN] < 160).sum() > 50, "no figures in the row"


def test_path_plot_is_seen_from_above(clips: Path) -> None:
    from trajkit.show.exhibit import exhibit

    one = exhibit(find([clips]).clips[0].read(), "x")
    plot = np.asarray(paths_map([one], Place(id="x", up=np.array([0.0, -1.0, 0.0])), (MAP_WIDTH, CELL_HEIGHT)), int)
    start = np.argwhere(np.abs(plot - RAMP[0]).sum(-1) < 60).mean(0)
    end = np.argwhere(np.abs(plot - RAMP[-1]).sum(-1) < 60).mean(0)
    assert np.linalg.norm(start - end) > 60, "a path along z runs across the plot"
    mirrored = np.asarray(paths_map([one], Place(id="x", up=np.array([0.0, 0.0, 1.0])), (MAP_WIDTH, CELL_HEIGHT)), int)
    assert np.abs(mirrored - plot).sum() > 0


# ---- the command ------------------------------------------------------------------------------------------------


def run(*arguments: object):
    return CliRunner().invoke(group, ["show", *map(str, arguments)], standalone_mode=False)


def test_command(clips: Path, tmp_path: Path) -> None:
    result = run(clips, "--out", tmp_path, "--json")
    assert result.exception is None
    told = json.loads(result.output)
    assert told["total"] == 4
    assert told["shown"] == ["hall-a", "hall-b", "street", "the-one"]
    assert Path(told["page"]).is_file()
    assert result.return_value == 0


def test_dry_run_writes_nothing(clips: Path, tmp_path: Path) -> None:
    result = run(clips, "--out", tmp_path / "page", "--limit", "2", "--dry-run")
    assert result.output.splitlines() == ["hall-a", "the-one", "2 of 4"]
    assert not (tmp_path / "page").exists()


def test_a_clip_that_cannot_be_read_is_named(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    video = tmp_path / "clips/hall-b.mp4"
    video.write_bytes(video.read_bytes()[:200])
    result = run(tmp_path / "clips", "--out", tmp_path / "page")
    assert result.return_value == 3
    assert "hall-b" in result.output
    content = content_of(tmp_path / "page")
    assert [clip["id"] for clip in content["items"]] == ["hall-a", "street", "the-one"]
    assert len(content["unreadable"]) == 1
    assert str(tmp_path) not in json.dumps(content["unreadable"])


def test_nothing_readable_leaves_the_old_page(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    for video in (tmp_path / "clips").glob("*.mp4"):
        video.write_bytes(b"no video")
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text("old")
    result = run(tmp_path / "clips", "--out", tmp_path / "page")
    assert isinstance(result.exception, TrajkitError)
    assert "none of 4 clips is readable" in str(result.exception)
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]
    assert (tmp_path / "page/index.html").read_text() == "old"


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_nothing_to_show(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / name, "--out", tmp_path / "page")
    assert isinstance(result.exception, TrajkitError)
    assert name in str(result.exception)


def test_damaged_captured_cameras_are_an_error(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips/scenes/hall.seen.npz").write_bytes(b"PK broken")
    result = run(tmp_path / "clips", "--out", tmp_path / "page")
    assert isinstance(result.exception, TrajkitError)
    assert "hall.seen.npz" in str(result.exception)
    assert not (tmp_path / "page").exists()


def test_shards_look_like_their_clips(clips: Path, shown: Path, tmp_path: Path) -> None:
    packed = CliRunner().invoke(group, ["pack", str(clips), "--out", str(tmp_path / "shards")], standalone_mode=False)
    assert packed.exception is None
    shutil.copytree(clips / "scenes", tmp_path / "shards/scenes")
    for source in (tmp_path / "shards", next((tmp_path / "shards").glob("*.tar"))):
        run(source, "--out", tmp_path / "page")
        assert (tmp_path / "page/index.html").read_bytes() == (shown / "index.html").read_bytes()


def test_a_key_that_occurs_twice(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, tmp_path / "again")
    result = run(clips, tmp_path / "again", "--out", tmp_path / "page", "--json")
    assert json.loads(result.output)["shown"][:3] == ["hall-a", "hall-a~2", "hall-b"]


# ---- looks ------------------------------------------------------------------------------------------------------


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2, relative luminance)."""

    def luminance(rgb: tuple[int, ...]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in rgb)]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_contrast(theme: int) -> None:
    css = (HERE / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(blocks) == 3
    colours = {}
    for name, digits in re.findall(r"--([\w-]+): #([0-9a-f]{3,6})\b", blocks[theme]):
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        colours[name] = tuple(bytes.fromhex(digits))
    for back in ("ground", "surface", "sunk"):
        for ink in ("ink", "quiet"):
            assert contrast(colours[ink], colours[back]) >= 4.5, (ink, back)
    for back in ("surface", "sunk"):
        assert contrast(colours["accent"], colours[back]) >= 4.5, back
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["bad"], colours["ground"]) >= 4.5
    for rgb in (*RAMP, colours["seen"]):
        assert contrast(rgb, colours["sky"]) >= 3, "lines need a contrast of 3"
