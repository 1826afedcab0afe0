"""What a dataset's JSON files hold. ``docs/dataset.md`` shows them to people."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..characters import is_hidden
from ..errors import InputError
from ..marks import Mark
from ..reading import readable
from ..schema import Record, briefly
from ..volume import Geometry, Vector

NOT_LOOKED_AT, NEGATIVE, ANNOTATED = 0, 1, 2  # values of trust/CASE.nii.gz
DATASET, HASHES = "dataset.json", "hashes.json"
SUFFIX = ".nii.gz"
IMAGES, LABELS, TRUST, REVIEWS, READINGS = "imagesTr", "labelsTr", "trust", "reviews", "readings"

_T = TypeVar("_T", bound=BaseModel)
Kind = Literal["outlined", "point", "line", "box", "ellipsoid", "suggestion"]


class RegionRecord(Record):
    """A region of a reading; its voxels have the value ``label`` in the reading's map."""

    label: int = Field(ge=1)
    volume_mm3: float = Field(gt=0)
    longest_diameter_mm: float = Field(
        gt=0, description="in any direction, a voxel counting with its width (regions.Size)"
    )
    centroid_lps: Vector = Field(description="mm")


class LesionRecord(RegionRecord):
    """A lesion, as one reader marked it."""

    kind: Kind = Field(description="outlined, marked coarsely, or an accepted suggestion")
    mark: Mark | None = Field(
        default=None, discriminator="kind", description="what was drawn, if it was marked coarsely"
    )
    snapped: bool = Field(default=False, description="the mark was fitted to the bright region in it")
    candidate: str | None = Field(default=None, description="the suggestion that it was accepted from")
    time: str | None = Field(default=None, description="of the mark or decision, ISO 8601, UTC")


class SuggestionRecord(Record):
    """What a reader decided about a suggestion."""

    candidate: str
    status: Literal["pending", "accepted", "rejected", "uncertain"]
    confidence: float = Field(ge=0, le=1)
    time: str | None = Field(default=None, description="of the decision, ISO 8601, UTC")
    region: RegionRecord | None = Field(default=None, description="of a rejected or uncertain one")
    model: str | None = Field(default=None, description="digest of the model that made it, where not the reading's")


class ReadingRecord(Record):
    """One reader's work on a case."""

    reader: str = Field(description="a keyed pseudonym")
    map: str = Field(description="readings/…: lesions and rejected suggestions, each by its label")
    whole_case: bool = Field(description="the reader says that all of the case was looked at")
    model: str | None = Field(default=None, description="digest of the model that made the suggestions")
    threshold: float | None = Field(default=None, ge=0, le=1, description="the least confidence that was shown")
    recognised: int = Field(default=0, ge=0, description="lesions of the annotation that the model had found too")
    lesions: list[LesionRecord]
    suggestions: list[SuggestionRecord]


class CaseRecord(Record):
    """``reviews/CASE.json``."""

    format_version: Literal[1] = 1
    software: str
    notice: str
    case: str
    patient: str = Field(description="a keyed pseudonym")
    grid: Geometry = Field(description="as SimpleITK describes it: LPS, mm; i, j, k")
    images: dict[str, str] = Field(description="SHA-256 of the voxels and geometry, by sequence")
    readings: list[ReadingRecord]


class DatasetRecord(BaseModel):
    """``dataset.json``, as nnU-Net v2 reads it; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow")

    channel_names: dict[str, str]
    labels: dict[str, int | list[int]]
    numTraining: int = Field(ge=0)  # noqa: N815  nnU-Net's word
    file_ending: Literal[".nii.gz"] = ".nii.gz"


def image_path(case: str, channel: str) -> str:
    """Of a case's image of a channel, within the dataset."""
    return f"{IMAGES}/{case}_{int(channel):04d}{SUFFIX}"


def seen(folder: Path, pattern: str) -> list[Path]:
    """What of a folder is not hidden; macOS leaves ``._NAME`` beside NAME on drives of others."""
    found = folder.glob(pattern)
    return sorted(path for path in found if not any(map(is_hidden, path.relative_to(folder).parts)))


def names_in(folder: Path, suffix: str = SUFFIX) -> set[str]:
    """Of the files of a kind in a folder, without the suffix."""
    return {path.name.removesuffix(suffix) for path in seen(folder, f"*{suffix}")}


def imaged(folder: Path) -> set[str]:
    """The cases of a dataset that have images."""
    return {name[:-5] for name in names_in(folder / IMAGES) if re.search(r"_\d{4}$", name)}


def read_record(path: Path, kind: type[_T]) -> _T:
    """A JSON file of a dataset.

    Raises:
        InputError: missing, not to be read, not JSON, or not what it should be.
    """
    try:
        with readable(path):
            if not path.exists():
                raise InputError(f"{path}: is missing; give the folder of a dataset, or restore it from a copy")
            return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not what it should be ({briefly(error)}); restore it from a copy") from None


def read_layout(folder: Path) -> DatasetRecord:
    """``dataset.json`` of a folder in nnU-Net's layout, of whomever.

    Raises:
        InputError: as :func:`read_record`; nnU-Net v1's; images of another file ending.
    """
    path = folder / DATASET
    with readable(path):
        try:
            content = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            content = {}  # it is said below
    if "modality" in content and "channel_names" not in content:
        raise InputError(
            f"{path}: is of nnU-Net v1, and v2's is read; convert the dataset with nnUNetv2_convert_old_nnUNet_dataset, or give a "
            "CSV that lists its files"
        )
    if (ending := content.get("file_ending", SUFFIX)) != SUFFIX:
        raise InputError(
            f"{path}: its files end in {ending}, and in this layout {SUFFIX} alone is read; convert images and labels and say so in "
            "file_ending, or give a CSV that lists them"
        )
    return read_record(path, DatasetRecord)
