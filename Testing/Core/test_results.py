"""What a search leaves behind: right, readable elsewhere, and all or nothing."""

import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.annotation import Annotation, read_annotation
from lopsided.candidates import Found, find_candidates
from lopsided.cli import say_found
from lopsided.errors import InputError
from lopsided.model import InputSequence, Model, OperatingPoint
from lopsided.report import write_report
from lopsided.results import SuggestionsRecord, all_or_nothing, record, write_results
from lopsided.study import Study
from lopsided.suggest import Suggestions
from lopsided.volume import Geometry, Volume
from numpy.testing import assert_allclose


@pytest.fixture
def suggestions(model: Model, head: Callable[..., Volume], oblique: Geometry) -> Suggestions:
    """Three lesions in a tilted, left-handed scan; the first is annotated."""
    reference = head(oblique)
    points = oblique.physical(np.stack(np.meshgrid(*map(np.arange, oblique.shape), indexing="ij"), -1))
    array = np.zeros(oblique.shape, np.float32)
    for kji, peak in (((15, 20, 20), 0.95), ((15, 40, 36), 0.9), ((20, 30, 16), 0.7)):
        distance = ((points - oblique.physical(np.array(kji))) ** 2).sum(-1)
        array = np.maximum(array, peak * 0.5 ** (distance / 9)).astype(np.float32)
    mask = np.zeros(oblique.shape, bool)
    mask[14:17, 18:23, 18:23] = True
    annotation = Annotation(mask, {"Metastasis": float(mask.sum() * oblique.voxel_volume)})
    probability = Volume(array, oblique, "probability")
    found = find_candidates(probability, mask, model.card.calibration)
    return Suggestions(Study(reference), annotation, model.card, probability, found, 0.5, 2.0)


def test_the_record_is_in_both_conventions_and_agrees_with_the_mask(suggestions: Suggestions, tmp_path: Path) -> None:
    write_results(suggestions, tmp_path)
    record = SuggestionsRecord.model_validate_json((tmp_path / "candidates.json").read_text(encoding="utf-8"))
    assert len(record.recognised) == 1
    assert [c.rank for c in record.candidates] == [1, 2]
    assert "not for clinical use" in record.notice
    assert record.model.digest == suggestions.card.digest
    mask = sitk.ReadImage(str(tmp_path / "suggestions.nii.gz"))
    labels = sitk.GetArrayFromImage(mask)
    spacing = np.prod(mask.GetSpacing())
    for c in record.candidates:
        left, posterior, superior = c.centroid_lps
        assert c.centroid_ras == pytest.approx((-left, -posterior, superior), abs=1e-9)
        index = np.argwhere(labels == c.label).mean(0)[::-1]
        assert_allclose(mask.TransformContinuousIndexToPhysicalPoint(index.tolist()), c.centroid_lps, atol=0.05)
        assert c.volume_mm3 == pytest.approx((labels == c.label).sum() * spacing, rel=1e-3)
    assert set(np.unique(labels)) == {0, 1, 2}


def test_the_map_is_on_the_inputs_grid(suggestions: Suggestions, tmp_path: Path) -> None:
    write_results(suggestions, tmp_path)
    image = sitk.ReadImage(str(tmp_path / "probability.nii.gz"))
    assert_allclose(sitk.GetArrayFromImage(image), suggestions.probability.array, atol=6e-4)
    assert_allclose(image.GetOrigin(), suggestions.probability.geometry.origin, atol=1e-3)
    assert_allclose(image.GetDirection(), suggestions.probability.geometry.direction, atol=1e-4)


