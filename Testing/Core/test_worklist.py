"""A reader's way through a list of cases, and that two readers do not meet."""

import os
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.errors import InputError
from lopsided.worklist import WORK_FOLDER, CaseStatus, Worklist

NEW, BEGUN, DONE, FLAGGED = CaseStatus


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four cases; their images need not be there to be listed."""
    rows = "".join(f"p{n},c{n},images/{n}.nii.gz\n" for n in range(4))
    (tmp_path / "cases.csv").write_text("patient,case,t1c\n" + rows, encoding="utf-8")
    return tmp_path / "cases.csv"


def test_it_goes_on_where_it_was_left(source: Path) -> None:
    worklist = Worklist.of(source, "Dr. Ray")
    assert worklist.resume().case == "c0"
    worklist.set_status(worklist.cases[0], DONE)
    worklist.set_status(worklist.cases[2], BEGUN)
    again = Worklist.of(source, "Dr. Ray")
    assert again.resume().case == "c2"
    assert [again.status(case) for case in again.cases] == [DONE, NEW, BEGUN, NEW]
    assert again.count() == Counter({NEW: 2, DONE: 1, BEGUN: 1})
    for case in again.cases:
        again.set_status(case, DONE)
    assert again.resume().case == "c0"


def test_next_and_previous_of_a_status(source: Path) -> None:
    worklist = Worklist.of(source, "a")
    first, second, third, last = worklist.cases
    worklist.set_status(second, DONE)
    worklist.set_status(third, FLAGGED)
    assert worklist.step(first, 1) is second
    assert worklist.step(first, 1, {NEW}) is last
    assert worklist.step(last, -1, {FLAGGED}) is third
    assert worklist.step(second, -1) is first
    assert worklist.step(last, 1) is worklist.step(first, -1) is None
    assert worklist.step(first, 1, {BEGUN}) is None


def test_readers_have_files_of_their_own_whatever_their_names(source: Path) -> None:
    names = ("Dr. Ray", "Dr/ Ray", "Dr_ Ray", "Müller", "../../etc")
    lists = [Worklist.of(source, name) for name in names]
    for worklist in lists:
        worklist.set_status(worklist.cases[0], DONE)
    folders = {worklist.folder(worklist.cases[0]) for worklist in lists}
    assert len(folders) == len(names)
    assert all(folder.is_relative_to(source.parent / WORK_FOLDER) for folder in folders)
    assert len(list((source.parent / WORK_FOLDER).iterdir())) == len(names)
    kept = source.parent / WORK_FOLDER / "Dr__Ray-89f0a8d2" / "p0_c0-24347cc6"
    assert lists[0].folder(lists[0].cases[0]) == kept, "where every version finds it"


def test_slashes_in_names_do_not_make_two_cases_one(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("patient,case,t1c\nA/B,1,a.nii.gz\nA,B/1,b.nii.gz\n", encoding="utf-8")
    worklist = Worklist.of(tmp_path / "cases.csv", "a")
    worklist.set_status(worklist.cases[0], DONE)
    again = Worklist.of(tmp_path / "cases.csv", "a")
    assert [again.status(case) for case in again.cases] == [DONE, NEW]
    assert again.folder(again.cases[0]) != again.folder(again.cases[1])


def test_the_work_on_a_folders_cases_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "cases" / "a").mkdir(parents=True)
    (tmp_path / "cases" / "a" / "a-t1c.nii.gz").touch()
    worklist = Worklist.of(tmp_path / "cases", "a")
    assert worklist.folder(worklist.cases[0]).is_relative_to(tmp_path / "cases" / WORK_FOLDER)


def test_a_full_disk_leaves_the_status_as_it_was(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worklist = Worklist.of(source, "a")
    worklist.set_status(worklist.cases[0], BEGUN)
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        worklist.set_status(worklist.cases[0], DONE)
    monkeypatch.undo()
    assert worklist.status(worklist.cases[0]) is BEGUN
    assert Worklist.of(source, "a").status(worklist.cases[0]) is BEGUN
    assert [path.name for path in worklist.folder(worklist.cases[0]).parent.iterdir()] == ["status.json"]


def test_no_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cases here"):
        Worklist.of(tmp_path, "a")


@pytest.mark.parametrize(
    "content",
    ['{"p1/1": {"status"', "null", "[]", '{"p1/1": "reviewed"}', '{"p1/1": {"status": "done", "time": "x"}}', "\xff"],
)
def test_a_damaged_state_is_said_on_one_line(source: Path, content: str) -> None:
    worklist = Worklist.of(source, "a")
    worklist.set_status(worklist.cases[0], DONE)
    worklist.logs.with_name("status.json").write_text(content, encoding="latin-1")
    sentence = r"status\.json: is damaged .* restore it from a copy, or remove it"
    with pytest.raises(InputError, match=sentence) as raised:
        Worklist.of(source, "a")
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=sentence):
        worklist.set_status(worklist.cases[0], DONE)


def test_a_state_that_cannot_be_read_is_named(source: Path) -> None:
    status = Worklist.of(source, "a").logs.with_name("status.json")
    status.mkdir(parents=True)
    with pytest.raises(InputError, match=r"status\.json: cannot be read \("):
        Worklist.of(source, "a")


def test_two_windows_of_one_reader_keep_each_others_status(source: Path) -> None:
    one, other = Worklist.of(source, "a"), Worklist.of(source, "a")
    one.set_status(one.cases[0], DONE)
    other.set_status(other.cases[1], FLAGGED)
    assert [Worklist.of(source, "a").status(case) for case in one.cases] == [DONE, FLAGGED, NEW, NEW]


def test_studies_that_are_called_the_same_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text(
        "patient,case,t1c\nA,1,a.nii.gz\nB,1,b.nii.gz\nB,2,c.nii.gz\n", encoding="utf-8"
    )
    worklist = Worklist.of(tmp_path / "cases.csv", "a")
    assert [worklist.label(case) for case in worklist.cases] == ["A, 1", "B, 1", "2"]


@pytest.mark.parametrize(
    ("cells", "opens"),
    [
        (("1", "1", "1"), True),  # the second is a negative, and the third an empty map
        (("1 2", "9", "1"), True),
        (("11", "11", "11"), False),
        (("1", "1", "lesions"), True),  # of an empty map, nothing is lost
        (("11", "1", "1"), False),
        (("1 9", "9 1", "1"), True),
        (("9 2", "2 9", "1"), True),  # the first is a negative
    ],
)
def test_a_list_whose_labels_no_annotation_has_is_not_opened(
    tmp_path: Path, cells: tuple[str, ...], opens: bool
) -> None:
    """Else a mistyped one would open its cases without what is known of them, and be trusted background once a reader says that
    they looked at all."""
    for n, value in enumerate((1, 9, 0)):
        labels = np.zeros((4, 4, 4), np.uint8)
        labels[1, 1, 1] = value
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / f"{n}.nii.gz"))
    rows = "".join(f"c{n},t1c.nii.gz,{n}.nii.gz,{cell}\n" for n, cell in enumerate(cells))
    (tmp_path / "cases.csv").write_text("case,t1c,annotation,labels\n" + rows, encoding="utf-8")
    if opens:
        Worklist.of(tmp_path / "cases.csv", "a")
        return
    sentence = (
        r"cases\.csv: none of the first .* of which '11' is to be .*; one has 'label 1' \(1\): give names, or the"
    )
    with pytest.raises(InputError, match=sentence):
        Worklist.of(tmp_path / "cases.csv", "a")
