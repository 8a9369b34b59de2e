"""The contract that every plugin keeps, those of installed packages included, and how plugins are found."""

import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trajkit import options, plugins
from trajkit.cli import group
from trajkit.errors import TrajkitError
from trajkit.scene import Scene
from trajkit.seeding import generator
from trajkit.trajectory import Trajectory

DOC = Path(__file__).resolve().parents[1] / "docs/plugins.md"
GUIDE = DOC.read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1]  # type: ignore[index]


def load(kind: str, name: str):
    """The plugin; skips, with its own words, where a package that it needs is not installed here."""
    reason = next(one for one in plugins.survey(kind) if one.name == name).missing
    if reason:
        assert re.search(r"; pip install [\w\[\] -]+$", reason), f"the remedy of {kind} {name} is no command: {reason}"
        assert "\n" not in reason
        pytest.skip(f"{kind} {name}: {reason}")
    return plugins.load(kind, name)


def check_common(kind: str, name: str):
    """What every kind has: a docstring whose first line stands alone, and options that explain themselves."""
    module = load(kind, name)
    first = (module.__doc__ or "").split("\n")[0]
    assert first.endswith("."), f"{kind} {name}: the docstring's first line is what `trajkit plugins` prints: {first!r}"
    assert len(first) <= 130
    assert isinstance(getattr(module, "REQUIRES", ()), tuple)
    for wanted in getattr(module, "REQUIRES", ()):
        importlib.util.find_spec(wanted)
    if not hasattr(module, "Options"):
        return module
    assert dataclasses.is_dataclass(module.Options)
    assert module.Options.__dataclass_params__.frozen, f"{kind} {name}: Options can be changed after the fact"
    for field in options.settable(module.Options).values():
        assert field.default is not dataclasses.MISSING, f"{kind} {name}: option {field.name} has no default"
        assert field.metadata["help"].strip(), f"{kind} {name}: option {field.name} has no help"
        assert field.kw_only
    return module


def takes(function, *names: str) -> None:
    """Checks that a function can be called with these arguments by position, and needs no others."""
    inspect.signature(function).bind(*names)


@pytest.mark.parametrize("name", plugins.names("scenes"))
def test_scene_source(name: str) -> None:
    module = check_common("scenes", name)
    takes(module.scenes, "root", "options")
    options.parse(module.Options, "", where=name)


@pytest.mark.parametrize("name", plugins.names("poses"))
def test_pose_format(name: str) -> None:
    module = check_common("poses", name)
    if hasattr(module, "read"):
        takes(module.read, "path", "options")
    if hasattr(module, "write"):
        takes(module.write, "trajectory", "path", "options")
    if hasattr(module, "Options"):
        options.parse(module.Options, "", where=name)


@pytest.mark.parametrize("name", plugins.names("paths"))
def test_path(name: str) -> None:
    module = check_common("paths", name)
    wanted = options.parse(module.Options, "", where=name, frames=77, fps=16.0, camera=corridor().seen.camera(0))
    first, second = (module.sample(corridor(), wanted, generator(5, name)) for _ in range(2))
    assert isinstance(first, Trajectory)
    assert len(first) == 77
    assert first.fps == pytest.approx(16)
    assert np.array_equal(first.camera_to_world, second.camera_to_world), "not a function of the generator alone"


@pytest.mark.parametrize("name", plugins.names("renderers"))
def test_renderer(name: str) -> None:
    module = check_common("renderers", name)
    options.parse(module.Options, "", where=name)
    takes(module.Renderer, "scene", "options")
    takes(module.Renderer.frames, "self", "trajectory")


@pytest.mark.parametrize("name", plugins.names("readers"))
def test_reader(name: str) -> None:
    module = check_common("readers", name)
    takes(module.probe, "source")
    takes(module.read, "source")
    takes(module.read, "source", [0])


def corridor() -> Scene:
    """A scene of twelve cameras that walk along z."""
    poses = np.tile(np.eye(4), (12, 1, 1))
    poses[:, 2, 3] = np.linspace(0, 3, 12)
    seen = Trajectory(
        camera_to_world=poses,
        intrinsics=np.array([50.0, 50.0, 48.0, 32.0]),
        width=96,
        height=64,
        times_s=np.arange(12.0),
        frame_index=np.arange(12),
    )
    extent = np.array([[-2.0, -2.0, -1.0], [2.0, 2.0, 8.0]])
    return Scene(
        id="corridor", source="made", licence="none", up=np.array([0.0, -1, 0]), extent=extent, unit=1.0, seen=seen
    )


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_unknown_name(kind: str) -> None:
    names = plugins.names(kind)
    with pytest.raises(TrajkitError, match="no such plugin"):
        plugins.load(kind, "zzzzzz")
    for name in names[:1]:
        with pytest.raises(TrajkitError, match=f"did you mean '{name}'"):
            plugins.load(kind, name[:-1] + "_")


