"""Images and other files: whole, or with an error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import is_shortage

_ROUNDING = 1e-3  # of a cosine, or mm: as :data:`lopsided.reading.SKEW`


def write_image(image: sitk.Image, path: Path, level: int = 4) -> None:
    """Write, compressed so far (0 to 9), and read back: a full disk can truncate a file without an error.

    Raises:
        OSError: it could not be written whole, or not where it is: NIfTI squares sheared axes.
        MemoryError: there is none to read it back.
    """
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=level)
        again = sitk.ReadImage(str(path))
        same = np.array_equal(_bytes(again), _bytes(image))  # a hash takes as long as writing
    except RuntimeError as error:
        if is_shortage(error):
            raise MemoryError(str(error)) from None
        same = False
    if not same:
        raise OSError(f"{path.name} could not be written whole")
    wanted, got = ((*g.GetSpacing(), *g.GetOrigin(), *g.GetDirection()) for g in (image, again))
    if not np.allclose(got, wanted, rtol=1e-4, atol=_ROUNDING):
        raise OSError(f"{path.name} cannot hold an image whose axes are not at right angles; resample it first")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside ``path``, to be written in the block, and through to the disk, before it gets that name: ``path`` is never
    half there. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _bytes(image: sitk.Image) -> np.ndarray:
    return np.asarray(sitk.GetArrayViewFromImage(image).view(np.uint8))
