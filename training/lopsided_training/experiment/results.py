"""What both experiments do alike: prepare their data, mind the time, and keep a file for each result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from lopsided.errors import InputError
from pydantic import BaseModel, ValidationError

from ..config import FitConfig
from ..dataset import digest, hashes, read_dataset, shown
from ..evaluation import Record
from ..patches import PreparedCase, prepare
from ..writing import whole

_FOLDER, _BEGUN = "results", "begun.json"


class Result(Record):
    """A result file. ``data_sha256``: as :func:`prepared` gives it; older files have none, and are not compared."""

    data_sha256: str | None = None


_R = TypeVar("_R", bound=Result)


def prepared(
    data: Path, parts: Sequence[str], fit: FitConfig, say: Callable[[str], None]
) -> tuple[dict[str, list[PreparedCase]], str]:
    """The cases of each of the datasets ``parts`` of ``data``, and SHA-256 of all that they are. They have the sequences that a
    network takes which is trained on the first of ``parts``. Raises as :func:`read_dataset` and :func:`prepare`."""
    found = {part: read_dataset(data / part, fit.lesion_labels) for part in parts}
    fit = shown(fit, found[parts[0]], say)
    hashed = {f"{part}/{name}": files for part, cases in found.items() for name, files in hashes(cases).items()}
    return {part: prepare(cases, fit, data / "cache") for part, cases in found.items()}, digest(hashed)


def begin_work(folder: Path, settings: BaseModel, data_sha256: str) -> None:
    """Make the folder of a run's checkpoints, which says what they are of.

    Raises:
        InputError: it holds those of other settings or other data.
    """
    written, content = folder / _BEGUN, f"{settings.model_dump_json()}\n{data_sha256}\n"
    if written.exists() and written.read_text(encoding="utf-8") != content:
        raise InputError(f"{folder}: was begun with other settings or other data; remove it, or use another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with whole(written) as partial:
        partial.write_text(content, encoding="utf-8")


def deadline(minutes: float | None) -> Callable[[], bool]:
    """Whether so many minutes from now are over; they never are where None."""
    began = time.monotonic()
    return lambda: minutes is not None and time.monotonic() - began > 60 * minutes


def path_of(out: Path, name: str) -> Path:
    """The file of a result."""
    return out / _FOLDER / f"{name}.json"


def keep(record: Record, path: Path) -> None:
    """Write a result, whole or not at all."""
    with whole(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(record.model_dump_json() + "\n", encoding="utf-8")


def kept(out: Path, kind: type[_R], data_sha256: str | None = None) -> Iterator[tuple[Path, _R]]:
    """The results in ``out``, by name, each with its file; all of the same data, of this where it is given.

    Raises:
        InputError: a file that is no result, or one of other data.
    """
    for path in sorted((out / _FOLDER).glob("*.json")):
        try:
            record = kind.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise InputError(
                f"{path}: is no result of this version ({error.errors()[0]['msg']}); move it away"
            ) from None
        data_sha256 = data_sha256 or record.data_sha256
        if record.data_sha256 not in (None, data_sha256):
            raise InputError(f"{path}: was made with other data; move it away, or use another --out")
        yield path, record
