"""DICOM Segmentations: what is written on a series is what is read, and nothing half-written is left."""

import errno
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.annotation import read_annotation, read_labels
from lopsided.characters import decoded
from lopsided.cli import app
from lopsided.dataset.inputs import outlined
from lopsided.dicom import subject_of
from lopsided.dicomseg import is_dicom_seg, read_dicom_seg, write_dicom_seg
from lopsided.errors import InputError
from lopsided.reading import read_volume
from lopsided.volume import Geometry, Labels, Volume, geometry_of, to_sitk
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

WriteSeries = Callable[..., None]
NAMES = {1: "Left frontal", 2: "Métastase 左"}


def two_lesions(geometry: Geometry) -> np.ndarray:
    """Labels (k, j, i): one of several slices, and far from it, one of a single voxel."""
    labels = np.zeros(geometry.shape, np.uint16)
    labels[5:9, 7:12, 4:10], labels[19, 20, 30] = 1, 2
    return labels


def scan_of(labels: np.ndarray, geometry: Geometry) -> Volume:
    """An image whose voxels say which lesion they are of: 1001, 1002."""
    image = np.random.default_rng(0).integers(1, 900, geometry.shape)
    return Volume(np.where(labels > 0, 1000 + labels, image), geometry)


def as_labels(array: np.ndarray, geometry: Geometry, names: dict[int, str] = NAMES) -> Labels:
    masks = {name: array == value for value, name in names.items()}
    return Labels(masks, {name: str(value) for value, name in names.items()}, geometry, "drawn.nrrd")


@pytest.fixture
def grid(geometry: Callable[..., Geometry]) -> Geometry:
    return geometry((40, 44, 26), (0.9, 1.1, 2.3))


@pytest.fixture
def drawn(grid: Geometry) -> Labels:
    return as_labels(two_lesions(grid), grid)


@pytest.fixture
def series(grid: Geometry, tmp_path: Path, write_series: WriteSeries) -> Path:
    write_series(scan_of(two_lesions(grid), grid), tmp_path / "dicom")
    return tmp_path / "dicom"


