"""Shared by all tests: small studies and small models, and where the real images are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lopsided.architectures import Architecture, DeepLabSizes, ResidualUNetSizes
from lopsided.model import (
    Calibration,
    Model,
    ModelCard,
    OperatingPoint,
    Provenance,
    load_model,
)
from lopsided.networks import build_network
from lopsided.study import Study
from lopsided.volume import Geometry, Volume, to_sitk
from lopsided_training.config import FitConfig
from safetensors.torch import save_file

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PLAIN = Calibration(intercept=0, peak=1, slices=0, studies=1, brier=0.1, calibration_error=0.1)
SMALL_UNET = ResidualUNetSizes(channels=(4, 6, 8), encoder_blocks=(0, 1, 1), decoder_blocks=(1, 1))
SMALL_DEEPLAB = DeepLabSizes(
    channels=(4, 6, 8), blocks=(0, 1, 1), output_stride=4, atrous_rates=(1, 2), pyramid_channels=6
)
OBLIQUE = (0.936, -0.28, 0.213, 0.31, 0.936, -0.163, -0.154, 0.219, 0.963)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real images that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"the real images are not here ({SHARED})")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def make_geometry(
    size: tuple[int, int, int] = (48, 56, 40),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin: tuple[float, float, float] = (-20.0, 10.0, 5.0),
    direction: tuple[float, ...] = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0),
) -> Geometry:
    """A grid; by default axis-aligned and isotropic."""
    q, r = np.linalg.qr(np.reshape(direction, (3, 3)))
    return Geometry(size, spacing, origin, tuple((q * np.sign(np.diag(r))).ravel().tolist()))


def make_head(geometry: Geometry, spots: list[tuple[tuple[float, float, float], float]] = ()) -> Volume:  # type: ignore[assignment]
    """A ball of tissue with some texture and bright spots: ((LPS point), radius mm)."""
    points = geometry.physical(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1))
    centre = geometry.physical((np.array(geometry.shape) - 1) / 2)
    extent = np.array(geometry.size) * geometry.spacing
    distance = np.linalg.norm(points - centre, axis=-1)
    rng = np.random.default_rng(0)
    image = np.where(distance < 0.42 * extent.min(), 100 + 8 * np.sin(points @ (0.3, 0.2, 0.4)), 0.0)
    image += np.where(image > 0, rng.normal(0, 2, image.shape), 0)
    for where, radius in spots:
        image[np.linalg.norm(points - where, axis=-1) <= radius] = 260
    return Volume(image.astype(np.float32), geometry, "head")


@pytest.fixture
def geometry() -> Callable[..., Geometry]:
    """Makes a grid."""
    return make_geometry


@pytest.fixture
def oblique() -> Geometry:
    """Tilted, left-handed, anisotropic."""
    plain = make_geometry((52, 60, 30), (0.9, 0.8, 1.7), (31.0, -22.0, 47.0), OBLIQUE)
    return replace(plain, direction=tuple((plain.axes * (1, 1, -1)).ravel().tolist()))


@pytest.fixture
def head() -> Callable[..., Volume]:
    """Makes a head."""
    return make_head


@pytest.fixture
def study() -> Study:
    """A head with a bright spot, on a small grid."""
    return Study(make_head(make_geometry((72, 64, 56)), [((15.0, 40.0, 30.0), 3.0)]))


def make_card(weights: bytes, **changes: object) -> ModelCard:
    """A model card for a small network."""
    fields: dict[str, object] = {
        "format_version": 1,
        "name": "small",
        "title": "Small",
        "intended_use": "tests",
        "licence": "Apache-2.0",
        "created": "2026-01-01",
        "architecture": SMALL_UNET,
        "input": FitConfig().input,
        "scales": (1.0,),
        "calibration": PLAIN,
        "threshold": 0.5,
        "operating_points": (OperatingPoint(confidence=0.5, false_positives_per_scan=1, sensitivity=0.8),),
        "provenance": Provenance(
            command="none",
            data="none",
            loss="none",
            steps=0,
            seed=0,
            machine="none",
            hours=0,
            software={},
            evaluated_on="nothing",
            limitations="random weights",
        ),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    return ModelCard(**(fields | changes)).signed()  # type: ignore[arg-type]


def make_model_folder(folder: Path, architecture: Architecture) -> Path:
    """A model folder with random weights, that give probabilities of all sizes."""
    folder.mkdir()
    torch.manual_seed(3)
    network = build_network(4, architecture)
    with torch.no_grad():
        network.head.bias.zero_()  # type: ignore[union-attr]
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors")
    card = make_card((folder / "model.safetensors").read_bytes(), architecture=architecture)
    (folder / "model.json").write_text(card.model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a residual U-Net."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "small", SMALL_UNET)


@pytest.fixture(scope="session")
def deeplab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a 2.5D DeepLab."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "small", SMALL_DEEPLAB)


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in nnU-Net's layout: two heads, one of which has a lesion, a bright spot."""
    folder = tmp_path_factory.mktemp("heads")
    grid = make_geometry((72, 64, 56))
    for n, spots in enumerate([[((15.0, 40.0, 30.0), 3.0)], []]):
        image = make_head(grid, spots).array
        files = {f"imagesTr/head_{n}_0000": image, f"labelsTr/head_{n}": (image > 200).astype(np.uint8)}
        for name, array in files.items():
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            sitk.WriteImage(to_sitk(array, grid), str(path))
    described = {"channel_names": {"0": "t1c"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**described, "numTraining": 2}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def integer_folder(tmp_path_factory: pytest.TempPathFactory, heads: Path) -> Path:
    """Of a residual U-Net, with its network in 8-bit integers beside it."""
    pytest.importorskip("nncf", reason="integers are for x86 processors alone")
    from lopsided_training.quantise import quantise

    folder = make_model_folder(tmp_path_factory.mktemp("models") / "integers", SMALL_UNET)
    quantise(folder, heads, say=lambda line: None)
    return folder


@pytest.fixture
def model(model_folder: Path) -> Model:
    """The model in ``model_folder``."""
    return load_model(model_folder)


def _write_series(volume: Volume, folder: Path, number: int = 3, description: str = "T1 post", skip: int = -1) -> None:
    """The volume as a DICOM series, int16."""
    folder.mkdir(exist_ok=True)
    image = to_sitk(volume.array.astype(np.int16), volume.geometry)
    direction = image.GetDirection()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for n in range(image.GetDepth()):
        if n == skip:
            continue
        piece = image[:, :, n]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{number}.{n + 1}",
            "0008|0060": "MR",
            "0008|103e": description,
            "0010|0010": "Doe^Jane",
            "0010|0020": "P-1",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.1.{number}",
            "0020|0011": str(number),
            "0020|0013": str(n + 1),
            "0020|0032": "\\".join(f"{v:.6f}" for v in image.TransformIndexToPhysicalPoint((0, 0, n))),
            "0020|0052": "1.2.826.0.1.3680043.2.1125.2",
            "0020|0037": "\\".join(f"{direction[m]:.8f}" for m in (0, 3, 6, 1, 4, 7)),
            "0018|0050": f"{volume.geometry.spacing[2]:.6f}",
        }
        for key, value in tags.items():
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number}_{n:03d}.dcm"))
        writer.Execute(piece)


@pytest.fixture(scope="session")
def write_series() -> Callable[..., None]:
    """Writes a volume as a DICOM series: (volume, folder, number, description, a slice to leave out)."""
    return _write_series
