"""A path inside a path: what `revisit` and `handheld` share."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trajkit import plugins
from trajkit.errors import TrajkitError
from trajkit.options import option, parse, split_spec
from trajkit.paths import PathOptions
from trajkit.scene import Scene
from trajkit.trajectory import Trajectory

_DEEPEST = 4  # wrappers around a path


@dataclass(frozen=True, kw_only=True)
class WrappingOptions(PathOptions):
    """Options of a sampler that changes the path of another one, whose spec is the program."""

    program: str = option(
        "orbit:turns=0.0625", "the inner path, such as keys:w*4; in brackets where it has options of its own"
    )

    def __post_init__(self) -> None:
        self.inner()

    @property
    def inner_frames(self) -> int:
        """Number of frames that the inner path is asked for."""
        return self.frames

    def inner(self) -> tuple[Any, PathOptions]:
        """The inner sampler's module and options. Raises TrajkitError where the spec is wrong."""
        if self.program.count(":") > _DEEPEST:
            raise TrajkitError(
                f"path {self.program[:60]!r}", f"more than {_DEEPEST} paths inside each other", "use fewer"
            )
        name, rest = split_spec(self.program)
        module = plugins.load("paths", name.strip())
        fixed = {"frames": self.inner_frames, "fps": self.fps, "camera": self.camera}
        return module, parse(module.Options, rest, where=f"path {name.strip()}", **fixed)


def sample_inner(scene: Scene, options: WrappingOptions, rng: np.random.Generator) -> Trajectory:
    """The inner path: `inner_frames` poses."""
    module, inner = options.inner()
    path: Trajectory = module.sample(scene, inner, rng)
    return path
