"""DICOM Segmentation objects (SEG): labels as other tools and archives exchange them.

highdicom and pydicom write and read them, and are imported where they are needed only.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import __version__
from .characters import decoded
from .dicom import UNEVEN, find_series, read_files, storage_class, subject_of
from .errors import InputError, reason
from .volume import Geometry, Labels, Subject, Volume, aligned, check_origin, check_subject, geometry_of, part_of
from .wording import DISCLAIMER, METASTASIS
from .writing import whole

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from pydicom import Dataset

_CLASSES = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"  # Segmentation, Label Map Segmentation
_MAY_BE_EMPTY = (  # in a SEG, but some anonymisers take them out
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_MISSING = 'DICOM Segmentations need highdicom, which is not installed; install it: pip install "lopsided[dicom]"'


def is_dicom(path: Path) -> bool:
    """Whether the file's content says that it is DICOM."""
    return storage_class(path) is not None


def is_dicom_seg(path: Path) -> bool:
    """Whether the file's content says that it is a DICOM Segmentation or Label Map Segmentation."""
    return storage_class(path) in _CLASSES


def read_dicom_seg(path: Path) -> Labels:
    """The segments of a SEG, each whole where they overlap, by segment label; ``values`` are the segment numbers.

    The grid is the SEG's own: slices before the first and after the last with a frame are not in it. Segments without
    a voxel are left out.

    Raises:
        InputError: not a SEG; highdicom is not installed; the file is truncated, fractional (probabilities, not
            masks), or has frames that are no even stack, of which the distance is not known, or where none can be.
    """
    if not is_dicom_seg(path):
        raise InputError(f"{path}: is no DICOM Segmentation (SEG); export the annotation as one, or as NIfTI or NRRD")
    try:
        from highdicom.seg import Segmentation
        from pydicom import dcmread
    except ImportError:
        raise InputError(f"{path}: {_MISSING}") from None
    try:
        with warnings.catch_warnings():  # what matters of them is an error below
            warnings.simplefilter("ignore")
            content = dcmread(path)
            _give_spacing(content, path)
            subject = _subject(content)
            return _labels(Segmentation.from_dataset(content, copy=False), path, subject)
    except InputError:
        raise
    except Exception as error:  # a damaged file makes pydicom and highdicom raise nearly anything
        raise InputError(
            f"{path}: a DICOM Segmentation that cannot be read ({reason(error)[:160]}); copy or export it again"
        ) from None


def _give_spacing(content: Dataset, path: Path) -> None:
    """Where a SEG does not say how far its slices are apart, highdicom takes the least distance between two with a frame.

    They are neighbours if that is below twice their thickness; else slices are taken to be as far apart as they are thick.
    """
    groups = [*content.SharedFunctionalGroupsSequence, *content.PerFrameFunctionalGroupsSequence]
    measures = [group.PixelMeasuresSequence[0] for group in groups if "PixelMeasuresSequence" in group]
    if all("SpacingBetweenSlices" in measure for measure in measures):
        return
    thickness = float(measures[0].get("SliceThickness") or 0)
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups if "PlanePositionSequence" in g]
    first = max(places, key=lambda place: float(np.linalg.norm(np.subtract(place, places[0]))))
    along = np.sort(np.linalg.norm(np.subtract(places, first), axis=1))
    gaps = np.diff(along)[np.diff(along) > UNEVEN * thickness]
    spacing = gaps.min() if gaps.size and gaps.min() < (2 - UNEVEN) * thickness else thickness
    if not spacing or np.abs(along / spacing - np.round(along / spacing)).max() > UNEVEN:
        raise InputError(
            f"{path}: the distance of its slices is not known, for it has no SpacingBetweenSlices (0018,0088); export it "
            "again with that, or as NIfTI or NRRD"
        )
    for measure in measures:
        measure.SpacingBetweenSlices = f"{spacing:.10g}"


