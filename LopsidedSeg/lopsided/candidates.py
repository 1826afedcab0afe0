"""Probability map and annotation to a ranked list of lesions that the annotation does not have.

Everything is computed once for a map. A candidate's extent does not depend on the threshold, only whether it is
shown does: moving the threshold is :func:`above`, a filter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import SimpleITK as sitk

from .model import Calibration
from .regions import Box, Region, measure, region_of, wider
from .volume import Geometry, Vector, Volume, to_sitk

FLOOR = 0.25  # where nothing else is asked for
SADDLE = 0.3  # two peaks are two lesions where the probability between them falls by this much below the lower
MARGIN_MM = 2.0


@dataclass(frozen=True)
class Candidate:
    """A lesion that the annotation may have missed.

    Attributes:
        rank: 1 is the most confident of its map, whatever the threshold.
        confidence: calibrated probability that it is a lesion (:class:`lopsided.model.Calibration`).
        peak_probability: the network's largest voxel probability in it, uncalibrated.
        volume_mm3: of its mask.
        longest_diameter_mm: of its mask, as :class:`lopsided.regions.Size` says.
        centroid_lps: mm.
        peak_kji: the voxel of the largest probability.
        distance_mm: from its nearest voxel to the nearest annotated one, centre to centre; None without annotation.
        box: where ``mask`` lies in the reference volume, k, j, i.
        mask: bool, (k, j, i) in ``box``: the voxels around the peak with at least half its probability.
    """

    rank: int
    confidence: float
    peak_probability: float
    volume_mm3: float
    longest_diameter_mm: float
    centroid_lps: Vector
    peak_kji: tuple[int, int, int]
    distance_mm: float | None
    box: Box
    mask: np.ndarray


@dataclass(frozen=True)
class Found:
    """``missed``: candidates by rank. ``annotated``: the others, which are lesions that the annotation has, by confidence."""

    missed: tuple[Candidate, ...]
    annotated: tuple[float, ...]


def find_candidates(
    probability: Volume,
    annotated: np.ndarray,
    calibration: Calibration,
    margin_mm: float = MARGIN_MM,
    floor: float = FLOOR,
) -> Found:
    """All candidates of a map, the best first.

    A candidate that overlaps an annotated lesion, touches it (26 neighbours), fills a hole of it, or comes within
    ``margin_mm`` of it *is* that lesion, and is not suggested again.

    Args:
        probability: float (k, j, i), 0 to 1.
        annotated: bool (k, j, i) on the same grid, any lesion.
        calibration: of the model that made the map.
        margin_mm: between nearest voxel centres, and a micrometre more: the rounding in headers.
        floor: nothing is looked for below this probability.

    Raises:
        ValueError: an annotation on another grid.
    """
    if annotated.shape != probability.array.shape:
        raise ValueError(f"annotation {annotated.shape} and map {probability.array.shape} are on different grids")
    regions = _regions(probability.array, floor)
    near = _Nearness(annotated, probability.geometry, [box for box, _ in regions])
    missed, annotated_too = [], []
    for box, mask in regions:
        distance, same = near.of(box, mask, margin_mm)
        candidate = _measure(probability, box, mask, distance, calibration)
        if same:
            annotated_too.append(candidate.confidence)
        else:
            missed.append(candidate)
    missed.sort(key=lambda c: (-logit(c.peak_probability), -c.volume_mm3, c.peak_kji))
    ranked = tuple(replace(c, rank=n) for n, c in enumerate(missed, start=1))
    return Found(ranked, tuple(sorted(annotated_too, reverse=True)))


def above(candidates: tuple[Candidate, ...], threshold: float) -> tuple[Candidate, ...]:
    """Those of at least ``threshold`` confidence, in order."""
    return tuple(c for c in candidates if c.confidence >= threshold)


def logit(peak_probability: float) -> float:
    """Limited to ±12: how much surer than that says no more."""
    p = min(max(peak_probability, 1e-12), 1 - 1e-12)
    return min(max(float(np.log(p / (1 - p))), -12.0), 12.0)


def confidence(peak_probability: float, geometry: Geometry, calibration: Calibration) -> float:
    """The calibrated probability of being a lesion (:class:`lopsided.model.Calibration`), in images on this grid."""
    x = calibration.intercept + calibration.peak * logit(peak_probability) + calibration.slices * log_slice_mm(geometry)
    return float(1 / (1 + np.exp(-x)))


def log_slice_mm(geometry: Geometry) -> float:
    """The logarithm of a slice's thickness, mm: of a voxel's longest side."""
    return float(np.log(max(geometry.spacing)))


def _regions(probability: np.ndarray, floor: float) -> list[tuple[Box, np.ndarray]]:
    """A region for each peak of the map: of its basin, what hangs together around it with half its probability.

    A basin is all that climbs to the peak by steepest ascent; neighbouring basins are one where the lower peak stands
    out by less than ``SADDLE`` (clustering by topological persistence, Chazal et al., J ACM 2013).
    """
    some = probability >= floor
    if not some.any():
        return []
    box = region_of(some).box
    corner = np.array([side.start for side in box]) - 1
    part = np.pad(probability[box], 1)
    where = np.flatnonzero(part.ravel() >= floor)
    basins, around_peak = _basins(part.ravel()[where], _neighbours(where, part.shape))
    around = np.flatnonzero(around_peak)
    around = around[np.argsort(basins[around], kind="stable")]
    places = np.stack(np.unravel_index(where[around], part.shape), axis=1)
    regions = []
    for voxels in np.split(places, np.flatnonzero(np.diff(basins[around])) + 1):
        low, end = voxels.min(axis=0), voxels.max(axis=0) + 1
        mask = np.zeros(end - low, bool)
        mask[tuple((voxels - low).T)] = True
        k, j, i = (slice(int(a), int(b)) for a, b in zip(low + corner, end + corner, strict=True))
        regions.append(((k, j, i), mask))
    return regions


def _neighbours(where: np.ndarray, shape: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of 26-neighbours among the flat indices ``where``, as positions in it, a list item a direction."""
    number = np.full(int(np.prod(shape)), -1, np.int32)
    number[where] = np.arange(len(where))
    _, rows, columns = shape
    pairs = []
    for k, j, i in product((-1, 0, 1), repeat=3):
        step = (k * rows + j) * columns + i
        if step > 0:  # the other half are the same pairs
            there = number[where + step]
            here = np.flatnonzero(there >= 0)
            pairs.append((here, there[here]))
    return pairs