def test_the_segmentation_names_each_candidate_and_can_be_an_annotation(
    suggestions: Suggestions, tmp_path: Path
) -> None:
    write_results(suggestions, tmp_path)
    back = read_annotation(tmp_path / "suggestions.seg.nrrd", suggestions.study.reference)
    assert [re.sub(r" \(.*", "", name) for name in back.labels] == ["Suggestion 1", "Suggestion 2"]
    assert back.mask.sum() == sum(c.mask.sum() for c in suggestions.shown)
    header = sitk.ReadImage(str(tmp_path / "suggestions.seg.nrrd"))
    assert header.GetMetaData("Segmentation_MasterRepresentation") == "Binary labelmap"
    assert header.GetMetaData("Segment0_Color") != header.GetMetaData("Segment1_Color")
    tags = header.GetMetaData("Segment1_Tags")
    assert suggestions.card.digest in tags
    assert f"LopsidedSeg.Confidence:{suggestions.shown[1].confidence!r}|" in tags, (
        "a threshold lists the same of what is read"
    )


def test_no_candidate_is_a_result_too(suggestions: Suggestions, tmp_path: Path) -> None:
    none = Suggestions(**{**suggestions.__dict__, "threshold": 0.999})
    write_results(none, tmp_path)
    write_report(none, tmp_path)
    assert json.loads((tmp_path / "candidates.json").read_text(encoding="utf-8"))["candidates"] == []
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "suggestions.nii.gz"))).any()
    assert "Nothing to suggest" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_stands_alone(suggestions: Suggestions, tmp_path: Path) -> None:
    write_report(replace(suggestions, created="2026-01-02T03:04:05+00:00"), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page), "it refers to nothing outside"
    assert "<script" not in page
    assert page.count("<article") == 2
    assert page.count("data:image/png") == 2 * 4
    assert "not for clinical use" in page
    for candidate in suggestions.shown:
        assert f"{candidate.longest_diameter_mm:.1f} mm" in page
    assert "calibrated on 1 study that the model was not trained on." in page
    text = " ".join(page.split())
    assert "(92 mm³); 1 region that" in text
    assert "Listed is what reaches a confidence of 0.5; at this threshold, expect about 1 false" in text
    assert "label 1 in suggestions.nii.gz" in text
    assert '<div class="wide"><table>' in text, "which is scrolled on a narrow screen"
    assert "2026-01-02 03:04:05 UTC" in text, "when it was searched, as candidates.json says it"


@pytest.mark.parametrize(
    ("threshold", "number"),
    [(0.3, "more than 2"), (0.3043, "about 2"), (0.4, "about 0.12 to 2"), (0.7, "about 0 to 0.12")],
)
def test_the_report_says_what_to_expect_at_any_threshold(
    threshold: float, number: str, suggestions: Suggestions, tmp_path: Path
) -> None:
    points = tuple(
        OperatingPoint(confidence=at, false_positives_per_scan=false, sensitivity=0.5)
        for at, false in ((0.304215, 2.0), (0.6, 0.125))
    )
    card = suggestions.card.model_copy(update={"operating_points": points})
    write_report(replace(suggestions, card=card, threshold=threshold), tmp_path)
    text = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert f"a confidence of {threshold}; at this threshold, expect {number} false positives a scan (measured" in text


