"""Lesions inserted into images are of the size, contrast and place that is said."""

import numpy as np
import pytest
import SimpleITK as sitk
from insertion import brain_without, insert
from scipy import ndimage


def head(spacing: tuple[float, float, float]) -> sitk.Image:
    """A ball of tissue (100, standard deviation 5) of 100 mm, padded with an exact zero."""
    shape = [round(120 / s) for s in spacing[::-1]]
    grid = np.stack(
        np.meshgrid(*[(np.arange(n) - n / 2) * s for n, s in zip(shape, spacing[::-1], strict=True)], indexing="ij")
    )
    array = np.where(np.linalg.norm(grid, axis=0) < 50, np.random.default_rng(0).normal(100, 5, shape), 0)
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(spacing)
    return image


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.6, 0.6, 3.0)])
def test_size_contrast_and_place(spacing: tuple[float, float, float]) -> None:
    image = head(spacing)
    before = sitk.GetArrayFromImage(image)
    brain = brain_without(image, None)
    for seed in range(3):
        array, labels, lesions = insert(image, brain, 8, seed)
        again = insert(image, brain, 8, seed)
        assert np.array_equal(array, again[0])
        assert ndimage.label(labels > 0, np.ones((3, 3, 3)))[1] == len(lesions) > 3
        assert np.abs(array - before)[ndimage.distance_transform_edt(labels == 0) > 6 / min(spacing)].max() == 0
        for n, lesion in enumerate(lesions, start=1):
            own = labels == n
            if lesion.diameter_mm > 5 and lesion.kind == "even":
                volume = own.sum() * np.prod(spacing)
                assert volume == pytest.approx(np.pi / 6 * lesion.diameter_mm**3, rel=0.35)
                inner = ndimage.distance_transform_edt(own, sampling=spacing[::-1]) > 0.3 * lesion.diameter_mm
                assert (array[inner].mean() - 100) / 5 == pytest.approx(lesion.contrast, abs=0.5)


def test_small_lesions_fade_into_their_voxels() -> None:
    """At 3 mm slices a 2 mm lesion has no voxel of its own."""
    image = head((1.0, 1.0, 4.0))
    brain = brain_without(image, None)
    seen = []
    for seed in range(12):
        array, labels, lesions = insert(image, brain, 8, seed)
        for n, lesion in enumerate(lesions, start=1):
            if lesion.diameter_mm < 3:
                seen.append(((array[labels == n].max() - 100) / 5) / lesion.contrast)
    assert len(seen) > 3
    assert np.median(seen) < 0.8


def test_nothing_is_inserted_near_disease() -> None:
    image = head((1.0, 1.0, 1.0))
    sick = np.zeros(sitk.GetArrayFromImage(image).shape, bool)
    sick[:, :, 60:] = True
    allowed = brain_without(image, sick)
    assert allowed.any()
    _, _, lesions = insert(image, allowed, 10, 1)
    assert lesions
    assert max(lesion.centre[2] for lesion in lesions) < 53


def test_nothing_is_inserted_where_nothing_is_beside_it() -> None:
    """One voxel that is allowed by itself says nothing of what tissue looks like there."""
    image = head((1.0, 1.0, 1.0))
    allowed = np.zeros(sitk.GetArrayFromImage(image).shape, bool)
    allowed[40:46, 40:46, 40:46] = allowed[70, 70, 70] = True
    for seed in range(150):
        array, labels, lesions = insert(image, allowed, 3, seed)
        assert np.isfinite(array).all()
        assert labels.max() == len(lesions)
