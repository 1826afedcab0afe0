"""A teacher, the moving average of the network's weights, and mining what it finds where nothing is annotated."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .cross_entropies import weighted_terms
from .settings import LossConfig, TaughtConfig
from .voxels import same_shape, trust_or_none

Mode = Literal["ignore", "positive"]


def make_teacher(config: LossConfig, network: nn.Module) -> AveragedModel | None:
    """A copy of ``network``, on its device, to be averaged with it after every step; None if its loss needs none.

    Its ``state_dict`` belongs in the checkpoint.

    Source: Tarvainen and Valpola, NeurIPS 2017 (arXiv 1703.01780).
    """
    if not isinstance(config, TaughtConfig):
        return None
    teacher = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.decay), use_buffers=True)
    return teacher.requires_grad_(False).eval()


def teacher_mining_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher_logits: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    threshold: float = 0.9,
    mode: Mode = "ignore",
) -> torch.Tensor:
    """Mean over voxels of weighted cross-entropy, but where nothing is annotated and the teacher finds a lesion.

    A voxel, each by itself, is mined if y = 0 and p_teacher > threshold. Then::

        ``ignore``:    -trust · log(1-p)
        ``positive``:  -trust · log(1-p) - (1 - trust) · alpha · log p

    All others are those of :func:`~lopsided_training.losses.weighted_cross_entropy`. Where nobody looked the gradient
    in z is 0 (``ignore``: a prediction stays where it is) or -alpha·(1-p) (``positive``: it goes to p = 1, whether
    the teacher is right or wrong); what is not mined goes to p = 0.

    Source: pseudo-labels (Lee, ICML 2013 workshop on challenges in representation learning), given by the teacher of
    Tarvainen and Valpola, NeurIPS 2017 (arXiv 1703.01780).
    """
    same_shape(logits, teacher_logits=teacher_logits)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be above 0 and below 1, not {threshold}")
    plain = weighted_terms(logits, labels, trust, alpha, beta)
    looked = trust_or_none(logits, trust)
    instead = -looked * functional.logsigmoid(-logits)
    if mode == "positive":
        instead = instead - (1 - looked) * alpha * functional.logsigmoid(logits)
    mined = (labels <= 0) & (teacher_logits > math.log(threshold / (1 - threshold)))
    return torch.where(mined, instead, plain).mean()
