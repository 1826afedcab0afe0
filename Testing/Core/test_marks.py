"""A mark becomes the voxels that it covers, where it is, whatever the grid."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lopsided.marks import BoxMark, Ellipsoid, Line, Mark, Point, crossed, rasterise, snap
from lopsided.regions import Region, measure, region_of
from lopsided.volume import Geometry, Volume

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SPACING = st.tuples(*[st.floats(0.4, 3)] * 2, st.floats(0.5, 6.5))


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Oblique, anisotropic, left- or right-handed; centred on a point that is not the origin."""
    spacing = draw(SPACING)
    angles = draw(st.tuples(*[st.floats(-3, 3)] * 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    if draw(st.booleans()):
        turn[:, 2] *= -1
    size = tuple(int(60 / s) + 1 for s in spacing)
    centre = np.array([-31.0, 22.0, 47.0])
    origin = centre - turn @ ((np.array(size) - 1) / 2 * spacing)
    return Geometry(size, spacing, tuple(origin.tolist()), tuple(turn.ravel().tolist()))  # type: ignore[arg-type]


def points_of(region: Region, geometry: Geometry) -> np.ndarray:
    return geometry.physical(np.argwhere(region.mask) + [s.start for s in region.box])


def points_of_all(geometry: Geometry) -> np.ndarray:
    """LPS, mm, of every voxel: (k, j, i, 3)."""
    return geometry.physical(np.stack(np.indices(geometry.shape), axis=-1))


@given(geometries(), st.tuples(*[st.floats(-8, 8)] * 3), st.floats(1, 24))
@settings(max_examples=150, deadline=None)
def test_a_point_is_where_it_was_put_and_as_large(
    geometry: Geometry, offset: tuple[float, float, float], diameter: float
) -> None:
    centre = np.array([-31.0, 22.0, 47.0]) + offset
    region = rasterise(Point(tuple(centre), diameter), geometry)  # type: ignore[arg-type]
    assert region is not None
    voxel = np.abs(geometry.axes * geometry.spacing).sum(axis=1)  # of a voxel, along L, P, S
    gap = np.abs(measure(region, geometry).centroid_lps - centre)
    assert (gap <= voxel / 2 + 1e-6).all(), "sub-voxel"
    far = np.linalg.norm(points_of(region, geometry) - centre, axis=1).max()
    assert far <= diameter / 2 + np.linalg.norm(geometry.spacing)
    if diameter > 8 * max(geometry.spacing):  # of fewer voxels, whole shells are in or out at once
        assert measure(region, geometry).volume_mm3 == pytest.approx(np.pi / 6 * diameter**3, rel=0.1)


@pytest.mark.parametrize(
    ("mark", "volume"),
    [
        (Point((0, 0, 0), 12), np.pi / 6 * 12**3),
        (Line(((-6, 0, 0), (6, 0, 0))), np.pi / 6 * 12**3),
        (Line(((-8, 0, 0), (8, 0, 0)), ((0, -4, 0), (0, 4, 0))), np.pi / 6 * 16 * 8 * 8),
        (Line(((-8, 0, 0), (8, 0, 0)), ((-4, -4, 0), (4, 4, 0))), np.pi / 6 * 16 * 8 * 8),
        (BoxMark((0, 0, 0), (10, 6, 8)), 10 * 6 * 8),
        (Ellipsoid((0, 0, 0), (16, 8, 12)), np.pi / 6 * 16 * 8 * 12),
    ],
)
@pytest.mark.parametrize(("spacing", "error"), [((0.5, 0.5, 0.5), 0.05), ((0.9, 1.1, 2.0), 0.13)])
def test_each_kind_has_the_volume_that_it_is_drawn_with(
    mark: Mark, volume: float, spacing: tuple[float, float, float], error: float
) -> None:
    size = tuple(int(40 / s) for s in spacing)
    origin = tuple(-(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True))
    geometry = Geometry(size, spacing, origin, IDENTITY)  # type: ignore[arg-type]
    region = rasterise(mark, geometry)
    assert region is not None
    assert measure(region, geometry).volume_mm3 == pytest.approx(volume, rel=error)


@pytest.mark.parametrize("slice_mm", [3.0, 5.0])
@pytest.mark.parametrize("beside", [0.0, 0.25, 0.5])
def test_in_thick_slices_a_mark_keeps_its_volume(slice_mm: float, beside: float) -> None:
    """Wherever it is between them, and a larger one is never smaller."""
    geometry = Geometry((40, 40, 12), (0.5, 0.5, slice_mm), (0, 0, 0), IDENTITY)
    centre = (9.6, 9.7, (5 + beside) * slice_mm)
    sizes = []
    for diameter in (2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0):
        region = rasterise(Point(centre, diameter), geometry)
        assert region is not None
        sizes.append(measure(region, geometry).volume_mm3)
        assert 0.8 < sizes[-1] / (np.pi / 6 * diameter**3) < 1.5
    assert sizes == sorted(sizes)


def test_of_voxels_that_a_mark_covers_alike_the_middle_ones_are_taken() -> None:
    geometry = Geometry((60, 60, 12), (0.5, 0.5, 5.0), (0, 0, 0), IDENTITY)
    region = rasterise(BoxMark((20, 10, 25.6), (8, 8, 1)), geometry)
    assert region is not None
    assert np.count_nonzero(region.mask) == 64
    away = np.linalg.norm(points_of(region, geometry)[:, :2] - (20, 10), axis=1)
    assert away.max() < 2.6


def test_a_turned_ellipsoid_lies_along_its_axes() -> None:
    geometry = Geometry((80, 80, 80), (0.5, 0.5, 0.5), (-20, -20, -20), IDENTITY)
    h = 0.5**0.5
    region = rasterise(Ellipsoid((1, 2, 3), (20, 6, 6), ((h, h, 0), (-h, h, 0), (0, 0, 1))), geometry)
    assert region is not None
    along = np.linalg.svd(points_of(region, geometry) - (1, 2, 3))[2][0]
    assert abs(along @ (h, h, 0)) > 0.999
    crossed = rasterise(
        Line(((1 - 10 * h, 2 - 10 * h, 3), (1 + 10 * h, 2 + 10 * h, 3)), ((1, 2, 0), (1, 2, 6))), geometry
    )
    assert crossed is not None
    np.testing.assert_array_equal(crossed.whole(geometry.shape), region.whole(geometry.shape))


@pytest.mark.parametrize("kind", [BoxMark, Ellipsoid])
def test_a_mark_is_whole_on_a_sheared_volume(kind: type[BoxMark] | type[Ellipsoid]) -> None:
    axes = np.array([[1, 0.6, 0], [0, 0.8, 0], [0, 0, 1]])
    geometry = Geometry((40, 40, 40), (1, 1, 1), (0, 0, 0), tuple(axes.ravel().tolist()))  # type: ignore[arg-type]
    region = rasterise(kind(tuple(geometry.physical(np.full(3, 20)).tolist()), (15, 15, 15)), geometry)
    assert region is not None
    volume = 15**3 if kind is BoxMark else np.pi / 6 * 15**3
    assert np.count_nonzero(region.mask) * np.linalg.det(axes) == pytest.approx(volume, rel=0.05)


def test_a_large_mark_on_a_fine_grid_needs_little_memory() -> None:
    """A mark is drawn anew while it is moved."""
    geometry = Geometry((96, 96, 96), (0.25, 0.25, 0.25), (-12, -12, -12), IDENTITY)
    tracemalloc.start()
    region = rasterise(Point((0, 0, 0), 20), geometry)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert region is not None
    assert peak < 100e6


def test_a_mark_smaller_than_a_voxel_is_one_voxel_and_one_outside_is_none() -> None:
    geometry = Geometry((20, 20, 10), (1, 1, 5), (0, 0, 0), IDENTITY)
    region = rasterise(Point((7.2, 3.9, 11.0), 0.6), geometry)
    assert region is not None
    np.testing.assert_array_equal(points_of(region, geometry), [[7, 4, 10]])
    for outside in ((-3, 5, 5), (-0.9, 5, 5), (5, 5, 400), (19.7, 5, 5), (5, 5, 47.6)):
        assert rasterise(Point(outside, 0.6), geometry) is None
    edge = rasterise(Point((-1, 5, 10), 6), geometry)
    assert edge is not None
    assert points_of(edge, geometry)[:, 0].min() == 0


@pytest.mark.parametrize(
    "mark",
    [
        Point((0, 0, 0), 0),
        Point((0, 0, 0), float("nan")),
        Line(((1, 1, 1), (1, 1, 1))),
        Line(((1, 1, 1), (1, 1, 1)), ((0, 1, 1), (2, 1, 1))),
        BoxMark((0, 0, 0), (4, -1, 4)),
        Ellipsoid((0, 0, 0), (4, 4, 4), ((1, 0, 0), (1, 0, 0), (0, 0, 1))),
    ],
)
def test_what_is_no_mark_is_refused(mark: Mark) -> None:
    with pytest.raises(ValueError, match=r"size must be above 0|right angles"):
        rasterise(mark, Geometry((9, 9, 9), (1, 1, 1), (-4, -4, -4), IDENTITY))


@pytest.fixture
def scan() -> Volume:
    """A bright ring of 10 mm with a dark middle, a bright neighbour, and noise."""
    geometry = Geometry((50, 50, 50), (1, 1, 1), (-25, -25, -25), IDENTITY)
    points = points_of_all(geometry)
    image = np.random.default_rng(0).normal(100, 3, geometry.shape)
    radius = np.linalg.norm(points, axis=-1)
    image[radius < 5] = 180
    image[radius < 2.5] = 60
    image[np.linalg.norm(points - (14, 0, 0), axis=-1) < 3] = 220
    return Volume(image, geometry)


def test_snapping_finds_the_lesion_within_a_generous_mark_and_fills_its_middle(scan: Volume) -> None:
    mark = rasterise(BoxMark((1, -1, 0), (16, 16, 16)), scan.geometry)
    assert mark is not None
    found = measure(snap(mark, scan), scan.geometry)
    assert found.volume_mm3 == pytest.approx(np.pi / 6 * 10**3, rel=0.1)
    np.testing.assert_allclose(found.centroid_lps, (0, 0, 0), atol=0.2)


def test_snapping_leaves_what_shows_nothing(scan: Volume) -> None:
    nothing = rasterise(Point((-15, 0, 0), 8), scan.geometry)
    assert nothing is not None
    assert snap(nothing, scan) is nothing
    everything = region_of(np.ones(scan.geometry.shape, bool))
    assert snap(everything, scan) is everything


def test_snapping_mends_a_mark_that_was_put_beside_by_1_mm_and_reaches_no_further(scan: Volume) -> None:
    truth = np.linalg.norm(points_of_all(scan.geometry), axis=-1) < 5
    mark = rasterise(Point((-1, 0, 0), 10), scan.geometry)
    assert mark is not None
    found = snap(mark, scan).whole(truth.shape)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97
    small = rasterise(Point((-2, 0, 0), 5), scan.geometry)
    assert small is not None
    reach = np.linalg.norm(points_of(snap(small, scan), scan.geometry) - (-2, 0, 0), axis=1).max()
    assert 2.5 < reach <= 2.5 + 2**0.5, "the next voxel, diagonally at most"


@pytest.mark.parametrize("gap_mm", [0, 1])
def test_snapping_keeps_the_middle_of_a_thin_rim_even_with_a_gap(scan: Volume, gap_mm: float) -> None:
    points = points_of_all(scan.geometry)
    radius = np.linalg.norm(points, axis=-1)
    rim = (radius < 5) & (radius >= 4) & ~((np.abs(points[..., 0]) < gap_mm / 2) & (points[..., 2] > 0))
    image = np.where(rim, 180, np.where(radius < 5, 60, scan.array))
    mark = rasterise(Point((0, 0, 0), 12), scan.geometry)
    assert mark is not None
    found = snap(mark, Volume(image, scan.geometry))
    assert found.mask.sum() == pytest.approx((radius < 5).sum(), rel=0.05)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 5.0), (3.0, 3.0, 3.0)])
