"""Every format gives the same volume, and what cannot be used is refused in one line."""

import gzip
import os
import re
import shutil
import struct
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.annotation import read_annotation, read_labels
from lopsided.errors import InputError
from lopsided.reading import read_array, read_study, read_volume
from lopsided.volume import Geometry, Volume, to_sitk
from lopsided.writing import write_image
from numpy.testing import assert_allclose, assert_array_equal
from pydicom import dcmread

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


def test_series_that_are_called_alike_are_told_apart(volume: Volume, tmp_path: Path, write_series: WriteSeries) -> None:
    for number in (3, 5):
        write_series(volume, tmp_path / "dicom", number)
    for path in (tmp_path / "dicom").glob("5_*"):
        header = dcmread(path)
        header.SeriesNumber = 3
        header.save_as(path)
    with pytest.raises(InputError, match=r"3 'T1 post' \(30 files, UID …[\d.]+\); 3 'T1 post' \(30 files, UID") as said:
        read_volume(tmp_path / "dicom")
    uids = re.findall(r"UID …([\d.]+)", str(said.value))
    assert len({read_volume(tmp_path / "dicom", uid).array.tobytes() for uid in uids}) == 1
    assert len(set(uids)) == 2


def test_a_missing_slice_is_located(volume: Volume, tmp_path: Path, write_series: WriteSeries) -> None:
    write_series(volume, tmp_path / "dicom", skip=12)
    with pytest.raises(InputError, match=r"slices are missing between .* mm \(usual distance 1\.70 mm\)"):
        read_volume(tmp_path / "dicom")


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no DICOM image"):
        read_volume(tmp_path)


def test_a_study_without_post_contrast_t1(good: Path) -> None:
    with pytest.raises(InputError, match="no post-contrast T1; each study needs one"):
        read_study({"t1": good})


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


