"""A network is evaluated: on planted probability maps, of which every number is known."""

import csv
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lopsided.dataset.store import digest
from lopsided.errors import InputError
from lopsided.model import INTEGER_GRAPH, Model, load_model
from lopsided.predict import Predictor
from lopsided.reading import read_volume
from lopsided.study import Study
from lopsided.volume import Geometry, Volume, to_sitk, voxel_digest
from lopsided_training import evaluate as evaluating
from lopsided_training import export as exporting
from lopsided_training.cli import app
from lopsided_training.config import FitConfig
from lopsided_training.dataset import read_dataset
from lopsided_training.evaluate import evaluate
from lopsided_training.evaluation import Evaluation, read_evaluation
from lopsided_training.export import export
from lopsided_training.runs import read_run
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

GRID = Geometry((40, 40, 40), (1.0, 1.0, 1.0), (-20.0, -20.0, -20.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
Place = tuple[int, int, int, int]  # k, j, i of the first corner, and the side of a cube, in voxels
BIG, SMALL, ELSEWHERE = (10, 10, 10, 6), (25, 10, 25, 3), (20, 28, 20, 5)


def cubes(places: list[Place]) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    for k, j, i, side in places:
        mask[k : k + side, j : j + side, i : i + side] = True
    return mask


class Planted:
    """Stands for a predictor: the map of a case is what was planted for it."""

    maps: dict[str, list[tuple[Place, float]]] = {}  # noqa: RUF012
    device, in_integers = torch.device("cpu"), False

    def __init__(self, model: Model, device: str | None = None) -> None:
        self.model = model

    def probability_map(self, study: Study) -> Volume:
        array = np.zeros(GRID.shape, np.float32)
        for place, peak in self.maps[study.reference.name.split("_0000")[0]]:
            array[cubes([place])] = peak
        return Volume(array, study.reference.geometry)


MakeDataset = Callable[..., Path]


@pytest.fixture
def make_dataset(tmp_path: Path, head: Callable[..., Volume], monkeypatch: pytest.MonkeyPatch) -> MakeDataset:
    """Writes a dataset: by case, its lesions, and what the network finds with which probability."""
    monkeypatch.setattr(evaluating, "Predictor", Planted)
    monkeypatch.setattr(Planted, "maps", {})

    def make(name: str, cases: dict[str, tuple[list[Place], list[tuple[Place, float]]]]) -> Path:
        folder = tmp_path / name
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        description = {"channel_names": {"0": "t1c"}, "labels": {"background": 0, "lesion": 1}}
        description |= {"numTraining": len(cases), "file_ending": ".nii.gz"}  # type: ignore[dict-item]
        (folder / "dataset.json").write_text(json.dumps(description))
        for n, (case, (lesions, found)) in enumerate(cases.items()):
            image = head(GRID).array + np.float32(n + hash_of(name))  # another file for each
            sitk.WriteImage(to_sitk(image, GRID), str(folder / "imagesTr" / f"{case}_0000.nii.gz"))
            truth = to_sitk(cubes(lesions).astype(np.uint8), GRID)
            sitk.WriteImage(truth, str(folder / "labelsTr" / f"{case}.nii.gz"))
            Planted.maps[case] = found
        return folder

    return make


def hash_of(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:2], 16)


@pytest.fixture
def three(make_dataset: MakeDataset) -> Path:
    """One lesion found and one missed, with a false positive; one found; nothing there and nothing found."""
    return make_dataset(
        "three",
        {
            "a": ([BIG, SMALL], [(BIG, 0.9), (ELSEWHERE, 0.8)]),
            "b": ([BIG], [((10, 10, 11, 6), 0.7)]),
            "c": ([], []),
        },
    )


@pytest.fixture
def further(make_dataset: MakeDataset) -> Path:
    """To calibrate on: true candidates that score high, and a false one that scores low."""
    found: list[tuple[Place, float]] = [(BIG, 0.9), (SMALL, 0.6), (ELSEWHERE, 0.5)]
    return make_dataset("further", {"x": ([BIG, SMALL], found), "y": ([BIG], [(BIG, 0.8), (SMALL, 0.55)])})


@pytest.fixture
def run(tmp_path: Path, model_folder: Path) -> Path:
    """A finished run with the weights of the small model."""
    folder = tmp_path / "run"
    folder.mkdir()
    card = load_model(model_folder).card
    config = FitConfig(network=card.architecture, input=card.input)
    (folder / "config.json").write_text(config.model_dump_json())
    facts = {"cases": {}, "machine": "none", "hours": 0, "software": {}, "steps": 1, "start_from": None}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").write_bytes((model_folder / "model.safetensors").read_bytes())
    return folder


@pytest.fixture
def page(run: Path) -> Path:
    """The report of the run's evaluation."""
    return run / "evaluation" / "report.html"


@pytest.fixture(autouse=True)
def _reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time: only those who ask for the page have it."""
    if "page" not in request.fixturenames:
        monkeypatch.setattr(evaluating, "write_report", lambda *_: None)


def measure(subject: Path, dataset: Path, out: Path | None, **options: Any) -> Evaluation:
    return evaluate(subject, dataset, out, say=lambda line: None, **options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_a_planted_run(run: Path, three: Path) -> None:
    measured = measure(run, three, None)
    assert (measured.score, measured.threshold, measured.calibration) == ("peak probability", 0.5, None)
    assert (measured.dataset.cases, measured.dataset.patients, measured.dataset.lesions) == (3, 3, 3)
    overlap = measured.overlap
    # the false positive is one of three scans: allowed from 1/2 a scan on; of three lesions one scores above it
    assert [p.sensitivity.value for p in overlap.froc] == pytest.approx([1 / 3] * 2 + [2 / 3] * 5)
    assert overlap.froc_mean.value == pytest.approx((2 / 3 + 10 / 3) / 7)
    assert overlap.average_precision.value == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert [s.lesions for s in overlap.by_size] == [0, 1, 2, 0]
    assert [s.sensitivity.value for s in overlap.by_size] == [None, 0, 1, None]
    default = next(p for p in measured.operating_points if p.default)
    assert default.sensitivity.value == pytest.approx(2 / 3)
    assert default.false_positives.value == pytest.approx(1 / 3)
    assert default.precision.value == pytest.approx(2 / 3)
    sized = [s.froc_mean for s in overlap.by_size if s.lesions]
    for estimate in (default.sensitivity, overlap.froc[0].sensitivity, overlap.average_precision, *sized):
        assert None not in (estimate.low, estimate.value, estimate.high)
        assert estimate.low <= estimate.value <= estimate.high  # type: ignore[operator]
    # case b: 6³ voxels each, 5·36 in common; case c: not defined
    moved = 2 * 180 / 432
    assert [c.voxel_dice for c in measured.cases] == pytest.approx([2 * 216 / (243 + 341), moved, None])
    assert [c.lesion_wise_dice for c in measured.cases] == pytest.approx([1 / 3, moved, None])
    assert measured.extents.cases == 2
    assert measured.extents.lesion_wise_dice.value == pytest.approx((1 / 3 + moved) / 2)
    assert measured.reliability.brier == pytest.approx((0.1**2 + 0.8**2 + 0.3**2) / 3)


def test_files_say_what_was_measured_on_what(run: Path, three: Path, page: Path) -> None:
    measured = measure(run, three, None, seed=5)
    folder = run / "evaluation"
    assert read_evaluation(folder) == read_evaluation(run) == measured
    assert measured.subject.weights_sha256 == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    label = hashlib.sha256((three / "labelsTr" / "a.nii.gz").read_bytes()).hexdigest()
    assert measured.cases[0].files["label"] == label
    assert (measured.seed, measured.resamples) == (5, 2000)
    lesions, candidates = rows(folder / "lesions.csv"), rows(folder / "candidates.csv")
    assert [(r["case"], r["lesion"], r["hit"], r["hit_iou"]) for r in lesions] == [
        ("a", "0", "1", "1"),
        ("a", "1", "0", "0"),
        ("b", "0", "1", "1"),
    ]
    assert [r["best_iou"] for r in lesions] == ["1.0", "0.0", "0.7143"]  # 180 of 252
    assert (lesions[0]["l_mm"], lesions[0]["volume_mm3"], lesions[0]["diameter_mm"]) == ("-7.5", "216.0", "7.44")
    assert [(r["case"], r["score"], r["hits"]) for r in candidates] == [
        ("a", "0.9", "0"),
        ("a", "0.8", ""),
        ("b", "0.7", "0"),
    ]
    text = page.read_text(encoding="utf-8")
    assert "Research tool, not for clinical use." in text
    assert "Not calibrated" in text
    assert "3.7 mm, no candidate" in text, "the missed lesion is shown"
    assert "RAS " in text
    assert "LPS" not in text
    assert "1 lesion -->" in text, "in the figure by size"
    assert not re.search(r"\b1 (lesions|cases|patients)\b", text)
    assert "<tr><td>⅛</td>" in text, "as in the figure"
    assert text.count("at the default threshold</span>") == 4, "each tile says at what"
    assert "peak probability 0.80" in text, "and the false positive"
    assert not re.search(r"\bnan\b", re.sub('base64,[^"]*', "", text)), "no number that is none"


def test_the_same_seed_gives_the_same_evaluation(run: Path, three: Path, tmp_path: Path) -> None:
    first, second = (measure(run, three, tmp_path / n, seed=3) for n in ("1", "2"))
    changes = {"created", "seconds"}
    assert first.model_dump(exclude=changes) == second.model_dump(exclude=changes)


def test_the_second_criterion_is_stricter(make_dataset: MakeDataset, run: Path) -> None:
    """A candidate beside a lesion hits it dilated, but not by IoU, and is false by that one. Of one in pieces, all count."""
    pieces: list[tuple[Place, float]] = [((10, 10, 10, 3), 0.8), ((15, 15, 15, 1), 0.7)]
    dataset = make_dataset("beside", {"a": ([BIG], [((10, 10, 16, 4), 0.9)]), "b": ([BIG], pieces)})
    measured = measure(run, dataset, None)
    assert measured.overlap.froc_mean.value == 1
    assert [p.sensitivity.value for p in measured.iou.froc] == [0, 0] + [0.5] * 5
    assert measured.cases[0].hits == ((0,),)
    assert measured.cases[0].hits_iou == ((),)
    assert [c.lesion_wise_dice for c in measured.cases] == pytest.approx([0, 2 * 28 / (216 + 28)])


def test_a_run_is_calibrated_on_further_studies(run: Path, three: Path, further: Path) -> None:
    measured = measure(run, three, None, calibrate=further, budget=0.0)
    assert measured.score == "confidence"
    assert measured.calibration is not None
    assert measured.calibrated_on is not None
    assert (measured.calibration.studies, measured.calibrated_on.lesions) == (2, 3)
    assert measured.calibration.brier == pytest.approx(measured.reliability.brier, abs=1e-4)
    # at no false positive on the calibration studies, their true candidates are all that is shown
    loose = measure(run, three, None, calibrate=further, budget=1.0)
    assert loose.threshold < measured.threshold
    for out in (None, run / "evaluation"):
        with pytest.raises(InputError, match=r"evaluation: has the calibration, .* give --calibrate too, or another"):
            measure(run, three, out)
    assert read_evaluation(run / "evaluation" / "evaluation.json") == loose
    assert measure(run, three, run / "other").calibration is None


def test_a_calibration_is_not_measured_on_its_own_studies(run: Path, three: Path) -> None:
    with pytest.raises(InputError, match=r"case a is case a of .*three"):
        measure(run, three, None, calibrate=three)


def test_a_network_that_is_right_where_it_is_least_sure_is_not_calibrated(
    run: Path, three: Path, make_dataset: MakeDataset
) -> None:
    inverted = make_dataset("inverted", {"x": ([BIG], [(BIG, 0.5), (ELSEWHERE, 0.9)])})
    with pytest.raises(
        InputError, match="the surer the network, the less often it is right; use more, or train longer"
    ):
        measure(run, three, None, calibrate=inverted)


def test_a_model_keeps_its_calibration_and_threshold(model_folder: Path, three: Path, tmp_path: Path) -> None:
    measured = measure(model_folder, three, tmp_path / "out")
    card = load_model(model_folder).card
    assert measured.threshold == card.threshold
    assert measured.subject.digest == card.digest
    assert measured.calibration is not None
    assert measured.calibration.intercept == card.calibration.intercept
    assert measured.calibration.brier == pytest.approx(measured.reliability.brier, abs=1e-4)
    assert measured.subject.scales == card.scales
    with pytest.raises(InputError, match="scales of its own"):
        measure(model_folder, three, tmp_path / "finer", scales=(0.8,))


def of_one_patient(dataset: Path, *cases: str, patient: str = "p1") -> None:
    """Say in a dataset that the cases are of one patient."""
    (dataset / "reviews").mkdir()
    look_at(dataset)
    for case in cases:
        record = {"software": "", "notice": "", "case": case, "patient": patient, "images": {}, "readings": []}
        record["grid"] = {"size": [1, 1, 1], "spacing": [1, 1, 1], "origin": [0, 0, 0], "direction": [1] * 9}
        (dataset / "reviews" / f"{case}.json").write_text(json.dumps(record))


def look_at(dataset: Path) -> None:
    """Say that all of every case was looked at."""
    (dataset / "trust").mkdir()
    for label in (dataset / "labelsTr").iterdir():
        sitk.WriteImage(sitk.ReadImage(str(label)) + 1, str(dataset / "trust" / label.name))


def test_a_calibration_is_not_measured_on_its_own_patients(run: Path, three: Path, further: Path) -> None:
    of_one_patient(three, "b")
    of_one_patient(further, "y")
    with pytest.raises(InputError, match="case y is of patient p1"):
        measure(run, three, None, calibrate=further)


def test_a_patient_whose_case_has_their_name_is_the_same(run: Path, three: Path, further: Path) -> None:
    of_one_patient(further, "y", patient="b")
    with pytest.raises(InputError, match=r"case y is of patient b, as is case b of .*three"):
        measure(run, three, None, calibrate=further)


@pytest.mark.parametrize("names", [("p", "q"), ("q", "p"), ("o", "p"), ("q", "r")])
def test_a_patient_is_the_same_whatever_their_other_cases_are_called(names: tuple[str, ...]) -> None:
    dataset = SimpleNamespace(folder="data", seen=[evaluating.Seen("p", "p", frozenset({"1"}))])
    others = [evaluating.Seen(name, "p", frozenset({name})) for name in names]
    with pytest.raises(InputError, match=r"data: case p is of patient p, as is case [oqr] of training"):
        evaluating._refuse_common(dataset, others, "training")  # type: ignore[arg-type]


def test_a_study_is_the_same_in_whatever_file_and_by_whatever_name(
    run: Path, three: Path, further: Path, tmp_path: Path
) -> None:
    """As an export writes it anew, under pseudonyms, from the hospital's own files."""
    image = sitk.ReadImage(str(further / "imagesTr" / "x_0000.nii.gz"))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(tmp_path / "own.nrrd"))
    truth = sitk.ReadImage(str(further / "labelsTr" / "x.nii.gz"))
    sitk.WriteImage(sitk.DICOMOrient(truth, "RAS"), str(tmp_path / "truth.nrrd"))
    (tmp_path / "own.csv").write_text("case,t1c,annotation\nMR 1,own.nrrd,truth.nrrd\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"further: case x is case MR 1 of .*own\.csv; a calibration"):
        measure(run, tmp_path / "own.csv", None, calibrate=further)
    trained = {
        "x": {"patient": "P1", "t1c": "of the file", "t1c_voxels": voxel_digest(read_volume(tmp_path / "own.nrrd"))}
    }
    facts = json.loads((run / "run.json").read_text(encoding="utf-8")) | {"cases": trained}
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match=r"case MR 1 is case x of what .*run was trained on"):
        measure(run, tmp_path / "own.csv", None)
    measure(run, three, None)


