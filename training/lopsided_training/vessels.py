"""What enhances and is no lesion: vessels of every calibre, sinuses, dura, choroid plexus.

They matter most: without them a network calls every bright tube a lesion. Vessels are drawn as tapering tubes that wander
through the brain (0.3 to 1.2 mm radius), along the sulci and cisterns, over the surface (to 3.5 mm) and in the ventricles'
walls, with the great sinuses, deep veins, enhancing dura, falx and tentorium, and clumps of choroid plexus beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import CSF, Anatomy
from .noise import smooth_noise
from .records import StudyRecord

_STEP_MM = 0.6  # between two points of a vessel's centreline
_STEPS = 130  # of the longest vessel
_CEREBELLUM, _CEREBRUM = (7, 8, 46, 47), (2, 3, 41, 42)  # FreeSurfer's labels
_INNER_MM = 12.0  # fluid as deep as this is in a ventricle, or in a cistern of the midline


@dataclass(frozen=True)
class Enhancing:
    """``tubes``, ``dura`` and ``plexus``: the part of each voxel that it fills, 0 to 1, float32 (k, j, i)."""

    tubes: np.ndarray
    dura: np.ndarray
    plexus: np.ndarray


@dataclass
class _Tubes:
    """Points of centrelines (k, j, i) with radius (mm) and brightness (0 to 1)."""

    points: list[np.ndarray]
    radii: list[np.ndarray]
    shine: list[np.ndarray]

    def add(self, points: np.ndarray, radii: np.ndarray, shine: np.ndarray) -> None:
        self.points.append(points)
        self.radii.append(radii)
        self.shine.append(shine)


def enhancing(anatomy: Anatomy, record: StudyRecord) -> Enhancing:
    """All of it, as the record says."""
    rng = np.random.default_rng(record.seed + 1)
    tubes = _Tubes([], [], [])
    _wandering(tubes, anatomy, record.vessels, rng)
    top = _midline(anatomy.depth)
    tubes.add(top, np.full(len(top), record.sinus_mm), np.ones(len(top)))
    dura = _dura(anatomy, rng)
    plexus = np.zeros(anatomy.labels.shape, np.float32)
    if record.sulcal:
        rng = np.random.default_rng(record.seed + 2)
        _in_fluid(tubes, anatomy, record.sulcal, rng)
        _deep_veins(tubes, anatomy, rng)
        np.maximum(dura, _tentorium(anatomy, rng), out=dura)
        plexus = _plexus(anatomy, rng)
    points, radii, shine = (np.concatenate(part) for part in (tubes.points, tubes.radii, tubes.shine))
    return Enhancing(_stamp(points, radii, shine, anatomy.labels.shape), dura, plexus)


def _wandering(tubes: _Tubes, anatomy: Anatomy, number: int, rng: np.random.Generator) -> None:
    """Through the brain, and over its surface at a depth that each keeps to."""
    depth, shape = anatomy.depth, np.array(anatomy.labels.shape)
    gradient = np.stack(np.gradient(ndimage.zoom(depth, 0.5, order=1)), -1)
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
    for step in range(_STEPS):
        heading += wander * rng.normal(size=(number, 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        starts = np.clip(starts + _STEP_MM * heading, 1, shape - 2)
        index = tuple(np.round(starts).astype(int).T)
        pull = np.clip(level - depth[index], -1, 1)[:, None] * _slope(gradient, starts)
        starts[superficial] += 0.5 * pull[superficial]
        alive = step < _STEPS * length
        tubes.add(starts[alive], (radius * (1 - 0.7 * step / (_STEPS * length)))[alive], brightness[alive])


def _in_fluid(tubes: _Tubes, anatomy: Anatomy, number: int, rng: np.random.Generator) -> None:
    """Along sulci, cisterns and the walls of ventricles: what leaves the fluid is drawn back to it."""
    shape = np.array(anatomy.labels.shape)
    fluid = (anatomy.tissue == CSF) & (anatomy.depth > -2)
    places = np.argwhere(fluid)
    if not len(places):
        return
    wet = ndimage.zoom(ndimage.gaussian_filter(fluid.astype(np.float32), 1.0), 0.5, order=1)
    gradient = np.stack(np.gradient(wet), -1)
    points = places[rng.integers(len(places), size=number)] + rng.uniform(-0.5, 0.5, (number, 3))
    radius = np.clip(np.exp(rng.normal(np.log(0.6), 0.4, number)), 0.3, 1.8)
    length = rng.uniform(np.clip(16 * radius / (_STEPS * _STEP_MM), 0.2, 0.9), 1.0)
    brightness = np.where(rng.random(number) < 0.5, 1.0, rng.uniform(0.4, 1.0, number))
    heading = rng.normal(size=(number, 3))
    wander = rng.uniform(0.1, 0.4, (number, 1))
    for step in range(_STEPS):
        heading += wander * rng.normal(size=(number, 3))
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        points = np.clip(points + _STEP_MM * heading, 1, shape - 2)
        half = tuple(np.minimum(np.round(points / 2).astype(int), np.array(wet.shape) - 1).T)
        back = np.clip(2 * (0.6 - wet[half]), 0, 1)[:, None] * _slope(gradient, points)
        points += 0.6 * back
        heading += 0.3 * back
        alive = step < _STEPS * length
        tubes.add(points[alive], (radius * (1 - 0.6 * step / (_STEPS * length)))[alive], brightness[alive])


def _slope(gradient: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The direction of steepest ascent at ``points``, by a gradient on a grid twice as coarse."""
    half = tuple(np.minimum(np.round(points / 2).astype(int), np.array(gradient.shape[:3]) - 1).T)
    slope: np.ndarray = gradient[half]
    return slope / (np.linalg.norm(slope, axis=1, keepdims=True) + 1e-6)


