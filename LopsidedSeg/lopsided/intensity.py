"""Where the brain or the patient is in an image, and intensities that mean the same in every scan.

Both must hold for full heads and skull-stripped brains, for raw and z-scored intensities, and for padding of any
value. So tissue is measured *deep* inside whatever is in the image: in a head and in a stripped brain alike, that
is mostly white matter and deep grey matter, and scalp, fat and background have no say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .regions import region_of
from .resampling import covered
from .volume import Geometry, Volume

COARSE_MM = 3.0  # the patient's outline is found on a grid of about this spacing
# of the way from the 2nd to the 98th percentile, as BET (Smith, Human Brain Mapping 2002); Otsu's threshold would
# leave the brain to the air wherever the scalp is much brighter
AIR = 0.1
MARGIN_MM = 6.0  # around a patient in whom no brain was found
GAP_MM = 9.0  # of skull, sinus or cerebrospinal fluid, closed between scalp and brain
DEEP = 0.4  # "deep": at least this part of the greatest depth below the surface
# Of the way from fluid to tissue: about the robust standard deviation of tissue in real post-contrast T1. Measured in the
# tissue itself it would depend on how much grey matter, fluid and tumour happen to lie deep.
SPREAD = 0.25
# But at most this times the spread of tissue: where tissue is unusually even, as in spin echoes, what stands out does so by less.
# Three of four studies like those that the bundled model was trained on are below it.
MOST_SPREAD = 0.8
PADDED = 0.5  # an exact value on this share of the faces is padding, not measured air
# What borders on padding is padding, too, where it is of one value. Not so in phantoms: if less than this of an image were left,
_LEAST_LEFT = 0.02
_DARKER = (
    0.7  # or if more than this of what is left were darker (zero, where z-scored, is the mean of tissue), it is tissue
)


@dataclass(frozen=True)
class Foreground:
    """The brain, or else the patient, in a volume.

    ``low`` and ``high``: first and last voxel (k, j, i) of the bounding box. ``centre``: median of deep
    tissue, and ``scale``: a quarter of its distance from fluid, or less where tissue is even, in the volume's units. ``padding``:
    the exact value that fills the outside, if there is one, and ``dark``: the value to read it as.
    """

    low: np.ndarray
    high: np.ndarray
    centre: float
    scale: float
    padding: float | None
    dark: float


def find_foreground(volume: Volume, brain: Volume | None = None) -> Foreground:
    """The bounding box of ``brain`` (a mask on a grid of its own), else that of the patient and a little more; and the
    intensities of tissue deep in it."""
    array, spacing = volume.array, np.asarray(volume.geometry.spacing)[::-1]
    step = np.maximum(1, _rounded(COARSE_MM / spacing))
    step = np.minimum(step, np.maximum(1, np.array(array.shape) // 8))
    coarse = np.ascontiguousarray(array[:: step[0], :: step[1], :: step[2]], np.float32)
    padding = padding_of(array)
    mask = _on_lattice(brain, volume, step, coarse.shape) if brain else np.zeros(coarse.shape, bool)
    if not mask.any():
        mask = _patient(coarse, padding, spacing * step)
    depth = _depth(mask, spacing * step)
    deep = coarse[depth >= DEEP * depth.max()]
    centre, spread = median_and_spread(deep)
    usual = (centre - float(np.percentile(deep, 2))) * SPREAD
    scale = float(np.clip(MOST_SPREAD * spread, usual / 3, usual))
    if scale <= 0:
        scale = float(deep.std()) or float(coarse.std()) or 1.0
    low, end = np.array([(s.start, s.stop) for s in region_of(mask).box]).T
    reach = np.ceil((0 if brain else MARGIN_MM) / spacing - 1e-3).astype(int)
    low_corner = np.maximum((low - 1) * step - reach, 0)
    high_corner = np.minimum(end * step + reach, np.array(array.shape) - 1)
    dark = float(np.percentile(coarse[mask], 0.5))
    return Foreground(low_corner, high_corner, centre, scale, padding, dark)


def median_and_spread(values: np.ndarray) -> tuple[float, float]:
    """The median, and the robust standard deviation: by the quartiles, which in a normal distribution are 1.349 of it apart."""
    quarter, middle, three_quarters = np.percentile(values, (25, 50, 75))
    return float(middle), float(three_quarters - quarter) / 1.349


def normalise(volume: Volume, foreground: Foreground, clip: tuple[float, float]) -> Volume:
    """Intensities around deep tissue's, in units of ``foreground.scale``, clipped to ``clip``. float32."""
    array = volume.array.astype(np.float32)
    if foreground.padding is not None:
        np.copyto(array, foreground.dark, where=volume.array == foreground.padding)
    array -= foreground.centre
    array /= foreground.scale
    return Volume(np.clip(array, *clip, out=array), volume.geometry, volume.name)


