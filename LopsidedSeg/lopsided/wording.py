"""What is said in the same words everywhere. Plain Python, as :mod:`lopsided.review`."""

from __future__ import annotations

DISCLAIMER = "Research tool, not for clinical use."
METASTASIS = (  # a brain metastasis, as Slicer's segments say it
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure~"
    "SCT^14799000^Neoplasm, Secondary~^^~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)


def counted(number: int, noun: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(confidence: float) -> str:
    """``0.42`` as ``42 %``; never 0 or 100, for neither is ever known."""
    if confidence > 0.99:
        return "> 99 %"
    if confidence < 0.01:
        return "< 1 %"
    return f"{100 * confidence:.0f} %"
