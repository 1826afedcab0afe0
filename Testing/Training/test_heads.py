"""Coarse heads drawn from label maps, and a network that learns from them where the brain is."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.errors import InputError
from lopsided_training.anatomy import AIR, OUTSIDE, read_label_map
from lopsided_training.cli import app
from lopsided_training.heads import _parted, draw_head, train
from safetensors.numpy import load_file
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def label_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White matter in grey in fluid in scalp, with a neck."""
    points = np.stack(np.meshgrid(*[np.arange(200) - 100.0] * 3, indexing="ij"), -1) / (0.85, 1.05, 0.9)
    radius = np.linalg.norm(points - (15, 0, 0), axis=-1)
    labels = np.zeros(radius.shape, np.int16)
    labels[(np.hypot(points[..., 1], points[..., 2]) < 40) & (points[..., 0] < 0)] = 507
    for reach, label in ((85, 501), (76, 502), (70, 24), (66, 3), (52, 2)):
        labels[radius < reach] = label
    path = tmp_path_factory.mktemp("maps") / "head.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(path))
    return path


def test_heads_are_repeatable_and_their_truth_is_the_brain(label_map: Path) -> None:
    labels, tissue, _ = read_label_map(label_map)
    share = ((tissue != AIR) & (tissue != OUTSIDE)).mean()
    sizes = []
    for seed in range(12):
        image, brain = draw_head(labels, tissue, np.random.default_rng(seed))
        again = draw_head(labels, tissue, np.random.default_rng(seed))
        assert np.array_equal(again[0], image)
        assert np.array_equal(again[1], brain)
        assert image.shape == brain.shape == (80, 80, 80)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        sizes.append(brain.sum())
        if not image[~brain].any():  # a stripped one
            assert (image[brain] > 0).mean() > 0.6
    assert len(set(sizes)) == 12
    assert 0.3 < np.median(sizes) * 27 / (share * labels.size) < 1.3


def test_only_what_is_outside_of_the_brain_has_parts(label_map: Path) -> None:
    labels, tissue, _ = read_label_map(label_map)
    labels, tissue = labels[::2, ::2, ::2], tissue[::2, ::2, ::2]
    outside = tissue == OUTSIDE
    number = []
    for seed in range(8):
        parted = _parted(labels, tissue, np.random.default_rng(seed))
        assert (parted[~outside] == labels[~outside]).all()
        assert not np.isin(parted[outside], labels[~outside]).any()
        for label in np.unique(labels[outside]):  # of one tissue only
            assert not np.isin(parted[labels == label], parted[outside & (labels != label)]).any()
        number.append(len(np.unique(parted[outside])))
    assert len(np.unique(labels[outside])) < max(number)


def test_it_learns_where_the_brain_is(label_map: Path) -> None:
    dice: list[float] = []
    train([read_label_map(label_map)[:2]], 30, 1, lambda step, value: dice.append(value))
    assert np.mean(dice[-5:]) > np.mean(dice[:5]) + 0.2


def test_the_command_writes_the_weights(label_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "new [/1]" / "brain.safetensors"
    done = CliRunner().invoke(app, ["brain", str(label_map), "--out", str(out), "--steps", "1"])
    assert done.exit_code == 0, done.output
    assert f"weights in {out}" in done.output
    assert "stem.0.weight" in load_file(out)


@pytest.mark.parametrize("steps", [1, 2, 9, 10])
def test_few_steps_are_steps(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lopsided_training.heads.draw_head", lambda *_: (np.zeros([16] * 3, np.float32),) * 2)
    seen: list[int] = []
    train([(np.zeros(1), np.zeros(1))], steps, 1, lambda step, value: seen.append(step))
    assert seen == list(range(steps))


def test_a_folder_for_a_file_is_refused_before_any_work(
    label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lopsided_training.heads.train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("lopsided_training.dataset.read_dataset", lambda *_: pytest.fail("read"))
    (tmp_path / "file").touch()
    for command in ("brain", "contact-sheet"):
        done = CliRunner().invoke(app, [command, str(label_map), "--out", str(tmp_path)])
        assert isinstance(done.exception, InputError)
        assert "is a folder; give the name of a file" in str(done.exception)
        done = CliRunner().invoke(app, [command, str(label_map), "--out", str(tmp_path / "file" / "out")])
        assert isinstance(done.exception, InputError)
        assert "cannot be written" in str(done.exception)


def test_progress_is_for_terminals(label_map: Path, tmp_path: Path) -> None:
    brain = ["brain", str(label_map), "--steps", "1", "--out", str(tmp_path / "brain.safetensors")]
    simulated = ["simulate", str(label_map), "--studies", "1", "--sequences", "t1c", "--out", str(tmp_path / "studies")]
    for command in (brain, simulated):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert "\r" not in done.output
