"""The residual 3D U-Net. Its sizes come from ``model.json``.

Nothing in it looks at a whole tile at once (each voxel is normalised by itself, over channels; there is no instance
normalisation and no global pooling), so a voxel's value depends on its receptive field alone: inference in tiles with
that halo equals inference in one piece. Batch normalisation would do that too, but learns badly from a few patches
that have as little in common as air and brain.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from .model import ResidualUNetSizes


class VoxelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each voxel (Ba et al., arXiv 1607.06450)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)  # air, where all channels are alike, must not become noise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape, (batch, channel, k, j, i)."""
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class ResidualBlock(nn.Module):
    """Two normalised 3x3x3 convolutions, and a shortcut, which carries the image's amplitude past the norms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            VoxelNorm(channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            VoxelNorm(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return torch.relu(x + self.body(x))


class ResidualUNet(nn.Module):
    """Encoder and decoder of residual blocks; skips are added.

    Takes ``(batch, sequence, k, j, i)`` float, each spatial size a multiple of ``stride``; gives logits
    ``(batch, 1, k, j, i)``.
    """

    def __init__(self, inputs: int, sizes: ResidualUNetSizes) -> None:
        super().__init__()
        widths = sizes.channels
        self.stride = sizes.stride
        self.halo = sizes.halo
        self.stem = nn.Sequential(nn.Conv3d(inputs, widths[0], 3, padding=1), nn.ReLU(inplace=True))
        self.encoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, sizes.encoder_blocks, strict=True))
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 2, stride=2), nn.ReLU(inplace=True)) for a, b in pairwise(widths)
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv3d(b, a, 1), nn.Upsample(scale_factor=2)) for a, b in pairwise(widths)
        )
        self.decoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, sizes.decoder_blocks, strict=False))
        self.head = nn.Conv3d(widths[0], 1, 1)
        # lesions are rare: begin from that, not from one half (Lin et al., ICCV 2017, section 3.3)
        nn.init.constant_(self.head.bias, -5.0)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # twice as fast on CPUs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1, k, j, i) of images (batch, sequence, k, j, i)."""
        x = self.stem(x)
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(x)
            if level < len(self.downs):
                skips.append(x)
                x = self.downs[level](x)
        for level in reversed(range(len(self.ups))):
            x = self.decoders[level](skips[level] + self.ups[level](x))
        return self.head(x)


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(number)))
