"""Words that are the same everywhere."""

import pytest
from lopsided.wording import counted, percent, place


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
