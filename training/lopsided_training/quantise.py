"""A model's network in 8-bit integers, for CPUs: made by NNCF, run by OpenVINO (:mod:`lopsided.networks.integers`).

Each weight is a multiple of its channel's step, and each value between two layers a multiple of its layer's, which is the range
of all values there divided by 255 (Jacob et al., CVPR 2018, arXiv 1712.05877). These ranges go from the least to the greatest
value of whole studies. To leave out the rarest values, or to average over studies, which NNCF does unless told otherwise, is
for networks whose objects are large: here the rarest values are the lesions.
"""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from lopsided.errors import InputError
from lopsided.model import INTEGER_GRAPH, INTEGER_WEIGHTS, IntegerFiles, Integers, Model, ModelCard, load_model
from lopsided.networks import ResidualUNet, import_openvino
from lopsided.predict import Predictor, network_of
from lopsided.tiles import tiled
from lopsided.wording import counted

from .dataset import Case, digest, hashes, read_dataset
from .runs import model_folder

if TYPE_CHECKING:
    import openvino

_TILE = 96  # voxels; where a network is looked into, all that it computes is kept
_TOLD = b"On CPUs it may run in 8-bit integers (`model-int8.xml`); the figures above are of the network without them.\n"
STUDIES = 8  # ten minutes on two cores, with the bundled network


def quantise(folder: Path, dataset: Path, *, studies: int = STUDIES, say: Callable[[str], None] = print) -> ModelCard:
    """Add ``model-int8.xml`` and ``model-int8.bin`` to a model folder, which replace what was there.

    Args:
        folder: of a model whose network is a residual U-Net, or the name of a bundled one.
        dataset: its first studies give the ranges; such as the model was trained or calibrated on, not those that it is
            measured on.
        studies: how many of them at most.
        say: takes lines of progress.

    Returns:
        The model's card, with a new digest.

    Raises:
        InputError: NNCF is not installed; no model, or one of another network; a dataset that cannot be used; a folder
            that cannot be written to.
    """
    folder = model_folder(folder)
    model = load_model(folder)
    network = network_of(model)
    if not isinstance(network, ResidualUNet):
        raise InputError(
            f"{folder}: only residual U-Nets can be run in integers, and this is {model.card.architecture.kind}; "
            "use the model as it is"
        )
    cases = read_dataset(dataset)[:studies]
    files = _integers(network, list(_tiles(model, cases, say)))
    integers = Integers(
        graph_sha256=_hash(files.graph),
        weights_sha256=_hash(files.weights),
        data=f"{counted(len(cases), 'study')}, digest {digest(hashes(cases))}",
        software={package: version(package) for package in ("nncf", "openvino")},
    )
    card = model.card.model_copy(update={"integers": integers}).signed()
    _write(folder, card, {INTEGER_GRAPH: files.graph, INTEGER_WEIGHTS: files.weights})
    return card


def _tiles(model: Model, cases: list[Case], say: Callable[[str], None]) -> Iterator[np.ndarray]:
    """Float32 (1, sequence, k, j, i): all of the brain that the network gets to see, at every scale."""
    predictor = Predictor(model, "cpu")
    for number, case in enumerate(cases, start=1):
        for seen in predictor.inputs(case.study()):
            for tile in tiled(seen.outside.shape, (_TILE, _TILE, _TILE), halo=0):
                if not seen.outside[tile.core].all():
                    yield np.ascontiguousarray(seen.array[(slice(None), *tile.core)])[None]
        say(f"{number}/{len(cases)} {case.name}")


def _integers(network: ResidualUNet, tiles: list[np.ndarray]) -> IntegerFiles:
    try:
        openvino = import_openvino()
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as error:
        raise InputError(f"NNCF is not installed ({error}); pip install nncf openvino") from None
    nncf.set_log_level(logging.ERROR)
    sequences = tiles[0].shape[1]
    shape = openvino.PartialShape([1, sequences, -1, -1, -1])
    # it traces as it always did, which PyTorch calls deprecated
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        whole = openvino.convert_model(_AtOnce(network), example_input=torch.from_numpy(tiles[0]), input=[shape])
    quantised = nncf.quantize(
        whole,
        nncf.Dataset(tiles),
        subset_size=len(tiles),
        preset=nncf.QuantizationPreset.MIXED,
        advanced_parameters=AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,  # it corrects for what was left out, which is nothing
        ),
    )
    _quantise_once(quantised)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / INTEGER_GRAPH
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return IntegerFiles(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _quantise_once(model: openvino.Model) -> None:
    """Undo that NNCF rounds what was copied to more voxels a second time: nothing changes but that OpenVINO, which holds what it
    is yet to round as float32, takes 60 bytes for each of an image's voxels instead of 110."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            copied = node.input(0).get_source_output()
            if copied.get_node().get_type_name() == "Interpolate":
                for target in node.output(0).get_target_inputs():
                    target.replace_source_output(copied)
    model.validate_nodes_and_infer_types()


class _AtOnce(torch.nn.Module):
    """A network without a loop over slices, which would be as many as in the example."""

    def __init__(self, network: ResidualUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.at_once(images)


def _write(folder: Path, card: ModelCard, files: dict[str, bytes]) -> None:
    """The card comes last, and one without integers first: whenever this is interrupted, there is a model."""
    readme = folder / "README.md"
    without = card.model_copy(update={"integers": None}).signed()
    try:
        if readme.exists():
            named = re.sub(rb"(?<=Digest `)[0-9a-f]{64}(?=`)", card.digest.encode(), readme.read_bytes())
            files = {**files, "README.md": named if _TOLD in named else named + b"\n" + _TOLD}
        steps = [("model.json", _json(without)), *files.items(), ("model.json", _json(card))]
        for n, (name, content) in enumerate(steps):
            (folder / f".{name}.{n}.partial").write_bytes(content)
        for n, (name, _) in enumerate(steps):
            (folder / f".{name}.{n}.partial").replace(folder / name)
    except OSError as error:
        for partial in folder.glob(".*.[0-9].partial"):
            partial.unlink()
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); copy the model elsewhere, and try there"
        ) from None


def _json(card: ModelCard) -> bytes:
    return (card.model_dump_json(indent=2) + "\n").encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
