"""What is wrong with a dataset is found and named; what it holds is counted; what it lacks is estimated."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.cli import app
from lopsided.dataset import store
from lopsided.dataset.check import check_dataset
from lopsided.dataset.export import Decision, Lesion, Reading, export_reading, remove_case
from lopsided.dataset.pseudonyms import Key
from lopsided.dataset.stats import capture_recapture, dataset_stats, size_name
from lopsided.errors import InputError
from lopsided.marks import Point
from lopsided.regions import Region
from lopsided.study import Study
from lopsided.volume import Volume, geometry_of, to_sitk
from typer.testing import CliRunner

KEY = Key(b"k" * 32)
A, B = sorted((KEY.of("R", "a"), KEY.of("R", "b")))
FIRST, SECOND = ("a", "b") if KEY.of("R", "a") == A else ("b", "a")


def cube(k: int, j: int, i: int, size: int = 4) -> Region:
    return Region((slice(k, k + size), slice(j, j + size), slice(i, i + size)), np.ones((size,) * 3, bool))


def export(folder: Path, study: Study, reading: Reading, patient: str = "one") -> str:
    return export_reading(folder, study, reading, patient=patient, case="MR", key=KEY)


@pytest.fixture
def study(head: Callable[..., Volume], geometry: Callable[..., object]) -> Study:
    t1c = head(geometry())
    return Study(t1c, {"flair": Volume(t1c.array[::-1].copy(), t1c.geometry, "flair")})


@pytest.fixture
def dataset(tmp_path: Path, study: Study) -> tuple[Path, list[str]]:
    """Two patients, read by one reader."""
    other = Study(replace(study.reference, array=study.reference.array + 3), study.others)
    reading = Reading("a", (Lesion(cube(10, 20, 20)),), (Decision("Suggestion_1", "rejected", 0.4, cube(20, 30, 20)),))
    return tmp_path, [export(tmp_path, study, reading), export(tmp_path, other, reading, "two")]


def rewrite(path: Path, change: Callable[[np.ndarray], None], move: float = 0) -> None:
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    change(array)
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    changed.SetOrigin([x + move for x in image.GetOrigin()])
    sitk.WriteImage(changed, str(path))


def crop(path: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(path))[1:], str(path))


def set_first(value: float) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.flat[0] = value

    return change


def test_a_dataset_as_it_was_exported_has_no_problem(dataset: tuple[Path, list[str]]) -> None:
    assert check_dataset(dataset[0]) == []


def _without_t1c(folder: Path, case: str) -> str:
    return (folder / "reviews" / f"{case}.json").read_text(encoding="utf-8").replace('"t1c":', '"T1CE":')


SPOILED = [
    (lambda d, c: (d / "imagesTr" / f"{c}_0001.nii.gz").unlink(), "channel flair .* is missing", "with that sequence"),
    (lambda d, c: rewrite(d / "imagesTr" / f"{c}_0001.nii.gz", set_first(0), 5), "on another grid", "export"),
    (lambda d, c: rewrite(d / "imagesTr" / f"{c}_0000.nii.gz", lambda a: a.fill(7)), "no image", "export"),
    (lambda d, c: (d / "labelsTr" / f"{c}.nii.gz").unlink(), "labelsTr.* is missing", "export"),
    (lambda d, c: rewrite(d / "labelsTr" / f"{c}.nii.gz", set_first(1), 3), "labelsTr.* on another grid", "export"),
    (lambda d, c: rewrite(d / "labelsTr" / f"{c}.nii.gz", set_first(3)), r"holds the values \[3\]", "export"),
    (
        lambda d, c: rewrite(d / "labelsTr" / f"{c}.nii.gz", set_first(1)),
        "differs from what the readings say in 1 voxel",
        "copy",
    ),
    (
        lambda d, c: rewrite(d / "trust" / f"{c}.nii.gz", set_first(1)),
        "trust.* differs from what the readings say in 1 voxel",
        "copy",
    ),
    (lambda d, c: crop(d / "trust" / f"{c}.nii.gz"), "trust.* on another grid", "export"),
    (lambda d, c: (d / "trust" / f"{c}.nii.gz").unlink(), "trust.* is missing", "export"),
    (lambda d, c: (d / "reviews" / f"{c}.json").unlink(), "a label and no review", "and export its readings"),
    (lambda d, c: (d / "reviews" / f"{c}.json").write_text("{}"), "is not what it should be", "or remove the case"),
    (
        lambda d, c: (d / "reviews" / f"{c}.json").write_text(_without_t1c(d, c)),
        "not what was exported",
        "or remove the case",
    ),
    (lambda d, c: next((d / "readings").glob(f"{c}*")).unlink(), "readings.* is missing", "this reader's work"),
    (lambda d, c: (d / "labelsTr" / "stray.nii.gz").write_bytes(b""), "not put here by an export", "move it"),
    (lambda d, c: (d / "labelsTr" / f"{c}.nii.gz").write_bytes(b"x"), "not what was exported", "copy"),
]


@pytest.mark.parametrize(("spoil", "what", "mend"), SPOILED)
def test_each_inconsistency_is_found_and_it_is_said_how_to_mend_it(
    dataset: tuple[Path, list[str]], spoil: Callable[[Path, str], object], what: str, mend: str
) -> None:
    folder, cases = dataset
    spoil(folder, cases[0])
    found = check_dataset(folder)
    said = [f"{p.where}: {p.what}; {p.mend}" for p in found if p.serious]
    assert any(re.search(f"{what}.*; .*{mend}", sentence) for sentence in said), said
    assert not any(cases[1] in sentence for sentence in said), "the other case is whole"


def test_a_wrong_count_and_a_patient_or_image_twice(dataset: tuple[Path, list[str]], study: Study) -> None:
    folder, _ = dataset
    export_reading(folder, study, Reading("a"), patient="one", case="MR again", key=KEY)
    found = {p.what.split(":")[0].split(" as ")[0]: p.serious for p in check_dataset(folder)}
    assert found == {"the patient has several cases": False, "the same images": True}
    header = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(header | {"numTraining": 9}))
    assert "export one of the cases again, which counts them" in [p.mend for p in check_dataset(folder)]
    export(folder, study, Reading("a"))
    assert [p.what.split(" as ")[0] for p in check_dataset(folder) if p.serious] == ["the same images"]
    for path in folder.glob("*/*"):
        path.unlink()
    assert not any("set numTraining" in p.mend for p in check_dataset(folder)), "which would change a file of ours"


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("turned", [False, True])
def test_images_are_the_same_however_they_are_stored(
    tmp_path: Path, study: Study, kind: type[np.generic], turned: bool
) -> None:
    """As from DICOM and from NIfTI, whose rows run the other way, and which may hold what was rescaled."""
    t1c = replace(study.reference, array=np.round(study.reference.array * 100).astype(np.int16))
    first = export(tmp_path, Study(t1c, {}), Reading("a"))
    image = to_sitk(t1c.array.astype(kind), t1c.geometry)
    image = sitk.PermuteAxes(image, (2, 0, 1))[:, ::-1, :] if turned else image
    other = Study(Volume(sitk.GetArrayFromImage(image), geometry_of(image)), {})
    cases = sorted([first, export(tmp_path, other, Reading("a"), "two")])
    [problem] = check_dataset(tmp_path)
    assert (problem.where, problem.what) == (cases[0], f"the same images as {cases[1]}")


def test_images_of_the_same_voxels_in_other_rows_are_others(tmp_path: Path, study: Study) -> None:
    t1c = study.reference
    export(tmp_path, Study(t1c, {}), Reading("a"))
    i, j, k = t1c.geometry.size
    other = Volume(t1c.array.reshape(k, i, j), replace(t1c.geometry, size=(j, i, k)))
    assert other.array.shape != t1c.array.shape
    export(tmp_path, Study(other, {}), Reading("a"), "two")
    assert check_dataset(tmp_path) == []


def test_an_export_mends_images_and_maps_as_the_check_says(dataset: tuple[Path, list[str]], study: Study) -> None:
    folder, [case, _] = dataset
    export(folder, study, Reading("b", (Lesion(cube(30, 20, 20)),)))
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "imagesTr" / f"{case}_0000.nii.gz").unlink()
    rewrite(folder / "imagesTr" / f"{case}_0001.nii.gz", set_first(99))
    (folder / "labelsTr" / f"{case}.nii.gz").write_bytes(b"x")
    (folder / "readings" / f"{case}_{KEY.of('R', 'b')}.nii.gz").unlink()
    for problem in check_dataset(folder):
        assert re.search(r"\bexport (the|its) case|\bexport this reader's work", problem.mend), problem
    export(folder, study, Reading("b", (Lesion(cube(30, 20, 20)),)))
    assert check_dataset(folder) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole


@pytest.mark.parametrize("part", ["reviews/{}.json", "readings/{}_{}.nii.gz"])
def test_no_map_is_blamed_for_a_reading_that_was_changed(
    dataset: tuple[Path, list[str]], study: Study, part: str
) -> None:
    """Made anew from that one, it would agree with it."""
    folder, [case, _] = dataset
    path = folder / part.format(case, KEY.of("R", "a"))
    if path.suffix == ".json":
        path.write_text(path.read_text(encoding="utf-8").replace('"whole_case": false', '"whole_case": true'))
    else:
        rewrite(path, lambda array: array.fill(0))
    [problem] = check_dataset(folder)
    assert folder / problem.where == path
    with pytest.raises(InputError, match=re.escape(f"{path}: {problem.what}; {problem.mend}")):
        export(folder, study, Reading("b"))
    remove_case(folder, case)
    export(folder, study, Reading("b"))
    assert check_dataset(folder) == []


def test_a_case_is_removed_as_the_check_says(dataset: tuple[Path, list[str]], study: Study) -> None:
    """All of it and nothing else, be it whole or not; and exports go on."""
    folder, cases = dataset
    whole = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    twice = export_reading(folder, study, Reading("b"), patient="one", case="MR again", key=KEY)
    assert any("remove all but one of them with `lopsided dataset remove`" in p.mend for p in check_dataset(folder))
    assert remove_case(folder, twice) == 6
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole
    for path in folder.glob(f"*/{cases[0]}*.nii.gz"):
        path.unlink()
    assert any("or remove the case with" in p.mend for p in check_dataset(folder))
    remove_case(folder, cases[0])
    assert check_dataset(folder) == []
    with pytest.raises(InputError, match=f"no export put a case {cases[0]} here; give its name as"):
        remove_case(folder, cases[0])
    assert export(folder, study, Reading("a")) == cases[0]
    assert check_dataset(folder) == []


def test_what_no_export_put_there_is_neither_a_case_nor_removed(dataset: tuple[Path, list[str]]) -> None:
    """Somebody may have copied cases of their own into it."""
    folder, [case, _] = dataset
    stray = [folder / "labelsTr" / "MET_001.nii.gz", folder / "imagesTr" / f"{case}_0007.nii.gz"]
    for path in stray:
        path.write_bytes(b"theirs")
    said = {(p.where, p.what) for p in check_dataset(folder) if p.where != "dataset.json"}
    strays = {path.relative_to(folder).as_posix() for path in stray}
    assert said == {(name, "was not put here by an export") for name in strays}
    with pytest.raises(InputError, match="no export put a case MET_001 here; give its name as"):
        remove_case(folder, "MET_001")
    remove_case(folder, case)
    assert [path.read_bytes() for path in stray] == [b"theirs"] * 2


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_text("{}")], ids=["missing", "empty"])
def test_missing_hashes_are_a_problem_and_no_export_makes_new_ones(
    dataset: tuple[Path, list[str]], study: Study, lose: Callable[[Path], object]
) -> None:
    """Which would know of its own files alone."""
    folder, cases = dataset
    lose(folder / "hashes.json")
    [problem] = check_dataset(folder)
    assert (problem.where, problem.mend) == ("hashes.json", "restore it from a copy, or export to a new dataset")
    with pytest.raises(
        InputError, match=r"hashes\.json: is missing or empty, and nothing was changed; restore it from a copy"
    ):
        export(folder, study, Reading("b"), "three")
    with pytest.raises(InputError, match=r"hashes\.json: is missing or empty, and nothing was changed"):
        remove_case(folder, cases[0])
    assert len(list((folder / "labelsTr").iterdir())) == 2


@pytest.mark.parametrize("content", ["null", "3", "[]", "[1]", "{"])
def test_damaged_hashes_are_said_to_be(dataset: tuple[Path, list[str]], study: Study, content: str) -> None:
    folder, [case, _] = dataset
    (folder / "hashes.json").write_text(content, encoding="utf-8")
    for use in (
        lambda: check_dataset(folder),
        lambda: export(folder, study, Reading("b")),
        lambda: remove_case(folder, case),
    ):
        with pytest.raises(InputError, match=r"hashes\.json: not readable .*; restore it from a copy"):
            use()


def test_a_plain_nnunet_dataset_is_checked_too(dataset: tuple[Path, list[str]]) -> None:
    folder, cases = dataset
    for path in [*folder.glob("re*/*"), *folder.glob("trust/*"), folder / "hashes.json"]:
        path.unlink()
    assert check_dataset(folder) == []
    rewrite(folder / "labelsTr" / f"{cases[1]}.nii.gz", set_first(3))
    assert [p.where for p in check_dataset(folder)] == [f"labelsTr/{cases[1]}"]


def test_hidden_files_are_none_of_the_datasets(dataset: tuple[Path, list[str]], study: Study) -> None:
    """As macOS leaves one beside each file on a shared drive, and Windows one in a folder that was looked at."""
    folder, cases = dataset
    before = dataset_stats(folder)
    for path in [path for path in folder.glob("*/*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
        path.with_name(".DS_Store").touch()
        path.with_name("Thumbs.db").touch()
    assert check_dataset(folder) == []
    assert dataset_stats(folder) == before
    export(folder, study, Reading("b"))
    assert check_dataset(folder) == [], "it counts two labels"
    for case in cases:
        remove_case(folder, case)
    (folder / "hashes.json").unlink()
    assert check_dataset(folder) == [], "no review is left whose hashes could be missing"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json: is missing"):
        check_dataset(tmp_path)
    with pytest.raises(InputError, match=r"dataset\.json: is missing"):
        dataset_stats(tmp_path)
    assert list(tmp_path.iterdir()) == [], "it is only looked at"


def refuse(file: Path, patch: pytest.MonkeyPatch) -> None:
    """As a system does that does not let this user read it; an administrator may read any."""
    really = io.open

    def refused(path: Path, *rest: object, **more: object) -> io.IOBase:
        if path == file:
            raise PermissionError(13, "Permission denied", str(file))
        return really(path, *rest, **more)

    patch.setattr(io, "open", refused)


@pytest.mark.parametrize("part", ["imagesTr/{}_0000", "labelsTr/{}", "trust/{}", "reviews/{}", "readings/{}_" + A])
def test_a_file_that_may_not_be_read_is_one_problem_and_so_is_a_folder_in_its_place(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The counts need the reviews, and the readings where there are several."""
    [case] = {export(tmp_path, study, Reading(reader)) for reader in (FIRST, SECOND)}
    file = tmp_path / (part.format(case) + (".json" if part.startswith("reviews") else ".nii.gz"))
    needed = part.startswith("re")
    for reason in ("Permission denied", "Is a directory"):
        with monkeypatch.context() as patch:
            if reason == "Permission denied":
                refuse(file, patch)
            else:
                file.unlink()
                file.mkdir()
            [problem] = check_dataset(tmp_path)
            assert tmp_path / problem.where == file
            assert problem.what.startswith("cannot be read (")
            assert problem.mend == "see that you may read it, or restore it from a copy"
            said = re.escape(str(file)) + r": cannot be read \(.*; check its name, and that you may read it"
            with pytest.raises(InputError, match=said) if needed else nullcontext():
                dataset_stats(tmp_path)


