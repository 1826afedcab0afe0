"""In which precision a network runs."""

from __future__ import annotations

import torch


def autocast(device: torch.device) -> torch.autocast:
    """Half precision for convolutions where the processor has instructions for it; elsewhere it would be slower by far."""
    half = half_precision(device)
    return torch.autocast(device.type, half, enabled=half is not None)


def half_precision(device: torch.device) -> torch.dtype | None:
    """The one that ``device`` has instructions for; None where it has none."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # torch has no public name for it
    native = device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else None
