"""The networks of a run by role: made, sharded, optimised, averaged; and how much they compute."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trajkit.errors import TrajkitError
from trajkit.options import option

from .backbones import BackboneModule
from .stages import Role

AVERAGE = "average"  # the role that a run adds where its stage has no average of the student
SHARDED_PARAMETERS = 1 << 20  # linear layers from this size on are sharded one by one, what is left as one unit


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run trains, whatever its stage."""

    steps: int = option(1000, "optimiser steps of the run", low=1)
    clips: int = option(8, "clips per step, over all processes", low=1)
    micro: int = option(1, "clips that a process takes through a network at a time", low=1)
    chunk: int = option(4, "latents per chunk", low=1)
    latents: int = option(0, "of a clip are used, from its start on; 0 = all", low=0)
    optimizer: Literal["adamw", "muon"] = option("adamw", "muon: Muon for matrices, AdamW for all else")
    lr: float = option(1e-5, "learning rate", low=0)
    lr_critic: float = option(0.0, "learning rate of the critic; 0 = lr", low=0)
    warmup: int = option(0, "steps over which learning rates grow from 0", low=0)
    beta1: float = option(0.9, "AdamW's memory of gradients", low=0, high=1)
    beta2: float = option(0.999, "AdamW's memory of their squares", low=0, high=1)
    weight_decay: float = option(0.01, "weight decay", low=0)
    clip: float = option(1.0, "largest norm of a role's gradient; 0 = no limit", low=0)
    ema: float = option(0.0, "decay of the average of the student's weights; 0 = none is kept", low=0, high=1)
    ema_start: int = option(0, "steps until the average starts; before, it is the student", low=0)
    precision: Literal["float32", "bf16"] = option("bf16", "what networks compute in; weights are float32")
    checkpointing: bool = option(True, "compute activations again in backward instead of keeping them")
    compile: bool = option(False, "on a GPU, compile what surrounds attention: faster by a third, after a minute")
    deterministic: bool = option(True, "only deterministic kernels, so that a resumed run has the same bits")
    translation_scale: float = option(0.0, "translations are divided by it; 0 = measured, or the start's", low=0)
    save_every: int = option(100, "steps between checkpoints", low=1)
    keep: int = option(3, "checkpoints that are kept; 0 = all", low=0)
    log_every: int = option(10, "steps between lines of the log", low=1)


@dataclass(kw_only=True, slots=True, eq=False)
class Meter:
    """Floating-point operations of the velocity calls of one process, counted as they are made."""

    model: float = 0.0  # a trained pass counts three times: forward, and twice that in backward
    hardware: float = 0.0  # four times where activations are computed again
    tokens: int = 0  # that went into trained passes


@dataclass(kw_only=True, slots=True, eq=False)
class Cast:
    """The networks of a run and the optimisers of those that are trained."""

    roles: Mapping[str, Role]
    networks: dict[str, BackboneModule]
    optimizers: dict[str, list[Optimizer]]
    bare: dict[str, BackboneModule]  # of sharded networks: the whole one without weights, which saves them
    meter: Meter

    def parameters(self, role: str) -> list[nn.Parameter]:
        """The trained parameters of a role."""
        return [one for one in self.networks[role].parameters() if one.requires_grad]


def with_average(roles: Mapping[str, Role], options: Options) -> dict[str, Role]:
    """The stage's roles and, where `ema` asks for one, an average of the student.

    Raises TrajkitError where the stage needs an average and `ema` is 0.
    """
    averaged = [name for name, role in roles.items() if role.kind == "average"]
    if averaged and not options.ema:
        raise TrajkitError("loop.ema", f"the stage needs {averaged[0]}, an average of the student", "set it to 0.99")
    if averaged or not options.ema:
        return dict(roles)
    return {**roles, AVERAGE: Role(kind="average", source="student", causal=roles["student"].causal)}


def flag_of(roles: Mapping[str, Role], name: str) -> str:
    """The flag whose checkpoint a role starts from; an average starts from that of the role it averages."""
    role = roles[name]
    return flag_of(roles, role.source) if role.kind == "average" else role.source


