"""Draws ``Resources/Screenshots/review.png``, by a real search of the sample study.

Usage: python Testing/screenshots.py [FOLDER]; where a folder is given, the panel's other states are drawn into it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

TESTING = Path(__file__).parent
sys.path.insert(0, str(TESTING / "Widget"))
from offscreen import new_logic, new_panel, until  # isort: split

import qt
import slicer
import slicer.util
import slicer_standin
from PIL import Image
from views import SliceView, ThreeDView

from LopsidedSeg import RESOURCES

PANEL, GAP = (440, 1060), 6
FOLDED = 22
BACKGROUND = (38, 38, 38)


def load() -> None:
    """The sample study, by the names that it has in the Sample Data module."""
    study = RESOURCES / "SampleStudy"
    for file, name in (("t1c", "T1c"), ("t1", "T1"), ("t2", "T2"), ("flair", "FLAIR")):
        slicer.util.loadVolume(str(study / f"{file}.nii.gz")).SetName(f"Sample {name}")
    annotation = slicer.util.loadSegmentation(str(study / "annotation.seg.nrrd"))
    annotation.SetName("Sample annotation")
    annotation.CreateDefaultDisplayNodes()


def main(folder: Path) -> None:
    """States of the panel into ``folder``, and one of them beside the views."""

    def grab(name: str) -> Image.Image:
        qt.QApplication.processEvents()
        path = folder / f"{name}.png"
        panel.parent.grab().save(str(path))
        return Image.open(path).convert("RGB")

    slicer_standin.clear()
    slicer.app.userSettings().clear()
    logic = new_logic()
    logic.settings.reader = "Dr. Ray"
    panel = new_panel(logic, PANEL)
    panel.enter()
    ui: Any = panel.ui
    for folded in (ui.worklistButton, ui.marksButton, ui.datasetsButton):
        folded.setFixedHeight(FOLDED)  # which the stand-in does not do by itself
    qt.QApplication.processEvents()
    panel.parent.resize(*PANEL)
    grab("panel-empty")
    load()
    panel.exit()
    panel.enter()
    ui.suggestButton.click()
    until(lambda: ui.progressBar.value > 40, 120)
    grab("panel-running")
    until(lambda: not logic.busy, 300)
    grab("panel-results")
    size = (PANEL[1] - GAP) // 2
    volume = logic.getParameterNode().reference
    views = [SliceView("Red", volume, size), ThreeDView(size), SliceView("Green", volume, size)]
    views.append(SliceView("Yellow", volume, size))
    views[0].node.SetOrientation("Axial")
    views[2].node.SetOrientation("Coronal")
    views[3].node.SetOrientation("Sagittal")
    panel.reviewPanel.onCellClicked(0, 0)
    ui.acceptButton.click()
    candidate = logic.review(logic.getParameterNode().suggestions).candidates["Suggestion_2"]
    views[1].look(candidate["centroid_ras"], 180)
    picture = Image.new("RGB", (PANEL[0] + 2 * size + 2 * GAP, PANEL[1]), BACKGROUND)
    picture.paste(grab("panel-deciding"), (0, 0))
    for n, view in enumerate(views):
        at = (PANEL[0] + GAP + (n % 2) * (size + GAP), (n // 2) * (size + GAP))
        picture.paste(Image.fromarray(view.pixels()), at)
    picture.save(TESTING.parent / "Resources" / "Screenshots" / "review.png", optimize=True)
    while logic.review(logic.getParameterNode().suggestions).opinion("Suggestion_3").status == "pending":
        ui.rejectButton.click()
    grab("panel-done")
    logic.settings.model = "/models/removed"
    panel.refresh()
    ui.suggestButton.click()
    until(lambda: not logic.busy, 60)
    grab("panel-error")
    panel.cleanup()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as unwanted:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else unwanted))
