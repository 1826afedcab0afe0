"""What the machine can do at most, and what was taken of its memory."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lopsided.networks import Network, half_precision, import_openvino
from torch.utils.flop_counter import FlopCounterMode

_REPEATS = 5
CONVOLUTION, IN_INTEGERS = "3×3×3 convolution", "3×3×3 convolution of 8-bit integers"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long ``work`` takes, the device's part of it too."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def precision(device: torch.device) -> torch.dtype:
    """What LopsidedSeg's convolutions run in on this device."""
    return half_precision(device) or torch.float32


def limits(device: torch.device) -> dict[str, float]:
    """FLOP/s of the best large convolution and of the best matrix product, in the precision that is used, by name."""
    dtype = precision(device)
    big = device.type == "cuda"
    side = 8192 if big else 4096
    a = torch.randn(side, side, device=device, dtype=dtype)
    found = {"matrix product": 2 * side**3 / _best(lambda: a @ a, device)}
    rates = []
    for channels in (32, 64, 96, 128, 256):
        shape = (96, 96, 96) if big else (64, 64, 48)
        layer = torch.nn.Conv3d(channels, channels, 3, padding=1).to(device, dtype)
        x = torch.randn(1, channels, *shape, device=device, dtype=dtype)
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            layer, y = layer.to(memory_format=layout), x.contiguous(memory_format=layout)
            rates.append(2 * 27 * channels**2 * np.prod(shape) / _best(lambda: layer(y), device))  # noqa: B023
    found[CONVOLUTION] = float(max(rates))
    return found if big else {**found, **_in_integers()}


def _in_integers() -> dict[str, float]:
    """Of the best large convolution of 8-bit integers, where OpenVINO is installed: eight in a row, each with its rectification."""
    try:
        openvino = import_openvino()
    except ImportError:
        return {}
    ops = openvino.opset13
    rng, rates, shape, layers = np.random.default_rng(0), [], (64, 64, 48), 8
    for channels in (32, 64, 96, 128, 256):
        given = ops.parameter([1, channels, *shape], np.float32)
        x = given
        for _ in range(layers):
            weights = rng.uniform(-1, 1, (channels, channels, 3, 3, 3)).astype(np.float32)
            x = ops.fake_quantize(x, *(np.float32(v) for v in (0, 1, 0, 1)), 256)
            w = ops.fake_quantize(ops.constant(weights), *(np.float32(v) for v in (-1, 1, -1, 1)), 255)
            x = ops.relu(ops.convolution(x, w, [1] * 3, [1] * 3, [1] * 3, [1] * 3))
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(openvino.Model([x], [given]), "CPU", settings)
        image = rng.uniform(0, 1, (1, channels, *shape)).astype(np.float32)
        work = layers * 2 * 27 * channels**2 * np.prod(shape)
        rates.append(work / _best(lambda: compiled([image]), torch.device("cpu")))  # noqa: B023
    return {IN_INTEGERS: float(max(rates))}


def operations(network: Network, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one pass over images of ``shape`` (1, sequence, k, j, i)."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(shape, device=device))
    return int(counter.get_total_flops())


def peak_memory(device: torch.device) -> dict[str, float]:
    """GB that this process has taken at most: of the machine's memory, and of the GPU's."""
    status = Path("/proc/self/status")
    if status.exists():
        kilobytes = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    else:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    found = {"memory": kilobytes / 1e6}
    if device.type == "cuda":
        found["GPU memory"] = torch.cuda.max_memory_allocated(device) / 1e9
    return found


def describe(device: torch.device) -> str:
    """The processor or card, the threads, the precision and the software."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return f"{name}; {str(precision(device)).removeprefix('torch.')}; PyTorch {torch.__version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name} with AMX" if "amx_bf16" in flags else name


def _best(work: Callable[[], object], device: torch.device) -> float:
    with torch.inference_mode():
        work()
        return min(seconds(work, device) for _ in range(_REPEATS))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
