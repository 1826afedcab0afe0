"""Coarse marks of lesions, and the voxels that they become.

Needs numpy and SimpleITK alone, so that the Slicer module can draw a mark while it is moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from .regions import Region, region_of
from .volume import Geometry, Vector, Volume

ELLIPSOID = "ellipsoid"  # the description of an ROI that is one; Slicer's own are boxes
_FINE = 4  # a voxel is judged by this many points along each axis
_RING_MM = 3.0
_HAND_MM = 1.0  # how exact a reader's hand is
_LEAST_ANGLE = np.cos(np.pi / 4)  # between a line and one across it
_GAP_MM = 2.0  # in the rim of a lesion; more is an opening
_CONTRAST = 3.0  # standard deviations of what is around; less is not a lesion's edge


@dataclass(frozen=True)
class Point:
    """A ball: one click, and a diameter (mm). Points are in LPS, mm."""

    centre_lps: Vector
    diameter_mm: float
    kind: Literal["point"] = "point"


@dataclass(frozen=True)
class Line:
    """The longest diameter, and where it was drawn too, the longest across it (as in RECIST, bidimensional).

    One line is a ball; two are an ellipsoid whose third axis is as long as the shorter.
    """

    ends_lps: tuple[Vector, Vector]
    across_lps: tuple[Vector, Vector] | None = None
    kind: Literal["line"] = "line"


@dataclass(frozen=True)
class _Turned:
    """``axes`` are unit vectors (LPS), ``size_mm`` the whole lengths along them."""

    centre_lps: Vector
    size_mm: Vector
    axes: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class BoxMark(_Turned):
    """A box along its axes."""

    kind: Literal["box"] = "box"


@dataclass(frozen=True)
class Ellipsoid(_Turned):
    """An ellipsoid along its axes."""

    kind: Literal["ellipsoid"] = "ellipsoid"


Mark = Point | Line | BoxMark | Ellipsoid


def diameter_of(description: str) -> float:
    """What the description of a point says, mm; with a comma too.

    Raises:
        ValueError: it says none.
    """
    if not description:
        raise ValueError("a point has no diameter; give it in mm as the point's description")
    try:
        diameter = float(description.replace(",", "."))
    except ValueError:
        diameter = np.nan
    if not 0 < diameter < np.inf:
        raise ValueError(
            f"a point's description is {description!r}, and no number above 0; give its diameter in mm there, as 4.5"
        )
    return diameter


def rasterise(mark: Mark, geometry: Geometry) -> Region | None:
    """The voxels of which at least half lies in the mark; and where its volume is more, those of which most does, up to that.

    At least one; of equals it is the nearest to the middle. So a mark keeps its volume in thick slices, where it may fill half
    of no voxel.

    None where the mark lies outside of the volume.

    Raises:
        ValueError: a length that is not above 0, or axes that are not at right angles.
    """
    centre, axes, radii = _solid(mark)
    if not (np.isfinite(centre).all() and np.isfinite(radii).all() and (radii > 0).all()):
        raise ValueError(f"a {mark.kind} of {2 * radii} mm at {centre} is none; its size must be above 0")
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise ValueError(f"the axes of a {mark.kind} must be unit vectors at right angles")
    # how far it reaches along each axis of the volume, mm, which may be sheared
    across = np.linalg.inv(geometry.axes) @ (axes * radii)
    reach = np.abs(across).sum(axis=1) if mark.kind == "box" else np.sqrt((across**2).sum(axis=1))
    middle = geometry.index(centre)
    step = (reach / geometry.spacing)[::-1]
    low = np.maximum(np.floor(middle - step), 0).astype(int)
    high = np.minimum(np.ceil(middle + step), np.array(geometry.shape) - 1).astype(int)
    if (low > high).any():
        return None
    fine = (np.arange(_FINE) + 0.5) / _FINE - 0.5
    j, i = ((np.arange(low[n], high[n] + 1)[:, None] + fine).ravel() for n in (1, 2))
    # where a point is along the mark's axes, in half lengths, is linear in its index: slice by slice, it takes no memory
    start = (geometry.origin - centre) @ axes / radii
    ways = (axes / radii).T @ (geometry.axes * geometry.spacing)  # (mark's axis; i, j, k)
    plane = np.multiply.outer(ways[:, 1], j)[:, :, None] + np.multiply.outer(ways[:, 0], i)[:, None]

    def covered(k: int) -> np.ndarray:
        along = plane[:, None] + (start[:, None] + np.multiply.outer(ways[:, 2], k + fine))[:, :, None, None]
        inside = (np.abs(along) <= 1).all(axis=0) if mark.kind == "box" else (along**2).sum(axis=0) <= 1
        points = inside.reshape(_FINE, -1, _FINE, len(i) // _FINE, _FINE)
        return points.sum(axis=0, dtype=np.uint8).sum(axis=(1, 3))

    part = np.stack([covered(k) for k in range(low[0], high[0] + 1)]).astype(np.uint8)
    if not part.any():
        if ((middle < -0.5) | (middle > np.array(geometry.shape) - 0.5)).any():
            return None
        return region_of(_nearest(middle - low, part.shape)).shifted(low)
    wanted = max(1, round(part.sum() / _FINE**3), np.count_nonzero(part >= _FINE**3 / 2))
    least = np.sort(part, axis=None)[-wanted]
    mask, equal = part > least, np.argwhere(part == least)
    away = (((geometry.physical(equal + low) - centre) @ axes / radii) ** 2).sum(axis=1)
    nearest = np.argsort(away.round(6), kind="stable")[: wanted - np.count_nonzero(mask)]
    mask[tuple(equal[nearest].T)] = True
    return region_of(mask).shifted(low)


def crossed(marks: Iterable[Mark]) -> list[Mark]:
    """The marks, the lines last, of which each may have another across it: one that it crosses or comes within 1 mm of, at 45°
    or more, the nearest by its middle where there are several. Two in a row, or one that was drawn again, are two lesions."""
    marks = list(marks)
    found: list[Mark] = [mark for mark in marks if not isinstance(mark, Line)]
    left = sorted((mark for mark in marks if isinstance(mark, Line)), key=lambda line: -_length(line))
    while left:
        line = left.pop(0)
        near = [other for other in left if _is_across(line, other) and _gap(line, other) <= _HAND_MM]
        if near:
            across = min(near, key=lambda other: float(np.linalg.norm(_middle(other) - _middle(line))))
            left.remove(across)
            line = Line(line.ends_lps, across.ends_lps)
        found.append(line)
    return found


def timed(marks: Iterable[tuple[Mark, str | None]]) -> list[tuple[Mark, str | None]]:
    """:func:`crossed` of marks that each come with the time at which they were made; of two lines it is the longer's."""
    given = list(marks)
    times = {_alone(mark): time for mark, time in given}
    return [(mark, times[_alone(mark)]) for mark in crossed(mark for mark, _ in given)]


