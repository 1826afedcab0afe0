"""PythonQt's manners, and the few CTK and qMRML widgets that the panel has, on PySide6.

It is strict: a property is an attribute and not a method, an attribute that a class lacks cannot be set, and a signal is
connected by its full signature. Code that passes here uses no more of Qt than this; it is no proof for PythonQt itself.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import types
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_settings = tempfile.TemporaryDirectory(prefix="LopsidedSeg-settings-")  # until the process ends
WIDGETS = (
    "QWidget",
    "QLabel",
    "QPushButton",
    "QProgressBar",
    "QTableWidget",
    "QHeaderView",
    "QGroupBox",
    "QComboBox",
    "QSlider",
    "QDoubleSpinBox",
    "QCheckBox",
    "QLineEdit",
    "QShortcut",
)


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = QtCore.Signal(object)

    def setMRMLScene(self, scene: slicer.vtkMRMLScene) -> None:
        self.mrmlSceneChanged.emit(scene)


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    """It never hides what is in it: tests click there."""

    text = QtCore.Property(str, QtWidgets.QGroupBox.title, QtWidgets.QGroupBox.setTitle)
    _collapsed = False
    collapsed = QtCore.Property(
        bool, lambda self: self._collapsed, lambda self, value: setattr(self, "_collapsed", value)
    )


def _option(name: str, kind: Any) -> Any:
    return QtCore.Property(
        kind, lambda self: self._options[name], lambda self, value: self._options.__setitem__(name, value)
    )


class qMRMLSortFilterProxyModel(QtCore.QObject):
    invalidated = QtCore.Signal()
    _hidden: tuple[str, ...] = ()

    def _hide(self, ids: list[str]) -> None:
        self._hidden = tuple(ids)
        self.invalidated.emit()

    hiddenNodeIDs = QtCore.Property(list, lambda self: list(self._hidden), _hide)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    currentNodeChanged = QtCore.Signal(object)
    nodeTypes = _option("nodeTypes", list)
    noneDisplay = _option("noneDisplay", str)
    noneEnabled = _option("noneEnabled", bool)
    addEnabled = _option("addEnabled", bool)
    removeEnabled = _option("removeEnabled", bool)
    showChildNodeTypes = _option("showChildNodeTypes", bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._options: dict[str, Any] = {}
        self._nodes: list[Any] = []
        self._filter = qMRMLSortFilterProxyModel(self)
        self.currentIndexChanged.connect(lambda index: self.currentNodeChanged.emit(self.currentNode()))

    def setMRMLScene(self, scene: slicer.vtkMRMLScene) -> None:
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent)
        tags = [scene.AddObserver(event, lambda *_: self._fill(scene)) for event in events]
        self.destroyed.connect(lambda *_: [scene.RemoveObserver(tag) for tag in tags])
        self._filter.invalidated.connect(lambda: self._fill(scene))
        self._fill(scene)

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._filter

    def nodeCount(self) -> int:
        return len(self._nodes) - self._options["noneEnabled"]

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index + self._options["noneEnabled"]]

    def currentNode(self) -> Any:
        return self._nodes[self.currentIndex] if self.currentIndex >= 0 else None

    def setCurrentNode(self, node: Any) -> None:
        self.currentIndex = self._nodes.index(node)

    def _fill(self, scene: slicer.vtkMRMLScene) -> None:
        current, row = self.currentNode(), self.currentIndex
        [kind] = self._options["nodeTypes"]
        nodes = scene.GetNodesByClass(kind)
        found = [nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems())]
        hidden = self._filter.hiddenNodeIDs
        offered = [n for n in found if not n.GetHideFromEditors() and n.GetID() not in hidden]
        self._nodes[:] = [None] * self._options["noneEnabled"] + [n for n in offered if n.GetClassName() == kind]
        blocked = self.blockSignals(True)
        self.clear()
        self.addItems([n.GetName() if n else self._options["noneDisplay"] for n in self._nodes])
        self.currentIndex = self._nodes.index(current) if current in self._nodes else max(row - 1, 0)  # as Qt does
        self.blockSignals(blocked)
        if self.currentNode() is not current:
            self.currentNodeChanged.emit(self.currentNode())


CUSTOM = {
    widget.__name__: widget
    for widget in (qMRMLWidget, ctkCollapsibleButton, qMRMLNodeComboBox, qMRMLSortFilterProxyModel)
}


class QUiLoader(QtUiTools.QUiLoader):
    def createWidget(self, className: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        if className not in CUSTOM:
            return super().createWidget(className, parent, name)
        widget = CUSTOM[className](parent)
        widget.setObjectName(name)
        return widget

    def load(self, file: QtCore.QFile) -> Any:
        text = bytes(file.readAll().data())
        root = ET.fromstring(text)
        made = ET.fromstring(text)
        for connections in made.findall("connections"):
            made.remove(connections)  # made below: their types are unknown to PySide6
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(made))
        top = super().load(buffer)
        for connection in root.iter("connection"):
            ends = [connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")]
            sender, receiver = (
                top if name == top.name else top.findChild(QtWidgets.QWidget, name) for name in ends[::2]
            )
            signal, slot = (end.split("(")[0] for end in ends[1::2])
            getattr(sender, signal).connect(getattr(receiver, slot))
        return top


def boot() -> None:
    """Make ``qt`` and ``ctk``, and the application; a second call does nothing."""
    if "qt" in sys.modules:
        return
    if sys.version_info < (3, 12):
        # PySide6 6.12 takes None for immortal, as it is from 3.12 on; here each call takes a reference to it away
        ctypes.c_ssize_t.from_address(id(None)).value += 10**9
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for part in (QtCore, QtGui, QtWidgets):
        vars(qt).update({name: getattr(part, name) for name in dir(part) if name.startswith("Q")})
    qt.QUiLoader = QUiLoader
    ctk.ctkCollapsibleButton = ctkCollapsibleButton
    slicer.qMRMLNodeComboBox, slicer.qMRMLWidget = qMRMLNodeComboBox, qMRMLWidget
    sys.modules.update(qt=qt, ctk=ctk)
    for cls in [getattr(qt, name) for name in WIDGETS] + [qt.QProcess, qt.QTimer, *CUSTOM.values()]:
        _make_like_pythonqt(cls)
    settings = str(Path(_settings.name) / "Slicer.ini")
    slicer.app.userSettings = lambda: QtCore.QSettings(settings, QtCore.QSettings.Format.IniFormat)
    slicer.app.topLevelWidgets = QtWidgets.QApplication.topLevelWidgets
    slicer.app.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


def _make_like_pythonqt(cls: type) -> None:
    meta = cls.staticMetaObject
    names = [meta.property(n).name() for n in range(meta.propertyCount())]
    for name in names:
        if not isinstance(getattr(cls, name, None), QtCore.Property):
            setattr(cls, name, _attribute(name))
    cls.name = _attribute("objectName")
    lookup = cls.__getattribute__
    # widgets find QObject's connect before their class's
    cls.__getattribute__ = lambda self, name: partial(_connect, self) if name == "connect" else lookup(self, name)
    cls.__setattr__ = _set_if_known


def _set_if_known(self: QtCore.QObject, name: str, value: Any) -> None:
    known = getattr(type(self), name, None)
    if isinstance(known, property):
        known.__set__(self, value)
    elif isinstance(known, QtCore.Property):
        self.setProperty(name, value)
    elif name.startswith("_") or isinstance(value, (QtCore.QObject, QtCore.SignalInstance)):  # PySide6's own doing
        vars(self)[name] = value
    else:
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")


def _attribute(name: str) -> property:
    def write(self: QtCore.QObject, value: Any) -> None:
        if not self.setProperty(name, value):
            raise TypeError(f"{type(self).__name__}.{name} cannot be {value!r}")

    return property(lambda self: self.property(name), write)


def _connect(self: QtCore.QObject, signal: str, slot: Any) -> None:
    if self.metaObject().indexOfSignal(signal) < 0:
        raise ValueError(f"{type(self).__name__} has no signal {signal}")
    getattr(self, signal.split("(")[0]).connect(slot)
