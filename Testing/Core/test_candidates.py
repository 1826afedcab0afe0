"""From map and annotation to the lesions that are missing, on maps where the answer is known."""

import ast
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.candidates import FLOOR, above, confidence, find_candidates, logit
from lopsided.model import Calibration
from lopsided.regions import measure, region_of
from lopsided.volume import Geometry, Volume, to_sitk
from numpy.testing import assert_allclose
from scipy import ndimage

PLAIN = Calibration(intercept=0, peak=1, slices=0, studies=1, brier=0, calibration_error=0)


def bumps(grid: Geometry, *spots: tuple[tuple[float, float, float], float, float]) -> Volume:
    """A map of round bumps: (LPS centre, radius at half height in mm, peak)."""
    points = grid.physical(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    maps = [peak * 0.5 ** (((points - at) ** 2).sum(-1) / radius**2) for at, radius, peak in spots]
    return Volume(np.maximum.reduce(maps).astype(np.float32), grid)


@pytest.fixture
def grid(geometry: Callable[..., Geometry]) -> Geometry:
    return geometry((60, 64, 56), (1, 1, 1), (0, 0, 0))


def nothing(grid: Geometry) -> np.ndarray:
    return np.zeros(grid.shape, bool)


def test_lesions_are_ranked_and_measured(grid: Geometry) -> None:
    found = find_candidates(bumps(grid, ((45, 40, 8), 3, 0.6), ((20, 20, 20), 4, 0.9)), nothing(grid), PLAIN)
    first, second = found.missed
    assert (first.rank, second.rank) == (1, 2)
    assert_allclose(first.centroid_lps, (20, 20, 20), atol=0.2)
    assert first.peak_kji == (20, 20, 20)
    assert first.longest_diameter_mm == pytest.approx(9, abs=0.5)  # radius 4 around a voxel, that voxel's width too
    assert first.volume_mm3 == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.1)
    assert first.confidence == pytest.approx(0.9, abs=0.01)
    assert first.distance_mm is None
    assert found.annotated == ()


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 2, 3), (3, 1, 0)])
def test_a_voxel_is_as_wide_as_the_ellipsoid_in_it(direction: tuple[int, int, int]) -> None:
    """A cube of 1 mm measures 1 mm; nothing measures more than it is, or more than 0.4 % less."""
    grid = Geometry((31, 31, 31), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    for steps in (0, 10):
        mask = np.zeros(grid.shape, bool)
        mask[0, 0, 0] = mask[tuple(steps * n for n in direction)] = True
        exact = steps * np.linalg.norm(direction) + 1
        assert 0.996 * exact <= measure(region_of(mask), grid).longest_diameter_mm <= exact + 1e-9


def test_of_equally_sure_ones_the_larger_is_first(grid: Geometry) -> None:
    found = find_candidates(bumps(grid, ((45, 40, 8), 3, 1.0), ((20, 20, 20), 5, 1.0)), nothing(grid), PLAIN)
    assert [c.peak_kji for c in found.missed] == [(20, 20, 20), (8, 40, 45)]


def test_measures_are_in_the_patient_whatever_the_grid(oblique: Geometry) -> None:
    centre = oblique.physical((np.array(oblique.shape) - 1) / 2)
    found = find_candidates(bumps(oblique, (tuple(centre), 5, 0.9)), nothing(oblique), PLAIN).missed  # type: ignore[arg-type]
    assert len(found) == 1
    assert_allclose(found[0].centroid_lps, centre, atol=0.3)
    assert found[0].volume_mm3 == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.1)
    assert found[0].longest_diameter_mm == pytest.approx(10.5, abs=1.2)


def test_the_threshold_is_a_filter(grid: Geometry) -> None:
    spots = [((10 + 12 * n, 30, 28), 3, 0.35 + 0.2 * n) for n in range(4)]
    missed = find_candidates(bumps(grid, *spots), nothing(grid), PLAIN).missed
    assert [c.rank for c in missed] == [1, 2, 3, 4]
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.0):
        kept = above(missed, threshold)
        assert [c.rank for c in kept] == [c.rank for c in missed if c.confidence >= threshold]
        assert all(any(k is c for c in missed) for k in kept)


