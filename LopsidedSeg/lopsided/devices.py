"""Which processor a network runs on, and how much memory there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from .errors import InputError


def choose_device(name: str | None) -> torch.device:
    """``cpu``, ``cuda``, ``cuda:1``… or ``mps``; the fastest there is for None. Of several GPUs, the one with most free memory.

    Raises:
        InputError: it is not there, or this PyTorch has no code for it.
    """
    gpus = _gpus()
    there = {"cuda": bool(gpus), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = name or next(n for n, ok in there.items() if ok)
    kind, numbered, number = name.partition(":")
    if not there.get(kind, False) or (numbered and not (kind == "cuda" and number in map(str, gpus))):
        found = ", ".join(n for n, ok in there.items() if ok)
        raise InputError(f"--device {name}: not available here, or too old for this PyTorch; available: {found}")
    if name == "cuda" and gpus != [0]:
        return torch.device("cuda", max(gpus, key=_free))
    return torch.device(name)


def free_memory() -> int:
    """Bytes of the machine's that nobody has; a container's own limit is not seen."""
    return psutil.virtual_memory().available


@contextmanager
def repeatable() -> Iterator[None]:
    """The same result for the same device: cuDNN may not try what is fastest at the moment."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def _gpus() -> list[int]:
    """Those that the installed PyTorch has code for: without, every kernel fails with "no kernel image". None where one's
    driver fails, for which all of them do."""
    try:
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [n for n in range(number) if _has_code_for(torch.cuda.get_device_capability(n))]
    except RuntimeError:
        return []


def _has_code_for(capability: tuple[int, int]) -> bool:
    """Binary code (``sm_86``) runs on the same major and no older minor version; PTX (``compute_86``) on anything newer."""
    names = torch.cuda.get_arch_list()
    for name in names:
        kind, _, number = name.partition("_")
        if kind not in ("sm", "compute"):  # AMD's
            return True
        number = number.rstrip("af")
        built = int(number[:-1]), int(number[-1])
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return not names


def _free(gpu: int) -> int:
    """Bytes; 0 where another process has the GPU for itself."""
    try:
        return torch.cuda.mem_get_info(gpu)[0]
    except RuntimeError:
        return 0
