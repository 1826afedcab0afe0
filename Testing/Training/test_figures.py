"""Curves go by the names that they are given."""

import html
import re

import matplotlib as mpl
import numpy as np
import pytest
from lopsided_training.figures import froc_figure
from lopsided_training.froc import CaseResult


@pytest.mark.parametrize("name", ["run", "_run", r"a $\frac{$ b", "$5 or 6$", "$", r"a\$b", "__"])
def test_a_legend_has_every_name_as_it_is(name: str) -> None:
    results = [CaseResult("case", np.array([0.5]), ((0,),), np.array([5.0]), "patient")]
    with mpl.rc_context({"svg.fonttype": "none"}):  # text as text
        figure = froc_figure({"first": results, name: results}, bands=0)
    words = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", figure)]
    assert words[-2:] == ["first", name]
