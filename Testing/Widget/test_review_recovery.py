"""A crash, and what the panel shows afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import slicer
from offscreen import click, new_panel, statuses, until


@pytest.fixture
def panel(logic: Any, cases: Any) -> Any:
    """A case of a worklist, searched, and its first suggestion accepted."""
    panel = new_panel(logic)
    panel.enter()
    panel.worklistPanel.open(cases("one"))
    click(panel.ui.suggestButton)
    until(lambda: not logic.busy)
    panel.reviewPanel.onCellClicked(0, 0)
    click(panel.ui.acceptButton)
    return panel


def crashed(panel: Any, worker: Any, tmp_path: Path) -> Any:
    """The panel of the next Slicer, with the list open."""
    from LopsidedSeg import LopsidedSegLogic

    panel.worklistPanel._work = None  # nothing more is kept
    slicer.mrmlScene.Clear(0)
    worker.stop()
    again = new_panel(LopsidedSegLogic(worker))
    again.enter()
    again.worklistPanel.open(tmp_path / "cases.csv")
    return again


def lesions() -> list[int]:
    """How many segments each annotation has."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return sorted(n.GetSegmentation().GetNumberOfSegments() for n in nodes if "suggestions" not in n.GetName())


def test_the_first_accepted_lesion_of_a_case_is_there_again_after_a_crash(
    panel: Any, worker: Any, tmp_path: Path
) -> None:
    click(panel.ui.rejectButton)
    again = crashed(panel, worker, tmp_path)
    assert statuses(again) == ["accepted", "rejected"]
    annotation = again.logic.getParameterNode().annotation
    assert annotation is again.reviewPanel.review.annotation
    assert annotation.GetSegmentation().GetNumberOfSegments() == 1
    again.cleanup()
    panel.cleanup()


@pytest.mark.parametrize("isApart", [False, True], ids=["chosen", "apart"])
@pytest.mark.parametrize("button", ["rejectButton", "undoButton"])
def test_a_lesion_that_was_taken_out_since_the_case_was_kept_is_in_no_annotation_after_a_crash(
    panel: Any, worker: Any, tmp_path: Path, button: str, isApart: bool
) -> None:
    chosen = panel.logic.getParameterNode()
    if isApart:
        chosen.annotation = panel.logic.newAnnotation(chosen.reference)
    click(panel.ui.reviewedButton)
    panel.reviewPanel.onCellClicked(0, 0)
    click(getattr(panel.ui, button))
    there = [0, 0] if isApart else [0]
    assert lesions() == there
    again = crashed(panel, worker, tmp_path)
    assert lesions() == there
    if button == "rejectButton":
        click(again.ui.undoButton)
        assert lesions() == [*there[1:], 1], "once"
    again.cleanup()
    panel.cleanup()


@pytest.mark.parametrize("back", [("undoButton", "redoButton"), ("rejectButton", "acceptButton")])
def test_an_accepted_lesion_that_the_annotations_file_has_not_is_said_and_comes_back_when_asked_for(
    panel: Any, back: tuple[str, str]
) -> None:
    """As where the scene was saved and the annotation was not, for want of room."""
    ui, case = panel.ui, panel.worklistPanel.worklist.cases[0]
    panel.worklistPanel.leave()
    logs = panel.worklistPanel.worklist.logs
    [file] = logs.parent.glob("*/annotation.seg.nrrd")
    work = file.with_name("work.json")
    file.unlink()
    work.write_text(json.dumps({**json.loads(work.read_text(encoding="utf-8")), "files": None}), encoding="utf-8")
    panel.worklistPanel.goTo(case)
    assert ui.suggestionsTable.item(0, 5).text() == "accepted"
    assert panel.logic.getParameterNode().annotation.GetSegmentation().GetNumberOfSegments() == 0
    place = ui.suggestionsTable.item(0, 3).text()
    sentence = f"1 accepted, but not in the annotation any more (at {place}): reject and accept again"
    assert sentence in ui.summaryLabel.text
    for button in back:
        panel.reviewPanel.onCellClicked(0, 0)
        click(getattr(ui, button))
    assert panel.logic.getParameterNode().annotation.GetSegmentation().GetNumberOfSegments() == 1
    assert ui.suggestionsTable.item(0, 5).text() == "accepted"
    assert "any more" not in ui.summaryLabel.text
    panel.cleanup()
