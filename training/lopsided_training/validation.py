"""How well a network finds lesions while it is being trained."""

from __future__ import annotations

import numpy as np
import torch
from lopsided.errors import InputError
from lopsided.model import Calibration
from lopsided.network import ResidualUNet
from lopsided.predict import tiled_logits
from lopsided.volume import Geometry, Volume

from .config import ValidationConfig
from .dataset import Case
from .evaluate import FALSE_POSITIVES, CaseResult, found_in, sensitivity, threshold_at
from .patches import PreparedCase

# the confidence of a candidate is its peak probability: there is nothing yet to calibrate on
UNCALIBRATED = Calibration(intercept=0, peak=1, volume=0, compactness=0, studies=0, brier=1, calibration_error=1)
FLOOR = 0.02  # labels that miss lesions make all probabilities small, and their order is what counts


def hold_out(cases: list[Case], config: ValidationConfig, seed: int) -> tuple[list[Case], list[Case]]:
    """Cases to train on and cases to validate on; those of one patient stay together.

    Raises:
        InputError: fewer patients than folds.
    """
    patients = sorted({case.patient for case in cases})
    if len(patients) < config.folds:
        raise InputError(
            f"{len(patients)} patients cannot be split into {config.folds} folds; "
            "set validation.folds to fewer, or to 0 for no validation"
        )
    if not config.folds:
        return cases, []
    np.random.default_rng(seed).shuffle(patients)
    held = set(patients[config.fold :: config.folds])
    return [c for c in cases if c.patient not in held], [c for c in cases if c.patient in held]


def search(network: ResidualUNet, case: PreparedCase, truth: np.ndarray) -> CaseResult:
    """Candidates in a prepared case, all in one piece, against ``truth``, bool (k, j, i)."""
    image = torch.from_numpy(case.image.astype(np.float32))[None]
    logits = tiled_logits(network, image, max(image.shape[2:]))
    k, j, i = truth.shape
    grid = Geometry((i, j, k), case.spacing_mm, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    return found_in(case.name, Volume(torch.sigmoid(logits)[0, 0].numpy(), grid), truth, UNCALIBRATED, FLOOR)


def froc_mean(results: list[CaseResult]) -> float:
    """Mean sensitivity at ⅛, ¼, ½, 1, 2, 4, and 8 false positives a scan."""
    return float(np.mean([sensitivity(results, threshold_at(results, budget)) for budget in FALSE_POSITIVES]))


def validate(network: ResidualUNet, cases: list[PreparedCase]) -> dict[str, float]:
    """``froc`` of the cases' own labels; what is not annotated counts as false."""
    training = network.training
    network.eval()
    try:
        return {"froc": froc_mean([search(network, case, case.lesion) for case in cases])}
    finally:
        network.train(training)
