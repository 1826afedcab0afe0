"""The lopsided bootstrap loss: trust "this is a lesion", and only partly trust "nothing here"."""

from __future__ import annotations

import torch
from torch.nn import functional

from .voxels import Variant, belief, cross_entropy, positive, same_shape, trust_in_background, within


def lopsided_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float | torch.Tensor = 1.0,
    beta: float,
    variant: Variant = "hard",
) -> torch.Tensor:
    """Mean over voxels of the lopsided bootstrap loss.

    With p = sigmoid(z)::

        y = 1:  -alpha · log p
        y = 0:  -[ b · log(1-p) + (1-b) · ( q·log p + (1-q)·log(1-p) ) ]

    where q = 1[p > 0.5] without gradient (``hard``), or q = p with its gradient (``soft``: an entropy term), and
    b = trust + (1 - trust) · beta. A detached soft q would leave exactly b · cross-entropy
    (:func:`~lopsided_training.losses.weighted_cross_entropy`), so it is not offered.

    On an unannotated voxel the gradient in z of ``hard`` is p - (1-b) for p > ½, so that a prediction settles at
    p = 1-b for b < ½; that of ``soft`` is p·[b - (1-b)·z·(1-p)], with a high fixed point for b < 0.218 only.
    Of like voxels of which a share r is annotated, ``hard`` settles at
    p = (alpha·r + (1-r)·(1-b)) / (alpha·r + 1-r) where that is above ½.

    Source: Yi et al., MIDL 2020 (PMLR 121:867-880), after Reed et al., arXiv 1412.6596; the formula is
    reconstructed from the abstract and Reed's bootstrap.
    """
    return _to_belief(logits, logits, labels, trust, alpha, beta, variant)


def lopsided_teacher_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher_logits: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float | torch.Tensor = 1.0,
    beta: float,
    variant: Variant = "hard",
) -> torch.Tensor:
    """Mean over voxels of the lopsided loss with a teacher's belief, not the network's own.

    As :func:`lopsided_loss`, with q = 1[p_teacher > 0.5] (``hard``) or q = p_teacher (``soft``), always without
    gradient: the target of an unannotated voxel is (1-b)·q.

    There the gradient in z is p - (1-b)·q, so that a prediction settles at p = (1-b)·q under a teacher that stays
    as it is. A teacher that is the network's moving average follows: ``hard`` then stays at p = 1-b for b < ½, but
    ``soft`` has no other rest than p = 0, for as q comes to p the gradient comes to b·p, that of weighted
    cross-entropy. A soft teacher's belief delays forgetting by the average's length; it does not prevent it.

    Source: as :func:`lopsided_loss`; the teacher is that of Tarvainen and Valpola, NeurIPS 2017 (arXiv 1703.01780).
    """
    return _to_belief(logits, teacher_logits.detach(), labels, trust, alpha, beta, variant)


def _to_belief(
    logits: torch.Tensor,
    believer: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None,
    alpha: float | torch.Tensor,
    beta: float,
    variant: Variant,
) -> torch.Tensor:
    same_shape(logits, labels=labels, teacher_logits=believer, trust=trust)
    positive(alpha=alpha)
    within(0, 1, beta=beta)
    target = (1 - trust_in_background(logits, trust, beta)) * belief(believer, variant)
    annotated = -alpha * functional.logsigmoid(logits)
    return torch.where(labels > 0, annotated, cross_entropy(logits, target)).mean()