def test_what_says_of_the_others_and_may_not_be_read_is_named(
    dataset: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = dataset
    for name in ("dataset.json", "hashes.json"):
        with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
            refuse(folder / name, patch)
            check_dataset(folder)
        assert str(caught.value).startswith(f"{folder / name}: cannot be read (Permission denied); check its name")


def test_lesions_are_counted_by_size_kind_and_reader(tmp_path: Path, study: Study) -> None:
    lesions = (Lesion(cube(10, 20, 20)), Lesion(cube(20, 30, 20, 1), "point"), Lesion(cube(30, 30, 20), "suggestion"))
    decisions = (
        Decision("Suggestion_1", "accepted", 0.9, cube(30, 30, 20)),
        Decision("Suggestion_2", "rejected", 0.4, cube(5, 5, 5)),
    )
    export(tmp_path, study, Reading(FIRST, lesions, decisions, model="f" * 64, recognised=1))
    stats = dataset_stats(tmp_path)
    assert stats.lesions == Counter(
        {("6–10 mm", "outlined", A): 1, ("< 3 mm", "point", A): 1, ("6–10 mm", "suggestion", A): 1}
    )
    assert stats.decisions == Counter({("accepted", A): 1, ("rejected", A): 1})
    assert (stats.cases, stats.whole_cases) == (1, 0)
    [missed] = stats.missed
    assert (missed.by, missed.first, missed.second, missed.both) == ("reader and model", 2, 2, 1)


def test_an_interrupted_export_is_counted(
    dataset: tuple[Path, list[str]], study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = dataset
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "_carry_out", Mock(side_effect=KeyboardInterrupt))
        export(folder, study, Reading("a"), "three")
    assert dataset_stats(folder).cases == 3


def test_a_copy_that_may_not_be_written_is_read_though_an_export_to_it_was_broken_off(
    dataset: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which never was decided on; of one that was, it is said that it cannot be carried out."""
    folder, _ = dataset
    pending = folder / store.PENDING / "broken"
    pending.mkdir(parents=True)
    monkeypatch.setattr(store.os, "access", lambda *_: False)
    monkeypatch.setattr(store, "FileLock", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert check_dataset(folder) == []
    assert dataset_stats(folder).cases == 2
    (pending / store.COMMIT).touch()
    with pytest.raises(InputError, match=r"cannot be read or written \(Permission denied\)"):
        dataset_stats(folder)


def test_a_map_of_another_shape_is_damaged(dataset: tuple[Path, list[str]], study: Study) -> None:
    folder, [case, _] = dataset
    export(folder, study, Reading("b"))
    crop(folder / "readings" / f"{case}_{A}.nii.gz")
    with pytest.raises(InputError, match=rf"{A}\.nii\.gz: has 47×56×40 voxels, and its case 48×56×40; restore it"):
        dataset_stats(folder)
    assert [problem.where for problem in check_dataset(folder)] == [f"readings/{case}_{A}.nii.gz"]


def test_what_was_marked_and_then_accepted_both_found(tmp_path: Path, study: Study) -> None:
    """So that marking what is suggested leaves none missed; what was accepted alone, the model found."""
    places = [cube(5 * n, 20, 20) for n in range(1, 6)]
    mark = Point((0.0, 0.0, 0.0), 4.0)
    names = [f"Suggestion_{n}" for n in range(1, 6)]
    lesions = [Lesion(r, "suggestion", mark, candidate=name) for r, name in zip(places, names, strict=True)]
    decisions = tuple(Decision(name, "accepted", 0.9, r) for r, name in zip(places, names, strict=True))
    export(tmp_path, study, Reading(FIRST, tuple(lesions), decisions, model="f" * 64))
    [missed] = dataset_stats(tmp_path).missed
    assert (missed.first, missed.second, missed.both, missed.missed) == (5, 5, 5, 0)
    lesions[4] = replace(lesions[4], mark=None)
    own = Lesion(cube(30, 30, 20))
    export(tmp_path, study, Reading(FIRST, (*lesions, own), decisions, model="f" * 64, recognised=3))
    [missed] = dataset_stats(tmp_path).missed
    assert (missed.first, missed.second, missed.both) == (5, 6, 5)


def test_a_search_that_had_nothing_to_suggest_counts_too(tmp_path: Path, study: Study) -> None:
    """Where the model found no more than the reader, the two had most in common."""
    own = tuple(Lesion(cube(5 * n, 20, 20)) for n in range(1, 5))
    export(tmp_path, study, Reading("a", own, model="f" * 64, recognised=4))
    found, decision = cube(30, 30, 20), Decision("Suggestion_1", "accepted", 0.9, cube(30, 30, 20))
    more = (*own[:1], Lesion(found, "suggestion", candidate="Suggestion_1"))
    export(tmp_path, study, Reading("a", more, (decision,), model="f" * 64), "two")
    [missed] = dataset_stats(tmp_path).missed
    assert (missed.cases, missed.first, missed.second, missed.both) == (2, 5, 5, 4)


def test_two_readers_of_whole_cases_are_compared(tmp_path: Path, study: Study) -> None:
    """Two in common, though drawn differently; one that the other rejected; one that the other passed over."""
    shared = [cube(10, 20, 20), cube(20, 30, 20)]
    moved = [cube(11, 21, 20), cube(20, 30, 22)]
    own, rejected = cube(30, 30, 10), cube(30, 20, 30)
    export(tmp_path, study, Reading(FIRST, tuple(Lesion(r) for r in [*shared, own, rejected]), whole_case=True))
    decisions = (Decision("Suggestion_1", "rejected", 0.4, rejected),)
    export(tmp_path, study, Reading(SECOND, tuple(Lesion(r) for r in moved), decisions, whole_case=True))
    stats = dataset_stats(tmp_path)
    [missed] = stats.missed
    assert (missed.by, missed.first, missed.second, missed.both) == (f"readers {A} and {B}", 4, 2, 2)
    assert sorted((d.lesion_of, d.not_of, d.why) for d in stats.disagreements) == [
        (A, B, "looked at the whole case and did not mark it"),
        (A, B, "rejected it"),
    ]


def test_a_lesion_in_parts_is_one_of_each_reader(tmp_path: Path, study: Study) -> None:
    """And nothing that the other one lacks."""
    whole, parts = cube(10, 20, 10, 16), [cube(11, 21, 11, 3), cube(18, 28, 18, 3), cube(11, 28, 11, 3)]
    export(tmp_path, study, Reading(FIRST, (Lesion(whole),), whole_case=True))
    export(tmp_path, study, Reading(SECOND, tuple(Lesion(r) for r in parts), whole_case=True))
    stats = dataset_stats(tmp_path)
    [missed] = stats.missed
    assert (missed.first, missed.second, missed.both) == (1, 1, 1)
    assert stats.disagreements == ()


def test_each_reader_may_draw_another_lesion_in_parts(tmp_path: Path, study: Study) -> None:
    """Two in common, and one that each has alone."""
    whole, other = cube(10, 10, 10, 8), cube(10, 30, 10, 8)
    parts, others = ([cube(10, j, 10, 3), cube(15, j, 15, 3)] for j in (12, 32))
    for reader, drawn in ((FIRST, [whole, *others, cube(30, 10, 10)]), (SECOND, [*parts, other, cube(30, 30, 10)])):
        export(tmp_path, study, Reading(reader, tuple(Lesion(region) for region in drawn), whole_case=True))
    [missed] = dataset_stats(tmp_path).missed
    assert (missed.first, missed.second, missed.both) == (3, 3, 2)


def test_counts_and_places_are_told_as_people_read_them(tmp_path: Path, study: Study) -> None:
    folder = tmp_path / "dataset"
    lesions = (Lesion(cube(10, 20, 20, 2)), Lesion(cube(20, 30, 20, 10)))
    export(folder, study, Reading(FIRST, lesions))
    export(folder, study, Reading(SECOND, (), whole_case=True))
    stats = dataset_stats(folder)
    assert stats.median_mm == pytest.approx(sum(stats.diameters_mm) / 2)
    [left, posterior, superior] = stats.disagreements[0].centroid_lps
    told = CliRunner().invoke(app, ["dataset", "stats", str(folder), "--html", str(tmp_path / "page.html")]).output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (" ".join(told.split()), page):
        assert f"RAS {-left:.0f}, {-posterior:.0f}, {superior:.0f} mm" in text
        assert "LPS" not in text
    assert f"Median longest diameter {stats.median_mm:.1f} mm." in page
    assert "<h1>dataset</h1>" in page
    assert "Dataset dataset" not in page


@pytest.mark.parametrize(("reader", "other", "names"), [(FIRST, SECOND, (A, B)), (SECOND, FIRST, (B, A))])
def test_what_a_reader_left_uncertain_is_not_said_to_be_passed_over(
    tmp_path: Path, study: Study, reader: str, other: str, names: tuple[str, str]
) -> None:
    """Nor is a rejected one, though beside it another is uncertain; and who did not look at the whole case is not named."""
    lesions = tuple(Lesion(cube(k, 20, 20)) for k in (10, 20, 30))
    export(tmp_path, study, Reading(reader, lesions))
    decisions = (
        Decision("Suggestion_1", "uncertain", 0.4, cube(10, 20, 22)),
        Decision("Suggestion_2", "uncertain", 0.4, cube(20, 20, 22)),
        Decision("Suggestion_3", "rejected", 0.4, cube(20, 22, 18)),
    )
    for whole_case, third in ((True, ["looked at the whole case and did not mark it"]), (False, [])):
        export(tmp_path, study, Reading(other, (), decisions, whole_case=whole_case))
        found = dataset_stats(tmp_path).disagreements
        assert {(d.lesion_of, d.not_of) for d in found} == {names}
        in_order = [d.why for d in sorted(found, key=lambda d: d.centroid_lps[2])]
        assert in_order == ["left it uncertain", "rejected it", *third]


def test_the_estimate_is_right_where_its_assumption_holds() -> None:
    """Independent searches: unbiased, and the 95 % interval has the truth about as often."""
    rng = np.random.default_rng(0)
    truth, errors, covered, runs = 200, [], 0, 2000
    for _ in range(runs):
        first, second = rng.random(truth) < 0.75, rng.random(truth) < 0.6
        found = capture_recapture("", 1, int(first.sum()), int(second.sum()), int((first & second).sum()))
        missed = int((~first & ~second).sum())
        errors.append(found.missed - missed)
        assert found.high is not None
        covered += found.low <= missed <= found.high
    assert abs(np.mean(errors)) < 0.5
    assert 0.9 <= covered / runs <= 1.0


def test_the_estimate_is_a_published_one() -> None:
    """Chapman: (n1 + 1)(n2 + 1)/(m + 1) - 1 in all, for 100, 80 and 60 that both found."""
    found = capture_recapture("", 1, 100, 80, 60)
    assert found.missed == pytest.approx(101 * 81 / 61 - 1 - (100 + 80 - 60))
    assert found.high is not None
    assert found.low < found.missed < found.high
    nothing_new = capture_recapture("", 1, 5, 3, 3)
    assert (nothing_new.missed, nothing_new.high) == (0, None), "none seen is not none there"


def test_sizes_have_names() -> None:
    assert [size_name(d) for d in (1, 3, 5.9, 10, 40)] == ["< 3 mm", "3–6 mm", "3–6 mm", "≥ 10 mm", "≥ 10 mm"]