@pytest.mark.parametrize("before", [0, 1, 2], ids=["itself", "its start", "the start of that"])
def test_a_run_is_not_measured_on_what_it_was_trained_on(run: Path, three: Path, further: Path, before: int) -> None:
    cases = {
        c.name: {"patient": c.patient, "t1c": digest(c.images["t1c"]), "t1c_voxels": ""} for c in read_dataset(further)
    }
    start = None
    for knows in [cases] + [{}] * before:
        start = {"command": "", "loss": "", "steps": 1, "machine": "", "hours": 0, "cases": knows, "start_from": start}
    facts = json.loads((run / "run.json").read_text(encoding="utf-8")) | start
    (run / "run.json").write_text(json.dumps(facts))
    for dataset, calibrate in ((further, None), (three, further)):
        with pytest.raises(InputError, match=r"further: case x is case x of what .*run was trained on"):
            measure(run, dataset, None, calibrate=calibrate)
    measure(run, three, None)


def test_lesions_are_what_the_run_was_trained_to_find(run: Path, three: Path) -> None:
    """Or it is measured against what it should leave alone, such as oedema."""
    description = json.loads((three / "dataset.json").read_text(encoding="utf-8"))
    description["labels"] |= {"oedema": 2}
    (three / "dataset.json").write_text(json.dumps(description))
    label = cubes([BIG]) + 2 * cubes([SMALL]).astype(np.uint8)
    sitk.WriteImage(to_sitk(label, GRID), str(three / "labelsTr" / "a.nii.gz"))
    both = measure(run, three, None)
    config = read_run(run).config.model_copy(update={"lesion_labels": (1,)})
    (run / "config.json").write_text(config.model_dump_json())
    one = measure(run, three, None)
    assert (both.dataset.lesions, one.dataset.lesions) == (3, 2)
    assert both.dataset.digest != one.dataset.digest, "so that they are not compared"
    assert measure(run, three, None, lesion_labels=(2,)).dataset.lesions == 1


