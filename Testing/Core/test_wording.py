"""Words that are the same everywhere."""

from math import inf

import pytest
from lopsided.wording import counted, expected, percent, place, typed


@pytest.mark.parametrize(
    ("confidence", "text"),
    [(0, "< 1 %"), (0.0099, "< 1 %"), (0.01, "1 %"), (0.417, "42 %"), (0.99, "99 %"), (0.998, "> 99 %"), (1, "> 99 %")],
)
def test_no_confidence_is_certain(confidence: float, text: str) -> None:
    assert percent(confidence) == text


def test_one_is_not_many() -> None:
    assert [counted(n, "case") for n in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert [counted(n, "study") for n in (0, 1, 2)] == ["0 studies", "1 study", "2 studies"]


def test_a_place_is_read_in_slicers_axes() -> None:
    assert place((12.4, -40.0, 7.26)) == "RAS -12, 40, 7 mm"
    assert place((0.0, -0.04, 7.26), 1) == "RAS 0.0, 0.0, 7.3 mm"


@pytest.mark.parametrize(
    ("threshold", "numbers"),
    [(0, (8, inf)), (0.1, (2, 8)), (0.10494580543576039, (2, 2)), (0.2, (0.5, 2)), (0.3, (0.5, 0.5)), (1, (0, 0.5))],
)
def test_between_two_measurements_either_may_be(threshold: float, numbers: tuple[float, float]) -> None:
    assert expected({0.02: 8.0, 0.10494580543576039: 2.0, 0.3: 0.5}, threshold) == numbers


@pytest.mark.parametrize("confidence", [0.026486244048232337, 0.10494580543576039, 0.3042, 0.99999, 0.0, 1.0])
def test_a_threshold_as_it_is_printed_lets_no_more_through_and_means_the_same(confidence: float) -> None:
    again = float(typed(confidence))
    assert confidence <= again < confidence + 1e-4
    assert expected({0.0: 9.0, confidence: 2.0, 1.0: 2.0}, again) == (2, 2)
    assert expected({confidence: 2.0, confidence + 2e-5: 1.0}, again + 2e-5) == (1, 1), "of near ones, the stricter"
