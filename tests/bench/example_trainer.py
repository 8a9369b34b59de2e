"""gsplat's examples/simple_trainer.py (v1.5.3), run on views in memory, with stand-ins for what it only shows with.

Stand-ins, none of which changes what is optimised:
- datasets.colmap: the views and points at hand, put through its own normalisation of the world; photos from memory.
- fused_ssim: the same measure in torch (its CUDA kernel is a package of its own). It is slower, so are its seconds.
- tyro, viser, nerfview, gsplat_viewer, TensorBoard: command line and displays. LPIPS, which downloads weights: 0.
"""

import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trajkit.engines import Task
from trajkit.engines._photometric import ssim
from trajkit.fit import View
from trajkit.gaussians import Gaussians


def train(
    task: Task, views: list[View], examples: Path, steps: int, shorten: bool
) -> tuple[dict[str, Any], Gaussians, list[View]]:
    """What it reports of itself; its Gaussians; and the held-out views in its own, normalised world."""
    sys.path.insert(0, str(examples))
    scene = _normalised(task, views)
    _stand_in(scene)
    trainer = importlib.import_module("simple_trainer")
    with tempfile.TemporaryDirectory() as folder:
        config = trainer.Config(
            disable_viewer=True,
            disable_video=True,
            data_factor=1,
            result_dir=folder,
            strategy=trainer.DefaultStrategy(),
        )
        if shorten:
            config.adjust_steps(steps / config.max_steps)
        config.max_steps = steps
        config.eval_steps = config.save_steps = [steps]
        runner = trainer.Runner(0, 0, 1, config)
        runner.train()
        last = Path(folder) / "stats"
        seconds = json.loads((last / f"train_step{steps - 1:04d}_rank0.json").read_text())["ellipse_time"]
        own = json.loads((last / f"val_step{steps - 1:04d}.json").read_text())
    found = {name: value.detach().cpu().numpy() for name, value in runner.splats.items()}
    gaussians = Gaussians(
        means=found["means"],
        log_scales=found["scales"],
        quaternions_wxyz=found["quats"],
        logit_opacities=found["opacities"],
        sh=np.concatenate([found["sh0"], found["shN"]], axis=1),
    )
    held = [
        view._replace(world_to_camera=np.linalg.inv(pose)) for view, pose in zip(views, scene.camtoworlds, strict=True)
    ][:: scene.test_every]
    name = f"simple_trainer.py, {steps} steps{', steps_scaler' if shorten else ''}"
    facts = {"what": name, "seconds": round(seconds, 1), "own_psnr": own["psnr"], "own_ssim": own["ssim"]}
    return facts, gaussians, held


def _normalised(task: Task, views: list[View]) -> types.SimpleNamespace:
    """The attributes of its Parser that the trainer reads."""
    normalize = importlib.import_module("datasets.normalize")
    poses = np.linalg.inv(np.array([view.world_to_camera for view in views]))
    first = normalize.similarity_from_cameras(poses)
    poses, points = normalize.transform_cameras(first, poses), normalize.transform_points(first, task.points)
    second = normalize.align_principal_axes(points)
    poses, points = normalize.transform_cameras(second, poses), normalize.transform_points(second, points)
    if np.median(points[:, 2]) > np.mean(points[:, 2]):
        over = np.diag([1.0, -1.0, -1.0, 1.0])
        poses, points = normalize.transform_cameras(over, poses), normalize.transform_points(over, points)
    centres = poses[:, :3, 3]
    return types.SimpleNamespace(
        views=views,
        camtoworlds=poses,
        points=points.astype(np.float32),
        points_rgb=task.colours,
        scene_scale=np.linalg.norm(centres - centres.mean(axis=0), axis=1).max(),
        test_every=8,
    )


class _Photos(torch.utils.data.Dataset):
    """Its Dataset, from memory."""

    def __init__(self, parser: types.SimpleNamespace, split: str, **_: Any) -> None:
        numbers = np.arange(len(parser.views))
        self.parser, self.numbers = parser, numbers[(numbers % parser.test_every != 0) == (split == "train")]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> dict[str, Any]:
        number = self.numbers[item]
        view = self.parser.views[number]
        return {
            "K": torch.from_numpy(view.camera.matrix).float(),
            "camtoworld": torch.from_numpy(self.parser.camtoworlds[number]).float(),
            "image": torch.from_numpy(np.array(view.photo)).float(),
            "image_id": item,
        }


class _Zero(torch.nn.Module):
    """A perceptual distance that is always 0."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

    def forward(self, picture: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
        return picture.new_zeros(())


def _stand_in(scene: types.SimpleNamespace) -> None:
    def fused_ssim(picture: torch.Tensor, photo: torch.Tensor, padding: str) -> torch.Tensor:
        assert padding == "valid"
        return ssim(picture[0].permute(1, 2, 0), photo[0].permute(1, 2, 0))

    class Silent:
        def __getattr__(self, _: str) -> Any:
            return lambda *args, **named: None

    ignored = type("Ignored", (), {})
    contents: dict[str, dict[str, Any]] = {
        "datasets.colmap": {"Parser": lambda **_: scene, "Dataset": _Photos},
        "fused_ssim": {"fused_ssim": fused_ssim},
        "tyro": {},
        "viser": {},
        "gsplat_viewer": {"GsplatViewer": ignored, "GsplatRenderTabState": ignored},
        "nerfview": dict.fromkeys(("CameraState", "RenderTabState", "apply_float_colormap"), ignored),
        "torch.utils.tensorboard": {"SummaryWriter": lambda **_: Silent()},
        "torchmetrics.image.lpip": {"LearnedPerceptualImagePatchSimilarity": _Zero},
    }
    for name, attributes in contents.items():
        module = types.ModuleType(name)
        vars(module).update(attributes)
        sys.modules[name] = module
