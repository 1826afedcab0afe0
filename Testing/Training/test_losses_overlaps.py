"""Losses of overlap: tables worked out by hand, equivalences, gradients."""

import math

import pytest
import torch
from descent import gradient, rest, tensor
from lopsided_training.losses import dice_cross_entropy, noise_robust_dice_loss, tversky_loss

LOGIT_08 = math.log(4)
Z = tensor(LOGIT_08, 0, -LOGIT_08)  # p = .8, .5, .2
Y = tensor(1, 1, 0)


def test_tversky_by_hand() -> None:
    """TP = 1.3, FN = 0.2 + 0.5, FP = 0.2, and a voxel."""
    index = (1.3 + 1) / (1.3 + 0.9 * 0.7 + 0.1 * 0.2 + 1)
    assert float(tversky_loss(Z, Y)) == pytest.approx(1 - index)
    assert float(tversky_loss(Z, Y, false_negatives=0)) == pytest.approx(1 - 2.3 / 2.5)


def test_dice_and_cross_entropy_by_hand() -> None:
    entropy = -(math.log(0.8) + math.log(0.5) + math.log(0.8)) / 3
    assert float(dice_cross_entropy(Z, Y)) == pytest.approx(1 - 4.6 / 5.5 + entropy)


def test_noise_robust_dice_by_hand() -> None:
    expected = (0.2**1.5 + 0.5**1.5 + 0.2**1.5) / (0.64 + 0.25 + 0.04 + 2)
    assert float(noise_robust_dice_loss(Z, Y)) == pytest.approx(expected, rel=1e-5)


def test_noise_robust_dice_of_power_two_is_dice_with_squares() -> None:
    dice = 2 * 1.3 / (0.64 + 0.25 + 0.04 + 2)
    assert float(noise_robust_dice_loss(Z, Y, power=2)) == pytest.approx(1 - dice, rel=1e-5)


def test_gradients_of_tversky() -> None:
    index, denominator = 2.3 / 2.95, 2.95
    by_p = [-(1 - 0.1 * index) / denominator] * 2 + [0.1 * index / denominator]
    by_z = [g * p * (1 - p) for g, p in zip(by_p, (0.8, 0.5, 0.2), strict=True)]
    assert gradient(lambda z: tversky_loss(z, Y), *Z.tolist()) == pytest.approx(by_z)


@pytest.mark.parametrize(
    ("annotated", "unannotated", "falls"),
    [(0.9, 0.99, True), (0.5, 0.5, True), (0.05, 0.9, False), (0.05, 0.3, True)],
)
def test_noise_robust_dice_lets_a_bad_prediction_confirm_itself(
    annotated: float, unannotated: float, falls: bool
) -> None:
    """Two voxels. What is predicted without label falls while sqrt(p) < 0.75/L."""
    denominator = annotated**2 + unannotated**2 + 1 + 1e-5
    value = ((1 - annotated) ** 1.5 + unannotated**1.5) / denominator
    assert (math.sqrt(unannotated) < 0.75 / value) == falls
    by_p = (1.5 * math.sqrt(unannotated) - 2 * unannotated * value) / denominator
    z = [math.log(p / (1 - p)) for p in (annotated, unannotated)]
    slope = gradient(lambda z: noise_robust_dice_loss(z, tensor(1, 0)), *z)[1]
    assert slope == pytest.approx(by_p * unannotated * (1 - unannotated))
    assert (slope > 0) == falls


@pytest.mark.parametrize("loss", [tversky_loss, dice_cross_entropy, noise_robust_dice_loss])
def test_a_missed_lesion_among_found_ones_is_forgotten(loss: object) -> None:
    """Three lesions, of which one is not annotated; it begins as probable as they are."""
    y = tensor(1, 1, 0)
    found = rest(lambda z: loss(z, y), 2.0, 2.0, 2.0, rate=40)  # type: ignore[operator]
    assert min(found[:2]) > 0.95
    assert found[2] < 0.05


def test_without_annotation() -> None:
    """Tversky and Dice ask for nothing to be found; the noise-robust one, which would ask for more, is silent."""
    y = torch.zeros(3, dtype=torch.float64)
    assert float(tversky_loss(Z, y)) == pytest.approx(0.1 * 1.5 / (0.1 * 1.5 + 1))
    assert min(gradient(lambda z: tversky_loss(z, y), *Z.tolist())) > 0
    assert min(gradient(lambda z: dice_cross_entropy(z, y), *Z.tolist())) > 0
    assert float(noise_robust_dice_loss(Z, y)) == 0
    assert gradient(lambda z: noise_robust_dice_loss(z, y), *Z.tolist()) == [0, 0, 0]


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"^false_negatives must be within 0\.\.1, not 1\.5"):
        tversky_loss(Z, Y, false_negatives=1.5)
    with pytest.raises(ValueError, match=r"^power must be within 1\.\.2, not 2\.5"):
        noise_robust_dice_loss(Z, Y, power=2.5)