def _subject(content: Dataset) -> Subject:
    """What :func:`lopsided.dicom.subject_of` says, which cannot open a Label Map Segmentation. pydicom itself takes the bytes of
    a name otherwise where a file does not say what they are."""
    raw = content.get_item("PatientID").value or b"" if "PatientID" in content else b""
    sets = content.get("SpecificCharacterSet") or ""
    sets = sets if isinstance(sets, str) else "\\".join(sets)
    patient = decoded(raw.rstrip(b"\0").decode("utf-8", "surrogateescape"), sets)
    return Subject(patient.strip(), str(content.get("FrameOfReferenceUID") or "").strip())


def _labels(found: Segmentation, path: Path, subject: Subject) -> Labels:
    if found.SegmentationType == "FRACTIONAL":
        raise InputError(f"{path}: holds probabilities (a FRACTIONAL Segmentation); export it as BINARY")
    masks: dict[str, np.ndarray] = {}
    values: dict[str, str] = {}
    for number in found.segment_numbers:
        stack = found.get_volume(segment_numbers=[number], rtol=UNEVEN)  # on the same grid for each
        mask = stack.array[..., 0] > 0
        if mask.any():
            name = found.get_segment_description(number).segment_label
            while name in masks:
                name += "'"
            masks[name], values[name] = mask, str(number)
    geometry = _geometry(stack.affine, stack.spatial_shape)
    check_origin(geometry.origin, str(path))
    return Labels(masks, values, geometry, str(path), subject=subject)


def _geometry(affine: np.ndarray, shape: tuple[int, ...]) -> Geometry:
    """From the matrix (4, 4) that takes an index k, j, i to LPS, mm."""
    steps = affine[:3, 2::-1]  # columns: one voxel along i, j, k
    spacing = np.linalg.norm(steps, axis=0)
    k, j, i = shape
    (a, b, c), (x, y, z) = spacing.tolist(), affine[:3, 3].tolist()
    return Geometry((i, j, k), (a, b, c), (x, y, z), tuple((steps / spacing).ravel().tolist()))


def write_dicom_seg(labels: Labels, folder: Path, out: Path, series: str | None = None) -> None:
    """Each mask as a segment, drawn by a person (MANUAL), of the DICOM series in ``folder``, into the file ``out``.

    The SEG is BINARY, so segments may overlap; each is classified as brain metastasis. It belongs to the patient and
    study of the series: **it carries the patient's identifiers of the series**.

    ``out`` is there whole or not at all: it is written beside itself and read back, voxel by voxel, before it gets its
    name. It may replace a SEG, but no other file.

    Args:
        labels: on the series' grid or a part of it; the order and the direction of its axes may differ.
        folder: holds the series, one file for each slice.
        out: the file to write.
        series: which series of a folder with several: its number, or a part of its description or UID.

    Raises:
        InputError: highdicom is not installed; a series that :func:`~lopsided.dicom.find_series` refuses, that is
            multi-frame, or that lacks what a SEG must repeat; labels of another patient, without a voxel, on another grid, or with a name
            that DICOM does not take; ``out`` is another file or cannot be written.
    """
    if out.exists() and not is_dicom_seg(out):
        raise InputError(f"{out}: exists and is no DICOM Segmentation; choose another name")
    if not labels.masks:
        raise InputError(f"{labels.name}: has no label, and a DICOM Segmentation has at least one; draw one first")
    for name in labels.masks:
        if name != name.strip() or not 0 < len(name) <= 64 or "\\" in name or not name.isprintable():
            raise InputError(
                f"{labels.name}: {name!r} cannot name a DICOM segment; rename it (1 to 64 characters, no backslash, no "
                "line break, no space at either end)"
            )
    files, where = find_series(folder, series)
    if len(files) == 1:
        raise InputError(f"{where}: one file, not one for each slice; export it as single-frame (classic) DICOM")
    subject = subject_of(Path(files[0]))
    check_subject(labels, subject, where)
    grid = geometry_of(read_files(files, where))
    masks = _on_grid(labels, grid, where)
    try:
        with whole(out) as partial:
            _save(masks, grid, files, where, subject.patient, partial)
            if not _same(partial, masks, grid):
                raise OSError("it could not be written whole")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None


