"""Finds the surroundings of what is shown: the scene, its captured cameras, its points, its quality."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from trajkit import files, seeding
from trajkit.depth import read_depth
from trajkit.errors import TrajkitError
from trajkit.gaussians import Gaussians, read_ply
from trajkit.members import is_key, trajectory_from_bytes
from trajkit.poses.colmap import find_model
from trajkit.scene import Rejected, Scene
from trajkit.scenes import open_scenes
from trajkit.scenes._stance import read_points
from trajkit.scenes.splat import load_gaussians
from trajkit.scenes.toy import world as toy_world
from trajkit.show.exhibit import Exhibit, sampled
from trajkit.show.place import Cloud, Place, View, cloud_of_gaussians, cloud_of_points, cloud_of_views, upwards
from trajkit.trajectory import Trajectory

CLOUD_POINTS, ALL_POINTS = 40_000, 240_000  # of one scene, and of all scenes together: 10 bytes each in the page
VIEWS = 16  # pictures with depth that a scene's points are taken from
QUALITY = {  # of reconstruct's record: words around the number
    "photos": "{:.0f} photos",
    "psnr_held_out_db": "held-out PSNR {:.2f} dB",
    "ssim_held_out": "SSIM {:.3f}",
    "coverage_held_out": "coverage {:.3f}",
}


def places(
    exhibits: Sequence[Exhibit],
    folders: Mapping[str, Path],
    scenes: Mapping[str, Scene],
    unreadable: list[str],
    *,
    seed: int,
) -> dict[str, Place]:
    """The surroundings of everything shown, by `Exhibit.place`: from the scenes given, else from `folders`, what lies
    beside the clips. What cannot be read and is no camera is added to `unreadable`.
    """
    groups: dict[str, list[Exhibit]] = {}
    for one in exhibits:
        groups.setdefault(one.place, []).append(one)
    each = min(CLOUD_POINTS, ALL_POINTS // len(groups))
    found = {}
    for id, here in groups.items():
        scene = scenes.get(id) or _toy(here)
        splat = _beside(scene, folders.get(id), id)
        cameras = scene.seen if scene and scene.seen else seen_beside(splat)
        up = scene.up if scene else upwards([cameras] if cameras else [one.trajectory for one in here])
        try:
            quality = _quality(splat.with_suffix(".json")) if splat else ""
        except TrajkitError as error:
            quality = ""
            unreadable.append(one_line(error))
        load = _loader(scene, splat)
        rng = seeding.generator(seed, "show", id)
        cloud = cloud_of_gaussians(load(), each, rng) if load else _cloud(here, scene, each, rng)
        found[id] = Place(id=id, up=np.asarray(up), cameras=cameras, cloud=cloud, quality=quality, load=load)
    return found


def one_line(error: TrajkitError) -> str:
    """The file's name and what is wrong with it: the page travels, and says nothing of the machine's folders."""
    return f"{Path(error.where).name}: {error.problem}"


def wanted_scenes(spec: str, wanted: set[str]) -> dict[str, Scene]:
    """The wanted scenes of a spec. Raises TrajkitError where it holds none of them, or one that cannot be used."""
    scenes = {}
    for scene in open_scenes(spec):
        if isinstance(scene, Rejected):
            raise TrajkitError(f"--scene {spec}", f"{scene.key}: {scene.reason}", "leave --scene out, or name another")
        if scene.id in wanted:
            scenes[scene.id] = scene
    if not scenes:
        raise TrajkitError(f"--scene {spec}", "no clip is of its scenes", f"clips are of {', '.join(sorted(wanted))}")
    return scenes


def seen_beside(splat: Path | None) -> Trajectory | None:
    """The captured cameras that render left beside a scene's splats, if it did."""
    path = splat.with_suffix(".seen.npz") if splat else None
    return trajectory_from_bytes(files.read_bytes(path), path) if path and path.is_file() else None


def _beside(scene: Scene | None, folder: Path | None, id: str) -> Path | None:
    """Where the splats of a scene lie, or would: its record and cameras are there under the same stem."""
    if scene and "splat" in scene.assets:
        return scene.assets["splat"]
    return folder / "scenes" / f"{id}.ply" if folder and is_key(id) else None


def _toy(here: Sequence[Exhibit]) -> Scene | None:
    """The toy scene that a clip was cast from: it is procedural, so its spec is enough to make it again."""
    origins = [one.clip.provenance for one in here if one.clip.provenance.source.startswith("toy:")]
    return wanted_scenes(origins[0].source, {origins[0].scene})[origins[0].scene] if origins else None


def _quality(path: Path) -> str:
    """The figures of a reconstruction, in one line; "" where there is no record. Raises TrajkitError for a bad one."""
    if not path.is_file():
        return ""
    record = files.read_json(path)
    told = {name: record[name] for name in QUALITY if name in record}
    for name, value in told.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TrajkitError(path, f"{name} is {value!r}, no number", "reconstruct again")
    return ", ".join(QUALITY[name].format(value) for name, value in told.items())


def _loader(scene: Scene | None, splat: Path | None) -> Callable[[], Gaussians] | None:
    """Loads the scene's splats, or those beside the clips; None where there are none."""
    if scene and "splat" in scene.assets:
        return functools.partial(load_gaussians, scene)
    return functools.partial(read_ply, splat) if splat and splat.is_file() else None


def _cloud(here: Sequence[Exhibit], scene: Scene | None, limit: int, rng: np.random.Generator) -> Cloud | None:
    """Points of a scene without splats: pixels of stills by their depth, else those of the capture's COLMAP model."""
    return cloud_of_views(_views(here, scene), limit, rng) or (_sparse(scene, limit, rng) if scene else None)


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


def _sparse(scene: Scene, limit: int, rng: np.random.Generator) -> Cloud | None:
    """Points of the COLMAP model that came with a capture, if there is a sound one."""
    near = [scene.assets["colmap"]] if "colmap" in scene.assets else []
    for folder in near or [parent for photo in scene.photos[:1] for parent in photo.parents[:2]]:
        try:
            points = read_points(find_model(folder)[0])
        except TrajkitError:  # none, or damaged: the cameras are shown all the same
            continue
        return cloud_of_points(points, 0.02 * scene.unit, limit, rng)
    return None
