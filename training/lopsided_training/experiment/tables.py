"""Tables and figures of an experiment, from its result files alone."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lopsided.errors import InputError
from matplotlib.figure import Figure

from ..froc import ANY_SIZE, SMALL_MM, CaseResult, counts_at, froc, interval, patient_weights, ratio, sensitivities
from .run import RunRecord

BUDGETS = (0.5, 1.0, 2.0, 4.0)
HALF = 0.5
MEASURES = {
    "half": "sensitivity at p ≥ ½",
    "half_fp": "false positives a scan at p ≥ ½",
    "froc": "mean of the FROC",
    **{f"at_{b:g}": f"sensitivity at {b:g} false positives a scan" for b in BUDGETS},
    "froc_small": "mean of the FROC, lesions below 6 mm",
    **{f"at_{b:g}_small": f"sensitivity at {b:g} false positives a scan, lesions below 6 mm" for b in BUDGETS},
}
_TICKS = (0, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
_SHOWN = ("half", "half_fp", "froc", "at_1", "at_2", "froc_small")


@dataclass(frozen=True)
class Row:
    """One measure of a loss at a condition: its mean over seeds; as a ``part`` of the baseline's with all labels, in the same
    seeds; and of its ``own`` with all labels. A part is NaN where one of these seeds is not there.

    ``low`` and ``high``: 95 % intervals over test patients. ``spread``: the standard deviation over seeds, NaN for one.
    """

    condition: str
    loss: str
    measure: str
    seeds: int
    value: float
    low: float
    high: float
    spread: float
    part: float
    part_low: float
    part_high: float
    own: float
    own_low: float
    own_high: float


def rows(records: Sequence[RunRecord], baseline: str = "standard") -> list[Row]:
    """Every measure of every loss and condition.

    Args:
        records: of the comparison, one setting a loss.
        baseline: the loss that all are measured against, trained on all labels (condition ``none``).

    Raises:
        InputError: no result of the baseline, or test cases that differ.
    """
    results = {(r.condition, r.loss, r.seed): [case.result() for case in r.test] for r in records}
    if not any(key[:2] == ("none", baseline) for key in results):
        raise InputError(f"no result of {baseline} with all labels yet, which the others are measured against")
    if len({tuple(case.name for case in cases) for cases in results.values()}) > 1:
        raise InputError("these results were tested on different cases; keep experiments apart")
    first = next(iter(results.values()))
    weights = patient_weights(first)
    measured = {key: _measures(cases, weights) for key, cases in results.items()}

    def values(condition: str, loss: str, seeds: list[int], measure: str) -> np.ndarray:
        """(seed, resample), NaN for a seed that is not there."""
        unknown = {measure: np.full(len(weights), np.nan)}
        return np.array([measured.get((condition, loss, seed), unknown)[measure] for seed in seeds])

    found = []
    for condition, loss in dict.fromkeys(key[:2] for key in results):
        seeds = sorted(key[2] for key in results if key[:2] == (condition, loss))
        for measure in MEASURES:
            here = values(condition, loss, seeds, measure)
            mean, spread = here.mean(axis=0), here[:, 0].std(ddof=1) if len(seeds) > 1 else np.nan
            numbers = [mean[0], *interval(mean), spread]
            for reference in (baseline, loss):  # a seed that is lucky is so with all labels too
                part = ratio(mean, values("none", reference, seeds, measure).mean(axis=0))
                numbers += [part[0], *interval(part)]
            found.append(Row(condition, loss, measure, len(seeds), *(float(n) for n in numbers)))
    return found


def _measures(results: list[CaseResult], weights: np.ndarray) -> dict[str, np.ndarray]:
    """By measure, float (resample,); the first resample is the cases as they are."""
    counts = counts_at(results, HALF)
    measures = {
        "half": ratio(weights @ counts.found, weights @ counts.lesions),
        "half_fp": weights @ counts.false / weights.sum(axis=1),
    }
    for ending, size in (("", ANY_SIZE), ("_small", SMALL_MM)):
        measures[f"froc{ending}"] = sensitivities(results, size_mm=size, weights=weights).mean(axis=1)
        for budget, column in zip(BUDGETS, sensitivities(results, BUDGETS, size, weights).T, strict=True):
            measures[f"at_{budget:g}{ending}"] = column
    return measures


def write_tables(records: Sequence[RunRecord], out: Path) -> None:
    """``summary.csv`` with every row, ``table.md``, and the figures ``operating_point.png``, ``by_condition.png``, where lesions are
    missing, and ``memory.png``, where half of them are, in ``out``. The last two are of the losses that have the most seeds: ten
    at once are a tangle."""
    found = rows(records)
    with (out / "summary.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row.__dataclass_fields__)
        for row in found:
            values = row.__dict__.values()
            writer.writerow(f"{value:.4f}" if isinstance(value, float) else value for value in values)
    (out / "table.md").write_text(_markdown(found), encoding="utf-8")
    most = max((row.seeds for row in found), default=0)
    drawn = {row.loss for row in found if row.seeds == most}
    _by_condition([row for row in found if row.loss in drawn], out / "by_condition.png")
    _memory([record for record in records if record.loss in drawn], out / "memory.png")
    _operating_point(records, out / "operating_point.png")


def _markdown(found: list[Row]) -> str:
    """A table a condition: each loss's measures, in brackets as a part of its own with all labels, with the interval."""
    lines = []
    for condition in sorted({row.condition for row in found}, key=_order):
        here = {(row.loss, row.measure): row for row in found if row.condition == condition}
        seeds = {loss: row.seeds for (loss, _), row in here.items()}
        lines += [
            f"### {describe(condition)}",
            "",
            "| loss | seeds | " + " | ".join(MEASURES[m] for m in _SHOWN) + " |",
        ]
        lines.append("| --- | ---: |" + " ---: |" * len(_SHOWN))
        for loss in sorted(seeds, key=lambda name: -here[name, "froc"].value):
            lines.append(f"| {loss} | {seeds[loss]} | " + " | ".join(_cell(here[loss, m]) for m in _SHOWN) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(row: Row) -> str:
    if row.measure == "half_fp":
        return f"{row.value:.2f}"
    spread = "" if np.isnan(row.spread) else f" ± {row.spread:.3f}"
    bounds = f", {100 * row.own_low:.0f} to {100 * row.own_high:.0f}" if np.isfinite(row.own_low) else ""
    part = f" ({100 * row.own:.0f} %{bounds})"
    return f"{row.value:.3f}{spread}{part if row.condition != 'none' and np.isfinite(row.own) else ''}"


def describe(condition: str) -> str:
    """A condition in words."""
    if condition == "none":
        return "All labels"
    kind, percent = condition.split("-")
    how = {"random": "at random", "smallest": "the smallest", "readers": "as readers miss them"}[kind]
    return f"{percent} % of the lesions missing, {how}"


def _order(condition: str) -> tuple[int, int]:
    kind, _, percent = condition.partition("-")
    return ("none", "readers", "random", "smallest").index(kind), int(percent or 0)


def _by_condition(found: list[Row], path: Path) -> None:
    losses = sorted({row.loss for row in found})
    kinds = [kind for kind in ("random", "smallest") if any(row.condition.startswith(kind) for row in found)]
    if not kinds:
        return
    figure = Figure(figsize=(2 + 4.5 * len(kinds), 4.5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        for number, loss in enumerate(losses):
            points = sorted(
                (_order(row.condition)[1], row.value, row.low, row.high)
                for row in found
                if row.loss == loss and row.measure == "froc" and row.condition.partition("-")[0] in ("none", kind)
            )
            if points:
                x, y, low, high = np.array(points).T
                style = "-" if number < 10 else "--"
                beside = x + 0.8 * (number - len(losses) / 2)  # or the intervals hide each other
                axes.errorbar(
                    beside,
                    y,
                    (y - low, high - y),
                    fmt=style,
                    marker="o",
                    markersize=3,
                    label=loss,
                    color=f"C{number % 10}",
                )
        axes.set_title(f"missing {describe(kind + '-0').split(', ')[1]}")
        axes.set_xlabel("lesions missing from the labels, %")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mean of the FROC\n(mean over seeds; 95 % intervals over patients)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def _memory(records: Sequence[RunRecord], path: Path) -> None:
    """What training does to the lesions of the training set, those in its labels and those missing from them."""
    losses = sorted({record.loss for record in records})
    shown = [c for c in ("random-50", "smallest-50") if any(record.condition == c for record in records)]
    if not shown:
        return
    figure = Figure(figsize=(2 + 4.5 * len(shown), 4.5), layout="constrained")
    for axes, condition in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        for number, loss in enumerate(losses):
            runs = [r for r in records if r.loss == loss and r.condition == condition and r.memory]
            if runs:
                steps = [look["step"] for look in runs[0].memory]
                marker = "" if number < 10 else "x"  # there are ten colours
                for kind, style in (("hidden", "-"), ("annotated", ":")):
                    share = np.mean([[look.get(kind, np.nan) for look in run.memory] for run in runs], axis=0)
                    label = loss if kind == "hidden" else None
                    axes.plot(steps, 100 * share, style, marker=marker, label=label, color=f"C{number % 10}")
        axes.set_title(describe(condition))
        axes.set_xlabel("step")
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(
        "training lesions with p ≥ ½ somewhere, %\nmissing from the labels (solid), annotated (dotted)"
    )
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def _operating_point(records: Sequence[RunRecord], path: Path) -> None:
    """FROC with all labels and with half of them, and where p = ½ lies on each."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    styles = {"standard": "-", "weighted-ce": ":", "lopsided-hard": "--"}
    for colour, condition in enumerate(("none", "random-50", "smallest-50")):
        for loss, style in styles.items():
            runs = [r for r in records if (r.loss, r.condition, r.seed) == (loss, condition, 1)]
            if not runs:
                continue
            results = [case.result() for case in runs[0].test]
            curve = froc(results)
            name = f"{loss}, {describe(condition).replace(' of the lesions', '').lower()}"
            axes.plot(curve.false_positives, curve.sensitivity, style, color=f"C{colour}", label=name)
            counts = counts_at(results, HALF)
            axes.plot(counts.false.mean(), counts.found.sum() / counts.lesions.sum(), "o", color=f"C{colour}")
    axes.set_xscale("symlog", linthresh=0.125)
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.set_xlim(0, _TICKS[-1])
    axes.set_ylim(0, 1)
    axes.set_xlabel("false positives a scan")
    axes.set_ylabel("sensitivity")
    axes.set_title("Where p = ½ lies (dots), first seed", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    figure.savefig(path, dpi=110)