def test_outlines_lie_on_the_lesion(suggestions: Suggestions, tmp_path: Path) -> None:
    """The candidate's outline encloses the middle of its crops, on which they are centred."""
    write_report(suggestions, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    outlines = re.findall(r'viewBox="0 0 192 192".*?outline suggestion" d="([^"]*)"', page, re.DOTALL)
    assert len(outlines) == 2 * 3
    for path in outlines:
        points = np.array([[float(v) for v in p.split(",")] for p in re.findall(r"[-\d.]+,[-\d.]+", path)])
        assert (points.min(0) < 96).all()
        assert (points.max(0) > 96).all()
        assert_allclose((points.min(0) + points.max(0)) / 2, (96, 96), atol=9)


def test_the_terminal_says_names_as_they_are(suggestions: Suggestions, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = Annotation(suggestions.annotation.mask, {"met [left]": 1.0, "old [/2019]": 1.0}, ("old [bold]",))
    named = Suggestions(**{**suggestions.__dict__, "annotation": drawn})
    say_found(named, Path("study [1]"), 1.0, "cpu")
    printed = " ".join(capsys.readouterr().out.split())
    for name in ("met [left]", "old [/2019]", "old [bold]", "study [1]"):
        assert name in printed


def test_lesions_beyond_the_image_are_said(suggestions: Suggestions, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (0, 1):
        annotation = replace(suggestions.annotation, beyond=count)
        say_found(replace(suggestions, annotation=annotation), Path("out"), 1.0, "cpu")
        said = "Beyond the image's edge, and left out there: 1 annotated lesion, wholly or in part"
        assert (said in " ".join(capsys.readouterr().out.split())) is bool(count)


def test_sequences_that_the_model_does_not_look_at_are_said(
    suggestions: Suggestions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = suggestions.study.reference
    only_t1c = suggestions.card.input.model_copy(update={"sequences": (InputSequence(name="t1c", required=True),)})
    more = replace(
        suggestions,
        study=Study(reference, {"t2": replace(reference, name="t2.nii")}),
        card=suggestions.card.model_copy(update={"input": only_t1c}),
    )
    for one, said in ((suggestions, False), (more, True)):
        say_found(one, tmp_path, 1.0, "cpu")
        assert ("Not used by this model: T2" in capsys.readouterr().out) is said
        write_report(one, tmp_path)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert ("T2: t2.nii (not used by this model)" in page) is said
        assert page.count("not used by this model") == said


def test_numbers_are_the_same_everywhere(
    suggestions: Suggestions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3.446 is 3.45 in the record, and so 3.5 on the page, not 3.4."""
    first = replace(suggestions.found.missed[0], longest_diameter_mm=3.446, centroid_lps=(-1.446, -2.446, 3.446))
    edge = replace(suggestions, found=Found((first,), ()))
    say_found(edge, tmp_path, 1.0, "cpu")
    write_results(edge, tmp_path)
    write_report(edge, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    segments = sitk.ReadImage(str(tmp_path / "suggestions.seg.nrrd"))
    for said in (capsys.readouterr().out, page, segments.GetMetaData("Segment0_Name")):
        assert "3.5 mm" in said
        assert "3.4 mm" not in said
        assert "1.4, 2.4, 3.4" not in said


def test_a_volume_of_next_to_nothing_is_none_of_zero(suggestions: Suggestions) -> None:
    """A voxel may be of 0.05 mm a side."""
    first = replace(suggestions.found.missed[0], volume_mm3=0.000125)
    assert record(replace(suggestions, found=Found((first,), ()))).candidates[0].volume_mm3 == 0.000125


def test_hidden_files_are_no_content(tmp_path: Path) -> None:
    """As systems leave them in every folder that was looked at."""
    for overwrite, name in ((False, ".DS_Store"), (True, "Desktop.ini")):
        (tmp_path / name).write_text("x", encoding="utf-8")
        with all_or_nothing(tmp_path, overwrite=overwrite) as folder:
            (folder / "candidates.json").write_text("new", encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"candidates.json", ".DS_Store", "Desktop.ini"}


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), all_or_nothing(tmp_path / "out", overwrite=False) as folder:
        (folder / "candidates.json").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_the_earlier_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with all_or_nothing(out, overwrite=False) as folder:
        (folder / "candidates.json").write_text("first")
    with pytest.raises(ZeroDivisionError), all_or_nothing(out, overwrite=True) as folder:
        (folder / "candidates.json").write_text("second")
        raise ZeroDivisionError
    assert [p.read_text(encoding="utf-8") for p in out.iterdir()] == ["first"]
    with all_or_nothing(out, overwrite=True) as folder:
        (folder / "candidates.json").write_text("second")
    assert [p.read_text(encoding="utf-8") for p in out.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_is_there_stays_the_same_one(tmp_path: Path) -> None:
    """It may be the working directory, a mount, or in a folder that is not ours to write."""
    (tmp_path / "report.html").write_text("of an earlier result", encoding="utf-8")
    (tmp_path / ".lopsided-partial-1").mkdir()  # of a process that was killed
    before, parent = tmp_path.stat().st_ino, set(tmp_path.parent.iterdir())
    with all_or_nothing(tmp_path, overwrite=True) as folder:
        (folder / "candidates.json").write_text("new", encoding="utf-8")
        assert set(tmp_path.parent.iterdir()) == parent
    assert tmp_path.stat().st_ino == before
    assert {path.name for path in tmp_path.iterdir()} == {"candidates.json", ".lopsided-partial-1"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no groups of this kind")
def test_a_group_may_write_in_what_was_made_in_its_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    before = os.umask(0o002)
    try:
        (tmp_path / "any").mkdir()
        with all_or_nothing(tmp_path / "out", overwrite=False) as folder:
            (folder / "candidates.json").write_text("new", encoding="utf-8")
    finally:
        os.umask(before)
    made = (tmp_path / "out").stat().st_mode
    assert made == (tmp_path / "any").stat().st_mode
    assert stat.S_IMODE(made) == 0o2775


def test_what_came_meanwhile_stays(tmp_path: Path) -> None:
    with all_or_nothing(tmp_path, overwrite=False) as folder:
        (folder / "candidates.json").write_text("new", encoding="utf-8")
        (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"candidates.json", "notes.txt"}


@pytest.mark.parametrize("known", [True, False])
def test_a_result_that_came_meanwhile_is_not_replaced(known: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if known:
        out.mkdir()
    with pytest.raises(InputError, match="another result was written there meanwhile"):  # noqa: SIM117
        with all_or_nothing(out, overwrite=False) as folder:
            (folder / "candidates.json").write_text("second", encoding="utf-8")
            out.mkdir(exist_ok=True)
            (out / "candidates.json").write_text("first", encoding="utf-8")
    assert [path.read_text(encoding="utf-8") for path in out.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_cannot_be_replaced_leaves_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("candidates.json", "probability.nii.gz", "report.html")
    for name in names:
        (tmp_path / name).write_text("first", encoding="utf-8")

    rename = Path.rename

    def locked(self: Path, target: Path) -> None:
        if target == tmp_path / "report.html" and self.read_text(encoding="utf-8") == "second":
            raise PermissionError(13, "it is open in another program")
        rename(self, target)

    with pytest.raises(InputError, match=r"cannot be written .*open in another program"):  # noqa: SIM117
        with all_or_nothing(tmp_path, overwrite=True) as folder:
            for name in names:
                (folder / name).write_text("second", encoding="utf-8")
            monkeypatch.setattr(Path, "rename", locked)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == dict.fromkeys(names, "first")


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty"), all_or_nothing(tmp_path, overwrite=overwrite):
            pytest.fail("it must not begin")
    assert (tmp_path / "thesis.docx").read_text(encoding="utf-8") == "mine"


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be a folder"), all_or_nothing(tmp_path / "out", overwrite=True):
        pytest.fail("it must not begin")


def test_a_folder_that_is_not_called_in_utf8_is_said(tmp_path: Path) -> None:
    """SimpleITK would end the process, and what is half written stayed."""
    out = tmp_path / "\udcf6ut"
    with pytest.raises(InputError, match=r"\\xf6ut: its name is not in UTF-8"), all_or_nothing(out, overwrite=True):
        pytest.fail("it must not begin")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"), all_or_nothing(tmp_path / "out", overwrite=False):
        pytest.fail("it must not begin")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said_and_leaves_nothing(suggestions: Suggestions, tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with (
            pytest.raises(InputError, match=r"cannot be written .*MB free"),
            all_or_nothing(tmp_path / "out", overwrite=False) as folder,
        ):
            write_results(suggestions, folder)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
