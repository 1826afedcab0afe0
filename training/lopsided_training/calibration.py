"""Confidence that means what it says: fitted on some studies, checked on others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lopsided.candidates import log_slice_mm, logit
from lopsided.errors import InputError
from lopsided.model import Calibration
from lopsided.wording import counted
from sklearn.linear_model import LogisticRegression

from .evaluation import ReliabilityBin
from .examine import Examined
from .froc import CaseResult

BINS = 10


class NothingToFit(InputError):
    """On these studies confidence cannot be calibrated, for the reason ``why``; ``mend``: what helps."""

    def __init__(self, why: str, mend: str) -> None:
        super().__init__(f"{why}; {mend}")
        self.why = why


def fit_calibration(examined: Sequence[Examined]) -> Calibration:
    """The logistic regression of :class:`lopsided.model.Calibration`; not checked on anything yet.

    Both coefficients have a normal prior of unit variance: studies in slices of one thickness say nothing of others.

    Raises:
        NothingToFit: no true or no false candidate to fit on, or the surest are the least often true.
    """
    candidates = [(case, c) for case in examined for c in case.candidates]
    true = np.array([bool(c.hits) for _, c in candidates], bool)
    if not true.any():
        raise NothingToFit(
            f"on the calibration studies no candidate of {len(true)} hits a lesion",
            "train longer, or use studies with more lesions",
        )
    if true.all():
        raise NothingToFit(
            f"on the calibration studies each of the {counted(len(true), 'candidate')} hits a lesion, so that nothing says how often "
            "one is false",
            "use more studies, some without a lesion among them",
        )
    rows = [[logit(c.peak_probability), log_slice_mm(case.geometry)] for case, c in candidates]
    fitted = LogisticRegression(max_iter=5000).fit(rows, true)
    slope, slices = map(float, fitted.coef_[0])
    if slope <= 0:
        raise NothingToFit(
            "on the calibration studies, the surer the network, the less often it is right", "use more, or train longer"
        )
    return Calibration(
        intercept=float(fitted.intercept_[0]),
        peak=slope,
        slices=slices,
        studies=len(examined),
        brier=1,
        calibration_error=1,
    )


def reliability(results: Sequence[CaseResult]) -> tuple[ReliabilityBin, ...]:
    """All candidates in ten bins of equal width, those without a candidate left out."""
    scores, true = _said_and_true(results)
    edges = np.linspace(0, 1, BINS + 1)
    which = np.digitize(scores, edges[1:-1])
    bins = []
    for n in np.unique(which):
        inside = which == n
        low, high = float(edges[n]), float(edges[n + 1])
        bins.append(
            ReliabilityBin(
                low=low,
                high=high,
                candidates=int(inside.sum()),
                mean_score=float(scores[inside].mean()),
                true=float(true[inside].mean()),
            )
        )
    return tuple(bins)


def calibration_error(results: Sequence[CaseResult]) -> float:
    """Expected calibration error: the mean gap between score and truth over :func:`reliability`'s bins, by candidates
    (Naeini et al., AAAI 2015); NaN without candidates."""
    bins = reliability(results)
    total = sum(b.candidates for b in bins)
    return sum(b.candidates * abs(b.mean_score - b.true) for b in bins) / total if total else float("nan")


def brier_score(results: Sequence[CaseResult]) -> float:
    """The mean squared difference of score and truth (Brier, Mon Weather Rev 1950; 78:1); NaN without candidates."""
    scores, true = _said_and_true(results)
    return float(np.mean((scores - true) ** 2)) if len(scores) else float("nan")


def _said_and_true(results: Sequence[CaseResult]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.concatenate([r.scores for r in results])
    return scores, np.array([bool(hits) for r in results for hits in r.hits], float)