@pytest.fixture
def mykit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `mykit` on the path, as a user would have it."""
    folder = tmp_path / "mykit"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    plugins._published.cache_clear()
    for name in [name for name in importlib.sys.modules if name.partition(".")[0] == "mykit"]:
        del importlib.sys.modules[name]


def declare(folder: Path, text: str) -> None:
    """Makes `mykit` an installed distribution with these entry points."""
    record = folder.parent / "mykit-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: mykit\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(text)
    importlib.invalidate_caches()
    plugins._published.cache_clear()


def test_example_of_the_guide(mykit: Path) -> None:
    assert len(EXAMPLE.strip().splitlines()) <= 25
    (mykit / "dolly.py").write_text(EXAMPLE)
    module = plugins.load("paths", "mykit.dolly")
    wanted = options.parse(module.Options, "distance=2", where="x", frames=5, camera=corridor().seen.camera(0))
    path = module.sample(corridor(), wanted, generator(0))
    assert path.centres == pytest.approx(np.linspace([0, 0, 0], [0, 0, 2], 5))
    with pytest.raises(TrajkitError, match="did you mean 'distance'"):
        options.parse(module.Options, "distanse=2", where="x", camera=corridor().seen.camera(0))


def test_entry_point_gives_a_short_name(mykit: Path) -> None:
    (mykit / "dolly.py").write_text(EXAMPLE)
    block = re.search(r"```toml\n\[project.entry-points.\"(.*?)\"\]\n(.*?)```", GUIDE, re.DOTALL)
    declare(mykit, f"[{block[1]}]\n{block[2].replace(chr(34), '')}")  # type: ignore[index]
    assert "dolly" in plugins.names("paths")
    told = CliRunner().invoke(group, ["plugins", "paths", "dolly"]).output
    assert "distance=1.0 path units" in told
    assert "how far to move" in told


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("import not_there_at_all", "ModuleNotFoundError"),
        ("raise OSError('libcuda.so.1: cannot open')", "libcuda.so.1"),
        ("x = undefined", "NameError"),
        ("def broken(:", "SyntaxError"),
        ('"""Nothing in it."""', "defines no Options"),
        ('"""Needs more."""\nREQUIRES = ("not_there_at_all",)', "pip install not_there_at_all"),
        ('"""Needs more."""\nREQUIRES = ("not_there_at_all",)\nEXTRA = "render"', r"pip install trajkit\[render\]"),
    ],
)
def test_a_bad_plugin_does_not_hide_the_others(mykit: Path, content: str, reason: str) -> None:
    (mykit / "bad.py").write_text(content)
    declare(mykit, "[trajkit.paths]\nbad = mykit.bad\n")
    with pytest.raises(TrajkitError, match=reason) as caught:
        plugins.load("paths", "bad")
    assert "\n" not in str(caught.value)
    result = CliRunner().invoke(group, ["plugins", "paths", "--json"])
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.output)["plugins"]}
    assert re.search(reason, rows["bad"]["missing"])
    assert all(not row["missing"] for name, row in rows.items() if name != "bad")


def test_command_lists_every_kind() -> None:
    result = CliRunner().invoke(group, ["plugins"])
    assert result.exit_code == 0
    for kind in plugins.KINDS:
        for name in plugins.names(kind):
            assert re.search(rf"^  {name} ", result.output, re.MULTILINE), f"{kind} {name} is not listed"


def test_command_shows_one_plugin() -> None:
    result = CliRunner().invoke(group, ["plugins", "paths", "orbit"])
    assert result.exit_code == 0
    assert "turns of 360 degrees" in result.output
    assert "spline" not in result.output
    row = json.loads(CliRunner().invoke(group, ["plugins", "paths", "orbit", "--json"]).output)["plugins"][0]
    turns = next(one for one in row["options"] if one["name"] == "turns")
    assert turns["unit"] == "turns of 360 degrees"
    assert isinstance(turns["default"], float)


@pytest.mark.parametrize(("arguments", "remedy"), [(["path"], "paths"), (["paths", "orbbit"], "orbit")])
def test_command_names_the_nearest(arguments: list[str], remedy: str) -> None:
    result = CliRunner().invoke(group, ["plugins", *arguments])
    assert isinstance(result.exception, TrajkitError)
    assert f"did you mean '{remedy}'" in str(result.exception)
