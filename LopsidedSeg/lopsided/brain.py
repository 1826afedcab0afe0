"""Where the brain is: a small network at 3 mm, so that nothing is searched in scalp, orbits or neck.

Trained on label maps alone, rendered with contrasts drawn at random (Hoopes et al., SynthStrip, NeuroImage 2022), by
``lopsided-train brain``. Skull-stripped images are among what it was trained on, and stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .architectures import ResidualUNetSizes
from .devices import repeatable
from .errors import InputError, reason
from .intensity import evenly_padded, largest, largest_solid, padding_of
from .networks import Network, autocast, build_network
from .regions import Box, region_of, wider
from .resampling import REACH_MM, resample
from .resources import resource_folder
from .volume import Volume, oriented, part_of

SPACING_MM = 3.0
SIZES = ResidualUNetSizes(channels=(8, 16, 32, 48), encoder_blocks=(0, 1, 1, 1), decoder_blocks=(0, 0, 0))
SIDE = 80  # voxels, with air where nothing was imaged: all heads that it has seen had as much around them, and no more
_DARKEST = 1  # percentile
_ROUNDING = 1e-5  # of a value that was averaged of equal ones
_MARGIN_MM = 4.0  # around what the network calls brain: half its errors, and enhancing lesions at the surface
_STRIPPED = 1.2  # of the brain found: an image of no more than that has no skull
_AIR = 0.1  # as dark is not the patient
_PLAUSIBLE_ML = 400.0  # less is no whole brain: a slab, a phantom, or a mistake


def coarse(volume: Volume) -> Volume:
    """What the network sees: 3 mm voxels along L, P, S, from the darkest to the brightest percentile, 0 to 1. ``SIDE`` of them,
    however much air was imaged; more where the patient is wider."""
    volume = oriented(volume)
    last = np.array(volume.array.shape) - 1.0
    beside = np.maximum(SIDE * SPACING_MM / np.array(volume.geometry.spacing[::-1]) - last - 1, 0) / 2
    grid = volume.geometry.covering((SPACING_MM,) * 3, -beside, last + beside, SIZES.stride)
    # not the darkest of all, which may be one broken voxel, and then what is imaged is none of the darkest percent
    dark = float(np.percentile(volume.array, _DARKEST))
    seen = resample(Volume(volume.array.astype(np.float32), volume.geometry), grid, fill=dark)
    seen = part_of(seen, _around_patient(rescaled(seen.array)))
    return Volume(rescaled(seen.array), seen.geometry)


def _around_patient(seen: np.ndarray) -> Box:
    """From the top where the patient is longer, for below is the neck."""
    body = largest(seen > _AIR)
    patient = region_of(body).box if body.any() else tuple(slice(0, n) for n in seen.shape)
    box = []
    for axis, (part, size) in enumerate(zip(patient, seen.shape, strict=True)):
        start = part.start if axis else max(part.start, part.stop + 2 - SIDE)
        number = max(SIDE, ceil((part.stop - start) / SIZES.stride) * SIZES.stride)
        first = min(max((start + part.stop - number) // 2, 0), size - number)
        box.append(slice(first, first + number))
    k, j, i = box
    return k, j, i


def rescaled(array: np.ndarray) -> np.ndarray:
    """From the 1st to the 99th percentile, 0 to 1; to the brightest where both are dark, and 0 where all is. float32."""
    low, *bright = np.percentile(array, (_DARKEST, 100 - _DARKEST, 100))
    high = next((high for high in bright if high - low > _ROUNDING * max(abs(low), abs(high))), np.inf)
    return np.clip((array - low) / (high - low), 0, 2).astype(np.float32)


def find_brain(volume: Volume, device: torch.device | str = "cpu") -> Volume | None:
    """The brain and 4 mm around it, uint8 on a grid of 3 mm; None where no whole brain was found.

    Raises:
        InputError: weights that do not come with the software as they should.
    """
    volume, there = _imaged(evenly_padded(volume))
    seen = coarse(volume)
    if _millilitres(seen.array > _AIR) < _PLAUSIBLE_ML:
        return None
    device = torch.device(device)
    try:
        logits = _logits(seen.array, device)
    except RuntimeError:  # another program has its memory, or it cannot be used; on the CPU this takes half a second
        if device.type == "cpu":
            raise
        logits = _logits(seen.array, torch.device("cpu"))
    body = largest_solid(logits > 0, [2, 2, 2])
    if _millilitres(body) < _PLAUSIBLE_ML:
        return None
    near = np.zeros_like(body)
    around = wider(region_of(body).box, ceil(_MARGIN_MM / SPACING_MM), body.shape)
    part = sitk.GetImageFromArray(body[around].astype(np.uint8))
    away = sitk.SignedMaurerDistanceMap(part, squaredDistance=False, useImageSpacing=False)
    near[around] = sitk.GetArrayViewFromImage(away) * SPACING_MM <= _MARGIN_MM
    if there is not None:
        # beside the middle, so that rounding in a header does not decide between two equally near voxels
        x, y, z = (c + 0.01 for c in seen.geometry.origin)
        patient = resample(there, replace(seen.geometry, origin=(x, y, z)), nearest=True).array
        patient = largest_solid(patient > 0, [1, 1, 1]).astype(np.uint8)
        if patient.sum() < _STRIPPED * near.sum():  # somebody has found the brain already, and better
            around = wider(region_of(patient).box, 1, patient.shape)
            dilated = sitk.BinaryDilate(sitk.GetImageFromArray(patient[around]), [1, 1, 1], sitk.sitkBox)
            near = np.zeros_like(patient)
            near[around] = sitk.GetArrayViewFromImage(dilated)
    return Volume(near.astype(np.uint8), seen.geometry, "brain")


def _imaged(volume: Volume) -> tuple[Volume, Volume | None]:
    """Without the padding that is further away than anything is averaged from, the rest of it dark, and without slices of one
    value at the ends: with what an image is filled up, and how far, makes no difference. And, uint8, what is not padding; None
    where there is none."""
    volume = part_of(volume, _without_empty_ends(volume.array))
    padding = padding_of(volume.array)
    if padding is None:
        return volume, None
    there = Volume((volume.array != padding).astype(np.uint8), volume.geometry)
    if not there.array.any():
        return volume, there
    around = ceil(REACH_MM / min(volume.geometry.spacing) - 1e-3)  # a header's rounding adds no voxel
    box = wider(region_of(there.array).box, around, there.array.shape)
    volume, there = part_of(volume, box), part_of(there, box)
    seen = there.array > 0
    dark = np.float32(np.percentile(volume.array[seen], _DARKEST))  # no darker than air that was measured
    return replace(volume, array=np.where(seen, volume.array.astype(np.float32), dark)), there


def _without_empty_ends(array: np.ndarray) -> Box:
    """But with those of the padding."""
    padding, box = padding_of(array), [slice(0, n) for n in array.shape]
    for axis in range(3):
        slices = np.moveaxis(array[tuple(box)], axis, 0)
        low, high = (
            next((n for n, one in enumerate(some) if one.min() != one.max() or one.min() == padding), 0)
            for some in (slices, slices[::-1])
        )
        box[axis] = slice(low, len(slices) - high)
    k, j, i = box
    return k, j, i


def _millilitres(mask: np.ndarray) -> float:
    return float(mask.sum() * SPACING_MM**3 / 1000)


def _logits(seen: np.ndarray, device: torch.device) -> np.ndarray:
    image = torch.from_numpy(seen)[None, None].to(device).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode(), autocast(device), repeatable():
        logits: np.ndarray = _network(str(device))(image)[0, 0].float().cpu().numpy()
    return logits


@lru_cache(maxsize=2)
def _network(device: str) -> Network:
    network = build_network(1, SIZES)
    path = weights_file()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{path}: not the weights that find the brain ({reason(error)}); install LopsidedSeg again"
        ) from None
    return network.to(device).train()  # normalised by the volume's own statistics, as it was trained, a head at a time


def weights_file() -> Path:
    """Of the network that finds brains; it ships with the software."""
    return resource_folder() / "Brain" / "brain.safetensors"
