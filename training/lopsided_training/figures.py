"""The curves of an evaluation, as SVG to put into a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from lopsided.wording import counted
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .evaluation import Estimate, Evaluation
from .froc import FALSE_POSITIVES, CaseResult, interval, patient_weights, precision_recall, sensitivities

COLOURS = ("#2b6cc4", "#d0642c", "#2f8f6b", "#8e5cc7", "#b3891b", "#5b6675")
_INK, _SOFT, _LINE = "#1c2430", "#5b6675", "#dde2e8"
_GRID = np.geomspace(FALSE_POSITIVES[0], FALSE_POSITIVES[-1], 97)  # false positives a scan, for the curve
_STYLE: Any = {
    "svg.hashsalt": "lopsided",  # the same figure is the same file
    "font.size": 9.5,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff3",
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
BUDGETS = ("⅛", "¼", "½", "1", "2", "4", "8")  # FALSE_POSITIVES, in words
_SIZE = (5.1, 3.8)  # inches
_FEW = 10  # candidates in a bin: what they say is mostly chance


def froc_figure(curves: Mapping[str, Sequence[CaseResult]], *, bands: int, seed: int = 1) -> str:
    """Sensitivity against false positives a scan, a curve for each name; the first ``bands`` of them with 95 % bands."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("Free-response ROC")
        lines: list[Artist] = []
        for n, (colour, results) in enumerate(zip(cycle(COLOURS), curves.values(), strict=False)):
            line = "-" if n < bands else "--"
            weights = patient_weights(results, seed=seed) if n < bands else None
            values = sensitivities(results, _GRID.tolist(), weights=weights)
            lines += axes.plot(_GRID, values[0], line, color=colour, linewidth=1.7)
            if len(values) > 1:
                axes.fill_between(_GRID, *interval(values), color=colour, alpha=0.15, linewidth=0)
            axes.plot(FALSE_POSITIVES, sensitivities(results)[0], "o", color=colour, markersize=3.6)
        axes.set_xscale("log", base=2)
        axes.set_xlim(_GRID[0] / 1.15, _GRID[-1] * 1.15)
        axes.set_xticks(FALSE_POSITIVES, BUDGETS)
        axes.minorticks_off()
        axes.set_xlabel("false positives a scan")
        axes.set_ylabel("sensitivity")
        _percent(axes)
        # as they are: a label that begins with _ would be left out, and what is between two $ be a formula
        _legend(figure, lines, [name.replace("$", r"\$") for name in curves])
        return _svg(figure)


def size_figure(evaluation: Evaluation) -> str:
    """Sensitivity by the lesion's diameter: the mean of the FROC, and at the default threshold."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("By size of the lesion")
        rows = evaluation.overlap.by_size
        kinds = (
            ("FROC mean (⅛ to 8 a scan)", [r.froc_mean for r in rows]),
            ("at the default threshold", [r.sensitivity for r in rows]),
        )
        for n, (label, estimates) in enumerate(kinds):
            places = np.arange(len(rows)) + (n - 0.5) * 0.36
            heights = [e.value or 0.0 for e in estimates]
            axes.bar(places, heights, 0.32, color=COLOURS[n], alpha=0.8, label=label)
            for x, estimate in zip(places, estimates, strict=True):
                _whisker(axes, float(x), estimate)
        axes.set_xticks(np.arange(len(rows)), [f"{r.words}\n{counted(r.lesions, 'lesion')}" for r in rows], color=_INK)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("sensitivity")
        _percent(axes)
        _legend(figure, *axes.get_legend_handles_labels())
        return _svg(figure)


def precision_figure(evaluation: Evaluation) -> str:
    """Precision against recall, by both criteria."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("Precision and recall")
        for iou, colour, name in ((False, COLOURS[0], "overlap"), (True, COLOURS[1], "IoU")):
            curve = precision_recall(evaluation.results(iou=iou))
            estimate = (evaluation.iou if iou else evaluation.overlap).average_precision
            label = f"{name}, average precision {estimate.text()}"
            first = curve.precision[:1]  # from no recall on, as the average precision has it
            recall, precision = np.append(0 * first, curve.recall), np.append(first, curve.precision)
            axes.step(recall, precision, color=colour, where="pre", linewidth=1.6, label=label)
        axes.set_xlabel("recall: the part of lesions that is found")
        axes.set_ylabel("precision")
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        _percent(axes)
        _legend(figure, *axes.get_legend_handles_labels())
        return _svg(figure)


def reliability_figure(evaluation: Evaluation) -> str:
    """The part of candidates that hit a lesion against what they score, and how many there are of each score."""
    bins = evaluation.reliability.bins
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
        above.set_title(f"Reliability of the {evaluation.score}")
        above.plot([0, 1], [0, 1], "--", color=_SOFT, linewidth=1)
        above.plot([b.mean_score for b in bins], [b.true for b in bins], color=COLOURS[0], linewidth=1.3)
        for b in bins:
            fill = COLOURS[0] if b.candidates >= _FEW else "white"
            above.plot(b.mean_score, b.true, "o", color=COLOURS[0], markerfacecolor=fill, markersize=6)
        above.set_ylabel(f"part that is true (hollow: < {_FEW})")
        _percent(above)
        below.bar(
            [b.low for b in bins],
            [b.candidates for b in bins],
            [b.high - b.low for b in bins],
            align="edge",
            color=COLOURS[0],
            alpha=0.6,
            edgecolor="white",
        )
        if bins:
            below.set_yscale("log")
            below.set_ylim(0.7, 6 * max(b.candidates for b in bins))
        for b in bins:
            below.text((b.low + b.high) / 2, b.candidates * 1.3, str(b.candidates), ha="center", va="bottom", size=7.5)
        below.set_yticks([])
        below.minorticks_off()
        below.set_ylabel("candidates", size=8)
        below.set_xlim(0, 1)
        below.xaxis.set_major_formatter(PercentFormatter(1))
        below.set_xlabel(evaluation.score)
        return _svg(figure)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _legend(figure: Figure, handles: list[Artist], labels: list[str]) -> None:
    """Below the axes, where it hides nothing."""
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2))


def _percent(axes: Axes) -> None:
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _whisker(axes: Axes, x: float, estimate: Estimate) -> None:
    if estimate.value is None:
        axes.text(x, 0.02, "–", ha="center", color=_SOFT)
    elif estimate.low is not None and estimate.high is not None:
        axes.plot([x, x], [estimate.low, estimate.high], color=_INK, linewidth=1.2, solid_capstyle="butt")


def _svg(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
