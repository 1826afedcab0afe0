"""Reading a coarse-label dataset: nnU-Net's raw layout, with or without ``trust/``.

``imagesTr/CASE_0000.nii.gz`` is the first channel of ``dataset.json``, and so on; optional sequences may be absent
for a case. ``labelsTr/CASE.nii.gz`` is 0 background, 1 lesion. ``trust/CASE.nii.gz``: 0 nobody looked, 1 somebody
looked and it is negative, 2 annotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lopsided.dataset.records import (
    DATASET,
    LABELS,
    NOT_LOOKED_AT,
    REVIEWS,
    TRUST,
    CaseRecord,
    DatasetRecord,
    image_path,
    read_record,
)
from lopsided.dataset.store import recover
from lopsided.errors import InputError
from lopsided.model import SEQUENCES
from lopsided.reading import read_array, read_study
from lopsided.study import Study
from lopsided.volume import Volume


@dataclass(frozen=True)
class Case:
    """Where one case's files are. ``images`` by sequence; ``trust`` is None where the dataset has none."""

    name: str
    images: dict[str, Path]
    label: Path
    trust: Path | None

    def study(self) -> Study:
        """The sequences, read and checked."""
        return read_study(self.images)

    def truth(self) -> Volume:
        """The label map, bool."""
        volume = read_array(self.label)
        values = set(np.unique(volume.array).tolist())
        if not values <= {0, 1}:
            raise InputError(f"{self.label}: has label values {sorted(values)}; dataset.json declares 0 and 1")
        return Volume(volume.array > 0, volume.geometry, volume.name)

    def looked_at_as_a_whole(self) -> bool:
        """Whether ``trust`` leaves no voxel out; so it is taken to be where there is none."""
        return self.trust is None or bool((read_array(self.trust).array != NOT_LOOKED_AT).all())

    def patient(self) -> str:
        """The pseudonym that ``reviews/CASE.json`` has; the case's name without one."""
        review = self.label.parents[1] / REVIEWS / f"{self.name}.json"
        return read_record(review, CaseRecord).patient if review.exists() else self.name


def read_dataset(folder: Path) -> list[Case]:
    """The cases of a dataset, by name.

    Raises:
        InputError: no ``dataset.json``, a channel it does not know, no case, or a case without a file it needs.
    """
    path = folder / DATASET
    channels = read_record(path, DatasetRecord).channel_names
    recover(folder)
    unknown = [name for name in channels.values() if name not in SEQUENCES]
    if unknown or "t1c" not in channels.values():
        raise InputError(f"{path}: channel_names must be of {', '.join(SEQUENCES)}, t1c among them; found {channels}")
    cases = []
    for label in sorted((folder / LABELS).glob("*.nii.gz")):
        name = label.name.removesuffix(".nii.gz")
        files = {s: folder / image_path(name, n) for n, s in channels.items()}
        images = {sequence: file for sequence, file in files.items() if file.exists()}
        if "t1c" not in images:
            raise InputError(f"{files['t1c']}: missing, and case {name} cannot be used without post-contrast T1")
        trust = folder / TRUST / label.name
        cases.append(Case(name, images, label, trust if trust.exists() else None))
    if not cases:
        raise InputError(f"{folder / LABELS}: no labels (*.nii.gz) here")
    return cases
