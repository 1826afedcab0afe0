"""The lopsided bootstrap loss: trust "this is a lesion", and only partly trust "nothing here"."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

Variant = Literal["hard", "soft"]


def lopsided_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.1,
    variant: Variant = "hard",
) -> torch.Tensor:
    """Mean over voxels of the lopsided bootstrap loss.

    With p = sigmoid(z)::

        y = 1:  -alpha · log p
        y = 0:  -[ b · log(1-p) + (1-b) · ( q·log p + (1-q)·log(1-p) ) ]

    where q = 1[p > 0.5] without gradient (``hard``), or q = p with its gradient (``soft``: an entropy term), and
    b = trust + (1 - trust) · beta. A detached soft q would leave exactly b · cross-entropy, so it is not offered.

    On an unannotated voxel the gradient in z of ``hard`` is p - (1-b) for p > ½, so that a prediction settles at
    p = 1-b for b < ½; that of ``soft`` is p·[b - (1-b)·z·(1-p)], with a high fixed point for b < 0.218 only.

    Args:
        logits: z, any shape, float.
        labels: y, the same shape, 1 in annotated lesions and 0 elsewhere.
        trust: the same shape, 0 to 1: how certain it is that an unannotated voxel is background (1 where somebody
            looked and said no). All zeros where None.
        alpha: weight of annotated voxels.
        beta: trust in "not annotated means background", 0 to 1, where nobody looked. 1 gives weighted
            cross-entropy.
        variant: how the network's own belief q is taken.

    Raises:
        ValueError: shapes that differ, or an alpha or beta out of range.

    Source: Yi et al., MIDL 2020 (PMLR 121:867-880), after Reed et al., arXiv 1412.6596; the formula is
    reconstructed from the abstract and Reed's bootstrap.
    """
    if logits.shape != labels.shape or (trust is not None and trust.shape != labels.shape):
        raise ValueError(f"shapes differ: logits {tuple(logits.shape)}, labels {tuple(labels.shape)}")
    if alpha <= 0 or not 0 <= beta <= 1:
        raise ValueError(f"alpha must be positive and beta within 0..1, not {alpha} and {beta}")
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    q = (logits > 0).to(logits.dtype) if variant == "hard" else torch.sigmoid(logits)
    b = torch.full_like(logits, beta) if trust is None else trust + (1 - trust) * beta
    background = -(b * log_not_p + (1 - b) * (q * log_p + (1 - q) * log_not_p))
    return torch.where(labels > 0, -alpha * log_p, background).mean()