def _deep_veins(tubes: _Tubes, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Internal cerebral veins, the vein of Galen and straight sinus, and a transverse sinus on each side.

    Along P (the j axis, which grows backwards), from the middle of the ventricles to the back of the head.
    """
    brain = np.argwhere(anatomy.depth > 0)
    inner = np.argwhere((anatomy.tissue == CSF) & (anatomy.depth > _INNER_MM))
    if not len(inner):
        return
    middle = float(brain[:, 2].mean())
    height, back = np.percentile(inner[:, 0], 40), float(brain[:, 1].max())
    galen = np.array([height, inner[:, 1].mean() + rng.uniform(15, 30), middle])
    torcula = np.array([height - rng.uniform(5, 25), back + 1, middle])
    for side in (-1, 1):
        front = np.add(galen, (rng.uniform(-3, 5), -rng.uniform(20, 40), side * rng.uniform(1, 3)))
        _tube(tubes, front, np.add(galen, (0, 0, side * 0.8)), rng, rng.uniform(0.6, 1.3), rng.uniform(0.6, 1.2))
        outwards = np.add(torcula, (rng.uniform(-6, 3), -rng.uniform(35, 55), side * rng.uniform(40, 55)))
        _tube(tubes, torcula, outwards, rng, rng.uniform(1.5, 4.0), rng.uniform(1.5, 4.0), bulge=(0, 12, side * 14))
        tubes.points[-1] = _to_surface(tubes.points[-1], anatomy.depth)
    _tube(tubes, galen, torcula, rng, rng.uniform(1.2, 2.5), rng.uniform(1.5, 3.0))


def _to_surface(points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Moved outwards, until they are a millimetre outside of the brain."""
    gradient = np.stack(np.gradient(ndimage.zoom(depth, 0.5, order=1)), -1)
    last = np.array(depth.shape) - 1
    for _ in range(60):
        inside = depth[tuple(np.clip(np.round(points), 0, last).astype(int).T)] > -1
        points = points - 0.7 * inside[:, None] * _slope(gradient, np.clip(points, 0, last))
    return np.clip(points, 0, last)


def _tube(
    tubes: _Tubes,
    start: np.ndarray,
    end: np.ndarray,
    rng: np.random.Generator,
    first_mm: float,
    last_mm: float,
    bulge: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """A curved tube, of which the radius goes from ``first_mm`` to ``last_mm``."""
    t = np.linspace(0, 1, max(2, int(np.linalg.norm(end - start) / 0.5)))[:, None]
    off = 4 * t * (1 - t) * (np.array(bulge) + rng.normal(0, 2, 3) * (1, 1, 0.3))
    points = start * (1 - t) + end * t + off
    tubes.add(points, (first_mm * (1 - t) + last_mm * t)[:, 0], np.full(len(t), rng.uniform(0.7, 1.0)))


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


def _dura(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    depth = anatomy.depth
    patches = smooth_noise(rng, depth.shape, 25.0) > rng.uniform(-1.0, 1.5)
    dura = ((depth < -1) & (depth > -rng.uniform(2.0, 3.5)) & patches).astype(np.float32)
    middle = round(float(np.argwhere(depth > 0)[:, 2].mean()))
    if rng.random() < 0.6:
        falx = anatomy.tissue[:, :, middle - 1 : middle + 1] == CSF
        dura[:, :, middle - 1 : middle + 1] = np.maximum(dura[:, :, middle - 1 : middle + 1], falx * 0.8)
    return dura


def _tentorium(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Between cerebellum and cerebrum, in patches."""
    near = [
        ndimage.binary_dilation(np.isin(anatomy.labels, labels), iterations=2) for labels in (_CEREBELLUM, _CEREBRUM)
    ]
    patches = smooth_noise(rng, anatomy.labels.shape, 15.0) > rng.uniform(-1.5, 1.5)
    return (near[0] & near[1] & patches) * np.float32(rng.uniform(0.3, 0.9))


def _plexus(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Ragged clumps in the ventricles."""
    shape = anatomy.labels.shape
    plexus = np.zeros(shape, np.float32)
    inner = (anatomy.tissue == CSF) & (anatomy.depth > _INNER_MM)
    places = np.argwhere(inner)
    if not len(places):
        return plexus
    for _ in range(rng.integers(3, 9)):
        centre, radii = places[rng.integers(len(places))], rng.uniform((2, 4, 2), (6, 14, 6))
        reach = np.ceil(radii).astype(int)
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        inside = (((grid - centre) / radii) ** 2).sum(-1) < 1
        ragged = ndimage.gaussian_filter(rng.normal(size=inside.shape), 0.8)
        clump = inside & inner[box] & (ragged > rng.uniform(-0.3, 0.5) * ragged.std())
        plexus[box] = np.maximum(plexus[box], clump)
    return ndimage.gaussian_filter(plexus, 0.4)


def _stamp(points: np.ndarray, radii: np.ndarray, shine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Balls of ``radii`` (mm) and ``shine`` (0 to 1) at ``points`` (k, j, i): the largest of each voxel, 0 to 1."""
    out = np.zeros(shape, np.float32)
    # few sizes of stamp, so that thin vessels stay cheap
    for reach, lower, upper in ((2, 0.0, 1.4), (3, 1.4, 2.4), (5, 2.4, 4.4), (7, 4.4, 99.0)):
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