def test_two_lesions_that_meet_are_two(grid: Geometry) -> None:
    two = bumps(grid, ((20, 30, 28), 4, 0.95), ((30, 30, 28), 3, 0.9))
    assert (two.array[28, 30, 18:33] >= FLOOR).all(), "they are one component"
    missed = find_candidates(two, nothing(grid), PLAIN).missed
    assert len(missed) == 2
    assert_allclose(sorted(c.centroid_lps[0] for c in missed), (20, 30), atol=0.8)
    overlap = np.zeros(grid.shape, int)
    for c in missed:
        overlap[c.box] += c.mask
    assert overlap.max() == 1


def test_a_ripple_within_one_lesion_does_not_split_it(grid: Geometry) -> None:
    one = bumps(grid, ((28, 30, 28), 12, 0.95))
    ripple = 1 - 0.2 * (1 + np.sin(np.arange(grid.shape[2]) * 1.5)) / 2
    missed = find_candidates(Volume((one.array * ripple).astype(np.float32), grid), nothing(grid), PLAIN).missed
    assert len(missed) == 1


@pytest.mark.parametrize(("gap", "missed"), [(-4, 0), (0, 0), (1, 0), (2, 1), (12, 1)])
def test_near_an_annotated_lesion_is_that_lesion(grid: Geometry, gap: int, missed: int) -> None:
    found = bumps(grid, ((40, 30, 28), 3.2, 0.9))
    annotated = nothing(grid)
    # the candidate begins at i = 37; gap = distance between nearest voxel centres minus one
    annotated[24:33, 26:35, 20 : 37 - gap] = True
    result = find_candidates(found, annotated, PLAIN)
    assert len(result.missed) == missed
    assert len(result.annotated) == 1 - missed
    if missed:
        assert result.missed[0].distance_mm == pytest.approx(gap + 1)


def test_touching_counts_in_thick_slices_too(geometry: Callable[..., Geometry]) -> None:
    grid = geometry((60, 64, 20), (1, 1, 6), (0, 0, 0))
    found = bumps(grid, ((30, 30, 60), 8, 0.9))
    low = min(c.box[0].start for c in find_candidates(found, nothing(grid), PLAIN).missed)
    annotated = nothing(grid)
    annotated[low - 1, 25:35, 25:35] = True  # the slice beside it, 6 mm away
    assert not find_candidates(found, annotated, PLAIN).missed
    annotated = nothing(grid)
    annotated[low - 2, 25:35, 25:35] = True
    (missed,) = find_candidates(found, annotated, PLAIN).missed
    assert missed.distance_mm == 12


@pytest.mark.parametrize("away", [1, 2])
def test_any_of_the_26_voxels_around_it_touches_and_none_further_away(
    away: int, geometry: Callable[..., Geometry]
) -> None:
    grid = geometry((7, 7, 7), (3, 3, 3), (0, 0, 0))
    found = Volume(nothing(grid).astype(np.float32), grid)
    found.array[3, 3, 3] = 0.9
    for step in product((-away, 0, away), repeat=3):
        if any(step):
            annotated = nothing(grid)
            annotated[tuple(3 + np.array(step))] = True
            assert len(find_candidates(found, annotated, PLAIN).missed) == away - 1


def test_the_hole_of_an_annotated_ring_is_that_lesion(grid: Geometry) -> None:
    points = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    radius = np.linalg.norm(points - (28, 30, 28), axis=-1)
    ring = (radius > 12) & (radius < 15)
    assert not find_candidates(bumps(grid, ((28, 30, 28), 2, 0.9)), ring, PLAIN).missed


def test_a_component_reaching_into_anothers_box(grid: Geometry) -> None:
    """A small bump in the corner of a long diagonal one's box is found as its own."""
    array = np.zeros(grid.shape, np.float32)
    for n in range(30):
        array[10 + n, 10 + n, 10 + n] = 0.8
    array[12, 36, 36] = 0.6
    missed = find_candidates(Volume(array, grid), nothing(grid), PLAIN).missed
    assert sorted(int(c.mask.sum()) for c in missed) == [1, 30]


