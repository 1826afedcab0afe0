"""What Slicer's ctest does with a scripted module, on the stand-ins: opens it, or runs its own tests.

Usage: run_module.py (generic | unittest) FOLDER MODULE
"""

import importlib
import sys
import types
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Widget"))
from offscreen import Window  # isort: split

import qt
import slicer_standin


def open_and_close(module: types.ModuleType, folder: Path) -> None:
    """The module's description, and its panel from setup to cleanup."""
    parent = types.SimpleNamespace(path=str(folder / f"{module.__name__}.py"))
    getattr(module, module.__name__)(parent)
    assert parent.categories == ["Segmentation"]
    assert "not for clinical use" in parent.helpText
    assert parent.acknowledgementText
    window = Window()
    window.setLayout(qt.QVBoxLayout())
    panel = getattr(module, f"{module.__name__}Widget")(window)
    for step in (panel.setup, panel.enter, panel.exit, panel.cleanup):
        step()


def main(what: str, folder: str, name: str) -> int:
    """The exit code."""
    slicer_standin.clear()
    sys.path.insert(0, folder)
    module = importlib.import_module(name)
    assert Path(module.__file__ or "").parent == Path(folder), f"{name} was imported from {module.__file__}"
    if what == "generic":
        open_and_close(module, Path(folder))
        return 0
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
