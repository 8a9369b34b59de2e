"""The golden examples under schemas/examples: `python tests/golden_examples.py` writes them anew."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from trajkit import files, se3
from trajkit.camera import Camera
from trajkit.clip import Clip, Provenance, write_clip
from trajkit.ledger import Ledger, Row
from trajkit.pack import pack
from trajkit.scene import Frame
from trajkit.score import Reason, Score, ScoreRecord, Verdict
from trajkit.shard_plan import make_plan, survey
from trajkit.trajectory import Scale, Trajectory

EXAMPLES = Path(__file__).resolve().parents[1] / "schemas" / "examples"
KEY = "example-walk-000"
FRAMES, WIDTH, HEIGHT = 5, 64, 48


def trajectory() -> Trajectory:
    """Half a metre forward, turning right by the angles of Pythagorean triples: the same bits on every machine."""
    cosines, sines = np.array([25, 24, 20, 15, 7]) / 25, np.array([0, 7, 15, 20, 24]) / 25
    rotations = np.tile(np.eye(3), (FRAMES, 1, 1))
    rotations[:, 0, 0], rotations[:, 2, 2] = cosines, cosines
    rotations[:, 0, 2], rotations[:, 2, 0] = sines, -sines
    centres = np.arange(FRAMES)[:, None] * [0, 0, 0.125]
    camera = Camera(width=WIDTH, height=HEIGHT, fx=41.5, fy=41.5, cx=WIDTH / 2, cy=HEIGHT / 2)
    return Trajectory.from_camera(se3.pose(rotations, centres), camera, fps=16, scale=Scale(kind="metric"))


def frames() -> list[Frame]:
    """A checkerboard that slides."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pictures = []
    for number in range(FRAMES):
        board = (((x + 2 * number) // 8 + y // 8) % 2).astype(np.uint8)
        rgb = np.stack([board * 200, 40 + board * 100, 255 - x * 2 - board * 50], axis=-1).astype(np.uint8)
        pictures.append(Frame(rgb=rgb, depth=(2 + y / HEIGHT - number / 8).astype(np.float32)))
    return pictures


def score_record() -> ScoreRecord:
    """What `trajkit score` might say of the clip."""
    far = "the cameras move points 2.5 px off what the pictures ask for, over 8 frames"
    return ScoreRecord(
        schema="trajkit.score/1",
        key=KEY,
        clip="0" * 64,
        calibration="1" * 64,
        verdict=Verdict(
            state="rejected",
            probability=0.125,
            low=1.5,
            high=4.0,
            reasons=(Reason(metric="induced", message=far, value=2.5, threshold=1.0, unit="px"),),
            frames=((1, 3),),
        ),
        scores=(
            Score(
                metric="induced",
                value=2.5,
                unit="px",
                better="lower",
                version="1",
                per_frame=(0.5, 2.5, 4.5, None, 2.5),
                values={"px_8": 2.5, "sigma_px": 0.25},
            ),
            Score(metric="depth", value=None, unit="relative", better="lower", version="1", why="has no depth"),
        ),
        about={"kind": "rendered", "frames": FRAMES, "fps": 16.0, "motion": "parallax"},
    )


def write(folder: Path) -> None:
    """Writes a clip folder with its ledger, and a folder of shards (one) of it."""
    clip = Clip(
        key=KEY,
        trajectory=trajectory(),
        fps=16.0,
        caption="a checkerboard, größer als ein Schachbrett",
        provenance=Provenance(
            kind="rendered", source="example:", scene="board", path="keys:w*4", generator="example", seed=7
        ),
        licence="CC0-1.0",
        checks={"visible": 1.0},
    )
    write_clip(folder / "clips", clip, frames(), depth="z")
    rows = [
        Row(key=KEY, stage="render", state="rendered", metric="visible", value=1.0, threshold=0.9),
        Row(key="example-walk-001", stage="render", state="rejected", reason="leaves the scene at frame 3"),
    ]
    Ledger(folder / "clips").append("render-example", rows)
    files.write_bytes(folder / "clips" / "scores" / f"{KEY}.json", files.json_bytes(asdict(score_record())))
    list(pack(make_plan(survey([folder / "clips"])[0]), folder / "shards"))


if __name__ == "__main__":
    write(EXAMPLES)
