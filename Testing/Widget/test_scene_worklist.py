"""The scene's own studies, gone through by mouse as a list is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from lopsided.marks import Point
from LopsidedSegLib import Dependencies
from offscreen import cells, click, new_panel, open_panel, until

OWN = ["Doe T1c", "Doe FLAIR", "Roe T1c"]


@pytest.fixture
def panel(logic: Any, volume: Any) -> Iterator[Any]:
    logic.settings.reader = "Dr. Ray"
    load(volume)
    with open_panel(logic, (440, 1700)) as panel:
        yield panel


def load(volume: Any) -> None:
    for name in OWN:
        volume(name)


def volumes() -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]


def saved(folder: Path) -> None:
    slicer.mrmlScene.SetURL(str(folder / "two patients.mrb"))


def test_a_scene_must_have_been_saved(panel: Any) -> None:
    click(panel.ui.listSceneButton)
    assert panel.ui.statusLabel.text == "Save the scene first: your work on its cases is kept beside it."
    assert not panel.ui.nextCaseButton.enabled
    assert volumes() == OWN


def test_the_scene_is_gone_through_as_a_list_is(panel: Any, worker: Any, volume: Any, tmp_path: Path) -> None:
    """Status, decisions and marks are there again, in the next session too; the user's nodes never go."""
    from LopsidedSeg import LopsidedSegLogic

    saved(tmp_path)
    ui, logic = panel.ui, panel.logic
    click(ui.listSceneButton)
    assert ui.statusLabel.text == "Opened Doe."
    assert cells(panel.ui.casesTable) == [["Doe", "in progress"], ["Roe", "not started"]]
    parameters = logic.getParameterNode()
    assert (parameters.reference.GetName(), parameters.flair.GetName()) == ("Doe t1c", "Doe flair")
    assert (ui.patientEdit.text, ui.caseEdit.text) == ("Doe", "Doe")
    click(ui.suggestButton)
    until(lambda: not logic.busy)
    panel.reviewPanel.onCellClicked(0, 0)
    click(ui.acceptButton)
    panel.marksPanel.marks.add(Point((4, -35, 10), 6))
    panel.parent.grab().save(str(tmp_path / "scene.png"))
    click(ui.reviewedButton)
    click(ui.nextCaseButton)
    assert volumes() == [*OWN, "Roe t1c"]
    assert (ui.suggestionsTable.rowCount, ui.marksTable.rowCount) == (0, 0)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert (tmp_path / "lopsided-work" / "two patients").is_dir()
    slicer.mrmlScene.Clear(0)
    assert cells(panel.ui.casesTable) == [], "the list was of that scene"
    assert ui.folderLabel.text.startswith("Beside the scene"), "no log goes to it any more"

    load(volume)
    saved(tmp_path)
    again = new_panel(LopsidedSegLogic(worker))
    again.enter()
    click(again.ui.listSceneButton)
    assert cells(again.ui.casesTable) == [["Doe", "reviewed"], ["Roe", "in progress"]]
    click(again.ui.previousCaseButton)
    assert [again.ui.suggestionsTable.item(row, 5).text() for row in (0, 1)] == ["accepted", ""]
    assert again.ui.marksTable.rowCount == 1
    assert again.logic.getParameterNode().annotation.GetSegmentation().GetNumberOfSegments() == 1
    again.cleanup()
    assert volumes() == OWN, "also when the module is closed"


def test_the_next_case_of_the_scene_is_searched_ahead_too(
    panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file that is gone afterwards."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "temporary"))
    monkeypatch.setattr(Dependencies, "installed", lambda: True)
    saved(tmp_path)
    click(panel.ui.listSceneButton)
    assert panel.logic._worker.busy
    until(lambda: not panel.logic._worker.busy)
    assert list((tmp_path / "temporary").iterdir()) == []
    click(panel.ui.nextCaseButton)
    assert panel.ui.suggestionsTable.rowCount == 2


def test_a_study_without_post_contrast_t1_is_listed_and_says_what_to_do(
    panel: Any, volume: Any, tmp_path: Path
) -> None:
    volume("Poe FLAIR")
    saved(tmp_path)
    click(panel.ui.listSceneButton)
    for _ in range(2):
        click(panel.ui.nextCaseButton)
    assert cells(panel.ui.casesTable)[2] == ["Poe", "not started"]
    sentence = "Poe cannot be opened: no volume's name says post-contrast T1; rename it, as in: Doe T1c"
    assert panel.ui.statusLabel.text.startswith(sentence)
    assert volumes() == [*OWN, "Poe FLAIR"]
