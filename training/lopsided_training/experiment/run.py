"""One run of an experiment: train on censored labels, validate on censored labels, test on the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from lopsided.errors import InputError
from lopsided.networks import Network, build_network, fold
from lopsided.wording import counted

from ..config import FitConfig, PatchConfig
from ..evaluation import Record
from ..froc import CaseResult, froc_mean
from ..losses.settings import LossConfig
from ..machine import machine
from ..matching import lesions_of
from ..patches import PreparedCase
from ..train import Look, Trained, make_fabric, train
from ..validation import search
from .censor import censor, taken_out
from .plan import ExperimentConfig, Run
from .results import Result, begin_work

_KEPT_FALSE = 60  # false candidates kept a case, the most confident, and all with p ≥ ½: enough for 8 a scan on average
_WATCHED = 60  # lesions, annotated and hidden each, that memory is watched on


class CaseRecord(Record):
    """``diameters`` mm by lesion. By candidate: ``scores``, and ``hits``, the lesions that it hits, from 0.
    ``patient``: the case's name where empty."""

    name: str
    patient: str = ""
    diameters: tuple[float, ...]
    scores: tuple[float, ...]
    hits: tuple[tuple[int, ...], ...]

    def result(self) -> CaseResult:
        """As the numbers of the FROC take it."""
        return CaseResult(self.name, np.array(self.scores), self.hits, np.array(self.diameters), self.patient)


class RunRecord(Result):
    """One result file. ``fit``: all that it was trained with; older files have none. ``memory``: over steps, the share of
    training lesions, annotated and hidden, with p ≥ ½ somewhere. ``validation_froc``: against labels that are censored as
    those of training. ``test``: against the truth."""

    condition: str
    loss: str
    setting: int
    settings: LossConfig
    patches: PatchConfig
    fit: FitConfig | None = None
    seed: int
    steps: int
    seconds: float
    machine: str
    memory: tuple[dict[str, float], ...]
    validation_froc: float
    test: tuple[CaseRecord, ...]


def perform(
    run: Run,
    config: ExperimentConfig,
    data: dict[str, list[PreparedCase]],
    data_sha256: str,
    folder: Path,
    *,
    accelerator: str,
    stop: Callable[[], bool],
) -> RunRecord | None:
    """Do one run, or go on with it, on ``data``, as :func:`.results.prepared` gives them; ``folder`` holds its checkpoints, and may go
    once its result is kept.

    Returns:
        None where ``stop`` ended it early.

    Raises:
        InputError: ``folder`` is of other settings or other data.
    """
    fit = config.fit_of(run.loss, run.setting, run.seed)
    begin_work(folder, fit, data_sha256)
    cases = censor(data["train"], run.condition, run.seed)
    watch = memory_of(cases, fit.patches.size, fit.precision)
    network = begin(fit, cases)
    trained = go_on(network, cases, fit, folder, accelerator=accelerator, look=watch, stop=stop)
    if trained is None:
        return None
    fold(network)  # a quarter of the time to search with it
    validation = searched(network, censor(data["validation"], run.condition, run.seed), fit)
    test = searched(network, data["test"], fit)
    return RunRecord(
        condition=run.condition,
        loss=run.loss,
        setting=run.setting,
        settings=fit.loss,
        patches=fit.patches,
        fit=fit,
        data_sha256=data_sha256,
        seed=run.seed,
        steps=trained.steps,
        seconds=round(trained.seconds, 1),
        machine=machine(_device(network)),
        memory=tuple(trained.history),
        validation_froc=froc_mean(validation),
        test=tuple(shortened(result) for result in test),
    )


def begin(fit: FitConfig, cases: list[PreparedCase]) -> Network:
    """A network for the sequences that the cases have, with the weights that the seed gives it."""
    torch.manual_seed(fit.seed)
    return build_network(len(cases[0].image), fit.network)


