"""Which candidate hits which lesion, and how well a drawn extent agrees with the truth. On voxels alone."""

from __future__ import annotations

import numpy as np
from lopsided.regions import Region, region_of
from scipy import ndimage

IOU = 0.1  # the second criterion: intersection over union
LEAST_MM3 = 2.0  # BraTS-METS counts lesions that are larger
_EVERYWHERE = np.ones((3, 3, 3), bool)  # 26 neighbours
_NO_CORNERS = ndimage.generate_binary_structure(3, 2)  # 18 neighbours


def lesions_of(truth: np.ndarray) -> tuple[np.ndarray, list[Region]]:
    """The 26-connected lesions of a mask, bool (k, j, i): a map of them, numbered from 1, and each by itself."""
    numbered, _ = ndimage.label(truth, _EVERYWHERE)
    boxes = ndimage.find_objects(numbered)
    return numbered, [Region(box, numbered[box] == n) for n, box in enumerate(boxes, start=1)]


def sphere_diameter(volume_mm3: np.ndarray) -> np.ndarray:
    """mm, of spheres of these volumes: what is meant by the size of a lesion."""
    return np.cbrt(6 * volume_mm3 / np.pi)


def hits(candidate: Region, numbered: np.ndarray) -> tuple[int, ...]:
    """The lesions, from 0, that a candidate overlaps when they are dilated by one voxel (26 neighbours).

    Two lesions may both be near enough. So the candidate is dilated instead, which is the same.
    """
    low = [s.start - 1 for s in candidate.box]
    wide = ndimage.binary_dilation(np.pad(candidate.mask, 1), _EVERYWHERE)
    k, j, i = (slice(max(a, 0), a + n) for a, n in zip(low, wide.shape, strict=True))
    inside = numbered[k, j, i]
    ends = tuple(slice(max(-a, 0), max(-a, 0) + n) for a, n in zip(low, inside.shape, strict=True))
    return tuple(int(n) - 1 for n in np.unique(inside[wide[ends]]) if n)


def overlaps(candidate: Region, numbered: np.ndarray, voxels: np.ndarray) -> dict[int, float]:
    """Intersection over union with each lesion that a candidate overlaps, by its number from 0.

    ``voxels``: int (lesion,), of each lesion.
    """
    size = int(candidate.mask.sum())
    numbers, common = np.unique(numbered[candidate.box][candidate.mask], return_counts=True)
    pairs = zip(numbers.tolist(), common.tolist(), strict=True)
    return {n - 1: shared / (size + int(voxels[n - 1]) - shared) for n, shared in pairs if n}


def dice(truth: np.ndarray, found: np.ndarray) -> float:
    """2·|both| / (|truth| + |found|) of two masks (Dice, Ecology 1945; 26:297); NaN where both are empty."""
    total = int(truth.sum()) + int(found.sum())
    return 2 * int((truth & found).sum()) / total if total else float("nan")


def lesion_wise_dice(truth: np.ndarray, found: np.ndarray, voxel_mm3: float) -> float:
    """The lesion-wise Dice of BraTS-METS 2023 (Moawad et al., arXiv 2306.00838; rules: synapse.org/Synapse:syn51156910).

    Lesions of the truth that grow together when dilated by one voxel (18 neighbours) are one. Each is compared with all
    found components (26-connected) that touch it so dilated. Then::

        sum of the lesions' Dice / (lesions + found components that touch none)

    so that a missed lesion and a false component count 0. Lesions of ``LEAST_MM3`` or less do not count, though what
    touches them is not false.

    Args:
        truth: bool (k, j, i).
        found: bool (k, j, i).
        voxel_mm3: the volume of a voxel.

    Returns:
        0 to 1; NaN where nothing counts: no lesion, and nothing false. (The challenge says 1 there.)
    """
    some = truth | found
    if not some.any():
        return float("nan")
    box = region_of(some).box  # dilated lesions that meet outside of it meet inside as well
    truth, found = truth[box], found[box]
    grown, _ = ndimage.label(ndimage.binary_dilation(truth, _NO_CORNERS), _EVERYWHERE)
    components, count = ndimage.label(found, _EVERYWHERE)
    voxels = np.bincount(components.ravel())
    touched: set[int] = set()
    scores = []
    for lesion, place in enumerate(ndimage.find_objects(grown), start=1):
        extent = grown[place] == lesion
        own = [int(n) for n in np.unique(components[place][extent]) if n]
        touched.update(own)
        here = truth[place] & extent
        if here.sum() * voxel_mm3 > LEAST_MM3:
            both = int((here & found[place]).sum())
            scores.append(2 * both / (int(here.sum()) + int(voxels[own].sum())))
    false = count - len(touched)
    return sum(scores) / (len(scores) + false) if scores or false else float("nan")
