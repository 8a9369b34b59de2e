"""Random generators as a function of (seed, key): never of time, rank or order."""

import hashlib

import numpy as np


def digest(*parts: object, length: int = 16) -> str:
    """Hexadecimal name (`length` digits) that is a function of the parts' text; for keys and seeds."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:length]


def generator(seed: int, *key: object) -> np.random.Generator:
    """A NumPy generator that depends on the seed and the key's parts alone."""
    return np.random.default_rng(int(digest(seed, *key, length=32), 16))
