"""What a computation ran on, in words that go with its results."""

from __future__ import annotations

import platform

import torch


def machine(device: torch.device) -> str:
    """A GPU by its name, a CPU by its threads."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {platform.machine()}"
    return f"{device}, {torch.get_num_threads()} threads, {platform.machine()}"
