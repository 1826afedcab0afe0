"""How many inserted lesions a model finds in real post-contrast T1, and at how many false positives.

Usage: python Testing/Evaluation/real_backgrounds.py MODEL CASES --out FOLDER [--per-background 4] [--seed 1]; CASES holds a
folder a study, with t1c.nii.gz, skull-stripped, and labels.nii.gz or a FLAIR (flair.nii.gz, t2f.nii.gz) that says where
there is disease: nothing is inserted there, and nothing that is found there counts.

The model must not have been trained on these images. Writes results.json, table.md, and a picture of what was hit, missed
and falsely found.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import SimpleITK as sitk
import typer
from insertion import Inserted, brain_without, insert
from lopsided.candidates import find_candidates
from lopsided.model import find_model, load_model
from lopsided.predict import Predictor
from lopsided.regions import Region
from lopsided.study import Study
from lopsided.volume import Volume, geometry_of
from lopsided_training.froc import CaseResult, counts_at, interval, patient_weights, ratio, sensitivities
from lopsided_training.matching import hits
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy import ndimage

BUDGETS = (0.5, 1.0, 2.0, 4.0)
LESIONS = 12  # that are tried to place in each study


def disease(folder: Path, image: sitk.Image) -> np.ndarray | None:
    """Bool (k, j, i): annotated disease, or the largest bright region of the FLAIR; None where neither is there."""
    if (folder / "labels.nii.gz").exists():
        return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nii.gz"))) > 0
    for name in ("flair.nii.gz", "t2f.nii.gz"):
        if (folder / name).exists():
            flair = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name))).astype(float)
            brain = brain_without(image, None)
            quarter, middle, three_quarters = np.percentile(flair[brain], (25, 50, 75))
            bright = ndimage.binary_opening(flair > middle + 3 * (three_quarters - quarter) / 1.349, iterations=2)
            numbered, number = ndimage.label(bright)
            return numbered == np.bincount(numbered.ravel())[1:].argmax() + 1 if number else None
    return None


def main(
    model: str,
    cases: Path,
    out: Annotated[Path, typer.Option(help="Folder for results.json, table.md and lesions.png.")],
    per_background: Annotated[int, typer.Option(min=1)] = 4,
    seed: int = 1,
) -> None:
    """Insert, search, count."""
    predictor = Predictor(load_model(find_model(model)))
    calibration, default = predictor.model.card.calibration, predictor.model.card.threshold
    results: list[CaseResult] = []
    placed: list[Inserted] = []
    shown: list[tuple[str, np.ndarray, tuple[int, int, int], float]] = []
    folders = sorted(path for path in cases.iterdir() if (path / "t1c.nii.gz").exists())
    for background, folder in enumerate(folders):
        image = sitk.ReadImage(str(folder / "t1c.nii.gz"), sitk.sitkFloat32)
        sick = disease(folder, image)
        allowed = brain_without(image, sick)
        spared = ndimage.binary_dilation(sick, iterations=5) if sick is not None else np.zeros(allowed.shape, bool)
        for n in range(per_background):
            array, labels, lesions = insert(image, allowed, LESIONS, seed + background * per_background + n)
            study = Study(Volume(array, geometry_of(image), f"{folder.name} {n}"), {})
            probability = predictor.probability_map(study)
            found = find_candidates(probability, np.zeros(array.shape, bool), calibration).missed
            found = [c for c in found if not spared[c.box][c.mask].any()]
            hit = tuple(hits(Region(c.box, c.mask), labels) for c in found)
            results.append(
                CaseResult(
                    name=f"{folder.name}-{n}",
                    scores=np.array([c.confidence for c in found], float),
                    hits=hit,
                    diameters=np.array([lesion.diameter_mm for lesion in lesions]),
                    patient=folder.name,
                )
            )
            placed += lesions
            best = results[-1].best()
            for lesion, score in zip(lesions, best, strict=True):
                k, j, i = (round(c) for c in lesion.centre)
                shown.append(("hit" if score >= default else "missed", array, (k, j, i), float(score)))
            false = [c for c, met in zip(found, hit, strict=True) if not met and c.confidence >= default]
            shown += [("false", array, c.peak_kji, c.confidence) for c in false]
    report(results, placed, default, out, seed)
    picture(shown, out / "lesions.png")


def report(results: list[CaseResult], placed: list[Inserted], default: float, out: Path, seed: int) -> None:
    """Print, and write ``results.json``."""
    contrast = np.array([lesion.contrast for lesion in placed])
    size = np.array([lesion.diameter_mm for lesion in placed])
    headings = ["lesions", "number", *(f"at {b:g} FP/scan (95 %)" for b in BUDGETS), f"at {default:.2f}"]
    table, rows = Table(*headings), []
    lines = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
    for name, wanted in (
        ("all", np.ones(len(placed), bool)),
        ("≥ 3 mm, z ≥ 2", (size >= 3) & (contrast >= 2)),
        *((f"{a:g} to {b:g} mm", (size >= a) & (size < b)) for a, b in ((2, 3), (3, 6), (6, 10), (10, 29))),
        ("z < 2", contrast < 2),
    ):
        chosen, start = [], 0
        for result in results:  # another size for those that do not count, so that what hits them is not false
            kept = np.where(wanted[start : start + len(result.diameters)], result.diameters, np.inf)
            chosen.append(CaseResult(result.name, result.scores, result.hits, kept, result.patient))
            start += len(kept)
        limits = (0.0, 1e6)
        values = sensitivities(chosen, BUDGETS, limits)[0]
        low, high = interval(sensitivities(chosen, BUDGETS, limits, patient_weights(chosen)))
        counts = counts_at(chosen, default, limits)
        at_default = float(ratio(counts.found.sum(), counts.lesions.sum()))
        cells = [f"{v:.2f} ({a:.2f}–{b:.2f})" for v, a, b in zip(values, low, high, strict=True)]
        cells = [name, str(int(wanted.sum())), *cells, f"{at_default:.2f}"]
        table.add_row(*cells)
        lines.append("| " + " | ".join(cells) + " |")
        rows.append(
            {
                "lesions": name,
                "number": int(wanted.sum()),
                "sensitivity": list(map(float, values)),
                "default": at_default,
            }
        )
    false = counts_at(results, default).false
    by_scan = dict(zip((r.name for r in results), false.tolist(), strict=True))
    Console().print(table)
    Console().print(
        f"{len(results)} scans, seed {seed}; {false.mean():.2f} false positives a scan at the default: {by_scan}"
    )
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "seed": seed,
        "budgets": BUDGETS,
        "rows": rows,
        "false_at_default": by_scan,
        "placed": [asdict(p) for p in placed],
    }
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(shown: list[tuple[str, np.ndarray, tuple[int, int, int], float]], path: Path, columns: int = 12) -> None:
    """Up to two rows of each kind, the surest first, axial, 40 voxels a side."""
    figure = Figure(figsize=(columns * 1.1, 6 * 1.25))
    axes = figure.subplots(6, columns)
    for cell in axes.flat:
        cell.axis("off")
    for row, kind in enumerate(("hit", "missed", "false")):
        chosen = sorted((item for item in shown if item[0] == kind), key=lambda item: -item[3])
        chosen = chosen[:: max(1, len(chosen) // (2 * columns))] if kind != "false" else chosen
        for cell, (_, array, (k, j, i), score) in zip(axes[2 * row : 2 * row + 2].flat, chosen, strict=False):
            low, high = np.percentile(array, (30, 99.7))
            cell.imshow(array[k, max(j - 20, 0) : j + 20, max(i - 20, 0) : i + 20], cmap="gray", vmin=low, vmax=high)
            cell.set_title(f"{kind} {score:.2f}" if np.isfinite(score) else kind, fontsize=7)
    figure.savefig(path, dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    typer.run(main)
