"""How well a network finds lesions while it is being trained."""

from __future__ import annotations

import numpy as np
import torch
from lopsided.candidates import Candidate, find_candidates
from lopsided.errors import InputError
from lopsided.networks import Network
from lopsided.predict import tiled_logits
from lopsided.regions import Region
from lopsided.volume import Geometry, Volume
from lopsided.wording import counted

from .config import ValidationConfig
from .dataset import Case
from .examine import UNCALIBRATED
from .froc import CaseResult, froc_mean
from .matching import hits, lesions_of, sphere_diameter
from .patches import PreparedCase

FLOOR = 0.02  # labels that miss lesions make all probabilities small, and their order is what counts


def hold_out(cases: list[Case], config: ValidationConfig, seed: int) -> tuple[list[Case], list[Case]]:
    """Cases to train on and cases to validate on; those of one patient stay together.

    Raises:
        InputError: fewer patients than folds.
    """
    patients = sorted({case.patient for case in cases})
    if len(patients) < config.folds:
        named = ", ".join(patients[:3]) + ", …" * (len(patients) > 3)
        raise InputError(
            f"{counted(len(cases), 'case')} of {counted(len(patients), 'patient')} ({named}) cannot be split into "
            f"{config.folds} folds; set validation.folds to fewer, or to 0 for no validation, or, if they are of others, say "
            "of whom in a CSV, under patient (elsewhere cases MET-00005-001 and MET-00005-002 are taken for one patient's)"
        )
    if not config.folds:
        return cases, []
    np.random.default_rng(seed).shuffle(patients)
    held = set(patients[config.fold :: config.folds])
    return [c for c in cases if c.patient not in held], [c for c in cases if c.patient in held]


def find(network: Network, case: PreparedCase) -> list[Candidate]:
    """Candidates in a prepared case, all in one piece, ranked by their peak probability; on the case's grid."""
    image = torch.from_numpy(case.image.astype(np.float32))[None]
    logits = tiled_logits(network, image)  # float32, whatever autocast says
    k, j, i = case.lesion.shape
    grid = Geometry((i, j, k), case.spacing_mm, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    probability = Volume(torch.sigmoid(logits)[0, 0].numpy(), grid)
    nothing = np.zeros(case.lesion.shape, bool)
    return list(find_candidates(probability, nothing, UNCALIBRATED, floor=FLOOR).missed)


def search(network: Network, case: PreparedCase) -> CaseResult:
    """The candidates of :func:`find` against the case's labels. A lesion is hit as :func:`lopsided_training.matching.hits` says."""
    candidates = find(network, case)
    numbered, lesions = lesions_of(case.lesion)
    voxels = np.array([lesion.mask.sum() for lesion in lesions])
    return CaseResult(
        name=case.name,
        scores=np.array([c.peak_probability for c in candidates]),
        hits=tuple(hits(Region(c.box, c.mask), numbered) for c in candidates),
        diameters=sphere_diameter(voxels * np.prod(case.spacing_mm)),
        patient=case.patient,
    )


def validate(network: Network, cases: list[PreparedCase]) -> dict[str, float]:
    """``froc`` of the cases' own labels; what is not annotated counts as false."""
    training = network.training
    network.eval()
    try:
        return {"froc": froc_mean([search(network, case) for case in cases])}
    finally:
        network.train(training)