def make(
    roles: Mapping[str, Role],
    load: Callable[[str, torch.dtype], BackboneModule],
    options: Options,
    device: torch.device,
    *,
    shard: bool = False,
) -> Cast:
    """All networks on the device, loaded by `load(role, dtype)`; trained ones and averages are float32."""
    cast = Cast(roles=roles, networks={}, optimizers={}, bare={}, meter=Meter())
    for name, role in roles.items():
        trained, half = role.kind == "trained", options.precision == "bf16" and role.kind == "frozen"
        network = load(name, torch.bfloat16 if half else torch.float32)
        network.chunk, network.gradient_checkpointing = options.chunk, trained and options.checkpointing
        network.requires_grad_(trained)
        if shard:
            cast.bare[name] = copy.deepcopy(network).to("meta")
            _shard(network.to(device), options.precision)
        if options.compile and device.type == "cuda":
            network.compile_blocks()
        cast.networks[name] = network.to(device)
        if trained:
            lr = options.lr_critic or options.lr if role.source == "critic" else options.lr
            cast.optimizers[name] = _optimizers(network, lr, options, device)
        _metered(network, cast.meter, trained)
    return cast


def _optimizers(network: BackboneModule, lr: float, options: Options, device: torch.device) -> list[Optimizer]:
    """AdamW; or Muon for matrices, its steps scaled by 0.2 sqrt(longer side) (arXiv 2502.16982), and AdamW."""
    rest, decay = [one for one in network.parameters() if one.requires_grad], options.weight_decay
    made: list[Optimizer] = []
    if options.optimizer == "muon":
        matrices = [one for one in rest if one.ndim == 2]
        rest = [one for one in rest if one.ndim != 2]
        made = [torch.optim.Muon(matrices, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")]
    betas = (options.beta1, options.beta2)
    fused = device.type == "cuda"
    made.append(torch.optim.AdamW(rest, lr=lr, betas=betas, weight_decay=decay, fused=fused or None))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["full_lr"] = lr
    return made


def set_rates(cast: Cast, step: int, options: Options) -> None:
    """Learning rates of the step, counted from 0: lr min(1, (step + 1) / warmup), a function of the step alone."""
    share = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    for optimizer in (one for each in cast.optimizers.values() for one in each):
        for group in optimizer.param_groups:
            group["lr"] = share * group["full_lr"]


def update_averages(cast: Cast, stepped: set[str], step: int, options: Options) -> None:
    """Averages of the roles that were stepped: e <- d e + (1 - d) p from `ema_start` on, e <- p before."""
    for name, role in cast.roles.items():
        if role.kind == "average" and role.source in stepped:
            decay = options.ema if step >= options.ema_start else 0.0
            average(list(cast.networks[name].parameters()), list(cast.networks[role.source].parameters()), decay)


@torch.no_grad()
def average(mean: list[Tensor], latest: list[Tensor], decay: float) -> None:
    """mean <- decay mean + (1 - decay) latest, in place."""
    torch._foreach_mul_(mean, decay)
    torch._foreach_add_(mean, latest, alpha=1 - decay)


def whole(tensor: Tensor) -> Tensor:
    """A tensor's values on the host; of a sharded one all processes must ask."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().cpu()


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as `like` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def _shard(network: BackboneModule, precision: str) -> None:
    """FSDP2: each process keeps its part of every parameter; large linear layers are gathered when they are called.

    Those layers rather than blocks, because the backbones call a block's parts and never the block. Inputs are not
    cast: cameras and noise levels stay float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    narrow = torch.bfloat16 if precision == "bf16" else None
    layers = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.weight.numel() >= SHARDED_PARAMETERS:
            fully_shard(module, mp_policy=layers)
    # reshard: the root keeps whole weights after a pass, by default, and a pass without backward would leave them stale
    fully_shard(network, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False), reshard_after_forward=True)
    register_fsdp_forward_method(network, "velocity")


def _metered(network: BackboneModule, meter: Meter, trained: bool) -> None:
    """Counts what each call of `velocity` costs."""
    call = network.velocity

    def velocity(noisy: Tensor, *arguments: Any, **told: Any) -> Tensor:
        (batch, frames), (height, width) = noisy.shape[:2], noisy.shape[-2:]
        per_frame = network.cache(1, height, width).capacity
        cache = told.get("cache")
        past = cache.length // per_frame if cache is not None else 0
        forward = batch * network.flops(frames, height, width, clean=told.get("clean") is not None, past=past)
        learns = trained and torch.is_grad_enabled()
        meter.model += forward * (3 if learns else 1)
        meter.hardware += forward * ((4 if network.gradient_checkpointing else 3) if learns else 1)
        meter.tokens += batch * frames * per_frame if learns else 0
        return call(noisy, *arguments, **told)

    network.velocity = velocity  # type: ignore[method-assign]
