"""What lesions fill of the voxels of another grid, where the nearest voxel would step over the smallest of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
from lopsided.regions import Box
from lopsided.resampling import resample
from lopsided.volume import Geometry, Volume, part_around

from .matching import lesions_of

_AROUND = 2  # voxels of the coarser grid: from further away blur brings nothing


def fillings(mask: Volume, grid: Geometry) -> Iterator[tuple[Box, np.ndarray, np.ndarray, int]]:
    """By 26-connected lesion of a bool mask: a box on ``grid``, k, j, i, the part that it fills of each voxel there, averaged as
    images are, and which of them are its own: those that it fills most, as many as have its volume, one at least. (Those that it
    fills half of would be too few: of lesions below 3 mm, 0.6 of their volume.) And how many it has beyond the grid too."""
    numbered, lesions = lesions_of(mask.array)
    scan, margin = mask.geometry, _AROUND * max(*grid.spacing, *mask.geometry.spacing)
    for n, lesion in enumerate(lesions, start=1):
        ends = np.array(list(product(*((s.start - 1, s.stop) for s in lesion.box))))
        places = grid.index(scan.physical(ends))
        low, high = np.floor(places.min(0)).astype(int), np.ceil(places.max(0)).astype(int) + 1
        # beyond the grid too: a lesion that lies there is not to be what little of it blur brings here
        x, y, z = (float(v) for v in grid.physical(low))
        depth, height, width = (int(v) for v in high - low)
        part = replace(grid, size=(width, height, depth), origin=(x, y, z))
        around = part_around(Volume(numbered, scan), part, margin)
        filled = resample(replace(around, array=(around.array == n).astype(np.float32)), part).array
        number = max(1, round(lesion.mask.sum() * scan.voxel_volume / grid.voxel_volume))
        own = fullest(filled, number)
        first, last = np.clip(low, 0, grid.shape), np.clip(high, 0, grid.shape)
        k, j, i = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        here = tuple(slice(a, b) for a, b in zip(first - low, last - low, strict=True))
        yield (k, j, i), filled[here], own[here], number


def fullest(filled: np.ndarray, number: int) -> np.ndarray:
    """Bool, where ``filled`` is largest: ``number`` voxels, which is one at least."""
    own = np.zeros(filled.shape, bool)
    own.flat[np.argpartition(filled, -number, axis=None)[-number:]] = True
    return own
