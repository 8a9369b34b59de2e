"""Imported by `killing.Kitchen`: loads the kernels of the splat renderer, so that its forks need not."""

import tempfile
from pathlib import Path

import av  # noqa: F401 - imported for the forks
import splatting

from trajkit import ledger  # noqa: F401
from trajkit.renderers.splats import Options, Renderer

with tempfile.TemporaryDirectory() as folder:
    scene = splatting.splat_scene(splatting.blobs(50), Path(folder))
    list(Renderer(scene, Options()).frames(splatting.walk(1, 32, 16)))
