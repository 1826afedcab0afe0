"""``report.html`` of an evaluation: one self-contained page with the numbers, the curves and the worst errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lopsided.pages import page
from lopsided.pictures import Outlined, Pictures, View
from lopsided.regions import Region, Size
from markupsafe import Markup

from .evaluation import Evaluation
from .examine import Examined
from .figures import BUDGETS, froc_figure, precision_figure, reliability_figure, size_figure

WORST = 6  # misses and false positives that are shown


@dataclass(frozen=True)
class Mistake:
    """A missed lesion or a false positive: of which case (its place among all), what of it, and in words."""

    case: int
    region: Region
    size: Size
    words: str


def write_report(evaluation: Evaluation, examined: list[Examined], path: Path) -> None:
    """Write the page; the images of the worst errors are read again.

    Raises:
        OSError: it cannot be written.
    """
    misses, false = worst_misses(evaluation, examined), worst_false_positives(evaluation, examined)
    views = _views(evaluation, examined, [*misses, *false])
    curves = {
        "overlap with the dilated lesion": evaluation.results(),
        "IoU ≥ 0.1": evaluation.results(iou=True),
    }
    text = page(
        "report.html.j2",
        "lopsided_training",
        evaluation=evaluation,
        figures=[
            Markup(froc_figure(curves, bands=1, seed=evaluation.seed)),
            Markup(size_figure(evaluation)),
            Markup(precision_figure(evaluation)),
            Markup(reliability_figure(evaluation)),
        ],
        budgets=BUDGETS,
        misses=list(zip(misses, views[: len(misses)], strict=True)),
        false_positives=list(zip(false, views[len(misses) :], strict=True)),
    )
    path.write_text(text, encoding="utf-8")


def worst_misses(evaluation: Evaluation, examined: list[Examined]) -> list[Mistake]:
    """The largest lesions that no candidate of the default threshold hits."""
    found = []
    for n, (case, result) in enumerate(zip(examined, evaluation.results(), strict=True)):
        for lesion, best in zip(case.lesions, result.best(), strict=True):
            if best < evaluation.threshold:
                most = f"best candidate scores {best:.2f}" if np.isfinite(best) else "no candidate"
                words = f"{lesion.diameter_mm:.1f} mm, {most}"
                found.append((lesion.diameter_mm, Mistake(n, lesion.region, lesion.size, words)))
    return [mistake for _, mistake in sorted(found, key=lambda pair: -pair[0])[:WORST]]


def worst_false_positives(evaluation: Evaluation, examined: list[Examined]) -> list[Mistake]:
    """The candidates of the highest scores, of the default threshold and above, that hit no lesion."""
    found = []
    for n, (case, result) in enumerate(zip(examined, evaluation.results(), strict=True)):
        for candidate, score in zip(case.candidates, result.scores, strict=True):
            if not candidate.hits and score >= evaluation.threshold:
                words = f"{evaluation.score} {score:.2f}, {candidate.size.longest_diameter_mm:.1f} mm"
                found.append((score, Mistake(n, candidate.region, candidate.size, words)))
    return [mistake for _, mistake in sorted(found, key=lambda pair: -pair[0])[:WORST]]


def _views(evaluation: Evaluation, examined: list[Examined], mistakes: list[Mistake]) -> list[list[View]]:
    """Of each mistake, in their order. A case's images are read once."""
    views: dict[int, list[View]] = {}
    for n in sorted({m.case for m in mistakes}):
        case = examined[n]
        pictures = Pictures(case.case.study().reference)
        truth = case.mask([lesion.region for lesion in case.lesions])
        scores = evaluation.cases[n].scores
        shown = [c.region for c, score in zip(case.candidates, scores, strict=True) if score >= evaluation.threshold]
        for place, mistake in enumerate(mistakes):
            if mistake.case == n:
                false = any(mistake.region is region for region in shown)
                own = case.mask([mistake.region] if false else [])
                others = case.mask([region for region in shown if region is not mistake.region])
                outlined = Outlined(own, others, truth)
                size = mistake.size
                views[place] = pictures.of(size.centroid_lps, size.longest_diameter_mm, outlined)
    return [views[place] for place in range(len(mistakes))]
