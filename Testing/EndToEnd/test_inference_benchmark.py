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
