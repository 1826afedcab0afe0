"""Readers' files, and the layouts that others keep their cases in."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.dataset.cases import find_cases
from lopsided.dataset.commands import DEFAULT_KEY
from lopsided.dataset.inputs import marked, outlined, read_markups
from lopsided.dataset.pseudonyms import read_key
from lopsided.dataset.records import CaseRecord, read_record
from lopsided.errors import InputError
from lopsided.marks import BoxMark, Ellipsoid, Line, Point
from lopsided.review import CANDIDATES, ReviewLog, ReviewSession, Status, about
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import Geometry, Volume, to_sitk
from lopsided_training.dataset import read_dataset
from pydantic import TypeAdapter
from typer.testing import CliRunner

Run = Callable[..., str]


@pytest.fixture
def scan(head: Callable[..., Volume], oblique: Geometry) -> Volume:
    return head(oblique)


def write(volume: Volume, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path))
    return path


def labels(scan: Volume, *boxes: tuple[int, int, int, int]) -> Volume:
    """Cubes of 4 voxels at k, j, i with a value."""
    array = np.zeros(scan.geometry.shape, np.uint8)
    for k, j, i, value in boxes:
        array[k : k + 4, j : j + 4, i : i + 4] = value
    return Volume(array, scan.geometry, "labels")


@pytest.fixture
def run() -> Run:
    """A command, and what it printed; ``fails`` for one that must end with an error of the user's."""
    from lopsided.cli import app

    def run(*arguments: object, fails: bool = False) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if fails:
            assert isinstance(result.exception, InputError), result.output
            return str(result.exception)
        assert result.exit_code == 0, (result.output, result.exception)
        return " ".join(result.output.split())

    return run


def test_each_connected_piece_is_a_lesion(scan: Volume, tmp_path: Path) -> None:
    path = write(labels(scan, (4, 10, 10, 1), (7, 13, 13, 2), (20, 30, 30, 1)), tmp_path / "labels.nii.gz")
    assert sorted(int(lesion.region.mask.sum()) for lesion in outlined(path, scan)) == [64, 127]
    assert len(outlined(path, scan, ("2",))) == 1
    assert {lesion.kind for lesion in outlined(path, scan)} == {"outlined"}


def test_an_accepted_suggestion_is_known_by_its_tag(scan: Volume, tmp_path: Path) -> None:
    tags = {"LopsidedSeg.Suggestion": "Suggestion_4", "LopsidedSeg.Model": "f" * 64}
    segments = [Segment("a", "Mine", 1, (1, 0, 0)), Segment("b", "Metastasis (suggested)", 2, (0, 1, 0), tags)]
    image = segmentation_image(labels(scan, (4, 10, 10, 1), (20, 30, 30, 2)).array, scan.geometry, segments)
    sitk.WriteImage(image, str(tmp_path / "annotation.seg.nrrd"))
    found = outlined(tmp_path / "annotation.seg.nrrd", scan)
    assert [(lesion.kind, lesion.candidate) for lesion in found] == [("suggestion", "Suggestion_4"), ("outlined", None)]
    assert found[0].region.box[0] == slice(20, 24)


def test_two_accepted_suggestions_of_one_name_are_both_known(scan: Volume, tmp_path: Path) -> None:
    """As two of the same size are called."""
    tags = [{"LopsidedSeg.Suggestion": f"Suggestion_{n}"} for n in (4, 7)]
    segments = [Segment(f"s{n}", "Metastasis (suggested, 5.2 mm)", n + 1, (0, 1, 0), tags[n]) for n in (0, 1)]
    image = segmentation_image(labels(scan, (4, 10, 10, 1), (20, 30, 30, 2)).array, scan.geometry, segments)
    sitk.WriteImage(image, str(tmp_path / "annotation.seg.nrrd"))
    found = outlined(tmp_path / "annotation.seg.nrrd", scan)
    assert [(lesion.candidate, lesion.region.box[0].start) for lesion in found] == [
        ("Suggestion_4", 4),
        ("Suggestion_7", 20),
    ]


def test_a_segments_name_may_be_anothers_number(scan: Volume, tmp_path: Path) -> None:
    """As where the reader numbers their own, and accepts a suggestion in between."""
    tags = [{}, {"LopsidedSeg.Suggestion": "Suggestion_4"}, {}]
    segments = [Segment(f"s{n}", name, n + 1, (0, 1, 0), tags[n]) for n, name in enumerate(("1", "Metastasis", "2"))]
    boxes = ((4, 10, 10, 1), (12, 40, 10, 2), (20, 30, 30, 3))
    sitk.WriteImage(
        segmentation_image(labels(scan, *boxes).array, scan.geometry, segments), str(tmp_path / "a.seg.nrrd")
    )
    found = outlined(tmp_path / "a.seg.nrrd", scan)
    assert [(lesion.candidate, lesion.region.box[0].start) for lesion in found] == [
        ("Suggestion_4", 12),
        (None, 4),
        (None, 20),
    ]


def markups(path: Path, *content: dict[str, object], system: str = "LPS") -> Path:
    path.write_text(json.dumps({"markups": [{"coordinateSystem": system, **c} for c in content]}), encoding="utf-8")
    return path


def control(*position: float, description: str = "") -> dict[str, object]:
    return {"position": position, "description": description, "positionStatus": "defined"}


