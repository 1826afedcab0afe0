"""A DICOM series in a folder as one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import InputError

_MODALITY, _DESCRIPTION, _NUMBER = "0008|0060", "0008|103e", "0020|0011"
_POSITION, _ORIENTATION = "0020|0032", "0020|0037"
UNEVEN = 0.1  # slice distances may differ by this part of their median


def read_series(folder: Path, wanted: str | None) -> sitk.Image:
    """The series that :func:`find_series` finds, which says what can be wrong."""
    return read_files(*find_series(folder, wanted))


def read_files(files: list[str], where: str) -> sitk.Image:
    """The image in the files that :func:`find_series` gives.

    Raises:
        InputError: a file that cannot be read.
    """
    try:
        if len(files) == 1:
            return sitk.ReadImage(files[0])  # an enhanced, multi-frame object
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{where}: cannot be read ({str(error).strip().splitlines()[-1]}); export it again") from None


def find_series(folder: Path, wanted: str | None) -> tuple[list[str], str]:
    """The files, along the slice normal, of the only image series in ``folder``, or of the one whose number is
    ``wanted`` or whose description or UID has it; and how messages call that series.

    Raises:
        InputError: no image, several series that ``wanted`` does not tell apart, slices missing, doubled or of
            different orientation, or a header that cannot be read.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    series = {uid: _files(folder, uid) for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))}
    headers = {uid: _header(files[0]) for uid, files in series.items()}
    # a segmentation often lies beside its images
    series = {uid: files for uid, files in series.items() if headers[uid]["modality"] != "SEG"}
    if not series:
        raise InputError(f"{folder}: no DICOM image in this folder; give the folder that holds the files themselves")
    names = {u: f"{headers[u]['number']} {headers[u]['description']!r} ({len(series[u])} files)" for u in series}
    chosen = list(series)
    if wanted is not None:
        exact = [uid for uid in series if wanted in (headers[uid]["number"], headers[uid]["description"], uid)]
        loose = [u for u in series if wanted.lower() in headers[u]["description"].lower() or wanted in u]
        chosen = exact or loose
    if len(chosen) != 1:
        listed = "; ".join(names.values())
        problem = "holds several series" if wanted is None else f"{len(chosen)} series match {wanted!r}"
        raise InputError(f"{folder}: {problem}; choose one by number or description with --series: {listed}")
    files = series[chosen[0]]
    where = f"{folder}, series {names[chosen[0]]}"
    return files if len(files) == 1 else _in_order(files, where), where


def _files(folder: Path, uid: str) -> list[str]:
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))


def _header(file: str) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(f"{file}: a DICOM file that cannot be read; export the series again") from None

    def tag(key: str) -> str:
        return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""

    keys = {
        "modality": _MODALITY,
        "number": _NUMBER,
        "description": _DESCRIPTION,
        "position": _POSITION,
        "orientation": _ORIENTATION,
    }
    return {name: tag(key) for name, key in keys.items()}


def _in_order(files: list[str], where: str) -> list[str]:
    """The files along the slice normal, every slice there once, at even distances."""
    headers = [_header(file) for file in files]
    try:
        positions = np.array([[float(v) for v in h["position"].split("\\")] for h in headers])
        turned = np.array([[float(v) for v in h["orientation"].split("\\")] for h in headers])
    except ValueError:
        raise InputError(f"{where}: slices without position or orientation; export it again") from None
    if np.abs(turned - turned[0]).max() > 0.01:
        raise InputError(f"{where}: slices of different orientation (a localizer?); choose another series")
    along = positions @ np.cross(turned[0, :3], turned[0, 3:])
    order = np.argsort(along)
    gaps = np.diff(along[order])
    usual = float(np.median(gaps))
    if gaps.min() < UNEVEN * max(usual, 0.1):
        n = int(gaps.argmin())
        raise InputError(f"{where}: two slices at {along[order][n]:.1f} mm; it holds several volumes, export one")
    if gaps.max() > (1 + UNEVEN) * usual:
        n = int(gaps.argmax())
        a, b = along[order][n], along[order][n + 1]
        raise InputError(
            f"{where}: slices are missing between {a:.1f} and {b:.1f} mm (usual distance {usual:.2f} mm); "
            "export the whole series"
        )
    return [files[n] for n in order]
