"""What can be trained on, and what is refused, by name, before training starts."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.errors import InputError
from lopsided.model import bundled_models
from lopsided_training.config import FitConfig
from lopsided_training.dataset import Case, digest, hashes, read_dataset
from lopsided_training.evaluate import evaluate
from lopsided_training.examine import check
from lopsided_training.fit import fit
from lopsided_training.patches import _version, prepare


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A dataset of one case that a test may spoil."""
    shutil.copytree(dataset, tmp_path / "copy")
    for path in sorted((tmp_path / "copy" / "labelsTr").iterdir())[1:]:
        path.unlink()
    return tmp_path / "copy"


def change(path: Path, how: Callable[[np.ndarray], np.ndarray], spacing: float = 1.0) -> None:
    image = sitk.ReadImage(str(path))
    changed = sitk.GetImageFromArray(how(sitk.GetArrayFromImage(image)))
    changed.CopyInformation(image)
    changed.SetSpacing([spacing] * 3)
    sitk.WriteImage(changed, str(path))


def lesions_of(source: Path, lesion: tuple[int, ...] = ()) -> np.ndarray:
    (case,) = read_dataset(source, lesion)
    return case.truth(case.study().reference).array


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    header = '{"channel_names": {"0": "%s"}, "labels": {"background": 0}, "numTraining": 1, "file_ending": ".nii.gz"}'
    with pytest.raises(InputError, match="no cases here"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(header % "t1c")
    with pytest.raises(InputError, match=r"labelsTr: no labels \(\*\.nii\.gz\) here"):
        read_dataset(tmp_path)
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "a.nii.gz").write_text("")
    (tmp_path / "dataset.json").write_text(header % "CT")
    with pytest.raises(InputError, match=r"none of its channels [(]CT[)] is named"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(header % "t1c")
    with pytest.raises(InputError, match=r"a_0000\.nii\.gz: missing"):
        read_dataset(tmp_path)


def test_folders_and_lists_are_datasets_too(copy: Path, tmp_path: Path) -> None:
    """The same case in nnU-Net's layout with names of its own, as BraTS has it, in BIDS, and in a list."""
    (case,) = read_dataset(copy)
    lesions = lesions_of(copy)
    assert lesions.any()
    assert np.array_equal(lesions, sitk.GetArrayFromImage(sitk.ReadImage(str(case.label))) == 1)
    described = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    described["channel_names"] = {"0": "T1-Gd", "1": "T1", "2": "T2", "3": "FLAIR"}
    (copy / "dataset.json").write_text(json.dumps(described))
    assert set(read_dataset(copy)[0].images) == set(case.images)
    brats = tmp_path / "brats" / "P1-001"
    brats.mkdir(parents=True)
    shutil.copy(case.images["t1c"], brats / "P1-001-t1c.nii.gz")
    shutil.copy(case.label, brats / "P1-001-seg.nii.gz")
    bids = tmp_path / "bids"
    (bids / "sub-1" / "anat").mkdir(parents=True)
    (bids / "derivatives" / "reader" / "sub-1" / "anat").mkdir(parents=True)
    shutil.copy(case.images["t1c"], bids / "sub-1" / "anat" / "sub-1_ce-gd_T1w.nii.gz")
    shutil.copy(case.label, bids / "derivatives" / "reader" / "sub-1" / "anat" / "sub-1_label-lesion_mask.nii.gz")
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [("patient", "case", "t1c", "annotation"), ("A", "1", case.images["t1c"], case.label)]
        csv.writer(file).writerows(rows)
    for source in (tmp_path / "brats", bids, tmp_path / "list.csv"):
        assert np.array_equal(lesions_of(source), lesions), source
    assert read_dataset(tmp_path / "brats")[0].patient == "P1"
    change(brats / "P1-001-seg.nii.gz", lambda array: array.astype(np.float32) * 0.5)
    with pytest.raises(InputError, match=r"has label values 0, 0\.5; the dataset must have whole numbers"):
        lesions_of(tmp_path / "brats")


def test_labels_as_dicom_seg_are_to_be_imported(copy: Path, tmp_path: Path) -> None:
    (case,) = read_dataset(copy)
    kind = b"1.2.840.10008.5.1.4.1.1.66.4"
    head = b"\2\0\2\0UI" + len(kind).to_bytes(2, "little") + kind  # (0002,0002): what the file is
    (tmp_path / "seg.dcm").write_bytes(bytes(128) + b"DICM" + head)
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("patient", "case", "t1c", "annotation"), ("A", "1", case.images["t1c"], "seg.dcm")]
        )
    with pytest.raises(InputError, match=r"seg\.dcm: a DICOM SEG, .* `lopsided dataset import`"):
        read_dataset(tmp_path / "list.csv")


