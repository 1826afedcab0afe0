"""Marking coarsely and exporting, as an annotation team does: by mouse, in the panel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
import slicer.util
from lopsided.marks import BoxMark, Ellipsoid, Point
from offscreen import cells, click, new_panel, open_panel, until
from slicer_standin import place


@pytest.fixture
def panel(logic: Any, volume: Any) -> Iterator[Any]:
    """The open panel, with a volume chosen."""
    with open_panel(logic, (440, 1500)) as panel:
        panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
        yield panel


def test_nothing_can_be_marked_without_a_volume(logic: Any) -> None:
    widget = new_panel(logic)
    widget.enter()
    assert not widget.ui.pointButton.enabled
    assert not widget.ui.exportButton.enabled
    assert widget.ui.exportButton.toolTip == "Choose the post-contrast T1 of the case."
    widget.cleanup()


def test_points_are_listed_resized_deleted_and_brought_back(panel: Any) -> None:
    ui = panel.ui
    ui.diameterSpinBox.value = 8
    click(ui.pointButton)
    assert ui.statusLabel.text == "Click each lesion; press Escape when done."
    place((-2, 35, 10), (10, 30, 31))
    assert cells(panel.ui.marksTable) == [["point", "8.0", "-2, 35, 10"], ["point", "8.0", "10, 30, 31"]]
    preview = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node.GetSegmentation().GetNumberOfSegments() for node in preview] == [2], "live"
    ui.marksTable.setCurrentCell(1, 0)
    panel.marksPanel.onCellClicked(1, 0)
    ui.diameterSpinBox.value = 5
    assert [row[1] for row in cells(panel.ui.marksTable)] == ["8.0", "5.0"]
    ui.marksTable.setCurrentCell(0, 0)
    panel.marksPanel.onCellClicked(0, 0)
    click(ui.deleteMarkButton)
    assert [row[1] for row in cells(panel.ui.marksTable)] == ["5.0"]
    click(ui.undoMarkButton)
    assert sorted(row[1] for row in cells(panel.ui.marksTable)) == ["5.0", "8.0"]
    assert panel.logic.settings.diameter == 5, "the last one chosen"
    ui.previewCheckBox.checked = False
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_lines_and_rois_are_listed_with_their_sizes(panel: Any, tmp_path: Path) -> None:
    click(panel.ui.lineButton)
    place((0, 30, 15), (6, 30, 15))
    marks = panel.marksPanel.marks
    marks.add(BoxMark((0, -30, 20), (7, 8, 9)))
    marks.add(Ellipsoid((0, -28, 25), (5, 6, 12)))
    assert [row[:2] for row in cells(panel.ui.marksTable)] == [
        ["line", "6.0"],
        ["box", "7.0 × 8.0 × 9.0"],
        ["ellipsoid", "5.0 × 6.0 × 12.0"],
    ]
    panel.parent.grab().save(str(tmp_path / "marks.png"))
    assert not panel.ui.deleteMarkButton.enabled, "nothing is selected"


def test_marks_stay_with_their_volume(panel: Any, volume: Any) -> None:
    first = panel.logic.getParameterNode().reference
    panel.marksPanel.marks.add(Point((2, -35, 10), 6))
    second = volume("another")
    panel.ui.referenceSelector.setCurrentNode(second)
    assert cells(panel.ui.marksTable) == []
    panel.ui.referenceSelector.setCurrentNode(first)
    assert len(cells(panel.ui.marksTable)) == 1
    panel.exit()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [], "no preview outside of the module"
    panel.enter()
    assert len(cells(panel.ui.marksTable)) == 1


def test_what_an_export_lacks_is_said(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ui = panel.ui
    assert ui.exportButton.toolTip == "Choose the dataset's folder."
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    click(ui.datasetButton)
    assert ui.datasetLabel.text == str(tmp_path)
    assert ui.exportButton.toolTip == "Say who the patient is; only a pseudonym is written."
    ui.patientEdit.text = "0815"
    assert ui.exportButton.enabled
    assert panel.logic.settings.dataset == tmp_path, "it is a setting"
    assert "LopsidedSeg-pseudonyms.key" in ui.keyLabel.text


def test_a_case_goes_to_a_dataset(panel: Any, worker: Any, annotation: Any, tmp_path: Path) -> None:
    """Outlined, marked, accepted and rejected; by the real process; and again after another lesion was marked."""
    import sys

    from lopsided.dataset.check import check_dataset
    from lopsided.dataset.records import CaseRecord, read_record

    ui, logic = panel.ui, panel.logic
    reference = logic.getParameterNode().reference
    ui.annotationSelector.setCurrentNode(annotation(reference))
    click(ui.suggestButton)
    until(lambda: not logic.busy)
    panel.reviewPanel.onCellClicked(0, 0)
    click(ui.acceptButton)
    click(ui.rejectButton)
    panel.marksPanel.marks.add(Point((-1, -28, 40), 8))
    worker.stop()
    worker.command = [sys.executable, "-m", "lopsided.worker"]
    logic.settings.dataset = tmp_path / "Datensatz für Läsionen"
    logic.settings.reader = "Dr. Ray"
    ui.patientEdit.text = "0815"
    for _ in range(2):
        click(ui.exportButton)
        assert ui.suggestButton.text == "Cancel"
        until(lambda: not logic.busy, 120)
        assert "Exported as C" in ui.statusLabel.text, ui.statusLabel.text
        ui.wholeCaseCheckBox.checked = True
    assert check_dataset(logic.settings.dataset) == []
    [review] = (logic.settings.dataset / "reviews").iterdir()
    [reading] = read_record(review, CaseRecord).readings
    assert sorted(lesion.kind for lesion in reading.lesions) == ["outlined", "point", "suggestion"]
    assert {s.candidate: s.status for s in reading.suggestions} == {
        "Suggestion_1": "accepted",
        "Suggestion_2": "rejected",
    }
    assert reading.whole_case
    [point] = [lesion for lesion in reading.lesions if lesion.kind == "point"]
    np.testing.assert_allclose(point.centroid_lps, (-1, -28, 40), atol=1)
    assert point.time is not None
    [accepted] = [lesion for lesion in reading.lesions if lesion.kind == "suggestion"]
    assert accepted.candidate == "Suggestion_1"
    assert b"Ray" not in review.read_bytes()


@pytest.mark.parametrize("act", ["exportButton", "suggestButton"])
def test_a_point_whose_description_is_no_number_is_said_and_not_used(panel: Any, tmp_path: Path, act: str) -> None:
    """In the words of the command line; it took the diameter of whatever point was set last."""
    ui, marks = panel.ui, panel.marksPanel.marks
    item = marks.add(Point((-1, -28, 40), 8))
    marks.add(Point((3, -30, 26), 4))
    item.node.SetNthControlPointDescription(0, "6 mm")
    words = "a point's description is '6 mm', and no number above 0; give its diameter in mm there, as 4.5"
    panel.marksPanel.refresh()
    assert ui.statusLabel.text == words
    ui.diameterSpinBox.value = 11
    assert [row[1] for row in cells(panel.ui.marksTable)] == ["0.0", "4.0"]
    panel.logic.settings.dataset = tmp_path / "dataset"
    ui.patientEdit.text = "0815"
    ui.statusLabel.text = ""
    click(getattr(ui, act))
    assert ui.statusLabel.text == words
    assert not panel.logic.busy
    ui.marksTable.setCurrentCell(0, 0)
    ui.diameterSpinBox.value = 6
    assert [row[1] for row in cells(panel.ui.marksTable)] == ["6.0", "4.0"]


def test_an_export_that_fails_is_a_sentence(panel: Any, worker: Any, tmp_path: Path) -> None:
    import sys

    worker.command = [sys.executable, "-m", "lopsided.worker"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    panel.logic.settings.dataset = tmp_path / "file"
    panel.ui.patientEdit.text = "0815"
    click(panel.ui.exportButton)
    until(lambda: not panel.logic.busy, 60)
    assert panel.ui.statusLabel.text == f"{tmp_path / 'file'}: is a file; choose a folder for the dataset"
    assert panel.ui.exportButton.enabled
