"""Simulate, train, resume, export: at the smallest scale that goes through every step."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lopsided.architectures import Architecture, DeepLabSizes, ResidualUNetSizes
from lopsided.errors import InputError
from lopsided.model import ModelCard, load_model
from lopsided_training import export as exporting
from lopsided_training import fit as fitting
from lopsided_training.anatomy import from_image, from_label_map, mni152
from lopsided_training.config import FitConfig, PatchConfig, read_config
from lopsided_training.dataset import read_dataset
from lopsided_training.evaluate import CaseResult, false_positives, sensitivity, threshold_at
from lopsided_training.patches import PreparedCase, draw
from lopsided_training.records import sample
from lopsided_training.rendering import render
from lopsided_training.simulate import simulate
from scipy import ndimage

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)
SMALL = FitConfig(
    steps=6,
    batch=1,
    checkpoint_every=2,
    patches=PatchConfig(size=16),
    network=ResidualUNetSizes(channels=(4, 6), encoder_blocks=(0, 1), decoder_blocks=(1,)),
)
DEEPLAB = DeepLabSizes(channels=(4, 6, 6), blocks=(0, 0, 1), output_stride=4, atrous_rates=(1,), pyramid_channels=6)
each_network = pytest.mark.parametrize("network", [SMALL.network, DEEPLAB], ids=lambda sizes: sizes.kind)


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


def test_a_record_gives_the_same_study_every_time(label_map: Path) -> None:
    anatomy = from_label_map(label_map)
    record = sample(anatomy, 5)
    assert record == sample(anatomy, 5)
    assert record != sample(anatomy, 6)
    first, second = render(anatomy, record), render(anatomy, record)
    for name, image in first.images.items():
        assert np.array_equal(image, second.images[name])
    assert json.loads(json.dumps(record.to_json()))["seed"] == 5


def test_truth_is_where_the_lesions_are_drawn(label_map: Path) -> None:
    """What enhancement adds to the image, with everything else the same, lies within the truth."""
    anatomy = from_label_map(label_map)
    record = next(r for r in (sample(anatomy, s, mean_lesions=6) for s in range(50)) if len(r.lesions) >= 3)
    clean = {
        n: replace(a, noise=0.0, thickness_mm=1.0, blur_mm=0.3, oedema=0.0) for n, a in record.acquisitions.items()
    }
    record = replace(record, acquisitions=clean, stripped=False)
    rendered = render(anatomy, record)
    without = render(anatomy, replace(record, lesions=()))
    change = rendered.images["t1c"].astype(float) - without.images["t1c"]
    assert set(np.unique(rendered.truth)) == set(range(len(record.lesions) + 1))
    for value, lesion in enumerate(record.lesions, start=1):
        where = np.argwhere(rendered.truth == value)
        assert np.linalg.norm(where.mean(0) - lesion.centre) < 1.0
        diameter = np.cbrt(6 * len(where) / np.pi)
        assert diameter == pytest.approx(lesion.diameter_mm, abs=1.2)
        assert np.abs(change[rendered.truth == value]).mean() > 0
    near = ndimage.binary_dilation(rendered.truth > 0, iterations=3)
    assert np.abs(change[~near]).max() <= 1  # a grey level of rounding


def test_lesion_sizes_follow_the_field(label_map: Path) -> None:
    anatomy = from_label_map(label_map)
    diameters = np.array([x.diameter_mm for s in range(150) for x in sample(anatomy, s, mean_lesions=6).lesions])
    assert len(diameters) > 200
    assert 4 < np.median(diameters) < 6.5
    assert 0.1 < (diameters < 3).mean() < 0.3
    assert diameters.min() > 1.999


def test_mni152_and_real_images_are_backgrounds(tmp_path: Path) -> None:
    brain = mni152()
    assert {int(v) for v in np.unique(brain.tissue)} == {0, 1, 2, 3}
    volume = (brain.depth > 0).sum() / 1e6
    assert 1.3 < volume < 2.3  # litres
    left = brain.geometry.physical(np.argwhere(brain.depth > 0)).mean(0)
    assert abs(left[0]) < 3  # millimetres off the midline
    real = (brain.depth > 0) * (80 + 10 * (brain.tissue == 1)).astype(np.float32)
    image = sitk.GetImageFromArray(real.astype(np.float32))
    sitk.WriteImage(image, str(tmp_path / "real.nii.gz"))
    anatomy = from_image(tmp_path / "real.nii.gz")
    rendered = render(anatomy, sample(anatomy, 3))
    assert list(rendered.images) == ["t1c"]


def test_a_dataset_is_nnunets_layout_with_trust(dataset: Path) -> None:
    cases = read_dataset(dataset)
    assert len(cases) == 3
    for case in cases:
        assert set(case.images) == {"t1c", "t1", "t2", "flair"}
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
        trust = sitk.GetArrayFromImage(sitk.ReadImage(str(case.trust)))
        assert set(np.unique(label)) <= {0, 1}
        assert np.array_equal(trust == 2, label == 1)
        assert set(np.unique(trust)) <= {1, 2}
    described = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert described["numTraining"] == 3
    assert described["file_ending"] == ".nii.gz"


@each_network
def test_training_learns(dataset: Path, tmp_path: Path, network: Architecture) -> None:
    lines: list[str] = []
    patches = PatchConfig(size=16, on_lesion=1.0, drop=0.0)
    changes = {"steps": 150, "learning_rate": 1e-2, "checkpoint_every": 150, "patches": patches, "network": network}
    fitting.fit(dataset, tmp_path, SMALL.model_copy(update=changes), accelerator="cpu", say=lines.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]
    assert len(losses) == 3
    assert losses[2] < 0.8 * losses[0]


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def test_a_killed_run_goes_on_and_ends_the_same(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitting.fit(dataset, tmp_path / "whole", SMALL, accelerator="cpu", say=lambda line: None)
    drawn = fitting.draw
    calls = []

    def kill_at_five(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise Killed
        return drawn(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "draw", kill_at_five)
    with pytest.raises(Killed):
        fitting.fit(dataset, tmp_path / "killed", SMALL, accelerator="cpu", say=lambda line: None)
    assert not (tmp_path / "killed" / "run.json").exists()
    lines: list[str] = []
    fitting.fit(dataset, tmp_path / "killed", SMALL, accelerator="cpu", say=lines.append)
    assert "resumed at step 4" in lines
    whole, resumed = (
        torch.load(tmp_path / n / "checkpoint.ckpt", weights_only=True)["model"] for n in ("whole", "killed")
    )
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_run_folder_of_other_settings_is_refused(dataset: Path, tmp_path: Path) -> None:
    fitting.fit(dataset, tmp_path, SMALL, accelerator="cpu", say=lambda line: None)
    with pytest.raises(InputError, match="other settings"):
        fitting.fit(dataset, tmp_path, SMALL.model_copy(update={"seed": 2}), accelerator="cpu")


def export_tiny(run: Path, dataset: Path, out: Path) -> ModelCard:
    return exporting.export(
        run,
        out,
        calibrate=dataset,
        evaluate_on=dataset,
        title="Tiny",
        data="shells",
        evaluated_on="the same shells",
        limitations="useless",
        budget=1.0,
        say=lambda line: None,
    )


@each_network
def test_export_makes_a_model_that_loads(dataset: Path, tmp_path: Path, network: Architecture) -> None:
    changes = {"steps": 60, "learning_rate": 1e-2, "patches": PatchConfig(size=32), "network": network}
    config = SMALL.model_copy(update=changes)
    fitting.fit(dataset, tmp_path / "run", config, accelerator="cpu", say=lambda line: None)
    card = export_tiny(tmp_path / "run", dataset, tmp_path / "tiny")
    loaded = load_model(tmp_path / "tiny").card
    assert loaded == card
    assert loaded.architecture == network
    assert loaded.calibration.studies == 3
    assert any(p.confidence == loaded.threshold for p in loaded.operating_points)
    rates = [p.false_positives_per_scan for p in loaded.operating_points]
    assert rates == sorted(rates, reverse=True)
    assert "useless" in (tmp_path / "tiny" / "README.md").read_text(encoding="utf-8")


def test_a_run_that_did_not_finish_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a finished run"):
        export_tiny(tmp_path, tmp_path, tmp_path / "m")


def test_froc_numbers_by_hand() -> None:
    """Two scans, three lesions; candidates hit lesion 0, nothing, lesion 1 / nothing, lesion 0."""
    one = CaseResult("a", np.array([0.9, 0.8, 0.3]), ((0.5, 1.0, 1.0),) * 3, ((0,), (), (1,)), np.array([8.0, 2.5]))
    two = CaseResult("b", np.array([0.7, 0.6]), ((0.5, 1.0, 1.0),) * 2, ((), (0,)), np.array([4.0]))
    both = [one, two]
    assert sensitivity(both, 0.0) == 1
    assert sensitivity(both, 0.5) == pytest.approx(2 / 3)
    assert sensitivity(both, 0.5, (0, 3)) == 0
    assert false_positives(both, 0.75) == 0.5
    assert false_positives(both, 0.0) == 1
    assert threshold_at(both, 1.0) == 0
    assert 0.7 < threshold_at(both, 0.5) <= 0.8
    assert threshold_at(both, 0.0) > 0.8


def test_patches_are_repeatable_and_withhold_optional_sequences() -> None:
    rng = np.random.default_rng(0)
    lesion = np.zeros((40, 40, 40), bool)
    lesion[20:23, 20:23, 20:23] = True
    case = PreparedCase(
        "x",
        rng.normal(size=(4, 40, 40, 40)).astype(np.float16),
        lesion,
        ~lesion,
        np.array([[21.0, 21, 21]]),
        np.ones(4, bool),
    )
    config = PatchConfig(size=16, on_lesion=1.0, drop=0.5)
    first, second = (draw([case], config, 8, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert first.labels.any(axis=(1, 2, 3, 4)).all(), "every patch around a lesion has it"
    assert not (first.labels * first.trust).any()
    missing = ~first.images.any(axis=(2, 3, 4))
    assert not missing[:, 0].any(), "post-contrast T1 is never withheld"
    assert 0 < missing[:, 1:].mean() < 1
    small = PreparedCase("y", case.image[:, :10], lesion[:10], ~lesion[:10], np.zeros((0, 3)), case.present)
    assert draw([small], config, 1, rng).images.shape == (1, 4, 16, 16, 16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = 0", "steps"),
        ("stepz = 5", "stepz"),
        ("[loss]\nbeta = 2", r"loss\.beta"),
        ("[patches]\nsize = 20", "patches.size 20 is not a multiple of 8"),
        ('[network]\nkind = "mixer"', "network: .*'mixer'.*'residual-unet-3d', 'deeplabv3-2.5d'"),
        ('[network]\nkind = "deeplabv3-2.5d"\nslices = 4', r"network\.deeplabv3-2\.5d: .*4 slices have none in"),
        ('patches.size = 40\n[network]\nkind = "deeplabv3-2.5d"\noutput_stride = 16', "40 is not a multiple of 16"),
        ("steps = ", "TOML"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_config(tmp_path / "c.toml")


def test_the_configurations_that_ship_are_valid() -> None:
    for path in (Path(__file__).parents[2] / "training" / "configs").glob("*.toml"):
        assert read_config(path).steps > 0


def test_a_network_of_no_kind_is_a_residual_u_net(tmp_path: Path) -> None:
    sizes = "channels = [4, 6]\nencoder_blocks = [0, 1]\ndecoder_blocks = [1]"
    (tmp_path / "c.toml").write_text(f"[network]\n{sizes}")
    assert read_config(tmp_path / "c.toml").network == SMALL.network
    (tmp_path / "c.toml").write_text('[network]\nkind = "deeplabv3-2.5d"')
    assert read_config(tmp_path / "c.toml").network == DeepLabSizes()


def test_a_dataset_that_is_none_is_refused(tmp_path: Path) -> None:
    header = '{"channel_names": {"0": "%s"}, "labels": {"background": 0}, "numTraining": 1, "file_ending": ".nii.gz"}'
    with pytest.raises(InputError, match=r"dataset\.json: is missing"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(header % "CT")
    with pytest.raises(InputError, match="channel_names must be of t1c"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(header % "t1c")
    with pytest.raises(InputError, match="no labels"):
        read_dataset(tmp_path)
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "a.nii.gz").write_text("")
    with pytest.raises(InputError, match=r"a_0000\.nii\.gz: missing"):
        read_dataset(tmp_path)
