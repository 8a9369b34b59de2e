"""The score stage: clips -> scores, a verdict, and their rows in the ledger. The unit of work is a few clips.

`OUT/scores/<key>.json` is written first, the ledger part of a unit last. A record is kept while the clip, its mask and
reference, the calibration and the metrics' versions are the same; one that is damaged is measured again.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from trajkit import __version__, files, plugins, seeding
from trajkit.clip import Clip, clip_keys, read_clip
from trajkit.errors import TrajkitError
from trajkit.ledger import Ledger, Row
from trajkit.members import from_json, read_npz, trajectory_from_bytes
from trajkit.scene import Finding, Rejected
from trajkit.score import SCHEMA, Reason, Score, ScoreRecord, Verdict
from trajkit.shards import open_shard
from trajkit.work import attempt, run

from . import calibration
from .evidence import Evidence
from .metrics._about import about, digest
from .reference import Align, compare, flat
from .verdict import verdict

FOLDER = "scores"
FAR = 1e30  # powers of larger coordinates overflow
MASK, CAMERA = ".npz", ".camera.npz"  # of files beside the clips: <key> and this
MAX_RECORD_BYTES = 1 << 26
ALIGNED: tuple[Align, ...] = ("sim3", "first_frame_scale", "first_frame")
MAX_MASK_SIDE = 1 << 13  # rows or columns


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreOptions:
    """What to measure; `trajkit score --help` says what each field means."""

    metrics: tuple[str, ...] = ()  # () = all, with a verdict
    calibration: Path = calibration.SHIPPED
    masks: Path | None = None  # folder of <key>.npz
    reference: Path | None = None  # folder of <key>.camera.npz with poses known to be right


class Item(NamedTuple):
    """A clip that has not been read yet: in a clip folder, or in a shard."""

    place: Path
    key: str


class Unit(NamedTuple):
    """What one worker scores at a time: the clips whose keys fall into one of 256 buckets.

    Which bucket a clip falls into does not depend on the other clips, so a clip that is added or mended later replaces
    its own rows in the ledger and nobody else's.
    """

    bucket: str
    items: tuple[Item, ...]

    def __str__(self) -> str:
        return f"{self.items[0].place} {self.items[0].key}"


def units(places: Sequence[Path]) -> list[Unit]:
    """The clips of clip folders, shards and folders of shards. Raises TrajkitError where one holds none."""
    buckets: dict[str, dict[str, Item]] = {}
    for place in places:
        items = list(_items(place))
        if not items:
            raise TrajkitError(place, "no finished clips", "give clip folders or shards that trajkit wrote")
        for item in items:
            bucket = buckets.setdefault(seeding.digest(item.key, length=2), {})
            if item.key in bucket:
                problem = f"clip {item.key} is also in {bucket[item.key].place}"
                raise TrajkitError(place, problem, "score one of the two, or rename its clips")
            bucket[item.key] = item
    return [Unit(name, tuple(bucket[key] for key in sorted(bucket))) for name, bucket in sorted(buckets.items())]


def _items(place: Path) -> Iterator[Item]:
    tars = sorted(place.glob("*.tar")) if place.is_dir() else [place]
    if not tars:
        yield from (Item(place, key) for key in clip_keys(place))
    for path in tars:
        if path.is_file() and path.suffix != ".tar":
            raise TrajkitError(path, "is neither a clip folder nor a shard", "give the folder, or a .tar")
        yield from (Item(path, key) for key in open_shard(path).keys)


def score(
    places: Sequence[Path], options: ScoreOptions, out: Path, *, workers: int = 1, executor: str = "local"
) -> Iterator[ScoreRecord | Rejected]:
    """Scores every clip, yielding each record once its unit is done; a clip that cannot be read comes as Rejected.

    Raises TrajkitError before anything is written where the options or the places are wrong.
    """
    for name in metric_names(options):
        plugins.load("metrics", name)
    calibration.load(options.calibration)
    todo = units(places)
    _check_beside(todo, options)
    Ledger(out).scan()  # a part that is damaged is found before hours of work
    with files.locked(out):
        work = functools.partial(score_unit, options=options, out=out)
        for unit, result in zip(todo, run(work, todo, workers, executor=executor), strict=True):
            found = [_failed(item.key, result) for item in unit.items] if isinstance(result, TrajkitError) else result
            Ledger(out).append(f"score-{unit.bucket}", [row for one in found for row in rows(one, options)])
            yield from found


def _check_beside(todo: Sequence[Unit], options: ScoreOptions) -> None:
    keys = [item.key for unit in todo for item in unit.items]
    for flag, folder, suffix in (("--masks", options.masks, MASK), ("--reference", options.reference, CAMERA)):
        if folder is not None and not any((folder / (key + suffix)).is_file() for key in keys):
            raise TrajkitError(folder, f"holds no <key>{suffix} of any of the clips", f"check {flag}")


def score_unit(unit: Unit, options: ScoreOptions, out: Path) -> list[ScoreRecord | Rejected]:
    """Records of the unit's clips, written or found done."""
    results: list[ScoreRecord | Rejected] = []
    for item in unit.items:
        found = attempt(lambda one: score_clip(read_item(one), options, out), item)
        if isinstance(found, TrajkitError):  # a record that is there tells of a clip that is no more
            (out / FOLDER / f"{item.key}.json").unlink(missing_ok=True)
        results.append(_failed(item.key, found) if isinstance(found, TrajkitError) else found)
    return results


