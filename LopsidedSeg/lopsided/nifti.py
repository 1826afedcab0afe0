"""What ITK lets pass in a NIfTI file: voxels that are not there, or NaN, are read as zeros, a spacing of zero as one."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from .errors import InputError

_CHUNK = 1 << 22
# version: length of the header, then format and offset of dim, datatype and bitpix, pixdim, vox_offset
_LAYOUT = {
    348: (("8h", 40), ("2h", 70), ("8f", 76), ("f", 108)),
    540: (("8q", 16), ("2h", 12), ("8d", 104), ("q", 168)),
}
_FLOATS = {16: "f4", 64: "f8"}  # by datatype


def check_nifti(path: Path) -> tuple[float, ...]:
    """The spacing in the header (mm), once all the voxels that it promises are there, and numbers.

    Raises:
        InputError: a damaged or truncated file, or voxels that are NaN or infinite. What is no NIfTI at all is left to the reader: no spacing.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(544)
            order = next((o for o in "<>" if struct.unpack_from(f"{o}i", header)[0] in _LAYOUT), None)
            if order is None:
                return ()
            layout = _LAYOUT[struct.unpack_from(f"{order}i", header)[0]]
            dim, (datatype, bits), pixdim, (offset,) = (struct.unpack_from(order + f, header, at) for f, at in layout)
            voxels, begin, size = prod(dim[1 : 1 + dim[0]]), int(offset), bits // 8
            header += file.read(max(0, begin - len(header)))  # what is said further in extensions
            promised, found, bad, rest = begin + voxels * size, len(header), 0, header[begin:]
            while chunk := file.read(_CHUNK):
                found += len(chunk)
                if datatype in _FLOATS:
                    values = rest + chunk
                    whole = len(values) // size * size
                    bad += _not_finite(values[:whole], order + _FLOATS[datatype])
                    rest = values[whole:]
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise InputError(f"{path}: is damaged or truncated ({error}); copy or export it again") from None
    if found < promised:
        raise InputError(f"{path}: is truncated ({found} of {promised} bytes); copy or export it again")
    if bad:
        raise InputError(f"{path}: {bad} of {voxels} voxels are NaN or infinite; repair or export it again")
    return tuple(abs(s) for s in pixdim[1:4])


def _not_finite(values: bytes, kind: str) -> int:
    numbers = np.frombuffer(values, kind)
    return numbers.size - int(np.isfinite(numbers).sum())
