"""Files: whole or absent, and never outside their root."""

from pathlib import Path

import pytest

from trajkit import files
from trajkit.errors import TrajkitError


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_bytes(target, b"old")
    with pytest.raises(ZeroDivisionError), files.whole(target) as stream:
        stream.write(b"new" * (1 // 0))
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_json_is_canonical_and_refuses_nan() -> None:
    assert files.json_bytes({"b": 1, "a": "ä"}) == '{\n  "a": "ä",\n  "b": 1\n}\n'.encode()
    with pytest.raises(ValueError, match="Out of range"):
        files.json_bytes({"a": float("nan")})


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "link/x"])
def test_paths_that_climb_out_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(TrajkitError, match="outside"):
        files.inside(root, name)


def test_paths_inside_are_resolved(tmp_path: Path) -> None:
    assert files.inside(tmp_path, "a/../b.txt") == tmp_path.resolve() / "b.txt"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "holds list, not an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100000, "not"),
    ],
)
def test_broken_json_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(TrajkitError, match=words) as caught:
        files.read_json(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match="no such file"):
        files.read_json(tmp_path / "absent.json")


def test_leftovers_are_removed(tmp_path: Path) -> None:
    for name in ("shard-000000.tar.part", "shard-000000.tar", "holiday.mp4.part"):
        (tmp_path / name).touch()
    files.remove_parts(tmp_path, "shard-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.mp4.part", "shard-000000.tar"]
