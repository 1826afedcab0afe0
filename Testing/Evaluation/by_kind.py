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

import typer
from found_tables import at_threshold, row
from lopsided_training.evaluation import read_evaluation

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
        lesions = sum(len(case.diameters) for case in chosen)
        print(f"| {kind} | {len(chosen)} | {lesions} | {row(at_threshold(chosen, measured.threshold))} |")


if __name__ == "__main__":
    typer.run(main)
