"""A run that was calibrated and measured becomes a model folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from lopsided.errors import InputError
from lopsided.model import INTEGER_GRAPH, INTEGER_WEIGHTS, Calibration, ModelCard, OperatingPoint
from lopsided.results import all_or_nothing
from lopsided.wording import counted, typed

from .evaluation import EVALUATION, FOLDER, Evaluation, read_evaluation
from .runs import WEIGHTS, read_run

NO_LICENCE = "licence not stated"
CARD, README = "model.json", "README.md"  # of the model folder: its card, for programs and for people
_OURS = frozenset({WEIGHTS, CARD, README, INTEGER_GRAPH, INTEGER_WEIGHTS})


def export(
    run: Path, out: Path, *, title: str, data: str, evaluated_on: str, limitations: str, licence: str | None = None
) -> ModelCard:
    """Write ``model.safetensors``, ``model.json`` and ``README.md`` to ``out``. A model that is there is replaced, its 8-bit
    integers too; nothing else is.

    Confidence, threshold and all figures are those of the run's ``evaluation/evaluation.json``, and so are the scales
    that it searches at.

    Args:
        run: the folder of a finished run.
        out: the model folder; its last part is the model's name.
        title: for people, as the others.
        data: what it was trained on.
        evaluated_on: what it was measured on.
        limitations: known failures.
        licence: of the weights; not stated where None.

    Raises:
        InputError: a run that is not finished, or was never evaluated, or evaluated with other weights or without a
            calibration; no name for a model, or a folder that holds something else or cannot be written to.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", out.name):
        raise InputError(f"--out {out}: a model's name is of small letters, digits, dots and dashes; name it otherwise")
    there = sorted(path.name for path in out.glob("[!.]*"))
    if there and CARD not in there:
        raise InputError(f"{out}: is not empty ({', '.join(there[:3])}), and no model; choose another --out")
    finished = read_run(run)
    evaluation, calibration = _evaluation(run, finished.weights_sha256)
    draft = finished.model(evaluation.subject.scales).card
    card = draft.model_copy(
        update={
            "name": out.name,
            "title": title,
            "licence": licence or NO_LICENCE,
            "created": datetime.now(UTC).date().isoformat(),
            "calibration": calibration,
            "threshold": evaluation.threshold,
            "operating_points": tuple(
                OperatingPoint(
                    confidence=p.threshold,
                    false_positives_per_scan=round(p.false_positives.value or 0.0, 3),
                    sensitivity=round(p.sensitivity.value or 0.0, 4),
                )
                for p in evaluation.operating_points
            ),
            "provenance": draft.provenance.model_copy(
                update={"data": data, "evaluated_on": evaluated_on, "limitations": limitations}
            ),
        }
    ).signed()
    with all_or_nothing(out, overwrite=True, ours=_OURS) as folder:
        shutil.copyfile(run / WEIGHTS, folder / WEIGHTS)
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / README).write_text("\n".join(_readme(card, evaluation)), encoding="utf-8")
    return card


def _evaluation(run: Path, weights_sha256: str) -> tuple[Evaluation, Calibration]:
    path = run / FOLDER / EVALUATION
    again = f"run `lopsided-train evaluate {run} DATASET --calibrate DATASET`"
    if not path.exists():
        raise InputError(f"{path}: missing, so nobody knows how good this run is; {again} first")
    evaluation = read_evaluation(path)
    if evaluation.subject.weights_sha256 != weights_sha256:
        raise InputError(f"{path}: is of other weights than {run / WEIGHTS}; {again} again")
    if evaluation.calibration is None or evaluation.calibrated_on is None:
        raise InputError(f"{path}: has no calibration, and a model's confidence must mean something; {again} again")
    if not evaluation.dataset.lesions:
        raise InputError(f"{path}: there was no lesion to be found, so no sensitivity is known; {again} on others")
    if evaluation.reliability.brier is None:
        raise InputError(
            f"{path}: nothing was found in any case, so the calibration was not measured; {again} on others"
        )
    return evaluation, evaluation.calibration


def _readme(card: ModelCard, evaluation: Evaluation) -> Iterable[str]:
    made, calibration, dataset = card.provenance, card.calibration, evaluation.dataset
    yield f"# {card.title}\n"
    yield f"{card.intended_use} Weights: {card.licence}. Digest `{card.digest}`.\n"
    voxels = ["×".join(f"{side:g}" for side in card.input.scaled(scale).spacing_mm) for scale in card.scales]
    yield (
        f"**Made:** {made.data} Loss: {made.loss}; {made.steps} steps, seed {made.seed}, {made.hours} h on "
        f"{made.machine}. It searches in voxels of {' and '.join(voxels)} mm, longer through thick slices.\n"
    )
    yield (
        f"**Measured on:** {made.evaluated_on} ({counted(dataset.cases, 'study')}, {counted(dataset.lesions, 'lesion')}; a lesion is hit when "
        "a candidate overlaps it dilated by one voxel). In brackets: 95 % intervals over patients.\n"
    )
    yield (
        f"Mean sensitivity at ⅛ to 8 false positives a scan: {evaluation.overlap.froc_mean.words()}. At the default "
        f"threshold: lesion-wise Dice as in BraTS-METS 2023 {evaluation.extents.lesion_wise_dice.words()}, voxel Dice "
        f"{evaluation.extents.voxel_dice.words()}.\n"
    )
    yield "| confidence at least | false positives a scan | sensitivity |"
    yield "| ---: | ---: | ---: |"
    for p in evaluation.operating_points:
        mark = " (default)" if p.default else ""
        yield f"| {typed(p.threshold)}{mark} | {p.false_positives.words()} | {p.sensitivity.words()} |"
    yield "\nAt the default threshold, by the lesion's diameter:\n"
    yield "| diameter | lesions | sensitivity |"
    yield "| --- | ---: | ---: |"
    for size in evaluation.overlap.by_size:
        yield f"| {size.words} | {size.lesions} | {size.sensitivity.words()} |"
    yield (
        f"\nConfidence is calibrated on {counted(calibration.studies, 'further study')}; on the measured ones its Brier score is "
        f"{calibration.brier:.3f}, its expected calibration error {calibration.calibration_error:.3f}.\n"
    )
    yield f"**Limitations:** {made.limitations}\n"
