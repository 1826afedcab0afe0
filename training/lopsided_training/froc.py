"""Lesion-wise numbers of what was found: sensitivity against false positives, precision, 95 % intervals.

Nothing here reads a file or an image. Scores need only be larger where a candidate is more certain: a confidence, or
a peak probability as it is. Numbers that are not defined (a sensitivity where there is no lesion) are NaN.

Example::

    results = [CaseResult("a", scores=np.array([0.9, 0.4]), hits=((0,), ()), diameters=np.array([7.0, 2.5]))]
    froc_mean(results, size_mm=(0, 6))                             # mean over FALSE_POSITIVES, lesions below 6 mm
    at_one = sensitivities(results, (1.0,), weights=patient_weights(results))[:, 0]
    at_one[0], interval(at_one)                                    # at one false positive a scan, and its 95 % interval
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FALSE_POSITIVES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # a scan; the budgets of a FROC
SIZES_MM = ((0.0, 3.0), (3.0, 6.0), (6.0, 10.0), (10.0, np.inf))
ANY_SIZE = (0.0, np.inf)
SMALL_MM = (0.0, 6.0)
RESAMPLES = 2000
_BLOCK = 4_000_000  # numbers held at once while resampling
_ANY_NUMBER = 2**31  # of false positives, more than there are

Size = tuple[float, float]


@dataclass(frozen=True)
class CaseResult:
    """What was found in one case, as plain data.

    Attributes:
        name: of the case.
        scores: float (candidate,).
        hits: by candidate, the lesions that it hits, numbered from 0; none makes it a false positive.
        diameters: float (lesion,), mm, of the sphere of a lesion's volume.
        patient: whose it is, since patients are resampled, not cases; the case's name where empty.

    Raises:
        ValueError: scores that are not finite, or hits that do not fit the candidates and lesions.
    """

    name: str
    scores: np.ndarray
    hits: tuple[tuple[int, ...], ...]
    diameters: np.ndarray
    patient: str = ""

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.hits) or not np.isfinite(self.scores).all():
            raise ValueError(f"{self.name}: needs a finite score for each of {len(self.hits)} candidates")
        wrong = [n for hits in self.hits for n in hits if not 0 <= n < len(self.diameters)]
        if wrong:
            raise ValueError(f"{self.name}: lesion {wrong[0]} is hit, but there are {len(self.diameters)}")

    def best(self) -> np.ndarray:
        """By lesion, the highest score that hits it; -inf where none does."""
        best = np.full(len(self.diameters), -np.inf)
        for score, hits in zip(self.scores, self.hits, strict=True):
            for lesion in hits:
                best[lesion] = max(best[lesion], score)
        return best


@dataclass(frozen=True)
class Froc:
    """Points from the strictest threshold to the loosest, the first at infinity. Each array is (point,)."""

    thresholds: np.ndarray
    false_positives: np.ndarray
    sensitivity: np.ndarray


@dataclass(frozen=True)
class PrecisionRecall:
    """Points from the strictest threshold to the loosest. Each array is (point,)."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


@dataclass(frozen=True)
class Counts:
    """By case, at a threshold. Each array is int (case,): lesions ``found`` of ``lesions``, candidates ``true`` (they
    hit a lesion) and ``false``."""

    found: np.ndarray
    lesions: np.ndarray
    true: np.ndarray
    false: np.ndarray


def counts_at(results: Sequence[CaseResult], threshold: float, size_mm: Size = ANY_SIZE) -> Counts:
    """What candidates of at least ``threshold`` find; lesions of that size alone, candidates of any."""
    rows = []
    for result in results:
        wanted = (result.diameters >= size_mm[0]) & (result.diameters < size_mm[1])
        shown = result.scores >= threshold
        false = np.array([not hits for hits in result.hits], bool)
        best = result.best()
        found = np.isfinite(best) & (best >= threshold) & wanted
        rows.append((found.sum(), wanted.sum(), (shown & ~false).sum(), (shown & false).sum()))
    return Counts(*np.array(rows, int).reshape(-1, 4).T)