def test_slicers_markups_are_read_in_either_system(tmp_path: Path) -> None:
    point = {"type": "Fiducial", "controlPoints": [control(1, 2, 3, description="6,5")]}
    roi = {"type": "ROI", "center": [4, 5, 6], "size": [7, 8, 9], "orientation": [0, -1, 0, 1, 0, 0, 0, 0, 1]}
    box = {**roi, "controlPoints": [control(4, 5, 6)]}
    round_ = {**roi, "controlPoints": [control(4, 5, 6, description="ellipsoid")]}
    axes = ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert read_markups(markups(tmp_path / "a.mrk.json", point, box, round_)) == [
        Point((1, 2, 3), 6.5),
        BoxMark((4, 5, 6), (7, 8, 9), axes),
        Ellipsoid((4, 5, 6), (7, 8, 9), axes),
    ]
    assert read_markups(markups(tmp_path / "b.mrk.json", point, box, system="RAS")) == [
        Point((-1, -2, 3), 6.5),
        BoxMark((-4, -5, 6), (7, 8, 9), ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))),
    ]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({}, (1, 2, 3)),
        ({"coordinateSystem": "1"}, (1, 2, 3)),
        ({"coordinateSystem": "0"}, (-1, -2, 3)),
        ({"coordinateUnits": "mm"}, (1, 2, 3)),
        ({"coordinateUnits": ["mm", "UCUM", "millimeter"]}, (1, 2, 3)),
        ({"coordinateSystem": "ras"}, "in 'ras'; save the markups from Slicer, in LPS or RAS"),
        ({"coordinateSystem": "IJK"}, "in 'IJK'; save the markups from Slicer, in LPS or RAS"),
        ({"coordinateSystem": None}, "in None; save the markups from Slicer, in LPS or RAS"),
        ({"coordinateUnits": "cm"}, "in units of 'cm'; give them in mm"),
        ({"coordinateUnits": ["cm", "UCUM", "centimeter"]}, r"in units of \['cm', .*; give them in mm"),
        ({"coordinateUnits": 1}, "is no Slicer markups file"),
    ],
)
def test_a_point_is_where_its_coordinates_say_or_nowhere(
    tmp_path: Path, written: dict[str, object], found: tuple[float, float, float] | str
) -> None:
    point = {"type": "Fiducial", "controlPoints": [control(1, 2, 3, description="6.5")], **written}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [point]}), encoding="utf-8")
    if isinstance(found, tuple):
        assert read_markups(tmp_path / "a.mrk.json") == [Point(found, 6.5)]
    else:
        with pytest.raises(InputError, match=rf"a\.mrk\.json: .*{found}"):
            read_markups(tmp_path / "a.mrk.json")


def test_two_crossed_lines_are_one_lesion_and_a_third_apart_is_another(tmp_path: Path) -> None:
    def line(*ends: tuple[float, float, float]) -> dict[str, object]:
        return {"type": "Line", "controlPoints": [control(*end) for end in ends]}

    short, long = line((0, -3, 0), (0, 3, 0)), line((-5, 0, 0), (5, 0, 0))
    apart = line((30, 0, 0), (38, 0, 0))
    found = [Line(((-5, 0, 0), (5, 0, 0)), ((0, -3, 0), (0, 3, 0))), Line(((30, 0, 0), (38, 0, 0)))]
    assert read_markups(markups(tmp_path / "all.mrk.json", short, long, apart)) == found
    each = [markups(tmp_path / f"{n}.mrk.json", content) for n, content in enumerate((short, apart, long))]
    assert read_markups(*each) == found, "as Slicer saves them"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"type": "Fiducial", "controlPoints": [control(1, 2, 3)]}, "a point has no diameter"),
        (
            {"type": "Fiducial", "controlPoints": [control(1, 2, 3, description="5"), control(9, 2, 3)]},
            "a point has no diameter",
        ),
        ({"type": "Curve", "controlPoints": []}, "a Curve is no mark"),
        ({"type": "Fiducial", "controlPoints": [control(900, 0, 0, description="5")]}, "lies outside of"),
        ({"type": "Fiducial", "controlPoints": [control(31, -22, 47, description="-5")]}, "and no number above 0"),
        (
            {"type": "Fiducial", "controlPoints": [control(31, -22, 47, description="5 mm")]},
            "description is '5 mm', and no number above 0; give its diameter in mm there, as 4.5",
        ),
        ({"type": "Line", "controlPoints": [control(31, -22, 47)]}, "a line has 1 end; place both, or delete it"),
        ({}, "no Slicer markups file"),
    ],
)
def test_what_is_no_mark_is_said(scan: Volume, tmp_path: Path, content: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        marked([(mark, None) for mark in read_markups(markups(tmp_path / "a.mrk.json", content))], scan)
    assert "InputError" not in str(raised.value), "one sentence, not one in another"


def test_what_is_no_file_of_marks_is_said_in_few_words(tmp_path: Path) -> None:
    (tmp_path / "t1c.nii.gz").write_bytes(bytes(range(256)) * 9)
    for name, sentence in (("t1c.nii.gz", "is no Slicer markups file"), ("none.mrk.json", "No such file .*; check")):
        with pytest.raises(InputError, match=sentence) as raised:
            read_markups(tmp_path / name)
        assert len(str(raised.value)) < len(str(tmp_path)) + 100


def test_a_case_from_the_command_line(scan: Volume, tmp_path: Path, run: Run) -> None:
    """An outlined lesion, a coarse mark, and a review with an accepted, a rejected and an undecided suggestion."""
    image = write(scan, tmp_path / "t1c.nii.gz")
    annotation = write(labels(scan, (4, 10, 10, 1)), tmp_path / "annotation.nii.gz")
    centre = scan.geometry.physical(np.array([15, 30, 26]))
    marks = markups(
        tmp_path / "marks.mrk.json", {"type": "Fiducial", "controlPoints": [control(*centre, description="8")]}
    )
    result = tmp_path / "result"
    result.mkdir()
    boxes = ((20, 40, 30, 1), (20, 20, 30, 2), (8, 40, 40, 3), (8, 50, 40, 4))
    segments = [Segment(f"Suggestion_{n}", f"Suggestion {n}", n, (1, 0, 0)) for n in (1, 2, 3, 4)]
    found = segmentation_image(labels(scan, *boxes).array, scan.geometry, segments)
    sitk.WriteImage(found, str(result / "suggestions.seg.nrrd"))
    candidates = [
        {
            "rank": n,
            "label": n,
            "confidence": 1 - n / 5,
            "peak_probability": 0.9,
            "volume_mm3": 9,
            "longest_diameter_mm": 3,
        }
        | {"centroid_lps": [0, 0, 0], "centroid_ras": [0, 0, 0], "distance_to_annotated_mm": None}
        for n in (1, 2, 3, 4)
    ]
    record = {
        "software": "x",
        "notice": "x",
        "created": "x",
        "sequences": {"t1c": "t1c.nii.gz"},
        "reference_grid": json.loads(TypeAdapter(Geometry).dump_json(scan.geometry)),
        "annotation": {},
        "annotation_left_out": [],
        "recognised": [0.9, 0.3, 0.2],
        "model": {"name": "m", "digest": "f" * 64, "threshold": 0.3, "operating_points": []},
        "threshold": 0.0,
        "margin_mm": 2,
        "candidates": candidates,
    }
    (result / CANDIDATES).write_text(json.dumps(record), encoding="utf-8")
    session = ReviewSession([f"Suggestion_{n}" for n in (1, 2, 3, 4)], "Dr. Ray", about(record))
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.3)
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.3)
    log = ReviewLog(tmp_path, "study", session)
    log.write()
    common = ("--to", tmp_path / "dataset", "--key", tmp_path / "key", "--patient", "P", "--reader", "R")
    more = ("--annotation", annotation, "--marks", marks, "--result", result, "--review", log.path)
    said = run("export", image, *more, *common)
    assert "3 lesions (outlined: 1, point: 1, suggestion: 1), 3 suggestions" in said
    [case] = read_dataset(tmp_path / "dataset")
    [reading] = read_record(tmp_path / "dataset" / "reviews" / f"{case.name}.json", CaseRecord).readings
    assert [s.status for s in reading.suggestions] == ["accepted", "rejected", "pending"], "the fourth was not shown"
    assert (reading.model, reading.threshold, reading.recognised) == ("f" * 64, 0.3, 2)
    [point] = [lesion for lesion in reading.lesions if lesion.kind == "point"]
    np.testing.assert_allclose(point.centroid_lps, centre, atol=0.2)
    assert case.trust is not None
    trust = sitk.GetArrayFromImage(sitk.ReadImage(str(case.trust)))
    assert (trust[20:24, 20:24, 30:34] == 1).all()
    assert (trust[20:24, 40:44, 30:34] == 2).all()
    assert "no problem" in run("dataset", "check", tmp_path / "dataset")
    page = tmp_path / "stats.html"
    said = run("dataset", "stats", tmp_path / "dataset", "--html", page)
    assert "1 case, 0 looked at as a whole" in said
    assert "1 cases" not in said
    assert "<svg" in page.read_text(encoding="utf-8")
    assert "Coarse-label dataset: 1 case, 0 looked at as a whole; 3 lesions." in page.read_text(encoding="utf-8")
    (case.label).unlink()
    assert "3 problems" in run("dataset", "check", tmp_path / "dataset", fails=True)
    nowhere = tmp_path / "datset"
    assert "dataset.json: is missing" in run("dataset", "remove", nowhere, case.name, fails=True)
    assert not nowhere.exists()
    said = run("dataset", "remove", tmp_path / "dataset", case.name)
    assert said.startswith(f"{case.name}: 5 files removed from"), said
    assert "no problem" in run("dataset", "check", tmp_path / "dataset")
    assert "belong together" in run("export", image, *common, "--review", log.path, fails=True)
    moved = replace(scan, geometry=replace(scan.geometry, origin=(0.0, 0.0, 0.0)))
    elsewhere, same_grid = write(moved, tmp_path / "moved" / "t1c.nii.gz"), write(scan, tmp_path / "another.nii.gz")
    reviewed = ("--result", result, "--review", log.path)
    for other in (elsewhere, same_grid):
        said = run("export", other, *reviewed, *common, fails=True)
        assert f"searched in another image than {other.name}, in t1c.nii.gz; give that one" in said
    (result / CANDIDATES).write_text(json.dumps(record | {"created": "later, or of another patient"}), encoding="utf-8")
    assert "is the review of another search" in run("export", image, *reviewed, *common, fails=True)
    header, _first, second = log.path.read_bytes().splitlines()
    log.path.write_bytes(b"\n".join([header, b"\0" * 40, second, b""]))
    said = run("export", image, *reviewed, *common, fails=True)
    assert said == f"{log.path}: line 2 is spoilt; restore it from a copy"


