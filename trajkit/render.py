"""The render stage: scenes x paths -> clips. The unit of work is a scene, or some clips of one."""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from trajkit import files, plugins, seeding
from trajkit.camera import Camera
from trajkit.clip import Clip
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count
from trajkit.ledger import Ledger, Row
from trajkit.reconstruct import engine_of
from trajkit.render_scene import (
    DEFAULT_FOV_DEG,
    RenderOptions,
    Unit,
    path_options,
    prepare,
    rejected,
    render_unit,
    renderer_options,
)
from trajkit.scene import Rejected, Scene
from trajkit.work import run

UNITS_PER_WORKER = 2  # at least, so that none waits long for the last one


def check_options(options: RenderOptions) -> None:
    """Raises TrajkitError, before anything is written, for what can be seen to be wrong without a scene."""
    latent_count(options.frames)
    if options.width % 2 or options.height % 2:
        raise TrajkitError("--size", f"{options.width}x{options.height} is odd", "H.264 needs even width and height")
    if not options.paths:
        raise TrajkitError("--path", "no path is given", f"use one of {', '.join(plugins.names('paths'))}")
    fov_deg = options.fov_deg[1] if options.fov_deg else DEFAULT_FOV_DEG
    lens = Camera.from_fov(options.width, options.height, fov_deg)
    for path in options.paths:
        path_options(path, options, lens)
    if options.renderer != "auto":
        renderer_options(options.renderer)
    if options.engine != "auto":
        engine_of(options.engine)


def render(
    scenes: list[Scene | Rejected],
    options: RenderOptions,
    out: Path,
    *,
    workers: int = 1,
    executor: str = "local",
    gpus: float = 0.0,
    watch: Callable | None = None,
) -> Iterator[Clip | Rejected]:
    """Renders every planned clip of every scene into the clip folder `out`, yielding each once its unit is done.

    Finished clips are kept, torn ones redone. A scene or path that cannot be used is yielded as Rejected and kept in
    the ledger with its reason. Raises TrajkitError before anything is written where the options are wrong.
    """
    check_options(options)
    usable = [scene for scene in scenes if isinstance(scene, Scene)]
    shown = watch if workers == 1 and executor == "local" else None
    with files.locked(out):
        ready: list[Scene | TrajkitError] = [*usable]
        if len(usable) < UNITS_PER_WORKER * workers and workers > 1:  # scenes will be shared: each is prepared once
            first = functools.partial(prepare, options=options, out=out)
            ready = list(run(first, usable, workers, name=_scene_name, executor=executor, gpus=gpus))
        todo = units([scene for scene in ready if isinstance(scene, Scene)], options.count, workers)
        work = functools.partial(render_unit, options=options, out=out, watch=shown)
        results = run(work, todo, workers, name=_name, executor=executor, gpus=gpus)
        parts = Counter(unit.scene.id for unit in todo)
        prepared = iter(ready)
        for scene in scenes:
            found = scene if isinstance(scene, Rejected) else next(prepared)
            if isinstance(found, TrajkitError):
                found = rejected(_key(scene), found)
            made = [[found]] if isinstance(found, Rejected) else itertools.islice(results, parts[found.id])
            yield from _collected(found, made, out)


def _collected(
    scene: Scene | Rejected, made: Iterable[Sequence[Clip | Rejected] | TrajkitError], out: Path
) -> Iterator[Clip | Rejected]:
    """A scene's clips as its units end; its ledger part is written once all are there."""
    rows: list[Row] = []
    for result in made:
        found = [rejected(_key(scene), result)] if isinstance(result, TrajkitError) else result
        for one in found:
            if one.key not in {row.key for row in rows}:  # a scene that cannot be used ends all its units alike
                rows += _rows(one)
                yield one
    Ledger(out).append(f"render-{seeding.digest(*dict.fromkeys(row.key for row in rows))}", rows)


def units(scenes: list[Scene], count: int, workers: int) -> list[Unit]:
    """A unit a scene, so that what it needs is loaded once; where that gives too few, a scene is shared out."""
    if not scenes:
        return []
    wanted = UNITS_PER_WORKER * workers
    parts = 1 if len(scenes) >= wanted and workers > 1 else count if workers == 1 else math.ceil(wanted / len(scenes))
    size = math.ceil(count / min(parts, count))
    return [Unit(scene, first, min(first + size, count)) for scene in scenes for first in range(0, count, size)]


def _rows(result: Clip | Rejected) -> list[Row]:
    """One row for a clip; one for each reason of a refused path."""
    if isinstance(result, Clip):
        made = result.provenance.versions
        return [Row(key=result.key, stage="render", state="rendered", values=result.checks, versions=made)]
    reasons = [one for one in result.findings if one.threshold is not None]
    if not reasons:
        return [_row(result)]
    return [
        Row(
            key=result.key,
            stage="render",
            state="rejected",
            reason=f"{one.code}: {one.where}: {one.message}",
            metric=one.code,
            value=one.value,
            threshold=one.threshold,
        )
        for one in reasons
    ]


def _row(result: Rejected) -> Row:
    return Row(key=result.key, stage="render", state="rejected", reason=result.reason)


def _key(scene: Scene | Rejected) -> str:
    return scene.id if isinstance(scene, Scene) else scene.key


def _scene_name(scene: Scene) -> str:
    return f"scene {scene.id}"


def _name(unit: Unit) -> str:
    return f"scene {unit.scene.id}, clips {unit.first} to {unit.last - 1}"
