"""Lesion-wise numbers: by hand, against plain loops, and against MONAI, scikit-learn and torchmetrics."""

import warnings

import numpy as np
import pytest
import torch
from lopsided_training.calibration import brier_score, calibration_error, reliability
from lopsided_training.froc import (
    ANY_SIZE,
    FALSE_POSITIVES,
    CaseResult,
    Size,
    average_precisions,
    counts_at,
    froc,
    froc_mean,
    interval,
    patient_weights,
    precision_recall,
    ratio,
    sensitivities,
    threshold_at,
)
from sklearn.metrics import average_precision_score, brier_score_loss

with warnings.catch_warnings():  # of what MONAI imports
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    from monai.metrics import compute_froc_curve_data, compute_froc_score


def sensitivity(results: list[CaseResult], threshold: float, size_mm: Size = ANY_SIZE) -> float:
    """By counting."""
    counts = counts_at(results, threshold, size_mm)
    return float(ratio(counts.found.sum(), counts.lesions.sum()))


def false_positives(results: list[CaseResult], threshold: float) -> float:
    return float(counts_at(results, threshold).false.mean())


@pytest.fixture
def two() -> list[CaseResult]:
    """Two scans, three lesions; candidates hit lesion 0, nothing, lesion 1 / nothing, lesion 0."""
    one = CaseResult("a", np.array([0.9, 0.8, 0.3]), ((0,), (), (1,)), np.array([8.0, 2.5]))
    other = CaseResult("b", np.array([0.7, 0.6]), ((), (0,)), np.array([4.0]))
    return [one, other]


def random_results(
    seed: int, cases: int = 8, *, levels: int = 10**6, several: bool = True, patients: int | None = None
) -> list[CaseResult]:
    """Candidates at random; few ``levels`` give equal scores, and ``several`` candidates that share lesions."""
    rng = np.random.default_rng(seed)
    results = []
    for n in range(cases):
        lesions = int(rng.integers(0, 7))
        hits: list[tuple[int, ...]] = [() for _ in range(int(rng.integers(2, 9)))]
        found = rng.permutation(lesions)[: lesions // 2 + 1]
        hits += [(int(x),) for x in found]
        if several and lesions > 1:
            hits += [(0, 1), (int(found[0]),)]
        scores = rng.integers(1, levels, len(hits)) / levels
        patient = f"p{n % patients}" if patients else ""
        results.append(CaseResult(str(n), scores, tuple(hits), rng.uniform(1, 15, lesions), patient))
    return results


def test_numbers_by_hand(two: list[CaseResult]) -> None:
    assert sensitivity(two, 0.0) == 1
    assert sensitivity(two, 0.5) == pytest.approx(2 / 3)
    assert sensitivity(two, 0.5, (0, 3)) == 0
    assert false_positives(two, 0.75) == 0.5
    assert false_positives(two, 0.0) == 1
    assert threshold_at(two, 1.0) == -np.inf
    assert 0.7 < threshold_at(two, 0.5) < 0.7 + 1e-9
    assert threshold_at(two, 0.0) > 0.8
    # at 0.5, 0.7 is the second false positive, so 0.6 is too low
    assert sensitivities(two, (0.0, 0.5, 1.0))[0] == pytest.approx([1 / 3, 1 / 3, 1])
    assert sensitivities(two, (1.0,), (0, 3))[0, 0] == 1
    assert froc_mean(two) == pytest.approx((3 * 1 / 3 + 4 * 1) / 7)
    counts = counts_at(two, 0.5)
    assert [counts.found.tolist(), counts.lesions.tolist()] == [[1, 1], [2, 1]]
    assert [counts.true.tolist(), counts.false.tolist()] == [[1, 1], [1, 1]]


def test_the_curve_by_hand(two: list[CaseResult]) -> None:
    curve = froc(two)
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.3]
    assert curve.false_positives.tolist() == [0, 0, 0.5, 1, 1, 1]
    assert curve.sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 1])


