"""Cases to train and measure on: a coarse-label dataset, nnU-Net's raw layout, BraTS-style folders, BIDS, or a CSV.

Which layout it is, :func:`lopsided.dataset.cases.find_cases` recognises. Labels are on the grid of post-contrast T1.
A coarse-label dataset also has ``trust/CASE.nii.gz``: 0 nobody looked, 1 somebody looked and it is negative,
2 annotated.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lopsided.dataset import store
from lopsided.dataset.cases import CaseFiles, find_cases
from lopsided.dataset.records import (
    ANNOTATED,
    DATASET,
    LABELS,
    NEGATIVE,
    NOT_LOOKED_AT,
    REVIEWS,
    SUFFIX,
    TRUST,
    CaseRecord,
    image_path,
    read_layout,
    read_record,
)
from lopsided.dicomseg import is_dicom_seg
from lopsided.errors import InputError
from lopsided.model import SEQUENCES
from lopsided.reading import read_array, read_study, readable
from lopsided.study import Study
from lopsided.volume import Volume

from .config import FitConfig


@dataclass(frozen=True)
class Case:
    """Where one case's files are.

    ``images`` by sequence. ``label``: the label map. ``trust`` is None where the dataset has none. ``lesion``: the
    label values that are lesions, all but 0 where empty; ``declared``: those there may be, any where empty. ``whole_case``:
    whether all of it was looked at, where a list says so.
    """

    name: str
    patient: str
    images: dict[str, Path]
    label: Path
    trust: Path | None = None
    lesion: frozenset[int] = frozenset()
    declared: frozenset[int] = frozenset()
    whole_case: bool | None = None

    @property
    def files(self) -> dict[str, Path]:
        """All of them, by sequence, ``label`` or ``trust``."""
        return self.images | {"label": self.label} | ({"trust": self.trust} if self.trust else {})

    def digest(self, path: Path) -> str:
        """SHA-256 of one of its files.

        Raises:
            InputError: it is missing, or cannot be read.
        """
        with readable(path):
            if not path.exists():
                raise InputError(f"{path}: no such file or folder, so case {self.name} cannot be read; check the path")
            return store.digest(path)

    def study(self) -> Study:
        """The sequences, read and checked."""
        return read_study(self.images)

    def truth(self, reference: Volume) -> Volume:
        """The label map, bool.

        Args:
            reference: the study's post-contrast T1.

        Raises:
            InputError: a value that is no whole number or that the dataset does not declare, or another grid than
                the reference's.
        """
        volume = read_array(self.label)
        values = np.unique(volume.array)
        if not np.isin(values, list(self.declared) if self.declared else np.round(np.nan_to_num(values))).all():
            known = f"declares {sorted(self.declared)}" if self.declared else "must have whole numbers"
            found = ", ".join(f"{v:g}" for v in values[:6])
            raise InputError(f"{self.label}: has label values {found}; the dataset {known}: mend the labels")
        self._same_grid(volume, reference)
        lesion = np.isin(volume.array, list(self.lesion)) if self.lesion else volume.array != 0
        return Volume(lesion, volume.geometry, volume.name)

    def trusted(self, reference: Volume) -> Volume | None:
        """``trust/CASE.nii.gz``, or negative everywhere where a list says that all was looked at; None where neither is.
        Raises InputError for another grid than the reference's, or other values than it may have."""
        if not self.trust and not self.whole_case:
            return None
        if not self.trust:
            everywhere = np.full(reference.geometry.shape, NEGATIVE, np.uint8)
            return Volume(everywhere, reference.geometry, reference.name)
        volume = _read_trust(self.trust)
        self._same_grid(volume, reference)
        return volume

    def looked_at_as_a_whole(self) -> bool:
        """Whether ``trust`` leaves no voxel out; so it is taken to be where there is none, and no list denies it. Raises as
        :meth:`trusted`."""
        if not self.trust:
            return self.whole_case is not False
        return bool((_read_trust(self.trust).array != NOT_LOOKED_AT).all())

    def _same_grid(self, volume: Volume, reference: Volume) -> None:
        if not volume.geometry.same_grid(reference.geometry):
            raise InputError(
                f"case {self.name}: {volume.name} is not on the grid of {reference.name} "
                f"({volume.geometry.against(reference.geometry)}); bring both onto one grid (`lopsided dataset import` does)"
            )


def _read_trust(path: Path) -> Volume:
    volume, known = read_array(path), [NOT_LOOKED_AT, NEGATIVE, ANNOTATED]
    wrong = sorted(set(np.unique(volume.array).tolist()) - set(known))
    if wrong:
        found = ", ".join(f"{value:g}" for value in wrong[:6])
        raise InputError(f"{path}: holds the values [{found}]; {known} are known; mend it, or export the case again")
    return volume


