"""Annotated lesions, shrunk, and pasted elsewhere: small lesions for a network whose labels miss the small ones.

After copy-and-paste (Ghiasi et al., CVPR 2021, arXiv 2012.07177), with the one difference that a lesion is made smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .filled import fullest
from .matching import lesions_of, sphere_diameter

_REACH = 22  # voxels around a lesion's centre, and
_BESIDE = 3  # voxels around a lesion, as far as what it adds is taken: one without these is not copied
_SMALLEST, _LARGEST = 2.0, 7.0  # voxels across, of what is pasted
_TISSUE = 2.0  # only where the first sequence is within this of deep tissue: not in air, nor in a vessel


@dataclass(frozen=True)
class Copy:
    """``added`` float32 (sequence, k, j, i): what a lesion adds to what is around it. ``mask``: bool (k, j, i)."""

    added: np.ndarray
    mask: np.ndarray


def shrunk(image: np.ndarray, lesion: np.ndarray, centre: np.ndarray, rng: np.random.Generator) -> Copy | None:
    """A smaller copy of one lesion, between 2 voxels across and its own size; None if it lies at an edge, or is too large.

    Args:
        image: (sequence, k, j, i).
        lesion: bool (k, j, i), annotated lesions.
        centre: k, j, i, of one of them.
        rng: what the size is drawn from.
    """
    middle = np.round(centre).astype(int)
    low, high = np.maximum(middle - _REACH, 0), np.minimum(middle + _REACH + 1, lesion.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    numbered, lesions = lesions_of(lesion[box])
    if not lesions:  # a ring that is too large
        return None
    within = tuple(middle - low)
    own = numbered[within]
    if not own:  # a ring, or a crescent: the nearest there is
        nearest = ndimage.distance_transform_edt(numbered == 0, return_distances=False, return_indices=True)
        own = numbered[tuple(nearest[(slice(None), *within)])]
    mask = numbered == own
    sides = lesions[own - 1].box
    if any(side.start < _BESIDE or side.stop > n - _BESIDE for side, n in zip(sides, mask.shape, strict=True)):
        return None
    tight = tuple(slice(max(side.start - 4, 0), side.stop + 4) for side in sides)
    mask, around = mask[tight], numbered[tight] > 0
    crop = image[(slice(None), *box)][(slice(None), *tight)].astype(np.float32)
    ring = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(around, iterations=1)
    if not ring.any():
        return None
    size = float(sphere_diameter(mask.sum()))
    wanted = np.exp(rng.uniform(np.log(_SMALLEST), np.log(max(min(size, _LARGEST), _SMALLEST))))
    factor = min(1.0, wanted / size)
    cover = ndimage.gaussian_filter(ndimage.binary_dilation(mask).astype(np.float32), 0.6)
    added = (crop - np.median(crop[:, ring], axis=1)[:, None, None, None]) * cover
    blur = 0.4 * (1 / factor - 1)  # as larger voxels see it
    small = np.stack([_scaled(ndimage.gaussian_filter(a, blur), factor) for a in added])
    covered = _scaled(ndimage.gaussian_filter(mask.astype(np.float32), blur), factor)
    # as many voxels as it is to have: above a half of the most there may be a single one
    return Copy(small, fullest(covered, max(1, round(mask.sum() * factor**3))))


def _scaled(array: np.ndarray, factor: float) -> np.ndarray:
    """By just that factor around the middle, which scipy's ``zoom`` takes for a factor between the outermost voxels' centres."""
    shape = np.array(array.shape)
    size = np.ceil(shape * factor).astype(int)
    first = (shape - 1) / 2 - (size - 1) / 2 / factor
    return ndimage.affine_transform(array, np.full(3, 1 / factor), first, tuple(size), order=1, mode="nearest")


def paste(image: np.ndarray, lesion: np.ndarray, copy: Copy, rng: np.random.Generator) -> bool:
    """Add a copy to ``image`` (sequence, k, j, i) and ``lesion`` bool (k, j, i), in place, somewhere in tissue.

    Returns:
        Whether a place was found, at a few random tries, that is tissue and not a lesion.
    """
    shape, size = np.array(lesion.shape), np.array(copy.mask.shape)
    if (size >= shape).any():
        return False
    for _ in range(10):
        low = rng.integers(0, shape - size)
        box = tuple(slice(int(a), int(a + n)) for a, n in zip(low, size, strict=True))
        if lesion[box].any() or np.abs(image[0][box][copy.mask]).max() > _TISSUE:
            continue
        image[(slice(None), *box)] += copy.added
        lesion[box] |= copy.mask
        return True
    return False
