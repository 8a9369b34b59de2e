"""Coloured noise that looks as detailed as a photo."""

import numpy as np


def texture(width: int, height: int, seed: int = 0, falloff: float = 1.2) -> np.ndarray:
    """Coloured noise whose amplitude falls with frequency as in photos."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    amplitude = 1 / np.maximum(np.hypot(fx, fy), 1 / max(width, height)) ** falloff
    planes = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) * amplitude, (height, width)) for _ in "rgb"]
    planes = [(plane - plane.mean()) / plane.std() * 45 + 128 for plane in planes]
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)
