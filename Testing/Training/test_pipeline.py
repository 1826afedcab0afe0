"""Simulate, train, resume, export: at the smallest scale that goes through every step."""

from pathlib import Path

import numpy as np
import pytest
from lopsided.errors import InputError
from lopsided.model import ModelCard, load_model
from lopsided_training import export as exporting
from lopsided_training import fit as fitting
from lopsided_training.config import FitConfig, PatchConfig
from lopsided_training.evaluate import CaseResult, false_positives, sensitivity, threshold_at

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)


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


def test_export_makes_a_model_that_loads(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    config = small.model_copy(update={"steps": 120, "learning_rate": 1e-2, "patches": PatchConfig(size=32, drop=0.0)})
    fitting.fit(dataset, tmp_path / "run", config, accelerator="cpu", say=lambda line: None)
    card = export_tiny(tmp_path / "run", dataset, tmp_path / "tiny")
    loaded = load_model(tmp_path / "tiny").card
    assert loaded == card
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