def test_precision_and_recall_by_hand(two: list[CaseResult]) -> None:
    curve = precision_recall(two)
    assert curve.precision == pytest.approx([1, 1 / 2, 1 / 3, 2 / 4, 3 / 5])
    assert curve.recall == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 1])
    assert average_precisions(two)[0] == pytest.approx((1 + 1 / 2 + 3 / 5) / 3)


def test_precision_and_recall_are_those_of_counting() -> None:
    """Also where candidates score alike."""
    for seed in range(3):
        results = random_results(seed, levels=8)
        curve = precision_recall(results)
        assert curve.thresholds.tolist() == sorted({s for r in results for s in r.scores.tolist()}, reverse=True)
        for threshold, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
            counts = counts_at(results, threshold)
            assert precision == pytest.approx(counts.true.sum() / (counts.true + counts.false).sum())
            assert recall == pytest.approx(sensitivity(results, threshold))


def test_a_lesion_is_of_one_size_alone() -> None:
    """One of 6 mm is not below 6 mm."""
    result = [CaseResult("a", np.array([0.9]), ((0,),), np.array([6.0, 4.0]))]
    assert [counts_at(result, 0, size).lesions.tolist() for size in ((3, 6), (6, 10))] == [[1], [1]]
    assert [sensitivity(result, 0, size) for size in ((3, 6), (6, 10))] == [0, 1]
    assert [froc_mean(result, size) for size in ((3, 6), (6, 10))] == [0, 1]


def test_a_second_candidate_on_a_lesion_is_not_false() -> None:
    result = [CaseResult("a", np.array([0.9, 0.8]), ((0,), (0,)), np.array([5.0]))]
    assert false_positives(result, 0) == 0
    assert average_precisions(result)[0] == 1
    assert sensitivity(result, 0.85) == 1


def test_scores_need_not_be_probabilities(two: list[CaseResult]) -> None:
    logits = [CaseResult(r.name, np.log(r.scores / (1 - r.scores)), r.hits, r.diameters) for r in two]
    assert np.array_equal(sensitivities(logits), sensitivities(two))
    assert average_precisions(logits)[0] == average_precisions(two)[0]


@pytest.mark.parametrize("levels", [8, 10**6])
def test_thresholds_and_curve_agree(levels: int) -> None:
    """At the threshold for a budget, counting gives the sensitivity at that budget, and no more false positives."""
    for seed in range(6):
        results = random_results(seed, levels=levels)
        for budget in (0.0, *FALSE_POSITIVES):
            threshold = threshold_at(results, budget)
            assert false_positives(results, threshold) <= budget
            at_budget = sensitivities(results, (budget,), (3, 9))[0, 0]
            assert at_budget == pytest.approx(sensitivity(results, threshold, (3, 9)))
        curve = froc(results)
        for threshold, rate, part in zip(curve.thresholds, curve.false_positives, curve.sensitivity, strict=True):
            assert rate == false_positives(results, threshold)
            assert part == pytest.approx(sensitivity(results, threshold))


@pytest.mark.parametrize("levels", [8, 10**6])
def test_a_weighted_case_is_a_case_that_is_there_so_often(levels: int) -> None:
    for seed in range(10):
        results = random_results(seed, cases=6, levels=levels, patients=4)
        weights = patient_weights(results, seed=seed)[:6]
        drawn, precisions = (
            sensitivities(results, size_mm=(0, 8), weights=weights),
            average_precisions(results, weights),
        )
        for row, expected, precision in zip(weights, drawn, precisions, strict=True):
            repeated = [r for r, n in zip(results, row, strict=True) for _ in range(n)]
            assert expected == pytest.approx(sensitivities(repeated, size_mm=(0, 8))[0], nan_ok=True)
            by_counting = [sensitivity(repeated, threshold_at(repeated, b), (0, 8)) for b in FALSE_POSITIVES]
            assert expected == pytest.approx(by_counting, nan_ok=True)
            assert precision == pytest.approx(average_precisions(repeated)[0], nan_ok=True)


