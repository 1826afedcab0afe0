"""Nodes keep their place in the patient, on the way to files and back, and nothing the user made is changed."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import geometry_of
from LopsidedSegLib import Scene
from LopsidedSegLib.Annotation import Annotation
from LopsidedSegLib.Labelmaps import labelmap, transformed
from transforms import bending

SHAPE = (30, 36, 40)  # k, j, i
BLOB = (slice(10, 15), slice(12, 17), slice(20, 25))
BLOB_IJK = (22.0, 14.0, 12.0)
HALF_A_VOXEL = 1.0  # mm, along the coarsest axis below
c, s = np.cos(0.4), np.sin(0.4)
TILT = np.array([[c, -s, 0], [s * c, c * c, -s], [s * s, s * c, c]])
GRIDS = {
    "straight": np.diag([1.0, 1.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "oblique": TILT @ np.diag([0.9, 1.1, 2.0]),
    "left-handed": TILT @ np.diag([0.9, 1.1, -2.0]),
    "sagittal": TILT @ np.array([[0, 0, 1.2], [1, 0, 0], [0, -1, 0]]),
}


def _transform(kind: str) -> Any:
    """A transform node of that kind; None for none."""
    if kind == "none":
        return None
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLBSplineTransformNode" if kind == "warped" else "vtkMRMLLinearTransformNode"
    )
    matrices = {
        "moved": np.block([[TILT, np.array([[11.0], [-7.0], [5.0]])], [np.zeros(3), np.ones(1)]]),
        "mirrored": np.diag([-1.0, 1.0, 1.0, 1.0]),
        "sheared": np.array([[1, 0, 0.3, 4], [0, 1, 0, 0], [0, 0.2, 1, 0], [0, 0, 0, 1.0]]),
    }
    if kind == "warped":
        corners = product((-100.0, 100.0), repeat=3)
        places = [((x, y, z), (x + 4, y + 0.04 * x - 3, z + 0.0004 * x * y)) for x, y, z in corners]
        node.SetAndObserveTransformToParent(bending(places))
    else:
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrices[kind]))
    return node


def _nested(inverted: bool) -> Any:
    """Two turns, one in the other, of which the order counts."""
    inner, outer = _transform("moved"), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn = vtk.vtkTransform()
    turn.RotateY(50)
    turn.Translate(3, -8, 13)
    outer.SetMatrixTransformToParent(turn.GetMatrix())
    if inverted:
        inner.Inverse()
    inner.SetAndObserveTransformNodeID(outer.GetID())
    return inner


def _volume(axes: np.ndarray, transform: Any = None) -> tuple[Any, np.ndarray]:
    """A volume with a bright blob, and where the blob's centre is in the world (RAS)."""
    array = np.zeros(SHAPE, np.float32)
    array[BLOB] = 100
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (-12, 8, 3)
    node = slicer.util.addVolumeFromArray(array, matrix, "T1c")
    return node, _placed(node, matrix, transform)


def _placed(node: Any, matrix: np.ndarray, transform: Any) -> np.ndarray:
    point = (matrix @ [*BLOB_IJK, 1])[:3]
    if transform:
        node.SetAndObserveTransformNodeID(transform.GetID())
        toWorld = vtk.vtkGeneralTransform()
        transform.GetTransformToWorld(toWorld)
        point = np.array(toWorld.TransformPoint(point))
    return point


def _ijkToRas(volume: Any) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def _segmentation(volume: Any, transform: Any = None) -> Any:
    """The blob as the user's annotation, under the same transform."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Annotation")
    if transform:
        node.SetAndObserveTransformNodeID(transform.GetID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mask = (slicer.util.arrayFromVolume(volume) > 0).astype(np.uint8)
    segment = node.GetSegmentation().AddEmptySegment("Known", "Known")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    return node


def _centre(path: Path) -> np.ndarray:
    """The centre of what is bright in a file, in RAS."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image).astype(float)
    kji = np.argwhere(array > 0.5 * array.max()).mean(axis=0)
    return geometry_of(image).physical(kji) * (-1, -1, 1)


def _state(node: Any) -> dict[str, Any]:
    segmentation = node.GetSegmentation()
    names: list[str] = []
    segmentation.GetContainedRepresentationNames(names)
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {
        "representations": names,
        "segments": [(i, segmentation.GetSegment(i).GetName()) for i in ids],
        "transform": node.GetTransformNodeID(),
        "modified": segmentation.GetMTime(),
        "nodes": slicer.mrmlScene.GetNumberOfNodes(),
    }


