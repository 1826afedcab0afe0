"""The benchmark's own check: the map that is computed once for each voxel is that of the whole volume, as are its peers'."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "Benchmarks" / "inference.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCHMARK), "--quick", *arguments], capture_output=True, text=True)


def test_methods_agree_on_the_sample_study() -> None:
    pytest.importorskip("monai")
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {cells[1].strip(): cells for line in done.stdout.splitlines() if len(cells := line.split("|")) > 3}
    shown = re.search(r"(\d+) shown|shown (\d+) of \2\b", rows["LopsidedSeg"][3])
    assert shown
    assert int(shown[1] or shown[2]) > 0
    assert "MONAI, overlap 0.5" in rows


def test_what_the_module_is_measured_on_is_said() -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed, so there is no MRML")
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed, so there is no Qt")
    arguments = [sys.executable, str(BENCHMARK.with_name("module.py")), "--help"]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "T1C [T1 T2 FLAIR]" in done.stdout
