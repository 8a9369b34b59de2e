"""`trajkit doctor` on machines that this one is not: missing, broken, old and doubled packages are put in its way."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trajkit import doctor, plugins, probes, requirements
from trajkit.cli import group

TORCH = """
class cuda:
    def is_available(): return {gpu}
    def device_count(): return {gpu}
    def get_device_properties(index):
        class facts: name, total_memory, major, minor = "Toy GPU", 8e9, 9, 0
        return facts
class version: cuda = "13.0"
__version__ = "9.9"
print("torch says hello")
"""


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts modules in front of the installed ones, in the processes that probe: shadow(torch="raise OSError(...)")."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def put(**modules: str) -> None:
        for name, content in modules.items():
            (tmp_path / f"{name}.py").write_text(content)

    return put


@pytest.fixture
def light(shadow):
    """A machine on which everything heavy is a stub, so that a whole examination is quick."""
    shadow(torch=TORCH.format(gpu=0), pycolmap="__version__ = '4.5'", cv2="__version__ = '5.0'")
    shadow(decord="raise OSError('libavfilter.so.7: cannot open shared object file')")
    shadow(torchcodec="raise RuntimeError('Could not load libtorchcodec.\\n  More lines.')")
    return shadow


def by_name(checks: list[doctor.Check]) -> dict[str, doctor.Check]:
    return {f"{check.area} {check.name}": check for check in checks}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise ImportError('libcudart.so.13 not found')", "ImportError: libcudart.so.13 not found"),
        ("raise OSError('libtorch.so: wrong ELF class')", "OSError: libtorch.so: wrong ELF class"),
        ("raise RuntimeError('first line\\nsecond line')", "RuntimeError: first line"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import not_there_at_all", "ModuleNotFoundError"),
    ],
)
def test_a_broken_library_is_an_answer(shadow, content: str, reason: str) -> None:
    shadow(torch=content)
    facts, why = probes.ask("torch")
    assert facts == {}
    assert reason in why
    assert "\n" not in why


def test_a_library_that_hangs_is_an_answer(shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(torch="import time; time.sleep(60)")
    monkeypatch.setattr(probes, "LIMIT_S", 1)
    assert probes.ask("torch") == ({}, "gave no answer in 1 s")


def test_a_module_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise OSError('from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert "working folder" not in probes.ask("cv2")[1]


def test_examination(light) -> None:
    checks = by_name(doctor.examine())
    assert {check.state for name, check in checks.items() if name.startswith("core ")} == {"ok"}
    assert checks["gpu torch"].found == "9.9 (CUDA 13.0 build)"
    assert checks["gpu CUDA"].state == "absent"
    assert checks["gpu gsplat"].state == "absent"
    assert "splats" in checks["gpu CUDA"].remedy
    assert checks["video reader pyav"].state == "ok"
    assert "libavfilter" in checks["video reader decord"].found
    assert "Could not load libtorchcodec" in checks["video reader torchcodec"].found
    assert checks["libraries pycolmap"].found.startswith("4.5")
    for kind in plugins.KINDS:
        assert f"plugins {kind}" in checks
    for check in checks.values():
        assert check.found, f"{check.name} says nothing"
        assert "\n" not in check.found + check.remedy
        assert check.state == "ok" or check.remedy or check.area in ("plugins", "extras"), f"{check.name}: no remedy"


def test_a_broken_core_dependency_exits_with_1(shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(polars="raise ImportError('polars is broken')")
    wanted = [*requirements.requirements()]
    monkeypatch.setattr(doctor, "examine", lambda: [*doctor._core(wanted, probes.ask("core"))])
    result = CliRunner().invoke(group, ["doctor", "--json"], standalone_mode=False)
    told = json.loads(result.output)
    check = next(check for check in told["checks"] if check["name"] == "polars")
    assert (check["state"], check["found"]) == ("broken", "ImportError: polars is broken")
    assert told["ok"] is False
    assert result.return_value == 1


def test_optional_packages_do_not_change_the_exit_code(shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(torch="raise OSError('no torch here')")
    monkeypatch.setattr(doctor, "examine", lambda: [*doctor._gpu(probes.ask("torch"))])
    result = CliRunner().invoke(group, ["doctor"], standalone_mode=False)
    assert result.exception is None
    assert result.return_value == 0
    assert "!!  torch" in result.output
    assert "OSError: no torch here" in result.output
    assert "-> pip install trajkit[render]" in result.output


LINES = [
    "numpy>=2.0",
    "av<20,>=15",
    'torch>=2.9; extra == "render"',
    'decord>=0.6; (sys_platform == "win16" and platform_machine == "z80") and extra == "decord"',
]


@pytest.mark.parametrize(
    ("versions", "reasons"),
    [
        ({"numpy": "2.0.1", "av": "18.1"}, ["", ""]),
        ({"numpy": "1.26.4", "av": "20.0"}, ["numpy 1.26.4 is older than 2.0", "av 20.0 is not older than 20"]),
        ({"numpy": "2.0rc1", "av": "15"}, ["", ""]),
        ({"av": "14.4.0"}, ["numpy is not installed", "av 14.4.0 is older than 15"]),
    ],
)
def test_requirements(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], reasons: list[str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(requirements, "requires", lambda name: LINES)
    monkeypatch.setattr(requirements, "version", version)
    numpy, av, torch, decord = requirements.requirements()
    assert [requirements.unmet(one) for one in (numpy, av)] == reasons
    assert [one.extra for one in (numpy, av, torch, decord)] == ["", "", "render", "decord"]
    assert [one.here for one in (torch, decord)] == [True, False]


def test_requirements_of_the_package() -> None:
    names = {one.name for one in requirements.requirements() if not one.extra}
    assert {"numpy", "av", "click", "webdataset"} <= names


def test_no_package_for_this_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "requires", lambda name: LINES[3:])
    (check,) = doctor._extras([*requirements.requirements()])
    assert check.state == "absent"
    assert "no package for" in check.found


def test_two_opencv_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("opencv_python", "opencv_contrib_python"):
        record = tmp_path / f"{name}-5.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 5.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    check = doctor._opencv(({"found": "5.0"}, ""))
    assert check.state == "broken"
    assert "opencv-contrib-python and opencv-python" in check.found
    assert "pip uninstall" in check.remedy


@pytest.mark.parametrize(
    ("facts", "nvcc", "ninja", "state", "word"),
    [
        ({"cuda": "13.0", "devices": ["GPU"]}, "13.1", True, "ok", "compiles its kernels"),
        ({"cuda": "13.0", "devices": ["GPU"]}, "", True, "absent", "no nvcc"),
        ({"cuda": "13.0", "devices": ["GPU"]}, "12.8", True, "absent", "does not match torch's CUDA 13.0"),
        ({"cuda": "13.0", "devices": ["GPU"]}, "13.0", False, "absent", "no ninja"),
        ({"cuda": "13.0", "devices": []}, "13.0", True, "absent", "no CUDA device"),
    ],
)
def test_gsplat(monkeypatch: pytest.MonkeyPatch, facts: dict, nvcc: str, ninja: bool, state: str, word: str) -> None:
    if not importlib.util.find_spec("gsplat"):
        pytest.skip("needs trajkit[render]")
    monkeypatch.setattr(doctor, "_nvcc", lambda: nvcc)
    monkeypatch.setattr(doctor.shutil, "which", lambda program, **_: "ninja" if ninja else None)
    *_, gsplat = doctor._gpu(({"found": "9.9", **facts}, ""))
    assert gsplat.state == state
    assert word in gsplat.found
    assert bool(gsplat.remedy) == (state == "absent")


def test_devices_are_named(shadow) -> None:
    shadow(torch=TORCH.format(gpu=1))
    _, cuda, _ = doctor._gpu(probes.ask("torch"))
    assert (cuda.state, cuda.found) == ("ok", "Toy GPU, 8 GB, capability 9.0")
