"""``[loss]`` of a training run's TOML: which loss, by ``kind``, and its settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class _Loss(BaseModel):
    """``alpha``, where a loss has it: the weight of annotated voxels.
    ``weighs_lesions``: whether lesions may have weights of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    weighs_lesions: ClassVar[bool] = False
    kind: str


class _Bootstrap(_Loss):
    """``beta`` is reached linearly from 1 after ``warm_up`` steps: a network that knows nothing yet would confirm its
    own guesses."""

    alpha: float = Field(10.0, gt=0)
    beta: float = Field(0.4, ge=0, le=1)
    variant: Literal["hard", "soft"] = "hard"
    warm_up: int = Field(500, ge=0)

    def beta_at(self, step: int) -> float:
        """The trust in labels at a step."""
        return 1 - (1 - self.beta) * min(1.0, step / max(1, self.warm_up))


class TaughtConfig(_Loss):
    """``decay``: of the weights of :func:`~lopsided_training.losses.make_teacher`, a step."""

    decay: float = Field(0.999, ge=0, lt=1)


class LopsidedConfig(_Bootstrap):
    """:func:`~lopsided_training.losses.lopsided_loss`, by default with what the censoring experiment chose."""

    weighs_lesions: ClassVar[bool] = True
    kind: Literal["lopsided"] = "lopsided"


class WeightedCrossEntropyConfig(_Loss):
    """:func:`~lopsided_training.losses.weighted_cross_entropy`, by default with what the censoring experiment chose."""

    weighs_lesions: ClassVar[bool] = True
    kind: Literal["weighted-ce"] = "weighted-ce"
    alpha: float = Field(10.0, gt=0)
    beta: float = Field(1.0, ge=0, le=1)


class SymmetricBootstrapConfig(_Bootstrap):
    """:func:`~lopsided_training.losses.symmetric_bootstrap_loss`, by default with Reed's beta for ``hard``."""

    kind: Literal["symmetric-bootstrap"] = "symmetric-bootstrap"
    alpha: float = Field(4.0, gt=0)
    beta: float = Field(0.8, ge=0, le=1)


class ForwardCorrectedConfig(_Loss):
    """:func:`~lopsided_training.losses.forward_corrected_cross_entropy`; exact for an ``alpha`` of 1 only."""

    kind: Literal["forward-corrected"] = "forward-corrected"
    alpha: float = Field(1.0, gt=0)
    miss_rate: float = Field(0.3, ge=0, lt=1)


class NonNegativePUConfig(_Loss):
    """:func:`~lopsided_training.losses.nnpu_risk`."""

    kind: Literal["nnpu"] = "nnpu"
    prior: float = Field(0.002, gt=0, lt=1)
    surrogate: Literal["logistic", "sigmoid"] = "logistic"


class GeneralisedCrossEntropyConfig(_Loss):
    """:func:`~lopsided_training.losses.generalised_cross_entropy`."""

    kind: Literal["generalised-ce"] = "generalised-ce"
    alpha: float = Field(4.0, gt=0)
    q: float = Field(0.7, gt=0, le=1)


class NoiseRobustDiceConfig(_Loss):
    """:func:`~lopsided_training.losses.noise_robust_dice_loss`."""

    kind: Literal["noise-robust-dice"] = "noise-robust-dice"
    power: float = Field(1.5, ge=1, le=2)


class TverskyConfig(_Loss):
    """:func:`~lopsided_training.losses.tversky_loss`."""

    kind: Literal["tversky"] = "tversky"
    false_negatives: float = Field(0.9, ge=0, le=1)


class DiceCrossEntropyConfig(_Loss):
    """:func:`~lopsided_training.losses.dice_cross_entropy`."""

    kind: Literal["dice-ce"] = "dice-ce"


class TeacherMiningConfig(TaughtConfig):
    """:func:`~lopsided_training.losses.teacher_mining_loss`. The first ``warm_up`` steps mine nothing."""

    kind: Literal["teacher-mining"] = "teacher-mining"
    alpha: float = Field(4.0, gt=0)
    beta: float = Field(1.0, ge=0, le=1)
    threshold: float = Field(0.9, gt=0, lt=1)
    mode: Literal["ignore", "positive"] = "ignore"
    warm_up: int = Field(500, ge=0)


class LopsidedTeacherConfig(_Bootstrap, TaughtConfig):
    """:func:`~lopsided_training.losses.lopsided_teacher_loss`."""

    weighs_lesions: ClassVar[bool] = True
    kind: Literal["lopsided-teacher"] = "lopsided-teacher"


class OracleIgnoreConfig(_Loss):
    """:func:`~lopsided_training.losses.oracle_ignore_loss`."""

    kind: Literal["oracle-ignore"] = "oracle-ignore"
    alpha: float = Field(4.0, gt=0)
    beta: float = Field(1.0, ge=0, le=1)


def _lopsided_if_not_named(value: Any) -> Any:
    return {"kind": "lopsided"} | value if isinstance(value, dict) else value


LossConfig = Annotated[
    LopsidedConfig
    | WeightedCrossEntropyConfig
    | SymmetricBootstrapConfig
    | ForwardCorrectedConfig
    | NonNegativePUConfig
    | GeneralisedCrossEntropyConfig
    | NoiseRobustDiceConfig
    | TverskyConfig
    | DiceCrossEntropyConfig
    | TeacherMiningConfig
    | LopsidedTeacherConfig
    | OracleIgnoreConfig,
    Field(discriminator="kind"),
    BeforeValidator(_lopsided_if_not_named),
]
"""Any of them. Without ``kind`` it is the lopsided loss."""