def test_cases_of_one_name_stay_apart_by_their_patients(copy: Path, tmp_path: Path) -> None:
    (case,) = read_dataset(copy)

    def listed(*cases: tuple[str, str]) -> list[tuple[str, str]]:
        with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [(patient, name, case.images["t1c"], case.label) for patient, name in cases]
            csv.writer(file).writerows([("patient", "case", "t1c", "annotation"), *rows])
        return [(c.name, c.patient) for c in read_dataset(tmp_path / "list.csv")]

    assert listed(("A", "1"), ("B", "1")) == [("A-1", "A"), ("B-1", "B")]
    words = (
        "case 1 of patient A-1 and case 1-1 of patient A would both be called A-1-1; give each case a name of its own"
    )
    with pytest.raises(InputError, match=words):
        listed(("A", "1"), ("A-1", "1"), ("A", "1-1"))


def test_what_lies_where_the_name_of_a_case_leads_is_not_of_that_case(copy: Path, tmp_path: Path) -> None:
    (case,) = read_dataset(copy)
    name = case.label.as_posix().removesuffix(".nii.gz")
    (tmp_path / "list.csv").write_text(f"case,t1c,annotation\n{name},{case.images['t1c']},{case.label}\n")
    (listed,) = read_dataset(tmp_path / "list.csv")
    assert (listed.name, listed.trust) == (name, None)


def test_a_change_that_was_decided_on_is_carried_out_before_it_is_read(copy: Path) -> None:
    label = next((copy / "labelsTr").iterdir())
    pending = copy / ".pending" / "one"
    (pending / "labelsTr").mkdir(parents=True)
    shutil.copy(label, pending / "labelsTr")
    change(pending / "labelsTr" / label.name, np.zeros_like)
    (pending / "COMMIT.json").write_text(json.dumps({"files": [f"labelsTr/{label.name}"], "removed": []}))
    assert not lesions_of(copy).any()


def test_a_list_says_which_labels_are_lesions(copy: Path, tmp_path: Path) -> None:
    (case,) = read_dataset(copy)
    change(case.label, lambda array: (np.indices(array.shape).sum(0) % 4).astype(np.uint8))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))

    def listed(named: str) -> Path:
        with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [("patient", "t1c", "annotation", "labels"), ("A", case.images["t1c"], case.label, named)]
            csv.writer(file).writerows(rows)
        return tmp_path / "list.csv"

    for named, expected in (("1 3", (1, 3)), ("2", (2,)), ("", (1, 2, 3))):
        assert np.array_equal(lesions_of(listed(named)), np.isin(labels, expected)), named
    assert np.array_equal(lesions_of(listed("1 3"), (2,)), labels == 2), "what is asked for goes before"
    (tmp_path / "unread.csv").write_text(f"patient,case,t1c,annotation\nA,one,{case.images['t1c']},\n")
    with pytest.raises(InputError, match=r"unread\.csv: case one has no labels; add them, or take the case out"):
        read_dataset(tmp_path / "unread.csv")
    with pytest.raises(InputError, match=r"labels core, rim of case .* are not numbers, or 0; give values of lesions"):
        read_dataset(listed("core, rim"))
    for wrong in ("0", "0 1", "²"):
        with pytest.raises(InputError, match="are not numbers, or 0"):
            read_dataset(listed(wrong))


