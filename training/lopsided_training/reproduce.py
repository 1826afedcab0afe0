"""A bundled model made again, from label maps, one real image and its recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from lopsided.errors import InputError
from lopsided.model import Scale, load_card
from lopsided.model import Sequence as SequenceName
from lopsided.wording import counted
from pydantic import Field

from .calibration import NothingToFit
from .config import Section, bundled, read_config
from .evaluate import evaluate
from .evaluation import EVALUATION, FOLDER
from .export import README, export
from .fit import fit
from .quantise import quantise
from .records import StudyRecord
from .runs import CONFIG, RUN, read_run
from .simulate import simulate

REAL = "real"  # among the backgrounds: the real image


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
    """Simulate, train, measure, export and quantise. What is done in ``out`` already is not done again.

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
    for part in ("train", "calibrate", "evaluate"):
        wanted: Studies = getattr(recipe, part)
        wanted = wanted.model_copy(update={"studies": min(wanted.studies, studies or wanted.studies)})
        simulate_studies(wanted, anatomies, real, out / part, sequences=recipe.sequences, jobs=jobs, say=say)
    run, model = out / "run", out / recipe.name
    if (run / RUN).exists():
        if read_run(run).config != settings:
            raise InputError(f"{run}: holds a run with other settings ({CONFIG}); choose another --out")
        say("run: there already")
    else:
        say("run: training")
        fit(out / "train", run, settings, cache=out / "cache", accelerator=accelerator, jobs=jobs, say=say)
    if (run / FOLDER / EVALUATION).exists():
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
        (model / README).unlink(missing_ok=True)  # of another evaluation
    if (model / README).exists():
        say("model: there already")
    else:
        export(
            run,
            model,
            title=recipe.title,
            data=recipe.data,
            evaluated_on=recipe.evaluated_on,
            limitations=recipe.limitations,
            licence=recipe.licence,
        )
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
    section = wanted.model_dump(mode="json") | {"sequences": sequences, "one_protocol": one_protocol}
    as_text, beside = json.dumps(section, indent=1) + "\n", out.with_name(f"{out.name}.json")
    if _there(out, wanted.studies):
        if beside.exists() and beside.read_text(encoding="utf-8") != as_text:
            raise InputError(f"{out}: holds studies of another recipe ({beside.name}); choose another --out")
        say(f"{out.name}: there already")
        return
    say(f"{out.name}: simulating {counted(wanted.studies, 'study')}")
    simulate(
        [str(real if name == REAL else anatomies / f"{name}.nii.gz") for name in wanted.backgrounds],
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
    beside.write_text(as_text, encoding="utf-8")


def _there(folder: Path, studies: int) -> bool:
    """Whether a dataset is whole: its description is written last."""
    try:
        there = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["numTraining"]
    except FileNotFoundError:
        return False
    if there != studies:
        raise InputError(
            f"{folder}: holds {counted(there, 'study')}, not the {studies} of this recipe; choose another --out"
        )
    return True
