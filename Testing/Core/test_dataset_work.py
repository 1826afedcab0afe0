"""What a reader did in Slicer, read from the folder that it is kept in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.dataset.records import CaseRecord, read_record
from lopsided.dataset.work import is_kept, reading_of_work
from lopsided.errors import InputError
from lopsided.marks import Line, Mark, Point, rasterise
from lopsided.review import ReviewSession, Status
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import Geometry, Volume, to_sitk
from lopsided.worklist import CaseStatus, Worklist
from typer.testing import CliRunner

TIMES = [f"2026-01-0{n}T10:00:00+00:00" for n in (1, 2, 3)]


@pytest.fixture
def scan(head: Callable[..., Volume], oblique: Geometry) -> Volume:
    return head(oblique)


def cubes(geometry: Geometry, *corners: tuple[int, int, int]) -> np.ndarray:
    """Of 4 voxels at k, j, i; each has a value of its own."""
    array = np.zeros(geometry.shape, np.uint8)
    for value, (k, j, i) in enumerate(corners, start=1):
        array[k : k + 4, j : j + 4, i : i + 4] = value
    return array


def suggested(geometry: Geometry, folder: Path) -> dict[str, str]:
    """Two suggestions, one accepted and one rejected; the attributes of the node that they are in."""
    segments = [Segment(f"Suggestion_{n}", f"Suggestion {n}", n, (1, 0, 0)) for n in (1, 2)]
    image = segmentation_image(cubes(geometry, (20, 40, 30), (20, 20, 30)), geometry, segments)
    sitk.WriteImage(image, str(folder / "suggestions.seg.nrrd"))
    sizes = {"peak_probability": 0.9, "volume_mm3": 9, "longest_diameter_mm": 3, "distance_to_annotated_mm": None}
    places = {"centroid_lps": [0, 0, 0], "centroid_ras": [0, 0, 0]}
    record: dict[str, Any] = {
        "software": "x",
        "notice": "x",
        "created": "x",
        "sequences": {"t1c": "x"},
        "reference_grid": geometry.__dict__,
        "annotation": {},
        "annotation_left_out": [],
        "recognised": [],
        "model": {"name": "m", "digest": "f" * 64, "threshold": 0.3, "operating_points": []},
        "threshold": 0.0,
        "margin_mm": 2,
        "candidates": [{"rank": n, "label": n, "confidence": 1 - n / 5, **sizes, **places} for n in (1, 2)],
    }
    record["candidates"][1]["model"] = "e" * 64  # an earlier search found it
    session = ReviewSession(["Suggestion_1", "Suggestion_2"], "Dr. Ray", {})
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.3)
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.3)
    review = {"session": session.to_json(), "accepted": {}}
    return {
        "LopsidedSeg.Result": json.dumps(record),
        "LopsidedSeg.Review": json.dumps(review),
        "LopsidedSeg.Threshold": "0.3",
    }


def keep(folder: Path, geometry: Geometry, marks: list[tuple[Mark, str | None]], **more: Any) -> Path:
    """Work in a folder: an outlined lesion, suggestions, and marks."""
    folder.mkdir(parents=True)
    sitk.WriteImage(to_sitk(cubes(geometry, (4, 10, 10)), geometry), str(folder / "annotation.seg.nrrd"))
    content = {
        "annotation": "lesions",
        "suggestions": suggested(geometry, folder),
        "marks": [[asdict(m), t] for m, t in marks],
    }
    (folder / "work.json").write_text(json.dumps({"format_version": 1, **content, **more}), encoding="utf-8")
    return folder


def point(geometry: Geometry, k: float, j: float, i: float, diameter: float = 6.0) -> Point:
    x, y, z = geometry.physical(np.array([k, j, i])).tolist()
    return Point((x, y, z), diameter)


def test_a_folder_that_cannot_be_listed_is_not_taken_for_one_without_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another user, or for a moment on a share: the case would begin anew, and be saved over what is there."""
    (tmp_path / "case" / "ahead").mkdir(parents=True)
    (tmp_path / "case" / ".DS_Store").touch()
    assert not is_kept(tmp_path / "case")
    assert not is_kept(tmp_path / "none")
    (tmp_path / "case" / "apart-0").mkdir()
    assert is_kept(tmp_path / "case")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refused)
    with pytest.raises(PermissionError):
        is_kept(tmp_path / "case")


