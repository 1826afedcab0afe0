"""How the project's own programs use memory."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from lopsided import runtime
import torch
if "keep" in sys.argv:
    runtime.keep_memory()
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_memory_that_was_given_back_is_not_fetched_anew() -> None:
    """64 MiB again and again: in the end none of its pages, where all of them are otherwise."""

    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", _FAULTS, *arguments]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 100 < 1000 < faults()
