"""The panel, as a user meets it: real mouse clicks on an off-screen window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import slicer.util
from PySide6.QtTest import QTest

Fake = Callable[[str], list[str]]


class Window(qt.QWidget):
    """What Slicer puts a module's panel in."""

    isEntered = True


@pytest.fixture
def panel(logic: Any) -> Iterator[Any]:
    """The open panel, on the fake worker."""
    from LopsidedSeg import LopsidedSegWidget

    parent = Window()
    parent.setLayout(qt.QVBoxLayout())
    widget = LopsidedSegWidget(parent, logic)
    widget.setup()
    widget.enter()
    parent.resize(420, 640)
    parent.show()
    yield widget
    widget.cleanup()
    parent.close()


def _click(widget: Any) -> None:
    QTest.mouseClick(widget, qt.Qt.MouseButton.LeftButton)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "this took too long"
        QTest.qWait(10)


def _search(panel: Any) -> None:
    _click(panel.ui.suggestButton)
    _until(lambda: not panel.logic.busy)


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
    panel: Any, worker: Any, volume: Any, annotation: Any, fake: Fake, tmp_path: Path
) -> None:
    """Progress in words and per cent, a table, and slice views that jump; the annotation is as it was."""
    worker.command = fake("slow")
    ui, reference = panel.ui, volume("T1c")
    known = annotation(reference)
    before = known.GetSegmentation().GetMTime()
    ui.referenceSelector.setCurrentNode(reference)
    ui.annotationSelector.setCurrentNode(known)
    panel.parent.grab().save(str(tmp_path / "ready.png"))
    _click(ui.suggestButton)
    assert ui.suggestButton.text == "Cancel"
    assert not ui.inputsButton.enabled
    assert ui.progressBar.visible
    _until(lambda: ui.progressBar.value == 42)
    assert ui.statusLabel.text == "Searching for lesions…"
    panel.parent.grab().save(str(tmp_path / "running.png"))
    _until(lambda: not panel.logic.busy)
    assert ui.suggestButton.text == "Suggest missed lesions"
    assert ui.inputsButton.enabled
    assert not ui.progressBar.visible
    assert ui.statusLabel.text == "Suggested lesions: 2"
    assert ui.resultLabel.text == "T1c suggestions: model fake, confidence of at least 50%"
    table = ui.suggestionsTable
    shown = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]
    assert shown == [["1", "80%", "5.2", "243.0"], ["2", "60%", "5.2", "243.0"]]
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


def test_cancel_ends_the_search_and_another_one_works(panel: Any, worker: Any, volume: Any, fake: Fake) -> None:
    """Nothing is added, and the process is gone."""
    worker.command = fake("hang")
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    before = slicer.mrmlScene.GetNumberOfNodes()
    _click(panel.ui.suggestButton)
    _until(lambda: panel.ui.progressBar.value == 42)
    _click(panel.ui.suggestButton)
    assert not panel.logic.busy
    assert panel.ui.statusLabel.text == "Cancelled."
    assert panel.ui.suggestButton.text == "Suggest missed lesions"
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    worker.command = fake("done")
    _search(panel)
    assert panel.ui.statusLabel.text == "Suggested lesions: 2"


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("error", "T1c: every voxel is 0, there is no image in it"),
        ("crash", "The computing process ended unexpectedly. out of memory"),
    ],
)
def test_an_error_is_a_sentence_and_the_button_works_again(
    panel: Any, worker: Any, volume: Any, fake: Fake, tmp_path: Path, behaviour: str, sentence: str
) -> None:
    """In the panel, not in a dialog."""
    worker.command = fake(behaviour)
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    _search(panel)
    panel.parent.grab().save(str(tmp_path / "error.png"))
    assert panel.ui.statusLabel.text == sentence
    assert panel.ui.suggestButton.enabled
    worker.stop()
    worker.command = fake("done")
    _search(panel)
    assert panel.ui.statusLabel.text == "Suggested lesions: 2"


def test_closing_the_scene_ends_a_search_and_empties_the_panel(
    panel: Any, worker: Any, volume: Any, fake: Fake
) -> None:
    """The panel is ready for the next patient."""
    reference = volume("T1c")
    panel.ui.referenceSelector.setCurrentNode(reference)
    _search(panel)
    assert panel.ui.suggestionsTable.rowCount == 2
    worker.stop()
    worker.command = fake("hang")
    _click(panel.ui.suggestButton)
    slicer.mrmlScene.Clear(0)
    assert not panel.logic.busy
    assert panel.ui.suggestionsTable.rowCount == 0
    assert panel.ui.statusLabel.text == "Choose the post-contrast T1 volume to search."


def test_removing_the_suggestions_empties_the_table(panel: Any, volume: Any) -> None:
    """As the user may do in any other module."""
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    _search(panel)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByName("T1c suggestions"))
    assert panel.ui.suggestionsTable.rowCount == 0


def test_the_standin_is_strict(panel: Any) -> None:
    """Else it would let pass what PythonQt does not."""
    with pytest.raises(AttributeError):
        panel.ui.suggestButton.enabeld = True
    with pytest.raises(TypeError):
        panel.ui.statusLabel.text()
    with pytest.raises(ValueError, match="no signal"):
        panel.ui.suggestButton.connect("clicked(str)", print)
