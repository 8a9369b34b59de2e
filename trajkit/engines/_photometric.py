"""How far a rendered picture is from a photo, as a loss on the GPU; and what a camera's exposure did to the photo."""

import functools
import math
from typing import Any

import torch
from jaxtyping import Float

from trajkit.fidelity import C1, C2, RADIUS, SIGMA

Tensor = torch.Tensor
RATE = 1e-3  # Adam's, for exposures
PULL = 0.1  # of exposures towards the identity, per squared unit


def photometric_loss(picture: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"], weight: float) -> Tensor:
    """(1 - weight) mean |picture - photo| + weight (1 - SSIM), of pictures in 0..1 (Kerbl et al. 2023, equation 7)."""
    loss = (1 - weight) * (picture - photo).abs().mean()
    return loss + weight * (1 - ssim(picture, photo)) if weight else loss


def ssim(picture: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> Tensor:
    """Mean structural similarity, as `trajkit.fidelity.ssim` defines it; pictures of at least 11x11 pixels.

    Its gradient reaches the picture, not the photo.
    """
    return _Ssim.apply(picture, photo)


class _Ssim(torch.autograd.Function):
    """SSIM with its gradient worked out by hand, in a third of the kernel calls that autograd would make."""

    @staticmethod
    def forward(context: Any, picture: Tensor, photo: Tensor) -> Tensor:
        """Mean over pixels of top / bottom; with the chain rule through the windowed means of x, x^2 and x y."""
        x, y = picture.movedim(-1, 0), photo.movedim(-1, 0)
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = _window(torch.cat([x, y, x * x, y * y, x * y])).unflatten(0, (5, 3))
        product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        light, light_bottom = 2 * product + C1, squares + C1
        shape, shape_bottom = 2 * (mean_xy - product) + C2, mean_xx + mean_yy - squares + C2
        unit = 1 / (light_bottom * shape_bottom)
        similarity = light * shape * unit
        by_xx = -similarity / shape_bottom
        by_x = 2 * (mean_y * (shape - light) * unit - mean_x * (similarity / light_bottom + by_xx))
        slopes = _window(torch.cat([by_x, by_xx, 2 * light * unit]), spread=True).unflatten(0, (3, 3))
        gradient = slopes[0] + 2 * x * slopes[1] + y * slopes[2]
        context.save_for_backward(gradient.movedim(0, -1) / similarity.numel())
        return similarity.mean()

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """The saved gradient, times that of what the mean went into."""
        (gradient,) = context.saved_tensors
        return gradient * slopes[0], None


def _window(maps: Float[Tensor, "c h w"], spread: bool = False) -> Float[Tensor, "c h2 w2"]:
    """Each map's weighted mean about every pixel whose window fits; or, spread, the transpose of that.

    One convolution a map and direction: the kernels for those are exact, where cuDNN's would round to 10 bits (TF32).
    """
    count, border = len(maps), 2 * RADIUS if spread else 0
    weights = _weights(maps.device, maps.dtype).expand(count, 1, -1)
    rows = torch.nn.functional.conv2d(maps[None], weights[:, :, None], padding=(0, border), groups=count)
    return torch.nn.functional.conv2d(rows, weights[..., None], padding=(border, 0), groups=count)[0]


@functools.cache
def _weights(device: torch.device, dtype: torch.dtype) -> Float[Tensor, " k"]:
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=device, dtype=dtype)
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    return weights / weights.sum()


class Exposure:
    """One affine change of colour a photo, learnt along with the scene; on average over the photos it is none.

    A photo that was not fitted has no exposure of its own and is explained without one, hence the average.
    """

    def __init__(self, count: int, device: str) -> None:
        self.change = torch.nn.Parameter(torch.zeros(count, 3, 4, device=device))
        self.optimizer = torch.optim.Adam([self.change], lr=RATE)

    def __call__(self, picture: Float[Tensor, "h w 3"], index: int) -> Float[Tensor, "h w 3"]:
        """The picture as the photo's camera would have exposed it."""
        change = self.change[index]
        return picture + picture @ change[:, :3].T + change[:, 3]

    def pull(self, index: int) -> Tensor:
        """What the photo's exposure adds to the loss: next to nothing where it is near the identity."""
        return PULL * (self.change[index] ** 2).sum()

    def step(self, progress: float) -> None:
        """One step of Adam, at a rate that decays to a hundredth while `progress` runs from 0 to 1."""
        self.optimizer.param_groups[0]["lr"] = RATE * math.pow(0.01, progress)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.change.sub_(self.change.mean(dim=0))
