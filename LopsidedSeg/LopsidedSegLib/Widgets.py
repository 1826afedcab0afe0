"""What the parts of the panel do with widgets in the same way."""

from typing import Any

import qt


def setCell(table: Any, row: int, column: int, text: str) -> Any:
    """Centred text in a table. Returns the item, which is the one that was there, if one was."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        item.setTextAlignment(qt.Qt.AlignCenter)
        table.setItem(row, column, item)
    item.setText(text)
    return item


def setQuietly(widget: Any, name: str, value: Any) -> None:
    """A property, as if nobody had changed it."""
    blocked = widget.blockSignals(True)
    setattr(widget, name, value)
    widget.blockSignals(blocked)
