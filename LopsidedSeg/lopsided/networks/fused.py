"""On CPUs: a convolution with its shortcut and rectification in one pass over memory, with weights cast once.

Most of a pass is waiting for memory, so what is not read and written again between two convolutions is time saved.
``torch.compile`` fuses them with the same oneDNN operator, but takes a compiler and a minute to start. The operator's name is
not public: it is tried on a few voxels first, and where it is absent or gives something else, nothing is fused.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from .layers import ResidualBlock

Convolution = nn.Conv2d | nn.Conv3d


class _Fused(nn.Module):
    """relu(convolution(x)), or relu(shortcut + convolution(x))."""

    def __init__(self, convolution: Convolution, dtype: torch.dtype) -> None:
        super().__init__()
        # channels last, or the operator falls back to one that half precision does not have
        layout = torch.channels_last_3d if isinstance(convolution, nn.Conv3d) else torch.channels_last
        self.convolution = convolution.to(dtype).to(memory_format=layout)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor | None = None) -> torch.Tensor:
        c = self.convolution
        x = x.to(c.weight.dtype)
        where = c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups
        if shortcut is None:
            return torch.ops.mkldnn._convolution_pointwise(x, *where, "relu", [], "")
        add_and_relu = torch.ops.mkldnn._convolution_pointwise.binary
        return add_and_relu(x, shortcut.to(x.dtype), *where, "add", 1.0, "relu", [], "")


class _FusedBlock(nn.Module):
    """A residual block in two passes."""

    def __init__(self, first: Convolution, second: Convolution, dtype: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = _Fused(first, dtype), _Fused(second, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x), x)


def fuse(network: nn.Module, dtype: torch.dtype) -> None:
    """Fuse a network that is on the CPU and :func:`.layers.fold` ed, to run in ``dtype`` under its autocast."""
    if not _works(dtype):
        return
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for name, child in children:
            if isinstance(child, ResidualBlock):
                first, second = (m for m in child.body if isinstance(m, Convolution))
                setattr(parent, name, _FusedBlock(first, second, dtype))
        if isinstance(parent, nn.Sequential):
            for (name, one), (_, between), (after, last) in zip(children, children[1:], children[2:], strict=False):
                if isinstance(one, Convolution) and isinstance(between, nn.Identity) and isinstance(last, nn.ReLU):
                    setattr(parent, name, _Fused(one, dtype))
                    setattr(parent, after, nn.Identity())


@lru_cache
def _works(dtype: torch.dtype) -> bool:
    """Whether the operator is there and does what is expected of it."""
    try:
        with torch.random.fork_rng([]), torch.inference_mode():
            convolution = nn.Conv3d(4, 4, 3, padding=1).to(dtype)
            x, shortcut = torch.randn(2, 1, 4, 5, 6, 7).to(dtype)
            plain, fused = convolution(x), _Fused(convolution, dtype)
            pairs = (fused(x), torch.relu(plain)), (fused(x, shortcut), torch.relu(shortcut + plain))
            return all(torch.allclose(a.float(), b.float(), atol=0.05) for a, b in pairs)
    except (AttributeError, RuntimeError):
        return False
