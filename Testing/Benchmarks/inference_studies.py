"""What the benchmark searches: a real study, and what it would be on other grids, in a full head, with other voxels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from lopsided.model import InputSequence, Model
from lopsided.reading import read_study
from lopsided.resampling import resample
from lopsided.resources import resource_folder
from lopsided.study import Study
from lopsided.volume import Geometry, Volume, to_sitk

SEQUENCES = ("t1c", "t1", "t2", "flair")
_BRATS = {"t1": "t1n", "t2": "t2w", "flair": "t2f"}
_SKULL_MM, _SCALP_MM, _SKIN_MM = 2.0, 7.0, 13.0  # from the brain's surface


def files_of(folder: Path | None) -> dict[str, Path]:
    """The sequences of a study's folder by name, BraTS's names or ours; of the bundled sample study for None."""
    folder = folder or resource_folder() / "SampleStudy"
    found = {}
    for sequence in SEQUENCES:
        for name in (sequence, _BRATS.get(sequence, sequence)):
            if (path := folder / f"{name}.nii.gz").exists():
                found[sequence] = path
    if "t1c" not in found:
        raise SystemExit(f"{folder}: no t1c.nii.gz; give a folder with t1c.nii.gz and, if you like, t1, t2 and flair")
    return found


def read(folder: Path | None, sequences: int = 4) -> Study:
    return read_study(dict(list(files_of(folder).items())[:sequences]))


def for_sequences(model: Model, number: int) -> Model:
    """The same weights for a network that is also given T1, T2 and FLAIR, with weights of zero for them: it works as much
    as any network of four sequences does, and finds what the given one finds."""
    if number == 1 or len(model.card.input.sequences) > 1:
        return model
    wide = dict(model.weights)
    stem = wide["stem.0.weight"]
    wide["stem.0.weight"] = np.concatenate([stem] + [np.zeros_like(stem)] * (number - 1), axis=1)
    sequences = tuple(InputSequence(name=name) for name in SEQUENCES[:number])  # type: ignore[arg-type]
    card = model.card.model_copy(
        update={"input": model.card.input.model_copy(update={"sequences": sequences}), "weights_sha256": "0" * 64}
    )
    return Model(model.folder, card.signed(), wide)


def on_grid(study: Study, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> Study:
    """On a grid of ``size`` voxels (i, j, k) of ``spacing`` mm with the same middle and axes; zeros beside the image."""
    g = study.reference.geometry
    middle = g.physical((np.array(g.shape) - 1) / 2)
    x, y, z = (float(v) for v in middle - g.axes @ ((np.array(size) - 1) / 2 * spacing))
    grid = Geometry(size, spacing, (x, y, z), g.direction)
    return _each(study, lambda volume: resample(volume, grid))


def with_voxels_of(study: Study, mm: float) -> Study:
    g = study.reference.geometry
    i, j, k = (max(8, round(n * s / mm)) for n, s in zip(g.size, g.spacing, strict=True))
    return on_grid(study, (i, j, k), (mm, mm, mm))


def in_a_field_of(study: Study, times: float) -> Study:
    """The same patient in the middle of ``times`` as many voxels."""
    g = study.reference.geometry
    i, j, k = (round(n * times ** (1 / 3)) for n in g.size)
    return on_grid(study, (i, j, k), g.spacing)


def of_a_brain(study: Study, times: float) -> Study:
    """The same voxels, said to be larger: a patient of ``times`` the volume."""

    def larger(volume: Volume) -> Volume:
        factor = times ** (1 / 3)
        x, y, z = (s * factor for s in volume.geometry.spacing)
        a, b, c = (o * factor for o in volume.geometry.origin)
        return Volume(volume.array, replace(volume.geometry, spacing=(x, y, z), origin=(a, b, c)), volume.name)

    return _each(study, larger)


def full_head(study: Study) -> Study:
    """512×512×120 voxels of 0.5×0.5×1.5 mm, and around the brain a dark skull and a bright scalp, in noise.

    Drawn, because no real full head is at hand: what matters for time is that all of the field has an image in it.
    """
    wide = on_grid(study, (512, 512, 120), (0.5, 0.5, 1.5))
    brain = (wide.reference.array > 0).astype(np.uint8)
    closed = sitk.BinaryMorphologicalClosing(to_sitk(brain, wide.reference.geometry), [6, 6, 2], sitk.sitkBox)
    away = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(closed, squaredDistance=False, useImageSpacing=True, insideIsPositive=False)
    )
    rng = np.random.default_rng(1)

    def dressed(volume: Volume) -> Volume:
        tissue = float(np.median(volume.array[brain > 0]))
        outside = np.abs(rng.normal(0, 0.02 * tissue, away.shape))
        outside[(away > _SKULL_MM) & (away <= _SCALP_MM)] += 0.15 * tissue
        outside[(away > _SCALP_MM) & (away <= _SKIN_MM)] += 1.3 * tissue
        array = np.where(away > 0, outside, volume.array).astype(np.float32)
        return Volume(array, volume.geometry, volume.name)

    return _each(wide, dressed)


def spots(number: int) -> Volume:
    """A probability map of 240×240×155 voxels of 1 mm with round spots of many sizes and heights anywhere in the brain."""
    grid = Geometry((240, 240, 155), (1.0, 1.0, 1.0), (0.0, -239.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    array, rng = np.zeros(grid.shape, np.float32), np.random.default_rng(0)
    for _ in range(number):
        middle, size, height = rng.integers((10, 20, 20), (145, 220, 220)), rng.uniform(1, 4), rng.uniform(0.3, 1)
        low, high = np.maximum(middle - 14, 0), np.minimum(middle + 15, grid.shape)
        k, j, i = (slice(a, b) for a, b in zip(low, high, strict=True))
        away = sum((axis - m) ** 2 for axis, m in zip(np.ogrid[k, j, i], middle, strict=True))
        np.maximum(array[k, j, i], height * np.exp(-away / (2 * size**2)), out=array[k, j, i])
    return Volume(array, grid)


def _each(study: Study, change) -> Study:
    return Study(change(study.reference), {name: change(volume) for name, volume in study.others.items()})
