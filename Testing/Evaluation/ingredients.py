"""What each ingredient of the bundled model's recipe is worth: small networks trained with it and without, on real scans.

Usage: python Testing/Evaluation/ingredients.py CASES --anatomies FOLDER --real IMAGE --out FOLDER [--only NAME]...
[--studies 57] [--steps 6000] [--jobs 2]

CASES as for real_backgrounds.py. FOLDER holds the label maps anatomy_01.nii.gz to anatomy_16.nii.gz, IMAGE is the real
post-contrast T1 that the bundled model is trained on too. All networks have the same sizes, steps and number of studies. One
finished network is one file in OUT, which is not made again; table.md is made from these files. With one seed each, small
differences mean nothing: "all" is trained with two. 6000 steps want a GPU. With 1500, half an hour each on one core, "all" finds 0.61
of the lesions in skull-stripped scans at two false positives a scan, which shows what matters most; with 600 a quarter, too few to
tell one from another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from backgrounds import case_folders, read_background
from found_tables import at_budgets, at_threshold, row
from insertion import LESIONS, insert
from lopsided.predict import Predictor
from lopsided_training.config import bundled, read_config, read_settings
from lopsided_training.experiment.run import CaseRecord
from lopsided_training.fit import fit
from lopsided_training.records import StudyRecord
from lopsided_training.reproduce import REAL, Recipe, simulate_studies
from lopsided_training.runs import read_run
from rich.console import Console
from searched import search

SETTINGS = (
    "scales=[1.0]",
    "loaders=1",
    "patches.size=48",
    "network.channels=[16, 32, 64]",
    "network.encoder_blocks=[0, 1, 1]",
    "network.decoder_blocks=[0, 0]",
)
RECIPE = read_settings(bundled("recipes", "default"), Recipe)
MAPS = tuple(name for name in RECIPE.train.backgrounds if name != REAL)


def no_vessels(record: StudyRecord) -> StudyRecord:
    """Sinuses, dura and plexus stay."""
    return replace(record, vessels=0, sulcal=0)


@dataclass(frozen=True)
class Variant:
    """``data``: the dataset, by a name of its own; what follows says how it is simulated, by default as the recipe does.
    ``settings``: over those of all."""

    data: str = "as it ships"
    backgrounds: tuple[str, ...] = RECIPE.train.backgrounds
    change: Callable[[StudyRecord], StudyRecord] | None = None
    one_protocol: bool = False
    more_small: float = RECIPE.train.more_small
    settings: tuple[str, ...] = ()


class Scan(CaseRecord):
    """``kind``: of background."""

    kind: str


VARIANTS = {
    "all": Variant(),
    "all, another seed": Variant(settings=("seed=2",)),
    "without the real image": Variant("maps", MAPS),
    "without it, and without drawn vessels": Variant("maps without vessels", MAPS, no_vessels),
    "studies of one protocol, skull-stripped": Variant("one protocol", one_protocol=True),
    "small lesions weigh no more": Variant(settings=("patches.small=0.0",)),
    "and are no more": Variant("usual sizes", more_small=0.0, settings=("patches.small=0.0",)),
    "no patches around what is bright": Variant(settings=("patches.on_bright=0.0",)),
    "intensities not perturbed": Variant(settings=("patches.perturb=false",)),
}


def main(
    cases: Path,
    anatomies: Annotated[Path, typer.Option(help="Folder of the label maps.")],
    real: Annotated[Path, typer.Option(help="The real image that is trained on.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    only: Annotated[list[str] | None, typer.Option(help="A network to train; may be repeated. All by default.")] = None,
    studies: Annotated[int, typer.Option(min=1)] = 57,
    steps: Annotated[int, typer.Option(min=1)] = 6000,
    per_background: Annotated[int, typer.Option(min=1)] = 4,
    jobs: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Simulate, train, search, tabulate."""
    say = Console(stderr=True).print
    unknown = set(only or ()) - set(VARIANTS)
    if unknown:
        raise typer.BadParameter(f"--only {', '.join(sorted(unknown))}: choose from {', '.join(VARIANTS)}")
    folders = case_folders(cases)
    for name in only or VARIANTS:
        variant, result = VARIANTS[name], out / f"{name}.json"
        if result.exists():
            continue
        data, run = out / "data" / variant.data, out / "runs" / name
        wanted = {"backgrounds": variant.backgrounds, "more_small": variant.more_small, "studies": studies}
        simulate_studies(
            RECIPE.train.model_copy(update=wanted),
            anatomies,
            real,
            data,
            sequences=RECIPE.sequences,
            one_protocol=variant.one_protocol,
            change=variant.change,
            jobs=jobs,
            say=say,
        )
        config = read_config(bundled("configs", RECIPE.config), (*SETTINGS, f"steps={steps}", *variant.settings))
        fit(data, run, config, cache=out / "cache" / variant.data, jobs=jobs, say=say)
        found = searched(Predictor(read_run(run).model()), folders, per_background)
        result.write_text(json.dumps([scan.model_dump() for scan in found], indent=1) + "\n", encoding="utf-8")
        say(f"{name}: searched")
    table = "\n".join(_table(out))
    (out / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def searched(predictor: Predictor, folders: list[Path], per_background: int) -> Iterator[Scan]:
    """What was found: the same scans and lesions for every predictor."""
    seed = 1
    for folder in folders:
        background = read_background(folder)
        for _ in range(per_background):
            array, labels, lesions = insert(background.image, background.allowed, LESIONS, seed)
            name = f"{background.name}-{seed}"
            r = search(predictor, background, array, labels, lesions, name=name).result
            diameters, scores = tuple(r.diameters.tolist()), tuple(r.scores.tolist())
            yield Scan(kind=background.kind, name=name, diameters=diameters, scores=scores, hits=r.hits)
            seed += 1


def _table(out: Path) -> Iterator[str]:
    yield "| kind | network | at 0.5 FP/scan | at 1 FP/scan | at 2 FP/scan | at 4 FP/scan | at p ≥ ½ | FP/scan there |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    results = {
        name: [Scan(**scan) for scan in json.loads((out / f"{name}.json").read_text(encoding="utf-8"))]
        for name in VARIANTS
        if (out / f"{name}.json").exists()
    }
    kinds = dict.fromkeys(scan.kind for scans in results.values() for scan in scans)
    for kind in kinds:
        for name, scans in results.items():
            cases = [scan.result() for scan in scans if scan.kind == kind]
            yield f"| {kind} | {name} | {row(at_budgets(cases))} | {row(at_threshold(cases, 0.5))} |"


if __name__ == "__main__":
    typer.run(main)
