"""One scene's clips: what the scene needs first, which clips there will be, and how one is made or refused."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from trajkit import __version__, cuda, files, plugins, seeding
from trajkit import options as options_
from trajkit.camera import Camera
from trajkit.clip import Clip, clip_keys, read_clip, sweep, write_clip
from trajkit.depth_error import JUDGES, Judges, depth_error
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger
from trajkit.members import Provenance, camera_bytes
from trajkit.reconstruct import Options as ReconstructOptions
from trajkit.reconstruct import ledger_rows, reconstruct
from trajkit.safe_path import Drawn, safe_path
from trajkit.safety import Accept
from trajkit.scene import Finding, Frame, Rejected, Scene
from trajkit.sfm import estimator, posed
from trajkit.survey import Survey, survey
from trajkit.trajectory import Trajectory

DEFAULT_FOV_DEG = 58.2  # vertical; that of minWM's and WorldPlay's default lens (reference: data_formats.md 4.2)
REFUSED = "refused"  # folder of the paths that were not accepted
REFUSED_VERSION = 1
TRUSTED = 0.05  # relative error of depth up to which it is good enough to train on


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderOptions:
    """What to render; `trajkit render --help` says what each field means."""

    paths: tuple[str, ...]  # specs such as "spline" or "keys:w*12,l*7", taken in turn
    count: int = 1  # clips per scene
    frames: int = 77
    width: int = 832  # pixels
    height: int = 480
    fps: float = 16.0
    fov_deg: tuple[float, float] | None = None  # vertical, drawn between; None = the captured lens, centre-cropped
    principal: str = "captured"  # or centre
    exposure: tuple[float, float] = (0.0, 0.0)  # stops, drawn between
    background: tuple[int, int, int] = (0, 0, 0)  # RGB behind what the scene does not cover
    renderer: str = "auto"
    engine: str = "auto"
    depth: bool = False
    caption: str = ""
    accept: Accept | None = field(default_factory=Accept)  # None = every path is taken as it is
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


class Unit(NamedTuple):
    """What one worker does at a time: some clips of one scene."""

    scene: Scene
    first: int  # number of its first clip
    last: int  # past its last one


def render_unit(unit: Unit, options: RenderOptions, out: Path, watch: Callable | None = None) -> list[Clip | Rejected]:
    """The unit's clips, made or found done, in plan order; those that could not be made come as Rejected.

    Raises TrajkitError where the scene itself cannot be rendered.
    """
    scene = prepare(unit.scene, out, options, watch)
    jobs = plan(scene, options)[unit.first : unit.last]
    sweep(out, [job.key for job in jobs])
    done = set(clip_keys(out))
    return [read_clip(out, job.key) if job.key in done else _made(job, out) for job in jobs]


def _made(job: Job, out: Path) -> Clip | Rejected:
    try:
        return make(job, out)
    except TrajkitError as error:
        return rejected(job.key, error)


def rejected(key: str, error: TrajkitError) -> Rejected:
    """The error as a finding of a clip or scene that it ended."""
    message = f"{error.problem}; {error.remedy}"
    return Rejected(key=key, findings=(Finding(code="failed", level="error", where=error.where, message=message),))


def prepare(scene: Scene, out: Path, options: RenderOptions, watch: Callable | None = None) -> Scene:
    """The scene with what its renderer needs: a capture without splats is reconstructed into out/scenes, once.

    Photos without poses are posed first. Leaves out/scenes/<id>.seen.npz, the captured cameras, for `trajkit show`.
    `watch` may show the fit's steps.
    """
    scene = posed(scene, out / "scenes", watch)
    if scene.seen is not None:
        seen, content = out / "scenes" / f"{scene.id}.seen.npz", camera_bytes(replace(scene.seen, distortion=()))
        if not seen.is_file() or seen.read_bytes() != content:  # workers that share the scene find it there
            files.write_bytes(seen, content)
    if "splat" in scene.assets or options_.split_spec(renderer_spec(scene, options))[0] == "toy":
        return scene
    chosen = ReconstructOptions(engine=options.engine, seed=options.seed)
    result: Path | TrajkitError
    try:
        result = reconstruct(scene, chosen, out / "scenes", watch=watch)
    except TrajkitError as error:
        result = error
    Ledger(out).append(f"reconstruct-{scene.id}", ledger_rows(scene, result, chosen, out / "scenes"))
    if isinstance(result, TrajkitError):
        raise result
    return replace(scene, assets={**scene.assets, "splat": result})


def plan(scene: Scene, options: RenderOptions) -> list[Job]:
    """The scene's clips. A key is a function of content and request: the same request always has the same name."""
    shown = [_digest(scene.assets[name]) for name in ("splat", "dataparser") if name in scene.assets]
    content = seeding.digest(*shown) if shown else scene.source
    renderer = renderer_spec(scene, options)
    resolved = replace(options, renderer=renderer)
    request = {name: value for name, value in asdict(resolved).items() if name not in ("paths", "count", "engine")}
    jobs = []
    for index in range(options.count):
        path = options.paths[index % len(options.paths)]
        name = seeding.digest(scene.id, content, path, index, request, length=10)
        key = f"{scene.id}-{options_.split_spec(path)[0]}-{index:03d}-{name}"
        jobs.append(Job(key=key, scene=scene, content=content, path=path, index=index, options=resolved))
    return jobs


