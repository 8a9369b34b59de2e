"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sharedwork

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real captures and vectors beside the checkout; skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real captures in ../shared/data, which are not shipped with the repository")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers compile each kernel and paint each room once between them."""
    worker = hasattr(request.config, "workerinput")
    folder = tmp_path_factory.getbasetemp()
    with sharedwork.shared(folder.parent if worker else folder, worker):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with --slow"))
        if "gpu" in item.keywords and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
