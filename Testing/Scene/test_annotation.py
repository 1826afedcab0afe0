"""Accepted lesions in the user's segmentation: exactly one segment changes, and undo takes out exactly that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from lopsided.annotation import read_annotation
from lopsided.reading import read_volume
from lopsided.review import SUGGESTION_TAG
from LopsidedSegLib import Scene
from LopsidedSegLib.Annotation import Annotation
from LopsidedSegLib.Labelmaps import imageOf, labelmapName, latticeOf, matrixOf, transformed, voxelsOf
from transforms import bend
from vtk.util.numpy_support import numpy_to_vtk

SHAPE = (20, 22, 24)
PLACES = ((0, 0, 0), (60, 0, 0), (0, 60, 0), (0, 0, 60), (30, 30, 30))  # RAS, mm


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
    lesion = transformed(image(LESION), annotated, None)
    accepted = Annotation(annotated).insert("new", lesion, "Metastasis", (1.0, 0.5, 0.0), {SUGGESTION_TAG: "First"})
    after = state(annotated)
    assert {k: after[k] for k in before} == before
    assert after[accepted] == ("Metastasis", (1.0, 0.5, 0.0), LESION.sum() * 8)
    alone = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    expected = alone.GetSegmentCenterRAS(
        alone.AddSegmentFromBinaryLabelmapRepresentation(lesion, "alone", [1.0, 0.0, 0.0])
    )
    assert annotated.GetSegmentCenterRAS(accepted) == pytest.approx(expected, abs=0.01)
    Annotation(annotated).remove(accepted, "First")
    assert state(annotated) == before
    Annotation(annotated).remove(accepted, "First")
    assert state(annotated) == before


def test_the_first_lesion_of_an_empty_annotation() -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    accepted = Annotation(node).insert("new", image(LESION), "Metastasis", (1.0, 0.5, 0.0), {})
    assert world_volume(node, accepted)[0] == LESION.sum() * 8


def new_annotation_and_cube(matrix: np.ndarray) -> tuple[Any, Any]:
    """One of a volume of 1 mm voxels, and 27 mm³ within it on the lattice of ``matrix``."""
    volume = slicer.util.addVolumeFromArray(np.zeros((12, 12, 12), np.int16), np.eye(4), "T1c")
    lattice = slicer.vtkOrientedImageData()
    lattice.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return Scene.newAnnotation(volume), imageOf(np.ones((3, 3, 3)), lattice, [4, 6, 4, 6, 4, 6])


def test_the_first_lesion_of_an_annotation_that_surfaces_were_in() -> None:
    """And were all removed from. Slicer saves what is the source, and of a small lesion without one a voxel."""
    node, lesion = new_annotation_and_cube(np.eye(4))
    ball = vtk.vtkSphereSource()
    ball.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "Imported", [1.0, 0.0, 0.0])
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveAllSegments()
    for number in range(2):
        added = Annotation(node).insert(f"new {number}", lesion, "Metastasis", (1.0, 0.5, 0.0), {})
        assert world_volume(node, added)[0] == 27
    assert node.GetSegmentation().GetSourceRepresentationName() == labelmapName()


def test_no_lesion_is_lost_between_thick_slices(tmp_path: Path) -> None:
    """3 mm of it in slices of 5 mm, wherever they begin; nor when it is added to a segment."""
    lattice = image(np.ones((1, 1, 1)), spacing=1.0)
    flair = slicer.util.addVolumeFromArray(np.zeros((12, 120, 120), np.int16), np.diag([0.5, 0.5, 5, 1]), "FLAIR")
    node, again = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name) for name in ("Thick", "Again"))
    node.SetReferenceImageGeometryParameterFromVolumeNode(flair)
    lattice.SetGeometryFromImageToWorldMatrix(vtk.vtkMatrix4x4())
    lesions = [imageOf(np.ones((3, 3, 3)), lattice, [20, 22, 20, 22, k, k + 2]) for k in range(30, 35)]
    for n, lesion in enumerate(lesions):
        Annotation(node).insert(f"Lesion {n}", lesion, "Metastasis", (1.0, 0.5, 0.0), {})
    assert Scene.writeSegments(node, tmp_path / "thick.seg.nrrd")
    Scene.readSegments(again, tmp_path / "thick.seg.nrrd")
    for n in range(5):
        volume, centre = world_volume(again, f"Lesion {n}")
        assert 20 < volume < 60
        assert centre == pytest.approx([21, 21, 31 + n], abs=2.6)
    Annotation(node).grow("Lesion 0", imageOf(np.ones((3, 3, 3)), lattice, [30, 32, 20, 22, 31, 33]))
    assert world_volume(node, "Lesion 0")[0] == pytest.approx(2 * world_volume(again, "Lesion 0")[0])


@pytest.mark.parametrize("axis", range(3))
def test_a_lesion_half_way_between_two_voxels_becomes_no_larger(axis: int) -> None:
    half = np.eye(4)
    half[axis, 3] = 0.5
    node, lesion = new_annotation_and_cube(half)
    added = Annotation(node).insert("new", lesion, "Metastasis", (1.0, 0.5, 0.0), {})
    assert world_volume(node, added)[0] == 27


def test_own_lesions_are_saved_as_they_were_with_one_of_smaller_voxels(annotated: Any, tmp_path: Path) -> None:
    before = state(annotated)
    added = Annotation(annotated).insert("new", image(LESION, spacing=1.5), "Metastasis", (1.0, 0.5, 0.0), {})
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Again")
    assert Scene.writeSegments(annotated, tmp_path / "saved.seg.nrrd")
    Scene.readSegments(again, tmp_path / "saved.seg.nrrd")
    after = state(again)
    assert after.pop(added)[2] == pytest.approx(LESION.sum() * 1.5**3, rel=0.2)
    for segment, (name, _colour, volume) in before.items():
        assert (after[segment][0], after[segment][2]) == (name, pytest.approx(volume))


@pytest.mark.parametrize("flair", [(1.0, 1.0, 5.0), (0.4, 0.4, 5.0)], ids=["smaller", "longer but smaller by volume"])
@pytest.mark.parametrize("on", ["FLAIR", "T1c"])
def test_lesions_of_finer_voxels_than_the_annotations_own_are_saved(
    tmp_path: Path, flair: tuple[float, float, float], on: str
) -> None:
    """Wherever they lie between thick slices: drawn on another volume, or imported; and overlapping ones each."""
    spacings = {"FLAIR": flair, "T1c": (1.0, 1.0, 1.0)}
    size = np.ceil(60 / np.array(spacings[on])).astype(int)[::-1]
    reference = slicer.util.addVolumeFromArray(np.zeros(size, np.int16), np.diag([*spacings[on], 1]), on)
    node = Scene.newAnnotation(reference)

    def lattice(spacing: tuple[float, float, float]) -> Any:
        made = slicer.vtkOrientedImageData()
        made.SetSpacing(spacing)
        return made

    for n, k in enumerate(range(10, 15)):
        tiny = imageOf(np.ones((1, 1, 1)), lattice(spacings["T1c"]), [20 + 2 * n, 20 + 2 * n, 20, 20, k, k])
        node.AddSegmentFromBinaryLabelmapRepresentation(tiny, f"Tiny {n}", [1.0, 0.0, 0.0])
    around = imageOf(np.ones((5, 5, 5)), lattice(spacings["T1c"]), [18, 22, 18, 22, 8, 12])
    node.AddSegmentFromBinaryLabelmapRepresentation(around, "Around", [1.0, 0.0, 0.0])
    large = imageOf(np.ones((1, 60, 60)), lattice(flair), [10, 69, 10, 69, 3, 3])
    node.AddSegmentFromBinaryLabelmapRepresentation(large, "Large", [1.0, 0.0, 0.0])
    accepted = imageOf(np.ones((2, 2, 2)), lattice(spacings["T1c"]), [40, 41, 40, 41, 33, 34])
    Annotation(node).insert("new", accepted, "Accepted", (1.0, 0.5, 0.0), {})
    before = state(node)
    again = Scene.newAnnotation(reference)
    assert Scene.writeSegments(node, tmp_path / "saved.seg.nrrd")
    Scene.readSegments(again, tmp_path / "saved.seg.nrrd")
    assert state(node) == before
    after = {name: volume for name, _colour, volume in state(again).values()}
    assert after.pop("Large") == pytest.approx(3600 * np.prod(flair), rel=0.1)
    assert after == {**{f"Tiny {n}": 1.0 for n in range(5)}, "Around": 125.0, "Accepted": 8.0}
    # and for the search
    assert Scene.writeAnnotation(node, tmp_path / "annotation.nrrd")
    written = sitk.ReadImage(str(tmp_path / "annotation.nrrd"))
    places = [(-20.0 - 2 * n, -20.0, 10.0 + n) for n in range(5)] + [(-40.0, -40.0, 33.0)]
    assert all(written[written.TransformPhysicalPointToIndex(place)] for place in places)
    # what is drawn next may be anywhere in the volume
    geometry = latticeOf(again)
    reach = np.array(geometry.GetDimensions()) * geometry.GetSpacing()
    assert (reach >= 59).all()


def test_a_search_knows_any_number_of_annotated_lesions(tmp_path: Path) -> None:
    """More than there are values in a label map that is not taken for an image, where each had its own."""
    volume = slicer.util.addVolumeFromArray(np.arange(1728, dtype=np.int16).reshape(12, 12, 12), np.eye(4), "T1c")
    node, lattice = Scene.newAnnotation(volume), Scene.lattice(volume)
    for n, (k, j, i) in enumerate(np.argwhere(np.ones((6, 6, 6))).tolist()):
        segment = slicer.vtkSegment()
        segment.AddRepresentation(
            labelmapName(), imageOf(np.ones((1, 1, 1)), lattice, [2 * i] * 2 + [2 * j] * 2 + [2 * k] * 2)
        )
        node.GetSegmentation().AddSegment(segment, str(n))
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    assert Scene.writeAnnotation(node, tmp_path / "annotation.nrrd")
    known = read_annotation(tmp_path / "annotation.nrrd", read_volume(tmp_path / "t1c.nrrd"))
    assert known.mask.sum() == 216


def test_a_lesion_that_a_bent_annotation_has_no_voxel_for_is_refused_in_words(annotated: Any) -> None:
    bend(annotated, [(place, np.array(place) * (1 + 0.1 * n)) for n, place in enumerate(PLACES)])
    told = set()
    for n in range(40):
        tiny = image(box(slice(5, 6), slice(9, 10), slice(6, 7)), spacing=0.5, origin=(n, 0.7 * n, 1.3 * n))
        try:
            added = Annotation(annotated).insert("tiny", tiny, "Metastasis", (1.0, 0.5, 0.0), {})
            assert world_volume(annotated, added)[0] > 0
        except RuntimeError as error:
            told.add(str(error))
    assert told == {"Lesions is bent by a transform; harden it first."}


def test_only_the_segment_of_that_suggestion_is_taken_out(annotated: Any) -> None:
    here = Annotation(annotated)
    added = here.insert("new", image(LESION), "Metastasis", (1.0, 0.5, 0.0), {SUGGESTION_TAG: "First"})
    assert here.insert("new", image(LESION), "Metastasis", (1.0, 0.5, 0.0), {SUGGESTION_TAG: "Second"}) != added
    before = state(annotated)
    assert here.remove(added, "Second") is None
    assert state(annotated) == before


def test_what_touches_is_found(annotated: Any) -> None:
    known = annotated.GetSegmentation().GetSegmentIdBySegmentName("Known")
    here = Annotation(annotated)
    assert here.touching(image(LESION)) == [known]
    assert here.touching(image(KNOWN)) == [known]
    assert here.touching(image(box(slice(3, 7), slice(9, 12), slice(5, 9)))) == []
    for origin in ((200, 200, 200), (-10, 5, 230)):
        assert here.touching(image(KNOWN, origin=origin)) == []


def test_what_touches_is_found_without_a_look_at_the_whole_image_for_each_segment(
    annotated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 60 segments that share a label map of 512 x 512 x 300 voxels, that takes 5 s at each step through the list."""
    known, other = annotated.GetSegmentation().GetSegmentIDs()
    annotated.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert annotated.GetSegmentation().GetNumberOfLayers() == 1
    monkeypatch.setattr("LopsidedSegLib.Annotation.labelmap", Mock(side_effect=AssertionError("it takes long")))
    assert Annotation(annotated).touching(image(LESION)) == [known]
    assert Annotation(annotated).touching(image(OTHER)) == [other]
    assert Annotation(annotated).touching(image(KNOWN | OTHER)) == [known, other]


