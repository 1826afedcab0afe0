"""A dataset becomes a run: what is checked, held out and written down around the training loop."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from lopsided import __version__
from lopsided.errors import InputError
from lopsided.model import Model, load_model
from lopsided.networks import Network, build_network
from lopsided.wording import counted

from .config import FitConfig
from .dataset import digest, hashes, read_dataset, shown
from .losses.settings import OracleIgnoreConfig
from .machine import machine
from .patches import PreparedCase, prepare
from .runs import CONFIG, DATA, RUN, WEIGHTS, Run, model_folder, read_run
from .train import BEST, CHECKPOINT, LAST, make_fabric, train
from .validation import hold_out, validate
from .writing import whole, writable

_BEFORE = {"cache", "tensorboard", DATA}  # in a run's folder before its settings are
_BESIDE = {".txt", ".log", ".out", ".partial"}  # where what is said is kept; what a kill left


def fit(
    dataset: Path,
    out: Path,
    config: FitConfig,
    *,
    cache: Path | None = None,
    start_from: Path | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Train a network on a dataset; ``out`` then holds its weights and ``run.json``.

    Interrupted, it goes on from the last checkpoint in ``out``, to the same end.

    Args:
        dataset: see :func:`lopsided_training.dataset.read_dataset`.
        out: the run's folder.
        config: all settings. An optional sequence that no case to train on has is left out of ``input``, unless the model
            that it starts from takes it.
        cache: where preprocessed cases are kept; inside ``out`` where None.
        start_from: a model folder, the name of a bundled one, or a finished run, whose weights to start from; from scratch where None.
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        devices: processes on this machine, each with one device.
        nodes: machines.
        jobs: processes that preprocess.
        say: takes lines of progress.

    Raises:
        InputError: a dataset, configuration or model that cannot be used, or a run folder of another configuration,
            other data, or another start; an accelerator that is not here. All of that is found before training starts.
            Or a loss that is not finite with these settings, too little memory, or no space.
    """
    fabric = make_fabric(
        accelerator,
        devices=devices,
        num_nodes=nodes,
        precision=config.precision,
        loggers=TensorBoardLogger(out, name="tensorboard", version=""),
    )
    tell = say if fabric.is_global_zero else lambda line: None
    fabric.seed_everything(config.seed, verbose=False)
    if isinstance(config.loss, OracleIgnoreConfig):
        raise InputError(
            "loss.kind oracle-ignore: no dataset says which lesions are missing from its labels; choose another loss.kind"
        )
    before, earlier = _model(start_from) if start_from else (None, None)
    cases = read_dataset(dataset, config.lesion_labels)
    training, held = hold_out(cases, config.validation, config.seed)
    if before is None or before.card.input != config.input:
        config = shown(config, training, tell)
    network = build_network(len(config.input.sequences), config.network)
    if before and start_from:
        _start(network, config, before, start_from)
    refused = None
    with fabric.rank_zero_first():
        try:  # said after the others were let in, who would take it for a fault that this one is gone
            with writable(out):
                _take(out, fabric.is_global_zero)
            hashed = hashes(cases)
            data = {"data_sha256": digest(hashed), "start_from": before and before.card.weights_sha256}
            with writable(out):
                _same(out / DATA, json.dumps(data, indent=1), "other data, or another start", fabric.is_global_zero)
                _same(out / CONFIG, config.model_dump_json(indent=1), "other settings", fabric.is_global_zero)
            prepared = prepare(cases, config, cache or out / "cache", jobs)
        except InputError as error:
            refused = error
    if refused:
        raise refused
    by_name = {case.name: case for case in prepared}
    chosen = [by_name[case.name] for case in training]
    out_of_training = [by_name[case.name] for case in held]
    watched = sorted(out_of_training, key=lambda case: not len(case.centres))[: config.validation.cases]
    out_of_sight = [f"{counted(case.left_out, 'lesion')} of {case.name}" for case in prepared if case.left_out]
    if out_of_sight:
        tell(f"outside of the brain, where the network sees nothing, and so left out: {', '.join(out_of_sight)}")
    if before and (earlier is None or earlier.began_with_a_model()):
        tell(
            f"started from {start_from}: on which studies the model {'there' if earlier is None else 'that it began with'} was "
            "trained is not written down, so `evaluate` cannot refuse them; measure on others"
        )
    learnt = {image for seen in earlier.trained_on() for image in seen.images} if earlier else set()
    known = [case.name for case in held if learnt & {hashed[case.name]["t1c"], by_name[case.name].voxels}]
    if known:
        tell(f"held out, but {start_from} has learnt from them, so that they look too good: {', '.join(known)}")
    _check(dataset, config.lesion_labels, chosen, out_of_training)
    tell(f"{counted(len(chosen), 'case')} to train on with {counted(_lesions(chosen), 'lesion')}, {len(held)} held out")
    look = (lambda net: validate(net, watched)) if watched else None
    with writable(out):  # the log of losses, which is written all along
        trained = train(fabric, network, chosen, config, out, look=look, say=tell)
    if fabric.is_global_zero and trained:
        run = {
            "cases": {
                case.name: {
                    "patient": case.patient,
                    "t1c": hashed[case.name]["t1c"],
                    "t1c_voxels": by_name[case.name].voxels,
                }
                for case in training
            },
            "held_out": [case.name for case in held],
            "lesions": _lesions(chosen),
            "data_sha256": data["data_sha256"],
            "start_from": before
            and before.card.provenance.model_dump(include={"command", "loss", "steps", "machine", "hours"})
            | ({name: earlier.facts[name] for name in ("cases", "start_from")} if earlier else {}),
            "steps": trained.steps,
            "best_step": trained.best_step,
            "history": trained.history,
            "hours": round(trained.seconds / 3600, 2),
            "machine": f"{fabric.world_size} x {machine(fabric.device)}",
            "software": {
                "lopsided": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "lightning": lightning.__version__,
                "numpy": np.__version__,
            },
        }
        with whole(out / WEIGHTS) as partial:
            shutil.copyfile(out / (BEST if trained.best_step else LAST), partial)
        with whole(out / RUN) as partial:
            partial.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


