"""The shape of one lesion or cavity: how much of each voxel it fills, and how it enhances there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .records import Lesion

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Drawn:
    """Float32 arrays (k, j, i) in ``box``, 0 to 1 but for ``mottle``, a factor of contrast: coverage of the whole, of its
    core, and of oedema."""

    box: Box
    body: np.ndarray
    core: np.ndarray
    oedema: np.ndarray
    mottle: np.ndarray


def draw_lesion(lesion: Lesion, shape: tuple[int, ...]) -> Drawn:
    """On a 1 mm grid of ``shape`` (k, j, i)."""
    spread = 1 + lesion.wobble + lesion.ragged + (0.3 if lesion.lobes else 0.0)
    reach = max(lesion.radii) * spread + lesion.oedema_mm + 2
    centre = np.array(lesion.centre)
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    local = (grid - centre) @ np.array(lesion.rotation).reshape(3, 3)
    scaled = np.sqrt(((local / lesion.radii) ** 2).sum(-1))
    rng = np.random.default_rng(lesion.seed)
    bumps = _bumps(rng, scaled.shape, max(1.0, min(lesion.radii) / 2))
    scaled *= 1 + lesion.wobble * bumps
    radius = float(np.prod(lesion.radii) ** (1 / 3))
    inner = scaled
    if lesion.lobes or lesion.ragged:
        scaled, inner = _jagged(lesion, local, scaled, rng)
    mottle = np.ones(scaled.shape)
    if lesion.mottle:
        mottle += lesion.mottle * _bumps(rng, scaled.shape, 1.2)

    def coverage(of: np.ndarray, part: float) -> np.ndarray:
        return np.clip(0.5 - (of - part) * radius, 0, 1).astype(np.float32)

    hole = coverage(inner, lesion.core) if lesion.core else np.zeros(scaled.shape, np.float32)
    beyond = np.maximum(scaled - 1, 0) * radius
    swelling = np.exp(-((beyond / lesion.oedema_mm) ** 2) * 2) if lesion.oedema_mm else np.zeros(scaled.shape)
    whole = coverage(scaled, 1.0)
    return Drawn(box, whole, hole * whole, swelling.astype(np.float32), mottle.astype(np.float32))


def _jagged(
    lesion: Lesion, local: np.ndarray, scaled: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the middle, 1 at the edge, of a lesion with lobes and ragged edges, and those of its core, which lies
    out of the middle so that the rim is uneven. Its volume stays."""
    volume = 4 / 3 * np.pi * np.prod(lesion.radii)
    for _ in range(lesion.lobes):
        away = rng.normal(size=3)
        away *= rng.uniform(0.5, 0.9) / np.linalg.norm(away)
        lobe = np.sqrt(((local / lesion.radii - away) ** 2).sum(-1)) / rng.uniform(0.4, 0.75)
        scaled = np.minimum(scaled, lobe)
    scaled = scaled * (1 + lesion.ragged * _bumps(rng, scaled.shape, 1.0))
    scaled = scaled / max(float(np.quantile(scaled, min(1.0, float(volume) / scaled.size))), 1e-3)
    off = rng.normal(0, 0.12, 3)
    core = np.sqrt(((local / lesion.radii - off) ** 2).sum(-1))
    inner = np.maximum(core, 0.8 * scaled) * (1 + 1.5 * lesion.ragged * _bumps(rng, scaled.shape, 1.5))
    return scaled, inner


def _bumps(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Smooth noise, at most 1."""
    bumps = ndimage.gaussian_filter(rng.normal(size=shape), scale)
    return bumps / (np.abs(bumps).max() + 1e-6)
