"""Zip archives, whole and in parts: every member is found and read, and damage is named wherever it lies."""

import io
import pickle
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trajkit.curation import archives
from trajkit.errors import TrajkitError

CONTENT = {f"v{n}.mp4": np.random.default_rng(n).bytes(500 + n) for n in range(5)}


def packed(names: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return stream.getvalue()


def archive_of(folder: Path, content: bytes, name: str = "OpenVid_part3.zip") -> archives.Archive:
    (folder / name).write_bytes(content)
    (found,) = archives.find(folder, [name])
    return found


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_give_their_content_also_after_pickling(tmp_path: Path, method: int) -> None:
    for member in archives.members(archive_of(tmp_path, packed(CONTENT, method))):
        assert pickle.loads(pickle.dumps(member))() == CONTENT[member.name]  # noqa: S301


@pytest.mark.parametrize("spelling", ["OpenVid_part3_part{}", "OpenVidHD_part_20_part_{}", "OpenVid_part3.zip.part{}"])
@pytest.mark.parametrize("cuts", [[700], [1, 2, 1500], [30]])
def test_parts_read_as_one_stream_wherever_they_were_cut(tmp_path: Path, spelling: str, cuts: list[int]) -> None:
    content, names = packed(CONTENT), []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(content)], strict=True)):
        names.append(spelling.format("a" + chr(ord("a") + number)))
        (tmp_path / names[-1]).write_bytes(content[start:end])
    (archive,) = archives.find(tmp_path, names[::-1])
    with archive.stream() as stream:
        assert stream.read() == content
        assert stream.seek(-10, io.SEEK_END) == len(content) - 10
        assert stream.read(20) == content[-10:]
        with pytest.raises(ValueError, match="position"):
            stream.raw.seek(-1)
    assert {member.name: member() for member in archives.members(archive)} == CONTENT


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    content = packed(CONTENT)
    names = {"x_partaa": content[:300], "x_partac": content[600:]}
    for name, piece in names.items():
        (tmp_path / name).write_bytes(piece)
    with pytest.raises(TrajkitError, match="partab is not there"):
        archives.members(archives.find(tmp_path, names)[0])
    with pytest.raises(TrajkitError, match="partaa is not there"):
        archives.members(archives.find(tmp_path, ["x_partac", "x_partab"])[0])


WHOLE = packed(CONTENT)


@pytest.mark.parametrize("kept", [0, 1, 29, 30, 36, 40, 600, 1200, 2600, len(WHOLE) - 30, len(WHOLE) - 1])
def test_a_truncated_archive_is_named_and_so_is_what_it_held(tmp_path: Path, kept: int) -> None:
    archive = archive_of(tmp_path, WHOLE[:kept])
    with pytest.raises(TrajkitError, match=r"^OpenVid_part3\.zip: truncated or damaged .*; download it again$"):
        archives.members(archive)
    begun = [name for n, name in enumerate(CONTENT) if n * (36 + 500) + n * (n - 1) // 2 + 36 <= kept]
    assert list(archives.names_in_damaged(archive)) == begun


def test_bytes_lost_in_the_middle_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(TrajkitError, match="not where its directory says"):
        archives.members(archive_of(tmp_path, WHOLE[:400] + WHOLE[900:]))  # the directory is whole


def test_a_flipped_byte_costs_its_member_alone(tmp_path: Path) -> None:
    broken = bytearray(WHOLE)
    broken[100] ^= 1
    first, *others = archives.members(archive_of(tmp_path, bytes(broken)))
    with pytest.raises(TrajkitError, match=r"^OpenVid_part3\.zip/v0\.mp4: damaged .*checksum.*download it again"):
        first()
    assert [member() for member in others] == list(CONTENT.values())[1:]


def test_whatever_bytes_change_a_content_is_right_or_refused(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    ends = 0
    for n in range(600):
        method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[n % 2]
        broken = bytearray(packed({name: content * 2 for name, content in CONTENT.items()}, method))
        for place in draw.integers(len(broken) - (400 if n % 3 else len(broken)), len(broken), 1 + n % 4):
            broken[place] = int(draw.integers(256))
        try:
            for member in archives.members(archive_of(tmp_path, bytes(broken))):
                try:
                    ends += member() in [content * 2 for content in CONTENT.values()]
                except TrajkitError as error:
                    assert error.where.startswith("OpenVid_part3.zip/")  # noqa: PT017
        except TrajkitError as error:
            assert error.where == "OpenVid_part3.zip"  # noqa: PT017
    assert ends > 300


def test_an_archive_that_goes_away_or_shrinks_after_it_was_listed(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, WHOLE)
    members = archives.members(archive)
    archive.parts[0].write_bytes(WHOLE[:700])
    assert members[0]() == CONTENT["v0.mp4"]
    for lost in members[1:]:
        with pytest.raises(TrajkitError, match="damaged"):
            lost()
    archive.parts[0].unlink()
    with pytest.raises(TrajkitError, match="No such file"):
        members[0]()


def test_bombs_and_odd_members_are_refused(tmp_path: Path) -> None:
    (bomb,) = archives.members(archive_of(tmp_path, packed({"b.mp4": bytes(3 << 20)}, zipfile.ZIP_DEFLATED)))
    with pytest.raises(TrajkitError, match=r"unpacks from \d+ to 3145728 bytes"):
        bomb()
    for change in ({"size": 3 << 30}, {"packed": 3 << 30}):
        with pytest.raises(TrajkitError, match="unpacks from"):
            archives.Member(**{name: getattr(bomb, name) for name in bomb.__slots__} | change)()
    lying = archives.Member(**{name: getattr(bomb, name) for name in bomb.__slots__} | {"size": 100})
    assert len(lying._unpacked()) == 101  # it holds more than it says; no more than that is unpacked
    with pytest.raises(TrajkitError, match="damaged"):
        lying()
    (odd,) = archives.members(archive_of(tmp_path, packed({"b.mp4": b"x" * 99}, zipfile.ZIP_BZIP2)))
    with pytest.raises(TrajkitError, match="other than deflate"):
        odd()
    encrypted = bytearray(packed({"b.mp4": b"x"}))
    encrypted[6] |= 1
    with pytest.raises(TrajkitError, match="encrypted"):
        archives.members(archive_of(tmp_path, bytes(encrypted)))[0]()


def test_hostile_names_lose_their_folders_and_links_are_left_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.mp4")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("../../etc/a.mp4", "/abs/b.mp4", "C:\\x\\c.mp4", "video/d.mp4", "folder.mp4/"):
            archive.writestr(name, b"1")
        archive.writestr(link, "/etc/passwd")
        with archive.open(zipfile.ZipInfo(""), "w") as nameless:
            nameless.write(b"1")
    found = archives.members(archive_of(tmp_path, stream.getvalue()))
    assert [member.name for member in found] == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["OpenVid_part3.zip"]


def test_names_before_a_member_of_unknown_size(tmp_path: Path) -> None:
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 8, 0, 0, 0, 0, 0, 0, 5, 0)  # flag 8: the size stands behind it
    archive = archive_of(tmp_path, header + b"s.mp4" + bytes(300) + WHOLE[:600])
    assert list(archives.names_in_damaged(archive)) == ["s.mp4"]


def test_what_is_no_archive_is_not_taken_for_one(tmp_path: Path) -> None:
    names = ["a.mp4", "x.zip.part", "a_part.csv", "x_partaaa", "B.ZIP", "sub/c.zip", "notes.txt"]
    assert [archive.name for archive in archives.find(tmp_path, names)] == ["B.ZIP", "sub/c.zip"]
