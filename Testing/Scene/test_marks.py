"""Coarse marks as a reader makes them: Slicer's markups become voxels where they are drawn, and undo takes them back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from lopsided.dataset.inputs import read_markups
from lopsided.marks import BoxMark, Ellipsoid, Line, Mark, Point
from LopsidedSegLib.Marks import Marks
from slicer_standin import place
from suggestions import Settings
from transforms import move

CENTRE_RAS = np.array([12.0, -31.0, 40.0])
OBLIQUE = ((0.936, -0.28, 0.213), (0.31, 0.936, -0.163), (-0.154, 0.219, 0.963))


@pytest.fixture(params=["plain", "oblique", "left-handed", "transformed"])
def reference(request: pytest.FixtureRequest) -> Any:
    """A volume of 1.2 x 0.9 x 2 mm around ``CENTRE_RAS``, with a bright ball of 10 mm there."""
    axes = np.linalg.qr(np.array(OBLIQUE))[0] if request.param != "plain" else np.eye(3)
    spacing = np.array([1.2, 0.9, 2.0]) * ((1, 1, -1) if request.param == "left-handed" else (1, 1, 1))
    size = np.array([40, 50, 24])
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    transform = None
    if request.param == "transformed":
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        turn = np.eye(4)
        turn[:3, :3] = np.linalg.qr(np.array(OBLIQUE).T)[0]
        turn[:3, 3] = (30, 20, 10)
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
        matrix[:3, 3] = np.linalg.inv(turn)[:3] @ [*CENTRE_RAS, 1] - matrix[:3, :3] @ ((size - 1) / 2)
    else:
        matrix[:3, 3] = CENTRE_RAS - matrix[:3, :3] @ ((size - 1) / 2)
    ijk = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    away = np.linalg.norm((ijk - (size - 1) / 2) * spacing, axis=-1)
    image = np.random.default_rng(0).normal(100, 3, away.shape) + np.where(away < 5, 80, 0)
    node = slicer.util.addVolumeFromArray(image.transpose(2, 1, 0).astype(np.float32), matrix, "T1c")
    node.SetAndObserveTransformNodeID(transform.GetID() if transform else None)
    return node


@pytest.fixture
def marks(reference: Any) -> Iterator[Marks]:
    marks = Marks(reference, Settings())
    yield marks
    marks.close()


LPS = tuple((CENTRE_RAS * (-1, -1, 1)).tolist())
H = 0.5**0.5
MARKS: list[Mark] = [
    Point(LPS, 8),
    Line(((LPS[0] - 6, LPS[1], LPS[2]), (LPS[0] + 6, LPS[1], LPS[2]))),
    BoxMark(LPS, (10, 12, 9)),
    Ellipsoid(LPS, (16, 8, 10), ((H, H, 0), (-H, H, 0), (0, 0, 1))),
]


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.kind)
def test_a_mark_lands_where_it_is_and_returns_to_it(marks: Marks, mark: Mark) -> None:
    """In the preview, by Slicer's own measure of the segment; and read again from its node."""
    found = marks.add(mark).mark
    for field, expected in mark.__dict__.items():
        if field == "kind":
            assert found.kind == expected
        elif expected is not None:
            np.testing.assert_allclose(getattr(found, field), expected, atol=1e-6)
    preview = marks.preview(True, False)
    [segment] = preview.GetSegmentation().GetSegmentIDs()
    # of the voxels, not of their box
    array, matrix = _voxels(preview, segment)
    points = np.argwhere(array)[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(points.mean(axis=0), CENTRE_RAS, atol=0.5)
    assert preview.GetParentTransformNode() is None, "it is in the world"


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.kind)
@pytest.mark.parametrize("drawn", [False, True])
def test_what_slicer_saves_of_a_mark_is_that_mark_at_the_command_line(
    marks: Marks, mark: Mark, drawn: bool, tmp_path: Path
) -> None:
    """Also of one that is drawn while nothing of the module follows it."""
    if drawn:
        marks.start(mark.kind)
        marks.close()
        place(CENTRE_RAS, CENTRE_RAS + 8)
        marks = Marks(marks.reference, Settings())
        if mark.kind == "point":
            marks.remove(marks.items()[1])
    else:
        marks.add(mark)
    [item] = marks.items()
    file = tmp_path / "mark.mrk.json"
    item.node.AddDefaultStorageNode(str(file))
    assert item.node.GetStorageNode().WriteData(item.node)
    [read] = read_markups(file)
    assert read.kind == item.mark.kind == mark.kind
    np.testing.assert_allclose(_values(read), _values(item.mark), atol=1e-6)


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_a_box_that_is_described_as_an_ellipsoid_is_one_until_that_is_undone(marks: Marks) -> None:
    item = marks.add(MARKS[2])
    item.node.SetNthControlPointDescription(0, "ellipsoid")
    item.node.InvokeEvent(item.node.PointEndInteractionEvent)
    assert [item.mark.kind for item in marks.items()] == ["ellipsoid"]
    marks.undo()
    assert [item.mark.kind for item in marks.items()] == ["box"]


