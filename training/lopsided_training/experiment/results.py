"""What both experiments do alike: prepare their data, mind the time, and keep a file for each result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from lopsided.errors import InputError
from pydantic import BaseModel, ConfigDict, ValidationError

from ..config import FitConfig
from ..dataset import read_dataset
from ..patches import PreparedCase, prepare

_FOLDER = "results"


class Record(BaseModel):
    """Settings and results are whole, and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_R = TypeVar("_R", bound=Record)


def prepared(data: Path, part: str, fit: FitConfig) -> list[PreparedCase]:
    """The cases of one of the datasets in ``data``; raises as :func:`read_dataset` and :func:`prepare`."""
    return prepare(read_dataset(data / part, fit.lesion_labels), fit, data / "cache")


def deadline(minutes: float | None) -> Callable[[], bool]:
    """Whether so many minutes from now are over; they never are where None."""
    began = time.monotonic()
    return lambda: minutes is not None and time.monotonic() - began > 60 * minutes


def path_of(out: Path, name: str) -> Path:
    """The file of a result."""
    return out / _FOLDER / f"{name}.json"


def keep(record: Record, path: Path) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(record.model_dump_json() + "\n", encoding="utf-8")
    partial.replace(path)


def kept(out: Path, kind: type[_R]) -> Iterator[tuple[Path, _R]]:
    """The results in ``out``, by name, each with its file.

    Raises:
        InputError: a file that is no result.
    """
    for path in sorted((out / _FOLDER).glob("*.json")):
        try:
            yield path, kind.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise InputError(
                f"{path}: is no result of this version ({error.errors()[0]['msg']}); move it away"
            ) from None
