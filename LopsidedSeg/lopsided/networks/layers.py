"""What the networks are made of."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

LESIONS_ARE_RARE = -5.0
"""The output's first bias: begin from that, not from one half (Lin et al., ICCV 2017, section 3.3)."""


class VoxelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each voxel (Ba et al., arXiv 1607.06450)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)  # air, where all channels are alike, must not become noise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape, (batch, channel, ...)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Two normalised convolutions, 3 voxels along each of ``axes`` axes and ``rate`` apart, and a shortcut.

    The shortcut carries the image's amplitude past the norms.
    """

    def __init__(self, channels: int, axes: Literal[2, 3], rate: int = 1) -> None:
        super().__init__()
        convolution = nn.Conv3d if axes == 3 else nn.Conv2d
        self.body = nn.Sequential(
            convolution(channels, channels, 3, padding=rate, dilation=rate, bias=False),
            VoxelNorm(channels),
            nn.ReLU(inplace=True),
            convolution(channels, channels, 3, padding=rate, dilation=rate, bias=False),
            VoxelNorm(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return torch.relu(x + self.body(x))
