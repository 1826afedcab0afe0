"""A DICOM series in a folder, or a DICOM file with several frames, as one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .characters import check_name, decoded, is_hidden
from .errors import InputError, is_shortage
from .volume import Subject, check_origin, geometry_of
from .wording import counted

_CHARACTERS = "0008|0005"
_TAGS = {
    "modality": "0008|0060",
    "number": "0020|0011",
    "description": "0008|103e",
    "patient": "0010|0020",
    "frame": "0020|0052",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "spacing": "0028|0030",
    "rows": "0028|0010",
    "columns": "0028|0011",
}
_CLASS = b"\x02\x00\x02\x00UI"  # (0002,0002), up to its length
_VALUES = "PixelValueTransformationSequence"
UNEVEN = 0.1  # slice distances may differ by this part of their median, places in the slice by this part of a pixel
_LAST = 12  # digits of a UID, which tell series of one study apart
_TURNED = 1e-3  # of a cosine: half a pixel across a head
_OTHER_PIXELS = 1e-4  # of their spacing: a twentieth of a pixel across a head


def read_series(folder: Path, wanted: str | None) -> tuple[sitk.Image, str, Subject]:
    """The series that :func:`find_series` finds, which says what can be wrong; what to call it, and what it is of."""
    files, where = find_series(folder, wanted)
    header = _header(files[0])
    which = f"series {header['number']} {header['description']}".strip()
    return read_files(files, where), f"{folder.absolute().name}, {which}", Subject(header["patient"], header["frame"])


def read_files(files: list[str], where: str) -> sitk.Image:
    """The image in the files that :func:`find_series` gives.

    Raises:
        InputError: a file that cannot be read, or as :func:`check_frames` and :func:`~lopsided.volume.check_origin`.
    """
    try:
        if len(files) > 1:
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(files)
            if len({_pixel_type(file) for file in files}) > 1:  # it would take that of the first, and wrap the others
                reader.SetOutputPixelType(sitk.sitkFloat32)
            image = reader.Execute()
        else:
            image = sitk.ReadImage(files[0])
    except RuntimeError as error:
        if is_shortage(error):
            raise InputError(f"{where}: there is no memory for it; close other programs and try again") from None
        raise InputError(f"{where}: cannot be read ({str(error).strip().splitlines()[-1]}); export it again") from None
    check_origin(image.GetOrigin(), where)
    if len(files) == 1:
        check_frames(files[0], image, where)
    return image


def find_series(folder: Path, wanted: str | None) -> tuple[list[str], str]:
    """The files, along the slice normal, of the only image series in ``folder``, or of the one whose number is
    ``wanted`` or whose description or UID has it; and how messages call that series.

    Raises:
        InputError: no image, several series that ``wanted`` does not tell apart, slices missing, doubled, shifted, at
            uneven distances or of different orientation, pixels or size, a link to nowhere, or a file that cannot be
            read and may be one, or that is called so that it cannot.
    """
    check_name(folder)
    for path in folder.iterdir():
        if not (path.is_file() or path.is_dir()):  # there GDCM's list of the folder ends
            raise InputError(f"{path}: a link to nowhere, or no file; copy the file that is meant, or remove this one")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageSeriesReader
    series = {
        uid: list(reader.GetGDCMSeriesFileNames(str(folder), uid)) for uid in reader.GetGDCMSeriesIDs(str(folder))
    }
    headers = {uid: _header(files[0]) for uid, files in series.items()}
    read = {Path(file).name for files in series.values() for file in files}
    # a segmentation often lies beside its images
    series = {uid: files for uid, files in series.items() if headers[uid]["modality"] != "SEG"}
    if not series:
        raise InputError(f"{folder}: no DICOM image in this folder; give the folder that holds the files themselves")
    called = {u: f"{headers[u]['number']} {headers[u]['description']!r}" for u in series}
    names = {
        u: f"{name} ({counted(len(series[u]), 'file')}{f', UID …{u[-_LAST:]}' if list(called.values()).count(name) > 1 else ''})"
        for u, name in called.items()
    }
    chosen = list(series)
    if wanted is not None:
        exact = [uid for uid in series if wanted in (headers[uid]["number"], headers[uid]["description"], uid)]
        loose = [u for u in series if wanted.lower() in headers[u]["description"].lower() or wanted in u]
        chosen = exact or loose
    if len(chosen) != 1:
        listed = "; ".join(names.values())
        problem = "holds several series" if wanted is None else f"{len(chosen)} series match {wanted!r}"
        raise InputError(
            f"{folder}: {problem}; put one into a folder of its own, or, for a command with --series, choose by number, "
            f"description or a part of the UID: {listed}"
        )
    files = series[chosen[0]]
    _check_others(folder, read, files)
    where = f"{folder}, series {names[chosen[0]]}"
    return files if len(files) == 1 else _in_order(files, where), where


def subject_of(file: Path) -> Subject:
    """What an image file is of, which only DICOM says."""
    if storage_class(file) is None:
        return Subject()
    header = _header(str(file))
    return Subject(header["patient"], header["frame"])


def storage_class(path: Path) -> str | None:
    """The SOP class that the head of a DICOM file names; empty if it ends before, None if the file is not DICOM."""
    return _class(_head(path) or b"")


def _head(path: Path) -> bytes | None:
    """Without zeros at its end, as an interrupted copy leaves them; None where it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(512).rstrip(b"\0")
    except OSError:
        return None