def _basins(values: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The peak, by its position in ``values``, whose basin each voxel belongs to; and, bool, whether the voxel hangs
    together with it by voxels of its basin of half its value."""
    height = np.empty(len(values), np.int64)  # a strict order, so that plateaus have one top
    height[np.argsort(values, kind="stable")] = np.arange(len(values))
    up = np.arange(len(values))
    for pair in pairs:
        for a, b in (pair, pair[::-1]):
            higher = height[b] > height[up[a]]
            up[a[higher]] = b[higher]
    while not np.array_equal(up, up[up]):
        up = up[up]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    apart = up[first] != up[second]
    first, second = first[apart], second[apart]
    saddles = np.minimum(values[first], values[second])
    a, b = np.minimum(up[first], up[second]), np.maximum(up[first], up[second])
    # of passes at one voxel, that to the highest peak comes first, however the map is stored
    peaks = np.sort(values[np.stack([a, b])], axis=0)
    down = np.lexsort((-peaks[0], -peaks[1], -saddles))
    _, best = np.unique((a * len(values) + b)[down], return_index=True)  # the highest pass between two peaks
    top = {int(peak): int(peak) for peak in np.unique(up)}

    def find(peak: int) -> int:
        while top[peak] != peak:
            peak = top[peak]
        return peak

    for edge in down[np.sort(best)]:
        low, high = sorted((find(int(a[edge])), find(int(b[edge]))), key=lambda n: height[n])
        if values[low] - saddles[edge] < SADDLE:
            top[low] = high
    merged = np.arange(len(values))
    merged[list(top)] = [find(peak) for peak in top]
    # whatever climbs to a summit hangs together with it; summits do where the pass between them is high enough
    basins = merged[up]
    half = values[merged] / 2
    a, b, saddles = a[down][best], b[down][best], saddles[down][best]
    passable = (merged[a] == merged[b]) & (saddles >= half[a])
    summits = _joined(merged == np.arange(len(values)), a[passable], b[passable])
    return basins, summits[up] & (values >= half[basins])


def _joined(found: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``found``, and all that is joined to it by edges ``first`` to ``second``, by whatever way."""
    while True:
        one, other = found[first], found[second]
        edge = one != other
        if not edge.any():
            return found
        found[first[edge]] = found[second[edge]] = True
        later = ~(one | other)
        first, second = first[later], second[later]


class _Nearness:
    """How near regions are to the annotation, from one distance map over all of them."""

    def __init__(self, annotated: np.ndarray, geometry: Geometry, boxes: list[Box]) -> None:
        self.distance: np.ndarray | None = None
        if not annotated.any() or not boxes:
            return
        sides = list(zip(region_of(annotated).box, *boxes, strict=True))
        low, high = [min(s.start for s in side) for side in sides], [max(s.stop for s in side) for side in sides]
        self.low = np.array(low)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        lesions = annotated[window].astype(np.uint8)
        near = wider(region_of(lesions).box, 1, lesions.shape)
        filled = sitk.BinaryFillhole(sitk.GetImageFromArray(lesions[near]))
        self.touching = np.zeros(lesions.shape, bool)
        dilated = sitk.BinaryDilate(filled, [1, 1, 1], sitk.sitkBox)  # a view does not keep its image
        self.touching[near] = sitk.GetArrayViewFromImage(dilated)
        image = to_sitk(lesions, geometry)
        distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        self.distance = np.maximum(sitk.GetArrayFromImage(distance), 0)

    def of(self, box: Box, mask: np.ndarray, margin_mm: float) -> tuple[float | None, bool]:
        """Distance in mm, and whether the region is an annotated lesion."""
        if self.distance is None:
            return None, False
        here = tuple(slice(s.start - a, s.stop - a) for s, a in zip(box, self.low, strict=True))
        distance = float(self.distance[here][mask].min())
        return distance, distance <= margin_mm + 1e-3 or bool(self.touching[here][mask].any())


def _measure(
    probability: Volume, box: Box, mask: np.ndarray, distance: float | None, calibration: Calibration
) -> Candidate:
    geometry = probability.geometry
    part = np.where(mask, probability.array[box], -1)
    peak = np.array([s.start for s in box]) + np.unravel_index(part.argmax(), part.shape)
    size = measure(Region(box, mask), geometry)
    k, j, i = (int(v) for v in peak)
    return Candidate(
        rank=0,
        confidence=confidence(float(part.max()), geometry, calibration),
        peak_probability=float(part.max()),
        **size.__dict__,
        peak_kji=(k, j, i),
        distance_mm=distance,
        box=box,
        mask=mask,
    )