def threshold_at(results: Sequence[CaseResult], budget: float) -> float:
    """The lowest threshold with at most ``budget`` false positives a scan; -inf where all candidates are within it."""
    false = _Pool(results).false_scores
    allowed = _allowed(budget, len(results))
    return float(np.nextafter(false[allowed], np.inf)) if allowed < len(false) else -np.inf


def froc_mean(results: Sequence[CaseResult], size_mm: Size = ANY_SIZE) -> float:
    """The mean sensitivity over the budgets ``FALSE_POSITIVES``."""
    return float(sensitivities(results, size_mm=size_mm).mean())


def froc(results: Sequence[CaseResult], size_mm: Size = ANY_SIZE) -> Froc:
    """The free-response curve, a point for each score that a candidate has (Bunch et al., Proc SPIE 1977; 127:124)."""
    pool = _Pool(results)
    best, _ = pool.lesions(size_mm)
    thresholds = np.append(np.inf, np.unique(pool.scores)[::-1])
    return Froc(
        thresholds,
        np.searchsorted(-pool.false_scores, -thresholds, side="right") / len(results),
        ratio(np.searchsorted(-best, -thresholds, side="right"), np.array(len(best))),
    )


def precision_recall(results: Sequence[CaseResult]) -> PrecisionRecall:
    """Precision: the part of candidates that hit a lesion. Recall: the part of lesions that are hit.

    A second candidate on a lesion is as true as the first.
    """
    pool = _Pool(results)
    best, _ = pool.lesions(ANY_SIZE)
    thresholds = np.unique(pool.scores)[::-1]
    shown = np.searchsorted(-pool.scores, -thresholds, side="right")
    false = np.searchsorted(-pool.false_scores, -thresholds, side="right")
    recall = ratio(np.searchsorted(-best, -thresholds, side="right"), np.array(len(best)))
    return PrecisionRecall(thresholds, 1 - false / shown, recall)


