"""DICOM is read where every slice is in the image where its header says, and refused where not."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lopsided.errors import InputError
from lopsided.reading import read_volume
from lopsided.volume import Geometry, Volume
from numpy.testing import assert_allclose
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

WriteSeries = Callable[..., None]
Change = Callable[[int, Dataset], None]
PIXELS = np.random.default_rng(0).integers(0, 1000, (12, 16, 20)).astype(np.uint16)
EVEN = 5.0 * np.arange(12)
AXIAL, TURNED = (1, 0, 0, 0, 1, 0), (0.8, 0, 0.6, 0, 1, 0)


@pytest.fixture
def series(geometry: Callable[..., Geometry], tmp_path: Path, write_series: WriteSeries) -> list[Path]:
    """Its twelve files from bottom to top, 5 mm apart, of pixels of 1 mm."""
    grid = geometry((20, 16, 12), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0))
    write_series(Volume(PIXELS, grid), tmp_path / "dicom")
    return sorted((tmp_path / "dicom").iterdir(), key=lambda path: float(dcmread(path).ImagePositionPatient[2]))


def moved(to: np.ndarray, axis: int = 2) -> Change:
    def change(n: int, header: Dataset) -> None:
        header.ImagePositionPatient[axis] = float(to[n])

    return change


def turned(n: int, header: Dataset) -> None:
    if n == 5:
        header.ImageOrientationPatient = [1, 0, 0, 0, np.cos(0.01), np.sin(0.01)]


def of_finer_pixels(n: int, header: Dataset) -> None:
    header.PixelSpacing = [0.5, 0.5] if n > 5 else [1, 1]


def cut(n: int, header: Dataset) -> None:
    if n > 5:
        header.Rows, header.PixelData = 8, header.PixelData[: 8 * 20 * 2]


def one_nowhere(n: int, header: Dataset) -> None:
    if n == 5:
        header.ImagePositionPatient[0] = "nan"


def a_light_year_away(_: int, header: Dataset) -> None:
    header.ImagePositionPatient[0] = "1e19"


def rows_along(*direction: float) -> Change:
    def change(_: int, header: Dataset) -> None:
        header.ImageOrientationPatient[:3] = direction

    return change


def of_no_pixel_size(_: int, header: Dataset) -> None:
    header.PixelSpacing = [0, 0]


def without_pixel_size(_: int, header: Dataset) -> None:
    del header.PixelSpacing


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (moved(EVEN * np.tan(np.radians(15)), axis=1), r"slices are shifted .* by up to 14\.74 mm"),
        (moved(10.0 * (np.arange(12) % 2), axis=0), r"slices are shifted .* by up to 10\.00 mm"),
        (
            moved(np.cumsum([0, 5, 5, 5, 2, 3, 5, 5, 5, 5, 5, 5])),
            r"uneven distances, 2\.00 mm at 15\.0 mm \(usual .* 5",
        ),
        (moved(np.cumsum([0, *[5, 2.5] * 5, 5])), r"uneven distances, 2\.50 mm at 5\.0 mm"),
        (
            moved(np.repeat(EVEN[:6], 2)),
            r"two slices at 0\.0 mm, 3_00[01]\.dcm and 3_00[01]\.dcm; move the copy .*, or, if it holds several volumes",
        ),
        (turned, "slices of different orientation"),
        (of_finer_pixels, "slices of different size or pixel spacing"),
        (cut, "slices of different size or pixel spacing"),
        (
            moved(np.sort([*EVEN[:6], *EVEN[:6] + 0.2])),
            r"missing .* \(usual distance 0\.20 mm\), or there are several volumes",
        ),
        (of_no_pixel_size, "a pixel spacing of 0, or rows and columns of pixels that are not at right angles"),
        (rows_along(1, 0.002, 0), "a pixel spacing of 0, or rows and columns of pixels that are not at right angles"),
        (rows_along(0, 0, 0), "a pixel spacing of 0, or rows and columns of pixels that are not at right angles"),
        (without_pixel_size, "without position, orientation or pixel spacing"),
        (one_nowhere, "without position, orientation or pixel spacing"),
        (a_light_year_away, r"an origin of 1e\+19, 0, 0 mm is impossible for a head"),
    ],
)
def test_slices_that_are_no_even_stack_are_refused(series: list[Path], change: Change, sentence: str) -> None:
    for n, path in enumerate(series):
        header = dcmread(path)
        change(n, header)
        header.save_as(path)
    with pytest.raises(InputError, match=sentence):
        read_volume(series[0].parent)


@pytest.mark.parametrize(
    ("slopes", "intercepts"),
    [([1] * 12, [0] + [-500] * 11), ([1] + [100] * 11, [0] * 12), ([1] + [0.001] * 11, [0] * 12)],
)
def test_each_slice_is_rescaled_by_itself(series: list[Path], slopes: list[float], intercepts: list[float]) -> None:
    for path, slope, intercept in zip(series, slopes, intercepts, strict=True):
        header = dcmread(path)
        header.RescaleSlope, header.RescaleIntercept = slope, intercept
        header.save_as(path)
    found = read_volume(series[0].parent).array
    assert_allclose(found, PIXELS * np.reshape(slopes, (-1, 1, 1)) + np.reshape(intercepts, (-1, 1, 1)), rtol=1e-6)


def test_a_series_of_integers_stays_one(series: list[Path]) -> None:
    found = read_volume(series[0].parent).array
    assert found.dtype == np.int16
    assert np.array_equal(found, PIXELS)


@pytest.mark.parametrize("n", [0, 6, 11])
@pytest.mark.parametrize("kept", [150, 200, 400, 0.5, 0.9, -1])
def test_a_damaged_slice_is_named(series: list[Path], n: int, kept: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At either end too, where no gap tells of it, and without pydicom."""
    monkeypatch.setitem(sys.modules, "pydicom", None)
    content = series[n].read_bytes()
    series[n].write_bytes(content[: int(kept * len(content))] if 0 < kept < 1 else content[: int(kept)])
    with pytest.raises(InputError, match=rf"{series[n].name}: a DICOM file that cannot be read .*; copy or export"):
        read_volume(series[0].parent)


