"""The annotation that a study comes with: which voxels somebody has already called lesion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .characters import plain
from .dicomseg import is_dicom, read_dicom_seg
from .errors import InputError
from .reading import read_image, readable
from .regions import region_of
from .resampling import resample
from .segmentation import Header, headers
from .volume import Geometry, Labels, Volume, check_subject, geometry_of, part_of

MOST_LABELS = 200  # more values than that are an image's


@dataclass(frozen=True)
class Annotation:
    """``mask``: bool (k, j, i) on the reference grid. ``labels``: what was taken for a lesion, by name, with its
    volume in mm³. ``left_out``: labels that are in the file and were not asked for. ``beyond``: how many lesions (26
    neighbours) are not, or not wholly, within the grid."""

    mask: np.ndarray
    labels: dict[str, float]
    left_out: tuple[str, ...] = ()
    beyond: int = 0

    @staticmethod
    def empty(reference: Geometry) -> Annotation:
        """Nothing annotated."""
        return Annotation(np.zeros(reference.shape, bool), {})


def read_annotation(
    path: Path, reference: Volume, wanted: tuple[str, ...] = (), *, lacking: bool = False
) -> Annotation:
    """What :func:`read_labels` reads, on the reference's grid.

    Every label is a lesion, unless ``wanted`` names those that are, by segment name or else by value. ``lacking``: it may
    lack some of those, as one of many cases may; one without any label always may. A different grid is resampled in physical
    space, such that no annotated voxel is lost.

    Raises:
        InputError: unreadable, not a label map, as :func:`lopsided.volume.check_subject`, no label of a wanted name, or none
            of it within the reference.
    """
    return annotation_of(read_labels(path), reference, wanted, lacking=lacking)


def annotation_of(
    labels: Labels, reference: Volume, wanted: tuple[str, ...] = (), *, lacking: bool = False
) -> Annotation:
    """As :func:`read_annotation`, of labels that were read already."""
    check_subject(labels, reference.subject, reference.name)
    missing = absent(labels, wanted)
    if missing and labels.masks and not lacking:
        raise InputError(
            f"{labels.name}: has no label {', '.join(map(repr, missing))}; it has {described(labels)}: give names, or the values in "
            "brackets"
        )
    chosen = _choose(labels, wanted)
    union = united(labels, chosen)
    volumes = {name: float(labels.masks[name].sum() * labels.geometry.voxel_volume) for name in chosen}
    left_out = tuple(name for name in labels.masks if name not in chosen)
    return Annotation(on_reference(union, reference), volumes, left_out, _beyond(union, reference.geometry))


def united(labels: Labels, names: Iterable[str]) -> Volume:
    """The labels of these names as one mask, bool, on the file's own grid."""
    union = np.zeros(labels.geometry.shape, bool)
    for name in names:
        union |= labels.masks[name]
    return Volume(union, labels.geometry, labels.name)


def on_reference(union: Volume, reference: Volume) -> np.ndarray:
    """A mask on the reference's grid: by the nearest neighbour from the reference's side, and from the mask's, so that no small
    lesion falls between two voxels. Raises InputError where none of it is within that."""
    geometry = union.geometry
    if geometry.same_grid(reference.geometry):
        return union.array
    if union.array.any() and not geometry.overlaps(reference.geometry):
        raise InputError(
            f"{union.name}: the annotation does not overlap {reference.name} ({geometry.against(reference.geometry)}); "
            "give the annotation of this study"
        )
    as_bytes = Volume(union.array.astype(np.uint8), geometry, union.name)
    mask = resample(as_bytes, reference.geometry, nearest=True).array > 0
    at = np.round(reference.geometry.index(geometry.physical(np.argwhere(union.array)))).astype(int)
    at = at[((at >= 0) & (at < mask.shape)).all(axis=1)]
    mask[tuple(at.T)] = True
    if union.array.any() and not mask.any():
        where = part_of(union, region_of(union.array).box).geometry
        raise InputError(
            f"{union.name}: no annotated voxel lies within {reference.name} (they are in {where.describe()}, and it is "
            f"{reference.geometry.describe()}); give the annotation of this study, or an image of all that is annotated"
        )
    return mask


