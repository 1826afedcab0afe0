"""What may import what."""

import subprocess
import sys
from pathlib import Path

import lopsided
import pytest

FOLDER = Path(lopsided.__file__).parent
FILES = (path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.py"))
MODULES = sorted(".".join(path.parts) for path in FILES if not path.stem.startswith("__"))
WITH_TORCH = {"brain", "devices", "networks", "predict", "worker"}


@pytest.mark.parametrize("module", MODULES)
def test_the_core_stays_apart(module: str) -> None:
    code = (
        f"import sys, lopsided.{module}\n"
        "print(*({name.split('.')[0] for name in sys.modules}"
        " & {'torch', 'slicer', 'vtk', 'qt', 'lopsided_training', 'LopsidedSegLib', 'highdicom', 'pydicom', 'pickle5'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == (["torch"] if module.split(".")[0] in WITH_TORCH else [])
