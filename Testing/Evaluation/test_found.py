"""What is counted of inserted lesions, and how it is shown."""

from pathlib import Path

import found_pictures
import numpy as np
import pytest
from backgrounds import AGAIN, AS_STRIPPED, DRAWN, STRIPPED
from found_tables import at_budgets, at_threshold, by_kind, head_less_stripped, markdown, only
from insertion import Inserted
from lopsided_training.froc import CaseResult
from PIL import Image
from searched import AsItIs, Place, Searched

NOISE = np.random.default_rng(0).integers(0, 256, (2, 80, 80), dtype=np.uint8)


def place(confidence: float, lesion: Inserted | None = None, x: float = 0.0) -> Place:
    return Place((x, 0.0, 0.0), confidence, lesion, NOISE)


def scan(name: str, sizes: list[float], found: list[int], false: list[float], kind: str = STRIPPED) -> Searched:
    """Lesions of contrast 3, those ``found`` with confidence 0.8, and false positives as confident as said."""
    lesions = [Inserted((0.0, 0.0, 0.0), size, 3.0, "even") for size in sizes]
    scores = np.array([0.8] * len(found) + false)
    result = CaseResult(name, scores, (*((n,) for n in found), *(() for _ in false)), np.array(sizes))
    lesion_places = [place(float(s), lesion) for s, lesion in zip(result.best(), lesions, strict=True)]
    false_places = [place(f, x=10.0 * n) for n, f in enumerate(false)]
    return Searched(name[0], kind, result, tuple(lesion_places), tuple(false_places))


def test_sensitivity_and_false_positives() -> None:
    """Two of four lesions below the only false positives; at none of these, and at one a scan."""
    scans = [scan("a1", [4, 8], [0], [0.9]), scan("a2", [4, 8], [1], [0.9, 0.7])]
    results = [s.result for s in scans]
    found, false = at_threshold(results, 0.75)
    assert found.value == 0.5
    assert false.value == 1.0
    assert false.low == false.high == 1.0
    assert [e.value for e in at_budgets(results)] == [0.0, 0.5, 0.5, 0.5]


def test_what_hits_a_lesion_of_another_size_is_neither_found_nor_false() -> None:
    small = only([scan("a1", [2.5, 8, 2.5], [0, 1], [0.6])], lambda lesion: lesion.diameter_mm < 3)
    found, false = at_threshold(small, 0.5)
    assert found.value == 0.5
    assert false.value == 1.0


def test_one_scan_has_no_interval_and_differing_scans_have_one() -> None:
    alone = at_threshold([scan("a1", [4], [0], [0.9]).result], 0.5)[0]
    assert (alone.value, alone.low, alone.high) == (1.0, None, None)
    both = [scan("a1", [4], [0], [0.9]).result, scan("a2", [4], [], []).result]
    found = at_threshold(both, 0.5)[0]
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_heads_are_compared_with_the_same_scans_stripped() -> None:
    heads = [scan(f"a{n}", [4, 8], [n % 2], []).result for n in range(6)]
    same = head_less_stripped(heads, heads)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    better = [scan(f"a{n}", [4, 8], [0, 1], []).result for n in range(6)]
    assert head_less_stripped(heads, better).value == -0.5


def test_tables() -> None:
    searched = [scan("a1", [2.5, 8], [1], [0.6]), scan("b2", [4, 12], [0, 1], [])]
    searched += [scan("h3", [5], [0], [], DRAWN), scan("h3", [5], [], [], DRAWN + AS_STRIPPED)]
    thick = STRIPPED + AGAIN + "slices of 5 mm"
    searched.append(scan("a1", [2.5, 8], [1], [], thick))
    assert list(by_kind(searched)) == [STRIPPED, DRAWN, DRAWN + AS_STRIPPED, thick]
    plain = [AsItIs("a", (place(0.9), place(0.8)), 0, (place(0.7),)), AsItIs("free", None, None, ())]
    text = markdown(searched, plain, 0.5, 1, [("a picture", "a.png")])
    assert "on 5 lesions of 2–12 mm, median 5.0 mm" in text
    assert "| skull-stripped | 2 | 4 | 0.75 (0.50–1.00) |" in text
    assert "| 2–3 mm | 1 | 0.00 (0.00–0.00) |" in text
    assert "| 2–3 mm | – | – | – | 0 of 1 |\n| 3–4 mm | – | – | – | – |\n| 4–6 mm | – | – | – | 1 of 1 |" in text
    assert "| ≥ 6 mm | – | – | – | 2 of 2 |" in text
    assert "Of drawn full heads less the same stripped, at 2 FP/scan: +1.00\n" in text
    assert f"**Sensitivity by size and contrast: {thick}**" in text
    assert "Sensitivity by size and contrast: drawn full head, stripped" not in text
    assert "| a | skull-stripped | 1 | 2 | 1 | 1.00 |" in text
    assert "| free | – | – | 0 |" in text
    assert "| a | 2 | 0 | 1 |" in text
    assert "![a picture](a.png)" in text


def test_what_is_false_in_several_scans_is_shown_once() -> None:
    scans = [scan("a1", [], [], [0.6, 0.7]), scan("a2", [], [], [0.9])]
    shown = found_pictures.repeated(scans)
    assert [(r.place.confidence, r.scans) for r in shown] == [(0.9, 2), (0.7, 1)]


def test_pictures_are_small_and_of_every_background(tmp_path: Path) -> None:
    searched = [scan(f"a{n}", [4, 6, 8], [0], [0.9, 0.6]) for n in range(4)]
    searched += [scan("h1", [5], [0], [], DRAWN), scan("h1", [5], [0], [], DRAWN + AS_STRIPPED)]
    files = [
        file for _, file in found_pictures.write(searched, [AsItIs("a", None, None, (place(0.7),))], 0.5, tmp_path)
    ]
    assert files == ["curves.png", "a.png", "h.png", "as_they_are.png"]
    with Image.open(tmp_path / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors()}
    assert {(0x35, 0xB7, 0x79), (0xFF, 0x9F, 0x1C), (0xFF, 0x5A, 0x5F)} <= colours


def test_what_would_be_large_has_fewer_greys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = [scan("a1", [4, 6, 8], [0], [0.9])]
    sizes = []
    for limit in (10**6, 10):
        monkeypatch.setattr(found_pictures, "SMALL", limit)
        found_pictures.write(searched, [], 0.5, tmp_path)
        with Image.open(tmp_path / "a.png") as picture:
            sizes.append((len(picture.convert("RGB").getcolors()), (tmp_path / "a.png").stat().st_size))
            assert picture.convert("RGB").getpixel((picture.width - 1, 0)) == (255, 255, 255)
    assert sizes[1] < sizes[0]
    assert sizes[1][1] < 0.8 * sizes[0][1]


@pytest.mark.parametrize("found", [[0, 1], []])
def test_rows_may_be_empty(found: list[int]) -> None:
    picture = found_pictures.sheet([scan("a1", [4, 8], found, [])], 0.5)
    full = found_pictures.sheet([scan("a1", [4, 8], [0], [0.9])], 0.5)
    assert picture.height < full.height
    assert picture.width == full.width
