"""Settings of a training run: what a TOML file in ``configs/`` may say."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from lopsided.architectures import Architecture, ResidualUNetSizes
from lopsided.errors import InputError
from lopsided.model import InputSequence, InputSpec
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LossConfig(_Section):
    """The lopsided loss. ``beta`` is reached linearly from 1 after ``warm_up`` steps: a network that knows nothing
    yet would confirm its own guesses."""

    alpha: float = Field(4.0, gt=0)
    beta: float = Field(0.5, ge=0, le=1)
    variant: Literal["hard", "soft"] = "hard"
    warm_up: int = Field(500, ge=0)

    def beta_at(self, step: int) -> float:
        """The trust in unannotated background at a step."""
        return 1 - (1 - self.beta) * min(1.0, step / max(1, self.warm_up))


class PatchConfig(_Section):
    """``size`` voxels a side; ``on_lesion``: the share drawn around an annotated lesion; ``drop``: how often each
    optional sequence is withheld (Grøvik et al., npj Digital Medicine 2021)."""

    size: int = Field(64, gt=0)
    on_lesion: float = Field(0.5, ge=0, le=1)
    drop: float = Field(0.4, ge=0, le=1)


class FitConfig(_Section):
    """Everything ``fit`` does, beside the data."""

    seed: int = 1
    steps: int = Field(3000, gt=0)
    batch: int = Field(2, gt=0)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    checkpoint_every: int = Field(250, gt=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    input: InputSpec = InputSpec(
        sequences=(
            InputSequence(name="t1c", required=True),
            InputSequence(name="t1"),
            InputSequence(name="t2"),
            InputSequence(name="flair"),
        ),
        spacing_mm=(1.0, 1.0, 1.0),
        clip=(-5.0, 10.0),
    )
    network: Architecture = ResidualUNetSizes(
        channels=(16, 32, 64, 96), encoder_blocks=(0, 2, 2, 2), decoder_blocks=(1, 1, 1)
    )
    loss: LossConfig = LossConfig()
    patches: PatchConfig = PatchConfig()


def read_config(path: Path | None) -> FitConfig:
    """The settings in a TOML file; the defaults for None.

    Raises:
        InputError: an unreadable file, an unknown setting, or a value out of range, by name.
    """
    if path is None:
        return FitConfig()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        config = FitConfig.model_validate(content)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if config.patches.size % config.network.stride:
        raise InputError(
            f"{path}: patches.size {config.patches.size} is not a multiple of {config.network.stride}, "
            f"the stride of the network ({config.network.kind})"
        )
    return config
