"""The file name is the plugin name: finds `kind:name` in this package, in an entry point, or as package.module."""

import functools
import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType

from trajkit.errors import TrajkitError, nearest

# kind -> (package that holds the built-in ones, names that a plugin must define: "a|b" = at least one)
KINDS = {
    "scenes": ("trajkit.scenes", ("scenes", "Options")),
    "poses": ("trajkit.poses", ("read|write",)),
    "paths": ("trajkit.paths", ("Options", "sample")),
    "engines": ("trajkit.engines", ("Options", "fit")),
    "renderers": ("trajkit.renderers", ("Renderer", "Options")),
    "readers": ("trajkit.readers", ("probe", "read")),
    "sources": ("trajkit.curation.sources", ("footage", "Options")),
    "attach": ("trajkit.curation.attach", ("attach|write_job", "Options")),
    "imports": ("trajkit.curation.imports", ("posed", "Options", "LICENCE")),
    "exports": ("trajkit.curation.exports", ("export", "Options")),
    "backbones": ("trajkit.trainers.backbones", ("Backbone", "Options")),
    "stages": ("trajkit.trainers.stages", ("losses", "ROLES", "Options")),
    "metrics": ("trajkit.curation.metrics", ("score", "NEEDS", "UNIT", "BETTER", "VERSION")),
}
# what a broken module or package raises while it is imported; one bad plugin must not hide the others
IMPORT_FAILURES = (ImportError, OSError, SyntaxError, AttributeError, NameError, TypeError, ValueError, RuntimeError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One plugin found: where it comes from and why it cannot be used here ("" = it can)."""

    kind: str
    name: str
    module: str
    summary: str = ""
    missing: str = ""


def names(kind: str) -> list[str]:
    """Names of all plugins of a kind, built-in and from entry points, sorted; nothing is imported."""
    package, _ = KINDS[kind]
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec else []
    built_in = {module.name for module in pkgutil.iter_modules(locations) if not module.name.startswith("_")}
    return sorted(built_in | set(_published(kind)))


def load(kind: str, name: str) -> ModuleType:
    """The plugin module. Raises TrajkitError for an unknown name, a missing package or a broken contract."""
    module = _module(kind, name)
    absent = [package for package in getattr(module, "REQUIRES", ()) if not _importable(package)]
    if absent:
        extra = getattr(module, "EXTRA", None)
        remedy = f"pip install trajkit[{extra}]" if extra else f"pip install {' '.join(absent)}"
        raise TrajkitError(f"{kind} {name}", f"needs {', '.join(absent)}, not installed", remedy)
    for wanted in KINDS[kind][1]:
        if not any(hasattr(module, option) for option in wanted.split("|")):
            raise TrajkitError(f"{kind} {name}", f"defines no {wanted.replace('|', ' or ')}", "see docs/plugins.md")
    return module


def survey(kind: str) -> list[Plugin]:
    """Every plugin of a kind with its first docstring line, or the reason why it cannot be used."""
    found = []
    for name in names(kind):
        try:
            module = load(kind, name)
            summary = (module.__doc__ or "").strip().split("\n")[0]
            found.append(Plugin(kind=kind, name=name, module=module.__name__, summary=summary))
        except TrajkitError as error:
            missing = f"{error.problem}; {error.remedy}"
            found.append(Plugin(kind=kind, name=name, module=KINDS[kind][0], missing=missing))
    return found


def _module(kind: str, name: str) -> ModuleType:
    package, _ = KINDS[kind]
    if name in names(kind):
        return _imported(kind, name, _published(kind).get(name, f"{package}.{name}"))
    if "." in name and _importable(name):
        return _imported(kind, name, name)
    raise TrajkitError(f"{kind} {name!r}", "no such plugin", nearest(name, names(kind)))


@functools.cache
def _published(kind: str) -> dict[str, str]:
    """name -> module of other distributions' entry points; reading every installed package's metadata takes long."""
    return {point.name: point.value for point in entry_points(group=f"trajkit.{kind}")}


def _imported(kind: str, name: str, module: str) -> ModuleType:
    """The module; whatever its import runs into becomes one line (`--debug` shows the traceback of the cause)."""
    try:
        return importlib.import_module(module)
    except IMPORT_FAILURES as error:
        problem = f"{module} cannot be imported ({type(error).__name__}: {error})"
        raise TrajkitError(f"{kind} {name}", problem, "install what it needs, or correct the plugin") from error


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
