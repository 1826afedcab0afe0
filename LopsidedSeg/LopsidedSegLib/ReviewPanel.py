"""The part of the panel where suggestions are looked at and decided on."""

from collections.abc import Callable, Sequence
from math import exp, isinf, log
from typing import Any

import qt
from lopsided.review import Status
from lopsided.wording import expected, percent
from slicer.i18n import tr as _

from .Logic import Logic
from .Parameters import Parameters
from .Review import Review, whyNotOn
from .Scene import whereNow
from .Widgets import setCell, setQuietly
from .WorkFiles import unwritten

DECISIONS = (
    ("acceptButton", "A", Status.ACCEPTED),
    ("rejectButton", "R", Status.REJECTED),
    ("uncertainButton", "U", Status.UNCERTAIN),
)
_ONCE = "ARUEOS"  # keys that do nothing more while they are held: each decision goes on to the next suggestion
_WIDEST_LOGIT = 7.0  # the slider's left end: a confidence of 99.9 %


class ReviewPanel:
    """The list with its sensitivity, the decisions, and their keys, which live while the module is open.

    ``window`` gets the keys, so that they work over slice views too. ``say`` shows a sentence, or an error.
    """

    def __init__(self, ui: Any, logic: Logic, window: Any, say: Callable[[str, bool], None]) -> None:
        self.ui, self.logic, self._say = ui, logic, say
        self._parameterNode: Parameters | None = None
        self._review: Review | None = None
        self._rows: list[str] = []
        self._selected: str | None = None
        self._touching: list[str] = []
        self._absent: list[str] = []  # of the accepted, those that the annotation lacks: it is changed in other modules
        header = ui.suggestionsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(3, qt.QHeaderView.Stretch)
        ui.suggestionsTable.connect("cellClicked(int,int)", self.onCellClicked)
        ui.sensitivitySlider.connect("valueChanged(int)", self.onSensitivity)
        ui.addToButton.connect("clicked(bool)", lambda checked=False: self.onAddTo())
        ui.undoButton.connect("clicked(bool)", lambda checked=False: self.onUndo())
        ui.redoButton.connect("clicked(bool)", lambda checked=False: self.onRedo())
        ui.editButton.connect("clicked(bool)", lambda checked=False: self.onEdit())
        ui.onlySelectedCheckBox.connect("toggled(bool)", lambda checked: self.onNote())
        ui.outlinesCheckBox.connect("toggled(bool)", self.onOutlines)
        ui.noteEdit.connect("editingFinished()", self.onNote)
        keys: dict[str, Callable[[], Any]] = {
            "N": lambda: self.onStep(1),
            "P": lambda: self.onStep(-1),
            "Ctrl+Z": self.onUndo,
            "Ctrl+Y": self.onRedo,
            "O": ui.outlinesCheckBox.toggle,
            "S": ui.onlySelectedCheckBox.toggle,
            "E": self.onEdit,
        }
        for button, key, status in DECISIONS:
            keys[key] = lambda checked=False, status=status: self.onDecide(status)
            getattr(ui, button).connect("clicked(bool)", keys[key])
        self._shortcuts = [qt.QShortcut(qt.QKeySequence(key), window) for key in keys]
        for shortcut, action in zip(self._shortcuts, keys.values(), strict=True):
            shortcut.connect("activated()", action)
            shortcut.autoRepeat = shortcut.key.toString() not in _ONCE
            shortcut.enabled = False

    @property
    def review(self) -> Review | None:
        """What is shown."""
        return self._review

    @property
    def count(self) -> int:
        """How many suggestions are listed."""
        return len(self._rows)

    def enableKeys(self, enabled: bool) -> None:
        """A text field keeps its keys either way."""
        for shortcut in self._shortcuts:
            shortcut.enabled = enabled

    def cleanup(self) -> None:
        """Nothing is left in the window."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.setParent(None)
        self._shortcuts = []

    def show(self, parameterNode: Parameters | None) -> None:
        """Show the review of the parameter node's suggestions, if it has any; but none of a volume that is not chosen, or
        is gone, for what is accepted goes into the annotation that is."""
        self.keepNote()
        self._parameterNode = parameterNode
        suggestions = parameterNode and parameterNode.suggestions
        whyNot = whyNotOn(suggestions, parameterNode.reference) if suggestions else ""
        try:
            review = None if whyNot else self.logic.review(suggestions)
        except (ValueError, RuntimeError, OSError) as error:
            review = None
            self._say(str(error), True)
        if review is not self._review:
            self._review, self._selected, self._touching = review, None, []
            setQuietly(self.ui.onlySelectedCheckBox, "checked", False)
        self._absent = review.absent if review else []
        for widget in ("sensitivitySlider", "onlySelectedCheckBox", "outlinesCheckBox", "noteEdit"):
            getattr(self.ui, widget).enabled = bool(review)
        if not review:
            self.ui.resultLabel.text = whyNot or _("Suggestions are listed here. Click one to see it.")
        else:
            model = review.result["model"]["name"]
            self.ui.resultLabel.text = _("{name}: model {model}").format(name=suggestions.GetName(), model=model)
            setQuietly(self.ui.sensitivitySlider, "value", _toSlider(review.threshold))
            setQuietly(self.ui.outlinesCheckBox, "checked", review.outlined)
        self._fillTable()

    def onCellClicked(self, row: int, column: int) -> None:
        self._select(self._rows[row])

    def onStep(self, by: int) -> None:
        """The next suggestion in the list, or the one before."""
        if self._rows:
            here = self._rows.index(self._selected) if self._selected in self._rows else -1 if by > 0 else 0
            self._select(self._rows[(here + by) % len(self._rows)])

    def onSensitivity(self, value: int) -> None:
        self.keepNote()
        if self._review:
            self._review.threshold = _toThreshold(value)
            self._fillTable(self._rows)

    def onOutlines(self, checked: bool) -> None:
        if self._review:
            self._review.outlined = checked

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
        self._back(lambda: self._review.undo(self._parameterNode.annotation))

    def onRedo(self) -> None:
        self._back(lambda: self._review.redo(self._parameterNode.annotation))

    def onNote(self) -> None:
        self.keepNote()
        self._fillTable()

    def keepNote(self) -> None:
        """Take what is being typed, before something else is shown or the review is kept."""
        edit = self.ui.noteEdit
        if self._review and self._selected and edit.modified:
            edit.modified = False
            candidate, text = self._selected, edit.text
            self._attempt(lambda: self._review.writeNote(candidate, text))

    def onEdit(self) -> None:
        if self._review and self._selected:
            candidate, reference = self._selected, self._parameterNode.reference
            self._attempt(lambda: self.logic.edit(self._review, candidate, reference))

    def _attempt(self, action: Callable[[], Any]) -> bool:
        """Do it; a sentence where it could not be done, or not be written to the log. The caller shows the rest."""
        self.keepNote()
        sentence, done = "", True
        try:
            action()
        except RuntimeError as error:
            sentence, done = str(error), False
        except OSError as error:
            sentence = _("Kept in the scene, but not yet in the log: {error}")
            sentence = sentence.format(error=unwritten(error, self.logic.settings.logFolder, orAnother=True))
        self._say(sentence, True)
        if self._absent:
            self._absent = self._review.absent
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

    def _select(self, candidate: str) -> None:
        self.keepNote()
        self._selected = candidate
        self._look()
        self._fillTable()
        self.logic.jumpTo(whereNow(self._review.candidates[candidate], self._review.node, candidate))

    def _look(self) -> None:
        """Whether the selected suggestion touches lesions of the annotation as it is now."""
        undecided = self._selected and self._review.opinion(self._selected).status is not Status.ACCEPTED
        self._touching = self._review.touching(self._selected, self._parameterNode.annotation) if undecided else []

    def _fillTable(self, listed: Sequence[str] = ()) -> None:
        """``listed``: the rows that show already what they should, as only which are listed changes."""
        review, table = self._review, self.ui.suggestionsTable
        self._rows = review.shown() if review else []
        if self._selected not in self._rows:
            self._selected, self._touching = None, []
        if review:
            review.showOnly(self._selected if self.ui.onlySelectedCheckBox.checked else None)
        table.setRowCount(len(self._rows))
        for row, name in enumerate(self._rows):
            if row >= len(listed) or listed[row] != name or name == self._selected:  # which may have a note by now
                self._fillRow(row, name)
        if self._selected:
            table.selectRow(self._rows.index(self._selected))
        else:
            table.clearSelection()
        opinion = review.opinion(self._selected) if self._selected else None
        note = opinion.note if opinion else ""
        if self.ui.noteEdit.text != note:  # else the cursor of who is typing would jump
            self.ui.noteEdit.text = note
        for button, _key, status in DECISIONS:
            getattr(self.ui, button).enabled = bool(opinion) and opinion.status is not status
        self.ui.editButton.enabled = bool(opinion)
        annotation = self._parameterNode and self._parameterNode.annotation
        segment = annotation and self._touching and annotation.GetSegmentation().GetSegment(self._touching[0])
        self.ui.addToButton.visible = bool(segment)
        if segment:
            self.ui.addToButton.text = _("Add to {name}").format(name=segment.GetName())
        self.ui.undoButton.enabled = bool(review) and review.canUndo
        self.ui.redoButton.enabled = bool(review) and review.canRedo
        self.ui.expectedLabel.text = self._expected()
        self.ui.summaryLabel.text = "\n".join(filter(None, (self._summary(), self._whatIsAbsent())))
        self.ui.folderLabel.text = self._whereLogged()  # saving the scene, of which nobody is told, changes it

    def _whatIsAbsent(self) -> str:
        """A sentence where the annotation has not all that was accepted."""
        if not self._absent:
            return ""
        sentence = _(
            "{count} accepted, but not in the annotation any more (at {places}): "
            "reject and accept again what belongs there, or undo and redo."
        )
        places = "; ".join(self._place(name) for name in self._absent)
        return sentence.format(count=len(self._absent), places=places)

    def _place(self, name: str) -> str:
        now = whereNow(self._review.candidates[name], self._review.node, name, atOnce=True)
        return ", ".join(f"{x:.0f}" for x in now["centroid_ras"])

    def _fillRow(self, row: int, name: str) -> None:
        candidate = self._review.candidates[name]
        opinion = self._review.opinion(name)
        nearest = candidate.get("distance_to_annotated_mm")
        texts = (
            percent(candidate["confidence"]),
            f"{candidate['longest_diameter_mm']:.1f}",
            f"{candidate['volume_mm3']:.0f}",
            self._place(name),
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
            item = setCell(self.ui.suggestionsTable, row, column, text)
            item.setToolTip(opinion.note)
            item.setForeground(brush)

    def _expected(self) -> str:
        """What the threshold means: false positives as the model was measured, at it or next to it."""
        if not self._review:
            return ""
        threshold, points = self._review.threshold, self._review.result["model"]["operating_points"]
        measured = {p["confidence"]: p["false_positives_per_scan"] for p in points}
        fewest, most = expected(measured, threshold)
        if not measured:
            number = _("an unknown number")
        elif isinf(most):
            number = _("more than {fewest:.1f}").format(fewest=fewest)
        elif f"{fewest:.1f}" == f"{most:.1f}":
            number = f"{fewest:.1f}"
        else:
            number = _("{fewest:.1f} to {most:.1f}").format(fewest=fewest, most=most)
        which = _("At least {threshold} confident").format(threshold=percent(threshold)) if threshold else _("All")
        sentence = _("{which}: {count}. Expect {number} false ones a scan.")
        return sentence.format(which=which, count=len(self._rows), number=number)

    def _whereLogged(self) -> str:
        settings = self.logic.settings
        if settings.folder:
            return str(settings.folder)
        if settings.worklistLogs:
            return _("With the worklist, in {folder}").format(folder=settings.worklistLogs)
        if settings.logFolder:
            return _("Beside the scene, in {folder}").format(folder=settings.logFolder)
        return _("In the scene alone, until it is saved or a folder is chosen.")

    def _summary(self) -> str:
        if not self._review:
            return ""
        count = self._review.count
        pending = sum(self._review.opinion(name).status is Status.PENDING for name in self._rows)
        sentence = _("{found} found · {accepted} accepted · {rejected} rejected · {uncertain} uncertain · {todo}{time}")
        minutes, seconds = divmod(round(self._review.seconds), 60)
        return sentence.format(
            found=len(self._rows),
            accepted=count(Status.ACCEPTED),
            rejected=count(Status.REJECTED),
            uncertain=count(Status.UNCERTAIN),
            todo=_("{pending} to decide").format(pending=pending) if pending else _("done"),
            time=_(" in {minutes}:{seconds:02d}").format(minutes=minutes, seconds=seconds) if not pending else "",
        )


def _toThreshold(value: int) -> float:
    """Of a slider position, 0 to 100: even steps of the logit, in which confidences are spread out; all at the end."""
    return 0.0 if value >= 100 else 1 / (1 + exp(-_WIDEST_LOGIT * (1 - value / 50)))


def _toSlider(threshold: float) -> int:
    if threshold <= 0:
        return 100
    logit = log(threshold / (1 - threshold)) if threshold < 1 else _WIDEST_LOGIT
    return min(99, max(0, round(50 * (1 - logit / _WIDEST_LOGIT))))
