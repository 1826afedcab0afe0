"""Study and model to a probability map: one pass over the patient where memory allows, exact tiles where not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import prod

import numpy as np
import torch

from .brain import find_brain
from .devices import choose_device, free_memory, repeatable
from .errors import InputError, is_shortage, reason
from .model import Model
from .networks import IntegerNetwork, Network, autocast, build_network, fold, fuse, half_precision
from .resampling import resample
from .runtime import release_memory
from .study import NetworkInput, Study, network_inputs, searched_voxels
from .tiles import Shape, halved, of_at_most, tiled
from .volume import Geometry, Volume

Progress = Callable[[str, float], None]
"""Called with what is being done, in words, and the part done, 0 to 1. Whatever it raises ends the prediction."""

_NOWHERE = -12.0  # logit: less than that is nothing
# Of CPUs alone: GPUs say what is too much for them; an operating system promises memory that is not there, and then ends who
# uses it, or who else uses most: Slicer, for one.
_AT_ONCE = 2**26  # voxels, more than a head of which the brain was found
_WORTH_IT = 2**24  # voxels; with less at once only the time grows, for the images themselves take as much
_BESIDES = 2**28  # bytes that a search takes, whatever is searched
_OF_IMAGES = 16  # bytes that each voxel searched takes, at once or not
_OF_SEQUENCES = 8  # bytes that each voxel takes in the network, for each sequence
_OF_CHANNELS = 5  # and for each channel at full resolution; in float32 twice as many

_WARM_UP = Geometry((80, 80, 80), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


class Predictor:
    """A model on a device: load it once, then ask it for many maps.

    Example::

        predictor = Predictor(load_model(folder))
        probability = predictor.probability_map(study)
    """

    _integers = False  # whether the network in use is in integers wherever it can be

    def __init__(self, model: Model, device: str | None = None) -> None:
        """
        Args:
            model: a checked model.
            device: ``cpu``, ``cuda`` or ``mps``; the fastest there is where None.

        Raises:
            InputError: weights that are not those of the card's architecture, or a device that is not there.
        """
        self.model = model
        self._wanted = choose_device(device)
        self._try_device()

    def _use(self, device: torch.device, integers: bool = True) -> None:
        """Build the network there: from the weights, for a device that failed may not give its own back."""
        plain = network_of(self.model).to(device)
        network: Network | IntegerNetwork = plain
        if device.type == "cpu":
            if integers and self.model.integers:
                try:
                    network = IntegerNetwork(self.model.integers, plain.stride, plain.halo)
                except Exception as error:  # OpenVINO is not here, not whole, or cannot use them, maybe for now alone
                    integers = not is_shortage(error)
            if network is plain:
                fuse(plain, half_precision(device) or torch.float32)
        self.network, self.device, self._integers = network, device, integers  # last: what was half done is tried again

    @property
    def in_integers(self) -> bool:
        """Whether it searches with the model's 8-bit integers."""
        return isinstance(self.network, IntegerNetwork)

    def _try_device(self, progress: Progress = lambda what, part: None) -> None:
        """Go (back) to the device, and the integers, that are wanted: another program may have left them room meanwhile."""
        if self._integers and self.device == self._wanted:
            return
        try:
            self._use(self._wanted)
        except RuntimeError as error:
            progress(f"{self._wanted} cannot be used ({reason(error)}); going on with the CPU", 0.0)
            if not self._integers:
                self._use(torch.device("cpu"))

    def warm_up(self) -> None:
        """Do what only the first search has to: load the brain's network, start the device, choose its kernels."""
        find_brain(Volume(np.pad(np.ones((64, 64, 64), np.float32), 8), _WARM_UP), self.device)
        side = 8 * self.network.stride
        self._logits(torch.zeros(1, len(self.model.card.input.sequences), side, side, side), lambda what, part: None)

    def release_memory(self) -> None:
        """Give back what is kept from one search for the next, which fetches it again."""
        if isinstance(self.network, IntegerNetwork):
            self.network.release_memory()
        if self.device.type != "cpu":
            getattr(torch, self.device.type).empty_cache()
        release_memory()

    def probability_map(self, study: Study, progress: Progress = lambda what, part: None) -> Volume:
        """The probability of lesion, float32 (k, j, i) on the reference volume's grid, 0 outside of the brain.

        Raises:
            InputError: the study has not what the model needs, or the network gives no numbers.
            Exception: whatever ``progress`` raises.
        """
        self._try_device(progress)
        progress("Preparing the images", 0.0)
        inputs, grid = self.inputs(study), study.reference.geometry
        surest = np.full(grid.shape, _NOWHERE, np.float32)  # at any scale: small lesions show in small voxels
        work = np.cumsum([0, *(seen.array.size for seen in inputs)])
        for seen, (first, last) in zip(inputs, pairwise(work / work[-1]), strict=True):
            part = _share(progress, first, last)
            part("Searching for lesions", 0.1)
            logits = self._logits(torch.from_numpy(seen.array)[None], part)[0, 0].numpy()
            if not np.isfinite(logits).all():
                raise InputError(
                    f"{self.model.folder}: its network gives values that are no numbers; install the model again, "
                    "or train it with a lower learning_rate"
                )
            np.maximum(logits, _NOWHERE, out=logits)
            logits[seen.outside] = _NOWHERE  # where nothing is to be found, networks are hardly trained to say so
            part("Mapping back", 0.95)
            here = resample(Volume(logits, seen.geometry), grid, fill=_NOWHERE).array
            np.maximum(surest, here, out=surest)
        probability = np.where(surest > _NOWHERE, torch.sigmoid(torch.from_numpy(surest)).numpy(), 0)
        progress("Mapping back", 1.0)
        return Volume(probability, grid, "probability")

    def inputs(self, study: Study) -> list[NetworkInput]:
        """What the network gets to see of a study, around the brain, at each of its scales.

        Raises:
            InputError: the study has not what the model needs.
        """
        card, brain = self.model.card, find_brain(study.reference, self.device)
        voxels = searched_voxels(study, card.input, card.scales)
        return network_inputs(study, card.input, voxels, self.network.stride, brain)

    def _logits(self, images: torch.Tensor, progress: Progress) -> torch.Tensor:
        """Whole where it fits; otherwise in tiles half as large, until they fit, at last on the CPU."""
        core = self._largest(images)
        while True:
            number = len(tiled(_shape(images), core, self.network.halo))
            what = f"Searching for lesions in {number} tiles, to save memory" if number > 1 else "Searching for lesions"
            try:
                with autocast(self.device), repeatable():
                    return tiled_logits(self.network, images, core, partial(progress, what))
            except (RuntimeError, MemoryError) as error:
                short, why = is_shortage(error), reason(error)
                integers = self.in_integers
                if self.device.type == "cpu" and not short and not integers:
                    raise
            if integers:
                progress(f"8-bit integers cannot be used ({why}); going on without", 0.1)
                self._use(self.device, integers=False)
                core = self._largest(images)
                continue
            smaller = halved(core, self.network.stride) if short else None
            if smaller:
                core = smaller
                progress("Not enough memory; going on in smaller tiles", 0.1)
            elif self.device.type == "cpu":
                raise MemoryError("not enough memory even for small tiles; close other programs and try again")
            else:
                problem = f"Not enough memory on {self.device}" if short else f"{self.device} cannot be used ({why})"
                progress(f"{problem}; going on with the CPU", 0.1)
                self._use(torch.device("cpu"))
                core = self._largest(images)

    def _largest(self, images: torch.Tensor) -> Shape:
        """What is tried at once first."""
        shape = _shape(images)
        if self.device.type != "cpu":
            return shape
        if self._room(images) < prod(shape):
            self.release_memory()  # what is kept of the last search may be of no use to this one
        room = min(max(self._room(images), _WORTH_IT), _AT_ONCE)
        return of_at_most(room, shape, self.network.halo, self.network.stride)

    def _room(self, images: torch.Tensor) -> int:
        """For how many voxels at once there is free memory, on the CPU."""
        half = self.in_integers or half_precision(self.device)
        channels = self.model.card.architecture.channels[0] * (1 if half else 2)
        a_voxel = _OF_SEQUENCES * images.shape[1] + _OF_CHANNELS * channels
        return (free_memory() - _BESIDES - _OF_IMAGES * images[0, 0].numel()) // a_voxel


