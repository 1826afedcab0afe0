"""What the networks are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Axes = Literal[2, 3]

LESIONS_ARE_RARE = -5.0
"""The output's first bias: begin from that, not from one half (Lin et al., ICCV 2017, section 3.3)."""

# A few patches have as little in common as air and brain: their statistics are averaged over many steps.
_MOMENTUM = 0.02


def normalised(
    inputs: int, outputs: int, axes: Axes, size: int = 3, *, rate: int = 1, stride: int = 1
) -> list[nn.Module]:
    """A convolution, ``size`` voxels along each of ``axes`` axes and ``rate`` apart, and its batch normalisation.

    Strided, it is without padding. Ioffe and Szegedy, ICML 2015: by fixed statistics once it is trained, so that a voxel
    depends on its receptive field alone, and :func:`fold` makes it cost nothing.
    """
    convolution = nn.Conv3d if axes == 3 else nn.Conv2d
    padding = rate * (size // 2) if stride == 1 else 0
    norm: nn.BatchNorm2d | nn.BatchNorm3d
    norm = nn.BatchNorm3d(outputs, momentum=_MOMENTUM) if axes == 3 else nn.BatchNorm2d(outputs, momentum=_MOMENTUM)
    norm.num_batches_tracked = torch.zeros(())  # as all weights are: float
    return [
        convolution(inputs, outputs, size, stride=stride, padding=padding, dilation=rate, bias=False),
        norm,
    ]


def layer(inputs: int, outputs: int, axes: Axes, size: int = 3, *, rate: int = 1, stride: int = 1) -> nn.Sequential:
    """:func:`normalised`, rectified."""
    return nn.Sequential(*normalised(inputs, outputs, axes, size, rate=rate, stride=stride), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two normalised convolutions, 3 voxels along each of ``axes`` axes and ``rate`` apart, and a shortcut."""

    def __init__(self, channels: int, axes: Axes, rate: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *layer(channels, channels, axes, rate=rate), *normalised(channels, channels, axes, rate=rate)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return torch.relu(x + self.body(x))


def fold(network: nn.Module) -> None:
    """Put every batch normalisation of a trained network, in ``eval`` mode, into the convolution before it."""
    for sequence in network.modules():
        if isinstance(sequence, nn.Sequential):
            for (name, first), (after, second) in pairwise(list(sequence.named_children())):
                if isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d):
                    setattr(sequence, name, fuse_conv_bn_eval(first, second))  # type: ignore[type-var]
                    setattr(sequence, after, nn.Identity())


def at_full_precision(convolution: nn.Conv2d | nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """A convolution of size 1, whatever autocast says: logits of half precision are so coarse that neighbouring voxels tie."""
    with torch.autocast(x.device.type, enabled=False):
        logits: torch.Tensor = convolution(x.to(convolution.weight.dtype))
        return logits
