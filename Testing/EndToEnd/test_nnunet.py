"""nnU-Net takes a coarse-label dataset as it is, by its own check."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lopsided.dataset.export import Decision, Lesion, Reading, export_reading
from lopsided.dataset.pseudonyms import Key
from lopsided.marks import Point, rasterise
from lopsided.study import Study
from lopsided.volume import Geometry, Volume

integrity = pytest.importorskip(
    "nnunetv2.experiment_planning.verify_dataset_integrity", reason="nnU-Net is not installed (pip install nnunetv2)"
)


def test_nnunet_finds_nothing_wrong(
    head: Callable[..., Volume], oblique: Geometry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two cases on grids of their own, with a FLAIR on another, marks, a rejected suggestion, and a case without lesion."""
    flair = head(replace(oblique, size=(40, 44, 20), spacing=(1.2, 1.2, 2.6)))
    study = Study(head(oblique), {"flair": flair})
    marks = [Point(tuple(oblique.physical(np.array(kji)).tolist()), 8.0) for kji in ([15, 30, 26], [12, 40, 30])]
    regions = [rasterise(mark, oblique) for mark in marks]
    assert regions[0]
    assert regions[1]
    lesion, decision = Lesion(regions[0], "point", marks[0]), Decision("Suggestion_1", "rejected", 0.6, regions[1])
    marked = Reading("Dr. Ray", (lesion,), (decision,))
    key = Key(b"k" * 32)
    export_reading(tmp_path, study, marked, patient="A", case="1", key=key)
    other = head(replace(oblique, size=(44, 50, 28), spacing=(1.0, 1.0, 2.0)))
    export_reading(tmp_path, Study(other, {"flair": flair}), Reading("Dr. Ray"), patient="B", case="1", key=key)
    integrity.verify_dataset_integrity(str(tmp_path), num_processes=2)
    said = "".join(capfd.readouterr())
    assert "your dataset is most likely OK" in said
    assert "mismatch" not in said.lower(), "of an image's and its label's origin or direction, it only warns"