def test_every_candidate_hangs_together_around_its_peak(grid: Geometry) -> None:
    """In a rough map, where a basin of several summits may have parts that only lower voxels join."""
    noise = sitk.SmoothingRecursiveGaussian(to_sitk(np.random.default_rng(5).normal(size=grid.shape), grid), 1.2)
    rough = sitk.GetArrayFromImage(sitk.RescaleIntensity(noise, 0, 1)).astype(np.float32) ** 2
    found = find_candidates(Volume(rough, grid), nothing(grid), PLAIN).missed
    assert len(found) > 20
    for candidate in found:
        inside = rough[candidate.box][candidate.mask]
        assert inside.max() == candidate.peak_probability
        assert inside.min() >= candidate.peak_probability / 2
        pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(candidate.mask.astype(np.uint8)), True)
        assert sitk.GetArrayViewFromImage(pieces).max() == 1


def candidates_by_definition(p: np.ndarray) -> set[tuple[int, ...]]:
    """The flat indices of each candidate's voxels, its peak first: voxel by voxel, the highest first."""
    steps = [step for step in product((-1, 0, 1), repeat=3) if any(step)]
    top: dict[tuple[int, ...], tuple[int, ...]] = {}  # of what is joined so far
    basin: dict[tuple[int, ...], tuple[int, ...]] = {}

    def summit(voxel: tuple[int, ...]) -> tuple[int, ...]:
        while top[voxel] != voxel:
            voxel = top[voxel]
        return voxel

    for voxel in sorted(map(tuple, np.argwhere(p >= 0.25).tolist()), key=lambda v: -p[v]):
        near = [n for n in (tuple(np.add(voxel, step).tolist()) for step in steps) if n in top]
        basin[voxel] = basin[max(near, key=lambda n: p[n])] if near else voxel
        top[voxel] = basin[voxel]
        for other in sorted((basin[n] for n in near), key=lambda n: -p[n]):
            low, high = sorted((summit(voxel), summit(other)), key=lambda n: p[n])
            if p[low] - p[voxel] < 0.3:
                top[low] = high
    found = set()
    for peak in {summit(voxel) for voxel in top}:
        image = np.zeros(p.shape, np.uint8)
        for voxel in top:
            image[voxel] = summit(voxel) == peak and p[voxel] >= p[peak] / 2
        pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(image), True))
        first = int(np.ravel_multi_index(peak, p.shape))
        found.add((first, *np.flatnonzero(pieces == pieces[peak]).tolist()))
    return found


