"""Simulated rounds of use."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lopsided.errors import InputError
from lopsided_training.cli import app
from lopsided_training.config import FitConfig, read_settings
from lopsided_training.experiment import results
from lopsided_training.experiment import rounds as experiment
from lopsided_training.experiment.rounds import ReaderConfig, RoundsConfig, read_results, review
from lopsided_training.experiment.rounds_table import rows, write_table
from lopsided_training.patches import PreparedCase
from prepared import prepared_case
from typer.testing import CliRunner

ALWAYS_RIGHT = ReaderConfig(shown=9, accepts_lesion=1, accepts_other=0)


class Planted(torch.nn.Module):
    """Stands for a network: what is bright is a lesion."""

    stride, halo = 1, 0

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.slope * x


@pytest.fixture
def case() -> PreparedCase:
    """An annotated lesion, a missing one, and a vessel; the brightest first."""
    image, masks = np.full((1, 16, 16, 48), -8, np.float16), np.zeros((2, 16, 16, 48), bool)
    for n, (value, start) in enumerate(((3, 4), (2, 18), (1, 34))):
        box = (slice(6, 9), slice(6, 9), slice(start, start + 3))
        image[(0, *box)] = value
        if n < 2:
            masks[(n, *box)] = True
    return prepared_case(image, masks[0], hidden=masks[1])


def decide(case: PreparedCase, reader: ReaderConfig, trusted: bool) -> tuple[PreparedCase, dict[str, int]]:
    network: Any = Planted()
    (after,), decided = review(network, [case], reader, trusted, np.random.default_rng(0))
    return after, {name: count for name, count in decided.model_dump().items() if count}


def test_what_is_accepted_is_annotated_and_what_is_rejected_is_trusted(case: PreparedCase) -> None:
    after, decided = decide(case, ALWAYS_RIGHT, trusted=True)
    assert decided == {"accepted_lesions": 1, "rejected_others": 1, "recovered": 1}, "the annotated one is not shown"
    assert np.array_equal(after.lesion, case.lesion | case.hidden)
    assert not after.hidden.any()
    assert len(after.centres) == 2
    assert np.array_equal(after.trusted, (case.image[0] > 0) & ~after.lesion)
    forgotten, _ = decide(case, ALWAYS_RIGHT, trusted=False)
    assert not forgotten.trusted.any()
    assert np.array_equal(forgotten.lesion, after.lesion)
    assert not case.trusted.any(), "the case itself is as it was"


def test_a_reader_errs_and_stops(case: PreparedCase) -> None:
    after, decided = decide(case, ReaderConfig(shown=9, accepts_lesion=0, accepts_other=1), trusted=True)
    assert decided == {"rejected_lesions": 1, "accepted_others": 1}
    assert np.array_equal(after.trusted, case.hidden), "wrongly trusted, as in use"
    assert after.hidden.any()
    _, decided = decide(case, ALWAYS_RIGHT.model_copy(update={"shown": 1}), trusted=True)
    assert decided == {"accepted_lesions": 1, "recovered": 1}, "the most confident one alone"


def test_rounds_go_on_where_they_were_stopped(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):  # one case each, for it is searches that take long
        labels = sorted((shutil.copytree(dataset, tmp_path / "data" / part) / "labelsTr").iterdir())
        for label in labels[:-1]:
            label.unlink()
    fit = small.model_copy(update={"steps": 4, "checkpoint_every": 2})
    config = RoundsConfig(fit=fit, condition="random-50", rounds=1)
    data, whole, pieces = tmp_path / "data", tmp_path / "whole", tmp_path / "pieces"
    lines: list[str] = []
    assert experiment.rounds(config, data, whole, accelerator="cpu", say=lines.append)
    assert len(lines) == 4, "two rounds, with trusted negatives and without"
    clock = iter([0.0, 0.0, 0.0, *[1e9] * 9])  # time is over in the second training
    with monkeypatch.context() as patch:
        patch.setattr(results, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert not experiment.rounds(config, data, pieces, minutes=1, accelerator="cpu", say=lines.append)
    other = config.model_copy(update={"condition": "random-10"})
    with pytest.raises(InputError, match=r"trusted_seed1\.json: was made with other settings"):
        experiment.rounds(other, data, pieces, accelerator="cpu", say=lines.append)
    shutil.copytree(pieces / "work" / "untrusted_seed1", tmp_path / "begun" / "work" / "trusted_seed1")
    with pytest.raises(InputError, match="trusted_seed1: was begun with other settings or other data"):
        experiment.rounds(other, data, tmp_path / "begun", accelerator="cpu", say=lines.append)
    assert experiment.rounds(config, data, pieces, accelerator="cpu", say=lines.append)
    records = read_results(config, whole)
    assert records == read_results(config, pieces)
    assert [record.trusted for record in records] == [True, False]
    assert records[0].rounds[0] == records[1].rounds[0], "both begin alike"
    table = rows(records)
    assert [(row["rejected"], row["round"]) for row in table] == [
        ("trusted", 0), ("trusted", 1), ("forgotten", 0), ("forgotten", 1)
    ]  # fmt: skip
    write_table(records, whole)
    assert (whole / "rounds.png").exists()
    assert (whole / "table.md").read_text(encoding="utf-8").count("\n") == 6
    with pytest.raises(InputError, match="was made with other settings"):
        read_results(config.model_copy(update={"rounds": 2}), whole)
    with pytest.raises(InputError, match="was made with other data"):
        read_results(config, whole, "0")


def test_rounds_without_a_lesion_to_learn_or_to_find_are_refused(
    dataset: Path, tmp_path: Path, small: FitConfig
) -> None:
    for part in ("train", "test"):
        shutil.copytree(dataset, tmp_path / part)
    config = RoundsConfig(fit=small, condition="smallest-99", rounds=1)
    with pytest.raises(InputError, match=r"train: smallest-99 leaves none of its \d+ lesions; use more studies"):
        experiment.rounds(config, tmp_path, tmp_path / "out", accelerator="cpu")
    for label in (tmp_path / "test" / "labelsTr").iterdir():
        sitk.WriteImage(sitk.ReadImage(str(label)) * 0, str(label))
    with pytest.raises(InputError, match=r"test: no lesion in these cases"):
        experiment.rounds(
            config.model_copy(update={"condition": "none"}), tmp_path, tmp_path / "out", accelerator="cpu"
        )
    assert not (tmp_path / "out" / "work").exists()


def test_patches_that_do_not_fit_the_network_are_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("condition = 'none'\n[fit]\npatches.size = 23\n")
    with pytest.raises(InputError, match=r"r\.toml: fit: patches\.size 23 is not a multiple of 8"):
        read_settings(tmp_path / "r.toml", RoundsConfig)


def test_table_and_figure_need_the_results_alone(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "training" / "experiments" / "rounds"
    shutil.copytree(folder / "results", tmp_path / "results")
    arguments = ["--config", folder / "rounds.toml", "--data", tmp_path / "none", "--out", tmp_path]
    done = CliRunner().invoke(app, ["experiment", "rounds", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    assert "All rounds are done." in done.output
    assert (tmp_path / "rounds.png").exists()
    assert (tmp_path / "table.md").read_bytes() == (folder / "table.md").read_bytes()


def test_counts_by_hand(tmp_path: Path) -> None:
    decided = [None, {"accepted_lesions": 3, "rejected_others": 7, "recovered": 2}, {"rejected_others": 10}]
    test = [{"name": "a", "diameters": (4.0,), "scores": (0.9,), "hits": ((0,),)}]
    record = experiment.RoundsRecord.model_validate(
        {
            "config": RoundsConfig(fit=FitConfig(), condition="none"),
            "seed": 1,
            "trusted": True,
            "rounds": [
                {"decided": one, "missing": missing, "test": test}
                for one, missing in zip(decided, (8, 6, 6), strict=True)
            ],
        }
    )
    table = rows([record])
    assert [row["decisions"] for row in table] == [0, 10, 20]
    assert [row["recovered_per_100"] for row in table[1:]] == [20, 10]
    assert [row["missing"] for row in table] == [1, 0.75, 0.75]
    assert table[0]["froc"] == 1
    nothing = record.model_copy(update={"rounds": (record.rounds[0].model_copy(update={"missing": 0}),)})
    write_table([nothing], tmp_path)
    assert "nan" not in (tmp_path / "table.md").read_text(encoding="utf-8"), "none was missing"


def test_the_rounds_that_ship_are_valid() -> None:
    experiments = Path(__file__).parents[2] / "training" / "experiments"
    for path in (experiments / "rounds" / "rounds.toml", experiments / "rounds-small" / "rounds.toml"):
        config = read_settings(path, RoundsConfig)
        assert len(read_results(config, path.parent)) == 2 * config.seeds