def _class(head: bytes) -> str | None:
    if head[128:132] != b"DICM":
        return None
    rest = head[132:].partition(_CLASS)[2]
    end = 2 + int.from_bytes(rest[:2], "little")
    return rest[2:end].rstrip(b"\0 ").decode("ascii", "replace") if end <= len(rest) else ""


def check_frames(file: str, image: sitk.Image, where: str) -> None:
    """Of an image read from a DICOM file with several frames (enhanced MR), whether each frame is where the file says
    and has the values that it says: SimpleITK stacks them as they come, and rescales all as the first.

    Raises:
        InputError: frames that are no even stack of one volume, or of which that is not known, or that are rescaled
            differently; pydicom, which reads all that, is not installed.
    """
    if image.GetDepth() == 1 or sitk.ImageFileReader.GetImageIOFromFileName(file) != "GDCMImageIO":
        return
    try:
        from pydicom import dcmread
    except ImportError:
        raise InputError(
            f"{where}: several frames in one DICOM file, of which pydicom reads the places, and it is not installed; "
            'install it: pip install "lopsided[dicom]", or convert the file to NIfTI'
        ) from None
    i, j, k = (n - 1 for n in image.GetSize())
    corners, rescaled = [], set()
    try:
        wanted = ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
        header = dcmread(file, stop_before_pixels=True, specific_tags=wanted)
        shared = header.get("SharedFunctionalGroupsSequence", [])
        for frame in header.PerFrameFunctionalGroupsSequence:
            position, orientation, measures = (
                next(group for group in (frame, *shared) if name in group)[name][0]
                for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
            )
            first = np.array(position.ImagePositionPatient, float)
            along_row, along_column = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
            between_rows, between_columns = map(float, measures.PixelSpacing)
            corners.append([first, first + along_row * between_columns * i, first + along_column * between_rows * j])
            values = [g[_VALUES][0] for g in (frame, *shared) if _VALUES in g]
            rescaled.add((float(values[0].RescaleSlope), float(values[0].RescaleIntercept)) if values else (1.0, 0.0))
    except Exception:  # a damaged file makes pydicom raise nearly anything
        raise InputError(
            f"{where}: frames without position, orientation or pixel spacing; export it as single-frame (classic) DICOM"
        ) from None
    in_image = [[[n, 0, 0], [n, 0, i], [n, j, 0]] for n in range(k + 1)]
    found = geometry_of(image).index(np.array(corners))
    if len(found) != k + 1 or not np.allclose(found, in_image, rtol=0, atol=UNEVEN):
        raise InputError(
            f"{where}: its {len(corners)} frames are no even stack of one volume: frames are missing, doubled, shifted or "
            "not in order; export one whole volume, as single-frame (classic) DICOM"
        )
    if len(rescaled) > 1:  # all frames would be as the first one
        raise InputError(
            f"{where}: its frames are rescaled each by itself, by {len(rescaled)} different factors or offsets; export it as "
            "single-frame (classic) DICOM"
        )


def _check_others(folder: Path, read: set[str], files: list[str]) -> None:
    """GDCM leaves out in silence what it cannot read: objects that are no image, but damaged slices too."""
    slices, suffixes = _head(Path(files[0])) or b"", {_suffix(Path(file)) for file in files}
    for path in sorted(folder.iterdir()):
        if path.name in read or not path.is_file():
            continue
        head = _head(path)
        if head:
            if _begins_as(slices, head):
                _header(str(path))
        elif _suffix(path) in suffixes and not is_hidden(path.name):
            raise InputError(
                f"{path}: {'cannot be opened' if head is None else 'is empty or all zeros'}, and may be a slice; copy or "
                "export it again, or move it elsewhere if it is none"
            )


