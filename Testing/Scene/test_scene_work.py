"""A case whose images are in the scene: the user's own nodes stay as they are, and the work is kept as any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from lopsided.marks import Line, Point
from lopsided.review import Status
from LopsidedSegLib import Scene
from LopsidedSegLib.Export import Export
from LopsidedSegLib.Labelmaps import matrixOf
from LopsidedSegLib.Marks import Marks
from LopsidedSegLib.Review import Review
from LopsidedSegLib.SceneCases import SceneCase, sceneCases
from LopsidedSegLib.SceneWork import SceneWork
from suggestions import ONE, TWO, Settings, add_reference, add_suggestions
from test_case_work import masks, parameters
from transforms import bend, move

POINT, LINE = Point((10, 12, 14), 5.5), Line(((4, 4, 4), (10, 4, 4)))


@pytest.fixture
def own() -> dict[str, Any]:
    """Volumes of the user's, moved by a transform; an annotation of one, drawn; and another patient's."""
    volumes = {"t1c": add_reference(), "flair": add_reference()}
    move = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "move")
    matrix = slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, -3], [0, 0, 0, 1.0]]))
    move.SetMatrixTransformToParent(matrix)
    nodes = {**volumes, "annotation": slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")}
    for sequence, node in nodes.items():
        node.SetName({"t1c": "Doe T1c", "flair": "Doe FLAIR"}.get(sequence, "mine"))
        node.SetAndObserveTransformNodeID(move.GetID())
    nodes["annotation"].SetReferenceImageGeometryParameterFromVolumeNode(nodes["t1c"])
    nodes["annotation"].CreateDefaultDisplayNodes()
    segment = nodes["annotation"].GetSegmentation().AddEmptySegment("known", "Known")
    mask = np.zeros((20, 18, 22), np.uint8)
    mask[3:6, 4:6, 15:18] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, nodes["annotation"], segment, nodes["t1c"])
    nodes["other"] = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Roe lesions")
    nodes["other"].CreateDefaultDisplayNodes()
    return nodes


@pytest.fixture
def case(own: dict[str, Any]) -> SceneCase:
    [case] = sceneCases()
    assert case.annotation is own["annotation"]
    return case


def work(case: SceneCase, tmp_path: Path, reader: str = "ab") -> SceneWork:
    return SceneWork(case, tmp_path / "work" / reader / "Doe", Settings(reader))


def there() -> set[str]:
    """All nodes; but for what ``slicer.util`` leaves behind where a test looks at a segment's voxels."""
    nodes = slicer.util.getNodesByClass("vtkMRMLNode")
    return {node.GetID() for node in nodes if not node.IsA("vtkMRMLLabelMapVolumeDisplayNode")}


def toWorld(node: Any) -> np.ndarray:
    """From a volume's index to the world."""
    return matrixOf(Scene.lattice(node))


def centres(segmentation: Any, reference: Any) -> dict[str, list[float]]:
    """Each segment's centre in the world, by its name."""
    found = {}
    for name, mask in masks(segmentation, reference).items():
        k, j, i = np.argwhere(mask).mean(axis=0)
        found[name] = np.round((toWorld(reference) @ (i, j, k, 1))[:3], 3).tolist()
    return found


def test_a_case_is_opened_beside_the_users_own_nodes(case: SceneCase, own: dict[str, Any], tmp_path: Path) -> None:
    before, voxels, grid = there(), own["t1c"].GetImageData().GetMTime(), toWorld(own["t1c"])
    segments = own["annotation"].GetSegmentation().GetMTime()
    chosen, opened = parameters(), work(case, tmp_path)
    opened.open(chosen)
    assert (chosen.reference.GetName(), chosen.flair.GetName(), chosen.t1) == ("Doe t1c", "Doe flair", None)
    assert chosen.reference is not own["t1c"]
    assert chosen.reference.GetImageData() is own["t1c"].GetImageData(), "no memory is taken"
    np.testing.assert_allclose(toWorld(chosen.reference), toWorld(own["t1c"]))
    assert chosen.annotation.GetName() == "Doe t1c lesions"
    assert centres(chosen.annotation, chosen.reference) == centres(own["annotation"], own["t1c"])
    assert not own["annotation"].GetDisplayVisibility(), "else it would be seen twice"
    assert not own["other"].GetDisplayVisibility(), "of another patient"
    opened.save()
    opened.close()
    assert there() == before, "nothing is left, and nothing of the user's is gone"
    assert own["annotation"].GetDisplayVisibility()
    assert own["other"].GetDisplayVisibility()
    assert own["t1c"].GetImageData().GetMTime() == voxels
    np.testing.assert_array_equal(toWorld(own["t1c"]), grid)
    assert own["annotation"].GetSegmentation().GetMTime() == segments


