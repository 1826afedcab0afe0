"""The studies that are loaded become cases: by the Data module's tree, by names, by folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from LopsidedSegLib.CaseWork import CASE_ATTRIBUTE
from LopsidedSegLib.Review import ANNOTATION_REFERENCE
from LopsidedSegLib.SceneCases import sceneCases
from suggestions import add_suggestions

Add = Callable[..., Any]


@pytest.fixture
def add() -> Add:
    """Adds a volume: (name, the item of the tree that it is in, the file that it was loaded from, its slices in mm)."""

    def add(name: str, parent: int | None = None, file: Path | None = None, slices: float = 1.0) -> Any:
        ijkToRAS = np.diag([1, 1, slices, 1])
        node = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), ijkToRAS, name)
        if parent:
            tree().CreateItem(parent, node)
        if file:
            node.AddDefaultStorageNode()
            node.GetStorageNode().SetFileName(str(file))
        return node

    return add


def tree() -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def study(patient: str, name: str) -> int:
    return int(tree().CreateStudyItem(tree().CreateSubjectItem(tree().GetSceneItemID(), patient), name))


def folder(name: str) -> int:
    return int(tree().CreateFolderItem(tree().GetSceneItemID(), name))


def segmentation(name: str, drawnOn: Any = None) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    if drawnOn:
        node.SetReferenceImageGeometryParameterFromVolumeNode(drawnOn)
    return node


def found() -> dict[tuple[str, str], dict[str, str]]:
    return {(c.patient, c.case): {s: n.GetName() for s, n in c.sequences.items()} for c in sceneCases()}


def test_a_study_is_a_case_whatever_its_series_are_called(add: Add) -> None:
    """And of several post-contrast T1, as scanners make them, the one with the thinnest slices is searched."""
    first, second = study("Doe", "MR 2025"), study("Roe", "MR 2026")
    for name, slices in (("AX T1 POST", 5.0), ("SAG T1 MPRAGE +C", 1.0), ("AX T1", 5.0), ("AX FLAIR", 5.0)):
        add(name, first, slices=slices)
    add("AX T1 POST", second)
    add("DWI", second)
    assert found() == {
        ("Doe", "MR 2025"): {"t1c": "SAG T1 MPRAGE +C", "t1": "AX T1", "flair": "AX FLAIR"},
        ("Roe", "MR 2026"): {"t1c": "AX T1 POST"},
    }


def test_a_patient_without_studies_is_a_case_and_a_study_without_a_patient(add: Add) -> None:
    place = int(tree().CreateSubjectItem(tree().GetSceneItemID(), "Doe"))
    for name in ("AX T1 POST", "AX FLAIR"):
        add(name, place)
    add("AX T1 POST", int(tree().CreateStudyItem(tree().GetSceneItemID(), "MR")))
    assert found() == {
        ("Doe", "Doe"): {"t1c": "AX T1 POST", "flair": "AX FLAIR"},
        ("MR", "MR"): {"t1c": "AX T1 POST"},
    }


def test_the_post_contrast_t1_is_searched_whatever_stands_beside_it(add: Add) -> None:
    """By names that say "contrast" or "post" of another series, with slices as thin or thinner."""
    place = study("Doe", "MR")
    for name, slices in (
        ("4: AX T1 W/O CONTRAST", 3.0),
        ("5: AX T2 TSE POST", 1.0),
        ("6: SWI flash post", 1.0),
        ("9: AX T1 W CONTRAST", 3.0),
    ):
        add(name, place, slices=slices)
    assert found() == {
        ("Doe", "MR"): {"t1c": "9: AX T1 W CONTRAST", "t1": "4: AX T1 W/O CONTRAST", "t2": "5: AX T2 TSE POST"}
    }


def test_a_folder_is_a_case_if_it_is_of_one(add: Add) -> None:
    one, many = folder("p1"), folder("all the others")
    add("T1 post", one)
    add("FLAIR", one)
    for name in ("p2 T1c", "p2 FLAIR", "p3 T1c"):
        add(name, many)
    assert found() == {
        ("p1", "p1"): {"t1c": "T1 post", "flair": "FLAIR"},
        ("p2", "p2"): {"t1c": "p2 T1c", "flair": "p2 FLAIR"},
        ("p3", "p3"): {"t1c": "p3 T1c"},
    }


def test_else_names_that_begin_alike_are_of_a_case(add: Add) -> None:
    for name in ("Doe AX T1 post", "Doe SAG T2", "BraTS-MET-00001-000-t1c", "BraTS-MET-00001-000-t2f", "Roe FLAIR"):
        add(name, file=Path("/scene") / f"{name}.nrrd")
    assert found() == {
        ("Doe", "Doe"): {"t1c": "Doe AX T1 post", "t2": "Doe SAG T2"},
        ("BraTS-MET-00001-000",) * 2: {"t1c": "BraTS-MET-00001-000-t1c", "flair": "BraTS-MET-00001-000-t2f"},
        ("Roe", "Roe"): {"flair": "Roe FLAIR"},
    }, "Roe's is not taken for another's; that a post-contrast T1 is missing is said when the case is opened"


def test_else_files_of_a_folder_are_of_a_case(add: Add) -> None:
    """Where a folder holds several patients, nothing tells whose the other sequences are."""
    for name, place in (("t1c", "p1"), ("flair", "p1"), ("t1c_1", "p2"), ("t2", "p2")):
        add(name, file=Path("/data") / place / "x.nrrd")
    for name in ("t1c_2", "t1c_3", "t2_1"):
        add(name, file=Path("/data/mixed/x.nrrd"))
    add("T1 post")
    assert found() == {
        ("p1", "p1"): {"t1c": "t1c", "flair": "flair"},
        ("p2", "p2"): {"t1c": "t1c_1", "t2": "t2"},
        ("t1c_2", "t1c_2"): {"t1c": "t1c_2"},
        ("t1c_3", "t1c_3"): {"t1c": "t1c_3"},
        ("T1 post", "T1 post"): {"t1c": "T1 post"},
    }


def test_an_annotation_is_found_by_its_volume_its_place_or_its_name(add: Add) -> None:
    add("p1 T1c")
    flair = add("p1 FLAIR")
    add("p10 T1c")
    add("AX T1 POST", study("Doe", "MR"))
    add("t1c", file=Path("/data/p4/t1c.nrrd"))
    add("p5 T1c")
    own = {
        "p1": segmentation("drawn on FLAIR", flair),
        "p10": segmentation("p10 lesions"),
        "MR": segmentation("lesions"),
        "p4": segmentation("annotation"),
    }
    tree().CreateItem(tree().GetItemByName("MR"), own["MR"])
    own["p4"].AddDefaultStorageNode()
    own["p4"].GetStorageNode().SetFileName("/data/p4/annotation.seg.nrrd")
    segmentation("p5 mine")
    segmentation("p5 of a colleague")
    assert {case.case: case.annotation for case in sceneCases()} == {**own, "p5": None}, "of two, none is taken"


def test_a_review_in_the_scene_comes_with_its_own_annotation(add: Add, tmp_path: Path) -> None:
    reference = add("p1 T1c")
    segmentation("p1 old")
    annotation = segmentation("accepted into")
    suggestions = add_suggestions(reference, tmp_path)
    suggestions.SetNodeReferenceID(ANNOTATION_REFERENCE, annotation.GetID())
    [case] = sceneCases()
    assert (case.suggestions, case.annotation) == (suggestions, annotation)


def test_what_a_worklist_loaded_and_what_is_no_image_is_no_case(add: Add) -> None:
    add("p1 T1c")
    add("p2 t1c").SetAttribute(CASE_ATTRIBUTE, "p2")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "p3 T1c")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "p4 T1c labels")
    assert list(found()) == [("p1", "p1")]


def test_what_cannot_be_told_apart_is_said(add: Add) -> None:
    with pytest.raises(RuntimeError, match="No volume's name says which sequence it is; call them as in: Doe T1c"):
        sceneCases()
    for _ in range(2):
        add("T1 post", study("Doe", "MR"))
    with pytest.raises(RuntimeError, match="Two cases of the scene are called Doe, MR; rename one"):
        sceneCases()
