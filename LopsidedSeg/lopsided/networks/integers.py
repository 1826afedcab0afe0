"""On CPUs: a network in 8-bit integers, run by OpenVINO where that is installed.

Against float32 these are a quarter of the bytes, and processors since about 2019 multiply four times as many of them at once.
How they are made from a network: :mod:`lopsided_training.quantise`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
import torch

from ..model import IntegerFiles


def import_openvino() -> Any:
    """The package, kept from telling its makers over the network that it was imported.

    Raises:
        ImportError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what tells them; it can do without
    return import_module("openvino")


class IntegerNetwork:
    """Takes and gives what its :data:`.Network` does, on the CPU."""

    def __init__(self, files: IntegerFiles, stride: int, halo: int) -> None:
        """
        Args:
            files: of the model folder.
            stride: of the network that it was made from.
            halo: the same.

        Raises:
            ImportError: OpenVINO is not installed.
            RuntimeError: it cannot use the files on this processor.
        """
        openvino = import_openvino()
        self.stride, self.halo = stride, halo
        core, weights = openvino.Core(), openvino.Tensor(np.frombuffer(files.weights, np.uint8))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",  # of what is not in integers, the logits
            "ENABLE_CPU_PINNING": False,  # Slicer works beside it
        }
        # for images of any shape: for those of one it takes less memory, and more time, for that is new with each study
        self._compiled = core.compile_model(core.read_model(files.graph, weights), "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def release_memory(self) -> None:
        """Give back what the layers' results took, which is kept for the next images."""
        self._compiled.release_memory()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (1, 1, k, j, i), float32, of images (1, sequence, k, j, i).

        Raises:
            RuntimeError: want of memory, or of OpenVINO, in its last line: before that, it says where in its own source it was.
        """
        # without memory for a new shape OpenVINO may compute nothing, say nothing, and have the last shape's output still
        logits = np.full((1, 1, *images.shape[2:]), np.nan, np.float32)
        self._request.set_output_tensor(import_openvino().Tensor(logits, shared_memory=True))
        try:
            self._request.infer([np.ascontiguousarray(images.numpy())], share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise RuntimeError(str(error).strip().splitlines()[-1]) from None
        if np.isnan(logits.min()):
            raise RuntimeError("not enough memory")
        return torch.from_numpy(logits)
