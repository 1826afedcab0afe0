"""How LopsidedSeg's own programs, the worker and the command line, use processor and memory. They import this first."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

# OpenBLAS, which numpy brings along, lets its threads run on for a while after each product, in case that there is another:
# meanwhile torch has half of the processors. It is read when numpy is imported; what a user has set stays.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h
_NEVER = 2**31 - 1


def keep_memory() -> None:
    """Let this process keep the memory that it has had, for the next layer and the next study.

    Otherwise glibc gives every large array back, and each layer of a network begins by getting zeroed pages anew, which
    takes as long as its convolution. All threads share what is kept: what prepared an image would otherwise keep a part each
    that no network can have. To be called before there are threads. Nothing happens without glibc.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def release_memory() -> None:
    """Give the system what was kept, and is not in use. Nothing happens without glibc."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
