"""minWM's numbers (reference/minwm.md section 19) come out of the project's own functions and stages."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trajkit.errors import TrajkitError  # noqa: E402
from trajkit.trainers import flow, ode_pairs  # noqa: E402
from trajkit.trainers.backbones import BackboneModule  # noqa: E402
from trajkit.trainers.batch import Batch, Draws  # noqa: E402
from trajkit.trainers.cameras import Cameras  # noqa: E402
from trajkit.trainers.stages import consistency, finetune, ode  # noqa: E402

GROUPS = ("fm", "wan", "hy", "cd", "cdfull", "ode", "odegen")


@pytest.fixture(scope="module")
def Z(shared: Path) -> dict[str, torch.Tensor]:
    with np.load(shared / "vectors" / "minwm_vectors.npz", allow_pickle=False) as found:
        wanted = [
            name for name in found.files if name.split("_")[0] in ("fm", "wan", "hy", "cd", "cdfull", "ode", "odegen")
        ]
        return {name: torch.from_numpy(np.array(found[name])) for name in wanted}


class Formula(BackboneModule):
    """A network that is a formula of (x, timestep, text); keeps what it was called with."""

    def __init__(self, formula) -> None:
        super().__init__()
        self.formula, self.calls = formula, []

    def velocity(self, noisy, sigma, cameras, text, *, clean=None, cache=None, first=None):
        self.calls.append({"noisy": noisy, "sigma": sigma, "clean": clean, "first": first})
        return self.formula(noisy, flow.spread(flow.TIMESTEPS * sigma, noisy), text["c"])

    def null_text(self, text):
        return {"c": torch.full_like(text["c"], -0.5)}

    load = save = remember = cache = flops = None


@dataclass
class Given:
    """Draws that are given."""

    noise: torch.Tensor
    chosen: int = 0

    def normal(self, name, shape):
        assert shape == tuple(self.noise.shape[1:])
        return self.noise

    def index(self, name, below, shape=()):
        assert self.chosen < below
        return torch.full((len(self.noise), *shape), self.chosen)

    def uniform(self, name, shape=()):
        return torch.full((len(self.noise), *shape), 0.5)


def batch_of(latents: torch.Tensor, trajectory: torch.Tensor | None = None) -> Batch:
    count, frames = latents.shape[:2]
    return Batch(
        keys=tuple("abcdef"[:count]),
        positions=torch.arange(count),
        latents=latents,
        cameras=Cameras(
            world_to_camera=torch.eye(4).expand(count, frames, 4, 4), K=torch.eye(3).expand(count, frames, 3, 3)
        ),
        text={"c": torch.ones(count)},
        trajectory=trajectory,
    )


def close(found, wanted, tolerance=2e-6) -> None:
    torch.testing.assert_close(found.float(), wanted.float(), atol=tolerance, rtol=1e-6)


def test_path_and_its_inverse(Z):
    sigma = Z["fm_sigma"][..., 0, 0, 0]
    close(flow.noised(Z["fm_x0"], Z["fm_eps"], sigma), Z["fm_xt"])
    close(flow.velocity(Z["fm_x0"], Z["fm_eps"]), Z["fm_v"])
    close(flow.clean_from(Z["fm_xt"], Z["fm_vpred"], sigma), Z["fm_x0_from_vpred"])
    x0 = flow.clean_from(Z["fm_xt"], Z["fm_vpred"], sigma)
    some = sigma > 0.2
    close(flow.velocity_from(Z["fm_xt"][some], x0[some], sigma[some]), Z["fm_vpred"][some])


def test_losses_of_flow_matching(Z):
    v, wanted, weight, mask = Z["fm_vpred"], Z["fm_v"], Z["fm_w"], Z["fm_mask"]
    close(flow.mean_square(v, wanted), Z["fm_loss_plain"])
    close(flow.mean_square(v, wanted, weight[..., 0, 0, 0]), Z["fm_loss_w"])
    close(flow.mean_square(v[mask], wanted[mask]), Z["fm_loss_mask"])
    close(flow.mean_square(v[mask], wanted[mask], weight.expand_as(v)[mask]), Z["fm_loss_w_mask"])


def test_finetune_noises_and_scores_as_minwm(Z):
    student = Formula(lambda x, t, c: Z["fm_vpred"])
    options, sigma = finetune.Options(text_dropout=0, camera_dropout=0), Z["fm_sigma"][..., 0, 0, 0]
    loss = finetune.matching_loss(student, batch_of(Z["fm_x0"]), Given(Z["fm_eps"]), options, sigma)
    close(student.calls[0]["noisy"], Z["fm_xt"])
    close(loss, Z["fm_loss_plain"])


def test_levels_and_weights(Z):
    close(flow.grid(1000, 5)[:-1], Z["wan_train_sigmas"], 1e-6)
    close(flow.grid(1000, 5)[:-1], Z["hy_train_sigmas_shift5"], 1e-6)
    close(flow.TIMESTEPS * flow.grid(1000, 5)[:-1], Z["wan_train_timesteps"], 1e-3)
    close(flow.bell_weight(flow.grid(1000, 5)[:-1], 5), Z["wan_train_weights"], 1e-5)
    close(flow.grid(1000, 8)[:-1], Z["wan_sigmas_default_shift8_1000"], 1e-6)
    for steps in (4, 48, 50):
        close(flow.grid(steps, 5)[:-1], Z[f"wan_sigmas_{steps}"], 1e-6)
        close(flow.grid(steps, 5), Z[f"hy_sigmas_shift5_{steps}"], 1e-6)
    close(flow.grid(50, 3), Z["hy_sigmas_shift3_50"], 1e-6)
    for text in ("1000_750_500_250", "1000_500", "1000_0"):
        levels = [float(level) for level in text.split("_")]
        found = flow.TIMESTEPS * flow.few_step_sigmas(levels, 5)[:-1]
        close(found, Z[f"wan_warped_steps_{text}"], 1e-3)


def test_finetune_draws_entries_of_the_training_table(Z):
    options = finetune.Options()
    for index in (0, 1, 500, 999):
        sigma = finetune.drawn_sigma(Given(torch.zeros(2, 1), index), options, 1)
        close(sigma, Z["wan_train_sigmas"][index].expand(2, 1), 1e-6)


def test_hunyuan_levels_and_conversions(Z):
    inner = Z["hy_idx"] < 1000
    sigma = flow.grid(1000, 5)[Z["hy_idx"][inner]]
    close(sigma, Z["hy_get_sigma"][inner], 1e-6)
    close(flow.noised(Z["hy_add_x0"][inner], Z["hy_add_eps"][inner], sigma), Z["hy_add_out"][inner])
    close(flow.clean_from(Z["hy_add_x0"][inner], Z["hy_add_eps"][inner], sigma), Z["hy_pred_video"][inner])
    # its levels are the same draw, cut to a thousandth before the shift and again after it
    assert (flow.shifted(Z["hy_train_u"].double(), 3) - Z["hy_train_sigma"]).abs().max() < 0.005


def test_steps_of_samplers(Z):
    grid = flow.grid(48, 5)
    for name, at in (("t0", 0), ("t20", 20), ("last", 47)):
        close(flow.euler(Z["wan_step_x"], Z["wan_step_v"], grid[at], grid[at + 1]), Z[f"wan_step_out_{name}"])
    levels = flow.few_step_sigmas((1000, 750, 500, 250), 5)
    euler = fresh = Z["hy_step_x"]
    for step, v in enumerate(Z["hy_step_v"]):
        euler = flow.euler(euler, v, levels[step], levels[step + 1])
        close(euler, Z["hy_euler_traj"][step])
        fresh = flow.noised(flow.clean_from(fresh, v, levels[step]), Z["hy_cm_noise"][step], levels[step + 1])
        close(fresh, Z["hy_cm_traj"][step])


def test_guided_euler_step_and_consistency_loss(Z):
    vc, vu, x = Z["cd_vc"], Z["cd_vu"], Z["cd_xt"]
    t, after = (Z[name] / flow.TIMESTEPS for name in ("cd_t", "cd_tn"))
    close(flow.euler(x, flow.guided(vc, vu, 3), t, after), Z["cd_euler_scale1000_cfg3"], 1e-5)
    t, after = torch.full((1, 4), 0.8), torch.full((1, 4), 0.6)
    close(flow.euler(x, flow.guided(vc, vu, 5), t, after), Z["cd_euler_scale1_cfg5"], 1e-5)
    close(flow.mean_square(vc, vu), Z["cd_loss"])
    close(((vc - vu) ** 2), Z["cd_loss_none"])
    grid = flow.grid(10, 1)
    for sigma, after, *_ in Z["cd_pair_seed0_7"]:
        at = int((grid - sigma).abs().argmin())
        close(grid[at : at + 2], torch.stack([sigma, after]), 1e-6)


@pytest.mark.parametrize("number", range(4))
def test_consistency_distillation_from_end_to_end(Z, number):
    roles = {
        "student": Formula(lambda x, t, c: 0.3 * x + 0.001 * t * flow.spread(c, x)),
        "teacher": Formula(lambda x, t, c: 0.3 * x + 0.001 * t * flow.spread(c, x)),
        "target": Formula(lambda x, t, c: 0.9 * (0.3 * x + 0.001 * t * flow.spread(c, x))),
    }
    draws = Given(Z["cdfull_eps"], (0, 10, 25, 48)[number])
    ((role, loss),) = consistency.losses(batch_of(Z["cdfull_x0"]), roles, draws, consistency.Options())
    assert role == "student"
    close(loss, Z["cdfull_loss"][number], 1e-6)
    called = {name: network.calls[0] for name, network in roles.items()}
    close(called["student"]["noisy"], Z["cdfull_xt"][number], 1e-6)
    close(called["target"]["noisy"], Z["cdfull_xtn"][number], 1e-5)
    batch = batch_of(Z["cdfull_x0"])
    for name, wanted in (("student", "cdfull_pred_t"), ("target", "cdfull_pred_tn")):
        found = consistency.endpoint(roles[name], called[name]["noisy"], called[name]["sigma"], batch)
        close(found, Z[wanted][number], 1e-5)
    for one in called.values():
        assert one["clean"] is batch.latents or torch.equal(one["clean"], batch.latents)


def test_ode_regression_uses_the_states_as_minwm(Z):
    trajectory = Z["ode_traj"]
    for level, sigma in enumerate(flow.few_step_sigmas((1000, 750, 500, 250), 5)[:-1]):
        student = Formula(lambda x, t, c, s=sigma: flow.velocity_from(x, Z["ode_pred"], s.expand(2).float()))
        batch = batch_of(torch.zeros_like(trajectory[:, 0]), trajectory)
        ((role, loss),) = ode.losses(batch, {"student": student}, Given(trajectory[:, 0], level), ode.Options())
        assert role == "student"
        close(loss, Z["ode_loss"], 1e-5)
        (call,) = student.calls
        assert torch.equal(call["noisy"], trajectory[:, level])
        assert torch.equal(call["clean"], Z["ode_clean"])
        close(call["sigma"], sigma.expand(2, 4))
    mask = Z["ode_mask"]
    close(flow.mean_square(Z["ode_pred"][mask], Z["ode_target"][mask]), Z["ode_loss_mask"], 1e-5)


def test_pairs_hold_minwms_states(Z):
    teacher = Formula(lambda x, t, c: 0.3 * x + flow.spread(c, x))
    clip = torch.zeros_like(Z["odegen_noise"])
    states = ode_pairs.pairs(teacher, batch_of(clip), Z["odegen_noise"], ode_pairs.Options())
    close(states, Z["odegen_stored"], 1e-5)
    assert len(teacher.calls) == 96
    assert all(call["clean"] is not None for call in teacher.calls)


@pytest.mark.parametrize("text", ["", "1000 750 x", "500 1000", "1000 1000", "1001 500", "1000 0", "nan"])
def test_timesteps_that_make_no_student(text):
    with pytest.raises(TrajkitError, match="timesteps"):
        ode.Options(timesteps=text)
    with pytest.raises(TrajkitError, match="timesteps"):
        ode_pairs.Options(timesteps=text)


def test_pairs_need_steps_that_stop_at_each_level():
    with pytest.raises(TrajkitError, match="50 steps do not stop"):
        ode_pairs.Options(steps=50)
    assert ode_pairs.Options().kept() == (0, 12, 24, 36)
    assert ode_pairs.Options(steps=10, timesteps="1000 500").kept() == (0, 5)


def test_steps_are_as_wide_as_the_state_whatever_the_networks_precision() -> None:
    x, v, sigma = torch.randn(2, 3, 1, 2, 2), torch.randn(2, 3, 1, 2, 2).bfloat16(), torch.full((2, 3), 0.3)
    assert torch.equal(flow.clean_from(x, v, sigma), x - torch.tensor(0.3) * v.float())
    stepped = flow.euler(x, v, sigma, sigma - 0.1)
    assert stepped.dtype == torch.float32
    assert (stepped - (x - 0.1 * v.float())).abs().max() < 1e-6


def test_text_and_cameras_are_dropped_independently() -> None:
    class Seen:
        def velocity(self, noisy, sigma, cameras, text, **_):  # type: ignore[no-untyped-def]
            self.cameras, self.text = cameras, text
            return noisy

    made = Seen()
    eye = torch.eye(4).repeat(64, 1, 1, 1)
    batch = Batch(
        keys=("x",) * 64,
        positions=torch.arange(64),
        latents=torch.zeros(64, 1, 1, 1, 1),
        cameras=Cameras(world_to_camera=eye, K=eye[..., :3, :3]),
        text={"embeddings": torch.ones(64, 1, 1)},
    )
    own = finetune.Options(text_dropout=0.5, camera_dropout=0.5)
    list(finetune.losses(batch, {"student": made}, Draws(seed=0, positions=batch.positions), own))
    silent, blind = made.text["embeddings"].flatten() == 0, ~made.cameras.present
    counts = [int((a & b).sum()) for a in (silent, ~silent) for b in (blind, ~blind)]
    assert min(counts) > 5, counts
