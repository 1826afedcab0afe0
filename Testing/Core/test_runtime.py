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

_KEPT = """
from lopsided import runtime
runtime.keep_memory()
import resource, threading
import numpy as np

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20
"""

_ONE_AFTER_THE_OTHER = """
ended = threading.Event()

def allocate(done):
    np.ones(40 << 17)
    done.set()
    ended.wait()

before = held()
for _ in range(8):
    done = threading.Event()
    threading.Thread(target=allocate, args=(done,)).start()
    done.wait()
print(held() - before)
ended.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_memory_that_was_given_back_is_not_fetched_anew() -> None:
    """64 MiB again and again: in the end none of its pages, where all of them are otherwise."""

    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", _FAULTS, *arguments]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 100 < 1000 < faults()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_threads_share_the_memory_that_is_kept() -> None:
    """Eight threads have 40 MiB each, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", _KEPT + _ONE_AFTER_THE_OTHER], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 80


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory")
def test_what_is_kept_can_be_given_to_the_system() -> None:
    """That of a hundred arrays of 1 MiB, of which the last is still in use."""
    script = """
arrays = [np.ones(1 << 17) for _ in range(100)]
before = held()
last = arrays.pop()
arrays.clear()
kept = held()
runtime.release_memory()
print(before - kept, kept - held(), last.sum() == 1 << 17)
"""
    done = subprocess.run([sys.executable, "-c", _KEPT + script], check=True, capture_output=True, text=True)
    unasked, asked, whole = done.stdout.split()
    assert int(unasked) < 5 < 90 < int(asked)
    assert whole == "True"
