"""The attach stage: footage -> clips with a synthetic path. The unit of work is one video, in two passes.

The first pass looks at each video and keeps what it measured in OUT/fitness; the second gives the fit ones a path and
makes the clips. Both are lazy: memory does not grow with the table. Everything that is refused is in the ledger with
its reason and the evidence.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from trajkit import __version__, files, plugins, seeding, video
from trajkit import options as options_
from trajkit.clip import Clip, member, read_clip, sweep, write_clip
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count
from trajkit.ledger import Ledger, Row
from trajkit.members import Kind, Provenance
from trajkit.scene import Finding, Rejected, Scene
from trajkit.trajectory import Scale
from trajkit.work import run

from ._jobs_minwm import write_minwm
from .assign import Cell, Deck, Drawn, Menu, cell_of, draw, place
from .depths import LAYOUTS, open_depth
from .fitness import VERSION, Limits, shot, unfit
from .footage import Fitness, Footage, Shot
from .jobs import Job, plan
from .looking import Seen, look

CHUNK = 64  # videos per ledger part
KEY_LENGTH = 120  # of the footage's part of a clip key
Freeze = Literal["never", "moving", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttachOptions:
    """What to make of footage; `trajkit attach --help` says what each field means."""

    backend: str  # spec, such as "reframe:max_zoom=2"
    menu: Menu
    limits: Limits
    width: int = 832
    height: int = 480
    frames: int = 77
    fps: float = 16.0
    fov_deg: float = 50.0
    freeze: Freeze = "never"
    depth: str = ""  # where z-depth comes from, as `depths.open_depth` takes it
    keep_depth: bool = False
    seed: int = 0


class Item(NamedTuple):
    """A video that is fit, and the cell that its path is to come from."""

    seen: Seen
    cell: Cell | None

    @property
    def name(self) -> str:
        """The video's, in its source."""
        return self.seen.footage.name

    @property
    def key(self) -> str:
        """The video's."""
        return self.seen.footage.key


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What became of one video of the source."""

    name: str  # the video's, in its source
    result: Clip | Job | Rejected
    fitness: Fitness | None = None

    def __str__(self) -> str:
        return f"{self.name}"


def backend(spec: str) -> tuple[ModuleType, Any]:
    """The attach backend and its options. Raises TrajkitError for an unknown one or a wrong option."""
    name, text = options_.split_spec(spec)
    module = plugins.load("attach", name)
    return module, options_.parse(module.Options, text, where=f"--with {name}")


def check_options(options: AttachOptions) -> None:
    """Raises TrajkitError, before anything is written, for what can be seen to be wrong without footage."""
    latent_count(options.frames)
    if options.width % 2 or options.height % 2:
        raise TrajkitError("--size", f"{options.width}x{options.height} is odd", "H.264 needs even width and height")
    module, _ = backend(options.backend)
    if module.KIND == "warped" and not options.depth:
        raise TrajkitError(f"--with {options.backend}", "needs depth", "say where it is: --depth (docs/warp.md)")
    layout, folder = options_.split_spec(options.depth)
    if layout in LAYOUTS and not Path(folder).is_dir():
        raise TrajkitError(folder or "--depth", "no such folder", f"give depth as {layout}:FOLDER")


def attach(
    footage: Iterable[Footage | Rejected], options: AttachOptions, out: Path, *, workers: int = 1
) -> Iterator[Outcome]:
    """Makes a clip of every video that is fit for one, yielding each video's outcome in the source's order.

    Finished clips are kept, torn ones redone. Raises TrajkitError before anything is written for wrong options.
    """
    check_options(options)
    with files.locked(out):
        work = functools.partial(make, options=options, out=out)
        yield from kept(_outcomes(footage, work, options, out, workers), out)


def jobs(
    footage: Iterable[Footage | Rejected], options: AttachOptions, out: Path, *, workers: int = 1, minwm: bool = False
) -> Iterator[Outcome]:
    """Plans a job for an external generator for every video that is fit, into the folder `out`.

    `minwm`: as minWM's list of pictures and pose strings.
    """
    check_options(options)
    _, chosen = backend(options.backend)
    name = options_.split_spec(options.backend)[0]
    given, named = itertools.tee(
        _outcomes(footage, functools.partial(make_job, options=options), options, out, workers)
    )
    todo = (one.result for one in given if not isinstance(one.result, Clip))
    planned = write_minwm(todo, out) if minwm else plan(todo, name, chosen, out)
    yield from kept((replace(one, result=result) for one, result in zip(named, planned, strict=True)), out)


def collected(clips: Iterable[Clip | Rejected], out: Path) -> Iterator[Clip | Rejected]:
    """Passes on what `jobs.collect` yields, once it is in the ledger."""
    outcomes = kept((Outcome(name=one.key, result=one) for one in clips), out)
    return (one.result for one in outcomes if not isinstance(one.result, Job))


def kept(outcomes: Iterator[Outcome], out: Path) -> Iterator[Outcome]:
    """Passes the outcomes on, once they are in the ledger."""
    Ledger(out).scan()  # a part that is damaged is found before hours of work
    while chunk := list(itertools.islice(outcomes, CHUNK)):
        names = seeding.digest(*(one.result.key for one in chunk))
        Ledger(out).append(f"attach-{names}", [row for one in chunk for row in _rows(one)])
        yield from chunk


def _outcomes(
    footage: Iterable[Footage | Rejected],
    work: Callable[[Item | Outcome], Clip | Job | Rejected],
    options: AttachOptions,
    out: Path,
    workers: int,
) -> Iterator[Outcome]:
    """Two lazy passes over the source, side by side; `tee` holds only what is between them."""
    given, named = itertools.tee(footage)
    found = run(functools.partial(look, out=out), given, workers, name=_name)
    planned, asked = itertools.tee(_planned(zip(named, found, strict=True), options))
    made = run(work, planned, workers, name=_name)
    for item, result in zip(asked, made, strict=True):
        if isinstance(item, Outcome):
            yield item
        else:
            done = _failed(item.key, item.name, result) if isinstance(result, TrajkitError) else result
            yield Outcome(name=item.name, result=done, fitness=item.seen.fitness)


def _planned(
    looked: Iterable[tuple[Footage | Rejected, Seen | Rejected | TrajkitError]], options: AttachOptions
) -> Iterator[Item | Outcome]:
    """Deals cells to the videos that are fit, in the source's order; the others are refused with their reasons."""
    deck = Deck(options.menu, options.seed)
    for one, seen in looked:
        if isinstance(one, Rejected):
            yield Outcome(name=_name(one), result=one)
        elif isinstance(seen, TrajkitError):
            yield Outcome(name=one.name, result=_failed(one.key, one.name, seen))
        else:
            assert isinstance(seen, Seen)
            freeze = freezes(seen.fitness, options)
            wrong = unfit(seen.fitness, options.limits, frames=options.frames, fps=options.fps, freeze=freeze)
            if wrong:
                yield Outcome(name=one.name, result=Rejected(key=one.key, findings=wrong), fitness=seen.fitness)
            else:
                yield Item(seen, deck.deal())


