"""Decisions in the scene: what the reader sees, what the annotation gets, and what survives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from lopsided.review import Status, read_log
from LopsidedSegLib import Scene
from LopsidedSegLib.Annotation import Annotation
from LopsidedSegLib.Labelmaps import matrixOf
from LopsidedSegLib.Review import Review
from suggestions import DIGEST, ONE, THREE, TWO, Settings, add_reference, add_suggestions, erase
from transforms import move

KNOWN = (slice(12, 15), slice(14, 17), slice(8, 11))  # borders on the second suggestion


@pytest.fixture
def reference() -> Any:
    return add_reference()


@pytest.fixture
def annotation(reference: Any) -> Any:
    """One lesion of the reader's own."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lesions")
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    mask = np.zeros((20, 18, 22), np.uint8)
    mask[KNOWN] = 1
    segment = node.GetSegmentation().AddEmptySegment("Mine", "Mine")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, reference)
    return node


@pytest.fixture
def suggestions(reference: Any, tmp_path: Path) -> Any:
    return add_suggestions(reference, tmp_path)


@pytest.fixture
def review(suggestions: Any) -> Review:
    return Review(suggestions, Settings())


def voxels(node: Any, segment: str, reference: Any) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, reference) > 0


def edit(node: Any, segment: str, reference: Any, voxel: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """Draw or erase a voxel by hand; returns the segment's voxels since."""
    mask = voxels(node, segment, reference)
    mask[voxel] ^= True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment, reference)
    return mask


def segments(node: Any) -> list[str]:
    return list(node.GetSegmentation().GetSegmentIDs())


def visible(node: Any) -> set[str]:
    return {s for s in segments(node) if node.GetDisplayNode().GetSegmentVisibility(s)}


def test_a_list_begins_where_its_search_ended(suggestions: Any) -> None:
    """As `lopsided suggest --threshold` wrote it; what was searched in Slicer, with all there are, at the model's."""
    result = json.loads(suggestions.GetAttribute("LopsidedSeg.Result"))
    suggestions.SetAttribute("LopsidedSeg.Result", json.dumps({**result, "threshold": 0.35}))
    assert Review(suggestions, Settings()).threshold == 0.35
    suggestions.SetAttribute("LopsidedSeg.Result", json.dumps({**result, "threshold": 0.0}))
    assert Review(suggestions, Settings()).threshold == result["model"]["threshold"]


def test_the_threshold_hides_and_shows_and_decided_ones_stay(review: Review, suggestions: Any) -> None:
    assert review.shown() == [ONE, TWO]
    assert visible(suggestions) == {ONE, TWO}
    review.decide(TWO, Status.REJECTED)
    review.threshold = 0.95
    assert review.shown() == [TWO]
    assert visible(suggestions) == {TWO}
    review.threshold = 0.1
    assert review.shown() == [ONE, TWO, THREE]
    review.showOnly(THREE)
    assert visible(suggestions) == {THREE}
    review.showOnly(None)
    assert visible(suggestions) == {ONE, TWO, THREE}


def test_status_is_slicers_own_too(review: Review, suggestions: Any, annotation: Any) -> None:
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.UNCERTAIN)
    status = {s: logic.GetSegmentStatus(suggestions.GetSegmentation().GetSegment(s)) for s in segments(suggestions)}
    assert status == {ONE: logic.Completed, TWO: logic.Flagged, THREE: logic.NotStarted}
    review.decide(TWO, Status.REJECTED)
    colour = suggestions.GetDisplayNode().GetSegmentOverrideColor(TWO)
    assert tuple(colour) == (0.5, 0.5, 0.5)
    assert TWO in visible(suggestions), "rejected ones are kept, in grey"
    review.undo()
    assert logic.GetSegmentStatus(suggestions.GetSegmentation().GetSegment(TWO)) == logic.Flagged


def test_accept_adds_one_segment_and_nothing_else_changes(
    review: Review, suggestions: Any, annotation: Any, reference: Any
) -> None:
    mine = voxels(annotation, "Mine", reference).copy()
    before = annotation.GetSegmentation().GetMTime()
    review.decide(TWO, Status.REJECTED)
    review.decide(THREE, Status.UNCERTAIN)
    review.threshold = 0.7
    assert annotation.GetSegmentation().GetMTime() == before, "changed by Accept alone"
    review.decide(ONE, Status.ACCEPTED, annotation)
    [added] = set(segments(annotation)) - {"Mine"}
    np.testing.assert_array_equal(
        voxels(annotation, added, reference), voxels(suggestions, ONE, reference), "the suggestion's own voxels"
    )
    np.testing.assert_array_equal(voxels(annotation, "Mine", reference), mine)
    segment = annotation.GetSegmentation().GetSegment(added)
    assert "Metastasis" in segment.GetName()
    for tag, expected in {"LopsidedSeg.Model": DIGEST, "LopsidedSeg.Reader": "ab"}.items():
        value = vtk.reference("")
        assert segment.GetTag(tag, value)
        assert str(value) == expected
    review.undo()
    assert segments(annotation) == ["Mine"]
    np.testing.assert_array_equal(voxels(annotation, "Mine", reference), mine)
    review.redo()
    assert len(segments(annotation)) == 2


