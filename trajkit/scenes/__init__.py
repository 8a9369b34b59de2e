"""Scene sources, one per file: `scenes(root, options) -> Iterator[Scene | Rejected]`, and their specs.

A source that reads no files sets TAKES_PATH = False; its spec is `name:key=value`, any other's `name:PATH;key=value`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.options import as_dict, parse, split_spec
from trajkit.scene import Rejected, Scene


def open_scenes(spec: str) -> Iterator[Scene | Rejected]:
    """The scenes of a spec such as `dl3dv:scans` or `toy:count=3`, one after the other; broken ones as Rejected.

    Raises TrajkitError, at once, for an unknown source, a wrong option or a path that is not there.
    """
    name, rest = split_spec(spec)
    module = plugins.load("scenes", name)
    takes_path = getattr(module, "TAKES_PATH", True)
    place, _, text = rest.partition(";") if takes_path else ("", "", rest)
    options = parse(module.Options, text, where=f"scene source {name}")
    root = Path(place) if takes_path else None
    if root is not None and not (place and root.exists()):
        raise TrajkitError(place or spec, "no such file or folder", f"name one: {name}:PATH")
    found: Iterator[Scene | Rejected] = module.scenes(root, options)
    return found


def list_scenes(specs: Iterable[str]) -> list[Scene | Rejected]:
    """The scenes of all specs. Raises TrajkitError where two of them share an id, which would mix up their results."""
    found = [scene for spec in specs for scene in open_scenes(spec)]
    names = Counter(scene.id for scene in found if isinstance(scene, Scene))
    twins = sorted(name for name, count in names.items() if count > 1)
    if twins:
        raise TrajkitError(f"scene {twins[0]}", "two captures share this id", "rename a folder, or give each its --out")
    return found


def spec_of(name: str, path: Path | None, options: Any) -> str:
    """The spec that a clip's provenance keeps: the path's last part, since the rest names somebody's machine."""
    given = {key: value for key, value in as_dict(options).items() if value != getattr(type(options), key, None)}
    text = ",".join(f"{key}={value}" for key, value in given.items() if not isinstance(value, Path))
    if path is None:
        return f"{name}:{text}"
    return f"{name}:{path.resolve().name}" + (f";{text}" if text else "")


def scene_id(name: str) -> str:
    """A folder's or file's name in the letters that a key may hold."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "scene"
