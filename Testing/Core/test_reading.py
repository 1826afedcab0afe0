"""Every format gives the same volume, and what cannot be used is refused in one line."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.errors import InputError
from lopsided.reading import read_array, read_volume
from lopsided.volume import Geometry, Volume, to_sitk
from numpy.testing import assert_allclose, assert_array_equal

WriteSeries = Callable[..., None]


@pytest.fixture
def volume(head: Callable[..., Volume], oblique: Geometry) -> Volume:
    made = head(oblique)
    return Volume(np.round(made.array), made.geometry, made.name)


@pytest.fixture
def good(volume: Volume, tmp_path: Path) -> Path:
    path = tmp_path / "t1c.nii.gz"
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path))
    return path


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_formats_agree(volume: Volume, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path))
    got = read_volume(path)
    assert_allclose(got.array, volume.array)
    assert_allclose(got.geometry.origin, volume.geometry.origin, atol=1e-3)
    assert_allclose(got.geometry.axes, volume.geometry.axes, atol=1e-4)


def test_a_dicom_series_is_the_same_volume_in_physical_space(
    volume: Volume, tmp_path: Path, write_series: WriteSeries
) -> None:
    write_series(volume, tmp_path / "dicom")
    got = read_volume(tmp_path / "dicom")
    # DICOM's slices follow the right-handed normal, so the order of storage may differ: compare by position
    where = (
        np.argwhere(volume.array > 200)[::50] if (volume.array > 200).any() else np.argwhere(volume.array > 100)[::97]
    )
    index = np.round(got.geometry.index(volume.geometry.physical(where))).astype(int)
    assert len(where) > 20
    assert_allclose(got.array[tuple(index.T)], volume.array[tuple(where.T)])


def test_several_series_are_named_and_one_can_be_chosen(
    volume: Volume, tmp_path: Path, write_series: WriteSeries
) -> None:
    write_series(volume, tmp_path / "dicom", 3, "T1 post")
    write_series(volume, tmp_path / "dicom", 5, "FLAIR")
    with pytest.raises(InputError, match=r"several series.*3 'T1 post' \(30 files\).*5 'FLAIR' \(30 files\)"):
        read_volume(tmp_path / "dicom")
    for name in ("3", "T1 post", "post"):
        assert read_volume(tmp_path / "dicom", name).array.shape == volume.array.shape
    with pytest.raises(InputError, match="0 series match '9'"):
        read_volume(tmp_path / "dicom", "9")


def test_a_missing_slice_is_located(volume: Volume, tmp_path: Path, write_series: WriteSeries) -> None:
    write_series(volume, tmp_path / "dicom", skip=12)
    with pytest.raises(InputError, match=r"slices are missing between .* mm \(usual distance 1\.70 mm\)"):
        read_volume(tmp_path / "dicom")


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no DICOM image"):
        read_volume(tmp_path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.nii: no such file"):
        read_volume(tmp_path / "nothing.nii")


@pytest.mark.parametrize("name", ["text.nii.gz", "text.nrrd", "text.mha", "text.dcm", "text"])
def test_not_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is not an image")
    with pytest.raises(InputError, match="not an image"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated(volume: Volume, tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"image.{suffix}"
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path), useCompression=suffix != "nii")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"image\..*(truncated|not an image)"):
        read_volume(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_values_that_are_no_numbers(volume: Volume, tmp_path: Path, value: float, kind: type, suffix: str) -> None:
    volume.array[3, 4, 5] = value
    path = tmp_path / f"image.{suffix}"
    sitk.WriteImage(to_sitk(volume.array.astype(kind), volume.geometry), str(path))
    with pytest.raises(InputError, match="1 of 93600 voxels are NaN or infinite"):
        read_volume(path)


def test_a_nifti_file_may_say_more_than_its_header(volume: Volume, tmp_path: Path) -> None:
    """An extension lies between header and voxels, and is not to be read as voxels."""
    path = tmp_path / "image.nii"
    sitk.WriteImage(to_sitk(volume.array.astype(np.float32), volume.geometry), str(path))
    content = bytearray(path.read_bytes())
    content[108:112] = struct.pack("<f", 352 + 1024)  # vox_offset
    extension = b"\x01\0\0\0" + struct.pack("<2i", 1024, 6) + b"\xff" * 1016  # \xff: NaN, were it a float
    path.write_bytes(content[:348] + extension + content[352:])
    assert_array_equal(read_volume(path).array, volume.array)


def test_a_constant_image(volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "image.nii"
    sitk.WriteImage(to_sitk(np.full_like(volume.array, 7), volume.geometry), str(path))
    with pytest.raises(InputError, match="every voxel is 7"):
        read_volume(path)
    assert read_array(path).array.max() == 7  # a label map may be


def test_four_dimensions_and_colour(volume: Volume, tmp_path: Path) -> None:
    image = to_sitk(volume.array, volume.geometry)
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(tmp_path / "four.nii.gz"))
    with pytest.raises(InputError, match="is 4D"):
        read_volume(tmp_path / "four.nii.gz")
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / "one.nii.gz"))
    assert read_volume(tmp_path / "one.nii.gz").array.shape == volume.array.shape
    colour = sitk.Compose([sitk.Cast(image, sitk.sitkUInt8)] * 3)
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    with pytest.raises(InputError, match="3 values a voxel"):
        read_volume(tmp_path / "colour.nrrd")
    sitk.WriteImage(image[:, :, 3], str(tmp_path / "slice.mha"))
    with pytest.raises(InputError, match="is 2D"):
        read_volume(tmp_path / "slice.mha")


@pytest.mark.parametrize("spacing", [0.0, 1e-5, 400.0])
def test_a_spacing_that_no_head_has(good: Path, tmp_path: Path, spacing: float) -> None:
    content = bytearray(gzip.decompress(good.read_bytes()))
    content[80:84] = np.float32(spacing).tobytes()  # pixdim[1] of NIfTI-1
    path = tmp_path / "wrong.nii"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.nii.*(spacing|pacing)"):
        read_volume(path)


def test_errors_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_bytes(b"\0" * 400)
    with pytest.raises(InputError) as caught:
        read_volume(tmp_path / "x.nii")
    assert "\n" not in str(caught.value)
