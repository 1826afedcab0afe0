"""Real MRML for the tests in this folder."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed, so there is no MRML")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "LopsidedSeg")]
import slicer_standin

slicer_standin.boot()


@pytest.fixture(autouse=True)
def _scene() -> None:
    slicer_standin.clear()
