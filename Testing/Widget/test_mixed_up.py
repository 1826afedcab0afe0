"""Two patients, two annotations, another module: nothing lands where it does not belong, and nothing is said in vain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import slicer.util
from lopsided.marks import Point
from LopsidedSegLib import Scene, Settings
from LopsidedSegLib.Labelmaps import drawnOn
from offscreen import Heard, click, search, statuses, until
from PySide6.QtTest import QTest
from transforms import move


@pytest.fixture
def found(found: Any) -> Any:
    """The panel with two suggestions of patient A, and an annotation chosen."""
    found.logic.getParameterNode().reference.SetName("A T1c")
    return found


@pytest.fixture
def source(cases: Any) -> Path:
    """A worklist of two cases."""
    return cases("one", "two")


def segments(node: Any) -> list[str]:
    """By ID."""
    return list(node.GetSegmentation().GetSegmentIDs())


def decide(panel: Any, row: int, button: str) -> None:
    """On a suggestion, by mouse."""
    panel.reviewPanel.onCellClicked(row, 0)
    click(getattr(panel.ui, button))


def test_a_search_ends_where_a_worklist_is_opened(
    panel: Any, worker: Any, volume: Any, fake: Any, source: Path
) -> None:
    """What it found would be kept as the case's."""
    worker.command = fake("slow")
    panel.ui.referenceSelector.setCurrentNode(volume("Another patient T1c"))
    click(panel.ui.suggestButton)
    panel.worklistPanel.open(source)
    until(lambda: not panel.logic.busy)
    QTest.qWait(600)
    parameters = panel.logic.getParameterNode()
    assert parameters.reference.GetName() == "one t1c"
    assert parameters.suggestions is None


def test_a_panel_that_is_closed_with_a_case_open_does_not_follow_the_scene(panel: Any, source: Path) -> None:
    """Closing it removes the case's nodes."""
    panel.worklistPanel.open(source)
    assert panel.logic.getParameterNode().reference.GetName() == "one t1c"
    panel.cleanup()
    panel.ui.statusLabel.text = "closed"
    QTest.qWait(20)
    assert panel.ui.statusLabel.text == "closed"


def test_suggestions_are_those_of_the_volume_that_is_chosen(found: Any, volume: Any, annotation: Any) -> None:
    """Else a lesion of one patient would go into the annotation of another."""
    first = found.logic.getParameterNode().reference
    other = volume("B T1c")
    known = annotation(other)
    found.ui.referenceSelector.setCurrentNode(other)
    found.ui.annotationSelector.setCurrentNode(known)
    assert found.ui.suggestionsTable.rowCount == 0
    assert "A T1c" in found.ui.resultLabel.text
    assert found.reviewPanel.review is None, "nothing of the one goes into the export of the other"
    found.ui.referenceSelector.setCurrentNode(first)
    assert found.ui.suggestionsTable.rowCount == 2
    assert segments(known) == ["Known"]


def test_a_review_is_there_again_after_another_volume_was_searched(found: Any, volume: Any) -> None:
    """Else it could not be gone on with, and the export of its volume would be without its decisions."""
    parameters = found.logic.getParameterNode()
    first, known = parameters.reference, parameters.annotation
    decide(found, 1, "rejectButton")
    decide(found, 0, "acceptButton")
    found.ui.referenceSelector.setCurrentNode(volume("B T1c"))
    found.ui.annotationSelector.setCurrentNode(None)
    search(found)
    decide(found, 0, "acceptButton")
    second, seconds = parameters.reference, parameters.annotation
    found.ui.referenceSelector.setCurrentNode(first)
    assert statuses(found) == ["accepted", "rejected"]
    assert parameters.annotation is known, "what is accepted next is the first's"
    assert found.exportPanel._export().review is found.reviewPanel.review
    slicer.mrmlScene.RemoveNode(parameters.suggestions)
    found.ui.referenceSelector.setCurrentNode(second)
    assert statuses(found) == ["accepted", ""]
    assert parameters.annotation is seconds


