"""A predictor over the cases of a dataset: what it finds, what is there, and which belongs to which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lopsided.candidates import confidence, find_candidates
from lopsided.errors import InputError
from lopsided.model import Calibration
from lopsided.predict import Predictor
from lopsided.regions import Region, Size, measure
from lopsided.volume import Geometry
from lopsided.wording import counted

from .dataset import Case
from .froc import CaseResult
from .matching import IOU, hits, lesions_of, overlaps, sphere_diameter

UNCALIBRATED = Calibration(intercept=0, peak=1, slices=0, studies=0, brier=1, calibration_error=1)
"""Confidence is the peak probability itself."""


@dataclass(frozen=True)
class Lesion:
    """A 26-connected lesion of the truth. ``diameter_mm``: of the sphere of its volume."""

    region: Region
    size: Size
    diameter_mm: float


@dataclass(frozen=True)
class Detection:
    """A candidate. ``hits``: the lesions, from 0, that it overlaps when they are dilated by one voxel. ``iou``: with each
    lesion that it overlaps as they are."""

    region: Region
    size: Size
    peak_probability: float
    hits: tuple[int, ...]
    iou: dict[int, float]

    def hits_by(self, *, iou: bool) -> tuple[int, ...]:
        """By the first criterion, or by the second: an intersection over union of at least ``matching.IOU``."""
        return tuple(n for n, value in sorted(self.iou.items()) if value >= IOU) if iou else self.hits


@dataclass(frozen=True)
class Examined:
    """A case's truth and candidates, on the grid of its post-contrast T1."""

    case: Case
    geometry: Geometry
    lesions: tuple[Lesion, ...]
    candidates: tuple[Detection, ...]

    def score(self, candidate: Detection, calibration: Calibration | None) -> float:
        """A candidate's confidence; the peak probability without a calibration."""
        if calibration is None:
            return candidate.peak_probability
        return confidence(candidate.peak_probability, self.geometry, calibration)

    def result(self, calibration: Calibration | None, *, iou: bool = False) -> CaseResult:
        """As plain data, by the first or the second criterion."""
        return CaseResult(
            name=self.case.name,
            scores=np.array([self.score(c, calibration) for c in self.candidates], float),
            hits=tuple(c.hits_by(iou=iou) for c in self.candidates),
            diameters=np.array([lesion.diameter_mm for lesion in self.lesions], float),
            patient=self.case.patient,
        )

    def mask(self, regions: list[Region]) -> np.ndarray:
        """Bool (k, j, i): the voxels of some of its lesions or candidates."""
        mask = np.zeros(self.geometry.shape, bool)
        for region in regions:
            mask[region.box] |= region.mask
        return mask


def examine_case(predictor: Predictor, case: Case) -> Examined:
    """Find candidates in a study, as if nothing in it were annotated, and hold them against its truth.

    Raises:
        InputError: images or labels that cannot be used, or a network that gives no numbers.
    """
    study = case.study()
    probability = predictor.probability_map(study)
    geometry = probability.geometry
    numbered, regions = lesions_of(case.truth(study.reference).array)
    voxels = np.bincount(numbered.ravel(), minlength=len(regions) + 1)[1:]
    lesions = [
        Lesion(region, measure(region, geometry), float(sphere_diameter(n * geometry.voxel_volume)))
        for region, n in zip(regions, voxels, strict=True)
    ]
    nothing = np.zeros(geometry.shape, bool)
    detections = []
    for c in find_candidates(probability, nothing, UNCALIBRATED).missed:
        region, size = Region(c.box, c.mask), Size(c.volume_mm3, c.longest_diameter_mm, c.centroid_lps)
        iou = overlaps(region, numbered, voxels)
        detections.append(Detection(region, size, c.peak_probability, hits(region, numbered), iou))
    return Examined(case, geometry, tuple(lesions), tuple(detections))


def check(predictor: Predictor, cases: list[Case]) -> None:
    """Read every case, so that a bad one is found before any is searched, which takes much longer.

    Raises:
        InputError: a case without a sequence that the network needs, of which somebody looked at only a part, or that
            cannot be read.
    """
    needed = [sequence.name for sequence in predictor.model.card.input.sequences if sequence.required]
    for case in cases:
        for name in needed:
            if name not in case.images:
                raise InputError(
                    f"{case.images['t1c']}: has no {name} beside it, which the model needs; add it, or take case {case.name} out"
                )
        if not case.looked_at_as_a_whole():
            raise InputError(
                f"case {case.name}: {case.trust or 'whole_case in the list'} says that a part of it was not looked at, or left "
                "uncertain, so what is found there cannot be called false; evaluate on cases that were looked at as a whole"
            )
        case.truth(case.study().reference)


def examine(predictor: Predictor, cases: list[Case], say: Callable[[str], None]) -> list[Examined]:
    """Every case in turn; raises as :func:`examine_case`."""
    examined = []
    for number, case in enumerate(cases, start=1):
        examined.append(examine_case(predictor, case))
        last = examined[-1]
        found = f"{counted(len(last.candidates), 'candidate')}, {counted(len(last.lesions), 'lesion')}"
        say(f"{number}/{len(cases)} {case.name}: {found}")
    return examined
