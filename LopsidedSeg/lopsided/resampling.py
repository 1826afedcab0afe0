"""Volumes on another grid, through physical space."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .volume import Geometry, Volume, aligned, to_sitk

REACH_MM = 12.0  # further away, nothing is averaged into a voxel of the grids that networks see

_HALF = 0.501  # and a little, so that no exact half is left to rounding
_PARALLEL = 1e-4  # of a cosine: a fortieth of a millimetre across a head
_NOTHING = 1e-6  # of a voxel's weight
_ON_A_VOXEL = 1e-4  # of a voxel: rounding in headers
_AT_ONCE = 32  # places: more would multiply by more zeros, fewer would leave the processor waiting


def resample(volume: Volume, target: Geometry, *, nearest: bool = False, fill: float = 0.0) -> Volume:
    """``volume`` on another grid, through physical space; ``fill`` outside of it.

    Linear, after a Gaussian along those axes where the target is coarser, so that small lesions are averaged
    rather than stepped over. ``nearest`` is for label maps.
    """
    if volume.geometry.same_grid(target):
        return Volume(volume.array, target, volume.name)
    if not nearest:
        turned = aligned(volume, target)
        if np.abs(turned.geometry.axes.T @ target.axes - np.eye(3)).max() < _PARALLEL:
            return Volume(_axis_by_axis(turned, target, fill), target, volume.name)
    whole = not nearest and np.issubdtype(volume.array.dtype, np.integer)  # which ITK would cut, not round
    image = to_sitk(volume.array.astype(np.float32) if whole else volume.array, volume.geometry)
    variance = [] if nearest else _blur(volume.geometry, target).tolist()
    if any(variance):
        image = sitk.DiscreteGaussian(image, variance=variance, maximumKernelWidth=64)
    moved = sitk.Resample(
        image,
        target.size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
        target.origin,
        target.spacing,
        target.direction,
        fill,
        image.GetPixelID(),
    )
    array = sitk.GetArrayFromImage(moved)
    return Volume(np.rint(array).astype(volume.array.dtype) if whole else array, target, volume.name)


def covered(mask: Volume, target: Geometry) -> np.ndarray:
    """Bool (k, j, i): where ``target`` lies in ``mask``, 0 or 1 on a grid that is not finer.

    Not by the nearest voxel: which of two equally near ones that is, rounding in a header would decide.
    """
    return resample(Volume(mask.array.astype(np.float32), mask.geometry), target).array > _HALF


def _blur(source: Geometry, target: Geometry) -> np.ndarray:
    """The variance in mm², along i, j, k of the source, of the Gaussian to put before the interpolation."""
    # how long a target voxel is, measured along each source axis
    reach = np.sqrt(((source.axes.T @ target.axes * target.spacing) ** 2).sum(axis=1))
    # from a point spread as wide at half height as a source voxel to one as wide as a target voxel
    # (Cardoso et al., Scale factor point spread function matching, MICCAI 2015)
    variance = np.maximum(reach**2 - np.square(source.spacing), 0) / (8 * np.log(2))
    variance[reach < 1.2 * np.asarray(source.spacing) - 1e-3] = 0
    return variance


def _axis_by_axis(volume: Volume, target: Geometry, fill: float) -> np.ndarray:
    """Where axes are parallel, blur and interpolation are one matrix an axis: faster than one after the other in 3D.

    The axis that loses most comes first, and what lies outside of the volume is left out.
    """
    source, dtype = volume.geometry, np.result_type(volume.array.dtype, np.float32)
    variance = (_blur(source, target) / np.square(source.spacing))[::-1]
    first, last = source.index(target.physical(np.array([[0, 0, 0], np.array(target.shape) - 1])))
    places = [np.linspace(a, b, n) for a, b, n in zip(first, last, target.shape, strict=True)]
    weights = [_weights(*one) for one in zip(places, source.shape, variance, strict=True)]
    inside = tuple(_span(one, 1) for one in weights)
    result = np.full(target.shape, fill, volume.array.dtype)
    array = volume.array
    for axis in sorted(range(3), key=lambda axis: target.shape[axis] / source.shape[axis]):
        array = _times(weights[axis][inside[axis]], array, axis, dtype)
    result[inside] = np.rint(array) if np.issubdtype(volume.array.dtype, np.integer) else array
    return result


def _times(matrix: np.ndarray, array: np.ndarray, axis: int, dtype: np.dtype) -> np.ndarray:
    """``matrix`` (place, voxel) along one axis of three, in steps of some places that look at few of the voxels."""
    before = (slice(None),) * axis
    first = _span(matrix[:1], 0).start
    if np.array_equal(matrix, np.eye(len(matrix), matrix.shape[1], first)):  # the voxels themselves
        return array[(*before, slice(first, first + len(matrix)))]
    out = np.empty((*array.shape[:axis], len(matrix), *array.shape[axis + 1 :]), dtype)
    for n in range(0, len(matrix), _AT_ONCE):
        rows = slice(n, n + _AT_ONCE)
        used = _span(matrix[rows], 0)
        part = array[(*before, used)].astype(dtype, copy=False)
        some = matrix[rows, used].astype(dtype)
        if axis == 2:
            out[..., rows] = part @ some.T
        elif axis == 1:
            np.matmul(some, part, out=out[:, rows])
        else:
            out[rows] = (some @ part.reshape(len(part), -1)).reshape(-1, *part.shape[1:])
    return out


def _span(matrix: np.ndarray, over: int) -> slice:
    """From the first to the last row (``over`` 1) or column (0) that is not all zeros."""
    where = np.flatnonzero(matrix.any(axis=over))
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def _weights(places: np.ndarray, number: int, variance: float) -> np.ndarray:
    """float64 (place, voxel): linear interpolation at ``places`` along ``number`` voxels, in voxels, after a Gaussian of
    ``variance`` voxels²; zeros beyond half a voxel outside."""
    on = np.rint(places)
    places = np.where(np.abs(places - on) < _ON_A_VOXEL, on, places)
    inside = (places >= -0.5) & (places <= number - 0.5)
    low = np.clip(np.floor(places), 0, max(number - 2, 0)).astype(int)
    part = np.clip(places - low, 0, 1)
    linear = np.zeros((len(places), number))
    rows = np.arange(len(places))
    linear[rows, low] = 1 - part
    linear[rows, np.minimum(low + 1, number - 1)] += part
    linear[~inside] = 0
    if not variance:
        return linear
    # the discrete Gaussian (Lindeberg, IEEE PAMI 1990): diffusion on the voxels, nothing flowing over the ends,
    # which the cosines diagonalise
    wave = np.pi * np.arange(number) / number
    cosines = np.cos(wave[:, None] * (np.arange(number) + 0.5))
    cosines *= np.sqrt(np.where(wave > 0, 2, 1) / number)[:, None]
    blurred = linear @ (cosines.T * np.exp(-variance * (1 - np.cos(wave)))) @ cosines
    blurred[np.abs(blurred) < _NOTHING] = 0
    return np.asarray(blurred)
