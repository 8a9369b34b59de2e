"""Probes: each tries one library in a process of its own, so that a broken one can do no more than fail.

`python -m trajkit.probes NAME` runs one and prints its facts as one line of JSON; `ask` does that and reads the answer.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.requirements import requirements

LIMIT_S = 120  # a cold torch import from a network disk takes a minute; a probe that hangs is reported
MODULES = {"annotated-types": "annotated_types", "pillow": "PIL"}  # distributions whose module is named otherwise
REFUSED = "refused: "  # how a probe's TrajkitError begins on its stderr


def ask(*arguments: str) -> tuple[dict, str]:
    """(facts, "") of a probe, or ({}, why it failed): an exception's line, a signal, or silence."""
    command = [sys.executable, "-P", "-m", "trajkit.probes", *arguments]
    search = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH"))))
    try:
        told = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": search},
        )
    except subprocess.TimeoutExpired:
        return {}, f"gave no answer in {LIMIT_S} s"
    if told.returncode == 0:
        facts = [line for line in told.stdout.splitlines() if line.startswith("{")]  # others are of libraries
        return json.loads(facts[-1]), ""
    if told.returncode < 0:
        return {}, f"its import ended the process with signal {-told.returncode}"
    raised = re.findall(rf"^(?:{REFUSED}|(?:\w+\.)*(?=\w+(?:Error|Exception)\b))(.+)$", told.stderr, re.MULTILINE)
    return {}, raised[-1] if raised else f"its import ended the process with exit code {told.returncode}"


def _probe_core() -> dict[str, Any]:
    """Failures by distribution, and FFmpeg's version inside PyAV."""
    sys.modules["torch"] = None  # type: ignore[assignment] # webdataset imports torch (seconds) wherever it finds it
    failures = {}
    for one in requirements():
        if not one.extra:
            try:
                import_module(MODULES.get(one.name, one.name))
            except plugins.IMPORT_FAILURES as error:
                failures[one.name] = f"{type(error).__name__}: {error}".split("\n")[0]
    if "av" in failures:
        return {"failures": failures}
    import av

    return {"failures": failures, "ffmpeg": f"{av.ffmpeg_version_info} (PyAV {av.__version__})"}


def _probe_torch() -> dict[str, Any]:
    import torch

    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(index)
        devices.append(f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, capability {facts.major}.{facts.minor}")
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    return {"found": f"{torch.__version__} ({build})", "cuda": torch.version.cuda, "devices": devices}


def _probe_pycolmap() -> dict[str, Any]:
    import pycolmap

    return {"found": f"{pycolmap.__version__} ({'CUDA' if getattr(pycolmap, 'has_cuda', False) else 'CPU'} build)"}


def _probe_cv2() -> dict[str, Any]:
    import cv2

    return {"found": cv2.__version__}


def _probe_reader(name: str) -> dict[str, Any]:
    """Decodes one frame of a video that is written for it: a reader that loads here also reads here."""
    import numpy as np

    from trajkit.video import encode

    reader = plugins.load("readers", name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.mp4"
        encode(iter(np.full((3, 64, 64, 3), 128, np.uint8)), path, fps=16)
        shape = np.shape(reader.read(path, [1]))
    return {"found": f"decodes ({'x'.join(map(str, shape))})"}


def _probe_plugins() -> dict[str, Any]:
    return {kind: [(one.name, one.missing) for one in plugins.survey(kind)] for kind in plugins.KINDS}


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "core": _probe_core,
    "torch": _probe_torch,
    "pycolmap": _probe_pycolmap,
    "cv2": _probe_cv2,
    "reader": _probe_reader,
    "plugins": _probe_plugins,
}


def main(arguments: list[str]) -> None:
    """Runs one probe and writes its facts as the last line of stdout; whatever it raises ends the process."""
    try:
        facts = PROBES[arguments[0]](*arguments[1:])
    except TrajkitError as error:
        sys.stderr.write(f"{REFUSED}{error.problem}\n")
        raise SystemExit(1) from None
    sys.stdout.write("\n" + json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
