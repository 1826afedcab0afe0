"""A list of cases, gone through by mouse: nothing is lost on the way, and the next case is searched ahead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
import slicer.util
from lopsided.marks import Point
from lopsided.worklist import Worklist
from LopsidedSegLib import Dependencies
from LopsidedSegLib.CaseWork import CaseWork
from offscreen import cells, click, statuses, until
from PySide6.QtTest import QTest


@pytest.fixture
def source(cases: Any, tmp_path: Path) -> Path:
    """Three cases, the first with an annotation."""
    labels, path = np.zeros((24, 22, 20), np.uint8), cases("eins", "zwei", "drei")
    labels[15:18, 4:7, 3:6] = 1
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "labels.nii.gz"))
    path.write_text(path.read_text().replace("0.nii.gz,", "0.nii.gz,labels.nii.gz"))
    return path


@pytest.fixture(autouse=True)
def _reader(logic: Any) -> None:
    logic.settings.reader = "Dr. Ray"


@pytest.fixture
def opened(panel: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The panel, with the list open."""
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *_: (str(source), ""))
    click(panel.ui.listFileButton)
    return panel


def volumes() -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]


def test_a_list_is_opened_where_the_reader_left_it(opened: Any, source: Path, tmp_path: Path) -> None:
    ui = opened.ui
    assert cells(opened.ui.casesTable) == [["eins", "in progress"], ["zwei", "not started"], ["drei", "not started"]]
    assert ui.statusLabel.text == "Opened eins."
    assert opened.logic.getParameterNode().reference.GetName() == "eins t1c"
    assert (ui.patientEdit.text, ui.caseEdit.text) == ("p0", "eins"), "for the export"
    assert opened.logic.getParameterNode().annotation.GetSegmentation().GetNumberOfSegments() == 1
    click(ui.reviewedButton)
    click(ui.nextCaseButton)
    assert volumes() == ["zwei t1c"], "one case at a time"
    assert cells(opened.ui.casesTable) == [["eins", "reviewed"], ["zwei", "in progress"], ["drei", "not started"]]
    assert ui.progressLabel.text == "1 of 3 cases reviewed, 0 flagged."
    opened.parent.grab().save(str(tmp_path / "worklist.png"))
    opened.worklistPanel.open(source)
    assert volumes() == ["zwei t1c"], "the one in progress"
    click(ui.flagButton)
    click(ui.nextCaseButton)
    click(ui.nextCaseButton)
    assert ui.statusLabel.text == "There is no such case after."
    ui.caseFilter.currentIndex = 4
    assert cells(opened.ui.casesTable) == [["zwei", "flagged"]]
    click(ui.previousCaseButton)
    assert volumes() == ["zwei t1c"]
    click(ui.flagButton)
    assert cells(opened.ui.casesTable) == [], "taken back, it is in progress"


def test_nothing_is_lost_between_cases(opened: Any, source: Path) -> None:
    """A search, an accepted suggestion and a mark, there again after another case was opened."""
    ui, logic = opened.ui, opened.logic
    click(ui.suggestButton)
    until(lambda: not logic.busy)
    opened.reviewPanel.onCellClicked(0, 0)
    click(ui.acceptButton)
    click(ui.rejectButton)
    opened.marksPanel.marks.add(Point((4, 15, 8), 5))
    click(ui.nextCaseButton)
    assert ui.suggestionsTable.rowCount == 0
    assert ui.marksTable.rowCount == 0
    click(ui.previousCaseButton)
    statuses = [ui.suggestionsTable.item(row, 5).text() for row in range(ui.suggestionsTable.rowCount)]
    assert statuses == ["accepted", "rejected"]
    assert ui.marksTable.rowCount == 1
    assert logic.getParameterNode().annotation.GetSegmentation().GetNumberOfSegments() == 2
    slicer.mrmlScene.Clear(0)
    opened.worklistPanel.open(source)
    assert ui.marksTable.rowCount == 1, "the scene was closed, which is a way of leaving"


