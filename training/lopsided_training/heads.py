"""Coarse heads of any contrast, for the network that finds brains: drawn from label maps while it is trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lopsided.brain import SIDE, SIZES, SPACING_MM, rescaled
from lopsided.networks import Network, autocast, build_network
from scipy import ndimage
from torch.nn.functional import binary_cross_entropy_with_logits

from .anatomy import AIR, CSF, FIRST_OUTSIDE, GREY, OUTSIDE, WHITE
from .noise import smooth_noise
from .records import TISSUE_SIGNAL

_T1_LIKE = 0.7  # of the heads; the others are of any contrast
_PARTS, _UNDER_SKIN = 16, 8  # of a tissue outside of the brain, at most, and the number of one of them
_SMOOTH = SIDE / 3  # voxels: the scale of the bias field, and of how closely brains are stripped


def draw_head(labels: np.ndarray, tissue: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A head as :func:`lopsided.brain.coarse` would show it: image float32, and brain bool, both (k, j, i), 80 a side.

    ``labels`` and ``tissue`` as :func:`lopsided_training.anatomy.read_label_map` gives them.
    """
    index = _grid(np.array(labels.shape), rng)
    label, kind = (ndimage.map_coordinates(a, index, order=0, mode="constant") for a in (labels, tissue))
    brain = (kind != AIR) & (kind != OUTSIDE)
    image = _signal(_parted(label, kind, rng), kind, rng)
    _lumps(image, brain, rng)
    stripped = rng.random() < 0.4
    kept = _strip(brain, rng) if stripped else np.ones(brain.shape, bool)
    image = ndimage.gaussian_filter(image * kept, rng.uniform(0.2, 0.6, 3) * (rng.random(3) < 0.8))
    image *= np.exp(rng.uniform(0, 0.4) * smooth_noise(rng, brain.shape, _SMOOTH))
    image += rng.uniform(0, 0.05) * rng.standard_normal(image.shape).astype(np.float32)
    np.abs(image, out=image)
    if stripped or rng.random() < 0.1:  # exact zeros around a stripped brain, and around some heads
        image[~kept | (image < 0.05)] = 0
    return _field_of_view(rescaled(image ** rng.uniform(0.7, 1.4)), brain & kept, rng)


def _grid(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where in the 1 mm head each voxel lies (3, k, j, i): turned, scaled, shifted, mirrored."""
    a, b, c = rng.normal(0, 0.15, 3)
    turn = np.array([[1, -a, -b], [a, 1, -c], [b, c, 1]])
    q, r = np.linalg.qr(turn)
    turn = q * np.sign(np.diag(r))
    scale = SPACING_MM * rng.uniform(0.85, 1.2) * np.exp(rng.normal(0, 0.05, 3))
    points = np.stack(np.meshgrid(*[np.arange(SIDE) - SIDE / 2] * 3, indexing="ij")).reshape(3, -1) * scale[:, None]
    points[2] *= rng.choice((-1, 1))
    placed = turn @ points + (shape / 2 + rng.uniform(-20, 20, 3))[:, None]
    return placed.reshape(3, SIDE, SIDE, SIDE)


def _parted(label: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``label``, with parts of what is outside of the brain, and mostly what is under the skin, as labels of their own. Label maps
    have one for muscle, fat, glands and skin, which differ by more than the tissues of the brain (as in SynthStrip)."""
    part = np.zeros(label.shape, np.int16)
    for _ in range(rng.integers(0, 4)):
        part = 2 * part + (smooth_noise(rng, label.shape, rng.uniform(2, 8)) > rng.normal(0, 0.7))
    skin = ndimage.distance_transform_edt(label > 0) <= rng.uniform(1, 3.5)
    part = np.where(skin & (rng.random() < 0.7), _UNDER_SKIN, part)
    several = np.where(kind == OUTSIDE, label.astype(np.int32) * _PARTS + part, label)
    values, place = np.unique(several, return_inverse=True)
    new = int(label.max()) + 1 + np.arange(len(values))
    return np.where(values >= FIRST_OUTSIDE * _PARTS, new, values)[place].reshape(label.shape)


def _signal(label: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    table = rng.uniform(0, 2.2, int(label.max()) + 1)
    if rng.random() < _T1_LIKE:
        spread = rng.uniform(0.4, 1.8)
        for tissue in (WHITE, GREY, CSF):
            of_tissue = np.unique(label[kind == tissue])
            typical = TISSUE_SIGNAL["t1c"][tissue]
            table[of_tissue] = 1 + spread * (typical - 1) + rng.normal(0, 0.05) + rng.normal(0, 0.03, len(of_tissue))
    table[0] = rng.uniform(0, 0.08)
    image = np.maximum(table, 0)[label].astype(np.float32)
    image *= 1 + np.where(kind == OUTSIDE, 0.25, 0.04) * rng.standard_normal(image.shape)
    return image


def _lumps(image: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> None:
    """Tumours, oedema and cavities: they are brain too."""
    inside = np.argwhere(brain)
    for _ in range(rng.integers(0, 5) if len(inside) else 0):
        radius = rng.uniform(1, 9)
        middle = inside[rng.integers(len(inside))]
        box = tuple(slice(max(int(m - 10), 0), int(m + 11)) for m in middle)
        away = np.linalg.norm(np.indices(image[box].shape).T - (middle - [s.start for s in box]), axis=-1).T
        image[box][(away < radius) & brain[box]] = rng.uniform(0, 3)


def _strip(brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a skull-strip keeps: often without the fluid around the brain, or some of its cortex."""
    depth = ndimage.distance_transform_edt(brain) - ndimage.distance_transform_edt(~brain)
    return depth > rng.uniform(-1.0, 2.5) + 0.3 * smooth_noise(rng, brain.shape, _SMOOTH)


def _field_of_view(image: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Often what is imaged ends before the head does; there is nothing then."""
    if rng.random() < 0.5:
        axis, cut = rng.integers(3), int(rng.integers(0, SIDE // 4))
        gone = [slice(None)] * 3
        gone[axis] = slice(0, cut) if rng.random() < 0.5 else slice(SIDE - cut, None)
        image[tuple(gone)], brain[tuple(gone)] = 0, False
    return image, brain


def train(
    heads: list[tuple[np.ndarray, np.ndarray]], steps: int, seed: int, progress: Callable[[int, float], None]
) -> Network:
    """A network that has seen ``steps`` heads; on the CPU. ``progress`` gets the step and its Dice."""
    torch.manual_seed(seed)
    network = build_network(1, SIZES).train()
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-4)
    rise = max(0.1, 2 / (steps + 1))  # at least one step
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps + 1, pct_start=rise)
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        image, brain = draw_head(*heads[rng.integers(len(heads))], rng)
        truth = torch.from_numpy(brain[None, None].astype(np.float32))
        with autocast(torch.device("cpu")):
            logits = network(torch.from_numpy(image)[None, None].contiguous(memory_format=torch.channels_last_3d))
        probability = torch.sigmoid(logits)
        overlap = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
        (binary_cross_entropy_with_logits(logits, truth) + 1 - overlap).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        progress(step, overlap.item())
    return network.eval()
