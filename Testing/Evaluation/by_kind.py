"""An evaluation on simulated studies by what kind of scan each was: what a model's README says of it.

Usage: python Testing/Evaluation/by_kind.py RUN/evaluation/evaluation.json DATASET

DATASET holds the simulated studies that were measured, whose records say what was drawn. Prints Markdown: sensitivity and
false positives a scan at the default threshold, with 95 % intervals over scans.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import typer
from lopsided_training.evaluation import read_evaluation
from lopsided_training.froc import ANY_SIZE, counts_at, interval, patient_weights, ratio

KINDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "all": lambda study, t1c: True,
    "skull-stripped": lambda study, t1c: study["stripped"],
    "full heads": lambda study, t1c: not study["stripped"],
    "bright blood (MPRAGE, BRAVO)": lambda study, t1c: t1c["vessel"] > 1.2,
    "black blood (SPACE, CUBE)": lambda study, t1c: t1c["vessel"] <= 1.2,
    "slices up to 1.5 mm": lambda study, t1c: t1c["thickness_mm"] <= 1.5,
    "thicker slices": lambda study, t1c: t1c["thickness_mm"] > 1.5,
    "with a resection cavity or an old infarct": lambda study, t1c: bool(study["cavities"]),
}


def main(evaluation: Path, dataset: Path) -> None:
    """Print the table."""
    measured = read_evaluation(evaluation)
    cases = [case.result() for case in measured.cases]
    studies = [json.loads((dataset / "records" / f"{case.name}.json").read_text(encoding="utf-8")) for case in cases]
    print("| scans | number | lesions | sensitivity | false positives a scan |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind, of in KINDS.items():
        chosen = [c for c, s in zip(cases, studies, strict=True) if of(s, s["acquisitions"]["t1c"])]
        if not chosen:
            continue
        counts = counts_at(chosen, measured.threshold, ANY_SIZE)
        weights = np.concatenate([np.ones((1, len(chosen)), int), patient_weights(chosen)])
        cells = []
        for values in (
            ratio(weights @ counts.found, weights @ counts.lesions),
            weights @ counts.false / weights.sum(axis=1),
        ):
            low, high = interval(values[1:])
            cells.append(f"{values[0]:.2f} ({low:.2f}–{high:.2f})" if len(chosen) > 1 else f"{values[0]:.2f}")
        print(f"| {kind} | {len(chosen)} | {int(counts.lesions.sum())} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
