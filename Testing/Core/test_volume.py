"""Grids, physical space and resampling."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from lopsided.resampling import resample
from lopsided.volume import Geometry, Volume, aligned, geometry_of, oriented, part_around, to_sitk
from numpy.testing import assert_allclose
from scipy import ndimage


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any orientation, handedness and anisotropy."""
    axes, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(3, 3)))
    if draw(st.booleans()):
        axes = axes[:, ::-1]
    number = st.floats(-80, 80)
    return Geometry(
        (draw(st.integers(16, 40)), draw(st.integers(16, 40)), draw(st.integers(16, 40))),
        (draw(st.floats(0.5, 2)), draw(st.floats(0.5, 2)), draw(st.floats(0.5, 3))),
        (draw(number), draw(number), draw(number)),
        tuple(axes.ravel().tolist()),
    )


@given(geometries())
@settings(deadline=None, max_examples=40)
def test_physical_points_are_simpleitks_and_come_back(g: Geometry) -> None:
    image = sitk.Image(g.size, sitk.sitkUInt8)
    image.SetSpacing(g.spacing)
    image.SetOrigin(g.origin)
    image.SetDirection(g.direction)
    kji = np.array([3, 7, 11])
    assert_allclose(g.physical(kji), image.TransformIndexToPhysicalPoint((11, 7, 3)), atol=1e-6)
    assert_allclose(g.index(g.physical(kji)), kji, atol=1e-6)
    assert geometry_of(to_sitk(np.zeros(g.shape, np.uint8), g)).same_grid(g)


@given(geometries())
@settings(deadline=None, max_examples=30)
def test_an_oriented_grid_covers_every_voxel_and_lies_nearest_to_lps(g: Geometry) -> None:
    stored = oriented(Volume(np.zeros(g.shape, np.uint8), g)).geometry
    grid = stored.covering((1.0, 1.0, 1.0), np.zeros(3), np.array(stored.shape) - 1, 4)
    corners = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (np.array(g.shape) - 1)
    inside = grid.index(g.physical(corners))
    assert (inside > -0.51).all()
    assert (inside < np.array(grid.shape) - 0.49).all()
    assert all(n % 4 == 0 for n in grid.size)
    # each axis of the grid is one of the scan's, and no other order of them is nearer to L, P, S
    agreement = np.abs(g.axes.T @ grid.axes)
    assert_allclose(np.sort(agreement, axis=0)[-1], 1, atol=1e-9)
    assert (np.diag(grid.axes) >= 0).all()


@given(geometries(), st.permutations(range(3)), st.lists(st.sampled_from((1, -1)), min_size=3, max_size=3))
@settings(deadline=None, max_examples=40)
def test_a_volume_stored_another_way_is_aligned_again(g: Geometry, order: list[int], steps: list[int]) -> None:
    array = np.random.default_rng(0).integers(0, 99, g.shape).astype(np.uint8)
    i, j, k = steps
    stored = sitk.PermuteAxes(to_sitk(array, g), order)[::i, ::j, ::k]
    back = aligned(Volume(sitk.GetArrayFromImage(stored), geometry_of(stored)), g)
    assert back.geometry.same_grid(g)
    assert (back.array == array).all()


@given(geometries(), geometries())
@settings(deadline=None, max_examples=30)
def test_a_blob_stays_where_it_is_in_the_patient(a: Geometry, b: Geometry) -> None:
    centre = a.physical((np.array(a.shape) - 1) / 2)
    target = Geometry(b.size, b.spacing, (0.0, 0.0, 0.0), b.direction)
    offset = centre - target.physical((np.array(b.shape) - 1) / 2)
    target = Geometry(b.size, b.spacing, (offset[0], offset[1], offset[2]), b.direction)
    points = a.physical(np.stack(np.meshgrid(*map(np.arange, a.shape), indexing="ij"), -1))
    blob = np.exp(-((points - centre) ** 2).sum(-1) / (2 * 2.5**2)).astype(np.float32)
    moved = resample(Volume(blob, a), target).array
    where = target.physical(np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1))
    found = (where * moved[..., None]).sum((0, 1, 2)) / moved.sum()
    assert_allclose(found, centre, atol=0.35)


def turned(degrees: float, size: tuple[int, int, int], spacing: tuple[float, float, float], centre: float) -> Geometry:
    """Turned about an axis that is none of the patient's, around a point."""
    x, y, z = np.array([2, -1, 2]) / 3 * np.sin(np.radians(degrees) / 2)
    w = np.cos(np.radians(degrees) / 2)
    axes = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    origin = np.full(3, centre) - axes @ ((np.array(size) - 1) / 2 * spacing)
    return Geometry(size, spacing, tuple(origin.tolist()), tuple(axes.ravel().tolist()))  # type: ignore[arg-type]


