"""The networks that a model may be, and their sizes, as ``model.json`` and a training run's settings have them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from .schema import Record


class ResidualUNetSizes(Record):
    """The sizes of :class:`lopsided.networks.ResidualUNet`, from the finest level to the coarsest."""

    kind: Literal["residual-unet-3d"] = "residual-unet-3d"
    channels: tuple[int, ...] = Field(min_length=2)
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]

    @model_validator(mode="after")
    def _levels_agree(self) -> ResidualUNetSizes:
        levels = len(self.channels)
        if (len(self.encoder_blocks), len(self.decoder_blocks)) != (levels, levels - 1):
            raise ValueError(f"{levels} channels need {levels} encoder_blocks and {levels - 1} decoder_blocks")
        if min(self.channels) < 1 or min(self.encoder_blocks + self.decoder_blocks) < 0:
            raise ValueError("channels must be positive, blocks not negative")
        return self

    @property
    def stride(self) -> int:
        """Every spatial size, and every tile's corner, is a multiple of this many voxels."""
        return 2 ** (len(self.channels) - 1)

    @property
    def halo(self) -> int:
        """Voxels, a multiple of ``stride``, beyond which nothing reaches an output voxel's stride block."""
        reach = 0  # voxels of the finest level
        for level, blocks in enumerate(self.decoder_blocks):  # from the output down
            coarser = 2 ** (level + 1)
            reach = math.ceil((reach + (1 + 2 * blocks) * 2**level) / coarser) * coarser  # one merges
        for level in reversed(range(len(self.channels))):
            reach += 2 * self.encoder_blocks[level] * 2**level
        reach += 1  # the stem
        return math.ceil(reach / self.stride) * self.stride


class DeepLabSizes(Record):
    """The sizes of :class:`lopsided.networks.DeepLab25D`.

    Each level of ``channels`` halves the resolution of the one before, down to one ``output_stride``-th; the levels
    after that keep it, and double the atrous rate of their blocks instead. ``slices`` neighbouring axial slices are
    seen for the one in their middle; ``atrous_rates``, in steps of ``output_stride`` voxels, and ``pyramid_channels``
    are of the pyramid's branches.
    """

    kind: Literal["deeplabv3-2.5d"] = "deeplabv3-2.5d"
    slices: PositiveInt = 5
    channels: tuple[PositiveInt, ...] = (16, 32, 64, 96, 96)
    blocks: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2, 1, 1)
    output_stride: Literal[4, 8, 16] = 8
    atrous_rates: tuple[PositiveInt, ...] = Field((1, 2, 4), min_length=1)
    pyramid_channels: PositiveInt = 64

    @model_validator(mode="after")
    def _levels_agree(self) -> DeepLabSizes:
        levels = len(self.channels)
        if self.slices % 2 == 0:
            raise ValueError(f"{self.slices} slices have none in their middle; use an odd number")
        if len(self.blocks) != levels:
            raise ValueError(f"{levels} channels need {levels} blocks")
        if 2 ** (levels - 1) < self.output_stride:
            raise ValueError(f"an output_stride of {self.output_stride} needs more channels than {levels}")
        return self

    @property
    def stride(self) -> int:
        """Every spatial size, and every tile's corner, is a multiple of this many voxels."""
        return self.output_stride

    @property
    def halo(self) -> int:
        """Voxels, a multiple of ``stride``, beyond which nothing reaches an output voxel's stride block.

        That is within slices. Across them, nothing beyond ``slices // 2`` does, and no less is given here.
        """
        reach = 2 + self.stride / 2  # the decoder's block, and half a coarse voxel for the interpolation
        reach = math.ceil(reach / self.stride) * self.stride + max(self.atrous_rates) * self.stride
        # strided or atrous, a level's block reaches as far
        reach += sum(2 * blocks * 2**level for level, blocks in enumerate(self.blocks))
        reach += 1  # the stem
        return math.ceil(max(reach, self.slices // 2) / self.stride) * self.stride


def _with_kind(sizes: Any) -> Any:
    """What names no kind is the residual U-Net, which was the only one."""
    return {"kind": "residual-unet-3d", **sizes} if isinstance(sizes, dict) else sizes


Architecture = Annotated[ResidualUNetSizes | DeepLabSizes, Field(discriminator="kind"), BeforeValidator(_with_kind)]
"""The sizes of any network; ``kind`` says of which."""
