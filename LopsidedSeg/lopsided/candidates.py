"""Probability map and annotation to a ranked list of lesions that the annotation does not have.

Everything is computed once for a map. A candidate's extent does not depend on the threshold, only whether it is
shown does: moving the threshold is :func:`above`, a filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .model import Calibration
from .volume import Geometry, Vector, Volume, to_sitk

FLOOR = 0.25  # nothing is looked for below this probability
SADDLE = 0.3  # two peaks are two lesions where the probability between them falls by this much below the lower
MARGIN_MM = 2.0
_DIRECTIONS = 600  # for the longest diameter: leaves it at most 0.3 % short

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Candidate:
    """A lesion that the annotation may have missed.

    Attributes:
        rank: 1 is the most confident of its map, whatever the threshold.
        confidence: calibrated probability that it is a lesion (:class:`lopsided.model.Calibration`).
        peak_probability: the network's largest voxel probability in it, uncalibrated.
        volume_mm3: of its mask.
        longest_diameter_mm: the largest distance between two points of the mask, in any direction.
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
    """``missed``: candidates by rank. ``annotated``: how many others are lesions that the annotation has."""

    missed: tuple[Candidate, ...]
    annotated: int


def find_candidates(
    probability: Volume, annotated: np.ndarray, calibration: Calibration, margin_mm: float = MARGIN_MM
) -> Found:
    """All candidates of a map, the best first.

    A candidate that overlaps an annotated lesion, touches it (26 neighbours), fills a hole of it, or comes within
    ``margin_mm`` of it *is* that lesion, and is not suggested again.

    Args:
        probability: float (k, j, i), 0 to 1.
        annotated: bool (k, j, i) on the same grid, any lesion.
        calibration: of the model that made the map.
        margin_mm: between nearest voxel centres.

    Raises:
        ValueError: an annotation on another grid.
    """
    if annotated.shape != probability.array.shape:
        raise ValueError(f"annotation {annotated.shape} and map {probability.array.shape} are on different grids")
    regions = [r for box in _components(probability.array) for r in _split(probability.array, box)]
    near = _Nearness(annotated, probability.geometry, [box for box, _ in regions])
    missed = []
    for box, mask in regions:
        distance, same = near.of(box, mask, margin_mm)
        if not same:
            missed.append(_measure(probability, box, mask, distance, calibration))
    missed.sort(key=lambda c: (-c.confidence, -c.volume_mm3, c.peak_kji))
    ranked = tuple(_ranked(c, n) for n, c in enumerate(missed, start=1))
    return Found(ranked, len(regions) - len(missed))


def above(candidates: tuple[Candidate, ...], threshold: float) -> tuple[Candidate, ...]:
    """Those of at least ``threshold`` confidence, in order."""
    return tuple(c for c in candidates if c.confidence >= threshold)


def confidence(peak_probability: float, volume_mm3: float, calibration: Calibration) -> float:
    """The calibrated probability of being a lesion. The logit is limited to ±12, where float32 ends."""
    p = min(max(peak_probability, 1e-12), 1 - 1e-12)
    logit = min(max(float(np.log(p / (1 - p))), -12.0), 12.0)
    score = calibration.intercept + calibration.peak * logit + calibration.volume * float(np.log(volume_mm3))
    return float(1 / (1 + np.exp(-score)))


def _ranked(candidate: Candidate, rank: int) -> Candidate:
    return Candidate(**{**candidate.__dict__, "rank": rank})


def _label(mask: np.ndarray) -> sitk.Image:
    return sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)


