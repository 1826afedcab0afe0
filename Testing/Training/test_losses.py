"""The lopsided loss against tables worked out by hand, its gradient, and where a prediction comes to rest."""

import math

import numpy as np
import pytest
import torch
from lopsided_training.losses import Variant, lopsided_loss
from torch.nn import functional


def loss(z: float, y: float, trust: float | None = None, **settings: object) -> float:
    one = torch.tensor([z], dtype=torch.float64)
    sure = None if trust is None else torch.full_like(one, trust)
    return float(lopsided_loss(one, torch.full_like(one, y), sure, **settings))  # type: ignore[arg-type]


LOGIT_08 = math.log(4)  # p = 0.8


@pytest.mark.parametrize(
    ("z", "y", "settings", "expected"),
    [
        (0.0, 1, {}, math.log(2)),
        (LOGIT_08, 1, {"alpha": 3.0}, -3 * math.log(0.8)),
        (LOGIT_08, 0, {"beta": 1.0}, -math.log(0.2)),
        # hard: q = 1, so half of the trust goes to log(1-p), half to log p
        (LOGIT_08, 0, {"beta": 0.5}, -0.5 * math.log(0.2) - 0.5 * math.log(0.8)),
        # below a half q = 0: plain cross-entropy, whatever beta
        (-LOGIT_08, 0, {"beta": 0.1}, -math.log(0.8)),
        (LOGIT_08, 0, {"beta": 0.25, "variant": "soft"}, -0.4 * math.log(0.2) - 0.6 * math.log(0.8)),
        (-LOGIT_08, 0, {"beta": 0.25, "variant": "soft"}, -0.85 * math.log(0.8) - 0.15 * math.log(0.2)),
    ],
)
def test_values(z: float, y: float, settings: dict[str, object], expected: float) -> None:
    assert loss(z, y, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("variant", ["hard", "soft"])
def test_trusted_negatives_have_full_weight(variant: Variant) -> None:
    assert loss(LOGIT_08, 0, 1.0, beta=0.1, variant=variant) == pytest.approx(-math.log(0.2))
    assert loss(LOGIT_08, 0, 0.0, beta=0.1, variant=variant) == loss(LOGIT_08, 0, beta=0.1, variant=variant)
    half = loss(LOGIT_08, 0, 0.5, beta=0.2, variant=variant)
    assert half == pytest.approx(loss(LOGIT_08, 0, beta=0.6, variant=variant))


def test_with_full_trust_it_is_weighted_cross_entropy() -> None:
    z = torch.linspace(-6, 6, 40, dtype=torch.float64)
    y = (torch.arange(40) % 3 == 0).double()
    expected = functional.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(4.0, dtype=torch.float64))
    assert float(lopsided_loss(z, y, alpha=4, beta=1)) == pytest.approx(float(expected))


@pytest.mark.parametrize("variant", ["hard", "soft"])
def test_gradient_is_that_of_the_value(variant: Variant) -> None:
    z = torch.tensor([-3.0, -0.7, 0.4, 1.9, 5.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.0, 1, 0, 0, 1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: lopsided_loss(x, y, alpha=2, beta=0.15, variant=variant), (z,))


def gradient(z: float, beta: float, variant: Variant) -> float:
    one = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    lopsided_loss(one, torch.zeros(1, dtype=torch.float64), beta=beta, variant=variant).backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None
    return float(one.grad)


@pytest.mark.parametrize("z", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("beta", [0.1, 0.3])
def test_gradients_are_the_documented_ones(z: float, beta: float) -> None:
    p = 1 / (1 + math.exp(-z))
    assert gradient(z, beta, "hard") == pytest.approx(p - (1 - beta))
    assert gradient(z, beta, "soft") == pytest.approx(p * (beta - (1 - beta) * z * (1 - p)))


@pytest.mark.parametrize(
    ("variant", "beta", "rest"),
    [("hard", 0.2, 0.8), ("hard", 0.1, 0.9), ("soft", 0.1, 0.967), ("soft", 0.2, 0.866)],
)
def test_a_confident_prediction_on_an_unannotated_voxel_comes_to_rest(
    variant: Variant, beta: float, rest: float
) -> None:
    z = 3.0
    for _ in range(20000):
        z -= 0.2 * gradient_fast(z, beta, variant)
    assert 1 / (1 + math.exp(-z)) == pytest.approx(rest, abs=1e-3)
    assert gradient(z, beta, variant) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("variant", "beta"), [("hard", 0.6), ("soft", 0.25), ("hard", 1.0)])
def test_with_more_trust_no_missed_lesion_survives(variant: Variant, beta: float) -> None:
    for z in np.linspace(0.05, 12, 60):
        assert gradient(float(z), beta, variant) > 0


def gradient_fast(z: float, beta: float, variant: Variant) -> float:
    """The documented gradient, which another test holds to the real one."""
    p = 1 / (1 + math.exp(-z))
    if variant == "hard":
        return p - (1 - beta) if z > 0 else p
    return p * (beta - (1 - beta) * z * (1 - p))


@pytest.mark.parametrize("settings", [{"alpha": 0}, {"beta": -0.1}, {"beta": 1.1}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="alpha must be positive and beta within"):
        loss(0, 0, **settings)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        lopsided_loss(torch.zeros(2, 1), torch.zeros(2))