def test_all_work_is_there_again(case: SceneCase, own: dict[str, Any], tmp_path: Path) -> None:
    chosen, opened = parameters(), work(case, tmp_path)
    opened.open(chosen)
    chosen.suggestions = add_suggestions(chosen.reference, tmp_path)
    review = Review(chosen.suggestions, Settings())
    review.decide(ONE, Status.ACCEPTED, chosen.annotation)
    review.decide(TWO, Status.REJECTED)
    marks = Marks(chosen.reference, Settings())
    marks.add(POINT, "2026-01-01T10:00:00+00:00")
    opened.save(snapped=True, wholeCase=True)
    marks.close()
    expected = centres(chosen.annotation, chosen.reference)
    opened.close()
    again, opened = parameters(), work(case, tmp_path)
    opened.open(again)
    assert centres(again.annotation, again.reference) == expected
    assert len(expected) == 2
    assert (opened.snapped, opened.wholeCase) == (True, True)
    review = Review(again.suggestions, Settings())
    assert [review.opinion(c).status for c in (ONE, TWO)] == ["accepted", "rejected"]
    marks = Marks(again.reference, Settings())
    assert [(item.mark, marks.time(item)) for item in marks.items()] == [(POINT, "2026-01-01T10:00:00+00:00")]
    marks.close()
    assert len(masks(own["annotation"], own["t1c"])) == 1, "the user's own is as it was"


def test_what_was_done_before_the_list_was_opened_is_begun_with(own: dict[str, Any], tmp_path: Path) -> None:
    """A review, an accepted lesion and marks on the user's own nodes; those stay, and what is done now is apart."""
    suggestions = add_suggestions(own["t1c"], tmp_path)
    before = Review(suggestions, Settings())
    before.decide(ONE, Status.ACCEPTED, own["annotation"])
    marks = Marks(own["t1c"], Settings())
    for mark in (POINT, LINE):
        marks.add(mark)
    [case] = sceneCases()
    nodes = there()
    chosen, opened = parameters(), work(case, tmp_path)
    opened.open(chosen)
    review = Review(chosen.suggestions, Settings())
    assert review.opinion(ONE).status is Status.ACCEPTED
    ours = Marks(chosen.reference, Settings())
    assert [item.mark for item in ours.items()] == [POINT, LINE]
    review.undo()
    assert chosen.annotation.GetSegmentation().GetNumberOfSegments() == 1
    ours.remove(ours.items()[0])
    opened.save()
    ours.close()
    opened.close()
    assert there() == nodes
    assert before.opinion(ONE).status is Status.ACCEPTED
    assert own["annotation"].GetSegmentation().GetNumberOfSegments() == 2
    assert [item.mark for item in marks.items()] == [POINT, LINE]
    opened = work(case, tmp_path)
    opened.open(chosen)
    ours = Marks(chosen.reference, Settings())
    assert [item.mark for item in ours.items()] == [LINE], "from then on, what was kept counts"
    ours.close()
    marks.close()


def test_other_segmentations_and_marks_are_hidden_while_a_case_is_open(
    case: SceneCase, own: dict[str, Any], tmp_path: Path
) -> None:
    """What the user had hidden stays so."""
    marks, ruler = Marks(own["t1c"], Settings()), slicer.vtkMRMLMarkupsLineNode()
    slicer.mrmlScene.AddNode(ruler)
    ruler.CreateDefaultDisplayNodes()
    nodes = [own["annotation"], own["other"], marks.add(POINT).node, marks.add(LINE).node, ruler]
    own["other"].SetDisplayVisibility(False)
    marks.close()
    opened = work(case, tmp_path)
    opened.open(parameters())
    assert [bool(node.GetDisplayVisibility()) for node in nodes] == [False, False, False, False, True]
    opened.close()
    assert [bool(node.GetDisplayVisibility()) for node in nodes] == [True, False, True, True, True]


def test_a_volume_that_is_gone_or_missing_is_said_and_nothing_changes(case: SceneCase, tmp_path: Path) -> None:
    other = SceneCase("Roe", "Roe", {"flair": case.sequences["flair"]})
    slicer.mrmlScene.RemoveNode(case.sequences["flair"])
    before = there()
    for broken, sentence in (
        (case, "Doe FLAIR is not in the scene any more"),
        (other, "no volume's name says post-contrast T1"),
    ):
        with pytest.raises(RuntimeError, match=sentence):
            work(broken, tmp_path).open(parameters())
        assert there() == before
    assert case.annotation.GetDisplayVisibility()


@pytest.mark.parametrize("isImported", [False, True])
def test_the_users_own_suggestions_hear_nothing_of_what_is_decided_on_the_case(
    own: dict[str, Any], tmp_path: Path, isImported: bool
) -> None:
    """Though both have the same history to begin with, and their logs are in one folder."""
    suggestions, settings = add_suggestions(own["t1c"], tmp_path), Settings(logFolder=tmp_path / "logs")
    Review(suggestions, settings).decide(TWO, Status.ACCEPTED, own["annotation"])
    if isImported:  # with a scene in which it had another ID
        kept = suggestions.GetAttribute("LopsidedSeg.Review").replace(suggestions.GetID(), "vtkMRMLSegmentationNode99")
        suggestions.SetAttribute("LopsidedSeg.Review", kept)
    [case] = sceneCases()
    chosen, opened = parameters(), SceneWork(case, tmp_path / "work", settings)
    opened.open(chosen)
    review = Review(chosen.suggestions, settings)
    assert review.opinion(TWO).status is Status.ACCEPTED
    review.decide(ONE, Status.ACCEPTED, chosen.annotation)
    opened.save()
    opened.close()
    before = own["annotation"].GetSegmentation().GetNumberOfSegments()
    assert Review(suggestions, settings).opinion(ONE).status is Status.PENDING
    assert own["annotation"].GetSegmentation().GetNumberOfSegments() == before
    opened.open(chosen)
    assert Review(chosen.suggestions, settings).opinion(ONE).status is Status.ACCEPTED


