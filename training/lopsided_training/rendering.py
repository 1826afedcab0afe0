"""Images and truth from a record and its anatomy: no randomness that the record does not fix.

Vessels matter most: without them a network calls every bright tube a lesion. They are drawn as tapering tubes that
wander through the brain (0.3 to 1.2 mm radius) and over its surface (to 3.5 mm), with the sagittal sinus, enhancing
dura and choroid plexus beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from .anatomy import AIR, CSF, OUTSIDE, WHITE, Anatomy
from .records import Acquisition, Lesion, StudyRecord

_STEP_MM = 0.6  # between two points of a vessel's centreline
_STEPS = 130  # of the longest vessel
# robust standard deviation of deep tissue as a part of its median: 0.14 and 0.15 in two real post-contrast T1
_SPREAD = 0.145


@dataclass(frozen=True)
class Rendered:
    """``images``: int16 (k, j, i) by sequence. ``truth``: uint8 (k, j, i), one value a lesion from 1 on."""

    images: dict[str, np.ndarray]
    truth: np.ndarray


def render(anatomy: Anatomy, record: StudyRecord) -> Rendered:
    """The study of ``record`` on the anatomy's grid."""
    shape = anatomy.labels.shape
    body, core, oedema = (np.zeros(shape, np.float32) for _ in range(3))
    contrast = {name: np.zeros(shape, np.float32) for name in record.acquisitions}
    core_contrast = np.zeros(shape, np.float32)
    truth = np.zeros(shape, np.uint8)
    for value, lesion in enumerate(record.lesions, start=1):
        box, solid, hole, swelling = _draw(lesion, shape)
        np.maximum(body[box], solid, out=body[box])
        np.maximum(core[box], hole, out=core[box])
        np.maximum(oedema[box], swelling, out=oedema[box])
        for name in contrast:
            contrast[name][box][solid > 0] = lesion.contrast if name == "t1c" else lesion.other[name]
        core_contrast[box][solid > 0] = lesion.core_contrast
        inside = solid >= min(0.5, solid.max())
        truth[box][inside & (anatomy.depth[box] > -1)] = value
    oedema *= anatomy.tissue == WHITE
    vessels = None if anatomy.image is not None else _vessels(anatomy, record)
    images = {}
    for name, how in record.acquisitions.items():
        base = _tissue(anatomy, how, vessels)
        deep = float(np.median(base[anatomy.depth > 0.4 * anatomy.depth.max()]))
        base += how.oedema * deep * oedema * (1 - body)
        # a lesion takes the place of the tissue that was there
        seen = contrast[name] if name != "t1c" else contrast[name] + core * (core_contrast - contrast[name])
        base += body * (deep * (1 + _SPREAD * seen) - base)
        images[name] = _acquire(base, anatomy, record, how)
    return Rendered(images, truth)


def _draw(lesion: Lesion, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray, np.ndarray]:
    """The lesion in its box: coverage of the whole, of its core, and of oedema, each 0 to 1."""
    reach = max(lesion.radii) * (1 + lesion.wobble) + lesion.oedema_mm + 2
    centre = np.array(lesion.centre)
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    local = (grid - centre) @ np.array(lesion.rotation).reshape(3, 3)
    scaled = np.sqrt(((local / lesion.radii) ** 2).sum(-1))
    rng = np.random.default_rng(lesion.seed)
    bumps = ndimage.gaussian_filter(rng.normal(size=scaled.shape), max(1.0, min(lesion.radii) / 2))
    scaled *= 1 + lesion.wobble * bumps / (np.abs(bumps).max() + 1e-6)
    radius = float(np.prod(lesion.radii) ** (1 / 3))

    def coverage(part: float) -> np.ndarray:
        return np.clip(0.5 - (scaled - part) * radius, 0, 1).astype(np.float32)

    hole = coverage(lesion.core) if lesion.core else np.zeros(scaled.shape, np.float32)
    beyond = np.maximum(scaled - 1, 0) * radius
    swelling = np.exp(-((beyond / lesion.oedema_mm) ** 2) * 2) if lesion.oedema_mm else np.zeros(scaled.shape)
    return box, coverage(1.0), hole, swelling.astype(np.float32)


