"""Which runs an experiment consists of, and what is settled from their results."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lopsided.errors import InputError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..config import FitConfig
from ..losses.settings import LossConfig
from .censoring import CONDITION


class ExperimentConfig(BaseModel):
    """``fit``: what all runs share. ``losses``: by name, the settings to choose from. ``seeds``: by condition, how many
    (training and censoring both follow the seed). The settings are chosen at ``choose_at`` with the first seed, by the
    mean of the FROC on validation cases whose labels are censored in the same way, as a user would have to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fit: FitConfig
    losses: dict[str, tuple[LossConfig, ...]] = Field(min_length=1)
    seeds: dict[str, int] = Field(min_length=1)
    choose_at: str

    @field_validator("seeds")
    @classmethod
    def _known(cls, seeds: dict[str, int]) -> dict[str, int]:
        for condition, number in seeds.items():
            if not CONDITION.match(condition) or number < 1:
                raise ValueError(f"{condition} = {number}: use none, random-P, smallest-P or readers-P, and 1 or more")
        return seeds

    @field_validator("choose_at")
    @classmethod
    def _condition(cls, choose_at: str) -> str:
        if not CONDITION.match(choose_at):
            raise ValueError("use none, random-P, smallest-P or readers-P")
        return choose_at


def read_experiment(path: Path) -> ExperimentConfig:
    """The settings in a TOML file.

    Raises:
        InputError: an unreadable file, an unknown setting, or a value out of range, by name.
    """
    try:
        return ExperimentConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


@dataclass(frozen=True)
class Run:
    """One training. ``setting``: which of the loss's settings, from 0."""

    condition: str
    loss: str
    setting: int
    seed: int

    @property
    def name(self) -> str:
        """Of its result file."""
        return f"{self.condition}_{self.loss}_{self.setting}_seed{self.seed}"


def choosing(config: ExperimentConfig) -> Iterator[Run]:
    """The runs that settings are chosen from."""
    for loss, settings in config.losses.items():
        for n in range(len(settings)):
            yield Run(config.choose_at, loss, n, 1)


def chosen(config: ExperimentConfig, scores: dict[str, float]) -> dict[str, int]:
    """By loss, the setting of the best score; only of losses for which every score is there.

    Args:
        config: the experiment.
        scores: of validation with censored labels, by the run's name.
    """
    best = {}
    for loss in config.losses:
        runs = [run for run in choosing(config) if run.loss == loss]
        if all(run.name in scores for run in runs):
            best[loss] = max(runs, key=lambda run: scores[run.name]).setting
    return best


def comparing(config: ExperimentConfig, settings: dict[str, int]) -> Iterator[Run]:
    """The runs of the comparison, first seeds first, of the losses whose settings are chosen."""
    for seed in range(1, max(config.seeds.values()) + 1):
        for condition, number in config.seeds.items():
            if seed <= number:
                for loss, setting in settings.items():
                    yield Run(condition, loss, setting, seed)
