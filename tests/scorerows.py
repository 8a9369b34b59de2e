"""Ledgers as trajkit score leaves them, without scoring anything: what tests of filter and balance read."""

from trajkit.ledger import Ledger, Row

ABOUT = {
    "kind": "estimated",
    "source": "web",
    "scene": "s",
    "licence": "CC0-1.0",
    "fps": 16.0,
    "frames": 77,
    "seconds": 4.8125,
    "poses": 77,
    "width": 832,
    "height": 480,
    "fov_deg": 50.0,
    "caption_length": 12,
    "scale": "sfm",
    "path_length": 1.0,
    "speed": 0.5,
    "turn_rate_deg": 3.0,
    "motion": "parallax",
    "direction": "forward",
    "turn": "none",
}


def clip_rows(key, probability=0.9, state="accepted", metrics=None, **about):
    """The score rows of one clip; `metrics` are {name: value} or {name: (value, {further: number})}."""
    reason = "" if state == "accepted" else "the cameras move points"
    rows = []
    for name, one in (metrics or {}).items():
        value, further = one if isinstance(one, tuple) else (one, {})
        values = {**further, "unit": "px", "better": "lower"}
        why = reason or ("" if value is not None else "too few tracks")
        rows.append(Row(key=key, stage="score", state=state, metric=name, value=value, values=values, reason=why))
    facts = {"low": 0.1, "high": 2.0, "reasons": [], **ABOUT, **about}
    facts = {name: value for name, value in facts.items() if value is not ...}
    verdict = Row(
        key=key,
        stage="score",
        state=state,
        metric="poses",
        value=probability,
        threshold=0.5,
        reason=reason,
        values=facts,
    )
    return [*rows, verdict]


def unreadable_rows(key):
    """The one row of a clip that could not be read."""
    return [Row(key=key, stage="score", state="rejected", metric="readable", reason="not an mp4; make it again")]


def scored_folder(folder, *clips, unit="score-00"):
    """A folder whose ledger holds these clips' rows."""
    Ledger(folder).append(unit, [row for rows in clips for row in rows])
    return folder