def test_cases_of_one_patient_are_resampled_together(run: Path, three: Path, page: Path) -> None:
    of_one_patient(three, "a", "b", "c")
    measured = measure(run, three, None)
    assert measured.dataset.patients == 1
    assert measured.overlap.froc_mean.value is not None
    assert measured.overlap.froc_mean.low is None, "of one patient nothing varies"
    assert "no interval" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("found", "rate"), [([(BIG, 0.9), (SMALL, 0.6)], 1.0), ([], 0.0)], ids=["false positives", "nothing found"]
)
def test_without_any_lesion_sensitivity_is_not_defined(
    make_dataset: MakeDataset, run: Path, page: Path, found: list[tuple[Place, float]], rate: float
) -> None:
    measured = measure(run, make_dataset("empty", {"a": ([], found), "b": ([], [])}), None)
    assert measured.overlap.froc_mean.value is None
    assert measured.overlap.average_precision.value is None
    assert all(s.sensitivity.value is None for s in measured.overlap.by_size)
    default = next(p for p in measured.operating_points if p.default)
    assert default.sensitivity.value is None
    assert default.false_positives.value == rate
    assert measured.extents.voxel_dice.value == (0 if found else None)
    assert read_evaluation(run) == measured
    assert "There is no lesion in this dataset" in page.read_text(encoding="utf-8")


