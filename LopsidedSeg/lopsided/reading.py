"""Images from files: NIfTI, NRRD, MetaImage, and folders with DICOM series. What cannot be used is refused in words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from .characters import check_name
from .dicom import check_frames, read_series, subject_of
from .dicomseg import is_dicom_seg
from .errors import InputError, is_shortage
from .model import SEQUENCES
from .nifti import check_nifti, check_place
from .study import Study
from .volume import Volume, check_origin, geometry_of

SPACING_MM = (0.05, 20.0)  # finer or coarser than any head was ever imaged: a wrong header
MIN_VOXELS = 8  # along each axis
_LEVELS = 1000  # of grey, that an image has in 32 bits, or it is refused
SKEW = 1e-3  # of the cosine between two axes, or of an axis' length, by rounding in a header; no NIfTI file could hold more


def read_volume(path: Path, series: str | None = None) -> Volume:
    """One sequence as a :class:`Volume`, from a file or a folder with DICOM.

    Args:
        path: the file or folder.
        series: which series of a DICOM folder with several: its number, or a part of its description or UID.

    Raises:
        InputError: missing, unreadable or truncated; not an image; not one scalar 3D volume; zero or absurd spacing;
            sheared axes; NaN, infinite or constant voxels, or such that 32 bits do not tell apart; a DICOM folder without
            image, with several series, or with a gap.
    """
    volume = read_array(path, series)
    array = volume.array
    if array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            raise InputError(
                f"{path}: {bad} of {array.size} voxels are NaN or infinite, or beyond 3e38; repair or export it again"
            )
    if array.min() == array.max():
        raise InputError(f"{path}: every voxel is {array.flat[0]:g}, there is no image in it; export it again")
    return volume


def read_study(files: dict[str, Path], series: dict[str, str] | None = None) -> Study:
    """The study of one patient, from a file or folder by sequence; raises as :func:`read_volume`, and without ``t1c``."""
    if "t1c" not in files:
        raise InputError(f"no {SEQUENCES['t1c']}; each study needs one")
    volumes = {name: read_volume(path, (series or {}).get(name)) for name, path in files.items()}
    return Study(volumes.pop("t1c"), volumes)


def read_array(path: Path, series: str | None = None) -> Volume:
    """Any scalar 3D volume, label maps included: :func:`read_volume` without a look at the values."""
    with readable(path):
        if path.is_dir():
            image, name, subject = read_series(path, series)
        else:
            image, name, subject = read_image(path), path.absolute().name, subject_of(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        parts = image.GetNumberOfComponentsPerPixel()
        raise InputError(f"{path}: has {parts} values a voxel (colour or vector); give a scalar image")
    geometry = geometry_of(image)
    if min(image.GetSize()) < MIN_VOXELS:
        raise InputError(f"{path}: {geometry.describe()} is too few for a study; give the whole volume")
    skew = np.abs(geometry.axes.T @ geometry.axes - np.eye(3)).max()
    if not skew <= SKEW:
        raise InputError(
            f"{path}: its axes are not at right angles, or not of length 1 (off by {skew:.3g}), so that places and volumes "
            "would be wrong; resample it, for example in Slicer: Crop Volume, with interpolation"
        )
    array = sitk.GetArrayFromImage(image)
    return Volume(_in_32_bits(array, path) if array.dtype == np.float64 else array, geometry, name, subject)


def _in_32_bits(array: np.ndarray, path: Path) -> np.ndarray:
    """As float32; what is too large for that is infinite."""
    low, high = float(array.min()), float(array.max())
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if 0 < high - low < _LEVELS * float(np.spacing(np.abs(narrow).max())):
        raise InputError(
            f"{path}: its values, {low:.10g} to {high:.10g}, are too near to each other for their size; subtract {low:.10g} "
            "from all of them"
        )
    return narrow


def read_image(path: Path) -> sitk.Image:
    """An image file as it is, its header checked; a fourth axis of length one is dropped.

    Raises:
        InputError: missing, unreadable or truncated, called so that it cannot be read, not an image, a DICOM Segmentation,
            complex, more than 3D, zero or absurd spacing, an origin where no head can be, two places
            that differ, or as :func:`~lopsided.dicom.check_frames`.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    check_name(path)
    with readable(path):
        path.open("rb").close()  # which says why it cannot be read, as ITK does not
    if is_dicom_seg(path):
        raise InputError(
            f"{path}: is a DICOM Segmentation, and no image; give it as the annotation, and here the image"
        )
    with _by_itself(path) as file:
        image = _read(file, path)
    check_frames(str(path), image, str(path))
    return image if image.GetDimension() == 3 else image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]


def _read(file: Path, path: Path) -> sitk.Image:
    """As :func:`read_image`, with all its axes; what is wrong is said of ``path``."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what matters of it is an error below
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"{path}: not an image that can be read ({_reason(error)}); give NIfTI-1, NRRD, MHA or DICOM"
        ) from None
    size = reader.GetSize()
    if len(size) < 3 or max(size[3:], default=1) > 1:
        raise InputError(f"{path}: is {len(size)}D ({'×'.join(map(str, size))}); give one 3D volume")
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{path}: has complex values; give its magnitude")
    nifti = reader.GetImageIOFromFileName(str(path)) == "NiftiImageIO"
    _check_spacing(reader, path, check_nifti(path) if nifti else ())
    check_origin(reader.GetOrigin()[:3], str(path))
    if nifti:
        check_place(path)
    try:
        return reader.Execute()
    except (RuntimeError, MemoryError) as error:
        if is_shortage(error):
            voxels = "×".join(map(str, size))
            raise InputError(
                f"{path}: there is no memory for its {voxels} voxels; close other programs, or, if that is not its size, "
                "export it again"
            ) from None
        raise InputError(f"{path}: is damaged or truncated ({_reason(error)}); copy or export it again") from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What the system says in the block, as of a file that may not be read, is said of ``path``, as an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check its name, and that you may read it"
        ) from None


@contextmanager
def _by_itself(path: Path) -> Iterator[Path]:
    """The file, elsewhere if need be: where there is an ``x.nii`` beside it, ITK reads the voxels of that for an ``x.nii.gz``."""
    name = path.name
    if not name.lower().endswith(".nii.gz") or not path.with_name(name[: -len(".gz")]).exists():
        yield path
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(prefix="lopsided-"))
            copy = Path(shutil.copyfile(path, Path(folder) / name))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be copied to the temporary folder ({error.strerror or error}), as it must be because of the "
                f"{name[: -len('.gz')]} beside it; make room there, or move that file elsewhere"
            ) from None
        yield copy


def _check_spacing(reader: sitk.ImageFileReader, path: Path, raw: tuple[float, ...]) -> None:
    """``raw``: as the header has it, where that is known, with zeros that ITK reads as ones."""
    spacing = [abs(s) for s in reader.GetSpacing()[:3]]
    spacing = [
        s if r else 0.0 for s, r in zip(spacing, raw or spacing, strict=True)
    ]  # in mm, whatever the header's unit
    if not all(SPACING_MM[0] <= s <= SPACING_MM[1] for s in spacing):
        found = "×".join(f"{s:g}" for s in spacing)
        raise InputError(
            f"{path}: a spacing of {found} mm is impossible for a head ({SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm); "
            "mend its header"
        )


def _reason(error: BaseException) -> str:
    """The last line of an ITK exception, without its file and line number."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    return lines[-1].split("): ", 1)[-1][:160]