@pytest.fixture
def seg(drawn: Labels, series: Path, tmp_path: Path) -> Path:
    write_dicom_seg(drawn, series, tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm"


def stored_as_it_is(image: sitk.Image) -> sitk.Image:
    return image


def stored_another_way(image: sitk.Image) -> sitk.Image:
    return sitk.PermuteAxes(image, (2, 0, 1))[::-1, :, ::-1]


def stored_left_handed(image: sitk.Image) -> sitk.Image:
    turned = image[:, ::-1, :] if np.linalg.det(geometry_of(image).axes) > 0 else image[:, ::-1, ::-1]
    assert np.linalg.det(geometry_of(turned).axes) < 0
    return turned


@pytest.mark.parametrize("stored", [stored_as_it_is, stored_another_way, stored_left_handed])
@pytest.mark.parametrize("scan", ["straight", "oblique", "reversed"])
def test_every_voxel_comes_back_on_the_series(
    scan: str,
    stored: Callable[[sitk.Image], sitk.Image],
    grid: Geometry,
    oblique: Geometry,
    tmp_path: Path,
    write_series: WriteSeries,
) -> None:
    """``oblique`` is left-handed and anisotropic; ``reversed`` has its first file at the top of the head."""
    flipped = geometry_of(to_sitk(np.zeros(grid.shape, np.uint8), grid)[:, :, ::-1])
    where = {"straight": grid, "oblique": oblique, "reversed": flipped}[scan]
    labels = two_lesions(where)
    write_series(scan_of(labels, where), tmp_path / "dicom")
    drawn = stored(to_sitk(labels, where))
    write_dicom_seg(
        as_labels(sitk.GetArrayFromImage(drawn), geometry_of(drawn)), tmp_path / "dicom", tmp_path / "seg.dcm"
    )
    reference = read_volume(tmp_path / "dicom")
    for value, name in NAMES.items():
        got = read_annotation(tmp_path / "seg.dcm", reference, (name,))
        assert np.array_equal(got.mask, reference.array == 1000 + value)
        assert got.mask.any()
        volume = float((labels == value).sum() * where.voxel_volume)
        assert got.labels == {name: pytest.approx(volume, rel=1e-4)}


def test_it_says_what_it_is_and_of_whom(seg: Path, series: Path) -> None:
    found = dcmread(seg)
    images = {image.SOPInstanceUID: image for image in map(dcmread, series.iterdir())}
    image = next(iter(images.values()))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert found[keyword] == image[keyword]
    assert found.PatientName == "Doe^Jane"
    assert found.SegmentationType == "BINARY"
    assert found.ContentDescription == "Research tool, not for clinical use."
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID != found.SeriesInstanceUID
    assert [s.SegmentLabel for s in found.SegmentSequence] == list(NAMES.values())
    for segment in found.SegmentSequence:
        assert segment.SegmentAlgorithmType == "MANUAL"
        codes = [
            segment.SegmentedPropertyCategoryCodeSequence[0],
            segment.SegmentedPropertyTypeCodeSequence[0],
            segment.AnatomicRegionSequence[0],
        ]
        assert [(c.CodingSchemeDesignator, c.CodeValue, c.CodeMeaning) for c in codes] == [
            ("SCT", "49755003", "Morphologically Altered Structure"),
            ("SCT", "14799000", "Neoplasm, Secondary"),
            ("SCT", "12738006", "Brain"),
        ]
    for frame in found.PerFrameFunctionalGroupsSequence:  # each frame is of the slice at its place
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert frame.PlanePositionSequence[0].ImagePositionPatient == images[source].ImagePositionPatient


def test_segments_that_overlap_are_each_whole(drawn: Labels, series: Path, tmp_path: Path) -> None:
    first, second = (np.zeros(drawn.geometry.shape, bool) for _ in range(2))
    first[5:10, 5:10, 5:10], second[8:12, 8:12, 8:12] = True, True
    both = Labels({"1": first, "2": second}, {"1": "1", "2": "2"}, drawn.geometry)
    write_dicom_seg(both, series, tmp_path / "seg.dcm")
    assert {name: mask.sum() for name, mask in read_labels(tmp_path / "seg.dcm").masks.items()} == {
        "1": 125,
        "2": 64,
    }
    assert read_annotation(tmp_path / "seg.dcm", read_volume(series)).mask.sum() == 125 + 64 - 8


@pytest.mark.parametrize("spacing", [0.7, 1.6, 3.1])
def test_no_lesion_is_lost_on_another_grid(
    seg: Path, drawn: Labels, spacing: float, geometry: Callable[..., Geometry], oblique: Geometry
) -> None:
    centre = drawn.geometry.physical((np.array(drawn.geometry.shape) - 1) / 2)
    n = int(90 / spacing)
    turned = geometry((n, n, n), (spacing,) * 3, direction=oblique.direction)
    origin = tuple((centre - turned.axes @ np.full(3, (n - 1) / 2 * spacing)).tolist())
    other = Geometry(turned.size, turned.spacing, origin, turned.direction)
    got = read_annotation(seg, Volume(np.zeros(other.shape, np.float32), other, "t1c"))
    for mask in drawn.masks.values():
        index = np.round(other.index(drawn.geometry.physical(np.argwhere(mask)))).astype(int)
        assert got.mask[tuple(index.T)].all()
    found = np.round(drawn.geometry.index(other.physical(np.argwhere(got.mask))))
    every = np.argwhere(np.any(list(drawn.masks.values()), axis=0))
    apart = np.abs(found[:, None] - every[None]).max(axis=2).min(axis=1)
    assert apart.max() <= np.ceil(spacing / 2 / 0.9), "and nothing else is annotated"


def test_an_annotation_is_known_by_its_content(seg: Path, series: Path, tmp_path: Path) -> None:
    renamed = seg.rename(tmp_path / "annotation.nii")
    got = read_annotation(renamed, read_volume(series), ("2",))
    assert list(got.labels) == ["Métastase 左"]
    assert got.left_out == ("Left frontal",)
    with pytest.raises(InputError, match=r"has no label '3'; it has 'Left frontal' \(1\), 'Métastase 左' \(2\)"):
        read_annotation(renamed, read_volume(series), ("3",))


OTHER = {"PatientID": "P-2", "FrameOfReferenceUID": "1.2.3"}


@pytest.mark.parametrize(
    ("keyword", "what"), [("PatientID", "of another patient"), ("FrameOfReferenceUID", "in another frame of reference")]
)
def test_one_of_another_patient_or_place_is_refused(
    keyword: str, what: str, seg: Path, series: Path, tmp_path: Path
) -> None:
    """Grids tell no patient from another. As NIfTI or NRRD it is whoever converts it who says that it fits."""
    content = dcmread(seg)
    content[keyword].value = OTHER[keyword]
    content.save_as(seg)
    [first, *_] = sorted(series.iterdir())
    said = f"{what} than .*dicom, series 3 .*{OTHER[keyword]} against {dcmread(first)[keyword].value}\\); give .* or convert"
    with pytest.raises(InputError, match=f"{seg}: is {said}"):
        outlined(seg, read_volume(series))
    for arguments in (
        ["suggest", str(series), "--annotation", str(seg), "--out", str(tmp_path / "out")],
        ["dicomseg", str(seg), "--dicom", str(series), "--out", str(tmp_path / "again.dcm")],
    ):
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, InputError)
        assert re.search(f"seg.dcm: is {said}", str(done.exception))


