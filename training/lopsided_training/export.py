"""A run becomes a model folder: calibrated on some studies, measured on others."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from lopsided.candidates import confidence, features
from lopsided.errors import InputError
from lopsided.model import Calibration, Model, ModelCard, OperatingPoint, Provenance
from lopsided.predict import Predictor
from lopsided.wording import DISCLAIMER
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from .config import FitConfig
from .dataset import read_dataset
from .evaluate import (
    FALSE_POSITIVES,
    SIZES_MM,
    CaseResult,
    evaluate,
    false_positives,
    sensitivity,
    threshold_at,
)
from .fit import CONFIG, RUN, WEIGHTS

_NOT_YET = Calibration(intercept=0, peak=1, volume=0, compactness=0, studies=0, brier=1, calibration_error=1)
_TEN_BINS = np.linspace(0, 1, 11)


def export(
    run: Path,
    out: Path,
    *,
    calibrate: Path,
    evaluate_on: Path,
    title: str,
    data: str,
    evaluated_on: str,
    limitations: str,
    budget: float,
    say: Callable[[str], None],
) -> ModelCard:
    """Write ``model.safetensors``, ``model.json`` and ``README.md`` to ``out``.

    The confidence is fitted, and the default threshold chosen at ``budget`` false positives a scan, on the studies
    of ``calibrate``; every figure is measured on those of ``evaluate_on``.

    Raises:
        InputError: a run that is not finished, an unusable dataset, or no true or no false candidate to fit on.
    """
    for name in (CONFIG, RUN, WEIGHTS):
        if not (run / name).is_file():
            raise InputError(f"{run / name}: missing, so this is not a finished run; let `lopsided-train fit` finish")
    config = FitConfig.model_validate_json((run / CONFIG).read_text(encoding="utf-8"))
    facts = json.loads((run / RUN).read_text(encoding="utf-8"))
    content = (run / WEIGHTS).read_bytes()
    card = ModelCard(
        format_version=1,
        name=out.name,
        title=title,
        intended_use=DISCLAIMER,
        licence="Apache-2.0",
        created=datetime.now(UTC).date().isoformat(),
        architecture=config.network,
        input=config.input,
        calibration=_NOT_YET,
        threshold=0.5,
        operating_points=(OperatingPoint(confidence=0, false_positives_per_scan=0, sensitivity=0),),
        provenance=Provenance(
            command=f"lopsided-train fit --config (its content: {config.model_dump_json()})",
            data=data,
            loss=f"{config.loss.kind}, {config.loss.model_dump_json(exclude={'kind'})}",
            steps=config.steps,
            seed=config.seed,
            machine=facts["machine"],
            hours=facts["hours"],
            software=facts["software"],
            evaluated_on=evaluated_on,
            limitations=limitations,
        ),
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )
    predictor = Predictor(Model(run, card, load_file(run / WEIGHTS)))
    fitted_on = evaluate(predictor, read_dataset(calibrate), _NOT_YET, say)
    calibration = _fit(fitted_on)
    threshold = round(threshold_at(_recalibrated(fitted_on, calibration), budget), 4)
    measured = _recalibrated(evaluate(predictor, read_dataset(evaluate_on), _NOT_YET, say), calibration)
    brier, error = _reliability(measured)
    card = card.model_copy(
        update={
            "calibration": calibration.model_copy(update={"brier": brier, "calibration_error": error}),
            "threshold": threshold,
            "operating_points": _operating_points(measured, threshold),
        }
    ).signed()
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / WEIGHTS, out / WEIGHTS)
    (out / "model.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_readme(card, measured), encoding="utf-8")
    return card


def _fit(results: list[CaseResult]) -> Calibration:
    true = np.array([bool(hits) for r in results for hits in r.hits])
    if true.all() or not true.any():
        raise InputError("the calibration studies give no true or no false candidate; use more, or train longer")
    fitted = LogisticRegression(C=1e6, max_iter=5000).fit(
        [features(*sizes) for r in results for sizes in r.sizes], true
    )
    peak, volume, compactness = (float(c) for c in fitted.coef_[0])
    return Calibration(
        intercept=float(fitted.intercept_[0]),
        peak=peak,
        volume=volume,
        compactness=compactness,
        studies=len(results),
        brier=1,
        calibration_error=1,
    )


def _recalibrated(results: list[CaseResult], calibration: Calibration) -> list[CaseResult]:
    return [replace(r, confidence=np.array([confidence(*s, calibration) for s in r.sizes])) for r in results]


def _reliability(results: list[CaseResult]) -> tuple[float, float]:
    """Brier score, and expected calibration error over ten bins."""
    said = np.concatenate([r.confidence for r in results])
    true = np.array([bool(hits) for r in results for hits in r.hits], float)
    bins = np.digitize(said, _TEN_BINS[1:-1])
    gaps = [(bins == b).mean() * abs(said[bins == b].mean() - true[bins == b].mean()) for b in np.unique(bins)]
    return round(float(np.mean((said - true) ** 2)), 4), round(float(sum(gaps)), 4)


def _operating_points(results: list[CaseResult], default: float) -> tuple[OperatingPoint, ...]:
    thresholds = {default} | {round(threshold_at(results, budget), 4) for budget in FALSE_POSITIVES}
    return tuple(
        OperatingPoint(
            confidence=t,
            false_positives_per_scan=round(false_positives(results, t), 3),
            sensitivity=round(sensitivity(results, t), 4),
        )
        for t in sorted(thresholds)
    )


def _readme(card: ModelCard, results: list[CaseResult]) -> str:
    lesions = sum(len(r.diameters) for r in results)
    lines = [
        f"# {card.title}",
        "",
        f"{card.intended_use} Weights: {card.licence}. Digest `{card.digest}`.",
        "",
        f"**Made:** {card.provenance.data} Loss: {card.provenance.loss}; {card.provenance.steps} steps, "
        f"seed {card.provenance.seed}, {card.provenance.hours} h on {card.provenance.machine}.",
        "",
        f"**Measured on:** {card.provenance.evaluated_on} ({len(results)} studies, {lesions} lesions; a lesion is hit "
        "when a candidate overlaps it dilated by one voxel).",
        "",
        "| confidence at least | false positives a scan | sensitivity |",
        "| ---: | ---: | ---: |",
    ]
    for p in card.operating_points:
        mark = " (default)" if p.confidence == card.threshold else ""
        lines.append(f"| {p.confidence:.2f}{mark} | {p.false_positives_per_scan:.2f} | {p.sensitivity:.2f} |")
    lines += [
        "",
        "At the default threshold, by the lesion's diameter:",
        "",
        "| mm | lesions | sensitivity |",
        "| --- | ---: | ---: |",
    ]
    for size in SIZES_MM:
        number = sum(int(((r.diameters >= size[0]) & (r.diameters < size[1])).sum()) for r in results)
        label = f"{size[0]:g} to {size[1]:g}" if np.isfinite(size[1]) else f"over {size[0]:g}"
        lines.append(f"| {label} | {number} | {sensitivity(results, card.threshold, size):.2f} |")
    calibration = card.calibration
    lines += [
        "",
        f"Confidence is calibrated on {calibration.studies} further studies; on the measured ones its Brier score is "
        f"{calibration.brier:.3f}, its expected calibration error {calibration.calibration_error:.3f}.",
        "",
        f"**Limitations:** {card.provenance.limitations}",
        "",
    ]
    return "\n".join(lines)