def _voxels(node: Any, segment: str) -> tuple[np.ndarray, np.ndarray]:
    from LopsidedSegLib.Labelmaps import labelmap, matrixOf, voxelsOf

    image = labelmap(node, segment)
    matrix = matrixOf(image).copy()
    matrix[:3, 3] += matrix[:3, :3] @ np.array(image.GetExtent())[::2]
    return voxelsOf(image) > 0, matrix


def test_a_generous_mark_is_trimmed_to_the_bright_lesion(marks: Marks) -> None:
    marks.add(BoxMark(LPS, (18, 18, 18)))
    [(_, generous)], [(_, trimmed)] = marks.regions(False), marks.regions(True)
    volume = 1.2 * 0.9 * 2.0
    assert generous.mask.sum() * volume == pytest.approx(18**3, rel=0.2)
    assert trimmed.mask.sum() * volume == pytest.approx(np.pi / 6 * 10**3, rel=0.15)


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_a_reader_draws_points_one_after_the_other(marks: Marks) -> None:
    """By Slicer's place mode: each click is a lesion of the last diameter."""
    marks.start("point")
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert interaction.GetPlaceModePersistence() == 1
    place(CENTRE_RAS)
    marks._settings.diameter = 3.5
    place(CENTRE_RAS + 8)
    assert [item.mark.diameter_mm for item in marks.items()] == [6.0, 3.5]
    assert all(marks.time(item) for item in marks.items())
    marks.resize(marks.items()[0], 9)
    assert [item.mark.diameter_mm for item in marks.items()] == [9.0, 3.5]


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_a_line_half_drawn_is_none_yet(marks: Marks) -> None:
    marks.start("line")
    place(CENTRE_RAS)
    assert marks.items() == []
    place(CENTRE_RAS + np.array([6, 0, 0]))
    marks.start("line")
    place(*(CENTRE_RAS + np.array([[3, -2, 0], [3, 2, 0]])))
    assert len(marks.items()) == 2
    [lesion] = marks.lesions()
    assert lesion.across_lps is not None, "as RECIST: the longest diameter, and the one across"


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_undo_takes_back_each_change(marks: Marks) -> None:
    for mark in MARKS:
        marks.add(mark)
    for item in marks.items()[1::2]:
        marks.remove(item)
    marks.resize(marks.items()[0], 20)
    states = [[m.kind for m in marks.lesions()]]
    while marks.canUndo:
        marks.undo()
        states.append([m.kind for m in marks.lesions()])
    assert [len(state) for state in states] == [2, 2, 3, 4, 3, 2, 1, 0]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0
    marks.undo()
    assert marks.items() == []


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
@pytest.mark.parametrize("kind", [BoxMark, Ellipsoid])
def test_undo_goes_past_turned_boxes_and_ellipsoids(marks: Marks, kind: type[Mark]) -> None:
    """Whose axes, made anew, are not the same to the last digit; and each mark keeps the time at which it was made."""
    times = [f"2026-01-0{n}T10:00:00+00:00" for n in range(1, 7)]
    for seed, time in enumerate(times):
        axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
        axes[:, 2] *= np.linalg.det(axes)
        marks.add(kind(LPS, (8, 10, 12), tuple(map(tuple, axes.T.tolist()))), time)
    marks.add(Point(LPS, 8), times[0])
    assert marks.canUndo
    for left in (6, 5, 4, 3, 2, 1, 0):
        marks.undo()
        assert [marks.time(item) for item in marks.items()] == times[:left]
    assert not marks.canUndo


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
@pytest.mark.parametrize("done", ["put under it", "hardened", "volume alone", "deleted before"])
def test_undo_goes_back_to_a_transform_and_no_further(marks: Marks, reference: Any, done: str) -> None:
    """Where marks were before it, there may be other tissue now; what is moved or deleted since comes back to its own."""
    for mark in MARKS:
        marks.add(mark)
    nodes = list(dict.fromkeys(item.node for item in marks.items()))
    if done == "deleted before":
        marks.remove(marks.items()[0])
    assert marks.canUndo
    move([reference] if done in ("volume alone", "deleted before") else [reference, *nodes], 50.0)
    assert not marks.canUndo
    if done == "hardened":
        marks.resize(marks.items()[0], 9)
        for node in nodes:
            node.HardenTransform()
        assert not marks.canUndo
    moved = _sorted(marks)
    for change in ("add", "move", "delete"):
        if change == "add":
            marks.add(Point((LPS[0] - 50, *LPS[1:]), 3))
        for item in marks.items():
            if change == "move":
                item.node.SetNthControlPointPositionWorld(0, *CENTRE_RAS)
                item.node.InvokeEvent(item.node.PointEndInteractionEvent)
            elif change == "delete":
                marks.remove(item)
        assert _sorted(marks) != moved
        while marks.canUndo:
            marks.undo()
        for found, mark in zip(_sorted(marks), moved, strict=True):
            np.testing.assert_allclose(_values(found), _values(mark), atol=1e-9)


def _sorted(marks: Marks) -> list[Mark]:
    return sorted((item.mark for item in marks.items()), key=lambda mark: mark.kind)


