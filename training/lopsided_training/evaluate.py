"""A network is measured: on the studies of a dataset with truth, after calibration on others if it is a run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lopsided import __version__
from lopsided.errors import InputError
from lopsided.model import Calibration, find_model, load_model
from lopsided.predict import Predictor
from lopsided.reading import read_volume
from lopsided.results import all_or_nothing
from lopsided.volume import voxel_digest
from lopsided.wording import typed

from .calibration import brier_score, calibration_error, fit_calibration, reliability
from .dataset import Case, digest, read_dataset
from .evaluation import (
    EVALUATION,
    FOLDER,
    DatasetFacts,
    EvaluatedCase,
    Evaluation,
    Reliability,
    Subject,
    read_evaluation,
)
from .examine import Examined, check, examine
from .froc import RESAMPLES, CaseResult, threshold_at
from .machine import machine
from .matching import dice, lesion_wise_dice
from .measure import IOU_WORDS, OVERLAP_WORDS, Measurer
from .report import write_report
from .runs import CONFIG, RUN, Seen, read_run
from .tables import CANDIDATES, LESIONS, write_tables

REPORT = "report.html"
_OURS = frozenset({EVALUATION, LESIONS, CANDIDATES, REPORT})
FALSE_POSITIVES_A_SCAN = 2.0  # at the default threshold, where nothing else is asked for
_UNCALIBRATED_THRESHOLD = 0.5  # of the peak probability


@dataclass(frozen=True)
class _Dataset:
    """Cases, and the hashes of each one's files, by case and sequence or ``label``."""

    folder: Path
    cases: list[Case]
    files: dict[str, dict[str, str]]

    @cached_property
    def seen(self) -> list[Seen]:
        return [
            Seen(case.name, case.patient, frozenset({self.files[case.name]["t1c"], _voxels(case)}))
            for case in self.cases
        ]

    def facts(self, results: list[CaseResult]) -> DatasetFacts:
        return DatasetFacts(
            name=self.folder.resolve().name,
            digest=digest(self.files),
            cases=len(results),
            patients=len({r.patient for r in results}),
            lesions=sum(len(r.diameters) for r in results),
        )


@dataclass(frozen=True)
class _Scoring:
    """What candidates are ranked by, and the least score that is shown at first."""

    calibration: Calibration | None
    threshold: float
    calibrated_on: DatasetFacts | None = None


