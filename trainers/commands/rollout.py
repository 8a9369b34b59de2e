"""`trajkit rollout`: clips that a network makes along commanded cameras."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from trajkit import latents, plugins, seeding, video
from trajkit import options as options_
from trajkit.clip import Clip, clip_keys, read_clip, sweep, write_clip
from trajkit.commands._common import emit, json_option
from trajkit.errors import TrajkitError
from trajkit.members import Provenance
from trajkit.scene import Frame

from .. import checkpoint, data, decoding, drawing, preflight
from ..backbones import BackboneModule
from ..batch import Draws
from ..cameras import Cameras
from ..card import Card
from ..commanded import Job, Request, jobs
from ..encoders import Settings, encoder_class
from ..rollout import Rollout, Sampling, check_chunks, check_window
from .encode import device_of

TIMED = "in: networks, cache, decoding; out: text, mp4"


@click.command("rollout")
@click.argument("named", metavar="CKPT")
@click.option("--path", "paths", multiple=True, metavar="SPEC", help="Sampler of the cameras; repeat to alternate.")
@click.option("--cameras", type=click.Path(path_type=Path), metavar="NPZ", help="Cameras of a clip (.camera.npz).")
@click.option(
    "--latents", "clips", type=click.Path(path_type=Path), metavar="SHARDS", help="Encoded clips: their text, cameras."
)
@click.option("--caption", default="", metavar="TEXT", help="Text, where no --latents bring it.")
@click.option("--encoder", default="", metavar="NAME:FOLDER", help="Where the VAE and text networks lie, as in encode.")
@click.option("--frames", type=int, metavar="4N+1", help="Frames per clip.  [default: 77, or as the cameras have]")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, metavar="CLIPS", help="Clips to make.")
@click.option("--fps", type=click.FloatRange(1, 240), default=16.0, show_default=True, metavar="HZ", help="Of --path.")
@click.option(
    "--fov", "fov_deg", type=click.FloatRange(5, 150), default=58.2, metavar="DEG", help="Vertical, of --path."
)
@click.option("--unit", type=click.FloatRange(1e-6), default=1.0, metavar="U", help="Length of a path unit, of --path.")
@click.option("--steps", type=click.IntRange(1, 1000), metavar="N", help="Of many-step networks.  [default: 50]")
@click.option("--solver", type=click.Choice(["euler", "consistency"]), help="[default: the checkpoint's]")
@click.option("--guidance", type=click.FloatRange(0, 50), metavar="S", help="[default: 3; few-step students 1, none]")
@click.option(
    "--drop", type=click.Choice(["text", "cameras", "both"]), default="text", help="What guidance leaves out."
)
@click.option("--window", type=int, metavar="LATENTS", help="What a chunk sees of the clip.  [default: as in training]")
@click.option("--sink", type=click.IntRange(0), default=0, metavar="LATENTS", help="First latents kept in the window.")
@click.option("--device", default="auto", metavar="NAME", help="[default: cuda where there is one]")
@click.option("--precision", type=click.Choice(["bf16", "float32"]), help="[default: bf16 on cuda, else float32]")
@click.option("--compile", "compiled", is_flag=True, help="On a GPU, compile what surrounds attention (a minute).")
@click.option("--draw", is_flag=True, help="Also write OUT/drawn/KEY.mp4: the clip beside its commanded path.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Clip folder to write.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of paths and noise.")
@click.option("--dry-run", is_flag=True, help="Check everything, list the clips; write nothing.")
@json_option
def command(named: str, out: Path, draw: bool, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Make clips with the network in CKPT (a run or a folder of weights) along commanded cameras.

    \b
    trajkit rollout runs/dmd --path "keys:w*12,l*7" --latents shards --encoder wan:WEIGHTS --out clips
    trajkit rollout runs/dmd --cameras clips/a.camera.npz --caption "a yard" --encoder wan:WEIGHTS --out clips
    trajkit rollout runs/toy --latents heldout --count 8 --draw --out clips

    A causal network makes its clip chunk by chunk, a fine-tuned one all at once. The clips are of kind "generated":
    their cameras are the commanded ones. Printed per clip: seconds to the first chunk's latents and pictures, and the
    pictures per second after it; text and video encoding are left out, the first clip warms up.
    """
    plan = _plan(named, given)
    if dry_run:
        emit(plan.told | {"clips": list(plan.jobs)}, as_json, [f"{key}  {job.path}" for key, job in plan.jobs.items()])
        return
    done = set(clip_keys(out)) if out.is_dir() else set()
    todo = {key: job for key, job in plan.jobs.items() if key not in done}
    sweep(out, todo)
    made: dict[str, Any] = dict.fromkeys(plan.jobs)
    lines = [f"{key}: kept, it is done" for key in plan.jobs if key in done]
    for clip, timing in _made(plan, todo, out) if todo else ():
        made[clip.key] = timing
        told = "{first_latents_s:.3f} s to the first latents, {first_pictures_s:.3f} s to pictures, {fps:.1f} fps"
        lines.append(f"{clip.key}: {told.format(**timing)}")
    for key in plan.jobs if draw else ():
        clip = read_clip(out, key)
        pictures = video.read(clip.video)  # type: ignore[arg-type]
        video.encode(drawing.beside(clip, pictures), out / "drawn" / f"{key}.mp4", clip.fps)
    emit({"out": str(out), "clips": made, "timed": TIMED, **plan.told}, as_json, lines)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Plan:
    """What has passed all checks that need no network."""

    folder: str
    weights: str  # their digest
    card: Card
    sampling: Sampling
    jobs: dict[str, Job]  # by the clip's key
    encoder: str
    window: int  # 0 = all frames at once
    sink: int
    device: torch.device
    dtype: torch.dtype
    seed: int
    compiled: bool  # outside the clip's key: it changes roundings, not the clip

    @property
    def told(self) -> dict[str, Any]:
        """How the clips are made, for people and records."""
        one = self.sampling
        return {
            "solver": one.solver,
            "steps": one.steps,
            "guidance": one.guidance,
            "drops": one.drops,
            "window": self.window,
            "sink": self.sink,
            "precision": str(self.dtype).removeprefix("torch."),
        }


