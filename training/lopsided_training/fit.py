"""Training, from top to bottom."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric import Fabric
from lopsided.errors import InputError
from lopsided.networks import build_network
from safetensors.torch import save_file

from .config import FitConfig
from .dataset import read_dataset
from .losses import lopsided_loss
from .patches import draw, prepare

CHECKPOINT, CONFIG, WEIGHTS, RUN = "checkpoint.ckpt", "config.json", "model.safetensors", "run.json"


def fit(
    dataset: Path,
    out: Path,
    config: FitConfig,
    *,
    cache: Path | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Train a network on a coarse-label dataset; ``out`` then holds its weights and ``run.json``.

    Interrupted, it goes on from the last checkpoint in ``out``. Every step draws its patches from the seed and the
    step's number alone, so that a resumed run sees what an uninterrupted one would.

    Args:
        dataset: nnU-Net's raw layout (:mod:`lopsided_training.dataset`).
        out: the run's folder.
        config: all settings.
        cache: where preprocessed cases are kept; inside ``out`` where None.
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        devices: processes, each with one device.
        say: takes lines of progress.

    Raises:
        InputError: a dataset or configuration that cannot be used, or a run folder of another configuration.
    """
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=config.precision)
    fabric.launch()
    fabric.seed_everything(config.seed)
    cases = read_dataset(dataset)
    out.mkdir(parents=True, exist_ok=True)
    settings = config.model_dump_json(indent=1)
    written = out / CONFIG
    if written.exists() and written.read_text(encoding="utf-8") != settings:
        raise InputError(f"{out}: holds a run with other settings ({CONFIG}); choose another --out")
    with fabric.rank_zero_first():
        if fabric.is_global_zero:
            written.write_text(settings, encoding="utf-8")
        prepared = prepare(cases, config, cache or out / "cache", lambda done, of: None)
    say(f"{len(prepared)} cases, {sum(len(c.centres) for c in prepared)} lesions")

    network = build_network(len(config.input.sequences), config.network)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    model, optimiser = fabric.setup(network, optimiser)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps + 1, pct_start=0.08
    )
    progress: dict[str, Any] = {"step": 0, "seconds": 0.0}
    state: dict[str, Any] = {"model": model, "optimiser": optimiser, "schedule": schedule, "progress": progress}
    if (out / CHECKPOINT).exists():
        fabric.load(out / CHECKPOINT, state)
        progress = state["progress"]  # load puts another dictionary in its place
        say(f"resumed at step {progress['step']}")

    model.train()
    start, began, recent = progress["step"], time.monotonic(), []
    for step in range(start, config.steps):
        rng = np.random.default_rng((config.seed, step, fabric.global_rank))
        batch = draw(prepared, config.patches, config.batch, rng)
        images, labels, trust = (
            fabric.to_device(torch.from_numpy(a)) for a in (batch.images, batch.labels, batch.trust)
        )
        logits = model(images.contiguous(memory_format=torch.channels_last_3d)).float()
        loss = lopsided_loss(
            logits,
            labels,
            trust,
            alpha=config.loss.alpha,
            beta=config.loss.beta_at(step),
            variant=config.loss.variant,
        )
        if not torch.isfinite(loss):
            raise RuntimeError(f"the loss is {loss.item()} at step {step}; lower learning_rate or raise precision")
        fabric.backward(loss)
        fabric.clip_gradients(model, optimiser, max_norm=1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        recent.append(loss.item())
        done = step + 1
        if done % 50 == 0 or done == config.steps:
            rate = (done - start) / (time.monotonic() - began)
            left = (config.steps - done) / rate / 60
            say(f"step {done}/{config.steps}  loss {np.mean(recent):.5f}  {rate:.2f} steps/s  {left:.0f} min left")
            recent = []
        if done % config.checkpoint_every == 0 or done == config.steps:
            now = time.monotonic()
            progress.update(step=done, seconds=progress["seconds"] + now - began)
            began, start = now, done
            fabric.save(out / CHECKPOINT, state)

    if fabric.is_global_zero:
        weights = {k: v.detach().float().cpu().contiguous() for k, v in network.state_dict().items()}
        save_file(weights, out / WEIGHTS)
        run = {
            "cases": len(prepared),
            "lesions": sum(len(c.centres) for c in prepared),
            "hours": round(progress["seconds"] / 3600, 2),
            "machine": f"{fabric.device}, {torch.get_num_threads()} threads, {platform.machine()}",
            "software": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "lightning": lightning.__version__,
            },
        }
        (out / RUN).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