def without_preamble(path: Path) -> None:
    header = dcmread(path)
    with path.open("wb") as file:
        dcmwrite(file, Dataset(dict(header.items())), implicit_vr=False, little_endian=True)


@pytest.mark.parametrize("n", [0, 11])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 100, 131, 135, 169, 300])
def test_a_slice_of_which_hardly_anything_is_left_is_named(
    series: list[Path], n: int, old: bool, zeros: bool, kept: int
) -> None:
    """As a copy onto a full disk or before a crash leaves it: cut off, or filled with zeros; also without preamble."""
    if old:
        for path in series:
            without_preamble(path)
        assert np.array_equal(read_volume(series[0].parent).array, PIXELS)
    content = series[n].read_bytes()
    series[n].write_bytes(content[:kept] + bytes(len(content) - kept if zeros else 0))
    with pytest.raises(InputError, match=rf"{series[n].name}: .*; copy or export it again, or move it elsewhere"):
        read_volume(series[0].parent)


@pytest.mark.parametrize("name", ["IM{}", "{:02}.dcm", "MR.1.2.3.{}"])
def test_a_slice_that_cannot_be_opened_is_named(series: list[Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may be run by one who may read everything, so the last slice is empty for GDCM, and closed for us."""
    paths = [path.rename(path.with_name(name.format(n))) for n, path in enumerate(series)]
    paths[11].write_bytes(b"")
    opened = Path.open

    def closed(path: Path, *how: Any) -> Any:
        if path == paths[11]:
            raise PermissionError
        return opened(path, *how)

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(InputError, match=rf"{paths[11].name}: cannot be opened, and may be a slice; copy"):
        read_volume(paths[0].parent)


@pytest.mark.parametrize("name", ["00", "elsewhere"])
@pytest.mark.parametrize("to", ["unplugged", os.devnull])
def test_a_link_to_nowhere_is_named(series: list[Path], name: str, to: str) -> None:
    """Files after it are not in GDCM's list."""
    link = series[0].with_name(name)
    link.symlink_to(to)
    for path in series[6:]:  # leaves no gap, whatever the order on the disk
        path.unlink()
    with pytest.raises(
        InputError, match=f"{link}: a link to nowhere, or no file; copy the file that is meant, or remove this one"
    ):
        read_volume(link.parent)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the names of files are Unicode")
def test_what_is_not_called_in_utf8_is_named(series: list[Path]) -> None:
    """SimpleITK would end the process. What is no slice does no harm."""
    folder, name = series[0].parent, os.fsdecode(b"\xf6.dcm")
    (folder / os.fsdecode(b"f\xfcr.txt")).write_text("of the technician")
    assert np.array_equal(read_volume(folder).array, PIXELS)
    for path in series[0], series[6]:
        badly = path.rename(folder / name)
        with pytest.raises(InputError, match=r"/dicom/\\xf6\.dcm: its name is not in UTF-8, and .*; give it another"):
            read_volume(folder)
        badly.rename(path)
    series[6].write_bytes(series[6].read_bytes()[:300])
    series[6].rename(folder / name)
    with pytest.raises(InputError, match=r"/dicom/\\xf6\.dcm: its name is not in UTF-8"):
        read_volume(folder)
    with pytest.raises(InputError, match=r"/\\xf6: its name is not in UTF-8"):
        read_volume(folder.rename(folder.with_name(os.fsdecode(b"\xf6"))))


@pytest.mark.parametrize(
    ("sets", "description"),
    [
        ("ISO_IR 100", "T1 nach KM Schädel"),
        ("ISO_IR 144", "T1 с контрастом"),
        ("GB18030", "头部增强"),
        (["", "ISO 2022 IR 87"], "T1 頭部造影"),
    ],
)
def test_a_series_is_called_what_its_header_says(series: list[Path], sets: str | list[str], description: str) -> None:
    """In whatever characters; and is chosen by it."""
    for path in series:
        header = dcmread(path)
        header.SpecificCharacterSet, header.SeriesDescription = sets, description
        header.save_as(path)
    assert read_volume(series[0].parent, description[-4:]).name == f"dicom, series 3 {description}"
    with pytest.raises(InputError, match=f"0 series match 'T2'; .*: 3 '{description}' \\(12 files\\)"):
        read_volume(series[0].parent, "T2")


def beside(images: list[Path], kind: str, modality: str) -> Path:
    """An object of storage class ``kind`` that refers to the series of the images."""
    image = dcmread(images[0])
    found, referenced, meta = Dataset(), Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, kind
    meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.file_meta, found.SOPClassUID, found.Modality = meta, kind, modality
    found.PatientID, found.StudyInstanceUID, found.SeriesInstanceUID = "P-1", image.StudyInstanceUID, generate_uid()
    referenced.SeriesInstanceUID = image.SeriesInstanceUID
    found.ReferencedSeriesSequence = [referenced]
    path = images[0].parent / f"{modality}.{kind}"
    found.save_as(path, enforce_file_format=True)
    return path


def test_what_else_lies_beside_the_slices_does_no_harm(series: list[Path]) -> None:
    for kind, modality in (
        ("1.2.840.10008.1.3.10", ""),  # DICOMDIR
        ("1.2.840.10008.5.1.4.1.1.11.1", "PR"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "SR"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "KO"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "DOC"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
        ("1.2.840.10008.5.1.4.1.1.66", "MR"),  # raw data
        ("1.2.840.10008.5.1.4.1.1.66.1", "REG"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG"),
        ("1.2.840.10008.5.1.4.1.1.4.2", "MR"),  # spectroscopy
        ("1.3.12.2.1107.5.9.1", "MR"),  # Siemens' "CSA Non-Image"
    ):
        whole = beside(series, kind, modality).read_bytes()
        series[0].with_name(f"cut {modality}").write_bytes(whole[:-30])
    series[0].with_name("notes.txt").write_text("of the technician")
    for name in ("empty", ".empty.dcm", "empty.json"):
        series[0].with_name(name).touch()
    series[0].with_name("VERSION").write_text("1")
    (series[0].parent / "folder").mkdir()
    assert np.array_equal(read_volume(series[0].parent).array, PIXELS)


def enhanced(
    path: Path,
    places: np.ndarray,
    orientations: list[tuple[float, ...]] | None = None,
    pixels: list[float] | None = None,
) -> Path:
    """A multi-frame file with a frame at each of ``places`` (LPS, mm), spaced 5 mm as it says, of pixels of 1 mm."""
    image, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
    image.file_meta, image.SOPClassUID, image.Modality = meta, EnhancedMRImageStorage, "MR"
    image.SeriesInstanceUID = image.StudyInstanceUID = generate_uid()
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    (image.NumberOfFrames, image.Rows, image.Columns), image.PixelData = PIXELS.shape, PIXELS.tobytes()
    frames = []
    for n, place in enumerate(places):
        position, orientation, measures, frame = (Dataset() for _ in range(4))
        position.ImagePositionPatient = [round(float(x), 6) for x in place]
        orientation.ImageOrientationPatient = list(orientations[n] if orientations else AXIAL)
        measures.PixelSpacing, measures.SliceThickness = [pixels[n] if pixels else 1] * 2, 5
        measures.SpacingBetweenSlices = 5
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        frame.PixelMeasuresSequence = [measures]
        frames.append(frame)
    shared = Dataset()
    if not orientations:
        shared.PlaneOrientationSequence = frames[0].PlaneOrientationSequence
        for frame in frames:
            del frame.PlaneOrientationSequence
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    path.parent.mkdir(exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def along(heights: np.ndarray, normal: tuple[float, ...] = (0, 0, 1)) -> np.ndarray:
    return heights[:, None] * np.array(normal)


@pytest.mark.parametrize(
    ("places", "orientations"),
    [
        (along(EVEN), None),
        (along(EVEN[::-1]), None),
        (along(EVEN, (-0.6, 0, 0.8)), [TURNED] * 12),
        (along(EVEN[::-1], (-0.6, 0, 0.8)), [TURNED] * 12),
    ],
)
def test_each_frame_of_a_file_is_where_it_says(
    places: np.ndarray, orientations: list[tuple[float, ...]] | None, tmp_path: Path
) -> None:
    path = enhanced(tmp_path / "dicom" / "enhanced.dcm", places, orientations)
    for given in (path, path.parent):
        got = read_volume(given)
        for place, pixels in zip(places, PIXELS, strict=True):
            k, j, i = np.round(got.geometry.index(place)).astype(int)
            np.testing.assert_allclose(got.geometry.physical(np.array([k, j, i])), place, atol=1e-3)
            np.testing.assert_array_equal(got.array[k], pixels)


@pytest.mark.parametrize(
    ("places", "orientations", "pixels"),
    [
        pytest.param(along(5.0 * np.delete(np.arange(13), 6)), None, None, id="a frame is missing"),
        pytest.param(along(np.tile(EVEN[:6], 2)), None, None, id="two volumes"),
        pytest.param(along(np.repeat(EVEN[:6], 2)), None, None, id="two time points"),
        pytest.param(along(np.random.default_rng(1).permutation(EVEN)), None, None, id="out of order"),
        pytest.param(along(EVEN, (0, 0.26, 1)), None, None, id="a tilted gantry"),
        pytest.param(along(EVEN), [AXIAL] * 6 + [TURNED] * 6, None, id="several orientations"),
        pytest.param(along(EVEN), None, [1.0] * 6 + [0.5] * 6, id="several sizes of pixels"),
        pytest.param(along(EVEN[:11]), None, None, id="a frame without a place"),
    ],
)
def test_frames_that_are_no_even_stack_are_refused(
    places: np.ndarray, orientations: list[tuple[float, ...]] | None, pixels: list[float] | None, tmp_path: Path
) -> None:
    path = enhanced(tmp_path / "dicom" / "enhanced.dcm", places, orientations, pixels)
    for given in (path, path.parent):
        with pytest.raises(
            InputError, match=r"dicom.*: its 1[12] frames are no even stack of one volume: .*; export one"
        ):
            read_volume(given)


@pytest.mark.parametrize("slopes", [[1.0] * 12, [2.0] * 12, [2.0] + [3.0] * 11, [1.0] * 11 + [3.0]])
def test_frames_have_the_values_that_the_file_says_or_are_refused(slopes: list[float], tmp_path: Path) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", along(EVEN))
    image = dcmread(path)
    for frame, slope in zip(image.PerFrameFunctionalGroupsSequence, slopes, strict=True):
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, 0, "US"
        if slope != 1:
            frame.PixelValueTransformationSequence = [values]
    image.save_as(path)
    if len(set(slopes)) == 1:
        assert_allclose(read_volume(path).array, PIXELS * slopes[0])
        return
    with pytest.raises(
        InputError, match=r"enhanced\.dcm: its frames are rescaled each by itself, by 2 different .*; export"
    ):
        read_volume(path)


def test_frames_whose_places_are_not_known_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", along(EVEN))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pydicom", None)
        with pytest.raises(
            InputError, match=r"enhanced\.dcm: .* install it: pip install \"lopsided\[dicom\]\", or convert"
        ):
            read_volume(path)
    image = dcmread(path)
    del image.PerFrameFunctionalGroupsSequence
    image.save_as(path)
    with pytest.raises(InputError, match=r"enhanced\.dcm: frames without position.*; export it as single-frame"):
        read_volume(path)
