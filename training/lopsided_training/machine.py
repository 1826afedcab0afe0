"""What a computation ran on, in words that go with its results."""

from __future__ import annotations

import platform

import torch


def machine(device: torch.device, in_integers: bool = False) -> str:
    """A GPU by its name, a CPU by its threads."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {platform.machine()}"
    words = f"{device}, {torch.get_num_threads()} threads, {platform.machine()}"
    return f"{words}, in 8-bit integers" if in_integers else words