def make(item: Item | Outcome, options: AttachOptions, out: Path) -> Clip | Rejected:
    """The video's clip, made or found done, or the reasons why there is none.

    Raises TrajkitError where its pictures or depth cannot be read, or its path cannot be sampled.
    """
    if isinstance(item, Outcome):
        return _refused(item)
    key = clip_key(item, options)
    sweep(out, [key])
    if member(out, key, "json").is_file():
        return read_clip(out, key)
    ready = filmed(item, options)
    if isinstance(ready, Rejected):
        return ready
    one, scene, drawn = ready
    module, chosen = backend(options.backend)
    made = module.attach(one, drawn.trajectory, chosen)
    if isinstance(made, Rejected):
        return made
    clip = Clip(
        key=key,
        trajectory=made.trajectory,
        fps=options.fps,
        caption=one.footage.caption,
        provenance=_provenance(item, drawn.spec, options, module.KIND),
        licence=one.footage.licence,
        checks=_checks(one, options)
        | {"motion": str(cell_of(made.trajectory, scene.unit, options.menu))}
        | made.checks,
    )
    return write_clip(out, clip, made.frames, depth="z" if made.depth and options.keep_depth else None)


def filmed(item: Item, options: AttachOptions) -> tuple[Shot, Scene, Drawn] | Rejected:
    """The stretch of the video to use, how samplers see it, and its path.

    Raises TrajkitError where pictures or depth cannot be read, or the path cannot be sampled.
    """
    footage, content, fitness = item.seen
    scale = Scale(kind="unit")  # path units, as generators count
    if options.depth:
        depth = open_depth(options.depth, footage.name, functools.partial(_all_frames, footage))
        footage, scale = replace(footage, depth=depth), Scale(kind=depth.scale)
    one = shot(
        footage,
        fitness,
        options.limits,
        frames=options.frames,
        fps=options.fps,
        fov_deg=options.fov_deg,
        freeze=freezes(fitness, options),
    )
    if not isinstance(one, Shot):
        return Rejected(key=footage.key, findings=one)
    lens = one.lens.fitted(options.width, options.height)
    scene = place(footage.key, lens, _unit(one), scale)
    return one, scene, draw(scene, options.menu, item.cell, content, options.seed)


