"""Another scanner's contrast, another side of the head: drawn as a :class:`Change`, which is then a plain function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class ChannelChange:
    """Of one sequence: ``scale`` and ``shift`` (robust standard deviations), then ``power`` of the amount, Gaussian
    ``blur`` (standard deviation along k, j, i, voxels; None for none), and ``noise`` (standard deviation) from
    ``seed``."""

    scale: float
    shift: float
    power: float
    blur: tuple[float, float, float] | None
    noise: float
    seed: int


_AS_IT_IS = ChannelChange(scale=1.0, shift=0.0, power=1.0, blur=None, noise=0.0, seed=0)


@dataclass(frozen=True)
class Change:
    """``mirrored``: of the axes k, j, i (0, 1, 2). ``channels``: by sequence; None for one that is withheld."""

    mirrored: tuple[int, ...]
    channels: tuple[ChannelChange | None, ...]


def draw_change(present: np.ndarray, drop: float, perturb: bool, rng: np.random.Generator) -> Change:
    """Draw a change.

    Small changes: simulated scanners differ enough. With a scale of exp(N(0, 0.35)) a network that found a sixth of the
    lesions after a thousand steps found a thirtieth.

    Args:
        present: bool, which sequences the case has; the first is never withheld.
        drop: how often each other one is withheld.
        perturb: whether intensities are changed.
        rng: what it is drawn from.
    """
    mirrored = tuple(axis for axis in range(3) if rng.random() < 0.5)
    kept = [there and (n == 0 or rng.random() >= drop) for n, there in enumerate(present)]
    return Change(mirrored, tuple((_draw_channel(rng) if perturb else _AS_IT_IS) if keep else None for keep in kept))


def _draw_channel(rng: np.random.Generator) -> ChannelChange:
    x, y, z = (float(v) for v in rng.uniform(0.3, 0.9, 3))
    return ChannelChange(
        scale=float(np.exp(rng.normal(0, 0.2))),
        shift=float(rng.normal(0, 0.2)),
        power=float(rng.uniform(0.8, 1.25)) if rng.random() < 0.3 else 1.0,
        blur=(x, y, z) if rng.random() < 0.2 else None,
        noise=float(rng.uniform(0.0, 0.5)) if rng.random() < 0.3 else 0.0,
        seed=int(rng.integers(2**31)),
    )


def changed(image: np.ndarray, change: Change) -> np.ndarray:
    """A changed copy of ``image``, float32 (sequence, k, j, i); zeros for a sequence that is withheld."""
    out = np.zeros_like(image)
    for target, channel, how in zip(out, mirrored(image, change), change.channels, strict=True):
        if how is None:
            continue
        target[:] = channel
        target *= np.float32(how.scale)
        target += np.float32(how.shift)
        if how.power != 1:
            target[:] = np.sign(target) * np.abs(target) ** np.float32(how.power)
        if how.blur:
            target[:] = ndimage.gaussian_filter(target, how.blur)
        if how.noise:
            noise = np.random.default_rng(how.seed).standard_normal(target.shape, np.float32)
            target += np.float32(how.noise) * noise
    return out


def mirrored(array: np.ndarray, change: Change) -> np.ndarray:
    """``array``, of which the last axes are k, j, i, mirrored as the change says; a view."""
    return np.flip(array, tuple(axis - 3 for axis in change.mirrored))