@pytest.mark.parametrize("keyword", OTHER)
def test_what_does_not_say_whose_it_is_may_be_this_patients(
    keyword: str, seg: Path, series: Path, tmp_path: Path
) -> None:
    """And so may one of another series of the same study, and an image that is no DICOM."""
    sitk.WriteImage(to_sitk(read_volume(series).array, read_volume(series).geometry), str(tmp_path / "t1c.nii.gz"))
    content = dcmread(seg)
    content[keyword].value = OTHER[keyword]
    content.save_as(tmp_path / "other.dcm")
    assert len(outlined(tmp_path / "other.dcm", read_volume(tmp_path / "t1c.nii.gz"))) == 2
    content[keyword].value = ""
    content.save_as(seg)
    assert len(outlined(seg, read_volume(series))) == 2
    for path in series.iterdir():
        content = dcmread(path)
        content[keyword].value, content.SeriesInstanceUID = "", "1.2.3.4"
        content.save_as(path)
    assert len(outlined(tmp_path / "other.dcm", read_volume(series))) == 2


@pytest.mark.parametrize(
    ("sets", "patient"),
    [(None, "Müller1"), (None, "Müller12".encode("latin_1")), ("ISO_IR 100", "Müller1"), (None, "AB\\CD")],
)
def test_it_is_of_the_patient_of_its_series_whatever_bytes_that_is_written_in(
    sets: str | None, patient: str | bytes, drawn: Labels, series: Path, tmp_path: Path
) -> None:
    raw = patient if isinstance(patient, bytes) else patient.encode()
    for path in series.iterdir():
        content = dcmread(path)
        content.pop("SpecificCharacterSet", None)
        if sets:
            content.SpecificCharacterSet = sets
        content.PatientID = "Q" * len(raw)
        content.save_as(path)
        path.write_bytes(path.read_bytes().replace(b"Q" * len(raw), raw))
    write_dicom_seg(drawn, series, tmp_path / "seg.dcm")
    subject = read_volume(series).subject
    assert subject.patient == decoded(raw.decode("utf-8", "surrogateescape"))
    assert read_dicom_seg(tmp_path / "seg.dcm").subject == subject_of(tmp_path / "seg.dcm") == subject
    assert len(outlined(tmp_path / "seg.dcm", read_volume(series))) == 2
    for path in series.iterdir():
        path.write_bytes(path.read_bytes().replace(raw, raw[:-1] + b"x"))
    with pytest.raises(InputError, match="is of another patient"):
        outlined(tmp_path / "seg.dcm", read_volume(series))


