"""The part of the panel where lesions are marked coarsely."""

from collections.abc import Callable
from typing import Any

import qt
from lopsided.marks import Line, Mark, Point
from slicer.i18n import tr as _

from .Logic import Logic
from .Marks import Item, Marks
from .Scene import rasOf
from .Widgets import setCell, setQuietly

BUTTONS = {"point": "pointButton", "line": "lineButton", "box": "boxButton", "ellipsoid": "ellipsoidButton"}


class MarksPanel:
    """A toolbar of Slicer's own markups, what was drawn, and what it becomes."""

    def __init__(self, ui: Any, logic: Logic, say: Callable[[str, bool], None]) -> None:
        self.ui, self.logic, self._say = ui, logic, say
        self._marks: Marks | None = None
        self._items: list[Item] = []
        for kind, button in BUTTONS.items():
            getattr(ui, button).connect("clicked(bool)", lambda checked=False, kind=kind: self.onStart(kind))
        ui.diameterSpinBox.connect("valueChanged(double)", self.onDiameter)
        ui.snapCheckBox.connect("toggled(bool)", lambda checked: self.onPreview())
        ui.previewCheckBox.connect("toggled(bool)", lambda checked: self.onPreview())
        ui.deleteMarkButton.connect("clicked(bool)", lambda checked=False: self.onDelete())
        ui.undoMarkButton.connect("clicked(bool)", lambda checked=False: self.onUndo())
        ui.marksTable.connect("cellClicked(int,int)", self.onCellClicked)
        ui.marksTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self._setDiameter(logic.settings.diameter)

    @property
    def marks(self) -> Marks | None:
        return self._marks

    @property
    def snapped(self) -> bool:
        return bool(self.ui.snapCheckBox.checked)

    def show(self, reference: Any) -> None:
        """The marks on a volume; none for None."""
        if self._marks and self._marks.reference is not reference:
            self.close()
        if reference and reference.GetImageData() and not self._marks:
            self._marks = self.logic.marks(reference, self.refresh)
        self.refresh()

    def close(self) -> None:
        if self._marks:
            self._marks.close()
        self._marks = None

    def onStart(self, kind: str) -> None:
        if self._marks:
            self._marks.start(kind)
            how = {
                "point": _("Click each lesion; press Escape when done."),
                "line": _("Draw along the longest diameter; a second line across it makes an ellipsoid."),
            }
            self._say(how.get(kind, _("Draw it around the lesion, from corner to corner.")), False)

    def onDiameter(self, diameter: float) -> None:
        """Of the selected point, and of those to come."""
        self.logic.settings.diameter = diameter
        item = self._selected()
        if self._marks and item and isinstance(item.mark, Point):
            self._marks.resize(item, diameter)

    def onDelete(self) -> None:
        item = self._selected()
        if self._marks and item:
            self._marks.remove(item)

    def onUndo(self) -> None:
        if self._marks:
            self._marks.undo()

    def onCellClicked(self, row: int, column: int) -> None:
        item = self._items[row]
        if isinstance(item.mark, Point):
            self._setDiameter(item.mark.diameter_mm)
        self.logic.jumpTo({"centroid_lps": _centre(item.mark), "longest_diameter_mm": max(_sizes(item.mark))})
        self._enable()

    def onPreview(self) -> None:
        """Draw the voxels, or do not."""
        if not self._marks:
            return
        try:
            self._marks.preview(bool(self.ui.previewCheckBox.checked) and bool(self._items), self.snapped)
        except (RuntimeError, ValueError) as error:
            self._say(str(error), True)

    def refresh(self) -> None:
        """Show the marks as they are."""
        self._items = self._marks.items() if self._marks else []
        table = self.ui.marksTable
        table.setRowCount(len(self._items))
        names = {"point": _("point"), "line": _("line"), "box": _("box"), "ellipsoid": _("ellipsoid")}
        for row, item in enumerate(self._items):
            size = " × ".join(f"{s:.1f}" for s in _sizes(item.mark))
            place = ", ".join(f"{x:.0f}" for x in rasOf(_centre(item.mark)))
            for column, text in enumerate((names[item.mark.kind], size, place)):
                setCell(table, row, column, text)
        for button in BUTTONS.values():
            getattr(self.ui, button).enabled = self._marks is not None
        self.onPreview()
        self._enable()

    def _enable(self) -> None:
        self.ui.deleteMarkButton.enabled = self._selected() is not None
        self.ui.undoMarkButton.enabled = self._marks is not None and self._marks.canUndo

    def _selected(self) -> Item | None:
        row = self.ui.marksTable.currentRow()
        return self._items[row] if 0 <= row < len(self._items) else None

    def _setDiameter(self, diameter: float) -> None:
        setQuietly(self.ui.diameterSpinBox, "value", diameter)


def _sizes(mark: Mark) -> tuple[float, ...]:
    """Its lengths, mm."""
    if isinstance(mark, Point):
        return (mark.diameter_mm,)
    if isinstance(mark, Line):
        start, end = mark.ends_lps
        return (sum((a - b) ** 2 for a, b in zip(start, end, strict=True)) ** 0.5,)
    return mark.size_mm


def _centre(mark: Mark) -> tuple[float, ...]:
    if isinstance(mark, Line):
        return tuple(sum(ends) / 2 for ends in zip(*mark.ends_lps, strict=True))
    return mark.centre_lps
