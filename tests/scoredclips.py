"""Scored sets for tests of reports: a few real clips with verdicts of all kinds, and a ledger of any size without."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import tinyclips

from trajkit import files
from trajkit.clip import Clip, Provenance, write_clip
from trajkit.ledger import Ledger, Row, schema
from trajkit.score import SCHEMA, Reason, Score, ScoreRecord, Verdict

EVIL = "\"><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
FRAMES = 7
PLAN = (  # key, state, probability, kind, motion, direction, turn, licence, scale
    ("a-clean", "accepted", 0.98, "rendered", "parallax", "forward", "none", "CC0-1.0", "metric"),
    ("b-copy", "accepted", 0.97, "rendered", "parallax", "forward", "none", "CC0-1.0", "metric"),
    ("c-turn", "undetermined", 0.55, "estimated", "rotation", "still", "left", "unknown", "sfm"),
    ("d-jump", "rejected", 0.03, "estimated", "parallax", "left", "right", "unknown", "sfm"),
    ("e-still", "undetermined", None, "estimated", "static", "still", "none", "CC-BY-4.0", "unknown"),
    ("f-drift", "rejected", 0.21, "refined", "parallax", "mixed", "mixed", EVIL, "sfm"),
)
METRICS = {"induced": ("px", "lower"), "points": ("", "higher"), "texture": ("", "neither")}


def scored(folder: Path, *, copies: int = 1) -> list[str]:
    """Writes clips, their ledger and their score records; returns the keys, sorted. One has no score, one candidate
    was refused by render, one clip could not be read."""
    rows, keys = [], []
    for number in range(copies):
        for plan in PLAN:
            key = plan[0] if copies == 1 else f"{plan[0]}-{number}"
            record = _record(key, plan)
            _write(folder, key, plan)
            files.write_bytes(folder / f"scores/{key}.json", files.json_bytes(asdict(record)))
            rows += score_rows(record)
            keys.append(key)
    _write(folder, "g-unscored", PLAN[0])
    broken = Row(key="h-broken", stage="score", state="rejected", metric="readable", reason="h-broken.mp4: no decoder")
    Ledger(folder).append("score-00", [*rows, broken])
    refused = [
        Row(key="i-refused", stage="render", state="rejected", reason=f"clearance: {EVIL}", metric=name, value=0.1)
        for name in ("clearance", "unseen")
    ]
    made = [Row(key=key, stage="render", state="rendered", versions={"trajkit": "1"}) for key in (*keys, "g-unscored")]
    scene = Row(key="hall", stage="reconstruct", state="rejected", reason="too few photos")
    Ledger(folder).append("render-00", [*refused, *made, scene])
    files.write_bytes(folder / "score.toml", b"[score]\nmetrics = []\n")
    return sorted([*keys, "g-unscored", "h-broken"])


def _write(folder: Path, key: str, plan: tuple) -> None:
    trajectory = tinyclips.trajectory("a-clean" if plan[0] == "b-copy" else key, FRAMES)
    clip = Clip(
        key=key,
        trajectory=trajectory,
        fps=tinyclips.FPS,
        caption=EVIL if plan[0] == "d-jump" else f"caption of {key}",
        provenance=Provenance(kind=plan[3], source=EVIL, scene="hall"),
        licence=plan[7],
    )
    write_clip(folder, clip, tinyclips.pictures(key, FRAMES))


def _record(key: str, plan: tuple) -> ScoreRecord:
    _, state, probability, kind, motion, direction, turn, licence, scale = plan
    rejected = state == "rejected"
    reason = Reason(
        metric="induced", message=f"cameras move points by 6.2 px {EVIL}", value=6.2, threshold=1.5, unit="px"
    )
    unsure = Reason(metric="texture", message="nothing to follow")
    path = tinyclips.trajectory("a-clean" if plan[0] == "b-copy" else key, FRAMES)
    course = tuple(0.2 + (6.0 if rejected and k in (3, 4) else 0.1 * k) for k in range(FRAMES))
    return ScoreRecord(
        schema=SCHEMA,
        key=key,
        clip=digest_of("a-clean" if plan[0] == "b-copy" else key),
        calibration="0" * 64,
        verdict=Verdict(
            state=state,
            probability=probability,
            low=None if probability is None else 0.1,
            high=None if probability is None else 2.0,
            reasons=() if state == "accepted" else (reason, unsure) if rejected else (unsure,),
            frames=((3, 4),) if rejected else (),
        ),
        scores=(
            Score(metric="induced", value=max(course), unit="px", better="lower", version="1", per_frame=course),
            Score(metric="points", value=0.9 if not rejected else 0.4, unit="", better="higher", version="2"),
            Score(metric="texture", value=None, unit="", better="neither", version="1", why="nothing to follow"),
        ),
        about={
            "kind": kind,
            "source": EVIL,
            "scene": "hall",
            "licence": licence,
            "fps": tinyclips.FPS,
            "frames": FRAMES,
            "poses": FRAMES,
            "width": path.width,
            "height": path.height,
            "seconds": FRAMES / tinyclips.FPS,
            "fov_deg": 45.0,
            "caption_length": 0 if plan[0] == "c-turn" else 20,
            "scale": scale,
            "path_length": path.path_length,
            "speed": float(np.median(path.speeds)),
            "turn_rate_deg": float(np.median(path.turn_rates_deg)),
            "motion": motion,
            "direction": direction,
            "turn": turn,
            "clip": digest_of("a-clean" if plan[0] == "b-copy" else key),
        },
    )


def digest_of(text: str) -> str:
    """Any 64 hexadecimal digits that depend on the text."""
    return hashlib.sha256(text.encode()).hexdigest()


def score_rows(record: ScoreRecord) -> list[Row]:
    """The rows that the score stage writes of a record."""
    verdict, state = record.verdict, record.verdict.state
    told = "; ".join(reason.message for reason in verdict.reasons)
    rows = [
        Row(
            key=record.key,
            stage="score",
            state=state,
            metric=one.metric,
            value=one.value,
            reason=told or one.why,
            values={**one.values, "unit": one.unit, "better": one.better},
            versions={one.metric: one.version},
        )
        for one in record.scores
    ]
    reasons = [[one.metric, one.message, one.value, one.threshold, one.unit] for one in verdict.reasons]
    values = {"low": verdict.low, "high": verdict.high, "frames": [list(pair) for pair in verdict.frames]}
    whole = Row(
        key=record.key,
        stage="score",
        state=state,
        metric="poses",
        value=verdict.probability,
        threshold=0.5,
        reason=told,
        values={**values, "reasons": reasons, **record.about},
        versions={"trajkit": "1"},
    )
    return [*rows, whole]


def numbers_of(page: Path) -> dict:
    """The JSON beside a report's page."""
    return json.loads(page.with_suffix(".json").read_text())


