"""A case is opened, left and opened again: nothing of the reader's is lost, and nothing else is touched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from lopsided.dataset.cases import CaseFiles
from lopsided.errors import InputError
from lopsided.marks import BoxMark, Line, Point
from lopsided.review import RESULT_ATTRIBUTE, Status
from LopsidedSegLib import Scene
from LopsidedSegLib.CaseWork import CaseWork
from LopsidedSegLib.Labelmaps import cropped, labelmap
from LopsidedSegLib.Marks import Marks
from LopsidedSegLib.Review import Review
from suggestions import DIGEST, ONE, TWO, Settings, add_reference, add_suggestions, erase
from transforms import move


def parameters() -> Any:
    return SimpleNamespace(reference=None, t1=None, t2=None, flair=None, annotation=None, suggestions=None)


@pytest.fixture
def case(tmp_path: Path) -> CaseFiles:
    """Two sequences of the same 22 x 18 x 20 voxels of 2 mm, and two lesions outlined in a label map."""
    rng = np.random.default_rng(0)
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("t1c", "flair", "labels")}
    labels = np.zeros((20, 18, 22), np.uint8)
    labels[12:15, 14:17, 8:11] = labels[3:5, 3:5, 3:5] = 1
    labels[0, 0, 0] = 9  # not a lesion
    for name, path in paths.items():
        array = labels if name == "labels" else rng.integers(80, 120, labels.shape).astype(np.int16)
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2, 2, 2))
        sitk.WriteImage(image, str(path))
    return CaseFiles("p", "c", {n: paths[n] for n in ("t1c", "flair")}, paths["labels"], labels=("1",))


@pytest.fixture
def work(case: CaseFiles, tmp_path: Path) -> CaseWork:
    return CaseWork(case, tmp_path / "work" / "c", Settings())


def masks(node: Any, reference: Any) -> dict[str, np.ndarray]:
    segmentation = node.GetSegmentation()
    return {
        segmentation.GetSegment(s).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(node, s, reference) > 0
        for s in segmentation.GetSegmentIDs()
    }


def test_a_case_may_lack_labels_that_others_of_its_list_have(case: CaseFiles, tmp_path: Path) -> None:
    chosen = parameters()
    CaseWork(replace(case, labels=("1", "2")), tmp_path / "c", Settings()).open(chosen)
    assert chosen.annotation.GetSegmentation().GetNumberOfSegments() == 2


def test_a_case_that_its_list_cannot_tell_is_not_opened(tmp_path: Path) -> None:
    case = CaseFiles("p", "c", {}, problem="it has several masks; unite them in one")
    with pytest.raises(RuntimeError, match="it has several masks; unite them in one"):
        CaseWork(case, tmp_path / "c", Settings()).open(parameters())


def test_a_case_is_opened_where_its_files_say(work: CaseWork, case: CaseFiles) -> None:
    chosen = parameters()
    work.open(chosen)
    assert (chosen.reference.GetName(), chosen.flair.GetName(), chosen.t1) == ("c t1c", "c flair", None)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveVolumeID() == chosen.reference.GetID(), "it is shown"
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(case.sequences["t1c"])))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(chosen.reference), expected)
    assert chosen.reference.GetSpacing() == (2, 2, 2)
    found = masks(chosen.annotation, chosen.reference)
    assert sorted(int(mask.sum()) for mask in found.values()) == [8, 27], "label 9 is none"
    assert chosen.suggestions is None
    assert not work.wholeCase, "nobody said that they looked at all of it"


def test_all_work_is_there_again(work: CaseWork, case: CaseFiles, tmp_path: Path) -> None:
    """A new lesion, decisions with their history and a note, marks of each kind with their times."""
    chosen = parameters()
    work.open(chosen)
    chosen.suggestions = add_suggestions(chosen.reference, tmp_path)
    review = Review(chosen.suggestions, Settings())
    review.decide(ONE, Status.ACCEPTED, chosen.annotation)
    review.decide(TWO, Status.REJECTED)
    review.writeNote(TWO, "Gefäß")
    review.threshold = 0.35
    marks = Marks(chosen.reference, Settings())
    given = [Point((10, 12, 14), 5.5), Line(((4, 4, 4), (10, 4, 4))), BoxMark((20, 16, 18), (6, 8, 10))]
    for n, mark in enumerate(given):
        marks.add(mark, f"2026-01-0{n + 1}T10:00:00+00:00")
    before = masks(chosen.annotation, chosen.reference)
    work.save()
    marks.close()
    work.close()
    for kind in ("vtkMRMLDisplayableNode", "vtkMRMLSegmentationDisplayNode"):
        assert slicer.util.getNodesByClass(kind) == []
    drawn = [node.GetClassName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeDisplayNode")]
    assert "vtkMRMLScalarVolumeDisplayNode" not in drawn, "it would keep the image in memory"

    again = parameters()
    CaseWork(case, work.folder, Settings()).open(again)
    after = masks(again.annotation, again.reference)
    assert after.keys() == before.keys()
    for name, mask in before.items():
        np.testing.assert_array_equal(after[name], mask)
    review = Review(again.suggestions, Settings())
    assert [review.opinion(c).status for c in (ONE, TWO)] == ["accepted", "rejected"]
    assert (review.opinion(TWO).note, review.threshold) == ("Gefäß", 0.35)
    marks = Marks(again.reference, Settings())
    assert [(item.mark, marks.time(item)) for item in marks.items()] == [
        (mark, f"2026-01-0{n + 1}T10:00:00+00:00") for n, mark in enumerate(given)
    ]
    marks.close()
    for _ in range(3):
        review.undo()
    assert len(masks(again.annotation, again.reference)) == 2, "the history is there, too"


@pytest.fixture
def ahead(work: CaseWork, tmp_path: Path) -> Path:
    """A search that was made before the case was opened: the folder of its result."""
    first = parameters()
    work.open(first)
    add_suggestions(first.reference, tmp_path)
    work.close()
    work.folder.mkdir(parents=True)
    return (tmp_path / "result").rename(work.folder / "ahead")


def test_a_search_made_ahead_by_another_model_is_none(work: CaseWork, ahead: Path) -> None:
    """The model was trained again, and chosen, since."""
    made = ahead / "candidates.json"
    content = json.loads(made.read_text(encoding="utf-8"))
    content["model"]["digest"] = "e" * 64
    made.write_text(json.dumps(content), encoding="utf-8")
    again = parameters()
    work.open(again)
    assert again.suggestions is None
    assert not ahead.exists(), "so that it is searched again"


def test_a_model_that_cannot_be_reached_leaves_what_was_searched_ahead(work: CaseWork, tmp_path: Path) -> None:
    work._settings.model = str(tmp_path / "gone")
    (work.folder / "ahead").mkdir(parents=True)
    (work.folder / "ahead" / "candidates.json").write_text("{}", encoding="utf-8")
    chosen = parameters()
    work.open(chosen)
    assert chosen.suggestions is None
    assert (work.folder / "ahead").exists()


@pytest.mark.parametrize("removed", [False, True])
def test_suggestions_of_another_volume_are_no_part_of_a_case(work: CaseWork, tmp_path: Path, removed: bool) -> None:
    """Whoever looks at a second patient in between finds the case's own, and what was decided on them, where it was; also when
    they have removed that patient's volume."""
    chosen = parameters()
    work.open(chosen)
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    own = add_suggestions(chosen.reference, tmp_path / "own")
    work.goOn(own)
    Review(own, Settings()).decide(ONE, Status.REJECTED)
    second = add_reference()
    other = add_suggestions(second, tmp_path / "other")
    work.goOn(other)
    assert chosen.suggestions is other
    Review(other, Settings()).decide(TWO, Status.REJECTED)
    if removed:
        slicer.mrmlScene.RemoveNode(second)
    work.save()
    work.close()
    assert slicer.mrmlScene.IsNodePresent(other)
    again = parameters()
    work.open(again)
    review = Review(again.suggestions, Settings())
    assert [review.opinion(candidate).status for candidate in (ONE, TWO)] == [Status.REJECTED, Status.PENDING]


