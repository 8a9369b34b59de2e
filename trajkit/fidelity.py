"""How well splats explain a photo: PSNR, SSIM and how much of it they cover."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from scipy.ndimage import gaussian_filter

from trajkit.fit import View
from trajkit.gaussians import Gaussians
from trajkit.rasterize import Activated, activate, rasterize

Array = np.ndarray
COVERED = 0.5  # alpha from which a pixel counts as covered
SIGMA, RADIUS = 1.5, 5  # of SSIM's window: 11x11 pixels
C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for values 0..1


class Fidelity(NamedTuple):
    """One photo's agreement with its rendering."""

    psnr_db: float
    ssim: float
    coverage: float  # share of pixels with alpha of at least one half


def fidelity(splats: Activated, view: View, near: float) -> Fidelity:
    """The rendered picture, clipped to 0..1, against the photo."""
    picture = rasterize(splats, view.camera, view.world_to_camera, near=near)
    rgb, photo = picture.rgb.clip(0, 1), view.photo / np.float64(255)
    return Fidelity(psnr_of(rgb, photo), ssim(rgb, photo), float((picture.alpha >= COVERED).mean()))


def psnr_db(gaussians: Gaussians, view: View, near: float) -> float:
    """Peak signal-to-noise ratio (dB) of the rendered picture, clipped to 0..1, against the photo."""
    picture = rasterize(activate(gaussians), view.camera, view.world_to_camera, near=near).rgb.clip(0, 1)
    return psnr_of(picture, view.photo / np.float64(255))


def psnr_of(picture: Float[Array, "h w 3"], photo: Float[Array, "h w 3"]) -> float:
    """-10 log10 of the mean squared difference of pictures in 0..1; at most 100 dB."""
    return -10 * math.log10(max(float(np.mean((picture - photo) ** 2)), 1e-10))


def ssim(picture: Float[Array, "h w 3"], photo: Float[Array, "h w 3"]) -> float:
    """Mean structural similarity over pixels and channels of pictures in 0..1.

    Wang et al. 2004: Gaussian window of 11x11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03; borders are left out where
    the window would leave the picture, and each channel counts alike.
    """
    x, y = np.asarray(picture, np.float64), np.asarray(photo, np.float64)
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    bottom = (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
    inner = (top / bottom)[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return float(inner.mean()) if inner.size else float((top / bottom).mean())


def _window(image: Float64[Array, "h w 3"]) -> Float64[Array, "h w 3"]:
    return gaussian_filter(image, (SIGMA, SIGMA, 0), mode="nearest", radius=(RADIUS, RADIUS, 0))
