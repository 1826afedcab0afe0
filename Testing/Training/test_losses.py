"""What holds of every loss, as the training loop calls it; and the settings that choose one."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from descent import tensor
from lopsided.errors import InputError
from lopsided_training.config import FitConfig, read_config
from lopsided_training.losses import make_teacher, training_loss
from lopsided_training.losses.settings import (
    DiceCrossEntropyConfig,
    ForwardCorrectedConfig,
    GeneralisedCrossEntropyConfig,
    LopsidedConfig,
    LopsidedTeacherConfig,
    LossConfig,
    NoiseRobustDiceConfig,
    NonNegativePUConfig,
    OracleIgnoreConfig,
    SymmetricBootstrapConfig,
    TeacherMiningConfig,
    TverskyConfig,
    WeightedCrossEntropyConfig,
)
from pydantic import TypeAdapter, ValidationError
from torch import nn

EVERY: list[Any] = [
    LopsidedConfig(beta=0.2),
    LopsidedConfig(beta=0.2, variant="soft"),
    WeightedCrossEntropyConfig(beta=0.5),
    SymmetricBootstrapConfig(),
    SymmetricBootstrapConfig(variant="soft"),
    ForwardCorrectedConfig(),
    NonNegativePUConfig(prior=0.1),
    NonNegativePUConfig(prior=0.1, surrogate="sigmoid"),
    NonNegativePUConfig(prior=0.95),  # where the difference is negative
    GeneralisedCrossEntropyConfig(),
    NoiseRobustDiceConfig(),
    NoiseRobustDiceConfig(power=1.0),
    TverskyConfig(),
    DiceCrossEntropyConfig(),
    TeacherMiningConfig(),
    TeacherMiningConfig(mode="positive"),
    LopsidedTeacherConfig(beta=0.2),
    LopsidedTeacherConfig(beta=0.2, variant="soft"),
    OracleIgnoreConfig(beta=0.5),
]
every = pytest.mark.parametrize("config", EVERY, ids=lambda c: c.model_dump_json().replace('"', ""))
OVERLAPS = (NoiseRobustDiceConfig, TverskyConfig, DiceCrossEntropyConfig)
WARM = 10**6  # steps


def loss(config: Any, logits: torch.Tensor, labels: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
    """With a teacher that is sure of every other voxel, and the first voxel ignored."""
    teacher = torch.where(torch.arange(logits.numel()) % 2 == 0, 4.0, -4.0).reshape(logits.shape)
    ignore = (torch.arange(logits.numel()) == 0).reshape(logits.shape)
    return training_loss(config, logits, labels, trust, step=WARM, teacher_logits=teacher, ignore=ignore)


def slope(config: Any, logits: torch.Tensor, labels: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
    logits = logits.detach().requires_grad_()
    (found,) = torch.autograd.grad(loss(config, logits, labels, trust), logits)
    return found


def test_every_kind_is_tried() -> None:
    assert {type(c) for c in EVERY} == set(get_args(get_args(LossConfig)[0]))


@every
def test_no_setting_is_left_out(config: Any) -> None:
    """Each makes another loss; but ``warm_up``, which says until when, and ``decay``, which is the teacher's."""
    others: dict[str, Any] = {"alpha": 3.0, "beta": 0.3, "miss_rate": 0.6, "prior": 0.3, "q": 0.4, "power": 1.7}
    others |= {"false_negatives": 0.3, "threshold": 0.99}
    others |= {
        n: dict((pair, pair[::-1])) for n, pair in (("variant", ("hard", "soft")), ("mode", ("ignore", "positive")))
    }
    others["surrogate"] = {"logistic": "sigmoid", "sigmoid": "logistic"}
    z, y = tensor(-3.0, -0.7, 0.4, 1.9, 5.0, -2.2), tensor(0, 1, 0, 0, 1, 0)
    for name, value in config:
        if name not in ("kind", "warm_up", "decay"):
            other = others[name][value] if isinstance(value, str) else others[name]
            assert float(loss(config.model_copy(update={name: other}), z, y)) != float(loss(config, z, y)), name