def test_many_resamples_are_the_same_as_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    results = random_results(3)
    weights = patient_weights(results, seed=2)
    at_once, precisions = sensitivities(results, weights=weights), average_precisions(results, weights)
    monkeypatch.setattr("lopsided_training.froc._BLOCK", 200)
    assert np.array_equal(sensitivities(results, weights=weights), at_once)
    assert np.array_equal(average_precisions(results, weights), precisions)


def test_false_positives_that_one_patient_has_alone() -> None:
    """Where that one is not drawn, everything that was found counts, however low it scores."""
    rng = np.random.default_rng(0)
    crowded = CaseResult("a", 0.5 + 0.5 * rng.random(500), ((),) * 500, np.zeros(0))
    others = [CaseResult(n, np.array([0.1]), ((0,),), np.array([5.0])) for n in "bcd"]
    drawn = sensitivities([crowded, *others], weights=np.array([[0, 2, 1, 1], [1, 1, 1, 1]]))
    assert (drawn[0] == 1).all()
    assert (drawn[1] == 0).all()
    others[0] = CaseResult("b", np.array([0.95, 0.1]), ((), (0,)), np.array([5.0]))
    drawn = sensitivities([crowded, *others], weights=np.array([[0, 2, 1, 1]]))
    assert drawn[0].tolist() == [0, 0, 1, 1, 1, 1, 1], "a false one that counts twice in four scans"


def test_patients_are_drawn_not_cases() -> None:
    results = random_results(1, cases=9, patients=3)
    weights = patient_weights(results, seed=7)
    assert np.array_equal(weights, patient_weights(results, seed=7))
    assert not np.array_equal(weights, patient_weights(results, seed=8))
    assert weights.shape == (2001, 9)
    assert (weights[0] == 1).all(), "the cases as they are"
    assert (weights[:, :3] == weights[:, 3:6]).all()
    assert (weights.sum(axis=1) == 9).all()
    assert (weights[1:, 0] == 0).mean() == pytest.approx((2 / 3) ** 3, abs=0.07)
    assert patient_weights(results[::3]).tolist() == [[1, 1, 1]], "of one nothing varies"


def test_an_interval_is_that_of_a_proportion() -> None:
    """A hundred patients with a lesion each, 70 of them found: the binomial's standard error is 0.046."""
    results = [
        CaseResult(str(n), np.array([0.9]) if n < 70 else np.zeros(0), ((0,),) if n < 70 else (), np.array([5.0]))
        for n in range(100)
    ]
    values = sensitivities(results, weights=patient_weights(results)).mean(axis=1)
    low, high = interval(values)
    assert values[0] == pytest.approx(0.7)
    assert float(low) == pytest.approx(0.7 - 1.96 * 0.0458, abs=0.015)
    assert float(high) == pytest.approx(0.7 + 1.96 * 0.0458, abs=0.015)


def test_what_is_not_defined_is_not_a_number() -> None:
    """No lesion anywhere, nothing found, one patient, no lesion of a size."""
    empty = [CaseResult(n, np.array([0.5]), ((),), np.zeros(0)) for n in "ab"]
    assert np.isnan(average_precisions(empty)[0])
    undefined = sensitivities(empty, weights=patient_weights(empty))
    assert np.isnan(undefined).all()
    assert np.isnan(interval(undefined)).all()
    assert false_positives(empty, 0.2) == 1
    nothing = [CaseResult(n, np.zeros(0), (), np.array([4.0])) for n in "ab"]
    assert froc_mean(nothing) == 0
    assert average_precisions(nothing)[0] == 0
    assert threshold_at(nothing, 0) == -np.inf
    assert np.isnan(froc_mean(nothing, (6, 10)))
    assert froc(nothing).sensitivity.tolist() == [0]
    assert np.isnan(brier_score(nothing))
    assert np.isnan(calibration_error(nothing))
    one = [CaseResult("a", np.array([0.5]), ((0,),), np.array([4.0]))]
    assert froc_mean(one) == 1
    assert np.isnan(interval(sensitivities(one, weights=patient_weights(one)))).all()


