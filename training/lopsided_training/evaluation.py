"""``evaluation.json``: what a network was measured to find, on which files, and how. Lesions are numbered from 0."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from lopsided.dataset.records import read_record
from lopsided.errors import InputError
from lopsided.model import Calibration, Scale
from lopsided.wording import DISCLAIMER
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .froc import CaseResult, interval

EVALUATION, FOLDER = "evaluation.json", "evaluation"  # within a run: RUN/evaluation/evaluation.json


class Record(BaseModel):
    """Results are whole, and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _undefined_is_none(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_undefined_is_none)]
"""JSON has no NaN: what is not defined is null."""


class Estimate(Record):
    """A number with its 95 % interval over patients; null where it is not defined."""

    value: Number
    low: Number = None
    high: Number = None

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """From what each row of :func:`lopsided_training.froc.patient_weights` gives."""
        if not math.isfinite(values[0]):
            return cls(value=None)
        low, high = interval(values)
        return cls(value=float(values[0]), low=float(low), high=float(high))

    def text(self, digits: int = 2) -> str:
        """The value; a dash where it is not defined."""
        return "–" if self.value is None else f"{self.value:.{digits}f}"

    def bounds(self, digits: int = 2) -> str:
        """The interval, as ``0.41–0.62``; nothing where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.{digits}f}–{self.high:.{digits}f}"

    def words(self) -> str:
        """Both, as ``0.52 (0.41–0.62)``."""
        return f"{self.text()} ({self.bounds()})" if self.bounds() else self.text()

    def difference(self, digits: int = 3) -> tuple[str, str]:
        """Value and interval with their signs, as ``-0.031`` and ``-0.080 to +0.011``."""
        value = "–" if self.value is None else f"{self.value:+.{digits}f}"
        if self.low is None or self.high is None:
            return value, ""
        return value, f"{self.low:+.{digits}f} to {self.high:+.{digits}f}"


class AtBudget(Record):
    """``false_positives``: a scan, at most."""

    false_positives: float
    sensitivity: Estimate


class BySize(Record):
    """Of lesions from ``low_mm`` to below ``high_mm`` (null: of any size above), diameter of the sphere of their volume."""

    low_mm: float
    high_mm: float | None
    lesions: int
    froc_mean: Estimate
    sensitivity: Estimate = Field(description="at the default threshold")

    @property
    def words(self) -> str:
        """The size, as ``3–6 mm``."""
        if self.high_mm is None:
            return f"≥ {self.low_mm:g} mm"
        return f"{self.low_mm:g}–{self.high_mm:g} mm" if self.low_mm else f"< {self.high_mm:g} mm"


class Detections(Record):
    """``froc``: at the false positives a scan that ``froc_mean`` is the mean over."""

    criterion: str = Field(description="when a candidate hits a lesion")
    froc: tuple[AtBudget, ...]
    froc_mean: Estimate
    average_precision: Estimate
    by_size: tuple[BySize, ...]


class Operating(Record):
    """All candidates that score at least ``threshold``: the default one, or the lowest for some false positives a scan."""

    threshold: float
    default: bool
    budgets: tuple[float, ...]
    sensitivity: Estimate
    false_positives: Estimate
    precision: Estimate


class Extents(Record):
    """Means over cases in which they are defined, at the default threshold: Dice of all voxels, and lesion by lesion
    (:func:`lopsided_training.matching.lesion_wise_dice`)."""

    cases: int
    voxel_dice: Estimate
    lesion_wise_dice: Estimate


class ReliabilityBin(Record):
    """Candidates that score from ``low`` to below ``high``: how many, their mean score, and which part hits a lesion."""

    low: float
    high: float
    candidates: int
    mean_score: float
    true: float


class Reliability(Record):
    """Whether scores are probabilities, over all candidates."""

    bins: tuple[ReliabilityBin, ...]
    brier: Number
    calibration_error: Number


class DatasetFacts(Record):
    """``digest``: SHA-256 over the names and the hashes of all cases' files."""

    name: str
    digest: str
    cases: int
    patients: int
    lesions: int


class Subject(Record):
    """What was measured."""

    kind: Literal["run", "model"]
    name: str
    weights_sha256: str
    digest: str | None = Field(description="of a model")
    scales: tuple[Scale, ...] = Field(description="that it searched at (lopsided.model.ModelCard)")


class EvaluatedCase(Record):
    """One case. ``hits``: by candidate, the lesions that it hits; ``hits_iou``: by the second criterion."""

    name: str
    patient: str
    files: dict[str, str] = Field(description="SHA-256 of each sequence's file, and of the label's")
    diameters_mm: tuple[float, ...]
    scores: tuple[float, ...]
    hits: tuple[tuple[int, ...], ...]
    hits_iou: tuple[tuple[int, ...], ...]
    voxel_dice: Number
    lesion_wise_dice: Number

    @model_validator(mode="after")
    def _fits_together(self) -> EvaluatedCase:
        for iou in (False, True):
            self.result(iou=iou)
        return self

    def result(self, *, iou: bool = False) -> CaseResult:
        """As plain data."""
        hits = self.hits_iou if iou else self.hits
        return CaseResult(self.name, np.array(self.scores), hits, np.array(self.diameters_mm), self.patient)


class Evaluation(Record):
    """``evaluation.json``.

    ``score``: what candidates are ranked by; ``threshold``: the least that is shown at first. ``calibration`` has the
    Brier score and the calibration error of this evaluation, if there was any candidate.
    """

    format_version: Literal[1] = 1
    notice: str = DISCLAIMER
    created: str
    software: dict[str, str]
    machine: str
    seconds: float
    seed: int = Field(description="of the resamples that intervals are made from")
    resamples: int
    subject: Subject
    score: Literal["confidence", "peak probability"]
    calibration: Calibration | None
    calibrated_on: DatasetFacts | None
    threshold: float
    dataset: DatasetFacts
    overlap: Detections
    iou: Detections
    operating_points: tuple[Operating, ...]
    extents: Extents
    reliability: Reliability
    cases: tuple[EvaluatedCase, ...]

    @model_validator(mode="after")
    def _has_all_cases(self) -> Evaluation:
        if len(self.cases) != self.dataset.cases:
            raise ValueError(f"has {len(self.cases)} of {self.dataset.cases} cases")
        return self

    def results(self, *, iou: bool = False) -> list[CaseResult]:
        """All cases, as plain data."""
        return [case.result(iou=iou) for case in self.cases]


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation: the file, or the folder that it is in.

    Raises:
        InputError: there is none, or it is of another version or was changed.
    """
    if path.is_dir():
        path = path / EVALUATION if (path / EVALUATION).exists() else path / FOLDER / EVALUATION
    if not path.is_file():
        raise InputError(f"{path}: is missing; `lopsided-train evaluate` writes it")
    return read_record(path, Evaluation)