def read_item(item: Item) -> Clip:
    """The clip. Raises TrajkitError where it is damaged."""
    return read_clip(*item) if item.place.is_dir() else _shard(item.place).clip(item.key)


_shard = functools.lru_cache(maxsize=8)(open_shard)


def score_clip(clip: Clip, options: ScoreOptions, out: Path) -> ScoreRecord:
    """The clip's record, from `out` where it still holds, else measured and written."""
    path, made = out / FOLDER / f"{clip.key}.json", digest(clip)
    modules = [plugins.load("metrics", name) for name in metric_names(options)]
    request = _request(clip, modules, options)
    kept = attempt(read_record, path)  # one that is missing or damaged is made again
    if not isinstance(kept, TrajkitError) and (kept.key, kept.clip, kept.calibration) == (clip.key, made, request):
        return kept
    _check_numbers(clip)
    evidence = Evidence(clip, mask=_mask(clip, options.masks))
    scores = measure(evidence, modules)
    if options.reference is not None:
        scores.append(_against(clip, options.reference))
    record = ScoreRecord(
        schema=SCHEMA,
        key=clip.key,
        clip=made,
        calibration=request,
        verdict=_verdict(scores, options, clip),
        scores=tuple(scores),
        about=about(evidence),
    )
    files.write_bytes(path, files.json_bytes(asdict(record)))
    return record


def _check_numbers(clip: Clip) -> None:
    trajectory = clip.trajectory
    for name, numbers in (("centres", trajectory.centres), ("intrinsics", trajectory.intrinsics)):
        if np.abs(numbers).max() > FAR:
            raise TrajkitError(f"clip {clip.key}", f"has {name} beyond {FAR:g}", "correct its poses, or drop it")


def _verdict(scores: Sequence[Score], options: ScoreOptions, clip: Clip) -> Verdict:
    if options.metrics:
        reason = Reason(metric="poses", message=f"only {', '.join(metric_names(options))} was measured")
        return Verdict(state="undetermined", probability=None, low=None, high=None, reasons=(reason,))
    index, width = clip.trajectory.frame_index.tolist(), clip.trajectory.width
    return verdict(scores, calibration.load(options.calibration), index, width)


def measure(evidence: Evidence, modules: Iterable[ModuleType]) -> list[Score]:
    """One score of each metric. Raises TrajkitError where the video does not decode, or has other frames."""
    clip = evidence.clip
    if clip.video is not None:  # here, so that a video that does not decode is an error, not a missing number
        decoded = evidence.tracks.frames
        if clip.frames and decoded != clip.frames:
            where = clip.video if isinstance(clip.video, Path) else f"clip {clip.key}"
            raise TrajkitError(where, f"{decoded} frames, its json says {clip.frames}", "make the clip again")
    return [module.score(evidence) for module in modules]


def metric_names(options: ScoreOptions) -> list[str]:
    """The metrics asked for, or all."""
    return list(dict.fromkeys(options.metrics)) or plugins.names("metrics")


def read_record(path: Path) -> ScoreRecord:
    """The record in a file. Raises TrajkitError where it is damaged."""
    content = files.read_bytes(path, limit=MAX_RECORD_BYTES)
    record: ScoreRecord = from_json(ScoreRecord, content, path, limit=MAX_RECORD_BYTES)
    return record