def _save(masks: dict[str, np.ndarray], grid: Geometry, files: list[str], where: str, patient: str, path: Path) -> None:
    """Write the SEG: ``masks`` (k, j, i) of the series in ``files``, one for each k, of ``patient`` (its PatientID)."""
    try:
        from highdicom import UID
        from highdicom.seg import Segmentation, SegmentDescription
        from pydicom import dcmread
        from pydicom.sr.coding import Code
    except ImportError:
        raise InputError(f"{where}: {_MISSING}") from None
    category, kind, region = (
        Code(value, scheme, meaning)
        for scheme, value, meaning in (METASTASIS.split("~")[n].split("^") for n in (1, 2, 5))
    )
    try:
        with warnings.catch_warnings():  # of a patient's name of one word, say
            warnings.simplefilter("ignore")
            images = [dcmread(file, stop_before_pixels=True) for file in files]
            for keyword in _MAY_BE_EMPTY:
                images[0].setdefault(keyword, "")
            images[0].PatientID = patient  # in UTF-8, as the SEG is
            # highdicom repeats the first image's spacing, which readers need where empty slices are left out; in the
            # series it may be missing or wrong
            images[0].SpacingBetweenSlices = f"{grid.spacing[2]:.10g}"
            images[0].SliceThickness = images[0].get("SliceThickness") or images[0].SpacingBetweenSlices
            segmentation = Segmentation(
                source_images=images,
                pixel_array=np.stack(list(masks.values()), axis=-1),
                segmentation_type="BINARY",
                segment_descriptions=[
                    SegmentDescription(number, name, category, kind, "MANUAL", anatomic_regions=[region])
                    for number, name in enumerate(masks, 1)
                ],
                series_instance_uid=UID(),
                series_number=1000 + int(images[0].get("SeriesNumber") or 0),
                sop_instance_uid=UID(),
                instance_number=1,
                manufacturer="LopsidedSeg",
                manufacturer_model_name="LopsidedSeg",
                software_versions=__version__,
                device_serial_number="none",
                series_description="Lesions (LopsidedSeg)",
                content_description=DISCLAIMER,
                specific_character_set="ISO_IR 192",  # UTF-8, for segments may have any name
            )
    except (AttributeError, KeyError, ValueError) as error:
        raise InputError(
            f"{where}: its headers do not allow a DICOM Segmentation ({error}); give the series as it came from the "
            "scanner or archive"
        ) from None
    segmentation.save_as(path)


def _on_grid(labels: Labels, grid: Geometry, where: str) -> dict[str, np.ndarray]:
    """The masks as bool (k, j, i) on ``grid``. Theirs is that, or a part of it as a SEG's is, which ends at its first and
    last frame; up to the order and direction of axes."""
    masks = {}
    for name, mask in labels.masks.items():
        turned = aligned(Volume(mask.astype(np.uint8), labels.geometry, labels.name), grid)
        low = np.round(grid.index(turned.geometry.physical(np.zeros(3)))).astype(int)
        high = low + turned.array.shape
        padded = Volume(np.zeros(grid.shape, bool), grid, labels.name)
        box = slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
        part = part_of(padded, box) if (low >= 0).all() and (high <= grid.shape).all() else None
        # tools differ in how they measure an uneven series
        if part is None or not turned.geometry.same_grid(part.geometry, UNEVEN):
            raise InputError(
                f"{labels.name}: is not on the grid of {where} ({turned.geometry.against(grid)}); "
                "choose the series that it was drawn on with --series, or resample it to this one"
            )
        part.array[:] = turned.array > 0  # a view of all
        masks[name] = padded.array
    return masks


def _same(path: Path, masks: dict[str, np.ndarray], grid: Geometry) -> bool:
    """Whether the file has the same segments, and each the same voxels in the patient."""
    try:
        written = read_dicom_seg(path)
    except InputError:
        return False
    if list(written.masks) != list(masks):
        return False
    for name, mask in written.masks.items():
        exact = grid.index(written.geometry.physical(np.argwhere(mask)))
        index = np.round(exact).astype(int)
        in_order = np.unique(index, axis=0)  # the SEG's slices may run the other way
        if not np.allclose(exact, index, atol=UNEVEN) or not np.array_equal(in_order, np.argwhere(masks[name])):
            return False
    return True
