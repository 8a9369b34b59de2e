"""Photos of a distorted lens as pictures of a pinhole, resized on the way without aliasing."""

import math

import numpy as np
from jaxtyping import Float64, UInt8
from numba import njit

from trajkit.camera import Camera

Array = np.ndarray


def undistorted_image(image: UInt8[Array, "h w 3"], camera: Camera, target: Camera) -> UInt8[Array, "th tw 3"]:
    """The picture that `target` (a pinhole at the same place) takes of what `camera` photographed.

    Each target pixel is the mean of n x n bilinear samples, n the reduction in size rounded up, so that fine texture
    averages out instead of aliasing. Beyond the photo's border its outermost pixels are repeated.
    """
    samples = max(1, math.ceil(max(camera.fx / target.fx, camera.fy / target.fy) - 0.01))
    corners = np.stack(np.meshgrid(np.arange(target.width + 1.0), np.arange(target.height + 1.0)), axis=-1)
    picture = np.empty((target.height, target.width, 3), np.uint8)
    _sample(np.ascontiguousarray(image), camera.project(target.rays(corners)), samples, picture)
    return picture


@njit(cache=True, nogil=True)
def _sample(
    image: UInt8[Array, "h w 3"], corners: Float64[Array, "th1 tw1 2"], samples: int, picture: UInt8[Array, "th tw 3"]
) -> None:
    """Fills the picture; `corners` holds where each of its pixels' corners lies in the image.

    Between a pixel's corners the lens is taken as bilinear, which is off by less than a hundredth of a pixel.
    """
    height, width = image.shape[:2]
    count = samples * samples
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            red = green = blue = 0.0
            for k in range(count):
                s, t = (k % samples + 0.5) / samples, (k // samples + 0.5) / samples
                u = (1 - t) * ((1 - s) * corners[y, x, 0] + s * corners[y, x + 1, 0])
                u += t * ((1 - s) * corners[y + 1, x, 0] + s * corners[y + 1, x + 1, 0])
                v = (1 - t) * ((1 - s) * corners[y, x, 1] + s * corners[y, x + 1, 1])
                v += t * ((1 - s) * corners[y + 1, x, 1] + s * corners[y + 1, x + 1, 1])
                u = min(max(u - 0.5, 0.0), width - 1.0)  # the first pixel's centre is 0.5
                v = min(max(v - 0.5, 0.0), height - 1.0)
                left, top = int(u), int(v)
                right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
                a, b = u - left, v - top
                w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
                red += w00 * image[top, left, 0] + w01 * image[top, right, 0]
                red += w10 * image[bottom, left, 0] + w11 * image[bottom, right, 0]
                green += w00 * image[top, left, 1] + w01 * image[top, right, 1]
                green += w10 * image[bottom, left, 1] + w11 * image[bottom, right, 1]
                blue += w00 * image[top, left, 2] + w01 * image[top, right, 2]
                blue += w10 * image[bottom, left, 2] + w11 * image[bottom, right, 2]
            picture[y, x, 0] = int(red / count + 0.5)
            picture[y, x, 1] = int(green / count + 0.5)
            picture[y, x, 2] = int(blue / count + 0.5)