def _model(folder: Path) -> tuple[Model, Run | None]:
    """The model in ``folder``, or of the run there."""
    run = read_run(folder) if (folder / RUN).exists() else None
    return run.model() if run else load_model(model_folder(folder)), run


def _start(network: Network, config: FitConfig, model: Model, folder: Path) -> None:
    """Give the network the weights of the model in ``folder``."""
    if (model.card.architecture, model.card.input) != (config.network, config.input):
        raise InputError(
            f"{folder}: has another architecture or input than [network] and [input] say; "
            "take both from its model.json or config.json"
        )
    network.load_state_dict({name: torch.from_numpy(array) for name, array in model.weights.items()})


def _take(out: Path, write: bool) -> None:
    """A folder for a run: one that holds other things is refused, and one whose training never began is free for another."""
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    others = {name for name in there - _BEFORE if not (name.startswith(".") or Path(name).suffix in _BESIDE)}
    if others and CONFIG not in there:
        raise InputError(f"{out}: is not empty ({', '.join(sorted(others)[:3])}); choose another folder")
    if write and not there & {CHECKPOINT, RUN}:
        for name in (CONFIG, DATA):
            (out / name).unlink(missing_ok=True)


def _same(written: Path, content: str, other: str, write: bool) -> None:
    if written.exists():
        if written.read_text(encoding="utf-8") != content:
            raise InputError(f"{written.parent}: holds a run with {other} ({written.name}); choose another --out")
    elif write:
        written.parent.mkdir(parents=True, exist_ok=True)
        with whole(written) as partial:
            partial.write_text(content, encoding="utf-8")


def _check(dataset: Path, labels: tuple[int, ...], training: list[PreparedCase], held: list[PreparedCase]) -> None:
    if not _lesions(training):
        asked = f", or see whether lesion_labels {list(labels)} are those of lesions" if labels else ""
        raise InputError(f"{dataset}: not one lesion is annotated in the cases to train on; add labels{asked}")
    if held and not _lesions(held):
        raise InputError(
            f"{dataset}: not one lesion is annotated in the {counted(len(held), 'case')} held out; "
            "choose another validation.fold, or set validation.folds to 0"
        )


def _lesions(cases: list[PreparedCase]) -> int:
    return sum(len(case.centres) for case in cases)
