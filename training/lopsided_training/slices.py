"""Slices thicker than a millimetre: what an image and labels on a 1 mm grid become in them.

From the first voxel's centre to the last one's, grids begin and end at the same places, whatever their slices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from lopsided.volume import Geometry
from scipy import ndimage

from .noise import resized


def sliced(shape: tuple[int, ...], axis: int, thickness_mm: float) -> tuple[int, ...]:
    """The voxels, k, j, i, of a 1 mm grid of ``shape`` in slices along ``axis`` (0, 1, 2 = k, j, i)."""
    if thickness_mm <= 1:
        return shape
    return tuple(max(2, round(n / thickness_mm)) if at == axis else n for at, n in enumerate(shape))


def in_slices(image: np.ndarray, axis: int, thickness_mm: float) -> np.ndarray:
    """An image (k, j, i) on a 1 mm grid, float32, in slices along ``axis`` as a scanner sees it: blurred through them so that
    their profile is as wide as they are thick (full width at half maximum)."""
    if thickness_mm <= 1:
        return image
    blurred = ndimage.gaussian_filter1d(image, np.sqrt(thickness_mm**2 - 1) / 2.355, axis=axis)
    return resized(blurred, sliced(image.shape, axis, thickness_mm))


def regrid(geometry: Geometry, shape: tuple[int, ...]) -> Geometry:
    """The same extent with ``shape`` (k, j, i) voxels."""
    i, j, k = shape[::-1]
    x, y, z = (s * (a - 1) / (b - 1) for s, a, b in zip(geometry.spacing, geometry.size, (i, j, k), strict=True))
    return replace(geometry, size=(i, j, k), spacing=(x, y, z))


def labels_in(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels (k, j, i), 1 and on, with ``shape`` voxels, fewer along one axis: a lesion is what it fills half of, or the most that
    it fills. Where two share a voxel it is the later one's."""
    if labels.shape == tuple(shape):
        return labels
    (axis,) = (n for n in range(3) if labels.shape[n] != shape[n])
    share = _shares(labels.shape[axis], shape[axis])
    thick = np.zeros(shape, labels.dtype)
    for value, found in enumerate(ndimage.find_objects(labels), start=1):
        if found:
            box = tuple(slice(None) if n == axis else part for n, part in enumerate(found))
            filled = np.moveaxis(np.tensordot(share, labels[box] == value, (1, axis)), 0, axis)
            thick[box][filled >= min(0.5, filled.max()) - 1e-6] = value
    return thick


def _shares(thin: int, thick: int) -> np.ndarray:
    """How much of what a slice holds is of each thin one, (thick, thin): most are cut by a border."""
    of_thick, of_thin = (np.arange(thick + 1) - 0.5) * (thin - 1) / (thick - 1), np.arange(thin + 1) - 0.5
    low = np.maximum(of_thick[:-1, None], of_thin[None, :-1])
    shared = np.clip(np.minimum(of_thick[1:, None], of_thin[None, 1:]) - low, 0, None)
    return shared / shared.sum(1, keepdims=True)