def _plan(named: str, given: dict[str, Any]) -> _Plan:
    start = preflight.located("CKPT", named, "start")
    card, asked = start.card, Request(**{name: given[name] for name in Request.__dataclass_fields__})
    if card is None:
        raise TrajkitError(named, "has no trajkit.json: what it was trained for is not known", "give a run")
    if given["guidance"] is not None and not math.isfinite(given["guidance"]):
        raise TrajkitError(f"--guidance {given['guidance']}", "is no number", "give one from 0 to 50")
    told = {"steps": given["steps"], "guidance": given["guidance"], "solver": given["solver"], "drops": given["drop"]}
    found = jobs(asked, card)
    frames = latents.latent_count(len(found[0].trajectory))
    window = 0
    if card.stage not in ("none", "finetune"):
        check_chunks(frames, card.chunk)
        window = given["window"] or max(min(card.frames or frames, frames), 2 * card.chunk)
        check_window(window, given["sink"], card.chunk)
    device = torch.device(device_of(given["device"]))
    precision = given["precision"] or ("bf16" if device.type == "cuda" else "float32")
    plan = _Plan(
        folder=start.source,
        weights=checkpoint.digest(Path(start.source)),
        card=card,
        sampling=Sampling.of(card, **told),
        jobs={},
        encoder=_encoder(card, given["encoder"]),
        window=window,
        sink=given["sink"],
        device=device,
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        seed=given["seed"],
        compiled=given["compiled"],
    )
    return replace(plan, jobs={_key(plan, job): job for job in found})


def _key(plan: _Plan, job: Job) -> str:
    """A key that changes with all that shapes the clip, so that a clip which is done is the one that is wanted."""
    word = "".join(c if c.isascii() and c.isalnum() else "-" for c in options_.split_spec(job.path)[0])[:60]
    cameras = job.trajectory.camera_to_world.tobytes().hex(), job.trajectory.intrinsics.tobytes().hex()
    told = [] if job.text is None else [f"{name} {_bytes(one)}" for name, one in sorted(job.text.items())]
    seen = "" if job.first is None else _bytes(job.first)
    network = (plan.weights, plan.card, plan.encoder, plan.told, plan.seed)
    digest = seeding.digest(*network, job.caption, job.number, seen, *told, *cameras)
    return f"{word}-{job.number:04d}-{digest[:8]}"


def _bytes(tensor: torch.Tensor) -> str:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes().hex()


