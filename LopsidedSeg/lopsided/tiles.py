"""An image in tiles, each with all that the network looks at around it, so that together they are the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from .regions import Box

Shape = tuple[int, int, int]
"""Voxels along k, j, i."""

_LEAST = 4  # strides of the network: smaller tiles would be all halo


@dataclass(frozen=True)
class Tile:
    """``core``: the voxels computed. ``seen``: the voxels looked at for it. ``inner``: the core within ``seen``."""

    core: Box
    seen: Box
    inner: Box


def tiles(shape: Shape, core: Shape, halo: int) -> Iterator[Tile]:
    """Tiles of ``core`` voxels and, around each, ``halo``."""
    for corner in product(*(range(0, n, c) for n, c in zip(shape, core, strict=True))):
        ends = [min(first + c, n) for first, c, n in zip(corner, core, shape, strict=True)]
        low = [max(first - halo, 0) for first in corner]
        high = [min(end + halo, n) for end, n in zip(ends, shape, strict=True)]
        yield Tile(
            _box(corner, ends),
            _box(low, high),
            _box([c - a for c, a in zip(corner, low, strict=True)], [e - a for e, a in zip(ends, low, strict=True)]),
        )


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
    while max(prod(s.stop - s.start for s in tile.seen) for tile in tiles(shape, core, halo)) > voxels:
        smaller = halved(core, stride)
        if smaller is None:
            break
        core = smaller
    return core


def _box(low: tuple[int, ...] | list[int], high: list[int]) -> Box:
    k, j, i = (slice(a, b) for a, b in zip(low, high, strict=True))
    return k, j, i