def test_snapping_on_any_grid(spacing: tuple[float, float, float]) -> None:
    size = tuple(int(60 / s) for s in spacing)
    geometry = Geometry(size, spacing, (-30, -30, -30), IDENTITY)  # type: ignore[arg-type]
    lesion = np.linalg.norm(points_of_all(geometry), axis=-1) < 9
    mark = rasterise(BoxMark((0, 0, 0), (24, 24, 24)), geometry)
    assert mark is not None
    found = snap(mark, Volume(np.where(lesion, 200.0, 100.0), geometry))
    np.testing.assert_array_equal(found.whole(geometry.shape), lesion)


def line(*ends: tuple[float, float]) -> Line:
    (a, b), (c, d) = ends
    return Line(((a, b, 0.0), (c, d, 0.0)))


def test_lines_that_cross_are_one_lesion_wherever_they_do_and_lines_of_neighbours_are_not() -> None:
    long, off_middle = line((-6, 0), (6, 0)), line((4, -2), (4, 3))
    assert crossed([off_middle, long]) == [Line(long.ends_lps, off_middle.ends_lps)]
    small, unsteady = line((-1, 0), (1, 0)), line((0.9, 0.8), (0.7, 3))
    assert crossed([small, unsteady]) == [Line(unsteady.ends_lps, small.ends_lps)]
    apart = [line((-6, 0), (6, 0)), line((2, 1.5), (2, 5)), line((7.5, -5), (7.5, 5))]
    assert len(crossed(apart)) == 3
    point = Point((0, 0, 0), 5)
    assert crossed([off_middle, point, long]) == [point, Line(long.ends_lps, off_middle.ends_lps)]