def test_known_lesions_are_there_again_too_where_nothing_was_accepted(found: Any, volume: Any, annotation: Any) -> None:
    """Else an export of the first would be without them, and the next accepted lesion in an annotation of its own."""
    parameters = found.logic.getParameterNode()
    first, known = parameters.reference, parameters.annotation
    found.ui.referenceSelector.setCurrentNode(second := volume("B T1c"))
    found.ui.annotationSelector.setCurrentNode(annotation(second))
    search(found)
    found.ui.referenceSelector.setCurrentNode(first)
    assert statuses(found) == ["", ""]
    assert parameters.annotation is known


def test_a_review_of_another_volume_does_not_bring_its_annotation_into_the_open_case(found: Any, source: Path) -> None:
    """It would be kept as the reader's work on the case."""
    parameters = found.logic.getParameterNode()
    first = parameters.reference
    found.worklistPanel.open(source)
    search(found)
    decide(found, 0, "acceptButton")
    own = parameters.annotation
    found.ui.referenceSelector.setCurrentNode(first)
    assert parameters.annotation is own


def test_an_annotation_that_is_chosen_stays_where_suggestions_of_a_script_are_listed(found: Any, volume: Any) -> None:
    parameters = found.logic.getParameterNode()
    first, known = parameters.reference, parameters.annotation
    found.ui.referenceSelector.setCurrentNode(volume("B T1c"))
    parameters.suggestions = None
    found.ui.referenceSelector.setCurrentNode(first)
    assert statuses(found) == ["", ""]
    assert parameters.annotation is known


def test_an_export_of_other_suggestions_is_refused(found: Any, volume: Any, tmp_path: Path) -> None:
    from LopsidedSegLib.Export import Export

    export = Export({"t1c": volume("B T1c")}, tmp_path, "p", "1", review=found.reviewPanel.review)
    assert "A T1c" in export.whyNot()


def test_an_export_of_suggestions_as_the_annotation_is_refused(found: Any, tmp_path: Path) -> None:
    from LopsidedSegLib.Export import Export

    parameters = found.logic.getParameterNode()
    export = Export({"t1c": parameters.reference}, tmp_path, "p", "1", annotation=parameters.suggestions)
    assert export.whyNot() == "T1c suggestions holds suggestions; choose the segmentation of known lesions."


def test_only_segmentations_of_lesions_are_offered_as_the_annotation(found: Any) -> None:
    """Neither suggestions nor what shows what marks become. In a scene that was saved with such a choice it is refused in words,
    until another is chosen."""
    parameters, selector = found.logic.getParameterNode(), found.ui.annotationSelector
    known, suggestions = parameters.annotation, parameters.suggestions
    found.marksPanel.marks.add(Point((0, 0, 0), 5.0))
    found.refresh()
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 3

    def offered() -> list[Any]:
        return [selector.nodeFromIndex(n) for n in range(selector.nodeCount())]

    assert offered() == [known]
    assert selector.currentNode() is known
    found.exit()
    parameters.annotation = suggestions
    found.enter()
    assert offered() == [known, suggestions]
    assert selector.currentNode() is suggestions
    assert found.ui.statusLabel.text == "T1c suggestions holds suggestions; choose the segmentation of known lesions."
    assert not found.ui.suggestButton.enabled
    decide(found, 0, "acceptButton")
    assert not found.ui.addToButton.visible
    assert segments(suggestions) == ["Suggestion_1", "Suggestion_2"]
    selector.setCurrentNode(known)
    assert offered() == [known]
    assert found.ui.suggestButton.enabled


def test_suggestions_whose_volume_is_gone_are_nobodys(found: Any, volume: Any, annotation: Any, tmp_path: Path) -> None:
    """They are listed for no other patient and exported as nobody's; and again for their volume, once Segment Editor is told."""
    from LopsidedSegLib.Export import Export

    decide(found, 1, "rejectButton")
    review = found.reviewPanel.review
    slicer.mrmlScene.RemoveNode(found.logic.getParameterNode().reference)
    other = volume("B T1c")
    known = annotation(other)
    found.ui.referenceSelector.setCurrentNode(other)
    found.ui.annotationSelector.setCurrentNode(known)
    QTest.qWait(20)
    assert found.ui.suggestionsTable.rowCount == 0
    assert found.reviewPanel.review is None
    sentence = (
        "The volume of T1c suggestions is not in the scene any more. Load it again, and search anew; or, to go on with them, "
        "choose it in Segment Editor as the geometry of T1c suggestions, by Specify geometry."
    )
    assert found.ui.resultLabel.text == sentence
    assert Export({"t1c": other}, tmp_path, "p", "1", annotation=known, review=review).whyNot() == sentence
    found.exit()
    again, suggestions = volume("A T1c"), found.logic.getParameterNode().suggestions
    # as Specify geometry does
    suggestions.SetNodeReferenceID(suggestions.GetReferenceImageGeometryReferenceRole(), again.GetID())
    found.enter()
    found.ui.referenceSelector.setCurrentNode(again)
    assert statuses(found) == ["", "rejected"]
    assert not Export({"t1c": again}, tmp_path, "p", "1", review=found.reviewPanel.review).whyNot()


