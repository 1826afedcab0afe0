"""Volumes: an array with its place in the patient. Physical space is LPS, mm; arrays are ``k, j, i``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from .errors import InputError

FURTHEST_MM = 1e6  # that any coordinate reaches: no scanner is a kilometre long
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in physical space, as SimpleITK describes it.

    ``size``, ``spacing`` (mm) and the columns of ``direction`` (row-major 3x3) belong to the index axes i, j, k;
    ``origin`` is the centre of voxel (0, 0, 0) in LPS, mm.
    """

    size: tuple[int, int, int]
    spacing: Vector
    origin: Vector
    direction: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape ``(k, j, i)`` of an array on this grid."""
        i, j, k = self.size
        return k, j, i

    @property
    def axes(self) -> np.ndarray:
        """Columns are the unit vectors (LPS) of the index axes i, j, k. Shape (3, 3)."""
        return np.asarray(self.direction, float).reshape(3, 3)

    @property
    def voxel_volume(self) -> float:
        """mm³."""
        return float(np.prod(self.spacing))

    @property
    def extent(self) -> float:
        """Of all voxels, mm³."""
        return float(np.prod(np.multiply(self.size, self.spacing)))

    def physical(self, kji: np.ndarray) -> np.ndarray:
        """Continuous indices ``(..., 3)`` in order k, j, i to points ``(..., 3)`` in LPS, mm."""
        ijk = np.asarray(kji, float)[..., ::-1]
        return np.asarray(self.origin) + (ijk * self.spacing) @ self.axes.T

    def index(self, points: np.ndarray) -> np.ndarray:
        """Points ``(..., 3)`` in LPS, mm to continuous indices ``(..., 3)`` in order k, j, i."""
        ijk = (np.asarray(points, float) - self.origin) @ np.linalg.inv(self.axes).T / self.spacing
        return ijk[..., ::-1]

    def same_grid(self, other: Geometry, tolerance: float = 0.01) -> bool:
        """Whether voxels coincide to ``tolerance`` of the smallest voxel's edge."""
        if self.size != other.size:
            return False
        gap = np.abs(self.corners() - other.corners()).max()
        return bool(gap <= tolerance * min(self.spacing))

    def corners(self) -> np.ndarray:
        """The centres of the outermost voxels, (8, 3), LPS, mm."""
        return self.physical(np.array(list(product((0, 1), repeat=3))) * (np.array(self.shape) - 1))

    def overlaps(self, other: Geometry) -> bool:
        """Whether the two boxes share any physical space (checked on a coarse lattice of points)."""

        def inside(inner: Geometry, outer: Geometry) -> bool:
            lattice = np.stack(np.meshgrid(*[np.linspace(0, n - 1, 17) for n in inner.shape], indexing="ij"), -1)
            found = outer.index(inner.physical(lattice))
            return bool(np.all((found > -0.5) & (found < np.array(outer.shape) - 0.5), axis=-1).any())

        return inside(self, other) or inside(other, self)

    def describe(self) -> str:
        """One line for messages: size, spacing, and the extent in LPS."""
        corners = self.corners()
        low, high = corners.min(axis=0), corners.max(axis=0)
        size = "×".join(map(str, self.size))
        spacing = "×".join(f"{s:.3g}" for s in self.spacing)
        extent = ", ".join(f"{n} {a:.0f}…{b:.0f}" for n, a, b in zip("LPS", low, high, strict=True))
        return f"{size} voxels of {spacing} mm, LPS extent {extent} mm"

    def against(self, other: Geometry) -> str:
        """For messages, this and another grid, which is not the same: both described, and where that is the same words, how they
        differ."""
        both = self.describe()
        if both != other.describe():
            return f"{both} against {other.describe()}"
        mine, theirs = (
            sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(grid.direction) for grid in (self, other)
        )
        if mine != theirs:
            return f"{both}, but with axes along {mine} against {theirs}"
        apart = np.linalg.norm(self.corners() - other.corners(), axis=-1).max()
        return f"{both}, but up to {apart:.2g} mm apart"

    def covering(self, spacing: Vector, low: np.ndarray, high: np.ndarray, multiple: int) -> Geometry:
        """A grid along these axes that covers the voxels ``low`` to ``high`` (inclusive, each k, j, i).

        It has voxels of ``spacing`` (mm), is centred on those covered, and each size is a multiple of ``multiple``.
        """
        extent = ((np.asarray(high, float) - low)[::-1] + 1) * self.spacing
        # the small slack keeps rounding in the file's header from adding a whole block
        i, j, k = (int(np.ceil(e / s / multiple - 1e-3)) * multiple for e, s in zip(extent, spacing, strict=True))
        centre = self.physical((np.asarray(low, float) + high) / 2)
        origin = centre - self.axes @ ((np.array((i, j, k)) - 1) / 2 * spacing)
        return Geometry((i, j, k), spacing, vector(origin), self.direction)


class Subject(NamedTuple):
    """What a DICOM file says that it is of: its PatientID and FrameOfReferenceUID; empty where nothing says so."""

    patient: str = ""
    frame: str = ""