def of_highdicom(series: Path, labels: Labels, kind: str, names: list[str]) -> highdicom.seg.Segmentation:
    """A segmentation that LopsidedSeg does not write."""
    images = sorted((dcmread(path) for path in series.iterdir()), key=lambda image: image.ImagePositionPatient[2])
    images[0].SpacingBetweenSlices = labels.geometry.spacing[2]
    code = highdicom.sr.CodedConcept("49755003", "SCT", "Morphologically Altered Structure")
    return highdicom.seg.Segmentation(
        images,
        np.sum([mask * np.uint8(n) for n, mask in enumerate(labels.masks.values(), 1)], axis=0, dtype=np.uint8),
        kind,
        [highdicom.seg.SegmentDescription(n, name, code, code, "MANUAL") for n, name in enumerate(names, 1)],
        series_instance_uid=highdicom.UID(),
        series_number=9,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="another",
        manufacturer_model_name="another",
        software_versions="1",
        device_serial_number="1",
    )


def test_a_label_map_segmentation_is_read_too(series: Path, drawn: Labels, tmp_path: Path) -> None:
    of_highdicom(series, drawn, "LABELMAP", ["Lesion", "Lesion"]).save_as(tmp_path / "map.dcm")
    got = read_labels(tmp_path / "map.dcm")
    assert {name: mask.sum() for name, mask in got.masks.items()} == {"Lesion": 120, "Lesion'": 1}


def without_spacing(series: Path, grid: Geometry, slices: tuple[int, ...], thickness: float, path: Path) -> np.ndarray:
    """A SEG with frames of ``slices`` alone that does not say how far slices are apart; what is drawn, (k, j, i)."""
    mask = np.zeros(grid.shape, bool)
    mask[list(slices), 3:6, 4:7] = True
    found = of_highdicom(series, Labels({"Lesion": mask}, {"Lesion": "1"}, grid), "BINARY", ["Lesion"])
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    measures.SliceThickness = thickness
    found.save_as(path)
    return mask


@pytest.mark.parametrize("slices", [(5,), (5, 15), (4, 8, 14), (4, 10, 14, 20), (5, 6, 7), (5, 6, 25)])
def test_slices_with_nothing_drawn_may_be_left_out(
    slices: tuple[int, ...], series: Path, grid: Geometry, tmp_path: Path
) -> None:
    drawn = without_spacing(series, grid, slices, 2.3, tmp_path / "seg.dcm")
    got = read_annotation(tmp_path / "seg.dcm", read_volume(series))
    assert np.array_equal(got.mask, drawn)
    assert got.labels == {"Lesion": pytest.approx(drawn.sum() * grid.voxel_volume, rel=1e-4)}


@pytest.mark.parametrize("thickness", [1.4, 4.6])
def test_slices_that_do_not_touch_or_that_overlap_are_neighbours_too(
    thickness: float, series: Path, grid: Geometry, tmp_path: Path
) -> None:
    drawn = without_spacing(series, grid, (5, 6, 9), thickness, tmp_path / "seg.dcm")
    assert np.array_equal(read_annotation(tmp_path / "seg.dcm", read_volume(series)).mask, drawn)


@pytest.mark.parametrize("thickness", [0, 4.6, 3.1])
def test_slices_of_unknown_distance_are_refused(thickness: float, series: Path, grid: Geometry, tmp_path: Path) -> None:
    without_spacing(series, grid, (5, 16), thickness, tmp_path / "seg.dcm")
    with pytest.raises(InputError, match=r"seg\.dcm: the distance .* no SpacingBetweenSlices .*; export it again with"):
        read_labels(tmp_path / "seg.dcm")


def test_a_segmentation_where_no_head_is_is_refused(seg: Path) -> None:
    found = dcmread(seg)
    for frame in found.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[0] = 2e6
    found.save_as(seg)
    with pytest.raises(
        InputError, match=r"seg\.dcm: an origin of 2e\+06, .* is impossible for a head .*; mend its header"
    ):
        read_labels(seg)


