"""The panel, as a user meets it: real mouse clicks on an off-screen window."""

from __future__ import annotations

import inspect
import os
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import qt
import slicer
import slicer.util
import slicer_standin
from LopsidedSegLib import Settings
from LopsidedSegLib.Annotation import PREVIEW_ATTRIBUTE
from offscreen import cells, click, search, statuses, until
from PySide6.QtTest import QTest


def test_the_button_says_why_it_cannot_be_pressed(panel: Any, volume: Any) -> None:
    """In the panel, not only in a tool tip; and choosing what it asks for enables it."""
    ui = panel.ui
    assert not ui.suggestButton.enabled
    assert ui.statusLabel.text == ui.suggestButton.toolTip == "Choose the post-contrast T1 volume to search."
    reference = volume("T1c")
    assert not ui.suggestButton.enabled, "a volume must not be chosen for the user"
    ui.referenceSelector.setCurrentNode(reference)
    assert ui.suggestButton.enabled
    assert ui.statusLabel.text == ""
    ui.t2Selector.setCurrentNode(reference)
    assert not ui.suggestButton.enabled
    assert ui.statusLabel.text == "T1c is chosen twice; choose each volume once."


def test_inputs_are_guessed_from_names_and_it_is_said(panel: Any, volume: Any, annotation: Any) -> None:
    """Where nothing was chosen, and only what is beyond doubt."""
    nodes = [volume(name) for name in ("AX T1 POST GD", "AX T1", "AX T2", "SAG T2", "FLAIR")]
    known = annotation(nodes[0])
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode").SetAttribute(PREVIEW_ATTRIBUTE, "1")
    panel.exit()
    panel.enter()
    parameters = panel.logic.getParameterNode()
    chosen = [getattr(parameters, name) for name in ("reference", "t1", "t2", "flair", "annotation")]
    assert chosen == [nodes[0], nodes[1], None, nodes[4], known]
    assert panel.ui.flairSelector.currentNode() is nodes[4]
    sentence = "Chosen by their names: AX T1 POST GD, AX T1, FLAIR, Annotation. Check before you search."
    assert panel.ui.statusLabel.text == sentence
    parameters.reference = nodes[2]
    parameters.t1 = None
    panel.exit()
    panel.enter()
    assert (parameters.reference, parameters.t1) == (nodes[2], None), "what the user chose is not changed"


def test_it_is_a_research_tool(panel: Any) -> None:
    """And says so, always in sight."""
    assert panel.ui.noticeLabel.visible
    assert "not for clinical use" in panel.ui.noticeLabel.text


def test_every_input_is_a_parameter(panel: Any, volume: Any, annotation: Any) -> None:
    """What is chosen is kept in the scene, and shown again."""
    names = ("reference", "t1", "t2", "flair")
    nodes = {name: volume(name) for name in names}
    nodes["annotation"] = annotation(nodes["reference"])
    for name, node in nodes.items():
        getattr(panel.ui, f"{name}Selector").setCurrentNode(node)
        assert getattr(panel.logic.getParameterNode(), name) is node
    panel.exit()
    panel.logic.getParameterNode().flair = None
    assert panel.ui.flairSelector.currentNode() is nodes["flair"], "a closed panel does not follow"
    panel.enter()
    assert panel.ui.flairSelector.currentNode() is None


