"""Kill -9 at any moment of render or pack, run again: the same bytes as a run that was not killed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import splatting
from killing import Kitchen, tree

from trajkit.gaussians import write_ply

MOMENTS = 8
RENDER = (
    "--path=orbit:turns=0.05",
    "--path=keys:w*1",
    "--count=4",
    "--frames=5",
    "--size=160x96",
    "--depth",
    "--renderer=splats",
    "--accept=off",  # a cloud of blobs is no place to walk
)
PACK = ("--shard-clips=2", "--seed=3")


class Run:
    """The two commands of one run, in folders of their own."""

    def __init__(self, folder: Path, splat: Path) -> None:
        self.render = ("render", f"splat:{splat}", *RENDER, f"--out={folder / 'clips'}")
        self.pack = ("pack", folder / "clips", *PACK, f"--out={folder / 'shards'}")


@pytest.fixture(scope="module")
def splat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud of Gaussians: enough to see, quick to render."""
    path = tmp_path_factory.mktemp("splat") / "blobs.ply"
    write_ply(splatting.blobs(400), path)
    return path


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory, splat: Path) -> Iterator[Kitchen]:
    warm_up = Run(tmp_path_factory.mktemp("warm"), splat)
    with Kitchen("warm_splats", *warm_up.render, "--dry-run") as kitchen:
        yield kitchen


def bytes_of(folder: Path) -> dict[str, str]:
    """Every file but the resolved options, which name the folder that was asked for."""
    return {name: digest for name, digest in tree(folder).items() if not name.endswith(".toml")}


@pytest.fixture(scope="module")
def whole(
    kitchen: Kitchen, splat: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], float, float]:
    """What an undisturbed run leaves, and how many seconds render and pack take."""
    folder = tmp_path_factory.mktemp("whole")
    kitchen.run(*Run(folder / "first", splat).render)  # may compile kernels; the second one is timed
    run = Run(folder / "second", splat)
    render_s = kitchen.run(*run.render)
    pack_s = kitchen.run(*run.pack)
    wanted = bytes_of(folder / "second")
    assert len([name for name in wanted if name.endswith(".mp4")]) == 4
    assert len([name for name in wanted if name.endswith(".tar")]) == 2
    return wanted, render_s, pack_s


def kill_midway(kitchen: Kitchen, moment_s: float, out: Path, command: tuple[object, ...]) -> None:
    """Kills the command before its end: where it is done by then, its output is removed and it dies earlier."""
    while not kitchen.kill_after(moment_s, *command):
        shutil.rmtree(out)
        moment_s *= 0.8


def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    kitchen: Kitchen, splat: Path, whole: tuple[dict[str, str], float, float], tmp_path: Path
) -> None:
    wanted, render_s, pack_s = whole
    moments = np.random.default_rng(0).uniform(0, 1, MOMENTS)
    for number, moment in enumerate(moments):
        folder = tmp_path / f"run-{number}"
        run = Run(folder, splat)
        if number % 2 == 0:
            kill_midway(kitchen, moment * render_s, folder / "clips", run.render)
        kitchen.run(*run.render)
        if number % 2 == 1:
            kill_midway(kitchen, moment * pack_s, folder / "shards", run.pack)
        kitchen.run(*run.pack)
        assert bytes_of(folder) == wanted, f"killed {moment:.3f} of the way"


@pytest.mark.parametrize("step", range(1, 60, 11))
def test_render_dies_before_a_write_step(
    kitchen: Kitchen, splat: Path, whole: tuple[dict[str, str], float, float], tmp_path: Path, step: int
) -> None:
    run = Run(tmp_path, splat)
    assert kitchen.kill_at_step(tmp_path / "clips", step, *run.render)
    kitchen.run(*run.render)
    wanted = {name: digest for name, digest in whole[0].items() if name.startswith("clips/")}
    assert bytes_of(tmp_path) == wanted


def test_torn_files_go_and_the_owners_files_stay(
    kitchen: Kitchen, splat: Path, whole: tuple[dict[str, str], float, float], tmp_path: Path
) -> None:
    run, clips = Run(tmp_path, splat), tmp_path / "clips"
    key = next(Path(name).stem for name in whole[0] if name.endswith(".mp4"))
    torn = [clips / f"{key}.mp4", clips / f"{key}.latent.safetensors.part"]
    mine = [clips / name for name in ("holiday.mp4", "notes.txt", "film.mp4.part")]
    clips.mkdir()
    for path in (*torn, *mine):
        path.write_bytes(b"half")
    kitchen.run(*run.render)
    assert all(path.read_bytes() == b"half" for path in mine), "what trajkit did not write is not its to remove"
    assert torn[0].read_bytes() != b"half"
    assert not torn[1].exists()