def test_what_was_decided_on_another_models_suggestions_is_exported_as_that_models(
    work: CaseWork, tmp_path: Path
) -> None:
    """The model was trained again between two searches of the case."""
    chosen = parameters()
    work.open(chosen)
    found = [add_suggestions(chosen.reference, tmp_path / name) for name in ("first", "second")]
    result = json.loads(found[0].GetAttribute(RESULT_ATTRIBUTE))
    result["model"]["digest"] = "e" * 64
    found[0].SetAttribute(RESULT_ATTRIBUTE, json.dumps(result))
    work.goOn(found[0])
    Review(found[0], Settings()).decide(ONE, Status.REJECTED)
    work.goOn(found[1])
    joined = json.loads(chosen.suggestions.GetAttribute(RESULT_ATTRIBUTE))
    assert joined["model"]["digest"] == DIGEST
    assert {c["rank"]: c.get("model") for c in joined["candidates"]} == {1: "e" * 64, 5: None, 6: None}
    review = Review(chosen.suggestions, Settings())
    review.decide(ONE, Status.ACCEPTED, chosen.annotation)
    segment = chosen.annotation.GetSegmentation().GetSegment(review.place(ONE)[1])
    model = vtk.reference("")
    segment.GetTag("LopsidedSeg.Model", model)
    assert str(model) == "e" * 64


