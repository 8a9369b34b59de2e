"""Every format gives back what was written: all that its KEEPS promises, for any trajectory it can hold."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.poses import (
    ASPECTS,
    colmap,
    kitti,
    lingbot,
    megasam,
    minwm,
    nerfstudio,
    re10k,
    spatialvid,
    tartanair,
    tum,
    vipe,
    worldplay,
)
from trajkit.trajectory import Scale, Trajectory

FLOAT64, FLOAT32 = 1e-12, 3e-7  # relative to the longest translation


def _plain(trajectory: Trajectory) -> Trajectory:
    """Without distortion, in the unit it stands in."""
    return replace(trajectory, distortion=(), scale=Scale(kind=trajectory.scale.kind))


def _one_lens(trajectory: Trajectory) -> Trajectory:
    return _plain(trajectory).with_camera(_plain(trajectory).camera(0))


def _centred(trajectory: Trajectory) -> Trajectory:
    intrinsics = trajectory.intrinsics.copy()
    intrinsics[:, 2:] = trajectory.width / 2, trajectory.height / 2
    return replace(_plain(trajectory), intrinsics=intrinsics)


def _video(trajectory: Trajectory, fps: float, step: int = 1) -> Trajectory:
    frame_index = np.arange(len(trajectory)) * step
    return replace(trajectory, frame_index=frame_index, times_s=frame_index / fps)


def _square(trajectory: Trajectory) -> Trajectory:
    intrinsics = _centred(trajectory).intrinsics.copy()
    intrinsics[:, 0] = intrinsics[:, 1]
    return _video(replace(_plain(trajectory), intrinsics=intrinsics), 30.0)


def _five_hertz(trajectory: Trajectory) -> Trajectory:
    return replace(_plain(trajectory), times_s=np.arange(len(trajectory)) * 0.2)


def _microseconds(trajectory: Trajectory) -> Trajectory:
    return replace(_plain(trajectory), times_s=np.rint(trajectory.times_s * 1e6) * 1e-6)


@dataclass(frozen=True)
class Case:
    """One form of one format: where it is written, which trajectories it can hold, and how exactly."""

    module: object
    path: str
    fit: Callable[[Trajectory], Trajectory] = _plain
    reading: Callable[[Trajectory], dict] = lambda trajectory: {}
    writing: Callable[[Trajectory], dict] = lambda trajectory: {}
    tolerance: float = FLOAT64
    anchored: bool = False  # the first pose comes back as the identity
    keeps: frozenset[str] | None = None  # where one form keeps other things than the format


def _size(trajectory: Trajectory) -> dict:
    return {"width": trajectory.width, "height": trajectory.height}


def _lens(trajectory: Trajectory) -> dict:
    return _size(trajectory) | dict(zip(("fx", "fy", "cx", "cy"), map(float, trajectory.intrinsics[0]), strict=True))


CASES = {
    "nerfstudio": Case(nerfstudio, "transforms.json", replace),
    "nerfstudio camera path": Case(
        nerfstudio, "camera_path.json", _square, keeps=frozenset({"lens", "size", "times", "frames"})
    ),
    "colmap binary": Case(colmap, "model", replace),
    "colmap text": Case(colmap, "model", replace, writing=lambda trajectory: {"form": "text"}),
    "minwm rows": Case(minwm, "poses.npy", lambda t: _video(_plain(t), 16.0, 4), _size, tolerance=FLOAT32),
    "minwm json": Case(
        minwm, "pose.json", lambda t: _video(_centred(t), 16.0, 4), anchored=True, keeps=worldplay.KEEPS
    ),
    "worldplay inference": Case(worldplay, "pose.json", lambda t: _video(_centred(t), 24.0, 4), anchored=True),
    "worldplay training": Case(worldplay, "pose.json", _centred, writing=lambda trajectory: {"form": "training"}),
    "re10k": Case(re10k, "clip.txt", _microseconds, _size),
    "tum": Case(tum, "poses.txt", _one_lens, _lens),
    "kitti": Case(kitti, "poses.txt", _one_lens, _lens),
    "spatialvid": Case(spatialvid, "clip", _five_hertz, _size, tolerance=FLOAT32),
    "vipe": Case(vipe, "clip", _plain, _size, tolerance=FLOAT32),
    "megasam archive": Case(megasam, "a_droid.npz", _one_lens, _size, tolerance=FLOAT32),
    "megasam folder": Case(megasam, "clip", _one_lens, _size, tolerance=FLOAT32),
    "tartanair": Case(tartanair, "pose_left.txt"),
    "lingbot": Case(lingbot, "clip", lambda t: _video(_plain(t), 16.0), _size, _size, tolerance=FLOAT32),
}


@pytest.mark.parametrize("name", CASES)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 7))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_round_trip(name, seed, count, make_trajectory):
    case = CASES[name]
    trajectory = case.fit(make_trajectory(seed, count))
    module = case.module
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / case.path
        module.write(trajectory, path, module.Options(**case.writing(trajectory)))
        back = module.read(path, module.Options(**case.reading(trajectory)))
    expected = trajectory.relative_to(0) if case.anchored else trajectory
    reach = np.abs(trajectory.camera_to_world[:, :3, 3]).max() + 1
    np.testing.assert_allclose(back.camera_to_world[:, :3, :3], expected.camera_to_world[:, :3, :3], atol=3e-7)
    np.testing.assert_allclose(back.centres, expected.centres, atol=case.tolerance * 4 * reach)
    if case.tolerance == FLOAT64:
        np.testing.assert_allclose(back.camera_to_world, expected.camera_to_world, atol=1e-12 * reach)
    _check_kept(module.KEEPS if case.keeps is None else case.keeps, trajectory, back)


def _check_kept(keeps: frozenset[str], trajectory: Trajectory, back: Trajectory) -> None:
    if "lens" in keeps:
        np.testing.assert_allclose(back.intrinsics, trajectory.intrinsics, rtol=1e-6)
    if "size" in keeps:
        assert (back.width, back.height) == (trajectory.width, trajectory.height)
    if "distortion" in keeps:
        assert back.distortion == trajectory.distortion
    if "times" in keeps:
        np.testing.assert_allclose(back.times_s, trajectory.times_s, rtol=1e-15, atol=1e-9)
    if "frames" in keeps:
        np.testing.assert_array_equal(back.frame_index, trajectory.frame_index)
    if "names" in keeps:
        assert len(back.names) == len(trajectory)


@pytest.mark.parametrize("name", plugins.names("poses"))
def test_contract_of_the_plugin(name):
    module = plugins.load("poses", name)
    assert module.KEEPS.issubset(ASPECTS)
    assert module.__doc__
    assert callable(module.matches)
    assert module.Options() == module.DEFAULT


def test_the_table_in_the_docs_says_what_each_format_keeps():
    text = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    header, _, *rows = text[text.index("| format") : text.index("\n\n", text.index("| format"))].splitlines()
    aspects = [cell.strip() for cell in header.split("|")[3:-2]]
    assert aspects == list(ASPECTS)
    found = {}
    for row in rows:
        name, _, *cells = [cell.strip() for cell in row.split("|")[1:-2]]
        found[name] = {aspect for aspect, cell in zip(aspects, cells, strict=True) if cell == "yes"}
    assert found == {name: set(plugins.load("poses", name).KEEPS) for name in plugins.names("poses")}


@pytest.mark.parametrize("name", CASES)
def test_same_poses_give_the_same_bytes(name, make_trajectory, tmp_path):
    case = CASES[name]
    trajectory = case.fit(make_trajectory(7, 5))
    contents = []
    for run in ("one", "two"):
        path = tmp_path / run / case.path
        case.module.write(trajectory, path, case.module.Options(**case.writing(trajectory)))
        files = sorted(file for file in (tmp_path / run).rglob("*") if file.is_file())
        contents.append([(file.relative_to(tmp_path / run), file.read_bytes()) for file in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", CASES)
def test_a_crash_at_any_file_leaves_nothing_that_reads_as_complete(name, make_trajectory, tmp_path, monkeypatch):
    """Writes over an older export, cut off before each of its files: readers see the old, the new, or an error."""
    case = CASES[name]
    old, new = (_with_options(case, make_trajectory(seed, 5)) for seed in (1, 2))
    case.module.write(old, tmp_path / "whole" / case.path, case.module.Options(**case.writing(old)))
    count = sum(file.is_file() for file in (tmp_path / "whole").rglob("*"))
    for survivors in range(count + 1):
        path = tmp_path / str(survivors) / case.path
        case.module.write(old, path, case.module.Options(**case.writing(old)))
        with monkeypatch.context() as patched:
            _cut_off(patched, survivors)
            with suppress(KeyboardInterrupt):
                case.module.write(new, path, case.module.Options(**case.writing(new)))
        try:
            found = case.module.read(path, case.module.Options(**case.reading(new)))
        except TrajkitError:
            continue
        wanted = [trajectory.relative_to(0) if case.anchored else trajectory for trajectory in (old, new)]
        assert any(np.allclose(found.camera_to_world, each.camera_to_world, rtol=1e-5, atol=1e-5) for each in wanted)
        if "lens" in case.module.KEEPS:
            same = [np.allclose(found.intrinsics, each.intrinsics, rtol=1e-5) for each in (old, new)]
            posed = [np.allclose(found.camera_to_world, w.camera_to_world, rtol=1e-5, atol=1e-5) for w in wanted]
            assert same == posed


def _with_options(case: Case, trajectory: Trajectory) -> Trajectory:
    """Old and new of one size, so that both are read with the same options."""
    return case.fit(replace(trajectory.resized(640, 480), distortion=()))


def _cut_off(patched: pytest.MonkeyPatch, survivors: int) -> None:
    from trajkit import files

    real, written = files.whole, [0]

    def whole(path):
        if written[0] == survivors:
            raise KeyboardInterrupt
        written[0] += 1
        return real(path)

    patched.setattr(files, "whole", whole)
