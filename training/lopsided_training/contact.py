"""A contact sheet of a dataset: every study at a glance, so that a wrong one is seen before it is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lopsided.model import SEQUENCES
from lopsided.volume import Volume, oriented
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .dataset import Case
from .matching import lesions_of, sphere_diameter
from .writing import whole

_LOOK_MM = 24.0  # half a side of the pictures around a lesion


def contact_sheet(cases: list[Case], out: Path, *, outlines: bool = True) -> None:
    """Write a picture (PNG): a row a case, each sequence at the axial slice with most lesion, and three lesions close by.

    The lesions are the smallest, the median and the largest.

    Args:
        cases: rows, from the top.
        out: the file.
        outlines: whether lesions are outlined.

    Raises:
        InputError: a case that cannot be used, or a file that cannot be written.
    """
    columns = len(SEQUENCES) + 3
    figure = Figure(figsize=(2 * columns, 2.1 * len(cases)), layout="constrained", facecolor="black")
    axes = figure.subplots(len(cases), columns, squeeze=False)
    for row, case in zip(axes, cases, strict=True):
        study = case.study()
        reference = oriented(study.reference)
        truth = oriented(Volume(case.truth(study.reference).array.astype(np.uint8), study.reference.geometry)).array > 0
        _, lesions = lesions_of(truth)
        middle = int(truth.sum(axis=(1, 2)).argmax()) if lesions else truth.shape[0] // 2
        point = reference.geometry.physical(np.array([middle, *(np.array(truth.shape[1:]) - 1) / 2]))
        for cell, name in zip(row, SEQUENCES, strict=False):
            volume = study.sequence(name)
            picture = None if volume is None else slice_at(volume, point)
            if picture is None:
                _off(cell, f"no {name}" if volume is None else f"no {name} at this height")
                continue
            mask = truth[middle] if outlines and name == "t1c" else None
            _show(cell, picture, mask, f"{case.name}\n{name}" if name == "t1c" else name)
        by_size = sorted(lesions, key=lambda lesion: lesion.mask.sum())
        chosen = [by_size[n] for n in sorted({0, len(by_size) // 2, len(by_size) - 1})] if by_size else []
        for number, cell in enumerate(row[len(SEQUENCES) :]):
            if number >= len(chosen):
                _off(cell, "")
                continue
            k, j, i = ((side.start + side.stop) // 2 for side in chosen[number].box)
            reach_j, reach_i = (round(_LOOK_MM / reference.geometry.spacing[axis]) for axis in (1, 0))
            around = (k, slice(max(j - reach_j, 0), j + reach_j), slice(max(i - reach_i, 0), i + reach_i))
            diameter = sphere_diameter(chosen[number].mask.sum() * reference.geometry.voxel_volume)
            _show(cell, reference.array[around], truth[around] if outlines else None, f"{diameter:.1f} mm")
    with whole(out) as partial:
        figure.savefig(partial, format="png", dpi=80)


def slice_at(volume: Volume, point: np.ndarray) -> np.ndarray | None:
    """The axial slice (j, i), or nearest to it, that a point (LPS, mm) lies in; None where there is none."""
    turned = oriented(volume)
    k = round(float(turned.geometry.index(point)[0]))
    return turned.array[k] if 0 <= k < len(turned.array) else None


def _show(axes: Axes, picture: np.ndarray, mask: np.ndarray | None, title: str) -> None:
    inside = picture[picture != picture.flat[0]]
    low, high = np.percentile(inside if inside.size else picture, (1, 99.7))
    axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    if mask is not None and mask.any():
        axes.contour(mask, levels=[0.5], colors="tab:orange", linewidths=0.7)
    _off(axes, title)


def _off(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=7, color="white")
    axes.set_axis_off()
