"""Several evaluations on the same cases, side by side: each number, and how it differs from the first one's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from lopsided.errors import InputError
from lopsided.pages import page
from lopsided.wording import DISCLAIMER
from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from .evaluation import EVALUATION, DatasetFacts, Estimate, Evaluation, Record, Subject, read_evaluation
from .figures import froc_figure
from .froc import (
    FALSE_POSITIVES,
    RESAMPLES,
    SMALL_MM,
    CaseResult,
    average_precisions,
    counts_at,
    patient_weights,
    ratio,
    sensitivities,
)
from .writing import whole


class Compared(Record):
    """One evaluation. ``values``: by measure; ``differences``: from the first one's, paired over patients."""

    name: str
    subject: Subject
    values: dict[str, Estimate]
    differences: dict[str, Estimate]


class Comparison(Record):
    """``comparison.json``: all on the same cases, the first one being what the others are held against."""

    format_version: Literal[1] = 1
    notice: str = DISCLAIMER
    dataset: DatasetFacts
    seed: int
    resamples: int
    evaluations: tuple[Compared, ...]


def compare(paths: Sequence[Path], *, seed: int = 1) -> tuple[Comparison, list[Evaluation]]:
    """Read evaluations and compare them; also returns them as read.

    Args:
        paths: each an ``evaluation.json``, or the folder that it or its run is in.
        seed: of the resamples of the patients, which are the same for all.

    Raises:
        InputError: fewer than two, one that cannot be read, or one on other cases than the first.
    """
    if len(paths) < 2:
        raise InputError("a comparison needs two evaluations or more; name another one")
    evaluations = [read_evaluation(path) for path in paths]
    for path, evaluation in zip(paths[1:], evaluations[1:], strict=True):
        if evaluation.dataset.digest != evaluations[0].dataset.digest:
            raise InputError(_not_the_same(paths[0], evaluations[0], path, evaluation))
        _check_patients(paths[0], evaluations[0], path, evaluation)
    results = [e.results() for e in evaluations]
    weights = patient_weights(results[0], seed=seed)
    measured = [
        {name: statistic(result, evaluation.threshold, weights) for name, statistic in _MEASURES.items()}
        for evaluation, result in zip(evaluations, results, strict=True)
    ]
    compared = [
        Compared(
            name=name,
            subject=evaluation.subject,
            values={n: Estimate.of(v) for n, v in values.items()},
            differences={n: Estimate.of(v - measured[0][n]) for n, v in values.items()},
        )
        for name, evaluation, values in zip(_names(paths, evaluations), evaluations, measured, strict=True)
    ]
    comparison = Comparison(dataset=evaluations[0].dataset, seed=seed, resamples=RESAMPLES, evaluations=tuple(compared))
    return comparison, evaluations


def tables(comparison: Comparison) -> Iterable[Table]:
    """For the terminal: a table of the numbers, and one of the differences from the first."""
    yield _table("With 95 % intervals over patients" if comparison.dataset.patients > 1 else "", _values(comparison))
    yield _table(f"Difference from {comparison.evaluations[0].name}", _differences(comparison))


