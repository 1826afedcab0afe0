"""What lesions are inserted into: real scans, skull-stripped or whole, and heads drawn from label maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import typer
from insertion import Inserted, brain_without
from lopsided.intensity import median_and_spread
from lopsided.resampling import resample
from lopsided.volume import Volume, geometry_of, to_sitk
from lopsided_training.anatomy import AIR, OUTSIDE, from_label_map
from lopsided_training.records import sample
from lopsided_training.rendering import render
from scipy import ndimage

STRIPPED, HEAD, DRAWN, CONTROL = "skull-stripped", "full head", "drawn full head", "control"
AGAIN = ", "  # follows the kind: the same scan and lesions in another form
AS_STRIPPED = f"{AGAIN}stripped"
_CLOSED = 12  # voxels: gaps of up to twice that in a bright region belong to it


@dataclass(frozen=True)
class Background:
    """A scan along L, P, S. Masks are bool (k, j, i).

    ``kind``: of those above. ``allowed``: where lesions may be centred. ``disease``: what the patient has, None where
    nothing is known of any; what is found beside it is not false. ``brain``: of a full head.
    """

    name: str
    kind: str
    image: sitk.Image
    allowed: np.ndarray
    disease: np.ndarray | None = None
    brain: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """float32 (k, j, i)."""
        return sitk.GetArrayFromImage(self.image)

    def spared(self) -> np.ndarray:
        """Bool (k, j, i): the disease and five voxels around it."""
        if self.disease is None:
            return np.zeros(self.allowed.shape, bool)
        return ndimage.binary_dilation(self.disease, iterations=5)

    def volume(self, array: np.ndarray) -> Volume:
        """``array`` where this scan lies."""
        return Volume(array, geometry_of(self.image), self.name)


def case_folders(cases: Path) -> list[Path]:
    """Those in ``cases`` that hold a study, in order; typer.BadParameter where none does."""
    folders = sorted(path.parent for path in cases.glob("*/t1c.nii.gz"))
    if not folders:
        raise typer.BadParameter(f"{cases}: no folder in it has a t1c.nii.gz; give a folder that holds one a study")
    return folders


def read_background(folder: Path) -> Background:
    """A folder with ``t1c.nii.gz``; and ``brain.nii.gz``, a mask, where that is a full head and not skull-stripped."""
    image = _read(folder / "t1c.nii.gz", sitk.sitkFloat32)
    mask = folder / "brain.nii.gz"
    brain = sitk.GetArrayFromImage(_read(mask, sitk.sitkUInt8)) > 0 if mask.exists() else None
    sick = _disease(folder, image, brain)
    allowed = brain_without(image, sick, brain=brain)
    return Background(folder.name, STRIPPED if brain is None else HEAD, image, allowed, sick, brain)


def read_control(path: Path) -> Background:
    """A scan without any lesion, into which none is inserted."""
    image = _read(path, sitk.sitkFloat32)
    return Background(path.name.removesuffix(".nii.gz"), CONTROL, image, brain_without(image, None))


def in_slices(
    background: Background, array: np.ndarray, labels: np.ndarray, lesions: list[Inserted], number: int
) -> tuple[Background, np.ndarray, np.ndarray, list[Inserted]]:
    """The same scan with ``number`` slices averaged to one. A lesion is what it fills half of, or the most that it fills; its
    contrast is what is left of it in its brightest voxel, in standard deviations of what tissue is in these slices."""
    slices = len(array) // number

    def mean(values: np.ndarray) -> np.ndarray:
        averaged: np.ndarray = values[: slices * number].reshape(slices, number, *values.shape[1:]).mean(1, np.float32)
        return averaged

    def half(mask: np.ndarray) -> np.ndarray:
        return mean(mask) >= 0.5

    g, between = geometry_of(background.image), (number - 1) / 2
    (i, j, _), (x, y, z) = g.size, g.spacing
    a, b, c = (float(v) for v in g.physical(np.array([between, 0, 0])))
    geometry = replace(g, size=(i, j, slices), spacing=(x, y, z * number), origin=(a, b, c))
    behind, seen, allowed = mean(background.array), mean(array), half(background.allowed)
    brighter = (seen - behind) / median_and_spread(behind[allowed])[1]
    thick = np.zeros(geometry.shape, np.uint8)
    moved = []
    for n, lesion in enumerate(lesions, start=1):
        filled = mean(labels == n)
        if filled.any():
            thick[filled >= min(0.5, filled.max())] = n
        left = float(brighter[filled > 0].max(initial=0.0))
        moved.append(replace(lesion, centre=((lesion.centre[0] - between) / number, *lesion.centre[1:]), contrast=left))
    coarser = Background(
        background.name,
        f"{background.kind}{AGAIN}slices of {z * number:.3g} mm",
        to_sitk(behind, geometry),
        allowed,
        None if background.disease is None else half(background.disease),
        None if background.brain is None else half(background.brain),
    )
    return coarser, seen, thick, moved


def drawn_heads(path: Path, number: int, seed: int) -> Iterator[Background]:
    """A FreeSurfer-style label map as the training simulator draws it, with its vessels, by ``number`` scanners."""
    anatomy = from_label_map(path)
    inside = (anatomy.tissue != AIR) & (anatomy.tissue != OUTSIDE)
    whole = Volume(inside.astype(np.uint8), anatomy.geometry, anatomy.name)
    for n in range(number):
        record = sample(anatomy, seed + n, stripped=False)
        record = replace(record, lesions=(), acquisitions={"t1c": record.acquisitions["t1c"]})
        drawn = render(anatomy, record)
        image = to_sitk(drawn.images["t1c"].astype(np.float32), drawn.geometry)
        brain = resample(whole, drawn.geometry, nearest=True).array > 0
        yield Background(anatomy.name, DRAWN, image, brain_without(image, None, brain=brain), None, brain)


def _read(path: Path, kind: int) -> sitk.Image:
    return sitk.DICOMOrient(sitk.ReadImage(str(path), kind), "LPS")


def _disease(folder: Path, image: sitk.Image, brain: np.ndarray | None) -> np.ndarray | None:
    """Bool (k, j, i): annotated disease, or the largest bright region of the FLAIR and what it encloses, the tumour in its
    oedema; None where neither is there."""
    if (folder / "labels.nii.gz").exists():
        return sitk.GetArrayFromImage(_read(folder / "labels.nii.gz", sitk.sitkUInt8)) > 0
    for name in ("flair.nii.gz", "t2f.nii.gz"):
        if (folder / name).exists():
            flair = sitk.GetArrayFromImage(_read(folder / name, sitk.sitkFloat32)).astype(float)
            inside = brain_without(image, None, brain=brain)
            middle, spread = median_and_spread(flair[inside])
            bright = flair > middle + 2 * spread
            if brain is not None:
                bright &= brain
            numbered, number = ndimage.label(ndimage.binary_opening(bright, iterations=2))
            if not number:
                return None
            largest = np.pad(numbered == np.bincount(numbered.ravel())[1:].argmax() + 1, _CLOSED)
            inner = (slice(_CLOSED, -_CLOSED),) * 3
            return ndimage.binary_closing(largest, iterations=_CLOSED)[inner]
    return None