def test_every_kind_of_change_of_mind(review: Review, annotation: Any) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(ONE, Status.REJECTED)
    assert segments(annotation) == ["Mine"]
    review.undo()
    assert review.opinion(ONE).status is Status.ACCEPTED
    assert len(segments(annotation)) == 2
    review.undo()
    assert segments(annotation) == ["Mine"]
    assert not review.canUndo
    for _ in range(2):
        review.redo()
    assert segments(annotation) == ["Mine"]
    assert review.opinion(ONE).status is Status.REJECTED


def test_undo_of_a_note_leaves_the_lesion_where_it_is(review: Review, annotation: Any) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    for candidate in (ONE, TWO):
        review.writeNote(candidate, "vessel?")
    before = annotation.GetSegmentation().GetMTime()
    for action in (review.undo, review.undo, review.redo, review.redo):
        action()
    assert [review.opinion(candidate).note for candidate in (ONE, TWO)] == ["vessel?"] * 2
    assert annotation.GetSegmentation().GetMTime() == before


def test_accepting_onto_an_existing_lesion(review: Review, annotation: Any, suggestions: Any, reference: Any) -> None:
    mine = voxels(annotation, "Mine", reference).copy()
    assert review.touching(TWO, annotation) == ["Mine"]
    assert review.touching(ONE, annotation) == []
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    assert segments(annotation) == ["Mine"]
    np.testing.assert_array_equal(voxels(annotation, "Mine", reference), mine | voxels(suggestions, TWO, reference))
    review.undo()
    np.testing.assert_array_equal(voxels(annotation, "Mine", reference), mine)
    review.redo()
    assert voxels(annotation, "Mine", reference).sum() > mine.sum()


def test_each_way_of_accepting_is_undone_and_redone_as_what_it_was(review: Review, annotation: Any) -> None:
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    review.decide(TWO, Status.REJECTED)
    review.decide(TWO, Status.ACCEPTED, annotation)
    _node, own = review.place(TWO)
    review.undo()
    review.undo()
    assert review.place(TWO) == (annotation, "Mine")
    assert segments(annotation) == ["Mine"]
    review.redo()
    review.redo()
    assert review.place(TWO) == (annotation, own)


def test_a_lesion_read_from_a_file_is_whole_after_undo_and_redo(
    review: Review, annotation: Any, reference: Any, tmp_path: Path
) -> None:
    """There it has another label value than 1, as its neighbours have."""
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.ACCEPTED, annotation)
    _node, own = review.place(TWO)
    before = voxels(annotation, own, reference)
    Scene.writeSegments(annotation, tmp_path / "saved.seg.nrrd")
    annotation.GetSegmentation().RemoveAllSegments()
    Scene.readSegments(annotation, tmp_path / "saved.seg.nrrd")
    review.undo()
    review.redo()
    assert before.any()
    assert (voxels(annotation, own, reference) == before).all()


