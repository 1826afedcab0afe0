"""What may import what."""

import ast
import re
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


def test_slicer_installs_all_that_the_worker_imports() -> None:
    """When it starts: what only DICOM takes is imported where that is read."""
    requirements = Path(__file__).parents[2] / "LopsidedSeg" / "Resources" / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8").splitlines()
    there = {re.split(r"[<>=; ]", line)[0] for line in lines if not line.startswith("#")} | {
        "numpy",
        "SimpleITK",
        "torch",
    }
    code = (
        "import sys, lopsided.worker\n"
        "print(*(m.__file__ for name, m in sys.modules.items() if name.split('.')[0] == 'lopsided'), sep='\\n')"
    )
    files = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(files) > 20
    imported = set()
    for node in (node for file in files for node in ast.parse(Path(file).read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= there
