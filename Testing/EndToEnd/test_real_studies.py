"""Real studies, where they are at hand: what is annotated is not suggested, and the output is on their grid."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.annotation import Annotation, read_annotation
from lopsided.model import find_model, load_model
from lopsided.predict import Predictor
from lopsided.reading import read_volume
from lopsided.study import Study
from lopsided.suggest import suggest


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_model(find_model(None)), "cpu")


@pytest.mark.parametrize("case", ["dm-0001", "dm-0002"])
def test_an_annotated_tumour_is_not_suggested_again(predictor: Predictor, real_data: Path, case: str) -> None:
    folder = real_data / "cases" / case
    study = Study(read_volume(folder / "t1c.nii.gz"), {"flair": read_volume(folder / "flair.nii.gz")})
    annotation = read_annotation(folder / "labels.nii.gz", study.reference)
    result = suggest(predictor, study, annotation, threshold=0.0)
    assert np.isfinite(result.probability.array).all()
    for candidate in result.found.missed:
        assert not annotation.mask[candidate.box][candidate.mask].any()
        assert candidate.distance_mm is not None
        assert candidate.distance_mm > 2


def test_four_real_sequences_and_one(predictor: Predictor, real_data: Path) -> None:
    folder = real_data / "cases" / "gli-00001"
    reference = read_volume(folder / "t1c.nii.gz")
    others = {n: read_volume(folder / f"{f}.nii.gz") for n, f in (("t1", "t1n"), ("t2", "t2w"), ("flair", "t2f"))}
    for study in (Study(reference, others), Study(reference)):
        result = suggest(predictor, study, Annotation.empty(reference.geometry))
        assert result.probability.geometry == reference.geometry
        assert result.found.missed
        inside = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "t1c.nii.gz"))) > 0
        assert sum(inside[c.peak_kji] for c in result.found.missed) >= 0.8 * len(result.found.missed)
