"""The 2.5D DeepLab: a few neighbouring axial slices of every sequence in, the middle one's lesions out.

After DeepLabV3 (Chen et al., arXiv 1706.05587) with the skip to fine features of DeepLabV3+ (Chen et al., arXiv
1802.02611), on the slices around the one that is asked for, as Grøvik et al. (JMRI 2020, arXiv 1903.07988) and Yi et
al. (MIDL 2020, arXiv 2001.09501) find brain metastases. It differs from them in this:

- The pyramid has no branch that pools the whole image: a voxel's value depends on its receptive field alone, so that
  inference in tiles equals inference in one piece, and what is found here does not depend on what else is in the image.
- The skip is from full resolution. Lesions are a few voxels wide; at a quarter of it, they are one.
- It is small, and its weights start at random, not from photographs.
"""

from __future__ import annotations

import torch
from torch import nn

from ..architectures import DeepLabSizes
from .layers import LESIONS_ARE_RARE, ResidualBlock, at_full_precision, layer

_SLICES_AT_ONCE = 8  # more are no faster on a CPU, and take more memory


class DeepLab25D(nn.Module):
    """Strided, then atrous residual blocks; the atrous pyramid; one skip from the finest level, added.

    Takes ``(batch, sequence, k, j, i)`` float, j and i multiples of ``stride``; gives logits ``(batch, 1, k, j, i)``.
    Slices beyond the first and the last repeat these.
    """

    def __init__(self, inputs: int, sizes: DeepLabSizes) -> None:
        super().__init__()
        widths, finest = sizes.channels, sizes.channels[0]
        self.stride = sizes.stride
        self.halo = sizes.halo
        self.reach = sizes.slices // 2
        self.stem = layer(inputs * sizes.slices, finest, 2)
        self.levels = nn.ModuleList(_level(sizes, level) for level in range(len(widths)))
        pyramid = sizes.pyramid_channels
        self.pyramid = nn.ModuleList(
            [layer(widths[-1], pyramid, 2, 1), *(layer(widths[-1], pyramid, 2, rate=r) for r in sizes.atrous_rates)]
        )
        self.merge = layer(pyramid * len(self.pyramid), pyramid, 2, 1)
        self.up = nn.Sequential(
            nn.Conv2d(pyramid, finest, 1), nn.Upsample(scale_factor=sizes.output_stride, mode="bilinear")
        )
        self.decoder = ResidualBlock(finest, 2)
        self.head = nn.Conv2d(finest, 1, 1)
        nn.init.constant_(self.head.bias, LESIONS_ARE_RARE)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1, k, j, i) of images (batch, sequence, k, j, i)."""
        neighbours = torch.arange(-self.reach, self.reach + 1, device=x.device)
        slices = torch.arange(x.shape[2], device=x.device)[:, None] + neighbours
        slices = slices.clamp(0, x.shape[2] - 1)
        return torch.cat([self._of_slices(x[:, :, some]) for some in slices.split(_SLICES_AT_ONCE)], 2)

    def _of_slices(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1, k, j, i) of (batch, sequence, k, neighbour, j, i)."""
        batch, sequences, number, neighbours, *size = x.shape
        x = x.transpose(1, 2).reshape(batch * number, sequences * neighbours, *size)
        logits = self._of_planes(x.contiguous(memory_format=torch.channels_last))
        return logits.reshape(batch, number, 1, *size).transpose(1, 2)

    def _of_planes(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (plane, 1, j, i) of (plane, channel, j, i)."""
        fine = self.levels[0](self.stem(x))
        x = fine
        for level in self.levels[1:]:
            x = level(x)
        x = self.merge(torch.cat([branch(x) for branch in self.pyramid], 1))
        return at_full_precision(self.head, self.decoder(fine + self.up(x)))


def _level(sizes: DeepLabSizes, level: int) -> nn.Sequential:
    """Half the resolution of the level before, or its resolution and blocks of twice the atrous rate."""
    width, strided = sizes.channels[level], 2**level <= sizes.output_stride
    size = 2 if strided else 1
    into = layer(sizes.channels[level - 1], width, 2, size, stride=size) if level else nn.Sequential()
    rate = 1 if strided else 2**level // sizes.output_stride
    return nn.Sequential(*into, *(ResidualBlock(width, 2, rate) for _ in range(sizes.blocks[level])))