def read_labels(path: Path) -> Labels:
    """Every label of a label map, a Slicer segmentation (``.seg.nrrd``) or a DICOM Segmentation, on the file's own grid.

    Segments that overlap are each whole.

    Raises:
        InputError: unreadable, or not a label map: values between whole numbers, or too many.
    """
    with readable(path):
        if path.is_dir():
            raise InputError(f"{path}: a folder; give the annotation as a NIfTI, NRRD, .seg.nrrd or DICOM SEG file")
        if is_dicom(path):
            return read_dicom_seg(path)
        image = read_image(path)
    layers = _layers(image, path)
    known = headers(image, str(path))
    segments = _segments(known, layers, path)
    masks = {name: np.asarray(layers[layer] == value) for name, (layer, value) in segments.items()}
    values = {name: str(value) for name, (_, value) in segments.items()}
    described = {name: known[place] for name, place in segments.items() if place in known}
    tags = {name: header.tags for name, header in described.items()}
    identifiers = {name: header.identifier for name, header in described.items()}
    return Labels(masks, values, geometry_of(image), str(path), tags, identifiers)


def _layers(image: sitk.Image, path: Path) -> list[np.ndarray]:
    array = sitk.GetArrayFromImage(image)
    layers = [array] if array.ndim == 3 else [array[..., n] for n in range(array.shape[3])]
    for layer in layers:
        if layer.dtype.kind == "f" and not (np.isfinite(layer).all() and (layer == np.round(layer)).all()):
            raise InputError(f"{path}: holds values between whole numbers; give a label map, not an image")
    return layers


def _segments(known: dict[tuple[int, int], Header], layers: list[np.ndarray], path: Path) -> dict[str, tuple[int, int]]:
    """Layer and value of each label, by segment name where the header (Slicer's) gives one."""
    found = [(n, int(value)) for n, layer in enumerate(layers) for value in np.unique(layer) if value != 0]
    if len(found) > MOST_LABELS:
        raise InputError(
            f"{path}: has {len(found)} values, more than {MOST_LABELS}, and looks like an image; give a label map"
        )
    segments: dict[str, tuple[int, int]] = {}
    for place in found:
        name = (known[place].name if place in known else "") or f"label {place[1]}"
        while name in segments:
            name += "'"
        segments[name] = place
    return segments


def label_names(listed: str) -> tuple[str, ...]:
    """Of names or values that are separated by commas, as people write them."""
    return tuple(name for part in listed.split(",") if (name := plain(part)))


def absent(labels: Labels, wanted: Iterable[str]) -> list[str]:
    """Which of ``wanted`` are neither the name nor the value of a label."""
    return [name for name in wanted if not _choose(labels, (name,))]


def described(labels: Labels) -> str:
    """Each label's name, and its value in brackets."""
    return ", ".join(f"{name!r} ({value})" for name, value in labels.values.items()) or "none"


def _choose(labels: Labels, wanted: tuple[str, ...]) -> list[str]:
    return [
        name
        for name, value in labels.values.items()
        # a value is no label's that is the name of another
        if not wanted or plain(name) in wanted or (value in wanted and value not in labels.values)
    ]


def _beyond(union: Volume, reference: Geometry) -> int:
    """How many connected pieces have a voxel whose centre is outside of the reference."""
    if union.geometry.same_grid(reference):
        return 0
    at = np.argwhere(union.array)
    index = np.round(reference.index(union.geometry.physical(at)))
    outside = at[((index < 0) | (index >= reference.shape)).any(axis=1)]
    if not len(outside):
        return 0
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(union.array.astype(np.uint8)), True)
    return len(np.unique(sitk.GetArrayViewFromImage(pieces)[tuple(outside.T)]))