@every
def test_the_gradient_is_that_of_the_value(config: Any) -> None:
    z = tensor(-3.0, -0.7, 0.4, 1.9, 5.0, -2.2).requires_grad_()
    y, t = tensor(0, 1, 0, 0, 1, 0), tensor(0, 0, 1, 0.3, 0, 0)
    assert torch.autograd.gradcheck(lambda x: loss(config, x, y, t), (z,))


@every
@pytest.mark.parametrize("labels", ["none annotated", "all annotated", "mixed"])
def test_extreme_logits_are_as_good_in_single_precision_as_in_double(config: Any, labels: str) -> None:
    """On patches without annotated voxels, too, and on such with nothing else."""
    z = torch.tensor([-50.0, 50.0, -20.0, 20.0, 0.0, 1e-6, -50.0, 50.0])
    y = {"none annotated": torch.zeros(8), "all annotated": torch.ones(8)}.get(labels, torch.arange(8) % 3 % 2 * 1.0)
    for trust in (None, 1 - y, 0.5 * (1 - y)):
        for logits in (z, torch.full_like(z, 50.0), torch.full_like(z, -50.0)):
            single = loss(config, logits, y, trust)
            double = loss(config, logits.double(), y, trust)
            assert single.dtype == torch.float32
            assert double.isfinite()
            torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-7)
            expected = slope(config, logits.double(), y, trust)
            assert expected.isfinite().all()
            torch.testing.assert_close(slope(config, logits, y, trust).double(), expected, rtol=1e-4, atol=1e-7)


@every
def test_the_whole_batch_is_one(config: Any) -> None:
    """Of any shape. But for an overlap, to whose sums one voxel is added, twice the same is also the same."""
    z, y = tensor(-3.0, -0.7, 0.4, 1.9, 1.1, -2.2), tensor(0, 1, 0, 0, 1, 0)
    once = pytest.approx(float(loss(config, z, y)))
    assert float(loss(config, z.reshape(2, 1, 3, 1, 1), y.reshape(2, 1, 3, 1, 1))) == once
    if not isinstance(config, (*OVERLAPS, OracleIgnoreConfig)):  # the oracle ignores one voxel, not two
        assert float(loss(config, torch.cat([z, z]), torch.cat([y, y]))) == once


@every
def test_a_trusted_negative_has_the_full_weight_of_background(config: Any) -> None:
    """Its gradient is cross-entropy's, even if the network, and its teacher, are sure of the opposite."""
    z, y, t = tensor(1.0, -2.0, 3.0, 2.0), tensor(0, 1, 0, 0), tensor(0, 0, 1, 0)
    found = slope(config, z, y, t)[2]
    p = 1 / (1 + math.exp(-3))
    if isinstance(config, OVERLAPS):
        assert torch.equal(slope(config, z, y, t), slope(config, z, y))
    elif isinstance(config, NonNegativePUConfig):  # a mean over three unannotated voxels, for either surrogate
        assert float(found) == pytest.approx((p if config.surrogate == "logistic" else p * (1 - p)) / 3)
    else:
        assert float(found) == pytest.approx(p / 4)
        assert float(slope(config, z, y)[2]) != pytest.approx(p / 4)


@every
def test_trust_is_of_what_is_not_annotated(config: Any) -> None:
    z, y = tensor(-3.0, -0.7, 0.4, 1.9), tensor(0, 1, 0, 1)
    without, looked = tensor(0.5, 0, 0, 0), tensor(0.5, 1, 0, 0.3)
    assert float(loss(config, z, y, looked)) == float(loss(config, z, y, without))


@every
def test_shapes_must_agree(config: Any) -> None:
    with pytest.raises(ValueError, match=r"shapes differ: logits \(2, 3\), labels \(3, 2\)"):
        loss(config, torch.zeros(2, 3), torch.zeros(3, 2))


