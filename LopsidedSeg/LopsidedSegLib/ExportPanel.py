"""The part of the panel from which a case goes to a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from .Export import Export
from .Logic import Logic
from .Worker import Callbacks


class ExportPanel:
    """``case`` gives what there is to export, without where it goes; ``busy`` is told when it starts and ends."""

    def __init__(
        self, ui: Any, logic: Logic, case: Callable[[], dict[str, Any]], callbacks: Callbacks, busy: Callable[[], None]
    ) -> None:
        self.ui, self.logic, self._case, self._callbacks, self._busy = ui, logic, case, callbacks, busy
        ui.datasetButton.connect("clicked(bool)", lambda checked=False: self.onDataset())
        ui.exportButton.connect("clicked(bool)", lambda checked=False: self.onExport())
        ui.patientEdit.connect("textChanged(QString)", lambda text: self.refresh())

    def refresh(self) -> None:
        """Show what is missing."""
        folder = self.logic.settings.dataset
        self.ui.datasetLabel.text = str(folder) if folder else _("No dataset chosen.")
        self.ui.keyLabel.text = _("Names become pseudonyms; their key is {file}").format(
            file=self.logic.settings.keyFile
        )
        whyNot = self._export().whyNot()
        self.ui.exportButton.enabled = not whyNot and not self.logic.busy
        self.ui.exportButton.toolTip = whyNot or _("Add your work on this case to the dataset, or replace it there.")

    def onDataset(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.ui.exportButton, _("Dataset folder"))
        if folder:
            self.logic.settings.dataset = Path(folder)
        self.refresh()

    def onExport(self) -> None:
        done = Callbacks(self._callbacks.progress, self.onDone, self._callbacks.error)
        self.logic.beginExport(done, self._export())
        self._busy()

    def onDone(self, found: tuple[str, int]) -> None:
        name, lesions = found
        self._callbacks.done(_("Exported as {name}: {lesions} lesions.").format(name=name, lesions=lesions))

    def _export(self) -> Export:
        return Export(
            dataset=self.logic.settings.dataset,
            patient=self.ui.patientEdit.text,
            case=self.ui.caseEdit.text or "1",
            wholeCase=bool(self.ui.wholeCaseCheckBox.checked),
            again=bool(self.ui.againCheckBox.checked),
            **self._case(),
        )
