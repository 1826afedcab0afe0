"""``report.html``: one self-contained page with the ranked candidates, for any browser and for print."""

from __future__ import annotations

from pathlib import Path

from . import __version__
from .model import SEQUENCES
from .pages import page
from .pictures import Outlined, Pictures
from .results import MASK, REPORT, label_map, record
from .suggest import Suggestions
from .wording import expected


def write_report(suggestions: Suggestions, folder: Path) -> None:
    """Write the report into ``folder``, which exists.

    Raises:
        OSError: it cannot be written.
    """
    reference = suggestions.study.reference
    pictures = Pictures(reference)
    shown = label_map(suggestions)
    views = {}
    for candidate in suggestions.shown:
        others = (shown > 0) & (shown != candidate.rank)
        outlined = Outlined(shown == candidate.rank, others, suggestions.annotation.mask)
        views[candidate.rank] = pictures.of(candidate.centroid_lps, candidate.longest_diameter_mm, outlined)
    measured = {p.confidence: p.false_positives_per_scan for p in suggestions.card.operating_points}
    text = page(
        "report.html.j2",
        record=record(suggestions),
        card=suggestions.card,
        views=views,
        expected=[f"{number:.2g}" for number in expected(measured, suggestions.threshold)],
        sequences=SEQUENCES,
        unused=suggestions.unused,
        mask=MASK,
        version=__version__,
    )
    (folder / REPORT).write_text(text, encoding="utf-8")