def test_a_case_that_a_transform_bends_can_be_opened_and_left(own: dict[str, Any], tmp_path: Path) -> None:
    corners = -60.0 * np.array(list(np.ndindex(2, 2, 2)))
    own["annotation"].SetAndObserveTransformNodeID(None)
    bend(own["t1c"], [*zip(corners[:-1], corners[:-1], strict=True), (corners[-1], corners[-1] + 4.0)])
    [case] = sceneCases()
    opened, chosen = work(case, tmp_path), parameters()
    opened.open(chosen)
    assert opened.save() == ""
    opened.close()


def test_work_on_a_volume_that_was_moved_since_is_neither_opened_nor_exported(
    case: SceneCase, own: dict[str, Any], tmp_path: Path
) -> None:
    """It is kept by places in the world, where there is other tissue by now."""
    opened = work(case, tmp_path)
    opened.open(parameters())
    opened.save()
    opened.close()
    export = Export(case.sequences, tmp_path / "dataset", "p", "c", work=opened.folder, reader="ab")
    settings = SimpleNamespace(keyFile=tmp_path / "key.json")
    export.write(settings, tmp_path)
    move, before = own["t1c"].GetParentTransformNode(), there()
    place = slicer.util.arrayFromTransformMatrix(move)
    moved = place.copy()
    moved[0, 3] += 0.5
    move.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    with pytest.raises(RuntimeError, match="Doe T1c was moved since"):
        export.write(settings, tmp_path)
    with pytest.raises(RuntimeError, match="Doe T1c was moved since"):
        work(case, tmp_path).open(parameters())
    assert there() == before
    move.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(place))
    export.write(settings, tmp_path)
    opened.open(parameters())


@contextmanager
def put_back(opened: SceneWork, chosen: Any, own: Any) -> Iterator[None]:
    """Saving the case says that what was moved in the block is put back, and does it. ``own``: the user's volume."""
    place, flair, lesions = toWorld(chosen.reference), toWorld(chosen.flair), centres(chosen.annotation, own)
    yield
    assert "was moved, and is put back" in opened.save()
    np.testing.assert_allclose(toWorld(chosen.reference), place)
    np.testing.assert_allclose(toWorld(chosen.flair), flair)
    assert centres(chosen.annotation, chosen.reference) == lesions


def test_a_case_whose_transform_is_changed_meanwhile_is_put_back(
    case: SceneCase, own: dict[str, Any], tmp_path: Path
) -> None:
    """Also what the reader has put under it, which had moved with the volume."""
    opened, chosen = work(case, tmp_path), parameters()
    opened.open(chosen)
    transform = own["t1c"].GetParentTransformNode()
    matrix = np.array([[0, -1, 0, 30], [1, 0, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    with put_back(opened, chosen, own["t1c"]):
        inverse = vtk.vtkTransform()
        inverse.SetMatrix(np.linalg.inv(slicer.util.arrayFromTransformMatrix(transform)).ravel())
        chosen.annotation.ApplyTransform(inverse)
        chosen.annotation.SetAndObserveTransformNodeID(transform.GetID())
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    np.testing.assert_allclose(slicer.util.arrayFromTransformMatrix(transform), matrix, err_msg="is the user's")
    assert opened.save() == ""


def test_each_volume_of_a_case_is_put_back_to_where_it_was_opened(own: dict[str, Any], tmp_path: Path) -> None:
    """One is registered to the other by a transform of its own."""
    move([own["t1c"]], 7)
    own["flair"].SetAndObserveTransformNodeID(None)
    (case,) = [each for each in sceneCases() if each.sequences["t1c"] is own["t1c"]]
    chosen, opened = parameters(), work(case, tmp_path)
    opened.open(chosen)
    places = [toWorld(node) for node in (chosen.reference, chosen.flair)]
    move([chosen.reference, chosen.flair], 30)
    assert "was moved, and is put back" in opened.save()
    np.testing.assert_allclose([toWorld(node) for node in (chosen.reference, chosen.flair)], places)


def test_a_case_that_is_put_under_another_transform_than_it_was_opened_under_is_put_back(
    case: SceneCase, own: dict[str, Any], tmp_path: Path
) -> None:
    opened, chosen = work(case, tmp_path), parameters()
    opened.open(chosen)
    with put_back(opened, chosen, own["t1c"]):
        move([chosen.reference, chosen.flair, chosen.annotation], 30)