@pytest.mark.parametrize("config", [c for c in EVERY if not isinstance(c, OVERLAPS)])
def test_trust_must_have_the_shape_too(config: Any) -> None:
    with pytest.raises(ValueError, match=r"shapes differ: logits \(2, 3\), trust \(3, 2\)"):
        loss(config, torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("config", "given", "name"),
    [
        (TeacherMiningConfig(), {"teacher_logits": torch.zeros(3)}, "teacher_logits"),
        (LopsidedTeacherConfig(), {"teacher_logits": torch.zeros(3)}, "teacher_logits"),
        (OracleIgnoreConfig(), {"ignore": torch.zeros(3)}, "ignore"),
    ],
)
def test_shapes_of_what_only_some_need_must_agree(config: Any, given: dict[str, torch.Tensor], name: str) -> None:
    with pytest.raises(ValueError, match=rf"logits \(1,\), {name} \(3,\)"):
        training_loss(config, torch.zeros(1), torch.zeros(1), step=WARM, **given)


def test_what_a_loss_needs_and_does_not_get_is_named() -> None:
    z = torch.zeros(2)
    with pytest.raises(InputError, match="oracle-ignore: the data do not say which lesions are missing"):
        training_loss(OracleIgnoreConfig(), z, z, step=0)
    for config in (TeacherMiningConfig(warm_up=0), LopsidedTeacherConfig()):
        with pytest.raises(ValueError, match=f"{config.kind} needs teacher_logits"):
            training_loss(config, z, z, step=0)


@pytest.mark.parametrize("config", [LopsidedConfig, LopsidedTeacherConfig, SymmetricBootstrapConfig])
def test_trust_falls_from_full_while_it_warms_up(config: Any) -> None:
    """Where q = 1, the gradient is p - (1-beta): that of cross-entropy at first, half way at half time."""
    settings = config(alpha=1, beta=0.2, warm_up=100)
    z, y = tensor(math.log(4)), tensor(0)

    def gradient(step: int) -> float:
        logits = z.clone().requires_grad_()
        training_loss(settings, logits, y, step=step, teacher_logits=z).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        return float(logits.grad)

    assert [gradient(s) for s in (0, 50, 100, 5000)] == pytest.approx([0.8, 0.4, 0.0, 0.0])


def test_nothing_is_mined_while_it_warms_up() -> None:
    config, z, sure = TeacherMiningConfig(alpha=3, beta=0.5, warm_up=10), tensor(1.0, 1.0), tensor(9.0, 9.0)
    annotated, not_annotated = 3 * math.log(1 + 1 / math.e), 0.5 * math.log(1 + math.e)
    before, then = (float(training_loss(config, z, tensor(1, 0), step=n, teacher_logits=sure)) for n in (9, 10))
    assert before == pytest.approx((annotated + not_annotated) / 2)
    assert then == pytest.approx(annotated / 2)


# settings


def read(tmp_path: Path, text: str) -> FitConfig:
    (tmp_path / "c.toml").write_text(text)
    return read_config(tmp_path / "c.toml")


def test_without_kind_it_is_the_lopsided_loss(tmp_path: Path) -> None:
    assert FitConfig().loss == LopsidedConfig(alpha=10, beta=0.4, variant="hard", warm_up=500)
    found = read(tmp_path, '[loss]\nalpha = 10.0\nbeta = 0.1\nvariant = "soft"\nwarm_up = 3').loss
    assert found == LopsidedConfig(alpha=10, beta=0.1, variant="soft", warm_up=3)


@every
def test_settings_survive_being_written(config: Any) -> None:
    run = FitConfig(loss=config)
    assert FitConfig.model_validate_json(run.model_dump_json()) == run