def test_a_search_from_click_to_lesion(
    panel: Any, worker: Any, volume: Any, annotation: Any, fake: Any, tmp_path: Path
) -> None:
    """Progress in words and per cent, a table, and slice views that jump; the annotation is as it was."""
    worker.command = fake("slow")
    ui, reference = panel.ui, volume("T1c")
    known = annotation(reference)
    before = known.GetSegmentation().GetMTime()
    ui.referenceSelector.setCurrentNode(reference)
    ui.annotationSelector.setCurrentNode(known)
    panel.parent.grab().save(str(tmp_path / "ready.png"))
    click(ui.suggestButton)
    assert ui.suggestButton.text == "Cancel"
    assert not ui.inputsButton.enabled
    assert ui.progressBar.visible
    until(lambda: ui.progressBar.value == 42)
    assert ui.statusLabel.text == "Searching for lesions…"
    panel.parent.grab().save(str(tmp_path / "running.png"))
    until(lambda: not panel.logic.busy)
    assert ui.suggestButton.text == "Suggest missed lesions"
    assert ui.inputsButton.enabled
    assert not ui.progressBar.visible
    assert ui.statusLabel.text == "Suggested lesions: 2"
    assert ui.resultLabel.text == "T1c suggestions: model fake"
    assert ui.expectedLabel.text == "At least 50 % confident: 2. Expect 2.0 false ones a scan."
    table = ui.suggestionsTable
    assert cells(panel.ui.suggestionsTable) == [
        ["80 %", "5.2", "243", "2, 30, 10", "–", ""],
        ["60 %", "5.2", "243", "10, 34, 31", "–", ""],
    ]
    assert table.editTriggers == qt.QAbstractItemView.EditTrigger.NoEditTriggers
    assert known.GetSegmentation().GetMTime() == before
    assert slicer.mrmlScene.GetFirstNodeByName("T1c suggestions").GetSegmentation().GetNumberOfSegments() == 2
    QTest.mouseClick(
        table.viewport(), qt.Qt.MouseButton.LeftButton, pos=table.visualItemRect(table.item(1, 2)).center()
    )
    matrix = slicer.util.arrayFromVTKMatrix(slicer.util.getNodesByClass("vtkMRMLSliceNode")[0].GetSliceToRAS())
    centre = slicer.mrmlScene.GetFirstNodeByName("T1c suggestions").GetSegmentCenterRAS("Suggestion_2")
    assert matrix[:3, 3] == pytest.approx(centre, abs=1e-3)
    panel.parent.grab().save(str(tmp_path / "done.png"))
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("ready", "running", "done"))


def test_cancel_ends_the_search_and_another_one_works(panel: Any, worker: Any, volume: Any, fake: Any) -> None:
    """Nothing is added, and the process is gone."""
    worker.command = fake("hang")
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    before = slicer.mrmlScene.GetNumberOfNodes()
    click(panel.ui.suggestButton)
    until(lambda: panel.ui.progressBar.value == 42)
    click(panel.ui.suggestButton)
    assert not panel.logic.busy
    assert panel.ui.statusLabel.text == "Cancelled."
    assert panel.ui.suggestButton.text == "Suggest missed lesions"
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    worker.command = fake("done")
    search(panel)
    assert panel.ui.statusLabel.text == "Suggested lesions: 2"


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("error", "T1c: every voxel is 0, there is no image in it"),
        ("crash", "The computing process ended unexpectedly. out of memory"),
    ],
)
def test_an_error_is_a_sentence_and_the_button_works_again(
    panel: Any, worker: Any, volume: Any, fake: Any, tmp_path: Path, behaviour: str, sentence: str
) -> None:
    """In the panel, not in a dialog."""
    worker.command = fake(behaviour)
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    panel.parent.grab().save(str(tmp_path / "error.png"))
    assert panel.ui.statusLabel.text == sentence
    assert panel.ui.suggestButton.enabled
    worker.stop()
    worker.command = fake("done")
    search(panel)
    assert panel.ui.statusLabel.text == "Suggested lesions: 2"


def test_closing_the_scene_ends_a_search_and_empties_the_panel(panel: Any, worker: Any, volume: Any, fake: Any) -> None:
    """The panel is ready for the next patient."""
    reference = volume("T1c")
    panel.ui.referenceSelector.setCurrentNode(reference)
    search(panel)
    assert panel.ui.suggestionsTable.rowCount == 2
    worker.stop()
    worker.command = fake("hang")
    click(panel.ui.suggestButton)
    slicer.mrmlScene.Clear(0)
    assert not panel.logic.busy
    assert panel.ui.suggestionsTable.rowCount == 0
    assert panel.ui.statusLabel.text == "Choose the post-contrast T1 volume to search."