@pytest.fixture
def bordering(reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Suggestions of which the first two border on each other."""
    monkeypatch.setattr("suggestions.CENTRES", ((5, 6, 7), (5, 6, 10), (16, 5, 14)))
    return add_suggestions(reference, tmp_path)


@pytest.mark.parametrize("status", [Status.REJECTED, Status.UNCERTAIN, Status.PENDING])
def test_a_lesion_does_not_go_out_with_another_that_was_added_to_it(
    bordering: Any, annotation: Any, reference: Any, status: Status
) -> None:
    review = Review(bordering, Settings())
    review.decide(ONE, Status.ACCEPTED, annotation)
    own = review.place(ONE)[1]
    assert review.touching(TWO, annotation) == [own]
    review.decide(TWO, Status.ACCEPTED, annotation, addTo=own)
    with pytest.raises(RuntimeError, match="at -20, -12, 10 was added to this lesion; reject that one first"):
        review.decide(ONE, status)
    move([bordering], 40.0)
    with pytest.raises(RuntimeError, match="at 20, -12, 10 was added"):  # where it is by now
        review.decide(ONE, status)
    bordering.SetAndObserveTransformNodeID(None)
    assert review.opinion(ONE).status is Status.ACCEPTED
    assert voxels(annotation, own, reference).sum() == 54
    review.decide(TWO, Status.REJECTED)
    review.decide(ONE, status)
    assert segments(annotation) == ["Mine"]
    for left in (27, 54, 27):
        review.undo()
        assert voxels(annotation, own, reference).sum() == left
    review.undo()
    assert segments(annotation) == ["Mine"]


def test_a_log_takes_no_lesion_out_with_another_either(
    bordering: Any, annotation: Any, reference: Any, tmp_path: Path
) -> None:
    """One that was written when that was possible."""
    settings = Settings("ab", tmp_path / "reviews")
    review = Review(bordering, settings)
    review.decide(ONE, Status.ACCEPTED, annotation)
    own = review.place(ONE)[1]
    review.decide(TWO, Status.ACCEPTED, annotation, addTo=own)
    review._session.decide(ONE, Status.REJECTED, threshold=0.5)
    review._log.write()
    again = Review(bordering, settings)
    assert [again.place(candidate) for candidate in (ONE, TWO)] == [(annotation, own)] * 2
    assert voxels(annotation, own, reference).sum() == 54


def test_undo_does_not_stop_where_a_segment_is_gone_that_was_added_to(
    review: Review, suggestions: Any, annotation: Any, reference: Any
) -> None:
    review.decide(ONE, Status.REJECTED)
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    review.decide(TWO, Status.REJECTED)
    annotation.GetSegmentation().RemoveSegment("Mine")
    review.undo()
    assert review.opinion(TWO).status is Status.ACCEPTED
    np.testing.assert_array_equal(voxels(*review.place(TWO), reference), voxels(suggestions, TWO, reference))
    review.undo()
    assert segments(annotation) == []
    review.undo()
    assert review.opinion(ONE).status is Status.PENDING
    for _ in range(2):
        review.redo()
    assert segments(annotation) == [review.place(TWO)[1]]


def test_undo_does_not_stop_where_all_of_a_lesion_was_drawn_by_hand(
    review: Review, annotation: Any, reference: Any
) -> None:
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    both = voxels(annotation, "Mine", reference).copy()
    review.decide(TWO, Status.REJECTED)
    slicer.util.updateSegmentBinaryLabelmapFromArray(both.astype(np.uint8), annotation, "Mine", reference)
    for status in (Status.ACCEPTED, Status.PENDING):
        review.undo()
        assert review.opinion(TWO).status is status
        np.testing.assert_array_equal(voxels(annotation, "Mine", reference), both, "what the user drew stays")


def test_what_cannot_be_accepted_is_not_decided(review: Review, annotation: Any) -> None:
    with pytest.raises(RuntimeError, match="Choose or create the annotation"):
        review.decide(ONE, Status.ACCEPTED, None)
    with pytest.raises(RuntimeError, match="not there any more"):
        review.decide(ONE, Status.ACCEPTED, annotation, addTo="gone")
    assert review.opinion(ONE).status is Status.PENDING
    assert not review.canUndo
    assert segments(annotation) == ["Mine"]


def test_suggestions_are_no_annotation(review: Review, suggestions: Any) -> None:
    """Those that were rejected would be exported as lesions, trusted."""
    before = segments(suggestions)
    assert review.touching(ONE, suggestions) == []
    with pytest.raises(
        RuntimeError, match="T1c suggestions holds suggestions; choose the segmentation of known lesions"
    ):
        review.decide(ONE, Status.ACCEPTED, suggestions)
    assert review.opinion(ONE).status is Status.PENDING
    assert review.annotation is None
    assert segments(suggestions) == before


def test_redo_without_the_annotation_changes_nothing_until_another_is_chosen(
    review: Review, annotation: Any, reference: Any
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.undo()
    slicer.mrmlScene.RemoveNode(annotation)
    with pytest.raises(RuntimeError, match="Choose or create the annotation"):
        review.redo()
    assert review.opinion(ONE).status is Status.PENDING
    assert review.canRedo
    assert len(review._session.events) == 2, "nothing is recorded of what was not done"
    other = Scene.newAnnotation(reference)
    review.redo(other)
    assert review.place(ONE)[0] is review.annotation is other


def test_a_review_goes_on_after_the_scene_was_saved_and_opened(
    review: Review, suggestions: Any, annotation: Any, tmp_path: Path
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.REJECTED)
    review.writeNote(TWO, "Gefäß | a 'vessel': <b>")
    review.threshold = 0.31
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    for node in (suggestions, annotation):
        storage = slicer.vtkMRMLSegmentationStorageNode()
        slicer.mrmlScene.AddNode(storage)
        node.SetAndObserveStorageNodeID(storage.GetID())
        storage.SetFileName(str(tmp_path / f"{node.GetName()}.seg.nrrd"))
        assert storage.WriteData(node)
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Connect()
    node = slicer.util.getNode("T1c suggestions")
    again = Review(node, Settings("somebody else"))
    assert [again.opinion(c).status for c in (ONE, TWO, THREE)] == ["accepted", "rejected", "pending"]
    assert again.opinion(TWO).note == "Gefäß | a 'vessel': <b>"
    assert again.threshold == 0.31
    assert again.annotation is slicer.util.getNode("Lesions")
    for _ in range(3):
        again.undo()
    assert segments(again.annotation) == ["Mine"]


def test_the_log_has_each_decision_and_a_full_disk_loses_none(
    suggestions: Any, annotation: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "reviews"
    review = Review(suggestions, Settings("ab", folder))
    review.decide(ONE, Status.ACCEPTED, annotation)
    [log] = folder.iterdir()
    assert [(e.action, e.candidate, e.value, e.threshold) for e in read_log(log).events] == [
        ("decide", ONE, "accepted", 0.5)
    ]
    log.rename(tmp_path / "kept")
    folder.rmdir()
    folder.write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="reviews"):
        review.decide(TWO, Status.REJECTED)
    assert review.opinion(TWO).status is Status.REJECTED
    folder.unlink()
    folder.mkdir()
    (tmp_path / "kept").rename(log)
    review.decide(THREE, Status.UNCERTAIN)
    assert [e.value for e in read_log(log).events] == ["accepted", "rejected", "uncertain"]


def test_decisions_made_after_the_scene_was_saved_come_back_from_the_log(
    suggestions: Any, annotation: Any, tmp_path: Path
) -> None:
    review = Review(suggestions, Settings("ab", tmp_path / "reviews"))
    review.decide(TWO, Status.REJECTED)
    saved = suggestions.GetAttribute("LopsidedSeg.Review")
    suggestions.SetNodeReferenceID("LopsidedSeg.Annotation", annotation.GetID())
    review.decide(ONE, Status.ACCEPTED, annotation)
    for segment in set(segments(annotation)) - {"Mine"}:  # the annotation as it was saved
        annotation.GetSegmentation().RemoveSegment(segment)
    suggestions.SetAttribute("LopsidedSeg.Review", saved)
    again = Review(suggestions, Settings("who goes on", tmp_path / "reviews"))
    assert again.opinion(ONE).status is Status.ACCEPTED
    assert len(segments(annotation)) == 2
    again.undo()
    assert segments(annotation) == ["Mine"]


def crash(suggestions: Any, annotation: Any, saved: str) -> None:
    """All as it was when the scene was saved, before the first lesion was accepted."""
    for segment in set(segments(annotation)) - {"Mine"}:
        annotation.GetSegmentation().RemoveSegment(segment)
    suggestions.SetAttribute("LopsidedSeg.Review", saved)
    suggestions.SetNodeReferenceID("LopsidedSeg.Annotation", None)


@pytest.mark.parametrize("chosen", ["annotation", "suggestions", None])
def test_the_first_accepted_lesion_comes_back_too(
    suggestions: Any, annotation: Any, reference: Any, tmp_path: Path, chosen: str | None
) -> None:
    """Into the annotation that is chosen, or a new one."""
    nodes = {"annotation": annotation, "suggestions": suggestions}
    review = Review(suggestions, Settings("ab", tmp_path / "reviews"))
    saved = suggestions.GetAttribute("LopsidedSeg.Review")
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.REJECTED)
    crash(suggestions, annotation, saved)
    again = Review(suggestions, Settings("ab", tmp_path / "reviews"), nodes.get(chosen))
    assert [again.opinion(c).status for c in (ONE, TWO)] == ["accepted", "rejected"]
    assert again.annotation is not suggestions
    assert (again.annotation is annotation) == (chosen == "annotation")
    assert len(segments(again.annotation)) == 1 + (chosen == "annotation")
    np.testing.assert_array_equal(voxels(*again.place(ONE), reference), voxels(suggestions, ONE, reference))


def test_what_cannot_come_back_keeps_nothing_else_from_it(
    suggestions: Any, annotation: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    review = Review(suggestions, Settings("ab", tmp_path / "reviews"))
    saved = suggestions.GetAttribute("LopsidedSeg.Review")
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    review.decide(THREE, Status.REJECTED)
    review.undo()
    review.redo()
    crash(suggestions, annotation, saved)
    annotation.GetSegmentation().RemoveSegment("Mine")
    again = Review(suggestions, Settings("ab", tmp_path / "reviews"), annotation)
    assert [again.opinion(c).status for c in (ONE, TWO, THREE)] == ["accepted", "pending", "rejected"]
    assert "Suggestion_2 cannot be done again" in caplog.text
    assert len(segments(annotation)) == 1


def test_what_cannot_come_back_elsewhere_is_where_it_was(
    suggestions: Any, annotation: Any, reference: Any, tmp_path: Path
) -> None:
    """A lesion of its own that was added, since the scene was saved, to one that was drawn since."""
    review = Review(suggestions, Settings("ab", tmp_path / "reviews"))
    review.decide(TWO, Status.ACCEPTED, annotation)
    own = review.place(TWO)[1]
    mask = edit(annotation, own, reference)
    saved, attribute = slicer.vtkSegmentation(), suggestions.GetAttribute("LopsidedSeg.Review")
    saved.DeepCopy(annotation.GetSegmentation())
    saved.RemoveSegment("Mine")
    review.undo()
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    annotation.GetSegmentation().DeepCopy(saved)
    suggestions.SetAttribute("LopsidedSeg.Review", attribute)
    again = Review(suggestions, Settings("ab", tmp_path / "reviews"))
    assert again.opinion(TWO).status is Status.ACCEPTED
    assert again.place(TWO) == (annotation, own)
    np.testing.assert_array_equal(voxels(annotation, own, reference), mask)
    while again.canUndo:
        again.undo()
    assert segments(annotation) == []


@pytest.mark.parametrize("last", [Status.UNCERTAIN, Status.ACCEPTED])
def test_what_was_edited_comes_back_by_undo_of_the_decision_that_took_it_out(
    suggestions: Any, annotation: Any, reference: Any, tmp_path: Path, last: Status
) -> None:
    """Though another followed that one, and the scene was saved before both."""
    settings = Settings("ab", tmp_path / "reviews")
    review = Review(suggestions, settings)
    review.decide(TWO, Status.ACCEPTED, annotation)
    own = review.place(TWO)[1]
    mask = edit(annotation, own, reference)
    saved, attribute = slicer.vtkSegmentation(), suggestions.GetAttribute("LopsidedSeg.Review")
    saved.DeepCopy(annotation.GetSegmentation())
    review.decide(TWO, Status.REJECTED)
    review.decide(TWO, last, annotation, addTo="Mine" if last is Status.ACCEPTED else None)
    annotation.GetSegmentation().DeepCopy(saved)
    suggestions.SetAttribute("LopsidedSeg.Review", attribute)
    again = Review(suggestions, settings)
    assert again.opinion(TWO).status is last
    for _ in range(2):
        again.undo()
    np.testing.assert_array_equal(voxels(*again.place(TWO), reference), mask)
    assert voxels(annotation, "Mine", reference).sum() == 27


def test_what_was_added_comes_back_after_what_it_was_added_to_and_goes_before(
    bordering: Any, annotation: Any, reference: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever is listed first."""
    settings = Settings("ab", tmp_path / "reviews")
    review = Review(bordering, settings)
    saved = bordering.GetAttribute("LopsidedSeg.Review")
    review.decide(TWO, Status.ACCEPTED, annotation)
    own = review.place(TWO)[1]
    review.decide(ONE, Status.ACCEPTED, annotation, addTo=own)
    crash(bordering, annotation, saved)
    again = Review(bordering, settings, annotation)
    assert again.place(ONE) == again.place(TWO) == (annotation, own)
    both = voxels(annotation, own, reference)
    both[5, 5, 6] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(both.astype(np.uint8), annotation, own, reference)
    segmentation, saved = slicer.vtkSegmentation(), bordering.GetAttribute("LopsidedSeg.Review")
    segmentation.DeepCopy(annotation.GetSegmentation())
    for candidate in (ONE, TWO):
        again.decide(candidate, Status.REJECTED)
    annotation.GetSegmentation().DeepCopy(segmentation)
    bordering.SetAttribute("LopsidedSeg.Review", saved)
    last = Review(bordering, settings)
    assert segments(annotation) == ["Mine"]
    assert "cannot be done again" not in caplog.text
    for _ in range(2):
        last.undo()
    np.testing.assert_array_equal(voxels(annotation, own, reference), both)


def test_what_was_added_to_a_lesion_comes_back_there(
    suggestions: Any, annotation: Any, reference: Any, tmp_path: Path
) -> None:
    mine = voxels(annotation, "Mine", reference).copy()
    review = Review(suggestions, Settings("ab", tmp_path / "reviews"))
    saved = suggestions.GetAttribute("LopsidedSeg.Review")
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    crash(suggestions, annotation, saved)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mine.astype(np.uint8), annotation, "Mine", reference)
    again = Review(suggestions, Settings("ab", tmp_path / "reviews"), annotation)
    assert segments(annotation) == ["Mine"]
    np.testing.assert_array_equal(voxels(annotation, "Mine", reference), mine | voxels(suggestions, TWO, reference))
    again.undo()
    np.testing.assert_array_equal(voxels(annotation, "Mine", reference), mine)