def test_what_the_command_is_told_of_a_case(scan: Volume, tmp_path: Path, run: Run) -> None:
    image, flair = write(scan, tmp_path / "t1c.nii.gz"), write(brighter(scan, 1), tmp_path / "flair.nii.gz")
    annotation = write(labels(scan, (4, 10, 10, 1), (20, 30, 30, 2)), tmp_path / "annotation.nii.gz")
    centre = scan.geometry.physical(np.array([15, 30, 26]))
    point = {"type": "Fiducial", "controlPoints": [control(*centre, description="8")]}
    common = ("--to", tmp_path / "to", "--key", tmp_path / "key", "--patient", "P", "--reader", "R", "--case", "7")
    marks = ("--marks", markups(tmp_path / "marks.mrk.json", point), "--snap")
    run("export", image, "--flair", flair, "--annotation", annotation, "--labels", "2", *marks, "--whole-case", *common)
    name = read_key(tmp_path / "key").of("C", "P", "7")
    record = read_record(tmp_path / "to" / "reviews" / f"{name}.json", CaseRecord)
    [reading] = record.readings
    assert (set(record.images), reading.whole_case) == ({"t1c", "flair"}, True)
    assert {lesion.kind: lesion.snapped for lesion in reading.lesions} == {"outlined": False, "point": True}
    there = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "to" / "labelsTr" / f"{name}.nii.gz")))
    assert (there[4:8, 10:14, 10:14].any(), there[20:24, 30:34, 30:34].all()) == (False, True)


def brighter(scan: Volume, by: int) -> Volume:
    return Volume(scan.array + by, scan.geometry, scan.name)


def brats(folder: Path, scan: Volume) -> None:
    for n, name in enumerate(("BraTS-MET-00001-000", "BraTS-MET-00001-001")):
        for ending in ("t1c", "t1n", "t2f", "t2w"):
            write(brighter(scan, n), folder / name / f"{name}-{ending}.nii.gz")
        write(labels(scan, (4, 10, 10, 3)), folder / name / f"{name}-seg.nii.gz")


def bids(folder: Path, scan: Volume) -> None:
    for name in ("sub-01_ce-gd_T1w", "sub-01_T1w", "sub-01_T2w", "sub-01_FLAIR"):
        write(scan, folder / "sub-01" / "anat" / f"{name}.nii.gz")
    for name in ("sub-01_space-T1_label-brain_mask", "sub-01_space-T1_label-lesion_mask"):
        write(labels(scan, (4, 10, 10, 1)), folder / "derivatives" / "manual" / "sub-01" / "anat" / f"{name}.nii.gz")


def nnunet(folder: Path, scan: Volume) -> None:
    header = {"channel_names": {"0": "FLAIR", "1": "T1 post contrast"}, "labels": {"background": 0, "met": 1}}
    for n in (0, 1):
        write(scan, folder / "imagesTr" / f"met_001_{n:04d}.nii.gz")
    write(labels(scan, (4, 10, 10, 1)), folder / "labelsTr" / "met_001.nii.gz")
    (folder / "dataset.json").write_text(json.dumps(header | {"numTraining": 1, "file_ending": ".nii.gz"}))


