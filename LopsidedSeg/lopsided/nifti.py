"""What ITK lets pass in a NIfTI file: voxels that are not there are read as zeros, a spacing of zero as one."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

from .errors import InputError

_CHUNK = 1 << 22
# version: length of the header, then format and offset of dim, bitpix, pixdim, vox_offset
_LAYOUT = {
    348: (("8h", 40), ("h", 72), ("8f", 76), ("f", 108)),
    540: (("8q", 16), ("h", 14), ("8d", 104), ("q", 168)),
}


def check_nifti(path: Path) -> tuple[float, ...]:
    """The spacing in the header (mm), once all the voxels that it promises are there.

    Raises:
        InputError: a damaged or truncated file. What is no NIfTI at all is left to the reader: no spacing.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(544)
            order = next((o for o in "<>" if struct.unpack_from(f"{o}i", header)[0] in _LAYOUT), None)
            if order is None:
                return ()
            layout = _LAYOUT[struct.unpack_from(f"{order}i", header)[0]]
            dim, (bits,), pixdim, (offset,) = (struct.unpack_from(order + f, header, at) for f, at in layout)
            promised = int(offset) + prod(dim[1 : 1 + dim[0]]) * bits // 8
            found = len(header)
            while chunk := file.read(_CHUNK):
                found += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise InputError(f"{path}: is damaged or truncated ({error}); copy or export it again") from None
    if found < promised:
        raise InputError(f"{path}: is truncated ({found} of {promised} bytes); copy or export it again")
    return tuple(abs(s) for s in pixdim[1:4])