def _encoder(card: Card, spec: str) -> str:
    """The encoder's spec. Raises TrajkitError where it is another backbone's, or missing."""
    spec, remedy = spec or ("toy" if card.backbone == "toy" else ""), f"give {card.backbone}:FOLDER"
    if not spec:
        raise TrajkitError("--encoder", f"not given: the VAE of {card.backbone} makes the pictures", remedy)
    if options_.split_spec(spec)[0] != card.backbone:
        raise TrajkitError(f"--encoder {spec}", f"the network is of {card.backbone}", remedy)
    return spec


def _made(plan: _Plan, todo: dict[str, Job], out: Path) -> Iterator[tuple[Clip, dict[str, float]]]:
    """Each clip once it is written, and how long it took."""
    told, vae = _told(plan, todo)
    module = plugins.load("backbones", plan.card.backbone)
    network = module.Backbone.load(plan.folder, plan.card.conditioning, dtype=plan.dtype)
    network = network.to(plan.device).eval().requires_grad_(False)
    network.chunk = plan.card.chunk
    if plan.compiled and plan.device.type == "cuda":
        network.compile_blocks()
    vae = vae if vae is None else vae.to(plan.device)
    for key, job in told.items():
        with torch.no_grad(), torch.autocast(plan.device.type, torch.bfloat16, enabled=plan.dtype == torch.bfloat16):
            played = _played(plan, network, job, decoding.decoder(plan.card.backbone, vae))
        timing = {
            name: round(float(getattr(played, name)), 4) for name in ("first_latents_s", "first_pictures_s", "fps")
        }
        yield _written(plan, key, job, played.pictures[0].numpy(), timing, out), timing


def _told(plan: _Plan, todo: dict[str, Job]) -> tuple[dict[str, Job], Any]:
    """The jobs with their captions encoded, and the autoencoder; the text networks are gone again."""
    source = options_.split_spec(plan.encoder)[1]
    if all(job.text is not None for job in todo.values()):
        return todo, decoding.load_vae(plan.card.backbone, source, plan.dtype)
    encoder: Any = encoder_class(plan.encoder)(Settings(source=source, dtype=str(plan.dtype).removeprefix("torch.")))
    if plan.card.encoder not in ("", encoder.id):
        problem = f"is {encoder.id}, the network learned {plan.card.encoder}"
        raise TrajkitError(f"--encoder {plan.encoder}", problem, "give the networks that encoded its clips")
    encoder.to(str(plan.device))
    texts = {}
    for key, job in todo.items():
        black = np.zeros((job.trajectory.height, job.trajectory.width, 3), np.uint8)
        texts[key] = replace(job, text=encoder.text(job.caption, black))
    return texts, getattr(encoder, "vae", None)


def _played(plan: _Plan, network: BackboneModule, job: Job, decoder: decoding.Decoder) -> decoding.Played:
    w2c, K = data.cameras_of(job.trajectory, len(job.trajectory), job.path)
    seen = Cameras(world_to_camera=torch.from_numpy(w2c)[None], K=torch.from_numpy(K)[None]).to(plan.device)
    rollout = Rollout(
        network,
        plan.sampling,
        {name: one[None].to(plan.device) for name, one in (job.text or {}).items()},
        shape=job.shape,
        draws=Draws(seed=plan.seed, positions=torch.tensor([job.number]), device=plan.device),
        window=plan.window,
        sink=plan.sink,
        first=None if job.first is None else job.first[None].to(plan.device),
        translation_scale=plan.card.translation_scale,
    )
    return decoding.play(rollout, decoder, seen)


def _written(plan: _Plan, key: str, job: Job, pictures: np.ndarray, timing: dict[str, float], out: Path) -> Clip:
    """The clip in the folder; a network whose latents are pictures gives every fourth frame."""
    path = job.trajectory
    if len(pictures) != len(path):
        path = path[latents.latent_frames(len(path))]
        path = replace(path, frame_index=np.arange(len(path)))
    told = plan.told
    clip = Clip(
        key=key,
        trajectory=path,
        fps=path.fps,
        caption=job.caption,
        provenance=Provenance(
            kind="generated",
            source=f"{plan.card.backbone} {plan.card.stage}, step {plan.card.step}",
            path=job.path,
            generator=f"trajkit rollout: {told['solver']}, {told['steps']} steps, guidance {told['guidance']:g}",
            seed=plan.seed,
            versions=dict(plan.card.versions),
        ),
        licence="unknown",
        checks={**timing, "timed": TIMED, "device": str(plan.device)},
    )
    return write_clip(out, clip, (Frame(rgb=one) for one in pictures))
