"""What readers did becomes a dataset that trains; who they and the patients are stays here."""

import gzip
import io
import itertools
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from shutil import which
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.dataset import store
from lopsided.dataset.export import Decision, Lesion, Reading, export_reading, remove_case
from lopsided.dataset.pseudonyms import Key, read_key
from lopsided.dataset.records import CaseRecord, read_record
from lopsided.errors import InputError
from lopsided.marks import Point, rasterise
from lopsided.regions import Region
from lopsided.study import Study
from lopsided.volume import Geometry, Volume
from lopsided_training.dataset import read_dataset

KEY = Key(b"k" * 32)
PATIENT, READER = "Müller^Hans 19510203", "Dr. Ray"


def cube(k: int, j: int, i: int, size: int = 4) -> Region:
    return Region((slice(k, k + size), slice(j, j + size), slice(i, i + size)), np.ones((size,) * 3, bool))


@pytest.fixture
def study(head: Callable[..., Volume], oblique: Geometry) -> Study:
    """A T1c on an oblique grid, and a FLAIR on another, which does not reach as far."""
    flair = head(replace(oblique, size=(34, 44, 20), spacing=(1.2, 1.2, 2.6)))
    return Study(head(oblique), {"flair": Volume(flair.array + 5, flair.geometry, "flair")})


READING = Reading(
    READER,
    lesions=(
        Lesion(cube(4, 10, 10), time="2026-01-01T10:00:00+00:00"),
        Lesion(cube(12, 30, 20), "suggestion", candidate="Suggestion_1"),
    ),
    decisions=(
        Decision("Suggestion_1", "accepted", 0.9, cube(12, 30, 20)),
        Decision("Suggestion_2", "rejected", 0.6, cube(20, 40, 30)),
        Decision("Suggestion_3", "uncertain", 0.5, cube(20, 20, 30)),
        Decision("Suggestion_4", "pending", 0.4, cube(8, 40, 40)),
    ),
    model="f" * 64,
    threshold=0.3,
)


def export(dataset: Path, study: Study, reading: Reading = READING, case: str = "MR 1", again: bool = False) -> str:
    return export_reading(dataset, study, reading, patient=PATIENT, case=case, key=KEY, again=again)


