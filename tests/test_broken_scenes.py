"""A batch with broken scenes: one line for each, the good ones are rendered, exit code 3."""

import json
from pathlib import Path

import numpy as np
import pytest
import splatting
from click.testing import CliRunner
from PIL import Image

from trajkit.commands.render import command
from trajkit.gaussians import Gaussians, write_ply
from trajkit.ledger import Ledger

IDENTITY = np.eye(4).tolist()


def capture(folder: Path, photos: int, *, size: tuple[int, int] = (64, 48), **changes: object) -> Path:
    """A nerfstudio capture of plain photos in a row; `changes` overrides or adds frames' matrices and photo sizes."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for number in range(photos):
        matrix = np.eye(4)
        matrix[0, 3] = number / 10
        Image.new("RGB", size, (number, 90, 90)).save(folder / "images" / f"frame_{number:05d}.png")
        frames.append({"file_path": f"images/frame_{number:05d}.png", "transform_matrix": matrix.tolist()})
    for number, matrix in dict(changes.get("matrices", {})).items():  # type: ignore[call-overload]
        frames[number]["transform_matrix"] = matrix
    for number, other in dict(changes.get("sizes", {})).items():  # type: ignore[call-overload]
        Image.new("RGB", other).save(folder / "images" / f"frame_{number:05d}.png")
    table = {"w": size[0], "h": size[1], "fl_x": 60, "fl_y": 60, "cx": 32, "cy": 24, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


def transparent(path: Path, count: int) -> Path:
    """Splats of no opacity at all."""
    means = np.random.default_rng(0).normal(size=(count, 3))
    quaternions = np.tile([1.0, 0, 0, 0], (count, 1))
    write_ply(
        Gaussians(
            means=means, log_scales=np.full((count, 3), -3.0), quaternions_wxyz=quaternions,
            logit_opacities=np.full(count, -40.0), sh=np.zeros((count, 1, 3)),
        ),
        path,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    at = tmp_path_factory.mktemp("broken")
    (at / "empty").mkdir()
    far = np.eye(4)
    far[:3, 3] = 1e7
    nan = np.full((4, 4), np.nan)
    write_ply(splatting.blobs(300), at / "whole.ply")
    (at / "short.ply").write_bytes((at / "whole.ply").read_bytes()[:-5000])
    return [
        f"dl3dv:{at / 'empty'}",
        f"dl3dv:{capture(at / 'single', 1)}",
        f"dl3dv:{capture(at / 'two_sizes', 9, sizes={k: (64, 40) for k in range(1, 9)})}",
        f"dl3dv:{capture(at / 'not_a_number', 9, matrices={4: nan.tolist()})}",
        f"dl3dv:{capture(at / 'huge', 9, matrices={k: far.tolist() for k in range(9)})}",
        f"splat:{at / 'short.ply'}",
        f"splat:{transparent(at / 'clear.ply', 1_000_000)}",
        f"dl3dv:{capture(at / 'textureless', 9)}",  # readable, but nothing can be reconstructed from it
        "toy:",
    ]


EXPECTED = {
    "empty": "missing-transforms",
    "single": "1 usable of 1",
    "two_sizes": "size-mismatch",
    "not_a_number": "non-finite-pose",
    "huge": "huge-translation",
    "short": "unreadable-splat",
    "clear": "invisible-splats",
    "textureless": "points",
}


def test_the_rest_of_the_batch_goes_on(batch: list[str], tmp_path: Path) -> None:
    arguments = [*batch, "--path=keys:w*1", "--count=2", "--frames=5", "--size=64x48", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
    assert result.return_value == 3, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("rejected ")]
    assert len(lines) == len(EXPECTED)
    told = {line.split()[1].rstrip(":"): line for line in lines}
    for key, reason in EXPECTED.items():
        assert reason in told[key], told[key]
    assert "2 clips of 5 frames" in result.stdout
    assert "Traceback" not in result.output
    assert len(list(tmp_path.glob("toy-0-*.mp4"))) == 2
    rows = Ledger(tmp_path).scan().collect()
    assert set(rows.filter(rows["state"] == "rejected")["key"]) == set(EXPECTED)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]
