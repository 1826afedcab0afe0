"""Learning from annotated and unannotated voxels, of which the latter are a known mixture."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from .voxels import same_shape, trust_or_none

Surrogate = Literal["logistic", "sigmoid"]


def nnpu_risk(
    logits: torch.Tensor,
    labels: torch.Tensor,
    trust: torch.Tensor | None = None,
    *,
    prior: float,
    surrogate: Surrogate = "logistic",
) -> torch.Tensor:
    """The non-negative positive-unlabelled risk of a batch.

    With l⁺ and l⁻ the surrogate loss of a voxel as lesion and as background, P the annotated voxels, U the
    unannotated ones, and means over these sets in this batch::

        prior · mean_P l⁺  +  mean_U trust·l⁻  +  max(0, mean_U (1-trust)·l⁻ - (1-s) · prior · mean_P l⁻)

    where s = mean_U trust, and ``prior`` is the share of lesion among the unannotated voxels at which nobody looked, in patches as they
    are drawn. The unannotated voxels are a mixture; what their lesions, which look like the annotated
    ones, add to "all of it is background" is subtracted. The surrogate is ``logistic``, l⁺ = -log p and
    l⁻ = -log(1-p), or ``sigmoid``, l⁺ = 1-p and l⁻ = p, as in the source's experiments.

    Of like voxels that are a share f of P and a share g of U, without trust, ``logistic`` settles at
    p = min(1, prior·f/g): the probability that one of them, unannotated, is lesion. ``sigmoid`` goes to 1 where
    that is above ½ and to 0 elsewhere: it decides, but its p is no probability. Where the difference is negative it
    is 0 without gradient; the source's algorithm 1 ascends there, which is not a gradient of the risk and is left
    out. A batch with nothing annotated has the risk of "all of it is background".

    Source: Kiryo et al., NeurIPS 2017 (arXiv 1703.00593); known negatives join as in Sakai et al.,
    ICML 2017 (arXiv 1605.06955).
    """
    same_shape(logits, labels=labels, trust=trust)
    if not 0 < prior < 1:
        raise ValueError(f"prior must be above 0 and below 1, not {prior}")
    if surrogate == "logistic":
        as_lesion, as_background = -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
    else:
        as_lesion, as_background = torch.sigmoid(-logits), torch.sigmoid(logits)
    annotated = (labels > 0).to(logits.dtype)
    looked = (1 - annotated) * trust_or_none(logits, trust)
    p_size = annotated.sum().clamp(min=1)
    u_size = (1 - annotated).sum().clamp(min=1)
    found = (annotated * as_lesion).sum() / p_size
    negative = (looked * as_background).sum() / u_size
    mixture = ((1 - annotated - looked) * as_background).sum() / u_size
    missed = (1 - looked.sum() / u_size) * prior * (annotated * as_background).sum() / p_size
    return prior * found + negative + (mixture - missed).clamp(min=0)