@pytest.mark.parametrize("transform", ["none", "moved", "mirrored", "sheared", "warped"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_volume_is_written_where_it_is(tmp_path: Path, grid: str, transform: str) -> None:
    """Within half a voxel where it must be resampled, exactly otherwise."""
    node, expected = _volume(GRIDS[grid], _transform(transform))
    Scene.writeVolume(node, tmp_path / "t1c.nrrd")
    near = HALF_A_VOXEL if transform in ("sheared", "warped") else 1e-3
    np.testing.assert_allclose(_centre(tmp_path / "t1c.nrrd"), expected, atol=near)
    geometry = geometry_of(sitk.ReadImage(str(tmp_path / "t1c.nrrd")))
    np.testing.assert_allclose(geometry.axes.T @ geometry.axes, np.eye(3), atol=1e-4)
    if transform not in ("sheared", "warped"):
        assert geometry.shape == SHAPE


@pytest.mark.parametrize("transform", ["none", "moved", "sheared", "warped"])
@pytest.mark.parametrize("grid", ["LPS", "left-handed"])
def test_an_annotation_is_written_where_it_is_and_not_changed(tmp_path: Path, grid: str, transform: str) -> None:
    """The label map covers the lesion; the node is as before, and the scene has no further node."""
    moved = _transform(transform)
    volume, expected = _volume(GRIDS[grid], moved)
    node = _segmentation(volume, moved)
    before = _state(node)
    assert Scene.writeAnnotation(node, tmp_path / "annotation.nrrd")
    assert _state(node) == before
    near = HALF_A_VOXEL if transform in ("sheared", "warped") else 1e-3
    np.testing.assert_allclose(_centre(tmp_path / "annotation.nrrd"), expected, atol=near)


@pytest.mark.parametrize("inverted", [False, True])
def test_transforms_under_transforms_are_followed(tmp_path: Path, inverted: bool) -> None:
    """Of the volume, of the annotation both ways, of the grid that marks become voxels of, and of an accepted lesion."""
    nested = _nested(inverted)
    volume, expected = _volume(GRIDS["oblique"], nested)
    node = _segmentation(volume, nested)
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    assert Scene.writeAnnotation(node, tmp_path / "annotation.nrrd")
    assert Scene.writeSegments(node, tmp_path / "annotation.seg.nrrd")
    for file in ("t1c.nrrd", "annotation.nrrd", "annotation.seg.nrrd"):
        np.testing.assert_allclose(_centre(tmp_path / file), expected, atol=1e-3)
    np.testing.assert_allclose(Scene.geometry(volume).physical(BLOB_IJK[::-1]) * (-1, -1, 1), expected, atol=1e-3)
    plain = _segmentation(_volume(GRIDS["LPS"])[0])
    lesion = transformed(labelmap(plain, "Known"), plain, None)
    accepted = Annotation(node).insert("new", lesion, "Metastasis", (1.0, 0.5, 0.0), {})
    there = plain.GetSegmentCenterRAS("Known")
    np.testing.assert_allclose(node.GetSegmentCenterRAS(accepted), there, atol=2 * HALF_A_VOXEL)


def test_nothing_is_cut_off_where_a_tilted_volume_is_sheared(tmp_path: Path) -> None:
    """Resampling keeps every corner of the image."""
    node, _ = _volume(GRIDS["oblique"], _transform("sheared"))
    slicer.util.arrayFromVolume(node)[:] = 100
    Scene.writeVolume(node, tmp_path / "t1c.nrrd")
    image = sitk.ReadImage(str(tmp_path / "t1c.nrrd"))
    volume = (sitk.GetArrayFromImage(image) > 50).sum() * np.prod(image.GetSpacing())
    sheared = abs(np.linalg.det(np.array([[1, 0, 0.3], [0, 1, 0], [0, 0.2, 1]]) @ GRIDS["oblique"]))
    assert volume == pytest.approx(np.prod(SHAPE) * sheared, rel=0.05)


def test_an_annotation_drawn_as_a_surface_stays_a_surface(tmp_path: Path) -> None:
    """Its label map is made on a copy."""
    volume, expected = _volume(GRIDS["straight"])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surfaces")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(expected)
    sphere.SetRadius(4)
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Known", (1.0, 0.0, 0.0))
    before = _state(node)
    assert Scene.writeAnnotation(node, tmp_path / "annotation.nrrd")
    assert Scene.writeSegments(node, tmp_path / "annotation.seg.nrrd")
    assert _state(node) == before
    for file in ("annotation.nrrd", "annotation.seg.nrrd"):
        np.testing.assert_allclose(_centre(tmp_path / file), expected, atol=0.6)
    Scene.readSegments(Scene.newAnnotation(volume), tmp_path / "annotation.seg.nrrd")


def test_segments_that_cannot_be_read_back_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they take the place of a case's earlier copy."""
    node = _segmentation(_volume(GRIDS["straight"])[0])

    class Full(slicer.vtkMRMLSegmentationStorageNode):
        def WriteData(self, _: Any) -> bool:
            Path(self.GetFileName()).write_bytes(b"NRRD0004\n")
            return True

    monkeypatch.setattr(slicer, "vtkMRMLSegmentationStorageNode", Full)
    with pytest.raises(RuntimeError, match="Annotation could not be written; is there room in"):
        Scene.writeSegments(node, tmp_path / "annotation.seg.nrrd")


def test_a_lesion_of_one_fine_voxel_is_not_lost(tmp_path: Path) -> None:
    """The annotation keeps its own voxels, however coarse the volume to search is."""
    fine = slicer.util.addVolumeFromArray(np.zeros((60, 72, 80), np.uint8), np.diag([0.5, 0.5, 0.5, 1]), "Fine")
    slicer.util.arrayFromVolume(fine)[31, 33, 35] = 1
    assert Scene.writeAnnotation(_segmentation(fine), tmp_path / "annotation.nrrd")
    np.testing.assert_allclose(_centre(tmp_path / "annotation.nrrd"), [17.5, 16.5, 15.5], atol=1e-3)


@pytest.mark.parametrize("segments", [0, 1])
def test_an_annotation_with_nothing_in_it_is_none(tmp_path: Path, segments: int) -> None:
    """No segment, or an empty one."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    for _ in range(segments):
        node.GetSegmentation().AddEmptySegment()
    assert not Scene.writeAnnotation(node, tmp_path / "annotation.nrrd")
    assert not any(tmp_path.iterdir())


def _result(folder: Path, reference: Path, count: int = 1) -> dict[str, Any]:
    """What the worker leaves: the reference's blob as candidate 1."""
    image = sitk.ReadImage(str(reference))
    geometry = geometry_of(image)
    labels = (sitk.GetArrayFromImage(image) > 50).astype(np.uint8) * count
    lps = geometry.physical(np.argwhere(labels).mean(axis=0)).tolist() if count else []
    candidate = {"rank": 1, "label": 1, "centroid_lps": lps, "longest_diameter_mm": 20.0}
    content = {"candidates": [candidate] * count, "model": {"name": "é; \"x'<"}}
    segments = [Segment("Suggestion_1", "Suggestion 1 (93%)", 1, (1, 0.5, 0))] * count
    folder.mkdir()
    sitk.WriteImage(segmentation_image(labels, geometry, segments), str(folder / "suggestions.seg.nrrd"))
    (folder / "candidates.json").write_text(json.dumps(content), encoding="utf-8")
    return content


@pytest.mark.parametrize("transform", ["none", "moved", "warped"])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_suggestion_comes_back_where_the_lesion_is(tmp_path: Path, grid: str, transform: str) -> None:
    """Out, through files, and in again: the segment and the slice views are on the lesion as it is displayed."""
    volume, expected = _volume(GRIDS[grid], _transform(transform))
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    result = _result(tmp_path / "result", tmp_path / "t1c.nrrd")
    node = Scene.loadSuggestions(tmp_path / "result", volume)
    assert node.GetName() == "T1c suggestions"
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())] == [
        "Suggestion 1 (93%)"
    ]
    near = HALF_A_VOXEL if transform == "warped" else 1e-2
    np.testing.assert_allclose(node.GetSegmentCenterRAS("Suggestion_1"), expected, atol=near)
    Scene.jumpTo(result["candidates"][0])
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    assert len(views) == 3
    for view in views:
        centre = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]
        np.testing.assert_allclose(centre, expected, atol=near)
        assert min(view.GetFieldOfView()[:2]) == pytest.approx(80), "four times its diameter"


