"""The loss of a training step, whichever it is."""

from __future__ import annotations

from typing import assert_never

import torch
from lopsided.errors import InputError

from .cross_entropies import (
    forward_corrected_cross_entropy,
    generalised_cross_entropy,
    oracle_ignore_loss,
    symmetric_bootstrap_loss,
    weighted_cross_entropy,
)
from .lopsided import lopsided_loss, lopsided_teacher_loss
from .overlaps import dice_cross_entropy, noise_robust_dice_loss, tversky_loss
from .positive_unlabelled import nnpu_risk
from .settings import (
    DiceCrossEntropyConfig,
    ForwardCorrectedConfig,
    GeneralisedCrossEntropyConfig,
    LopsidedConfig,
    LopsidedTeacherConfig,
    LossConfig,
    NoiseRobustDiceConfig,
    NonNegativePUConfig,
    OracleIgnoreConfig,
    SymmetricBootstrapConfig,
    TeacherMiningConfig,
    TverskyConfig,
    WeightedCrossEntropyConfig,
)
from .teacher import teacher_mining_loss


def training_loss(
    config: LossConfig,
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    step: int,
    teacher_logits: torch.Tensor | None = None,
    ignore: torch.Tensor | None = None,
    emphasis: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of one batch, a scalar.

    Args:
        config: which loss, and its settings.
        logits: any shape, float.
        labels: the same shape, 1 in annotated lesions and 0 elsewhere.
        trust: the same shape, 0 to 1: 1 where somebody looked and said no. All zeros where None.
        step: from 0, for what warms up.
        teacher_logits: the same shape; needed by a :class:`TaughtConfig`.
        ignore: the same shape, above 0 where a lesion is known to be missing from the labels; needed by
            ``oracle-ignore``, and seen by no other.
        emphasis: the same shape, what ``alpha`` is multiplied by; for losses that ``weighs_lesions``.

    Raises:
        InputError: ``oracle-ignore`` without ``ignore``.
        ValueError: shapes that differ, or no ``teacher_logits`` where they are needed.
    """
    match config:
        case LopsidedConfig():
            alpha = _times(config.alpha, emphasis)
            return lopsided_loss(logits, labels, trust, alpha=alpha, beta=config.beta_at(step), variant=config.variant)
        case WeightedCrossEntropyConfig():
            alpha = _times(config.alpha, emphasis)
            return weighted_cross_entropy(logits, labels, trust, alpha=alpha, beta=config.beta)
        case SymmetricBootstrapConfig():
            return symmetric_bootstrap_loss(
                logits, labels, trust, alpha=config.alpha, beta=config.beta_at(step), variant=config.variant
            )
        case ForwardCorrectedConfig():
            return forward_corrected_cross_entropy(
                logits, labels, trust, miss_rate=config.miss_rate, alpha=config.alpha
            )
        case NonNegativePUConfig():
            return nnpu_risk(logits, labels, trust, prior=config.prior, surrogate=config.surrogate)
        case GeneralisedCrossEntropyConfig():
            return generalised_cross_entropy(logits, labels, trust, alpha=config.alpha, q=config.q)
        case NoiseRobustDiceConfig():
            return noise_robust_dice_loss(logits, labels, power=config.power)
        case TverskyConfig():
            return tversky_loss(logits, labels, false_negatives=config.false_negatives)
        case DiceCrossEntropyConfig():
            return dice_cross_entropy(logits, labels)
        case TeacherMiningConfig() if step < config.warm_up:
            return weighted_cross_entropy(logits, labels, trust, alpha=config.alpha, beta=config.beta)
        case TeacherMiningConfig():
            return teacher_mining_loss(
                logits,
                labels,
                _needed(teacher_logits, config.kind),
                trust,
                alpha=config.alpha,
                beta=config.beta,
                threshold=config.threshold,
                mode=config.mode,
            )
        case LopsidedTeacherConfig():
            return lopsided_teacher_loss(
                logits,
                labels,
                _needed(teacher_logits, config.kind),
                trust,
                alpha=_times(config.alpha, emphasis),
                beta=config.beta_at(step),
                variant=config.variant,
            )
        case OracleIgnoreConfig():
            if ignore is None:
                raise InputError(
                    "loss.kind oracle-ignore: the data do not say which lesions are missing from the labels; "
                    "choose another loss.kind"
                )
            return oracle_ignore_loss(logits, labels, ignore, trust, alpha=config.alpha, beta=config.beta)
        case _:
            assert_never(config)


def _times(alpha: float, emphasis: torch.Tensor | None) -> float | torch.Tensor:
    return alpha if emphasis is None else alpha * emphasis


def _needed(teacher_logits: torch.Tensor | None, kind: str) -> torch.Tensor:
    if teacher_logits is None:
        raise ValueError(f"{kind} needs teacher_logits")
    return teacher_logits
