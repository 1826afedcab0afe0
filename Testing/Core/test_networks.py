"""What every network promises to patches and tiles, and what the 2.5D DeepLab sees."""

import platform

import pytest
import torch
from lopsided.architectures import Architecture, DeepLabSizes, ResidualUNetSizes
from lopsided.networks import (
    DeepLab25D,
    Network,
    build_network,
    deeplab,
    fold,
    fuse,
    fused,
    half_precision,
    residual_unet,
)
from lopsided.networks.layers import ResidualBlock
from lopsided.predict import tiled_logits
from torch import nn
from torch.nn.functional import pad

UNETS = {
    "three levels": ResidualUNetSizes(channels=(4, 6, 8), encoder_blocks=(0, 1, 1), decoder_blocks=(1, 1)),
    "four levels": ResidualUNetSizes(channels=(4, 4, 4, 4), encoder_blocks=(1, 0, 1, 1), decoder_blocks=(0, 1, 0)),
    "two levels": ResidualUNetSizes(channels=(4, 8), encoder_blocks=(2, 2), decoder_blocks=(2,)),
}
DEEPLABS = {
    "stride 4": DeepLabSizes(
        channels=(4, 6, 8), blocks=(0, 1, 1), output_stride=4, atrous_rates=(1, 2), pyramid_channels=6
    ),
    "atrous level": DeepLabSizes(
        channels=(4, 4, 6, 6), blocks=(1, 0, 0, 1), output_stride=4, atrous_rates=(1, 3), pyramid_channels=4, slices=3
    ),
    "stride 8": DeepLabSizes(
        channels=(4, 4, 4, 6), blocks=(0, 0, 1, 0), output_stride=8, atrous_rates=(1,), pyramid_channels=4, slices=7
    ),
}


@pytest.fixture(params=[*UNETS.values(), *DEEPLABS.values()], ids=[*UNETS, *DEEPLABS])
def sizes(request: pytest.FixtureRequest) -> Architecture:
    return request.param


@pytest.fixture(params=DEEPLABS.values(), ids=DEEPLABS)
def deeplab_sizes(request: pytest.FixtureRequest) -> DeepLabSizes:
    return request.param


def new(sizes: Architecture, inputs: int = 2) -> Network:
    """With weights that leave no path unused, and statistics of noise."""
    torch.manual_seed(1)
    network = build_network(inputs, sizes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 1.0
    network(torch.randn(2, inputs, 16, 32, 32))
    return network.eval()


def reached(network: Network, images: torch.Tensor, block: tuple[slice, slice, slice]) -> torch.Tensor:
    """By axis, how many voxels before and after ``block`` its logits depend on: (axis, 2), by their gradient."""
    images = images.detach().requires_grad_()
    (seen,) = torch.autograd.grad(network(images)[(0, 0, *block)].sum(), images)
    where = seen[0].abs().sum(0).nonzero()
    low, high = where.min(0).values, where.max(0).values + 1
    return torch.tensor([[b.start - a, z - b.stop] for a, z, b in zip(low, high, block, strict=True)])


def test_logits_are_on_the_grid_of_the_images(sizes: Architecture) -> None:
    network = new(sizes, 3)
    logits = network(torch.randn(2, 3, 16, 24, 32))
    assert logits.shape == (2, 1, 16, 24, 32)
    assert logits.std() > 0


def test_tiles_agree_with_the_whole_volume(sizes: Architecture) -> None:
    network = new(sizes)
    images = torch.randn(1, 2, 24, 96, 16)
    whole = tiled_logits(network, images)
    assert (tiled_logits(network, images, (16, 16, 16)) - whole).abs().max() < 1e-4
    # and it is the halo that makes it so
    network.halo -= sizes.stride * 2
    assert (tiled_logits(network, images, (16, 16, 16)) - whole).abs().max() > 1e-4


def test_folded_it_is_the_same_function(sizes: Architecture) -> None:
    network, images = new(sizes).double(), torch.randn(1, 2, 16, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        before = network(images)
        fold(network)
        after = network(images)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in network.modules())
    assert (after - before).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_fused_it_is_the_same_function(sizes: Architecture, dtype: torch.dtype) -> None:
    network, images = new(sizes), torch.randn(1, 2, 16, 32, 32)
    fold(network)
    half = dtype == torch.bfloat16
    with torch.inference_mode(), torch.autocast("cpu", dtype if half else None, enabled=half):
        before = network(images)
        fuse(network, dtype)
        after = network(images)
    assert (after - before).abs().max() < (0.02 if half else 1e-5) * before.abs().max()
    if platform.machine() in ("x86_64", "AMD64") and (dtype == torch.float32 or half_precision(torch.device("cpu"))):
        assert not any(isinstance(module, ResidualBlock | nn.ReLU) for module in network.modules())


def test_where_the_fused_operator_is_another_nothing_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused._Fused, "forward", lambda self, x, shortcut=None: self.convolution(x))
    fused._works.cache_clear()
    network, images = new(UNETS["three levels"]), torch.randn(1, 2, 16, 32, 32)
    fold(network)
    with torch.inference_mode():
        before = network(images)
        fuse(network, torch.float32)
        assert torch.equal(network(images), before)
    fused._works.cache_clear()