def _vessels(anatomy: Anatomy, record: StudyRecord) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (0 to 1) by vessels, and by dura and falx."""
    rng = np.random.default_rng(record.seed + 1)
    depth, shape = anatomy.depth, np.array(anatomy.labels.shape)
    gradient = np.stack(np.gradient(ndimage.zoom(depth, 0.5, order=1)), -1)
    number = record.vessels
    inside = np.argwhere(depth > -2)
    surface = np.argwhere(np.abs(depth) < 2)
    superficial = rng.random(number) < 0.55
    starts = np.where(
        superficial[:, None],
        surface[rng.integers(len(surface), size=number)],
        inside[rng.integers(len(inside), size=number)],
    ).astype(float)
    radius = np.exp(rng.normal(np.log(np.where(superficial, 0.8, 0.5)), 0.45))
    radius = np.clip(radius, 0.3, np.where(superficial, 2.0, 1.2))
    thick = superficial & (rng.random(number) < 0.06)
    radius[thick] = rng.uniform(1.5, 3.5, thick.sum())
    # a thick vessel that were short would be round, and nobody could tell it from a lesion
    length = rng.uniform(np.clip(16 * radius / (_STEPS * _STEP_MM), 0.15, 0.8), 1.0)
    brightness = np.where(rng.random(number) < 0.5, 1.0, rng.uniform(0.5, 1.0, number))
    level = rng.uniform(-2.5, 1.5, number)  # the depth a superficial vessel keeps to
    heading = rng.normal(size=(number, 3))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    wander = rng.uniform(0.05, 0.35, (number, 1))
    points, radii, shine = [], [], []
    for step in range(_STEPS):
        heading += wander * rng.normal(size=(number, 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        starts = np.clip(starts + _STEP_MM * heading, 1, shape - 2)
        index = tuple(np.round(starts).astype(int).T)
        half = tuple(np.minimum(np.round(starts / 2).astype(int), np.array(gradient.shape[:3]) - 1).T)
        slope = gradient[half]
        slope /= np.linalg.norm(slope, axis=1, keepdims=True) + 1e-6
        pull = np.clip(level - depth[index], -1, 1)[:, None] * slope
        starts[superficial] += 0.5 * pull[superficial]
        alive = step < _STEPS * length
        points.append(starts[alive])
        radii.append((radius * (1 - 0.7 * step / (_STEPS * length)))[alive])
        shine.append(brightness[alive])
    top = _midline(depth)
    points.append(top)
    radii.append(np.full(len(top), record.sinus_mm))
    shine.append(np.ones(len(top)))
    tubes = _stamp(np.concatenate(points), np.concatenate(radii), np.concatenate(shine), anatomy.labels.shape)
    patches = smooth_noise(rng, anatomy.labels.shape, 25.0) > rng.uniform(-1.0, 1.5)
    dura = ((depth < -1) & (depth > -rng.uniform(2.0, 3.5)) & patches).astype(np.float32)
    middle = round(float(np.argwhere(depth > 0)[:, 2].mean()))
    if rng.random() < 0.6:
        falx = anatomy.tissue[:, :, middle - 1 : middle + 1] == CSF
        dura[:, :, middle - 1 : middle + 1] = np.maximum(dura[:, :, middle - 1 : middle + 1], falx * 0.8)
    return tubes, dura


def _midline(depth: np.ndarray) -> np.ndarray:
    """Points of the superior sagittal sinus: two millimetres above the brain in the middle."""
    brain = depth > 0
    middle = round(float(np.argwhere(brain)[:, 2].mean()))
    column: np.ndarray = np.any(brain[:, :, middle - 4 : middle + 5], axis=2)
    rows = np.flatnonzero(column.any(axis=0))
    height = column.shape[0] - 1 - column[::-1, rows].argmax(axis=0)
    smooth = ndimage.gaussian_filter1d(height.astype(float), 4)
    dense = np.arange(rows[0], rows[-1], 0.5)
    top = np.minimum(np.interp(dense, rows, smooth) + 2, depth.shape[0] - 2)
    return np.stack([top, dense, np.full(len(dense), middle)], axis=1)


def _stamp(points: np.ndarray, radii: np.ndarray, shine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Balls of ``radii`` (mm) and ``shine`` (0 to 1) at ``points`` (k, j, i): the largest of each voxel, 0 to 1."""
    out = np.zeros(shape, np.float32)
    for reach in (2, 3, 5, 7):  # few sizes of stamp, so that thin vessels stay cheap
        lower = {2: 0.0, 3: 1.4, 5: 2.4, 7: 4.4}[reach]
        upper = {2: 1.4, 3: 2.4, 5: 4.4, 7: 99.0}[reach]
        chosen = (radii >= lower) & (radii < upper)
        offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
        offsets = offsets[np.linalg.norm(offsets, axis=1) <= reach + 0.5]
        for block in np.array_split(np.flatnonzero(chosen), max(1, chosen.sum() // 4000)):
            near = np.round(points[block]).astype(int)[:, None] + offsets
            distance = np.linalg.norm(near - points[block][:, None], axis=-1)
            radius = radii[block][:, None]
            # a tube thinner than a voxel fills only part of it
            cover = np.clip(0.5 + radius - distance, 0, 1) * np.minimum(1, (radius / 0.6) ** 2)
            cover *= shine[block][:, None]
            ok = ((near >= 0) & (near < shape)).all(-1) & (cover > 0)
            flat = np.ravel_multi_index(tuple(near[ok].T), shape)
            np.maximum.at(out.reshape(-1), flat, cover[ok].astype(np.float32))
    return out


def _tissue(anatomy: Anatomy, how: Acquisition, vessels: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    if anatomy.image is not None:
        return anatomy.image / np.float32(np.median(anatomy.image[anatomy.depth > 5]))
    rng = np.random.default_rng(how.seed)
    table = np.zeros(int(anatomy.labels.max()) + 1, np.float32)
    for label, value in how.signal.items():
        table[label] = value
    base = table[anatomy.labels]
    rough = np.where(anatomy.tissue == OUTSIDE, 0.35, how.texture).astype(np.float32)
    base *= 1 + rough * smooth_noise(rng, base.shape, 3.0) + how.texture * smooth_noise(rng, base.shape, 12.0)
    assert vessels is not None
    tubes, dura = vessels
    base += dura * (how.dura - base)
    base += tubes * (how.vessel - base)
    return np.maximum(base, 0)


def _acquire(signal: np.ndarray, anatomy: Anatomy, record: StudyRecord, how: Acquisition) -> np.ndarray:
    """Blur, slices, bias field, noise, skull-strip, and the scanner's gain."""
    rng = np.random.default_rng(how.seed + 1)
    signal = ndimage.gaussian_filter(signal, how.blur_mm if anatomy.image is None else 0.3 * how.blur_mm)
    signal = _slices(signal, how.axis, how.thickness_mm)
    signal *= np.exp(how.bias * smooth_noise(rng, signal.shape, 60.0))
    signal += how.noise * rng.standard_normal(signal.shape, np.float32)
    np.abs(signal, out=signal)
    if record.stripped or anatomy.image is not None:
        edge = anatomy.depth > -record.strip_mm + 0.8 * smooth_noise(rng, signal.shape, 10.0)
        signal[~edge | ((anatomy.tissue == AIR) & (anatomy.depth < -3))] = 0
    return np.clip(signal * how.gain, 0, 32767).astype(np.int16)


def _slices(signal: np.ndarray, axis: int, thickness: float) -> np.ndarray:
    if thickness <= 1:
        return signal
    blurred = ndimage.gaussian_filter1d(signal, np.sqrt(thickness**2 - 1) / 2.355, axis=axis)
    size = list(signal.shape)
    size[axis] = max(2, round(size[axis] / thickness))
    return _resize(_resize(blurred, size), list(signal.shape))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale_mm: float) -> np.ndarray:
    """Noise of unit variance on knots about ``scale_mm`` apart, linear between them."""
    knots = [max(2, round(n / scale_mm) + 1) for n in shape]
    return _resize(rng.standard_normal(knots, np.float32), list(shape))


def _resize(array: np.ndarray, size: list[int]) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    return torch.nn.functional.interpolate(tensor, size=size, mode="trilinear", align_corners=True)[0, 0].numpy()
