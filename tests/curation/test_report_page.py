"""A report's page as text, what it carries of clips, and how it copes with many."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scoredclips import EVIL, FRAMES, ledger_of, numbers_of, scored

from trajkit.curation.report import ReportOptions, gather, page, write
from trajkit.curation.report.choose import chosen
from trajkit.curation.report.items import content
from trajkit.pack import pack
from trajkit.shard_plan import make_plan, survey
from trajkit.show.page import script_json

HOSTILE = ReportOptions(title=f"Title {EVIL}")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "clips"
    scored(folder)
    return folder


@pytest.fixture(scope="module")
def made(clips: Path) -> Path:
    return write(gather([clips], HOSTILE), clips.parent / "report.html")[0]


# ---- many clips ---------------------------------------------------------------------------------------------------


def test_a_large_set_keeps_a_telling_subset(tmp_path: Path) -> None:
    ledger_of(tmp_path, 3000, metrics=2)
    report = gather([tmp_path], ReportOptions(limit=60))
    assert len(report.shown) == 60
    assert set(report.worst) <= set(report.shown)
    assert set(report.median) <= set(report.shown)
    lowest = report.tables.clips.sort("probability", "key")["key"].to_list()
    assert report.worst == lowest[:12]
    assert abs(lowest.index(report.median[0]) + 6 - 1500) <= 1
    told = content(report)
    codes = {code for one in told["items"] for code in one["codes"]}
    assert len(codes) == len(told["codes"]) == 7, "each reason has examples"
    rows = told["combinations"]
    assert sum(row[-1] for row in rows) == 3000
    assert sum(row[-1] for row in rows if row[0] == "rejected") == report.value("rejected")
    assert len(told["names"]["source"]) == 60
    assert any(row[3] == "other" for row in rows)
    assert report.value("duplicates") == 3
    assert chosen(report.tables, 60, 0) == report.shown
    assert list(chosen(report.tables, 60, 1)) != list(report.shown)


def test_pictures_that_do_not_fit_are_left_out(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = gather([clips], ReportOptions())
    limit = len(script_json(content(report)["items"])) - 5000
    monkeypatch.setattr("trajkit.curation.report.items.CONTENT_BYTES", limit)
    told = content(report)
    carried = [one for one in told["items"] if one["pictures"]]
    assert 0 < len(carried) < 7
    assert told["pictures"] == len(carried)
    assert len(script_json(told["items"])) < limit
    left = [one for one in told["items"] if not one["pictures"] and one["n"]]
    assert all(one["missing"] == ["its pictures do not fit into the page"] for one in left)


@pytest.mark.slow
def test_a_hundred_thousand_clips(tmp_path: Path) -> None:
    ledger_of(tmp_path, 100_000)
    out, numbers = write(gather([tmp_path], ReportOptions()), tmp_path / "report.html")
    assert out.stat().st_size < 10_000_000
    assert numbers.stat().st_size < 10_000_000
    assert numbers_of(out)["headline"]["clips"] == 100_000


# ---- the page -----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags and their attributes as a parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))


def test_no_string_becomes_markup(made: Path) -> None:
    text = made.read_text()
    parsed = Page(text)
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    names = {name for _, attributes in parsed.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "style")]
    assert EVIL not in text
    assert "window.ran = 1" in text, "it is told, as text"


def test_policy_admits_this_script_and_style_alone(made: Path) -> None:
    text = made.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search("https?://", text)


def test_names_and_references_of_the_page(made: Path) -> None:
    tags = Page(made.read_text()).tags
    ids = [attributes["id"] for _, attributes in tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
        assert attributes.get("href", "#")[:1] == "#"
        assert attributes.get("href", "#")[1:] in {"", *ids}
    figures = [attributes for tag, attributes in tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert all(one["role"] == "img" and one["aria-label"] for one in figures)


def test_same_clips_same_bytes(clips: Path, made: Path, tmp_path: Path) -> None:
    again, numbers = write(gather([clips], replace(HOSTILE, workers=3)), tmp_path / "again.html")
    assert again.read_bytes() == made.read_bytes()
    assert numbers.read_bytes() == made.with_suffix(".json").read_bytes()
    assert str(clips.parent) not in made.read_text()


def test_pictures_poses_and_evidence_of_clips(clips: Path) -> None:
    items = {one["key"]: one for one in content(gather([clips], ReportOptions()))["items"]}
    jump = items["d-jump"]
    assert jump["blamed"] == [(3, 4)]
    assert jump["n"] == FRAMES
    assert len(jump["pictures"]) == FRAMES
    assert jump["evidence"][0]["course"] == pytest.approx([0.2, 0.3, 0.4, 6.2, 6.2, 0.7, 0.8])
    assert jump["reasons"][0][2:] == [6.2, 1.5, "px"]
    assert items["g-unscored"]["evidence"] == []
    assert items["g-unscored"]["n"] == FRAMES
    assert items["h-broken"]["n"] == 0


def test_clips_in_shards(clips: Path, tmp_path: Path) -> None:
    sources, _ = survey([clips])
    list(pack(make_plan(sources, shard_clips=3), tmp_path / "shards"))
    (tmp_path / "judged").mkdir()
    (tmp_path / "judged/ledger").symlink_to(clips / "ledger")
    report = gather([tmp_path / "shards", tmp_path / "judged"], ReportOptions())
    assert [one.key for one in report.details if not one.pictures] == ["h-broken"]
    assert report.tables.clips["shard"].drop_nulls().n_unique() == 3
    assert b"shard 0" in page(report)
