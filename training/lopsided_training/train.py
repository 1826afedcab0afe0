"""The training loop, from top to bottom."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lopsided.errors import InputError, is_shortage, reason
from lopsided.networks import Network
from safetensors.torch import save

from .config import FitConfig
from .losses import make_teacher, training_loss
from .patches import Batch, PreparedCase, draw
from .writing import whole

CHECKPOINT, BEST, LAST = "checkpoint.ckpt", "best.safetensors", "last.safetensors"
_LOG_EVERY = 50

Look = Callable[[Network], dict[str, float]]
"""Called with the network now and then. What it measures is logged; of ``froc`` the best is kept."""


@dataclass(frozen=True)
class Trained:
    """``history``: of each look, its step and what it measured. ``best_step``: None where nothing was measured."""

    steps: int
    seconds: float
    history: list[dict[str, float]]
    best_step: int | None


def make_fabric(accelerator: str, *, devices: int = 1, **settings: Any) -> Fabric:
    """What a training runs on, launched; ``settings`` as Fabric has them.

    Raises:
        InputError: an accelerator, or as many devices of it, that are not here, or a job of SLURM with another number of tasks.
    """
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, **settings)
        fabric.launch()
    except (ImportError, RuntimeError, ValueError, MisconfigurationException) as error:
        why = " ".join(str(error).split()).rstrip(".")
        fewer = ", or lower --devices" if devices > 1 else ""
        raise InputError(
            f"--accelerator {accelerator}, --devices {devices}: cannot be used here ({why}); "
            f"try --accelerator auto or cpu{fewer}"
        ) from None
    return fabric


@contextmanager
def _memory() -> Iterator[None]:
    """Where there is too little in the block, the settings can be changed."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        raise InputError(f"not enough memory ({reason(error)}); lower batch or patches.size") from None