def ledger_of(folder: Path, count: int, metrics: int = 10) -> None:
    """A ledger of `count` clips that exist nowhere, as the score stage would write it, in parts of 10,000 clips."""
    rng = np.random.default_rng(0)
    for part, start in enumerate(range(0, count, 10_000)):
        n = min(10_000, count - start)
        keys = pl.Series([f"clip-{start + k:06d}" for k in range(n)])
        chance = rng.beta(3, 1, n)
        state = np.where(chance > 0.6, "accepted", np.where(chance > 0.4, "undetermined", "rejected"))
        frames = [
            _part(keys, state, f"metric-{m}", rng.lognormal(0, 1, n), np.full(n, '{"better": "lower", "unit": "px"}'))
            for m in range(metrics)
        ]
        values = [_values(start + k, state[k], rng) for k in range(n)]
        table = pl.concat([*frames, _part(keys, state, "poses", chance, np.array(values, object))])
        (folder / "ledger").mkdir(parents=True, exist_ok=True)
        table.write_parquet(folder / f"ledger/score-{part:02x}.1.parquet")


def _part(keys: pl.Series, state: np.ndarray, metric: str, value: np.ndarray, values: np.ndarray) -> pl.DataFrame:
    told = pl.DataFrame(
        {
            "key": keys,
            "state": state.astype(object),
            "value": value,
            "values": values.astype(object),
        },
        schema={"key": pl.String, "state": pl.String, "value": pl.Float64, "values": pl.String},
    ).with_columns(
        stage=pl.lit("score"),
        metric=pl.lit(metric),
        reason=pl.when(pl.col("state") == "accepted").then(pl.lit("")).otherwise(pl.lit("too far off")),
        threshold=pl.lit(None, pl.Float64),
        versions=pl.lit(f'{{"{metric}": "1"}}'),
        attempt=pl.lit(1, pl.Int64),
    )
    return told.select(*schema()).cast(schema())


def _values(number: int, state: str, rng: np.random.Generator) -> str:
    metric = number % 7
    reasons = [] if state == "accepted" else [[f"metric-{metric}", f"{number} is too far off", 3.5, 1.5, "px"]]
    motion = ("static", "rotation", "parallax", "parallax")[number % 4]
    about = {
        "kind": ("rendered", "estimated", "estimated")[number % 3],
        "source": f"set-{number % 90}",
        "scene": f"scene-{number % 5000}",
        "licence": ("CC0-1.0", "CC-BY-4.0", "unknown")[number % 3],
        "fps": 16.0 if number % 2 else 24.0,
        "frames": 77,
        "poses": 77,
        "width": 832,
        "height": 480,
        "seconds": 77 / 16,
        "fov_deg": 40 + 30 * float(rng.random()),
        "caption_length": int(rng.integers(0, 300)),
        "scale": ("metric", "sfm")[number % 2],
        "path_length": float(rng.lognormal(0, 1.2)),
        "speed": float(rng.lognormal(-1, 1)),
        "turn_rate_deg": float(rng.lognormal(1, 1)),
        "motion": motion,
        "direction": ("forward", "backward", "left", "right", "still")[number % 5],
        "turn": ("none", "left", "right")[number % 3],
        "clip": digest_of(str(number // 2 * 2 if number % 1000 == 1 else number)),
    }
    return files.json_bytes({"low": 0.1, "high": 3.0, "frames": [], "reasons": reasons, **about}).decode()