def write_comparison(comparison: Comparison, evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write it as ``.json`` or as a page, ``.html``.

    Raises:
        InputError: another ending, an evaluation's own name, or a place that cannot be written to.
    """
    if path.name == EVALUATION:
        raise InputError(f"--out {path}: is what an evaluation is called; choose another name")
    if path.suffix == ".json":
        text = comparison.model_dump_json(indent=1) + "\n"
    elif path.suffix == ".html":
        names = [one.name for one in comparison.evaluations]
        curves = {name: e.results() for name, e in zip(names, evaluations, strict=True)}
        text = page(
            "comparison.html.j2",
            "lopsided_training",
            comparison=comparison,
            measures=list(_MEASURES),
            values=_values(comparison),
            differences=_differences(comparison),
            figure=Markup(froc_figure(curves, bands=len(curves) if len(curves) <= 3 else 0, seed=comparison.seed)),
        )
    else:
        raise InputError(f"--out {path}: end it in .json or .html")
    with whole(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")


_Statistic = Callable[[Sequence[CaseResult], float, np.ndarray], np.ndarray]
"""Of the cases, a threshold and weights (resample, case), by resample."""


def _at_budget(budget: float) -> _Statistic:
    return lambda results, threshold, weights: sensitivities(results, (budget,), weights=weights)[:, 0]


def _at_threshold(part: str, whole: str | None) -> _Statistic:
    """A sum over cases as a part of another, or a case."""

    def statistic(results: Sequence[CaseResult], threshold: float, weights: np.ndarray) -> np.ndarray:
        counts = counts_at(results, threshold)
        by = np.ones(len(results)) if whole is None else getattr(counts, whole)
        return ratio(weights @ getattr(counts, part), weights @ by)

    return statistic


_MEASURES: dict[str, _Statistic] = {
    "FROC mean": lambda results, threshold, weights: sensitivities(results, weights=weights).mean(axis=1),
    "FROC mean, < 6 mm": lambda results, threshold, weights: sensitivities(
        results, size_mm=SMALL_MM, weights=weights
    ).mean(axis=1),
    **{f"sensitivity at {b:g} FP/scan": _at_budget(b) for b in FALSE_POSITIVES},
    "average precision": lambda results, threshold, weights: average_precisions(results, weights),
    "sensitivity at the default threshold": _at_threshold("found", "lesions"),
    "FP/scan at the default threshold": _at_threshold("false", None),
}


def _names(paths: Sequence[Path], evaluations: Sequence[Evaluation]) -> list[str]:
    """Of what was measured; with the path where two have the same."""
    names = [e.subject.name for e in evaluations]
    return [n if names.count(n) == 1 else f"{n} ({path})" for n, path in zip(names, paths, strict=True)]


def _check_patients(first_path: Path, first: Evaluation, path: Path, other: Evaluation) -> None:
    """Raises InputError where a case is another patient's: patients are resampled, and the same for all."""
    for ours, theirs in zip(first.cases, other.cases, strict=True):
        if ours.patient != theirs.patient:
            raise InputError(
                f"{path}: case {theirs.name} is of patient {theirs.patient}, and in {first_path} of {ours.patient}; evaluate "
                "again what was evaluated before the dataset said so"
            )


def _not_the_same(first_path: Path, first: Evaluation, path: Path, other: Evaluation) -> str:
    """Where two datasets differ, in words."""
    ours, theirs = ({case.name: case.files for case in e.cases} for e in (first, other))
    missing = sorted(set(ours) - set(theirs)) or sorted(set(theirs) - set(ours))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = f"only one of them has case {missing[0]}{more}"
    else:
        changed = next(name for name in sorted(ours) if ours[name] != theirs[name])
        files = [
            n for n in sorted({*ours[changed], *theirs[changed]}) if ours[changed].get(n) != theirs[changed].get(n)
        ]
        where = f"case {changed} has another {files[0]} file"
    return (
        f"{path}: was measured on {other.dataset.name} ({other.dataset.digest[:12]}), and {first_path} on "
        f"{first.dataset.name} ({first.dataset.digest[:12]}): {where}; evaluate both on the same dataset"
    )


_Rows = list[tuple[str, dict[str, tuple[str, str]]]]  # by name and measure: the number and its interval, in words


def _values(comparison: Comparison) -> _Rows:
    return [(one.name, {m: (e.text(3), e.bounds(3)) for m, e in one.values.items()}) for one in comparison.evaluations]


def _differences(comparison: Comparison) -> _Rows:
    return [(one.name, {m: e.difference() for m, e in one.differences.items()}) for one in comparison.evaluations[1:]]


def _table(title: str, rows: _Rows) -> Table:
    table = Table(title=Text(title) if title else None, title_justify="left", title_style="bold")
    table.add_column("")
    for name, _ in rows:
        table.add_column(Text(name), justify="right")
    for measure in _MEASURES:
        numbers = (cells[measure] for _, cells in rows)
        table.add_row(measure, *(Text.assemble(value, "  ", (bounds, "dim")) for value, bounds in numbers))
    return table
