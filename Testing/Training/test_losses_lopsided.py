"""The lopsided losses against tables worked out by hand, their gradients, and where a prediction comes to rest."""

import math

import numpy as np
import pytest
import torch
from descent import Loss, gradient, mixed, rest, tensor
from lopsided_training.losses import lopsided_loss, lopsided_teacher_loss, weighted_cross_entropy
from lopsided_training.losses.voxels import Variant

VARIANTS = pytest.mark.parametrize("variant", ["hard", "soft"])
LOGIT_08 = math.log(4)  # p = 0.8


def loss(z: float, y: float, trust: float | None = None, **settings: object) -> float:
    looked = None if trust is None else tensor(trust)
    return float(lopsided_loss(tensor(z), tensor(y), looked, **settings))  # type: ignore[arg-type]


def unannotated(beta: float, variant: Variant) -> Loss:
    return lambda z: lopsided_loss(z, torch.zeros_like(z), beta=beta, variant=variant)


@pytest.mark.parametrize(
    ("z", "y", "settings", "expected"),
    [
        (0.0, 1, {"beta": 0.1}, math.log(2)),
        (LOGIT_08, 1, {"alpha": 3.0, "beta": 0.1}, -3 * math.log(0.8)),
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


@VARIANTS
def test_trust_between_none_and_full_is_more_beta(variant: Variant) -> None:
    assert loss(LOGIT_08, 0, 1.0, beta=0.1, variant=variant) == pytest.approx(-math.log(0.2))
    assert loss(LOGIT_08, 0, 0.0, beta=0.1, variant=variant) == loss(LOGIT_08, 0, beta=0.1, variant=variant)
    half = loss(LOGIT_08, 0, 0.5, beta=0.2, variant=variant)
    assert half == pytest.approx(loss(LOGIT_08, 0, beta=0.6, variant=variant))


@pytest.mark.parametrize("z", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("beta", [0.1, 0.3])
def test_gradients_are_the_documented_ones(z: float, beta: float) -> None:
    p = 1 / (1 + math.exp(-z))
    assert gradient(unannotated(beta, "hard"), z) == pytest.approx([p - (1 - beta)])
    assert gradient(unannotated(beta, "soft"), z) == pytest.approx([p * (beta - (1 - beta) * z * (1 - p))])


def test_what_is_as_likely_as_not_is_no_lesion() -> None:
    """As everything is to a network that has learnt nothing; it would confirm itself."""
    assert gradient(unannotated(0.1, "hard"), 0.0) == [0.5]


@pytest.mark.parametrize(
    ("variant", "beta", "expected"),
    [("hard", 0.2, 0.8), ("hard", 0.1, 0.9), ("soft", 0.1, 0.967), ("soft", 0.2, 0.866)],
)
@pytest.mark.parametrize("z", [2.0, 5.0])
def test_a_confident_prediction_on_an_unannotated_voxel_comes_to_rest(
    variant: Variant, beta: float, expected: float, z: float
) -> None:
    assert rest(unannotated(beta, variant), z) == pytest.approx([expected], abs=1e-3)


@pytest.mark.parametrize(("variant", "beta"), [("hard", 0.6), ("soft", 0.25), ("hard", 1.0)])
def test_with_more_trust_no_missed_lesion_survives(variant: Variant, beta: float) -> None:
    assert all(gradient(unannotated(beta, variant), float(z))[0] > 0 for z in np.linspace(0.05, 12, 60))
    assert rest(unannotated(beta, variant), 4.0)[0] < 0.01


def test_what_is_annotated_now_and_then_settles_where_documented() -> None:
    """Of ten like voxels three are annotated: cross-entropy forgets two thirds of their probability."""
    alpha, beta, share = 2.0, 0.4, 0.3
    expected = (alpha * share + (1 - share) * (1 - beta)) / (alpha * share + 1 - share)
    labels = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    found = rest(mixed(lambda z, y: lopsided_loss(z, y, alpha=alpha, beta=beta), labels), 1.0)
    assert found == pytest.approx([expected], abs=1e-6)
    assert expected > 0.75
    assert rest(mixed(weighted_cross_entropy, labels), 1.0) == pytest.approx([0.3], abs=1e-6)


@pytest.mark.parametrize(
    ("teacher", "variant", "target"),
    [(LOGIT_08, "soft", 0.8 * 0.75), (LOGIT_08, "hard", 0.75), (-LOGIT_08, "soft", 0.2 * 0.75), (-LOGIT_08, "hard", 0)],
)
def test_a_teachers_belief_is_the_target(teacher: float, variant: Variant, target: float) -> None:
    """beta = 0.25: three quarters of what the teacher believes, whatever the network itself does."""

    def taught(z: torch.Tensor) -> torch.Tensor:
        return lopsided_teacher_loss(z, torch.zeros_like(z), tensor(teacher), beta=0.25, variant=variant)

    for z, p in ((LOGIT_08, 0.8), (-LOGIT_08, 0.2)):
        assert float(taught(tensor(z))) == pytest.approx(-target * math.log(p) - (1 - target) * math.log(1 - p))
        assert gradient(taught, z) == pytest.approx([p - target])
    assert rest(taught, 3.0) == pytest.approx([target], abs=1e-3)


def test_no_gradient_reaches_the_teacher() -> None:
    z, teacher = tensor(1.0).requires_grad_(), tensor(2.0).requires_grad_()
    value = lopsided_teacher_loss(z, tensor(0.0), teacher, beta=0.1, variant="soft")
    assert torch.autograd.grad(value, teacher, allow_unused=True) == (None,)


@pytest.mark.parametrize(("variant", "expected"), [("hard", 0.8), ("soft", 0.0)])
def test_only_a_hard_teacher_that_follows_keeps_a_missed_lesion(variant: Variant, expected: float) -> None:
    """The network is one logit; its teacher the moving average of that."""
    student = teacher = 3.0
    for _ in range(1500):
        student -= gradient(
            lambda z, q=teacher: lopsided_teacher_loss(z, tensor(0.0), tensor(q), beta=0.2, variant=variant), student
        )[0]
        teacher = 0.95 * teacher + 0.05 * student
    assert 1 / (1 + math.exp(-student)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("settings", [{"alpha": 0}, {"alpha": math.inf}, {"beta": -0.1}, {"beta": 1.1}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    (name,) = settings
    settings = {"beta": 0.1} | settings
    with pytest.raises(ValueError, match=f"{name} must be"):
        loss(0, 0, **settings)
    with pytest.raises(ValueError, match=f"{name} must be"):
        lopsided_teacher_loss(tensor(0), tensor(0), tensor(0), **settings)