def table(folder: Path, scan: Volume) -> None:
    write(scan, folder / "images" / "eins.nii.gz")
    write(brighter(scan, 1), folder / "images" / "zwei.nii.gz")
    write(labels(scan, (4, 10, 10, 1), (20, 30, 30, 2)), folder / "labels" / "eins.nii.gz")
    rows = "patient,case,t1c,annotation,labels,reader,whole_case\nMüller,eins,images/eins.nii.gz,labels/eins.nii.gz,1,A,yes\n"
    (folder / "cases.csv").write_text(rows + ",,images/zwei.nii.gz,,,,\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "cases", "channels", "lesions"),
    [
        (brats, 2, {"t1c", "t1", "t2", "flair"}, 2),
        (bids, 1, {"t1c", "t1", "t2", "flair"}, 1),
        (nnunet, 1, {"t1c", "flair"}, 1),
        (table, 2, {"t1c"}, 1),
    ],
)
def test_cases_of_others_become_a_dataset(
    scan: Volume,
    tmp_path: Path,
    run: Run,
    make: Callable[[Path, Volume], None],
    cases: int,
    channels: set[str],
    lesions: int,
) -> None:
    folder, to = tmp_path / "theirs", tmp_path / "ours [all]"
    make(folder, scan)
    source = folder / "cases.csv" if make is table else folder
    said = run("dataset", "import", source, "--to", to, "--reader", "them", "--key", tmp_path / "key")
    assert "[all]" in said
    found = read_dataset(to)
    assert len(found) == cases
    assert {name for case in found for name in case.images} == channels
    assert sum(bool(case.truth(case.study().reference).array.any()) for case in found) == lesions
    assert ("no problem" if make is not brats else "the patient has several cases") in run("dataset", "check", to)


def test_a_list_has_the_last_word_on_readers_labels_and_whole_cases(scan: Volume, tmp_path: Path, run: Run) -> None:
    """And where it says nothing the command has."""
    table(tmp_path, scan)
    rows = "patient,case,t1c,annotation,labels,reader,whole_case\n"
    rows += ",1,images/eins.nii.gz,labels/eins.nii.gz,1,A,yes\n,2,images/zwei.nii.gz,labels/eins.nii.gz,,,\n"
    rows += ",3,images/zwei.nii.gz,labels/eins.nii.gz,,,no\n"
    (tmp_path / "cases.csv").write_text(rows, encoding="utf-8")
    key = read_key(tmp_path / "key")
    for whole_case in (False, True):
        to = tmp_path / f"to {whole_case}"
        common = ("--to", to, "--key", tmp_path / "key", "--reader", "B", "--labels", "2")
        run("dataset", "import", tmp_path / "cases.csv", *common, *(["--whole-case"] if whole_case else []))
        for case, reader, whole, first in (("1", "A", True, 4), ("2", "B", whole_case, 20), ("3", "B", False, 20)):
            name = key.of("C", case, case)
            [reading] = read_record(to / "reviews" / f"{name}.json", CaseRecord).readings
            assert (reading.reader, reading.whole_case, len(reading.lesions)) == (key.of("R", reader), whole, 1)
            there = sitk.GetArrayFromImage(sitk.ReadImage(str(to / "labelsTr" / f"{name}.nii.gz")))
            assert np.argwhere(there)[0][0] == first


def test_a_case_may_lack_labels_that_others_have(scan: Volume, tmp_path: Path, run: Run) -> None:
    """Or all of them; a label that none has was mistyped."""
    for name, boxes in {"both": ((4, 10, 10, 1), (20, 30, 30, 3)), "first": ((4, 10, 10, 1),), "none": ()}.items():
        write(scan, tmp_path / "theirs" / f"{name}-t1c.nii.gz")
        write(labels(scan, *boxes), tmp_path / "theirs" / f"{name}-seg.nii.gz")
    common = ("dataset", "import", tmp_path / "theirs", "--reader", "r", "--key", tmp_path / "key")
    said = run(*common, "--to", tmp_path / "to", "--labels", "1,4,3", fails=True)
    assert "theirs: no annotation has a label '4'; the first has 'label 1' (1), 'label 3' (3): give names" in said
    assert not (tmp_path / "to").exists()
    assert "3 of 3 cases imported" in run(*common, "--to", tmp_path / "to", "--labels", "1,3")
    key = read_key(tmp_path / "key")
    for name, lesions in (("both", 2), ("first", 1), ("none", 0)):
        [reading] = read_record(tmp_path / "to" / "reviews" / f"{key.of('C', name, name)}.json", CaseRecord).readings
        assert len(reading.lesions) == lesions


def test_a_label_that_a_damaged_annotation_may_have_is_not_refused(scan: Volume, tmp_path: Path, run: Run) -> None:
    """But it is said, for it may be mistyped all the same, and what it was to be is negative then."""
    for n, name in enumerate(("damaged", "whole")):
        write(brighter(scan, n), tmp_path / "theirs" / f"{name}-t1c.nii.gz")
        path = write(labels(scan, (4, 10, 10, 1)), tmp_path / "theirs" / f"{name}-seg.nii.gz")
        if name == "damaged":
            path.write_bytes(path.read_bytes()[:-100])
    common = ("--to", tmp_path / "to", "--reader", "r", "--key", tmp_path / "key")
    said = run("dataset", "import", tmp_path / "theirs", *common, "--labels", "1,4", fails=True)
    assert said.startswith("1 case could not be imported"), said
    assert "damaged-seg.nii.gz: is damaged" in said
    from lopsided.cli import app

    output = CliRunner().invoke(
        app, [str(a) for a in ("dataset", "import", tmp_path / "theirs", *common, "--labels", "1,4")]
    )
    assert "No annotation that could be read has a label '4'; the first has 'label 1' (1)." in " ".join(
        output.output.split()
    )
    assert len(read_dataset(tmp_path / "to")) == 1