def test_a_copy_of_the_suggestions_goes_its_own_way(suggestions: Any, annotation: Any, tmp_path: Path) -> None:
    """Neither takes over from the logs what was decided on the other, nor accepts anything a second time."""
    settings = Settings("ab", tmp_path / "reviews")
    review = Review(suggestions, settings)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(suggestions)
    copy.CreateDefaultDisplayNodes()
    review.decide(ONE, Status.ACCEPTED, annotation)
    before = segments(annotation)
    shown = Review(copy, settings, annotation)
    assert shown.opinion(ONE).status is Status.PENDING
    shown.decide(TWO, Status.REJECTED)
    assert Review(suggestions, settings).opinion(TWO).status is Status.PENDING
    assert segments(annotation) == before


def test_a_lesion_of_the_same_name_is_another(review: Review, annotation: Any) -> None:
    """Two of one size, of which the first was deleted by hand."""
    review.decide(ONE, Status.ACCEPTED, annotation)
    annotation.GetSegmentation().RemoveSegment(review.place(ONE)[1])
    review.decide(TWO, Status.ACCEPTED, annotation)
    review.decide(ONE, Status.REJECTED)
    assert segments(annotation) == ["Mine", review.place(TWO)[1]]


def test_what_the_user_removed_or_renamed_is_no_error(review: Review, suggestions: Any, annotation: Any) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    [added] = set(segments(annotation)) - {"Mine"}
    annotation.GetSegmentation().GetSegment(added).SetName("Left frontal")
    annotation.SetName("Other name")
    suggestions.GetSegmentation().RemoveSegment(THREE)
    review.decide(TWO, Status.REJECTED)
    annotation.GetSegmentation().RemoveSegment(added)
    review.undo()
    review.undo()
    assert segments(annotation) == ["Mine"]


