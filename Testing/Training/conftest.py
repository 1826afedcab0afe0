"""A small head to simulate on, a small dataset, and the smallest training. The tests of losses share ``descent``,
others ``prepared``."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.architectures import ResidualUNetSizes
from lopsided_training.config import FitConfig, PatchConfig, ValidationConfig
from lopsided_training.simulate import simulate

sys.path[:0] = [str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def small() -> FitConfig:
    return FitConfig(
        steps=6,
        batch=1,
        checkpoint_every=2,
        patches=PatchConfig(size=16),
        validation=ValidationConfig(folds=0),
        network=ResidualUNetSizes(channels=(4, 6), encoder_blocks=(0, 1), decoder_blocks=(1,)),
    )


@pytest.fixture(scope="session")
def label_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of concentric shells with the labels of FreeSurfer: small, and fast to simulate on."""
    points = np.stack(np.meshgrid(*[np.arange(72)] * 3, indexing="ij"), -1)
    radius = np.linalg.norm(points - 35.5, axis=-1)
    labels = np.select(
        [radius < 4, radius < 6, radius < 20, radius < 25, radius < 27, radius < 33], [31, 4, 2, 3, 24, 507], 0
    )
    path = tmp_path_factory.mktemp("anatomy") / "shells.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(labels.astype(np.int16)), str(path))
    return path


@pytest.fixture(scope="session")
def dataset(label_map: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    simulate([str(label_map)], folder, studies=3, seed=11, mean_lesions=8)
    return folder
