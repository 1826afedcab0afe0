"""The residual 3D U-Net. Its sizes come from ``model.json``.

Nothing in it looks at a whole tile at once (there is no instance normalisation and no global pooling), so a voxel's
value depends on its receptive field alone: inference in tiles with that halo equals inference in one piece.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ..architectures import ResidualUNetSizes
from .layers import LESIONS_ARE_RARE, ResidualBlock, at_full_precision, layer

_SLICES = 32  # even; more take more memory, and are no faster on a CPU


class ResidualUNet(nn.Module):
    """Encoder and decoder of residual blocks; skips are added, and merged by a convolution.

    Takes ``(batch, sequence, k, j, i)`` float, each spatial size a multiple of ``stride``; gives logits
    ``(batch, 1, k, j, i)``.
    """

    def __init__(self, inputs: int, sizes: ResidualUNetSizes) -> None:
        super().__init__()
        widths = sizes.channels
        self.stride = sizes.stride
        self.halo = sizes.halo
        # slices: even, and no less than the finest merge and its blocks reach
        self._beside = 2 * (1 + sizes.decoder_blocks[0])
        self.stem = layer(inputs, widths[0], 3)
        self.encoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, sizes.encoder_blocks, strict=True))
        self.downs = nn.ModuleList(layer(a, b, 3, 2, stride=2) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv3d(b, a, 1), nn.Upsample(scale_factor=2)) for a, b in pairwise(widths)
        )
        self.merges = nn.ModuleList(layer(w, w, 3) for w in widths[:-1])
        self.decoders = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, sizes.decoder_blocks, strict=False))
        self.head = nn.Conv3d(widths[0], 1, 1)
        nn.init.constant_(self.head.bias, LESIONS_ARE_RARE)  # type: ignore[arg-type]
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
        for level in reversed(range(1, len(self.ups))):
            x = self._merged(level, x, skips.pop())
        return self._finest(x, skips.pop())

    def _merged(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.ups[level](x)
        x += skip  # in place: it is large
        merged: torch.Tensor = self.decoders[level](self.merges[level](x))
        return merged

    def _finest(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """The logits, some slices at a time: at full resolution the features of a whole brain are half a gigabyte.

        All at once in training, where the statistics of normalisation are those of all slices.
        """
        depth, parts = skip.shape[2], []
        step = depth if self.training else _SLICES
        for first in range(0, depth, step):
            low, end = max(first - self._beside, 0), min(first + step, depth)
            high = min(end + self._beside, depth)
            merged = self._merged(0, x[:, :, low // 2 : high // 2], skip[:, :, low:high])
            parts.append(at_full_precision(self.head, merged[:, :, first - low : end - low]))
        return torch.cat(parts, dim=2)


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, 3) for _ in range(number)))