def test_what_was_accepted_and_is_in_no_segment_any_more_is_known(
    review: Review, suggestions: Any, annotation: Any
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.ACCEPTED, annotation, "Mine")
    review.decide(THREE, Status.REJECTED)
    assert review.absent == []
    annotation.GetSegmentation().RemoveSegment("Mine")
    assert Review(suggestions, Settings()).absent == [TWO]
    slicer.mrmlScene.RemoveNode(annotation)
    assert review.absent == [ONE, TWO]


@pytest.mark.parametrize("added", [False, True])
def test_what_was_accepted_may_be_in_another_segment_by_now(
    review: Review, annotation: Any, reference: Any, added: bool
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation, "Mine" if added else None)
    segment = review.place(ONE)[1]
    both = voxels(annotation, segment, reference) | voxels(annotation, "Mine", reference)
    other = annotation.GetSegmentation().AddEmptySegment("Other")
    slicer.util.updateSegmentBinaryLabelmapFromArray(both.astype(np.uint8), annotation, other, reference)
    annotation.GetSegmentation().RemoveSegment(segment)
    assert review.absent == []


def test_what_was_accepted_is_looked_for_in_an_annotation_of_surfaces_too(review: Review, annotation: Any) -> None:
    """As in the Segmentations module, which takes the label maps away."""
    review.decide(ONE, Status.ACCEPTED, annotation)
    segmentation = annotation.GetSegmentation()
    annotation.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    annotation.RemoveBinaryLabelmapRepresentation()
    assert review.absent == []
    segmentation.RemoveSegment(review.place(ONE)[1])
    assert review.absent == [ONE]


