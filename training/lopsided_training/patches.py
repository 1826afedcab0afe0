"""Patches to train on: preprocessed cases in memory maps, and draws from them that a seed repeats."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from lopsided import brain, intensity, resampling, study, volume
from lopsided.brain import find_brain
from lopsided.dataset.records import ANNOTATED, NEGATIVE
from lopsided.errors import InputError
from lopsided.model import InputSpec
from lopsided.regions import region_of
from lopsided.resampling import resample
from lopsided.study import NetworkInput, network_inputs, searched_voxels
from lopsided.volume import Geometry, Volume, voxel_digest
from scipy import ndimage

from . import dataset, filled
from .augment import Change, changed, draw_change, mirrored
from .config import FitConfig, PatchConfig
from .dataset import Case
from .filled import fillings
from .matching import lesions_of, sphere_diameter
from .paste import paste, shrunk
from .processes import pool

_BRIGHT = 2.0  # of the units that lopsided.intensity gives
_USUAL_MM, _MOST = 5.5, 4.0  # a lesion of this size weighs as much as any; the smallest at most four times that
_EVERY = 3  # voxels: places enough
_TOUCHED = 0.1  # of a voxel filled: a straight edge fills so much of the voxel that it touches
_LAST = "centres.npy"  # of a case's files, so that where it is the others are whole


@dataclass(frozen=True)
class PreparedCase:
    """On the network's grid: ``image`` float16 (sequence, k, j, i), ``lesion`` and ``trusted`` bool (k, j, i),
    ``centres`` (lesion, 3) k, j, i, and ``present`` and ``optional`` bool by sequence. ``hidden`` bool (k, j, i): lesions
    that an experiment took out of the labels. ``spacing_mm`` along i, j, k. ``left_out``: how many lesions are not in
    ``lesion``, for they lie where the network sees nothing. ``voxels``: the digest of those of the post-contrast T1."""

    name: str
    image: np.ndarray
    lesion: np.ndarray
    trusted: np.ndarray
    hidden: np.ndarray
    centres: np.ndarray
    present: np.ndarray
    optional: np.ndarray
    spacing_mm: tuple[float, float, float]
    left_out: int = 0
    patient: str = ""
    voxels: str = ""

    @cached_property
    def bright(self) -> np.ndarray:
        """Places (place, 3), k, j, i, as bright as a lesion: vessels, dura, and lesions too, annotated or not."""
        return np.argwhere(self.image[0, ::_EVERY, ::_EVERY, ::_EVERY] > _BRIGHT).astype(np.int32) * _EVERY


@dataclass(frozen=True)
class Batch:
    """``images`` (patch, sequence, k, j, i); ``labels``, ``trust``, ``hidden`` (patch, 1, k, j, i), 0 or 1; ``emphasis``
    too, float, where small lesions weigh more. ``changes``: yet to be made, by patch."""

    images: torch.Tensor
    labels: torch.Tensor
    trust: torch.Tensor
    hidden: torch.Tensor
    emphasis: torch.Tensor | None
    changes: tuple[Change, ...] = ()

    def ready(self, device: torch.device) -> Batch:
        """The same on a device, all float32, with the changes made: what a GPU does faster than all processors."""
        labels, trust, hidden = (part.to(device).float() for part in (self.labels, self.trust, self.hidden))
        emphasis = None if self.emphasis is None else self.emphasis.to(device).float()
        return Batch(changed(self.images.to(device), self.changes), labels, trust, hidden, emphasis)


def prepare(cases: list[Case], config: FitConfig, cache: Path, jobs: int = 1) -> list[PreparedCase]:
    """Bring every case onto the network's grid once, in ``jobs`` processes, as it would be searched at one of ``config.scales``;
    what is in ``cache`` already is taken from there.

    Raises:
        InputError: a case that cannot be used, by name, or no space for the cache.
    """
    stride = config.network.stride
    parts = []
    # as many of each, and in no order: simulated studies take their heads in turn
    scales = np.random.default_rng(0).permutation(np.resize(config.scales, len(cases)))
    for case, scale in zip(cases, map(float, scales), strict=True):
        called = re.sub(r"[^\w.-]", "_", case.name)[:60]  # for people, and no path; the version knows the files
        parts.append((case, cache / f"{called}-{_version(case, config.input, scale, stride)}", scale))
    missing = [part for part in parts if not (part[1] / _LAST).exists()]
    bring = partial(_prepare, spec=config.input, stride=stride)
    with ExitStack() as stack:
        written: Iterable[int] = map(bring, missing)
        if jobs > 1 and len(missing) > 1:
            written = stack.enter_context(pool(jobs)).map(bring, missing)
        for left, size in zip(range(len(missing) - 1, -1, -1), written, strict=True):
            free = shutil.disk_usage(cache).free
            if size * left > free:
                raise InputError(
                    f"{cache}: {left} more cases need about {size * left / 1e9:.1f} GB, and "
                    f"{free / 1e9:.1f} GB are free; free some space, or give --cache"
                )
    return [_read(case, folder, config.input) for case, folder, _ in parts]


def _read(case: Case, folder: Path, spec: InputSpec) -> PreparedCase:
    parts = ("image", "lesion", "trusted", "voxel", "left_out", "voxels", "centres")
    image, lesion, trusted, voxel, left_out, voxels, centres = (
        np.load(folder / f"{part}.npy", mmap_mode="r") for part in parts
    )
    return PreparedCase(
        name=case.name,
        image=image,
        lesion=lesion,
        trusted=trusted,
        hidden=np.zeros(lesion.shape, bool),
        centres=centres,
        present=np.array([bool(channel[::8, ::8, ::8].any()) for channel in image]),
        optional=np.array([not (sequence.required or sequence.name == "t1c") for sequence in spec.sequences]),
        spacing_mm=(float(voxel[0]), float(voxel[1]), float(voxel[2])),
        left_out=int(left_out),
        patient=case.patient,
        voxels=str(voxels),
    )


def centres_of(lesion: np.ndarray) -> np.ndarray:
    """Centres (lesion, 3), k, j, i, of the 26-connected components of a bool mask."""
    _, lesions = lesions_of(lesion)
    found = [np.add([s.start for s in region.box], ndimage.center_of_mass(region.mask)) for region in lesions]
    return np.reshape(found, (-1, 3))


def _version(case: Case, spec: InputSpec, scale: float, stride: int) -> str:
    """Of everything that a prepared case is made from: settings, files, and the code that does it."""
    stamps = [(name, _stamps(path)) for name, path in case.files.items()]
    labels = sorted(case.lesion), sorted(case.declared), case.whole_case
    made_from = f"{spec.model_dump_json()}{scale}/{stride}{stamps}{labels}"
    return hashlib.sha256(made_from.encode() + _code()).hexdigest()[:12]


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Of a file, or of the files in a folder of DICOM slices: a slice may change where its folder does not."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


@cache
def _code() -> bytes:
    """Of all that is done to a case, the weights of the network that finds its brain included."""
    files = [__file__, *(module.__file__ for module in (brain, dataset, filled, intensity, resampling, study, volume))]
    return b"".join(Path(str(file)).read_bytes() for file in [*files, brain.weights_file()])


def _prepare(part: tuple[Case, Path, float], spec: InputSpec, stride: int) -> int:
    """The bytes written."""
    case, folder, scale = part
    study = case.study()
    truth, trust = case.truth(study.reference), case.trusted(study.reference)
    voxels = searched_voxels(study, spec, (scale,))
    (seen,) = network_inputs(study, spec, voxels, stride, find_brain(study.reference))
    lesion, centres, left_out = _lesions(truth, seen)
    trusted = _trusted(truth, trust, seen.geometry) if trust else np.zeros(lesion.shape, bool)
    image = seen.array.astype(np.float16)
    voxel = np.array(seen.geometry.spacing)
    arrays = {"image": image, "lesion": lesion, "trusted": trusted, "voxel": voxel}
    arrays |= {"left_out": np.array(left_out), "voxels": np.array(voxel_digest(study.reference)), "centres": centres}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            unfinished = folder / f"{name}.{os.getpid()}.partial.npy"  # two processes may prepare the same case
            np.save(unfinished, array)
            unfinished.replace(folder / f"{name}.npy")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); free some space, or give --cache") from None
    return sum(array.nbytes for array in arrays.values())


def _trusted(truth: Volume, trust: Volume, grid: Geometry) -> np.ndarray:
    """Bool (k, j, i) on ``grid``: negative, and not touched by what is annotated. Of what is negative and what is left out,
    the one that is less lies in islands, which must not fall between the voxels."""
    annotated = truth.array | (trust.array == ANNOTATED)
    negative = (trust.array == NEGATIVE) & ~annotated
    mostly = negative.mean() > 0.5
    trusted = resample(trust, grid, nearest=True).array == NEGATIVE if mostly else np.zeros(grid.shape, bool)
    islands = ~negative & ~annotated if mostly else negative
    for box, _, own, _ in fillings(replace(trust, array=islands), grid):
        trusted[box][own] = not mostly
    for box, covered, own, _ in fillings(replace(trust, array=annotated), grid):
        trusted[box] &= ~own & (covered < _TOUCHED)
    return trusted


def _lesions(truth: Volume, seen: NetworkInput) -> tuple[np.ndarray, np.ndarray, int]:
    """Bool (k, j, i) on the network's grid, and the centres there (lesion, 3), k, j, i, of the lesions of a bool mask; and how many
    were left out. What lies outside of the brain is no lesion: there the network is shown the same darkness everywhere. A
    lesion that lies mostly there, or beyond the grid, is left out."""
    lesion, centres, left_out = np.zeros(seen.geometry.shape, bool), [], 0
    for box, _, own, number in fillings(truth, seen.geometry):
        inside = own & ~seen.outside[box]
        if not inside.any() or 2 * inside.sum() < number:
            left_out += 1
            continue
        lesion[box] |= inside
        centres.append(np.argwhere(inside).mean(0) + [s.start for s in box])
    return lesion, np.reshape(centres, (-1, 3)), left_out


def draw(cases: list[PreparedCase], config: PatchConfig, number: int, rng: np.random.Generator) -> Batch:
    """``number`` patches, each around a lesion, around something bright (in a case that has such, if any has), or anywhere,
    mirrored, and with the changes that
    :mod:`lopsided_training.augment` is to make."""
    drawn = [_one(cases, config, rng) for _ in range(number)]
    arrays, changes = zip(*drawn, strict=True)
    images, *masks = (torch.from_numpy(np.stack(parts)) for parts in zip(*arrays, strict=True))
    labels, trust, hidden, *weight = (mask[:, None] for mask in masks)
    return Batch(images, labels, trust, hidden, weight[0] if weight else None, changes)


def emphasis(lesion: np.ndarray, small: float, voxel_mm3: float) -> np.ndarray:
    """Float16 (k, j, i): (5.5 mm / d)^small, within 1/4 and 4, in a lesion of diameter d; 1 elsewhere.

    A lesion of 2 mm has a thousandth of the voxels of one of 20 mm, and would have as much less of a say in a mean over
    voxels. Where a lesion is cut, by what is seen of it.
    """
    weights = np.ones(lesion.shape, np.float16)
    if lesion.any():
        box = region_of(lesion).box
        numbered, lesions = lesions_of(lesion[box])
        volumes = np.array([region.mask.sum() for region in lesions]) * voxel_mm3
        each = np.clip((_USUAL_MM / sphere_diameter(volumes)) ** small, 1 / _MOST, _MOST)
        weights[box] = np.concatenate([[1.0], each]).astype(np.float16)[numbered]
    return weights


def _one(
    cases: list[PreparedCase], config: PatchConfig, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, ...], Change]:
    """Image float16 (sequence, k, j, i), lesion, trusted and hidden bool (k, j, i), and, where small lesions weigh more, their
    emphasis (k, j, i); and the change to be made."""
    case = cases[rng.integers(len(cases))]
    kind = rng.random()
    places: np.ndarray | tuple[()] = ()
    if kind < config.on_lesion + config.on_bright:
        around = _annotated if kind < config.on_lesion else _bright
        case = _with(around, case, cases, rng)
        places = around(case)
    shape, size = np.array(case.lesion.shape), config.size
    if len(places):
        middle = places[rng.integers(len(places))] + rng.uniform(-0.4, 0.4, 3) * size
    else:
        middle = rng.uniform(0, 1, 3) * shape
    low = np.clip(np.round(middle - size / 2).astype(int), 0, np.maximum(shape - size, 0))
    box = tuple(slice(a, min(a + size, n)) for a, n in zip(low, shape, strict=True))
    image = case.image[(slice(None), *box)]
    masks = [mask[box] for mask in (case.lesion, case.trusted, case.hidden)]
    if (shape < size).any():  # a study smaller than a patch
        short = [(0, max(0, size - n)) for n in shape]
        image = np.pad(image, [(0, 0), *short], mode="edge")
        masks = [np.pad(mask, short, mode="edge") for mask in masks]
    if config.paste and rng.random() < config.paste:
        image, masks[0] = np.array(image), np.array(masks[0])
        _paste(image, masks[0], cases, rng)
    change = draw_change(case.present, case.optional, config.drop, config.perturb, rng)
    if config.small:
        masks.append(emphasis(masks[0], config.small, float(np.prod(case.spacing_mm))))
    return tuple(mirrored(array, change) for array in (image, *masks)), change


_annotated, _bright = attrgetter("centres"), attrgetter("bright")


def _with(
    places: Callable[[PreparedCase], np.ndarray],
    case: PreparedCase,
    cases: list[PreparedCase],
    rng: np.random.Generator,
) -> PreparedCase:
    """``case``, drawn from the cases, or another where it has no such places, so that each that has is as likely."""
    if len(places(case)):
        return case
    others = (cases[n] for n in rng.permutation(len(cases)))
    return next((other for other in others if len(places(other))), case)


def _paste(image: np.ndarray, lesion: np.ndarray, cases: list[PreparedCase], rng: np.random.Generator) -> None:
    donor = _with(_annotated, cases[rng.integers(len(cases))], cases, rng)
    if len(donor.centres):
        copy = shrunk(donor.image, donor.lesion, donor.centres[rng.integers(len(donor.centres))], rng)
        if copy:
            paste(image, lesion, copy, rng)
