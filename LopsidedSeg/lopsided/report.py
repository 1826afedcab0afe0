"""``report.html``: one self-contained page with the ranked candidates, for any browser and for print."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contourpy import contour_generator
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from . import __version__
from .candidates import Candidate
from .intensity import find_foreground
from .model import SEQUENCES
from .results import REPORT, record
from .suggest import Suggestions
from .volume import Geometry, Volume, oriented, resample
from .wording import DISCLAIMER, percent

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
class Layers:
    """What is drawn: the image, the shown candidate's mask, all others', and the annotation, on one grid."""

    image: Volume
    suggestion: np.ndarray
    others: np.ndarray
    annotation: np.ndarray


def write_report(suggestions: Suggestions, folder: Path) -> None:
    """Write the report into ``folder``, which exists.

    Raises:
        OSError: it cannot be written.
    """
    reference = suggestions.study.reference
    foreground = find_foreground(reference)
    patient = reference.array[tuple(slice(a, b + 1) for a, b in zip(foreground.low, foreground.high, strict=True))]
    # half of the box is air in a stripped study: take the window from what is brighter than that
    bright = patient[patient > foreground.centre - 3 * foreground.scale]
    window = (foreground.centre - 4 * foreground.scale, float(np.percentile(bright, 99.8)))
    shown = np.zeros(reference.geometry.shape, np.uint16)
    for candidate in suggestions.shown:
        shown[candidate.box][candidate.mask] = candidate.rank
    axes = oriented(reference).geometry.axes
    views = {c.rank: _views(c, suggestions, shown, axes, window) for c in suggestions.shown}
    environment = Environment(loader=PackageLoader("lopsided", ""), autoescape=True, undefined=StrictUndefined)
    environment.filters["percent"] = percent
    points = [p for p in suggestions.card.operating_points if p.confidence <= suggestions.threshold]
    page = environment.get_template("report.html.j2").render(
        record=record(suggestions),
        card=suggestions.card,
        views=views,
        expected=points[-1] if points else None,
        sequences=SEQUENCES,
        disclaimer=DISCLAIMER,
        version=__version__,
    )
    (folder / REPORT).write_text(page, encoding="utf-8")


def _views(
    candidate: Candidate,
    suggestions: Suggestions,
    shown: np.ndarray,
    axes: np.ndarray,
    window: tuple[float, float],
) -> list[View]:
    reference = suggestions.study.reference.geometry
    centre = np.array(candidate.centroid_lps)
    reach = max(_CROP_MM, 2.2 * candidate.longest_diameter_mm)
    views = []
    for name, right, down, letters in _PLANES:
        plane = _plane(centre, axes, right, down, (_CROP_PIXELS, _CROP_PIXELS), reach / _CROP_PIXELS)
        views.append(_view(name, letters, _layers(candidate, suggestions, shown, plane), window))
    whole = _whole_axial(reference, axes, centre)
    view = _view("Where", "RLAP", _layers(candidate, suggestions, shown, whole), window)
    _, y, x = whole.index(centre)
    half = reach / 2 / _WHOLE_PIXEL_MM
    return [*views, View(**{**view.__dict__, "marker": (x, y, half)})]


def _plane(
    centre: np.ndarray, axes: np.ndarray, right: int, down: int, size: tuple[int, int], pixel: float
) -> Geometry:
    """A grid one voxel thick around ``centre``: i to the picture's right, j down."""
    # superior is up, so that the picture's rows run against S
    sign = -1.0 if down == 2 else 1.0
    across, below = axes[:, right], sign * axes[:, down]
    direction = np.stack([across, below, np.cross(across, below)], axis=1)
    origin = centre - direction @ (np.array([(size[0] - 1) / 2, (size[1] - 1) / 2, 0]) * pixel)
    x, y, z = (float(v) for v in origin)
    return Geometry((size[0], size[1], 1), (pixel, pixel, pixel), (x, y, z), tuple(map(float, direction.ravel())))


def _whole_axial(reference: Geometry, axes: np.ndarray, centre: np.ndarray) -> Geometry:
    """The whole slice through ``centre``."""
    corners = np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * (np.array(reference.shape) - 1)
    along = reference.physical(corners) @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    middle = axes @ np.array([*((low + high) / 2)[:2], (centre @ axes)[2]])
    size = np.ceil((high - low) / _WHOLE_PIXEL_MM).astype(int)
    return _plane(middle, axes, 0, 1, (int(size[0]), int(size[1])), _WHOLE_PIXEL_MM)


def _layers(candidate: Candidate, suggestions: Suggestions, shown: np.ndarray, plane: Geometry) -> Layers:
    reference = suggestions.study.reference

    def cut(mask: np.ndarray) -> np.ndarray:
        return _slice(Volume(mask.astype(np.float32), reference.geometry), plane, 0).array[0]

    return Layers(
        _slice(reference, plane, float(reference.array.min())),
        cut(shown == candidate.rank),
        cut((shown > 0) & (shown != candidate.rank)),
        cut(suggestions.annotation.mask),
    )


def _slice(volume: Volume, plane: Geometry, fill: float) -> Volume:
    """``volume`` in a plane, from the part of it around the plane alone."""
    i, j, _ = plane.size
    corners = np.array([[k, b, a] for k in (-1, 1) for b in (-1, j) for a in (-1, i)])
    near = volume.geometry.index(plane.physical(corners))
    low = np.clip(np.floor(near.min(0)) - 1, 0, np.array(volume.array.shape) - 1).astype(int)
    high = np.clip(np.ceil(near.max(0)) + 2, low + 1, volume.array.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = np.ascontiguousarray(volume.array[box], np.float32)
    g = volume.geometry
    x, y, z = (float(v) for v in g.physical(low))
    size = (part.shape[2], part.shape[1], part.shape[0])
    return resample(Volume(part, Geometry(size, g.spacing, (x, y, z), g.direction)), plane, fill=fill)


def _view(name: str, letters: str, layers: Layers, window: tuple[float, float]) -> View:
    grey = np.clip((layers.image.array[0] - window[0]) / (window[1] - window[0]), 0, 1)
    height, width = grey.shape
    return View(
        name=name,
        letters=letters,
        width=width,
        height=height,
        image=_png(grey),
        suggestion=_outline(layers.suggestion),
        others=_outline(layers.others),
        annotation=_outline(layers.annotation),
        bar=10 / layers.image.geometry.spacing[0],
    )


def _png(grey: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray((grey * 255).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outline(mask: np.ndarray) -> str:
    """The half-level contour as an SVG path; pixel centres lie at half units."""
    if not mask.any():
        return ""
    lines: list[np.ndarray] = contour_generator(z=np.pad(mask, 1)).lines(0.5)  # type: ignore[assignment]
    return " ".join("M" + "L".join(f"{x - 0.5:.1f},{y - 0.5:.1f}" for x, y in line) for line in lines)