def test_probabilities_are_refused(series: Path, drawn: Labels, tmp_path: Path) -> None:
    of_highdicom(series, drawn, "FRACTIONAL", ["A", "B"]).save_as(tmp_path / "part.dcm")
    with pytest.raises(InputError, match=r"part\.dcm: holds probabilities .*; export it as BINARY"):
        read_labels(tmp_path / "part.dcm")


@pytest.mark.parametrize("kept", [0.03, 0.2, 0.5, 0.7, 0.9, 0.99, -1])
def test_a_truncated_one_is_refused_in_one_line(seg: Path, series: Path, kept: float) -> None:
    content = seg.read_bytes()
    seg.write_bytes(content[:-1] if kept == -1 else content[: int(kept * len(content))])
    with warnings.catch_warnings():  # pydicom's, which are no errors for a user
        warnings.simplefilter("default")
        with pytest.raises(InputError, match=r"seg\.dcm: a DICOM Segmentation that cannot be read \(.+\); copy") as e:
            read_annotation(seg, read_volume(series))
    assert "\n" not in str(e.value)


def test_other_dicom_is_no_annotation(series: Path) -> None:
    with pytest.raises(InputError, match=r"3_000\.dcm: is no DICOM Segmentation \(SEG\); export the annotation as one"):
        read_labels(series / "3_000.dcm")


def test_a_segmentation_beside_its_images_does_not_hide_them(seg: Path, series: Path) -> None:
    before = read_volume(series)
    seg.rename(series / "seg.dcm")
    assert np.array_equal(read_volume(series).array, before.array)


def test_a_segmentation_is_no_image(seg: Path) -> None:
    with pytest.raises(InputError, match=r"seg\.dcm: is a DICOM Segmentation, and no image; give it as the annotation"):
        read_volume(seg)


def test_another_grid_is_refused_with_both_geometries(drawn: Labels, series: Path, tmp_path: Path) -> None:
    g = drawn.geometry
    for other in (
        Geometry(g.size, g.spacing, (-19.5, 10.0, 5.0), g.direction),
        Geometry(g.size, (0.9, 1.1, 2.35), g.origin, g.direction),
    ):
        with pytest.raises(
            InputError,
            match=r"drawn\.nrrd: is not on the grid of .*dicom, series 3 'T1 post' \(26 files\) "
            r"\(40×44×26 voxels of .* against 40×44×26 voxels of 0\.9×1\.1×2\.3 mm.*; choose the series .* or resample",
        ):
            write_dicom_seg(Labels(drawn.masks, drawn.values, other, drawn.name), series, tmp_path / "seg.dcm")
    assert list(tmp_path.iterdir()) == [series]


def test_a_segmentation_may_be_written_again(seg: Path, drawn: Labels, series: Path, tmp_path: Path) -> None:
    """Though it has only the slices from its first frame to its last."""
    once = read_labels(seg)
    assert once.geometry.shape[0] < drawn.geometry.shape[0]
    write_dicom_seg(once, series, tmp_path / "again.dcm")
    reference = read_volume(series)
    for value, name in NAMES.items():
        got = read_annotation(tmp_path / "again.dcm", reference, (name,))
        assert np.array_equal(got.mask, reference.array == 1000 + value)


@pytest.mark.parametrize("stored", [stored_as_it_is, stored_another_way, stored_left_handed])
def test_labels_may_be_on_a_part_of_the_grid(
    stored: Callable[[sitk.Image], sitk.Image], drawn: Labels, series: Path, tmp_path: Path
) -> None:
    part = stored(to_sitk(two_lesions(drawn.geometry), drawn.geometry)[3:35, 5:, 4:22])
    write_dicom_seg(as_labels(sitk.GetArrayFromImage(part), geometry_of(part)), series, tmp_path / "seg.dcm")
    reference = read_volume(series)
    assert np.array_equal(read_annotation(tmp_path / "seg.dcm", reference).mask, reference.array > 1000)


