"""Losses for labels in which lesions are missing.

All take logits z, labels y (1 annotated, 0 not) and, where it makes a difference, ``trust`` (1 where somebody looked
and said no), tensors of one shape, and give a scalar. ``lopsided``: the project's own, and with a teacher's belief.
``cross_entropies``, ``positive_unlabelled``, ``overlaps``, ``teacher``: what to compare it with. ``settings``: a TOML
file's ``[loss]``. ``training``: the one call that the training loop makes. ``docs/losses.md`` compares them.
"""

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
from .teacher import make_teacher, teacher_mining_loss
from .training import training_loss

__all__ = [
    "dice_cross_entropy",
    "forward_corrected_cross_entropy",
    "generalised_cross_entropy",
    "lopsided_loss",
    "lopsided_teacher_loss",
    "make_teacher",
    "nnpu_risk",
    "noise_robust_dice_loss",
    "oracle_ignore_loss",
    "symmetric_bootstrap_loss",
    "teacher_mining_loss",
    "training_loss",
    "tversky_loss",
    "weighted_cross_entropy",
]
