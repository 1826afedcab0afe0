"""Cross-entropy, and what others made of it for labels with errors: controls and competitors of the lopsided loss."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .voxels import (
    Variant,
    belief,
    cross_entropy,
    positive,
    same_shape,
    trust_in_background,
    trust_or_none,
    within,
)


def weighted_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float | torch.Tensor = 1.0,
    beta: float = 1.0,
) -> torch.Tensor:
    """Mean over voxels of cross-entropy with a weight for annotated and one for unannotated voxels.

    With p = sigmoid(z) and b = trust + (1 - trust) · beta::

        y = 1:  -alpha · log p
        y = 0:  -b · log(1-p)

    The gradients in z are -alpha·(1-p) and b·p: a missed lesion has no rest but p = 0. They are also exactly those
    of the lopsided loss with a soft belief without gradient, and, but for a factor of beta, of cross-entropy with
    annotated voxels weighted alpha/beta: the control that the lopsided loss has to beat. Of like voxels of which
    a share r is annotated, p settles at alpha·r / (alpha·r + b·(1-r)).
    """
    return weighted_terms(logits, labels, trust, alpha, beta).mean()


def oracle_ignore_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    ignore: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> torch.Tensor:
    """Weighted cross-entropy to which voxels known to be wrongly labelled add nothing.

    Where ``ignore`` is above 0 the loss and its gradient are 0, whatever label and trust say; elsewhere they are
    those of :func:`weighted_cross_entropy`. Still a mean over all voxels, so that what is ignored does not raise
    the weight of the rest. With the lesions that were taken out of the labels as ``ignore``, it is the upper bound
    of what a loss can do about them.
    """
    same_shape(logits, ignore=ignore)
    terms = weighted_terms(logits, labels, trust, alpha, beta)
    return torch.where(ignore > 0, torch.zeros_like(terms), terms).mean()


def weighted_terms(
    logits: torch.Tensor, labels: torch.Tensor, trust: torch.Tensor | None, alpha: float | torch.Tensor, beta: float
) -> torch.Tensor:
    """:func:`weighted_cross_entropy` by voxel."""
    same_shape(logits, labels=labels, trust=trust)
    positive(alpha=alpha)
    within(0, 1, beta=beta)
    background = -trust_in_background(logits, trust, beta) * functional.logsigmoid(-logits)
    return torch.where(labels > 0, -alpha * functional.logsigmoid(logits), background)


def symmetric_bootstrap_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.8,
    variant: Variant = "hard",
) -> torch.Tensor:
    """Mean over voxels of Reed's bootstrap, which trusts annotated and unannotated voxels alike only in part.

    Cross-entropy, annotated voxels weighted alpha, to the target::

        y = 1:  beta + (1-beta)·q
        y = 0:  (1-b)·q,   b = trust + (1 - trust) · beta

    where q = 1[p > 0.5] without gradient (``hard``), or q = p with its gradient (``soft``).

    On unannotated voxels this is the lopsided loss, with its fixed points. On annotated ones the gradient in z is
    alpha·(p - beta - (1-beta)·q) for ``hard`` and -alpha·(1-p)·[beta + (1-beta)·z·p] for ``soft``: for
    beta < ½ (``hard``) or beta < 0.218 (``soft``) an annotated lesion that is not yet found stays so. ``hard`` rests
    at p = beta. With Reed's beta, 0.8 and 0.95, neither happens. His alpha is 1.

    Source: Reed et al., arXiv 1412.6596.
    """
    same_shape(logits, labels=labels, trust=trust)
    positive(alpha=alpha)
    within(0, 1, beta=beta)
    q = belief(logits, variant)
    annotated = alpha * cross_entropy(logits, beta + (1 - beta) * q)
    unannotated = cross_entropy(logits, (1 - trust_in_background(logits, trust, beta)) * q)
    return torch.where(labels > 0, annotated, unannotated).mean()


def forward_corrected_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    miss_rate: float,
    alpha: float = 1.0,
) -> torch.Tensor:
    """Mean over voxels of cross-entropy with the probability that a voxel *is annotated*, not that it is lesion.

    A lesion that is missed at random with the rate ρ = ``miss_rate``, below 1, is annotated with probability (1-ρ)·p::

        y = 1:  -alpha · log((1-ρ)·p)
        y = 0:  -log(1-(1-m)·p),   m = ρ·(1 - trust)

    The gradients in z are -alpha·(1-p) and (1-m)·p·(1-p) / (1-(1-m)·p): on a missed lesion it vanishes as p comes
    to 1. For alpha = 1, of like voxels of which a share r is annotated, p settles at r/(1-ρ), which is the true
    probability of lesion where misses are random; cross-entropy settles at r. Another alpha gives that up.

    Source: forward correction of Patrini et al., CVPR 2017 (arXiv 1609.03683), with labels lost in one direction.
    """
    same_shape(logits, labels=labels, trust=trust)
    positive(alpha=alpha)
    if not 0 <= miss_rate < 1:
        raise ValueError(f"miss_rate must be from 0 to below 1, not {miss_rate}")
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    missed = miss_rate * (1 - trust_or_none(logits, trust))
    # 1-(1-m)p = (1-p) + m·p, as a sum of logarithms: p may round to 1
    unannotated = -torch.logaddexp(log_not_p, missed.log() + log_p)
    return torch.where(labels > 0, -alpha * (log_p + math.log1p(-miss_rate)), unannotated).mean()


def generalised_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float = 1.0,
    q: float = 0.7,
) -> torch.Tensor:
    """Mean over voxels of the generalised cross-entropy, between cross-entropy (q to 0) and absolute error (q = 1). In the source q is
    0.7 and alpha 1.

    With p = sigmoid(z)::

        y = 1:  alpha · (1 - p^q) / q
        y = 0:  trust · -log(1-p) + (1 - trust) · (1 - (1-p)^q) / q

    The gradients in z are -alpha·p^q·(1-p) and, without trust, (1-p)^q·p: what the network is sure of, against the
    label, hardly moves it, in both directions. Of like voxels of which a share r is annotated, logit(p) settles at
    ln(alpha·r/(1-r)) / (1-q) for q < 1: a majority, after weighting, is made more certain.

    Source: Zhang and Sabuncu, NeurIPS 2018 (arXiv 1805.07836).
    """
    same_shape(logits, labels=labels, trust=trust)
    positive(alpha=alpha, q=q)
    within(0, 1, q=q)
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    looked = trust_or_none(logits, trust)
    background = -looked * log_not_p - (1 - looked) * torch.expm1(q * log_not_p) / q
    return torch.where(labels > 0, -alpha * torch.expm1(q * log_p) / q, background).mean()
