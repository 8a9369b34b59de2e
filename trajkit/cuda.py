"""Whether this machine's GPU can be used."""

import ctypes
import functools

from trajkit import plugins
from trajkit.errors import TrajkitError


@functools.cache
def usable() -> bool:
    """Whether gsplat is installed and torch finds a CUDA device; torch, slow to import, is asked only with a driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
        plugins.load("renderers", "gsplat")
    except (OSError, TrajkitError):
        return False
    import torch

    return torch.cuda.is_available()