def go_on(
    network: Network,
    cases: list[PreparedCase],
    fit: FitConfig,
    folder: Path,
    *,
    accelerator: str,
    stop: Callable[[], bool],
    look: Look | None = None,
) -> Trained | None:
    """Train a network to the end, from the last checkpoint in ``folder`` where there is one; it is then in ``eval`` mode.

    Returns:
        None where ``stop`` ended it early.
    """
    fabric = make_fabric(accelerator, precision=fit.precision)
    folder.mkdir(parents=True, exist_ok=True)
    trained = train(fabric, network, cases, fit, folder, look=look, stop=stop)
    network.eval()
    return trained


def searched(network: Network, cases: list[PreparedCase], fit: FitConfig) -> list[CaseResult]:
    """What a network finds, against the cases' labels, at the precision that it was trained with."""
    with _autocast(network, fit.precision):
        return [search(network, case) for case in cases]


def _device(network: Network) -> torch.device:
    return next(network.parameters()).device


def _autocast(network: Network, precision: str) -> torch.autocast:
    kind = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(_device(network).type, kind, enabled=precision != "32-true")


def memory_of(cases: list[PreparedCase], size: int, precision: str) -> Look:
    """A look at the training lesions themselves: the share of them, annotated and hidden, with p ≥ ½ somewhere.

    Patches of ``size`` around at most ``_WATCHED`` of each kind, the same at each look.
    """
    patches: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"annotated": [], "hidden": []}
    for case in cases:
        for kind, mask in (("annotated", case.lesion), ("hidden", case.hidden)):
            numbered, lesions = lesions_of(mask)
            for value, lesion in enumerate(lesions, start=1):
                middle = np.array([(side.start + side.stop) // 2 for side in lesion.box])
                low = np.clip(middle - size // 2, 0, np.maximum(np.array(mask.shape) - size, 0))
                around = tuple(slice(int(a), int(a) + size) for a in low)
                short = [(0, max(0, size - n)) for n in mask.shape]  # a study smaller than a patch
                image = np.pad(case.image[(slice(None), *around)], [(0, 0), *short], mode="edge")
                patches[kind].append((image, np.pad(numbered[around] == value, short)))
    every = {kind: found[:: max(1, len(found) // _WATCHED)] for kind, found in patches.items() if found}
    images = {k: torch.from_numpy(np.stack([i for i, _ in found]).astype(np.float32)) for k, found in every.items()}

    def look(network: Network) -> dict[str, float]:
        training = network.training
        network.eval()
        seen = {}
        with torch.inference_mode(), _autocast(network, precision):
            for kind, found in every.items():
                logits = torch.cat([network(part.to(_device(network))) for part in images[kind].split(8)])
                each = zip(logits[:, 0].float().cpu().numpy(), found, strict=True)
                highest = [patch[mask].max() for patch, (_, mask) in each]
                seen[kind] = float(np.mean(np.array(highest) > 0))
        network.train(training)
        return seen

    return look


def shortened(result: CaseResult) -> CaseRecord:
    """Without false candidates beyond those that any figure needs."""
    order = np.argsort(-result.scores, kind="stable")
    false = 0
    kept = []
    for n in order:
        false += not result.hits[n]
        if result.hits[n] or false <= _KEPT_FALSE or result.scores[n] >= 0.5:
            kept.append(int(n))
    return CaseRecord(
        name=result.name,
        patient=result.patient,
        diameters=tuple(round(float(d), 2) for d in result.diameters),
        scores=tuple(float(f"{result.scores[n]:.8g}") for n in kept),  # all that float32 has: near 1 it matters
        hits=tuple(result.hits[n] for n in kept),
    )


def check(parts: dict[str, list[PreparedCase]], dataset: Path, conditions: Iterable[str]) -> None:
    """Raises InputError where there is no lesion in one of the datasets ``parts``, or where a condition leaves none but in ``test``,
    of which nothing is taken out."""
    for name, cases in parts.items():
        lesions = sum(len(lesions_of(case.lesion)[1]) for case in cases)
        if not lesions:
            raise InputError(f"{dataset / name}: no lesion in these cases; an experiment needs them")
        for condition in conditions if name != "test" else ():
            if taken_out(condition, lesions) == lesions:
                raise InputError(
                    f"{dataset / name}: {condition} leaves none of its {counted(lesions, 'lesion')}; use more studies"
                )