def test_one_case_in_which_nothing_is_found(make_dataset: MakeDataset, run: Path, page: Path) -> None:
    measured = measure(run, make_dataset("one", {"a": ([BIG], [])}), None)
    assert measured.overlap.froc_mean.value == 0
    assert measured.overlap.froc_mean.low is None
    assert measured.reliability.brier is None
    assert measured.extents.lesion_wise_dice.value == 0
    assert rows(run / "evaluation" / "candidates.csv") == []
    assert (run / "evaluation" / "candidates.csv").read_text().startswith("case,score,")
    assert "no candidate" in page.read_text(encoding="utf-8"), "the missed lesion is shown"


def test_bad_input_is_refused_in_words(
    run: Path, three: Path, further: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="has its calibration already"):
        measure(model_folder, three, out, calibrate=further)
    with pytest.raises(InputError, match="give both or none"):
        measure(run, three, out, budget=1.0)
    with pytest.raises(InputError, match="no --out"):
        measure(model_folder, three, None)
    with pytest.raises(
        InputError,
        match="no model 'nope': no folder, and not installed; give the path of a model folder, or one of: simul",
    ):
        measure(Path("nope"), three, None)
    with pytest.raises(InputError, match=r"no model\.json here"):
        measure(three, three, out)
    with pytest.raises(InputError, match="no cases here"):
        measure(run, tmp_path / "none", out)
    refused = CliRunner().invoke(app, ["evaluate", str(run), str(three), "--lesion-label", "0"])
    assert refused.exit_code == 2, "the background is no lesion"
    (run / "evaluation").mkdir()
    (run / "evaluation" / "mine.txt").write_text("")
    monkeypatch.setattr(Planted, "probability_map", lambda *_: pytest.fail("nothing is computed in vain"))
    (run / "evaluation" / "report.html").write_text("")
    with pytest.raises(InputError, match=r"is not empty \(mine\.txt\); choose another folder, or move them away"):
        measure(run, three, None)
    assert not out.exists()


