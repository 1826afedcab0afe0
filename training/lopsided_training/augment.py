"""Another scanner's contrast, another side of the head: drawn as a :class:`Change`, which is then a plain function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch.nn.functional import conv3d, pad


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


def draw_change(
    present: np.ndarray, optional: np.ndarray, drop: float, perturb: bool, rng: np.random.Generator
) -> Change:
    """Draw a change.

    Small changes: simulated scanners differ enough. With a scale of exp(N(0, 0.35)) a network that found a sixth of the
    lesions after a thousand steps found a thirtieth.

    Args:
        present: bool, which sequences the case has.
        optional: bool, which of them may be withheld.
        drop: how often each of these is.
        perturb: whether intensities are changed.
        rng: what it is drawn from.
    """
    mirrored = tuple(axis for axis in range(3) if rng.random() < 0.5)
    kept = [there and not (may and rng.random() < drop) for there, may in zip(present, optional, strict=True)]
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


def mirrored(array: np.ndarray, change: Change) -> np.ndarray:
    """``array``, of which the last axes are k, j, i, mirrored as the change says; a view."""
    return np.flip(array, tuple(axis - 3 for axis in change.mirrored))


def changed(images: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """A copy of ``images`` (patch, sequence, k, j, i), mirrored already, with the intensities of each changed, float32 on
    their device; zeros for a sequence that is withheld."""
    scale, shift = (
        torch.tensor(
            [[getattr(c, name) if c else 0.0 for c in change.channels] for change in changes], device=images.device
        )[..., None, None, None]
        for name in ("scale", "shift")
    )
    out = images.float() * scale + shift
    for patch, change in zip(out, changes, strict=True):
        for channel, how in zip(patch, change.channels, strict=True):
            if how is None:
                continue
            if how.power != 1:
                channel.copy_(channel.sign() * channel.abs() ** how.power)
            if how.blur:
                channel.copy_(_blurred(channel, how.blur))
            if how.noise:
                source = torch.Generator(channel.device).manual_seed(how.seed)
                channel += how.noise * torch.randn(channel.shape, generator=source, device=channel.device)
    return out


def _blurred(channel: torch.Tensor, widths: tuple[float, float, float]) -> torch.Tensor:
    """``channel`` (k, j, i) after a Gaussian of standard deviations ``widths``, voxels; its border goes on beyond it."""
    image = channel[None, None]
    for axis, width in enumerate(widths):
        reach = ceil(3 * width)
        kernel = torch.exp(-((torch.arange(-reach, reach + 1, device=channel.device) / width) ** 2) / 2)
        shape, border = [1] * 5, [0] * 6
        shape[2 + axis] = -1
        border[4 - 2 * axis] = border[5 - 2 * axis] = reach  # from the last axis on
        image = conv3d(pad(image, border, mode="replicate"), (kernel / kernel.sum()).reshape(shape))
    return image[0, 0]
