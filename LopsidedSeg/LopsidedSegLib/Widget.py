"""The module's panel: shows what the logic knows, and passes on what the user does."""

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .Logic import Logic
from .Parameters import Parameters
from .Worker import Callbacks


class Widget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Inputs, the button, progress, and the table of suggestions."""

    def __init__(self, parent: Any, logic: Logic) -> None:
        self.logic = logic
        self._parameterNode: Parameters | None = None
        self._guiTag: int | None = None
        self._candidates: list[dict[str, Any]] = []
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LopsidedSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        header = self.ui.suggestionsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        self.ui.suggestButton.connect("clicked(bool)", self.onSuggestButton)
        self.ui.suggestionsTable.connect("cellClicked(int,int)", self.onCellClicked)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.setParameterNode(self.logic.getParameterNode())

    def cleanup(self) -> None:
        self.logic.cancel()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self) -> None:
        """A search goes on meanwhile; the panel does not follow the scene until it is entered again."""
        self._disconnect()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        if self.logic.busy:
            self.logic.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        if self.parent.isEntered:
            self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: Parameters | None) -> None:
        self._disconnect()
        self._parameterNode = parameterNode
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh)
        self.refresh()

    def _disconnect(self) -> None:
        if self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh)
            self._guiTag = None

    def onSuggestButton(self, checked: bool = False) -> None:
        if self.logic.busy:
            self.logic.cancel()
            self.refresh()
            self._say(_("Cancelled."))
            return
        self.onProgress(_("Preparing"), 0.0)
        callbacks = Callbacks(self.onProgress, self.onDone, self.onError)
        self.logic.begin(callbacks, annotation=self._parameterNode.annotation, **self._volumes())
        if self.logic.busy:
            self.refresh()

    def onProgress(self, what: str, part: float) -> None:
        self.ui.progressBar.value = round(100 * part)
        self._say(what + "…")

    def onDone(self, suggestions: Any) -> None:
        self._parameterNode.suggestions = suggestions
        self.refresh()
        count = len(self._candidates)
        self._say(_("Suggested lesions: {count}").format(count=count) if count else _("No missed lesion was found."))

    def onError(self, sentence: str) -> None:
        self.refresh()
        self._say(sentence, "color: #c0392b; font-weight: bold")

    def onCellClicked(self, row: int, column: int) -> None:
        self.logic.jumpTo(self._candidates[row])

    def refresh(self, caller: Any = None, event: Any = None) -> None:
        """Show the state of the logic and of the parameter node."""
        busy = self.logic.busy
        self.ui.inputsButton.enabled = not busy
        self.ui.progressBar.visible = busy
        self.ui.suggestButton.text = _("Cancel") if busy else _("Suggest missed lesions")
        if not busy:
            whyNot = self.logic.whyNot(**self._volumes())
            self.ui.suggestButton.enabled = not whyNot
            self.ui.suggestButton.toolTip = whyNot or _("Search the brain for lesions that the annotation lacks.")
            self._say(whyNot)
        self._fillTable()

    def _volumes(self) -> dict[str, Any]:
        names = ("reference", "t1", "t2", "flair")
        return {name: self._parameterNode and getattr(self._parameterNode, name) for name in names}

    def _say(self, sentence: str, style: str = "") -> None:
        self.ui.statusLabel.text = sentence
        self.ui.statusLabel.styleSheet = style

    def _fillTable(self) -> None:
        suggestions = self._parameterNode and self._parameterNode.suggestions
        result = self.logic.result(suggestions)
        self._candidates = result["candidates"] if result else []
        self.ui.resultLabel.text = (
            _("{name}: model {model}, confidence of at least {threshold:.0%}").format(
                name=suggestions.GetName(), model=result["model"]["name"], threshold=result["threshold"]
            )
            if result
            else _("Suggestions are listed here. Click one to see it.")
        )
        table = self.ui.suggestionsTable
        table.setRowCount(len(self._candidates))
        for row, candidate in enumerate(self._candidates):
            texts = (
                f"{candidate['rank']}",
                f"{candidate['confidence']:.0%}",
                f"{candidate['longest_diameter_mm']:.1f}",
                f"{candidate['volume_mm3']:.1f}",
            )
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(qt.Qt.AlignCenter)
                table.setItem(row, column, item)
