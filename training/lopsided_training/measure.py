"""From what was found to the numbers of an evaluation, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lopsided.model import Calibration

from .calibration import brier_score, calibration_error, reliability
from .evaluation import (
    AtBudget,
    BySize,
    Detections,
    Estimate,
    Extents,
    Operating,
    Reliability,
)
from .examine import Examined
from .froc import (
    ANY_SIZE,
    FALSE_POSITIVES,
    SIZES_MM,
    CaseResult,
    Size,
    average_precisions,
    counts_at,
    patient_weights,
    ratio,
    sensitivities,
    threshold_at,
)
from .matching import IOU, dice, lesion_wise_dice

OVERLAP_WORDS = "it overlaps the lesion dilated by one voxel"
IOU_WORDS = f"intersection over union with the lesion of at least {IOU:g}"


@dataclass(frozen=True)
class CaseExtents:
    """Of one case at a threshold; NaN where not defined."""

    voxel_dice: float
    lesion_wise_dice: float


class Measurer:
    """Measures the same cases, with the same resamples of their patients.

    Args:
        results: the cases, by the criterion that a candidate overlaps the dilated lesion.
        resamples: of patients.
        seed: of the draws.
    """

    def __init__(self, results: Sequence[CaseResult], resamples: int, seed: int) -> None:
        self._cases = len(results)
        several = len({r.patient or r.name for r in results}) > 1
        # of a single patient nothing varies: no interval
        self.weights = patient_weights(results, resamples, seed) if several else None

    def detections(self, results: Sequence[CaseResult], threshold: float, criterion: str) -> Detections:
        """Everything about which lesions are hit, by the criterion that ``results`` are made with."""
        points = self._curve(results, ANY_SIZE)
        by_size = []
        for low, high in SIZES_MM:
            counts = counts_at(results, threshold, (low, high))
            by_size.append(
                BySize(
                    low_mm=low,
                    high_mm=high if np.isfinite(high) else None,
                    lesions=int(counts.lesions.sum()),
                    froc_mean=self._curve(results, (low, high))[-1],
                    sensitivity=self._ratio(counts.found, counts.lesions),
                )
            )
        precisions = None if self.weights is None else average_precisions(results, self.weights)
        return Detections(
            criterion=criterion,
            froc=tuple(
                AtBudget(false_positives=b, sensitivity=p) for b, p in zip(FALSE_POSITIVES, points[:-1], strict=True)
            ),
            froc_mean=points[-1],
            average_precision=Estimate.of(float(average_precisions(results)[0]), precisions),
            by_size=tuple(by_size),
        )

    def operating_points(self, results: Sequence[CaseResult], default: float) -> tuple[Operating, ...]:
        """At the default threshold, and at the lowest for each of ``FALSE_POSITIVES``, but where more false ones than that
        score 1; from low to high."""
        budgets: dict[float, list[float]] = {default: []}
        for budget in FALSE_POSITIVES:
            threshold = max(threshold_at(results, budget), 0.0)
            if threshold <= 1:
                budgets.setdefault(threshold, []).append(budget)
        points = []
        for threshold in sorted(budgets):
            counts = counts_at(results, threshold)
            points.append(
                Operating(
                    threshold=threshold,
                    default=threshold == default,
                    budgets=tuple(budgets[threshold]),
                    sensitivity=self._ratio(counts.found, counts.lesions),
                    false_positives=self._ratio(counts.false, np.ones(self._cases)),
                    precision=self._ratio(counts.true, counts.true + counts.false),
                )
            )
        return tuple(points)

    def extents(self, cases: Sequence[CaseExtents]) -> Extents:
        """The means of what is defined."""
        voxels, lesions = (np.array([getattr(c, n) for c in cases]) for n in ("voxel_dice", "lesion_wise_dice"))
        return Extents(
            cases=int(np.isfinite(lesions).sum()), voxel_dice=self._mean(voxels), lesion_wise_dice=self._mean(lesions)
        )

    def _curve(self, results: Sequence[CaseResult], size_mm: Size) -> list[Estimate]:
        """Sensitivity at each of ``FALSE_POSITIVES``, and then their mean."""
        values = _with_mean(sensitivities(results, size_mm=size_mm))[0]
        if self.weights is None:
            return [Estimate.of(float(v), None) for v in values]
        drawn = _with_mean(sensitivities(results, size_mm=size_mm, weights=self.weights))
        return [Estimate.of(float(v), drawn[:, n]) for n, v in enumerate(values)]

    def _ratio(self, part: np.ndarray, whole: np.ndarray) -> Estimate:
        """Of sums over cases."""
        drawn = None if self.weights is None else ratio(self.weights @ part, self.weights @ whole)
        return Estimate.of(float(ratio(part.sum(), whole.sum())), drawn)

    def _mean(self, values: np.ndarray) -> Estimate:
        defined = np.isfinite(values)
        return self._ratio(np.where(defined, values, 0.0), defined.astype(float))


def case_extents(case: Examined, calibration: Calibration | None, threshold: float) -> CaseExtents:
    """How well the extents of all shown candidates agree with those of the lesions."""
    truth = case.mask([lesion.region for lesion in case.lesions])
    found = case.mask([c.region for c in case.candidates if case.score(c, calibration) >= threshold])
    return CaseExtents(dice(truth, found), lesion_wise_dice(truth, found, case.geometry.voxel_volume))


def measure_reliability(results: Sequence[CaseResult]) -> Reliability:
    """Of the scores, as they are."""
    return Reliability(
        bins=reliability(results),
        brier=brier_score(results),
        calibration_error=calibration_error(results),
    )


def _with_mean(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, values.mean(axis=1)])