def snap(region: Region, image: Volume) -> Region:
    """The bright part of a region: what is above half the way from around it to its brightest, in one piece.

    It may reach 1 mm beyond the region, for no hand is more exact. Gaps of up to 2 mm are closed and holes are filled, for a
    lesion may enhance at its rim alone. The region itself where nothing stands out of what is around it by three of its
    standard deviations.
    """
    geometry = image.geometry
    spacing = np.array(geometry.spacing)
    pad = np.ceil(_RING_MM / spacing)[::-1].astype(int)
    low = np.maximum([s.start - p for s, p in zip(region.box, pad, strict=True)], 0)
    high = np.minimum([s.stop + p for s, p in zip(region.box, pad, strict=True)], geometry.shape)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    mask = np.zeros(high - low, bool)
    here = tuple(slice(s.start - a, s.stop - a) for s, a in zip(region.box, low, strict=True))
    mask[here] = region.mask
    hand, gap = (np.round(mm / spacing).astype(int).tolist() for mm in (_HAND_MM, _GAP_MM))
    near = _array(sitk.BinaryDilate(_image(mask), hand))
    values = image.array[k, j, i].astype(float)
    around = values[~near]
    if not around.size:
        return region
    level = np.median(around)
    spread = 1.4826 * np.median(np.abs(around - level))
    top = np.percentile(values[mask], 95)
    if top <= level + _CONTRAST * spread:
        return region
    bright = sitk.BinaryMorphologicalClosing(_image(near & (values >= (level + top) / 2)), gap)
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(bright, True)) == 1
    # a rim may be joined by edges and corners alone: holes, then, are what is joined by faces (the filter's default)
    return region_of(_array(sitk.BinaryFillhole(largest)) & near).shifted(low)


