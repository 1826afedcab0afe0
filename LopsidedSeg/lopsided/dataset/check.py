"""Everything that is wrong with a dataset, and how to mend each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..reading import read_array
from ..volume import Geometry, Volume, voxel_digest
from ..wording import counted
from . import store
from .export import merged
from .records import (
    ANNOTATED,
    DATASET,
    HASHES,
    IMAGES,
    LABELS,
    READINGS,
    REVIEWS,
    SUFFIX,
    TRUST,
    CaseRecord,
    DatasetRecord,
    image_path,
    imaged,
    names_in,
    read_record,
    seen,
)

_UNREAD = "cannot be read"


@dataclass(frozen=True)
class Problem:
    """``where``: a file or case. ``what`` is wrong with it, and how to ``mend`` it; ``serious`` if it must be."""

    where: str
    what: str
    mend: str
    serious: bool = True


def check_dataset(folder: Path) -> list[Problem]:
    """All inconsistencies of a dataset, in the order of its cases; an interrupted export is carried out first.

    A dataset of others, without reviews and hashes, is checked as far as nnU-Net would need it.

    Raises:
        InputError: no dataset at all, or hashes that cannot be read.
    """
    store.recover(folder)
    record = read_record(folder / DATASET, DatasetRecord)
    cases = sorted(names_in(folder / LABELS) | names_in(folder / REVIEWS, ".json") | imaged(folder))
    reviewed = bool(names_in(folder / REVIEWS, ".json"))
    known = store.hashes(folder)
    problems = _hashes(folder, known)
    if known:  # what no export put there is said to be
        cases = [case for case in cases if f"{REVIEWS}/{case}.json" in known]
    labelled = len(names_in(folder / LABELS))
    if record.numTraining != labelled:
        what = f"says {record.numTraining} cases, and there are {labelled} labels"
        ours = (folder / HASHES).exists() or reviewed
        mend = "export one of the cases again, which counts them" if ours else f"set numTraining to {labelled}"
        problems.append(Problem(DATASET, what, mend))
    reviews: dict[str, CaseRecord] = {}
    images: dict[str, list[str]] = {}
    for case in cases:
        try:
            one = _Case(folder, case, record, reviewed)
            problems += one.problems(reviews, {p.where for p in problems})
            if one.voxels and case in reviews:
                images.setdefault(one.voxels, []).append(case)
        except (InputError, OSError) as error:  # of a file that cannot be read, once is enough
            if not any(p.what.startswith(_UNREAD) and str(folder / p.where) in str(error) for p in problems):
                named = next((name for name in known if str(folder / name) in str(error)), "")
                problems.append(Problem(case, str(error), store.mend(named)))
    return problems + _twice(reviews, images)


class _Case:
    def __init__(self, folder: Path, case: str, record: DatasetRecord, reviewed: bool) -> None:
        self.folder, self.case, self.record, self.reviewed = folder, case, record, reviewed
        self.found: list[Problem] = []
        self.voxels: str | None = None  # a digest of those of the post-contrast T1

    def problems(self, reviews: dict[str, CaseRecord], wrong: set[str]) -> list[Problem]:
        """Adds the case's to ``reviews``; ``wrong``: the files that are known not to be what was exported."""
        geometry = self._images()
        label = self._map(
            LABELS,
            geometry,
            {v for n in self.record.labels.values() for v in ([n] if isinstance(n, int) else n)},
            required=True,
        )
        trust = self._map(TRUST, geometry, {0, 1, 2}, required=False)
        name = f"{REVIEWS}/{self.case}.json"
        path = self.folder / name
        if not path.exists():
            if self.reviewed:
                self._say(LABELS, "has a label and no review", store.mend(name))
            return self.found
        review = reviews[self.case] = read_record(path, CaseRecord)
        maps = {r.map for r in review.readings}
        missing = {each for each in maps if not (self.folder / each).exists()}
        for lost in sorted(missing):
            self._say(READINGS, f"{lost} is missing", store.mend(lost))
        if label and trust and not missing and not wrong & {name, *maps}:
            self._agree(review, label.array, trust.array)
        return self.found

    def _say(self, folder: str, what: str, mend: str) -> None:
        self.found.append(Problem(f"{folder}/{self.case}", what, mend))

    def _images(self) -> Geometry | None:
        geometry = None
        for number, sequence in self.record.channel_names.items():
            path = self.folder / image_path(self.case, number)
            if not path.exists():
                self._say(IMAGES, f"channel {sequence} ({path.name}) is missing", "export the case with that sequence")
                continue
            image = read_array(path)
            if sequence == "t1c":
                self.voxels = voxel_digest(image)
            if image.array.min() == image.array.max():
                self._say(IMAGES, f"{path.name} holds no image, every voxel is the same", "export the case again")
            if geometry and not image.geometry.same_grid(geometry):
                self._apart(IMAGES, path.name, image.geometry, geometry)
            geometry = geometry or image.geometry
        return geometry

    def _map(self, folder: str, geometry: Geometry | None, allowed: set[int], *, required: bool) -> Volume | None:
        path = self.folder / folder / f"{self.case}{SUFFIX}"
        if not path.exists():
            if required or self.reviewed:
                self._say(folder, "is missing", "export the case again")
            return None
        volume = read_array(path)
        if geometry and not volume.geometry.same_grid(geometry):
            self._apart(folder, path.name, volume.geometry, geometry)
        wrong = sorted(set(np.unique(volume.array).tolist()) - allowed)
        if wrong:
            self._say(folder, f"holds the values {wrong}; {sorted(allowed)} are known", "export the case again")
        return volume

    def _apart(self, folder: str, name: str, geometry: Geometry, other: Geometry) -> None:
        what = f"{name} is on another grid than the case's images ({geometry.against(other)})"
        self._say(folder, what, "export the case again")

    def _agree(self, review: CaseRecord, label: np.ndarray, trust: np.ndarray) -> None:
        if {label.shape, trust.shape} != {review.grid.shape}:
            return  # said above
        expected = merged(lambda name: self.folder / name, review.readings, review.grid)
        for folder, there, wanted in zip((LABELS, TRUST), (label, trust), expected, strict=True):
            different = int((there != wanted).sum())
            if different:
                what = f"differs from what the readings say in {counted(different, 'voxel')}"
                self._say(folder, what, "restore it from a copy, or export a reader's work on the case again")
        if ((trust == ANNOTATED) != (label > 0)).any():
            self._say(TRUST, "what is annotated is not what is labelled", "export the case again")


