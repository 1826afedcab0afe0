"""Model folders: ``model.safetensors`` beside ``model.json``. No pickle, and no torch in here.

``model.json`` is a :class:`ModelCard`. Its ``digest`` is a SHA-256 over everything else in it, the hash of the
weights included, so one changed byte that matters is found before anything runs, and the digest names the model
in every result. The same network in 8-bit integers may be beside it: ``model-int8.xml`` and ``model-int8.bin``.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from .architectures import Architecture
from .errors import InputError
from .resources import resource_folder
from .schema import Record, briefly

FORMAT_VERSION = 1
INTEGER_GRAPH, INTEGER_WEIGHTS = "model-int8.xml", "model-int8.bin"
Sequence = Literal["t1c", "t1", "t2", "flair"]
SEQUENCES: dict[str, str] = {"t1c": "post-contrast T1", "t1": "T1", "t2": "T2", "flair": "FLAIR"}


class InputSequence(Record):
    """One input channel, in the network's order."""

    name: Sequence
    required: bool = False


class InputSpec(Record):
    """What the network is given. ``spacing_mm``: its voxels along L, P, S. ``clip``: of normalised intensities."""

    sequences: tuple[InputSequence, ...] = Field(min_length=1)
    spacing_mm: tuple[float, float, float]
    clip: tuple[float, float]

    def scaled(self, scale: float) -> InputSpec:
        """The same in voxels ``scale`` times as large."""
        x, y, z = (scale * side for side in self.spacing_mm)
        return self.model_copy(update={"spacing_mm": (x, y, z)})

    @model_validator(mode="after")
    def _makes_sense(self) -> InputSpec:
        names = [s.name for s in self.sequences]
        if len(set(names)) != len(names) or "t1c" not in names:
            raise ValueError("sequences must be distinct, and t1c (post-contrast T1) among them")
        if min(self.spacing_mm) <= 0 or self.clip[0] >= self.clip[1]:
            raise ValueError("spacing_mm must be positive, and clip go from low to high")
        return self


SMALLEST_SCALE, LARGEST_SCALE = 0.25, 4.0
Scale = Annotated[float, Field(ge=SMALLEST_SCALE, le=LARGEST_SCALE)]
"""Of the voxels that a network sees, to those of its input's ``spacing_mm``: below 1 it sees everything larger."""


class Calibration(Record):
    """Confidence = sigmoid(intercept + peak·logit(peak probability) + slices·ln(slice thickness, mm)).

    A logistic regression of "is this candidate a lesion" over the candidates of ``studies`` that the network was
    not trained on (Platt, Advances in Large Margin Classifiers, 1999); in thick slices lesions and vessels are fainter alike.
    ``brier`` and ``calibration_error`` (expected, ten bins) are measured on further studies.
    """

    intercept: float
    peak: float = Field(gt=0)
    slices: float
    studies: int
    brier: float
    calibration_error: float


class OperatingPoint(Record):
    """What to expect of all candidates of at least this confidence."""

    confidence: float = Field(ge=0, le=1)
    false_positives_per_scan: float = Field(ge=0)
    sensitivity: float = Field(ge=0, le=1)


class Provenance(Record):
    """How the weights were made and measured."""

    command: str
    data: str
    loss: str
    steps: int
    seed: int
    machine: str
    hours: float
    software: dict[str, str]
    evaluated_on: str
    limitations: str


class Integers(Record):
    """The hashes of the network in 8-bit integers, and what the ranges of its values were taken from."""

    graph_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    data: str
    software: dict[str, str]


class ModelCard(Record):
    """``model.json``. ``scales``: it searches in voxels of ``input.spacing_mm`` times each of them, and at each place the
    largest logit counts. ``threshold``: the confidence above which candidates are shown at first."""

    format_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    intended_use: str
    licence: str
    created: str
    architecture: Architecture
    input: InputSpec
    scales: tuple[Scale, ...] = Field(min_length=1)
    calibration: Calibration
    threshold: float = Field(ge=0, le=1)
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    provenance: Provenance
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    integers: Integers | None = None
    digest: str = ""

    @model_validator(mode="after")
    def _points_rise(self) -> ModelCard:
        if any(a.confidence >= b.confidence for a, b in pairwise(self.operating_points)):
            raise ValueError("operating_points must rise in confidence")
        return self

    def computed_digest(self) -> str:
        """SHA-256, hexadecimal, of the card without ``digest`` and what is null, as JSON with sorted keys."""
        rest = self.model_dump(mode="json", exclude={"digest"}, exclude_none=True)
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()

    def signed(self) -> ModelCard:
        """The same card with its digest filled in."""
        return self.model_copy(update={"digest": self.computed_digest()})


@dataclass(frozen=True)
class IntegerFiles:
    """The network in 8-bit integers, as OpenVINO reads it: the content of ``model-int8.xml`` and ``model-int8.bin``."""

    graph: bytes
    weights: bytes


@dataclass(frozen=True)
class Model:
    """A checked model folder: its card, its weights by name (numpy, as saved), and perhaps its integers."""

    folder: Path
    card: ModelCard
    weights: dict[str, np.ndarray]
    integers: IntegerFiles | None = None


def load_card(folder: Path) -> ModelCard:
    """Read and check ``model.json``.

    Raises:
        InputError: no such folder or file, not JSON, an unknown version, a missing or wrong key, or a digest that
            differs from the content.
    """
    path = folder / "model.json"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no model.json here; give a model folder or a name from `lopsided models list`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); install the model again") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version is {version!r}, this software reads {FORMAT_VERSION}; "
            "use a model of that version, or another release of LopsidedSeg"
        )
    try:
        card = ModelCard.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"{path}: {briefly(error)}; install the model again, or another release of LopsidedSeg"
        ) from None
    if card.digest != card.computed_digest():
        raise InputError(f"{path}: its digest does not match its content, so it was changed; install the model again")
    return card


def load_model(folder: Path) -> Model:
    """Read and check a model folder.

    Raises:
        InputError: as :func:`load_card`, or weights that are missing, truncated, or not those of the card; integers too.
    """
    card = load_card(folder)
    path = folder / "model.safetensors"
    try:
        weights = load_tensors(_checked(path, card.weights_sha256))
    except (SafetensorError, KeyError) as error:  # KeyError: of a type that numpy has not
        raise InputError(
            f"{path}: not a safetensors file that can be used ({error}); install the model again"
        ) from None
    if card.integers is None:
        return Model(folder, card, weights)
    graph = _checked(folder / INTEGER_GRAPH, card.integers.graph_sha256)
    return Model(
        folder, card, weights, IntegerFiles(graph, _checked(folder / INTEGER_WEIGHTS, card.integers.weights_sha256))
    )


def _checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); install the model again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: its hash is not the one in model.json, so it was changed; install the model again")
    return content


def bundled_models() -> list[Path]:
    """The model folders that ship with the software."""
    return sorted(path.parent for path in (resource_folder() / "Models").glob("*/model.json"))


def find_model(name: str | None) -> Path:
    """A model folder by its path, or by the name of a bundled one; the first bundled one for None.

    Raises:
        InputError: there is none of that name.
    """
    bundled = {path.name: path for path in bundled_models()}
    if name is None:
        if not bundled:
            raise InputError("no model is installed; give the path of a model folder")
        return next(iter(bundled.values()))
    if name in bundled:
        return bundled[name]
    with suppress(OSError, ValueError):  # no path at all, such as one too long
        if Path(name).is_dir():
            return Path(name)
    known = ", ".join(bundled) or "none"
    raise InputError(
        f"no model {name!r}: no folder, and not installed; give the path of a model folder, or one of: {known}"
    )
