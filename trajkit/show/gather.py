"""`gather`: reads what was found, into exhibits and the places that they are in."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trajkit.errors import TrajkitError
from trajkit.scene import Rejected, Scene
from trajkit.show.exhibit import Exhibit, exhibit, refused_exhibit
from trajkit.show.found import Found, select
from trajkit.show.place import Place
from trajkit.show.preview import cameras_exhibit
from trajkit.show.refused import Refusal, counted_reasons, read_refusal
from trajkit.show.scenery import one_line, places, wanted_scenes


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowOptions:
    """What to show; see `trajkit show --help`."""

    limit: int = 48  # clips, and as many refused paths
    scenes: tuple[str, ...] = ()  # specs of scenes whose cameras and points are wanted beside those in PATH/scenes
    video_limit_bytes: int = 8_000_000
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What is shown of what was found: clips, then cameras of scenes, then refused paths; and what cannot be read."""

    exhibits: Sequence[Exhibit]
    places: Mapping[str, Place]  # by Exhibit.place
    total: int  # clips found
    refused: int = 0  # refused paths found
    tally: str = ""  # such as "7 of 12 paths refused: clearance 4, unseen 3"
    unreadable: Sequence[str] = ()  # one line each


class _Shelf:
    """Exhibits as they are read, each under an id of its own."""

    def __init__(self) -> None:
        self.exhibits: list[Exhibit] = []
        self.folders: dict[str, Path] = {}  # of each place's first exhibit
        self.unreadable: list[str] = []
        self.copies: Counter[str] = Counter()

    def add(self, key: str, folder: Path | None, make: Callable[[str], Exhibit]) -> None:
        self.copies[key] += 1
        try:
            made = make(key if self.copies[key] == 1 else f"{key}~{self.copies[key]}")
        except TrajkitError as error:
            self.unreadable.append(one_line(error))
            return
        self.exhibits.append(made)
        if folder:
            self.folders.setdefault(made.place, folder)


def gather(found: Found, options: ShowOptions) -> Gathered:
    """Reads clips and refused paths up to the limit, each evenly spaced, and every scene that was named.

    Raises TrajkitError where nothing is readable, or one of the options' scenes fits no clip.
    """
    shelf = _Shelf()
    chosen = select(found.clips, options.limit)
    for one in chosen:
        shelf.add(one.key, one.folder, lambda id, one=one: exhibit(one.read(), id))  # type: ignore[misc]
    named = _named(found.scenes, shelf)
    for scene in named.values():
        shelf.add(scene.id, None, lambda id, scene=scene: cameras_exhibit(scene, id))  # type: ignore[misc]
    refused = _refusals(found.refused, shelf.unreadable)
    for path in select(list(refused), options.limit):
        refusal = refused[path]
        make = lambda id, path=path, refusal=refusal: refused_exhibit(path, refusal, id)  # noqa: E731
        shelf.add(refusal.key, path.parent.parent, make)
    if not shelf.exhibits:
        what = f"none of {len(chosen)} clips" if chosen else "nothing"
        where = chosen[0].folder if chosen else "trajkit show"
        raise TrajkitError(where, f"{what} is readable: {shelf.unreadable[0]}", "see above")
    wanted = {one.place for one in shelf.exhibits}
    for spec in options.scenes:
        named |= wanted_scenes(spec, wanted)
    around = places(shelf.exhibits, shelf.folders, named, shelf.unreadable, seed=options.seed)
    for id, place in around.items():
        mine = [one for one in refused.values() if one.scene == id]
        clips = sum(one.kind == "clip" and one.place == id for one in shelf.exhibits)
        around[id] = replace(place, tally=_tally(mine, clips if len(chosen) == len(found.clips) else None))
    return Gathered(
        exhibits=shelf.exhibits,
        places=around,
        total=len(found.clips),
        refused=len(refused),
        tally=_tally(list(refused.values()), len(found.clips)),
        unreadable=shelf.unreadable,
    )


def _named(scenes: Sequence[Scene | Rejected], shelf: _Shelf) -> dict[str, Scene]:
    """The scenes by id; those that were rejected become lines."""
    shelf.unreadable += [f"{one.key}: {one.reason}" for one in scenes if isinstance(one, Rejected)]
    return {one.id: one for one in scenes if isinstance(one, Scene)}


def _refusals(paths: Sequence[Path], unreadable: list[str]) -> dict[Path, Refusal]:
    found = {}
    for path in paths:
        try:
            found[path] = read_refusal(path)
        except TrajkitError as error:
            unreadable.append(f"refused {one_line(error)}")
    return found


def _tally(refused: Sequence[Refusal], accepted: int | None) -> str:
    """How many paths were refused and why; "" where none was."""
    if not refused:
        return ""
    of = "" if accepted is None else f" of {len(refused) + accepted}"
    return f"{len(refused)}{of} paths refused: {counted_reasons(refused)}"