def freezes(fitness: Fitness, options: AttachOptions) -> bool:
    """Whether one picture of the video is to stand for all."""
    still = fitness.camera == "still" and fitness.camera_sure >= options.limits.still
    return options.freeze == "all" or (options.freeze == "moving" and not still)


def _all_frames(footage: Footage) -> Iterator[np.ndarray]:
    return video.stream(footage.open())


def make_job(item: Item | Outcome, options: AttachOptions) -> Job | Rejected:
    """What an external generator is asked for: the video's best picture, its caption and a path.

    Raises TrajkitError as `make` does.
    """
    if isinstance(item, Outcome):
        return _refused(item)
    ready = filmed(item, options)
    if isinstance(ready, Rejected):
        return ready
    one, _, drawn = ready
    return Job(
        key=clip_key(item, options),
        picture=_fitted(next(iter(one.frames())), options.width, options.height),
        caption=one.footage.caption,
        trajectory=drawn.trajectory,
        seed=int(seeding.generator(options.seed, item.seen.content).integers(2**31)),
        source=one.footage.source,
        licence=one.footage.licence,
        path=drawn.spec,
        lens_known=one.lens_known,
    )


def _fitted(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture as `Camera.fitted` sees it: scaled to cover, its middle cut out."""
    from PIL import Image

    factor = max(width / rgb.shape[1], height / rgb.shape[0])
    across, down = width / factor, height / factor
    left, top = (rgb.shape[1] - across) / 2, (rgb.shape[0] - down) / 2
    box = (left, top, left + across, top + down)
    resized = Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS, box=box)
    return np.asarray(resized)


def _unit(one: Shot) -> float:
    """One path unit: a quarter of the median depth of the first picture, 1 where no depth is known."""
    first = next(iter(one.depth()), None) if one.depth is not None else None
    known = first[np.isfinite(first) & (first > 0)] if first is not None else np.zeros(0)
    return float(np.median(known)) / 4 if known.size else 1.0


def clip_key(item: Item, options: AttachOptions) -> str:
    """The clip's name: a function of the video's content and of all that was asked for."""
    asked = {name: value for name, value in asdict(options).items() if name != "menu"}
    made = seeding.digest(item.seen.content, asked, options.menu.specs, item.cell, length=10)
    return f"{item.key[:KEY_LENGTH]}-{options_.split_spec(options.backend)[0]}-{made}"


def _checks(one: Shot, options: AttachOptions) -> dict[str, Any]:
    """What the clip's json says of its footage."""
    fitness = one.fitness
    lens = {} if one.lens_known else {"assumed_fov_deg": options.fov_deg}
    return {"frozen": one.frozen, "camera": fitness.camera, "camera_sure": round(fitness.camera_sure, 3)} | lens


def _provenance(item: Item, spec: str, options: AttachOptions, kind: Kind) -> Provenance:
    versions = {"trajkit": __version__, "fitness": VERSION} | {one: version(one) for one in ("numba", "numpy")}
    return Provenance(
        kind=kind,
        source=item.seen.footage.source,
        scene=item.key,
        path=spec,
        generator=options.backend,
        seed=options.seed,
        versions=versions | {"footage": item.seen.content},
    )


def _rows(one: Outcome) -> list[Row]:
    """A row for a clip, one for each reason of a refusal; all carry the evidence."""
    evidence = {"name": one.name} | (asdict(one.fitness) if one.fitness else {})
    tell = functools.partial(Row, key=one.result.key, stage="attach", versions={"fitness": VERSION})
    if isinstance(one.result, Clip):
        made = one.result
        return [tell(state="attached", values=evidence | dict(made.checks) | {"path": made.provenance.path})]
    if isinstance(one.result, Job):
        return [tell(state="planned", values=evidence | {"path": one.result.path})]
    return [
        tell(
            state="rejected",
            reason=f"{finding.code}: {finding.message}",
            metric=finding.code,
            value=finding.value,
            threshold=finding.threshold,
            values=evidence,
        )
        for finding in one.result.findings
        if finding.level == "error"
    ]


def _refused(one: Outcome) -> Rejected:
    assert isinstance(one.result, Rejected)
    return one.result


def _failed(key: str, name: str, error: TrajkitError) -> Rejected:
    """The video refused for an error, which may name a path of this machine: its own name stands for it."""
    message = f"{error.problem}; {error.remedy}"
    return Rejected(key=key, findings=(Finding(code="unreadable", level="error", where=name, message=message),))


def _name(one: Footage | Rejected | Item | Outcome) -> str:
    return one.key if isinstance(one, Rejected) else one.name
