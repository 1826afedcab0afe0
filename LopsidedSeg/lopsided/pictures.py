"""Pictures of a place in a volume, for pages: three planes and a whole slice, with outlines."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
from contourpy import contour_generator
from PIL import Image

from .intensity import evenly_padded, find_foreground
from .resampling import resample
from .volume import Geometry, Volume, aligned, oriented, part_around, vector

_CROP_MM, _CROP_PIXELS = 64.0, 192
_WHOLE_PIXEL_MM = 1.0
# image plane: its name, the canonical axes (L, P, S = 0, 1, 2) that run right and down, the letters at its left,
# right, top and bottom; radiological convention, as Slicer's default views
_PLANES = (("Axial", 0, 1, "RLAP"), ("Coronal", 0, 2, "RLSI"), ("Sagittal", 1, 2, "APSI"))


@dataclass(frozen=True)
class View:
    """One picture: a PNG as a data URI, outlines as SVG paths in its pixels, and what is written around it."""

    name: str
    letters: str
    width: int
    height: int
    image: str
    suggestion: str
    others: str
    annotation: str
    bar: float  # pixels that 10 mm take
    marker: tuple[float, float, float] | None = None  # x, y, half a side: where a crop lies in a whole slice


@dataclass(frozen=True)
class Outlined:
    """What is outlined, bool (k, j, i) on the image's grid: the suggestion shown, all others, and the annotation."""

    suggestion: np.ndarray
    others: np.ndarray
    annotation: np.ndarray


class Pictures:
    """Of one image, all in the same window.

    Example::

        views = Pictures(reference).of(candidate.centroid_lps, candidate.longest_diameter_mm, outlined)
    """

    def __init__(self, image: Volume) -> None:
        self._image = image = evenly_padded(image)
        self._axes = oriented(image).geometry.axes
        foreground = find_foreground(image)
        patient = image.array[tuple(slice(a, b + 1) for a, b in zip(foreground.low, foreground.high, strict=True))]
        # half of the box is air in a stripped study: take the window from what is brighter than that
        bright = patient[patient > foreground.centre - 3 * foreground.scale]
        # what is brightest is vessels and fat, beside which tissue would be dark
        top = min(float(np.percentile(bright, 99.8)), foreground.centre + 10 * foreground.scale)
        self._window = (foreground.centre - 4 * foreground.scale, top)
        self._darkest = float(image.array.min())

    def of(self, point_lps: tuple[float, float, float], diameter_mm: float, outlined: Outlined) -> list[View]:
        """Axial, coronal and sagittal crops around a point, with room for ``diameter_mm``; then the whole axial slice."""
        centre = np.array(point_lps)
        reach = max(_CROP_MM, 2.2 * diameter_mm)
        views = []
        for name, right, down, letters in _PLANES:
            crop = _plane(centre, self._axes, right, down, (_CROP_PIXELS, _CROP_PIXELS), reach / _CROP_PIXELS)
            views.append(self._view(name, letters, crop, outlined))
        whole = _whole_axial(self._image.geometry, self._axes, centre)
        _, y, x = whole.index(centre)
        half = reach / 2 / _WHOLE_PIXEL_MM
        where = (x + 0.5, y + 0.5, half)  # pixel centres lie at half units
        return [*views, replace(self._view("Where", "RLAP", whole, outlined), marker=where)]

    def _view(self, name: str, letters: str, plane: Geometry, outlined: Outlined) -> View:
        low, high = self._window
        grey = np.clip((_slice(self._image, plane, self._darkest) - low) / (high - low), 0, 1)
        height, width = grey.shape

        def outline(mask: np.ndarray) -> str:
            return _outline(Volume(mask, self._image.geometry), plane)

        return View(
            name=name,
            letters=letters,
            width=width,
            height=height,
            image=_png(grey),
            suggestion=outline(outlined.suggestion),
            others=outline(outlined.others),
            annotation=outline(outlined.annotation),
            bar=10 / plane.spacing[0],
        )


def _plane(
    centre: np.ndarray, axes: np.ndarray, right: int, down: int, size: tuple[int, int], pixel: float
) -> Geometry:
    """A grid one voxel thick around ``centre``: i to the picture's right, j down."""
    # superior is up, so that the picture's rows run against S
    sign = -1.0 if down == 2 else 1.0
    across, below = axes[:, right], sign * axes[:, down]
    direction = np.stack([across, below, np.cross(across, below)], axis=1)
    origin = centre - direction @ (np.array([(size[0] - 1) / 2, (size[1] - 1) / 2, 0]) * pixel)
    return Geometry((size[0], size[1], 1), (pixel, pixel, pixel), vector(origin), tuple(map(float, direction.ravel())))


def _whole_axial(reference: Geometry, axes: np.ndarray, centre: np.ndarray) -> Geometry:
    """The whole slice through ``centre``."""
    along = reference.corners() @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    middle = axes @ np.array([*((low + high) / 2)[:2], (centre @ axes)[2]])
    size = np.ceil((high - low) / _WHOLE_PIXEL_MM).astype(int)
    return _plane(middle, axes, 0, 1, (int(size[0]), int(size[1])), _WHOLE_PIXEL_MM)


def _slice(volume: Volume, plane: Geometry, fill: float) -> np.ndarray:
    """``volume`` in a plane, float (j, i), from the part of it around the plane alone."""
    part = part_around(volume, plane, 2 * max(volume.geometry.spacing))
    return resample(replace(part, array=np.ascontiguousarray(part.array, np.float32)), plane, fill=fill).array[0]


def _png(grey: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray((grey * 255).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outline(mask: Volume, plane: Geometry) -> str:
    """Around the voxels of ``mask`` that a plane along its axes meets, be it one: an SVG path in pixels, whose centres lie
    at half units."""
    part = aligned(part_around(mask, plane, 2 * max(mask.geometry.spacing)), plane)
    layer = int(np.rint(part.geometry.index(plane.physical(np.zeros(3)))[0]))
    if not 0 <= layer < len(part.array) or not part.array[layer].any():
        return ""
    padded = np.pad(part.array[layer], 1).astype(np.float32)
    lines: list[np.ndarray] = contour_generator(z=padded).lines(0.5)  # type: ignore[assignment]
    _, y, x = plane.index(part.geometry.physical(np.array([layer, -1, -1]))) + 0.5
    pixels = np.array(part.geometry.spacing[:2]) / plane.spacing[0]
    return " ".join("M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in line * pixels + (x, y)) for line in lines)