def test_what_was_decided_on_is_known_again_where_a_transform_has_moved_it(work: CaseWork, tmp_path: Path) -> None:
    """Neither does it move, nor is it suggested as new."""
    chosen = parameters()
    work.open(chosen)
    found = [add_suggestions(chosen.reference, tmp_path / name) for name in ("first", "second")]
    move(found, 20)
    work.goOn(found[0])
    Review(found[0], Settings()).decide(ONE, Status.REJECTED)
    found[1].HardenTransform()  # a search finds in the world
    before = cropped(labelmap(found[1], ONE)).GetBounds()
    work.goOn(found[1])
    assert chosen.suggestions.GetSegmentation().GetNumberOfSegments() == 3
    np.testing.assert_allclose(cropped(labelmap(chosen.suggestions, ONE)).GetBounds(), before)


def test_suggestions_of_two_searches_are_listed_best_first(work: CaseWork, tmp_path: Path) -> None:
    chosen = parameters()
    work.open(chosen)
    first, second = (add_suggestions(chosen.reference, tmp_path / name) for name in ("first", "second"))
    work.goOn(first)
    Review(first, Settings()).decide(TWO, Status.REJECTED)
    work.goOn(second)
    review = Review(chosen.suggestions, Settings())
    review.threshold = 0.1
    assert review.shown() == ["Suggestion_4", TWO, "Suggestion_6"]


@pytest.mark.parametrize("isRemoved", [True, False], ids=["removed", "emptied"])
def test_what_was_decided_on_and_erased_since_hides_nothing_that_is_found(
    work: CaseWork, tmp_path: Path, isRemoved: bool
) -> None:
    chosen = parameters()
    work.open(chosen)
    found = [add_suggestions(chosen.reference, tmp_path / name) for name in ("first", "second")]
    work.goOn(found[0])
    Review(found[0], Settings()).decide(ONE, Status.REJECTED)
    erase(found[0], ONE, chosen.reference, isRemoved)
    work.goOn(found[1])
    assert set(masks(chosen.suggestions, chosen.reference)) == {f"Suggestion {n}" for n in (4, 5, 6)}
    assert Review(chosen.suggestions, Settings()).opinion(ONE).status is Status.REJECTED


def test_a_search_that_finds_nothing_keeps_what_was_decided_on(work: CaseWork, tmp_path: Path) -> None:
    chosen = parameters()
    work.open(chosen)
    earlier = add_suggestions(chosen.reference, tmp_path)
    work.goOn(earlier)
    Review(earlier, Settings()).decide(ONE, Status.REJECTED)
    result = Scene.result(earlier)
    work.goOn(Scene.newSuggestions(chosen.reference, {**result, "candidates": []}, None))
    assert set(masks(chosen.suggestions, chosen.reference)) == {"Suggestion 1"}


def test_undo_after_opening_again_takes_out_of_the_annotation_that_was_accepted_into(
    work: CaseWork, tmp_path: Path
) -> None:
    """Another one was chosen since, whose segments are called the same."""
    chosen = parameters()
    work.open(chosen)
    suggestions = add_suggestions(chosen.reference, tmp_path)
    work.goOn(suggestions)
    first = chosen.annotation
    [lesion, *_] = first.GetSegmentation().GetSegmentIDs()
    before = masks(first, chosen.reference)
    Review(suggestions, Settings()).decide(ONE, Status.ACCEPTED, first, addTo=lesion)
    second = Scene.newAnnotation(chosen.reference)
    segment = slicer.vtkSegment()
    segment.DeepCopy(first.GetSegmentation().GetSegment(lesion))
    second.GetSegmentation().AddSegment(segment, lesion)
    chosen.annotation = second
    work.save()
    work.close()
    again = parameters()
    work.open(again)
    drawn = masks(again.annotation, again.reference)
    review = Review(again.suggestions, Settings())
    review.undo()
    np.testing.assert_equal(masks(again.annotation, again.reference), drawn)
    assert review.annotation is not again.annotation
    np.testing.assert_equal(masks(review.annotation, again.reference), before)