def test_removing_the_suggestions_empties_the_table(panel: Any, volume: Any) -> None:
    """As the user may do in any other module."""
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByName("T1c suggestions"))
    assert panel.ui.suggestionsTable.rowCount == 0


@pytest.fixture
def found(found: Any) -> Any:
    """The panel after a search, with an annotation; its window is active, so that keys reach it."""
    found.parent.activateWindow()
    assert QTest.qWaitForWindowActive(found.parent)
    return found


def _segments(panel: Any) -> int:
    return int(panel.logic.getParameterNode().annotation.GetSegmentation().GetNumberOfSegments())


def test_a_review_by_mouse(found: Any, tmp_path: Path) -> None:
    ui = found.ui
    assert not ui.acceptButton.enabled, "nothing is selected"
    found.reviewPanel.onCellClicked(0, 0)
    assert not ui.addToButton.visible
    click(ui.acceptButton)
    assert statuses(found) == ["accepted", ""]
    assert _segments(found) == 2
    assert ui.suggestionsTable.currentRow() == 1, "the next undecided is selected"
    click(ui.rejectButton)
    assert statuses(found) == ["accepted", "rejected"]
    assert ui.summaryLabel.text == "2 found · 1 accepted · 1 rejected · 0 uncertain · done in 0:00"
    found.parent.grab().save(str(tmp_path / "decided.png"))
    click(ui.undoButton)
    click(ui.undoButton)
    assert statuses(found) == ["", ""]
    assert _segments(found) == 1
    assert not ui.undoButton.enabled
    click(ui.redoButton)
    assert statuses(found) == ["accepted", ""]


