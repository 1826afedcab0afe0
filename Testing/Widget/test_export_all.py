"""The reviewed cases of a worklist, exported at once: what can be is, and what cannot be is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer.util
from lopsided.dataset.check import check_dataset
from lopsided.dataset.records import CaseRecord, read_record
from lopsided.marks import Point
from LopsidedSegLib.Export import Export
from LopsidedSegLib.ExportAll import ExportAll
from LopsidedSegLib.Worker import Callbacks
from offscreen import click, open_panel, until, watched

REAL = [sys.executable, "-m", "lopsided.worker"]


@pytest.fixture
def panel(logic: Any, cases: Any, tmp_path: Path) -> Iterator[Any]:
    """Four cases; of the first three, each is reviewed and has a mark, and the third is open."""
    logic.settings.reader = "Dr. Ray"
    logic.settings.dataset = tmp_path / "dataset"
    with open_panel(logic, (440, 1700)) as panel:
        assert panel.ui.exportAllButton.toolTip == "Open a worklist."
        panel.worklistPanel.open(cases("eins", "zwei", "drei", "vier"))
        assert panel.ui.exportAllButton.toolTip == "No case of the worklist is reviewed yet."
        for n in range(3):
            if n:
                click(panel.ui.nextCaseButton)
            panel.marksPanel.marks.add(Point((8, 10 + n, 12), 5))
            click(panel.ui.reviewedButton)
        yield panel


def export_all(panel: Any) -> list[str]:
    return watched(panel, panel.ui.exportAllButton, 120)


def readings(dataset: Path) -> list[CaseRecord]:
    return [read_record(path, CaseRecord) for path in (dataset / "reviews").iterdir()]


def test_what_is_exported_is_what_each_case_by_itself_is(panel: Any, worker: Any, tmp_path: Path) -> None:
    """Of a review with all kinds of lesions; by the real process, which does not know the scene."""
    ui, logic = panel.ui, panel.logic
    click(ui.previousCaseButton)
    click(ui.suggestButton)
    until(lambda: not logic.busy)
    panel.reviewPanel.onCellClicked(0, 0)
    click(ui.acceptButton)
    click(ui.rejectButton)
    ui.wholeCaseCheckBox.checked = ui.snapCheckBox.checked = True
    worker.stop()
    worker.command = REAL
    click(ui.exportButton)
    until(lambda: not logic.busy, 120)
    by_itself, logic.settings.dataset = logic.settings.dataset, tmp_path / "all"
    panel.exportPanel.refresh()
    said = export_all(panel)
    cases = [sentence.split(":")[0] for sentence in said if " of 3, " in sentence]
    assert cases
    assert cases == sorted(cases)
    assert said[-1] == ui.statusLabel.text == "3 of 3 reviewed cases are exported."
    assert [p.what for p in check_dataset(tmp_path / "all")] == []
    [alone] = readings(by_itself)
    assert {lesion.kind: lesion.snapped for lesion in alone.readings[0].lesions} == {"point": True, "suggestion": False}
    assert {s.status for s in alone.readings[0].suggestions} == {"accepted", "rejected"}
    assert alone in readings(tmp_path / "all")
    assert len(readings(tmp_path / "all")) == 3
    assert [r.readings[0].whole_case for r in readings(tmp_path / "all")].count(True) == 1
    name = f"{alone.case}.nii.gz"
    for folder in ("labelsTr", "trust"):
        assert (tmp_path / "all" / folder / name).read_bytes() == (by_itself / folder / name).read_bytes()


def test_one_that_fails_does_not_stop_the_rest_and_is_named(panel: Any, worker: Any, tmp_path: Path) -> None:
    worklist = panel.worklistPanel.worklist
    (worklist.folder(worklist.cases[0]) / "work.json").write_text("{}, broken", encoding="utf-8")
    (tmp_path / "1.nii.gz").unlink()
    worker.command = REAL
    [*_, last] = export_all(panel)
    first, *failed = last.splitlines()
    assert first == "1 of 3 reviewed cases are exported."
    assert [line.split(":")[0] for line in failed] == ["eins", "zwei"]
    assert "work.json: is not what it should be" in failed[0]
    assert "1.nii.gz: no such file" in failed[1]
    assert len(readings(tmp_path / "dataset")) == 1
    assert panel.ui.nextCaseButton.enabled


@pytest.mark.parametrize("how", ["crash", "error", "none"])
def test_a_process_that_ends_fails_one_case_at_a_time(panel: Any, worker: Any, fake: Any, how: str) -> None:
    worker.command = ["/there/is/no/such/process"] if how == "none" else fake(how)
    first, *failed = export_all(panel)[-1].splitlines()
    assert first == "0 of 3 reviewed cases are exported."
    assert [line.split(":")[0] for line in failed] == ["eins", "zwei", "drei"]
    worker.stop()
    worker.command = fake("done")
    assert export_all(panel)[-1] == "3 of 3 reviewed cases are exported."


def test_cancel_says_how_far_it_was_and_what_is_done_meanwhile_is_not_lost(panel: Any, worker: Any, fake: Any) -> None:
    """Going to another case would end the export; so it waits."""
    ui = panel.ui
    worker.command = fake("slow")
    click(ui.exportAllButton)
    until(lambda: ui.statusLabel.text.startswith("2 of 3, zwei: "))
    assert ui.progressBar.value > 33
    for button in ("nextCaseButton", "previousCaseButton", "casesTable", "listFileButton", "listSceneButton"):
        assert not getattr(ui, button).enabled
    panel.marksPanel.marks.add(Point((4, 5, 6), 4))
    assert ui.suggestButton.text == "Cancel"
    click(ui.suggestButton)
    assert ui.statusLabel.text == "Cancelled.\n1 of 3 reviewed cases are exported."
    assert not panel.logic.busy
    assert ui.nextCaseButton.enabled
    click(ui.nextCaseButton)
    click(ui.previousCaseButton)
    assert ui.marksTable.rowCount == 2
    click(ui.suggestButton)
    until(lambda: ui.progressBar.value == 42)
    click(ui.suggestButton)
    assert ui.statusLabel.text == "Cancelled."


def test_work_that_cannot_be_kept_is_not_exported_as_it_was(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from LopsidedSegLib.CaseWork import CaseWork

    monkeypatch.setattr(CaseWork, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    click(panel.ui.exportAllButton)
    assert not panel.logic.busy
    assert "could not be kept" in panel.ui.statusLabel.text
    monkeypatch.undo()


def test_cases_of_the_scene_are_exported_too(panel: Any, worker: Any, volume: Any, tmp_path: Path) -> None:
    """One of them open, the other not; a volume that is gone is named."""
    ui = panel.ui
    for name in ("Doe T1c", "Poe T1c", "Roe T1c"):
        volume(name)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    click(ui.listSceneButton)
    for n in range(3):
        if n:
            click(ui.nextCaseButton)
        panel.marksPanel.marks.add(Point((-3, -35, 20), 6))
        click(ui.reviewedButton)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Poe T1c"))
    worker.command = REAL
    said = export_all(panel)[-1].splitlines()
    assert said == ["2 of 3 reviewed cases are exported.", "Poe: Poe T1c is not in the scene any more."]
    assert check_dataset(tmp_path / "dataset") != [], "their images are the same, which the check points out"
    found = [reading.lesions for record in readings(tmp_path / "dataset") for reading in record.readings]
    assert [[lesion.kind for lesion in lesions] for lesions in found] == [["point"], ["point"]]


def test_any_number_of_cases_can_fail_at_once() -> None:
    done: list[ExportAll] = []
    exports = {str(n): Export({}, None, "p", str(n)) for n in range(3000)}
    ExportAll(exports, lambda callbacks, export: callbacks.error("no"), Callbacks(print, done.append, print)).begin()
    assert [len(all_.failed) for all_ in done] == [3000]