@contextmanager
def held() -> Iterator[None]:
    """While a scanner or a share holds what was written: it cannot be put in its place."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise PermissionError("held")
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        yield


def test_a_save_that_fails_at_its_end_puts_the_one_before_back(work: CaseWork) -> None:
    chosen = parameters()
    work.open(chosen)
    marks = Marks(chosen.reference, Settings())
    marks.add(Point((4, 15, 8), 12))
    work.save()
    for _ in range(2):
        with held(), pytest.raises(PermissionError):
            work.save()
        assert (work.folder / "work.json").exists()
        assert not work.folder.with_name("c.before").exists()
    marks.close()
    work.close()
    again = parameters()
    work.open(again)
    assert len(Marks.nodesOf(again.reference)) == 1


@pytest.mark.parametrize("meanwhile", [(), ("ahead",), ("ahead", ".DS_Store", "Thumbs.db")])
def test_a_save_that_was_interrupted_at_its_end_is_put_back(work: CaseWork, meanwhile: tuple[str, ...]) -> None:
    """Killed between its two steps; also where the case was searched ahead after that, or its folder looked at."""
    chosen = parameters()
    work.open(chosen)
    chosen.annotation.GetSegmentation().RemoveSegment("Lesion_1")
    work.save()
    work.close()
    work.folder.rename(work.folder.with_name("c.before"))
    for name in meanwhile:
        (work.folder / name).mkdir(parents=True)
    work.open(chosen)
    assert len(masks(chosen.annotation, chosen.reference)) == 1
    work.save()
    assert [path.name for path in work.folder.parent.iterdir()] == ["c"]


def test_what_is_in_the_place_of_a_save_is_named_and_stays(work: CaseWork) -> None:
    work.open(parameters())
    work.save()
    work.close()
    before = work.folder.rename(work.folder.with_name("c.before"))
    work.folder.mkdir()
    (work.folder / "notes.txt").write_text("mine", encoding="utf-8")
    sentence = f"{work.folder} is in the way of your work on this case, which is in {before}; move it away."
    with pytest.raises(RuntimeError, match=re.escape(sentence)):
        work.open(parameters())
    assert (work.folder / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_work_of_which_a_copy_left_only_what_is_apart_is_not_begun_anew(
    work: CaseWork, case: CaseFiles, tmp_path: Path
) -> None:
    chosen = parameters()
    work.open(chosen)
    chosen.annotation = None
    work.save()
    work.close()
    (work.folder / "work.json").rename(tmp_path / "left behind")
    with pytest.raises(InputError, match=r"work\.json is missing; restore it from a copy"):
        CaseWork(case, work.folder, Settings()).open(parameters())
    assert [path.name for path in work.folder.iterdir()] == ["apart-0"]


def test_a_save_removes_nothing_but_the_search_ahead_from_where_no_work_is(work: CaseWork) -> None:
    work.open(parameters())
    work.folder.mkdir(parents=True)
    (work.folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RuntimeError, match="is in the way of your work on this case"):
        work.save()
    (work.folder / "notes.txt").unlink()
    work.save()
    assert (work.folder / "work.json").exists()


def test_a_case_that_was_moved_is_kept_and_put_back(work: CaseWork) -> None:
    """Work is kept by places, which are those of the file; whoever drew meanwhile is told."""
    chosen = parameters()
    work.open(chosen)
    assert work.save() == ""
    before = slicer.util.arrayFromVolume(chosen.reference).copy()
    place = Scene.geometry(chosen.reference)
    chosen.reference.SetOrigin(1, 2, 3)
    move([chosen.reference], 6)
    assert "was moved, and is put back" in work.save()
    assert Scene.geometry(chosen.reference).same_grid(place)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(chosen.reference), before)
    assert work.save() == ""


def test_what_was_moved_with_the_volume_is_put_back_with_it(work: CaseWork, tmp_path: Path) -> None:
    """Else the image would be at its place, and the work not."""
    chosen = parameters()
    work.open(chosen)
    work.goOn(add_suggestions(chosen.reference, tmp_path))
    marks = Marks(chosen.reference, Settings())
    marks.add(Point((10, 12, 14), 6))
    drawn = (chosen.annotation, chosen.suggestions)
    before = [masks(node, chosen.reference) for node in drawn]
    chosen.t1 = slicer.util.addVolumeFromArray(np.zeros((9, 9, 9), np.int16), np.eye(4), "the user's")
    transform = move([chosen.reference, chosen.flair, *drawn, marks.items()[0].node, chosen.t1], 6)
    assert "was moved, and is put back" in work.save()
    assert Scene.geometry(chosen.flair).same_grid(Scene.geometry(chosen.reference))
    np.testing.assert_equal([masks(node, chosen.reference) for node in drawn], before)
    assert all(node.GetTransformNodeID() is None for node in drawn)
    assert marks.items()[0].mark == Point((10, 12, 14), 6)
    assert chosen.t1.GetTransformNodeID() == transform.GetID()
    marks.close()


def test_what_a_transform_above_the_volumes_moved_is_put_back_and_what_moved_one_of_them_alone_is_not(
    work: CaseWork, tmp_path: Path
) -> None:
    chosen = parameters()
    work.open(chosen)
    work.goOn(add_suggestions(chosen.reference, tmp_path))
    before = {node: centres(node) for node in (chosen.annotation, chosen.suggestions)}
    registered = move([chosen.flair], 3)
    move([move([chosen.reference], 10), move([chosen.annotation], 100), chosen.suggestions], 1)
    assert "was moved, and is put back" in work.save()
    np.testing.assert_allclose(centres(chosen.suggestions), before[chosen.suggestions], atol=0.01)
    np.testing.assert_allclose(centres(chosen.annotation) - before[chosen.annotation], [(100, 0, 0)] * 2, atol=0.01)
    assert chosen.flair.GetTransformNodeID() == registered.GetID()


def centres(node: Any) -> np.ndarray:
    """RAS of each segment, in the world."""
    return np.array([node.GetSegmentCenterRAS(segment) for segment in node.GetSegmentation().GetSegmentIDs()])


@pytest.mark.parametrize("isLeft", [False, True], ids=["kept", "left"])
def test_a_lesion_taken_out_before_its_case_was_put_back_comes_back_with_it(
    work: CaseWork, tmp_path: Path, isLeft: bool
) -> None:
    chosen = parameters()
    work.open(chosen)
    chosen.suggestions = add_suggestions(chosen.reference, tmp_path)
    review = Review(chosen.suggestions, Settings())
    review.decide(ONE, Status.ACCEPTED, chosen.annotation)
    before = masks(chosen.annotation, chosen.reference)
    move([chosen.reference, chosen.annotation, chosen.suggestions], 6)
    review.decide(ONE, Status.REJECTED)
    assert "was moved, and is put back" in work.save()
    if isLeft:
        work.close()
        work.open(chosen)
        review = Review(chosen.suggestions, Settings())
    review.undo(chosen.annotation)
    np.testing.assert_equal(masks(chosen.annotation, chosen.reference), before)


def test_what_else_is_in_the_scene_stays(work: CaseWork) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    chosen = parameters()
    work.open(chosen)
    slicer.mrmlScene.RemoveNode(chosen.annotation)
    chosen.annotation = own  # though it is annotated in
    work.save()
    work.close()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [own]


def test_a_broken_case_leaves_nothing_behind(case: CaseFiles, tmp_path: Path) -> None:
    case.sequences["flair"].write_bytes(case.sequences["flair"].read_bytes()[:500])
    with pytest.raises(InputError, match="flair"):
        CaseWork(case, tmp_path / "work", Settings()).open(parameters())
    assert slicer.util.getNodesByClass("vtkMRMLDisplayableNode") == []


def test_a_save_that_fails_leaves_the_one_before(work: CaseWork, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = parameters()
    work.open(chosen)
    work.save()
    before = {path.name: path.read_bytes() for path in work.folder.iterdir()}
    chosen.annotation.GetSegmentation().RemoveAllSegments()
    with monkeypatch.context() as patch:
        patch.setattr("lopsided.writing.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            work.save()
    assert {path.name: path.read_bytes() for path in work.folder.iterdir()} == before
    work.save()
    assert json.loads((work.folder / "work.json").read_text())["annotation"] == chosen.annotation.GetName()


@pytest.mark.parametrize("missing", ["annotation.seg.nrrd", "apart-0/suggestions.seg.nrrd", "work.json"])
def test_work_that_was_copied_by_half_is_refused_and_stays_as_it_is(
    work: CaseWork, case: CaseFiles, tmp_path: Path, missing: str
) -> None:
    chosen = parameters()
    work.open(chosen)
    chosen.suggestions = add_suggestions(chosen.flair, tmp_path)
    Review(chosen.suggestions, Settings()).decide(ONE, Status.REJECTED)
    (tmp_path / "second").mkdir()
    work.goOn(add_suggestions(chosen.reference, tmp_path / "second"))
    work.save(wholeCase=True)
    work.close()
    (work.folder / missing).rename(tmp_path / "left behind")
    there = sorted(work.folder.rglob("*"))
    with pytest.raises(InputError, match=f"{missing} is missing; restore it from a copy"):
        CaseWork(case, work.folder, Settings()).open(parameters())
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert sorted(work.folder.rglob("*")) == there
    (tmp_path / "left behind").rename(work.folder / missing)
    CaseWork(case, work.folder, Settings()).open(chosen)
    assert len(masks(chosen.annotation, chosen.reference)) == 2


def test_work_is_whole_without_what_the_system_hid_beside_it(
    work: CaseWork, case: CaseFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS leaves it beside each file on a drive of others, and takes it away with a copy."""
    write = Scene.writeSegments

    def withAnother(node: Any, path: Path) -> bool:
        path.with_name(f"._{path.name}").write_bytes(b"x")
        return write(node, path)

    monkeypatch.setattr(Scene, "writeSegments", withAnother)
    chosen = parameters()
    work.open(chosen)
    work.save()
    work.close()
    (work.folder / "._annotation.seg.nrrd").unlink()
    CaseWork(case, work.folder, Settings()).open(chosen)
    assert len(masks(chosen.annotation, chosen.reference)) == 2


