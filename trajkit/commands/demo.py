"""`trajkit demo`."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import click

from trajkit import files
from trajkit.cli import group
from trajkit.commands._common import emit, json_option
from trajkit.demo import STEPS, demo
from trajkit.errors import TrajkitError

# A network of a million parameters that sees 12 latents of a clip, three chunks, so that a step takes part of a second.
NETWORK = "random:heads=4,head_dim=32,layers=4,ffn=384,patch=8"
LINE = ("loop.clips=2", "loop.latents=12", "loop.lr=2e-3", "loop.warmup=5", "loop.log_every=5", "loop.save_every=1000")
UNGUIDED = "stage.guidance=1"  # guidance is by text, of which the toy has none
COMMANDED = "keys:w*6,w+l*7,l*6"
UNLEARNED = (
    "so little training makes patches in the room's colours and no room: the rollout shows that each stage runs, with\n"
    "the commanded path drawn beside the pictures; docs/training.md says what a real run takes"
)


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="demo",
    show_default=True,
    metavar="FOLDER",
    help="Where to write.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def command(out: Path, seed: int, as_json: bool) -> None:
    """Run the whole pipeline on the built-in scene, training included: a CPU, no download, a few minutes.

    \b
    trajkit demo --out demo
    """
    places = demo(out, seed=seed, say=_say)
    _say(f"6/{STEPS} scoring the poses of the clips by their pixels")
    _run("score", places.clips, "--out", places.clips)
    report = out / "report.html"
    _say(f"7/{STEPS} writing the report")
    _run("report", places.clips, "--out", report)
    result: dict[str, Any] = {name: str(getattr(places, name)) for name in ("capture", "clips", "shards")}
    result["page"], result["sheet"] = str(places.page / "index.html"), str(places.page / "contact_sheet.png")
    result["report"] = str(report)
    losses = _trained(places.shards, out, seed)
    _say(f"10/{STEPS} letting the last student make a clip along {COMMANDED}")
    result["rollout"] = str(_rollout(out, seed))
    lines = [f"{name:8}{path}" for name, path in result.items()]
    lines += [f"{stage:12}{told}" for stage, told in losses.items()] + [UNLEARNED]
    emit({**result, "losses": losses}, as_json, lines)


def _trained(shards: Path, out: Path, seed: int) -> dict[str, str]:
    """Takes a tiny network through all stages, each for a few steps; what became of the losses, by stage."""
    _say(f"8/{STEPS} encoding the clips for a toy network of 64x64 pixels")
    encoded, pairs, runs = out / "encoded", out / "pairs", out / "runs"
    _run("encode", shards, "--encoder", "toy", "--size", "64x64", "--seed", seed, "--out", encoded)
    _say(f"9/{STEPS} training it through finetune, causal, ode, consistency and dmd")

    def stage(name: str, clips: Path, steps: int, *more: object, start: object) -> None:
        given = [word for item in (f"loop.steps={steps}", *LINE) for word in ("--set", item)]
        _run("train", name, clips, "--backbone", "toy", "--start", start, "--out", runs / name, *given, *more)

    stage("finetune", encoded, 60, "--seed", seed, start=NETWORK)
    stage("causal", encoded, 25, "--seed", seed, start=runs / "finetune")
    few = ("--steps", 8, "--guidance", 1, "--seed", seed)
    _run("pairs", encoded, "--teacher", runs / "causal", *few, "--out", pairs)
    stage("ode", pairs, 20, "--seed", seed, start=runs / "causal")
    distilled = ("--teacher", runs / "causal", "--set", UNGUIDED, "--seed", seed)
    stage("consistency", encoded, 10, *distilled, start=runs / "ode")
    scored = ("--teacher", runs / "finetune", "--set", UNGUIDED, "--set", "loop.lr=1e-4", "--seed", seed)
    stage("dmd", encoded, 6, *scored, start=runs / "consistency")
    return {name: _losses(runs / name / "log.jsonl") for name in ("finetune", "causal", "ode", "consistency", "dmd")}


def _losses(log: Path) -> str:
    """The first and the last losses of a run's log, each a mean over a few steps."""
    lines = [json.loads(line) for line in files.read_text(log).splitlines()]
    told = []
    for role in (name for name in lines[0] if name.endswith(" loss")):
        losses = [line[role] for line in lines if role in line]
        told.append(f"{role} {losses[0]:.3g} -> {losses[-1]:.3g}")
    return ", ".join(told)


def _rollout(out: Path, seed: int) -> Path:
    """The video of a clip of the student's, its commanded path beside it."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        made = ("--path", COMMANDED, "--draw", "--seed", seed, "--out", out / "rollout", "--json")
        _main("rollout", out / "runs/dmd", *made)
    return out / "rollout/drawn" / f"{next(iter(json.loads(told.getvalue())['clips']))}.mp4"


def _say(line: str) -> None:
    click.echo(line, err=True)


def _run(*arguments: object) -> None:
    """Another command of the table; what it prints goes to stderr, since stdout holds the demo's own result.

    A clip that is not accepted is no failure of `score`: splats of 30 photos are soft, and it may say so.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if _main(*arguments) and arguments[0] != "score":
            raise TrajkitError(str(arguments[0]), "left clips out", "report this as a defect")


def _main(*arguments: object) -> Any:
    return group.main([str(one) for one in arguments], prog_name="trajkit", standalone_mode=False)
