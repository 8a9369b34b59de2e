"""What every engine keeps, those of installed packages included."""

import pytest
from test_plugins import check_common, takes

from trajkit import options, plugins
from trajkit.engines import EngineOptions


@pytest.mark.parametrize("name", plugins.names("engines"))
def test_engine(name: str) -> None:
    module = check_common("engines", name)
    assert issubclass(module.Options, EngineOptions)
    options.parse(module.Options, "", where=name)
    takes(module.fit, "task", "options")
    takes(module.fit, "task", "options", "watch")
    if hasattr(module, "check"):
        takes(module.check, "options")
    assert set(getattr(module, "UNRECORDED", ())) <= set(options.settable(module.Options))
