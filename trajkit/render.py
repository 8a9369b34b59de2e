"""The render stage: scenes x paths -> clips. The unit of work is one clip, planned from (seed, scene, index)."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from trajkit import __version__, cuda, files, plugins, seeding
from trajkit import options as options_
from trajkit.camera import Camera
from trajkit.clip import Clip, clip_keys, read_clip, sweep, write_clip
from trajkit.errors import TrajkitError
from trajkit.latents import latent_count
from trajkit.ledger import Ledger, Row
from trajkit.members import Provenance, camera_bytes
from trajkit.scene import Finding, Rejected, Scene
from trajkit.work import run

DEFAULT_FOV_DEG = 58.2  # vertical; that of minWM's and WorldPlay's default lens (reference: data_formats.md 4.2)


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderOptions:
    """What to render; `trajkit render --help` says what each field means."""

    paths: tuple[str, ...]  # specs such as "spline" or "keys:w*12,l*7", taken in turn
    count: int = 1  # clips per scene
    frames: int = 77
    width: int = 832  # pixels
    height: int = 480
    fps: float = 16.0
    fov_deg: float | None = None  # vertical; None = the captured lens, scaled to cover and centre-cropped
    renderer: str = "auto"
    depth: bool = False
    caption: str = ""
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """One clip to be: a function of (seed, scene, index) alone, so that any worker can do it at any time."""

    key: str
    scene: Scene
    content: str  # names what the scene shows: a digest of its splats, or the toy's spec
    path: str
    index: int
    options: RenderOptions  # with the renderer resolved


def check_options(options: RenderOptions) -> None:
    """Raises TrajkitError, before anything is written, for what can be seen to be wrong without a scene."""
    latent_count(options.frames)
    if options.width % 2 or options.height % 2:
        raise TrajkitError("--size", f"{options.width}x{options.height} is odd", "H.264 needs even width and height")
    if not options.paths:
        raise TrajkitError("--path", "no path is given", f"use one of {', '.join(plugins.names('paths'))}")
    lens = Camera.from_fov(options.width, options.height, options.fov_deg or DEFAULT_FOV_DEG)
    for path in options.paths:
        path_options(path, options, lens)
    if options.renderer != "auto":
        renderer_options(options.renderer)


def path_options(path: str, options: RenderOptions, lens: Camera) -> tuple[ModuleType, Any]:
    """The sampler module and its options for a spec such as "orbit:turns=0.5"."""
    name, text = options_.split_spec(path)
    module = plugins.load("paths", name)
    fixed = {"frames": options.frames, "fps": options.fps, "camera": lens}
    return module, options_.parse(module.Options, text, where=f"--path {name}", **fixed)


def renderer_options(spec: str) -> tuple[ModuleType, Any]:
    """The renderer module and its options for a spec such as "splats:depth=median"."""
    name, text = options_.split_spec(spec)
    module = plugins.load("renderers", name)
    return module, options_.parse(module.Options, text, where=f"--renderer {name}")


def render(
    scenes: list[Scene | Rejected],
    options: RenderOptions,
    out: Path,
    *,
    workers: int = 1,
    watch: Callable | None = None,
) -> Iterator[Clip | Rejected]:
    """Renders every planned clip of every scene into the clip folder `out`, yielding each as it is done.

    Finished clips are kept, torn ones redone. A scene or path that cannot be used is yielded as Rejected and kept in
    the ledger with its reason. Raises TrajkitError before anything is written where the options are wrong.
    """
    check_options(options)
    with files.locked(out):
        work = functools.partial(prepare, out=out, options=options, watch=watch if workers == 1 else None)
        ready = run(work, _usable(scenes), workers, name=_scene_name)
        yield from _render_scenes(scenes, ready, options, out, workers)


def _render_scenes(
    scenes: list[Scene | Rejected],
    ready: Iterator[Scene | TrajkitError],
    options: RenderOptions,
    out: Path,
    workers: int,
) -> Iterator[Clip | Rejected]:
    for scene in scenes:
        prepared = scene if isinstance(scene, Rejected) else next(ready)
        if isinstance(prepared, TrajkitError):
            prepared = _rejected(_key(scene), prepared)
        if isinstance(prepared, Rejected):
            Ledger(out).append(f"render-{seeding.digest(prepared.key)}", [_row(prepared)])
            yield prepared
        else:
            yield from _render_scene(plan(prepared, options), out, workers)


def plan(scene: Scene, options: RenderOptions) -> list[Job]:
    """The scene's clips. A key is a function of content and seed: the same request always has the same name."""
    shown = [files.sha256(scene.assets[name]) for name in ("splat", "dataparser") if name in scene.assets]
    content = seeding.digest(*shown) if shown else scene.source
    renderer = renderer_spec(scene, options)
    shape = (
        options.frames,
        options.width,
        options.height,
        options.fps,
        options.fov_deg,
        options.depth,
        options.caption,
    )
    jobs = []
    for index in range(options.count):
        path = options.paths[index % len(options.paths)]
        name = seeding.digest(scene.id, content, renderer, path, index, options.seed, *shape, length=10)
        key = f"{scene.id}-{options_.split_spec(path)[0]}-{index:03d}-{name}"
        resolved = replace(options, renderer=renderer)
        jobs.append(Job(key=key, scene=scene, content=content, path=path, index=index, options=resolved))
    return jobs