def test_a_review_by_keys_that_live_while_the_module_is_open(found: Any) -> None:
    for key in "NAU":
        QTest.keyClick(found.parent, key)
    assert statuses(found) == ["accepted", "uncertain"], "a decision goes on to the next"
    QTest.keyClick(found.parent, "Z", qt.Qt.KeyboardModifier.ControlModifier)
    assert statuses(found) == ["accepted", ""]
    QTest.keyClick(found.parent, "Y", qt.Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(found.parent, "S")
    assert found.ui.onlySelectedCheckBox.checked
    suggestions = found.logic.getParameterNode().suggestions
    for drawn in (0, 1):
        QTest.keyClick(found.parent, "O")
        assert suggestions.GetDisplayNode().GetVisibility2D() == drawn
    found.exit()
    QTest.keyClick(found.parent, "R")
    assert statuses(found) == ["accepted", "uncertain"]


def test_what_is_not_listed_is_not_shown_alone(found: Any) -> None:
    """What undo goes to may be below the threshold."""
    suggestions = found.logic.getParameterNode().suggestions
    found.reviewPanel.onCellClicked(1, 0)
    click(found.ui.rejectButton)
    found.ui.onlySelectedCheckBox.toggle()
    found.ui.sensitivitySlider.value = 45
    click(found.ui.undoButton)
    assert [row[0] for row in cells(found.ui.suggestionsTable)] == ["80 %"]
    drawn = suggestions.GetDisplayNode().GetSegmentVisibility
    assert [drawn("Suggestion_1"), drawn("Suggestion_2")] == [True, False]


def test_a_text_field_keeps_its_keys_and_the_note_is_kept(found: Any) -> None:
    found.reviewPanel.onCellClicked(1, 0)
    found.ui.noteEdit.setFocus()
    QTest.keyClicks(found.ui.noteEdit, "A vessel, no doubt")
    QTest.keyClick(found.ui.noteEdit, qt.Qt.Key.Key_Return)
    assert statuses(found) == ["", ""]
    assert found.ui.noteEdit.text == "A vessel, no doubt"
    found.reviewPanel.onCellClicked(0, 0)
    assert found.ui.noteEdit.text == ""
    found.reviewPanel.onCellClicked(1, 0)
    assert found.ui.noteEdit.text == "A vessel, no doubt"


def test_the_sensitivity_moves_the_list_and_says_what_to_expect(found: Any) -> None:
    ui = found.ui
    assert ui.sensitivitySlider.value == 50
    ui.sensitivitySlider.value = 45
    assert [row[0] for row in cells(found.ui.suggestionsTable)] == ["80 %"]
    assert ui.expectedLabel.text == "At least 67 % confident: 1. Expect 0.0 to 2.0 false ones a scan."
    ui.sensitivitySlider.value = 60
    assert len(cells(found.ui.suggestionsTable)) == 2
    assert ui.expectedLabel.text == "At least 20 % confident: 2. Expect 2.0 to 8.0 false ones a scan."
    ui.sensitivitySlider.value = 100
    assert ui.expectedLabel.text == "All: 2. Expect more than 8.0 false ones a scan."
    found.reviewPanel.onCellClicked(1, 0)
    click(ui.rejectButton)
    ui.sensitivitySlider.value = 0
    assert statuses(found) == ["rejected"], "the decided stays in the list"


def test_what_stays_in_the_list_is_not_written_anew_at_each_step_of_the_slider(
    found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a note that was being typed."""
    found.reviewPanel.onCellClicked(1, 0)
    QTest.keyClicks(found.ui.noteEdit, "A vessel")
    found.ui.sensitivitySlider.value = 60
    assert found.ui.suggestionsTable.item(1, 0).toolTip() == "A vessel"
    found.reviewPanel.onCellClicked(0, 0)
    written: list[str] = []
    monkeypatch.setattr(found.reviewPanel, "_fillRow", lambda row, name: written.append(name))
    found.ui.sensitivitySlider.value = 61
    assert written == ["Suggestion_1"], "which is selected"
    found.ui.sensitivitySlider.value = 45
    found.ui.sensitivitySlider.value = 60
    assert "Suggestion_2" in written, "which was away"


def test_accepting_without_an_annotation_makes_one(panel: Any, volume: Any) -> None:
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    panel.reviewPanel.onCellClicked(0, 0)
    click(panel.ui.acceptButton)
    assert panel.ui.annotationSelector.currentNode().GetName() == "T1c lesions"
    assert _segments(panel) == 1


def test_a_suggestion_that_touches_a_lesion_may_be_added_to_it(found: Any) -> None:
    parameters = found.logic.getParameterNode()
    reference, known = parameters.reference, parameters.annotation
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(known, "Known", reference)
    mask[7:9, 5:8, 6:9] = 1  # the reader draws on, up to the first suggestion
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, known, "Known", reference)
    before = int(mask.sum())
    found.reviewPanel.onCellClicked(0, 0)
    assert found.ui.addToButton.visible
    assert found.ui.addToButton.text == "Add to Known"
    click(found.ui.addToButton)
    assert _segments(found) == 1
    assert slicer.util.arrayFromSegmentBinaryLabelmap(known, "Known", reference).sum() == before + 27
    click(found.ui.undoButton)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(known, "Known", reference).sum() == before


def test_a_log_that_cannot_be_written_is_said_and_the_decision_stays(panel: Any, volume: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    panel.logic.settings.folder = tmp_path / "file"
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    panel.reviewPanel.onCellClicked(0, 0)
    click(panel.ui.rejectButton)
    assert statuses(panel)[0] == "rejected"
    assert panel.ui.statusLabel.text == (
        f"Kept in the scene, but not yet in the log: nothing can be written in {tmp_path / 'file'} (File exists); "
        "see that there is room and that you may write there, or choose another folder"
    )


def test_reader_and_log_folder_are_settings(panel: Any, volume: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Chosen once; and each decision is in a file at once."""
    from lopsided.review import read_log

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    ui = panel.ui
    assert ui.folderLabel.text == "In the scene alone, until it is saved or a folder is chosen."
    ui.readerEdit.setFocus()
    ui.readerEdit.text = ""
    QTest.keyClicks(ui.readerEdit, "Dr. Ray")
    QTest.keyClick(ui.readerEdit, qt.Qt.Key.Key_Return)
    click(ui.folderButton)
    assert ui.folderLabel.text == str(tmp_path)
    ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    panel.reviewPanel.onCellClicked(1, 0)
    click(ui.uncertainButton)
    panel.parent.grab().save(str(tmp_path / "panel.png"))
    [log] = tmp_path.glob("*.jsonl")
    assert [(e.reader, e.candidate, e.value) for e in read_log(log).events] == [
        ("Dr. Ray", "Suggestion_2", "uncertain")
    ]
    assert ui.folderButton.text == "Beside the scene"
    assert ui.folderButton.toolTip == "Have the logs there again, and no more in the folder that was chosen."
    panel.logic.settings.worklistLogs = tmp_path / "work"
    panel.refresh()
    assert ui.folderButton.text == "With the worklist", "where they will go"
    panel.logic.settings.worklistLogs = None
    click(ui.folderButton)
    assert ui.folderButton.toolTip.startswith("A folder for logs")
    assert panel.logic.settings.folder is None
    assert panel.logic.settings.reader == "Dr. Ray"
    assert statuses(panel) == ["", "uncertain"]


def test_a_login_name_that_is_no_text_ends_no_decision(found: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from lopsided.review import read_log

    monkeypatch.setattr(Settings.getpass, "getuser", lambda: "J\udcf6rg")
    found.logic.settings.folder = tmp_path
    found.reviewPanel.onCellClicked(0, 0)
    click(found.ui.rejectButton)
    assert (statuses(found)[0], found.ui.statusLabel.text) == ("rejected", "")
    [log] = tmp_path.glob("*.jsonl")
    assert [event.reader for event in read_log(log).events] == ["J?rg"]


def test_without_a_folder_the_log_is_beside_the_scene_once_it_is_saved(found: Any, tmp_path: Path) -> None:
    ui = found.ui
    found.reviewPanel.onCellClicked(0, 0)
    click(ui.rejectButton)
    slicer.mrmlScene.SetURL(str(tmp_path / "case.mrml"))
    assert slicer.mrmlScene.Commit()
    assert list(tmp_path.glob("*.jsonl")) == []
    found.reviewPanel.onCellClicked(0, 0)
    click(ui.uncertainButton)
    assert ui.folderLabel.text == f"Beside the scene, in {tmp_path}"
    [log] = tmp_path.glob("*.jsonl")
    assert log.read_text(encoding="utf-8").count("decide") == 2, "what was decided before, too"


def test_accepted_lesions_get_a_terminology_that_the_user_set(found: Any) -> None:
    ui, annotation = found.ui, found.logic.getParameterNode().annotation
    assert ui.terminologySelector.currentText == "Neoplasm, Secondary"
    entry = "Category~SCT^1^Structure~SCT^2^Edema~^^~Anatomy~SCT^4^Brain~^^"
    annotation.GetSegmentation().GetSegment("Known").SetTag("TerminologyEntry", entry)
    found.exit()
    found.enter()
    names = [ui.terminologySelector.itemText(n) for n in range(ui.terminologySelector.count)]
    assert names == ["Neoplasm, Secondary", "Edema"]
    ui.terminologySelector.activated.emit(1)
    found.reviewPanel.onCellClicked(0, 0)
    click(ui.acceptButton)
    assert annotation.GetSegmentation().GetNthSegment(1).GetName() == "Edema (suggested, 5.2 mm)"
    annotation.GetSegmentation().RemoveSegment("Known")
    found.exit()
    found.enter()
    assert ui.terminologySelector.currentText == "Edema", "it is a setting"


def test_editing_opens_segment_editor_on_the_selected(found: Any, monkeypatch: Any) -> None:
    opened: list[str] = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    assert not found.ui.editButton.enabled
    QTest.keyClick(found.parent, "E")
    assert opened == []
    found.reviewPanel.onCellClicked(1, 0)
    click(found.ui.editButton)
    QTest.keyClick(found.parent, "E")
    assert opened == ["SegmentEditor"] * 2
    [editor] = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
    parameters = found.logic.getParameterNode()
    assert editor.GetSegmentationNode() is parameters.suggestions
    assert editor.GetSelectedSegmentID() == "Suggestion_2"
    assert editor.GetSourceVolumeNode() is parameters.reference


def test_a_retrained_model_is_chosen_by_its_folder(
    panel: Any, worker: Any, volume: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """And the search asks for that one, also after the panel was opened again."""
    ui = panel.ui
    assert ui.modelSelector.currentText == "simulated-v6"
    mine = tmp_path / "retrained"
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(mine))
    ui.modelSelector.activated.emit(1)
    assert ui.modelSelector.currentText == "retrained"
    panel.exit()
    panel.enter()
    assert ui.modelSelector.currentText == "retrained"
    asked: list[Any] = []
    monkeypatch.setattr(worker, "send", lambda request, callbacks: asked.append(request["suggest"]["model"]))
    ui.referenceSelector.setCurrentNode(volume("T1c"))
    click(ui.suggestButton)
    assert asked == [str(mine)]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: "")
    ui.modelSelector.activated.emit(2)
    assert ui.modelSelector.currentText == "retrained", "nothing was chosen"


def test_slicers_own_classes_are_used_where_they_are_at_hand(panel: Any) -> None:
    """Else the run that asks for them would prove nothing."""
    own = os.environ.get("SLICER_BASE_PYTHON")
    bases = {
        Path(inspect.getfile(cls)) for cls in type(panel).__mro__ if cls.__name__ == "ScriptedLoadableModuleWidget"
    }
    wrapped = {Path(inspect.getfile(type(panel.logic.getParameterNode()).connectGui))}
    expected = Path(own) / "slicer" if own else Path(slicer_standin.__file__)
    assert all(path.is_relative_to(expected) for path in bases | wrapped)


def test_the_standin_is_strict(panel: Any) -> None:
    """Else it would let pass what PythonQt does not."""
    with pytest.raises(AttributeError):
        panel.ui.suggestButton.enabeld = True
    with pytest.raises(TypeError):
        panel.ui.statusLabel.text()
    with pytest.raises(ValueError, match="no signal"):
        panel.ui.suggestButton.connect("clicked(str)", print)


@pytest.mark.parametrize(("system", "chosen"), [(PurePosixPath, "/models/mine/"), (PureWindowsPath, "C:/models/mine")])
def test_a_model_folder_is_one_however_it_is_written(
    panel: Any, monkeypatch: Any, system: type[PurePath], chosen: str
) -> None:
    """Qt's dialog gives forward slashes on Windows too."""
    panel.logic.settings.model = chosen
    monkeypatch.setattr(Settings, "Path", system)
    panel.refresh()
    assert panel.ui.modelSelector.currentText == "mine"
    assert panel.ui.modelSelector.count == 3


@pytest.mark.parametrize("meanwhile", ["parameter", "slider", "button", "row"])
def test_a_note_that_is_being_typed_is_not_lost(found: Any, meanwhile: str) -> None:
    """Whatever else happens before the field is left: on macOS, a button takes no focus."""
    ui = found.ui
    found.reviewPanel.onCellClicked(0, 0)
    QTest.keyClicks(ui.noteEdit, "A vessel")
    ui.noteEdit.setCursorPosition(1)
    if meanwhile == "parameter":
        found.logic.getParameterNode().parameterNode.Modified()
        assert (ui.noteEdit.text, ui.noteEdit.cursorPosition) == ("A vessel", 1), "one can go on typing"
    elif meanwhile == "slider":
        ui.sensitivitySlider.value = 0
    elif meanwhile == "button":
        found.reviewPanel.onDecide("rejected")
        assert ui.noteEdit.text == ""
    else:
        found.reviewPanel.onCellClicked(1, 0)
        assert ui.noteEdit.text == ""
    assert found.reviewPanel.review.opinion("Suggestion_1").note == "A vessel"
    assert found.reviewPanel.review.opinion("Suggestion_2").note == ""
