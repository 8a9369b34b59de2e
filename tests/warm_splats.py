"""Imported by `killing.Kitchen`: loads the kernels of the splat renderer, so that its forks need not."""

import tempfile
from pathlib import Path

import splatting
import warm_packs  # noqa: F401 - imported for the forks

from trajkit.renderers.splats import Options, Renderer

with tempfile.TemporaryDirectory() as folder:
    scene = splatting.splat_scene(splatting.blobs(50), Path(folder))
    list(Renderer(scene, Options()).frames(splatting.walk(1, 32, 16)))
