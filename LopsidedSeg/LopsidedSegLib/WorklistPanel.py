"""The part of the panel that leads through a list of cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from .CaseWork import CaseWork
from .Logic import Logic
from .SceneCases import SceneCase
from .Widgets import setCell
from .WorkFiles import unwritten


class WorklistPanel:
    """Opens cases one after the other. Leaving one keeps the reader's work on it."""

    def __init__(
        self,
        ui: Any,
        logic: Logic,
        say: Callable[[str, bool], None],
        settle: Callable[[], None],
        opened: Callable[[], None],
    ) -> None:
        """``settle`` takes what is still being typed; ``opened`` is told of each case, to show what was drawn on it
        before."""
        self.ui, self.logic, self._say, self._settle, self._opened = ui, logic, say, settle, opened
        self._worklist: Any = None
        self._source: Path | None = None
        self._afterwards: Any = None
        self._case: Any = None
        self._work: CaseWork | None = None
        self._rows: list[Any] = []
        # by lopsided.worklist.CaseStatus, which needs more to be imported
        self._words = {
            "not started": _("not started"),
            "in progress": _("in progress"),
            "reviewed": _("reviewed"),
            "flagged": _("flagged"),
        }
        ui.caseFilter.addItems([_("all"), *self._words.values()])
        ui.casesTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        ui.listFileButton.connect("clicked(bool)", lambda checked=False: self.onFile())
        ui.listFolderButton.connect("clicked(bool)", lambda checked=False: self.onFolder())
        ui.listSceneButton.connect("clicked(bool)", lambda checked=False: self.open(None))
        ui.caseFilter.connect("currentIndexChanged(int)", lambda index: self.refresh())
        ui.casesTable.connect("cellDoubleClicked(int,int)", lambda row, column: self.goTo(self._rows[row]))
        ui.previousCaseButton.connect("clicked(bool)", lambda checked=False: self.onStep(-1))
        ui.nextCaseButton.connect("clicked(bool)", lambda checked=False: self.onStep(1))
        ui.reviewedButton.connect("clicked(bool)", lambda checked=False: self.onStatus("reviewed"))
        ui.flagButton.connect("clicked(bool)", lambda checked=False: self.onStatus("flagged"))

    def onFile(self) -> None:
        found = qt.QFileDialog.getOpenFileName(self.ui.listFileButton, _("Worklist"), "", "CSV (*.csv)")
        found = found[0] if isinstance(found, tuple) else found  # PySide's way, PythonQt's way
        if found:
            self.open(Path(found))

    def onFolder(self) -> None:
        found = qt.QFileDialog.getExistingDirectory(self.ui.listFolderButton, _("Folder of cases"))
        if found:
            self.open(Path(found))

    @property
    def worklist(self) -> Any:
        """The one that is open, a :class:`lopsided.worklist.Worklist`; None where none is."""
        return self._worklist

    @property
    def reference(self) -> Any:
        """The post-contrast T1 of the case that is open; None where none is."""
        return self._work and self._work.reference

    def open(self, source: Path | None) -> None:
        """A list, or the scene's cases for None, at the case where this reader left it. What cannot be opened leaves
        everything as it is."""
        worklist = self._read(source)
        if worklist and self.leave():
            self._begin(worklist, source)

    def _read(self, source: Path | None) -> Any:
        """None, and a sentence, where it cannot be."""
        try:
            return self.logic.openWorklist(source)
        except (RuntimeError, OSError, ValueError) as error:
            self._say(str(error), True)
            return None

    def _begin(self, worklist: Any, source: Path | None) -> None:
        self._source, self._worklist, self.logic.settings.worklistLogs = source, worklist, worklist.logs
        self.goTo(self._worklist.resume())

    def goTo(self, case: Any) -> None:
        """Keep the work on the case that is open, and open another. One that cannot be opened is said and skipped."""
        if not self.leave():
            return
        work, label = self.logic.caseWork(self._worklist, case), self._worklist.label(case)
        self._case = case
        try:
            work.open(self.logic.getParameterNode())
        except (RuntimeError, OSError, ValueError) as error:
            self._say(_("{case} cannot be opened: {error}").format(case=label, error=error), True)
        else:
            self._work = work
            self._tell(case.patient, case.case, work.wholeCase)
            if work.snapped is not None:
                self.ui.snapCheckBox.checked = work.snapped
            self._opened()
            begun = self._worklist.status(case) != "not started" or self._setStatus("in progress")
            if self.save() and begun:  # what was searched ahead too, which the log of decisions belongs to
                self._say(_("Opened {case}.").format(case=label), False)
        self.refresh()
        following = self._worklist.step(case, 1, {"not started"})
        if following:
            self.logic.searchAhead(following, self._worklist.folder(following))

    def leave(self) -> bool:
        """Keep the work on the case that is open, and close it; False, and a sentence, where it cannot be kept.

        A search that runs is of what was chosen until now, in a case or not, and ends.
        """
        if self.logic.busy:
            self.logic.cancel()
        if not self._work:
            return True
        if not self.save():
            return False
        work, self._case, self._work = self._work, None, None
        work.close()
        self._tell()
        return True

    def _tell(self, patient: str = "", case: str = "", wholeCase: bool = False) -> None:
        """Under which name an export goes, and what the reader says of it: nothing where no case is open."""
        self.ui.patientEdit.text, self.ui.caseEdit.text = patient, case
        self.ui.wholeCaseCheckBox.checked = wholeCase

    def changeReader(self, reader: str) -> None:
        """What is open is kept as the one reader's work, and opened again as the other has it; as it is where it cannot be."""
        settings = self.logic.settings
        if self._worklist is None:
            settings.reader = reader
            return
        before, settings.reader = settings.reader, reader
        worklist = self._read(self._source)
        settings.reader = before
        if worklist and self.leave():
            settings.reader = reader
            self._begin(worklist, self._source)

    def onRemoved(self, node: Any) -> None:
        """Of a node that is about to be removed: what was drawn on it is kept before it goes."""
        if not self._work or node is not self._work.reference:
            return
        self._settle()
        work, self._work = self._work, None
        sentence = _("{name} is removed. Your work on it is kept: open {case} again to go on.")
        sentence = sentence.format(name=node.GetName(), case=self._worklist.label(self._case))
        try:
            self._keep(work)
            work.hold()
        except (RuntimeError, OSError) as error:
            sentence = self._unkept(error, work)
            work = None  # what is drawn stays in the scene, without the volume

        self._tell()

        def end() -> None:
            if work:
                work.close()
            self._say(sentence, True)

        self._afterwards = qt.QTimer()  # not in the middle of removing that node
        self._afterwards.setSingleShot(True)
        self._afterwards.connect("timeout()", end)
        self._afterwards.start(0)

    def goOn(self, suggestions: Any) -> None:
        """Show what a search found; on a case of the list, with what was decided before."""
        self._settle()
        if self._work:
            self._work.goOn(suggestions)
        else:
            self.logic.getParameterNode().suggestions = suggestions

    def save(self) -> bool:
        """Keep the work on the case that is open."""
        self._settle()
        try:
            moved = self._keep(self._work) if self._work else ""
        except (RuntimeError, OSError) as error:
            self._say(self._unkept(error, self._work), True)
            return False
        if moved:
            self._say(moved, True)
        return not moved

    @staticmethod
    def _unkept(error: Exception, work: CaseWork) -> str:
        sentence = _("The work on this case could not be kept: {error}")
        return sentence.format(error=unwritten(error, work.folder.parent))

    def _keep(self, work: CaseWork) -> str:
        return work.save(bool(self.ui.snapCheckBox.checked), bool(self.ui.wholeCaseCheckBox.checked))

    def forget(self) -> None:
        """The scene is closed: what was done is kept, and there is no case any more, nor a list of the scene's."""
        self.save()
        self._case, self._work = None, None
        self._tell()
        if self._worklist and isinstance(self._worklist.cases[0], SceneCase):
            self._worklist = self.logic.settings.worklistLogs = None
        self.refresh()

    def onStep(self, by: int) -> None:
        case = self._worklist.step(self._case, by, self._wanted) if self._case else self._worklist.resume()
        if case:
            self.goTo(case)
        else:
            self._say(_("There is no such case before.") if by < 0 else _("There is no such case after."), False)

    def onStatus(self, status: str) -> None:
        """Of the case that is open; a second click takes it back."""
        before = self._worklist.status(self._case)
        self._setStatus("in progress" if before == status else status)
        self.save()
        self.refresh()

    def _setStatus(self, status: str) -> bool:
        """False, and a sentence, where it could not be written."""
        try:
            self._worklist.set_status(self._case, status)
        except (OSError, ValueError) as error:
            sentence = _("The status of this case could not be kept: {error}")
            folder = self._worklist.folder(self._case).parent
            self._say(sentence.format(error=unwritten(error, folder)), True)
            return False
        return True

    @property
    def _wanted(self) -> set[str] | None:
        """The status that the filter lets through; None for all."""
        chosen = self.ui.caseFilter.currentIndex
        return {list(self._words)[chosen - 1]} if chosen > 0 else None

    def refresh(self) -> None:
        """Show the list and how far it is."""
        worklist, table = self._worklist, self.ui.casesTable
        exporting = self.logic.exporting  # which going to another case would end
        for widget in ("listFileButton", "listFolderButton", "listSceneButton"):
            getattr(self.ui, widget).enabled = not exporting
        for widget in ("casesTable", "caseFilter", "previousCaseButton", "nextCaseButton"):
            getattr(self.ui, widget).enabled = worklist is not None and not exporting
        self.ui.reviewedButton.enabled = self._work is not None
        self.ui.flagButton.enabled = self._case is not None  # one that cannot be opened too
        cases = worklist.cases if worklist else []
        self._rows = [case for case in cases if self._wanted is None or worklist.status(case) in self._wanted]
        table.setRowCount(len(self._rows))
        for row, case in enumerate(self._rows):
            for column, text in enumerate((worklist.label(case), self._words[worklist.status(case).value])):
                setCell(table, row, column, text)
        if self._case in self._rows:
            table.selectRow(self._rows.index(self._case))
        else:
            table.clearSelection()
        self.ui.progressLabel.text = ""
        if worklist:
            count = worklist.count()
            sentence = _("{done} of {all} cases reviewed, {flagged} flagged.")
            self.ui.progressLabel.text = sentence.format(
                done=count["reviewed"], all=len(worklist.cases), flagged=count["flagged"]
            )