@pytest.mark.parametrize("degrees", [0, 17, 90, 180, 240])
@pytest.mark.parametrize("centre", [9.3, 1.1, 16.9, 60.0])
def test_every_voxel_is_interpolated_at_its_place_in_the_patient(degrees: float, centre: float) -> None:
    """Inside of the image, and up to half a voxel outside; further out it is the fill, everywhere if need be."""
    source = turned(0, (17, 19, 15), (1.1, 1.0, 1.3), 9.0)
    image = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    target = turned(degrees, (12, 15, 13), (0.9, 1.0, 1.05), centre)
    at = source.index(target.physical(np.stack(np.indices(target.shape), axis=-1)))
    edge = np.minimum(at + 0.5, np.array(source.shape) - 0.5 - at).min(axis=-1)
    expected = ndimage.map_coordinates(image, np.moveaxis(at, -1, 0), order=1, mode="nearest")
    expected[edge < 0] = -9
    sure = np.abs(edge) > 1e-6
    assert_allclose(resample(Volume(image, source), target, fill=-9).array[sure], expected[sure], atol=1e-4)


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (1.0, 2.0, 4.0)])
def test_on_a_coarser_grid_a_hairs_tilt_changes_nothing(spacing: tuple[float, float, float]) -> None:
    source = turned(0, (40, 40, 40), (1.0, 1.0, 1.0), 0)
    image = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    straight, tilted = (
        resample(Volume(image, source), turned(degrees, (8, 8, 5), spacing, 1.2)).array for degrees in (0, 0.02)
    )
    assert_allclose(tilted, straight, atol=0.02)