def test_a_suggestion_is_looked_at_where_it_is_now(tmp_path: Path) -> None:
    """Moved with its volume since it was found; or where it was found, once its voxels or its segment are gone."""
    volume, found = _volume(GRIDS["oblique"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    [candidate] = _result(tmp_path / "result", tmp_path / "t1c.nrrd")["candidates"]
    node = Scene.loadSuggestions(tmp_path / "result", volume)
    moved = _placed(node, slicer.util.arrayFromVTKMatrix(_ijkToRas(volume)), _nested(False))
    assert np.linalg.norm(moved - found) > 10
    Scene.jumpTo(Scene.whereNow(candidate, node, "Suggestion_1"))
    view = slicer.util.getNodesByClass("vtkMRMLSliceNode")[0]
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3], moved, atol=HALF_A_VOXEL)
    node.HardenTransform()
    Scene.jumpTo(Scene.whereNow(candidate, node, "Suggestion_1"))
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3], moved, atol=HALF_A_VOXEL)
    np.testing.assert_allclose(
        Scene.whereNow(candidate, node, "Suggestion_1")["centroid_ras"], moved, atol=HALF_A_VOXEL
    )
    node.RemoveClosedSurfaceRepresentation()
    np.testing.assert_allclose(
        Scene.whereNow(candidate, node, "Suggestion_1")["centroid_ras"], moved, atol=HALF_A_VOXEL
    )
    node.GetSegmentation().RemoveSegment("Suggestion_1")
    assert Scene.whereNow(candidate, node, "Suggestion_1") == candidate
    node.GetSegmentation().AddEmptySegment("Suggestion_1")
    assert Scene.whereNow(candidate, node, "Suggestion_1") == candidate


