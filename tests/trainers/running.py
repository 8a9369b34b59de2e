"""A tiny run, whole: networks, clips and a job; and `Crew`, which runs one in processes of its own."""

import atexit
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))
import killing

from trajkit import plugins, seeding
from trajkit.trainers import loop, preflight, roles
from trajkit.trainers.backbones import BackboneModule, toy
from trajkit.trainers.batch import Batch
from trajkit.trainers.cameras import Cameras

SIZE = {"heads": 2, "head_dim": 12, "layers": 2, "ffn": 16, "channels": 3, "patch": 2, "text": 16, "freq": 16}
CLIPS, FRAMES = 11, 4  # 11 clips: epochs do not end with steps
SMALL = {"steps": 6, "clips": 2, "chunk": 2, "lr": 1e-2, "save_every": 2, "precision": "float32", "log_every": 1}


class Network(toy.Backbone):
    """A toy that saves itself as one file."""

    @classmethod
    def load(cls, source: str, conditioning: Any = "prope", *, dtype: torch.dtype = torch.float32) -> "Network":
        from safetensors.torch import load_file

        made = cls.random(toy.Options(**SIZE), conditioning)
        if not source.startswith("random"):
            made.load_state_dict(load_file(Path(source) / "weights.safetensors"))
        return made.to(dtype)

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True)
        save_file(self.state_dict(), folder / "weights.safetensors")


def clip(number: int) -> Batch:
    """Clip `number` of the data set, at no position yet."""
    rng = torch.Generator().manual_seed(number)
    world_to_camera = torch.eye(4).repeat(1, FRAMES, 1, 1)
    world_to_camera[..., :3, 3] = 0.3 * torch.randn(1, FRAMES, 3, generator=rng)
    K = torch.tensor([[0.6, 0, 0.5], [0, 0.9, 0.45], [0, 0, 1]]).repeat(1, FRAMES, 1, 1)
    return Batch(
        keys=(f"clip{number}",),
        positions=torch.zeros(1, dtype=torch.int64),
        latents=torch.randn(1, FRAMES, 3, 4, 4, generator=rng),
        cameras=Cameras(world_to_camera=world_to_camera, K=K),
        text={"embeddings": torch.randn(1, 2, 16, generator=rng)},
        trajectory=torch.randn(1, 6, FRAMES, 3, 4, 4, generator=rng),
    )


def joined(clips: list[Batch], positions: list[int]) -> Batch:
    """Clips as one batch."""
    cameras = [one.cameras for one in clips]
    return Batch(
        keys=tuple(one.keys[0] for one in clips),
        positions=torch.tensor(positions),
        latents=torch.cat([one.latents for one in clips]),
        cameras=Cameras(
            world_to_camera=torch.cat([one.world_to_camera for one in cameras]), K=torch.cat([one.K for one in cameras])
        ),
        text={"embeddings": torch.cat([one.text["embeddings"] for one in clips])},
        trajectory=torch.cat([one.trajectory for one in clips if one.trajectory is not None]),
    )


