"""Images to files."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk


def write_image(image: sitk.Image, path: Path) -> None:
    """Write, compressed, and read back: a full disk can truncate a file without an error.

    Raises:
        OSError: it could not be written whole.
    """
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=4)
        same = sitk.Hash(sitk.ReadImage(str(path))) == sitk.Hash(image)
    except RuntimeError:
        same = False
    if not same:
        raise OSError(f"{path.name} could not be written whole")
