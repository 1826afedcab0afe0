"""A bundled model made again, from label maps, one real image and its recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lopsided.dataset import store
from lopsided.dataset.records import DATASET
from lopsided.errors import InputError
from lopsided.model import Scale, load_card
from lopsided.model import Sequence as SequenceName
from lopsided.wording import counted
from pydantic import Field

from .calibration import NothingToFit
from .config import Section, bundled, read_config
from .dataset import digest, hashes, read_dataset, shown
from .evaluate import evaluate
from .evaluation import EVALUATION, FOLDER
from .export import CARD, export
from .fit import fit
from .quantise import quantise
from .records import StudyRecord
from .runs import RUN, WEIGHTS, read_run
from .simulate import refuse_missing, simulate
from .writing import whole, writable

REAL = "real"  # among the backgrounds: the real image
_DATASETS = ("train", "calibrate", "evaluate")


class Studies(Section):
    """One dataset to simulate: on ``backgrounds`` in turn, label maps by their names without ending, or ``real``."""

    backgrounds: tuple[str, ...] = Field(min_length=1)
    studies: int = Field(gt=0)
    seed: int = Field(ge=0)
    mean_lesions: float = Field(7.0, ge=0)
    more_small: float = Field(0.0, ge=0, le=1)


class Recipe(Section):
    """How a bundled model was made. ``config``: the bundled settings of its training. ``scales``: that it searches
    at. ``false_positives``: a scan, at its default threshold. The texts are those of its card."""

    name: str
    title: str
    data: str
    evaluated_on: str
    limitations: str
    licence: str | None = None
    config: str
    sequences: tuple[SequenceName, ...]
    scales: tuple[Scale, ...] = (1.0,)
    false_positives: float = Field(2.0, gt=0)
    train: Studies
    calibrate: Studies
    evaluate: Studies


def reproduce(
    recipe: Recipe,
    anatomies: Path,
    real: Path,
    out: Path,
    *,
    changes: Sequence[str] = (),
    studies: int | None = None,
    jobs: int = 1,
    accelerator: str = "auto",
    say: Callable[[str], None] = print,
) -> Path:
    """Simulate, train, measure, export and quantise. What is done in ``out`` already, and from the same things, is not done
    again; files beside, as ``train.json``, say what each was made from.

    Args:
        recipe: what to make.
        anatomies: folder of the label maps, ``NAME.nii.gz``.
        real: the real image.
        out: gets ``train``, ``calibrate``, ``evaluate``, ``run``, and the model folder, by the model's name.
        changes: to the settings of its training, such as ``steps=20``.
        studies: of each dataset at most so many, for a trial; as the recipe says where None.
        jobs: processes that simulate and preprocess.
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        say: takes lines of progress.

    Returns:
        The model folder.

    Raises:
        InputError: a background or settings that are not there, an ``out`` that holds something else, or too little training
            for a calibration.
    """
    settings = read_config(bundled("configs", recipe.config), changes)
    for part in _DATASETS:
        wanted: Studies = getattr(recipe, part)
        wanted = wanted.model_copy(update={"studies": min(wanted.studies, studies or wanted.studies)})
        simulate_studies(wanted, anatomies, real, out / part, sequences=recipe.sequences, jobs=jobs, say=say)
    data = {part: digest(hashes(read_dataset(out / part))) for part in _DATASETS}
    run, model = out / "run", out / recipe.name
    if (run / RUN).exists():
        there = read_run(run)
        known = shown(settings, read_dataset(out / "train"))
        if (there.config, there.facts.get("data_sha256"), there.facts["start_from"]) != (known, data["train"], None):
            raise InputError(f"{run}: holds a run with other settings, or on other studies; choose another --out")
        say("run: there already")
    else:
        say("run: training")
        fit(out / "train", run, settings, cache=out / "cache", accelerator=accelerator, jobs=jobs, say=say)
    evaluation, card = run / FOLDER / EVALUATION, model / CARD
    measured = recipe.model_dump(include={"scales", "false_positives"}) | data | {"weights": _hash(run / WEIGHTS)}
    if _says(out / EVALUATION, measured | {"evaluation": _hash(evaluation)}):
        say("evaluation: there already")
    else:
        try:
            evaluate(
                run,
                out / "evaluate",
                None,
                calibrate=out / "calibrate",
                budget=recipe.false_positives,
                scales=recipe.scales,
                say=say,
            )
        except NothingToFit as error:  # here, neither can become more
            raise InputError(f"{run}: {error.why}; choose another --out, with more steps or studies") from None
        _say_in(out / EVALUATION, measured | {"evaluation": _hash(evaluation)})
    texts = recipe.model_dump(include={"title", "data", "evaluated_on", "limitations", "licence"})
    exported = out / f"{recipe.name}.json"
    if card.exists() and _says(exported, texts | {"evaluation": _hash(evaluation)}):
        say("model: there already")
    else:
        exported.unlink(missing_ok=True)
        export(run, model, **texts)
        _say_in(exported, texts | {"evaluation": _hash(evaluation)})
    if load_card(model).integers:
        say("integers: there already")
    elif find_spec("nncf"):
        quantise(model, out / "calibrate", say=lambda line: say(f"integers: {line}"))
    else:
        say("integers: left out, for NNCF is not installed")
    return model


def simulate_studies(
    wanted: Studies,
    anatomies: Path,
    real: Path,
    out: Path,
    *,
    sequences: tuple[SequenceName, ...],
    one_protocol: bool = False,
    change: Callable[[StudyRecord], StudyRecord] | None = None,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """One dataset of a recipe, unless it is there already; arguments as for :func:`reproduce` and :func:`.simulate.simulate`.

    Raises:
        InputError: a background that is not there, or an ``out`` that holds other studies.
    """
    backgrounds = [real if name == REAL else anatomies / f"{name}.nii.gz" for name in wanted.backgrounds]
    refuse_missing(list(map(str, backgrounds)))
    made_from = wanted.model_dump(mode="json") | {"sequences": sequences, "one_protocol": one_protocol}
    made_from |= {"sha256": list(map(_hash, backgrounds))}
    beside = out.with_name(f"{out.name}.json")
    if any(out.glob("[!.]*")) and not _says(beside, made_from):
        raise InputError(
            f"{out}: holds other studies than these ({beside.name}): of another recipe, number or background; "
            "choose another --out"
        )
    if (out / DATASET).exists():
        say(f"{out.name}: there already")
        return
    say(f"{out.name}: simulating {counted(wanted.studies, 'study')}")
    _say_in(beside, made_from)  # before any study, for all that is there must be of it
    simulate(
        list(map(str, backgrounds)),
        out,
        studies=wanted.studies,
        seed=wanted.seed,
        mean_lesions=wanted.mean_lesions,
        more_small=wanted.more_small,
        sequences=sequences,
        one_protocol=one_protocol,
        change=change,
        jobs=jobs,
    )


def _says(record: Path, made_from: dict[str, Any]) -> bool:
    """Whether a record is there and names just this."""
    return record.is_file() and record.read_bytes() == _bytes(made_from)


def _say_in(record: Path, made_from: dict[str, Any]) -> None:
    with writable(record):
        record.parent.mkdir(parents=True, exist_ok=True)
    with whole(record) as partial:
        partial.write_bytes(_bytes(made_from))


def _bytes(made_from: dict[str, Any]) -> bytes:
    return (json.dumps(made_from, indent=1) + "\n").encode()


def _hash(path: Path) -> str | None:
    return store.digest(path) if path.is_file() else None
