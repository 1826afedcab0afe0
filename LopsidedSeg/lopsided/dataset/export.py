"""One reader's work on one case, into a dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from .. import __version__
from ..errors import InputError
from ..marks import Mark
from ..model import SEQUENCES
from ..reading import read_image, readable
from ..regions import Region, measure
from ..resampling import resample
from ..study import Study
from ..volume import Geometry, Volume, to_sitk
from ..wording import DISCLAIMER, place
from ..writing import write_image
from .pseudonyms import Key
from .records import (
    ANNOTATED,
    DATASET,
    HASHES,
    IMAGES,
    LABELS,
    NEGATIVE,
    NOT_LOOKED_AT,
    READINGS,
    REVIEWS,
    SUFFIX,
    TRUST,
    CaseRecord,
    DatasetRecord,
    Kind,
    LesionRecord,
    ReadingRecord,
    RegionRecord,
    SuggestionRecord,
    image_path,
    names_in,
    read_record,
    seen,
)
from .store import LOCK, Change, change, fault, hashes, lacks_hashes

_LABELS: dict[str, int | list[int]] = {"background": 0, "lesion": 1}


@dataclass(frozen=True)
class Lesion:
    """A lesion on the reference volume's grid, and how it was marked (:class:`.records.LesionRecord`)."""

    region: Region
    kind: Kind = "outlined"
    mark: Mark | None = None
    snapped: bool = False
    candidate: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class Decision:
    """What the reader decided about a suggestion; ``region`` is on the reference volume's grid."""

    candidate: str
    status: Literal["pending", "accepted", "rejected", "uncertain"]
    confidence: float
    region: Region
    time: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Reading:
    """One reader's work on a case (:class:`.records.ReadingRecord`)."""

    reader: str
    lesions: tuple[Lesion, ...] = ()
    decisions: tuple[Decision, ...] = ()
    whole_case: bool = False
    model: str | None = None
    threshold: float | None = None
    recognised: int = 0


def export_reading(
    dataset: Path, study: Study, reading: Reading, *, patient: str, case: str, key: Key, again: bool = False
) -> str:
    """Add a reading to a dataset, or put it in the place of the same reader's earlier one. Returns the case's name there.

    The first case decides on the dataset's channels; sequences beyond them are left out. What the case's label and
    trust maps hold follows from all of its readings: a voxel that any reader calls lesion is annotated; one that a
    reader rejected, or that was looked at as part of a whole case and is in no suggestion that any reader left
    uncertain, is negative.

    Args:
        dataset: its folder, made where there is none.
        study: all sequences are resampled to the reference volume.
        reading: on the reference volume's grid.
        patient: who it is; only a keyed pseudonym of it is written.
        case: which of the patient's studies; with ``patient``, it names the case.
        key: of the pseudonyms.
        again: images that differ from those that were exported of this case take their place; readings by others, which
            were made on those, are then refused.

    Raises:
        InputError: a sequence that the dataset has is missing, other images than before, a lesion that has no voxel of
            its own, more lesions than a map has values, a dataset that is damaged or cannot be written, or a folder with
            something else in it, or what other readers said of this case is not what they exported.
    """
    _refuse_foreign(dataset)
    name, reader = key.of("C", patient, case), key.of("R", reading.reader)
    with change(dataset) as draft:
        record = _dataset(dataset, study)
        images = _images(study, record)
        # of what was given: rounding in headers changes what is resampled
        digests = {name: _digest(volume) for name in images if (volume := study.sequence(name))}
        known = hashes(dataset)
        review = f"{REVIEWS}/{name}.json"
        _as_exported(dataset, known, review)
        before = read_record(dataset / review, CaseRecord) if review in known else None
        others = [r for r in before.readings if r.reader != reader] if before else []
        _as_exported(dataset, known, *(r.map for r in others))
        if before and before.images != digests and (not again or others):
            advice = (
                "give them another name too, for other readers worked on those"
                if others
                else "replace those by `lopsided export` with --again, in Slicer by Replace its images"
            )
            raise InputError(
                f"{case}: its images are not those in {dataset}, where it is {name}; if this is another patient or study, as "
                "one that another hospital calls the same, give patient or case a name of its own (say, with the hospital's); "
                f"if they are changed images of the same study, {advice}"
            )
        for number, sequence in record.channel_names.items():
            image = image_path(name, number)
            if not before or before.images != digests or _fault(dataset, known, image):
                write_image(to_sitk(images[sequence].array, images[sequence].geometry), draft.path(image))
        geometry = study.reference.geometry
        mine = _write_reading(draft, name, reader, reading, geometry)
        readings = sorted([*others, mine], key=lambda r: r.reader)
        label, trust = merged(draft.current, readings, geometry)
        write_image(to_sitk(label, geometry), draft.path(f"{LABELS}/{name}{SUFFIX}"))
        write_image(to_sitk(trust, geometry), draft.path(f"{TRUST}/{name}{SUFFIX}"))
        content = CaseRecord(
            software=f"LopsidedSeg {__version__}",
            notice=DISCLAIMER,
            case=name,
            patient=key.of("P", patient),
            grid=geometry,
            images=digests,
            readings=readings,
        )
        draft.path(review).write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")
        record.numTraining = len(names_in(dataset / LABELS) | {name})
        draft.path(DATASET).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return name