def test_all_that_is_kept_is_read(scan: Volume, tmp_path: Path) -> None:
    """Outlined, accepted, rejected, and marked, on what is outlined too; of two crossed lines, which are one lesion, the
    longer one's time."""
    centre = np.array(point(scan.geometry, 15, 30, 26).centre_lps)
    ends = [(tuple(centre - step), tuple(centre + step)) for step in ((0, 3, 0), (5, 0, 0))]
    lines = [Line(end) for end in ends]
    marks = list(zip([lines[0], point(scan.geometry, 7, 12, 12), lines[1]], TIMES, strict=True))
    folder = keep(tmp_path / "case", scan.geometry, marks, snapped=True, whole_case=True)
    reading = reading_of_work(folder, "Dr. Ray", scan)
    kinds = {lesion.kind: (lesion.time, lesion.snapped) for lesion in reading.lesions}
    assert set(kinds) == {"outlined", "suggestion", "point", "line"}
    assert len(reading.lesions) == 4
    assert (kinds["point"], kinds["line"]) == ((TIMES[1], True), (TIMES[2], True))
    assert {d.candidate: d.status for d in reading.decisions} == {
        "Suggestion_1": "accepted",
        "Suggestion_2": "rejected",
    }
    assert (reading.reader, reading.whole_case, reading.model) == ("Dr. Ray", True, "f" * 64)
    assert [d.model for d in reading.decisions] == [None, "e" * 64]


@pytest.mark.parametrize("missing", ["annotation.seg.nrrd", "suggestions.seg.nrrd", "work.json"])
def test_a_folder_that_was_copied_by_half_is_not_one_without_lesions(
    scan: Volume, tmp_path: Path, missing: str
) -> None:
    files = ["annotation.seg.nrrd", "suggestions.seg.nrrd"]
    folder = keep(tmp_path / "case", scan.geometry, [], whole_case=True, files=files)
    assert len(reading_of_work(folder, "Dr. Ray", scan).lesions) == 2
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"case: {missing} is missing; restore it from a copy"):
        reading_of_work(folder, "Dr. Ray", scan)


@pytest.mark.parametrize(
    ("outlined", "voxels"), [((20, 40, 30), 64), ((20, 43, 30), 112)], ids=["was inside of it", "is beside it"]
)
def test_a_suggestion_that_was_added_to_a_segment_is_one_lesion_with_it(
    scan: Volume, tmp_path: Path, outlined: tuple[int, int, int], voxels: int
) -> None:
    folder = keep(tmp_path / "case", scan.geometry, [])
    added = cubes(scan.geometry, (20, 40, 30)) | cubes(scan.geometry, outlined)
    sitk.WriteImage(to_sitk(added, scan.geometry), str(folder / "annotation.seg.nrrd"))
    reading = reading_of_work(folder, "Dr. Ray", scan)
    assert [(lesion.kind, int(lesion.region.mask.sum())) for lesion in reading.lesions] == [("outlined", voxels)]
    assert reading.decisions[0].status == "accepted"


def accepted_at(folder: Path, geometry: Geometry, *corners: tuple[int, int, int]) -> None:
    """The annotation: cubes that were accepted, as Suggestion_1 each."""
    tags = {"LopsidedSeg.Suggestion": "Suggestion_1"}
    segments = [Segment(f"s{n}", f"Metastasis {n}", n, (0, 1, 0), tags) for n in range(1, len(corners) + 1)]
    image = segmentation_image(cubes(geometry, *corners), geometry, segments)
    sitk.WriteImage(image, str(folder / "annotation.seg.nrrd"))