def test_a_volume_that_is_removed_while_it_is_searched_leaves_no_suggestions(
    panel: Any, worker: Any, volume: Any, fake: Any
) -> None:
    """They would be the next volume's."""
    worker.command = fake("slow")
    first = volume("A T1c")
    panel.ui.referenceSelector.setCurrentNode(first)
    click(panel.ui.suggestButton)
    slicer.mrmlScene.RemoveNode(first)
    panel.ui.referenceSelector.setCurrentNode(volume("B T1c"))
    until(lambda: not panel.logic.busy)
    assert panel.ui.statusLabel.text == "The result could not be loaded: A T1c is not in the scene any more."
    assert panel.logic.getParameterNode().suggestions is None
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def said(panel: Any) -> tuple[str, str, bool]:
    """Under which name an export goes, and whether all of the case was looked at."""
    return panel.ui.patientEdit.text, panel.ui.caseEdit.text, bool(panel.ui.wholeCaseCheckBox.checked)


def test_another_volume_is_not_exported_as_the_case_that_is_open(
    panel: Any, volume: Any, source: Path, tmp_path: Path
) -> None:
    panel.logic.settings.dataset = tmp_path / "dataset"
    panel.worklistPanel.open(source)
    panel.ui.wholeCaseCheckBox.checked = True
    own = panel.logic.getParameterNode().reference
    panel.ui.referenceSelector.setCurrentNode(volume("B T1c"))
    assert not panel.ui.exportButton.enabled
    sentence = "B T1c is not of the case that is open; choose its post-contrast T1, one t1c."
    assert panel.ui.exportButton.toolTip == sentence
    panel.exportPanel.onExport()
    assert panel.ui.statusLabel.text == sentence
    panel.ui.referenceSelector.setCurrentNode(own)
    assert panel.ui.exportButton.enabled
    assert said(panel) == ("p0", "one", True), "it is kept with the case"


@pytest.mark.parametrize("how", ["scene closed", "volume removed", "next cannot be opened"])
def test_a_case_that_is_open_no_more_names_no_export(
    panel: Any, volume: Any, source: Path, tmp_path: Path, how: str
) -> None:
    """Nor is the next patient's said to be looked at."""
    panel.logic.settings.dataset = tmp_path / "dataset"
    panel.worklistPanel.open(source)
    panel.ui.wholeCaseCheckBox.checked = True
    if how == "scene closed":
        slicer.mrmlScene.Clear(0)
    elif how == "volume removed":
        slicer.mrmlScene.RemoveNode(panel.logic.getParameterNode().reference)
        QTest.qWait(20)
    else:
        (tmp_path / "1.nii.gz").write_bytes(b"no image")
        click(panel.ui.nextCaseButton)
    assert said(panel) == ("", "", False)
    panel.ui.referenceSelector.setCurrentNode(volume("B T1c"))
    assert panel.ui.exportButton.toolTip == "Say who the patient is; only a pseudonym is written."
    assert not panel.ui.exportButton.enabled
    panel.worklistPanel.open(source)
    assert said(panel) == ("p0", "one", True), "as it was kept"


def test_that_all_was_looked_at_is_said_of_each_volume_anew(panel: Any, volume: Any) -> None:
    first, second = volume("A T1c"), volume("B T1c")
    panel.ui.referenceSelector.setCurrentNode(first)
    panel.ui.wholeCaseCheckBox.checked = True
    panel.ui.annotationSelector.setCurrentNode(panel.logic.newAnnotation(first))
    assert panel.ui.wholeCaseCheckBox.checked
    panel.ui.referenceSelector.setCurrentNode(second)
    assert not panel.ui.wholeCaseCheckBox.checked