@pytest.mark.parametrize(
    "lines",
    [
        [line((-8, 0), (0, 0)), line((0.3, 0), (6, 0.4))],  # of two lesions in a row
        [line((-8, 0), (0, 0)), line((0.2, 0), (2.2, 0))],
        [line((-5, 0), (5, 0)), line((-5, -0.4), (4.9, 0.4))],  # drawn again
        [line((-5, 0), (5, 0)), line((-3, -2.9), (3, 2.9))],
    ],
)
def test_a_line_that_goes_along_another_is_none_across_it(lines: list[Line]) -> None:
    """Their lesion would be a needle, and the rest of both look as if somebody had found nothing there."""
    assert sorted(crossed(lines), key=str) == sorted(lines, key=str)


def test_lines_come_as_near_as_their_nearest_points() -> None:
    rng = np.random.default_rng(0)
    joined = 0
    for _ in range(300):
        one, other = (Line(tuple(tuple(p) for p in rng.uniform(-4, 4, (2, 3)).tolist())) for _ in range(2))  # type: ignore[arg-type]
        ways = [np.subtract(*x.ends_lps) for x in (one, other)]
        if abs(ways[0] @ ways[1]) > 0.7 * np.prod([np.linalg.norm(w) for w in ways]):
            continue
        points = [np.linspace(*x.ends_lps, 201) for x in (one, other)]
        gap = np.linalg.norm(points[0][:, None] - points[1], axis=-1).min()
        if abs(gap - 1) > 0.01:
            assert (len(crossed([one, other])) == 1) == (gap < 1)
            joined += gap < 1
    assert joined > 20


