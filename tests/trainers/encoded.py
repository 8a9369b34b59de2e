"""Small encoded data sets for tests, made by the toy encoder through the command itself."""

from pathlib import Path

import tinyclips
from torch import Tensor

from trajkit.shards import open_shard
from trajkit.trainers import tensor_file
from trajkit.trainers.commands.encode import command

SIZE = "16x12"


def encode(*arguments: object) -> int:
    """Exit code of `trajkit encode`; errors are raised."""
    return int(command.main([*map(str, arguments)], standalone_mode=False) or 0)


def toy(out: Path, *sources: Path, clips: int = 2, extra: tuple[object, ...] = ()) -> Path:
    """The folder `out`, with the sources encoded into shards of so many clips."""
    code = encode(*sources, "--encoder", "toy", "--size", SIZE, "--shard-clips", clips, "--out", out, "--json", *extra)
    assert code == 0
    return out


def shards(folder: Path, count: int = 5, *, frames: int = 9, prefix: str = "clip") -> Path:
    """A folder of encoded shards of `count` clips of 32x24 with 60 degrees of view."""
    tinyclips.real(folder / "clips", count, frames=frames, prefix=prefix)
    return toy(folder / "encoded", folder / "clips")


def unpacked(shards: Path, out: Path) -> Path:
    """The folder `out`, with the clips of a folder of shards."""
    out.mkdir(parents=True, exist_ok=True)
    for shard in map(open_shard, sorted(shards.glob("*.tar"))):
        for key in shard.keys:
            for suffix, content in shard.members(key).items():
                (out / f"{key}.{suffix}").write_bytes(content)
    return out


def rewritten(content: bytes, told: dict[str, str], **tensors: Tensor) -> bytes:
    """A latent file with other metadata and tensors."""
    from safetensors.torch import load

    return tensor_file.packed({**load(content), **tensors}, {**tensor_file.metadata_of(content, ""), **told})
