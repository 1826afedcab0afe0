"""A study: the sequences of one patient, and what the network gets to see of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from .errors import InputError
from .intensity import evenly_padded, find_foreground, normalise
from .model import SEQUENCES, InputSpec, Sequence
from .resampling import REACH_MM, covered, resample
from .volume import Geometry, Vector, Volume, oriented, part_around

MAX_EXTENT_MM3 = 600.0**3  # that all of an image covers, with what is around the head
MAX_SEARCHED_MM3 = 400.0**3  # no patient is larger; a wrong spacing is
STRETCH = 4  # network's voxels through one of a scan: more, and a small lesion of one slice looks like a vessel
LENGTH = 2  # of the network's voxels, to their width: more, and a lesion looks flat


@dataclass(frozen=True)
class Study:
    """The reference volume (post-contrast T1) and other sequences by name, each on its own grid.

    Raises:
        InputError: an unknown sequence, one that shares no physical space with the reference, or an extent no scan of a
            head has.
    """

    reference: Volume
    others: dict[str, Volume] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for volume in (self.reference, *self.others.values()):
            if volume.geometry.extent > MAX_EXTENT_MM3:
                raise _larger_than_a_head(volume)
        for name, volume in self.others.items():
            if name not in SEQUENCES or name == "t1c":
                raise InputError(f"{volume.name}: unknown sequence {name!r}; known are {', '.join(SEQUENCES)}")
            if not volume.geometry.overlaps(self.reference.geometry):
                raise InputError(
                    f"{volume.name} ({SEQUENCES[name]}) does not overlap {self.reference.name}: "
                    f"{volume.geometry.against(self.reference.geometry)}; register it, or leave it out"
                )

    def sequence(self, name: str) -> Volume | None:
        """The volume of a sequence, or None where the study has none."""
        return self.reference if name == "t1c" else self.others.get(name)


@dataclass(frozen=True)
class NetworkInput:
    """``array``: float32 (sequence, k, j, i), zeros where a sequence is missing, on ``geometry``. ``outside``: bool
    (k, j, i), what is not brain, and dark."""

    array: np.ndarray
    geometry: Geometry
    outside: np.ndarray


def searched_voxels(study: Study, spec: InputSpec, scales: tuple[float, ...]) -> list[Vector]:
    """Along L, P, S, mm: those of ``spec`` times each of the ``scales``, and longer through thick slices.

    No more than ``STRETCH`` of a network's voxels lie in one of the scan's: what is interpolated between slices shows nothing
    more, and a lesion of one slice looks rounder. Nor is any longer than that, or more than ``LENGTH`` times as long as wide,
    or a large lesion of many slices looks flat.
    """
    own = oriented(study.reference).geometry.spacing
    voxels = []
    for scale in scales:
        sides = [max(side, slices / STRETCH) for side, slices in zip(spec.scaled(scale).spacing_mm, own, strict=True)]
        left, posterior, superior = (max(side, max(sides) / LENGTH) for side in sides)
        voxels.append((left, posterior, superior))
    return voxels


def network_inputs(
    study: Study, spec: InputSpec, voxels: list[Vector], multiple: int, brain: Volume | None = None
) -> list[NetworkInput]:
    """Normalise each sequence on its own grid, then resample it once onto the network's; all side by side.

    That grid covers ``brain`` (a mask on a grid of its own), or the whole patient, in the reference volume, along its axes
    turned to be nearest to L, P, S; its sizes are multiples of ``multiple``. What lies outside of the brain is made dark.
    How the files were stored makes no difference. There is one for each size of ``voxels``, mm.

    Raises:
        InputError: a sequence that the model requires is missing, or a spacing no patient could have.
    """
    volumes = {wanted.name: study.sequence(wanted.name) for wanted in spec.sequences}
    for wanted in spec.sequences:
        if wanted.required and volumes[wanted.name] is None:
            raise InputError(
                f"{study.reference.name}: the model needs {SEQUENCES[wanted.name]} of the same study too; add it, "
                "or choose another model"
            )
    names = list(volumes)
    there = {name: oriented(volume) for name, volume in volumes.items() if volume is not None}
    with ThreadPoolExecutor(len(there) * len(voxels)) as pool:
        there = dict(zip(there, pool.map(evenly_padded, there.values()), strict=True))
        reference = there["t1c"]
        found = pool.map(lambda volume: find_foreground(volume, brain), there.values())
        foregrounds = dict(zip(there, found, strict=True))
        low, high = foregrounds["t1c"].low, foregrounds["t1c"].high
        grids = [reference.geometry.covering(spacing, low, high, multiple) for spacing in voxels]
        if any(grid.extent > MAX_SEARCHED_MM3 for grid in grids):
            raise _larger_than_a_head(reference)
        inputs = [
            NetworkInput(
                np.zeros((len(names), *grid.shape), np.float32),
                grid,
                ~covered(brain, grid) if brain else np.zeros(grid.shape, bool),
            )
            for grid in grids
        ]

        def fill(work: tuple[NetworkInput, Sequence]) -> None:
            seen, name = work
            own, channel = foregrounds[name], seen.array[names.index(name)]
            dark = float(np.clip((own.dark - own.centre) / own.scale, *spec.clip))
            # outside of what was imaged there is air, not a slab of average tissue
            part = part_around(there[name], seen.geometry, REACH_MM)
            channel[:] = resample(normalise(part, own, spec.clip), seen.geometry, fill=dark).array
            channel[seen.outside] = dark

        list(pool.map(fill, product(inputs, there)))
    return inputs


def _larger_than_a_head(volume: Volume) -> InputError:
    return InputError(
        f"{volume.name}: covers {volume.geometry.describe()}, more than a head; check the spacing in its header"
    )