@pytest.mark.parametrize("degrees", [0, -45])
def test_each_line_goes_with_the_one_across_it_where_two_lesions_touch(degrees: float) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))

    def turned(*ends: tuple[float, float]) -> Line:
        return line(*((x * c - y * s, x * s + y * c) for x, y in ends))

    first, first_across = turned((-8, 0), (8, 0)), turned((0, -2), (0, 4))
    second, second_across = turned((8.5, -7), (8.5, 7)), turned((6, 1), (11, 1))
    assert crossed([first, second, second_across, first_across]) == [
        Line(first.ends_lps, first_across.ends_lps),
        Line(second.ends_lps, second_across.ends_lps),
    ]


def test_a_region_is_the_same_whole_and_in_its_box() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1:3, 2, 4:6] = True
    region = region_of(mask)
    assert region.mask.shape == (2, 1, 2)
    np.testing.assert_array_equal(region.whole(mask.shape), mask)


def test_what_two_regions_share_is_what_both_have() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        masks = np.zeros((2, 8, 9, 7), bool)
        for mask in masks:
            (k, j, i), (c, b, a) = rng.integers(0, 5, 3), rng.integers(1, 5, 3)
            mask[k : k + c, j : j + b, i : i + a] = True
        masks &= (rng.random(masks.shape) < 0.7) | (masks.sum(axis=(1, 2, 3), keepdims=True) == 1)
        if masks.any(axis=(1, 2, 3)).all():
            one, other = (region_of(mask) for mask in masks)
            assert one.shared(other) == other.shared(one) == (masks[0] & masks[1]).sum()


@given(geometries(), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_longest_diameter_is_the_greatest_width_of_all_its_voxels(geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = region_of(rng.random((3, 4, 5)) < rng.choice([0.1, 0.5]) + np.eye(4, 5)[None])
    way = rng.normal(size=(3, 4000))
    way /= np.linalg.norm(way, axis=0)
    own = np.linalg.norm((geometry.axes * geometry.spacing).T @ way, axis=0)
    widest = (np.ptp(points_of(region, geometry) @ way, axis=0) + own).max()
    assert measure(region, geometry).longest_diameter_mm == pytest.approx(widest, rel=0.005)
