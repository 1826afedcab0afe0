"""A crash, and what the panel shows afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from offscreen import click, new_panel, until


def test_the_first_accepted_lesion_of_a_case_is_there_again_after_a_crash(
    logic: Any, worker: Any, tmp_path: Path
) -> None:
    from LopsidedSeg import LopsidedSegLogic

    image = np.random.default_rng(0).integers(0, 500, (24, 22, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / "0.nii.gz"))
    (tmp_path / "cases.csv").write_text("patient,case,t1c\np0,one,0.nii.gz\n", encoding="utf-8")
    panel = new_panel(logic)
    panel.enter()
    panel.worklistPanel.open(tmp_path / "cases.csv")
    click(panel.ui.suggestButton)
    until(lambda: not logic.busy)
    panel.reviewPanel.onCellClicked(0, 0)
    click(panel.ui.acceptButton)
    click(panel.ui.rejectButton)
    panel.worklistPanel._work = None  # nothing is kept
    slicer.mrmlScene.Clear(0)
    worker.stop()
    again = new_panel(LopsidedSegLogic(worker, prepare=lambda: None))
    again.enter()
    again.worklistPanel.open(tmp_path / "cases.csv")
    assert [again.ui.suggestionsTable.item(row, 5).text() for row in (0, 1)] == ["accepted", "rejected"]
    annotation = again.logic.getParameterNode().annotation
    assert annotation is again.reviewPanel.review.annotation
    assert annotation.GetSegmentation().GetNumberOfSegments() == 1
    again.cleanup()
    panel.cleanup()
