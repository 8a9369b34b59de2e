"""Who attends to whom, against minWM's masks and against a dense mask."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from trajkit.trainers.attention import Cache, Pass, attend, rotated, teacher_forcing_mask  # noqa: E402


@pytest.fixture(scope="module")
def Z(shared: Path) -> dict[str, torch.Tensor]:
    with np.load(shared / "vectors/minwm_vectors.npz", allow_pickle=False) as found:
        return {name: torch.from_numpy(found[name]) for name in found.files if name.startswith(("mask_", "rope_"))}


def seen(tokens: int, ahead: Pass, extra: int = 0) -> torch.Tensor:
    """(queries, keys) True where `attend` lets a query see a key: each key's value is its own unit vector."""
    total = tokens + extra
    units = torch.eye(total)[None, :, None]  # (1, N, 1, D = N)
    nothing = torch.zeros(1, total, 1, total)
    words = (nothing[:, :extra], units[:, :extra]) if extra else None
    out = attend(nothing[:, extra:], nothing[:, extra:], units[:, extra:], ahead, 0, words)
    return out[0, :, 0] > 0


@pytest.mark.parametrize(
    ("name", "frames", "per_frame", "chunk"), [("mask_wan_tf_F8_S3_B4", 8, 3, 4), ("mask_wan_tf_F6_S2_B2", 6, 2, 2)]
)
def test_teacher_forcing_is_minwms_mask(Z, name: str, frames: int, per_frame: int, chunk: int) -> None:
    ahead = Pass(rotary=None, chunk=chunk * per_frame, clean=True)
    assert torch.equal(seen(2 * frames * per_frame, ahead), Z[name])
    assert torch.equal(teacher_forcing_mask(frames, per_frame, chunk), Z[name])


def test_a_block_of_hunyuan_is_minwms_mask(Z) -> None:
    """[text | clean | noisy]: which tokens after a block depend on which tokens before it, by the derivative."""
    pytest.importorskip("diffusers")
    import tiny

    made = tiny.backbone("hunyuan", "none", heads=1, head_dim=8)
    rotary, told = made._rotary(torch.arange(8).repeat(2), 1, 3), torch.ones(1, 16, 8)
    ahead = Pass(rotary=rotary, chunk=12, clean=True)

    def summed(words: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        levels = told, told[:, :1]
        after, said = made._block(made.model.transformer_blocks[0], None, 0, pictures, words, levels, ahead)
        return torch.cat([said, after], 1)[0] @ torch.linspace(1, 2, 8)

    generator = torch.Generator().manual_seed(0)
    given = torch.randn(1, 5, 8, generator=generator), torch.randn(1, 48, 8, generator=generator)
    depends = torch.cat([one[:, 0].abs().sum(-1) for one in torch.autograd.functional.jacobian(summed, given)], 1)
    assert torch.equal(depends > 0, Z["mask_hy_tf_F8_S3_T5_B4"])


def test_chunk_by_chunk_is_minwms_mask(Z) -> None:
    assert torch.equal(seen(16, Pass(rotary=None, chunk=4)), Z["mask_wan_block_F8_S2_B2"])


@pytest.mark.parametrize(
    ("name", "chunks", "room"),
    [
        ("mask_wan_block_F8_S2_B2", (4, 4, 4, 4), 16),
        ("mask_wan_block_local4_F8_S2_B2", (4, 4, 4, 4), 4),  # a window of 4 frames, the chunk's own 2 among them
        ("mask_wan_i2v_F9_S2_B4", (2, 8, 8), 18),  # a first frame that is a chunk by itself
    ],
)
def test_a_cache_is_the_rows_of_a_mask(Z, name: str, chunks: tuple[int, ...], room: int) -> None:
    mask, cache, start = Z[name], Cache(1, room), 0
    units = torch.eye(len(mask))[None, :, None]
    for chunk in chunks:
        nothing, now = torch.zeros(1, chunk, 1, len(mask)), slice(start, start + chunk)
        for value in (-1.0, 1.0):  # a chunk is laid down twice, as in a sampler; the last time counts
            ahead = Pass(rotary=None, cache=cache, past=cache.length, dropped=cache.dropped)
            out = attend(nothing, nothing, value * units[:, now], ahead, 0)
        cache.commit(chunk)
        assert torch.equal(out[0, :, 0] > 0, mask[now])
        start += chunk
    assert start == len(mask)


@pytest.mark.parametrize("words", [0, 3])
def test_attending_is_softmax_under_the_dense_mask(words: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 48, 3, 8, generator=generator) for _ in range(3))
    extra = tuple(torch.randn(2, words, 3, 8, generator=generator) for _ in range(2)) if words else None
    mask = torch.cat([torch.ones(48, words, dtype=torch.bool), teacher_forcing_mask(8, 3, 2)], 1)
    keys, values = (k, v) if extra is None else (torch.cat([extra[0], k], 1), torch.cat([extra[1], v], 1))
    logits = torch.einsum("bnhd,bmhd->bhnm", q, keys) / 8**0.5
    expected = torch.einsum("bhnm,bmhd->bnhd", F.softmax(logits.masked_fill(~mask, -torch.inf), -1), values)
    out = attend(q, k, v, Pass(rotary=None, chunk=6, clean=True), 0, extra)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("start", [0, 5])
def test_rotary_is_minwms(Z, start: int) -> None:
    pytest.importorskip("diffusers")
    import tiny

    made = tiny.backbone("wan", "none", head_dim=16)
    rotary = made._rotary(torch.arange(start, start + 2), 2, 3)
    expected = Z["rope_out_start5" if start else "rope_out"]
    torch.testing.assert_close(rotated(Z["rope_in"], rotary), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(rotated(Z["rope_in"], made._rotary(torch.arange(1, 3), 2, 3)), expected, atol=1e-2)