def remove_case(dataset: Path, case: str) -> int:
    """Take all files of a case, by its name there, out of a dataset. Returns how many.

    Raises:
        InputError: no such case, no dataset or one of others, or it cannot be written.
    """
    read_record(dataset / DATASET, DatasetRecord)  # before a folder of a mistaken name is made
    _refuse_foreign(dataset)
    with change(dataset) as draft:
        record = _ours(dataset)
        exported = set(hashes(dataset))  # what else is there is not ours to delete
        known = {f"{LABELS}/{case}{SUFFIX}", f"{TRUST}/{case}{SUFFIX}", f"{REVIEWS}/{case}.json"}
        # imagesTr/CASE_0000.nii.gz, readings/CASE_READER.nii.gz
        several = {name for name in exported if name.rpartition("_")[0] in (f"{IMAGES}/{case}", f"{READINGS}/{case}")}
        gone = exported & known | several
        if not gone and not lacks_hashes(dataset):  # which is said at the end
            raise InputError(f"{dataset}: no export put a case {case} here; give its name as export and import say it")
        for name in gone:
            draft.remove(name)
        record.numTraining = len(names_in(dataset / LABELS) - {case})
        draft.path(DATASET).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return len(gone)


def merged(
    find: Callable[[str], Path], readings: list[ReadingRecord], geometry: Geometry
) -> tuple[np.ndarray, np.ndarray]:
    """Label (0, 1) and trust (:mod:`.records`) of all readings of a case, uint8 (k, j, i); ``find`` locates their maps."""
    label, rejected, uncertain = (np.zeros(geometry.shape, bool) for _ in range(3))
    for reading in readings:
        regions = read_regions(find(reading.map), geometry)
        label |= np.isin(regions, [lesion.label for lesion in reading.lesions])
        by_status = {s.region.label: s.status for s in reading.suggestions if s.region}
        rejected |= np.isin(regions, [value for value, status in by_status.items() if status == "rejected"])
        uncertain |= np.isin(regions, [value for value, status in by_status.items() if status == "uncertain"])
    looked_past = ~uncertain if any(reading.whole_case for reading in readings) else np.zeros(geometry.shape, bool)
    negative = rejected | looked_past
    trust = np.where(label, ANNOTATED, np.where(negative, NEGATIVE, NOT_LOOKED_AT))
    return label.astype(np.uint8), trust.astype(np.uint8)


def read_regions(path: Path, geometry: Geometry) -> np.ndarray:
    """The map of a reading, (k, j, i), of a case on the grid ``geometry``.

    Raises:
        InputError: it cannot be read, or has other voxels than the case.
    """
    regions = sitk.GetArrayFromImage(read_image(path))
    if regions.shape != geometry.shape:
        there, wanted = ("×".join(map(str, shape[::-1])) for shape in (regions.shape, geometry.shape))
        raise InputError(
            f"{path}: has {there} voxels, and its case {wanted}; restore it from a copy, or export this reader's work on "
            "the case again"
        )
    return regions


def _refuse_foreign(folder: Path) -> None:
    """Raises InputError for a folder that is neither empty nor a dataset of ours, be it one that is just being made."""
    if (folder / LOCK).exists():
        return  # an export was here; it is looked at again when no other writes
    there = seen(folder, "*")
    if (folder / DATASET).exists():
        _ours(folder)
    elif there:
        raise InputError(f"{folder}: is not empty ({there[0].name}), and no dataset; choose another folder")


def _ours(folder: Path) -> DatasetRecord:
    """``dataset.json``; raises InputError for a dataset of others, in whose labels a lesion is something else."""
    record = read_record(folder / DATASET, DatasetRecord)
    if record.labels != _LABELS:
        raise InputError(
            f"{folder / DATASET}: has the labels {json.dumps(record.labels)}, and a coarse-label dataset {json.dumps(_LABELS)}; "
            "choose another folder"
        )
    unknown = [name for name in record.channel_names.values() if name not in SEQUENCES]
    if unknown:
        raise InputError(
            f"{folder / DATASET}: has channels that are not known ({', '.join(unknown)}); name each as one of {', '.join(SEQUENCES)}, "
            "or choose another folder"
        )
    ours = (folder / HASHES).exists() or names_in(folder / REVIEWS, ".json")
    if not ours and (names_in(folder / LABELS) or names_in(folder / IMAGES)):
        raise InputError(
            f"{folder}: has cases that no export put there (no {REVIEWS}/), so it is a dataset of others; choose another folder"
        )
    return record


