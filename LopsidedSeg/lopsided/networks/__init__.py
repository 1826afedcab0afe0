"""The networks that a model may be: torch modules, made from the sizes in :mod:`lopsided.architectures`."""

from __future__ import annotations

from ..architectures import Architecture, DeepLabSizes
from .deeplab import DeepLab25D
from .fused import fuse
from .integers import IntegerNetwork, import_openvino
from .layers import fold
from .precision import autocast, half_precision
from .residual_unet import ResidualUNet

__all__ = [
    "DeepLab25D",
    "IntegerNetwork",
    "Network",
    "ResidualUNet",
    "autocast",
    "build_network",
    "fold",
    "fuse",
    "half_precision",
    "import_openvino",
]

Network = DeepLab25D | ResidualUNet
"""Takes ``(batch, sequence, k, j, i)`` float, each spatial size a multiple of its ``stride``; gives logits
``(batch, 1, k, j, i)``. A value depends on the voxels within ``halo`` of it alone."""


def build_network(inputs: int, architecture: Architecture) -> Network:
    """A network with new weights for ``inputs`` sequences."""
    if isinstance(architecture, DeepLabSizes):
        return DeepLab25D(inputs, architecture)
    return ResidualUNet(inputs, architecture)
