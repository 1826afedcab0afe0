"""Confidence that is fitted on candidates whose chances are known."""

from typing import cast

import numpy as np
import pytest
from lopsided.candidates import log_slice_mm
from lopsided.regions import Region, Size
from lopsided.volume import Geometry
from lopsided_training.calibration import fit_calibration
from lopsided_training.dataset import Case
from lopsided_training.examine import Detection, Examined

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
NOWHERE = Region((slice(0, 1),) * 3, np.ones((1, 1, 1), bool))


def scan(slices_mm: float, rng: np.random.Generator, n: int = 2000) -> Examined:
    """Candidates whose logits are true by 1.2·logit - 3 + 0.8·ln(mm)."""
    geometry = Geometry((8, 8, 8), (0.5, 0.5, slices_mm), (0.0, 0.0, 0.0), AXIAL)
    logits = rng.uniform(-6, 6, n)
    true = rng.random(n) < 1 / (1 + np.exp(3 - 1.2 * logits - 0.8 * log_slice_mm(geometry)))
    found = [
        Detection(NOWHERE, Size(1.0, 1.0, (0.0, 0.0, 0.0)), float(1 / (1 + np.exp(-logit))), (0,) if hit else (), {})
        for logit, hit in zip(logits, true, strict=True)
    ]
    return Examined(cast(Case, None), geometry, (), tuple(found))


def test_it_knows_how_thick_slices_are() -> None:
    rng = np.random.default_rng(0)
    fitted = fit_calibration([scan(slices, rng) for slices in (1.0, 2.0, 4.0, 6.0)])
    assert (fitted.intercept, fitted.peak, fitted.slices) == pytest.approx((-3, 1.2, 0.8), abs=0.15)
    assert fitted.studies == 4


@pytest.mark.parametrize("slices", [(4.0, 4.0), (3.9, 4.1)])
def test_studies_in_slices_of_one_thickness_say_nothing_of_others(slices: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    fitted = fit_calibration([scan(mm, rng, 200) for mm in slices])
    assert fitted.slices == pytest.approx(0, abs=0.3)
    assert fitted.intercept + fitted.slices * np.log(4) == pytest.approx(-3 + 0.8 * np.log(4), abs=0.5)
