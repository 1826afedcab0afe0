"""Regions of a volume, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .volume import Geometry, Vector, vector

Box = tuple[slice, slice, slice]
_DIRECTIONS = 600  # for the longest diameter: leaves it at most 0.4 % short


@dataclass(frozen=True)
class Region:
    """Some voxels of a volume: ``mask`` is bool (k, j, i) within ``box`` of it; at least one is True."""

    box: Box
    mask: np.ndarray

    def whole(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Bool (k, j, i) over the volume."""
        array = np.zeros(shape, bool)
        array[self.box] = self.mask
        return array

    def shared(self, other: Region) -> int:
        """How many voxels both have."""
        low = [max(a.start, b.start) for a, b in zip(self.box, other.box, strict=True)]
        high = [min(a.stop, b.stop) for a, b in zip(self.box, other.box, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return 0
        here, there = (
            region.mask[tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, region.box, strict=True))]
            for region in (self, other)
        )
        return int((here & there).sum())

    def joined(self, other: Region) -> Region:
        """The voxels of either."""
        k, j, i = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(self.box, other.box, strict=True))
        mask = np.zeros((k.stop - k.start, j.stop - j.start, i.stop - i.start), bool)
        for region in (self, other):
            x, y, z = (slice(s.start - a.start, s.stop - a.start) for s, a in zip(region.box, (k, j, i), strict=True))
            mask[x, y, z] |= region.mask
        return Region((k, j, i), mask)

    def shifted(self, low: np.ndarray) -> Region:
        """The same, found in a part of the volume that begins at voxel ``low`` (k, j, i)."""
        k, j, i = (slice(s.start + int(n), s.stop + int(n)) for s, n in zip(self.box, low, strict=True))
        return Region((k, j, i), self.mask)


def wider(box: Box, by: int, shape: tuple[int, ...]) -> Box:
    """``by`` voxels more on each side, but no further than a volume of ``shape`` (k, j, i)."""
    k, j, i = (slice(max(s.start - by, 0), min(s.stop + by, n)) for s, n in zip(box, shape, strict=True))
    return k, j, i


@dataclass(frozen=True)
class Size:
    """``longest_diameter_mm``: the largest distance between two points of it, in any direction, where a voxel is not a box
    but the ellipsoid that fits into it: a cube of 1 mm measures 1 mm, not its diagonal. Centroid in LPS, mm."""

    volume_mm3: float
    longest_diameter_mm: float
    centroid_lps: Vector


def region_of(mask: np.ndarray) -> Region:
    """The region of a mask (k, j, i) that is not empty."""
    box, part = [], mask
    for axis in range(3):  # each of what the one before has left: most of a volume is read once
        where = np.flatnonzero(part.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(where[0]), int(where[-1]) + 1))
        part = mask[tuple(box)]
    k, j, i = box
    return Region((k, j, i), part.copy())


def measure(region: Region, geometry: Geometry) -> Size:
    """How large a region is and where, in physical space."""
    voxels = np.argwhere(region.mask)
    points = geometry.physical(voxels + [s.start for s in region.box])
    # nothing reaches further in any direction than the two ends of its own row of voxels
    turn = (np.diff(voxels[:, :2], axis=0) != 0).any(axis=1)
    ends = np.append(True, turn) | np.append(turn, True)
    volume = float(len(points) * geometry.voxel_volume)
    return Size(volume, _longest_diameter(points[ends], geometry), vector(points.mean(axis=0)))


def _longest_diameter(points: np.ndarray, geometry: Geometry) -> float:
    """The greatest width over directions spread evenly on the half sphere, as :class:`Size` says."""
    n = np.arange(_DIRECTIONS)
    z = (n + 0.5) / _DIRECTIONS
    angle = n * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z**2)
    directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), z])  # (3, direction)
    along = points @ directions
    voxel = np.sqrt(((geometry.axes.T @ directions) ** 2 * np.square(geometry.spacing)[:, None]).sum(axis=0))
    return float((np.ptp(along, axis=0) + voxel).max())