@contextmanager
def _peers() -> Iterator[None]:
    """Where another process of the same training has ended in the block, this one can only say so."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.distributed.DistError) or "by peer" in str(error)):
            raise
        raise InputError("another process of this training has ended; see what it said, and begin again") from None


@_memory()
@_peers()
def train(
    fabric: Fabric,
    network: Network,
    cases: list[PreparedCase],
    config: FitConfig,
    out: Path,
    *,
    look: Look | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Trained | None:
    """Train ``network`` in place; ``out`` then holds its weights, the last ones and, after looks, the best ones.

    Interrupted, it goes on from the last checkpoint in ``out``, to the same end: every step draws its patches from
    the seed and the step's number alone, by ``config.loaders`` threads ahead of the network.

    Args:
        fabric: launched.
        network: not yet set up by ``fabric``.
        cases: to draw patches from.
        config: all settings.
        out: where checkpoints, weights and logs go.
        look: see :data:`Look`; every ``config.validation.every`` steps.
        stop: asked after each checkpoint; where it says so, the loop ends there.
        say: takes lines of progress.

    Returns:
        None where it was stopped before its end.

    Raises:
        InputError: with these settings the loss or its gradients are not finite, or there is too little memory; a damaged
            checkpoint, or no space for one.
    """
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    model, optimiser = fabric.setup(network, optimiser)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps + 1, pct_start=0.08
    )
    progress: dict[str, Any] = {"step": 0, "seconds": 0.0, "history": [], "best": None, "ended": False}
    state: dict[str, Any] = {"model": model, "optimiser": optimiser, "schedule": schedule, "progress": progress}
    state["precision"] = fabric._precision.state_dict()  # of 16-mixed, how far losses are scaled up
    teacher = make_teacher(config.loss, network)
    if teacher is not None:
        state["teacher"] = teacher
    if (out / CHECKPOINT).exists():
        _load(fabric, out / CHECKPOINT, state)
        progress = state["progress"]  # load puts another dictionary in its place
        fabric._precision.load_state_dict(state["precision"])
        say(f"resumed at step {progress['step']}")

    model.train()
    done, began, losses = progress["step"], time.monotonic(), []
    first, first_at = done, began
    end = done if progress["ended"] else config.steps
    for batch in _ahead(fabric, cases, config, range(done, end)):
        images = batch.images.contiguous(memory_format=torch.channels_last_3d)
        taught = None
        if teacher is not None:
            with torch.no_grad(), fabric.autocast():
                taught = teacher(images).float()
        logits = model(images).float()
        loss = training_loss(
            config.loss,
            logits,
            batch.labels,
            batch.trust,
            step=done,
            teacher_logits=taught,
            ignore=batch.hidden,
            emphasis=batch.emphasis,
        )
        if not torch.isfinite(loss):
            raise _diverged(f"loss is {loss.item()}", done, config)
        fabric.backward(loss)
        norm = fabric.clip_gradients(model, optimiser, max_norm=1.0, error_if_nonfinite=False)
        # where losses are scaled up, an overflow is what tells that it was too far: that step is left out
        if config.precision != "16-mixed" and norm is not None and not torch.isfinite(norm):
            raise _diverged(f"norm of the gradients is {norm.item()}", done, config)
        optimiser.step()
        if teacher is not None:
            teacher.update_parameters(network)
        schedule.step()
        optimiser.zero_grad()
        losses.append(loss.detach())
        done += 1
        if done % _LOG_EVERY == 0 or done == config.steps:
            mean = float(torch.stack(losses).mean())
            rate = (done - first) / (time.monotonic() - first_at)
            left = (config.steps - done) / rate / 60
            say(f"step {done}/{config.steps}  loss {mean:.5f}  {rate:.2f} steps/s  {left:.0f} min left")
            fabric.log_dict({"loss": mean, "steps per second": rate, "rate": schedule.get_last_lr()[0]}, done)
            losses = []
        if look and (done % config.validation.every == 0 or done == config.steps):
            measured = fabric.broadcast(look(network) if fabric.is_global_zero else {})
            _note(fabric, network, measured, done, progress, out, say)
            patience, best = config.validation.patience * config.validation.every, progress["best"]
            progress["ended"] = bool(patience and best) and done - best["step"] >= patience
        if done % config.checkpoint_every == 0 or done == config.steps or progress["ended"]:
            now = time.monotonic()
            progress.update(step=done, seconds=progress["seconds"] + now - began)
            began = now
            _save(fabric, out / CHECKPOINT, state | {"precision": fabric._precision.state_dict()})
            if progress["ended"]:
                say(f"step {done}: no better since step {progress['best']['step']}, so it ends here")
                break
            if done < config.steps and stop():
                return None

    if fabric.is_global_zero:
        save_weights(network, out / LAST)
    best = progress["best"]
    return Trained(progress["step"], progress["seconds"], progress["history"], best and best["step"])


def _diverged(what: str, step: int, config: FitConfig) -> InputError:
    instead = "lower learning_rate" + (", or set precision to 32-true" if config.precision != "32-true" else "")
    return InputError(f"the {what} at step {step}: training has run away; {instead}")


def _ahead(fabric: Fabric, cases: list[PreparedCase], config: FitConfig, steps: range) -> Iterator[Batch]:
    """The batch of each step, made ready while the network works on those before."""

    def batch(step: int) -> Batch:
        rng = np.random.default_rng((config.seed, step, fabric.global_rank))
        return draw(cases, config.patches, config.batch, rng).ready(fabric.device)

    with ThreadPoolExecutor(config.loaders) as pool:
        waiting: deque[Future[Batch]] = deque()
        for step in steps:
            waiting.append(pool.submit(batch, step))
            if len(waiting) > config.loaders:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _note(
    fabric: Fabric,
    network: Network,
    measured: dict[str, float],
    step: int,
    progress: dict[str, Any],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Keep what was measured, and the weights where they are the best so far."""
    progress["history"].append({"step": step, **measured})
    fabric.log_dict(measured, step)
    say(f"step {step}  " + "  ".join(f"{name} {value:.3f}" for name, value in measured.items()))
    best, score = progress["best"], measured.get("froc")
    if score is not None and (best is None or score > best["froc"]):
        progress["best"] = {"step": step, "froc": score}
        if fabric.is_global_zero:
            save_weights(network, out / BEST)


def _load(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    try:
        fabric.load(path, state)
    except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
        if is_shortage(error):
            raise
        raise InputError(f"{path}: is damaged ({reason(error)}); delete it to begin again") from None


def _save(fabric: Fabric, path: Path, state: dict[str, Any]) -> None:
    with whole(path) if fabric.is_global_zero else nullcontext(path) as partial:
        fabric.save(partial, state)  # by all, and written by the first
    fabric.barrier()


def save_weights(network: Network, path: Path) -> None:
    """As safetensors, float32; raises InputError where they cannot be written."""
    weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole(path) as partial:
        partial.write_bytes(save(weights))
