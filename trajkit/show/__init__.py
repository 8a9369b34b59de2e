"""`show`: a page and a contact sheet of clips, their paths in 3D among the captured cameras."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trajkit import files, seeding
from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.gaussians import read_ply
from trajkit.members import trajectory_from_bytes
from trajkit.scene import Rejected, Scene
from trajkit.scenes import open_scenes
from trajkit.scenes.splat import load_gaussians
from trajkit.scenes.toy import world as toy_world
from trajkit.shards import open_shard
from trajkit.show.exhibit import Exhibit, exhibit, sampled
from trajkit.show.page import page, place_id
from trajkit.show.place import Cloud, Place, View, cloud_of_gaussians, cloud_of_views, upwards
from trajkit.show.sheet import contact_sheet
from trajkit.trajectory import Trajectory

PAGE, SHEET = "index.html", "contact_sheet.png"
CLOUD_POINTS, ALL_POINTS = 40_000, 240_000  # of one scene, and of all scenes together: 10 bytes each in the page
VIEWS = 16  # pictures with depth that a scene's points are taken from


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowOptions:
    """What to show; see `trajkit show --help`."""

    limit: int = 48
    scenes: tuple[str, ...] = ()  # specs of scenes whose cameras and points are wanted beside those in PATH/scenes
    video_limit_bytes: int = 8_000_000
    seed: int = 0


class Found(NamedTuple):
    """A clip that has not been read yet."""

    key: str
    folder: Path  # where `scenes/` may lie
    read: Callable[[], Clip]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What was written: of `total` clips the `shown` ones, without the `unreadable` ones (one line each)."""

    total: int
    shown: tuple[str, ...]
    unreadable: tuple[str, ...]
    page: Path
    sheet: Path


def find(paths: Sequence[Path]) -> list[Found]:
    """The clips in clip folders, shards and folders of shards, sorted by key. Raises TrajkitError for none."""
    found = [one for path in paths for one in _find(Path(path))]
    if not found:
        where = ", ".join(map(str, paths))
        raise TrajkitError(where, "no finished clips", "give clip folders or shards that trajkit render or pack wrote")
    return sorted(found, key=lambda one: (one.key, str(one.folder)))


def _find(path: Path) -> Iterator[Found]:
    if path.is_dir() and not any(path.glob("*.tar")):
        for key in clip_keys(path):
            yield Found(key, path, lambda key=key: read_clip(path, key))  # type: ignore[misc]
        return
    for tar in sorted(path.glob("*.tar")) if path.is_dir() else [path]:
        shard = open_shard(tar)
        for key in shard.keys:
            yield Found(key, tar.parent, lambda key=key, shard=shard: shard.clip(key))  # type: ignore[misc]


def select(found: Sequence[Found], limit: int) -> list[Found]:
    """At most `limit` of them, evenly spaced, the first and the last included."""
    if len(found) <= limit:
        return list(found)
    return [found[int(k)] for k in np.linspace(0, len(found) - 1, limit).round()]


def show(found: Sequence[Found], out: Path, options: ShowOptions) -> Shown:
    """Writes `index.html` and `contact_sheet.png` into `out`, each whole or absent; the same clips give the same bytes.

    A clip that cannot be read is named on the page. Raises TrajkitError where none can.
    """
    chosen = select(found, options.limit)
    exhibits, folders, unreadable = _exhibits(chosen)
    if not exhibits:
        raise TrajkitError(chosen[0].folder, f"none of {len(chosen)} clips is readable: {unreadable[0]}", "see above")
    places = _places(exhibits, folders, options)
    html = page(exhibits, places, total=len(found), unreadable=unreadable, video_limit_bytes=options.video_limit_bytes)
    files.write_bytes(out / SHEET, contact_sheet(exhibits, places, total=len(found)))
    files.write_bytes(out / PAGE, html)
    return Shown(
        total=len(found),
        shown=tuple(one.id for one in exhibits),
        unreadable=tuple(unreadable),
        page=out / PAGE,
        sheet=out / SHEET,
    )


