"""Slicer's own base classes and parameter nodes in the place of the stand-in's, where a checkout of Slicer is at hand.

Point ``SLICER_BASE_PYTHON`` at its folder ``Base/Python`` and run the tests as always.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import ctk
import qt
import slicer

MODULES = ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "packaging")
CTK = (
    "ctkCheckBox ctkCheckablePushButton ctkColorPickerButton ctkComboBox ctkDirectoryButton ctkDoubleRangeSlider"
    " ctkDoubleSlider ctkDoubleSpinBox ctkPathLineEdit ctkRangeWidget ctkSliderWidget"
)
MRML = "qMRMLRangeWidget qMRMLSliderWidget qMRMLSpinBox qSlicerWidget"


def use(base: Path) -> None:
    """Put Slicer's own modules in place; they ask whether a widget is one of those that our panel has none of."""
    for module, names in ((ctk, CTK), (slicer, MRML)):
        for name in names.split():
            setattr(module, name, type(name, (), {}))
    manager = types.SimpleNamespace(connect=lambda *_: None, disconnect=lambda *_: None)
    slicer.app.moduleManager = lambda: manager
    slicer.app.translate = lambda context, text: text
    module = Path(__file__).parents[2] / "LopsidedSeg" / "LopsidedSeg.py"
    slicer.modules.lopsidedseg = types.SimpleNamespace(name="LopsidedSeg", path=str(module))
    slicer.__path__.append(str(base / "slicer"))
    for name in MODULES:
        sys.modules.pop(f"slicer.{name}", None)
        setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
    qt.QApplication.setApplicationName("Slicer")