def _begins_as(slices: bytes, head: bytes) -> bool:
    """Whether ``head`` may be that of a slice, damaged or cut off, where ``slices`` is that of one. No other object has
    its class; where there is none, as before the preamble came, the first element has to tell."""
    wanted, found = _class(slices), _class(head)
    if wanted is not None and found is not None:
        return found in ("", wanted)
    return slices.startswith(head if wanted is not None else head[:8])


def _suffix(path: Path) -> str:
    """That of its name, without digits: names may end in a number."""
    return path.suffix.lower().rstrip("0123456789")


def _pixel_type(file: str) -> int:
    """Of what the file's values are once they are rescaled, as its slope and intercept say."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return int(reader.GetPixelID())


def _header(file: str) -> dict[str, str]:
    check_name(Path(file))
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(
            f"{file}: a DICOM file that cannot be read (damaged or truncated?); copy or export it again, or move it "
            "elsewhere if it is of another series"
        ) from None

    def tag(key: str) -> str:
        return reader.GetMetaData(key) if reader.HasMetaDataKey(key) else ""

    sets = tag(_CHARACTERS)
    return {name: decoded(tag(key), sets).strip() for name, key in _TAGS.items()}


def _in_order(files: list[str], where: str) -> list[str]:
    """The files along the slice normal, every slice there once, at even distances, on the one before."""
    headers = [_header(file) for file in files]
    try:
        positions, turned, spacing, size = (
            np.array([[float(v) for name in names for v in h[name].split("\\")] for h in headers])
            for names in (["position"], ["orientation"], ["spacing"], ["rows", "columns"])
        )
        if not all(np.isfinite(found).all() for found in (positions, turned, spacing)):  # they pass what follows
            raise ValueError
    except ValueError:
        raise InputError(
            f"{where}: slices without position, orientation or pixel spacing; export it again, as single-frame (classic) "
            "DICOM"
        ) from None
    if np.abs(turned - turned[0]).max() > _TURNED:
        raise InputError(f"{where}: slices of different orientation (a localizer?); choose another series")
    if (size != size[0]).any() or not np.allclose(spacing, spacing[0], rtol=_OTHER_PIXELS, atol=0):
        raise InputError(f"{where}: slices of different size or pixel spacing; export each volume as its own series")
    row, column = turned[0, :3], turned[0, 3:]
    lengths = np.linalg.norm(row) * np.linalg.norm(column)
    if spacing.min() <= 0 or abs(row @ column) >= _TURNED * lengths:  # GDCM would put 1 mm, or axial slices, for it
        raise InputError(
            f"{where}: a pixel spacing of 0, or rows and columns of pixels that are not at right angles; export it again"
        )
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    along = positions @ normal
    shift = np.ptp(positions - along[:, None] * normal, axis=0).max()
    if shift > UNEVEN * spacing[0].min():
        raise InputError(
            f"{where}: slices are shifted against each other by up to {shift:.2f} mm (a tilted gantry?); resample it to "
            "slices that stand on each other"
        )
    order = np.argsort(along)
    gaps = np.diff(along[order])
    usual = float(np.median(gaps))
    if gaps.min() < UNEVEN * max(usual, 0.1):
        n = int(gaps.argmin())
        twice = " and ".join(Path(files[m]).name for m in order[n : n + 2])
        raise InputError(
            f"{where}: two slices at {along[order][n]:.1f} mm, {twice}; move the copy elsewhere, or, if it holds several "
            "volumes, export one"
        )
    if gaps.max() > (1 + UNEVEN) * usual:
        n = int(gaps.argmax())
        a, b = along[order][n], along[order][n + 1]
        raise InputError(
            f"{where}: slices are missing between {a:.1f} and {b:.1f} mm (usual distance {usual:.2f} mm), or there are "
            "several volumes; export the whole series, each volume by itself"
        )
    if gaps.min() < (1 - UNEVEN) * usual:
        n = int(gaps.argmin())
        raise InputError(
            f"{where}: slices at uneven distances, {gaps[n]:.2f} mm at {along[order][n]:.1f} mm (usual distance "
            f"{usual:.2f} mm); export one volume with even slices"
        )
    return [files[n] for n in order]