@pytest.mark.parametrize("how", ["undo", "reject"])
def test_a_review_has_one_annotation(found: Any, annotation: Any, how: str) -> None:
    """What was accepted into one could not be taken out of it any more, were the next accepted into another."""
    first = found.logic.getParameterNode().annotation
    second = annotation(found.logic.getParameterNode().reference)
    decide(found, 0, "acceptButton")
    found.ui.annotationSelector.setCurrentNode(second)
    decide(found, 1, "acceptButton")
    assert first.GetName() in found.ui.statusLabel.text
    assert statuses(found) == ["accepted", ""]
    if how == "undo":
        click(found.ui.undoButton)
    else:
        decide(found, 0, "rejectButton")
    assert (segments(first), segments(second)) == (["Known"], ["Known"])
    decide(found, 1, "acceptButton")
    assert len(segments(second)) == 2, "with nothing accepted, it may be another"


def test_undo_brings_back_the_outline_that_was_corrected(found: Any) -> None:
    """Through a second acceptance, which takes the suggestion as it was found."""
    parameters = found.logic.getParameterNode()
    known, reference = parameters.annotation, parameters.reference

    def voxels() -> int:
        [own] = set(segments(known)) - {"Known"}
        return int(slicer.util.arrayFromSegmentBinaryLabelmap(known, own, reference).sum())

    decide(found, 0, "acceptButton")
    [own] = set(segments(known)) - {"Known"}
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(known, own, reference).copy()
    mask[4:6, 4:7, 4:7] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, known, own, reference)
    corrected = voxels()
    decide(found, 0, "rejectButton")
    decide(found, 0, "acceptButton")
    suggested = voxels()
    assert suggested < corrected
    click(found.ui.undoButton)
    click(found.ui.undoButton)
    assert voxels() == corrected
    click(found.ui.redoButton)
    click(found.ui.redoButton)
    assert voxels() == suggested


def test_a_key_that_is_held_decides_once(found: Any) -> None:
    repeating = {s.key.toString() for s in found.reviewPanel._shortcuts if s.autoRepeat}
    assert repeating == {"N", "P", "Ctrl+Z", "Ctrl+Y"}


def test_logs_that_cannot_be_reached_hide_no_suggestion(panel: Any, volume: Any, tmp_path: Path) -> None:
    """As of a share that is down, of which the system says more than that it is not there."""
    panel.logic.settings.folder = tmp_path / ("x" * 300)
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    assert panel.ui.statusLabel.text == "Suggested lesions: 2"
    decide(panel, 0, "rejectButton")
    assert panel.ui.statusLabel.text.startswith("Kept in the scene, but not yet in the log")
    slicer.mrmlScene.SetURL(str(tmp_path / ("x" * 300) / "scene.mrml"))
    assert panel.logic.settings.sceneFile is None


def test_what_is_said_meanwhile_is_said_on_coming_back(panel: Any, worker: Any, volume: Any, fake: Any) -> None:
    worker.command = fake("error")
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    click(panel.ui.suggestButton)
    panel.exit()
    until(lambda: not panel.logic.busy)
    panel.enter()
    assert "every voxel is 0" in panel.ui.statusLabel.text


def test_nothing_that_is_over_is_said_on_coming_back(panel: Any, volume: Any) -> None:
    """Such as what there was to choose before a volume was loaded."""
    panel.exit()
    panel.refresh()
    assert panel.ui.statusLabel.text.startswith("Choose the post-contrast T1")
    volume("Doe T1c")
    panel.enter()
    assert panel.ui.statusLabel.text.startswith("Chosen by their names: Doe T1c")


def test_marks_are_not_drawn_over_another_module(panel: Any, worker: Any, volume: Any, fake: Any) -> None:
    worker.command = fake("slow")
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    panel.marksPanel.marks.add(Point((4, 15, 8), 12))
    panel.ui.previewCheckBox.checked = True
    panel.marksPanel.refresh()
    click(panel.ui.suggestButton)
    panel.exit()
    until(lambda: not panel.logic.busy)
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")] == ["T1c suggestions"]


