"""What a search leaves behind: ``candidates.json`` and images, written all or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from . import __version__
from .characters import check_name, is_hidden
from .errors import InputError
from .model import OperatingPoint
from .review import CANDIDATES, SEGMENTS, segment_id
from .schema import Record
from .segmentation import Segment, segmentation_image
from .suggest import Suggestions
from .volume import Geometry, Vector, to_sitk
from .wording import DISCLAIMER, percent
from .writing import write_image

MASK, MAP, REPORT = "suggestions.nii.gz", "probability.nii.gz", "report.html"
RESULTS = frozenset({CANDIDATES, MASK, SEGMENTS, MAP, REPORT})
_PARTIAL = ".lopsided-partial-"  # a process that was killed outright leaves its folder behind
_unfinished: set[Path] = set()
_COLOURS = ((0.95, 0.77, 0.06), (0.90, 0.49, 0.13), (0.91, 0.30, 0.24), (0.61, 0.35, 0.71), (0.20, 0.60, 0.86))


class CandidateRecord(Record):
    """One suggested lesion."""

    rank: int = Field(ge=1, description="1 is the most confident")
    label: int = Field(ge=1, description="its value in suggestions.nii.gz and suggestions.seg.nrrd")
    confidence: float = Field(ge=0, le=1, description="calibrated probability that it is a lesion")
    peak_probability: float = Field(ge=0, le=1, description="the network's largest voxel probability, uncalibrated")
    volume_mm3: float = Field(gt=0)
    longest_diameter_mm: float = Field(
        gt=0, description="in any direction, a voxel counting with its width (regions.Size)"
    )
    centroid_lps: Vector = Field(description="mm, DICOM's and ITK's axes")
    centroid_ras: Vector = Field(description="mm, Slicer's and NIfTI's axes")
    distance_to_annotated_mm: float | None = Field(
        ge=0, description="between nearest voxel centres; null where nothing is annotated"
    )
    model: str | None = Field(
        default=None, description="digest of the model that found it, where an earlier search by another one did"
    )


class ModelRecord(Record):
    """Which model it was; ``digest`` identifies its card and weights."""

    name: str
    digest: str
    threshold: float = Field(ge=0, le=1, description="the least confidence that the model lists by default")
    operating_points: list[OperatingPoint] = Field(description="what to expect at a threshold, as measured")


class SuggestionsRecord(Record):
    """``candidates.json``."""

    format_version: Literal[1] = 1
    software: str = Field(description="name and version")
    notice: str
    created: str = Field(description="ISO 8601, UTC")
    sequences: dict[str, str] = Field(description="file or folder name by sequence")
    reference_grid: Geometry = Field(description="as SimpleITK describes it: LPS, mm; i, j, k")
    annotation: dict[str, float] = Field(description="mm³ of each label that was taken for a lesion")
    annotation_left_out: list[str] = Field(description="labels of the annotation that were not asked for")
    recognised: list[float] = Field(description="confidence of each region of the map that is an annotated lesion")
    model: ModelRecord
    threshold: float = Field(ge=0, le=1, description="the least confidence listed")
    margin_mm: float = Field(ge=0, description="nearer than this to an annotated lesion is that lesion")
    candidates: list[CandidateRecord]


def record(suggestions: Suggestions) -> SuggestionsRecord:
    """The record of a search; labels are ranks."""
    study, geometry = suggestions.study, suggestions.study.reference.geometry
    return SuggestionsRecord(
        software=f"LopsidedSeg {__version__}",
        notice=DISCLAIMER,
        created=suggestions.created,
        sequences={"t1c": study.reference.name, **{name: v.name for name, v in study.others.items()}},
        reference_grid=geometry,
        annotation=suggestions.annotation.labels,
        annotation_left_out=list(suggestions.annotation.left_out),
        recognised=list(suggestions.found.annotated),
        model=ModelRecord(
            name=suggestions.card.name,
            digest=suggestions.card.digest,
            threshold=suggestions.card.threshold,
            operating_points=list(suggestions.card.operating_points),
        ),
        threshold=suggestions.threshold,
        margin_mm=suggestions.margin_mm,
        candidates=[
            CandidateRecord(
                rank=c.rank,
                label=c.rank,
                confidence=c.confidence,
                peak_probability=round(c.peak_probability, 4),
                volume_mm3=float(f"{c.volume_mm3:.6g}"),
                longest_diameter_mm=round(c.longest_diameter_mm, 2),
                centroid_lps=_rounded(c.centroid_lps),
                centroid_ras=_rounded((-c.centroid_lps[0], -c.centroid_lps[1], c.centroid_lps[2])),
                distance_to_annotated_mm=None if c.distance_mm is None else round(c.distance_mm, 2),
            )
            for c in suggestions.shown
        ],
    )


def write_results(suggestions: Suggestions, folder: Path) -> None:
    """What :func:`write_candidates` writes, the label map alone and the probability map, into ``folder``, which exists.

    Raises:
        OSError: it cannot be written, or not wholly.
    """
    geometry = suggestions.study.reference.geometry
    write_candidates(suggestions, folder)
    write_image(to_sitk(label_map(suggestions), geometry), folder / MASK)
    # three decimals are all that means anything, and compress tenfold
    write_image(to_sitk(np.round(suggestions.probability.array, 3), geometry), folder / MAP)


def write_candidates(suggestions: Suggestions, folder: Path) -> None:
    """``candidates.json``, and the candidates as segments; raises as :func:`write_results`."""
    found = record(suggestions)
    (folder / CANDIDATES).write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    segments = [
        Segment(
            identifier=segment_id(c.rank),
            name=f"Suggestion {c.rank} ({percent(c.confidence)}, {c.longest_diameter_mm:.1f} mm)",
            label=c.rank,
            colour=_COLOURS[n % len(_COLOURS)],
            tags={"LopsidedSeg.Confidence": repr(c.confidence), "LopsidedSeg.Model": suggestions.card.digest},
        )
        for n, c in enumerate(found.candidates)
    ]
    geometry = suggestions.study.reference.geometry
    write_image(segmentation_image(label_map(suggestions), geometry, segments), folder / SEGMENTS)


def label_map(suggestions: Suggestions) -> np.ndarray:
    """(k, j, i): the rank of the candidate that each voxel is of, or 0."""
    kind = np.uint16 if len(suggestions.shown) > 255 else np.uint8
    labels = np.zeros(suggestions.study.reference.geometry.shape, kind)
    for candidate in suggestions.shown:
        labels[candidate.box][candidate.mask] = candidate.rank
    return labels


@contextmanager
def all_or_nothing(out: Path, *, overwrite: bool, ours: frozenset[str] = RESULTS) -> Iterator[Path]:
    """A temporary folder whose content becomes that of ``out`` when the block ends well, and vanishes when it does not.

    ``overwrite`` replaces an earlier result, files of the names ``ours``, and only that. A folder that is there stays
    the same one: it may be the working directory, or a mount; and what others put in meanwhile stays.

    Raises:
        InputError: ``out`` holds something already, or another result by the end, is not a folder, or cannot be written
            (no permission, no space, a name that is not in UTF-8).
    """
    out = out.absolute()
    check_name(out)
    there = _content(out)
    if there and not (overwrite and there <= ours):
        others = sorted(there - ours)
        replace = "move them away" if overwrite else "replace it with --overwrite"
        advice = "choose another folder" if others and not overwrite else f"choose another folder, or {replace}"
        raise InputError(f"{out}: is not empty ({', '.join((others or sorted(there))[:3])}); {advice}")
    partial: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=out if out.exists() else out.parent))
        _unfinished.add(partial)
        new = partial / "new"
        new.mkdir()  # the partial one is its owner's alone; this one has the mode and group that any folder has here
        yield new
        there = _content(out) & ours
        if there and not overwrite:
            raise InputError(f"{out}: another result was written there meanwhile; choose another folder")
        if out.exists():
            _exchange(new, out, there)
        else:
            new.rename(out)
    except OSError as error:
        free = shutil.disk_usage(_existing(out)).free / 2**20
        reason = error.strerror or str(error)
        raise InputError(
            f"{out}: cannot be written ({reason}; {free:.0f} MB free); make room there, or choose another folder"
        ) from None
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
            _unfinished.discard(partial)


def remove_unfinished() -> None:
    """Leave nothing of the blocks of :func:`all_or_nothing` that run, whose process is about to end without an end of theirs."""
    for partial in tuple(_unfinished):
        shutil.rmtree(partial, ignore_errors=True)


def _content(out: Path) -> set[str]:
    """The names of what is in ``out``, if it is there."""
    try:
        names = {path.name for path in out.iterdir()} if out.exists() else set()
    except OSError as error:
        raise InputError(f"{out}: cannot be a folder for results ({error.strerror}); choose another folder") from None
    return {name for name in names if not is_hidden(name)}  # as what a killed process left is, too


def _exchange(new: Path, out: Path, there: set[str]) -> None:
    """Move what is ``there`` out of ``out``, and all of ``new`` into it; back again where that fails."""
    old = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=out))
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in [*((out / n, old / n) for n in there), *((p, out / p.name) for p in new.iterdir())]:
            source.rename(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _rounded(point: Vector) -> Vector:
    x, y, z = (round(v, 2) + 0.0 for v in point)
    return x, y, z
