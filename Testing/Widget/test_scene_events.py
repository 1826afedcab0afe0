"""What becomes of the panel while the scene changes around it, and when its code is loaded again."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from offscreen import click, search, statuses, until
from PySide6.QtTest import QTest


def save(path: Path) -> None:
    """As Slicer does, a scene or a bundle."""
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.SetRootDirectory(str(path.parent))
    if path.suffix == ".mrb":
        assert slicer.mrmlScene.WriteToMRB(str(path), None)
        return
    for kind, extension in (("vtkMRMLScalarVolumeNode", "nrrd"), ("vtkMRMLSegmentationNode", "seg.nrrd")):
        for n, node in enumerate(slicer.util.getNodesByClass(kind)):
            node.AddDefaultStorageNode()
            node.GetStorageNode().SetFileName(str(path.parent / f"{n}.{extension}"))
            assert node.GetStorageNode().WriteData(node)
    assert slicer.mrmlScene.Commit()


@pytest.mark.parametrize("name", ["case.mrml", "case.mrb"])
def test_a_scene_opened_while_the_panel_is_shown_is_shown(found: Any, tmp_path: Path, name: str) -> None:
    """With what was decided after it was saved, which only the log has."""
    slicer.mrmlScene.SetURL(str(tmp_path / name))
    found.reviewPanel.onCellClicked(0, 0)
    click(found.ui.rejectButton)
    save(tmp_path / name)
    click(found.ui.uncertainButton)
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.SetURL("")
    assert statuses(found) == []
    if name.endswith(".mrb"):
        assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / name), True)
    else:
        slicer.mrmlScene.SetURL(str(tmp_path / name))
        assert slicer.mrmlScene.Connect()
    until(lambda: bool(statuses(found)), 5)
    assert statuses(found) == ["rejected", "uncertain"]
    assert found.ui.referenceSelector.currentNode().GetName() == "T1c"
    assert found.ui.annotationSelector.currentNode().GetName() == "Annotation"


def test_a_scene_opened_while_another_module_is_shown_is_left_alone(found: Any, tmp_path: Path) -> None:
    save(tmp_path / "case.mrb")
    found.exit()
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "case.mrb"), True)
    QTest.qWait(50)
    assert statuses(found) == []


def test_a_scene_that_is_added_is_no_part_of_the_case_that_is_open(found: Any, cases: Any, tmp_path: Path) -> None:
    """What was chosen in it would be kept as the reader's work on the case, and removed with the case."""
    save(tmp_path / "case.mrb")
    slicer.mrmlScene.Clear(0)
    found.worklistPanel.open(cases("one", "two"))
    search(found)
    found.reviewPanel.onCellClicked(0, 0)
    click(found.ui.acceptButton)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "case.mrb"), False)
    QTest.qWait(50)
    assert found.ui.referenceSelector.currentNode().GetName() == "one t1c"
    assert found.ui.annotationSelector.currentNode().GetName() == "one t1c lesions"
    assert statuses(found) == ["accepted", ""]
    image = weakref.ref(found.logic.getParameterNode().reference)
    assert image() is not None
    found.worklistPanel.onStep(1)
    assert image() is None, "it is not kept in memory"
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
    assert names == {"T1c suggestions", "Annotation"}
    found.worklistPanel.onStep(-1)
    assert statuses(found) == ["accepted", ""]


def test_nothing_takes_the_place_of_an_annotation_that_is_deleted(panel: Any, volume: Any, annotation: Any) -> None:
    """Its selector goes to the node before in the list, which may be another patient's."""
    annotation(volume("Another T1c"))
    panel.ui.referenceSelector.setCurrentNode(volume("T1c"))
    search(panel)
    panel.reviewPanel.onCellClicked(0, 0)
    click(panel.ui.acceptButton)  # makes an annotation
    parameters = panel.logic.getParameterNode()
    click(panel.ui.undoButton)
    slicer.mrmlScene.RemoveNode(parameters.annotation)
    assert parameters.annotation is None
    assert panel.ui.annotationSelector.currentNode() is None
    assert parameters.suggestions.GetName() == "T1c suggestions"


def test_nothing_takes_the_place_of_a_volume_that_is_deleted(panel: Any, volume: Any) -> None:
    _, reference = volume("T1"), volume("T1c")
    panel.ui.referenceSelector.setCurrentNode(reference)
    search(panel)
    panel.reviewPanel.onCellClicked(0, 0)
    click(panel.ui.rejectButton)
    slicer.mrmlScene.RemoveNode(reference)
    assert panel.logic.getParameterNode().reference is None
    assert panel.ui.statusLabel.text == "Choose the post-contrast T1 volume to search."
    until(
        lambda: panel.ui.resultLabel.text.startswith("The volume of T1c suggestions is not in the scene any more."), 5
    )
    assert statuses(panel) == []


def test_the_module_reloaded_goes_on_and_its_keys_act_once(found: Any, logic: Any) -> None:
    """Slicer's Reload sets the panel up again, and does not enter it."""
    from LopsidedSeg import LopsidedSegWidget

    found.reviewPanel.onCellClicked(0, 0)
    click(found.ui.rejectButton)
    found.cleanup()
    QTest.keyClick(found.parent, "A")
    assert statuses(found) == []
    again = LopsidedSegWidget(found.parent, logic)
    again.setup()
    found.parent.activateWindow()
    assert QTest.qWaitForWindowActive(found.parent)
    assert again.ui.pointButton.enabled, "marks too"
    for key in "NNU":
        QTest.keyClick(found.parent, key)
    assert statuses(again) == ["rejected", "uncertain"]
    click(again.ui.undoButton)
    assert statuses(again) == ["rejected", ""]
    again.cleanup()