def test_every_case_is_read_before_the_first_is_searched(
    run: Path, three: Path, further: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Planted, "probability_map", lambda *_: pytest.fail("nothing is computed in vain"))
    last = max((three / "labelsTr").iterdir())
    other = dataclasses.replace(GRID, spacing=(2.0, 2.0, 2.0))
    sitk.WriteImage(to_sitk(np.zeros(GRID.shape, np.uint8), other), str(last))
    with pytest.raises(InputError, match=r"case c: .* bring both onto one grid"):
        measure(run, further, None, calibrate=three)
    sitk.WriteImage(to_sitk(np.zeros(GRID.shape, np.uint8), GRID), str(last))
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (flair,) = [sequence for sequence in settings["input"]["sequences"] if sequence["name"] == "flair"]
    flair["required"] = True
    (run / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"three.*: has no flair beside it, which the model needs; add it, or take case a out"
    ):
        measure(run, three, None)


def test_a_network_of_nan_is_refused(run: Path, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "Predictor", Predictor)
    weights = load_file(run / "model.safetensors")
    save_file(weights | {"head.bias": np.full(1, np.nan, np.float32)}, run / "model.safetensors")
    with pytest.raises(InputError, match="values that are no numbers"):
        measure(run, three, None)
    assert not (run / "evaluation").exists()