@pytest.mark.parametrize("words", ["Image(0x5581): Failed to allocate memory for image.", "std::bad_alloc"])
def test_want_of_memory_is_no_damage(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Nor a full disk; but a damaged header may ask for more than there is."""
    path = tmp_path / "image.nrrd"
    write_image(to_sitk(volume.array, volume.geometry), path)
    short = Mock(side_effect=RuntimeError(f"ITK ERROR: {words}"))
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", short)
    with pytest.raises(
        InputError, match=r"image\.nrrd: there is no memory for its 52×60×30 voxels; close other programs"
    ):
        read_volume(path)
    monkeypatch.setattr(sitk, "ReadImage", short)
    with pytest.raises(MemoryError):
        write_image(to_sitk(volume.array, volume.geometry), path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_values_that_are_no_numbers(volume: Volume, tmp_path: Path, value: float, kind: type, suffix: str) -> None:
    volume.array[3, 4, 5] = value
    path = tmp_path / f"image.{suffix}"
    sitk.WriteImage(to_sitk(volume.array.astype(kind), volume.geometry), str(path))
    with pytest.raises(InputError, match="1 of 93600 voxels are NaN or infinite"):
        read_volume(path)


def test_values_that_32_bits_do_not_hold(volume: Volume, tmp_path: Path) -> None:
    """Without a word one would be read as infinite, and an image far from zero with hardly any contrast."""
    path = tmp_path / "image.nii.gz"
    array = volume.array.astype(np.float64)
    sitk.WriteImage(to_sitk(array + 1e8, volume.geometry), str(path))
    with pytest.raises(InputError, match=r"its values, 1000\d+ to 1000\d+, are too near .* subtract 1000\d+ from all"):
        read_volume(path)
    array[3, 4, 5] = 1e39
    sitk.WriteImage(to_sitk(array, volume.geometry), str(path))
    with pytest.raises(InputError, match="1 of 93600 voxels are NaN or infinite, or beyond 3e38"):
        read_volume(path)
    small = volume.array.astype(np.float64) * 1e-12
    sitk.WriteImage(to_sitk(small, volume.geometry), str(path))
    np.testing.assert_allclose(read_volume(path).array, small, rtol=1e-6)


def as_nifti(volume: Volume, folder: Path, name: str) -> Path:
    """The volume in a NIfTI file of any name, or ``.hdr`` and ``.img``. The file that the voxels are in."""
    stem, _, ending = name.partition(".")
    pair = ending.lower().startswith(("hdr", "img"))
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(folder / ("made.img" if pair else "made.nii")))
    voxels = folder / name
    if pair:
        (folder / "made.hdr").rename(folder / f"{stem}.hdr")
        voxels = folder / f"{stem}.{ending.replace('hdr', 'img')}"
        (folder / "made.img").rename(voxels)
    else:
        (folder / "made.nii").rename(voxels)
    if name.lower().endswith(".gz"):
        voxels.write_bytes(gzip.compress(voxels.read_bytes()))
    return voxels


@pytest.mark.parametrize("name", ["image.NII", "image.NII.GZ", "image.hdr", "image.img", "image.img.gz"])
@pytest.mark.parametrize("wrong", ["nothing", "truncated", "NaN"])
def test_nifti_by_any_name_is_looked_at_as_closely(volume: Volume, tmp_path: Path, name: str, wrong: str) -> None:
    """ITK reads as zeros what is missing of it or NaN."""
    if wrong == "NaN":
        volume.array[3, 4, 5] = np.nan
    voxels = as_nifti(volume, tmp_path, name)
    if wrong == "nothing":
        assert_array_equal(read_volume(tmp_path / name).array, volume.array)
        return
    if wrong == "truncated":
        voxels.write_bytes(voxels.read_bytes()[: voxels.stat().st_size // 2])
    said = "1 of 93600 voxels are NaN" if wrong == "NaN" else "truncated"
    with pytest.raises(InputError, match=rf"{name}: .*{said}"):
        read_volume(tmp_path / name)


def test_a_header_without_its_voxels(volume: Volume, tmp_path: Path) -> None:
    as_nifti(volume, tmp_path, "image.hdr").unlink()
    with pytest.raises(InputError, match=r"image\.hdr: has no image\.img beside it; copy both"):
        read_volume(tmp_path / "image.hdr")


def test_a_compressed_file_is_read_and_not_the_other_one_beside_it(volume: Volume, tmp_path: Path) -> None:
    """ITK takes the voxels of x.nii for those of x.nii.gz."""
    images = {"image.nii.gz": volume.array, "image.nii": volume.array[::-1], "image.hdr": volume.array + 1}
    for file, array in images.items():
        sitk.WriteImage(to_sitk(array, volume.geometry), str(tmp_path / file))
    for file, array in images.items():
        assert_array_equal(read_volume(tmp_path / file).array, array)
    assert {path.name for path in tmp_path.iterdir()} == {*images, "image.img"}


def test_of_a_full_temporary_folder_no_file_is_blamed(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("image.nii", "image.nii.gz"):
        sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(tmp_path / name))

    def full(path: Path, _: Path) -> None:
        raise OSError(28, "No space left on device", str(path))  # as copyfile says it

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(
        InputError,
        match=r"image\.nii\.gz: cannot be copied .*\(No space .*\), .* of the image\.nii beside it; make room",
    ):
        read_volume(tmp_path / "image.nii.gz")


@pytest.mark.parametrize("read", [read_volume, read_labels])
def test_what_may_not_be_read_is_named(
    good: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[..., object]
) -> None:
    def refuse(path: Path, *_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(
        InputError, match=rf"{good.name}: cannot be read \(Permission denied\); check its name, and that"
    ):
        read(good)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the names of files are Unicode")
@pytest.mark.parametrize("read", [read_volume, read_labels])
def test_what_is_not_called_in_utf8_is_named(good: Path, read: Callable[..., object]) -> None:
    """SimpleITK would end the process."""
    badly = good.rename(good.with_name(os.fsdecode(b"K\xf6pf.nii.gz")))
    with pytest.raises(InputError, match=r"/K\\xf6pf\.nii\.gz: its name is not in UTF-8, and .*; give it another"):
        read(badly)


def test_whether_nifti_is_compressed_its_name_need_not_say(volume: Volume, tmp_path: Path) -> None:
    plain = as_nifti(volume, tmp_path, "image.nii").rename(tmp_path / "image.nii.gz")
    assert_array_equal(read_volume(plain).array, volume.array)


@pytest.mark.parametrize("begin", [np.nan, np.inf, -5.0, 0.0, 1e30])
def test_voxels_that_begin_nowhere(volume: Volume, tmp_path: Path, begin: float) -> None:
    path = as_nifti(volume, tmp_path, "image.nii")
    content = bytearray(path.read_bytes())
    content[108:112] = struct.pack("<f", begin)  # vox_offset
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"image\.nii: is damaged \(its voxels begin at byte .*export it again"):
        read_volume(path)


@pytest.mark.parametrize(("unit", "millimetres"), [(1, 1000.0), (2, 1.0), (3, 0.001)])
def test_the_unit_of_a_nifti_header_counts(volume: Volume, tmp_path: Path, unit: int, millimetres: float) -> None:
    """Metres, millimetres and micrometres."""
    path = as_nifti(volume, tmp_path, "image.nii")
    content = bytearray(path.read_bytes())
    content[123] = unit  # xyzt_units
    path.write_bytes(content)
    if unit != 2:
        with pytest.raises(InputError, match="impossible for a head"):
            read_volume(path)
    for at, count in ((80, 3), (268, 3), (280, 12)):  # pixdim, the offsets of the quaternion, the matrix
        numbers = np.frombuffer(content, "<f4", count, at) / millimetres
        content[at : at + 4 * count] = numbers.astype("<f4").tobytes()
    path.write_bytes(content)
    assert read_volume(path).geometry.same_grid(volume.geometry)
    (offset,) = struct.unpack_from("<f", content, 268)
    struct.pack_into("<f", content, 268, offset + 12 / millimetres)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"two places .*, up to 12 mm apart"):
        read_volume(path)


def twice_placed(volume: Volume, folder: Path, name: str, by: float, order: str = "<") -> Path:
    """The volume in a NIfTI file whose sform is ``by`` mm beside its qform, as a registration leaves it."""
    made = nibabel.load(as_nifti(volume, folder, "made." + name.partition(".")[2]))
    image = type(made)(np.asarray(made.dataobj), made.affine, made.header.as_byteswapped(order))
    moved = made.affine.copy()
    moved[1, 3] += by
    image.set_sform(moved, 2)  # aligned, beside the scanner's
    nibabel.save(image, folder / name)
    return folder / name


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.hdr", "image.img"])
@pytest.mark.parametrize("read", [read_volume, read_labels])
def test_a_nifti_header_with_two_places_is_refused(
    volume: Volume, tmp_path: Path, name: str, order: str, read: Callable[..., object]
) -> None:
    """ITK would follow the qform, nibabel the sform: labels drawn by the one would lie elsewhere for the other."""
    half = min(volume.geometry.spacing) / 2
    read(twice_placed(volume, tmp_path, name, 0.95 * half, order))
    for by in (1.05 * half, -12.3):
        path = twice_placed(volume, tmp_path, name, by, order)
        with pytest.raises(InputError, match=rf"{name}: .* two places .*, up to {abs(by):.3g} mm apart, and programs"):
            read(path)


def test_a_nifti_header_that_turns_it_in_two_ways_is_refused(volume: Volume, tmp_path: Path) -> None:
    """However the qform's quaternion is stored, and where it mirrors."""
    path = tmp_path / "image.nii"
    for turn in (volume.geometry.axes, np.diag([1, -1, -1]), np.diag([-1, -1, 1]), np.diag([-1, 1, 1])):
        geometry = replace(volume.geometry, direction=tuple(turn.ravel().tolist()))
        sitk.WriteImage(to_sitk(volume.array, geometry), str(path))
        assert read_volume(path).geometry.same_grid(geometry)
        content = bytearray(path.read_bytes())
        content[76:80] = (-np.frombuffer(content, "<f4", 1, 76)).tobytes()  # pixdim[0]: which way the slices go
        path.write_bytes(content)
        far = (geometry.size[2] - 1) * geometry.spacing[2] * 2
        with pytest.raises(InputError, match=rf"image\.nii: its header has two places .*up to {far:.3g} mm apart"):
            read_volume(path)


def test_a_nifti_header_with_two_voxel_sizes_is_refused(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ITK would take one, nibabel the other, where there is no qform to have them compared."""
    monkeypatch.chdir(tmp_path)
    image = nibabel.load(as_nifti(volume, tmp_path, "made.nii.gz"))
    image.set_qform(None, 0)
    for share, refused in ((1.0, False), (1.0001, False), (0.5, True), (1.2, True)):
        image.header["pixdim"][1:4] = np.multiply(volume.geometry.spacing, share)
        nibabel.save(image, "image.nii.gz")
        if not refused:
            read_volume(tmp_path / "image.nii.gz")
            continue
        with pytest.raises(InputError, match=r"image\.nii\.gz: its header has two voxel sizes") as error:
            read_volume(tmp_path / "image.nii.gz")
        exec(str(error.value).partition("in Python: ")[2], {})
        assert read_volume(tmp_path / "new.nii.gz").geometry.same_grid(volume.geometry)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_two_voxel_sizes_may_place_the_last_voxel_half_a_voxel_apart(
    volume: Volume, tmp_path: Path, axis: int, sign: int
) -> None:
    image = nibabel.load(as_nifti(volume, tmp_path, "made.nii.gz"))
    image.set_qform(None, 0)
    sides, size = volume.geometry.spacing, volume.geometry.size
    for apart, expected in ((0.47, nullcontext()), (0.53, pytest.raises(InputError, match="two voxel sizes"))):
        by = sign * apart * min(sides) / (size[axis] - 1)
        image.header["pixdim"][1:4] = [side + by * (n == axis) for n, side in enumerate(sides)]
        nibabel.save(image, tmp_path / "image.nii.gz")
        with expected:
            read_volume(tmp_path / "image.nii.gz")


@pytest.mark.parametrize("at", [256, 268, 280, 292])  # quaternion and offset of the qform, the sform's first numbers
@pytest.mark.parametrize("number", [np.nan, np.inf, -3e38])
def test_a_nifti_header_that_gives_no_place_is_refused(volume: Volume, tmp_path: Path, at: int, number: float) -> None:
    path = as_nifti(volume, tmp_path, "image.nii")
    content = bytearray(path.read_bytes())
    content[at : at + 4] = struct.pack("<f", number)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"image\.nii: (its header has two places|an origin of)"):
        read_volume(path)


@pytest.mark.parametrize("name", ["image.nii.gz", "image.hdr"])
def test_either_place_of_a_nifti_file_can_be_kept_as_the_message_says(
    volume: Volume, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        read_volume(twice_placed(volume, tmp_path, name, 12.0))
    said = re.search(
        r"(import .*;) (i.set.*) to keep the sform, or (i.set.*) to keep the qform; (.*)", str(refused.value)
    )
    assert said
    x, y, z = volume.geometry.origin
    for keep, origin in (
        (said[2], (x, y - 12.0, z)),
        (said[3], (x, y, z)),
    ):  # LPS: the sform's is 12 mm further anterior
        exec(f"{said[1]} {keep}; {said[4]}", {})
        kept = read_volume(tmp_path / "new.nii.gz")
        assert_array_equal(kept.array, volume.array)
        assert kept.geometry.same_grid(replace(volume.geometry, origin=origin))
        assert_allclose(nibabel.load("new.nii.gz").affine[:3, 3], np.multiply(origin, (-1, -1, 1)), atol=1e-3)


@pytest.mark.parametrize(("shear", "both"), [(0.0, True), (5e-5, True), (2e-4, False), (0.2, False)])
def test_an_sform_that_no_qform_can_be_like_is_not_advised_to_be_kept(
    volume: Volume, tmp_path: Path, shear: float, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ITK reads no image whose axes are not at right angles, and a qform's always are."""
    monkeypatch.chdir(tmp_path)
    image = nibabel.load(as_nifti(volume, tmp_path, "made.nii.gz"))
    sheared = np.eye(4)
    sheared[0, 1], sheared[0, 3] = shear, 12.0
    image.set_sform(image.affine @ np.diag([*1 / np.array(volume.geometry.spacing), 1]) @ sheared, 1)
    nibabel.save(image, "image.nii.gz")
    with pytest.raises(InputError, match="has two places for it") as refused:
        read_volume(tmp_path / "image.nii.gz")
    assert ("to keep the sform" in str(refused.value)) == both
    assert (
        "axes are not at right angles, so resample it (in Slicer: Crop Volume, with interpolation), or keep"
        in str(refused.value)
    ) != both
    if not both:
        exec(str(refused.value).partition("in Python: ")[2].replace(" to keep the qform", ""), {})
        assert read_volume(tmp_path / "new.nii.gz").geometry.same_grid(volume.geometry)


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


def test_complex_values(volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    sitk.WriteImage(to_sitk(volume.array.astype(np.complex64), volume.geometry), str(path))
    with pytest.raises(InputError, match=r"image\.nii\.gz: has complex values; give its magnitude"):
        read_volume(path)


def sheared(g: Geometry, by: float) -> Geometry:
    """With the last axis turned towards the one before by so much of its length."""
    axes = g.axes.copy()
    axes[:, 2] += by * axes[:, 1]
    axes[:, 2] /= np.linalg.norm(axes[:, 2])
    return Geometry(g.size, g.spacing, g.origin, tuple(axes.ravel().tolist()))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_sheared_axes_are_refused(volume: Volume, tmp_path: Path, suffix: str) -> None:
    """NIfTI would square them: what is found would be written elsewhere. By less than that matters, they may be."""
    path = tmp_path / f"image.{suffix}"
    sitk.WriteImage(to_sitk(volume.array, sheared(volume.geometry, 0.02)), str(path))
    with pytest.raises(
        InputError, match=rf"image\.{suffix}: its axes are not at right angles.*resample it.*Crop Volume"
    ):
        read_volume(path)
    almost = sheared(volume.geometry, 9e-4)
    sitk.WriteImage(to_sitk(volume.array, almost), str(path))
    got = read_volume(path)
    assert got.geometry.same_grid(almost)
    write_image(to_sitk(got.array, got.geometry), tmp_path / "written.nii.gz")
    assert read_volume(tmp_path / "written.nii.gz").geometry.same_grid(almost, tolerance=0.1)


def test_an_annotation_may_be_on_a_sheared_grid(volume: Volume, tmp_path: Path) -> None:
    """As Slicer has one that was moved by an affine registration: only the grid of the image is written on."""
    grid = sheared(volume.geometry, 0.3)
    labels = np.zeros(grid.shape, np.uint8)
    labels[12:18, 20:30, 20:30] = 1
    sitk.WriteImage(to_sitk(labels, grid), str(tmp_path / "lesions.nrrd"))
    mask = read_annotation(tmp_path / "lesions.nrrd", volume).mask
    there = volume.geometry.physical(np.argwhere(mask)).mean(axis=0)
    assert_allclose(there, grid.physical(np.argwhere(labels)).mean(axis=0), atol=0.85)  # half a slice


def test_axes_that_are_no_unit_vectors_are_refused(volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "image.mha"
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path))
    lines = path.read_bytes().split(b"\n", 15)
    lines = [b"TransformMatrix = 2 0 0 0 2 0 0 0 2" if b"TransformMatrix" in line else line for line in lines]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match="not of length 1"):
        read_volume(path)


def test_an_image_is_never_written_elsewhere(volume: Volume, tmp_path: Path) -> None:
    image = to_sitk(volume.array, sheared(volume.geometry, 0.02))
    write_image(image, tmp_path / "image.nrrd")
    with pytest.raises(OSError, match=r"image\.nii\.gz cannot hold an image whose axes are not at right angles"):
        write_image(image, tmp_path / "image.nii.gz")


def test_a_folder_is_called_by_its_name(
    volume: Volume, tmp_path: Path, write_series: WriteSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(volume, tmp_path / "Doe", 3, "T1 post")
    monkeypatch.chdir(tmp_path / "Doe")
    assert read_volume(Path()).name == "Doe, series 3 T1 post"


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


@pytest.mark.parametrize(
    ("name", "x"), [("wrong.nii", np.nan), ("wrong.nii", 2e6), ("wrong.nrrd", 1e30), ("wrong.mha", -2e6)]
)
def test_an_origin_where_no_head_is(volume: Volume, tmp_path: Path, name: str, x: float) -> None:
    """Of an image, and of an annotation."""
    path = tmp_path / name
    image = to_sitk((volume.array > 100).astype(np.uint8), volume.geometry)
    if name.endswith("nii"):
        sitk.WriteImage(image, str(path))
        content = bytearray(path.read_bytes())
        for at in (268, 292):  # qoffset_x and srow_x[3] of NIfTI-1; ITK takes the one if they differ
            struct.pack_into("<f", content, at, x)
        path.write_bytes(content)
    else:
        image.SetOrigin((x, 0.0, 0.0))
        sitk.WriteImage(image, str(path))
    for read in (read_volume, lambda path: read_annotation(path, volume)):
        with pytest.raises(
            InputError, match=rf"{name}: an origin of .* mm is impossible for a head .*; mend its header"
        ):
            read(path)