def test_the_next_case_is_searched_while_one_reviews(
    opened: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a search that the user asks for meanwhile waits for it."""
    monkeypatch.setattr(Dependencies, "installed", lambda: True)
    logic, ui = opened.logic, opened.ui
    opened.worklistPanel.open(source)
    assert logic._worker.busy
    assert not logic.busy, "it is not in the user's way"
    assert ui.suggestButton.text == "Suggest missed lesions"
    click(ui.suggestButton)
    assert ui.suggestButton.text == "Cancel"
    assert ui.statusLabel.text == "Finishing the search of the next case…"
    until(lambda: not logic.busy)
    assert ui.statusLabel.text == "Suggested lesions: 2"
    click(ui.nextCaseButton)
    assert ui.suggestionsTable.rowCount == 2, "there at once"
    assert volumes() == ["zwei t1c"]
    until(lambda: not logic._worker.busy)


def test_work_whose_save_was_interrupted_is_not_searched_ahead(
    opened: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worklist = Worklist.of(source, "Dr. Ray")
    folder = worklist.folder(worklist.cases[1])
    before = folder.with_name(folder.name + ".before")
    before.mkdir(parents=True)
    (before / "work.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(Dependencies, "installed", lambda: True)
    opened.worklistPanel.goTo(opened.worklistPanel.worklist.cases[0])
    assert not opened.logic._worker.busy
    assert not folder.exists()


@pytest.mark.parametrize("place", ["temporary", "of the next case"])
def test_a_folder_that_cannot_be_reached_for_the_search_ahead_leaves_the_case_open(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The search is not made, and that is all."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(Dependencies, "installed", lambda: True)
    if place == "temporary":
        monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "file" / "no"))
    else:
        monkeypatch.setattr("LopsidedSegLib.Logic.besideOf", lambda _: (_ for _ in ()).throw(OSError(5, "gone")))
    opened.worklistPanel.goTo(opened.worklistPanel.worklist.cases[0])
    assert opened.ui.statusLabel.text == "Opened eins."
    assert not opened.logic._worker.busy


def test_a_broken_case_is_said_and_the_list_goes_on(opened: Any, source: Path) -> None:
    (source.parent / "1.nii.gz").write_bytes(b"no image")
    click(opened.ui.nextCaseButton)
    assert opened.ui.statusLabel.text.startswith("zwei cannot be opened: ")
    assert volumes() == []
    assert not opened.ui.reviewedButton.enabled, "nobody can have looked at it"
    click(opened.ui.flagButton)
    assert cells(opened.ui.casesTable)[1] == ["zwei", "flagged"]
    click(opened.ui.flagButton)
    assert cells(opened.ui.casesTable)[1] == ["zwei", "in progress"]
    click(opened.ui.nextCaseButton)
    assert volumes() == ["drei t1c"]


def test_work_that_cannot_be_kept_stays_open(opened: Any, source: Path) -> None:
    opened.marksPanel.marks.add(Point((4, 15, 8), 5))
    worklist = Worklist.of(source, "Dr. Ray")
    folder = worklist.folder(worklist.cases[0])
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.with_name(folder.name + ".partial").write_text("in the way", encoding="utf-8")
    click(opened.ui.nextCaseButton)
    assert opened.ui.statusLabel.text.startswith("The work on this case could not be kept: ")
    assert volumes() == ["eins t1c"]
    assert opened.ui.marksTable.rowCount == 1
    folder.with_name(folder.name + ".partial").unlink()
    click(opened.ui.nextCaseButton)
    assert volumes() == ["zwei t1c"]
    kept = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    assert len(kept["marks"]) == 1


def test_what_is_said_of_a_case_is_of_that_case(opened: Any) -> None:
    """That all of it was looked at is a strong statement: nobody makes it of the next one by not taking a tick away."""
    ui = opened.ui
    ui.wholeCaseCheckBox.checked = ui.snapCheckBox.checked = True
    click(ui.nextCaseButton)
    assert not ui.wholeCaseCheckBox.checked
    assert ui.snapCheckBox.checked, "which is a way of working"
    ui.snapCheckBox.checked = False
    click(ui.previousCaseButton)
    assert ui.wholeCaseCheckBox.checked
    assert ui.snapCheckBox.checked


def test_a_list_that_cannot_be_opened_leaves_the_one_that_is(opened: Any, tmp_path: Path) -> None:
    opened.worklistPanel.open(tmp_path / "nowhere")
    assert "no cases here" in opened.ui.statusLabel.text
    assert volumes() == ["eins t1c"]
    click(opened.ui.nextCaseButton)
    assert volumes() == ["zwei t1c"]


def test_no_list_is_said(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    click(panel.ui.listFolderButton)
    assert "no cases here" in panel.ui.statusLabel.text
    assert not panel.ui.nextCaseButton.enabled


def kept(source: Path) -> Path:
    """The folder of the work on the first case."""
    worklist = Worklist.of(source, "Dr. Ray")
    return worklist.folder(worklist.cases[0])


@pytest.mark.parametrize("end", ["the scene is closed", "Slicer is closed"])
def test_marks_are_kept_while_another_module_is_shown(
    opened: Any, source: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """As they are then: one was moved there."""
    item = opened.marksPanel.marks.add(Point((4, 15, 8), 5))
    opened.exit()
    monkeypatch.setattr(type(opened.parent), "isEntered", False)
    item.node.SetNthControlPointPositionWorld(0, -6, -15, 8)
    if end == "the scene is closed":
        slicer.mrmlScene.Clear(0)
    else:
        opened.worklistPanel.leave()
    [[mark, _time]] = json.loads((kept(source) / "work.json").read_text())["marks"]
    assert mark["centre_lps"] == [6, 15, 8]


def test_marks_of_the_case_are_kept_whatever_volume_is_chosen(opened: Any) -> None:
    opened.marksPanel.marks.add(Point((4, 15, 8), 5))
    opened.logic.getParameterNode().reference = None
    click(opened.ui.nextCaseButton)
    click(opened.ui.previousCaseButton)
    assert opened.ui.marksTable.rowCount == 1


def test_keeping_the_work_leaves_the_preview_of_marks(opened: Any) -> None:
    opened.marksPanel.marks.add(Point((4, 15, 8), 5))
    assert opened.worklistPanel.save()
    assert slicer.mrmlScene.GetFirstNodeByName("Preview of coarse marks")


def test_a_second_search_keeps_what_was_decided(opened: Any, source: Path, logic: Any) -> None:
    """In the list, with its history, and in what is exported; what is found again is decided already."""
    from lopsided.dataset.work import reading_of_work
    from lopsided.reading import read_volume

    ui = opened.ui
    click(ui.suggestButton)
    until(lambda: not logic.busy)
    opened.reviewPanel.onCellClicked(0, 0)
    click(ui.rejectButton)
    click(ui.suggestButton)
    until(lambda: not logic.busy)
    assert statuses(opened) == ["rejected", ""]
    [suggestions] = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if logic.result(n)]
    assert suggestions.GetName() == "eins t1c suggestions"
    assert list(suggestions.GetSegmentation().GetSegmentIDs()) == ["Suggestion_1", "Suggestion_4"]
    centre = suggestions.GetSegmentCenterRAS("Suggestion_4")
    assert centre == pytest.approx(logic.result(suggestions)["candidates"][1]["centroid_ras"], abs=0.01)
    opened.reviewPanel.onCellClicked(1, 0)
    click(ui.acceptButton)
    click(ui.nextCaseButton)
    click(ui.previousCaseButton)
    assert statuses(opened) == ["rejected", "accepted"]
    reading = reading_of_work(kept(source), "Dr. Ray", read_volume(source.parent / "0.nii.gz"))
    assert {d.candidate: d.status for d in reading.decisions} == {
        "Suggestion_1": "rejected",
        "Suggestion_4": "accepted",
    }
    assert [lesion.candidate for lesion in reading.lesions if lesion.kind == "suggestion"] == ["Suggestion_4"]
    for _ in range(2):
        click(ui.undoButton)
    assert statuses(opened) == ["", ""]


def test_a_second_search_replaces_one_that_nothing_was_decided_on(opened: Any, logic: Any) -> None:
    for _ in range(2):
        click(opened.ui.suggestButton)
        until(lambda: not logic.busy)
    assert opened.ui.suggestionsTable.rowCount == 2
    [_suggestions] = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if logic.result(n)]


@pytest.mark.parametrize("instead", [None, "another"])
def test_an_annotation_that_is_not_chosen_any_more_is_kept_too(opened: Any, logic: Any, instead: str | None) -> None:
    """As it is, beside the one that is chosen; and gone from the scene while another case is open."""
    parameters = logic.getParameterNode()
    parameters.annotation.SetName("mine")
    parameters.annotation.GetSegmentation().AddEmptySegment("by hand", "by hand")
    parameters.annotation = instead and logic.newAnnotation(parameters.reference)
    if instead:
        parameters.annotation.SetName(instead)
    for _ in range(2):
        click(opened.ui.nextCaseButton)
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        click(opened.ui.previousCaseButton)
    assert (parameters.annotation and parameters.annotation.GetName()) == instead
    mine = slicer.mrmlScene.GetFirstNodeByName("mine")
    assert mine.GetSegmentation().GetNumberOfSegments() == 2
    assert not mine.GetDisplayVisibility()


def test_a_note_is_kept_that_is_still_being_typed(opened: Any, logic: Any) -> None:
    click(opened.ui.suggestButton)
    until(lambda: not logic.busy)
    opened.reviewPanel.onCellClicked(1, 0)
    QTest.keyClicks(opened.ui.noteEdit, "A vessel")
    opened.worklistPanel.onStep(1)
    click(opened.ui.previousCaseButton)
    opened.reviewPanel.onCellClicked(1, 0)
    assert opened.ui.noteEdit.text == "A vessel"


@pytest.mark.parametrize("act", ["search", "next case"])
def test_that_work_could_not_be_kept_is_not_said_over(
    opened: Any, logic: Any, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    saved = CaseWork.save

    def full(self: CaseWork, *arguments: bool) -> None:
        if act == "search" or self.case.case != "eins":  # the first case can be left
            raise OSError("No space left on device")
        saved(self, *arguments)

    monkeypatch.setattr(CaseWork, "save", full)
    click(opened.ui.suggestButton if act == "search" else opened.ui.nextCaseButton)
    until(lambda: not logic.busy)
    assert "could not be kept: nothing can be written in" in opened.ui.statusLabel.text
    assert opened.ui.statusLabel.text.endswith(
        "(No space left on device); see that there is room and that you may write there"
    )


def test_a_case_whose_status_cannot_be_written_is_open_all_the_same(
    opened: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be worked on, and nothing of that be kept."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(opened.worklistPanel.worklist, "set_status", full)
    click(opened.ui.nextCaseButton)
    assert opened.ui.statusLabel.text == (
        f"The status of this case could not be kept: nothing can be written in {Worklist.of(source, 'Dr. Ray').logs.parent} "
        "(No space left on device); see that there is room and that you may write there"
    )
    assert (opened.ui.patientEdit.text, opened.ui.caseEdit.text) == ("p1", "zwei")
    opened.marksPanel.marks.add(Point((4, 15, 8), 12))
    assert opened.worklistPanel.leave()
    assert volumes() == []
    [record] = [path for path in source.parent.rglob("work.json") if "zwei" in str(path)]
    assert len(json.loads(record.read_text(encoding="utf-8"))["marks"]) == 1


def test_another_reader_gets_their_own_work_on_the_open_list(opened: Any, source: Path) -> None:
    opened.marksPanel.marks.add(Point((4, 15, 8), 12))
    opened.ui.readerEdit.selectAll()
    QTest.keyClicks(opened.ui.readerEdit, "Other")
    QTest.keyClick(opened.ui.readerEdit, qt.Qt.Key.Key_Return)
    assert opened.worklistPanel.worklist.reader == "Other"
    assert opened.marksPanel.marks.items() == [], "nothing of the other's is seen"
    click(opened.ui.reviewedButton)
    kept = {path.parents[1].name.split("-")[0]: path for path in source.parent.rglob("work.json")}
    marks = {reader: len(json.loads(path.read_text(encoding="utf-8"))["marks"]) for reader, path in kept.items()}
    assert marks == {"Dr__Ray": 1, "Other": 0}
    opened.logic.settings.reader = "Dr. Ray"
    opened.worklistPanel.open(source)
    assert opened.worklistPanel.worklist.reviewed() == []


def test_work_is_kept_where_the_volume_is_removed_that_it_is_on(opened: Any) -> None:
    """By hand, in the Data module: the marks would be in no save after that."""
    opened.marksPanel.marks.add(Point((4, 15, 8), 12))
    slicer.mrmlScene.RemoveNode(opened.logic.getParameterNode().reference)
    until(lambda: "open eins again" in opened.ui.statusLabel.text)
    until(lambda: not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"))
    click(opened.ui.nextCaseButton)
    click(opened.ui.previousCaseButton)
    assert len(opened.marksPanel.marks.items()) == 1


@pytest.mark.parametrize("full", [False, True])
def test_that_a_volume_was_removed_is_said_wherever_the_reader_is(
    opened: Any, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """One removes it in another module; and what could not be kept is not said over."""

    def refuse(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    if full:
        monkeypatch.setattr(CaseWork, "save", refuse)
    opened.exit()
    slicer.mrmlScene.RemoveNode(opened.logic.getParameterNode().reference)
    words = "No space left" if full else "open eins again"
    until(lambda: words in opened.ui.statusLabel.text)
    opened.enter()
    assert words in opened.ui.statusLabel.text


def test_a_reader_whose_work_cannot_be_read_leaves_the_list_as_it_is(opened: Any, source: Path) -> None:
    other = Worklist.of(source, "Other")
    other.set_status(other.cases[0], "reviewed")
    [status] = [path for path in source.parent.rglob("status.json") if "Other" in str(path)]
    status.write_text("{", encoding="utf-8")
    opened.marksPanel.marks.add(Point((4, 15, 8), 12))
    opened.ui.readerEdit.selectAll()
    QTest.keyClicks(opened.ui.readerEdit, "Other")
    QTest.keyClick(opened.ui.readerEdit, qt.Qt.Key.Key_Return)
    assert "is damaged" in opened.ui.statusLabel.text
    assert opened.ui.readerEdit.text == opened.worklistPanel.worklist.reader == "Dr. Ray"
    assert len(opened.marksPanel.marks.items()) == 1
