"""Slicer's ``.seg.nrrd``: what its header says of segments, and what it cannot say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.annotation import read_labels
from lopsided.errors import InputError
from lopsided.segmentation import Segment, headers, segmentation_image
from lopsided.volume import Geometry


@pytest.mark.parametrize(
    ("name", "value"), [("LabelValue", "1.0"), ("LabelValue", ""), ("LabelValue", "one"), ("Layer", "x"), ("Layer", "")]
)
def test_a_value_or_layer_that_is_no_number_is_named(
    name: str, value: str, geometry: Callable[..., Geometry], tmp_path: Path
) -> None:
    grid = geometry()
    image = segmentation_image(np.ones(grid.shape, np.uint8), grid, [Segment("a", "Left frontal", 1, (1, 0, 0))])
    assert [(place, header.name) for place, header in headers(image, "it").items()] == [((0, 1), "Left frontal")]
    image.SetMetaData(f"Segment0_{name}", value)
    sitk.WriteImage(image, str(tmp_path / "s.seg.nrrd"))
    with pytest.raises(
        InputError,
        match=rf"/s\.seg\.nrrd: segment 'Left frontal' has '{value}' as Segment0_{name}, .*; open it in Slicer",
    ):
        read_labels(tmp_path / "s.seg.nrrd")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_may_be_in_latin_1(encoding: str, geometry: Callable[..., Geometry], tmp_path: Path) -> None:
    """As other programs write them; Slicer writes UTF-8. A key that is no ASCII is none of a segment."""
    grid, path = geometry(), tmp_path / "s.seg.nrrd"
    image = segmentation_image(
        np.ones(grid.shape, np.uint8), grid, [Segment("Left", "Left", 1, (1, 0, 0), {"a": "Left"})]
    )
    image.SetMetaData("SegmentLeft_LabelValue", "2")
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(b"Left", "Läsion".encode(encoding)))
    found = read_labels(path)
    assert (list(found.masks), found.identifiers, found.tags["Läsion"]["a"]) == (
        ["Läsion"],
        {"Läsion": "Läsion"},
        "Läsion",
    )
