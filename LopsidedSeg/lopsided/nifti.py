"""What ITK lets pass in a NIfTI file: voxels that are not there, or NaN, are read as zeros, a spacing of zero as one, and
of two places that differ one is taken."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from io import BufferedIOBase
from itertools import product
from math import inf, prod
from pathlib import Path

import numpy as np

from .errors import InputError

_CHUNK = 1 << 22
_HEADER = 348  # bytes, of NIfTI-1 and Analyze; ITK reads no NIfTI-2
_FIELDS = (
    ("8h", 40),
    ("2h", 70),
    ("8f", 76),
    ("f", 108),
)  # format and offset of dim, datatype and bitpix, pixdim, vox_offset
_ONE_FILE = slice(344, 346), b"n+"  # where it says that the voxels are in the same file
_PAIR = b"ni"  # there, if they are not; Analyze has neither
_CODES, _PLACES = ("2h", 252), ("18f", 256)  # of qform and sform; quaternion and offset of the one, matrix of the other
_UNIT = 123, {1: 1e3, 3: 1e-3}  # where it says that it is not in mm, and how long it is then
_FLOATS = {16: "f4", 64: "f8"}  # by datatype
_SHEARED = 1e-4  # cosine between two of an sform's axes, above which ITK takes them not to be at right angles
_FURTHEST = 1 << 31  # that voxels begin in a file


def check_nifti(path: Path) -> tuple[float, ...]:
    """The first three ``pixdim`` of the header, once all the voxels that it promises are there, and numbers.

    The voxels may be in a file beside it, ``.img`` (or ``.img.gz``) beside ``.hdr``, of which ``path`` is either.

    Raises:
        InputError: a damaged or truncated file, or voxels that are NaN or infinite. What is no NIfTI at all is left to the reader: no spacing.
    """
    try:
        with _opened(_beside(path, "hdr")) as file:
            header = file.read(_HEADER + 4)
            order = next((o for o in "<>" if struct.unpack_from(f"{o}i", header)[0] == _HEADER), None)
            if order is None:
                return ()
            dim, (datatype, bits), pixdim, (offset,) = (struct.unpack_from(order + f, header, at) for f, at in _FIELDS)
            whole = header[_ONE_FILE[0]] == _ONE_FILE[1]
            if not (_HEADER + 4 if whole else 0) <= offset <= _FURTHEST:  # NaN too
                raise InputError(f"{path}: is damaged (its voxels begin at byte {offset:g}); copy or export it again")
            voxels, begin = prod(dim[1 : 1 + dim[0]]), int(offset)
            promised = begin + voxels * (bits // 8)
            kind = order + _FLOATS[datatype] if datatype in _FLOATS else None
            if whole:
                found, bad = _found(file, header, begin, kind)
        if not whole:
            with _opened(_beside(path, "img")) as file:
                found, bad = _found(file, b"", begin, kind)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise InputError(f"{path}: has no {missing} beside it; copy both, or export it as one file (.nii.gz)") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise InputError(f"{path}: is damaged or truncated ({error}); copy or export it again") from None
    if found < promised:
        raise InputError(f"{path}: is truncated ({found} of {promised} bytes); copy or export it again")
    if bad:
        raise InputError(f"{path}: {bad} of {voxels} voxels are NaN or infinite; repair or export it again")
    return tuple(pixdim[1:4])


def check_place(path: Path) -> None:
    """Whether qform and sform, where a header that :func:`check_nifti` passed has both, place the corners alike; and whether an
    sform alone has the header's voxel size.

    ITK follows the sform if its code is 1 and else the qform, nibabel always the sform, and the size is the header's for the
    one and the sform's for the other: an annotation that one made would lie elsewhere for the other.

    Raises:
        InputError: they do not.
    """
    with _opened(_beside(path, "hdr")) as file:
        header = file.read(_HEADER)
    order = "<" if header[:4] == struct.pack("<i", _HEADER) else ">"
    qform, sform = struct.unpack_from(order + _CODES[0], header, _CODES[1])
    if header[_ONE_FILE[0]] not in (_ONE_FILE[1], _PAIR) or sform <= 0:
        return
    dim, _, pixdim, _ = (struct.unpack_from(order + f, header, at) for f, at in _FIELDS)
    sides = np.array([side if 0 < side < inf else 1.0 for side in pixdim[1:4]])  # as ITK's library takes them
    numbers = np.array(struct.unpack_from(order + _PLACES[0], header, _PLACES[1]))
    matrix, corners = numbers[6:].reshape(3, 4), np.array(list(product(*((0, n - 1) for n in dim[1:4]))))
    if qform <= 0:
        columns = np.linalg.norm(matrix[:, :3], axis=0)
        if (np.abs(columns - sides) * corners.max(0) > sides.min() / 2).any():
            sizes = ("×".join(f"{mm:.3g}" for mm in some) for some in (sides, columns))
            raise InputError(
                f"{path}: its header has two voxel sizes ({' and '.join(sizes)}, the latter in the sform), and programs differ "
                "in which they follow; where the sform is right, keep it, in Python: import nibabel; "
                f'i = nibabel.load("{path.name}"); i.set_qform(i.get_sform()); nibabel.save(i, "new.nii.gz")'
            )
        return
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        axes = _rotation(numbers[:3]) * sides * (1, 1, -1 if pixdim[0] < 0 else 1)
        gap = corners @ (axes - matrix[:, :3]).T + numbers[3:6] - matrix[:, 3]
        apart = float(np.linalg.norm(gap, axis=1).max())
        unit = matrix[:, :3] / np.linalg.norm(matrix[:, :3], axis=0)
        sheared = bool((np.abs(unit.T @ unit - np.eye(3)) > _SHEARED).any())
    if not apart <= sides.min() / 2:  # NaN too
        mm = apart * _UNIT[1].get(header[_UNIT[0]] & 7, 1.0)
        how_far = f"up to {mm:.3g} mm apart" if np.isfinite(mm) else "one of them by numbers that are NaN or infinite"
        which, keep = (
            "keep the one that fits the other files of the study",
            "i.set_sform(i.get_qform()) to keep the qform",
        )
        if sheared:  # no qform can be like it
            which = (
                "the sform's axes are not at right angles, so resample it (in Slicer: Crop Volume, with interpolation), or keep "
                "the qform, if that fits the other files of the study"
            )
        else:
            keep = f"i.set_qform(i.get_sform()) to keep the sform, or {keep}"
        raise InputError(
            f"{path}: its header has two places for it (qform and sform), {how_far}, and programs differ in which they "
            f"follow; {which}, in Python: import nibabel; "
            f'i = nibabel.load("{path.name}"); {keep}; nibabel.save(i, "new.nii.gz")'
        )


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Of a unit quaternion, of which the header has all but the first, real part."""
    real = np.sqrt(max(0.0, 1 - float(vector @ vector)))
    length = np.hypot(real, np.linalg.norm(vector))  # 1, but for rounding
    across = np.cross(np.eye(3), vector / length)
    return np.asarray(np.eye(3) + 2 * real / length * across + 2 * across @ across)