def test_a_list_of_places_does_not_wait_for_the_middles_of_label_maps(tmp_path: Path) -> None:
    """As after Show 3D is off, which takes the surfaces away: Slicer looks at the whole volume for each."""
    volume, found = _volume(GRIDS["oblique"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    [candidate] = _result(tmp_path / "result", tmp_path / "t1c.nrrd")["candidates"]
    node = Scene.loadSuggestions(tmp_path / "result", volume)
    node.RemoveClosedSurfaceRepresentation()
    asked = Mock(GetSegmentCenter=Mock(side_effect=AssertionError("it takes long")))
    asked.GetSegmentation, asked.GetParentTransformNode = node.GetSegmentation, node.GetParentTransformNode
    place = Scene.whereNow(candidate, asked, "Suggestion_1", atOnce=True)["centroid_ras"]
    np.testing.assert_allclose(place, found, atol=HALF_A_VOXEL)
    moved = _placed(node, slicer.util.arrayFromVTKMatrix(_ijkToRas(volume)), _nested(False))
    place = Scene.whereNow(candidate, asked, "Suggestion_1", atOnce=True)["centroid_ras"]
    np.testing.assert_allclose(place, moved, atol=HALF_A_VOXEL)


def test_nothing_is_an_error_of_mrml(tmp_path: Path) -> None:
    """Slicer marks an error in its status bar, whatever becomes of it."""
    volume, _ = _volume(GRIDS["LPS"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    _result(tmp_path / "result", tmp_path / "t1c.nrrd")
    annotation = _segmentation(volume)
    annotation.GetSegmentation().SetConversionParameter("Reference image geometry", "")  # not every one has it
    before, said = vtk.vtkOutputWindow.GetInstance(), vtk.vtkStringOutputWindow()
    vtk.vtkOutputWindow.SetInstance(said)
    try:
        Scene.loadSuggestions(tmp_path / "result", volume)
        assert Scene.writeAnnotation(annotation, tmp_path / "annotation.nrrd")
    finally:
        vtk.vtkOutputWindow.SetInstance(before)
    assert said.GetOutput() == ""


def test_a_second_search_makes_a_second_node(tmp_path: Path) -> None:
    """Earlier suggestions stay."""
    volume, _ = _volume(GRIDS["LPS"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    _result(tmp_path / "result", tmp_path / "t1c.nrrd")
    names = [Scene.loadSuggestions(tmp_path / "result", volume).GetName() for _ in range(2)]
    assert names == ["T1c suggestions", "T1c suggestions_1"]


def test_no_suggestion_is_a_result_too(tmp_path: Path) -> None:
    """A node without segments, that says what was searched with."""
    volume, _ = _volume(GRIDS["LPS"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    result = _result(tmp_path / "result", tmp_path / "t1c.nrrd", count=0)
    node = Scene.loadSuggestions(tmp_path / "result", volume)
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert Scene.result(node) == result


def test_the_result_is_saved_with_the_scene(tmp_path: Path) -> None:
    """The origin of suggestions is in the node, special characters too."""
    volume, _ = _volume(GRIDS["LPS"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    result = _result(tmp_path / "result", tmp_path / "t1c.nrrd")
    Scene.loadSuggestions(tmp_path / "result", volume)
    slicer.mrmlScene.SetSaveToXMLString(1)
    slicer.mrmlScene.Commit()
    slicer.mrmlScene.SetSaveToXMLString(0)
    again = slicer.vtkMRMLScene()
    again.SetLoadFromXMLString(1)
    again.SetSceneXMLString(slicer.mrmlScene.GetSceneXMLString())
    again.Connect()
    assert Scene.result(again.GetFirstNodeByName("T1c suggestions")) == result
    assert Scene.result(None) is None


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_result_adds_nothing(tmp_path: Path, damage: str) -> None:
    """The error comes before any node."""
    volume, _ = _volume(GRIDS["LPS"])
    Scene.writeVolume(volume, tmp_path / "t1c.nrrd")
    _result(tmp_path / "result", tmp_path / "t1c.nrrd")
    path = tmp_path / "result" / "suggestions.seg.nrrd"
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(RuntimeError):
        Scene.loadSuggestions(tmp_path / "result", volume)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_colour_picture_is_refused(tmp_path: Path) -> None:
    """With the node's name."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 5, 6, 3), np.uint8))
    with pytest.raises(RuntimeError, match="Photo is not a scalar volume"):
        Scene.writeVolume(node, tmp_path / "t1c.nrrd")