@dataclass(frozen=True)
class Volume:
    """A scalar image: ``array`` of shape (k, j, i) on ``geometry``; ``name`` says in messages which one it is."""

    array: np.ndarray
    geometry: Geometry
    name: str = "volume"
    subject: Subject = field(default_factory=Subject)

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise ValueError(f"{self.name}: array {self.array.shape} is not on a grid of {self.geometry.shape}")


@dataclass(frozen=True)
class Labels:
    """What somebody drew: ``masks``, bool (k, j, i) on ``geometry``, by name; they may overlap. ``values``: the number
    that the file has for each name, as text. ``name`` says in messages which file it is, as its path. ``tags`` and ``identifiers``: of those
    that the file has them for, by name."""

    masks: dict[str, np.ndarray]
    values: dict[str, str]
    geometry: Geometry
    name: str = "labels"
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    identifiers: dict[str, str] = field(default_factory=dict)
    subject: Subject = field(default_factory=Subject)


def geometry_of(image: sitk.Image) -> Geometry:
    """The geometry of a 3D SimpleITK image."""
    size = image.GetSize()
    return Geometry(
        (size[0], size[1], size[2]), vector(image.GetSpacing()), vector(image.GetOrigin()), image.GetDirection()
    )


def check_origin(origin: Sequence[float], where: str) -> None:
    """Of a file, which ``where`` says, whether its first voxel is where one can be (LPS, mm).

    Raises:
        InputError: it is not.
    """
    if not all(abs(x) <= FURTHEST_MM for x in origin):  # NaN too
        raise InputError(
            f"{where}: an origin of {', '.join(f'{x:g}' for x in origin)} mm is impossible for a head "
            f"(none is beyond {FURTHEST_MM:.0f} mm); mend its header"
        )


def check_subject(labels: Labels, subject: Subject, where: str) -> None:
    """Whether labels may be of the image that ``where`` says, and that is of ``subject``.

    Raises:
        InputError: both say of which patient they are, or in which frame of reference, and it is not the same.
    """
    for what, found, wanted in zip(
        ("of another patient", "in another frame of reference"), labels.subject, subject, strict=True
    ):
        if found and wanted and found != wanted:
            raise InputError(
                f"{labels.name}: is {what} than {where} ({found} against {wanted}); give the segmentation of this "
                "study, or convert it to NIfTI or NRRD if it is known to fit"
            )


def to_sitk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """An array (k, j, i) as a SimpleITK image on ``geometry``."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def part_around(volume: Volume, target: Geometry, margin_mm: float) -> Volume:
    """The part of ``volume`` that ``target`` covers, and ``margin_mm`` around it; a view, of at least one voxel."""
    g = volume.geometry
    corners = g.index(target.corners())
    margin, last = margin_mm / np.array(g.spacing[::-1]), np.array(g.shape) - 1
    low = np.clip(np.floor(corners.min(0) - margin), 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(0) + margin), 0, last).astype(int)
    k, j, i = (slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    return part_of(volume, (k, j, i))


def part_of(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The part of ``volume`` in ``box``, k, j, i, with a start and an end within it; a view."""
    k, j, i = (s.stop - s.start for s in box)
    origin = vector(volume.geometry.physical(np.array([s.start for s in box])))
    return Volume(volume.array[box], replace(volume.geometry, size=(i, j, k), origin=origin), volume.name)


def oriented(volume: Volume) -> Volume:
    """The same voxels, stored along L, P, S or as near to it as the scan's axes are; a view of them."""
    return _along(volume, np.eye(3))


def voxel_digest(volume: Volume) -> str:
    """SHA-256 of the voxels, in whatever order and type of numbers they are stored."""
    array = np.ascontiguousarray(oriented(volume).array, np.float32)
    found = hashlib.sha256(str(array.shape).encode())
    found.update(array.data)
    return found.hexdigest()


def aligned(volume: Volume, target: Geometry) -> Volume:
    """The same voxels, stored along the axes of ``target`` or as near to them as the scan's axes are; a view of them."""
    return _along(volume, target.axes)


def _along(volume: Volume, axes: np.ndarray) -> Volume:
    g = volume.geometry
    cosines = axes.T @ g.axes  # a row for each axis that is wanted
    order = max(permutations(range(3)), key=lambda some: np.abs(cosines[range(3), some]).sum())
    backwards = [bool(cosines[n, axis] < 0) for n, axis in enumerate(order)]
    first = np.zeros(3)  # i, j, k of what comes to be voxel (0, 0, 0)
    for axis, turned in zip(order, backwards, strict=True):
        first[axis] = (g.size[axis] - 1) * turned
    array = volume.array.transpose([2 - axis for axis in order[::-1]])
    array = np.flip(array, tuple(2 - n for n in range(3) if backwards[n]))
    a, b, c = order
    geometry = Geometry(
        (g.size[a], g.size[b], g.size[c]),
        (g.spacing[a], g.spacing[b], g.spacing[c]),
        vector(g.physical(first[::-1])),
        tuple((g.axes[:, order] * np.where(backwards, -1, 1)).ravel().tolist()),
    )
    return Volume(array, geometry, volume.name)


def vector(values: np.ndarray | tuple[float, ...]) -> Vector:
    """Three numbers as plain floats."""
    x, y, z = (float(v) for v in values)
    return x, y, z
