"""From what was found to the numbers of an evaluation, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .evaluation import AtBudget, BySize, Detections, Estimate, EvaluatedCase, Extents, Operating
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
from .matching import IOU

OVERLAP_WORDS = "it overlaps the lesion dilated by one voxel"
IOU_WORDS = f"intersection over union with the lesion of at least {IOU:g}"


class Measurer:
    """Measures the same cases, with the same resamples of their patients.

    Args:
        results: the cases, by the criterion that a candidate overlaps the dilated lesion.
        seed: of the draws.
    """

    def __init__(self, results: Sequence[CaseResult], seed: int) -> None:
        self._weights = patient_weights(results, seed=seed)

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
        return Detections(
            criterion=criterion,
            froc=tuple(
                AtBudget(false_positives=b, sensitivity=p) for b, p in zip(FALSE_POSITIVES, points[:-1], strict=True)
            ),
            froc_mean=points[-1],
            average_precision=Estimate.of(average_precisions(results, self._weights)),
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
                    false_positives=self._ratio(counts.false, np.ones(len(results))),
                    precision=self._ratio(counts.true, counts.true + counts.false),
                )
            )
        return tuple(points)

    def extents(self, cases: Sequence[EvaluatedCase]) -> Extents:
        """The means of what is defined."""
        voxels, lesions = (np.array([getattr(c, n) for c in cases], float) for n in ("voxel_dice", "lesion_wise_dice"))
        return Extents(
            cases=int(np.isfinite(lesions).sum()), voxel_dice=self._mean(voxels), lesion_wise_dice=self._mean(lesions)
        )

    def _curve(self, results: Sequence[CaseResult], size_mm: Size) -> list[Estimate]:
        """Sensitivity at each of ``FALSE_POSITIVES``, and then their mean."""
        values = sensitivities(results, size_mm=size_mm, weights=self._weights)
        return [Estimate.of(column) for column in (*values.T, values.mean(axis=1))]

    def _ratio(self, part: np.ndarray, whole: np.ndarray) -> Estimate:
        """Of sums over cases."""
        return Estimate.of(ratio(self._weights @ part, self._weights @ whole))

    def _mean(self, values: np.ndarray) -> Estimate:
        defined = np.isfinite(values)
        return self._ratio(np.where(defined, values, 0.0), defined.astype(float))