def test_undefined_resamples_are_left_out_of_an_interval() -> None:
    as_they_are = [0.7, 0.7]
    low, high = interval(np.array([as_they_are, [0.0, np.nan], [1.0, np.nan], [np.nan, np.nan]]))
    assert (low[0], high[0]) == pytest.approx((0.025, 0.975))
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize(
    ("scores", "hits", "words"),
    [([np.nan], ((),), "finite score"), ([0.5], (), "finite score"), ([0.5], ((1,),), "lesion 1 is hit")],
)
def test_results_that_do_not_fit_are_refused(scores: list[float], hits: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CaseResult("a", np.array(scores), hits, np.array([5.0]))


def monai_curve(results: list[CaseResult]) -> tuple[np.ndarray, np.ndarray]:
    """MONAI wants false positives' scores, and each lesion's best, 0 where it was missed."""
    false = np.array([s for r in results for s, hits in zip(r.scores, r.hits, strict=True) if not hits])
    best = np.concatenate([np.maximum(r.best(), 0) for r in results])
    assert (best == 0).any(), "else MONAI leaves the loosest threshold out"
    return compute_froc_curve_data(false, best, len(best), len(results))


@pytest.mark.parametrize("levels", [8, 10**6])
def test_the_curve_is_monais(levels: int) -> None:
    for seed in range(10):
        results = random_results(seed, levels=levels)
        rates, parts = monai_curve(results)
        curve = froc(results)
        theirs = {(round(float(r), 9), round(float(s), 9)) for r, s in zip(rates, parts, strict=True)}
        ours = zip(curve.false_positives, curve.sensitivity, strict=True)
        assert {(round(float(r), 9), round(float(s), 9)) for r, s in ours} == theirs


def test_the_froc_mean_is_monais_score() -> None:
    """Eight scans and distinct scores: each budget is a point of the curve, so that nothing is interpolated."""
    for seed in range(10):
        results = random_results(seed, several=False)
        assert len({s for r in results for s in r.scores}) == sum(len(r.scores) for r in results)
        assert froc_mean(results) == pytest.approx(compute_froc_score(*monai_curve(results), FALSE_POSITIVES))


def test_average_precision_is_scikit_learns() -> None:
    """Theirs is of candidates alone; ours counts lesions without a candidate as not recalled."""
    for seed in range(10):
        results = random_results(seed, levels=20, several=False)
        scores = np.concatenate([r.scores for r in results])
        true = np.array([bool(h) for r in results for h in r.hits])
        lesions = sum(len(r.diameters) for r in results)
        expected = average_precision_score(true, scores) * true.sum() / lesions
        assert average_precisions(results)[0] == pytest.approx(expected)


def test_calibration_is_scikit_learns_and_torchmetrics() -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    for seed in range(5):
        results = random_results(seed)
        scores = np.concatenate([r.scores for r in results])
        true = np.array([bool(h) for r in results for h in r.hits])
        assert brier_score(results) == pytest.approx(brier_score_loss(true, scores))
        theirs = binary_calibration_error(torch.tensor(scores), torch.tensor(true).int(), n_bins=10, norm="l1")
        assert calibration_error(results) == pytest.approx(float(theirs), abs=1e-6)
        bins = reliability(results)
        assert sum(b.candidates for b in bins) == len(scores)
        assert all(b.low <= b.mean_score <= b.high for b in bins)


def test_the_surest_and_the_least_sure_are_in_the_outermost_bins() -> None:
    results = [CaseResult("a", np.array([0.0, 1.0, 1.0, 0.9]), ((), (0,), (), (0,)), np.array([5.0]))]
    assert [(b.low, b.high, b.candidates) for b in reliability(results)] == [(0.0, 0.1, 1), (0.9, 1.0, 3)]
    assert calibration_error(results) == pytest.approx(3 / 4 * (2.9 / 3 - 2 / 3))