def test_a_small_lesion_is_averaged_not_stepped_over_by_a_coarser_grid() -> None:
    fine = Geometry((60, 60, 60), (0.4, 0.4, 0.4), (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    coarse = Geometry((12, 12, 12), (2.0, 2.0, 2.0), (0, 0, 0), fine.direction)
    image = np.zeros(fine.shape, np.float32)
    image[26:29, 27:30, 26:29] = 1000  # 1.2 mm between coarse voxel centres: linear interpolation alone would miss it
    got = resample(Volume(image, fine), coarse).array
    assert got.sum() * coarse.voxel_volume == pytest.approx(image.sum() * fine.voxel_volume, rel=0.15)


@pytest.mark.parametrize("rounding", [0.0, 1e-6])
def test_where_voxels_coincide_they_are_kept_to_the_last_bit(rounding: float) -> None:
    """Along some axes or all, beyond the image too; and as between any other voxels where they do not."""
    source = Geometry((20, 21, 22), (1.0, 1.0, 1.0), (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    image = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    beside = Geometry((12, 30, 9), source.spacing, (5.0 + rounding, -4.0 - rounding, 8.0 + rounding), source.direction)
    expected = np.full(beside.shape, -7, np.float32)
    expected[:, 4:25] = image[8:17, :, 5:17]
    got = resample(Volume(image, source), beside, fill=-7).array
    assert (got == expected).all()
    between = Geometry((12, 30, 9), source.spacing, (5.0, -4.0, 8.25), source.direction)
    expected[:, 4:25] = 0.75 * image[8:17, :, 5:17] + 0.25 * image[9:18, :, 5:17]
    assert_allclose(resample(Volume(image, source), between, fill=-7).array, expected, atol=1e-6)


def test_an_array_off_its_grid_is_refused() -> None:
    g = Geometry((4, 5, 6), (1, 1, 1), (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    with pytest.raises(ValueError, match="grid"):
        Volume(np.zeros((4, 5, 6)), g)


def test_overlap_is_of_boxes_in_physical_space() -> None:
    identity = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
    a = Geometry((20, 20, 20), (1, 1, 1), (0, 0, 0), identity)
    assert a.overlaps(Geometry((4, 4, 4), (1, 1, 1), (10, 10, 10), identity))
    assert Geometry((4, 4, 4), (1, 1, 1), (10, 10, 10), identity).overlaps(a)
    assert not a.overlaps(Geometry((20, 20, 20), (1, 1, 1), (40, 0, 0), identity))
    small = Geometry((2, 2, 2), (0.1, 0.1, 0.1), (10.2, 10.2, 10.2), identity)
    assert a.overlaps(small)
    assert small.overlaps(a)


def test_grids_are_the_same_where_all_of_their_voxels_coincide() -> None:
    """To a hundredth of a voxel, at the far end too."""
    plain = turned(0, (101, 51, 26), (0.5, 1.0, 2.0), 0)
    for axis, per_voxel in enumerate((5e-5, 1e-4, 2e-4)):  # a voxel longer by this is 0.005 mm at the far end
        for factor in (0.9, 1.1):
            spacing = np.array(plain.spacing)
            spacing[axis] += factor * per_voxel
            x, y, z = spacing.tolist()
            other = replace(plain, spacing=(x, y, z))
            assert plain.same_grid(other) == other.same_grid(plain) == (factor < 1)
    assert not plain.same_grid(replace(plain, size=(101, 51, 27)))
    assert not plain.same_grid(turned(0.02, plain.size, plain.spacing, 0))


def test_the_extent_that_is_said_is_of_all_corners() -> None:
    """Of a grid turned by 45 degrees, two opposite ones may lie above each other."""
    c = np.sqrt(0.5)
    turned = Geometry((101, 101, 51), (1, 1, 1), (0, 0, 0), (c, -c, 0, c, c, 0, 0, 0, 1))
    assert turned.describe() == "101×101×51 voxels of 1×1×1 mm, LPS extent L -71…71, P 0…141, S 0…50 mm"


def test_grids_that_are_described_alike_are_said_to_differ_by_axes_or_millimetres() -> None:
    image = sitk.Image(10, 20, 30, sitk.sitkUInt8)
    plain, flipped = geometry_of(image), geometry_of(sitk.DICOMOrient(image, "RAS"))
    words = "10×20×30 voxels of 1×1×1 mm, LPS extent L 0…9, P 0…19, S 0…29 mm"
    assert plain.describe() == flipped.describe() == words
    assert flipped.against(plain) == f"{words}, but with axes along RAS against LPS"
    shifted = replace(plain, origin=(0.3, 0.0, 0.4))
    assert shifted.against(plain) == f"{words}, but up to 0.5 mm apart"
    longer = replace(plain, size=(10, 20, 31))
    assert plain.against(longer) == f"{words} against {longer.describe()}"


@pytest.mark.parametrize("rounding", [0, 1e-9, -1e-9])
def test_rounding_in_a_header_does_not_decide_whether_it_is_blurred(rounding: float) -> None:
    """Voxels of 2.5 mm are just fine enough for a grid of 3 mm."""
    side = 2.5 * (1 + rounding)
    source = Geometry((20, 20, 20), (side, side, side), (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    target = Geometry((8, 8, 8), (3.0, 3.0, 3.0), (10.0, 10.0, 10.0), source.direction)
    image = np.zeros(source.shape, np.float32)
    image[8, 8, 8] = 1000
    assert resample(Volume(image, source), target).array.max() == pytest.approx(185, rel=0.01)  # else 1000


@pytest.mark.parametrize("step", [1.0, 2.5])
@pytest.mark.parametrize("degrees", [0, 3])
def test_whole_numbers_are_rounded_not_cut(step: float, degrees: float) -> None:
    source = Geometry((60, 60, 60), (1, 1, 1), (0, 0, 0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    n = int(40 / step)
    target = Geometry((n, n, n), (step, step, step), (10.3, 10.3, 10.3), (c, -s, 0, s, c, 0, 0, 0, 1.0))
    image = np.random.default_rng(0).integers(-60, 60, source.shape).astype(np.int16)
    whole = resample(Volume(image, source), target).array
    assert whole.dtype == np.int16
    exact = resample(Volume(image.astype(np.float32), source), target).array
    assert np.abs(whole - exact).max() <= 0.5 + 1e-3


def test_a_part_around_a_grid_is_the_same_image_there(
    head: Callable[..., Volume], geometry: Callable[..., Geometry], oblique: Geometry
) -> None:
    """Also where the grid is tilted, and reaches beyond the image."""
    whole = head(oblique)
    middle = oblique.physical((np.array(oblique.shape) - 1) / 2)
    for axes in (oblique.direction, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)):
        target = geometry((12, 14, 40), (2.0, 1.5, 1.5), tuple(middle), axes)
        part = part_around(whole, target, 12.0)
        assert part.array.size < whole.array.size
        assert np.abs(resample(part, target).array - resample(whole, target).array).max() < 1e-2
    far = geometry((8, 8, 8), (1.0, 1.0, 1.0), (900.0, 0.0, 0.0))
    assert not resample(part_around(whole, far, 12.0), far).array.any()