def _digest(path: Path) -> str:
    """SHA-256 of a file, remembered for as long as its size and time stay: splats may have gigabytes."""
    status = os.stat(path)
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return files.sha256(path)


def path_options(path: str, options: RenderOptions, lens: Camera) -> tuple[ModuleType, Any]:
    """The sampler module and its options for a spec such as "orbit:turns=0.5"."""
    name, text = options_.split_spec(path)
    module = plugins.load("paths", name)
    fixed = {"frames": options.frames, "fps": options.fps, "camera": lens}
    return module, options_.parse(module.Options, text, where=f"--path {name}", **fixed)


def renderer_options(spec: str) -> tuple[ModuleType, Any]:
    """The renderer module and its options for a spec such as "splats:depth=expected"."""
    name, text = options_.split_spec(spec)
    module = plugins.load("renderers", name)
    return module, options_.parse(module.Options, text, where=f"--renderer {name}")


def renderer_spec(scene: Scene, options: RenderOptions) -> str:
    """The renderer to use: as asked, or the exact one for toy scenes, else splats on a GPU, else on the CPU."""
    if options.renderer != "auto":
        return options.renderer
    if scene.source.startswith("toy:"):
        return "toy"
    return "gsplat" if cuda.usable() else "splats"


def clip_lens(scene: Scene, options: RenderOptions, rng: np.random.Generator) -> Camera:
    """The lens of one clip: a drawn field of view, or as captured, or the default one."""
    if options.fov_deg is None and scene.seen is not None:
        lens = scene.seen.camera(0).undistorted().fitted(options.width, options.height)
        return replace(lens, cx=lens.width / 2, cy=lens.height / 2) if options.principal == "centre" else lens
    low, high = options.fov_deg or (DEFAULT_FOV_DEG, DEFAULT_FOV_DEG)
    return Camera.from_fov(options.width, options.height, rng.uniform(low, high) if high > low else low)


def make(job: Job, out: Path) -> Clip | Rejected:
    """One clip, rendered and written, or the reasons why no path was accepted (kept in out/refused).

    Raises TrajkitError where its path cannot be sampled in this scene.
    """
    record = out / REFUSED / f"{job.key}.json"
    if record.is_file():
        return _refusal(job.key, files.read_json(record))
    options, scene = job.options, job.scene
    rng = seeding.generator(options.seed, scene.id, job.index, "lens")
    lens = clip_lens(scene, options, rng)
    stops = rng.uniform(*options.exposure) if options.exposure[1] > options.exposure[0] else options.exposure[0]
    module, sampler_options = path_options(job.path, options, lens)

    def draw(number: int) -> Trajectory:
        key = (scene.id, job.index, *([number] if number else []))
        path: Trajectory = module.sample(scene, sampler_options, seeding.generator(options.seed, *key))
        return path

    held = _held_for(job, out)
    checks: dict[str, Any] = {}
    if options.accept is None:
        trajectory = draw(0)
    else:
        drawn = safe_path(held.survey, options.accept, draw)
        if drawn.reasons:
            return _refuse(job, drawn, out)
        trajectory = drawn.trajectory
        checks = dict(drawn.measured) | {"repair": drawn.repair, "draw": drawn.draw}
    if options.depth:
        checks |= held.depth
    clip = Clip(
        key=job.key,
        trajectory=trajectory,
        fps=options.fps,
        caption=options.caption,
        provenance=_provenance(job),
        licence=scene.licence,
        checks=checks | ({"exposure_stops": round(stops, 4)} if stops else {}),
    )
    frames = developed(held.renderer.frames(trajectory), stops, options.background)
    return write_clip(out, clip, frames, depth="z" if options.depth else None)


