"""The module's panel: shows what the logic knows, and passes on what the user does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from lopsided.review import Status
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .Logic import Logic
from .Parameters import Parameters
from .Review import Review
from .Worker import Callbacks

ERROR_STYLE = "color: #c0392b; font-weight: bold"
DECISIONS = (
    ("acceptButton", "A", Status.ACCEPTED),
    ("rejectButton", "R", Status.REJECTED),
    ("uncertainButton", "U", Status.UNCERTAIN),
)


class Widget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Inputs, the button and progress; the list of suggestions, and what is decided about them."""

    def __init__(self, parent: Any, logic: Logic) -> None:
        self.logic = logic
        self._parameterNode: Parameters | None = None
        self._guiTag: int | None = None
        self._review: Review | None = None
        self._rows: list[str] = []
        self._selected: str | None = None
        self._touching: list[str] = []
        self._shortcuts: list[Any] = []
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LopsidedSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        header = self.ui.suggestionsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(3, qt.QHeaderView.Stretch)
        self.ui.suggestButton.connect("clicked(bool)", self.onSuggestButton)
        self.ui.suggestionsTable.connect("cellClicked(int,int)", self.onCellClicked)
        self.ui.sensitivitySlider.connect("valueChanged(int)", self.onSensitivity)
        self.ui.addToButton.connect("clicked(bool)", lambda checked=False: self.onAddTo())
        self.ui.undoButton.connect("clicked(bool)", lambda checked=False: self.onUndo())
        self.ui.redoButton.connect("clicked(bool)", lambda checked=False: self.onRedo())
        self.ui.onlySelectedCheckBox.connect("toggled(bool)", self.onOnlySelected)
        self.ui.noteEdit.connect("editingFinished()", self.onNote)
        self.ui.modelSelector.connect("activated(int)", self.onModel)
        self.ui.readerEdit.connect("editingFinished()", self.onReader)
        self.ui.folderButton.connect("clicked(bool)", self.onFolderButton)
        keys: dict[str, Callable[[], Any]] = {
            "N": lambda: self.onStep(1),
            "P": lambda: self.onStep(-1),
            "Ctrl+Z": self.onUndo,
            "Ctrl+Y": self.onRedo,
            "O": self.ui.onlySelectedCheckBox.toggle,
        }
        for button, key, status in DECISIONS:
            keys[key] = lambda checked=False, status=status: self.onDecide(status)
            getattr(self.ui, button).connect("clicked(bool)", keys[key])
        for key, action in keys.items():
            # of the main window, so that they work over the slice views too; a text field keeps its keys
            shortcut = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow() or self.parent)
            shortcut.connect("activated()", action)
            shortcut.enabled = False
            self._shortcuts.append(shortcut)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.setParameterNode(self.logic.getParameterNode())

    def cleanup(self) -> None:
        self.logic.cancel()
        self.setParameterNode(None)
        self.removeObservers()
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.setParent(None)
        self._shortcuts = []

    def enter(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        self._guess()
        self.logic.warmUp()
        for shortcut in self._shortcuts:
            shortcut.enabled = True

    def exit(self) -> None:
        """A search goes on meanwhile; the panel does not follow the scene until it is entered again."""
        self._disconnect()
        for shortcut in self._shortcuts:
            shortcut.enabled = False

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
        count = len(self._rows)
        self._say(_("Suggested lesions: {count}").format(count=count) if count else _("No missed lesion was found."))

    def onError(self, sentence: str) -> None:
        self.refresh()
        self._say(sentence, ERROR_STYLE)

    def onCellClicked(self, row: int, column: int) -> None:
        self._select(self._rows[row])

    def onStep(self, by: int) -> None:
        """The next suggestion in the list, or the one before."""
        if self._rows:
            here = self._rows.index(self._selected) if self._selected in self._rows else -1 if by > 0 else 0
            self._select(self._rows[(here + by) % len(self._rows)])

    def onSensitivity(self, value: int) -> None:
        if self._review:
            self._review.threshold = (100 - value) / 100
            self._fillTable()

    def onOnlySelected(self, checked: bool) -> None:
        if self._review:
            self._review.showOnly(self._selected if checked else None)

    def onDecide(self, status: Status, addTo: str | None = None) -> None:
        """Decide on the selected suggestion, and go on to the next that is undecided."""
        if not self._review or not self._selected:
            return
        candidate = self._selected
        if status is Status.ACCEPTED and not self._parameterNode.annotation:
            self._parameterNode.annotation = self.logic.newAnnotation(self._parameterNode.reference)
        annotation = self._parameterNode.annotation
        if self._attempt(lambda: self._review.decide(candidate, status, annotation, addTo)):
            pending = [c for c in self._rows if self._review.opinion(c).status is Status.PENDING]
            later = [c for c in pending if self._rows.index(c) > self._rows.index(candidate)] or pending
            self._select(later[0] if later else candidate)

    def onAddTo(self) -> None:
        if self._touching:
            self.onDecide(Status.ACCEPTED, addTo=self._touching[0])

    def onUndo(self) -> None:
        self._back(lambda: self._review.undo())

    def onRedo(self) -> None:
        self._back(lambda: self._review.redo())

    def onNote(self) -> None:
        if self._review and self._selected:
            candidate, text = self._selected, self.ui.noteEdit.text
            self._attempt(lambda: self._review.writeNote(candidate, text))
            self._fillTable()

    def onModel(self, index: int) -> None:
        """One that is listed, or with the last item a folder that is asked for."""
        folders = list(self.logic.models())
        chosen = folders[index] if index < len(folders) else ""
        if not chosen:
            chosen = qt.QFileDialog.getExistingDirectory(self.parent, _("Model folder"))
        if chosen:
            self.logic.model = chosen
        self.refresh()

    def onReader(self) -> None:
        if self.ui.readerEdit.text != self.logic.reader:
            self.logic.reader = self.ui.readerEdit.text
            self.refresh()

    def onFolderButton(self, checked: bool = False) -> None:
        """Choose where the logs go; a second click ends logging."""
        folder = "" if self.logic.reviewFolder else qt.QFileDialog.getExistingDirectory(self.parent, _("Log folder"))
        if folder or self.logic.reviewFolder:
            self.logic.reviewFolder = Path(folder) if folder else None
            self.refresh()

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
        models = self.logic.models()
        self.ui.modelSelector.clear()
        self.ui.modelSelector.addItems([*models.values(), _("Another folder…")])
        self.ui.modelSelector.currentIndex = list(models).index(self.logic.model) if self.logic.model else 0
        folder = self.logic.reviewFolder
        self.ui.readerEdit.text = self.logic.reader
        self.ui.folderLabel.text = str(folder) if folder else _("No log; decisions are kept in the scene alone.")
        self.ui.folderButton.text = _("Stop") if folder else _("Choose…")
        self._showReview()

    def _volumes(self) -> dict[str, Any]:
        names = ("reference", "t1", "t2", "flair")
        return {name: self._parameterNode and getattr(self._parameterNode, name) for name in names}

    def _guess(self) -> None:
        """Choose inputs by their names, where none was chosen, and say so."""
        names = ("reference", "t1", "t2", "flair", "annotation")
        if any(getattr(self._parameterNode, name) for name in names):
            return
        found = self.logic.guessInputs()
        for name, node in found.items():
            setattr(self._parameterNode, name, node)
        if found:
            chosen = ", ".join(found[name].GetName() for name in names if name in found)
            self._say(_("Chosen by their names: {chosen}. Check before you search.").format(chosen=chosen))

    def _say(self, sentence: str, style: str = "") -> None:
        self.ui.statusLabel.text = sentence
        self.ui.statusLabel.styleSheet = style

    def _attempt(self, action: Callable[[], Any]) -> bool:
        """Do it; a sentence where it could not be done, or not be written to the log. The caller shows the rest."""
        sentence, done = "", True
        try:
            action()
        except RuntimeError as error:
            sentence, done = str(error), False
        except OSError as error:
            sentence = _("Kept in the scene, but not yet in the log: {error}").format(error=error)
        self._say(sentence, ERROR_STYLE)
        return done

    def _back(self, move: Callable[[], str | None]) -> None:
        moved: list[str | None] = []
        if not self._review:
            return
        self._attempt(lambda: moved.append(move()))
        if moved and moved[0]:
            self._select(moved[0])
        else:
            self._look()
            self._fillTable()

    def _showReview(self) -> None:
        suggestions = self._parameterNode and self._parameterNode.suggestions
        try:
            review = self.logic.review(suggestions)
        except (ValueError, RuntimeError, OSError) as error:
            review = None
            self._say(str(error), ERROR_STYLE)
        if review is not self._review:
            self._review, self._selected, self._touching = review, None, []
        has = bool(review)
        for widget in ("sensitivitySlider", "onlySelectedCheckBox", "noteEdit"):
            getattr(self.ui, widget).enabled = has
        self.ui.resultLabel.text = (
            _("{name}: model {model}").format(name=suggestions.GetName(), model=review.result["model"]["name"])
            if has
            else _("Suggestions are listed here. Click one to see it.")
        )
        if has:
            blocked = self.ui.sensitivitySlider.blockSignals(True)
            self.ui.sensitivitySlider.value = round(100 * (1 - review.threshold))
            self.ui.sensitivitySlider.blockSignals(blocked)
        self._fillTable()

    def _select(self, candidate: str) -> None:
        self._selected = candidate
        self._look()
        self._fillTable()
        self.logic.jumpTo(self._review.candidates[candidate])
        if self.ui.onlySelectedCheckBox.checked:
            self._review.showOnly(candidate)

    def _look(self) -> None:
        """Whether the selected suggestion touches lesions of the annotation as it is now."""
        undecided = self._selected and self._review.opinion(self._selected).status is not Status.ACCEPTED
        self._touching = self._review.touching(self._selected, self._parameterNode.annotation) if undecided else []

    def _fillTable(self) -> None:
        review, table = self._review, self.ui.suggestionsTable
        self._rows = review.shown() if review else []
        if self._selected not in self._rows:
            self._selected, self._touching = None, []
        table.setRowCount(len(self._rows))
        for row, name in enumerate(self._rows):
            self._fillRow(row, name)
        if self._selected:
            table.selectRow(self._rows.index(self._selected))
        else:
            table.clearSelection()
        opinion = review.opinion(self._selected) if self._selected else None
        self.ui.noteEdit.text = opinion.note if opinion else ""
        for button, _key, status in DECISIONS:
            getattr(self.ui, button).enabled = bool(opinion) and opinion.status is not status
        annotation = self._parameterNode and self._parameterNode.annotation
        segment = annotation and self._touching and annotation.GetSegmentation().GetSegment(self._touching[0])
        self.ui.addToButton.visible = bool(segment)
        if segment:
            self.ui.addToButton.text = _("Add to {name}").format(name=segment.GetName())
        self.ui.undoButton.enabled = bool(review) and review.canUndo
        self.ui.redoButton.enabled = bool(review) and review.canRedo
        self.ui.expectedLabel.text = self._expected()
        self.ui.summaryLabel.text = self._summary()

    def _fillRow(self, row: int, name: str) -> None:
        candidate = self._review.candidates[name]
        opinion = self._review.opinion(name)
        nearest = candidate.get("distance_to_annotated_mm")
        texts = (
            f"{candidate['confidence']:.0%}",
            f"{candidate['longest_diameter_mm']:.1f}",
            f"{candidate['volume_mm3']:.0f}",
            ", ".join(f"{x:.0f}" for x in candidate["centroid_ras"]),
            "–" if nearest is None else f"{nearest:.0f}",
            {
                Status.PENDING: "",
                Status.ACCEPTED: _("accepted"),
                Status.REJECTED: _("rejected"),
                Status.UNCERTAIN: _("uncertain"),
            }[opinion.status],
        )
        rejected = opinion.status is Status.REJECTED
        brush = qt.QBrush(qt.QColor("gray")) if rejected else self.ui.suggestionsTable.palette.text()
        for column, text in enumerate(texts):
            item = self.ui.suggestionsTable.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                item.setTextAlignment(qt.Qt.AlignCenter)
                self.ui.suggestionsTable.setItem(row, column, item)
            item.setText(text)
            item.setToolTip(opinion.note)
            item.setForeground(brush)

    def _expected(self) -> str:
        """What the threshold means, as the model was measured."""
        if not self._review:
            return ""
        threshold, count = self._review.threshold, len(self._rows)
        points = [p for p in self._review.result["model"]["operating_points"] if p["confidence"] <= threshold]
        if not points:
            return _("At least {threshold:.0%} confident: {count}.").format(threshold=threshold, count=count)
        measured = max(points, key=lambda p: p["confidence"])["false_positives_per_scan"]
        sentence = _("At least {threshold:.0%} confident: {count}. Expect {number:.1f} false ones a scan.")
        return sentence.format(threshold=threshold, count=count, number=measured)

    def _summary(self) -> str:
        if not self._review:
            return ""
        count = self._review.count
        pending = sum(self._review.opinion(name).status is Status.PENDING for name in self._rows)
        sentence = _("{accepted} accepted, {rejected} rejected, {uncertain} uncertain, {pending} to decide.")
        return sentence.format(
            accepted=count(Status.ACCEPTED),
            rejected=count(Status.REJECTED),
            uncertain=count(Status.UNCERTAIN),
            pending=pending,
        )