def _components(probability: np.ndarray) -> list[Box]:
    """Boxes of the 26-connected components at ``FLOOR``. Another's voxels may reach into a box."""
    some = probability >= FLOOR
    if not some.any():
        return []
    spans = [np.flatnonzero(some.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    offset = np.array([span[0] for span in spans])
    whole = tuple(slice(span[0], span[-1] + 1) for span in spans)
    found = _boxes(_label(some[whole]))
    return [_shifted(box, offset) for box, _ in found]


def _shifted(box: Box, by: np.ndarray) -> Box:
    k, j, i = (slice(int(s.start + n), int(s.stop + n)) for s, n in zip(box, by, strict=True))
    return k, j, i


def _split(probability: np.ndarray, box: Box) -> list[tuple[Box, np.ndarray]]:
    """The lesions within one component: a basin for each peak, of it the part with half the peak's probability."""
    part = probability[box]
    body = part >= FLOOR
    labels = sitk.GetArrayFromImage(_label(body))
    touching = [labels.take(end, axis) for axis in range(3) for end in (0, -1)]
    # the component that this box belongs to reaches all six faces
    common = set(np.unique(touching[0]).tolist()).intersection(*(np.unique(t).tolist() for t in touching[1:])) - {0}
    own = labels == max(common, key=lambda value: (labels == value).sum())
    depth = np.where(own, 1 - part, 1).astype(np.float32)
    basins = sitk.GetArrayFromImage(
        sitk.MorphologicalWatershed(sitk.GetImageFromArray(np.pad(depth, 1, constant_values=1)), SADDLE, False, True)
    )[1:-1, 1:-1, 1:-1]
    regions = []
    for inner, value in _boxes(sitk.GetImageFromArray(np.where(own, basins, 0))):
        basin = own[inner] & (basins[inner] == value)
        here = part[inner]
        peak = np.unravel_index(np.where(basin, here, -1).argmax(), here.shape)
        high = basin & (here >= max(FLOOR, here[peak] / 2))
        pieces = sitk.GetArrayFromImage(_label(high))
        mask = pieces == pieces[peak]
        where = np.argwhere(mask)
        low, end = where.min(0), where.max(0) + 1
        tight = _shifted((slice(0, end[0] - low[0]), slice(0, end[1] - low[1]), slice(0, end[2] - low[2])), low)
        corner = np.array([outer.start + s.start for outer, s in zip(box, inner, strict=True)])
        regions.append((_shifted(tight, corner), mask[tight]))
    return regions


def _boxes(labels: sitk.Image) -> list[tuple[Box, int]]:
    """The bounding box (k, j, i) of each label but zero."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(labels)
    found = []
    for label in shapes.GetLabels():
        i, j, k, di, dj, dk = shapes.GetBoundingBox(label)
        found.append(((slice(k, k + dk), slice(j, j + dj), slice(i, i + di)), label))
    return found


class _Nearness:
    """How near regions are to the annotation, from one distance map over all of them."""

    def __init__(self, annotated: np.ndarray, geometry: Geometry, boxes: list[Box]) -> None:
        self.distance: np.ndarray | None = None
        if not annotated.any() or not boxes:
            return
        spans = [np.flatnonzero(annotated.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        low = [min(span[0], *(b[n].start for b in boxes)) for n, span in enumerate(spans)]
        high = [max(span[-1] + 1, *(b[n].stop for b in boxes)) for n, span in enumerate(spans)]
        self.low = np.array(low)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        image = to_sitk(annotated[window].astype(np.uint8), geometry)
        filled = sitk.BinaryFillhole(image)
        self.touching = sitk.GetArrayFromImage(sitk.BinaryDilate(filled, [1, 1, 1], sitk.sitkBox)).astype(bool)
        distance = sitk.SignedMaurerDistanceMap(filled, squaredDistance=False, useImageSpacing=True)
        self.distance = np.maximum(sitk.GetArrayFromImage(distance), 0)

    def of(self, box: Box, mask: np.ndarray, margin_mm: float) -> tuple[float | None, bool]:
        """Distance in mm, and whether the region is an annotated lesion."""
        if self.distance is None:
            return None, False
        here = tuple(slice(s.start - a, s.stop - a) for s, a in zip(box, self.low, strict=True))
        distance = float(self.distance[here][mask].min())
        return distance, distance <= margin_mm or bool(self.touching[here][mask].any())


def _measure(
    probability: Volume, box: Box, mask: np.ndarray, distance: float | None, calibration: Calibration
) -> Candidate:
    geometry = probability.geometry
    part = np.where(mask, probability.array[box], -1)
    corner = np.array([s.start for s in box])
    peak = corner + np.unravel_index(part.argmax(), part.shape)
    points = geometry.physical(np.argwhere(mask) + corner)
    volume = float(len(points) * geometry.voxel_volume)
    x, y, z = (float(v) for v in points.mean(axis=0))
    k, j, i = (int(v) for v in peak)
    return Candidate(
        rank=0,
        confidence=confidence(float(part.max()), volume, calibration),
        peak_probability=float(part.max()),
        volume_mm3=volume,
        longest_diameter_mm=_longest_diameter(points, geometry),
        centroid_lps=(x, y, z),
        peak_kji=(k, j, i),
        distance_mm=distance,
        box=box,
        mask=mask,
    )


def _longest_diameter(points: np.ndarray, geometry: Geometry) -> float:
    """The greatest width over directions spread evenly on the half sphere; a voxel counts with its own width."""
    n = np.arange(_DIRECTIONS)
    z = (n + 0.5) / _DIRECTIONS
    angle = n * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z**2)
    directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), z])  # (3, direction)
    along = (points - points.mean(axis=0)) @ directions
    voxel = np.sqrt(((geometry.axes.T @ directions) ** 2 * np.square(geometry.spacing)[:, None]).sum(axis=0))
    return float((np.ptp(along, axis=0) + voxel).max())
