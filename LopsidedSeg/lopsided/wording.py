"""What is said in the same words everywhere. Plain Python, as :mod:`lopsided.review`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

_LAST_DIGIT = 1e-4  # of a threshold as it is printed
DISCLAIMER = "Research tool, not for clinical use."
METASTASIS = (  # a brain metastasis, as Slicer's segments say it
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure~"
    "SCT^14799000^Neoplasm, Secondary~^^~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)


def counted(number: int, noun: str) -> str:
    """``1 case``, ``2 cases``, ``2 studies``."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else several}"


def beyond(lesions: int) -> str:
    """Of annotated lesions that are not, or not wholly, within the image."""
    return f"beyond the image's edge, and left out there: {counted(lesions, 'annotated lesion')}, wholly or in part"


def place(point_lps: Sequence[float], digits: int = 0) -> str:
    """A point (LPS, mm) as people read it: ``RAS -12, 40, 7 mm``."""
    left, posterior, superior = point_lps
    return f"RAS {', '.join(f'{x:z.{digits}f}' for x in (-left, -posterior, superior))} mm"


def typed(confidence: float) -> str:
    """A threshold to be typed: four digits, rounded up, for less would let more through."""
    digits = f"{confidence:.4f}"
    return digits if float(digits) >= confidence else f"{confidence + _LAST_DIGIT:.4f}"


def expected(measured: Mapping[float, float], least: float) -> tuple[float, float]:
    """The fewest and the most false positives a scan to expect of what is at least this confident.

    Args:
        measured: them by threshold, at least one. They fall where it rises.
        least: the threshold; that of a measurement too as :func:`typed` gives it.

    Returns:
        Those of the measurements at or next to it. The most are infinite where it is below all of them.
    """
    most = min((number for at, number in measured.items() if at <= least), default=inf)
    fewest = max((number for at, number in measured.items() if at > least - _LAST_DIGIT), default=0.0)
    return min(fewest, most), most


def percent(confidence: float) -> str:
    """``0.42`` as ``42 %``; never 0 or 100, for neither is ever known."""
    if confidence > 0.99:
        return "> 99 %"
    if confidence < 0.01:
        return "< 1 %"
    return f"{100 * confidence:.0f} %"