def test_what_another_search_called_alike_is_not_this_reviews_suggestion(scan: Volume, tmp_path: Path) -> None:
    """Its lesion stays, and this review's own is not taken for it: though removed from the annotation, it was accepted."""
    folder = keep(tmp_path / "case", scan.geometry, [])
    accepted_at(folder, scan.geometry, (8, 10, 40))
    lesions = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert [(x.kind, x.candidate, x.region.box[0].start) for x in lesions] == [
        ("suggestion", None, 8),
        ("suggestion", "Suggestion_1", 20),
    ]
    accepted_at(folder, scan.geometry, (8, 10, 40), (20, 40, 30))
    lesions = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert [(x.candidate, x.region.box[0].start) for x in lesions] == [(None, 8), ("Suggestion_1", 20)]
    accepted_at(folder, scan.geometry, (20, 20, 30))
    lesions = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert (lesions[0].kind, lesions[0].candidate) == ("suggestion", None), "where this review rejected another"


def test_an_accepted_lesion_that_was_redrawn_beside_its_suggestion_is_one(scan: Volume, tmp_path: Path) -> None:
    """Which segment it was accepted as, the review knows, wherever that lies by now."""
    folder = keep(tmp_path / "case", scan.geometry, [])
    content = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    review = json.loads(content["suggestions"]["LopsidedSeg.Review"])
    review["accepted"] = {"Suggestion_1": {"segment": "s2"}}
    content["suggestions"]["LopsidedSeg.Review"] = json.dumps(review)
    (folder / "work.json").write_text(json.dumps(content), encoding="utf-8")
    accepted_at(folder, scan.geometry, (8, 10, 40), (20, 46, 30))
    lesions = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert [(x.candidate, x.region.box[0].start) for x in lesions] == [(None, 8), ("Suggestion_1", 20)]


