"""Losses of the overlap between prediction and label, over the whole batch at once.

None takes ``trust``: an overlap counts every unannotated voxel as background in full already, so a voxel that somebody
looked at cannot be worth more. The whole batch is one sum because most patches have nothing annotated, and their own
overlap would be 0/0 (Tilborghs et al., MICCAI 2022, arXiv 2207.09521).
"""

from __future__ import annotations

import torch
from torch.nn import functional

from .voxels import same_shape, within

_VOXEL = 1.0  # added to both sides of an overlap: nothing annotated and nothing found is a full overlap, not 0/0
_EPSILON = 1e-5  # the source's


def tversky_loss(logits: torch.Tensor, labels: torch.Tensor, *, false_negatives: float = 0.9) -> torch.Tensor:
    """One minus the Tversky index, in which false negatives and false positives weigh differently.

    With w = false_negatives, TP = Σ p over annotated voxels, FN = Σ (1-p) over the same, FP = Σ p over all others::

        1 - T,   T = (TP + 1) / (TP + w·FN + (1-w)·FP + 1)

    w = ½ gives Dice. With D the denominator, the gradient in p is (1-w)·T/D on unannotated voxels, so that a missed
    lesion goes to p = 0, if slowly, and -(1 - (1-w)·T)/D on annotated ones.

    Source: Salehi et al., MLMI 2017 (arXiv 1706.05721).
    """
    same_shape(logits, labels=labels)
    within(0, 1, false_negatives=false_negatives)
    annotated = labels > 0
    # sigmoid(-z), not 1-p: p may round to 1
    p, not_p = torch.sigmoid(logits), torch.sigmoid(-logits)
    none = torch.zeros_like(p)
    found = torch.where(annotated, p, none).sum()
    missed = torch.where(annotated, not_p, none).sum()
    wrong = torch.where(annotated, none, p).sum()
    false = false_negatives * missed + (1 - false_negatives) * wrong
    return false / (found + false + _VOXEL)


def dice_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss over the batch plus the mean over voxels of cross-entropy: nnU-Net's kind.

    ::

        1 - (2·Σ p·y + 2) / (Σ p + Σ y + 2)  +  mean of -y·log p - (1-y)·log(1-p)

    Both terms call a missed lesion background, so it goes to p = 0.

    Source: Isensee et al., Nature Methods 18:203-211, 2021.
    """
    dice = tversky_loss(logits, labels, false_negatives=0.5)
    return dice + functional.binary_cross_entropy_with_logits(logits, (labels > 0).to(logits.dtype))


def noise_robust_dice_loss(logits: torch.Tensor, labels: torch.Tensor, *, power: float = 1.5) -> torch.Tensor:
    """The noise-robust Dice loss, between the Dice loss (power 2) and a normalised absolute error (power 1); 1.5 in the source.

    ::

        L = Σ |p-y|^power / (Σ p² + Σ y² + 1e-5)

    With D the denominator, the gradient in p on an unannotated voxel is (power·p^(power-1) - 2·p·L) / D: it falls
    while p^(2-power) < power/(2·L), and rises above that, so for L above power/2 what is confidently predicted where
    nothing is annotated confirms itself, a false positive as well as a missed lesion. A batch with nothing annotated
    would be such a case at almost any p; it gives 0, without gradient.

    Source: Wang et al., IEEE Transactions on Medical Imaging 39(8):2653-2663, 2020.
    """
    same_shape(logits, labels=labels)
    within(1, 2, power=power)
    annotated = labels > 0
    p = torch.sigmoid(logits)
    error = torch.where(annotated, torch.sigmoid(-logits), p)
    loss = (error**power).sum() / ((p**2).sum() + annotated.sum() + _EPSILON)
    return torch.where(annotated.any(), loss, torch.zeros_like(loss))
