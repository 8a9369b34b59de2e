"""Banks of videos without cameras, one per file: `Options` and `footage(root, options)`.

`footage` yields Footage or Rejected, lazily, in the order of the table or of the sorted names.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.options import parse, split_spec
from trajkit.scene import Rejected

from ..footage import Footage


def open_footage(spec: str, **chosen: object) -> Iterator[Footage | Rejected]:
    """The videos of a spec such as `openvid:FOLDER` or `videos:FOLDER;licence=CC0`, lazily.

    `chosen` options (where, limit) come from flags; None = not given. Raises TrajkitError, at once, for an unknown
    source, a wrong option, one that the source does not have, or a path that is not there.
    """
    name, rest = split_spec(spec)
    module = plugins.load("sources", name)
    place, _, text = rest.partition(";")
    root = Path(place)
    if not (place and root.exists()):
        raise TrajkitError(place or spec, "no such file or folder", f"name one: {name}:PATH")
    options = parse(module.Options, text, where=f"footage source {name}")
    given = {key: value for key, value in chosen.items() if value is not None}
    known = {field.name for field in dataclasses.fields(options)}
    for key in given:
        if key not in known:
            raise TrajkitError(f"--{key}", f"{name} has no table to select from", "leave it out")
    found: Iterator[Footage | Rejected] = module.footage(root, dataclasses.replace(options, **given))
    return found