@pytest.mark.parametrize("seed", [*range(8), 19, 24])
def test_candidates_are_those_of_the_definition_however_the_map_is_stored(
    seed: int, geometry: Callable[..., Geometry]
) -> None:
    """Also where one voxel is the pass between three peaks, as in the last two of these."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=rng.integers(3, 12, 3)), rng.choice([0, 0.6, 1.0]))
    map_ = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32) ** (1 + (seed % 3 == 0))
    number = np.arange(map_.size).reshape(map_.shape)
    expected = candidates_by_definition(map_)
    for order in permutations(range(3)):
        stored, numbers = (np.ascontiguousarray(a.transpose(order)) for a in (map_, number))
        grid = geometry(stored.shape[::-1])
        found = find_candidates(Volume(stored, grid), nothing(grid), PLAIN).missed
        assert {(int(numbers[c.peak_kji]), *sorted(numbers[c.box][c.mask].tolist())) for c in found} == expected


@pytest.mark.parametrize("apart", [60, 100, 140, 180])
def test_a_lesion_in_the_corner_of_the_annotations_box_is_missed(apart: int, geometry: Callable[..., Geometry]) -> None:
    """It is far from both annotated lesions, wherever memory that was freed is used again."""
    wide = geometry((12, apart + 6, apart + 6), (1, 1, 1), (0, 0, 0))
    annotated = nothing(wide)
    annotated[1:4, 1 + apart : 4 + apart, 1:4] = annotated[1 + apart : 4 + apart, 1:4, 1:4] = True
    (missed,) = find_candidates(bumps(wide, ((3, 1, 1), 4, 0.9)), annotated, PLAIN).missed
    assert missed.distance_mm == pytest.approx(apart - 4, abs=4)


def test_no_view_outlives_its_image() -> None:
    """A view does not keep the memory of its image: of what a call returns, it would be of freed memory."""
    root = Path(__file__).parents[2]
    files = [file for folder in ("LopsidedSeg", "training", "Testing") for file in (root / folder).rglob("*.py")]
    views = [
        (file, node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("GetArrayViewFromImage")
    ]
    assert views
    assert [f"{file}:{node.lineno}" for file, node in views if not isinstance(node.args[0], ast.Name)] == []


def test_no_voxel_no_candidate(grid: Geometry) -> None:
    empty = Volume(np.full(grid.shape, FLOOR / 2, np.float32), grid)
    assert find_candidates(empty, nothing(grid), PLAIN).missed == ()
    full = Volume(np.ones(grid.shape, np.float32), grid)
    assert len(find_candidates(full, nothing(grid), PLAIN).missed) == 1


def test_confidence_is_the_documented_formula(grid: Geometry) -> None:
    calibration = PLAIN.model_copy(update={"intercept": -1, "peak": 0.5, "slices": 1.5})
    coronal = replace(grid, spacing=(0.5, 4.0, 0.5))
    expected = 1 / (1 + np.exp(1 - 0.5 * np.log(0.8 / 0.2) - 1.5 * np.log(4)))
    assert confidence(0.8, coronal, calibration) == pytest.approx(expected)
    assert 0 < confidence(0.0, grid, calibration) < confidence(1.0, grid, calibration) < 1
    assert (logit(0.0), logit(1.0)) == (-12, 12)
    steep = PLAIN.model_copy(update={"peak": 3})
    assert confidence(0.998, grid, steep) < confidence(0.999, grid, steep), "what measures models has no ties"


def test_a_candidate_in_thick_slices_has_the_confidence_of_thick_slices(grid: Geometry) -> None:
    calibration = PLAIN.model_copy(update={"slices": 1.0})
    thick = replace(grid, spacing=(1.0, 1.0, 4.0))
    probability = bumps(grid, ((20, 20, 20), 3, 0.7))
    [candidate] = find_candidates(Volume(probability.array, thick), nothing(grid), calibration).missed
    assert candidate.confidence == pytest.approx(
        1 / (1 + np.exp(-logit(candidate.peak_probability) - np.log(4))), abs=1e-4
    )


def test_confidence_has_all_its_digits(grid: Geometry) -> None:
    """A default threshold lies just above a false candidate of the calibration: rounded, that would be listed half of the time."""
    found = find_candidates(bumps(grid, ((20, 20, 20), 3, 0.80004), ((45, 40, 30), 4, 0.80003)), nothing(grid), PLAIN)
    assert [c.confidence for c in found.missed] == [confidence(c.peak_probability, grid, PLAIN) for c in found.missed]
    assert [c.peak_kji for c in above(found.missed, 0.800035)] == [(20, 20, 20)]


@pytest.mark.parametrize("side", [0.4, 0.5, 2 / 3, 1.0, 2.0])
@pytest.mark.parametrize("rounding", [-1e-7, -1e-16, 0, 1e-16, 1e-7])
def test_what_is_the_margin_away_is_the_lesion(side: float, rounding: float, geometry: Callable[..., Geometry]) -> None:
    """Whatever the last digit of a header is."""
    grid = geometry((30, 30, 30), (side * (1 + rounding),) * 3, (0, 0, 0))
    map_, annotated = np.zeros(grid.shape, np.float32), nothing(grid)
    map_[10, 10, 10 + round(2.0 / side)] = 0.9
    annotated[10, 10, 10] = True
    assert not find_candidates(Volume(map_, grid), annotated, PLAIN, margin_mm=2.0).missed


def test_grids_that_differ_are_refused(grid: Geometry) -> None:
    with pytest.raises(ValueError, match="different grids"):
        find_candidates(bumps(grid, ((20, 20, 20), 4, 0.9)), np.zeros((3, 3, 3), bool), PLAIN)