def test_a_case_that_is_labelled_and_has_none_of_the_labels_is_said(scan: Volume, tmp_path: Path, run: Run) -> None:
    """Its lesions may have other values than those of the other cases have."""
    for n, (name, boxes) in enumerate({"one": ((4, 10, 10, 4),), "other": ((4, 10, 10, 1),), "none": ()}.items()):
        write(brighter(scan, n), tmp_path / "theirs" / f"{name}-t1c.nii.gz")
        write(labels(scan, *boxes), tmp_path / "theirs" / f"{name}-seg.nii.gz")
    rows = "t1c,annotation,labels\n" + "".join(f"{n}-t1c.nii.gz,{n}-seg.nii.gz,4\n" for n in ("one", "other", "none"))
    (tmp_path / "theirs" / "cases.csv").write_text(rows, encoding="utf-8")
    sentence = ": its annotation has none of the labels '4', but 'label 1' (1), so it has no lesion"
    for source, *asked in ((tmp_path / "theirs", "--labels", "4"), (tmp_path / "theirs" / "cases.csv",)):
        common = (
            "dataset",
            "import",
            source,
            *asked,
            "--reader",
            "r",
            "--key",
            tmp_path / "key",
            "--to",
            tmp_path / "to",
        )
        said = run(*common)
        assert f"other{sentence}" in said.replace("other-t1c", "other")
        assert said.count(sentence) == 1
        assert "negative" not in said
        said = run(*common, "--whole-case").replace("other-t1c", "other")
        assert (
            "other: none of the labels, so all of it is negative; if that is wrong, name those that it has too" in said
        )


def test_labels_of_nnunet_are_named_in_its_dataset(scan: Volume, tmp_path: Path, run: Run) -> None:
    nnunet(tmp_path / "theirs", scan)
    described = json.loads((tmp_path / "theirs" / "dataset.json").read_text(encoding="utf-8"))
    described["labels"] = {"background": 0, "tumour": [2, 3], "met": 1}
    (tmp_path / "theirs" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    common = (
        "dataset",
        "import",
        tmp_path / "theirs",
        "--to",
        tmp_path / "to",
        "--reader",
        "r",
        "--key",
        tmp_path / "k",
    )
    said = run(*common, "--labels", "oedema", fails=True)
    assert r"dataset.json: declares the labels background, tumour, met, not oedema; give names or values" in said
    described["labels"]["whole tumour"] = [1, 2, 3]
    (tmp_path / "theirs" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    for named in ("met", "1", "whole tumour", "tumour,met"):  # a region, of which no case has all values, too
        assert "1 of 1 case imported" in run(*common, "--labels", named)
    [case] = read_dataset(tmp_path / "to")
    assert case.truth(case.study().reference).array.sum() == 64


def test_what_is_left_out_of_an_annotation_is_said(scan: Volume, tmp_path: Path, run: Run) -> None:
    """Of an image that shows less than was annotated."""
    size = scan.geometry.size
    part = Volume(scan.array[:18], replace(scan.geometry, size=(size[0], size[1], 18)), "part")
    image = write(part, tmp_path / "P-t1c.nii.gz")
    annotation = write(labels(scan, (4, 10, 10, 1), (16, 20, 20, 1), (20, 30, 30, 1)), tmp_path / "P-seg.nii.gz")
    common = ("--to", tmp_path / "to", "--key", tmp_path / "key", "--reader", "R")
    sentence = "eyond the image's edge, and left out there: 2 annotated lesions, wholly or in part"
    assert f"P: b{sentence}" in run("dataset", "import", tmp_path, *common)
    assert f"B{sentence}" in run("export", image, "--annotation", annotation, *common, "--patient", "P")


def test_sequences_that_the_first_case_of_a_dataset_lacks_are_said(scan: Volume, tmp_path: Path, run: Run) -> None:
    for n, name in enumerate("abc"):
        write(brighter(scan, n), tmp_path / "theirs" / f"{name}-t1c.nii.gz")
    for name in "bc":
        write(scan, tmp_path / "theirs" / f"{name}-t2f.nii.gz")
    common = ("--to", tmp_path / "to", "--key", tmp_path / "key", "--reader", "R")
    said = run("dataset", "import", tmp_path / "theirs", *common)
    assert f"FLAIR of 2 cases left out, for the first case of {tmp_path / 'to'} has none; to keep it, make" in said
    [image, flair] = [tmp_path / "theirs" / f"b-{name}.nii.gz" for name in ("t1c", "t2f")]
    assert "FLAIR of 1 case left out" in run("export", image, "--flair", flair, *common, "--patient", "d")
    assert "left out" not in run("export", image, *common, "--patient", "d")


def test_studies_that_are_no_cases_are_said(scan: Volume, tmp_path: Path, run: Run) -> None:
    """Of nnU-Net those without labels, of BIDS those without a ce- entity, and masks where none is of lesions."""
    nnunet(tmp_path / "theirs", scan)
    for n in range(6):
        write(scan, tmp_path / "theirs" / "imagesTr" / f"unread_{n}_0000.nii.gz")
    common = ("--reader", "r", "--key", tmp_path / "k")
    said = run("dataset", "import", tmp_path / "theirs", "--to", tmp_path / "ours", *common)
    names = "unread_0, unread_1, unread_2, unread_3, unread_4, …"
    assert f"6 studies left out, imaged without labels in labelsTr/: {names}" in said
    bids(tmp_path / "bids", scan)
    bids_names(tmp_path / "bids", ("acq-post_T1w",), (), "sub-02")
    bids_names(tmp_path / "bids", ("FLAIR",), (), "sub-03")
    said = run("dataset", "import", tmp_path / "bids", "--to", tmp_path / "other", *common)
    assert "1 study left out, T1w without a ce- entity, which post-contrast T1 has: sub-02" in said
    assert "mask left out" not in said
    derived = bids_names(tmp_path / "unknown", ("ce-gd_T1w",), ("label-enhancing_mask",))
    (derived.parent / "sub-01_label-lesion_mask.nii.gz").touch()
    said_of: list[str] = []
    find_cases(tmp_path / "unknown", say=said_of.append)
    assert said_of == [
        "2 masks left out, not in anat/, or without lesion, tumor, tumour, metast in its name: "
        "derivatives/manual/sub-01/anat/sub-01_label-enhancing_mask.nii.gz, derivatives/manual/sub-01/sub-01_label-lesion_mask.nii.gz"
    ]
    bids_names(tmp_path / "none", ("acq-post_T1w",), (), "sub-02")
    with pytest.raises(
        InputError, match=r"no cases here \(1 study left out, T1w without a ce- entity, .*: sub-02\); give"
    ):
        find_cases(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (
            {"modality": {"0": "T1Gd"}, "labels": {"0": "background", "1": "met"}},
            "is of nnU-Net v1, and v2's is read; convert",
        ),
        (
            {"channel_names": {"0": "T1Gd"}, "file_ending": ".nrrd"},
            r"its files end in \.nrrd, and in this .* CSV that lists",
        ),
    ],
)
def test_what_of_nnunet_is_not_read_is_not_called_broken(
    tmp_path: Path, header: dict[str, object], sentence: str
) -> None:
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "a.nii.gz").touch()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {}, "numTraining": 1} | header), encoding="utf-8")
    for read in (find_cases, read_dataset):
        with pytest.raises(InputError, match=f"dataset.json: {sentence}"):
            read(tmp_path)