def test_a_case_opens_again_whose_suggestions_were_all_removed(work: CaseWork, case: CaseFiles, tmp_path: Path) -> None:
    chosen, again = parameters(), parameters()
    work.open(chosen)
    chosen.suggestions = add_suggestions(chosen.reference, tmp_path)
    Review(chosen.suggestions, Settings()).decide(ONE, Status.REJECTED)
    chosen.suggestions.GetSegmentation().RemoveAllSegments()
    work.save()
    work.close()
    CaseWork(case, work.folder, Settings()).open(again)
    assert again.suggestions.GetSegmentation().GetNumberOfSegments() == 0
    assert Review(again.suggestions, Settings()).opinion(ONE).status is Status.REJECTED
    assert len(masks(again.annotation, again.reference)) == 2


def test_decisions_on_another_volume_of_the_case_are_kept_apart(
    work: CaseWork, case: CaseFiles, tmp_path: Path
) -> None:
    chosen, again = parameters(), parameters()
    work.open(chosen)
    chosen.suggestions = add_suggestions(chosen.flair, tmp_path)
    Review(chosen.suggestions, Settings()).decide(ONE, Status.REJECTED)
    (tmp_path / "second").mkdir()
    work.goOn(add_suggestions(chosen.reference, tmp_path / "second"))
    Review(chosen.suggestions, Settings())
    work.save()
    work.close()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    CaseWork(case, work.folder, Settings()).open(again)
    nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if Scene.result(n)]
    [apart] = [node for node in nodes if node is not again.suggestions]
    assert Review(apart, Settings()).opinion(ONE).status is Status.REJECTED
    assert Review(again.suggestions, Settings()).opinion(ONE).status is Status.PENDING