@pytest.mark.parametrize(
    ("first", "decided", "last", "least"), [(0.3, 0.5, 0.6, 0.3), (0.6, 0.5, 0.6, 0.5), (0.6, 0.5, 0.1, 0.1)]
)
def test_what_was_shown_is_what_was_shown_at_any_time(
    scan: Volume, tmp_path: Path, first: float, decided: float, last: float, least: float
) -> None:
    """At first, at a decision, or at last, when nothing was decided any more."""
    folder = keep(tmp_path / "case", scan.geometry, [])
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    attributes = work["suggestions"]
    result, review = (json.loads(attributes[name]) for name in ("LopsidedSeg.Result", "LopsidedSeg.Review"))
    result["model"]["threshold"] = first
    for event in review["session"]["events"]:
        event["threshold"] = decided
    attributes |= {
        "LopsidedSeg.Result": json.dumps(result),
        "LopsidedSeg.Review": json.dumps(review),
        "LopsidedSeg.Threshold": str(last),
    }
    (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
    assert reading_of_work(folder, "Dr. Ray", scan).threshold == least


@pytest.mark.parametrize("kept", [True, False], ids=["its segment is there", "it was removed"])
def test_a_mark_on_an_accepted_suggestion_is_one_lesion_with_it(scan: Volume, tmp_path: Path, kept: bool) -> None:
    """With the voxels of both. A second mark on it is none of its own, and one beside it is."""
    marks = [(point(scan.geometry, 21, 41, 31), TIMES[0]), (point(scan.geometry, 22, 42, 32), TIMES[1])]
    marks.append((point(scan.geometry, 8, 10, 40), TIMES[2]))
    folder = keep(tmp_path / "case", scan.geometry, marks, snapped=True)
    if kept:
        accepted_at(folder, scan.geometry, (20, 40, 30))
    else:
        (folder / "annotation.seg.nrrd").unlink()
    both, other = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert (both.kind, both.candidate, both.mark) == ("suggestion", "Suggestion_1", marks[0][0])
    assert (both.time, both.snapped) == (TIMES[0], True)
    accepted = cubes(scan.geometry, (20, 40, 30)) > 0
    drawn = [r.whole(scan.array.shape) for m, _ in marks[:2] if (r := rasterise(m, scan.geometry))]
    assert (both.region.whole(scan.array.shape) == accepted | drawn[0] | drawn[1]).all()
    assert (other.kind, other.mark) == ("point", marks[2][0])


def test_a_mark_that_touches_an_accepted_suggestion_is_its_neighbour(scan: Volume, tmp_path: Path) -> None:
    """Nothing that was marked is exported as looked at and free of lesions."""
    marks = [(point(scan.geometry, 21.5, 41.5, 37, diameter=9), TIMES[0])]
    folder = keep(tmp_path / "case", scan.geometry, marks)
    accepted_at(folder, scan.geometry, (20, 40, 30))
    one, other = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert 0 < one.region.shared(other.region) < 32
    assert (one.candidate, one.mark, other.kind, other.mark) == ("Suggestion_1", None, "point", marks[0][0])
    assert one.region.mask.sum() == 64


@pytest.mark.parametrize("order", [1, -1])
def test_marks_are_lesions_in_whatever_order_they_were_drawn(scan: Volume, tmp_path: Path, order: int) -> None:
    """One on an accepted suggestion, and one on what that mark has beyond it."""
    marks = [point(scan.geometry, 21.5, 41.5, 34, diameter=12), point(scan.geometry, 21.5, 41.5, 38)]
    folder = keep(tmp_path / "case", scan.geometry, list(zip(marks, TIMES, strict=False))[::order])
    accepted_at(folder, scan.geometry, (20, 40, 30))
    one, other = reading_of_work(folder, "Dr. Ray", scan).lesions
    assert (one.kind, one.mark, other.mark) == ("suggestion", *marks)


def test_a_suggestion_whose_segment_was_removed_says_nothing_and_the_others_do(scan: Volume, tmp_path: Path) -> None:
    folder = keep(tmp_path / "case", scan.geometry, [])
    image = segmentation_image(
        cubes(scan.geometry, (20, 40, 30)), scan.geometry, [Segment("Suggestion_1", "Suggestion 1", 1, (1, 0, 0))]
    )
    sitk.WriteImage(image, str(folder / "suggestions.seg.nrrd"))
    reading = reading_of_work(folder, "a", scan)
    assert [decision.candidate for decision in reading.decisions] == ["Suggestion_1"]


def test_suggestions_that_overlap_are_each_where_they_are(scan: Volume, tmp_path: Path) -> None:
    """Slicer keeps those that the reader has made to overlap in layers."""
    folder = keep(tmp_path / "case", scan.geometry, [])
    corners = [(20, 40, 30), (20, 42, 30)]
    layers = [to_sitk(cubes(scan.geometry, corner), scan.geometry) for corner in corners]
    image = sitk.Compose(layers)
    for n in (0, 1):
        for key, value in {"ID": f"Suggestion_{n + 1}", "Name": "x", "LabelValue": "1", "Layer": str(n)}.items():
            image.SetMetaData(f"Segment{n}_{key}", value)
    sitk.WriteImage(image, str(folder / "suggestions.seg.nrrd"))
    decisions = reading_of_work(folder, "a", scan).decisions
    assert [tuple(side.start for side in d.region.box) for d in decisions] == corners
    assert all(d.region.mask.sum() == 64 for d in decisions)


def test_a_decision_has_the_time_that_it_was_made_at(scan: Volume, tmp_path: Path) -> None:
    """Not that of a note since; one that was taken back has none, and a mark without a time takes none away."""
    folder = keep(tmp_path / "case", scan.geometry, [(point(scan.geometry, 21, 41, 31), None)])
    session = ReviewSession(["Suggestion_1", "Suggestion_2"], "Dr. Ray", {})
    session.decide("Suggestion_2", Status.REJECTED, threshold=0.3)
    session.undo(threshold=0.3)
    session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.3)
    session.write_note("Suggestion_1", "at the rim", threshold=0.3)
    kept = session.to_json()
    for number, event in enumerate(kept["events"], start=1):
        event["time"] = f"2026-02-0{number}T10:00:00+00:00"
    content = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    content["suggestions"]["LopsidedSeg.Review"] = json.dumps({"session": kept, "accepted": {}})
    (folder / "work.json").write_text(json.dumps(content), encoding="utf-8")
    reading = reading_of_work(folder, "Dr. Ray", scan)
    assert {d.candidate: d.time for d in reading.decisions} == {
        "Suggestion_1": "2026-02-03T10:00:00+00:00",
        "Suggestion_2": None,
    }
    [lesion] = [lesion for lesion in reading.lesions if lesion.kind == "suggestion"]
    assert (lesion.mark is not None, lesion.time) == (True, "2026-02-03T10:00:00+00:00")