def test_a_dataset_that_is_not_truth_is_refused(run: Path, three: Path) -> None:
    """Of a voxel at which nobody looked, nobody knows whether a candidate there is false."""
    look_at(three)
    assert measure(run, three, None).dataset.cases == 3
    trust = np.ones(GRID.shape, np.uint8)
    trust[0, 0, 0] = 0
    sitk.WriteImage(to_sitk(trust, GRID), str(three / "trust" / "b.nii.gz"))
    with pytest.raises(
        InputError, match=r"case b: .*b\.nii\.gz says that a part of it was not looked at, or left uncertain"
    ):
        measure(run, three, None)
    sitk.WriteImage(to_sitk(np.full(GRID.shape, 7, np.uint8), GRID), str(three / "trust" / "b.nii.gz"))
    with pytest.raises(InputError, match=r"b\.nii\.gz: holds the values \[7\]; \[0, 1, 2\] are known"):
        measure(run, three, None)
    for label in (three / "labelsTr").iterdir():
        label.unlink()
    with pytest.raises(InputError, match="no labels"):
        measure(run, three, None)


def package(run: Path, out: Path) -> None:
    export(run, out, title="T", data="d", evaluated_on="e", limitations="l")


def test_only_a_calibrated_evaluation_of_these_weights_is_exported(
    run: Path, three: Path, further: Path, tmp_path: Path
) -> None:
    out = tmp_path / "packed"
    with pytest.raises(InputError, match=r"evaluation\.json: missing"):
        package(run, out)
    measure(run, three, None)
    with pytest.raises(InputError, match="has no calibration"):
        package(run, out)
    measured = measure(run, three, None, calibrate=further, budget=0.0)
    with pytest.raises(InputError, match="small letters"):
        package(run, tmp_path / "My Model")
    package(run, out)
    card = load_model(out).card
    assert card.threshold == measured.threshold
    assert card.calibration == measured.calibration
    text = (out / "README.md").read_text(encoding="utf-8")
    assert f"{measured.overlap.froc_mean.text()} ({measured.overlap.froc_mean.bounds()})" in text
    assert len(measured.operating_points) > 1
    assert re.findall(r"([\d.]+) [(]default[)]", text) == [f"{measured.threshold:.4f}"]
    assert "()" not in text, "there is no interval where there is no number"
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (run / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="of other weights"):
        package(run, out)


