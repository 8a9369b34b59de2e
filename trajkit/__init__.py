"""trajkit: camera-controlled video training data that can be trusted."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout (editable or not installed at all) curation/, trainers/ and schemas/ lie beside this package;
# in a wheel they lie inside it. This makes `trajkit.curation` mean the same module in both.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "schemas").is_dir():
    __path__.append(str(_checkout))