def test_suggestions_are_not_kept_as_the_annotation(work: CaseWork, tmp_path: Path) -> None:
    """They would be exported as lesions of the reader's. Choosing another is a way out."""
    chosen = parameters()
    work.open(chosen)
    (tmp_path / "own").mkdir()
    work.goOn(add_suggestions(chosen.reference, tmp_path / "own"))
    kept, chosen.annotation = chosen.annotation, chosen.suggestions
    with pytest.raises(
        RuntimeError, match="c t1c suggestions holds suggestions; choose the segmentation of known lesions"
    ):
        work.save()
    assert not work.folder.exists()
    chosen.annotation = kept
    work.save()


def test_an_annotation_without_label_maps_is_refused_in_words(work: CaseWork) -> None:
    """Else it would be kept without its lesions, and exported so. Choosing another is a way out."""
    chosen = parameters()
    work.open(chosen)
    kept, segment = chosen.annotation, slicer.vtkSegment()
    chosen.annotation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "contours")
    chosen.annotation.GetSegmentation().SetSourceRepresentationName("Planar contour")
    segment.AddRepresentation("Planar contour", vtk.vtkPolyData())
    chosen.annotation.GetSegmentation().AddSegment(segment, "GTV")
    with pytest.raises(RuntimeError, match="contours cannot be made a label map; choose an annotation"):
        work.save()
    assert not work.folder.exists()
    chosen.annotation = kept
    work.save()
