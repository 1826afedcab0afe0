"""Simulated rounds of use: suggest, a reader decides, retrain; how many of the missed lesions come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from lopsided.errors import InputError
from lopsided.networks import Network
from pydantic import Field
from safetensors.torch import load_file

from ..config import FitConfig, Section
from ..evaluation import Record
from ..matching import lesions_of
from ..patches import PreparedCase, centres_of
from ..train import LAST
from ..validation import find
from .censor import CONDITION, censor
from .results import Result, begin_work, deadline, keep, kept, path_of, prepared
from .run import CaseRecord, begin, check, go_on, searched, shortened


class ReaderConfig(Section):
    """Decides on the ``shown`` most confident suggestions of a case. Accepts a lesion with the probability
    ``accepts_lesion``, and anything else with ``accepts_other``; what they do not accept they reject."""

    shown: int = Field(5, gt=0)
    accepts_lesion: float = Field(0.9, ge=0, le=1)
    accepts_other: float = Field(0.05, ge=0, le=1)


class RoundsConfig(Section):
    """``fit``: of every training. ``condition``: how lesions are missing at the beginning, as in the censoring
    experiment. ``rounds`` of suggestions and retraining, with every one of ``seeds``."""

    fit: FitConfig
    condition: str = Field(pattern=CONDITION.pattern)
    rounds: int = Field(3, gt=0)
    seeds: int = Field(1, gt=0)
    reader: ReaderConfig = ReaderConfig()


class Decided(Record):
    """Of one round, over all cases. ``recovered``: lesions missing before it that an accepted suggestion hit."""

    accepted_lesions: int = 0
    accepted_others: int = 0
    rejected_lesions: int = 0
    rejected_others: int = 0
    recovered: int = 0

    @property
    def decisions(self) -> int:
        """How many suggestions the reader looked at."""
        return self.accepted_lesions + self.accepted_others + self.rejected_lesions + self.rejected_others


class RoundRecord(Record):
    """``decided``: what the labels that this network was trained on owe to the round before it; None in the first.
    ``missing``: lesions that these labels still miss. ``test``: the network against the truth."""

    decided: Decided | None
    missing: int
    test: tuple[CaseRecord, ...]


class RoundsRecord(Result):
    """One result file. ``trusted``: whether rejected suggestions became trusted negatives."""

    config: RoundsConfig
    seed: int
    trusted: bool
    rounds: tuple[RoundRecord, ...]


def rounds(
    config: RoundsConfig,
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    accelerator: str = "auto",
    say: Callable[[str], None] = print,
) -> bool:
    """Do every round that is not done yet, with trusted negatives and without; ``data`` is read where one is left.

    Args:
        config: the experiment.
        data: a folder with the datasets ``train`` and ``test``, both with true labels.
        out: ``results/RUN.json``, and ``work/`` with checkpoints of what is not finished.
        minutes: after which it stops at the next checkpoint; to the end where None.
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        say: takes lines of progress.

    Returns:
        Whether all is done.

    Raises:
        InputError: a dataset that cannot be used, or results or checkpoints of other settings or other data.
    """
    over = deadline(minutes)
    runs = {_name(seed, trusted): (seed, trusted) for seed in range(1, config.seeds + 1) for trusted in (True, False)}
    left = [name for name in runs if not path_of(out, name).exists()]
    if not left:
        return True
    cases, sha256 = prepared(data, ("train", "test"), config.fit, say)
    check(cases, data, [config.condition])
    read_results(config, out, sha256)
    for name in left:
        work = out / "work" / name
        begin_work(work, config.model_copy(update={"seeds": 1}), sha256)  # of which there may be more another time
        record = _perform(config, *runs[name], cases["train"], cases["test"], work, accelerator, over, say)
        if record is None:
            return False
        keep(record.model_copy(update={"data_sha256": sha256}), path_of(out, name))
        shutil.rmtree(work)
    return True


def _name(seed: int, trusted: bool) -> str:
    """Of a result file."""
    return f"{'trusted' if trusted else 'untrusted'}_seed{seed}"


def read_results(config: RoundsConfig, out: Path, data_sha256: str | None = None) -> list[RoundsRecord]:
    """The results in ``out``.

    Raises:
        InputError: a file that is no result, or that was made with other settings or other data.
    """
    found = []
    for path, record in kept(out, RoundsRecord, data_sha256):
        if record.config.model_copy(update={"seeds": config.seeds}) != config:
            raise InputError(f"{path}: was made with other settings; move it away, or use another --out")
        found.append(record)
    return found


def _perform(
    config: RoundsConfig,
    seed: int,
    trusted: bool,
    training: list[PreparedCase],
    test: list[PreparedCase],
    work: Path,
    accelerator: str,
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> RoundsRecord | None:
    fit = config.fit.model_copy(update={"seed": seed})
    cases = censor(training, config.condition, seed)
    records: list[RoundRecord] = []
    decided: Decided | None = None
    for number in range(config.rounds + 1):
        network = _network(fit, cases, work / str(number), accelerator, stop)
        if network is None:
            return None
        missing = sum(len(lesions_of(case.hidden)[1]) for case in cases)
        found = [shortened(result) for result in searched(network, test, fit)]
        records.append(RoundRecord(decided=decided, missing=missing, test=tuple(found)))
        say(f"{work.name}, round {number}: {missing} lesions missing; {decided or 'nothing decided yet'}")
        if number < config.rounds:
            rng = np.random.default_rng((seed, number))
            cases, decided = review(network, cases, config.reader, trusted, rng)
    return RoundsRecord(config=config, seed=seed, trusted=trusted, rounds=tuple(records))


def _network(
    fit: FitConfig, cases: list[PreparedCase], folder: Path, accelerator: str, stop: Callable[[], bool]
) -> Network | None:
    """Trained on the cases; from its weights where that was done before."""
    network = begin(fit, cases)
    if (folder / LAST).exists():
        network.load_state_dict(load_file(folder / LAST))
        return network.eval()
    trained = go_on(network, cases, fit, folder, accelerator=accelerator, stop=stop)
    return network if trained else None


def review(
    network: Network, cases: list[PreparedCase], reader: ReaderConfig, trusted: bool, rng: np.random.Generator
) -> tuple[list[PreparedCase], Decided]:
    """What a reader makes of a network's suggestions: the cases with new labels, and how they decided.

    An accepted suggestion's region becomes an annotated lesion; a rejected one's, where ``trusted``, a trusted negative.
    A suggestion that overlaps an annotated lesion is none. A lesion that an accepted suggestion hits is no longer missing:
    what of it lies outside of the region is background to the next training, as in use.
    """
    reviewed, counts = [], dict.fromkeys(Decided.model_fields, 0)
    for case in cases:
        lesion, hidden, negative = (np.array(mask) for mask in (case.lesion, case.hidden, case.trusted))
        numbered, _ = lesions_of(hidden)
        recovered: set[int] = set()
        new = [c for c in find(network, case) if not case.lesion[c.box][c.mask].any()]
        for candidate in new[: reader.shown]:
            met = set(np.unique(numbered[candidate.box][candidate.mask])) - {0}
            accepted = rng.random() < (reader.accepts_lesion if met else reader.accepts_other)
            counts[f"{'accepted' if accepted else 'rejected'}_{'lesions' if met else 'others'}"] += 1
            if accepted:
                lesion[candidate.box] |= candidate.mask
                recovered |= {int(n) for n in met}
            elif trusted:
                negative[candidate.box] |= candidate.mask
        hidden &= ~np.isin(numbered, list(recovered))
        counts["recovered"] += len(recovered)
        reviewed.append(
            replace(case, lesion=lesion, hidden=hidden, trusted=negative & ~lesion, centres=centres_of(lesion))
        )
    return reviewed, Decided(**counts)