def _dataset(folder: Path, study: Study) -> DatasetRecord:
    """That of the dataset, or of a new one with the sequences of this study."""
    path = folder / DATASET
    if not path.exists():
        present = [name for name in SEQUENCES if study.sequence(name)]
        channels = {str(n): name for n, name in enumerate(present)}
        return DatasetRecord(channel_names=channels, labels=_LABELS, numTraining=0)
    record = _ours(folder)
    absent = [SEQUENCES[n] for n in record.channel_names.values() if study.sequence(n) is None]
    if absent:
        raise InputError(
            f"{folder}: each of its cases has {', '.join(record.channel_names.values())}, and this one lacks "
            f"{' and '.join(absent)}; add it, or begin another dataset with a case that is given without it (in a list, an "
            "empty cell), which leaves it out of all"
        )
    return record


def _as_exported(dataset: Path, known: dict[str, str], *names: str) -> None:
    """Raises InputError for a file that is not what ``known`` says, from which the case's maps would be made all the same."""
    for name in names:
        if known and (found := _fault(dataset, known, name)):  # where there are none, nothing will be changed
            raise InputError(f"{dataset / name}: {'; '.join(found)}")


def _fault(dataset: Path, known: dict[str, str], name: str) -> tuple[str, str] | None:
    with readable(dataset / name):
        return fault(dataset, name, known.get(name))


def _images(study: Study, record: DatasetRecord) -> dict[str, Volume]:
    """Each channel on the reference volume's grid."""
    images = {}
    for name in record.channel_names.values():
        volume = study.sequence(name)
        assert volume is not None, "checked when the dataset was opened"
        images[name] = resample(volume, study.reference.geometry, fill=float(volume.array.min()))
    return images


def _digest(volume: Volume) -> str:
    """Of the voxels and of where they are, in steps of 0.0001 mm (or of a cosine): finer is rounding in headers."""
    g = volume.geometry
    exact = np.array([*g.spacing, *g.origin, *g.direction])
    # no step ends at a round number, as half a step (0.46875 mm) does
    steps = np.floor(exact / 1e-4 + 1 / np.pi).astype(int).tolist()
    header = json.dumps([str(volume.array.dtype), *g.size, *steps])
    return hashlib.sha256(header.encode() + np.ascontiguousarray(volume.array).tobytes()).hexdigest()


def _write_reading(draft: Change, name: str, reader: str, reading: Reading, geometry: Geometry) -> ReadingRecord:
    regions = np.zeros(geometry.shape, np.uint16)
    count, most = len(reading.lesions) + len(reading.decisions), np.iinfo(regions.dtype).max
    if count > most:
        raise InputError(
            f"{count} separate lesions and suggestions, and a reading has at most {most}; see whether this is the annotation, "
            "choose its labels that are lesions, or clean it of specks"
        )
    label = 0
    suggestions = []
    for decision in reading.decisions:
        region = None
        if decision.status in ("rejected", "uncertain"):
            label += 1
            regions[decision.region.box][decision.region.mask] = label
            region = _region(decision.region, label, geometry)
        suggestions.append((decision, region))
    lesions = []
    # the smallest on top, so that none vanishes under another
    for lesion in sorted(reading.lesions, key=lambda found: -int(found.region.mask.sum())):
        label += 1
        regions[lesion.region.box][lesion.region.mask] = label
        lesions.append((lesion, _region(lesion.region, label, geometry)))
    left = set(np.unique(regions).tolist())
    for lesion, region in lesions:
        if region.label not in left:
            where = place(region.centroid_lps, 1)
            raise InputError(f"two labels are the same voxels, at {where} ({lesion.kind}); delete one of them")
    path = f"{READINGS}/{name}_{reader}{SUFFIX}"
    write_image(to_sitk(regions, geometry), draft.path(path))
    return ReadingRecord(
        reader=reader,
        map=path,
        whole_case=reading.whole_case,
        model=reading.model,
        threshold=reading.threshold,
        recognised=reading.recognised,
        lesions=[LesionRecord(**region.model_dump(), **_but_region(lesion)) for lesion, region in lesions],
        suggestions=[
            SuggestionRecord(**_but_region(decision), region=region if region and region.label in left else None)
            for decision, region in suggestions
        ],
    )


def _but_region(found: Lesion | Decision) -> dict[str, Any]:
    """Its fields, which are named as the record's; the region is recorded by its label."""
    return {name: value for name, value in vars(found).items() if name != "region"}


def _region(region: Region, label: int, geometry: Geometry) -> RegionRecord:
    return RegionRecord(label=label, **measure(region, geometry).__dict__)
