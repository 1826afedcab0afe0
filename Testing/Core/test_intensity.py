"""Finding the patient, and intensities that mean the same in every scan."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from lopsided.intensity import evenly_padded, find_foreground, normalise
from lopsided.volume import Geometry, Volume
from numpy.testing import assert_allclose


@pytest.fixture
def stripped(head: Callable[..., Volume], geometry: Callable[..., Geometry]) -> Volume:
    return head(geometry((96, 100, 92)))


def with_skull(stripped: Volume, scalp: float) -> Volume:
    """A shell of scalp and a dark one of bone around the brain, with a dark way out below, and noise for air."""
    points = np.stack(np.meshgrid(*map(np.arange, stripped.array.shape), indexing="ij"), -1)
    radius = np.linalg.norm(points - (np.array(stripped.array.shape) - 1) / 2, axis=-1)
    air = np.abs(np.random.default_rng(1).normal(0, 3, radius.shape))
    whole = np.where(stripped.array > 0, stripped.array, air)
    whole[(radius > 39) & (radius < 42) & (stripped.array == 0)] = 15
    middle = np.linalg.norm((points - (np.array(stripped.array.shape) - 1) / 2)[..., 1:], axis=-1)
    below = (points[..., 0] < 20) & (middle < 8)
    whole[(radius >= 42) & (radius < 45) & ~below] = scalp
    return Volume(whole.astype(np.float32), stripped.geometry, "head")


@pytest.mark.parametrize("scalp", [60.0, 230.0, 700.0])
def test_deep_tissue_reads_the_same_with_and_without_a_skull_strip(stripped: Volume, scalp: float) -> None:
    """Fat may be several times as bright as brain."""
    a, b = find_foreground(stripped), find_foreground(with_skull(stripped, scalp))
    assert b.centre == pytest.approx(a.centre, abs=0.5 * a.scale)
    assert b.scale == pytest.approx(a.scale, rel=0.15)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.01, -1.0), (30.0, 0.0), (0.02, 5.0)])
def test_normalised_brains_do_not_depend_on_gain_or_offset(stripped: Volume, gain: float, offset: float) -> None:
    moved = Volume((stripped.array * gain + offset).astype(np.float32), stripped.geometry)
    a = normalise(stripped, find_foreground(stripped), (-5, 10)).array
    b = normalise(moved, find_foreground(moved), (-5, 10)).array
    assert_allclose(b, a, atol=0.02)


@pytest.mark.parametrize("padding", [0.0, 100.0, -3.6, 1e4])
def test_padding_of_any_value_reads_as_dark(stripped: Volume, padding: float) -> None:
    """A z-scored scan is often zero outside, which is as bright as brain."""
    inside = stripped.array > 0
    scored = (stripped.array - stripped.array[inside].mean()) / stripped.array[inside].std()
    scored[~inside] = padding
    foreground = find_foreground(Volume(scored.astype(np.float32), stripped.geometry))
    assert foreground.padding == np.float32(padding)
    got = normalise(Volume(scored.astype(np.float32), stripped.geometry), foreground, (-5, 10)).array
    assert got[~inside].max() < np.percentile(got[inside], 2)


@pytest.mark.parametrize("levels", [255, 63])
def test_few_levels_are_no_second_padding(stripped: Volume, levels: int) -> None:
    coarse = np.rint(stripped.array / stripped.array.max() * levels).astype(np.uint8)
    volume = Volume(coarse, stripped.geometry)
    assert evenly_padded(volume) is volume


def test_what_is_all_of_one_value_is_no_second_padding(geometry: Callable[..., Geometry]) -> None:
    phantom = np.zeros((40, 40, 40), np.float32)
    phantom[5:35, 5:35, 5:35] = 7
    phantom[20, 20, 20] = 9
    volume = Volume(phantom, geometry(phantom.shape))
    assert evenly_padded(volume) is volume


def test_the_box_holds_the_patient_and_little_else(stripped: Volume) -> None:
    room = np.pad(stripped.array, 20)
    grid = replace(stripped.geometry, size=room.shape[::-1], spacing=(1.5, 1.5, 1.5))
    where = np.argwhere(room > 0)
    brain = Volume((room > 0).astype(np.uint8), grid)
    for values, known, most in ((room, None, 9), (room - 40, None, 9), (room, brain, 5)):
        found = find_foreground(Volume(values, grid), known)
        assert (found.low <= where.min(0)).all()
        assert (found.high >= where.max(0)).all()
        assert (found.low >= where.min(0) - most).all()
        assert (found.high <= where.max(0) + most).all()


def test_very_bright_vessels_do_not_move_the_scale(stripped: Volume) -> None:
    bright = stripped.array.copy()
    bright[40:44, 30:70, 50:54] = 15000
    a, b = find_foreground(stripped), find_foreground(Volume(bright, stripped.geometry))
    assert b.centre == pytest.approx(a.centre, rel=0.02)
    assert b.scale == pytest.approx(a.scale, rel=0.1)


@pytest.mark.parametrize(("deviation", "unit"), [(24.0, 15.0), (12.0, 9.6), (1.0, 5.0)])
def test_in_unusually_even_tissue_the_unit_is_smaller(
    geometry: Callable[..., Geometry], deviation: float, unit: float
) -> None:
    """Tissue is at 100 and fluid at 40. What stands out by as many deviations of tissue must not be so much fainter, within limits."""
    rng = np.random.default_rng(3)
    inside = np.linalg.norm(np.indices((80, 80, 80)) - 40, axis=0) < 36
    tissue = 100 + deviation * rng.standard_normal(inside.shape)
    fluid = rng.random(inside.shape) < 0.03
    image = np.where(inside, np.where(fluid, 40, tissue), 0).astype(np.float32)
    assert find_foreground(Volume(image, geometry(inside.shape))).scale == pytest.approx(unit, rel=0.07)