def prepare(scene: Scene, out: Path, options: RenderOptions, watch: Callable | None = None) -> Scene:
    """The scene with what its renderer needs: a capture without splats is reconstructed into out/scenes, once.

    Also leaves out/scenes/<id>.seen.npz, the captured cameras, for `trajkit show`. `watch` may show the fit's steps.
    """
    if scene.seen is not None:
        pinhole = replace(scene.seen, distortion=())
        files.write_bytes(out / "scenes" / f"{scene.id}.seen.npz", camera_bytes(pinhole))
    if "splat" in scene.assets or options_.split_spec(renderer_spec(scene, options))[0] == "toy":
        return scene
    from trajkit.reconstruct import Options, reconstruct

    splat = reconstruct(scene, Options(seed=options.seed), out / "scenes", watch=watch)
    return replace(scene, assets={**scene.assets, "splat": splat})


def renderer_spec(scene: Scene, options: RenderOptions) -> str:
    """The renderer to use: as asked, or the exact one for toy scenes, else splats on a GPU, else on the CPU."""
    if options.renderer != "auto":
        return options.renderer
    if scene.source.startswith("toy:"):
        return "toy"
    return "gsplat" if cuda.usable() else "splats"


def clip_lens(scene: Scene, options: RenderOptions) -> Camera:
    """The lens of the scene's clips: chosen by field of view, or as captured, or the default one."""
    if options.fov_deg is None and scene.seen is not None:
        return scene.seen.camera(0).undistorted().fitted(options.width, options.height)
    return Camera.from_fov(options.width, options.height, options.fov_deg or DEFAULT_FOV_DEG)


def make(job: Job, out: Path) -> Clip:
    """One clip, rendered and written. Raises TrajkitError where its path cannot be sampled in this scene."""
    module, sampler_options = path_options(job.path, job.options, clip_lens(job.scene, job.options))
    trajectory = module.sample(job.scene, sampler_options, seeding.generator(job.options.seed, job.scene.id, job.index))
    clip = Clip(
        key=job.key,
        trajectory=trajectory,
        fps=job.options.fps,
        caption=job.options.caption,
        provenance=Provenance(
            kind="rendered",
            source=job.scene.source,
            scene=job.scene.id,
            path=job.path,
            generator=job.options.renderer,
            seed=job.options.seed,
            versions={"trajkit": __version__} | {name: version(name) for name in ("numba", "numpy")},
        ),
        licence=job.scene.licence,
    )
    frames = _renderer_of(job).frames(trajectory)
    return write_clip(out, clip, frames, depth="z" if job.options.depth else None)


_held: dict[tuple[str, str], Any] = {}  # at most one renderer a process: the scene's next clip finds it loaded


def _renderer_of(job: Job) -> Any:
    wanted = (job.content, job.options.renderer)
    if wanted not in _held:
        _held.clear()
        module, chosen = renderer_options(job.options.renderer)
        _held[wanted] = module.Renderer(job.scene, chosen)
    return _held[wanted]


def _render_scene(jobs: list[Job], out: Path, workers: int) -> Iterator[Clip | Rejected]:
    """The scene's clips in plan order; its ledger part is written once all are there."""
    sweep(out, [job.key for job in jobs])
    done = set(clip_keys(out))
    fresh = run(functools.partial(make, out=out), [job for job in jobs if job.key not in done], workers, name=_job_name)
    rows = []
    for job in jobs:
        result: Clip | Rejected | TrajkitError = read_clip(out, job.key) if job.key in done else next(fresh)
        if isinstance(result, TrajkitError):
            result = _rejected(job.key, result)
        rows.append(_row(result))
        yield result
    Ledger(out).append(f"render-{seeding.digest(*(job.key for job in jobs))}", rows)


def _row(result: Clip | Rejected) -> Row:
    if isinstance(result, Rejected):
        return Row(key=result.key, stage="render", state="rejected", reason=result.reason)
    return Row(key=result.key, stage="render", state="rendered", versions=result.provenance.versions)


def _rejected(key: str, error: TrajkitError) -> Rejected:
    message = f"{error.problem}; {error.remedy}"
    return Rejected(key=key, findings=(Finding(code="failed", level="error", where=error.where, message=message),))


def _key(scene: Scene | Rejected) -> str:
    return scene.id if isinstance(scene, Scene) else scene.key


def _usable(scenes: list[Scene | Rejected]) -> Iterator[Scene]:
    return (scene for scene in scenes if isinstance(scene, Scene))


def _scene_name(scene: Scene) -> str:
    return f"scene {scene.id}"


def _job_name(job: Job) -> str:
    return f"clip {job.key}"