def test_a_list_says_which_cases_were_looked_at_as_a_whole(copy: Path, tmp_path: Path, small: FitConfig) -> None:
    """As where it is imported: what is not labelled is then negative, and no longer only perhaps so."""
    shutil.rmtree(copy / "trust")
    (plain,) = read_dataset(copy)

    def listed(said: str) -> Case:
        text = f"t1c,annotation,whole_case\n{plain.images['t1c']},{plain.label},{said}\n"
        (tmp_path / "list.csv").write_text(text, encoding="utf-8")
        return read_dataset(tmp_path / "list.csv")[0]

    cases = [listed(said) for said in ("yes", "", "no")]
    assert [case.looked_at_as_a_whole() for case in cases] == [True, True, False]
    assert len({digest(hashes([case])) for case in cases}) == len({made_from(case) for case in cases}) == 3
    yes, unsaid, no = prepare([replace(case, name=f"{n}") for n, case in enumerate(cases)], small, tmp_path / "cache")
    assert not (yes.trusted & yes.lesion).any()
    assert yes.trusted.mean() > 0.9
    assert not unsaid.trusted.any()
    assert not no.trusted.any()
    with pytest.raises(InputError, match="whole_case in the list says that a part of it was not looked at"):
        check(SimpleNamespace(model=SimpleNamespace(card=SimpleNamespace(input=small.input))), cases)


def test_a_mask_of_255_in_eight_bits_with_a_sign_has_lesions_too(copy: Path, tmp_path: Path) -> None:
    (case,) = read_dataset(copy)
    lesions = lesions_of(copy)
    change(case.label, lambda array: (255 * array).astype(np.uint8).view(np.int8))  # which makes -1 of it
    for named in ("", "-1"):
        (tmp_path / "list.csv").write_text(f"t1c,annotation,labels\n{case.images['t1c']},{case.label},{named}\n")
        assert np.array_equal(lesions_of(tmp_path / "list.csv"), lesions)


def test_some_labels_may_be_lesions_and_others_not(copy: Path) -> None:
    label = next((copy / "labelsTr").iterdir())
    change(label, lambda array: np.where(np.arange(array.shape[2]) < 36, array, 2 * array).astype(np.uint8))
    with pytest.raises(InputError, match=r"has label values 0, 1, 2; the dataset declares \[0, 1\]: mend the labels"):
        lesions_of(copy)
    described = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    described["labels"] = {"background": 0, "core": 1, "oedema": 2}
    (copy / "dataset.json").write_text(json.dumps(described))
    whole, core = lesions_of(copy), lesions_of(copy, (1,))
    assert core.sum() < whole.sum()
    assert not core[:, :, 36:].any()
    described["labels"] = {"background": 0, "whole": [1, 2], "core": 1}  # nnU-Net's regions
    (copy / "dataset.json").write_text(json.dumps(described))
    assert np.array_equal(lesions_of(copy), whole)
    assert np.array_equal(lesions_of(copy, (1,)), core)
    with pytest.raises(InputError, match=r"declares the labels \[0, 1, 2\], not \[4\]; choose others"):
        read_dataset(copy, (1, 4))


