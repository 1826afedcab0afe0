"""A study: the sequences of one patient, and what the network gets to see of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from .errors import InputError
from .intensity import find_foreground, normalise
from .model import SEQUENCES, InputSpec
from .resampling import REACH_MM, covered, resample
from .volume import Geometry, Volume, oriented, part_around

MAX_NETWORK_VOXELS = 400**3  # no patient is larger than this on a millimetre grid; a wrong spacing is


@dataclass(frozen=True)
class Study:
    """The reference volume (post-contrast T1) and other sequences by name, each on its own grid.

    Raises:
        InputError: an unknown sequence, or one that shares no physical space with the reference.
    """

    reference: Volume
    others: dict[str, Volume] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, volume in self.others.items():
            if name not in SEQUENCES or name == "t1c":
                raise InputError(f"{volume.name}: unknown sequence {name!r}; known are {', '.join(SEQUENCES)}")
            if not volume.geometry.overlaps(self.reference.geometry):
                raise InputError(
                    f"{volume.name} ({SEQUENCES[name]}) does not overlap {self.reference.name}: "
                    f"{volume.geometry.describe()} against {self.reference.geometry.describe()}; "
                    "register it, or leave it out"
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


def network_input(study: Study, spec: InputSpec, multiple: int, brain: Volume | None = None) -> NetworkInput:
    """Normalise each sequence on its own grid, then resample it once, onto the network's; all side by side.

    That grid covers ``brain`` (a mask on a grid of its own), or the whole patient, in the reference volume, along its axes
    turned to be nearest to L, P, S; its sizes are multiples of ``multiple``. What lies outside of the brain is made dark.
    How the files were stored makes no difference.

    Raises:
        InputError: a sequence that the model requires is missing, or a spacing no patient could have.
    """
    reference = oriented(study.reference)
    foreground = find_foreground(reference, brain)
    grid = reference.geometry.covering(spec.spacing_mm, foreground.low, foreground.high, multiple)
    if np.prod(np.array(grid.size, float)) > MAX_NETWORK_VOXELS:
        raise InputError(
            f"{reference.name}: covers {reference.geometry.describe()}, more than a head; "
            "check the spacing in its header"
        )
    outside = ~covered(brain, grid) if brain else np.zeros(grid.shape, bool)
    array = np.zeros((len(spec.sequences), *grid.shape), np.float32)
    volumes = [study.sequence(wanted.name) for wanted in spec.sequences]
    for wanted, volume in zip(spec.sequences, volumes, strict=True):
        if wanted.required and volume is None:
            raise InputError(
                f"{study.reference.name}: the model needs {SEQUENCES[wanted.name]} of the same study too; add it, "
                "or choose another model"
            )

    def fill(channel: np.ndarray, volume: Volume | None) -> None:
        if volume is None:
            return
        volume = reference if volume is study.reference else oriented(volume)
        own = foreground if volume is reference else find_foreground(volume, brain)
        dark = float(np.clip((own.dark - own.centre) / own.scale, *spec.clip))
        # outside of what was imaged there is air, not a slab of average tissue
        seen = part_around(volume, grid, REACH_MM)
        channel[:] = resample(normalise(seen, own, spec.clip), grid, fill=dark).array
        channel[outside] = dark

    with ThreadPoolExecutor(len(volumes)) as pool:
        list(pool.map(fill, array, volumes))
    return NetworkInput(array, grid, outside)
