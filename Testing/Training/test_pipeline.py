"""Simulate, train, resume, evaluate, export: at the smallest scale that goes through every step."""

from pathlib import Path

import pytest
from lopsided.errors import InputError
from lopsided.model import ModelCard, load_model
from lopsided_training import export as exporting
from lopsided_training import fit as fitting
from lopsided_training.config import FitConfig, PatchConfig
from lopsided_training.evaluate import evaluate
from lopsided_training.simulate import simulate

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)


def export_tiny(run: Path, out: Path) -> ModelCard:
    words = {"title": "Tiny", "data": "shells", "evaluated_on": "more shells", "limitations": "useless"}
    return exporting.export(run, out, **words)


def test_evaluation_and_export_make_a_model_that_loads(
    label_map: Path, dataset: Path, tmp_path: Path, small: FitConfig
) -> None:
    config = small.model_copy(
        update={"steps": 120, "learning_rate": 1e-2, "patches": PatchConfig(size=32, drop=0.0, perturb=False)}
    )
    run, further = tmp_path / "run", tmp_path / "further"
    fitting.fit(dataset, run, config, accelerator="cpu", say=lambda line: None)
    simulate([str(label_map)], further, studies=2, seed=21, mean_lesions=8)
    simulate([str(label_map)], tmp_path / "calibrate", studies=3, seed=31, mean_lesions=8)
    measured = evaluate(
        run,
        further,
        None,
        calibrate=tmp_path / "calibrate",
        budget=1.0,
        scales=(1.25, 0.8),
        device="cpu",
        say=lambda line: None,
    )
    assert (measured.dataset.cases, measured.score) == (2, "confidence")
    card = export_tiny(run, tmp_path / "tiny")
    loaded = load_model(tmp_path / "tiny").card
    assert loaded == card
    assert loaded.calibration.studies == 3
    assert loaded.scales == (1.25, 0.8), "as it was measured"
    assert any(p.confidence == loaded.threshold for p in loaded.operating_points)
    rates = [p.false_positives_per_scan for p in loaded.operating_points]
    assert rates == sorted(rates, reverse=True)
    words = (tmp_path / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "useless" in words
    assert loaded.licence == "licence not stated", "nobody chose one"
    assert "Weights: licence not stated." in words
    again = evaluate(tmp_path / "tiny", further, tmp_path / "again", device="cpu", say=lambda line: None)
    assert again.overlap == measured.overlap, "the model is measured as its run was"


def test_a_run_that_did_not_finish_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a finished run"):
        export_tiny(tmp_path, tmp_path / "m")
