"""What this machine can and cannot run, as a list of checks."""

import ctypes.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from trajkit import __version__, plugins
from trajkit.probes import ask
from trajkit.requirements import Requirement, requirements, unmet

OPENCV_WHEELS = {f"opencv-{kind}{screen}" for kind in ("python", "contrib-python") for screen in ("", "-headless")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One answer. ok: works. absent: not installed or not in this machine. broken: there, but does not work."""

    area: str
    name: str
    state: Literal["ok", "absent", "broken"]
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """Every check, in the order of the report. Raises nothing for a package that is missing or broken."""
    wanted = [*requirements()]
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        asked = {name: pool.submit(ask, name) for name in ("torch", "core", "plugins", "pycolmap", "cv2")}
        readers = {name: pool.submit(ask, "reader", name) for name in plugins.names("readers")}
        answers = {name: future.result() for name, future in asked.items()}
        return [
            *_machine(),
            *_core(wanted, answers["core"]),
            *_extras(wanted),
            *_gpu(answers["torch"]),
            *_video(answers["core"], readers),
            _library("libraries", "pycolmap", answers["pycolmap"], "pip install trajkit[capture]"),
            _opencv(answers["cv2"]),
            *_plugins(answers["plugins"]),
        ]


def _machine() -> Iterable[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = shutil.disk_usage(".").free / 1e9
    python = f"{platform.python_version()} ({platform.python_implementation()})"
    yield Check(area="machine", name="trajkit", state="ok", found=__version__)
    yield Check(area="machine", name="python", state="ok", found=python)
    yield Check(area="machine", name="platform", state="ok", found=platform.platform())
    yield Check(area="machine", name="cores", state="ok", found=f"{cores} of {os.cpu_count()} usable")
    yield Check(area="machine", name="memory", state="ok", found=_memory())
    remedy = "free some: a clip takes a few MB, a reconstruction 100 MB" if free < 5 else ""
    yield Check(area="machine", name="disk", state="ok", found=f"{free:.1f} GB free in this folder", remedy=remedy)


def _memory() -> str:
    """Total and available memory in GB, and the control group's limit where it is lower."""
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, available = (int(rows[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):  # not Linux
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB" if pages > 0 else "unknown"
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no control group, or "max"
        limit = total
    bounded = f", limited to {limit / 1e9:.1f} GB" if limit < total else ""
    return f"{total / 1e9:.1f} GB, {available / 1e9:.1f} GB available{bounded}"


def _core(wanted: list[Requirement], answer: tuple[dict, str]) -> Iterable[Check]:
    facts, why = answer
    core = [one for one in wanted if not one.extra]
    if not core:
        missing = "the package's metadata is not installed"
        yield Check(area="core", name="trajkit", state="absent", found=missing, remedy="pip install -e .")
    for one in core:
        lacking, broken = unmet(one), facts.get("failures", {}).get(one.name, "")
        if lacking or broken:
            state: Literal["absent", "broken"] = "absent" if lacking else "broken"
            remedy = f"pip install --upgrade --force-reinstall {one.name}"
            yield Check(area="core", name=one.name, state=state, found=lacking or broken, remedy=remedy)
        else:
            yield Check(area="core", name=one.name, state="ok", found=version(one.name))
    if why:
        yield Check(area="core", name="imports", state="broken", found=why, remedy="make a fresh environment")


def _extras(wanted: list[Requirement]) -> Iterable[Check]:
    for extra in sorted({one.extra for one in wanted if one.extra}):
        mine = [one for one in wanted if one.extra == extra]
        elsewhere = [one.name for one in mine if not one.here]
        lacking = [reason for one in mine if one.here and (reason := unmet(one))]
        if lacking:
            remedy = f"pip install trajkit[{extra}]"
            yield Check(area="extras", name=extra, state="absent", found=", ".join(lacking), remedy=remedy)
        elif len(elsewhere) == len(mine):
            found = f"{', '.join(elsewhere)}: no package for {sys.platform} {platform.machine()}"
            yield Check(area="extras", name=extra, state="absent", found=found)
        else:
            here = [f"{one.name} {version(one.name)}" for one in mine if one.here]
            found = ", ".join(here) if len(here) < 7 else f"{len(here)} packages"
            yield Check(area="extras", name=extra, state="ok", found=found)


def _gpu(answer: tuple[dict, str]) -> Iterable[Check]:
    facts = answer[0]
    torch = _library("gpu", "torch", answer, "pip install trajkit[render]")
    yield torch
    if torch.state != "ok":
        problem, remedy = "torch does not load", torch.remedy
    elif not facts["devices"]:
        problem = "no CUDA device"
        remedy = "render with --renderer splats (CPU), or run on a machine with an NVIDIA GPU and driver"
    else:
        problem, remedy = "", ""
    found = "; ".join(facts.get("devices", ())) or problem
    yield Check(area="gpu", name="CUDA", state="absent" if problem else "ok", found=found, remedy=remedy)
    yield _gsplat(facts, problem, remedy)


def _gsplat(facts: dict, problem: str, remedy: str) -> Check:
    """gsplat's wheel holds sources: its kernels need a CUDA device, and once nvcc of torch's CUDA and ninja."""
    spec = find_spec("gsplat")
    folder = Path(next(iter(spec.submodule_search_locations or ()), ".")) if spec else None
    if folder is None:
        found, remedy = "not installed", "pip install trajkit[render]"
        return Check(area="gpu", name="gsplat", state="absent", found=found, remedy=remedy)
    compiler = _nvcc()
    if not problem and not any(folder.glob("csrc*.so")):
        wanted = str(facts.get("cuda")).split(".")[0]
        if not compiler:
            problem, remedy = "no nvcc to compile its kernels", f"install the CUDA {wanted} toolkit, or set CUDA_HOME"
        elif compiler.split(".")[0] != wanted:
            problem = f"nvcc {compiler} does not match torch's CUDA {facts.get('cuda')}"
            remedy = f"set CUDA_HOME to a CUDA {wanted} toolkit"
        elif not shutil.which("ninja"):
            problem, remedy = "no ninja to compile its kernels", "pip install trajkit[render]"
    note = f"{version('gsplat')}, nvcc {compiler or 'not found'}"
    found = f"{note}: {problem}" if problem else f"{note}; compiles its kernels at the first use (minutes)"
    return Check(area="gpu", name="gsplat", state="absent" if problem else "ok", found=found, remedy=remedy)


def _nvcc() -> str:
    """Version of the CUDA compiler that torch would call, "" without one."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    program = shutil.which("nvcc", path=f"{home}/bin") if home else shutil.which("nvcc")
    program = program or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if not program:
        return ""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"release (\d+\.\d+)", told)
    return found[1] if found else ""


def _video(core: tuple[dict, str], readers: dict[str, Future]) -> Iterable[Check]:
    if bundled := core[0].get("ffmpeg"):
        yield Check(area="video", name="FFmpeg in av", state="ok", found=bundled)
    libraries = {name: ctypes.util.find_library(name) for name in ("avcodec", "avformat", "avutil")}
    if all(libraries.values()):
        yield Check(area="video", name="FFmpeg libraries", state="ok", found=", ".join(map(str, libraries.values())))
    else:
        missing = ", ".join(f"lib{name}" for name, found in libraries.items() if not found)
        remedy = "only torchcodec needs them: install FFmpeg's shared libraries (4 to 8)"
        found = f"{missing} not found in the system"
        yield Check(area="video", name="FFmpeg libraries", state="absent", found=found, remedy=remedy)
    for name, future in readers.items():
        yield _library("video", f"reader {name}", future.result(), "use --reader pyav")


def _opencv(answer: tuple[dict, str]) -> Check:
    installed = {str(one.metadata["Name"]).lower().replace("_", "-") for one in distributions()}
    wheels = sorted(installed & OPENCV_WHEELS)
    if len(wheels) > 1:
        found = f"{' and '.join(wheels)} both own the module cv2"
        remedy = f"pip uninstall {' '.join(wheels)}, then install one of them"
        return Check(area="libraries", name="opencv", state="broken", found=found, remedy=remedy)
    return _library("libraries", "opencv", answer, "optional: pip install opencv-python-headless")


def _plugins(answer: tuple[dict, str]) -> Iterable[Check]:
    facts, why = answer
    if why:
        yield Check(area="plugins", name="all", state="broken", found=why, remedy="run trajkit --debug plugins")
    for kind, rows in facts.items():
        usable = [name for name, missing in rows if not missing]
        yield Check(area="plugins", name=kind, state="ok" if usable else "absent", found=", ".join(usable) or "none")
        for name, missing in rows:
            if missing:
                problem, _, remedy = missing.rpartition("; ")
                yield Check(area="plugins", name=f"{kind} {name}", state="absent", found=problem, remedy=remedy)


def _library(area: str, name: str, answer: tuple[dict, str], remedy: str) -> Check:
    """The check of one probe: ok with what it says, absent where a module is not found, broken otherwise."""
    facts, why = answer
    if not why:
        return Check(area=area, name=name, state="ok", found=str(facts["found"]))
    absent = why.startswith("ModuleNotFoundError") or "not installed" in why
    why = "not installed" if absent else why
    return Check(area=area, name=name, state="absent" if absent else "broken", found=why, remedy=remedy)