def test_each_kind_is_chosen_by_its_name(tmp_path: Path) -> None:
    for config in EVERY:
        assert type(read(tmp_path, f'[loss]\nkind = "{config.kind}"').loss) is type(config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('kind = "dice"', r"loss.kind: .*'dice'.*expected tags: 'lopsided'"),
        ("gamma = 2", r"loss\.gamma: no such setting"),
        ('kind = "nnpu"\nalpha = 2', r"loss\.alpha: no such setting"),
        ('kind = "nnpu"\nprior = 0', r"loss\.prior: .*greater than 0"),
        ('kind = "nnpu"\nprior = 1', r"loss\.prior: .*less than 1"),
        ('kind = "weighted-ce"\nalpha = 0', r"loss\.alpha: .*greater than 0"),
        ('kind = "weighted-ce"\nalpha = inf', r"loss\.alpha: .*finite"),
        ('kind = "weighted-ce"\nbeta = 1.1', r"loss\.beta: .*less than or equal to 1"),
        ('kind = "symmetric-bootstrap"\nbeta = -0.1', r"loss\.beta: .*greater than or equal to 0"),
        ('kind = "forward-corrected"\nmiss_rate = 1', r"loss\.miss_rate: .*less than 1"),
        ('kind = "generalised-ce"\nq = 0', r"loss\.q: .*greater than 0"),
        ('kind = "noise-robust-dice"\npower = 3', r"loss\.power: .*less than or equal to 2"),
        ('kind = "tversky"\nfalse_negatives = 2', r"loss\.false_negatives: .*less than or equal to 1"),
        ('kind = "dice-ce"\nalpha = 1', r"loss\.alpha: no such setting"),
        ('kind = "teacher-mining"\nthreshold = 1', r"loss\.threshold: .*less than 1"),
        ('kind = "teacher-mining"\nmode = "drop"', r"loss\.mode: .*'ignore' or 'positive'"),
        ('kind = "lopsided-teacher"\ndecay = 1', r"loss\.decay: .*less than 1"),
        ('kind = "oracle-ignore"\nwarm_up = 5', r"loss\.warm_up: no such setting"),
    ],
)
def test_wrong_settings_are_named_as_in_the_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path, f"[loss]\n{text}")


def test_the_union_refuses_what_is_no_table() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(LossConfig).validate_python("lopsided")


# the teacher


@every
def test_only_a_loss_that_needs_a_teacher_gets_one(config: Any) -> None:
    taught = isinstance(config, TeacherMiningConfig | LopsidedTeacherConfig)
    assert (make_teacher(config, nn.Linear(2, 1)) is not None) == taught


def test_the_teacher_is_a_moving_average() -> None:
    """Of weights: the first update copies, each next keeps ``decay`` of what was."""
    network = nn.Linear(1, 1, bias=False)
    teacher = make_teacher(LopsidedTeacherConfig(decay=0.75), network)
    assert teacher is not None
    for weight, expected in ((8.0, 8.0), (4.0, 7.0), (3.0, 6.0)):
        nn.init.constant_(network.weight, weight)
        teacher.update_parameters(network)
        assert float(teacher(torch.ones(1))) == expected
    assert not any(p.requires_grad for p in teacher.parameters())
    assert network.weight.requires_grad


def test_the_teacher_normalises_by_an_average_and_not_by_its_batch() -> None:
    """Of the network's running statistics, as of its weights; what it is shown leaves it as it was."""
    network = nn.BatchNorm1d(1, eps=0, affine=False)
    teacher = make_teacher(LopsidedTeacherConfig(decay=0.75), network)
    assert teacher is not None
    assert network.running_mean is not None
    for mean, expected in ((8.0, 8.0), (4.0, 7.0)):
        network.running_mean.fill_(mean)
        teacher.update_parameters(network)
        for _ in range(2):
            assert teacher(torch.full((3, 1), 9.0)).tolist() == [[9 - expected]] * 3


@pytest.mark.parametrize("config", [config for config in EVERY if config.weighs_lesions], ids=lambda c: c.kind)
def test_weights_of_lesions_are_weights_of_annotated_voxels(config: Any) -> None:
    """A lesion of twice the weight has twice the gradient, as with twice the alpha, and the background the same."""
    z, labels = tensor(-2.0, -1.0, 0.5, 2.0), tensor(1.0, 1.0, 0.0, 0.0)
    gradients = []
    for weights in (None, tensor(2.0, 0.5, 1.0, 1.0)):
        logits = z.clone().requires_grad_()
        value = training_loss(config, logits, labels, step=WARM, teacher_logits=z, emphasis=weights)
        gradients.append(torch.autograd.grad(value, logits)[0])
    assert torch.allclose(gradients[1], gradients[0] * tensor(2.0, 0.5, 1.0, 1.0))


def test_small_lesions_cannot_weigh_more_in_a_loss_without_weights() -> None:
    with pytest.raises(InputError, match=r"patches\.small: loss\.kind dice-ce"):
        read_config(None, ["patches.small=1.5", "loss.kind='dice-ce'"])
    assert read_config(None, ["loss.kind='dice-ce'"]).patches.small == 0
    assert read_config(None, []).patches.small == 1.5