def batches(options: roles.Options, seed: int, start: int, accumulate: int, rank: int, world: int) -> Iterator[Batch]:
    """The order of the project: position p is clip permutation(seed, epoch)[p mod n]."""
    step = start
    while True:
        for part in range(accumulate):
            first = step * options.clips + (part * world + rank) * options.micro
            places = list(range(first, first + options.micro))
            order = [seeding.generator(seed, "order", p // CLIPS).permutation(CLIPS)[p % CLIPS] for p in places]
            yield joined([clip(int(one)) for one in order], places)
        step += 1


def job(
    stage: str, out: Path, *, stage_options: dict | None = None, shard: bool = False, **loop_options: Any
) -> loop.Job:
    """A job of the stage on networks with random weights, alike at each call."""
    options, module = roles.Options(**{**SMALL, **loop_options}), plugins.load("stages", stage)
    own = module.Options(**(stage_options or {}))
    cast = preflight.roles_of(stage, options)
    shared = {"backbone": "toy", "conditioning": "prope", "latent": (3, 4, 4), "frames": FRAMES}

    def load(name: str, saved: Path | None, dtype: torch.dtype) -> BackboneModule:
        return Network.load(str(saved or "random"), dtype=dtype)

    return loop.Job(
        stage=module,
        stage_options=own,
        options=options,
        roles=cast,
        cards=preflight.cards(cast, stage, own, options, shared),
        load=load,
        batches=lambda start, accumulate, rank, world: batches(options, 0, start, accumulate, rank, world),
        out=out,
        shard=shard,
    )


def weights(run: Path, role: str = "student") -> dict[str, torch.Tensor]:
    """The final weights of a run."""
    from safetensors.torch import load_file

    return load_file(run / "final" / role / "weights.safetensors")


class Crew:
    """A process that has imported everything and forks others, one for each rank of a run; a run costs no import."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(command, env=killing.environment(), stdin=pipe, stdout=pipe, text=True)
        atexit.register(self.process.communicate)

    def run(self, stage: str, out: Path, *, world: int = 1, die: tuple = (), **given: Any) -> bool:
        """Whether the run was killed: before its write step `(number,)`, or where `_die_at` says.

        Raises AssertionError where it ends otherwise.
        """
        assert self.process.stdin
        assert self.process.stdout
        asked = {"stage": stage, "out": str(out), "world": world, "die": die, "given": given}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return killing.was_killed(int(self.process.stdout.readline()))


@functools.cache
def crew() -> Crew:
    """One for all tests."""
    return Crew()


def _serve() -> None:
    torch.set_num_threads(1)
    _warm_up()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(asked["world"]):
            children.append(os.fork())
            if not children[-1]:
                os._exit(_ranked(asked, rank, port))
        answers.write(f"{_end_of(children)}\n")


def _end_of(children: list[int]) -> int:
    """The exit code of a run: that of a kill if there was one. The first rank that fails ends all, as in torchrun."""
    codes: dict[int, int] = {}
    while len(codes) < len(children):
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        for other in set(children) - codes.keys() if codes[child] else ():
            os.kill(other, signal.SIGTERM)
    killed = [code for code in codes.values() if code in (-signal.SIGKILL, -signal.SIGXFSZ)]
    return [*killed, *filter(None, codes.values()), 0][0]


def _warm_up() -> None:
    """Imports what a run imports lazily; no backward, for a child of a process that ran one cannot run its own."""
    made = Network.load("random")
    one = clip(0)
    with torch.no_grad():
        made.velocity(one.latents, torch.zeros(1, FRAMES), one.cameras, one.text)
    made.model.proj_out.weight.grad = torch.zeros_like(made.model.proj_out.weight)
    torch.optim.AdamW([made.model.proj_out.weight]).step()
    importlib.import_module("torch.distributed.fsdp")


def _ranked(asked: dict[str, Any], rank: int, port: int) -> int:
    torch.set_num_threads(1)  # makes the pool anew that a fork loses; left to two threads of autograd, they race for it
    if asked["given"].get("shard"):
        roles.SHARDED_PARAMETERS = 1 << 8  # so that layers of a tiny network are gathered one by one too
    if asked["world"] > 1:
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": asked["world"], "LOCAL_WORLD_SIZE": asked["world"]}
        os.environ.update({name: str(value) for name, value in ranks.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    killing.arm({"step": [asked["out"], *asked["die"]]} if len(asked["die"]) == 1 else {})
    if len(asked["die"]) > 1:
        _die_at(asked["out"], *asked["die"])
    try:
        loop.train(job(asked["stage"], Path(asked["out"]), **asked["given"]))
    except BaseException:  # a forked child must never return into the server
        traceback.print_exc()
        return 70
    return 0


def _die_at(run: str, event: str, path: str, size: int = 0) -> None:
    """Death before the event of sys.addaudithook on RUN/path; for `save`, after so many bytes of tensors saved there.

    Of a file that is removed by its folder's descriptor, `path` is the name.
    """
    whole = safetensors.torch.save_file

    def save(tensors: dict, where: Path) -> None:
        whole(tensors, where)
        if event == "save" and str(where) == f"{run}/{path}":
            os.truncate(where, size)
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(happens: str, arguments: tuple) -> None:
        if happens == event and str(arguments[0]) in (path, f"{run}/{path}"):
            os.kill(os.getpid(), signal.SIGKILL)

    safetensors.torch.save_file = save
    sys.addaudithook(hook)


if __name__ == "__main__":
    _serve()