def test_a_name_that_is_being_typed_is_not_lost(panel: Any, worker: Any, volume: Any, fake: Any) -> None:
    worker.command = fake("slow")
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    click(panel.ui.suggestButton)
    panel.ui.readerEdit.selectAll()
    QTest.keyClicks(panel.ui.readerEdit, "Dr. ")
    until(lambda: not panel.logic.busy)
    QTest.keyClicks(panel.ui.readerEdit, "Ray")
    QTest.keyClick(panel.ui.readerEdit, qt.Qt.Key.Key_Return)
    assert panel.logic.settings.reader == "Dr. Ray"


def test_a_bundled_model_is_kept_by_name(panel: Any) -> None:
    """An update puts it elsewhere, or another in its place."""
    settings = panel.logic.settings
    settings.model = str(Settings.MODELS / "simulated-v6")
    assert settings.model is None, "the first of them"
    settings.model = str(Settings.MODELS / "another")
    assert settings.model == "another"


def test_only_the_selected_is_so_in_the_list_and_in_the_views(found: Any) -> None:
    def visible() -> list[str]:
        node = found.logic.getParameterNode().suggestions
        return [s for s in segments(node) if node.GetDisplayNode().GetSegmentVisibility(s)]

    found.reviewPanel.onCellClicked(1, 0)
    found.ui.onlySelectedCheckBox.toggle()
    assert visible() == ["Suggestion_2"]
    found.ui.sensitivitySlider.value = 10
    assert visible() == ["Suggestion_1"][: found.ui.suggestionsTable.rowCount], "what is listed"
    search(found)
    assert not found.ui.onlySelectedCheckBox.checked
    assert len(visible()) == found.ui.suggestionsTable.rowCount


def test_the_list_says_where_a_suggestion_is_now(found: Any) -> None:
    """By which a reader finds it in a report; also where a transform was hardened."""

    def places() -> list[str]:
        found.refresh()
        return [found.ui.suggestionsTable.item(row, 3).text() for row in range(2)]

    node = found.logic.getParameterNode().suggestions
    assert places() == ["2, 30, 10", "10, 34, 31"]
    move([node], 40.0)
    assert places() == ["42, 30, 10", "50, 34, 31"]
    node.HardenTransform()
    assert places() == ["42, 30, 10", "50, 34, 31"]


@pytest.mark.parametrize("volume_mm3", [1.4e6, 2e5])
def test_that_nothing_was_missed_is_not_said_plainly_beside_a_mask_of_the_brain(found: Any, volume_mm3: float) -> None:
    """Which is chosen by itself where it is the scene's only segmentation, and has every lesion in it."""
    parameters = found.logic.getParameterNode()
    result = found.logic.result(parameters.suggestions)
    result.update(candidates=[], annotation={"label 1": volume_mm3})
    found.onDone(Scene.newSuggestions(parameters.reference, result, None))
    if volume_mm3 > 1e6:
        assert "the annotation fills 1400 ml, as a brain does" in found.ui.statusLabel.text
    else:
        assert found.ui.statusLabel.text == "No missed lesion was found."


def test_a_second_request_leaves_the_first_alone(logic: Any, worker: Any, volume: Any, fake: Any) -> None:
    worker.command = fake("slow")
    heard, reference = Heard(), volume("T1c")
    for _ in range(2):
        logic.begin(heard.callbacks, reference)
    assert heard.errors == ["Something else is under way; wait for it, or cancel it."]
    until(lambda: not logic.busy)
    assert [drawnOn(node) for node in heard.done] == [reference]


def test_reviews_go_with_their_nodes(found: Any) -> None:
    """Else their voxels would stay in memory through a whole worklist."""
    for _ in range(2):
        slicer.mrmlScene.RemoveNode(found.logic.getParameterNode().suggestions)
        search(found)
    assert len(found.logic._reviews) == 1


def test_the_systems_temporary_folder_may_be_gone(
    panel: Any, volume: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "gone"))
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    assert panel.ui.statusLabel.text == "Suggested lesions: 2"


def test_a_search_is_told_what_is_marked(panel: Any, worker: Any, volume: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each marked lesion would be suggested, accepted, and be two."""
    asked: list[dict[str, Any]] = []
    send = worker.send
    monkeypatch.setattr(worker, "send", lambda request, told: (asked.append(request), send(request, told)))
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    panel.marksPanel.marks.add(Point((4, 15, 8), 12))
    search(panel)
    [mark] = asked[0]["suggest"]["marks"]
    assert (mark["kind"], mark["diameter_mm"]) == ("point", 12)
