"""What is said in the same words everywhere. Plain Python, as :mod:`lopsided.review`."""

from __future__ import annotations

from collections.abc import Sequence

DISCLAIMER = "Research tool, not for clinical use."
METASTASIS = (  # a brain metastasis, as Slicer's segments say it
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure~"
    "SCT^14799000^Neoplasm, Secondary~^^~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)


def counted(number: int, noun: str) -> str:
    """``1 case``, ``2 cases``, ``2 studies``."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else several}"


def place(point_lps: Sequence[float], digits: int = 0) -> str:
    """A point (LPS, mm) as people read it: ``RAS -12, 40, 7 mm``."""
    left, posterior, superior = point_lps
    return f"RAS {', '.join(f'{x:z.{digits}f}' for x in (-left, -posterior, superior))} mm"


def percent(confidence: float) -> str:
    """``0.42`` as ``42 %``; never 0 or 100, for neither is ever known."""
    if confidence > 0.99:
        return "> 99 %"
    if confidence < 0.01:
        return "< 1 %"
    return f"{100 * confidence:.0f} %"