def values(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock."""
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name != store.LOCK)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def test_a_reading_is_what_the_training_reads(tmp_path: Path, study: Study) -> None:
    name = export(tmp_path, study)
    [case] = read_dataset(tmp_path)
    assert case.name == name
    label, trust = case.truth(case.study().reference).array, values(tmp_path / "trust" / f"{name}.nii.gz")
    expected = cube(4, 10, 10).whole(label.shape) | cube(12, 30, 20).whole(label.shape)
    np.testing.assert_array_equal(label, expected)
    np.testing.assert_array_equal(trust == 2, expected)
    np.testing.assert_array_equal(trust == 1, cube(20, 40, 30).whole(label.shape), "rejected, and nothing else")
    read = case.study()
    assert read.reference.geometry.same_grid(study.reference.geometry)
    np.testing.assert_allclose(read.reference.array, study.reference.array)
    flair = read.sequence("flair")
    assert flair is not None
    assert flair.geometry.same_grid(read.reference.geometry), "nnU-Net wants one grid"
    darkest = study.others["flair"].array.min()
    assert flair.array.min() == pytest.approx(darkest), "where it does not reach, too"
    header = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    assert header["channel_names"] == {"0": "t1c", "1": "flair"}
    assert (header["numTraining"], header["labels"]) == (1, {"background": 0, "lesion": 1})


def test_a_whole_case_is_negative_but_for_what_is_uncertain(tmp_path: Path, study: Study) -> None:
    name = export(tmp_path, study, replace(READING, whole_case=True))
    trust = values(tmp_path / "trust" / f"{name}.nii.gz")
    np.testing.assert_array_equal(trust == 0, cube(20, 20, 30).whole(trust.shape))
    assert set(np.unique(trust)) == {0, 1, 2}


def test_the_review_says_how_each_lesion_was_marked(tmp_path: Path, study: Study) -> None:
    geometry = study.reference.geometry
    mark = Point(tuple(geometry.physical(np.array([15, 30, 26])).tolist()), 9.0)
    region = rasterise(mark, geometry)
    assert region is not None
    name = export(tmp_path, study, replace(READING, lesions=(Lesion(region, "point", mark, snapped=True),)))
    record = read_record(tmp_path / "reviews" / f"{name}.json", CaseRecord)
    [reading] = record.readings
    [lesion] = reading.lesions
    assert (lesion.kind, lesion.mark, lesion.snapped) == ("point", mark, True)
    np.testing.assert_allclose(lesion.centroid_lps, mark.centre_lps, atol=0.3)
    regions = values(tmp_path / reading.map)
    np.testing.assert_array_equal(regions == lesion.label, region.whole(regions.shape))
    statuses = {s.candidate: (s.status, s.region is not None) for s in reading.suggestions}
    assert statuses["Suggestion_2"] == ("rejected", True)
    assert statuses["Suggestion_1"] == ("accepted", False)
    assert (reading.model, reading.threshold) == ("f" * 64, 0.3)


def test_a_lesion_under_another_keeps_its_voxels_and_the_same_twice_is_refused(tmp_path: Path, study: Study) -> None:
    name = export(tmp_path, study, Reading(READER, (Lesion(cube(5, 11, 11, 2)), Lesion(cube(4, 10, 10, 6)))))
    [reading] = read_record(tmp_path / "reviews" / f"{name}.json", CaseRecord).readings
    assert set(np.unique(values(tmp_path / reading.map))) == {0, 1, 2}
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"the same voxels, at RAS -36\.5, 7\.3, 36\.8 mm \(outlined\); delete one"):
        export(tmp_path, study, Reading(READER, (Lesion(cube(5, 11, 11)), Lesion(cube(5, 11, 11)))))
    assert contents(tmp_path) == before


def test_an_annotation_of_noise_is_refused(tmp_path: Path, study: Study) -> None:
    with pytest.raises(
        InputError, match="65536 separate lesions and suggestions, and a reading has at most 65535; see"
    ):
        export(tmp_path, study, Reading(READER, (Lesion(cube(4, 10, 10)),) * 65535, READING.decisions[:1]))
    assert contents(tmp_path) == {}


def test_readers_are_kept_apart_and_merged(tmp_path: Path, study: Study) -> None:
    """A second reader adds; the first one again replaces what was theirs, and nothing else."""
    name = export(tmp_path, study)
    other = Reading("Dr. Sight", (Lesion(cube(20, 40, 30)),), whole_case=True)
    assert export(tmp_path, study, other) == name
    trust = values(tmp_path / "trust" / f"{name}.nii.gz")
    assert (trust[cube(20, 40, 30).box] == 2).all(), "one rejected it, the other marked it: it is trusted to be one"
    assert json.loads((tmp_path / "dataset.json").read_text())["numTraining"] == 1
    export(tmp_path, study, Reading(READER))
    label = values(tmp_path / "labelsTr" / f"{name}.nii.gz")
    np.testing.assert_array_equal(label, cube(20, 40, 30).whole(label.shape))
    assert len(read_record(tmp_path / "reviews" / f"{name}.json", CaseRecord).readings) == 2


def test_what_any_reader_left_uncertain_is_not_negative_for_another_looked_past_it(
    tmp_path: Path, study: Study
) -> None:
    export(tmp_path, study)
    name = export(tmp_path, study, Reading("Dr. Sight", whole_case=True))
    trust = values(tmp_path / "trust" / f"{name}.nii.gz")
    np.testing.assert_array_equal(trust == 0, cube(20, 20, 30).whole(trust.shape))


def _less_in_review(review: Path, _: Path) -> None:
    record = json.loads(review.read_text(encoding="utf-8"))
    record["readings"][0] |= {"lesions": record["readings"][0]["lesions"][1:], "whole_case": True}
    review.write_text(json.dumps(record), encoding="utf-8")


def _less_in_map(_: Path, regions: Path) -> None:
    image = sitk.ReadImage(str(regions))
    sitk.WriteImage(image * 0, str(regions))


@pytest.mark.parametrize(
    ("spoil", "which", "what"),
    [
        (_less_in_review, 0, "is not what was exported: it was changed or damaged since"),
        (lambda review, _: review.unlink(), 0, "is missing"),
        (_less_in_map, 1, "is not what was exported: it was changed or damaged since"),
        (lambda _, regions: regions.unlink(), 1, "is missing"),
    ],
)
def test_a_reading_that_was_changed_since_is_not_taken_over(
    tmp_path: Path, study: Study, spoil: Callable[[Path, Path], None], which: int, what: str
) -> None:
    """Nothing would tell any more that lesions of another reader are gone."""
    name = export(tmp_path, study)
    ours = tmp_path / "reviews" / f"{name}.json", tmp_path / "readings" / f"{name}_{KEY.of('R', READER)}.nii.gz"
    spoil(*ours)
    before = contents(tmp_path)
    with pytest.raises(InputError) as caught:
        export(tmp_path, study, Reading("Dr. Sight"))
    assert str(caught.value).startswith(f"{ours[which]}: {what}; restore it from a copy, ")
    assert str(caught.value).endswith("or remove the case with `lopsided dataset remove` and export its readings again")
    assert contents(tmp_path) == before
    if which == 1:  # the reader's own work takes its place
        export(tmp_path, study)
        assert export(tmp_path, study, Reading("Dr. Sight")) == name


def test_a_review_that_no_export_put_there_is_not_taken_over(tmp_path: Path, study: Study) -> None:
    export(tmp_path, study)
    name = export(tmp_path / "other", study, case="MR 2")
    shutil.copy(tmp_path / "other" / "reviews" / f"{name}.json", tmp_path / "reviews")
    with pytest.raises(InputError, match=f"{name}.json: was not put here by an export; move it elsewhere"):
        export(tmp_path, study, case="MR 2")


def test_other_images_of_a_case_are_noticed(tmp_path: Path, study: Study) -> None:
    export(tmp_path, study)
    brighter = Study(replace(study.reference, array=study.reference.array + 1), study.others)
    with pytest.raises(InputError) as caught:
        export(tmp_path, brighter)
    [first, second, third] = str(caught.value).split("; ")
    assert first.startswith(f"MR 1: its images are not those in {tmp_path}, where it is C")
    assert second.startswith("if this is another patient or study, as one that another hospital calls the same, give ")
    assert third.startswith(
        "if they are changed images of the same study, replace those by `lopsided export` with --again"
    )
    export(tmp_path, brighter, again=True)
    [case] = read_dataset(tmp_path)
    np.testing.assert_allclose(case.study().reference.array, brighter.reference.array)
    export(tmp_path, brighter, Reading("another"))
    with pytest.raises(InputError, match="give them another name too, for other readers"):
        export(tmp_path, study, again=True)


def test_every_version_knows_a_case_again(tmp_path: Path) -> None:
    """Else what another one exported would be other images, or another patient's."""
    grid = Geometry((4, 3, 2), (0.9, 0.9, 5.0), (-10.00005, 20.0, 30.5), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    image = Volume(np.arange(24, dtype=np.int16).reshape(grid.shape), grid, "t1c")
    record = read_record(
        tmp_path / "reviews" / f"{export(tmp_path, Study(image, {}), Reading(READER))}.json", CaseRecord
    )
    assert (record.case, record.patient, record.readings[0].reader) == (
        "CD0945A754EEA",
        "P35B430111A15",
        "R6FF6AA34CBBB",
    )
    assert record.images == {"t1c": "8416632fcbcdea8fe9d7282de4379bf024eeb66bfb15571f27724127bbb2e8a4"}


@pytest.mark.parametrize("millimetres", [0.9, 240 / 512, 250 / 512, 0.1 + 0.2])
def test_rounding_in_headers_makes_no_other_images(tmp_path: Path, study: Study, millimetres: float) -> None:
    """As where one reader's images come from a file and another's through Slicer; each sequence is on a grid of its own."""
    grid = study.reference.geometry
    tilted = grid.axes @ [[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]
    flair = replace(study.others["flair"].geometry, direction=tuple(tilted.ravel().tolist()))

    def as_read(grid: Geometry, off: float) -> Geometry:
        def rounded(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(np.add(values, off).tolist())

        spacing, origin = rounded((millimetres, *grid.spacing[1:])), rounded((0.0, *grid.origin[1:]))
        return Geometry(grid.size, spacing, origin, rounded(grid.direction))  # type: ignore[arg-type]

    for reader, off in (("Dr. Ray", -1e-9), ("Dr. Sight", 1e-9)):
        others = {"flair": replace(study.others["flair"], geometry=as_read(flair, off))}
        name = export(tmp_path, Study(replace(study.reference, geometry=as_read(grid, off)), others), Reading(reader))
    assert len(read_record(tmp_path / "reviews" / f"{name}.json", CaseRecord).readings) == 2
    moved = replace(flair, origin=(flair.origin[0] + 0.01, *flair.origin[1:]))
    with pytest.raises(InputError, match="images are not those"):
        export(tmp_path, Study(study.reference, {"flair": replace(study.others["flair"], geometry=moved)}))


def test_a_case_without_a_sequence_that_the_others_have_is_refused(tmp_path: Path, study: Study) -> None:
    export(tmp_path, study)
    without = Study(study.reference, {})
    with pytest.raises(
        InputError, match=r"each of its cases has t1c, flair, and this one lacks FLAIR; .* begin another .* without it"
    ):
        export(tmp_path, without, case="MR 2")
    more = Study(study.reference, {**study.others, "t2": study.reference})
    export(tmp_path, more, case="MR 2")
    assert all(set(case.images) == {"t1c", "flair"} for case in read_dataset(tmp_path))
    for one, case in ((without, "MR 2"), (study, "MR 1")):
        export(tmp_path / "other", one, case=case)
    assert [set(case.images) for case in read_dataset(tmp_path / "other")] == [{"t1c"}] * 2, "as is advised"


def test_no_name_date_or_path_gets_out(tmp_path: Path, study: Study) -> None:
    """Looked for in every byte, and in what the compressed files hold."""
    planted = ("Müller", "Hans", "19510203", "Ray", "MR 1", "ward 7", "secret", "PATIENT-0815")
    image = sitk.Image([8, 8, 8], sitk.sitkInt16)
    image.SetMetaData("descrip", "PATIENT-0815")
    named = Study(replace(study.reference, name="/ward 7/secret.nii.gz"), study.others)
    reading = replace(READING, decisions=(replace(READING.decisions[1]),))
    name = export_reading(tmp_path, named, reading, patient=PATIENT, case="MR 1", key=KEY)
    files = contents(tmp_path)
    assert len(files) == 8
    for path, content in files.items():
        plain = gzip.decompress(content) if path.endswith(".gz") else content
        for word in planted:
            for data in (path.encode(), content, plain):
                assert word.encode() not in data, path
                assert word.encode("utf-16-le") not in data, path
    assert name.startswith("C")
    assert KEY.of("P", PATIENT) != Key(b"x" * 32).of("P", PATIENT)


def test_a_key_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "lopsided.key"
    first = read_key(path).of("P", "a")
    assert read_key(path).of("P", "a") == first
    assert path.stat().st_mode & 0o077 == 0, "for its owner alone"
    (tmp_path / "not a key").write_text("hello", encoding="utf-8")
    with pytest.raises(InputError, match="is no key"):
        read_key(tmp_path / "not a key")


@pytest.mark.parametrize("same", ["M\u00fcller", "Mu\u0308ller", " M\u00fcller\t"])
def test_a_name_is_the_same_however_its_letters_are_put_together(same: str) -> None:
    """As macOS and Windows write file names, and people fill cells."""
    assert KEY.of("C", same, "MR 1") == KEY.of("C", "M\u00fcller", "MR 1 ") != KEY.of("C", "Muller", "MR 1")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links on this file system"])
def test_a_full_disk_leaves_no_half_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError(1, "Operation not permitted")))
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left on device"):
        patch.setattr(os, "fsync", Mock(side_effect=full))
        read_key(tmp_path / "a.key")
    assert list(tmp_path.iterdir()) == []
    first = read_key(tmp_path / "a.key").of("P", "a")
    assert read_key(tmp_path / "a.key").of("P", "a") == first
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a right of their own there")
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links on this file system"])
def test_a_link_to_a_key_on_a_drive_that_is_not_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Another key in its place would give every patient another name."""
    if not links:
        monkeypatch.setattr(os, "link", Mock(side_effect=PermissionError(1, "Operation not permitted")))
    path, drive = tmp_path / "a.key", tmp_path / "drive"
    path.symlink_to(drive / "a.key")
    with pytest.raises(InputError, match=r"a\.key: no key can be kept here \(No such file or directory\)"):
        read_key(path)
    drive.mkdir()
    (drive / "a.key").write_text("00" * 32 + "\n", encoding="ascii")
    assert read_key(path).of("P", "a") == Key(bytes(32)).of("P", "a")
    assert {path.name for path in tmp_path.iterdir()} == {"a.key", "drive"}


def test_a_key_that_another_program_makes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(source: Path, target: Path) -> None:
        target.write_text("00" * 32 + "\n", encoding="ascii")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert read_key(tmp_path / "a.key").of("P", "a") == Key(bytes(32)).of("P", "a")


def _export_slowly(dataset: Path, study: Study, started: "multiprocessing.synchronize.Event") -> None:
    started.set()
    export(dataset, study, Reading(READER, (Lesion(cube(9, 9, 9)),)))


def test_a_kill_at_any_moment_leaves_it_as_it_was_or_as_it_is_to_be(tmp_path: Path, study: Study) -> None:
    """Fifty times, at moments from the first byte to the last."""
    dataset, after = tmp_path / "dataset", tmp_path / "after"
    for folder in (dataset, after):
        export(folder, study)
        export(folder, study, case="MR 2")
    before = contents(dataset)
    began = time.perf_counter()
    export(after, study, Reading(READER, (Lesion(cube(9, 9, 9)),)))
    duration = time.perf_counter() - began
    expected = contents(after)
    context = multiprocessing.get_context("fork")
    when, outcomes = random.Random(3), {"before": 0, "after": 0}
    reach = 2 * duration
    for _ in range(50):
        started = context.Event()
        process = context.Process(target=_export_slowly, args=(dataset, study, started))
        process.start()
        started.wait()
        time.sleep(when.uniform(0, reach))
        process.kill()
        process.join()
        store.recover(dataset)
        found = contents(dataset)
        assert found in (before, expected)
        outcomes["after" if found == expected else "before"] += 1
        reach *= 0.85 if found == expected else 1.15  # however busy the machine is: as often too early as too late
        if found == expected:
            export(dataset, study)
            assert contents(dataset) == before
    assert min(outcomes.values()) >= 5, outcomes


@pytest.mark.skipif(os.name == "nt", reason="Windows has no groups of this kind")
def test_a_change_is_not_for_its_owner_alone(tmp_path: Path) -> None:
    """Another of the group may have to complete it."""
    before = os.umask(0o002)
    try:
        with store.change(tmp_path) as draft:
            assert draft.path("a").parent.stat().st_mode & 0o777 == 0o775
    finally:
        os.umask(before)


@pytest.mark.parametrize("at", range(10))
def test_a_change_decided_on_is_carried_out_by_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Interrupted before or after any of its moves."""
    with store.change(tmp_path) as draft:
        for name in "abc":
            draft.path(name).write_text("old", encoding="utf-8")
    moved: list[Path] = []
    move = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if len(moved) == at:
            raise KeyboardInterrupt
        moved.append(target)
        return move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        outcome = pytest.raises(KeyboardInterrupt) if at < 8 else nullcontext()
        with outcome, store.change(tmp_path) as draft:
            for name in "ab":
                draft.path(name).write_text("new", encoding="utf-8")
            draft.remove("c")
    store.recover(tmp_path)
    kept = {"a": b"old", "b": b"old", "c": b"old"} if at == 0 else {"a": b"new", "b": b"new"}
    assert {name: content for name, content in contents(tmp_path).items() if name != "hashes.json"} == kept
    assert store.hashes(tmp_path) == {name: store.digest(tmp_path / name) for name in kept}


def test_all_of_a_change_is_on_the_disk_before_it_is_decided_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it belongs before that is forgotten: for when the power fails."""
    move, on_disk, seen = Path.replace, [], []
    monkeypatch.setattr(store, "_to_disk", on_disk.append)

    def noted(self: Path, target: Path) -> Path:
        if target.name == store.COMMIT:
            seen.append({path for path in target.parent.rglob("*") if path.is_file()} - set(on_disk))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    with store.change(tmp_path) as draft:
        draft.path("labelsTr/a").write_text("a", encoding="utf-8")
    assert seen == [set()]
    assert on_disk[-1] == tmp_path


def test_a_full_disk_changes_nothing(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path, study)
    before = contents(tmp_path)

    monkeypatch.setattr(store.os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left on device"):
        export(tmp_path, study, Reading(READER))
    monkeypatch.undo()
    assert contents(tmp_path) == before


def refuse_moves(patch: pytest.MonkeyPatch, refuse: Callable[[int, set[Path]], bool]) -> None:
    """As a system does for a file that another program holds: ``refuse`` sees the number and both ends of each move."""
    move, count = os.replace, itertools.count()

    def refused(source: Path, target: Path) -> None:
        if refuse(next(count), {Path(source), Path(target)}):
            raise PermissionError(13, "Permission denied", str(source), None, str(target))
        move(source, target)

    patch.setattr(os, "replace", refused)


def test_any_file_that_another_program_holds_is_named_and_nothing_changes(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tmp_path, study)
    before = contents(tmp_path)
    brighter = Study(replace(study.reference, array=study.reference.array + 1), study.others)
    for name in before:
        with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
            refuse_moves(patch, lambda _, ends, name=name: tmp_path / name in ends)
            export(tmp_path, brighter, again=True)
        assert str(caught.value).startswith(f"{tmp_path / name}: cannot be read or written (Permission denied)")
        assert "nothing was changed; close what has it open" in str(caught.value)
        assert contents(tmp_path) == before
    export(tmp_path, brighter, again=True)
    assert contents(tmp_path) != before, "once it is let go of, the same export does it"


@pytest.mark.parametrize("part", ["dataset.json", "hashes.json", "labelsTr", "readings", "reviews", "trust"])
def test_a_file_or_folder_that_is_really_locked(tmp_path: Path, study: Study, part: str) -> None:
    """By the file system, which holds for an administrator too, as permissions do not."""
    name = export(tmp_path, study)
    before, locked = contents(tmp_path), tmp_path / part
    done = subprocess.run(["chattr", "+i", str(locked)], capture_output=True, check=False) if which("chattr") else None
    if done is None or done.returncode:
        pytest.skip("this file system, or this user, cannot make a file immutable with chattr +i")
    try:
        with pytest.raises(InputError) as caught:
            export(tmp_path, study, Reading(READER, (Lesion(cube(9, 9, 9)),)))
    finally:
        subprocess.run(["chattr", "-i", str(locked)], check=True)
    assert str(caught.value).startswith(str(locked))
    assert "nothing was changed; close what has it open, or make it and its folder writable" in str(caught.value)
    assert contents(tmp_path) == before
    assert export(tmp_path, study, Reading(READER, (Lesion(cube(9, 9, 9)),))) == name


def test_any_file_that_may_not_be_read_is_named_and_nothing_changes(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tmp_path, study)
    export(tmp_path, study, Reading("Dr. Sight", (Lesion(cube(20, 40, 30)),)))
    before, really, said = contents(tmp_path), io.open, {}
    for name in before:

        def refused(file: Path, *rest: object, name: str = name, **more: object) -> io.IOBase:
            if file == tmp_path / name:
                raise PermissionError(13, "Permission denied", str(file))
            return really(file, *rest, **more)

        with monkeypatch.context() as patch:
            patch.setattr(io, "open", refused)
            try:
                export(tmp_path, study)
            except InputError as error:
                said[name] = str(error)
        assert contents(tmp_path) == before
    assert {name.split("/")[0] for name in said} == {"dataset.json", "hashes.json", "imagesTr", "reviews", "readings"}
    for name, sentence in said.items():
        assert sentence.startswith(
            f"{tmp_path / name}: cannot be read (Permission denied); check its name, and that you"
        )


@pytest.mark.parametrize("lasting", [False, True])
def test_a_change_that_cannot_be_carried_out_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    """At each of its moves. Where no file can be moved back either, it says so, and whoever comes next completes it."""

    def write(folder: Path, word: str) -> None:
        with store.change(folder) as draft:
            draft.path("a").write_text(word, encoding="utf-8")
            draft.path("b").write_text(word, encoding="utf-8")
            draft.path(word).write_text(word, encoding="utf-8")
            draft.remove("c")

    write(tmp_path / "after", "old")
    write(tmp_path / "after", "new")
    outcomes = []
    for at in range(20):
        folder = tmp_path / str(at)
        with store.change(folder) as draft:
            draft.path("c").write_text("c", encoding="utf-8")
        write(folder, "old")
        before = contents(folder)
        with monkeypatch.context() as patch:
            refuse_moves(patch, lambda n, _, at=at: n >= at if lasting else n == at)
            try:
                write(folder, "new")
                outcomes.append("done")
                break
            except InputError as error:
                outcomes.append("half done" if "half done" in str(error) else "nothing")
        if outcomes[-1] == "nothing":
            assert contents(folder) == before
        else:
            store.recover(folder)
            assert contents(folder) == contents(tmp_path / "after")
    assert outcomes[-1] == "done"
    assert set(outcomes) == ({"nothing", "half done", "done"} if lasting else {"nothing", "done"})


def _export_often(dataset: Path, study: Study, reader: str) -> None:
    for _ in range(5):
        export(dataset, study, Reading(reader, (Lesion(cube(9, 9, 9)),)))


def test_two_exporters_at_once(tmp_path: Path, study: Study) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_export_often, args=(tmp_path, study, reader)) for reader in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    [path] = (tmp_path / "reviews").iterdir()
    assert {r.reader for r in read_record(path, CaseRecord).readings} == {KEY.of("R", "a"), KEY.of("R", "b")}
    assert {n: store.digest(tmp_path / n) for n in store.hashes(tmp_path)} == store.hashes(tmp_path)


def test_a_writer_that_does_not_let_go_is_named(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PATIENCE_S", 0.2)
    with store.FileLock(tmp_path / store.LOCK), pytest.raises(InputError, match="another export is writing"):
        export(tmp_path, study)


def test_a_folder_that_is_not_called_in_utf8_is_said(tmp_path: Path, study: Study) -> None:
    """SimpleITK would end the process."""
    with pytest.raises(InputError, match=r"d\\xe4ta: its name is not in UTF-8, and .*; give it another name"):
        export(tmp_path / "d\udce4ta", study)
    assert not any(tmp_path.iterdir())


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, study: Study) -> None:
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InputError, match=r"is not empty \(thesis\.docx\), and no dataset; choose another folder"):
        export(tmp_path, study)
    assert {path.name for path in tmp_path.iterdir()} == {".DS_Store", "thesis.docx"}
    (tmp_path / "thesis.docx").unlink()
    export(tmp_path, study)


LABELS = {"background": 0, "lesion": 1}


@pytest.mark.parametrize(
    ("labels", "locked", "sentence"),
    [
        (
            {"background": 0, "edema": 1, "enhancing": 2},
            False,
            r'dataset\.json: has the labels .*"edema": 1, .* choose',
        ),
        ({"background": 0, "edema": 1}, True, r'dataset\.json: has the labels .*"edema": 1.* another folder'),
        (LABELS, False, r"has cases that no export put there \(no reviews/\)"),
        (LABELS, True, r"has cases that no export put there \(no reviews/\)"),
    ],
)
@pytest.mark.parametrize("theirs", ["labelsTr/MET_001.nii.gz", "imagesTr/MET_001_0000.nii.gz"])
def test_a_dataset_of_others_is_left_alone(
    tmp_path: Path, study: Study, theirs: str, labels: dict[str, int], locked: bool, sentence: str
) -> None:
    """Its labels say something else. ``locked``: one into which an export was tried before."""
    header = {"channel_names": {"0": "t1c"}, "labels": labels, "numTraining": 1}
    (tmp_path / "dataset.json").write_text(json.dumps(header), encoding="utf-8")
    (tmp_path / theirs).parent.mkdir()
    (tmp_path / theirs).write_bytes(b"theirs")
    if locked:
        (tmp_path / store.LOCK).touch()
    before = contents(tmp_path)
    for write in (lambda: export(tmp_path, study), lambda: remove_case(tmp_path, "MET_001")):
        with pytest.raises(InputError, match=sentence):
            write()
        assert contents(tmp_path) == before
        assert (tmp_path / store.LOCK).exists() == locked


def test_a_channel_that_was_renamed_is_named(tmp_path: Path, study: Study) -> None:
    export(tmp_path, study)
    header = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    (tmp_path / "dataset.json").write_text(json.dumps(header | {"channel_names": {"0": "T1CE", "1": "flair"}}))
    with pytest.raises(
        InputError,
        match=r"dataset\.json: has channels that are not known \(T1CE\); name each as one of t1c, t1, t2, flair",
    ):
        export(tmp_path, study)
    foreign = tmp_path / "nnunet"
    foreign.mkdir()
    shutil.copy(tmp_path / "dataset.json", foreign)
    with pytest.raises(InputError, match=r"channels that are not known \(T1CE\)"):
        export(foreign, study)
    assert [path.name for path in foreign.iterdir()] == ["dataset.json"]


def test_a_damaged_dataset_is_said_to_be(tmp_path: Path, study: Study) -> None:
    export(tmp_path, study)
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"dataset\.json: is not what it should be"):
        export(tmp_path, study)


def test_a_folder_has_a_digest_of_its_names_and_contents(tmp_path: Path) -> None:
    """A series of DICOM files is a sequence too."""
    for name in ("one", "two"):
        (tmp_path / name / "series").mkdir(parents=True)
        (tmp_path / name / "series" / "1.dcm").write_bytes(b"slice")
    one, two = tmp_path / "one", tmp_path / "two"
    assert store.digest(one) == store.digest(two) != store.digest(one / "series" / "1.dcm")
    (two / "series" / "1.dcm").rename(two / "series" / "2.dcm")
    assert store.digest(one) != store.digest(two)
    (one / "series" / "1.dcm").write_bytes(b"another")
    (one / "series" / "1.dcm").rename(one / "series" / "2.dcm")
    assert store.digest(one) != store.digest(two)
