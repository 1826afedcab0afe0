"""Where the patient is in an image, and intensities that mean the same in every scan.

Both must hold for full heads and skull-stripped brains, for raw and z-scored intensities, and for padding of any
value. So tissue is measured *deep* inside whatever is in the image: in a head and in a stripped brain alike, that
is mostly white matter and deep grey matter, and scalp, fat and background have no say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .volume import Volume

COARSE_MM = 3.0  # the patient's outline is found on a grid of about this spacing
# of the way from the 2nd to the 98th percentile, as BET (Smith, Human Brain Mapping 2002); Otsu's threshold would
# leave the brain to the air wherever the scalp is much brighter
AIR = 0.1
GAP_MM = 9.0  # of skull, sinus or cerebrospinal fluid, closed between scalp and brain
DEEP = 0.4  # "deep": at least this part of the greatest depth below the surface
PADDED = 0.5  # an exact value on this share of the faces is padding, not measured air


@dataclass(frozen=True)
class Foreground:
    """The patient in a volume.

    ``low`` and ``high``: first and last voxel (k, j, i) of the bounding box. ``centre`` and ``scale``: median and
    robust standard deviation of deep tissue, in the volume's units. ``padding``: the exact value that fills the
    outside, if there is one, and ``dark``: the value to read it as.
    """

    low: np.ndarray
    high: np.ndarray
    centre: float
    scale: float
    padding: float | None
    dark: float


def find_foreground(volume: Volume, margin_mm: float = 6.0) -> Foreground:
    """The patient's bounding box, widened by ``margin_mm``, and the intensities of deep tissue."""
    array, spacing = volume.array, np.asarray(volume.geometry.spacing)[::-1]
    step = np.maximum(1, np.round(COARSE_MM / spacing)).astype(int)
    step = np.minimum(step, np.maximum(1, np.array(array.shape) // 8))
    coarse = np.ascontiguousarray(array[:: step[0], :: step[1], :: step[2]], np.float32)
    padding = _padding(array)
    if padding is not None:
        mask = coarse != padding
    else:
        low, high = np.percentile(coarse, (2, 98))
        mask = coarse > low + AIR * (high - low)
    mask = _one_solid_body(mask, spacing * step)
    depth = _depth(mask, spacing * step)
    deep = coarse[depth >= DEEP * depth.max()]
    quarter, centre, three_quarters = np.percentile(deep, (25, 50, 75))
    scale = (three_quarters - quarter) / 1.349  # of a normal distribution: its standard deviation
    if scale <= 0:
        scale = float(deep.std()) or float(coarse.std()) or 1.0
    where = np.argwhere(mask)
    reach = np.ceil(margin_mm / spacing).astype(int)
    low_corner = np.maximum(where.min(0) * step - step - reach, 0)
    high_corner = np.minimum(where.max(0) * step + step + reach, np.array(array.shape) - 1)
    dark = float(np.percentile(coarse[mask], 0.5))
    return Foreground(low_corner, high_corner, float(centre), float(scale), padding, dark)


def normalise(volume: Volume, foreground: Foreground, clip: tuple[float, float]) -> Volume:
    """Intensities in robust standard deviations of deep tissue around its median, clipped to ``clip``. float32."""
    array = volume.array.astype(np.float32)
    if foreground.padding is not None:
        array[volume.array == foreground.padding] = foreground.dark
    array -= foreground.centre
    array /= foreground.scale
    return Volume(np.clip(array, *clip, out=array), volume.geometry, volume.name)


def _padding(array: np.ndarray) -> float | None:
    faces = [array.take(n, axis).ravel() for axis in range(3) for n in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    most = counts.argmax()
    return float(values[most]) if counts[most] >= PADDED * counts.sum() else None


def _one_solid_body(mask: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    """The largest component after an opening, gaps and holes filled; the mask itself where nothing is left."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(image, [1, 1, 1], sitk.sitkBall)
    body = sitk.RelabelComponent(sitk.ConnectedComponent(opened), sortByObjectSize=True) == 1
    reach = [max(1, round(float(GAP_MM / s))) for s in spacing_kji[::-1]]
    closed = sitk.BinaryMorphologicalClosing(body, reach, sitk.sitkBall)
    solid = sitk.GetArrayFromImage(sitk.BinaryFillhole(closed)).astype(bool)
    if solid.any():
        return solid
    return mask if mask.any() else np.ones_like(mask)


def _depth(mask: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing_kji[::-1]])
    if mask.all():
        return np.ones(mask.shape, np.float32)
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    return np.where(mask, sitk.GetArrayFromImage(distance), 0)
