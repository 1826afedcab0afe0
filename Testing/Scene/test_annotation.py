"""Accepted lesions in the user's segmentation: exactly one segment changes, and undo takes out exactly that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from LopsidedSegLib.Annotation import Annotation
from vtk.util.numpy_support import numpy_to_vtk

SHAPE = (20, 22, 24)


def image(mask: np.ndarray, spacing: float = 2.0, origin: tuple[float, float, float] = (-10, 5, 30)) -> Any:
    """A mask as a label map in world coordinates, with tilted axes."""
    matrix = np.eye(4)
    angle = np.deg2rad(20)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= spacing
    matrix[:3, 3] = origin
    made = slicer.vtkOrientedImageData()
    made.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    made.SetExtent(0, mask.shape[2] - 1, 0, mask.shape[1] - 1, 0, mask.shape[0] - 1)
    made.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    return made


def box(k: slice, j: slice, i: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[k, j, i] = True
    return mask


KNOWN, OTHER = box(slice(3, 7), slice(4, 8), slice(5, 9)), box(slice(14, 17), slice(15, 18), slice(15, 18))
LESION = box(slice(3, 7), slice(8, 12), slice(5, 9))  # borders on KNOWN


@pytest.fixture
def annotated() -> Any:
    """Two lesions of the user's."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lesions")
    for name, mask in (("Known", KNOWN), ("Other", OTHER)):
        node.AddSegmentFromBinaryLabelmapRepresentation(image(mask), name, [1.0, 0.0, 0.0])
    return node


def world_volume(node: Any, segmentId: str) -> tuple[float, np.ndarray]:
    """mm³ and the centre in RAS of a segment."""
    labelmap = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentId, labelmap)
    array = vtk.util.numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars())
    return float(array.sum() * np.prod(labelmap.GetSpacing())), np.array(node.GetSegmentCenterRAS(segmentId))


def state(node: Any) -> dict[str, Any]:
    """All that can be known of the segments."""
    segmentation = node.GetSegmentation()
    return {
        s: (segmentation.GetSegment(s).GetName(), segmentation.GetSegment(s).GetColor(), world_volume(node, s)[0])
        for s in segmentation.GetSegmentIDs()
    }


def shifted(node: Any) -> None:
    """Put the node under a transform that moves and turns."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkTransform()
    matrix.RotateX(30)
    matrix.Translate(11, -7, 3)
    transform.SetMatrixTransformToParent(matrix.GetMatrix())
    node.SetAndObserveTransformNodeID(transform.GetID())


@pytest.mark.parametrize("prepare", [lambda node: None, shifted], ids=["plain", "under a transform"])
def test_a_lesion_goes_in_where_it_is_in_the_world_and_out_again(annotated: Any, prepare: Callable[..., None]) -> None:
    prepare(annotated)
    before = state(annotated)
    lesion = image(LESION, spacing=1.5, origin=(40, 2, -8))
    accepted = Annotation(annotated).insert(lesion, "Metastasis", (1.0, 0.5, 0.0), {"LopsidedSeg.Model": "0123"})
    after = state(annotated)
    assert {k: after[k] for k in before} == before
    assert after[accepted] == ("Metastasis", (1.0, 0.5, 0.0), LESION.sum() * 1.5**3)
    alone = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    expected = alone.GetSegmentCenterRAS(
        alone.AddSegmentFromBinaryLabelmapRepresentation(lesion, "alone", [1.0, 0.0, 0.0])
    )
    assert annotated.GetSegmentCenterRAS(accepted) == pytest.approx(expected, abs=0.01)
    Annotation(annotated).remove(accepted)
    assert state(annotated) == before
    Annotation(annotated).remove(accepted)
    assert state(annotated) == before


def test_the_first_lesion_of_an_empty_annotation() -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    accepted = Annotation(node).insert(image(LESION), "Metastasis", (1.0, 0.5, 0.0), {})
    assert world_volume(node, accepted)[0] == LESION.sum() * 8


def test_what_touches_is_found(annotated: Any) -> None:
    known = annotated.GetSegmentation().GetSegmentIdBySegmentName("Known")
    here = Annotation(annotated)
    assert here.touching(image(LESION)) == [known]
    assert here.touching(image(KNOWN)) == [known]
    assert here.touching(image(box(slice(3, 7), slice(9, 12), slice(5, 9)))) == []
    assert here.touching(image(KNOWN, origin=(200, 200, 200))) == []


def test_growing_changes_one_segment_and_shrinking_keeps_what_was_drawn_since(annotated: Any) -> None:
    before = state(annotated)
    known = annotated.GetSegmentation().GetSegmentIdBySegmentName("Known")
    here = Annotation(annotated)
    overlapping = box(slice(3, 7), slice(7, 12), slice(5, 9))
    token = here.grow(known, image(overlapping))
    grown = state(annotated)
    assert grown[known][2] == (KNOWN | overlapping).sum() * 8
    assert {k: v for k, v in grown.items() if k != known} == {k: v for k, v in before.items() if k != known}
    drawn = box(slice(10, 11), slice(4, 8), slice(5, 9))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image(drawn), annotated, known, logic.MODE_MERGE_MAX)
    here.shrink(known, token)
    assert state(annotated)[known][2] == (KNOWN | drawn).sum() * 8, "the overlap was the user's before"
    with pytest.raises(RuntimeError, match="Nothing of the lesion is new"):
        here.grow(known, image(KNOWN))
    with pytest.raises(RuntimeError, match="not there any more"):
        here.grow("gone", image(LESION))
    here.shrink("gone", token)


def test_an_annotation_of_surfaces_is_not_touched(annotated: Any) -> None:
    """And the sentence says what to do."""
    annotated.CreateClosedSurfaceRepresentation()
    annotated.GetSegmentation().SetSourceRepresentationName("Closed surface")
    before = annotated.GetSegmentation().GetMTime()
    with pytest.raises(RuntimeError, match="Lesions is not stored as label maps"):
        Annotation(annotated).insert(image(LESION), "Metastasis", (1.0, 0.5, 0.0), {})
    known = annotated.GetSegmentation().GetSegmentIdBySegmentName("Known")
    assert Annotation(annotated).touching(image(KNOWN)) == [known]
    assert annotated.GetSegmentation().GetMTime() == before