class RememberingPredictor(Predictor):
    """Keeps its last map, and gives it again for the same images: only the annotation changed. It is read-only."""

    _last: tuple[str, Volume] | None = None

    def probability_map(self, study: Study, progress: Progress = lambda what, part: None) -> Volume:
        """As :meth:`Predictor.probability_map`."""
        images = _fingerprint(study)
        if self._last and self._last[0] == images:
            progress("Using the map of the last search", 1.0)
            return self._last[1]
        mapped = super().probability_map(study, progress)
        mapped.array.flags.writeable = False
        self._last = images, mapped
        return mapped


def network_of(model: Model) -> Network:
    """A model's network in ``eval`` mode, its normalisation folded, in float32 on the CPU.

    Raises:
        InputError: weights that are not those of the card's architecture.
    """
    card = model.card
    build = partial(build_network, len(card.input.sequences), card.architecture)
    weights = {name: torch.from_numpy(array) for name, array in model.weights.items()}
    try:
        with torch.device("meta"):  # no memory: a card may say any size
            expected = build().state_dict()
    except (RuntimeError, TypeError):
        raise InputError(
            f"{model.folder}: no computer has the memory for its architecture ({card.architecture.kind}); "
            "install the model again"
        ) from None
    wanted, given = ({n: t.shape for n, t in tensors.items()} for tensors in (expected, weights))
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise InputError(
                f"{model.folder}: weights and architecture ({card.architecture.kind}) disagree at {name}; "
                "install the model again"
            )
    network = build()
    network.load_state_dict(weights)
    fold(network.eval())
    return network


