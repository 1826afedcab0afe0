"""The whole of a radiologist's work: the shipped model in the real process, real MRML, real Qt, and views in pixels."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed, so there is no MRML")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed, so there is no Qt")
sys.path.insert(0, str(Path(__file__).parents[1] / "Widget"))
from offscreen import click, new_logic, new_panel, statuses, until, watched  # isort: split

import qt
import slicer
import slicer.util
import slicer_standin
from lopsided.resources import resource_folder
from lopsided.review import read_log
from PySide6.QtTest import QTest
from views import SliceView, ThreeDView

SAMPLE = resource_folder() / "SampleStudy"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything goes; its name is one that a user may have."""
    folder = tmp_path / "Fälle für Dr. Ray"
    (folder / "temporary").mkdir(parents=True)
    monkeypatch.setattr(slicer.app, "temporaryPath", str(folder / "temporary"))
    slicer_standin.clear()
    slicer.app.userSettings().clear()
    return folder


@pytest.fixture
def panel() -> Iterator[Any]:
    """The open panel, on the real process."""
    widget = new_panel(new_logic())
    yield widget
    widget.cleanup()
    widget.parent.close()


def search(panel: Any) -> list[str]:
    return watched(panel, panel.ui.suggestButton, 300)


def load(path: Path, name: str) -> Any:
    node = slicer.util.loadVolume(str(path))
    node.SetName(name)
    return node


def load_sample() -> Any:
    """Four sequences, and an annotation that lacks lesions."""
    for sequence in ("t1c", "t1", "t2", "flair"):
        load(SAMPLE / f"{sequence}.nii.gz", f"Sample {sequence}")
    annotation = slicer.util.loadSegmentation(str(SAMPLE / "annotation.seg.nrrd"))
    annotation.CreateDefaultDisplayNodes()
    return annotation


def load_real(cases: Path) -> None:
    """A metastasis in two sequences, with nothing annotated."""
    load(cases / "dm-0002" / "t1c.nii.gz", "AX T1 post")
    load(cases / "dm-0002" / "flair.nii.gz", "AX FLAIR")


@pytest.mark.parametrize("study", ["sample", "real"])
def test_a_review_from_loading_to_reopening(
    study: str, panel: Any, folder: Path, request: pytest.FixtureRequest
) -> None:
    """Load, click, list, jump, accept, reject, undo, save, close, open again, go on."""
    if study == "sample":
        load_sample()
    else:
        load_real(request.getfixturevalue("real_data") / "cases")
    panel.enter()
    reference = panel.logic.getParameterNode().reference
    assert reference is not None, panel.ui.statusLabel.text
    said = search(panel)
    assert "Searching for lesions…" in said
    assert len(statuses(panel)) >= 2, said[-1]
    assert list((folder / "temporary").iterdir()) == [], "no temporary file is left"

    red, three = SliceView("Red", reference), ThreeDView()
    panel.reviewPanel.onCellClicked(0, 0)
    review = panel.logic.review(panel.logic.getParameterNode().suggestions)
    [best, second, *_] = review.shown()
    x, y, z = review.candidates[best]["centroid_ras"]
    np.testing.assert_allclose([red.node.GetSliceToRAS().GetElement(n, 3) for n in range(3)], (x, y, z), atol=0.01)
    drawn = np.ptp(red.pixels().astype(int), axis=-1) > 30
    middle = drawn[100:300, 100:300]
    assert middle.any(), "its outline is in the middle of the view"
    three.look((x, y, z), 60)
    assert (np.ptp(three.pixels().astype(int), axis=-1) > 30)[150:250, 150:250].any(), "and its surface in 3D"
    red.save(folder / "red.png")

    before = panel.logic.getParameterNode().annotation
    count = before.GetSegmentation().GetNumberOfSegments() if before else 0
    for button in ("acceptButton", "rejectButton", "undoButton", "redoButton"):
        click(getattr(panel.ui, button))
    assert statuses(panel)[:2] == ["accepted", "rejected"]
    annotation = panel.logic.getParameterNode().annotation
    assert annotation.GetSegmentation().GetNumberOfSegments() == count + 1
    panel.reviewPanel.onCellClicked(1, 0)
    panel.ui.noteEdit.setFocus()
    QTest.keyClicks(panel.ui.noteEdit, "a vessel")
    QTest.keyClick(panel.ui.noteEdit, qt.Qt.Key.Key_Return)
    panel.parent.grab().save(str(folder / "panel.png"))
    red.close()
    three.close()
    shown = statuses(panel)

    assert slicer.mrmlScene.WriteToMRB(str(folder / "case.mrb"), None)
    slicer.mrmlScene.Clear(0)
    assert statuses(panel) == []
    assert slicer.mrmlScene.ReadFromMRB(str(folder / "case.mrb"), True)
    until(lambda: statuses(panel) == shown)
    panel.reviewPanel.onCellClicked(1, 0)
    assert panel.ui.noteEdit.text == "a vessel"
    annotation = panel.logic.getParameterNode().annotation
    assert annotation.GetSegmentation().GetNumberOfSegments() == count + 1
    click(panel.ui.uncertainButton)
    [log] = [read_log(path) for path in folder.glob("*.review.jsonl")]
    assert log.opinion(second).status == "uncertain", "logged beside the scene, from its first decision"
    assert [event.action for event in log.events] == ["decide", "decide", "undo", "redo", "note", "decide"]
    while panel.ui.undoButton.enabled:
        click(panel.ui.undoButton)
    assert annotation.GetSegmentation().GetNumberOfSegments() == count
    assert set(statuses(panel)) == {""}

    said = search(panel)
    assert "Searching for lesions…" not in said, "the same images: the process has their map"


def test_a_model_folder_that_was_removed_is_said_and_another_search_works(panel: Any, folder: Path) -> None:
    load_sample()
    panel.enter()
    panel.logic.settings.model = str(folder / "retrained")
    panel.refresh()
    [*_, last] = search(panel)
    assert "retrained" in last
    assert panel.ui.suggestButton.enabled
    panel.logic.settings.model = None
    panel.refresh()
    search(panel)
    assert panel.ui.statusLabel.text.startswith("Suggested lesions:")


def test_cancel_acts_at_once(panel: Any, folder: Path) -> None:
    """In the middle of the network's work; nothing is left of it, and the next search is a whole one."""
    load_sample()
    panel.enter()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    click(panel.ui.suggestButton)
    until(lambda: panel.ui.statusLabel.text == "Searching for lesions…", seconds=120)
    pid = panel.logic._worker._ready["pid"]
    click(panel.ui.suggestButton)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert panel.ui.statusLabel.text == "Cancelled."
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert list((folder / "temporary").iterdir()) == []
    search(panel)
    assert panel.ui.statusLabel.text.startswith("Suggested lesions:")