def only(*names: str) -> Callable[[Path], None]:
    """Leaves of a folder of work what is called so."""

    def leave(folder: Path) -> None:
        shutil.rmtree(folder)
        for name in names:
            (folder / name).mkdir(parents=True)

    return leave


def test_suggestions_of_which_nothing_was_decided_are_no_review(scan: Volume, tmp_path: Path) -> None:
    folder = keep(tmp_path / "case", scan.geometry, [])
    content = json.loads((folder / "work.json").read_text())
    del content["suggestions"]["LopsidedSeg.Review"]
    (folder / "work.json").write_text(json.dumps(content))
    assert reading_of_work(folder, "a", scan).decisions == ()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "no work is kept here; open the case in Slicer's worklist first"),
        (only("ahead", ".DS_Store", "Thumbs.db"), "no work is kept here; open the case in Slicer's worklist first"),
        (only("apart-0"), r"case: work\.json is missing; restore it from a copy"),
        (lambda f: (f / "work.json").write_text("{"), r"work\.json: is not what it should be .* restore it"),
        (
            lambda f: (f / "work.json").write_text('{"suggestions": {"LopsidedSeg.Review": "{}"}}'),
            "its review cannot be",
        ),
        (lambda f: (f / "annotation.seg.nrrd").write_bytes(b"NRRD0004\n"), r"annotation\.seg\.nrrd: "),
    ],
)
def test_damage_is_said_on_one_line(
    scan: Volume, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    folder = keep(tmp_path / "case", scan.geometry, [])
    spoil(folder)
    with pytest.raises(InputError, match=sentence) as caught:
        reading_of_work(folder, "a", scan)
    assert len(str(caught.value).splitlines()) == 1


def command(*arguments: object) -> str:
    """What an import printed, or the error that it ended with."""
    from lopsided.cli import app

    result = CliRunner().invoke(app, ["dataset", "import", *map(str, arguments)])
    if isinstance(result.exception, InputError):
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def test_a_readers_reviewed_cases_are_imported_from_the_command_line(scan: Volume, tmp_path: Path) -> None:
    """Neither those that are not, nor another reader's."""
    for n in range(3):
        volume = Volume(scan.array + n, scan.geometry, "scan")
        sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(tmp_path / f"{n}.nii.gz"))
    rows = "".join(f"p{n},c{n},{n}.nii.gz\n" for n in range(3))
    (tmp_path / "cases.csv").write_text("patient,case,t1c\n" + rows, encoding="utf-8")
    common = (tmp_path / "cases.csv", "--to", tmp_path / "dataset", "--key", tmp_path / "key", "--work")
    assert "Dr. Ray has reviewed none of its cases" in command(*common, "--reader", "Dr. Ray")
    for reader, count in (("Dr. Ray", 2), ("Dr. Sight", 1)):
        worklist = Worklist.of(tmp_path / "cases.csv", reader)
        for n, case in enumerate(worklist.cases):
            keep(worklist.folder(case), scan.geometry, [(point(scan.geometry, 10, 40, 26), TIMES[0])])
            worklist.set_status(case, CaseStatus.REVIEWED if n < count else CaseStatus.IN_PROGRESS)
    assert "2 of 2 cases imported into" in command(*common, "--reader", "Dr. Ray")
    records = [read_record(path, CaseRecord) for path in (tmp_path / "dataset" / "reviews").iterdir()]
    assert [[sorted(lesion.kind for lesion in r.lesions) for r in record.readings] for record in records] == [
        [["outlined", "point", "suggestion"]]
    ] * 2
    assert "1 of 1 case imported into" in command(*common, "--reader", "Dr. Sight")
    records = [read_record(path, CaseRecord) for path in (tmp_path / "dataset" / "reviews").iterdir()]
    assert sorted(len(record.readings) for record in records) == [1, 2]
    for option in ("--whole-case", "--labels=1"):
        assert "each case says what its reader did" in command(*common, "--reader", "Dr. Ray", option)