def _values(mark: Mark) -> np.ndarray:
    values = [value for value in astuple(mark) if value is not None and not isinstance(value, str)]
    return np.concatenate([np.ravel(value) for value in values])


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_undo_leaves_what_it_does_not_take_back_as_the_user_has_it(marks: Marks) -> None:
    items = [marks.add(mark) for mark in MARKS]
    for item in items:
        item.node.SetName("mine")
        item.node.SetLocked(True)
        item.node.GetDisplayNode().SetSelectedColor(1, 0, 0)
        item.node.SetNthControlPointLabel(0, "vessel?")
    marks.add(Point(LPS, 3))
    marks.undo()
    assert [item.node for item in marks.items()] == [item.node for item in items]
    for item in items:
        assert (item.node.GetName(), bool(item.node.GetLocked())) == ("mine", True)
        assert item.node.GetDisplayNode().GetSelectedColor() == (1, 0, 0)
        assert item.node.GetNthControlPointLabel(0) == "vessel?"


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_points_come_back_whose_ids_others_have_by_now(marks: Marks, order: tuple[int, ...]) -> None:
    """Slicer numbers the points of a node anew once it has none."""
    points = [Point((LPS[0] + n, *LPS[1:]), 5 + n) for n in range(3)]
    items = [marks.add(point) for point in points]
    states = [points[:n] for n in range(4)]
    for n in order:
        marks.remove(items[n])
        states.append([mark for mark in states[-1] if mark != points[n]])
    for state in states[-2::-1]:
        marks.undo()
        assert len(marks.items()) == len(state)
        assert {item.mark for item in marks.items()} == set(state)
    assert not marks.canUndo


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_undo_leaves_a_mark_where_it_was_typed_to_be_before_the_next(marks: Marks) -> None:
    """In the Markups module, which says nothing of it."""
    item = marks.add(MARKS[0])
    item.node.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    marks.add(MARKS[1])
    marks.undo()
    assert [item.mark for item in marks.items()] == [Point((-1, -2, 3), 8)]


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_marks_belong_to_their_volume_and_the_preview_is_not_saved(marks: Marks, reference: Any) -> None:
    marks.add(MARKS[0])
    other = slicer.util.addVolumeFromArray(np.zeros((9, 9, 9), np.int16), np.eye(4), "another")
    elsewhere = Marks(other, Settings())
    assert elsewhere.items() == []
    elsewhere.close()
    preview = marks.preview(True, True)
    assert not preview.GetSaveWithScene()
    assert marks.preview(False, True) is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    again = Marks(reference, Settings())
    assert [item.mark for item in again.items()] == [item.mark for item in marks.items()]
    again.close()


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_nothing_is_left_in_the_scene_of_marks_and_previews_that_are_gone(marks: Marks) -> None:
    """What displays them would be saved with it."""
    before = slicer.mrmlScene.GetNumberOfNodes()
    for mark in MARKS:
        marks.add(mark)
    marks.preview(True, False)
    marks.undo()
    for item in marks.items():
        marks.remove(item)
    marks.preview(False, False)
    [points] = marks.nodesOf(marks.reference)  # has no point any more
    shown = [node.GetClassName() for node in (points, *_displaying(points))]
    assert slicer.mrmlScene.GetNumberOfNodes() == before + len(shown), shown


def _displaying(node: Any) -> list[Any]:
    return [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_a_change_made_anywhere_is_heard_of(reference: Any) -> None:
    heard: list[int] = []
    marks = Marks(reference, Settings(), lambda: heard.append(len(marks.items())))
    item = marks.add(MARKS[0])
    marks.add(MARKS[2])
    slicer.mrmlScene.RemoveNode(marks.items()[1].node)
    item.node.SetNthControlPointPositionWorld(0, 0, 0, 0)
    item.node.InvokeEvent(item.node.PointEndInteractionEvent)
    assert heard == [1, 2, 1, 1]
    for x in (1, 2):
        move([reference], x)
        assert len(heard) == 5, "once there is nothing to undo any more"
    marks.close()
    slicer.mrmlScene.RemoveNode(item.node)
    assert len(heard) == 5, "closed"


@pytest.mark.parametrize("reference", ["plain"], indirect=True)
def test_a_description_that_says_no_diameter_is_said_and_takes_no_other(marks: Marks) -> None:
    """It is a field of Slicer's, that anyone writes in. The mark is there to be mended."""
    item = marks.add(MARKS[0])
    item.node.SetNthControlPointDescription(0, "6 mm")
    marks.add(MARKS[2])
    with pytest.raises(ValueError, match="description is '6 mm', and no number above 0; give its diameter in mm there"):
        marks.preview(True, False)
    first, _box = marks.items()
    assert first.mark.diameter_mm <= 0
    marks.resize(first, 6)
    assert marks.items()[0].mark.diameter_mm == 6
    preview = marks.preview(True, False)
    assert preview.GetSegmentation().GetNumberOfSegments() == 2
    assert not preview.GetDisableModifiedEvent(), "it is drawn"
