"""Backgrounds to simulate on: label maps of heads, nilearn's packaged MNI152 brain, and real images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from lopsided.errors import InputError
from lopsided.intensity import padding_of
from lopsided.reading import read_array, read_volume
from lopsided.resampling import resample
from lopsided.volume import Geometry, Volume, oriented

AIR, WHITE, GREY, CSF, PLEXUS, OUTSIDE = 0, 1, 2, 3, 4, 5
_WHITE = (2, 41, 7, 46, 28, 60, 16, 77, 85, 251, 252, 253, 254, 255)
_CSF = (4, 43, 5, 44, 14, 15, 24, 72)
_PLEXUS = (31, 63)
FIRST_OUTSIDE = 500  # FreeSurfer's labels of what is around the brain begin here
_LARGEST_BRAIN_MM3 = 2.5e6  # no brain is that large; a head is
_DARKEST = 0.1  # percentile: of what is inside of a real image, the rest may be broken
_MARGIN_MM = {"L": (15, 15), "P": (25, 15), "S": (45, 15)}  # kept around the brain: low end, high end


@dataclass(frozen=True)
class Anatomy:
    """One head on a 1 mm LPS grid.

    ``labels``: (k, j, i) int16, each structure its own number. ``tissue``: (k, j, i) uint8, of the classes above.
    ``depth``: (k, j, i) float32, mm from the brain's surface, positive inside. ``image``: a real post-contrast T1
    (k, j, i) where the anatomy is one, else None.
    """

    name: str
    labels: np.ndarray
    tissue: np.ndarray
    depth: np.ndarray
    geometry: Geometry
    image: np.ndarray | None = None


def read_label_map(path: Path) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Labels int16 and tissues uint8, both (k, j, i), on the 1 mm LPS grid of the whole head.

    The label map is FreeSurfer-style: 0 air, 24 CSF, 500 and above outside of the brain's coverings.
    """
    volume = read_array(path)
    volume = _millimetre(replace(volume, array=volume.array.astype(np.int16)), nearest=True)
    labels = volume.array
    table = np.full(int(labels.max()) + 1, GREY, np.uint8)
    for values, tissue in ((_WHITE, WHITE), (_CSF, CSF), (_PLEXUS, PLEXUS)):
        table[[v for v in values if v < len(table)]] = tissue
    table[0] = AIR
    table[FIRST_OUTSIDE:] = OUTSIDE
    return labels, table[labels], volume.geometry


def from_label_map(path: Path) -> Anatomy:
    """The brain, and some of what is around it, of a label map as :func:`read_label_map` reads it."""
    return _cropped(path.name.removesuffix(".nii.gz"), *read_label_map(path), None)


def mni152() -> Anatomy:
    """The ICBM 152 nonlinear 2009 average brain as nilearn packages it: grey, white, and CSF for the rest."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    def read(image: object) -> np.ndarray:
        return np.asarray(image.get_fdata(), np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]  # type: ignore[attr-defined]

    t1, grey, white = (
        read(f(resolution=1)) for f in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    )
    brain = t1 > 0.05 * t1.max()
    tissue = np.full(t1.shape, CSF, np.uint8)
    tissue[grey > 0.35] = GREY
    tissue[(white > grey) & (white > 0.35)] = WHITE
    tissue[~brain] = AIR
    k, j, i = t1.shape
    geometry = Geometry((i, j, k), (1.0, 1.0, 1.0), (-98.0, -98.0, -72.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    return _cropped("mni152", tissue.astype(np.int16), tissue, geometry, None)


def from_image(path: Path) -> Anatomy:
    """A real, skull-stripped post-contrast T1: a background with real vessels. One value, any, fills what is outside.

    Raises:
        InputError: no value does, a whole head, or no image.
    """
    volume = read_volume(path)
    padding = padding_of(volume.array)
    if padding is None:
        raise InputError(f"{path}: no one value fills what is around the brain; give a skull-stripped image")
    mask = volume.array != padding
    # the outside as dark as the darkest inside, none below it, before both are mixed at the border: a value far from all
    # others, outside or of a broken voxel, would be all that is seen
    dark = min(float(np.percentile(volume.array[mask], _DARKEST)), 0)
    above = np.where(mask, np.maximum(volume.array.astype(np.float32) - dark, 0), np.float32(0))
    inside = _millimetre(replace(volume, array=mask.astype(np.float32)), nearest=False).array > 0
    volume = _millimetre(replace(volume, array=above), nearest=False)
    if inside.sum() > _LARGEST_BRAIN_MM3:
        raise InputError(f"{path}: {inside.sum() / 1e6:.1f} L are no brain; give a skull-stripped image")
    seen = volume.array[inside]
    low, high = np.percentile(seen, (5, 15))
    tissue = np.where(inside, np.where(volume.array > (low + high) / 2, WHITE, CSF), AIR).astype(np.uint8)
    name = path.name.removesuffix(".nii.gz")
    return _cropped(name, tissue.astype(np.int16), tissue, volume.geometry, np.where(inside, volume.array, 0))


def _millimetre(volume: Volume, nearest: bool) -> Volume:
    volume = oriented(volume)
    grid = volume.geometry.covering((1.0, 1.0, 1.0), np.zeros(3), np.array(volume.array.shape) - 1, 1)
    return resample(volume, grid, nearest=nearest)


def _cropped(
    name: str, labels: np.ndarray, tissue: np.ndarray, geometry: Geometry, image: np.ndarray | None
) -> Anatomy:
    brain = (tissue != AIR) & (tissue != OUTSIDE)
    where = np.argwhere(brain)
    margins = np.array([_MARGIN_MM[axis] for axis in "SPL"])
    low = np.maximum(where.min(0) - margins[:, 0], 0)
    high = np.minimum(where.max(0) + margins[:, 1] + 1, tissue.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    mask = sitk.GetImageFromArray(brain[box].astype(np.uint8))
    solid = sitk.BinaryMorphologicalClosing(mask, [3, 3, 3], sitk.sitkBall)
    depth = sitk.SignedMaurerDistanceMap(solid, insideIsPositive=True, squaredDistance=False)
    x, y, z = (float(v) for v in geometry.physical(low))
    k, j, i = (int(v) for v in high - low)
    placed = Geometry((i, j, k), geometry.spacing, (x, y, z), geometry.direction)
    cut = None if image is None else np.ascontiguousarray(image[box])
    return Anatomy(name, labels[box].copy(), tissue[box].copy(), sitk.GetArrayFromImage(depth), placed, cut)