def evaluate(
    subject: Path,
    dataset: Path,
    out: Path | None,
    *,
    calibrate: Path | None = None,
    budget: float | None = None,
    scales: tuple[float, ...] | None = None,
    lesion_labels: tuple[int, ...] = (),
    device: str | None = None,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> Evaluation:
    """Measure a run or a model; ``out`` then holds ``evaluation.json``, two tables and a report.

    Args:
        subject: the folder of a finished run, a model folder, or the name of a bundled model.
        dataset: with truth, and studies that the network was not trained on.
        out: a folder; an earlier evaluation there is replaced. ``evaluation`` within a run where None; one that calibrated the run is
            not replaced there by one that does not.
        calibrate: for a run: further studies that it was not trained on. On them the confidence is fitted, and the
            default threshold chosen. Without, candidates are ranked by their peak probability.
        budget: false positives a scan at the default threshold, on the studies of ``calibrate``; 2 where None.
        scales: for a run: of the voxels that it searches in, to those of its ``input``; 1 where None.
        lesion_labels: the label values that are lesions, in both datasets; where empty those that a run was trained with,
            all but 0 for a model.
        device: ``cpu``, ``cuda`` or ``mps``; the fastest there is where None.
        seed: of the resamples of the patients, for intervals.
        say: takes lines of progress.

    Raises:
        InputError: no finished run and no model; a dataset that cannot be used; studies or patients to measure or calibrate
            on that a run was trained on, or that are in both; studies that give nothing to fit; options that do not go
            together.
    """
    began = time.monotonic()
    is_run = (subject / CONFIG).exists() or (subject / RUN).exists()
    subject = subject if is_run else find_model(str(subject))
    if calibrate is not None and not is_run:
        raise InputError(f"{subject}: a model has its calibration already; leave --calibrate out, or give a run")
    if budget is not None and calibrate is None:
        raise InputError("--false-positives chooses the threshold on the studies of --calibrate; give both or none")
    if scales is not None and not is_run:
        raise InputError(f"{subject}: a model searches at scales of its own; leave --scale out, or give a run")
    if out is None and not is_run:
        raise InputError("no --out; give a folder for the evaluation of a model")
    out = out or subject / FOLDER
    is_its_own = is_run and out.resolve() == (subject / FOLDER).resolve()
    if is_its_own and calibrate is None and _has_calibration(out / EVALUATION):
        raise InputError(
            f"{out}: has the calibration, which `lopsided-train export` reads; give --calibrate too, or another --out for an "
            "evaluation without"
        )
    run = read_run(subject) if is_run else None
    model = run.model(scales or (1.0,)) if run else load_model(subject)
    predictor = Predictor(model, device)
    card = predictor.model.card
    lesion_labels = lesion_labels or (run.config.lesion_labels if run else ())
    measured = _read(dataset, lesion_labels)
    further = _read(calibrate, lesion_labels) if calibrate else None
    if further:
        _refuse_common(
            further, measured.seen, f"{measured.folder}; a calibration is measured on others than it was fitted on"
        )
    if run:
        for used in filter(None, (measured, further)):
            _refuse_common(
                used, list(run.trained_on()), f"what {subject} was trained on; a network is measured on others"
            )
    for used in filter(None, (measured, further)):
        check(predictor, used.cases)
    with all_or_nothing(out, overwrite=True, ours=_OURS) as folder:
        if further:
            known = examine(predictor, further.cases, say)
            scoring = _calibrate(further, known, FALSE_POSITIVES_A_SCAN if budget is None else budget)
        elif is_run:
            scoring = _Scoring(None, _UNCALIBRATED_THRESHOLD)
        else:
            scoring = _Scoring(card.calibration, card.threshold)
        examined = examine(predictor, measured.cases, say)
        evaluation = Evaluation(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software=_software(),
            machine=machine(predictor.device, predictor.in_integers),
            seconds=round(time.monotonic() - began, 1),
            subject=Subject(
                kind="run" if is_run else "model",
                name=subject.resolve().name if is_run else card.name,
                weights_sha256=card.weights_sha256,
                digest=None if is_run else card.digest,
                scales=card.scales,
            ),
            **_numbers(measured, examined, scoring, seed),
        )
        (folder / EVALUATION).write_text(evaluation.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_tables(folder, examined, scoring.calibration, scoring.threshold)
        write_report(evaluation, examined, folder / REPORT)
    return evaluation


def _has_calibration(path: Path) -> bool:
    try:
        return read_evaluation(path).calibrated_on is not None
    except InputError:  # there is none, or nothing that could be used
        return False


def _read(folder: Path, lesion_labels: tuple[int, ...]) -> _Dataset:
    cases = read_dataset(folder, lesion_labels)
    files = {c.name: {n: c.digest(p) for n, p in (c.images | {"label": c.label}).items()} for c in cases}
    for case in cases:
        if case.lesion:  # the same file with other lesions in it is another truth
            files[case.name]["label"] += f" {sorted(case.lesion)}"
    return _Dataset(folder, cases, files)


def _voxels(case: Case) -> str:
    return voxel_digest(read_volume(case.images["t1c"]))


def _refuse_common(dataset: _Dataset, others: list[Seen], where: str) -> None:
    """Raises InputError where a study or a patient of the dataset is among the others."""
    images = {image: other for other in others for image in other.images}
    # of a patient's cases one that is not called as the patient is, for that says something (below)
    patients = {other.patient: other for other in sorted(others, key=lambda other: other.patient != other.name)}
    for case in dataset.seen:
        same = next((images[image] for image in case.images if image in images), None)
        if same:
            raise InputError(
                f"{dataset.folder}: case {case.name} is case {same.name} of {where}, so take it out of one of them"
            )
        other = patients.get(case.patient)
        # where nobody says who a case is of, it has the name of the case: that two datasets count alike says nothing
        if other and not (case.patient == case.name and other.patient == other.name):
            raise InputError(
                f"{dataset.folder}: case {case.name} is of patient {case.patient}, as is case {other.name} of {where}, so "
                "take it out of one of them"
            )


def _calibrate(dataset: _Dataset, examined: list[Examined], budget: float) -> _Scoring:
    calibration = fit_calibration(examined)
    results = [case.result(calibration) for case in examined]
    threshold = float(typed(max(threshold_at(results, budget), 0.0)))  # upwards, so that the budget is kept
    return _Scoring(calibration, min(threshold, 1.0), dataset.facts(results))


def _numbers(dataset: _Dataset, examined: list[Examined], scoring: _Scoring, seed: int) -> dict[str, Any]:
    """All fields of an :class:`Evaluation` that follow from what was found."""
    calibration, threshold = scoring.calibration, scoring.threshold
    cases = tuple(_measured(case, dataset.files[case.case.name], scoring) for case in examined)
    results, by_iou = ([case.result(iou=iou) for case in cases] for iou in (False, True))
    brier, error = brier_score(results), calibration_error(results)
    if calibration is not None and any(len(r.scores) for r in results):
        measured = {"brier": round(brier, 4), "calibration_error": round(error, 4)}
        calibration = calibration.model_copy(update=measured)
    measurer = Measurer(results, seed)
    return {
        "seed": seed,
        "resamples": RESAMPLES,
        "score": "peak probability" if calibration is None else "confidence",
        "calibration": calibration,
        "calibrated_on": scoring.calibrated_on,
        "threshold": threshold,
        "dataset": dataset.facts(results),
        "overlap": measurer.detections(results, threshold, OVERLAP_WORDS),
        "iou": measurer.detections(by_iou, threshold, IOU_WORDS),
        "operating_points": measurer.operating_points(results, threshold),
        "extents": measurer.extents(cases),
        "reliability": Reliability(bins=reliability(results), brier=brier, calibration_error=error),
        "cases": cases,
    }


def _measured(case: Examined, files: dict[str, str], scoring: _Scoring) -> EvaluatedCase:
    result = case.result(scoring.calibration)
    truth = case.mask([lesion.region for lesion in case.lesions])
    shown = zip(case.candidates, result.scores, strict=True)
    found = case.mask([candidate.region for candidate, score in shown if score >= scoring.threshold])
    return EvaluatedCase(
        name=result.name,
        patient=result.patient,
        files=files,
        diameters_mm=tuple(result.diameters.tolist()),
        scores=tuple(result.scores.tolist()),
        hits=result.hits,
        hits_iou=case.result(scoring.calibration, iou=True).hits,
        voxel_dice=dice(truth, found),
        lesion_wise_dice=lesion_wise_dice(truth, found, case.geometry.voxel_volume),
    )


def _software() -> dict[str, str]:
    packages = ("torch", "numpy", "scipy", "scikit-learn", "SimpleITK")
    return {"lopsided": __version__, "python": platform.python_version()} | {p: version(p) for p in packages}
