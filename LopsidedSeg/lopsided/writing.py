"""Images to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_image(image: sitk.Image, path: Path) -> None:
    """Write, compressed, and read back: a full disk can truncate a file without an error.

    Raises:
        OSError: it could not be written whole.
    """
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=4)
        again = sitk.ReadImage(str(path))
        same = np.array_equal(_bytes(again), _bytes(image))  # a hash takes as long as writing
    except RuntimeError:
        same = False
    if not same:
        raise OSError(f"{path.name} could not be written whole")


def _bytes(image: sitk.Image) -> np.ndarray:
    return np.asarray(sitk.GetArrayViewFromImage(image).view(np.uint8))