@pytest.mark.parametrize("last", [5, 8])
def test_what_was_added_to_a_lesion_is_there_while_a_voxel_of_it_is(
    review: Review, annotation: Any, reference: Any, last: int
) -> None:
    """Its slices are 4 to 6."""
    review.decide(ONE, Status.ACCEPTED, annotation, "Mine")
    mask = voxels(annotation, "Mine", reference).astype(np.uint8)
    mask[:last] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, annotation, "Mine", reference)
    assert review.absent == ([ONE] if last == 8 else [])


def test_what_was_accepted_is_looked_for_where_a_transform_has_put_it(
    review: Review, suggestions: Any, annotation: Any
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation, "Mine")
    annotation.SetAndObserveTransformNodeID(turned().GetID())
    suggestions.SetAndObserveTransformNodeID(annotation.GetTransformNodeID())
    assert review.absent == []
    annotation.HardenTransform()
    assert review.absent == []
    suggestions.SetAndObserveTransformNodeID(None)
    assert review.absent == [ONE]


def test_what_was_edited_after_accepting_is_there_again_after_undo_and_redo(
    review: Review, annotation: Any, reference: Any
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    node, segment = review.place(ONE)
    assert node is annotation
    mask = edit(node, segment, reference)
    node.GetSegmentation().GetSegment(segment).SetName("Left frontal")
    review.undo()
    assert segments(annotation) == ["Mine"]
    review.redo()
    node, segment = review.place(ONE)
    np.testing.assert_array_equal(voxels(node, segment, reference), mask)
    assert node.GetSegmentation().GetSegment(segment).GetName() == "Left frontal"
    review.undo()
    review.decide(ONE, Status.ACCEPTED, annotation)
    assert voxels(*review.place(ONE), reference).sum() == 27, "a new decision takes the suggestion as it is"


@pytest.mark.parametrize("hardened", [False, True])
def test_what_was_edited_is_there_again_when_a_review_is_opened_again_before_undo(
    review: Review, suggestions: Any, annotation: Any, reference: Any, hardened: bool
) -> None:
    """Where the annotation was moved and hardened since, too, as it is when a case is kept."""
    if hardened:
        for node in (reference, suggestions, annotation):
            node.SetAndObserveTransformNodeID(turned().GetID())
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    own = review.place(ONE)[1]
    annotation.GetSegmentation().GetSegment(own).SetName("Left frontal")
    for name, voxel in {own: (0, 0, 0), "Mine": (12, 12, 9)}.items():
        edit(annotation, name, reference, voxel)
    before = {name: voxels(annotation, name, reference).copy() for name in (own, "Mine")}
    tags = str(annotation.GetSegmentation().GetSegment(own)).partition("Tags:")[2]
    for candidate in (ONE, TWO):
        review.decide(candidate, Status.REJECTED)
    if hardened:
        annotation.HardenTransform()
    again = Review(suggestions, Settings())
    for _ in range(2):
        again.undo()
    for name, mask in before.items():
        np.testing.assert_array_equal(voxels(annotation, name, reference), mask)
    assert annotation.GetSegmentation().GetSegment(own).GetName() == "Left frontal"
    assert str(annotation.GetSegmentation().GetSegment(own)).partition("Tags:")[2] == tags


@pytest.mark.parametrize("meanwhile", ["nothing", "another source volume", "a refused annotation"])
def test_what_was_taken_out_under_a_transform_comes_back_where_it_was_once_that_is_off(
    review: Review, suggestions: Any, annotation: Any, reference: Any, meanwhile: str
) -> None:
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    before = {name: voxels(annotation, name, reference).copy() for name in segments(annotation)}
    move = turned().GetID()
    for node in (reference, suggestions, annotation):
        node.SetAndObserveTransformNodeID(move)
    for candidate in (ONE, TWO):
        review.decide(candidate, Status.REJECTED)
    for node in (reference, suggestions, annotation):
        node.SetAndObserveTransformNodeID(None)
    if meanwhile == "another source volume":
        wider = slicer.util.addVolumeFromArray(np.zeros((24, 22, 26), np.int16))
        toRAS = matrixOf(Scene.lattice(reference))
        wider.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(toRAS @ (np.eye(4) - 2 * np.eye(4, k=3))))
        annotation.SetReferenceImageGeometryParameterFromVolumeNode(wider)
    elif meanwhile == "a refused annotation":
        surfaces = Scene.newAnnotation(reference)
        surfaces.GetSegmentation().AddEmptySegment("Drawn")
        surfaces.GetSegmentation().SetSourceRepresentationName("Closed surface")
        with pytest.raises(RuntimeError, match="not stored as label maps"):
            review.decide(THREE, Status.ACCEPTED, surfaces)
    for _ in range(2):
        review.undo()
    np.testing.assert_equal({name: voxels(annotation, name, reference) for name in segments(annotation)}, before)