def _exhibits(chosen: Sequence[Found]) -> tuple[list[Exhibit], dict[str, Path], list[str]]:
    """What can be shown, the folder of each scene's first clip, and one line for each clip that cannot be read."""
    exhibits: list[Exhibit] = []
    folders: dict[str, Path] = {}
    unreadable = []
    copies: dict[str, int] = {}
    for one in chosen:
        copies[one.key] = copies.get(one.key, 0) + 1
        try:
            made = exhibit(one.read(), one.key if copies[one.key] == 1 else f"{one.key}~{copies[one.key]}")
        except TrajkitError as error:
            unreadable.append(f"{Path(error.where).name}: {error.problem}")
            continue
        exhibits.append(made)
        folders.setdefault(place_id(made), one.folder)
    return exhibits, folders, unreadable


def _places(exhibits: Sequence[Exhibit], folders: dict[str, Path], options: ShowOptions) -> dict[str, Place]:
    """The surroundings of every clip, from the scenes named in the options, else from what lies beside the clips."""
    opened = {scene.id: scene for spec in options.scenes for scene in _scenes(spec, set(folders))}
    places = {}
    each = min(CLOUD_POINTS, ALL_POINTS // len(folders))
    for id, folder in folders.items():
        here = [one for one in exhibits if place_id(one) == id]
        scene = opened.get(id) or _toy(here[0].clip)
        cameras = scene.seen if scene and scene.seen else _seen(folder, id)
        up = scene.up if scene else upwards([cameras] if cameras else [one.trajectory for one in here])
        cloud = _cloud(here, scene, folder / "scenes" / f"{id}.ply", each, options.seed)
        places[id] = Place(id=id, up=np.asarray(up), cameras=cameras, cloud=cloud)
    return places


def _scenes(spec: str, wanted: set[str]) -> list[Scene]:
    """The wanted scenes of a spec. Raises TrajkitError where it holds none of them, or one that cannot be used."""
    scenes = []
    for scene in open_scenes(spec):
        if isinstance(scene, Rejected):
            raise TrajkitError(f"--scene {spec}", f"{scene.key}: {scene.reason}", "leave --scene out, or name another")
        if scene.id in wanted:
            scenes.append(scene)
    if not scenes:
        raise TrajkitError(f"--scene {spec}", "no clip is of its scenes", f"clips are of {', '.join(sorted(wanted))}")
    return scenes


def _toy(clip: Clip) -> Scene | None:
    """The toy scene that a clip was cast from: it is procedural, so its spec is enough to make it again."""
    if not clip.provenance.source.startswith("toy:"):
        return None
    return _scenes(clip.provenance.source, {clip.provenance.scene})[0]


def _seen(folder: Path, id: str) -> Trajectory | None:
    """The captured cameras that render left beside the clips, if it did."""
    path = folder / "scenes" / f"{id}.seen.npz"
    return trajectory_from_bytes(files.read_bytes(path), path) if path.is_file() else None


def _cloud(here: Sequence[Exhibit], scene: Scene | None, beside: Path, limit: int, seed: int) -> Cloud | None:
    """Points of the scene: its splats, or those beside the clips, or pixels of the clips' stills by their depth."""
    rng = seeding.generator(seed, "show", place_id(here[0]))
    if scene and "splat" in scene.assets:
        return cloud_of_gaussians(load_gaussians(scene), limit, rng)
    if beside.is_file():
        return cloud_of_gaussians(read_ply(beside), limit, rng)
    return cloud_of_views(_views(here, scene), limit, rng)


def _views(here: Sequence[Exhibit], scene: Scene | None) -> Iterator[View]:
    """Stills with depth, spread over the clips that have any; a toy scene's is exact and comes from its geometry."""
    toy = scene if scene and scene.source.startswith("toy:") else None
    stills = [(one, k) for one in here if toy or one.clip.depth for k in range(len(one.at))]
    chosen = [stills[int(k)] for k in np.unique(np.linspace(0, len(stills) - 1, VIEWS).round())] if stills else []
    for one, group in itertools.groupby(chosen, key=lambda pair: pair[0]):
        numbers = [k for _, k in group]
        poses = [one.trajectory.camera_to_world[one.at[k]] for k in numbers]
        lenses = [one.trajectory.camera(one.at[k]).resized(*one.stills[k].size) for k in numbers]
        if toy:
            depths = [toy_world(toy).depth(pose, lens) for pose, lens in zip(poses, lenses, strict=True)]
        else:
            stored = read_depth(one.clip)
            depths = [sampled(stored[one.trajectory.frame_index[one.at[k]]], one.stills[k].size) for k in numbers]
        pictures = [np.asarray(one.stills[k]) for k in numbers]
        yield from map(View, pictures, depths, lenses, poses)