def test_an_export_replaces_a_model_alone_and_as_a_whole(
    run: Path, three: Path, further: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(run, three, None, calibrate=further)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("of my project")
    for out in (mine, run):
        before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
        with pytest.raises(InputError, match=rf"{out.name}: is not empty \(.*\), and no model; choose another --out"):
            package(run, out)
        assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    out = tmp_path / "packed"
    package(run, out)
    digest = load_model(out).card.digest

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"cannot be written \(No space left"):
        patch.setattr(exporting, "_readme", full)
        measure(run, three, None, calibrate=further, budget=0.0)
        package(run, out)
    assert load_model(out).card.digest == digest
    (out / INTEGER_GRAPH).write_text("of other weights")
    package(run, out)
    assert load_model(out).card.digest != digest
    assert {path.name for path in out.iterdir()} == {"README.md", "model.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("case", "words"),
    [(([], [(BIG, 0.9)]), "no lesion to be found"), (([BIG], []), "nothing was found in any case")],
    ids=["no lesion", "nothing found"],
)
def test_an_evaluation_that_says_too_little_is_not_exported(
    make_dataset: MakeDataset, run: Path, further: Path, tmp_path: Path, case: Any, words: str
) -> None:
    measure(run, make_dataset("too little", {"a": case}), None, calibrate=further)
    with pytest.raises(InputError, match=words):
        package(run, tmp_path / "m")


def test_no_threshold_is_said_to_keep_to_what_it_does_not(run: Path, make_dataset: MakeDataset) -> None:
    sure = make_dataset("sure", {"a": ([BIG], [(BIG, 0.9), (ELSEWHERE, 1.0)])})
    points = measure(run, sure, None).operating_points
    kept = {budget: point.false_positives.value for point in points for budget in point.budgets}
    assert kept == {1.0: 1, 2.0: 1, 4.0: 1, 8.0: 1}, "at 1, one is false already"


def test_any_number_may_be_false(run: Path, three: Path, further: Path) -> None:
    evaluation = measure(run, three, None, calibrate=further, budget=float("inf"))
    assert evaluation.threshold == 0


def test_calibrating_needs_true_and_false_candidates(run: Path, three: Path, make_dataset: MakeDataset) -> None:
    for name, found, words in (
        (
            "all-true",
            [(BIG, 0.9)],
            r"the 1 candidate hits a lesion, .*; use more studies, some without a lesion among them$",
        ),
        (
            "all-false",
            [(ELSEWHERE, 0.9)],
            r"no candidate of 1 hits a lesion; train longer, or use studies with more lesions$",
        ),
        ("nothing", [], r"no candidate of 0 hits a lesion; train longer, or use studies with more lesions$"),
    ):
        with pytest.raises(InputError, match=words):
            measure(run, three, None, calibrate=make_dataset(name, {"x": ([BIG], found)}))


def test_settings_of_another_software_are_named(run: Path) -> None:
    facts = (run / "run.json").read_text()
    (run / "run.json").write_text('{"cases": {}, "machine": "none"}')
    with pytest.raises(InputError, match="does not say hours"):
        read_run(run)
    (run / "run.json").write_text(facts)
    (run / "config.json").write_text('{"stepz": 1}')
    with pytest.raises(InputError, match="stepz"):
        read_run(run)


def test_the_commands(run: Path, three: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["evaluate", str(run), str(three), "--scale", "0"]).exit_code == 2
    done = runner.invoke(app, ["evaluate", str(run), str(three)])
    assert done.exit_code == 0, done.output
    assert "FROC mean 0.571 (95 % interval over patients 0." in done.output
    assert "2/3 b: 1 candidate, 1 lesion\n" in done.output
    assert "sensitivity 0.67, 0.33 false positives a scan" in done.output
    compared = runner.invoke(app, ["compare", str(run), str(run / "evaluation"), "--out", str(tmp_path / "c.json")])
    assert compared.exit_code == 0, compared.output
    assert "FROC mean, < 6 mm" in compared.output
    assert "With 95 % intervals over patients" in compared.output
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["dataset"]["cases"] == 3


def test_without_trust_or_reviews_a_case_is_whole_and_a_patient(three: Path) -> None:
    case = read_dataset(three)[0]
    assert case.looked_at_as_a_whole()
    assert case.patient == "a"