def test_a_small_lesion_within_large_voxels_touches_too(annotated: Any) -> None:
    """It lies between their middles; and beyond their neighbours it does not."""

    def tiny(along: float) -> str:
        x, y, z = (matrixOf(image(LESION)) @ [6.5, 9.5, along, 1])[:3]
        mask = image(np.ones((1, 1, 1)), spacing=0.5, origin=(x, y, z))
        return annotated.AddSegmentFromBinaryLabelmapRepresentation(mask, "Tiny", [1.0, 0.0, 0.0])

    within, beside, _beyond = tiny(4.5), tiny(7.4), tiny(8.6)
    known = annotated.GetSegmentation().GetSegmentIdBySegmentName("Known")
    assert Annotation(annotated).touching(image(LESION)) == [known, within, beside]


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
    nothing = here.grow(known, image(KNOWN))
    here.shrink(known, nothing)
    assert state(annotated)[known][2] == (KNOWN | drawn).sum() * 8, "nothing of it was new"
    with pytest.raises(RuntimeError, match="not there any more"):
        here.grow("gone", image(LESION))
    here.shrink("gone", token)


def refined(node: Any) -> None:
    """Put the first segment on voxels of half the size, as another geometry in Segment Editor does."""
    segment = node.GetSegmentation().GetNthSegment(0)
    coarse = segment.GetRepresentation(labelmapName())
    first = matrixOf(coarse) @ [*np.array(coarse.GetExtent()[::2]) - 0.25, 1]
    segment.AddRepresentation(labelmapName(), image(np.kron(voxelsOf(coarse), np.ones((2, 2, 2))), 1.0, first[:3]))