@pytest.mark.parametrize(
    ("part", "how", "spacing", "words"),
    [
        ("labelsTr", lambda a: a[1:], 1.0, "; bring both onto one grid"),
        ("labelsTr", lambda a: a, 1.2, "; bring both onto one grid"),
        ("trust", lambda a: a, 1.2, "; bring both onto one grid"),
        ("labelsTr", lambda a: a.astype(np.float32) * 0.5, 1.0, "has label values 0, 0.5"),
        (
            "trust",
            lambda a: np.where(a == 1, 7, 255 * (a == 2)).astype(np.uint8),
            1.0,
            "holds the values .7, 255.; .0, 1, 2. are",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    copy: Path, part: str, how: Callable[[np.ndarray], np.ndarray], spacing: float, words: str
) -> None:
    path = sorted((copy / part).iterdir())[0]
    image = sitk.ReadImage(str(path))
    changed = sitk.GetImageFromArray(how(sitk.GetArrayFromImage(image)))
    changed.SetSpacing([spacing] * 3)
    changed.SetOrigin(image.GetOrigin())
    changed.SetDirection(image.GetDirection())
    sitk.WriteImage(changed, str(path))
    (case,) = read_dataset(copy)
    reference = case.study().reference
    with pytest.raises(InputError, match=words) as error:
        case.truth(reference)
        case.trusted(reference)
    assert case.name in str(error.value)


def test_how_labels_lie_otherwise_than_the_image_is_said(copy: Path) -> None:
    """Also where both grids are described alike."""
    (case,) = read_dataset(copy)
    image = sitk.ReadImage(str(case.label))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(case.label))
    with pytest.raises(InputError, match=r"is not on the grid of .* but with axes along RAS against LPS\); bring both"):
        case.truth(case.study().reference)
    image.SetOrigin(np.add(image.GetOrigin(), (0.0, 0.0, 0.3)).tolist())
    sitk.WriteImage(image, str(case.label))
    with pytest.raises(InputError, match=r"is not on the grid of .* but up to 0\.3 mm apart\); bring both"):
        case.truth(case.study().reference)


def test_where_nobody_knows_who_looked_is_not_where_everybody_did(copy: Path) -> None:
    (case,) = read_dataset(copy)
    assert case.trust
    case.trust.unlink()
    with pytest.raises(
        InputError, match=rf"{case.name}\.nii\.gz: missing, .*restore it, or run `lopsided dataset check {copy}`"
    ):
        read_dataset(copy)
    shutil.rmtree(copy / "trust")
    (case,) = read_dataset(copy)
    assert case.trust is None
    (copy / "reviews").mkdir()
    (copy / "reviews" / f"{case.name}.json").touch()
    with pytest.raises(InputError, match="missing, so nobody knows where somebody looked"):
        read_dataset(copy)


def test_the_digest_is_of_every_file(copy: Path) -> None:
    def now() -> str:
        return digest(hashes(read_dataset(copy)))

    before = now()
    assert now() == before
    (copy / "trust").rename(copy / "elsewhere")
    assert now() != before
    (copy / "elsewhere").rename(copy / "trust")
    change(next((copy / "labelsTr").iterdir()), lambda array: np.roll(array, 1, axis=0))
    assert now() != before
    case = read_dataset(copy)[0]
    others = [replace(case, lesion=frozenset({1})), replace(case, patient="another")]
    assert len({digest(hashes([one])) for one in (case, *others)}) == 3, "which values are lesions, and whose it is"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lost.nii.gz", "no such file or folder, so case A-1 cannot be read; check the path"),
        (f"{'x' * 300}.nii.gz", "cannot be read (File name too long); check its name, and that you may read it"),
    ],
)
@pytest.mark.parametrize("column", ["t1c", "flair", "annotation"])
def test_a_file_that_cannot_be_read_is_named(
    copy: Path, tmp_path: Path, small: FitConfig, column: str, name: str, words: str
) -> None:
    (case,) = read_dataset(copy)
    files = {"t1c": case.images["t1c"], "flair": case.images["flair"], "annotation": case.label} | {column: name}
    (tmp_path / "list.csv").write_text(f"case,{','.join(files)}\nA-1,{','.join(map(str, files.values()))}\n")
    with pytest.raises(InputError, match=f"{name}: {re.escape(words)}"):
        fit(tmp_path / "list.csv", tmp_path / "run", small, accelerator="cpu")
    with pytest.raises(InputError, match=f"{name}: {re.escape(words)}"):
        evaluate(Path(bundled_models()[0].name), tmp_path / "list.csv", tmp_path / "evaluation")


def test_what_a_case_is_made_from_says_which_sequence_a_file_is_and_knows_every_slice(
    dataset: Path, tmp_path: Path
) -> None:
    case = read_dataset(dataset)[0]
    one, other = (replace(case, images={"t1c": case.images["t1c"], name: case.images["t2"]}) for name in ("t1", "t2"))
    assert digest(hashes([one])) != digest(hashes([other]))
    assert made_from(one) != made_from(other)
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"a slice")
    sliced = replace(case, images={"t1c": series})
    before, folder = made_from(sliced), series.stat()
    (series / "1.dcm").write_bytes(b"another")
    os.utime(series / "1.dcm", ns=(1, 1))
    os.utime(series, ns=(folder.st_atime_ns, folder.st_mtime_ns))
    assert made_from(sliced) != before


def made_from(case: Case) -> str:
    return _version(case, FitConfig().input, 1.0, 8)