def padding_of(array: np.ndarray) -> float | None:
    """The exact value that fills most of the faces of an image, if one does."""
    faces = [np.moveaxis(array, axis, 0)[n].ravel() for axis in range(3) for n in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    most = counts.argmax()
    return float(values[most]) if counts[most] >= PADDED * counts.sum() else None


def evenly_padded(volume: Volume) -> Volume:
    """Where one exact value fills what is around another that does, as in a skull-stripped image that was moved to a grid with
    room around it, both are one, just below all else. Float32 then; else the volume itself."""
    array, value = volume.array, padding_of(volume.array)
    if value is None:
        return volume
    filled, rest = array == value, None
    while value is not None and (value := _bordering(array, filled)) is not None:
        wider = filled | (array == value)
        left = array[~wider]
        if left.size < _LEAST_LEFT * array.size or (left < value).mean() > _DARKER:
            break
        filled, rest = wider, left
    if rest is None:
        return volume
    least, most = float(rest.min()), float(rest.max())
    even = np.where(filled, np.float32(least - (most - least) / 1000), array.astype(np.float32))
    return Volume(even, volume.geometry, volume.name)


def _bordering(array: np.ndarray, filled: np.ndarray) -> float | None:
    """The exact value of most voxels that lie second from what is ``filled``, along every other line; the first may be between."""
    found = []
    for axis in range(3):
        lines, taken = (np.moveaxis(a, axis, 0)[:, ::2, ::2] for a in (array, filled))
        for values, full in ((lines, taken), (lines[::-1], taken[::-1])):
            found.append(values[2:][full[:-2] & ~full[1:-1] & ~full[2:]])
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    most = int(counts.argmax()) if counts.size else 0
    return float(values[most]) if counts.size and counts[most] >= PADDED * counts.sum() else None


def _on_lattice(mask: Volume, volume: Volume, step: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``mask`` at every ``step``-th voxel of ``volume``."""
    g = volume.geometry
    i, j, k = (int(n) for n in shape[::-1])
    a, b, c = (float(s) for s in g.spacing * step[::-1])
    lattice = Geometry((i, j, k), (a, b, c), g.origin, g.direction)
    return covered(mask, lattice)


def _patient(coarse: np.ndarray, padding: float | None, spacing_kji: np.ndarray) -> np.ndarray:
    if padding is not None:
        return _one_solid_body(coarse != padding, spacing_kji)
    low, high = np.percentile(coarse, (2, 98))
    return _one_solid_body(coarse > low + AIR * (high - low), spacing_kji)


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest component of a mask (k, j, i)."""
    components = sitk.RelabelComponent(
        sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8))), sortByObjectSize=True
    )
    return np.asarray(sitk.GetArrayFromImage(components) == 1)


def largest_solid(mask: np.ndarray, reach: list[int]) -> np.ndarray:
    """:func:`largest`, with gaps of up to twice ``reach`` (voxels along i, j, k) and holes filled."""
    solid = largest(mask)
    if solid.any():
        box = region_of(solid).box  # neither step leaves it
        part = sitk.GetImageFromArray(solid[box].astype(np.uint8))
        part = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(part, reach, sitk.sitkBall))
        solid[box] = sitk.GetArrayViewFromImage(part)
    return solid


def _one_solid_body(mask: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    """The largest component after an opening, gaps and holes filled; the mask itself where nothing is left."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(image, [1, 1, 1], sitk.sitkBall)
    reach = np.maximum(1, _rounded(GAP_MM / spacing_kji[::-1])).tolist()
    solid = largest_solid(sitk.GetArrayViewFromImage(opened), reach)
    if solid.any():
        return solid
    return mask if mask.any() else np.ones_like(mask)


def _rounded(voxels: np.ndarray) -> np.ndarray:
    """Up from a half, and from what rounding in a header may leave of one."""
    return np.floor(voxels + 0.5 + 1e-3).astype(int)


def _depth(mask: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing_kji[::-1]])
    if mask.all():
        return np.ones(mask.shape, np.float32)
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    return np.where(mask, sitk.GetArrayFromImage(distance), 0)
