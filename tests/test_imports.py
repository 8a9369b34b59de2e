"""The arrows between folders, and what `trajkit --help` may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT, committable

HEAVY = {"torch", "webdataset", "open3d", "cv2", "pycolmap", "numpy", "scipy", "polars", "numba", "av", "PIL"}
REACHED_BY_HELP = ["trajkit/__init__.py", "trajkit/__main__.py", "trajkit/cli.py", "trajkit/errors.py"]
FORBIDDEN = {
    "trajkit": ("trajkit.curation", "trajkit.trainers", "curation", "trainers"),
    "curation": ("trajkit.trainers", "trainers", "curation"),
    "trainers": ("trajkit.curation", "curation", "trainers"),
}


def imports(path: Path) -> set[str]:
    """Modules that a file names in import statements at any depth; relative ones from inside their own folder stay."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            found.add("trajkit." + (node.module or ""))  # a climb out of curation/ or trainers/ lands in trajkit
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_arrow_points_the_wrong_way(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imports(path):
            wrong = [bad for bad in FORBIDDEN[folder] if name == bad or name.startswith(bad + ".")]
            assert not wrong, f"{path.relative_to(ROOT)} imports {name}"


def test_schemas_hold_no_python() -> None:
    assert not list((ROOT / "schemas").rglob("*.py"))


def test_help_reaches_no_heavy_import() -> None:
    for name in REACHED_BY_HELP:
        heavy = {module.split(".")[0] for module in imports(ROOT / name)} & HEAVY
        assert not heavy, f"{name} imports {heavy}"
    script = "import sys\nfrom trajkit.cli import group\ngroup(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {module.split(".")[0] for module in loaded} & HEAVY
    assert "trajkit.commands.render" not in loaded


def test_no_committed_file_names_this_machine() -> None:
    for path in committable():
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".html"}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert str(ROOT) not in text, path