def sensitivities(
    results: Sequence[CaseResult],
    budgets: Sequence[float] = FALSE_POSITIVES,
    size_mm: Size = ANY_SIZE,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Sensitivity at each budget, the threshold being chosen anew in each resample.

    Args:
        results: cases.
        budgets: false positives a scan.
        size_mm: of the lesions that count: from, to below.
        weights: int (resample, case), how often each case counts (:func:`patient_weights`); once where None.

    Returns:
        float (resample, budget); (1, budget) without weights. NaN where a resample has no such lesion.
    """
    pool = _Pool(results)
    best, case = pool.lesions(size_mm)
    # candidates are many, and those beyond the largest budget say nothing: twice as many do for nearly any resample
    enough = _allowed(2 * max(budgets), len(results)) + 100
    parts = []
    for part in _blocks(weights, len(results), min(int(enough), len(pool.false_case)) + len(best)):
        allowed = _allowed(np.asarray(budgets)[None], part.sum(axis=1)[:, None])
        false = _running(part, pool.false_case[:enough])
        if len(pool.false_case) > enough and (false[:, -1] <= allowed.max(axis=1)).any():
            false = _running(part, pool.false_case)
        found = np.pad(_running(part, case), ((0, 0), (1, 0)))
        values = np.empty((len(part), len(budgets)))
        for n in range(len(budgets)):
            # the first false positive that is too many; what counts scores higher than it
            first = (false <= allowed[:, n, None]).sum(axis=1)
            limit = np.append(pool.false_scores, -np.inf)[first]
            number = np.searchsorted(-best, -limit, side="left")
            values[:, n] = ratio(found[np.arange(len(part)), number], found[:, -1])
        parts.append(values)
    return np.concatenate(parts)


def average_precisions(results: Sequence[CaseResult], weights: np.ndarray | None = None) -> np.ndarray:
    """The sum of precision times what recall rises by, over falling thresholds; float (resample,), (1,) without weights. NaN where
    there is no lesion."""
    pool = _Pool(results)
    best, case = pool.lesions(ANY_SIZE)
    last = np.flatnonzero(np.append(np.diff(pool.scores) != 0, True)) if len(pool.scores) else np.zeros(0, int)
    false = np.searchsorted(-pool.false_scores, -pool.scores[last], side="right")
    rank = np.searchsorted(-best, -pool.scores[last], side="right")
    parts = []
    for part in _blocks(weights, len(results), len(pool.scores) + len(best)):
        shown = _running(part, pool.case)[:, last]
        true = shown - np.pad(_running(part, pool.false_case), ((0, 0), (1, 0)))[:, false]
        found = np.pad(_running(part, case), ((0, 0), (1, 0)))
        recall = ratio(found[:, rank], found[:, -1:])
        precision = true / np.maximum(shown, 1)
        rises = np.diff(recall, axis=1, prepend=0)
        parts.append(np.where(found[:, -1] > 0, (rises * precision).sum(axis=1), np.nan))
    return np.concatenate(parts)


def patient_weights(results: Sequence[CaseResult], seed: int = 1) -> np.ndarray:
    """How often each case counts, int (1 + ``RESAMPLES``, case): once in the first row, which is the cases as they are; in the others, as
    often as its patient is drawn, with replacement, of as many as there are. Of a single patient, of whom nothing varies, there is the
    first row alone.

    The same for results of the same patients in the same order, which makes comparisons paired.
    """
    patients, which = np.unique([r.patient or r.name for r in results], return_inverse=True)
    once = np.ones((1, len(results)), np.int32)
    if len(patients) == 1:
        return once
    drawn = np.random.default_rng(seed).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), RESAMPLES)
    return np.concatenate([once, drawn.astype(np.int32)[:, which]])


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 95 % percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993) of what each row of
    :func:`patient_weights` gives, the first axis of ``values``; of the resamples in which it is defined, NaN where there is none."""
    drawn = values[1:]
    defined = np.isfinite(drawn).any(axis=0)
    if not defined.any():
        return np.full(defined.shape, np.nan), np.full(defined.shape, np.nan)
    low, high = np.nanpercentile(np.where(defined, drawn, 0.0), [2.5, 97.5], axis=0)
    return np.where(defined, low, np.nan), np.where(defined, high, np.nan)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part`` of ``whole``, element by element; NaN where ``whole`` is 0."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)


class _Pool:
    """Candidates of all cases by falling score: ``scores``, ``false`` and ``case``; and of the false ones alone."""

    def __init__(self, results: Sequence[CaseResult]) -> None:
        if not results:
            raise ValueError("no case")
        scores = np.concatenate([np.asarray(r.scores, float) for r in results])
        false = np.array([not hits for r in results for hits in r.hits], bool)
        case = np.repeat(np.arange(len(results)), [len(r.scores) for r in results])
        order = np.argsort(-scores, kind="stable")
        self.scores, self.false, self.case = scores[order], false[order], case[order]
        self.false_scores, self.false_case = self.scores[self.false], self.case[self.false]
        self._results = results

    def lesions(self, size_mm: Size) -> tuple[np.ndarray, np.ndarray]:
        """Of lesions of that size by falling score: the best score that hits each, -inf for none; and the case."""
        diameters = np.concatenate([np.asarray(r.diameters, float) for r in self._results])
        best = np.concatenate([r.best() for r in self._results])
        case = np.repeat(np.arange(len(self._results)), [len(r.diameters) for r in self._results])
        wanted = np.flatnonzero((diameters >= size_mm[0]) & (diameters < size_mm[1]))
        order = wanted[np.argsort(-best[wanted], kind="stable")]
        return best[order], case[order]


def _allowed(budget: np.ndarray | float, scans: np.ndarray | int) -> np.ndarray:
    return np.floor(np.minimum(budget * np.asarray(scans) + 1e-9, _ANY_NUMBER)).astype(int)


def _running(weights: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Sums of the weights of these cases up to each: int (resample, len(cases))."""
    return np.cumsum(weights[:, cases], axis=1, dtype=np.int32)


def _blocks(weights: np.ndarray | None, cases: int, width: int) -> Iterator[np.ndarray]:
    """Some resamples at a time, so that memory stays small."""
    weights = np.ones((1, cases), np.int32) if weights is None else weights
    rows = max(1, _BLOCK // max(1, width))
    for start in range(0, len(weights), rows):
        yield weights[start : start + rows]