def test_two_channels_of_one_sequence_are_refused(scan: Volume, tmp_path: Path) -> None:
    """Else one of them is taken, whichever it is."""
    nnunet(tmp_path, scan)
    described = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    described["channel_names"] = {"0": "T1Gd", "1": "T1 post contrast"}
    (tmp_path / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"channels 0 \(T1Gd\) and 1 \(T1 post contrast\) are both post-contrast T1; rename"
    ):
        find_cases(tmp_path)


def test_a_case_without_an_annotation_is_said_to_be(scan: Volume, tmp_path: Path, run: Run) -> None:
    """By patient and case; and what --whole-case makes of it."""
    table(tmp_path, scan)
    rows = "patient,case,t1c,annotation\nA,1,images/eins.nii.gz,labels/eins.nii.gz\nB,1,images/zwei.nii.gz,\n"
    (tmp_path / "cases.csv").write_text(rows, encoding="utf-8")
    common = ("dataset", "import", tmp_path / "cases.csv", "--reader", "r", "--key", tmp_path / "key", "--to")
    said = run(*common, tmp_path / "some")
    name, other = sorted(
        (path.name[: -len(".json")] for path in (tmp_path / "some" / "reviews").iterdir()), key=said.find
    )
    assert f"1/2 A 1 → {name} 2/2 B 1, 0 lesions (no annotation found) → {other} 2 of 2 cases imported into" in said
    assert "negative" not in said
    said = run(*common, tmp_path / "all", "--whole-case")
    assert (
        "B 1: no annotation found, so all of it is negative; if that is wrong, name the file as NAME-seg.nii.gz" in said
    )
    assert "A 1: no annotation" not in said


def test_no_trust_patient_or_reader_is_lost_by_an_import(scan: Volume, tmp_path: Path, run: Run) -> None:
    """A coarse-label dataset is none of others; of one with trust alone, --whole-case says as much."""
    nnunet(tmp_path / "theirs", scan)
    common = ("--reader", "r", "--key", tmp_path / "key")
    run("dataset", "import", tmp_path / "theirs", "--to", tmp_path / "ours", *common)
    again = ("dataset", "import", tmp_path / "ours", "--to", tmp_path / "again", *common)
    assert "ours: is a coarse-label dataset already, whose patients, readers and trust" in run(*again, fails=True)
    write(labels(scan, (4, 10, 10, 2)), tmp_path / "theirs" / "trust" / "met_001.nii.gz")
    trusted = ("dataset", "import", tmp_path / "theirs", "--to", tmp_path / "again", *common)
    assert "theirs: has trust/, which an import would lose; train on it as it is, or" in run(*trusted, fails=True)
    assert not (tmp_path / "again").exists()
    assert "1 of 1 case imported" in run(*trusted, "--whole-case")


