"""Sources of footage: each row of OpenVid's table and each video of a folder is accounted for, once."""

import csv
import json
import os
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from trajkit.curation import table
from trajkit.curation.footage import Footage
from trajkit.curation.sources import openvid, videos
from trajkit.errors import TrajkitError
from trajkit.members import is_key
from trajkit.scene import Rejected

SPACES = "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,frame,fps,seconds"
SNAKE = SPACES.replace(" ", "_")
ODD = 'He says "hi",\nthen <b>goes</b>; naïve 日本'
EVERY = openvid.Options()


def write_table(root: Path, names: Iterable[str], header: str = SPACES, caption: str = ODD) -> Path:
    """A table whose rows last 1, 2, 3 ... seconds."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "OpenVid-1M.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [
                header.split(","),
                *([name, caption, 5, 2.5, 0.99, "static", 30 * n, 30.0, n] for n, name in enumerate(names, 1)),
            ]
        )
    return root


def write_zip(path: Path, **videos: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in videos.items():
            archive.writestr(f"{name}.mp4", content)
    return path


def put(path: Path, content: bytes = b"film") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(root: Path, **options: object) -> list[Footage | Rejected]:
    found = list(openvid.footage(root, openvid.Options(**options)))
    keys = [item.key for item in found]
    assert len(set(keys)) == len(keys)
    assert all(map(is_key, keys))
    return found


def codes(items: Iterable[Footage | Rejected]) -> list[str]:
    return [item.findings[0].code if isinstance(item, Rejected) else item.source for item in items]


def content(item: Footage | Rejected) -> bytes:
    assert isinstance(item, Footage)
    got = pickle.loads(pickle.dumps(item)).open()  # noqa: S301
    return got.read_bytes() if isinstance(got, Path) else got


@pytest.mark.parametrize("header", [SPACES, SNAKE])
def test_both_spellings_give_the_same_footage(tmp_path: Path, header: str) -> None:
    put(write_table(tmp_path, ["a_1_0to30.mp4"], header) / "video" / "a_1_0to30.mp4")
    (item,) = listed(tmp_path, where="aesthetic_score == 5 and seconds < 2")
    assert (item.name, item.caption, item.source) == ("a_1_0to30.mp4", ODD, "openvid:video/a_1_0to30.mp4")
    assert item.key.startswith("a_1_0to30-")
    numbers = {"aesthetic_score": 5.0, "motion_score": 2.5, "temporal_consistency_score": 0.99}
    assert item.columns == numbers | {"camera_motion": "static", "frame": 30.0, "fps": 30.0, "seconds": 1.0}
    assert "non-commercial" in item.licence
    assert content(item) == b"film"


def test_folders_archives_and_parts_at_once(tmp_path: Path) -> None:
    names = ["celebv_flat", "nested", "zipped", "parted", "lost", "deep"]
    root = write_table(tmp_path, [f"{name}.mp4" for name in names])
    put(root / "celebv_flat.mp4"), put(root / "OpenVidHD/part_1/video/nested.mp4"), put(root / "a/b/c/d/deep.mp4")
    write_zip(root / "OpenVid_part0.zip", zipped=b"in a zip", spare=b"s")
    whole = write_zip(root / "joined", parted=b"in parts" * 100).read_bytes()
    put(root / "OpenVid_part7_partaa", whole[:400]), put(root / "OpenVid_part7_partab", whole[400:])
    items = listed(root)
    assert codes(items) == [
        "openvid:celebv_flat.mp4",
        "openvid:OpenVidHD/part_1/video/nested.mp4",
        "openvid:OpenVid_part0.zip/zipped.mp4",
        "openvid:OpenVid_part7_part*/parted.mp4",
        "missing",
        "missing",  # deeper than any published layout
    ]
    assert [content(item) for item in items[:4]] == [b"film", b"film", b"in a zip", b"in parts" * 100]
    assert "CelebV-HQ" in items[0].licence != items[1].licence  # type: ignore[union-attr]
    assert openvid.unlisted(root, EVERY) == ["OpenVid_part0.zip/spare.mp4"]


@pytest.mark.parametrize("kept", [0, 20, 60, 200, -30])
def test_rows_of_a_truncated_archive_are_told_from_missing_ones(tmp_path: Path, kept: int) -> None:
    root = write_table(tmp_path, ["first.mp4", "last.mp4", "sound.mp4", "nowhere.mp4"])
    broken = write_zip(root / "OpenVid_part3.zip", first=b"1" * 100, last=b"2" * 100)
    broken.write_bytes(broken.read_bytes()[:kept])
    write_zip(root / "OpenVid_part4.zip", sound=b"3")
    items = listed(root)
    begun = {0: 0, 20: 0, 60: 1, 200: 2, -30: 2}[kept]
    assert codes(items) == ["damaged-archive"] * begun + ["missing"] * (2 - begun) + [
        "openvid:OpenVid_part4.zip/sound.mp4",
        "missing",
    ]
    assert all("OpenVid_part3.zip" in item.reason for item in items if isinstance(item, Rejected))
    assert all("download" in item.reason and str(root) not in item.reason for item in (items[0], items[3]))


def test_a_sound_copy_outweighs_a_damaged_archive(tmp_path: Path) -> None:
    root = write_table(tmp_path, ["a.mp4"])
    archive = write_zip(root / "OpenVid_part3.zip", a=b"1" * 100)
    whole = archive.read_bytes()
    put(root / "OpenVid_part3_partaa", whole[:60]), put(root / "OpenVid_part3_partab", whole[60:])
    assert codes(listed(root)) == ["openvid:OpenVid_part3.zip/a.mp4"]  # both are whole: one video, not two
    archive.write_bytes(b"<html>404</html>")  # what the published script leaves where the parts are
    assert codes(listed(root)) == ["openvid:OpenVid_part3_part*/a.mp4"]


def test_names_that_stand_for_two_videos(tmp_path: Path) -> None:
    root = write_table(
        tmp_path, ["twice.mp4", "other.mp4", "unpacked.mp4", "twofold.mp4", "twice.mp4", "x/twice.mp4", ""]
    )
    write_zip(root / "OpenVid_part0.zip", twice=b"1", other=b"1", unpacked=b"1")
    write_zip(root / "OpenVid_part1.zip", twice=b"1", other=b"2", unpacked=b"2")
    put(root / "video/unpacked.mp4"), put(root / "video/twofold.mp4"), put(root / "copy/twofold.mp4")
    items = listed(root)
    assert codes(items) == [
        "openvid:OpenVid_part0.zip/twice.mp4",  # the same bytes
        "duplicate-name",
        "openvid:video/unpacked.mp4",
        "duplicate-name",
        "duplicate-name",
        "duplicate-name",
        "no-name",
    ]
    assert "2 different videos are called other.mp4" in items[1].reason  # type: ignore[union-attr]
    assert "OpenVid-1M.csv, row 5: twice.mp4: an earlier row names it" in items[4].reason  # type: ignore[union-attr]


def test_hostile_names_reach_nothing_outside(tmp_path: Path) -> None:
    put(tmp_path / "secret.mp4")
    names = ["../secret.mp4", "/etc/passwd", "..", "a\0b.mp4", "x" * 5000 + ".mp4", "=cmd().mp4", "-rf.mp4", "日.mp4"]
    root = write_table(tmp_path / "root", names)
    put(root / "video/日.mp4"), put(root / "video/-rf.mp4")
    write_zip(root / "evil.zip", **{"../../../secret2": b"1", "/abs": b"2"})
    assert codes(listed(root)) == ["missing"] * 6 + ["openvid:video/-rf.mp4", "openvid:video/日.mp4"]
    assert openvid.unlisted(root, EVERY) == ["evil.zip/abs.mp4", "evil.zip/secret2.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret.mp4"]


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    root = write_table(tmp_path / "root", ["a.mp4"])
    put(tmp_path / "disk/a.mp4")
    (root / "video").symlink_to(tmp_path / "disk")
    (root / "again").symlink_to(root)
    (tmp_path / "disk/up").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "absent")
    assert codes(listed(root)) == ["openvid:video/a.mp4"]
    assert codes(videos.footage(root, videos.Options())) == ["videos:video/a.mp4"]


def test_the_real_sample(shared: Path) -> None:
    root = shared / "data/openvid_like"
    items = listed(root)
    assert codes(items)[11:] == ["missing"]
    assert all(isinstance(item, Footage) and content(item)[4:8] == b"ftyp" for item in items[:11])
    assert openvid.unlisted(root, EVERY) == ["corrupted.mp4"]
    assert len(listed(root, where="seconds >= 4 and aesthetic_score > 4.5", limit=3)) == 3
    assert len(listed(root, where="camera_motion == 'static'")) == 6
    films = list(videos.footage(root, videos.Options()))
    assert [film.key for film in films] == [film.key for film in videos.footage(root, videos.Options())]
    assert len(films) == 12


def test_order_and_limit_hold_over_many_batches(tmp_path: Path) -> None:
    names = [f"v{n}.mp4" for n in range(30_000)]
    root = write_table(tmp_path, names, caption="c" * 200)
    write_zip(root / "OpenVid_part0.zip", **dict.fromkeys(("v0", "v7", "v29999"), b"1"))
    rows = table.open_table(root / "OpenVid-1M.csv")
    got = [name for batch in table.batches(rows, root) for name in batch["video"]]
    assert got == names
    found = openvid.footage(root, openvid.Options(where="seconds in [1, 8, 9, 30000]"))
    assert [item.source[-10:] if isinstance(item, Footage) else "" for item in found][::3] == [
        ".zip/v0.mp4"[-10:],
        "v29999.mp4",
    ]
    assert len(listed(root, limit=5)) == 5


BAD_TABLES = [
    (b"", "empty"),
    (b"\n\n", "not a table|no column"),
    (b"name,caption\na,b\n", "has no column 'video'"),
    (b"video;caption\na;b\n", "has no column 'video'"),
    ("video,caption\na,b\n".encode("utf-16"), "has no column 'video'"),
    (b"PK\x03\x04" + bytes(100), "has no column 'video'"),
    (bytes(range(256)) * 20, "not a table|no column"),
    (b"video,a b,a_b\nx,1,2\n", "two columns are called 'a_b'"),
    (b"video,caption\na.mp4,x,3,4\n", "more fields"),
    (b'video,caption,seconds\na.mp4,"never closed,3\nb.mp4,x,4\n', "not a table .*could not parse"),
    (b'video,caption\na.mp4,"x"y\n', "not a table .*could not parse"),
]


@pytest.mark.parametrize(("written", "words"), BAD_TABLES)
def test_a_broken_table_is_named_in_one_line(tmp_path: Path, written: bytes, words: str) -> None:
    put(tmp_path / "OpenVid-1M.csv", written)
    with pytest.raises(TrajkitError, match=words) as caught:
        list(openvid.footage(tmp_path, EVERY))
    assert "OpenVid-1M.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_quote_that_breaks_far_down_ends_the_walk_there(tmp_path: Path) -> None:
    root = write_table(tmp_path, [f"v{n}.mp4" for n in range(5000)])
    with open(root / "OpenVid-1M.csv", "ab") as stream:
        stream.write(b'w.mp4,"never closed,1\n')
    with pytest.raises(TrajkitError, match="not a table that can be read"):
        list(openvid.footage(root, EVERY))


def test_odd_cells_cost_their_row_at_most(tmp_path: Path) -> None:
    head = b"\xef\xbb\xbfvideo,caption,seconds,note\r\n"
    rows = [
        b"a.mp4,caf\xe9,nan,1e999",
        b"b.mp4,x\0y,inf,2",
        b"c.mp4",
        b"",
        b"d.mp4," + b"x" * 200_000 + b",4,5",
        b"e.mp4,12,n/a,7",
    ]
    put(tmp_path / "t.csv", head + b"\r\n".join(rows) + b"\r\n\r\n")
    for name in "abcde":
        put(tmp_path / f"{name}.mp4")
    items = listed(tmp_path)
    assert codes(items) == ["openvid:a.mp4", "openvid:b.mp4", "openvid:c.mp4", "long-caption", "openvid:e.mp4"]
    films = [item for item in items if isinstance(item, Footage)]
    assert [film.caption for film in films] == ["caf\ufffd", "x\0y", "", "12"]
    assert [film.columns["note"] for film in films] == [None, 2.0, None, 7.0]
    json.dumps([dict(film.columns) for film in films], allow_nan=False)


def test_a_missing_value_meets_no_condition(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", b"video,score\na,nan\nb,\nc,7\nd,3\n")
    assert [item.findings[0].where for item in listed(tmp_path, where="score > 5")] == ["t.csv, row 3"]  # type: ignore[union-attr]
    assert len(listed(tmp_path, where="not score > 5")) == 1


def test_names_and_captions_stay_texts_whatever_they_look_like(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", b"video,caption\n007,1.50\n008,2\n")
    rows = table.open_table(tmp_path / "t.csv").collect()
    assert rows.to_dicts()[0] == {"_row": 1, "video": "007", "caption": "1.50"}


CONDITIONS = {
    "seconds >= 4 and aesthetic_score > 4": 5,
    "2 <= seconds <= 4": 3,
    "seconds in [1, 2, 99]": 2,
    "camera_motion not in ['static']": 0,
    "'tat' in camera_motion": 8,
    "not (seconds < 3 or frame > 200)": 4,
    "video == 'v3.mp4'": 1,
    "": 8,
}


@pytest.mark.parametrize(("condition", "count"), CONDITIONS.items())
def test_conditions_select(tmp_path: Path, condition: str, count: int) -> None:
    assert len(listed(write_table(tmp_path, [f"v{n}.mp4" for n in range(8)]), where=condition)) == count


BAD_CONDITIONS = [
    ("secnds >= 4", "no column 'secnds'; did you mean 'seconds'"),
    ("aesthetic score > 5", "is no condition"),
    ("seconds = 4", "is no condition"),
    ("seconds >= 4 AND fps > 2", "is no condition"),
    ("seconds >=", "is no condition"),
    ("seconds", "is a number, no condition"),
    ("'a'", "is text, no condition"),
    ("1 in seconds", "no list"),
    ("camera_motion > 'a'", "has no order"),
    ("camera_motion == 3", "camera_motion"),
    ("seconds == 'four'", "seconds"),
    ("_row > 3", "no column '_row'"),
    ("_place > 3", "no column '_place'"),
    ("__import__('os').system('x')", "not part of the language"),
    ("video.str.len() > 3", "not part of the language"),
    ("(lambda: 1)() > 0", "not part of the language"),
    ("[x for x in seconds]", "not part of the language"),
    ("f'{seconds}' == 'a'", "not part of the language"),
    ("seconds ** 9 > 1", "not part of the language"),
    ("seconds > 1; drop table x", "is no condition"),
    ("SELECT * FROM read_csv('/etc/passwd')", "is no condition"),
    ("(" * 400 + "seconds" + ")" * 400 + " > 1", "cond"),
    ("seconds > 1 " + "and seconds > 1 " * 200, "split it"),
    ("seconds > 1e999", "not part of the language"),
    ("seconds > 1\0", "cond"),
]


@pytest.mark.parametrize(("condition", "words"), BAD_CONDITIONS)
def test_a_bad_condition_is_named_at_once(tmp_path: Path, condition: str, words: str) -> None:
    root = write_table(tmp_path, ["a.mp4"])
    with pytest.raises(TrajkitError, match=words) as caught:
        openvid.footage(root, openvid.Options(where=condition))
    assert str(caught.value).startswith("--where: ")


def test_the_table_is_found_or_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match="no folder"):
        openvid.footage(tmp_path / "absent", EVERY)
    with pytest.raises(TrajkitError, match="holds no table"):
        openvid.footage(tmp_path, EVERY)
    for name in ("a.csv", "b.csv"):
        put(tmp_path / name, b"video\nx\n")
    with pytest.raises(TrajkitError, match=r"holds 2 tables \(a.csv, b.csv\).*table=FILE"):
        openvid.footage(tmp_path, EVERY)
    put(tmp_path / "data/train/OpenVidHD.csv", b"video\nhd\n")
    assert "hd is in no folder" in listed(tmp_path)[0].reason  # type: ignore[union-attr]
    put(tmp_path / "data/train/OpenVid-1M.csv", b"video\nall\n")
    assert "all is in no folder" in listed(tmp_path)[0].reason  # type: ignore[union-attr]
    assert "x is in no folder" in listed(tmp_path, table="b.csv")[0].reason  # type: ignore[union-attr]
    with pytest.raises(TrajkitError, match="no such file"):
        openvid.footage(tmp_path, openvid.Options(table="c.csv"))


def test_json_lines_are_a_table_too(tmp_path: Path) -> None:
    lines = [{"video": "a", "aesthetic score": 5, "tags": ["x"], "ok": True}, {"video": "b", "aesthetic score": 6.5}]
    put(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines)).encode())
    rows = table.selected(table.open_table(tmp_path / "t.jsonl"), "aesthetic_score > 5.5")
    assert rows.collect().to_dicts() == [{"_row": 2, "video": "b", "aesthetic_score": 6.5, "ok": None}]
    assert rows.collect_schema()["aesthetic_score"] == pl.Float64
    put(tmp_path / "t.jsonl", b'{"video": "a"}\n{"video": ')
    with pytest.raises(TrajkitError, match="not a table"):
        list(table.batches(table.open_table(tmp_path / "t.jsonl"), tmp_path / "t.jsonl"))


def test_a_folder_of_videos_with_captions_beside_them(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MOV", "sub/a.mov", ".hidden.mp4", ".git/x.mp4", "notes.txt", "long.mkv", "bad.webm"):
        put(tmp_path / name)
    (
        put(tmp_path / "a.txt", b" A pier\n"),
        put(tmp_path / "bad.txt", b"\xff\xfe"),
        put(tmp_path / "long.txt", b"x" * 200_000),
    )
    os.link(tmp_path / "b.mp4", os.fsencode(tmp_path) + b"/\xff.mp4")
    items = list(videos.footage(tmp_path, videos.Options(licence="CC0-1.0")))
    assert codes(items) == [
        "videos:a.MOV",
        "videos:b.mp4",
        "caption",
        "caption",
        "videos:sub/a.mov",
        "videos:\ufffd.mp4",
    ]
    films = [item for item in items if isinstance(item, Footage)]
    assert [film.caption for film in films] == ["A pier", "", "", ""]
    assert {film.licence for film in films} == {"CC0-1.0"}
    assert all(content(film) == b"film" for film in films)
    assert len({item.key for item in items}) == 6
    assert len(list(videos.footage(tmp_path, videos.Options(limit=2)))) == 2
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(TrajkitError, match="no such file"):
        films[1].open()


def test_captions_from_a_table(tmp_path: Path) -> None:
    put(tmp_path / "sub/a.mp4"), put(tmp_path / "b.mp4"), put(tmp_path / "c.mp4"), put(tmp_path / "b.txt", b"unused")
    put(tmp_path / "t.csv", b'video,caption\na.mp4,"A, ""quoted"""\nsub/a.mp4,by path\nb.mp4,\n')
    put(tmp_path / "t.jsonl", b'{"video": "c.mp4", "caption": "see"}\n')
    for name, wanted in (("t.csv", ["", "", "by path"]), ("t.jsonl", ["", "see", ""])):
        films = videos.footage(tmp_path, videos.Options(captions=name))
        assert [film.caption for film in films if isinstance(film, Footage)] == wanted
    put(tmp_path / "t.csv", b"video,text\na,b\n")
    for options, words in (
        (videos.Options(captions="t.csv"), "no column 'caption'"),
        (videos.Options(captions="u"), "no such"),
    ):
        with pytest.raises(TrajkitError, match=words):
            videos.footage(tmp_path, options)
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        with pytest.raises(TrajkitError, match="name the folder of the videos"):
            videos.footage(tmp_path / folder, videos.Options())
