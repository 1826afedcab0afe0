"""In which precision a network runs."""

from __future__ import annotations

import torch


def autocast(device: torch.device) -> torch.autocast:
    """Half precision for convolutions where the processor has instructions for it; elsewhere it would be slower by far."""
    kind = torch.float32
    if device.type == "cuda":
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # torch has no public name for it
    elif device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        kind = torch.bfloat16
    half = kind != torch.float32
    return torch.autocast(device.type if half else "cpu", kind if half else torch.bfloat16, enabled=half)
