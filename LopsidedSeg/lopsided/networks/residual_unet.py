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
        # slices that what is at full resolution reaches: before the first down, and, even, from the last up on
        self._before, self._after = 1 + 2 * sizes.encoder_blocks[0], 2 * (1 + sizes.decoder_blocks[0])
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

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1, k, j, i) of images (batch, sequence, k, j, i).

        What is at full resolution is computed some slices at a time, and again where it is skipped to: of a whole brain it
        is half a gigabyte, and little work. All at once in training, where normalisation's statistics are of all slices.
        """
        if self.training:
            return self.at_once(images)
        slices = images.shape[2]
        steps = [(first, min(first + _SLICES, slices)) for first in range(0, slices, _SLICES)]
        x = self._coarser(torch.cat([self.downs[0](self._finest(images, *step)) for step in steps], dim=2))
        parts = []
        for first, end in steps:
            low, high = max(first - self._after, 0), min(end + self._after, slices)
            merged = self._merged(0, x[:, :, low // 2 : high // 2], self._finest(images, low, high))
            parts.append(at_full_precision(self.head, merged[:, :, first - low : end - low]))
        return torch.cat(parts, dim=2)

    def at_once(self, images: torch.Tensor) -> torch.Tensor:
        """The same as :meth:`forward`, of all slices at once."""
        finest = self.encoders[0](self.stem(images))
        return at_full_precision(self.head, self._merged(0, self._coarser(self.downs[0](finest)), finest))

    def _finest(self, images: torch.Tensor, first: int, end: int) -> torch.Tensor:
        """Features at full resolution, of some slices."""
        low, high = max(first - self._before, 0), min(end + self._before, images.shape[2])
        part = images[:, :, low:high].contiguous(memory_format=torch.channels_last_3d)
        features: torch.Tensor = self.encoders[0](self.stem(part))
        return features[:, :, first - low : end - low]

    def _coarser(self, x: torch.Tensor) -> torch.Tensor:
        """From half the resolution down and up to it again."""
        skips = []
        for level in range(1, len(self.encoders)):
            x = self.encoders[level](x)
            if level < len(self.downs):
                skips.append(x)
                x = self.downs[level](x)
        for level in reversed(range(1, len(self.ups))):
            x = self._merged(level, x, skips.pop())
        return x

    def _merged(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.ups[level](x)
        x += skip  # in place: it is large
        merged: torch.Tensor = self.decoders[level](self.merges[level](x))
        return merged


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, 3) for _ in range(number)))