def test_tiles_agree_exactly(sizes: Architecture) -> None:
    """It is one function, and not nearly so: in double precision nothing but rounding is left."""
    network = new(sizes).double()
    images = torch.randn(1, 2, 8, 24, 96, dtype=torch.float64)
    low = 96 - sizes.stride - sizes.halo
    with torch.no_grad():
        whole = network(images)[..., -sizes.stride :]
        tile = network(images[..., low:])[..., -sizes.stride :]
    assert low > 0
    assert (tile - whole).abs().max() < 1e-12


def test_nothing_beyond_the_halo_is_seen(sizes: Architecture) -> None:
    network, stride, halo = new(sizes).double(), sizes.stride, sizes.halo
    size = 2 * (halo + stride) + stride
    block = slice(halo + stride, halo + 2 * stride)
    images = torch.randn(1, 2, 16, size, size, dtype=torch.float64)
    by_axis = reached(network, images, (slice(8, 8 + stride), block, block))
    assert (by_axis[1:] <= halo).all()
    assert (by_axis[1:] > halo - stride).all(), "and it is no larger than it must be"


def test_deeplab_sees_the_neighbouring_slices_and_no_others(deeplab_sizes: DeepLabSizes) -> None:
    network = new(deeplab_sizes).double()
    images = torch.randn(1, 2, 24, 32, 32, dtype=torch.float64)
    by_axis = reached(network, images, (slice(10, 12), slice(8, 16), slice(8, 16)))
    assert by_axis[0].tolist() == [deeplab_sizes.slices // 2] * 2


def test_deeplab_repeats_the_end_slices() -> None:
    network = new(DEEPLABS["stride 4"]).double()
    images = torch.randn(1, 2, 5, 16, 16, dtype=torch.float64)
    longer = network(pad(images, (0, 0, 0, 0, 2, 2), mode="replicate"))
    assert (network(images) - longer[:, :, 2:-2]).abs().max() < 1e-12
    assert network(images[:, :, :1]).shape == (1, 1, 1, 16, 16)


def test_deeplabs_channels_are_sequence_by_sequence_from_the_slice_below() -> None:
    """Weights rely on it."""
    network = new(DEEPLABS["stride 4"])
    assert isinstance(network, DeepLab25D)
    stem = network.stem[0].weight
    for sequence, neighbour in ((0, -2), (0, 0), (1, 1)):
        with torch.no_grad():
            stem.zero_()
            stem[:, sequence * 5 + neighbour + 2] = 1
        images = torch.randn(1, 2, 7, 8, 8, requires_grad=True)
        (seen,) = torch.autograd.grad(network(images)[0, 0, 3].sum(), images)
        assert {tuple(place) for place in seen[0].abs().sum((2, 3)).nonzero().tolist()} == {(sequence, 3 + neighbour)}


@pytest.mark.parametrize("name", UNETS)
def test_the_finest_level_in_slices_is_that_of_all_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = new(UNETS[name]).double()
    images = torch.randn(1, 2, 48, 16, 16, dtype=torch.float64)
    results = []
    deep: list[int] = []
    first: list[int] = []
    network.head.register_forward_pre_hook(lambda module, x: deep.append(x[0].shape[2]))
    network.stem.register_forward_pre_hook(lambda module, x: first.append(x[0].shape[2]))
    with torch.no_grad():
        for slices in (48, 8):
            monkeypatch.setattr(residual_unet, "_SLICES", slices)
            results.append(network(images))
    assert (results[0] - results[1]).abs().max() < 1e-12
    assert deep == [48, *[8] * 6]
    assert max(first[2:]) < 48, "the first features too"


def test_deeplab_takes_slices_in_portions_and_one_patch_is_not_another(monkeypatch: pytest.MonkeyPatch) -> None:
    network = new(DEEPLABS["atrous level"]).double()
    images = torch.randn(3, 2, 11, 16, 16, dtype=torch.float64)
    most: list[int] = []
    network.stem.register_forward_pre_hook(lambda module, x: most.append(len(x[0])))
    with torch.no_grad():
        together = network(images)
        monkeypatch.setattr(deeplab, "_SLICES_AT_ONCE", 3)
        apart = torch.cat([network(image[None]) for image in images])
    assert (together - apart).abs().max() < 1e-12
    assert max(most[-4:]) == 3


def test_deeplab_knows_a_level_without_stride_by_its_atrous_rate() -> None:
    """It sees as far as with the stride, on a finer grid."""
    strided = DeepLabSizes(channels=(4,) * 4, blocks=(0, 0, 0, 2), output_stride=8, atrous_rates=(1,))
    atrous = strided.model_copy(update={"output_stride": 4, "atrous_rates": (2,)})
    images = torch.randn(1, 1, 1, 128, 128)
    spans = [
        int(reached(new(s, 1), images, (slice(0, 1), slice(64, 72), slice(64, 72)))[1:].min())
        for s in (strided, atrous)
    ]
    assert abs(spans[0] - spans[1]) <= 8
