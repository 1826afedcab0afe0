"""How good candidates are: which hit a lesion, and the free-response curve over thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lopsided.candidates import FLOOR, find_candidates
from lopsided.model import Calibration
from lopsided.predict import Predictor
from lopsided.volume import Volume
from scipy import ndimage

from .dataset import Case

FALSE_POSITIVES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125)  # a scan; the budgets of a FROC
SIZES_MM = ((0.0, 3.0), (3.0, 6.0), (6.0, 10.0), (10.0, np.inf))
_EVERYWHERE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class CaseResult:
    """One case. By candidate: ``confidence``, ``sizes`` (peak probability, volume mm³, longest diameter mm), and
    ``hits``: the lesions it overlaps, numbered from 0. By lesion: ``diameters`` mm, of the sphere of its volume."""

    name: str
    confidence: np.ndarray
    sizes: tuple[tuple[float, float, float], ...]
    hits: tuple[tuple[int, ...], ...]
    diameters: np.ndarray


def evaluate_case(predictor: Predictor, case: Case, calibration: Calibration) -> CaseResult:
    """Candidates of a study without annotation, against its truth.

    A lesion (26-connected) is hit by a candidate that overlaps it dilated by one voxel.
    """
    study = case.study()
    probability = predictor.probability_map(study)
    return found_in(case.name, probability, case.truth(study.reference).array, calibration)


def found_in(
    name: str, probability: Volume, truth: np.ndarray, calibration: Calibration, floor: float = FLOOR
) -> CaseResult:
    """Candidates of a map, and which lesions of ``truth``, bool on its grid, each hits."""
    lesions, number = ndimage.label(truth, _EVERYWHERE)
    wide = ndimage.grey_dilation(lesions, size=(3, 3, 3)) if number else lesions
    empty = np.zeros(probability.array.shape, bool)
    candidates = find_candidates(probability, empty, calibration, floor=floor).missed
    hits = [tuple(int(v) - 1 for v in np.unique(wide[c.box][c.mask]) if v) for c in candidates]
    volumes = np.bincount(lesions.ravel(), minlength=number + 1)[1:] * probability.geometry.voxel_volume
    return CaseResult(
        name=name,
        confidence=np.array([c.confidence for c in candidates]),
        sizes=tuple((c.peak_probability, c.volume_mm3, c.longest_diameter_mm) for c in candidates),
        hits=tuple(hits),
        diameters=np.cbrt(6 * volumes / np.pi),
    )


def evaluate(
    predictor: Predictor, cases: list[Case], calibration: Calibration, say: Callable[[str], None]
) -> list[CaseResult]:
    """Every case in turn."""
    results = []
    for number, case in enumerate(cases, start=1):
        results.append(evaluate_case(predictor, case, calibration))
        say(f"{number}/{len(cases)} {case.name}: {len(results[-1].hits)} candidates")
    return results


def sensitivity(results: list[CaseResult], threshold: float, size_mm: tuple[float, float] = (0.0, np.inf)) -> float:
    """The part of lesions of that size hit by a candidate of at least ``threshold``; NaN where there are none."""
    found = total = 0
    for result in results:
        hit = {n for c, hits in zip(result.confidence, result.hits, strict=True) if c >= threshold for n in hits}
        wanted = np.flatnonzero((result.diameters >= size_mm[0]) & (result.diameters < size_mm[1]))
        total += len(wanted)
        found += sum(int(n) in hit for n in wanted)
    return found / total if total else float("nan")


def false_positives(results: list[CaseResult], threshold: float) -> float:
    """Candidates of at least ``threshold`` that hit no lesion, a scan."""
    false = [c for r in results for c, hits in zip(r.confidence, r.hits, strict=True) if not hits and c >= threshold]
    return len(false) / len(results)


def threshold_at(results: list[CaseResult], budget: float) -> float:
    """The lowest confidence with at most ``budget`` false positives a scan."""
    false = sorted((c for r in results for c, hits in zip(r.confidence, r.hits, strict=True) if not hits), reverse=True)
    allowed = int(budget * len(results))
    return float(np.nextafter(false[allowed], 1)) if allowed < len(false) else 0.0
