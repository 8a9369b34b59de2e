"""depth.npz: float16 of both kinds, plain for numpy, bounded when read."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tinyclips

from trajkit.clip import Clip, Provenance, read_clip, write_clip
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.scene import Frame


def clip() -> Clip:
    provenance = Provenance(kind="rendered", source="test:")
    return Clip(key="a", trajectory=tinyclips.trajectory("a"), fps=tinyclips.FPS, provenance=provenance, licence="CC0")


def frames(depth: float = 0.0) -> list[Frame]:
    made = list(tinyclips.pictures("a"))
    for frame in made:
        frame.depth[:4] = depth
    return made


@pytest.mark.parametrize("kind", ["z", "inverse"])
def test_depth_comes_back_to_three_digits(tmp_path, kind):
    write_clip(tmp_path, clip(), frames(), depth=kind)
    depth = read_depth(read_clip(tmp_path, "a"))
    wanted = np.stack([frame.depth for frame in frames()])
    assert depth.dtype == np.float32
    assert (depth[:, :4] == 0).all()  # nothing there
    np.testing.assert_allclose(depth, wanted, rtol=1e-3)


def test_numpy_alone_reads_it(tmp_path):
    write_clip(tmp_path, clip(), frames(), depth="inverse")
    stored = np.load(tmp_path / "a.depth.npz", allow_pickle=False)["depth"]
    assert (stored.dtype, stored.shape) == (np.float16, (5, 24, 32))
    np.testing.assert_allclose(stored[:, 4:], 1 / np.stack([frame.depth for frame in frames()])[:, 4:], rtol=1e-3)


def test_depth_reads_from_bytes(tmp_path):
    made = write_clip(tmp_path, clip(), frames(), depth="z")
    held = replace(made, depth=(tmp_path / "a.depth.npz").read_bytes())
    np.testing.assert_array_equal(read_depth(held), read_depth(made))


def test_far_things_need_inverse_depth(tmp_path):
    write_clip(tmp_path, clip(), frames(1e6), depth="inverse")
    np.testing.assert_allclose(read_depth(read_clip(tmp_path, "a"))[:, :4], 1e6, rtol=0.1)
    for bad in (1e6, np.inf, np.nan, -1.0):
        with pytest.raises(
            TrajkitError, match=r"a\.depth\.npz: frame 0: depth is negative, not finite or beyond 65504"
        ):
            write_clip(tmp_path, clip(), frames(bad), depth="z")


def test_depth_of_another_size_is_refused(tmp_path):
    small = [replace(frame, depth=frame.depth[::2]) for frame in frames()]
    with pytest.raises(TrajkitError, match=r"frame 0: depth of shape \(12, 32\), not \(24, 32\)"):
        write_clip(tmp_path, clip(), small, depth="z")


def saved(array: np.ndarray, name: str = "depth") -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: array})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "damaged npz"),
        (saved(np.zeros((5, 24, 32), np.float16))[:-10], "damaged npz"),
        (saved(np.zeros((5, 24, 32), np.float32)), "depth is <f4"),
        (saved(np.zeros((4, 24, 32), np.float16)), r"depth is <f2 \(4, 24, 32\), not <f2 5x24x32"),
        (saved(np.zeros((500, 240, 32), np.float16)), "not <f2 5x24x32"),  # 8 MB from a few kB: refused unread
        (saved(np.zeros((5, 24, 32), np.float16), "z"), r"holds z\.npy"),
    ],
)
def test_bad_depth_is_one_line(tmp_path, content, problem):
    made = write_clip(tmp_path, clip(), frames(), depth="z")
    (tmp_path / "a.depth.npz").write_bytes(content)
    with pytest.raises(TrajkitError, match=rf"a\.depth\.npz: .*{problem}"):
        read_depth(made)


def test_a_clip_without_depth_says_so(tmp_path):
    with pytest.raises(TrajkitError, match="clip a: has no depth; render it with depth"):
        read_depth(write_clip(tmp_path, clip(), frames()))
