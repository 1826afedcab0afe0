"""Patches to train on: preprocessed cases in memory maps, and draws from them that a seed repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lopsided import intensity, study, volume
from lopsided.dataset.records import NEGATIVE
from lopsided.model import InputSpec
from lopsided.reading import read_array
from lopsided.study import network_input
from lopsided.volume import resample
from scipy import ndimage

from .config import FitConfig, PatchConfig
from .dataset import Case


@dataclass(frozen=True)
class PreparedCase:
    """On the network's grid: ``image`` float16 (sequence, k, j, i), ``lesion`` and ``trusted`` bool (k, j, i),
    ``centres`` (lesion, 3) k, j, i, and ``present`` bool by sequence."""

    name: str
    image: np.ndarray
    lesion: np.ndarray
    trusted: np.ndarray
    centres: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class Batch:
    """``images`` float32 (patch, sequence, k, j, i); ``labels`` and ``trust`` float32 (patch, 1, k, j, i)."""

    images: np.ndarray
    labels: np.ndarray
    trust: np.ndarray


def prepare(
    cases: list[Case], config: FitConfig, cache: Path, progress: Callable[[int, int], None]
) -> list[PreparedCase]:
    """Bring every case onto the network's grid once; what is in ``cache`` already is taken from there."""
    spec, stride = config.input, config.network.stride
    prepared = []
    for done, case in enumerate(cases, start=1):
        folder = cache / f"{case.name}-{_version(case, spec, stride)}"
        if not (folder / "trusted.npy").exists():  # written last
            _prepare(case, spec, stride, folder)
        image, lesion, trusted = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("image", "lesion", "trusted"))
        components, number = ndimage.label(lesion, np.ones((3, 3, 3)))
        centres = ndimage.center_of_mass(lesion, components, range(1, number + 1)) if number else []
        present = np.array([bool(channel[::8, ::8, ::8].any()) for channel in image])
        prepared.append(PreparedCase(case.name, image, lesion, trusted, np.reshape(centres, (-1, 3)), present))
        progress(done, len(cases))
    return prepared


def _version(case: Case, spec: InputSpec, stride: int) -> str:
    """Of everything that a prepared case is made from: settings, files, and the code that does it."""
    files = [*case.images.values(), case.label, *([case.trust] if case.trust else [])]
    stamps = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (intensity, study, volume))
    return hashlib.sha256(f"{spec.model_dump_json()}{stride}{stamps}".encode() + code).hexdigest()[:12]


def _prepare(case: Case, spec: InputSpec, stride: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seen = network_input(case.study(), spec, stride)
    truth = case.truth()
    lesion = resample(type(truth)(truth.array.astype(np.uint8), truth.geometry), seen.geometry, nearest=True).array > 0
    trusted = np.zeros(lesion.shape, bool)
    if case.trust:
        trusted = resample(read_array(case.trust), seen.geometry, nearest=True).array == NEGATIVE
    np.save(folder / "image.npy", seen.array.astype(np.float16))
    np.save(folder / "lesion.npy", lesion)
    np.save(folder / "trusted.npy", trusted)


def draw(cases: list[PreparedCase], config: PatchConfig, number: int, rng: np.random.Generator) -> Batch:
    """``number`` patches, each around a lesion or anywhere, mirrored, with intensities and sequences perturbed."""
    drawn = [_one(cases[rng.integers(len(cases))], config, rng) for _ in range(number)]
    images, labels, trust = (np.stack(parts) for parts in zip(*drawn, strict=True))
    return Batch(images, labels, trust)


def _one(
    case: PreparedCase, config: PatchConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape, size = np.array(case.lesion.shape), config.size
    if len(case.centres) and rng.random() < config.on_lesion:
        middle = case.centres[rng.integers(len(case.centres))] + rng.uniform(-0.4, 0.4, 3) * size
    else:
        middle = rng.uniform(0, 1, 3) * shape
    low = np.clip(np.round(middle - size / 2).astype(int), 0, np.maximum(shape - size, 0))
    box = tuple(slice(a, min(a + size, n)) for a, n in zip(low, shape, strict=True))
    short = [(0, max(0, size - n)) for n in shape]  # a study smaller than a patch
    image = np.pad(case.image[(slice(None), *box)].astype(np.float32), [(0, 0), *short], mode="edge")
    lesion = np.pad(case.lesion[box], short)[None].astype(np.float32)
    trusted = np.pad(case.trusted[box], short)[None].astype(np.float32)
    mirrored = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
    image, lesion, trusted = (np.flip(a, tuple(mirrored)) for a in (image, lesion, trusted))
    return _perturb(image, case.present, config, rng), lesion.copy(), trusted.copy()


def _perturb(image: np.ndarray, present: np.ndarray, config: PatchConfig, rng: np.random.Generator) -> np.ndarray:
    """Another scanner's contrast: scale, shift, curve, noise and blur by channel; optional sequences withheld.

    The spread of deep tissue that intensities are normalised by differs by a factor of four between scans, hence
    the wide scale.
    """
    out = np.zeros_like(image)
    for n in np.flatnonzero(present):
        if n > 0 and rng.random() < config.drop:
            continue
        channel = image[n] * np.exp(rng.normal(0, 0.35)) + rng.normal(0, 0.3)
        if rng.random() < 0.3:
            channel = np.sign(channel) * np.abs(channel) ** rng.uniform(0.8, 1.25)
        if rng.random() < 0.2:
            channel = ndimage.gaussian_filter(channel, rng.uniform(0.3, 0.9, 3))
        if rng.random() < 0.3:
            channel = channel + rng.normal(0, rng.uniform(0.05, 0.5)) * rng.standard_normal(channel.shape, np.float32)
        out[n] = channel
    return out