def test_a_broken_case_is_named_and_the_others_go_on(scan: Volume, tmp_path: Path, run: Run) -> None:
    brats(tmp_path / "theirs", scan)
    broken = tmp_path / "theirs" / "BraTS-MET-00001-000" / "BraTS-MET-00001-000-t1c.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    to = tmp_path / "ours"
    sentence = run(
        "dataset", "import", tmp_path / "theirs", "--to", to, "--reader", "r", "--key", tmp_path / "k", fails=True
    )
    assert sentence.startswith("1 case could not be imported")
    assert "BraTS-MET-00001 BraTS-MET-00001-000: " in sentence
    assert len(read_dataset(to)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the names of files are Unicode")
def test_a_case_that_is_not_called_in_utf8_is_named_and_the_others_go_on(
    scan: Volume, tmp_path: Path, run: Run
) -> None:
    brats(tmp_path / "theirs", scan)
    for path in sorted((tmp_path / "theirs").rglob("BraTS-MET-00001-000*"), reverse=True):
        path.rename(path.with_name(path.name.replace("BraTS", os.fsdecode(b"M\xfcller"))))
    arguments = ("dataset", "import", tmp_path / "theirs", "--reader", "r", "--key", tmp_path / "k")
    sentence = run(*arguments, "--to", tmp_path / "ours", fails=True)
    assert r"M\xfcller-MET-00001 M\xfcller-MET-00001-000: " in sentence
    assert r"theirs/M\xfcller-MET-00001-000: its name is not in UTF-8" in sentence
    assert len(read_dataset(tmp_path / "ours")) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("t1c,flaire\na,b\n", "has columns t1c, flaire"),
        ("case,annotation\na,b\n", "has columns case"),
        ("t1c,case\n,b\n", "line 2: no t1c"),
        ("t1c,whole_case\na,perhaps\n", "write yes or no"),
        ("t1c,case\na,x\nb,x\n", r"line 3: x x is in line 2 already; give each case a name of its own"),
        ("t1c,patient,case,reader\na,P,1,A\nb,P ,1, A\n", "line 3: P 1 is in line 2 already"),
        ("t1c,patient,case\na,M\xfcller,1\nb,Mu\u0308ller,1\n", "line 3: M\xfcller 1 is in line 2 already"),
        ("t1c,case,reader\na,1,A\na,1,B\n", "1 1 is there twice; it was read by A and B: give a list for each reader"),
        ("t1c\n", "no cases here"),
        ("t1c,labels,labels\na,1,3\n", r"cases\.csv: has the column labels twice; take one of them out"),
        ("case,t1c,labels\nx,a,1\ny,b,1,3\n", r'line 3: has more cells than .* \(3\); put .* marks, as in "1,3"'),
        ('t1c,case\na,x\n"b,y\nc,z\n', r"cases\.csv, line 3: is no line of a CSV"),
        ('t1c,case\na,"x"y\n', "line 2: is no line of a CSV"),
        ('t1c,"case\na,x\n', "line 1: is no line of a CSV"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "cases.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        find_cases(tmp_path / "cases.csv")


def test_a_list_may_be_in_excels_utf8_but_not_in_a_code_page(tmp_path: Path) -> None:
    path, content = tmp_path / "cases.csv", "patient,t1c\nMüller,a.nii.gz\n"
    path.write_text(content, encoding="utf-8-sig")
    assert [case.patient for case in find_cases(path)] == ["Müller"]
    path.write_text(content.replace(",", ";"), encoding="utf-8-sig")  # where a comma is the decimal point
    assert [case.patient for case in find_cases(path)] == ["Müller"]
    path.write_text(content, encoding="cp1252")
    with pytest.raises(InputError, match=r"cases\.csv: is no text in UTF-8; save it as CSV in UTF-8"):
        find_cases(path)


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("", ()),
        ("1 4", ("1", "4")),
        ("1,4", ("1", "4")),
        ("Metastasis 1, Metastasis 2", ("Metastasis 1", "Metastasis 2")),
        ("Metastasis 1,", ("Metastasis 1",)),
    ],
)
def test_a_lists_labels_may_have_spaces_in_their_names(tmp_path: Path, written: str, labels: tuple[str, ...]) -> None:
    for mark in ",;":
        content = f't1c{mark}labels\na.nii.gz{mark}"{written}"\n'
        (tmp_path / "cases.csv").write_text(content, encoding="utf-8")
        assert [case.labels for case in find_cases(tmp_path / "cases.csv")] == [labels]
    (tmp_path / "cases.csv").write_text('t1c,labels\na.nii.gz," ,"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"cases\.csv, line 2: labels ',' names none; name those that are lesions"):
        find_cases(tmp_path / "cases.csv")


def test_blanks_around_a_cell_do_not_count_nor_how_an_accent_is_encoded(tmp_path: Path) -> None:
    content = " t1c ; patient;annotation;labels;reader\n a.nii.gz;Mu\u0308ller ; ;\u00a0Mu\u0308de , 4; \n"
    (tmp_path / "cases.csv").write_text(content, encoding="utf-8")
    [case] = find_cases(tmp_path / "cases.csv")
    assert (case.patient, case.case, case.reader, case.labels) == ("M\xfcller", "a", "", ("M\xfcde", "4"))
    assert (case.sequences, case.annotation) == ({"t1c": tmp_path / "a.nii.gz"}, None)


def test_a_case_may_be_listed_once_for_each_reader(scan: Volume, tmp_path: Path, run: Run) -> None:
    table(tmp_path, scan)
    rows = "patient,case,t1c,annotation,labels,reader\n" + "".join(
        f"P,1,images/eins.nii.gz,labels/eins.nii.gz,{label},{reader}\n" for label, reader in (("1", "A"), ("2", ""))
    )
    (tmp_path / "cases.csv").write_text(rows, encoding="utf-8")
    arguments = ("dataset", "import", tmp_path / "cases.csv", "--to", tmp_path / "to", "--key", tmp_path / "key")
    said = run(*arguments, "--reader", " A", fails=True)
    assert "P 1 is there twice as read by A, once as --reader; name the reader of each in the list" in said
    assert "2 of 2 cases imported" in run(*arguments, "--reader", "B")
    key = read_key(tmp_path / "key")
    record = read_record(tmp_path / "to" / "reviews" / f"{key.of('C', 'P', '1')}.json", CaseRecord)
    assert {reading.reader for reading in record.readings} == {key.of("R", "A"), key.of("R", "B")}
    with pytest.raises(InputError, match="P 1 is there twice; it was read by A and one who is not named: give a list"):
        read_dataset(tmp_path / "cases.csv")


def test_a_name_of_nothing_but_blanks_is_refused(scan: Volume, tmp_path: Path, run: Run) -> None:
    table(tmp_path, scan)
    named = {"--patient": "P", "--reader": "R", "--case": "1"}
    to = ("--to", tmp_path / "to", "--key", tmp_path / "key")
    for option in named:
        words = [word for pair in (named | {option: " "}).items() for word in pair]
        assert f"{option} ' ': is empty" in run("export", tmp_path / "images" / "eins.nii.gz", *to, *words, fails=True)
    assert "--reader '': is empty" in run("dataset", "import", tmp_path / "cases.csv", *to, "--reader", "", fails=True)


def test_a_list_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.csv"
    path.touch()
    monkeypatch.setattr(io, "open", Mock(side_effect=PermissionError(13, "Permission denied", str(path))))
    with pytest.raises(InputError, match=r"cases\.csv: cannot be read \(Permission denied\); check its name"):
        find_cases(path)


@pytest.mark.parametrize("make", [brats, bids, nnunet])
def test_hidden_files_are_no_images(scan: Volume, tmp_path: Path, make: Callable[[Path, Volume], None]) -> None:
    """As macOS leaves one beside each file on a shared drive, and deleted ones in a folder there."""
    make(tmp_path, scan)
    before = find_cases(tmp_path)
    files = [path for path in tmp_path.rglob("*.nii.gz") if path.is_file()]
    for path in files:
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
    write(scan, tmp_path / ".Trashes" / "501" / "gone-t1c.nii.gz")
    assert find_cases(tmp_path) == before


def bids_names(folder: Path, images: tuple[str, ...], masks: tuple[str, ...], subject: str = "sub-01") -> Path:
    """Empty files of these names, and where the masks are."""
    derived = folder / "derivatives" / "manual" / subject / "anat"
    for where, names in ((folder / subject / "anat", images), (derived, masks)):
        where.mkdir(parents=True, exist_ok=True)
        for name in names:
            (where / f"{subject}_{name}.nii.gz").touch()
    return derived


def test_a_bids_annotation_is_known_by_its_name_and_tissues_and_brains_are_none(tmp_path: Path) -> None:
    """Whatever the subject is called."""
    for subject in ("sub-01", "sub-tumor01"):
        folder = bids_names(tmp_path / subject, ("ce-gd_T1w",), ("desc-brain_mask", "dseg"), subject)
        [case] = find_cases(tmp_path / subject)
        assert (case.annotation, case.problem) == (None, "")
        for name in (
            "label-Tumor_mask",
            "label-tumour_mask",
            "label-metastases_dseg",
            "desc-lesions_dseg",
            "space-T1w_label-lesion_mask",
            "space-orig_lesion_mask",
        ):
            mask = folder / f"{subject}_{name}.nii.gz"
            mask.touch()
            assert [case.annotation for case in find_cases(tmp_path / subject)] == [mask]
            mask.unlink()


@pytest.mark.parametrize(
    ("images", "masks", "chosen"),
    [
        (("acq-cor_ce-gd_T1w", "acq-sag_ce-gd_T1w"), ("acq-sag_label-lesion_mask",), "acq-sag_ce-gd_T1w"),
        (("ce-gd_run-01_T1w", "ce-gd_run-02_T1w"), ("ce-gd_run-02_label-lesion_mask",), "ce-gd_run-02_T1w"),
        (("ce-gd_T1w", "ce-gd_run-02_T1w"), ("ce-gd_label-lesion_mask",), "ce-gd_T1w"),
        (("ce-gd_T1w", "ce-gd_run-02_T1w"), ("ce-gd_run-02_label-lesion_mask",), "ce-gd_run-02_T1w"),
        (("ce-gd_T1w",), ("label-lesion_mask", "space-MNI152_label-lesion_mask"), "ce-gd_T1w"),
        (("ce-GD_run-01_T1w", "ce-GD_run-02_T1w"), ("ce-gd_run-2_label-lesion_mask",), "ce-GD_run-02_T1w"),
        (("acq-MPRAGE_desc-defaced_ce-gd_T1w",), ("acq-manual_desc-lesion_mask",), "acq-MPRAGE_desc-defaced_ce-gd_T1w"),
        (("acq-sag_ce-gd_T1w",), ("acq-sag_label-lesion_mask", "acq-cor_label-lesion_mask"), "acq-sag_ce-gd_T1w"),
        (("ce-none_T1w", "ce-gd_T1w"), ("label-lesion_mask",), "ce-gd_T1w"),
        (("ce-gd_T1w",), ("space-anat_label-lesion_mask",), "ce-gd_T1w"),
        (("ce-gd_T1w",), ("space-ceT1w_label-lesion_mask",), "ce-gd_T1w"),
        (("ce-gd_T1w", "FLAIR"), ("space-FLAIR_label-lesion_mask",), "ce-gd_T1w"),
        (("ce-gd_T1w", "FLAIR"), ("space-T1w_label-lesion_mask", "space-FLAIR_label-lesion_mask"), "ce-gd_T1w"),
    ],
)
def test_of_several_bids_images_it_is_the_one_that_the_mask_is_called_by(
    tmp_path: Path, images: tuple[str, ...], masks: tuple[str, ...], chosen: str
) -> None:
    derived = bids_names(tmp_path, images, masks)
    [case] = find_cases(tmp_path)
    assert case.sequences["t1c"].name == f"sub-01_{chosen}.nii.gz"
    assert case.annotation == derived / f"sub-01_{masks[0]}.nii.gz"
    assert any("ce-none" in path.name for path in case.sequences.values()) == ("ce-none_T1w" in images)


@pytest.mark.parametrize(
    ("images", "masks", "problem"),
    [
        (
            ("ce-gd_T1w",),
            ("label-lesion_mask", "label-lesion2_mask"),
            r"several masks \(.*lesion2_mask.*, .*; unite them",
        ),
        (
            ("run-01_ce-gd_T1w", "run-02_ce-gd_T1w"),
            (),
            r"post-contrast T1 \(.*run-01.*, .*run-02.*\), and no mask says which",
        ),
        (
            ("run-01_ce-gd_T1w", "run-02_ce-gd_T1w"),
            ("lesion_mask",),
            r"run-02.*its masks \(.*lesion_mask.*\) leave open",
        ),
        (("ce-gd_T1w",), ("space-MNI152_label-lesion_mask",), r"mask is in another space than its image \(.*space-MNI"),
        (
            ("ce-gd_T1w",),
            ("space-FLAIR_label-lesion_mask",),
            r"mask is in another space than its image \(.*space-FLAIR",
        ),
        (
            ("ce-gd_T1w",),
            ("ce-none_label-lesion_mask",),
            r"its mask \(.*ce-none.*\) has other entities than its .*ce-gd",
        ),
        (
            ("run-01_ce-gd_T1w",),
            ("run-02_lesion_mask",),
            r"its mask \(.*run-02.*\) has other entities than its .*run-01",
        ),
    ],
)
def test_a_bids_subject_whose_files_leave_open_what_is_meant_is_refused_alone(
    scan: Volume, tmp_path: Path, run: Run, images: tuple[str, ...], masks: tuple[str, ...], problem: str
) -> None:
    bids(tmp_path, scan)
    bids_names(tmp_path, images, masks, "sub-02")
    arguments = ("dataset", "import", tmp_path, "--to", tmp_path / "to", "--reader", "r", "--key", tmp_path / "k")
    said = run(*arguments, fails=True)
    assert said.startswith("1 case could not be imported")
    assert re.search(f"sub-02: .*{problem}", said), said
    assert len(read_dataset(tmp_path / "to")) == 1
    with pytest.raises(InputError, match=f"case sub-02 cannot be used: .*{problem}"):
        read_dataset(tmp_path)


def test_time_points_of_brats_are_of_one_patient_in_either_layout(scan: Volume, tmp_path: Path) -> None:
    """Else one patient would be on both sides of a split."""
    brats(tmp_path / "brats", scan)
    nnunet(tmp_path / "nnunet", scan)
    for path in list((tmp_path / "nnunet").rglob("*.nii.gz")):
        for name in ("BraTS-MET-00001-000", "BraTS-MET-00001-001", "case-001"):
            shutil.copy(path, path.with_name(path.name.replace("met_001", name)))
        path.unlink()
    for source, others in ((tmp_path / "brats", []), (tmp_path / "nnunet", ["case-001"])):
        for cases in (find_cases(source), read_dataset(source)):
            assert [case.patient for case in cases] == [*["BraTS-MET-00001"] * 2, *others]


def test_what_nnunet_is_to_ignore_is_not_taken_for_lesions(scan: Volume, tmp_path: Path) -> None:
    nnunet(tmp_path, scan)
    described = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    described["labels"]["ignore"] = 2
    (tmp_path / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    for read in (find_cases, read_dataset, lambda source: read_dataset(source, (1,))):
        with pytest.raises(InputError, match=r"dataset\.json: its label 'ignore' cannot be used; make its voxels 0 in"):
            read(tmp_path)


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cases here; give a CSV"):
        find_cases(tmp_path)


def test_the_key_is_kept_in_the_users_own_folder() -> None:
    assert DEFAULT_KEY.is_absolute()