def test_what_was_taken_out_before_all_was_hardened_comes_back_to_its_tissue(
    review: Review, suggestions: Any, annotation: Any, reference: Any
) -> None:
    nodes, move = (reference, suggestions, annotation), turned().GetID()
    for node in nodes:
        node.SetAndObserveTransformNodeID(move)
    review.decide(ONE, Status.ACCEPTED, annotation)
    review.decide(ONE, Status.REJECTED)
    for node in nodes:
        node.HardenTransform()
    review.undo()
    place = annotation.GetSegmentCenterRAS(review.place(ONE)[1])
    np.testing.assert_allclose(place, suggestions.GetSegmentCenterRAS(ONE), atol=1e-6)


def test_what_was_taken_out_goes_into_another_annotation_where_it_was_in_the_world(
    review: Review, annotation: Any, reference: Any
) -> None:
    annotation.SetAndObserveTransformNodeID(turned().GetID())
    for candidate in (ONE, THREE):
        review.decide(candidate, Status.ACCEPTED, annotation)
    place = annotation.GetSegmentCenterRAS
    before = [list(place(review.place(candidate)[1])) for candidate in (ONE, THREE)]
    for candidate in (ONE, THREE):
        review.decide(candidate, Status.REJECTED)
    slicer.mrmlScene.RemoveNode(annotation)
    another = Scene.newAnnotation(reference)
    for _ in range(2):
        review.undo(another)
    after = [another.GetSegmentCenterRAS(review.place(candidate)[1]) for candidate in (ONE, THREE)]
    np.testing.assert_allclose(after, before, atol=1.01, err_msg="on the nearest voxels")


