"""Which candidate hits which lesion, and extents: by hand, against MONAI and against panoptica."""

import warnings
from typing import Any

import numpy as np
import pytest
from lopsided.regions import Region, region_of
from lopsided_training.froc import FALSE_POSITIVES, CaseResult, froc, froc_mean
from lopsided_training.matching import IOU, dice, hits, lesion_wise_dice, lesions_of, overlaps
from scipy import ndimage

with warnings.catch_warnings():  # of what they import
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    from monai.metrics import compute_froc_curve_data, compute_froc_score
    from monai.metrics.froc import compute_fp_tp_probs_nd

CELL = 12


def volume(*boxes: tuple[slice, slice, slice], shape: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


def cube(k: int, j: int, i: int, side: int = 3) -> tuple[slice, slice, slice]:
    return slice(k, k + side), slice(j, j + side), slice(i, i + side)


def voxel(k: int, j: int, i: int) -> Region:
    return region_of(volume(cube(k, j, i, 1)))


def test_lesions_are_26_connected() -> None:
    numbered, lesions = lesions_of(volume(cube(2, 2, 2), cube(5, 5, 5), cube(12, 12, 12)))
    assert [int(lesion.mask.sum()) for lesion in lesions] == [54, 27]
    assert numbered.max() == 2
    assert lesions_of(volume())[1] == []


def test_a_lesion_is_hit_from_one_voxel_away() -> None:
    numbered, _ = lesions_of(volume(cube(5, 5, 5)))
    assert hits(voxel(6, 6, 6), numbered) == (0,)
    assert hits(voxel(8, 8, 8), numbered) == (0,), "a corner away"
    assert hits(voxel(9, 6, 6), numbered) == ()


def test_a_candidate_between_two_lesions_hits_both() -> None:
    numbered, _ = lesions_of(volume(cube(5, 5, 5), cube(5, 5, 9)))
    assert hits(voxel(6, 6, 8), numbered) == (0, 1)


def test_candidates_at_the_border() -> None:
    numbered, _ = lesions_of(volume(cube(0, 0, 0), cube(17, 17, 17)))
    assert hits(voxel(0, 0, 3), numbered) == (0,)
    assert hits(voxel(19, 19, 16), numbered) == (1,)
    assert hits(voxel(0, 0, 19), numbered) == ()


def test_intersection_over_union_by_hand() -> None:
    numbered, lesions = lesions_of(volume(cube(5, 5, 5), cube(5, 5, 10)))
    voxels = np.array([int(lesion.mask.sum()) for lesion in lesions])
    wide = region_of(volume((slice(5, 8), slice(5, 8), slice(6, 11))))  # 45 voxels, 18 and 9 of them shared
    assert overlaps(wide, numbered, voxels) == pytest.approx({0: 18 / 54, 1: 9 / 63})
    assert overlaps(voxel(4, 4, 4), numbered, voxels) == {}


def test_dice_by_hand() -> None:
    assert dice(volume(cube(5, 5, 5)), volume(cube(5, 5, 6))) == pytest.approx(2 * 18 / 54)
    assert dice(volume(cube(5, 5, 5)), volume()) == 0
    assert np.isnan(dice(volume(), volume()))


def test_lesion_wise_dice_by_hand() -> None:
    """Found by two thirds, missed, and one false: (2/3 + 0) / (2 + 1)."""
    truth = volume(cube(2, 2, 2), cube(12, 12, 12))
    assert lesion_wise_dice(truth, volume(cube(2, 2, 3), cube(2, 12, 2)), 1.0) == pytest.approx(2 / 9)
    assert lesion_wise_dice(truth, truth, 1.0) == 1
    assert lesion_wise_dice(truth, volume(), 1.0) == 0
    assert lesion_wise_dice(volume(), truth, 1.0) == 0
    assert np.isnan(lesion_wise_dice(volume(), volume(), 1.0))


def test_lesion_wise_dice_joins_what_dilation_joins() -> None:
    """Two lesions with two voxels between are one: found whole in one of two halves, the Dice is 2/3."""
    truth = volume(cube(5, 5, 5), cube(5, 5, 10))
    assert lesion_wise_dice(truth, volume(cube(5, 5, 5)), 1.0) == pytest.approx(2 / 3)
    apart = volume(cube(5, 5, 5), cube(5, 5, 11))
    assert lesion_wise_dice(apart, volume(cube(5, 5, 5)), 1.0) == pytest.approx(1 / 2)


def test_lesion_wise_dice_matches_what_touches_the_dilated_lesion() -> None:
    """Next to the lesion, at an edge too: matched, not false, and its Dice 0. At a corner or a voxel further: false as well."""
    truth = volume(cube(5, 5, 5), cube(12, 12, 12))
    with_true = (truth, volume(cube(12, 12, 12), cube(5, 5, 8)))
    assert lesion_wise_dice(*with_true, 1.0) == pytest.approx(1 / 2)
    assert lesion_wise_dice(truth, volume(cube(12, 12, 12), cube(5, 8, 8)), 1.0) == pytest.approx(1 / 2)
    for place in (cube(5, 5, 9), cube(8, 8, 8, 1)):
        assert lesion_wise_dice(truth, volume(cube(12, 12, 12), place), 1.0) == pytest.approx(1 / 3)


def test_lesion_wise_dice_knows_a_lesion_in_the_bay_of_another() -> None:
    """A plate with a wall on two sides, and a lesion in the corner between: each is found by itself."""
    bent = (slice(2, 4), slice(2, 18), slice(2, 18)), (slice(2, 18), slice(2, 4), slice(2, 18))
    truth = volume(*bent, cube(12, 12, 12))
    assert lesion_wise_dice(truth, volume(*bent), 1.0) == pytest.approx(1 / 2)
    assert lesion_wise_dice(truth, volume(cube(12, 12, 12)), 1.0) == pytest.approx(1 / 2)


def test_lesion_wise_dice_leaves_the_smallest_out() -> None:
    """Of two voxels of 1 mm³: not counted, and what touches it is not false. Of 2 mm³ each they count."""
    tiny = volume((slice(5, 6), slice(5, 6), slice(5, 7)))
    both = tiny | volume(cube(12, 12, 12))
    assert lesion_wise_dice(both, volume(cube(12, 12, 12)), 1.0) == 1
    assert lesion_wise_dice(both, both, 1.0) == 1
    assert lesion_wise_dice(both, volume(cube(12, 12, 12)), 2.0) == pytest.approx(1 / 2)
    assert np.isnan(lesion_wise_dice(tiny, volume(), 1.0))


def random_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lesions, each in a cell of its own; found parts that overlap theirs well or badly; missed ones; false ones."""
    shape = tuple(CELL * n for n in (3, 4, 4))
    truth, found = np.zeros(shape, bool), np.zeros(shape, bool)
    for corner in np.ndindex(3, 4, 4):
        low = np.array(corner) * CELL + 3
        kind = rng.choice(["found", "missed", "false", "empty"], p=[0.4, 0.2, 0.2, 0.2])
        size = rng.integers(2, 6, 3)
        box = tuple(slice(int(a), int(a + n)) for a, n in zip(low, size, strict=True))
        if kind in ("found", "missed"):
            truth[box] = True
        if kind == "false":
            found[box] = True
        if kind == "found":  # shares its first corner or more, and stays within the cell
            moved = rng.integers(0, size)
            grown = tuple(
                slice(int(a + m), int(a + m + n)) for a, m, n in zip(low, moved, rng.integers(1, 5, 3), strict=True)
            )
            found[grown] = True
    return truth, found


def panoptica_result(truth: np.ndarray, found: np.ndarray, least_iou: float) -> Any:
    """Skips where panoptica is not installed: it asks for an older numpy than the rest."""
    with warnings.catch_warnings():  # of what it imports
        warnings.simplefilter("ignore")
        panoptica = pytest.importorskip("panoptica", reason="panoptica is not installed (pip install panoptica)")
        from panoptica.instance_approximator import ConnectedComponentsInstanceApproximator
        from panoptica.metrics import Metric
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(matching_metric=Metric.IOU, matching_threshold=least_iou),
        instance_metrics=[Metric.DSC],
        global_metrics=[Metric.DSC],
    )
    return evaluator.evaluate(found.astype(np.uint8), truth.astype(np.uint8))["ungrouped"]


def test_counts_by_iou_are_panopticas() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        truth, found = random_scene(rng)
        numbered, lesions = lesions_of(truth)
        voxels = np.array([int(lesion.mask.sum()) for lesion in lesions])
        pairs = [overlaps(c, numbered, voxels) for c in lesions_of(found)[1]]
        hit = [{n for n, value in p.items() if value >= IOU} for p in pairs]
        theirs = panoptica_result(truth, found, IOU)
        assert 0 < theirs.tp < len([p for p in pairs if p]), "some overlap too little"
        ours = (len(set().union(*hit)), sum(not h for h in hit), len(lesions) - len(set().union(*hit)))
        assert ours == (theirs.tp, theirs.fp, theirs.fn)


def test_extents_are_panopticas() -> None:
    """Every lesion is larger than 2 mm³ and far from the others, and what touches one overlaps it."""
    rng = np.random.default_rng(1)
    for _ in range(6):
        truth, found = random_scene(rng)
        theirs = panoptica_result(truth, found, 1e-9)
        assert theirs.tp
        assert dice(truth, found) == pytest.approx(theirs.global_bin_dsc)
        counted = theirs.tp + theirs.fp + theirs.fn
        assert lesion_wise_dice(truth, found, 1.0) == pytest.approx(theirs.sq_dsc * theirs.tp / counted)


def test_hits_and_froc_are_monais() -> None:
    """Candidates of one voxel: MONAI asks whether each lies in a lesion of its mask, which is the dilated one here."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        results, false, best = [], [], []
        for case in range(8):
            truth, _ = random_scene(rng)
            numbered, lesions = lesions_of(truth)
            wide = ndimage.grey_dilation(numbered, size=(3, 3, 3))
            near = np.argwhere(wide)[rng.integers(0, (wide > 0).sum(), 6)]
            places = np.concatenate([near, rng.integers(0, truth.shape, (10, 3))])
            scores = rng.permutation(2**14)[: len(places)] / 2**14  # distinct, and exact in MONAI's float32
            scores += (case + 1) / 2**18
            found = [Region(tuple(slice(int(n), int(n) + 1) for n in p), np.ones((1, 1, 1), bool)) for p in places]  # type: ignore[arg-type]
            fp, tp, number = compute_fp_tp_probs_nd(scores, places, wide)
            assert number == len(lesions)
            false.append(fp.astype(np.float32))
            best.append(tp)
            diameters = np.full(len(lesions), 5.0)
            results.append(CaseResult(str(case), scores, tuple(hits(c, numbered) for c in found), diameters))
        curve = compute_froc_curve_data(np.concatenate(false), np.concatenate(best), sum(map(len, best)), 8)
        assert froc_mean(results) == pytest.approx(compute_froc_score(*curve, FALSE_POSITIVES))
        ours = froc(results)
        pairs = {(round(float(a), 6), round(float(b), 6)) for a, b in zip(*curve, strict=True)}
        assert pairs == {
            (round(float(a), 6), round(float(b), 6))
            for a, b in zip(ours.false_positives, ours.sensitivity, strict=True)
        }
