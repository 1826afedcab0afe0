"""Suggestions to review, without a search: three cubes of 6 mm in a volume of 2 mm voxels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer.util
from lopsided.model import find_model, load_card
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import Geometry
from lopsided.wording import METASTASIS
from LopsidedSegLib import Scene

CENTRES = ((5, 6, 7), (12, 12, 9), (16, 5, 14))  # k, j, i
CONFIDENCES = (0.9, 0.6, 0.2)
DIGEST = load_card(find_model(None)).digest  # as if the installed model had made them
ONE, TWO, THREE = (f"Suggestion_{n}" for n in (1, 2, 3))


@dataclass
class Settings:
    """Those of the application, in a test's hands."""

    reader: str = "ab"
    logFolder: Path | None = None
    terminology: str = METASTASIS
    diameter: float = 6.0
    model: str | None = None


def add_reference() -> Any:
    """A volume whose voxels lie at 2 mm times their index, in LPS."""
    image = np.random.default_rng(1).integers(80, 120, (20, 18, 22)).astype(np.int16)
    return slicer.util.addVolumeFromArray(image, np.diag([-2.0, -2, 2, 1]), "T1c")


def add_suggestions(reference: Any, folder: Path) -> Any:
    """The node, loaded as from a search."""
    labels = np.zeros((20, 18, 22), np.uint8)
    candidates = []
    for n, (centre, confidence) in enumerate(zip(CENTRES, CONFIDENCES, strict=True), 1):
        labels[tuple(slice(c - 1, c + 2) for c in centre)] = n
        left, posterior, superior = (2.0 * c for c in centre[::-1])
        places = {"centroid_lps": [left, posterior, superior], "centroid_ras": [-left, -posterior, superior]}
        sizes = {"longest_diameter_mm": 10.4, "volume_mm3": 216.0}
        candidates.append({"rank": n, "confidence": confidence, **sizes, **places})
    geometry = Geometry((22, 18, 20), (2, 2, 2), (0, 0, 0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    segments = [Segment(f"Suggestion_{n}", f"Suggestion {n}", n, (1, 0.5, 0)) for n in (1, 2, 3)]
    result = folder / "result"
    result.mkdir(parents=True)
    sitk.WriteImage(segmentation_image(labels, geometry, segments), str(result / "suggestions.seg.nrrd"))
    model = {"name": "fake", "digest": DIGEST, "threshold": 0.5, "operating_points": []}
    content = {"candidates": candidates, "model": model, "threshold": 0.0}
    (result / "candidates.json").write_text(json.dumps(content), encoding="utf-8")
    return Scene.loadSuggestions(result, reference)


def erase(node: Any, segment: str, reference: Any, isRemoved: bool) -> None:
    """As in another module: a segment is removed, or all of its voxels are."""
    if isRemoved:
        node.GetSegmentation().RemoveSegment(segment)
    else:
        nothing = np.zeros(slicer.util.arrayFromVolume(reference).shape, np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(nothing, node, segment, reference)