def rows(result: ScoreRecord | Rejected, options: ScoreOptions) -> list[Row]:
    """What the ledger says of the clip: a row for each metric, and one for the verdict."""
    if isinstance(result, Rejected):
        return [Row(key=result.key, stage="score", state="rejected", metric="readable", reason=result.reason)]
    found = result.verdict
    told = [
        Row(
            key=result.key,
            stage="score",
            state=found.state,
            metric=one.metric,
            value=one.value,
            reason="; ".join(reason.message for reason in found.reasons) or one.why,
            values={**one.values, "unit": one.unit, "better": one.better},
            versions={one.metric: one.version},
        )
        for one in result.scores
    ]
    reasons = [[one.metric, one.message, one.value, one.threshold, one.unit] for one in found.reasons]
    values = {"low": found.low, "high": found.high, "blamed": [list(pair) for pair in found.frames], "reasons": reasons}
    whole = Row(
        key=result.key,
        stage="score",
        state=found.state,
        metric="poses",
        value=found.probability,
        threshold=calibration.load(options.calibration).accept,
        reason="; ".join(reason.message for reason in found.reasons),
        values={**values, **result.about},
        versions={"trajkit": __version__, "calibration": result.calibration},
    )
    return [*told, whole]


def _request(clip: Clip, modules: Sequence[ModuleType], options: ScoreOptions) -> str:
    """Names all that a record depends on beside poses and video: files by their content, wherever they lie."""
    made = [calibration.digest(options.calibration), *(f"{module.__name__} {module.VERSION}" for module in modules)]
    told = asdict(replace(clip.provenance, versions={})) | {"licence": clip.licence, "caption": clip.caption}
    made.append(json.dumps([told, clip.fps, clip.frames, asdict(clip.trajectory.scale)], sort_keys=True))
    made.append(f"depth {_digest(clip.depth)}")
    for folder, suffix in ((options.masks, MASK), (options.reference, CAMERA)):
        if folder is not None:
            path = folder / (clip.key + suffix)
            made.append(f"{suffix} {_digest(path if path.is_file() else None)}")
    return hashlib.sha256("\n".join(made).encode()).hexdigest()


def _digest(content: Path | bytes | None) -> str:
    if isinstance(content, Path):
        return files.sha256(content)
    return "none" if content is None else hashlib.sha256(content).hexdigest()


def _failed(key: str, error: TrajkitError) -> Rejected:
    message = f"{error.problem}; {error.remedy}"
    return Rejected(key=key, findings=(Finding(code="unreadable", level="error", where=error.where, message=message),))


def _mask(clip: Clip, folder: Path | None) -> np.ndarray | None:
    """Where something moves: `mask` (frames, h, w) of bool in folder/<key>.npz; None where there is no such file."""
    path = folder / (clip.key + MASK) if folder else None
    if path is None or not path.is_file():
        return None
    with open(path, "rb") as stream:
        wanted = {"mask": ("|b1", (clip.frames or None, None, None))}
        mask = read_npz(stream, path, wanted, limit=MAX_MASK_SIDE)["mask"]
    if 0 in mask.shape:
        raise TrajkitError(path, f"mask has shape {mask.shape}", "give one picture per frame")
    return mask


def _against(clip: Clip, folder: Path) -> Score:
    """The claimed poses against those of the same name in another folder, under the richest alignment they allow."""
    path = folder / (clip.key + CAMERA)
    told = functools.partial(Score, metric="reference", better="lower", version="1")
    if not path.is_file():
        return told(value=None, unit="reference units", why=f"there is no {path.name}")
    truth = trajectory_from_bytes(files.read_bytes(path, limit=MAX_RECORD_BYTES), path, scale=clip.trajectory.scale)
    why = ""
    for align in ALIGNED:
        try:
            values = flat(compare(clip.trajectory, truth, align))
        except TrajkitError as error:  # a still or straight path does not fix a similarity
            why = f"{align}: {error.problem}"
            continue
        finite = {name: float(value) for name, value in values.items() if np.isfinite(value)}
        if "ate.rmse" in finite:
            return told(value=finite["ate.rmse"], unit=f"reference units, {align}", values=finite)
    return told(value=None, unit="reference units", why=why or "no alignment fits")
