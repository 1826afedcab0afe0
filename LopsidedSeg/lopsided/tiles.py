"""An image in tiles, each with all that the network looks at around it, so that together they are the whole."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from .regions import Box, wider

Shape = tuple[int, int, int]
"""Voxels along k, j, i."""

_LEAST = 4  # strides of the network: smaller tiles would be all halo


@dataclass(frozen=True)
class Tile:
    """``core``: the voxels computed. ``seen``: the voxels looked at for it."""

    core: Box
    seen: Box

    @property
    def inner(self) -> Box:
        """The core within ``seen``."""
        k, j, i = (slice(c.start - s.start, c.stop - s.start) for c, s in zip(self.core, self.seen, strict=True))
        return k, j, i


def tiled(shape: Shape, core: Shape, halo: int) -> list[Tile]:
    """Tiles of ``core`` voxels and, around each, ``halo``."""
    k, j, i = ([slice(first, min(first + c, n)) for first in range(0, n, c)] for c, n in zip(core, shape, strict=True))
    return [Tile(box, wider(box, halo, shape)) for box in product(k, j, i)]


def halved(core: Shape, stride: int) -> Shape | None:
    """Half as long where it is longest, in multiples of ``stride``; None where that is too small."""
    longest = max(core)
    half = ceil(longest / 2 / stride) * stride
    if half < _LEAST * stride:
        return None
    k, j, i = (half if axis == core.index(longest) else n for axis, n in enumerate(core))
    return k, j, i


def of_at_most(voxels: int, shape: Shape, halo: int, stride: int) -> Shape:
    """The largest core of which no tile sees more than so many voxels, or the smallest there is."""
    core = shape
    while max(prod(s.stop - s.start for s in tile.seen) for tile in tiled(shape, core, halo)) > voxels:
        smaller = halved(core, stride)
        if smaller is None:
            break
        core = smaller
    return core
