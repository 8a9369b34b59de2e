"""One distribution, one import root: the same imports as wheel, editable install and bare checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import checkout
import pytest
from checkout import ROOT

import trajkit

PROBE = """
import importlib.resources, trajkit, trajkit.curation, trajkit.trainers, trajkit.camera
import schemas.mine  # the user's own package of that name must stay reachable
print(trajkit.__version__, (importlib.resources.files("trajkit.schemas") / "FORMAT.md").is_file(), trajkit.__file__)
"""
NO_BARE_NAMES = """
import importlib.util
assert not [bare for bare in ("curation", "trainers") if importlib.util.find_spec(bare)], "importable by a bare name"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source") / "trajkit"
    checkout.copy(source, "tests")
    out = source.parent / "dist"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture
def user_project(tmp_path: Path) -> Path:
    """A user's folder with a package whose name is that of one of our folders."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/mine.py").write_text("")
    return tmp_path


def probe(project: Path, path: list[Path], code: str, *flags: str) -> list[str]:
    """What the code prints in the user's folder, which precedes site-packages as a script's own folder does."""
    first = f"import sys; sys.path[:0] = {[str(entry) for entry in (project, *path)]}\n"
    command = [sys.executable, *flags, "-c", first + code]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def site_packages() -> Path:
    return Path(next(path for path in sys.path if path.endswith("site-packages")))


def test_wheel_holds_one_import_root(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"trajkit"}
    for wanted in ("curation/__init__.py", "trainers/__init__.py", "schemas/FORMAT.md", "schemas/clip.schema.json"):
        assert f"trajkit/{wanted}" in names


def test_wheel_works_beside_a_users_own_schemas(wheel: Path, user_project: Path) -> None:
    site = user_project / "site"
    zipfile.ZipFile(wheel).extractall(site)
    # -S: no .pth files, so that the editable install of this environment cannot help
    version, has_format, where = probe(user_project, [site, site_packages()], PROBE + NO_BARE_NAMES, "-S")
    assert (version, has_format) == (trajkit.__version__, "True")
    assert Path(where).is_relative_to(site)


def test_editable_install_works_beside_a_users_own_schemas(user_project: Path) -> None:
    version, has_format, where = probe(user_project, [], PROBE)
    assert (version, has_format) == (trajkit.__version__, "True")
    assert Path(where).is_relative_to(ROOT)


def test_bare_checkout_works_without_any_install(user_project: Path) -> None:
    version, has_format, where = probe(user_project, [ROOT, site_packages()], PROBE, "-S")
    assert (version, has_format) == (trajkit.__version__, "True")
    assert Path(where).is_relative_to(ROOT)
