"""Which runs an experiment consists of, and what is settled from their results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from ..config import FitConfig, PatchConfig, Section, first_of
from ..losses.settings import LossConfig
from .censor import CONDITION


def _known(seeds: dict[str, int]) -> dict[str, int]:
    for condition, number in seeds.items():
        if not CONDITION.match(condition) or number < 1:
            raise ValueError(f"{condition} = {number}: use none, random-P, smallest-P or readers-P, and 1 or more")
    return seeds


Seeds = Annotated[dict[str, int], AfterValidator(_known)]
"""By condition, how many."""


class MainConfig(Section):
    """``losses`` that are compared at more conditions, or with more seeds, than the others."""

    losses: tuple[str, ...] = ()
    seeds: Seeds = Field({})


class ExperimentConfig(Section):
    """``fit``: what all runs share. ``losses``: by name, the settings to choose from; of some, ``patches`` are drawn in
    another way than ``fit`` says. ``seeds``: of every loss (training and censoring both follow the seed), and of the
    ``main`` ones beyond that. The settings are chosen at ``choose_at`` with the first seed, by the mean of the FROC on
    validation cases whose labels are censored in the same way, as a user would have to."""

    fit: FitConfig
    losses: dict[str, tuple[LossConfig, ...]] = Field(min_length=1)
    patches: dict[str, dict[str, float]] = Field({})
    seeds: Seeds = Field(min_length=1)
    main: MainConfig = MainConfig()
    choose_at: str

    def patches_of(self, loss: str) -> PatchConfig:
        """How patches are drawn for a loss."""
        return PatchConfig.model_validate(self.fit.patches.model_dump() | self.patches.get(loss, {}))

    def fit_of(self, loss: str, setting: int, seed: int) -> FitConfig:
        """All that a run is trained with."""
        own = {"seed": seed, "loss": self.losses[loss][setting], "patches": self.patches_of(loss)}
        return FitConfig.model_validate(dict(self.fit) | own)

    def number(self, condition: str, loss: str) -> int:
        """How many seeds."""
        more = self.main.seeds.get(condition, 0) if loss in self.main.losses else 0
        return max(self.seeds.get(condition, 0), more)

    @model_validator(mode="after")
    def _of_these_losses(self) -> ExperimentConfig:
        for where, names in (("patches", self.patches), ("main.losses", self.main.losses)):
            for name in names:
                if name not in self.losses:
                    raise ValueError(f"{where}: {name} is not among the losses")
        for name in self.patches:
            try:
                self.fit_of(name, 0, self.fit.seed)
            except ValidationError as error:
                raise ValueError(f"patches of {name}: {first_of(error)}") from None
        return self

    @field_validator("choose_at")
    @classmethod
    def _condition(cls, choose_at: str) -> str:
        if not CONDITION.match(choose_at):
            raise ValueError("use none, random-P, smallest-P or readers-P")
        return choose_at


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
    """The runs of the comparison, of the losses whose settings are chosen: first at the conditions of all losses, there
    first seeds first, and then at those of the main ones alone."""
    seeds = range(1, max([*config.seeds.values(), *config.main.seeds.values()]) + 1)
    for conditions in (list(config.seeds), [c for c in config.main.seeds if c not in config.seeds]):
        for seed, condition, (loss, setting) in product(seeds, conditions, settings.items()):
            if seed <= config.number(condition, loss):
                yield Run(condition, loss, setting, seed)
