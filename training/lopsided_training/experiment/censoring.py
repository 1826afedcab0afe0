"""The censoring experiment as a whole: the runs that are not done yet, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout
from lopsided.errors import InputError

from .plan import ExperimentConfig, Run, choosing, chosen, comparing
from .results import deadline, keep, kept, path_of, prepared
from .run import RunRecord, check, perform


def experiment(
    config: ExperimentConfig,
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    accelerator: str = "auto",
    say: Callable[[str], None] = print,
) -> bool:
    """Do every run that has no result file in ``out`` yet. Several processes may share ``out``: each takes other runs.

    Args:
        config: the experiment.
        data: a folder with the datasets ``train``, ``validation`` and ``test``, all with true labels.
        out: ``results/RUN.json``, and ``work/`` with checkpoints of what is not finished.
        minutes: after which it stops at the next checkpoint; to the end where None.
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        say: takes lines of progress.

    Returns:
        Whether all is done.

    Raises:
        InputError: a dataset that cannot be used, or a result file that is not of this experiment.
    """
    over = deadline(minutes)
    cases, sha256 = prepared(data, ("train", "validation", "test"), config.fit, say)
    check(cases, data, (config.choose_at, *config.seeds, *config.main.seeds))
    read_results(config, out, sha256)
    (out / "results").mkdir(parents=True, exist_ok=True)
    (out / "work").mkdir(exist_ok=True)
    while not over():
        taken = _take(config, out)
        if taken is None:
            break
        run, lock = taken
        try:
            say(run.name)
            work = out / "work" / run.name
            record = perform(run, config, cases, sha256, work, accelerator=accelerator, stop=over)
            if record is None:
                return False
            keep(record, path_of(out, run.name))
            shutil.rmtree(work)
            say(f"{run.name}: {record.seconds:.0f} s, validation FROC {record.validation_froc:.3f}")
        finally:
            lock.release()
    return all(path_of(out, run.name).exists() for run in _wanted(config, out))


def read_results(config: ExperimentConfig, out: Path, data_sha256: str | None = None) -> list[RunRecord]:
    """The results in ``out``.

    Raises:
        InputError: a file that is no result, or that was made with other settings than ``config`` says or other data.
    """
    found = []
    for path, record in kept(out, RunRecord, data_sha256):
        offered = config.losses.get(record.loss, ())
        same = record.setting < len(offered) and offered[record.setting] == record.settings
        if not same or config.patches_of(record.loss) != record.patches:
            raise InputError(
                f"{path}: was made with other settings of {record.loss}; move it away, or use another --out"
            )
        if record.fit not in (None, config.fit_of(record.loss, record.setting, record.seed)):
            raise InputError(f"{path}: was made with other settings of fit; move it away, or use another --out")
        found.append(record)
    return found


def scores(records: list[RunRecord]) -> dict[str, float]:
    """Validation FROC by the run's name."""
    return {_name(record): record.validation_froc for record in records}


def _name(record: RunRecord) -> str:
    return Run(record.condition, record.loss, record.setting, record.seed).name


def compared(config: ExperimentConfig, out: Path) -> list[RunRecord]:
    """The results of the comparison that are there; raises as :func:`read_results`."""
    records = {_name(record): record for record in read_results(config, out)}
    wanted = comparing(config, chosen(config, scores(list(records.values()))))
    return [records[run.name] for run in wanted if run.name in records]


def _wanted(config: ExperimentConfig, out: Path) -> list[Run]:
    """Those of the main losses first, then loss by loss, so that what is there is whole whenever it is stopped."""
    settings = chosen(config, scores(read_results(config, out)))
    runs = [*choosing(config), *comparing(config, settings)]
    order = [loss for loss in config.losses if loss not in config.main.losses]
    return sorted(runs, key=lambda run: order.index(run.loss) if run.loss in order else -1)


def _take(config: ExperimentConfig, out: Path) -> tuple[Run, BaseFileLock] | None:
    """A run that is neither done nor being done, and its lock, held."""
    for run in _wanted(config, out):
        lock = FileLock(out / "work" / f"{run.name}.lock")
        if not path_of(out, run.name).exists():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            if not path_of(out, run.name).exists():  # another process may just have finished it
                return run, lock
            lock.release()
    return None
