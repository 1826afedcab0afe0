"""Lesions put into real post-contrast T1, in another way than the training simulator draws them.

It shares nothing with ``lopsided_training``: a lesion is a few overlapping balls, drawn four times finer than the voxels
and averaged over them, so that partial volume is right for any spacing and slice thickness; it enhances evenly, or most
at its rim, or fades outwards; and its contrast is stated beside what is around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk
from lopsided.intensity import median_and_spread
from scipy import ndimage

MEDIAN_MM, SIGMA, RANGE_MM = 5.5, 0.65, (2.0, 28.0)  # log-normal
LESIONS = 12  # that are tried to place in each scan
MEDIAN_Z, Z_SIGMA, RANGE_Z = 2.8, 0.45, (1.0, 9.0)  # of contrast, in robust standard deviations of tissue
FINER = 4
APART_MM = 4.0


@dataclass(frozen=True)
class Inserted:
    """``centre`` k, j, i; ``diameter_mm`` of the sphere of its volume; ``contrast`` in robust standard deviations."""

    centre: tuple[float, float, float]
    diameter_mm: float
    contrast: float
    kind: str


def insert(
    image: sitk.Image, allowed: np.ndarray, number: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[Inserted]]:
    """A copy of ``image`` with up to ``number`` lesions, float32 (k, j, i); their labels, uint8; and what they are.

    Args:
        image: post-contrast T1.
        allowed: bool (k, j, i), brain without disease. Tissue's robust standard deviation is measured in it, and
            lesions lie in it with their centres.
        number: of lesions to try to place.
        seed: of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    spacing = np.array(image.GetSpacing()[::-1])
    _, unit = median_and_spread(array[allowed])
    labels = np.zeros(array.shape, np.uint8)
    room = ndimage.distance_transform_edt(allowed, sampling=spacing)
    placed: list[Inserted] = []
    for _ in range(number):
        size = float(np.clip(np.exp(rng.normal(np.log(MEDIAN_MM), SIGMA)), *RANGE_MM))
        contrast = float(np.clip(np.exp(rng.normal(np.log(MEDIAN_Z), Z_SIGMA)), *RANGE_Z))
        places = np.argwhere(room > 0.35 * size)
        if not len(places):
            continue
        for _attempt in range(30):
            centre = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 3)
            gaps = [
                np.linalg.norm((centre - np.array(o.centre)) * spacing) - 0.8 * (size + o.diameter_mm) for o in placed
            ]
            if min(gaps, default=APART_MM) >= APART_MM:
                break
        else:
            continue
        kind = str(rng.choice(["even", "rim", "fading"], p=(0.25, 0.65, 0.1) if size > 8 else (0.75, 0.05, 0.2)))
        box, cover, profile = _drawn(centre, size, kind, spacing, array.shape, rng)
        around = array[box][(cover == 0) & allowed[box]]
        if not len(around):  # a speck of what is allowed
            continue
        beside = float(np.median(around))
        # tissue is displaced: where the lesion is, nothing of what was there is left
        array[box] += cover * (beside + contrast * unit * profile - array[box])
        labels[box][cover >= min(0.5, cover.max())] = len(placed) + 1
        k, j, i = (float(c) for c in centre)
        placed.append(Inserted((k, j, i), size, contrast, kind))
    return array, labels, placed


def _drawn(
    centre: np.ndarray, size: float, kind: str, spacing: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    """Its box, and in it the part of each voxel that it covers, and the mean enhancement there as a part of the most."""
    reach = np.ceil((0.9 * size + 3) / spacing).astype(int)
    low = np.maximum(np.round(centre).astype(int) - reach, 0)
    high = np.minimum(np.round(centre).astype(int) + reach + 1, shape)
    fine = [(np.arange((b - a) * FINER) + 0.5) / FINER - 0.5 + a for a, b in zip(low, high, strict=True)]
    grid = np.stack(
        np.meshgrid(*[(f - c) * s for f, c, s in zip(fine, centre, spacing, strict=True)], indexing="ij"), -1
    )
    radius = size / 2
    distance = np.full(grid.shape[:3], np.inf)
    for n in range(1 + int(rng.integers(0, 4))):
        own = radius * (1.0 if n == 0 else rng.uniform(0.4, 0.75))
        offset = rng.normal(size=3)
        offset *= 0 if n == 0 else rng.uniform(0.4, 0.8) * radius / np.linalg.norm(offset)
        distance = np.minimum(distance, np.linalg.norm(grid - offset, axis=-1) / own)
    inside = distance <= np.quantile(
        distance, min(1.0, np.pi / 6 * size**3 / (np.prod(spacing) * distance.size / FINER**3))
    )
    edge = distance[inside].max()
    within = np.clip(distance / edge, 0, 1)
    rim = rng.uniform(0.15, 0.35)
    profile = {
        "even": np.ones_like(within),
        "rim": np.where(within > 1 - rim, 1.0, rng.uniform(-0.8, 0.2)),
        "fading": 1 - 0.7 * within**2,
    }[kind]
    blocks = tuple(n for a, b in zip(low, high, strict=True) for n in (b - a, FINER))
    cover = inside.reshape(blocks).mean(axis=(1, 3, 5))
    total = (inside * profile).reshape(blocks).mean(axis=(1, 3, 5))
    mean = np.divide(total, cover, out=np.zeros_like(total), where=cover > 0)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), cover, mean


def brain_without(
    image: sitk.Image, disease: np.ndarray | None, away_mm: float = 8.0, brain: np.ndarray | None = None
) -> np.ndarray:
    """Bool (k, j, i): the inside of the brain, away from disease and without fluid.

    ``brain``, bool (k, j, i), says where that is in a full head; otherwise the image must be skull-stripped, with one exact
    value outside.
    """
    array = sitk.GetArrayFromImage(image)
    if brain is None:
        corners = [array[c] for c in product((0, -1), repeat=3)]
        brain = ndimage.binary_opening(array != max(set(corners), key=corners.count), iterations=2)
    numbered, _ = ndimage.label(brain)
    brain = numbered == np.bincount(numbered.ravel())[1:].argmax() + 1
    brain = ndimage.binary_erosion(ndimage.binary_closing(brain, iterations=3), iterations=2)
    if disease is not None:
        spacing = image.GetSpacing()[::-1]
        brain &= ndimage.distance_transform_edt(~disease, sampling=spacing) > away_mm
    smooth = ndimage.gaussian_filter(array.astype(np.float32), 0.7)
    middle, spread = median_and_spread(smooth[brain])
    return brain & (smooth > middle - 2.5 * spread)  # fluid is dark