def _image(mask: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8))


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).astype(bool)


def _middle(line: Line) -> np.ndarray:
    return np.mean(line.ends_lps, axis=0)


def _way(line: Line) -> np.ndarray:
    return np.subtract(*line.ends_lps[::-1])


def _is_across(one: Line, other: Line) -> bool:
    return bool(abs(_way(one) @ _way(other)) < _LEAST_ANGLE * _length(one) * _length(other))


def _gap(one: Line, other: Line) -> float:
    """How far apart two lines that are not parallel pass, mm."""
    start, begin = np.array(one.ends_lps[0]), np.array(other.ends_lps[0])
    s, t = np.linalg.lstsq(np.stack([_way(one), -_way(other)], axis=1), begin - start, rcond=None)[0]
    if 0 <= s <= 1 and 0 <= t <= 1:
        return float(np.linalg.norm(start + s * _way(one) - begin - t * _way(other)))
    return min(_away(end, line) for line, ends in ((one, other.ends_lps), (other, one.ends_lps)) for end in ends)


def _away(point: Vector, line: Line) -> float:
    """From the nearest point of a line, mm."""
    start, way = np.array(line.ends_lps[0]), _way(line)
    part = np.clip((np.array(point) - start) @ way / (way @ way), 0, 1)
    return float(np.linalg.norm(start + part * way - point))


def _alone(mark: Mark) -> Mark:
    """A line without the one across it."""
    return Line(mark.ends_lps) if isinstance(mark, Line) else mark


def _length(line: Line) -> float:
    return float(np.linalg.norm(_way(line)))


def _solid(mark: Mark) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (LPS), axes (columns are unit vectors) and half lengths (mm)."""
    if isinstance(mark, Point):
        return np.array(mark.centre_lps), np.eye(3), np.full(3, mark.diameter_mm / 2)
    if isinstance(mark, Line):
        return _on_lines(mark)
    return np.array(mark.centre_lps), np.array(mark.axes).T, np.array(mark.size_mm) / 2


def _on_lines(mark: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, end = np.array(mark.ends_lps)
    length = float(np.linalg.norm(end - start))
    centre = (start + end) / 2
    if mark.across_lps is None or length == 0:
        return centre, np.eye(3), np.full(3, length / 2)
    other = np.array(mark.across_lps)
    long = (end - start) / length
    across = (other[1] - other[0]) - ((other[1] - other[0]) @ long) * long
    width = float(np.linalg.norm(across))
    if width == 0:
        return centre, np.eye(3), np.full(3, length / 2)
    across /= width
    centre = centre + ((other.mean(axis=0) - centre) @ across) * across  # midway across too
    axes = np.stack([long, across, np.cross(long, across)], axis=1)
    return centre, axes, np.array([length, width, min(length, width)]) / 2


def _nearest(index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    k, j, i = np.clip(np.round(index).astype(int), 0, np.array(shape) - 1)
    mask[k, j, i] = True
    return mask