def _provenance(job: Job) -> Provenance:
    versions = {"trajkit": __version__} | {name: version(name) for name in ("numba", "numpy")}
    estimated = estimator(job.scene)  # the captured cameras', which the splats and the scale rest on
    return Provenance(
        kind="rendered",
        source=job.scene.source,
        scene=job.scene.id,
        path=job.path,
        generator=job.options.renderer,
        seed=job.options.seed,
        versions=versions | ({"captured_poses": estimated} if estimated else {}),
    )


def developed(frames: Iterable[Frame], stops: float, background: tuple[int, int, int]) -> Iterator[Frame]:
    """The frames over a background, brightened by `stops` in linear light (IEC 61966-2-1's curve, there and back)."""
    behind = np.array(background, np.float32)
    table = _exposed(stops) if stops else None
    for frame in frames:
        rgb = frame.rgb
        if behind.any() and frame.alpha is not None:
            rgb = np.rint(rgb + (1 - frame.alpha[..., None]) * behind).clip(0, 255).astype(np.uint8)
        yield replace(frame, rgb=rgb if table is None else table[rgb])


def _exposed(stops: float) -> np.ndarray:
    """For each 8-bit value the one that it has after multiplying linear light by 2^stops."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) * 2.0**stops
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0.0031308) ** (1 / 2.4) - 0.055)
    return np.rint(coded.clip(0, 1) * 255).astype(np.uint8)


def depth_checks(found: Survey, out: Path) -> dict[str, float | bool]:
    """Relative error of the depth that the renderer gives, and whether it is good enough.

    Measured at triangulated points where the scene was reconstructed here, else by how far captured views disagree;
    toy rooms have none. Nothing to measure it by: not trusted.
    """
    scene = found.scene
    if scene.source.startswith("toy:"):
        return {"depth_error": 0.0, "depth_trusted": True}
    judges = out / "scenes" / f"{scene.id}{JUDGES}"
    if judges.is_file() and scene.seen is not None:
        error = depth_error(found.renderer, scene.seen, Judges.read(judges)).median
    else:
        error = found.spread
    if not np.isfinite(error):
        return {"depth_trusted": False}
    return {"depth_error": round(error, 5), "depth_trusted": bool(error <= TRUSTED)}


def _refuse(job: Job, drawn: Drawn, out: Path) -> Rejected:
    """Keeps the first draw and the limits it broke: the cameras, then the record."""
    assert job.options.accept is not None
    reasons = {one.name: {"value": one.value, "threshold": one.threshold, "frame": one.frame} for one in drawn.reasons}
    record = {
        "version": REFUSED_VERSION,
        "key": job.key,
        "scene": job.scene.id,
        "path": job.path,
        "reason": "; ".join(one.text for one in drawn.reasons),
        "reasons": reasons,
        "tries": job.options.accept.tries,
    }
    files.write_bytes(out / REFUSED / f"{job.key}.camera.npz", camera_bytes(drawn.trajectory))
    files.write_bytes(out / REFUSED / f"{job.key}.json", files.json_bytes(record))
    return _refusal(job.key, record)


def _refusal(key: str, record: Mapping[str, Any]) -> Rejected:
    findings = tuple(
        Finding(
            code=name,
            level="error",
            where=f"frame {one['frame']}",
            message=f"{one['value']:.3g}, limit {one['threshold']:g}",
            value=one["value"],
            threshold=one["threshold"],
        )
        for name, one in record["reasons"].items()
    )
    return Rejected(key=key, findings=findings)


class _Held:
    """A renderer, what it saw from the captured cameras, and how good its depth is: looked at when asked for."""

    def __init__(self, scene: Scene, renderer: Any, out: Path) -> None:
        self.scene, self.renderer, self.out = scene, renderer, out

    @functools.cached_property
    def survey(self) -> Survey:
        return survey(self.scene, self.renderer)

    @functools.cached_property
    def depth(self) -> dict[str, float | bool]:
        return depth_checks(self.survey, self.out)


_held: dict[tuple[str, str, str, Path], _Held] = {}  # at most one a process: the scene's next clip finds it loaded


def _held_for(job: Job, out: Path) -> _Held:
    wanted = (job.scene.id, job.content, job.options.renderer, out)
    if wanted not in _held:
        _held.clear()
        module, chosen = renderer_options(job.options.renderer)
        _held[wanted] = _Held(job.scene, module.Renderer(job.scene, chosen), out)
    return _held[wanted]