def _hashes(folder: Path, known: dict[str, str]) -> list[Problem]:
    if store.lacks_hashes(folder):
        return [Problem(HASHES, "is missing or empty, so that no file can be checked against it", store.RESTORE)]
    problems = []
    for name, expected in known.items():
        try:
            if fault := store.fault(folder, name, expected):
                problems.append(Problem(name, *fault))
        except OSError as error:
            what = f"{_UNREAD} ({error.strerror or error})"
            problems.append(Problem(name, what, "see that you may read it, or restore it from a copy"))
    if known:
        ours = (folder / part for part in (IMAGES, LABELS, TRUST, REVIEWS, READINGS))
        there = {path.relative_to(folder).as_posix() for part in ours for path in seen(part, "*")}
        strange = sorted(there - set(known))
        problems += [Problem(name, "was not put here by an export", "move it elsewhere") for name in strange]
    return problems


def _twice(reviews: dict[str, CaseRecord], images: dict[str, list[str]]) -> list[Problem]:
    """Patients and images that are in the dataset more than once; ``images``: cases by digest."""
    problems = []
    patients = Counter(review.patient for review in reviews.values())
    for patient in sorted(p for p, count in patients.items() if count > 1):
        cases = ", ".join(sorted(c for c, review in reviews.items() if review.patient == patient))
        mend = "keep the cases of one patient on one side of every split"
        problems.append(Problem(patient, f"the patient has several cases: {cases}", mend, serious=False))
    for cases_ in images.values():
        if len(cases_) > 1:
            what = f"the same images as {', '.join(sorted(cases_)[1:])}"
            mend = (
                "remove all but one of them with `lopsided dataset remove`, or, if readers had different keys, export the "
                "one's work again with the other's key"
            )
            problems.append(Problem(sorted(cases_)[0], what, mend))
    return problems