def _beside(path: Path, ending: str) -> Path:
    """The file of a pair that ends so, compressed or not; ``path`` itself where it is no pair's."""
    parts = re.fullmatch(r"(.*\.)(hdr|img)(?:\.gz)?", path.name, re.IGNORECASE)
    if not parts or parts[2].lower() == ending:
        return path
    ending = ending.upper() if parts[2].isupper() else ending
    wanted = path.with_name(parts[1] + ending)
    packed = path.with_name(f"{wanted.name}.gz")
    return packed if packed.exists() and not wanted.exists() else wanted


def _opened(path: Path) -> BufferedIOBase:
    """For reading, uncompressed; what it is, not its name, says whether it is compressed."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _found(file: BufferedIOBase, read: bytes, begin: int, kind: str | None) -> tuple[int, int]:
    """How many bytes a file has, of which ``read`` were read already, and how many of the voxels in it, which begin at
    byte ``begin``, are not finite, where they are floats, of ``kind``."""
    read += file.read(max(0, begin - len(read)))  # what is said further in extensions
    found, bad, rest = len(read), 0, read[begin:]
    while chunk := file.read(_CHUNK):
        found += len(chunk)
        if kind:
            values = rest + chunk
            numbers = np.frombuffer(values, kind, len(values) // np.dtype(kind).itemsize)
            bad += numbers.size - int(np.isfinite(numbers).sum())
            rest = values[numbers.nbytes :]
    return found, bad