def turned() -> Any:
    """A transform that is linear."""
    node, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], (5, -7, 11)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def test_where_a_suggestion_is_edited(review: Review, suggestions: Any, annotation: Any) -> None:
    """Among the suggestions before it is accepted; and what is accepted then is what it became."""
    assert review.place(TWO) == (suggestions, TWO)
    Scene.edit(suggestions, TWO, slicer.util.getNode("T1c"))
    review.decide(TWO, Status.ACCEPTED, annotation, addTo="Mine")
    assert review.place(TWO) == (annotation, "Mine")
    Scene.edit(*review.place(TWO), slicer.util.getNode("T1c"))
    [editor] = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
    assert editor.GetSingletonTag() == "SegmentEditor", "the one that Segment Editor looks for"
    assert editor.GetSegmentationNode() is annotation
    assert editor.GetSelectedSegmentID() == "Mine"
    assert editor.GetSourceVolumeNode() is slicer.util.getNode("T1c")
    annotation.GetSegmentation().RemoveSegment("Mine")
    assert review.place(TWO) == (suggestions, TWO)
    slicer.mrmlScene.RemoveNode(annotation)
    assert review.place(TWO) == (suggestions, TWO)


@pytest.mark.parametrize("isRemoved", [True, False], ids=["removed", "emptied"])
def test_a_suggestion_erased_in_another_module_cannot_be_accepted(
    review: Review, suggestions: Any, annotation: Any, reference: Any, isRemoved: bool
) -> None:
    erase(suggestions, ONE, reference, isRemoved)
    with pytest.raises(RuntimeError, match="Nothing is left"):
        review.decide(ONE, Status.ACCEPTED, annotation)
    assert review.touching(ONE, annotation) == []
    review.decide(ONE, Status.REJECTED)


def test_accepted_lesions_are_what_the_reader_set(suggestions: Any, annotation: Any) -> None:
    entry = "Category~SCT^1^Structure~SCT^2^Edema~SCT^3^Left~Anatomy~SCT^4^Brain~^^"
    review = Review(suggestions, Settings("ab", terminology=entry))
    review.decide(ONE, Status.ACCEPTED, annotation)
    segment = annotation.GetSegmentation().GetSegment(review.place(ONE)[1])
    value = vtk.reference("")
    assert segment.GetTag("TerminologyEntry", value)
    assert str(value) == entry
    assert segment.GetName() == "Edema, Left (suggested, 10.4 mm)"
    assert Annotation(annotation).terminologies()[-1] == entry


def test_each_reader_has_a_log_and_a_name_on_their_decisions(suggestions: Any, tmp_path: Path) -> None:
    settings = Settings("ab", tmp_path / "reviews")
    review = Review(suggestions, settings)
    review.decide(ONE, Status.REJECTED)
    settings.reader = "cd"
    review.decide(TWO, Status.REJECTED)
    logs = [read_log(path) for path in sorted((tmp_path / "reviews").iterdir())]
    assert sorted([e.reader for e in log.events] for log in logs) == [["ab"], ["ab", "cd"]]
    settings.logFolder = None
    review.decide(THREE, Status.REJECTED)
    assert review.opinion(THREE).status is Status.REJECTED


def test_a_node_without_suggestions_is_refused(annotation: Any) -> None:
    with pytest.raises(ValueError, match="Lesions holds no suggestions"):
        Review(annotation, Settings())
