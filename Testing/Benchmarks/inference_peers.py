"""The same network, on the same input, by MONAI's and nnU-Net's inference, and in one piece."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from types import SimpleNamespace

import torch
from lopsided.networks import Network, autocast, half_precision
from monai.inferers import SlidingWindowInferer

Search = Callable[[torch.Tensor], torch.Tensor]
"""Logits (1, 1, k, j, i), float32 on the CPU, of images (1, sequence, k, j, i)."""

PEERS = ("MONAI, overlap 0.25", "MONAI, overlap 0.5", "nnU-Net v2")
WINDOW = (128, 128, 128)  # MONAI's and nnU-Net's for brain tumours at 1 mm


class _InHalf(torch.nn.Module):
    """Runs a network in the precision that LopsidedSeg chooses for this processor."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with autocast(x.device):
            return self.network(x).float()


def peers(network: Network, device: torch.device) -> tuple[dict[str, Search], list[str]]:
    """Peers by name, and a sentence for each that is not here. ``network`` is folded, in ``eval`` mode, on ``device``."""
    half, missing = _InHalf(network), []
    found: dict[str, Search] = {
        PEERS[0]: _monai(half, device, 0.25),
        PEERS[1]: _monai(half, device, 0.5),
    }
    try:
        found[PEERS[2]] = _nnunet(half, device)
        if device.type == "cpu" and half_precision(device):
            found["nnU-Net v2, float32 (its own choice on CPUs)"] = _nnunet(network, device)
    except ImportError as error:
        missing.append(f"nnU-Net v2 is not in the table, because it is not installed ({error}).")
    return found, missing


def in_one_piece(network: Network, device: torch.device) -> Search:
    """The numerical reference: float32, the whole input at once."""

    def search(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return network(images.to(device).contiguous(memory_format=torch.channels_last_3d)).float().cpu()

    return search


def _monai(network: torch.nn.Module, device: torch.device, overlap: float) -> Search:
    batch = 4 if device.type == "cuda" else 1
    inferer = SlidingWindowInferer(
        WINDOW, sw_batch_size=batch, overlap=overlap, mode="gaussian", sw_device=device, device=device
    )

    def search(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return inferer(images.to(device), network).float().cpu()

    return search


def _nnunet(network: torch.nn.Module, device: torch.device) -> Search:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
        predictor = nnUNetPredictor(
            tile_step_size=0.5, use_gaussian=True, use_mirroring=False, device=device, allow_tqdm=False
        )
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=WINDOW)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=1)

    def search(images: torch.Tensor) -> torch.Tensor:
        return predictor.predict_sliding_window_return_logits(images[0])[None].float().cpu()

    return search