@pytest.mark.parametrize("move", [(0.0, 0.0, 0.5), (0.0, 0.2, 0.0), (-4.0, 0.0, 0.0), (0.0, 0.0, 5.0)])
def test_a_part_between_voxels_or_beyond_the_series_is_refused(
    move: tuple[float, float, float], drawn: Labels, series: Path, tmp_path: Path
) -> None:
    """``move``: of a part that begins at voxel 3, 5, 4, and ends at 34, 43, 21, in voxels i, j, k."""
    part = to_sitk(two_lesions(drawn.geometry), drawn.geometry)[3:35, 5:, 4:22]
    part.SetOrigin(part.TransformContinuousIndexToPhysicalPoint(move))
    with pytest.raises(
        InputError, match=r"drawn\.nrrd: is not on the grid of .* \(32×39×18 voxels .* against 40×44×26"
    ):
        write_dicom_seg(as_labels(sitk.GetArrayFromImage(part), geometry_of(part)), series, tmp_path / "seg.dcm")


def test_slices_may_be_a_little_uneven(drawn: Labels, series: Path, tmp_path: Path) -> None:
    for n, path in enumerate(sorted(series.iterdir())):
        image = dcmread(path)
        image.ImagePositionPatient[2] += 0.06 * (n % 2)
        image.save_as(path)
    write_dicom_seg(drawn, series, tmp_path / "seg.dcm")
    write_dicom_seg(read_labels(tmp_path / "seg.dcm"), series, tmp_path / "again.dcm")
    for name in ("seg.dcm", "again.dcm"):
        found = read_annotation(tmp_path / name, read_volume(series))
        assert np.array_equal(found.mask, read_volume(series).array > 1000)


def test_one_of_several_series_is_chosen(
    drawn: Labels, series: Path, grid: Geometry, tmp_path: Path, write_series: WriteSeries
) -> None:
    write_series(Volume(np.ones(grid.shape), grid), series, 5, "FLAIR")
    with pytest.raises(InputError, match=r"several series; .* with --series, .*5 'FLAIR' \(26 files\)"):
        write_dicom_seg(drawn, series, tmp_path / "seg.dcm")
    write_dicom_seg(drawn, series, tmp_path / "seg.dcm", "FLAIR")
    referenced = dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID
    assert referenced == dcmread(series / "5_000.dcm").SeriesInstanceUID


def test_a_single_file_is_refused(drawn: Labels, series: Path, tmp_path: Path) -> None:
    for path in sorted(series.iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="one file, not one for each slice; export it as single-frame"):
        write_dicom_seg(drawn, series, tmp_path / "seg.dcm")


def test_identifiers_that_were_taken_out_stay_out(drawn: Labels, series: Path, tmp_path: Path) -> None:
    for path in series.iterdir():
        image = dcmread(path)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyID", "StudyDate", "SliceThickness"):
            del image[keyword]
        image.SeriesNumber = None
        image.save_as(path)
    write_dicom_seg(drawn, series, tmp_path / "seg.dcm")
    assert dcmread(tmp_path / "seg.dcm").PatientName == ""


def test_a_series_that_is_nowhere_is_refused(drawn: Labels, series: Path, tmp_path: Path) -> None:
    for path in series.iterdir():
        image = dcmread(path)
        del image.FrameOfReferenceUID
        image.save_as(path)
    with pytest.raises(InputError, match=r"its headers do not allow .*Frame Of Reference.*; give the series as it"):
        write_dicom_seg(drawn, series, tmp_path / "seg.dcm")


@pytest.mark.parametrize("name", ["L" * 65, "left\\right", "lesion ", "two\nlines"])
def test_a_name_that_dicom_does_not_take_is_refused(name: str, drawn: Labels, series: Path, tmp_path: Path) -> None:
    labels = as_labels(two_lesions(drawn.geometry), drawn.geometry, {1: name})
    with pytest.raises(InputError, match=r"drawn\.nrrd: .* cannot name a DICOM segment; rename it"):
        write_dicom_seg(labels, series, tmp_path / "seg.dcm")


