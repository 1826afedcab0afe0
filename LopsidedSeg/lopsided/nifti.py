"""What ITK lets pass in a NIfTI file: voxels that are not there, or NaN, are read as zeros, a spacing of zero as one."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from io import BufferedIOBase
from math import prod
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
_FLOATS = {16: "f4", 64: "f8"}  # by datatype
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
