"""Curves go by the names that they are given, and show what is said of them."""

import html
import re
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from lopsided_training.evaluation import Estimate
from lopsided_training.figures import froc_figure, precision_figure
from lopsided_training.froc import CaseResult, average_precisions
from matplotlib.axes import Axes


@pytest.mark.parametrize("name", ["run", "_run", r"a $\frac{$ b", "$5 or 6$", "$", r"a\$b", "__"])
def test_a_legend_has_every_name_as_it_is(name: str) -> None:
    results = [CaseResult("case", np.array([0.5]), ((0,),), np.array([5.0]), "patient")]
    with mpl.rc_context({"svg.fonttype": "none"}):  # text as text
        figure = froc_figure({"first": results, name: results}, bands=0)
    words = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", figure)]
    assert words[-2:] == ["first", name]


@pytest.mark.parametrize(
    ("scores", "drawn"), [([0.5, 0.5], [(0, 0.5), (1, 0.5)]), ([0.9, 0.5], [(0, 1), (0.5, 1), (1, 1)]), ([], [])]
)
def test_precision_is_drawn_from_no_recall_on(
    scores: list[float], drawn: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is below the curve is the average precision that the legend states."""
    hits = ((0,), (1,)) if scores == [0.9, 0.5] else ((0, 1), ())
    results = [CaseResult("case", np.array(scores), hits[: len(scores)], np.array([5.0, 6.0]))]
    estimate = SimpleNamespace(average_precision=Estimate(value=average_precisions(results)[0]))
    evaluation = SimpleNamespace(overlap=estimate, iou=estimate, results=lambda iou: results)
    steps = []
    monkeypatch.setattr(Axes, "step", lambda axes, x, y, **_: steps.append(list(zip(x, y, strict=True))))
    precision_figure(evaluation)  # type: ignore[arg-type]
    assert steps == [drawn, drawn]
