"""Images and truth from a record and its anatomy: no randomness that the record does not fix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lopsided.volume import Geometry
from scipy import ndimage

from .anatomy import AIR, OUTSIDE, WHITE, Anatomy
from .lesions import draw_lesion
from .noise import resized, smooth_noise
from .records import Acquisition, StudyRecord
from .slices import in_slices, labels_in, regrid, sliced
from .vessels import Enhancing, enhancing

# robust standard deviation of deep tissue as a part of its median: 0.14 and 0.15 in two real post-contrast T1
_SPREAD = 0.145


@dataclass(frozen=True)
class Rendered:
    """``images``: int16 (k, j, i) by sequence. ``truth``: uint8 (k, j, i), one value a lesion from 1 on. All are on
    ``geometry``: the anatomy's grid, in the slices of post-contrast T1."""

    images: dict[str, np.ndarray]
    truth: np.ndarray
    geometry: Geometry


def render(anatomy: Anatomy, record: StudyRecord) -> Rendered:
    """The study of ``record``."""
    shape = anatomy.labels.shape
    body, core, oedema, cavity = (np.zeros(shape, np.float32) for _ in range(4))
    contrast = {name: np.zeros(shape, np.float32) for name in record.acquisitions}
    core_contrast = np.zeros(shape, np.float32)
    truth = np.zeros(shape, np.uint8)
    for value, lesion in enumerate(record.lesions, start=1):
        drawn = draw_lesion(lesion, shape)
        box, solid = drawn.box, drawn.body
        np.maximum(body[box], solid, out=body[box])
        np.maximum(core[box], drawn.core, out=core[box])
        np.maximum(oedema[box], drawn.oedema, out=oedema[box])
        for name in contrast:
            own = lesion.contrast if name == "t1c" else lesion.other[name]
            contrast[name][box][solid > 0] = own * drawn.mottle[solid > 0]
        core_contrast[box][solid > 0] = lesion.core_contrast
        inside = solid >= min(0.5, solid.max())
        truth[box][inside & (anatomy.depth[box] > -1)] = value
    for hole in record.cavities:
        drawn = draw_lesion(hole, shape)
        np.maximum(cavity[drawn.box], drawn.body, out=cavity[drawn.box])
        np.maximum(oedema[drawn.box], drawn.oedema, out=oedema[drawn.box])
    oedema *= anatomy.tissue == WHITE
    cavity *= anatomy.depth > 0
    bright = None if anatomy.image is not None else enhancing(anatomy, record)
    reference = record.acquisitions["t1c"]  # whose slices are the study's
    grid = sliced(shape, reference.axis, reference.thickness_mm)
    images = {}
    for name, how in record.acquisitions.items():
        base = _tissue(anatomy, how, bright)
        deep = float(np.median(base[anatomy.depth > 0.4 * anatomy.depth.max()]))
        base += how.oedema * deep * oedema * (1 - body)
        if record.cavities:
            base += cavity * (how.fluid - base)
        # a lesion takes the place of the tissue that was there
        seen = contrast[name] if name != "t1c" else contrast[name] + core * (core_contrast - contrast[name])
        base += body * (np.maximum(deep * (1 + _SPREAD * seen), 0) - base)
        images[name] = _acquire(base, anatomy, record, how, grid)
    return Rendered(images, labels_in(truth, grid), regrid(anatomy.geometry, grid))


def _tissue(anatomy: Anatomy, how: Acquisition, bright: Enhancing | None) -> np.ndarray:
    if anatomy.image is not None:
        return anatomy.image / np.float32(np.median(anatomy.image[anatomy.depth > 5]))
    rng = np.random.default_rng(how.seed)
    table = np.zeros(int(anatomy.labels.max()) + 1, np.float32)
    for label, value in how.signal.items():
        table[label] = value
    base = table[anatomy.labels]
    rough = np.where(anatomy.tissue == OUTSIDE, 0.35, how.texture).astype(np.float32)
    base *= 1 + rough * smooth_noise(rng, base.shape, 3.0) + how.texture * smooth_noise(rng, base.shape, 12.0)
    assert bright is not None
    base += bright.plexus * (how.plexus - base)
    base += bright.dura * (how.dura - base)
    base += bright.tubes * (how.vessel - base)
    return np.maximum(base, 0)


def _acquire(
    signal: np.ndarray, anatomy: Anatomy, record: StudyRecord, how: Acquisition, grid: tuple[int, ...]
) -> np.ndarray:
    """Blur, ghosts, bias field, slices, noise, skull-strip, and the scanner's gain; on ``grid`` (k, j, i)."""
    rng = np.random.default_rng(how.seed + 1)
    signal = ndimage.gaussian_filter(signal, how.blur_mm)
    if how.ghost:  # of motion, or of pulsing blood, along one axis
        signal = signal + how.ghost * np.roll(signal, how.ghost_shift, axis=1)
    signal *= np.exp(how.bias * smooth_noise(rng, signal.shape, 60.0))
    signal = resized(in_slices(signal, how.axis, how.thickness_mm), grid)
    signal += how.noise * rng.standard_normal(grid, np.float32)
    np.abs(signal, out=signal)
    if record.stripped or anatomy.image is not None:
        edge = anatomy.depth > -record.strip_mm + 0.8 * smooth_noise(rng, anatomy.depth.shape, 10.0)
        gone = ~edge | ((anatomy.tissue == AIR) & (anatomy.depth < -3))
        signal[resized(gone.astype(np.float32), grid) > 0.5] = 0
    return np.clip(signal * how.gain, 0, 32767).astype(np.int16)