def read_dataset(source: Path, lesion: tuple[int, ...] = ()) -> list[Case]:
    """The cases of a dataset, by name.

    Args:
        source: a folder or CSV.
        lesion: the label values that are lesions; all but 0 where empty.

    Raises:
        InputError: nothing that is known there, no case, a case that cannot be used, without post-contrast T1, without labels or, where others
            have it, without ``trust``, labels as DICOM SEG, a label value that the dataset does not declare, or two cases
            that would have one name.
    """
    declared: set[int] = set()
    if (source / DATASET).exists():
        store.recover(source)
        if not any((source / LABELS).glob(f"*{SUFFIX}")):
            raise InputError(f"{source / LABELS}: no labels (*{SUFFIX}) here; give a dataset that has them")
        for value in read_layout(source).labels.values():
            declared |= set(value) if isinstance(value, list) else {value}
        unknown = [value for value in lesion if value not in declared]
        if unknown:
            raise InputError(
                f"{source / DATASET}: declares the labels {sorted(declared)}, not {unknown}; choose others"
            )
    found = find_cases(source)
    plain = len({files.case for files in found}) == len(found)  # else patients have cases of the same name
    named: dict[str, CaseFiles] = {}
    for files in found:
        name = files.case if plain else f"{files.patient}-{files.case}"
        other = named.setdefault(name, files)
        if other is not files:
            raise InputError(
                f"{source}: case {other.case} of patient {other.patient} and case {files.case} of patient {files.patient} would "
                f"both be called {name}; give each case a name of its own"
            )
    cases = [_case(source, files, name, lesion, frozenset(declared)) for name, files in named.items()]
    return sorted(cases, key=lambda case: case.name)


def _case(source: Path, files: CaseFiles, name: str, lesion: tuple[int, ...], declared: frozenset[int]) -> Case:
    if files.problem:
        raise InputError(f"{source}: case {files.case} cannot be used: {files.problem}")
    if "t1c" not in files.sequences:
        wanted = image_path(files.case, "0") if declared else "its post-contrast T1"
        raise InputError(f"{source / wanted}: missing, and case {files.case} cannot be used without post-contrast T1")
    if files.annotation is None:
        raise InputError(f"{source}: case {files.case} has no labels; add them, or take the case out")
    if is_dicom_seg(files.annotation):
        raise InputError(
            f"{files.annotation}: a DICOM SEG, which is not read here; bring {source} into a dataset with `lopsided dataset import`"
        )
    named = Path(files.case).name  # in a list it may be any path
    review, trust = source / REVIEWS / f"{named}.json", source / TRUST / f"{named}.nii.gz"
    if (review.exists() or trust.parent.is_dir()) and not trust.exists():
        raise InputError(
            f"{trust}: missing, so nobody knows where somebody looked; restore it, or run `lopsided dataset check {source}`"
        )
    chosen = tuple(map(str, lesion)) or files.labels
    if not all(re.fullmatch("-?[0-9]+", label) and int(label) for label in chosen):  # 0 is the background
        raise InputError(
            f"{source}: labels {', '.join(chosen)} of case {files.case} are not numbers, or 0; give values of lesions"
        )
    return Case(
        name=name,
        patient=read_record(review, CaseRecord).patient if review.exists() else files.patient,
        images={s: files.sequences[s] for s in SEQUENCES if s in files.sequences},
        label=files.annotation,
        trust=trust if trust.exists() else None,
        lesion=frozenset(int(value) for value in chosen),
        declared=declared,
        whole_case=files.whole_case,
    )


def shown(config: FitConfig, cases: list[Case], say: Callable[[str], None] = lambda line: None) -> FitConfig:
    """The settings without the optional sequences that none of the cases to train on has: their weights would stay as chance
    made them, and spoil what is found where a study has them. ``say`` is told which."""
    there = {name for case in cases for name in case.images}
    sequences = config.input.sequences
    taken = tuple(sequence for sequence in sequences if sequence.required or sequence.name in there)
    absent = [sequence.name for sequence in sequences if sequence not in taken]
    if absent:
        them = "them" if len(absent) > 1 else "it"
        say(f"no case to train on has {', '.join(absent)}: the network does not take {them}")
    return config.model_copy(update={"input": config.input.model_copy(update={"sequences": taken})})


def hashes(cases: list[Case]) -> dict[str, dict[str, str]]:
    """By case: SHA-256 of each file, by sequence, ``label`` or ``trust``; whose it is, which values are lesions, and what a
    list says of ``whole_case``. Raises as :meth:`Case.digest`."""
    return {
        case.name: {what: case.digest(path) for what, path in case.files.items()}
        | {"patient": case.patient, "lesion": str(sorted(case.lesion))}
        | ({} if case.whole_case is None else {"whole_case": str(case.whole_case)})
        for case in cases
    }


def digest(hashed: dict[str, dict[str, str]]) -> str:
    """SHA-256, hexadecimal, of what :func:`hashes` gives."""
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
