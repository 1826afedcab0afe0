"""What a scan's disturbances cost: the same lesions in the same real scans, as they are, and noisier, shaded, moved, rescaled.

Usage: python Testing/Evaluation/disturbed.py MODEL CASES [--per-background 2] [--seed 501] [--only NAME]...

CASES as for real_backgrounds.py, of which the model must not have been trained on any. Prints Markdown for the model card:
sensitivity and false positives a scan at the default threshold, with 95 % bootstrap intervals over scans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from backgrounds import HEAD, STRIPPED, Background, case_folders, read_background
from found_tables import at_threshold, row
from insertion import LESIONS, insert
from lopsided.intensity import median_and_spread, padding_of
from lopsided.model import find_model, load_model
from lopsided.predict import Predictor
from lopsided_training.froc import CaseResult
from monai.transforms import AdjustContrast, GibbsNoise, RandBiasField, RandRicianNoise
from rich.console import Console
from searched import search

JERKS = 3  # of the head, during a scan


@dataclass(frozen=True)
class Scan:
    """``array``: float32 (k, j, i). ``imaged``: bool, what is no padding. ``spread``: of tissue, robust standard deviation."""

    array: np.ndarray
    imaged: np.ndarray
    spread: float
    rng: np.random.Generator


Disturb = Callable[[Scan], np.ndarray]


def z_scored(scan: Scan) -> np.ndarray:
    """Of what was imaged; the padding stays what it was, 0 in the middle of tissue."""
    inside = scan.array[scan.imaged]
    return (scan.array - inside.mean()) / inside.std()


def in_8_bits(scan: Scan) -> np.ndarray:
    """From the darkest to almost the brightest."""
    low, high = np.percentile(scan.array[scan.imaged], (0, 99.9))
    return np.rint(np.clip((scan.array - low) / (high - low), 0, 1) * 254) + 1


def noise(spreads: float) -> Disturb:
    """Rician, of so many standard deviations of tissue."""

    def disturb(scan: Scan) -> np.ndarray:
        add = RandRicianNoise(prob=1, std=spreads * scan.spread, sample_std=False)
        add.set_random_state(seed=int(scan.rng.integers(2**31)))
        low = scan.array[scan.imaged].min()  # z-scored and such: magnitudes are not negative
        return np.asarray(add(scan.array - low)) + low

    return disturb


def shading(scan: Scan) -> np.ndarray:
    """As of a surface coil: a polynomial of the third degree."""
    add = RandBiasField(degree=3, coeff_range=(-0.3, 0.3), prob=1)
    add.set_random_state(seed=int(scan.rng.integers(2**31)))
    low = scan.array[scan.imaged].min()
    return np.asarray(add((scan.array - low)[None]))[0] + low


def contrast(gamma: float) -> Disturb:
    """Between tissues: a power of the intensity."""
    return lambda scan: np.asarray(AdjustContrast(gamma)(torch.from_numpy(scan.array)))


def ringing(scan: Scan) -> np.ndarray:
    """The outer part of k-space is cut off, in each slice."""
    return np.stack([np.asarray(GibbsNoise(alpha=0.4)(one[None]))[0] for one in torch.from_numpy(scan.array)])


def motion(scan: Scan) -> np.ndarray:
    """Along the phase encoding, jerk by jerk: the lines of k-space after each are of a head that is up to two voxels from where
    it lay, and so up to four from where it is seen."""
    lines = scan.array.shape[1]
    frequency, shift = np.fft.fftshift(np.fft.fftfreq(lines)), np.zeros(lines)
    for after in np.sort(scan.rng.integers(lines // 6, lines - lines // 6, JERKS)):
        shift[after:] = scan.rng.uniform(-2, 2)
    shift -= shift[lines // 2]  # where the middle of k-space is measured, the head is where it was
    moved = np.exp(-2j * np.pi * frequency * shift)[:, None]
    low = scan.array[scan.imaged].min()
    k_space = np.fft.fftshift(np.fft.fft(scan.array - low, axis=1), axes=1) * moved
    return np.abs(np.fft.ifft(np.fft.ifftshift(k_space, axes=1), axis=1)) + low


DISTURBANCES: dict[str, Disturb] = {
    "as it is": lambda scan: scan.array,
    "z-scored": z_scored,
    "in 8 bits": in_8_bits,
    "noise of half the spread of tissue": noise(0.5),
    "noise of the spread of tissue": noise(1.0),
    "shading": shading,
    "tissues nearer to each other (gamma 0.7)": contrast(0.7),
    "tissues further apart (gamma 1.4)": contrast(1.4),
    "ringing": ringing,
    "motion by up to four voxels, mostly below two": motion,
}


def main(
    model: str,
    cases: Path,
    per_background: Annotated[int, typer.Option(min=1)] = 2,
    seed: int = 501,
    only: Annotated[list[str] | None, typer.Option(help="A disturbance; may be repeated. All by default.")] = None,
) -> None:
    """Insert, disturb, search, count."""
    predictor = Predictor(load_model(find_model(model)))
    folders = case_folders(cases)
    print("| the scan | skull-stripped | FP/scan | full head | FP/scan |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in only or DISTURBANCES:
        results: dict[str, list[CaseResult]] = {STRIPPED: [], HEAD: []}
        number = seed
        for folder in folders:
            background = read_background(folder)
            for _ in range(per_background):
                array, labels, lesions = insert(background.image, background.allowed, LESIONS, number)
                array = disturbed(array, background, DISTURBANCES[name], number)
                found = search(predictor, background, array, labels, lesions, name=f"{background.name}-{number}")
                results[background.kind].append(found.result)
                number += 1
        cells = [row(at_threshold(of, predictor.model.card.threshold)) if of else "– | –" for of in results.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        Console(stderr=True).print(f"{name}: searched", highlight=False)


def disturbed(array: np.ndarray, background: Background, disturb: Disturb, seed: int) -> np.ndarray:
    """A scan with something done to what was imaged of it."""
    padding = padding_of(array)
    imaged = np.ones(array.shape, bool) if padding is None else array != padding
    spread = median_and_spread(array[background.allowed])[1]
    changed = disturb(Scan(array, imaged, spread, np.random.default_rng(seed)))
    outside = np.float32(0 if padding is None else padding)
    return np.where(imaged, changed, outside).astype(np.float32)


if __name__ == "__main__":
    typer.run(main)
