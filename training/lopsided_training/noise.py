"""Noise that is smooth, and arrays of another size: what simulated images are made of."""

from __future__ import annotations

import numpy as np
import torch


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale_mm: float) -> np.ndarray:
    """Noise of unit variance on knots about ``scale_mm`` apart, linear between them."""
    knots = [max(2, round(n / scale_mm) + 1) for n in shape]
    return resized(rng.standard_normal(knots, np.float32), list(shape))


def resized(array: np.ndarray, size: list[int]) -> np.ndarray:
    """Linear, from corner to corner."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    return torch.nn.functional.interpolate(tensor, size=size, mode="trilinear", align_corners=True)[0, 0].numpy()
