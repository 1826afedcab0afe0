"""The module's panel in a window that nobody sees, on real MRML and Qt: importing this makes both ready.

Only this folder needs to be on ``sys.path`` before.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
TESTING = Path(__file__).parents[1]
sys.path[:0] = [str(TESTING / "Scene"), str(TESTING.parent / "LopsidedSeg")]
import qt_standin
import slicer_standin

slicer_standin.boot()
qt_standin.boot()
if os.environ.get("SLICER_BASE_PYTHON"):
    import slicer_own

    slicer_own.use(Path(os.environ["SLICER_BASE_PYTHON"]))

import qt
from PySide6.QtTest import QTest


class Window(qt.QWidget):
    """What Slicer puts a module's panel in."""

    _entered = False
    isEntered = property(lambda self: self._entered)


def new_panel(logic: Any, size: tuple[int, int] = (440, 980)) -> Any:
    """The panel, shown and not yet entered. Its window is ``panel.parent``."""
    from LopsidedSeg import LopsidedSegWidget

    window = Window()
    window.setLayout(qt.QVBoxLayout())
    panel = LopsidedSegWidget(window, logic)
    panel.setup()
    window.resize(*size)
    window.show()
    return panel


def enter(panel: Any) -> None:
    """As Slicer does when the module is chosen."""
    panel.parent._entered = True
    panel.enter()


@contextmanager
def open_panel(logic: Any, size: tuple[int, int] = (440, 980)) -> Iterator[Any]:
    """As :func:`new_panel`, entered; nothing of it is left afterwards."""
    panel = new_panel(logic, size)
    enter(panel)
    try:
        yield panel
    finally:
        panel.cleanup()
        panel.parent.close()


def new_logic() -> Any:
    """The logic on the real computing process."""
    from LopsidedSeg import LopsidedSegLogic

    return LopsidedSegLogic()


def click(widget: Any) -> None:
    """With the left mouse button."""
    QTest.mouseClick(widget, qt.Qt.MouseButton.LeftButton)


def search(panel: Any) -> None:
    """From the click to the list."""
    click(panel.ui.suggestButton)
    until(lambda: not panel.logic.busy)


def watched(panel: Any, button: Any, seconds: float) -> list[str]:
    """Click, and wait until nothing is under way; what the status line said meanwhile."""
    said: list[str] = []
    click(button)
    until(lambda: said.append(panel.ui.statusLabel.text) or not panel.logic.busy, seconds)
    return list(dict.fromkeys(said))


def cells(table: Any) -> list[list[str]]:
    """What a table shows, row by row."""
    return [[table.item(row, n).text() for n in range(table.columnCount)] for row in range(table.rowCount)]


def statuses(panel: Any) -> list[str]:
    """What was decided on each suggestion that is listed."""
    return [row[5] for row in cells(panel.ui.suggestionsTable)]


class Heard:
    """Callbacks that remember."""

    def __init__(self) -> None:
        from LopsidedSegLib.Worker import Callbacks

        self.progress: list[tuple[str, float]] = []
        self.done: list[Any] = []
        self.errors: list[str] = []
        self.callbacks = Callbacks(lambda *p: self.progress.append(p), self.done.append, self.errors.append)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Let Qt work until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this took too long"
        QTest.qWait(10)
