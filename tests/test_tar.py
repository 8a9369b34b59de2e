"""The tar reader that trusts nothing, and headers that tarfile agrees with."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import tar
from trajkit.errors import TrajkitError

LONG = "k" * 120


def archive(path: Path, *entries: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar of these entries as tarfile writes it."""
    with tarfile.open(path, "w", format=form) as stream:
        for entry in entries:
            if isinstance(entry, tuple):
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                stream.addfile(info, io.BytesIO(entry[1]))
            else:
                stream.addfile(entry, io.BytesIO(bytes(entry.size)))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def with_pax(name: str, **records: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.pax_headers = records
    return info


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_finds(tmp_path, form):
    path = archive(tmp_path / "a.tar", ("a.mp4", b"1" * 700), ("a.txt", b""), ("b.mp4", b"22"), form=form)
    with tarfile.open(path) as stream:
        wanted = [(info.name, info.offset_data, info.size) for info in stream]
    assert [(member.name, member.offset, member.size) for member in tar.members(path)] == wanted


@given(
    key=st.from_regex("[A-Za-z0-9_-]{1,200}", fullmatch=True),
    suffix=st.sampled_from(["mp4", "camera.npz", "json", "latent.safetensors"]),
    size=st.integers(0, 2000),
)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_headers_are_read_alike_by_tarfile_and_here(tmp_path_factory, key, suffix, size):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    name = f"{key}.{suffix}"
    path.write_bytes(tar.header(name, size) + bytes(size) + tar.padding(size) + tar.END)
    with tarfile.open(path) as stream:
        (info,) = stream.getmembers()
    assert (info.name, info.size, info.mtime, info.uid, info.gid, info.uname) == (name, size, 0, 0, 0, "")
    (member,) = tar.members(path)
    assert member == tar.Member(key, suffix, info.offset_data, size)
    block = path.read_bytes()[member.offset - tar.BLOCK : member.offset]
    assert tar.matches(block, member)
    assert not tar.matches(block, member._replace(size=size + 1))
    assert not tar.matches(block, member._replace(key="other"))


UNSAFE = {
    "climbs": (("../a.mp4", b""), "climbs out"),
    "climbs-within": (("x/../../a.mp4", b""), "climbs out"),
    "absolute": (("/etc/a.mp4", b""), "climbs out"),
    "windows-drive": (("C:a.mp4", b""), "climbs out"),
    "windows-climb": (("..\\a.mp4", b""), "climbs out"),
    "folder-in-name": (("x/a.mp4", b""), "is no clip key"),
    "dot-in-key": (("a.b.mp4", b""), "is not named <key>.<suffix>"),
    "no-suffix": (("passwd", b""), "is not named <key>.<suffix>"),
    "hidden": ((".mp4", b""), "is no clip key"),
    "unknown-suffix": (("a.pkl", b""), "is not named <key>.<suffix>"),
    "newline": (("a\nb.mp4", b""), "is no clip key"),
    "symbolic-link": (special("a.mp4", tarfile.SYMTYPE, "/etc/passwd"), "is a symbolic link"),
    "hard-link": (special("a.mp4", tarfile.LNKTYPE, "b.mp4"), "is a hard link"),
    "device": (special("a.mp4", tarfile.CHRTYPE), "is a character device"),
    "block-device": (special("a.mp4", tarfile.BLKTYPE), "is a block device"),
    "pipe": (special("a.mp4", tarfile.FIFOTYPE), "is a named pipe"),
    "folder": (special("a.mp4", tarfile.DIRTYPE), "is a folder"),
    "contiguous": (special("a.mp4", tarfile.CONTTYPE), "is of type"),
    "link-target": (special("a.mp4", tarfile.REGTYPE, "b"), "link's target"),
    "pax-climb": (with_pax("a.mp4", path="../../a.mp4"), "climbs out"),
    "pax-size": (with_pax("a.mp4", **{"GNU.sparse.size": "9"}), "sets 'GNU.sparse.size'"),
    "pax-link": (with_pax("a.mp4", linkpath="x"), "sets 'linkpath'"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_members_are_refused_in_one_line(tmp_path, case):
    entry, problem = UNSAFE[case]
    path = archive(tmp_path / "a.tar", entry, form=tarfile.PAX_FORMAT)
    with pytest.raises(TrajkitError) as caught:
        list(tar.members(path))
    assert problem in caught.value.problem
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unsafe_members_are_left_out_where_the_caller_goes_on(tmp_path):
    path = archive(tmp_path / "a.tar", ("a.mp4", b"1"), ("../a.txt", b""), ("b.mp4", b"2"))
    errors: list[TrajkitError] = []
    assert [member.name for member in tar.members(path, errors.append)] == ["a.mp4", "b.mp4"]
    assert [error.problem for error in errors] == ["member '../a.txt' climbs out of its folder"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a.mp4", "a.mp4"], "holds 'a.mp4' twice"),
        (["a.mp4", "b.mp4", "a.txt"], "the members of 'a' are not side by side"),
        (["a.mp4", "b.mp4", "a.mp4"], "the members of 'a' are not side by side"),
    ],
)
def test_a_key_has_its_members_once_and_together(tmp_path, names, problem):
    path = archive(tmp_path / "a.tar", *((name, b"") for name in names))
    with pytest.raises(TrajkitError, match=problem):
        list(tar.members(path))


def test_gnu_long_names_and_global_headers_are_refused(tmp_path):
    gnu = archive(tmp_path / "gnu.tar", (f"{LONG}.mp4", b""), form=tarfile.GNU_FORMAT)
    with pytest.raises(TrajkitError, match="GNU long name"):
        list(tar.members(gnu))
    with tarfile.open(tmp_path / "global.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"path": "x"}) as stream:
        stream.addfile(tarfile.TarInfo("a.mp4"))
    with pytest.raises(TrajkitError, match="global pax header"):
        list(tar.members(tmp_path / "global.tar"))


def test_times_in_pax_headers_do_no_harm(tmp_path):
    info = tarfile.TarInfo("a.mp4")
    info.mtime = 1.5  # as webdataset's own TarWriter leaves it
    path = archive(tmp_path / "a.tar", info, form=tarfile.PAX_FORMAT)
    assert [member.name for member in tar.members(path)] == ["a.mp4"]


def test_every_truncation_is_seen(tmp_path):
    whole = archive(tmp_path / "a.tar", ("a.mp4", b"1" * 700), ("a.txt", b"2" * 10)).read_bytes()
    last = 512 + 1024 + 512 + 512  # two headers and two contents; what follows is zeros
    for size in [0, 1, 511, 512, 600, 1535, 1536, 2047, 2048, 2055, last - 1, last, last + 511]:
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        given: list[tar.Member] = []
        with pytest.raises(TrajkitError, match=r"truncated|no tar|no uncompressed tar"):
            given.extend(tar.members(tmp_path / "cut.tar"))  # keeps those before the error
        assert all(member.offset + member.size <= size for member in given)
    (tmp_path / "cut.tar").write_bytes(whole[: last + 512])
    assert len(list(tar.members(tmp_path / "cut.tar"))) == 2


def test_a_damaged_header_is_no_end_of_the_archive(tmp_path):
    path = archive(tmp_path / "a.tar", ("a.mp4", b"1"), ("b.mp4", b"2"))
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 1
    path.write_bytes(content)
    with tarfile.open(path) as stream:
        assert stream.getnames() == ["a.mp4"]  # tarfile does not notice
    with pytest.raises(TrajkitError, match="damaged header at byte 1024"):
        list(tar.members(path))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b" + bytes(600), b"x" * 5000])
def test_what_is_no_tar_is_said_so(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(TrajkitError, match=r"no tar file|no uncompressed tar file"):
        list(tar.members(tmp_path / "a.tar"))


def test_a_missing_tar_and_a_folder_are_named(tmp_path):
    with pytest.raises(TrajkitError, match="no such file"):
        list(tar.members(tmp_path / "none.tar"))
    with pytest.raises(TrajkitError, match="is no file"):
        list(tar.members(tmp_path))


def test_a_negative_size_is_damage(tmp_path):
    info = tarfile.TarInfo("a.mp4")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 12  # base 256: -1
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    (tmp_path / "a.tar").write_bytes(bytes(block) + tar.END)
    with pytest.raises(TrajkitError):
        list(tar.members(tmp_path / "a.tar"))


def test_tar_itself_reads_a_long_name(tmp_path):
    name = f"{LONG}.camera.npz"
    (tmp_path / "a.tar").write_bytes(tar.header(name, 3) + b"abc" + tar.padding(3) + tar.END)
    listed = subprocess.run(["tar", "tf", tmp_path / "a.tar"], capture_output=True, text=True, check=True)
    assert listed.stdout == f"{name}\n"