def test_nothing_drawn_is_no_segmentation(drawn: Labels, series: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no label"):
        write_dicom_seg(Labels({}, {}, drawn.geometry), series, tmp_path / "seg.dcm")


def test_without_highdicom_it_is_said_how_to_get_it(
    seg: Path, drawn: Labels, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    with pytest.raises(InputError, match=r"seg\.dcm: .*not installed; install it: pip install \"lopsided\[dicom\]\""):
        read_dicom_seg(seg)
    with pytest.raises(InputError, match=r"not installed; install it: pip install \"lopsided\[dicom\]\""):
        write_dicom_seg(drawn, series, tmp_path / "new.dcm")
    assert not (tmp_path / "new.dcm").exists()


def _full_disk(_: highdicom.seg.Segmentation, path: Path) -> None:
    path.write_bytes(b"\0" * 400)
    raise OSError(errno.ENOSPC, "No space left on device")


def _cut_without_a_word(seg: highdicom.seg.Segmentation, path: Path) -> None:
    Dataset.save_as(seg, path)
    path.write_bytes(path.read_bytes()[:-500])


def _a_voxel_changed(seg: highdicom.seg.Segmentation, path: Path) -> None:
    seg.PixelData = bytes([seg.PixelData[0] ^ 1]) + seg.PixelData[1:]
    Dataset.save_as(seg, path)


@pytest.mark.parametrize("failing", [_full_disk, _cut_without_a_word, _a_voxel_changed])
def test_a_failed_write_leaves_what_was_there(
    failing: Callable[..., None],
    seg: Path,
    drawn: Labels,
    series: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = seg.read_bytes()
    monkeypatch.setattr(highdicom.seg.Segmentation, "save_as", failing)
    for out in (seg, tmp_path / "new.dcm"):
        with pytest.raises(InputError, match=r"(seg|new)\.dcm: cannot be written \((No space|it could not)"):
            write_dicom_seg(drawn, series, out)
    assert sorted(tmp_path.iterdir()) == [series, seg]
    assert seg.read_bytes() == before


def test_only_a_segmentation_is_replaced(seg: Path, drawn: Labels, series: Path) -> None:
    image = (series / "3_000.dcm").read_bytes()
    with pytest.raises(InputError, match=r"3_000\.dcm: exists and is no DICOM Segmentation; choose another name"):
        write_dicom_seg(drawn, series, series / "3_000.dcm")
    assert (series / "3_000.dcm").read_bytes() == image
    before = dcmread(seg).SOPInstanceUID
    write_dicom_seg(drawn, series, seg)
    assert dcmread(seg).SOPInstanceUID != before


def test_a_folder_that_is_not_there_is_said(drawn: Labels, series: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\); choose another place"):
        write_dicom_seg(drawn, series, tmp_path / "none" / "seg.dcm")


def test_the_command(drawn: Labels, series: Path, tmp_path: Path) -> None:
    def lopsided(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "lopsided", "dicomseg", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        return done.returncode, done.stdout + done.stderr

    labels = tmp_path / "labels.nii.gz"
    sitk.WriteImage(to_sitk(two_lesions(drawn.geometry), drawn.geometry), str(labels))
    code, printed = lopsided(labels, "--dicom", series, "--out", tmp_path / "seg.dcm", "--series", "3")
    assert (code, printed.splitlines()[0]) == (0, "Segments: label 1, label 2")
    assert "carries the patient's identifiers" in printed
    assert is_dicom_seg(tmp_path / "seg.dcm")
    code, printed = lopsided(labels, "--dicom", tmp_path, "--out", tmp_path / "seg.dcm")
    assert (code, printed.count("\n")) == (2, 1)
    assert "no DICOM image in this folder" in printed
    code, printed = lopsided("--help")
    assert code == 0
    assert "carries the patient's identifiers of the series" in " ".join(printed.split())
