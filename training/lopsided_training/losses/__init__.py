"""Losses for labels in which lesions are missing.

All take ``logits`` z, float, of any shape; ``labels`` y of the same shape, 1 in annotated lesions and 0 elsewhere; and, where it makes
a difference, ``trust`` of that shape, 0 to 1: 1 where somebody looked and said no, all zeros where None. They give a scalar, over all
of it. ``alpha`` is the weight of annotated voxels, in some also of each, as a tensor; ``beta``, 0 to 1, the trust in "not annotated
means background" where nobody looked. ``teacher_logits`` get no gradient. Shapes that differ and settings out of range are a
ValueError, by name.

``lopsided``: the project's own, and with a teacher's belief.
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
