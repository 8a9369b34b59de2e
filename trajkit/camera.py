"""`Camera`: one lens at one image size. Pixel (0, 0) is the image's corner; the first pixel's centre is (0.5, 0.5)."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64

from trajkit.errors import TrajkitError

Array = np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Intrinsics in pixels of an image of exactly width x height; OpenCV axes (x right, y down, z forward).

    `distortion` is () for a pinhole or (k1, k2, p1, p2) of OpenCV's model.
    Raises TrajkitError on a size or focal length that is not positive and finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if self.width < 1 or self.height < 1:
            raise TrajkitError("camera", f"image size {self.width}x{self.height}", "give a positive size in pixels")
        if not all(math.isfinite(value) for value in values) or self.fx <= 0 or self.fy <= 0:
            raise TrajkitError("camera", f"intrinsics {values} are not finite and positive", "correct the intrinsics")
        if len(self.distortion) not in (0, 4):
            raise TrajkitError(
                "camera", f"{len(self.distortion)} distortion terms", "give none, or k1 k2 p1 p2 of the OPENCV model"
            )

    @classmethod
    def from_fov(cls, width: int, height: int, vertical_fov_deg: float) -> "Camera":
        """Square-pixel pinhole with a centred principal point and the given vertical field of view in degrees."""
        focal = 0.5 * height / math.tan(math.radians(vertical_fov_deg) / 2)
        return cls(width=width, height=height, fx=focal, fy=focal, cx=width / 2, cy=height / 2)

    @property
    def matrix(self) -> Float64[Array, "3 3"]:
        """K, image<-camera, in pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def normalized(self) -> tuple[float, float, float, float]:
        """(fx/W, fy/H, cx/W, cy/H): the form that does not know the image size."""
        return self.fx / self.width, self.fy / self.height, self.cx / self.width, self.cy / self.height

    @property
    def fov_deg(self) -> tuple[float, float]:
        """Horizontal and vertical field of view in degrees, principal point offset included, distortion ignored."""
        across = math.atan(self.cx / self.fx) + math.atan((self.width - self.cx) / self.fx)
        down = math.atan(self.cy / self.fy) + math.atan((self.height - self.cy) / self.fy)
        return math.degrees(across), math.degrees(down)

    def resized(self, width: int, height: int) -> "Camera":
        """The same view resampled to another size; aspect may change (fx and fy scale apart)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy
        )

    def cropped(self, left: float, top: float, width: int, height: int) -> "Camera":
        """The window width x height whose corner lies at (left, top); focal length unchanged."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def fitted(self, width: int, height: int) -> "Camera":
        """Scaled (same factor on both axes) to cover width x height, then centre-cropped: sees nothing new."""
        factor = max(width / self.width, height / self.height)
        whole = replace(
            self,
            width=math.ceil(self.width * factor),
            height=math.ceil(self.height * factor),
            fx=self.fx * factor,
            fy=self.fy * factor,
            cx=self.cx * factor,
            cy=self.cy * factor,
        )
        left, top = (self.width * factor - width) / 2, (self.height * factor - height) / 2
        return whole.cropped(left, top, width, height)

    def undistorted(self) -> "Camera":
        """The pinhole with the same K and size, which `project` matches once the picture is undistorted."""
        return replace(self, distortion=())

    def project(self, points: Float[Array, "*n 3"]) -> Float64[Array, "*n 2"]:
        """Pixels of points in camera coordinates; NaN where a point lies on or behind the image plane."""
        points = np.asarray(points, np.float64)
        depth = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        plane = self._distort(points[..., :2] / depth[..., None])
        return plane * (self.fx, self.fy) + (self.cx, self.cy)

    def rays(self, pixels: Float[Array, "*n 2"]) -> Float64[Array, "*n 3"]:
        """Camera-frame rays through pixels, scaled to z = 1 (so ray * depth is the point); distortion undone.

        Raises TrajkitError where the lens model folds over, so that a pixel has no single ray.
        """
        target = (np.asarray(pixels, np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        plane = target.copy()
        if self.distortion:
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(50):  # fixed point: contracts for the mild lenses that captures have
                    plane = plane + (target - self._distort(plane))
                solved = np.abs(target - self._distort(plane)) < 1e-6
            if not solved.all():
                problem = f"distortion {self.distortion} does not invert within the picture"
                raise TrajkitError("camera", problem, "correct the coefficients, or undistort the photos first")
        return np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], axis=-1)

    def _distort(self, plane: Float64[Array, "*n 2"]) -> Float64[Array, "*n 2"]:
        """OpenCV's model: radial 1 + k1 r^2 + k2 r^4, then tangential p1, p2 (opencv calib3d, eq. of projectPoints)."""
        if not self.distortion:
            return plane
        k1, k2, p1, p2 = self.distortion
        x, y = plane[..., 0], plane[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * k2)
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )
