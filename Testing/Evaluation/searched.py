"""A scan that a model searched, and what it found of the lesions that are in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from backgrounds import AS_STRIPPED, Background
from insertion import Inserted
from lopsided.candidates import Candidate, above, find_candidates
from lopsided.intensity import median_and_spread
from lopsided.predict import Predictor
from lopsided.regions import Region
from lopsided.study import Study
from lopsided_training.froc import CaseResult
from lopsided_training.matching import hits
from scipy import ndimage

SEEN_MM, PIXEL_MM = 40.0, 0.5  # a side of what is shown of each place


@dataclass(frozen=True)
class Place:
    """A lesion that was inserted, or something that was found and is none.

    ``lps``: where, mm. ``confidence``: -inf where nothing hit the lesion. ``lesion``: None where there is none. ``views``: axial
    and coronal, uint8 (2, row, column), anterior or superior up, the patient's left on the right.
    """

    lps: tuple[float, float, float]
    confidence: float
    lesion: Inserted | None
    views: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Searched:
    """``result``: as plain data, resampled as one scan. ``lesions``, ``false``: the places, ``false`` from the threshold on."""

    background: str
    kind: str
    result: CaseResult
    lesions: tuple[Place, ...]
    false: tuple[Place, ...]


@dataclass(frozen=True)
class AsItIs:
    """What a real scan with nothing inserted has of candidates of at least the threshold, the surest first.

    ``at_disease``: those that overlap it, and ``annotated``, how many are left there and within five voxels when it is annotated;
    None where none is known. ``elsewhere``: those that keep away from it.
    """

    background: str
    at_disease: tuple[Place, ...] | None
    annotated: int | None
    elsewhere: tuple[Place, ...]


def search(
    predictor: Predictor,
    background: Background,
    array: np.ndarray,
    labels: np.ndarray,
    lesions: list[Inserted],
    *,
    name: str,
    stripped: bool = False,
) -> Searched:
    """What is found of ``lesions`` in ``array``, float32 (k, j, i), whose ``labels`` number them from 1.

    ``stripped``: the full head is skull-stripped first.
    """
    if stripped and background.brain is not None:
        array = np.where(background.brain, array, np.float32(0))
    card, spared = predictor.model.card, background.spared()
    probability = predictor.probability_map(Study(background.volume(array), {}))
    found = find_candidates(probability, np.zeros(array.shape, bool), card.calibration).missed
    all_met = [hits(Region(c.box, c.mask), labels) for c in found]
    # at the patient's own disease nothing is false
    counted = [(c, met) for c, met in zip(found, all_met, strict=True) if met or not spared[c.box][c.mask].any()]
    found, met = (tuple(part) for part in zip(*counted, strict=True)) if counted else ((), ())
    scores = np.array([c.confidence for c in found], float)
    result = CaseResult(name, scores, met, np.array([lesion.diameter_mm for lesion in lesions]))
    view = _Viewer(array, background)
    return Searched(
        background.name,
        background.kind + (AS_STRIPPED if stripped else ""),
        result,
        tuple(
            Place(_lps(background, lesion.centre), float(score), lesion, view(lesion.centre))
            for lesion, score in zip(lesions, result.best(), strict=True)
        ),
        tuple(
            Place(_lps(background, c.peak_kji), c.confidence, None, view(c.peak_kji))
            for c, hit in zip(found, met, strict=True)
            if not hit and c.confidence >= card.threshold
        ),
    )


def search_as_it_is(predictor: Predictor, background: Background) -> AsItIs:
    """With nothing inserted."""
    card, sick, spared, array = predictor.model.card, background.disease, background.spared(), background.array
    probability, view = predictor.probability_map(Study(background.volume(array), {})), _Viewer(array, background)

    def shown(annotated: np.ndarray) -> tuple[Candidate, ...]:
        return above(find_candidates(probability, annotated, card.calibration).missed, card.threshold)

    def places(found: Iterable[Candidate]) -> tuple[Place, ...]:
        return tuple(Place(c.centroid_lps, c.confidence, None, view(c.peak_kji)) for c in found)

    found = shown(np.zeros(array.shape, bool))
    elsewhere = places(c for c in found if not spared[c.box][c.mask].any())
    if sick is None:
        return AsItIs(background.name, None, None, elsewhere)
    again = sum(bool(spared[c.box][c.mask].any()) for c in shown(sick))
    return AsItIs(background.name, places(c for c in found if sick[c.box][c.mask].any()), again, elsewhere)


def _lps(background: Background, kji: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = background.image.TransformContinuousIndexToPhysicalPoint([float(c) for c in reversed(kji)])
    return x, y, z


class _Viewer:
    """Grey from 3 robust standard deviations below the median of tissue to 6 above."""

    def __init__(self, array: np.ndarray, background: Background) -> None:
        middle, unit = median_and_spread(array[background.allowed])
        self._low, self._range = middle - 3 * unit, 9 * unit
        self._array, self._spacing = array, np.array(background.image.GetSpacing()[::-1])

    def __call__(self, kji: tuple[float, float, float]) -> np.ndarray:
        away = (np.arange(round(SEEN_MM / PIXEL_MM)) + 0.5) * PIXEL_MM - SEEN_MM / 2
        row, column = np.meshgrid(away, away, indexing="ij")
        still = np.zeros_like(row)
        views = []
        for offset in ((still, row, column), (-row, still, column)):
            points = [c + o / s for c, o, s in zip(kji, offset, self._spacing, strict=True)]
            views.append(ndimage.map_coordinates(self._array, points, order=1, cval=float(self._array.min())))
        return np.clip((np.stack(views) - self._low) / self._range * 255, 0, 255).astype(np.uint8)
