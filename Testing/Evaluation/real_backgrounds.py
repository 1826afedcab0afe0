"""How many inserted lesions a model finds in real post-contrast T1, and at how many false positives: for its model card.

Usage: python Testing/Evaluation/real_backgrounds.py MODEL CASES --out FOLDER [--heads LABELMAP]... [--control IMAGE]...
[--per-background 4] [--seed 1]

CASES holds a folder a study, with t1c.nii.gz, skull-stripped, or a full head with brain.nii.gz beside it; and labels.nii.gz
or a FLAIR (flair.nii.gz, t2f.nii.gz) that says where there is disease: nothing is inserted there, and what is found
there counts only where it hits a lesion that was inserted. LABELMAP is FreeSurfer-style, and drawn as full heads. Every full head is searched a second time, stripped; every
scan of CASES in slices of three and five of its own too.
IMAGE is a skull-stripped scan without lesions; none is inserted there.

The model must not have been trained on any of these. Writes results.md, tables for the model card; results.json, what they
were made from; curves.png, sensitivity and calibration; of each scan what was found, missed and falsely found; and
as_they_are.png, what is found in real scans in which nothing was inserted. Mind the licences of what the pictures show.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import found_pictures
import found_tables
import typer
from backgrounds import DRAWN, Background, case_folders, drawn_heads, in_slices, read_background, read_control
from insertion import LESIONS, insert
from lopsided.model import find_model, load_model
from lopsided.predict import Predictor
from rich.console import Console
from searched import AsItIs, Searched, search, search_as_it_is

SLICES = (3, 5)  # that are averaged to one
THICKEST_MM = 6.5  # of slices


def main(
    model: str,
    cases: Path,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    heads: Annotated[
        list[Path] | None, typer.Option(help="A label map to draw as full heads; may be repeated.")
    ] = None,
    control: Annotated[list[Path] | None, typer.Option(help="A scan without lesions; may be repeated.")] = None,
    per_background: Annotated[int, typer.Option(min=1)] = 4,
    seed: int = 1,
) -> None:
    """Insert, search, count, draw."""
    predictor = Predictor(load_model(find_model(model)))
    searched: list[Searched] = []
    plain: list[AsItIs] = []
    number = seed  # of the next scan

    def insert_and_search(background: Background) -> None:
        nonlocal number
        name = f"{background.name}-{number}"
        array, labels, lesions = insert(background.image, background.allowed, LESIONS, number)
        number += 1
        searched.append(search(predictor, background, array, labels, lesions, name=name))
        if background.brain is not None:
            searched.append(search(predictor, background, array, labels, lesions, name=name, stripped=True))
        searched.extend(
            search(predictor, *in_slices(background, array, labels, lesions, slices), name=name)
            for slices in SLICES
            if background.kind != DRAWN and slices * background.image.GetSpacing()[2] <= THICKEST_MM
        )
        Console(stderr=True).print(f"{name}: {len(lesions)} lesions in a {background.kind} scan searched")

    for folder in case_folders(cases):
        background = read_background(folder)
        plain.append(search_as_it_is(predictor, background))
        for _ in range(per_background):
            insert_and_search(background)
    for path in heads or []:
        for background in drawn_heads(path, per_background, number):
            insert_and_search(background)
    plain += [search_as_it_is(predictor, read_control(path)) for path in control or []]

    out.mkdir(parents=True, exist_ok=True)
    card = predictor.model.card
    pictures = found_pictures.write(searched, plain, card.threshold, out)
    text = found_tables.markdown(searched, plain, card.threshold, seed, pictures)
    (out / "results.md").write_text(text, encoding="utf-8")
    content = {
        "model": card.digest,
        "threshold": card.threshold,
        "seed": seed,
        "scans": [
            {
                "name": s.result.name,
                "kind": s.kind,
                "scores": s.result.scores.tolist(),
                "hits": s.result.hits,
                "lesions": [asdict(p.lesion) for p in s.lesions if p.lesion],
                "false": [{"lps": p.lps, "confidence": p.confidence} for p in s.false],
            }
            for s in searched
        ],
        "as_they_are": [
            {
                "background": p.background,
                "at_disease": None if p.at_disease is None else len(p.at_disease),
                "annotated": p.annotated,
                "elsewhere": len(p.elsewhere),
            }
            for p in plain
        ],
    }
    (out / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    typer.run(main)
