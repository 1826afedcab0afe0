"""What the reader sees: Slicer's own views, in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from lopsided.review import Status
from LopsidedSegLib import Scene
from LopsidedSegLib.Labelmaps import cropped, imageOf, labelmap, voxelsOf
from LopsidedSegLib.Review import Review
from suggestions import ONE, TWO, Settings, add_reference, add_suggestions
from views import SliceView, ThreeDView

SIZE = 300


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Where something is drawn that is not grey."""
    return np.ptp(pixels.astype(int), axis=-1) > 30


@pytest.fixture
def node(tmp_path: Any) -> Any:
    return add_suggestions(add_reference(), tmp_path)


@pytest.fixture
def red(node: Any) -> Any:
    """The axial view of its volume."""
    view = SliceView("Red", node.GetNodeReference("referenceImageGeometryRef"), SIZE)
    yield view
    view.close()


def test_the_outline_is_around_the_lesion_and_the_image_is_seen_within(node: Any, red: SliceView) -> None:
    """A square of 6 mm in a view of 60 mm: its edge, and nothing else, in the middle."""
    review = Review(node, Settings())
    candidate = review.candidates[ONE]
    Scene.jumpTo(candidate)
    pixels = red.pixels()
    drawn = coloured(pixels)
    rows, columns = np.nonzero(drawn)
    side = SIZE * 6 / 60
    for where in (rows, columns):
        assert where.min() == pytest.approx(SIZE / 2 - side / 2, abs=3)
        assert where.max() == pytest.approx(SIZE / 2 + side / 2, abs=3)
    middle = slice(int(SIZE / 2 - side / 2 + 5), int(SIZE / 2 + side / 2 - 5))
    assert not drawn[middle, middle].any(), "the image decides; it must not be covered"
    assert drawn.sum() == pytest.approx(4 * side * 2, rel=0.5), "two pixels wide"
    review.outlined = False
    assert not coloured(red.pixels()).any()
    review.outlined = True
    assert coloured(red.pixels()).sum() == drawn.sum()


def test_accepted_rejected_and_alone(node: Any, red: SliceView) -> None:
    """An accepted one is seen in the annotation; a rejected one is grey; one alone hides the others."""
    review = Review(node, Settings())
    Scene.jumpTo(review.candidates[TWO])
    before = coloured(red.pixels()).sum()
    assert before > 0
    review.showOnly(ONE)
    assert coloured(red.pixels()).sum() == 0
    review.showOnly(None)
    plain = red.pixels()
    review.decide(TWO, Status.REJECTED)
    grey = red.pixels()
    assert coloured(grey).sum() == 0
    assert (grey != plain).any(axis=-1).sum() >= before, "it is still drawn"
    review.undo()
    annotation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lesions")
    annotation.CreateDefaultDisplayNodes()
    review.decide(TWO, Status.ACCEPTED, annotation)
    node.GetDisplayNode().SetVisibility(False)
    assert coloured(red.pixels()).sum() > before, "the annotation's segment is filled"


def test_each_suggestion_has_a_surface_of_its_own_in_3d(node: Any) -> None:
    """Of its size, where it is; and a segment that is edited gets another."""
    review = Review(node, Settings())
    view = ThreeDView(SIZE)
    review.showOnly(ONE)
    view.look(review.candidates[ONE]["centroid_ras"], 15)
    seen = coloured(view.pixels())
    rows, columns = np.nonzero(seen)
    assert (rows.mean(), columns.mean()) == pytest.approx((SIZE / 2, SIZE / 2), abs=3)
    assert seen.sum() == pytest.approx((6 / 15 * SIZE) ** 2, rel=0.1)
    view.look(review.candidates[TWO]["centroid_ras"], 15)
    assert coloured(view.pixels()).sum() == 0
    image = cropped(labelmap(node, ONE))
    taller = imageOf(np.pad(voxelsOf(image), ((1, 1), (0, 0), (0, 0)), mode="edge"), image, _taller(image.GetExtent()))
    logic = slicer.vtkSlicerSegmentationsModuleLogic  # as Segment Editor does it
    assert logic.SetBinaryLabelmapToSegment(taller, node, ONE, logic.MODE_REPLACE)
    view.look(review.candidates[ONE]["centroid_ras"], 15)
    assert coloured(view.pixels()).sum() > 1.4 * seen.sum()
    view.close()


def _taller(extent: tuple[int, ...]) -> list[int]:
    return [*extent[:4], extent[4] - 1, extent[5] + 1]


def test_3d_views_turn_to_the_candidate_as_they_looked(node: Any) -> None:
    camera = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode")
    camera.SetPosition(0, 500, 0)
    candidate = Review(node, Settings()).candidates[TWO]
    Scene.jumpTo(candidate)
    ras = np.array(candidate["centroid_ras"])
    np.testing.assert_allclose(camera.GetFocalPoint(), ras)
    np.testing.assert_allclose(camera.GetPosition(), ras + np.array([0, 500, 0]))
