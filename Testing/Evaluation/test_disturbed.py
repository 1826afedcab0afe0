"""Disturbances change a scan as they say, and leave its padding."""

import numpy as np
import pytest
import SimpleITK as sitk
from backgrounds import STRIPPED, Background
from disturbed import DISTURBANCES, disturbed
from scipy import ndimage


@pytest.fixture
def background() -> Background:
    """A brain of two tissues, 36 mm across, in exact zeros."""
    grid = np.indices((40, 40, 40)) - 20
    inside = np.linalg.norm(grid, axis=0) < 18
    tissue = np.where(grid[2] > 0, 120, 90) + np.random.default_rng(0).normal(0, 5, inside.shape)
    image = sitk.GetImageFromArray(np.where(inside, tissue, 0).astype(np.float32))
    return Background("brain", STRIPPED, image, ndimage.binary_erosion(inside, iterations=3))


@pytest.mark.parametrize("name", DISTURBANCES)
def test_padding_stays_and_the_same_seed_gives_the_same(background: Background, name: str) -> None:
    one, again = (disturbed(background.array, background, DISTURBANCES[name], 7) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert (one[background.array == 0] == 0).all()
    assert np.isfinite(one).all()
    assert (name == "as it is") == np.array_equal(one, background.array)


def test_how_much_is_as_it_says(background: Background) -> None:
    def change(name: str) -> np.ndarray:
        done = disturbed(background.array, background, DISTURBANCES[name], 7)
        return (done - background.array)[background.allowed]

    spread = 15 / 0.67449  # of two tissues, half each, 30 apart: the quartiles
    assert change("noise of the spread of tissue").std() == pytest.approx(spread, rel=0.15)
    assert change("noise of half the spread of tissue").std() == pytest.approx(spread / 2, rel=0.15)
    scored = disturbed(background.array, background, DISTURBANCES["z-scored"], 7)[background.array != 0]
    assert (scored.mean(), scored.std()) == pytest.approx((0, 1), abs=1e-4)
    eight = disturbed(background.array, background, DISTURBANCES["in 8 bits"], 7)
    assert set(np.unique(eight)) <= set(range(256))
