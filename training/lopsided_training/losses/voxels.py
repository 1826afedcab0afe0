"""What the losses share: checks of arguments, the trust in unannotated background, cross-entropy to a target."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional

Variant = Literal["hard", "soft"]


def same_shape(logits: torch.Tensor, **others: torch.Tensor | None) -> None:
    """Raise ValueError, with the names, unless all tensors have the shape of ``logits``. None has any."""
    wrong = {name: tuple(t.shape) for name, t in others.items() if t is not None and t.shape != logits.shape}
    if wrong:
        found = ", ".join(f"{name} {shape}" for name, shape in wrong.items())
        raise ValueError(f"shapes differ: logits {tuple(logits.shape)}, {found}")


def positive(**settings: float | torch.Tensor) -> None:
    """Raise ValueError, with the name, unless every setting is above 0 and finite, everywhere."""
    for name, value in settings.items():
        least, most = (value.min(), value.max()) if isinstance(value, torch.Tensor) else (value, value)
        if not 0 < least <= most < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}")


def within(low: float, high: float, **settings: float) -> None:
    """Raise ValueError, with the name, unless every setting is from ``low`` to ``high``."""
    for name, value in settings.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be within {low:g}..{high:g}, not {value}")


def trust_or_none(logits: torch.Tensor, trust: torch.Tensor | None) -> torch.Tensor:
    """``trust`` in the type of ``logits``; zeros, nobody looked, where it is None."""
    return torch.zeros_like(logits) if trust is None else trust.to(logits.dtype)


def trust_in_background(logits: torch.Tensor, trust: torch.Tensor | None, beta: float) -> torch.Tensor:
    """b = trust + (1 - trust) · beta: how far each voxel, where unannotated, is believed to be background."""
    looked = trust_or_none(logits, trust)
    return looked + (1 - looked) * beta


def belief(logits: torch.Tensor, variant: Variant) -> torch.Tensor:
    """q: 1[p > 0.5] without gradient (``hard``), or p with its gradient (``soft``)."""
    return (logits > 0).to(logits.dtype) if variant == "hard" else torch.sigmoid(logits)


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """By voxel, -[ target·log p + (1-target)·log(1-p) ]; a gradient passes through ``target`` as well."""
    return -(target * functional.logsigmoid(logits) + (1 - target) * functional.logsigmoid(-logits))
