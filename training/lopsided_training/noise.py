"""Noise that is smooth, and arrays of another size: what simulated images are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale_mm: float) -> np.ndarray:
    """Noise of unit variance on knots about ``scale_mm`` apart, linear between them."""
    knots = [max(2, round(n / scale_mm) + 1) for n in shape]
    return resized(rng.standard_normal(knots, np.float32), shape)


def resized(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Linear, from corner to corner."""
    if array.shape == tuple(size):
        return array
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    return torch.nn.functional.interpolate(tensor, size=list(size), mode="trilinear", align_corners=True)[0, 0].numpy()
