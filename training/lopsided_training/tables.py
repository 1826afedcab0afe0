"""``lesions.csv`` and ``candidates.csv``: a row for each lesion and each candidate, for other software.

Lesions are numbered from 0, as in ``evaluation.json``; places are LPS, mm.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lopsided.model import Calibration

from .examine import Examined

LESIONS, CANDIDATES = "lesions.csv", "candidates.csv"
_LESION_COLUMNS = "case lesion diameter_mm longest_diameter_mm volume_mm3 l_mm p_mm s_mm best_score hit best_score_iou hit_iou best_iou"
_CANDIDATE_COLUMNS = (
    "case score shown peak_probability volume_mm3 longest_diameter_mm l_mm p_mm s_mm hits hits_iou best_iou"
)


def write_tables(folder: Path, examined: list[Examined], calibration: Calibration | None, threshold: float) -> None:
    """Write both tables; ``hit`` and ``shown`` are at the threshold.

    Raises:
        OSError: they cannot be written.
    """
    _write_rows(folder / LESIONS, _LESION_COLUMNS, _lesion_rows(examined, calibration, threshold))
    _write_rows(folder / CANDIDATES, _CANDIDATE_COLUMNS, _candidate_rows(examined, calibration, threshold))


def _lesion_rows(
    examined: list[Examined], calibration: Calibration | None, threshold: float
) -> Iterable[dict[str, object]]:
    for case in examined:
        best, best_iou = (case.result(calibration, iou=iou).best() for iou in (False, True))
        for n, lesion in enumerate(case.lesions):
            yield {
                "case": case.case.name,
                "lesion": n,
                "diameter_mm": round(lesion.diameter_mm, 2),
                "longest_diameter_mm": round(lesion.size.longest_diameter_mm, 2),
                "volume_mm3": round(lesion.size.volume_mm3, 2),
                **_place(lesion.size.centroid_lps),
                "best_score": _score(best[n]),
                "hit": int(best[n] >= threshold),
                "best_score_iou": _score(best_iou[n]),
                "hit_iou": int(best_iou[n] >= threshold),
                "best_iou": round(max((c.iou.get(n, 0.0) for c in case.candidates), default=0.0), 4),
            }


def _candidate_rows(
    examined: list[Examined], calibration: Calibration | None, threshold: float
) -> Iterable[dict[str, object]]:
    for case in examined:
        for candidate in sorted(case.candidates, key=lambda c: -case.score(c, calibration)):
            score = case.score(candidate, calibration)
            yield {
                "case": case.case.name,
                "score": _score(score),
                "shown": int(score >= threshold),
                "peak_probability": round(candidate.peak_probability, 6),
                "volume_mm3": round(candidate.size.volume_mm3, 2),
                "longest_diameter_mm": round(candidate.size.longest_diameter_mm, 2),
                **_place(candidate.size.centroid_lps),
                "hits": " ".join(map(str, candidate.hits)),
                "hits_iou": " ".join(map(str, candidate.hits_by(iou=True))),
                "best_iou": round(max(candidate.iou.values(), default=0.0), 4),
            }


def _place(point: tuple[float, float, float]) -> dict[str, float]:
    return {f"{axis}_mm": round(value, 2) for axis, value in zip("lps", point, strict=True)}


def _score(value: float) -> float | str:
    return round(float(value), 6) if np.isfinite(value) else ""


def _write_rows(path: Path, columns: str, rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns.split())
        writer.writeheader()
        writer.writerows(rows)
