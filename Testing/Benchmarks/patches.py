"""Patches a second: drawn alone, trained on alone, and both together, in one run.

    python Testing/Benchmarks/patches.py DATASET --config training/lopsided_training/configs/default.toml [--cache FOLDER]

If "together" is near "trained on", the network is the bound, and not what feeds it.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from lopsided.networks import build_network
from lopsided_training.config import read_config
from lopsided_training.dataset import read_dataset
from lopsided_training.patches import draw, prepare
from lopsided_training.train import train

STEPS, REPEATS = 30, 3


def rate(batch: int, work: Callable[[], object]) -> float:
    """Patches a second, the median of some repeats of ``STEPS`` steps."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return STEPS * batch / float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--accelerator", default="auto")
    options = parser.parse_args()
    config = read_config(options.config, [f"steps={STEPS}", f"checkpoint_every={STEPS}"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases = prepare(read_dataset(options.dataset), config, options.cache or folder, os.cpu_count() or 1)
        fabric = Fabric(accelerator=options.accelerator, devices=1, precision=config.precision)
        fabric.launch()

        def drawn() -> None:
            for step in range(STEPS):
                draw(cases, config.patches, config.batch, np.random.default_rng((config.seed, step))).ready(
                    fabric.device
                )

        def trained(batches: bool) -> Callable[[], None]:
            def work() -> None:
                network = build_network(len(config.input.sequences), config.network)
                (folder / "checkpoint.ckpt").unlink(missing_ok=True)
                train(fabric, network, cases, config, folder)

            def alone() -> None:
                network = build_network(len(config.input.sequences), config.network)
                model, optimiser = fabric.setup(network, torch.optim.AdamW(network.parameters()))
                side = config.patches.size
                shape = (config.batch, len(config.input.sequences), side, side, side)
                images = torch.randn(shape, device=fabric.device).contiguous(memory_format=torch.channels_last_3d)
                for _ in range(STEPS):
                    fabric.backward(model(images).float().square().mean())
                    optimiser.step()
                    optimiser.zero_grad()

            return work if batches else alone

        print(f"{fabric.device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {config.loaders} loaders")
        for name, work in (("drawn", drawn), ("trained on", trained(False)), ("together", trained(True))):
            print(f"{name:>12}: {rate(config.batch, work):8.1f} patches a second")


if __name__ == "__main__":
    main()
