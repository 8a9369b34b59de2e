"""Latent files: what is written is read, equal content gives equal bytes, anything damaged is one line."""

import contextlib
import json
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.trainers import latentfile, tensor_file  # noqa: E402

LATENTS = torch.arange(3 * 2 * 4 * 5, dtype=torch.float32).reshape(3, 2, 4, 5) / 7
TEXT = {"embeddings": torch.full((4, 8), 0.5, dtype=torch.bfloat16), "mask": torch.tensor([True, True, False, False])}
TOLD = {"encoder": "toy", "frames": 9, "content": "c" * 64}
METADATA = {"schema": latentfile.SCHEMA, "encoder": "toy", "frames": "9", "content": "c" * 64}
FILE = latentfile.to_bytes(LATENTS, TEXT, **TOLD, where="here")


def header(change: Callable[[dict], object]) -> bytes:
    """FILE with another JSON header."""
    end = 8 + int.from_bytes(FILE[:8], "little")
    entries = json.loads(FILE[8:end])
    change(entries)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + FILE[end:]


def test_what_is_written_is_read() -> None:
    found = latentfile.from_bytes(FILE, "here")
    torch.testing.assert_close(found.latents.float(), LATENTS, atol=0.01, rtol=0)
    assert found.latents.dtype == torch.float16
    assert {name: one.dtype for name, one in found.text.items()} == {name: one.dtype for name, one in TEXT.items()}
    assert all(torch.equal(found.text[name], TEXT[name]) for name in TEXT)
    assert found.header.latents == (3, 2, 4, 5)
    assert found.header.text == {"embeddings": (4, 8), "mask": (4,)}
    assert (found.header.encoder, found.header.frames, found.header.content) == tuple(TOLD.values())
    assert found.trajectory is None
    assert latentfile.to_bytes(LATENTS, dict(reversed(TEXT.items())), **TOLD, where="here") == FILE


def test_the_library_reads_it_too() -> None:
    from safetensors.torch import load

    assert sorted(load(FILE)) == ["latents", "text.embeddings", "text.mask"]


def test_a_path_is_read_beside_the_latents() -> None:
    path = torch.randn(6, 3, 2, 4, 5, generator=torch.Generator().manual_seed(0)).half()
    content = tensor_file.packed({"latents": LATENTS.half(), "trajectory": path}, {**METADATA, "trajectory": "{}"})
    found = latentfile.from_bytes(content, "here")
    assert torch.equal(found.trajectory, path)
    assert found.header.states == 6
    wrong = tensor_file.packed({"latents": LATENTS.half(), "trajectory": path[:, :2]}, METADATA)
    with pytest.raises(TrajkitError, match="a path of shape"):
        latentfile.from_bytes(wrong, "here")


def test_latents_that_do_not_fit_the_frames_are_not_written() -> None:
    with pytest.raises(TrajkitError, match=r"latents of shape \(3, 2, 4, 5\) for 13 frames, not \(4, C, H, W\)"):
        latentfile.to_bytes(LATENTS, TEXT, encoder="toy", frames=13, content="c", where="here")
    with pytest.raises(TrajkitError, match=r"4n\+1"):
        latentfile.to_bytes(LATENTS, TEXT, encoder="toy", frames=8, content="c", where="here")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_latents_that_float16_does_not_hold_are_not_written(value: float) -> None:
    latents = LATENTS.clone()
    latents[1, 1, 2, 3] = value
    with pytest.raises(TrajkitError, match="latents is not finite in float16"):
        latentfile.to_bytes(latents, TEXT, **TOLD, where="here")


def setting(name: str, key: str, value: object) -> Callable[[dict], object]:
    return lambda entries: entries[name].__setitem__(key, value)


HOSTILE = {
    "empty": b"",
    "no safetensors": b"PK\x03\x04" * 100,
    "truncated header": FILE[:50],
    "truncated data": FILE[:-1],
    "too long": FILE + b"\0",
    "huge header": (1 << 60).to_bytes(8, "little") + FILE[8:],
    "large header": (20000).to_bytes(8, "little") + b" " * 40000,
    "no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "deep JSON": (10000).to_bytes(8, "little") + b"[" * 10000,
    "a list": (2).to_bytes(8, "little") + b"[]",
    "no metadata": header(lambda entries: entries.pop("__metadata__")),
    "other schema": header(setting("__metadata__", "schema", "trajkit.latent/9")),
    "no encoder": header(lambda entries: entries["__metadata__"].pop("encoder")),
    "frames no number": header(setting("__metadata__", "frames", "9e3")),
    "encoder no text": header(setting("__metadata__", "encoder", 3)),
    "no latents": header(lambda entries: entries.pop("latents")),
    "huge shape": header(setting("latents", "shape", [1 << 40, 1 << 40, 4, 5])),
    "negative shape": header(setting("latents", "shape", [-3, -2, 4, 5])),
    "shape of truths": header(setting("latents", "shape", [True, 3, 8, 5])),
    "shape no list": header(setting("latents", "shape", 120)),
    "other rank": header(setting("latents", "shape", [6, 4, 5])),
    "other dtype": header(setting("latents", "dtype", "F64")),
    "offsets beyond": header(setting("latents", "data_offsets", [0, 1 << 50])),
    "offsets of text": header(setting("latents", "data_offsets", ["0", "240"])),
    "unknown tensor": header(lambda entries: entries.__setitem__("../../x", entries.pop("text.mask"))),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_damaged_files_are_one_line(case: str) -> None:
    with pytest.raises(TrajkitError, match=r"^clip-7: .*; encode the clip again") as caught:
        latentfile.from_bytes(HOSTILE[case], "clip-7")
    assert "\n" not in str(caught.value)
    with pytest.raises(TrajkitError):
        latentfile.header_of(HOSTILE[case][: latentfile.HEAD_BYTES], len(HOSTILE[case]), "clip-7")


@settings(deadline=None, max_examples=50, derandomize=True)
@given(place=st.integers(0, len(FILE) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_never_gives_a_traceback(place: int, byte: int) -> None:
    content = bytearray(FILE)
    content[place] = byte
    with contextlib.suppress(TrajkitError):
        latentfile.from_bytes(bytes(content), "here")
