"""The part of the panel from which cases go to a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from .Export import Export
from .ExportAll import ExportAll
from .Logic import Logic
from .Worker import Callbacks
from .WorklistPanel import WorklistPanel


class ExportPanel:
    """``case`` gives what there is to export, without where it goes; ``busy`` is told when it starts and ends."""

    def __init__(
        self,
        ui: Any,
        logic: Logic,
        case: Callable[[], dict[str, Any]],
        worklistPanel: WorklistPanel,
        callbacks: Callbacks,
        busy: Callable[[], None],
    ) -> None:
        self.ui, self.logic, self._case, self._callbacks, self._busy = ui, logic, case, callbacks, busy
        self._worklistPanel = worklistPanel
        self._everything: ExportAll | None = None
        self._reference: Any = None
        ui.datasetButton.connect("clicked(bool)", lambda checked=False: self.onDataset())
        ui.exportButton.connect("clicked(bool)", lambda checked=False: self.onExport())
        ui.exportAllButton.connect("clicked(bool)", lambda checked=False: self.onExportAll())
        ui.patientEdit.connect("textChanged(QString)", lambda text: self.refresh())

    def refresh(self) -> None:
        """Show what is missing. What is said of a case is not said of the next volume that is chosen."""
        export = self._export()
        if not export.opened and export.sequences["t1c"] is not self._reference:
            self.ui.wholeCaseCheckBox.checked = False
        self._reference = export.sequences["t1c"]
        folder = self.logic.settings.dataset
        self.ui.datasetLabel.text = str(folder) if folder else _("No dataset chosen.")
        self.ui.keyLabel.text = _("Names become pseudonyms; their key is {file}").format(
            file=self.logic.settings.keyFile
        )
        whyNot = export.whyNot()
        self.ui.exportButton.enabled = not whyNot and not self.logic.busy
        self.ui.exportButton.toolTip = whyNot or _("Add your work on this case to the dataset, or replace it there.")
        whyNot = self._whyNotAll()
        self.ui.exportAllButton.enabled = not whyNot and not self.logic.busy
        self.ui.exportAllButton.toolTip = whyNot or _(
            "Add your work on each case of the worklist that is reviewed, as you left it, or replace it there."
        )

    def onDataset(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.ui.exportButton, _("Dataset folder"))
        if folder:
            self.logic.settings.dataset = Path(folder)
        self.refresh()

    def onExport(self) -> None:
        self._callbacks.progress(_("Preparing"), 0.0)
        done = Callbacks(self._callbacks.progress, self.onDone, self._callbacks.error)
        self.logic.beginExport(done, self._export())
        self._busy()

    def onExportAll(self) -> None:
        """From what is kept, the case that is open included."""
        if not self._worklistPanel.save():
            return
        self._callbacks.progress(_("Preparing"), 0.0)
        callbacks = Callbacks(self._callbacks.progress, self.onAllDone, self._callbacks.error)
        again = bool(self.ui.againCheckBox.checked)
        everything = self.logic.beginExportAll(
            callbacks, self._worklistPanel.worklist, self.logic.settings.dataset, again
        )
        self._everything = everything if self.logic.busy else None
        self._busy()

    def onDone(self, found: tuple[str, int]) -> None:
        name, lesions = found
        self._callbacks.done(_("Exported as {name}; lesions: {lesions}.").format(name=name, lesions=lesions))

    def onAllDone(self, everything: ExportAll) -> None:
        self._everything = None
        tell = self._callbacks.error if everything.failed else self._callbacks.done
        tell(everything.summary())

    def cancelled(self) -> str:
        """What to say after it was."""
        everything, self._everything = self._everything, None
        if not everything:
            return _("Cancelled.")
        return "\n".join([_("Cancelled."), everything.summary()])

    def _whyNotAll(self) -> str:
        worklist = self._worklistPanel.worklist
        if not worklist:
            return _("Open a worklist.")
        if not worklist.reviewed():
            return _("No case of the worklist is reviewed yet.")
        return "" if self.logic.settings.dataset else _("Choose the dataset's folder.")

    def _export(self) -> Export:
        return Export(
            dataset=self.logic.settings.dataset,
            patient=self.ui.patientEdit.text,
            case=self.ui.caseEdit.text or "1",
            wholeCase=bool(self.ui.wholeCaseCheckBox.checked),
            again=bool(self.ui.againCheckBox.checked),
            opened=self._worklistPanel.reference,
            **self._case(),
        )
