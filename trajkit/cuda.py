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


def require(where: str, remedy: str) -> None:
    """Raises TrajkitError, naming `where`, unless gsplat can run: a CUDA device, and kernels that load or compile.

    Importing gsplat does not tell: it has no kernels for the CPU, and compiles those for the GPU when first asked.
    """
    if not usable():
        raise TrajkitError(where, "finds no CUDA device", remedy)
    toolkit = "install the CUDA toolkit (nvcc) of torch's CUDA version, or a gsplat wheel built for it"
    try:
        from gsplat.cuda._backend import _C as kernels
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise TrajkitError(where, f"gsplat's kernels do not compile ({reason})", toolkit) from error
    if kernels is None:
        raise TrajkitError(where, "gsplat has no kernels and finds no nvcc to compile them", toolkit)
