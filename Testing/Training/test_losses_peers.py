"""What the lopsided loss is compared with: tables worked out by hand, gradients, limits, and where they come to rest."""

import math

import pytest
import torch
from descent import Loss, gradient, mixed, rest, tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from lopsided_training.losses import (
    forward_corrected_cross_entropy,
    generalised_cross_entropy,
    lopsided_loss,
    lopsided_teacher_loss,
    nnpu_risk,
    oracle_ignore_loss,
    symmetric_bootstrap_loss,
    teacher_mining_loss,
    weighted_cross_entropy,
)
from lopsided_training.losses.positive_unlabelled import Surrogate
from lopsided_training.losses.voxels import Variant
from torch.nn import functional

LOGIT_08 = math.log(4)  # p = 0.8
Z = tensor(LOGIT_08, -LOGIT_08, LOGIT_08, -LOGIT_08)  # p = .8, .2, .8, .2
Y = tensor(1, 1, 0, 0)
LN8, LN2 = math.log(0.8), math.log(0.2)

few = settings(max_examples=40, deadline=None)
shares = st.floats(0.05, 0.95)
weights = st.floats(0.2, 20)


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels, trust."""
    size = draw(st.integers(1, 8))
    z = draw(st.lists(st.floats(-12, 12), min_size=size, max_size=size))
    y = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size))
    t = draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    return tensor(*z), tensor(*y), tensor(*t) * (1 - tensor(*y))


def plain(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(z, y)


# weighted cross-entropy


def test_weighted_cross_entropy_by_hand() -> None:
    looked = tensor(0, 0, 1, 0.5)
    by_voxel = [-3 * LN8, -3 * LN2, -LN2, -(0.5 + 0.5 * 0.2) * LN8]
    assert float(weighted_cross_entropy(Z, Y, looked, alpha=3, beta=0.2)) == pytest.approx(sum(by_voxel) / 4)
    assert gradient(lambda z: weighted_cross_entropy(z, Y, looked, alpha=3, beta=0.2), *Z.tolist()) == pytest.approx(
        [-3 * 0.2 / 4, -3 * 0.8 / 4, 0.8 / 4, 0.6 * 0.2 / 4]
    )


@few
@given(batches(), weights, st.floats(0.01, 1))
def test_a_soft_belief_without_gradient_is_only_a_weight(
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], alpha: float, beta: float
) -> None:
    """Not in value, but in gradient, which is all that training sees."""
    z, y, t = batch

    def detached(z: torch.Tensor) -> torch.Tensor:
        p, b = torch.sigmoid(z), t + (1 - t) * beta
        q = p.detach()
        unannotated = -(b * (1 - p).log() + (1 - b) * (q * p.log() + (1 - q) * (1 - p).log()))
        return torch.where(y > 0, -alpha * p.log(), unannotated).mean()

    found = gradient(lambda z: weighted_cross_entropy(z, y, t, alpha=alpha, beta=beta), *z.tolist())
    assert found == pytest.approx(gradient(detached, *z.tolist()), rel=1e-6, abs=1e-9)
    ratio = beta * weighted_cross_entropy(z, y, alpha=alpha / beta)
    assert float(weighted_cross_entropy(z, y, alpha=alpha, beta=beta)) == pytest.approx(float(ratio))


@few
@given(batches(), weights)
def test_losses_that_become_weighted_cross_entropy(
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], alpha: float
) -> None:
    z, y, t = batch
    expected = pytest.approx(float(weighted_cross_entropy(z, y, t, alpha=alpha)), rel=1e-4)
    nowhere, unsure = torch.zeros_like(z), torch.full_like(z, 2.19)  # p = 0.8993
    for variant in ("hard", "soft"):
        assert float(lopsided_loss(z, y, t, alpha=alpha, beta=1, variant=variant)) == expected
        assert float(symmetric_bootstrap_loss(z, y, t, alpha=alpha, beta=1, variant=variant)) == expected
    assert float(forward_corrected_cross_entropy(z, y, t, miss_rate=0, alpha=alpha)) == expected
    assert float(generalised_cross_entropy(z, y, t, alpha=alpha, q=1e-7)) == expected
    assert float(oracle_ignore_loss(z, y, nowhere, t, alpha=alpha)) == expected
    assert float(teacher_mining_loss(z, y, unsure, t, alpha=alpha, threshold=0.9, mode="positive")) == expected


@few
@given(weights, shares, shares)
def test_where_partly_annotated_voxels_settle(alpha: float, beta: float, share: float) -> None:
    """Of like voxels, a share is annotated."""
    p = alpha * share / (alpha * share + beta * (1 - share))

    def loss(z: torch.Tensor) -> torch.Tensor:
        lesion = weighted_cross_entropy(z, torch.ones_like(z), alpha=alpha)
        return share * lesion + (1 - share) * weighted_cross_entropy(z, torch.zeros_like(z), beta=beta)

    z = math.log(p / (1 - p))
    assert gradient(loss, z) == pytest.approx([0], abs=1e-9)
    assert gradient(loss, z - 0.1)[0] < 0 < gradient(loss, z + 0.1)[0]


def test_an_oracle_keeps_what_cross_entropy_halves() -> None:
    labels, missed = [1, 1, 0, 0], tensor(0, 0, 1, 1)
    assert rest(mixed(weighted_cross_entropy, labels), 0.5) == pytest.approx([0.5], abs=1e-6)
    assert rest(mixed(lambda z, y: oracle_ignore_loss(z, y, missed), labels), 0.5)[0] > 0.99


def test_an_oracle_ignores_whatever_label_and_trust_say() -> None:
    ignore = tensor(1, 0, 1, 0)
    value = oracle_ignore_loss(Z, Y, ignore, tensor(0, 0, 1, 0), alpha=3, beta=0.5)
    assert float(value) == pytest.approx((-3 * LN2 - 0.5 * LN8) / 4)
    slopes = gradient(lambda z: oracle_ignore_loss(z, Y, ignore), *Z.tolist())
    assert slopes[0] == slopes[2] == 0
    assert all(slopes[n] != 0 for n in (1, 3))


# symmetric bootstrap


@pytest.mark.parametrize(
    ("variant", "targets"),
    [("hard", [1.0, 0.75, 0.25, 0.0]), ("soft", [0.75 + 0.25 * 0.8, 0.75 + 0.25 * 0.2, 0.25 * 0.8, 0.25 * 0.2])],
)
def test_symmetric_bootstrap_by_hand(variant: Variant, targets: list[float]) -> None:
    """beta = 0.75; annotated voxels twice."""
    ps = [0.8, 0.2, 0.8, 0.2]
    by_voxel = [-t * math.log(p) - (1 - t) * math.log(1 - p) for t, p in zip(targets, ps, strict=True)]
    expected = (2 * by_voxel[0] + 2 * by_voxel[1] + by_voxel[2] + by_voxel[3]) / 4
    assert float(symmetric_bootstrap_loss(Z, Y, alpha=2, beta=0.75, variant=variant)) == pytest.approx(expected)


@few
@given(batches(), shares, st.sampled_from(["hard", "soft"]))
def test_it_is_lopsided_where_nothing_is_annotated(
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], beta: float, variant: Variant
) -> None:
    z, _, t = batch
    y = torch.zeros_like(z)
    expected = float(lopsided_loss(z, y, t, beta=beta, variant=variant))
    assert float(symmetric_bootstrap_loss(z, y, t, beta=beta, variant=variant)) == pytest.approx(expected)


@pytest.mark.parametrize("z", [-1.7, 0.8])
def test_gradients_of_symmetric_bootstrap_on_annotated_voxels(z: float) -> None:
    p, q, beta = 1 / (1 + math.exp(-z)), float(z > 0), 0.3
    for variant, expected in (
        ("hard", p - beta - (1 - beta) * q),
        ("soft", -(1 - p) * (beta + (1 - beta) * z * p)),
    ):
        found = gradient(lambda x, v=variant: symmetric_bootstrap_loss(x, tensor(1), alpha=3, beta=beta, variant=v), z)
        assert found == pytest.approx([3 * expected])


@pytest.mark.parametrize(
    ("variant", "beta", "expected"), [("hard", 0.1, 0.1), ("hard", 0.8, 1), ("soft", 0.1, 0.033), ("soft", 0.95, 1)]
)
def test_with_little_trust_an_annotated_lesion_is_not_learnt(variant: Variant, beta: float, expected: float) -> None:
    def annotated(z: torch.Tensor) -> torch.Tensor:
        return symmetric_bootstrap_loss(z, torch.ones_like(z), beta=beta, variant=variant)

    assert rest(annotated, -2.5) == pytest.approx([expected], abs=1e-3)


# forward-corrected cross-entropy


def test_forward_corrected_by_hand() -> None:
    """miss_rate = 0.25, and the third voxel was looked at: 1 - 0.75·p where nobody looked, 1 - p there."""
    by_voxel = [-2 * math.log(0.75 * 0.8), -2 * math.log(0.75 * 0.2), -LN2, -math.log(1 - 0.75 * 0.2)]
    value = forward_corrected_cross_entropy(Z, Y, tensor(0, 0, 1, 0), miss_rate=0.25, alpha=2)
    assert float(value) == pytest.approx(sum(by_voxel) / 4)


@pytest.mark.parametrize("z", [-2.0, 0.5, 4.0])
def test_gradients_of_forward_corrected(z: float) -> None:
    p = 1 / (1 + math.exp(-z))
    for y, expected in ((1, -(1 - p)), (0, 0.6 * p * (1 - p) / (1 - 0.6 * p))):
        found = gradient(lambda x, y=y: forward_corrected_cross_entropy(x, tensor(y), miss_rate=0.4), z)
        assert found == pytest.approx([expected])


def test_it_finds_the_probability_that_cross_entropy_halves() -> None:
    """Of ten like voxels six are lesion, of which half is annotated."""
    labels = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert rest(mixed(weighted_cross_entropy, labels), 0.0) == pytest.approx([0.3], abs=1e-6)
    corrected = mixed(lambda z, y: forward_corrected_cross_entropy(z, y, miss_rate=0.5), labels)
    assert rest(corrected, 0.0) == pytest.approx([0.6], abs=1e-6)


# generalised cross-entropy


def test_generalised_cross_entropy_by_hand() -> None:
    """q = ½, so that powers are square roots; the third voxel was looked at by half."""
    by_voxel = [4 * (1 - math.sqrt(0.8)), 4 * (1 - math.sqrt(0.2)), None, 2 * (1 - math.sqrt(0.8))]
    by_voxel[2] = 0.5 * -LN2 + 0.5 * 2 * (1 - math.sqrt(0.2))
    value = generalised_cross_entropy(Z, Y, tensor(0, 0, 0.5, 0), alpha=2, q=0.5)
    assert float(value) == pytest.approx(sum(by_voxel) / 4)  # type: ignore[arg-type]
    absolute = (0.2 + 0.8 + 0.8 + 0.2) / 4
    assert float(generalised_cross_entropy(Z, Y, q=1)) == pytest.approx(absolute)


@pytest.mark.parametrize("z", [-2.0, 0.5, 4.0])
def test_gradients_of_generalised_cross_entropy(z: float) -> None:
    p = 1 / (1 + math.exp(-z))
    for y, expected in ((1, -(p**0.7) * (1 - p)), (0, (1 - p) ** 0.7 * p)):
        assert gradient(lambda x, y=y: generalised_cross_entropy(x, tensor(y)), z) == pytest.approx([expected])


def test_a_majority_is_made_more_certain() -> None:
    """Six of ten annotated, q = 0.7: logit ln(6/4)/0.3; with four, the other way; weighted 2.25, the first again."""
    z = math.log(1.5) / 0.3
    p = 1 / (1 + math.exp(-z))
    six, four = [1] * 6 + [0] * 4, [1] * 4 + [0] * 6
    assert rest(mixed(generalised_cross_entropy, six), 0.0, rate=12, steps=300) == pytest.approx([p], abs=1e-4)
    assert rest(mixed(generalised_cross_entropy, four), 0.0, rate=12, steps=300) == pytest.approx([1 - p], abs=1e-4)
    heavier = mixed(lambda z, y: generalised_cross_entropy(z, y, alpha=2.25), four)
    assert rest(heavier, 0.0, rate=12, steps=300) == pytest.approx([p], abs=1e-4)


# positive-unlabelled


@pytest.mark.parametrize(
    ("surrogate", "lesion", "background"),
    [("logistic", (-LN8, -LN2), (-LN2, -LN8)), ("sigmoid", (0.2, 0.8), (0.8, 0.2))],
)
def test_nnpu_by_hand(surrogate: Surrogate, lesion: tuple[float, float], background: tuple[float, float]) -> None:
    """P has p = .8 and .2, U too; a prior of 0.25."""
    found, as_background = sum(lesion) / 2, sum(background) / 2
    expected = 0.25 * found + as_background - 0.25 * as_background
    assert float(nnpu_risk(Z, Y, prior=0.25, surrogate=surrogate)) == pytest.approx(expected)
    # half of U was looked at: that voxel, p = .8, is outside the difference, and half of the prior goes with it
    mixture, known = background[1] / 2, background[0] / 2
    expected = 0.25 * found + known + max(0, mixture - 0.5 * 0.25 * as_background)
    assert float(nnpu_risk(Z, Y, tensor(0, 0, 1, 0), prior=0.25, surrogate=surrogate)) == pytest.approx(expected)


def test_a_negative_difference_counts_nothing_and_pulls_nothing() -> None:
    """Everything in U is far below what the prior says must be there."""
    z = (3.0, -4.0, -5.0)
    y = tensor(1, 0, 0)
    assert float(nnpu_risk(tensor(*z), y, prior=0.5)) == pytest.approx(0.5 * math.log1p(math.exp(-3)))
    slopes = gradient(lambda x: nnpu_risk(x, y, prior=0.5), *z)
    assert slopes == pytest.approx([-0.5 / (1 + math.exp(3)), 0, 0])


@pytest.mark.parametrize(
    ("surrogate", "prior", "expected"),
    [("logistic", 0.2, 2 / 3), ("logistic", 0.1, 1 / 3), ("sigmoid", 0.2, 1), ("sigmoid", 0.1, 0)],
)
def test_nnpu_finds_the_missed_share(surrogate: Surrogate, prior: float, expected: float) -> None:
    """All of P and three of ten in U look alike; the prior says that two, or one, of those three are lesion."""
    y = tensor(*[1] * 4, *[0] * 10)

    def loss(kinds: torch.Tensor) -> torch.Tensor:
        lesion_like, other = kinds
        z = torch.cat([lesion_like.expand(7), other.expand(7)])
        return nnpu_risk(z, y, prior=prior, surrogate=surrogate)

    like, other = rest(loss, 0.1, 0.1, rate=12)
    assert like == pytest.approx(expected, abs=0.01)
    assert other == pytest.approx(0, abs=0.01)


def test_without_annotated_voxels_all_is_background() -> None:
    assert float(nnpu_risk(Z, torch.zeros(4), prior=0.3)) == pytest.approx(-(LN2 + LN8) / 2)


# mining


@pytest.mark.parametrize(("mode", "mined"), [("ignore", 0.0), ("positive", -3 * LN8)])
def test_mining_by_hand(mode: str, mined: float) -> None:
    """The teacher is sure of all but the last voxel; it has no say about the first, which is annotated."""
    teacher = tensor(5, 5, 5, 2)
    z, y = tensor(*[LOGIT_08] * 4), tensor(1, 0, 0, 0)
    by_voxel = [-3 * LN8, mined, -LN2, -0.5 * LN2]  # the third was looked at
    value = teacher_mining_loss(
        z,
        y,
        teacher,
        tensor(0, 0, 1, 0),
        alpha=3,
        beta=0.5,
        threshold=0.9,
        mode=mode,  # type: ignore[arg-type]
    )
    assert float(value) == pytest.approx(sum(by_voxel) / 4)


@pytest.mark.parametrize(
    ("mode", "teacher", "expected"),
    [("ignore", 3.0, 0.8), ("positive", 3.0, 1), ("ignore", 1.0, 0), ("positive", 1.0, 0)],
)
def test_what_becomes_of_a_mined_lesion(mode: str, teacher: float, expected: float) -> None:
    def loss(z: torch.Tensor) -> torch.Tensor:
        return teacher_mining_loss(z, tensor(0), tensor(teacher), threshold=0.9, mode=mode)  # type: ignore[arg-type]

    assert rest(loss, LOGIT_08) == pytest.approx([expected], abs=1e-3)


@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.99])
def test_the_threshold_is_a_probability(threshold: float) -> None:
    z = math.log(threshold / (1 - threshold))
    teacher = tensor(z - 1e-6, z + 1e-6)
    slopes = gradient(lambda x: teacher_mining_loss(x, tensor(0, 0), teacher, threshold=threshold), 1.0, 1.0)
    assert slopes[0] > 0
    assert slopes[1] == 0


# all


def test_without_settings_nothing_is_weighted_and_the_rest_is_the_sources() -> None:
    nowhere, believed = torch.zeros_like(Z), tensor(0, 0, 2.19, 2.2)  # p = 0.899 and 0.9002
    for found, expected in (
        (weighted_cross_entropy(Z, Y), weighted_cross_entropy(Z, Y, alpha=1, beta=1)),
        (oracle_ignore_loss(Z, Y, nowhere), weighted_cross_entropy(Z, Y)),
        (forward_corrected_cross_entropy(Z, Y, miss_rate=0), weighted_cross_entropy(Z, Y)),
        (lopsided_loss(Z, Y, beta=1), weighted_cross_entropy(Z, Y)),
        (lopsided_teacher_loss(Z, Y, Z, beta=1), weighted_cross_entropy(Z, Y)),
        (generalised_cross_entropy(Z, Y), generalised_cross_entropy(Z, Y, alpha=1, q=0.7)),
        (symmetric_bootstrap_loss(Z, Y), symmetric_bootstrap_loss(Z, Y, alpha=1, beta=0.8, variant="hard")),
        (teacher_mining_loss(Z, Y, believed), oracle_ignore_loss(Z, Y, believed == 2.2)),
    ):
        assert float(found) == pytest.approx(float(expected), rel=1e-12)


ONE = tensor(0.0)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (lambda: weighted_cross_entropy(ONE, ONE, alpha=-1), "alpha"),
        (lambda: weighted_cross_entropy(ONE, ONE, alpha=tensor(1, 0)), "alpha"),
        (lambda: weighted_cross_entropy(ONE, ONE, alpha=tensor(1, math.inf)), "alpha"),
        (lambda: weighted_cross_entropy(ONE, ONE, beta=1.5), "beta"),
        (lambda: oracle_ignore_loss(ONE, ONE, ONE, alpha=0), "alpha"),
        (lambda: oracle_ignore_loss(ONE, ONE, ONE, beta=-1), "beta"),
        (lambda: symmetric_bootstrap_loss(ONE, ONE, alpha=math.nan), "alpha"),
        (lambda: symmetric_bootstrap_loss(ONE, ONE, beta=2), "beta"),
        (lambda: symmetric_bootstrap_loss(ONE, ONE, beta=-0.1), "beta"),
        (lambda: forward_corrected_cross_entropy(ONE, ONE, miss_rate=1), "miss_rate"),
        (lambda: forward_corrected_cross_entropy(ONE, ONE, miss_rate=-0.1), "miss_rate"),
        (lambda: forward_corrected_cross_entropy(ONE, ONE, miss_rate=0.1, alpha=0), "alpha"),
        (lambda: generalised_cross_entropy(ONE, ONE, q=0), "q"),
        (lambda: generalised_cross_entropy(ONE, ONE, q=1.1), "q"),
        (lambda: generalised_cross_entropy(ONE, ONE, alpha=0), "alpha"),
        (lambda: nnpu_risk(ONE, ONE, prior=0), "prior"),
        (lambda: nnpu_risk(ONE, ONE, prior=1), "prior"),
        (lambda: teacher_mining_loss(ONE, ONE, ONE, threshold=1), "threshold"),
        (lambda: teacher_mining_loss(ONE, ONE, ONE, threshold=0), "threshold"),
        (lambda: teacher_mining_loss(ONE, ONE, ONE, alpha=0), "alpha"),
        (lambda: teacher_mining_loss(ONE, ONE, ONE, beta=7), "beta"),
    ],
)
def test_settings_out_of_range_are_named(loss: Loss, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        loss()  # type: ignore[call-arg]