def tiled_logits(
    network: Network | IntegerNetwork,
    images: torch.Tensor,
    core: Shape | None = None,
    progress: Callable[[float], None] = lambda part: None,
) -> torch.Tensor:
    """Logits (1, 1, k, j, i), float32 on the CPU, of ``images`` (1, sequence, k, j, i) in tiles of ``core`` voxels.

    Each tile sees the network's full halo around it, so the result is that of the whole volume in one piece, which None is.
    ``core`` and the spatial sizes are multiples of the network's stride. ``progress`` gets 0.1 to 0.95.
    """
    shape = _shape(images)
    out = torch.empty((1, 1, *shape), dtype=torch.float32)
    tiles = tiled(shape, core or shape, network.halo)
    device = "cpu" if isinstance(network, IntegerNetwork) else next(network.parameters()).device
    with torch.inference_mode():
        for done, tile in enumerate(tiles):
            progress(0.1 + 0.85 * done / len(tiles))
            part = images[(slice(None), slice(None), *tile.seen)].to(device)
            logits = network(part)
            out[(0, 0, *tile.core)] = logits[(0, 0, *tile.inner)].float().cpu()
    return out


def _shape(images: torch.Tensor) -> Shape:
    _, _, k, j, i = images.shape
    return k, j, i


def _share(progress: Progress, first: float, last: float) -> Progress:
    """The progress of what goes from ``first`` to ``last`` of the whole."""
    return lambda what, part: progress(what, first + (last - first) * part)


def _fingerprint(study: Study) -> str:
    """Of every voxel and of where it is."""
    digest = hashlib.blake2b()
    for name, volume in [("t1c", study.reference), *sorted(study.others.items())]:
        digest.update(f"{name}{volume.geometry}{volume.array.dtype}".encode())
        digest.update(np.ascontiguousarray(volume.array).data)
    return digest.hexdigest()