@pytest.mark.parametrize(
    ("before", "since"),
    [
        (lambda node: None, refined),
        (lambda node: None, shifted),
        (shifted, lambda node: node.HardenTransform()),
    ],
    ids=["on other voxels", "moved", "hardened"],
)
def test_what_was_added_is_taken_out_of_a_segment_that_lies_otherwise_since(
    annotated: Any, before: Callable[..., None], since: Callable[..., None]
) -> None:
    before(annotated)
    [known, _other] = annotated.GetSegmentation().GetSegmentIDs()
    overlapping = box(slice(3, 7), slice(7, 12), slice(5, 9))
    token = Annotation(annotated).grow(known, transformed(image(overlapping), annotated, None))
    since(annotated)
    centre = world_volume(annotated, known)[1]
    assert world_volume(annotated, known)[0] == (KNOWN | overlapping).sum() * 8
    Annotation(annotated).shrink(known, token)
    volume, left = world_volume(annotated, known)
    assert volume == KNOWN.sum() * 8
    assert np.linalg.norm(left - centre) == pytest.approx(4, abs=0.01), "half of what it was"


@pytest.mark.parametrize("isHardened", [False, True], ids=["bent", "hardened"])
def test_a_lesion_taken_out_of_a_bent_annotation_goes_in_again(annotated: Any, isHardened: bool) -> None:
    bend(annotated, [((x, y, z), (x + 15, y + 0.002 * x * z, z)) for x, y, z in PLACES])
    here, lesion = Annotation(annotated), transformed(image(LESION), annotated, None)
    added = here.insert("new", lesion, "Metastasis", (1.0, 0.5, 0.0), {SUGGESTION_TAG: "First"})
    volume, centre = world_volume(annotated, added)
    taken = here.remove(added, "First")
    assert taken
    if isHardened:
        annotated.HardenTransform()
    again, place = world_volume(annotated, here.insert(**taken))
    assert again == pytest.approx(volume, rel=0.1 if isHardened else 0)
    assert place == pytest.approx(centre, abs=1.0 if isHardened else 1e-6)


def test_an_annotation_of_surfaces_is_not_touched(annotated: Any) -> None:
    """And the sentence says what to do."""
    annotated.CreateClosedSurfaceRepresentation()
    annotated.GetSegmentation().SetSourceRepresentationName("Closed surface")
    before = annotated.GetSegmentation().GetMTime()
    with pytest.raises(RuntimeError, match="Lesions is not stored as label maps"):
        Annotation(annotated).insert("new", image(LESION), "Metastasis", (1.0, 0.5, 0.0), {})
    assert Annotation(annotated).touching(image(KNOWN)) == [], "for nothing can be added to it"
    assert annotated.GetSegmentation().GetMTime() == before
