"""What a dataset holds, and how many lesions are still missing in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import combinations
from math import exp, log, sqrt
from pathlib import Path
from statistics import median

import numpy as np

from . import store
from .export import read_regions
from .records import DATASET, REVIEWS, CaseRecord, DatasetRecord, ReadingRecord, read_record, seen

SIZES_MM = (0.0, 3.0, 6.0, 10.0, float("inf"))
_Z95 = 1.96


@dataclass(frozen=True)
class Missed:
    """Lesions that neither of two searches found, with a 95 % interval; ``high`` is None where it cannot be told.

    ``first``, ``second``: how many lesions each of the two found. ``both``: how many both did. ``by``: what they are.
    """

    by: str
    cases: int
    first: int
    second: int
    both: int
    missed: float
    low: float
    high: float | None


@dataclass(frozen=True)
class Disagreement:
    """A lesion of one reader that another, who looked, did not call one. Centroid in LPS, mm."""

    case: str
    lesion_of: str
    not_of: str
    why: str
    centroid_lps: tuple[float, float, float]
    longest_diameter_mm: float


@dataclass(frozen=True)
class Stats:
    """Counts over a dataset. Sizes are longest diameters, in the intervals of ``SIZES_MM``."""

    cases: int
    whole_cases: int
    lesions: Counter[tuple[str, str, str]]  # size, kind, reader
    diameters_mm: tuple[float, ...]
    decisions: Counter[tuple[str, str]]  # status, reader
    missed: tuple[Missed, ...]
    disagreements: tuple[Disagreement, ...]

    @property
    def median_mm(self) -> float:
        """Of the diameters; there must be one."""
        return median(self.diameters_mm)

    @property
    def kinds(self) -> list[str]:
        """Of the lesions."""
        return sorted({kind for _, kind, _ in self.lesions})

    @property
    def readers(self) -> list[str]:
        """Who marked or decided."""
        return sorted({reader for *_, reader in [*self.lesions, *self.decisions]})

    def count(self, size: str | None = None, kind: str | None = None, reader: str | None = None) -> int:
        """How many lesions there are of a size, kind and reader; of any, where it is None."""
        wanted = (size, kind, reader)
        return sum(
            n for key, n in self.lesions.items() if all(w in (None, k) for w, k in zip(wanted, key, strict=True))
        )


def capture_recapture(by: str, cases: int, first: int, second: int, both: int) -> Missed:
    """How many lesions two searches missed that found ``first`` and ``second`` of them, ``both`` in common.

    The number of lesions is Chapman's estimate (Univ Calif Publ Stat 1951; 1:131), its variance Seber's (Biometrika
    1970; 57:313), the interval log-normal in the number missed (Chao, Biometrics 1987; 43:783). It takes the two
    searches for independent. Where both miss the same difficult lesions, more are missing than it says.
    """
    missed = (first - both) * (second - both) / (both + 1)
    variance = (first + 1) * (second + 1) * (first - both) * (second - both) / ((both + 1) ** 2 * (both + 2))
    if missed == 0:
        return Missed(by, cases, first, second, both, 0.0, 0.0, None)
    spread = exp(_Z95 * sqrt(log(1 + variance / missed**2)))
    return Missed(by, cases, first, second, both, missed, missed / spread, missed * spread)


def dataset_stats(folder: Path) -> Stats:
    """Counts, the lesions still missed, and where readers disagree; an interrupted export is carried out first.

    Raises:
        InputError: no dataset, or a review or a reading's map that cannot be read.
    """
    store.recover(folder)
    read_record(folder / DATASET, DatasetRecord)
    reviews = [read_record(path, CaseRecord) for path in seen(folder / REVIEWS, "*.json")]
    readings = [reading for review in reviews for reading in review.readings]
    lesions = [(reading, lesion) for reading in readings for lesion in reading.lesions]
    pairs = list(_pairs(folder, reviews))
    return Stats(
        cases=len(reviews),
        whole_cases=sum(any(r.whole_case for r in review.readings) for review in reviews),
        lesions=Counter((size_name(lesion.longest_diameter_mm), lesion.kind, r.reader) for r, lesion in lesions),
        diameters_mm=tuple(sorted(lesion.longest_diameter_mm for _, lesion in lesions)),
        decisions=Counter((s.status, reading.reader) for reading in readings for s in reading.suggestions),
        missed=tuple(_by_model(readings)) + tuple(_by_readers(pairs)),
        disagreements=tuple(d for pair in pairs for d in pair.disagreements()),
    )


def size_name(diameter_mm: float) -> str:
    """The interval that a diameter is in, as ``3–6 mm``."""
    n = int(np.searchsorted(SIZES_MM, diameter_mm, side="right")) - 1
    low, high = SIZES_MM[n], SIZES_MM[n + 1]
    return f"< {high:g} mm" if low == 0 else f"≥ {low:g} mm" if high == float("inf") else f"{low:g}–{high:g} mm"


def _by_model(readings: list[ReadingRecord]) -> Iterable[Missed]:
    """Reader and model as the two searches: what the reader had marked, and what of that and beyond the model found."""
    searched = [reading for reading in readings if reading.model]
    first = second = both = 0
    for reading in searched:
        own = sum(lesion.kind != "suggestion" or lesion.mark is not None for lesion in reading.lesions)
        again = len({lesion.candidate for lesion in reading.lesions if lesion.candidate and lesion.mark})
        known = min(reading.recognised, own - again)
        first += own
        second += known + sum(s.status == "accepted" for s in reading.suggestions)
        both += known + again  # marked, and accepted too
    if searched:
        yield capture_recapture("reader and model", len(searched), first, second, both)


def _by_readers(pairs: list[_Pair]) -> Iterable[Missed]:
    """Each two readers who both looked at whole cases."""
    names = sorted({(pair.a.reader, pair.b.reader) for pair in pairs if pair.a.whole_case and pair.b.whole_case})
    for first, second in names:
        same = [p for p in pairs if (p.a.reader, p.b.reader) == (first, second) and p.a.whole_case and p.b.whole_case]
        # a lesion that one drew in two parts counts once, for both
        both = sum(p.common for p in same)
        found_by_first = sum(p.common + len(p.a.lesions) - len(p.found_by_b) for p in same)
        found_by_second = sum(p.common + len(p.b.lesions) - len(p.found_by_a) for p in same)
        yield capture_recapture(f"readers {first} and {second}", len(same), found_by_first, found_by_second, both)


class _Pair:
    """Two readings of a case. ``found_by_b``: labels of a's lesions that one of b's overlaps; ``found_by_a`` likewise.
    ``common``: how many lesions both have; those that overlap, however many parts either drew them in, are one."""

    def __init__(self, folder: Path, review: CaseRecord, a: ReadingRecord, b: ReadingRecord) -> None:
        self.case, self.a, self.b = review.case, a, b
        self._maps = [read_regions(folder / reading.map, review.grid) for reading in (a, b)]
        lesions = [np.isin(m, [lesion.label for lesion in r.lesions]) for m, r in zip(self._maps, (a, b), strict=True)]
        common = lesions[0] & lesions[1]
        self.found_by_b, self.found_by_a = (set(np.unique(m[common]).tolist()) for m in self._maps)
        overlaps = np.unique(np.stack([m[common] for m in self._maps]), axis=1)
        self.common = _groups([(int(a), int(b)) for a, b in overlaps.T])

    def disagreements(self) -> Iterable[Disagreement]:
        for mine, other, found, n in ((self.a, self.b, self.found_by_b, 0), (self.b, self.a, self.found_by_a, 1)):
            decided = {s.region.label: s.status for s in other.suggestions if s.region}
            for lesion in mine.lesions:
                if lesion.label in found:
                    continue
                here = np.unique(self._maps[1 - n][self._maps[n] == lesion.label]).tolist()
                statuses = {decided[label] for label in here if label in decided}
                why = _why(statuses, other.whole_case)
                if why:
                    size, place = lesion.longest_diameter_mm, lesion.centroid_lps
                    yield Disagreement(self.case, mine.reader, other.reader, why, place, size)


def _groups(overlaps: list[tuple[int, int]]) -> int:
    """How many lesions there are of the pairs, labels of one of a's and one of b's, that overlap."""
    groups: list[set[tuple[str, int]]] = []
    for a, b in overlaps:
        pair = {("a", a), ("b", b)}
        touching = [group for group in groups if group & pair]
        groups = [group for group in groups if not group & pair] + [pair.union(*touching)]
    return len(groups)


def _why(statuses: Set[str], whole_case: bool) -> str:
    """What a reader did with a lesion that they do not have; empty where they may never have seen it.

    ``statuses``: of the suggestions there that they rejected or left uncertain.
    """
    if "rejected" in statuses:
        return "rejected it"
    if "uncertain" in statuses:
        return "left it uncertain"
    return "looked at the whole case and did not mark it" if whole_case else ""


def _pairs(folder: Path, reviews: list[CaseRecord]) -> Iterable[_Pair]:
    for review in reviews:
        for a, b in combinations(sorted(review.readings, key=lambda reading: reading.reader), 2):
            yield _Pair(folder, review, a, b)
