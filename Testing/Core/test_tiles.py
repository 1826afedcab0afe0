"""Tiles: together the whole, each with its halo, and no larger than wanted."""

from math import prod

import numpy as np
import pytest
from lopsided.regions import Box
from lopsided.tiles import Shape, halved, of_at_most, tiled

SHAPE = (40, 64, 24)


def seen_by_each(shape: Shape, core: Shape, halo: int) -> list[int]:
    return [sizes(tile.seen) for tile in tiled(shape, core, halo)]


def sizes(box: Box) -> int:
    return prod(s.stop - s.start for s in box)


@pytest.mark.parametrize("core", [SHAPE, (40, 32, 24), (16, 16, 16), (24, 40, 8)])
def test_every_voxel_is_computed_once_from_all_that_is_around_it(core: Shape) -> None:
    halo = 6
    where = np.stack(np.indices(SHAPE), axis=-1)
    computed = np.zeros(SHAPE, int)
    for tile in tiled(SHAPE, core, halo):
        computed[tile.core] += 1
        assert np.array_equal(where[tile.seen][tile.inner], where[tile.core])
        for axis, (inside, around) in enumerate(zip(tile.core, tile.seen, strict=True)):
            assert around.start == max(0, inside.start - halo)
            assert around.stop == min(SHAPE[axis], inside.stop + halo)
    assert (computed == 1).all()


def test_the_longest_axis_is_halved_until_tiles_would_be_all_halo() -> None:
    core: Shape | None = SHAPE
    cores = []
    while core := halved(core, 8):
        cores.append(core)
    assert cores == [(40, 32, 24)]
    assert halved((456, 336, 336), 8) == (232, 336, 336), "two tiles, not two and a narrow third"
    assert halved((40, 40, 24), 4) == (20, 40, 24)


def test_no_tile_sees_more_than_what_fits_at_once() -> None:
    halo, stride = 4, 2
    assert of_at_most(prod(SHAPE), SHAPE, halo, stride) == SHAPE
    for voxels in (60_000, 30_000, 10_000):
        core = of_at_most(voxels, SHAPE, halo, stride)
        assert max(seen_by_each(SHAPE, core, halo)) <= voxels
    assert of_at_most(60_000, SHAPE, halo, stride) == (40, 32, 24), "and no smaller than it must be"
    assert halved(of_at_most(1, SHAPE, halo, stride), stride) is None
