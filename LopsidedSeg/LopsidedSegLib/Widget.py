"""The module's panel: inputs, the button and progress, and what a user sets once."""

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .Annotation import whyNotAnnotation
from .ExportPanel import ExportPanel
from .Logic import Logic
from .Parameters import Parameters
from .Review import ANNOTATION_REFERENCE, KNOWN_REFERENCE, whyNotOn
from .ReviewPanel import ReviewPanel
from .Scene import suggestionsOn
from .Worker import Callbacks
from .WorklistPanel import WorklistPanel

INPUTS = ("reference", "t1", "t2", "flair")
_BRAIN_ML = 400.0  # lesions do not fill as much, masks of a brain and its anatomy do
ERROR_COLOURS = {True: "#ff8a7a", False: "#b3261e"}  # in a dark window, and in a light one


class Widget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Shows what the logic knows, and passes on what the user does; the review of suggestions has a part of its own."""

    def __init__(self, parent: Any, logic: Logic) -> None:
        self.logic = logic
        self._parameterNode: Parameters | None = None
        self._guiTag: int | None = None
        self._reference: Any = None
        self._ofCase: dict[str, Any] = {}  # what is chosen for the open case, while a scene is added
        self._entered = False
        self._outcome: tuple[str, bool] | None = None  # of what ended while another module was shown
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        from .MarksPanel import MarksPanel  # needs SimpleITK, which takes its time to import

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LopsidedSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui.suggestButton.connect("clicked(bool)", self.onSuggestButton)
        self.ui.modelSelector.connect("activated(int)", self.onModel)
        self.ui.terminologySelector.connect("activated(int)", self.onTerminology)
        self.ui.readerEdit.connect("editingFinished()", self.onReader)
        self.ui.folderButton.connect("clicked(bool)", self.onFolderButton)
        self.reviewPanel = ReviewPanel(self.ui, self.logic, slicer.util.mainWindow() or self.parent, self._say)
        self.marksPanel = MarksPanel(self.ui, self.logic, self._say)
        settle = self.reviewPanel.keepNote
        self.worklistPanel = WorklistPanel(self.ui, self.logic, self._conclude, settle, self.onCaseOpened)
        callbacks = Callbacks(self.onProgress, self.onExported, self.onError)
        self.exportPanel = ExportPanel(
            self.ui, self.logic, self._caseToExport, self.worklistPanel, callbacks, self.refreshIfBusy
        )
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeRemoved)
        self._sceneChanged = qt.QTimer()
        self._sceneChanged.setSingleShot(True)
        self._sceneChanged.connect("timeout()", self.onSceneChanged)
        self.setParameterNode(self.logic.getParameterNode())
        if self.parent.isEntered:  # reloaded while it is shown
            self.enter()

    def cleanup(self) -> None:
        self.worklistPanel.leave()
        self.logic.cancel()
        self.setParameterNode(None)
        self.removeObservers()
        self._sceneChanged.stop()  # leaving a case has removed its nodes
        self.reviewPanel.cleanup()

    def enter(self) -> None:
        self._entered = True
        self.setParameterNode(self.logic.getParameterNode())
        self._guess()
        if self._outcome:
            self._say(*self._outcome)
        self._outcome = None
        self.logic.warmUp()
        self.reviewPanel.enableKeys(True)

    def exit(self) -> None:
        """A search goes on meanwhile; the panel does not follow the scene until it is entered again."""
        self._entered = False
        self._disconnect()
        self.reviewPanel.enableKeys(False)
        self.marksPanel.close()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.worklistPanel.forget()
        if self.logic.busy:
            self.logic.cancel()
            self.exportPanel.cancelled()
        self.setParameterNode(None)

    def onSceneStartImport(self, caller: Any, event: Any) -> None:
        """What was chosen in a scene that is added would be kept as the open case's work."""
        names = (*INPUTS, "annotation", "suggestions") if self.worklistPanel.reference else ()
        self._ofCase = {name: getattr(self.logic.getParameterNode(), name) for name in names}

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        for name, node in self._ofCase.items():
            setattr(self.logic.getParameterNode(), name, node)
        self._ofCase = {}  # else its images stay in memory when it is left
        self._sceneChanged.start(0)  # until a bundle is read whole, its scene is said to be in a temporary folder

    def onSceneChanged(self, caller: Any = None, event: Any = None) -> None:
        if self._entered:
            self.setParameterNode(self.logic.getParameterNode())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        self.worklistPanel.onRemoved(node)
        for name in (*INPUTS, "annotation"):
            if self._parameterNode and getattr(self._parameterNode, name) is node:
                setattr(self._parameterNode, name, None)  # else its selector goes to the one before in the list
                self._sceneChanged.start(0)  # when it is gone

    def setParameterNode(self, parameterNode: Parameters | None) -> None:
        self._disconnect()
        self._parameterNode = parameterNode
        self._offerAnnotations()  # before its selector is shown what is chosen
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
            self._say(self.exportPanel.cancelled())
            return
        self.onProgress(_("Preparing"), 0.0)
        callbacks = Callbacks(self.onProgress, self.onDone, self.onError)
        annotation, marks = self._parameterNode.annotation, self.marksPanel.marks
        self.logic.begin(callbacks, annotation=annotation, marks=marks, **self._volumes())
        self.refreshIfBusy()

    def onProgress(self, what: str, part: float) -> None:
        self.ui.progressBar.value = round(100 * part)
        self._say(what + "…")

    def onDone(self, suggestions: Any) -> None:
        self.worklistPanel.goOn(suggestions)
        self.refresh()
        if not self.worklistPanel.save() or not self.reviewPanel.review:
            return  # it said why, or whose they are
        count = self.reviewPanel.count
        annotated = sum(self.reviewPanel.review.result.get("annotation", {}).values()) / 1000
        if not count and annotated > _BRAIN_ML:
            sentence = _(
                "No missed lesion was found, but the annotation fills {volume:.0f} ml, as a brain does: "
                "choose the segmentation of known lesions, or none, and search again."
            )
            self._conclude(sentence.format(volume=annotated), error=True)
            return
        found = _("Suggested lesions: {count}").format(count=count)
        self._conclude(found if count else _("No missed lesion was found."))

    def onExported(self, sentence: str) -> None:
        self.refresh()
        self._conclude(sentence)

    def onCaseOpened(self) -> None:
        self.marksPanel.close()  # it knows nothing of marks that it did not see being made
        self.refresh()

    def onError(self, sentence: str) -> None:
        self.refresh()
        self._conclude(sentence, error=True)

    def onModel(self, index: int) -> None:
        """One that is listed, or with the last item a folder that is asked for."""
        models = list(self.logic.settings.models())
        chosen = models[index] if index < len(models) else ""
        if not chosen:
            chosen = qt.QFileDialog.getExistingDirectory(self.parent, _("Model folder"))
        if chosen:
            self.logic.settings.model = chosen
        self.refresh()

    def onTerminology(self, index: int) -> None:
        self.logic.settings.terminology = list(self.logic.terminologies(self._annotation))[index]

    def onReader(self) -> None:
        self.ui.readerEdit.modified = False
        if self.ui.readerEdit.text != self.logic.settings.reader:
            reader = self.ui.readerEdit.text
            self._say("")
            self.worklistPanel.changeReader(reader)  # it says what came of that, which a refresh would say over
            self._showSettings()
            self.reviewPanel.show(self._parameterNode)
            self.worklistPanel.refresh()

    def onFolderButton(self, checked: bool = False) -> None:
        """Choose where the logs go; a second click has them where they went before."""
        settings = self.logic.settings
        folder = "" if settings.folder else qt.QFileDialog.getExistingDirectory(self.parent, _("Log folder"))
        settings.folder = Path(folder) if folder else None
        self.refresh()

    def refresh(self, caller: Any = None, event: Any = None) -> None:
        """Show the state of the logic, of the settings and of the parameter node."""
        self._listAgain()
        self._offerAnnotations()
        busy = self.logic.busy
        self.ui.inputsButton.enabled = not busy
        self.ui.progressBar.visible = busy
        self.ui.suggestButton.text = _("Cancel") if busy else _("Suggest missed lesions")
        if not busy:
            whyNot = self.logic.whyNot(**self._volumes(), annotation=self._annotation)
            self.ui.suggestButton.enabled = not whyNot
            self.ui.suggestButton.toolTip = whyNot or _("Search the brain for lesions that the annotation lacks.")
            self._say(whyNot)
        self._showSettings()
        self.reviewPanel.show(self._parameterNode)
        if self._entered:  # marks are not drawn over other modules
            self.marksPanel.show(self._parameterNode and self._parameterNode.reference)
        self.exportPanel.refresh()
        self.worklistPanel.refresh()

    def refreshIfBusy(self) -> None:
        """After something was started; what could not be started has said why."""
        if self.logic.busy:
            self.refresh()

    def _listAgain(self) -> None:
        """The suggestions of a volume that is chosen again after another was searched, with the annotation that they were
        accepted into, or found beside: the one that is chosen is the other's. A case of a worklist has its own."""
        reference = self._parameterNode and self._parameterNode.reference
        isAnother, self._reference = reference is not self._reference, reference
        if not reference or not isAnother or self.worklistPanel.reference:
            return
        listed, found = self._parameterNode.suggestions, suggestionsOn([reference])
        if found and (not listed or whyNotOn(listed, reference)):
            annotation = found.GetNodeReference(ANNOTATION_REFERENCE) or found.GetNodeReference(KNOWN_REFERENCE)
            if listed or annotation:
                self._parameterNode.annotation = annotation
            self._parameterNode.suggestions = found

    def _offerAnnotations(self) -> None:
        """As the annotation, no suggestions. What is chosen stays in the list, else its selector goes to the one before."""
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        others = [node for node in nodes if whyNotAnnotation(node) and node is not self._annotation]
        self.ui.annotationSelector.sortFilterProxyModel().hiddenNodeIDs = [node.GetID() for node in others]

    def _showSettings(self) -> None:
        settings = self.logic.settings
        models, kinds = settings.models(), self.logic.terminologies(self._annotation)
        self._fill(self.ui.modelSelector, [*models.values(), _("Another folder…")])
        self.ui.modelSelector.currentIndex = list(models).index(settings.model) if settings.model else 0
        self._fill(self.ui.terminologySelector, list(kinds.values()))
        self.ui.terminologySelector.currentIndex = list(kinds).index(settings.terminology)
        self.ui.readerEdit.enabled = not self.logic.exporting  # which opening the list for another would end
        if not self.ui.readerEdit.modified:  # else it is being typed
            self.ui.readerEdit.text = settings.reader
        without = _("With the worklist") if settings.worklistLogs else _("Beside the scene")
        self.ui.folderButton.text = without if settings.folder else _("Choose…")
        self.ui.folderButton.toolTip = (
            _("Have the logs there again, and no more in the folder that was chosen.")
            if settings.folder
            else _("A folder for logs: each decision is written there at once, and never overwritten.")
        )

    @staticmethod
    def _fill(selector: Any, names: list[str]) -> None:
        selector.clear()
        selector.addItems(names)

    @property
    def _annotation(self) -> Any:
        return self._parameterNode and self._parameterNode.annotation

    def _caseToExport(self) -> dict[str, Any]:
        volumes = self._volumes()
        return {
            "sequences": {"t1c": volumes.pop("reference"), **volumes},
            "annotation": self._annotation,
            "review": self.reviewPanel.review,
            "marks": self.marksPanel.marks,
            "snapped": self.marksPanel.snapped,
        }

    def _volumes(self) -> dict[str, Any]:
        return {name: self._parameterNode and getattr(self._parameterNode, name) for name in INPUTS}

    def _guess(self) -> None:
        """Choose inputs by their names, where none was chosen, and say so."""
        names = (*INPUTS, "annotation")
        if any(getattr(self._parameterNode, name) for name in names):
            return
        found = self.logic.guessInputs()
        for name, node in found.items():
            setattr(self._parameterNode, name, node)
        if found:
            chosen = ", ".join(found[name].GetName() for name in names if name in found)
            self._say(_("Chosen by their names: {chosen}. Check before you search.").format(chosen=chosen))

    def _conclude(self, sentence: str, error: bool = False) -> None:
        """Say what something came to; again on coming back, where it was not seen."""
        self._say(sentence, error)
        self._outcome = None if self._entered else (sentence, error)

    def _say(self, sentence: str, error: bool = False) -> None:
        self.ui.statusLabel.text = sentence
        dark = self.parent.palette.window().color().lightness() < 128
        self.ui.statusLabel.styleSheet = f"color: {ERROR_COLOURS[dark]}; font-weight: bold" if error else ""
