"""Evaluations side by side."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from lopsided.errors import InputError
from lopsided_training.cli import app
from lopsided_training.compare import compare, write_comparison
from lopsided_training.evaluation import (
    DatasetFacts,
    Estimate,
    EvaluatedCase,
    Evaluation,
    Extents,
    Reliability,
    Subject,
)
from lopsided_training.froc import CaseResult, froc_mean, sensitivities
from lopsided_training.measure import Measurer
from typer.testing import CliRunner


def write(folder: Path, name: str, results: list[CaseResult], *, digest: str = "d" * 64, label: str = "0") -> Path:
    """An evaluation, with what a comparison reads filled in."""
    measurer = Measurer(results, 1)
    detections = measurer.detections(results, 0.5, "overlap")
    evaluation = Evaluation(
        created="2026-01-01T00:00:00+00:00",
        software={},
        machine="none",
        seconds=0,
        seed=1,
        resamples=50,
        subject=Subject(kind="run", name=name, weights_sha256="0" * 64, digest=None, scales=(1.0,)),
        score="confidence",
        calibration=None,
        calibrated_on=None,
        threshold=0.5,
        dataset=DatasetFacts(name="set", digest=digest, cases=len(results), patients=len(results), lesions=0),
        overlap=detections,
        iou=detections,
        operating_points=measurer.operating_points(results, 0.5),
        extents=Extents(cases=0, voxel_dice=Estimate(value=None), lesion_wise_dice=Estimate(value=None)),
        reliability=Reliability(bins=(), brier=None, calibration_error=None),
        cases=tuple(
            EvaluatedCase(
                name=r.name,
                patient=r.name,
                files={"t1c": r.name, "label": label},
                diameters_mm=tuple(r.diameters),
                scores=tuple(r.scores),
                hits=r.hits,
                hits_iou=r.hits,
                voxel_dice=None,
                lesion_wise_dice=None,
            )
            for r in results
        ),
    )
    path = folder / f"{name}.json"
    path.write_text(evaluation.model_dump_json(), encoding="utf-8")
    return path


def results(seed: int, *, cases: int = 30, found: float = 0.5) -> list[CaseResult]:
    """Cases that differ much in how hard they are; each lesion is found with that part of what is possible."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(cases):
        lesions = 6
        hard = n % 2
        hit = [x for x in range(lesions) if rng.random() < found * (0.2 if hard else 1.6)]
        scores = np.concatenate([rng.uniform(0.5, 1, len(hit)), rng.uniform(0, 0.5, 3)])
        hits = (*((x,) for x in hit), (), (), ())
        made.append(CaseResult(f"case{n}", scores, hits, rng.uniform(2, 12, lesions)))
    return made


def improved(before: list[CaseResult]) -> list[CaseResult]:
    """Each case with one lesion more, the first that was missed, found at a high score."""
    after = []
    for r in before:
        missed = np.flatnonzero(np.isneginf(r.best()))[:1]
        hits = (*r.hits, *((int(n),) for n in missed))
        after.append(CaseResult(r.name, np.append(r.scores, np.full(len(missed), 0.95)), hits, r.diameters))
    return after


def test_the_numbers_are_those_of_each_alone(tmp_path: Path) -> None:
    a, b = results(1), improved(results(1))
    comparison, _ = compare([write(tmp_path, "a", a), write(tmp_path, "b", b)])
    first, second = comparison.evaluations
    assert first.values["FROC mean"].value == pytest.approx(froc_mean(a))
    assert second.values["FROC mean, < 6 mm"].value == pytest.approx(froc_mean(b, (0, 6)))
    assert second.values["sensitivity at 2 FP/scan"].value == pytest.approx(sensitivities(b, (2,))[0, 0])
    difference = second.differences["FROC mean"]
    assert difference.value == pytest.approx(froc_mean(b) - froc_mean(a))
    assert set(first.values) == set(second.differences)
    points = [measure for measure, e in first.values.items() if not e.low < e.value < e.high]  # type: ignore[operator]
    assert points == ["FP/scan at the default threshold"], "there are none in any case; all else varies"


def test_differences_are_paired(tmp_path: Path) -> None:
    """Every case is a little better, though cases differ much: paired, that is beyond doubt."""
    before = results(1)
    paths = [write(tmp_path, "a", before), write(tmp_path, "b", improved(before))]
    comparison, _ = compare(paths)
    first, second = (one.values["FROC mean"] for one in comparison.evaluations)
    assert first.high > second.low, "unpaired, the intervals overlap"  # type: ignore[operator]
    difference = comparison.evaluations[1].differences["FROC mean"]
    assert difference.low > 0.05  # type: ignore[operator]
    assert difference.high - difference.low < 0.5 * (first.high - first.low)  # type: ignore[operator]
    again, _ = compare(paths)
    assert again == comparison
    other, _ = compare(paths, seed=2)
    assert other.evaluations[1].differences["FROC mean"].low != difference.low


def test_an_evaluation_does_not_differ_from_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "a", results(1))
    comparison, _ = compare([path, path])
    for estimate in comparison.evaluations[1].differences.values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    assert comparison.evaluations[0].name == f"a ({path})", "two of one name are told apart"


def test_other_cases_are_refused_by_name(tmp_path: Path) -> None:
    first = write(tmp_path, "a", results(1))
    changed = write(tmp_path, "b", results(1), digest="e" * 64, label="1")
    with pytest.raises(InputError, match=r"b\.json: .*case case0 has another label file"):
        compare([first, first, changed])
    fewer = write(tmp_path, "c", results(1, cases=28), digest="f" * 64)
    with pytest.raises(InputError, match=r"c\.json: .*only one of them has case case28 and 1 more"):
        compare([first, fewer])
    one = write(tmp_path, "c", results(1, cases=29), digest="f" * 64)
    with pytest.raises(InputError, match=r"c\.json: .*only one of them has case case29;"):
        compare([first, one])
    text = first.read_text(encoding="utf-8").replace("d" * 64, "e" * 64)
    one.write_text(text.replace('"t1c":"case7"', '"t1c":"another"'), encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.json: .*case case7 has another t1c file"):
        compare([first, one])


def test_a_case_of_another_patient_is_refused(tmp_path: Path) -> None:
    """The same files: whose they are was said again between the evaluations."""
    first, other = write(tmp_path, "a", results(1)), write(tmp_path, "b", results(1))
    text = other.read_text(encoding="utf-8")
    other.write_text(text.replace('"patient":"case7"', '"patient":"case6"'), encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.json: case case7 is of patient case6, and in .*a\.json of case7"):
        compare([first, other])


@pytest.mark.parametrize(("part", "left"), [("scores", 1), ("cases", 29)])
def test_an_evaluation_that_was_cut_is_named(tmp_path: Path, part: str, left: int) -> None:
    first, other = write(tmp_path, "a", results(1)), write(tmp_path, "b", results(1))
    record = json.loads(other.read_text(encoding="utf-8"))
    owner = record if part == "cases" else record["cases"][3]
    owner[part] = owner[part][:left]
    other.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.json: is not what it should be"):
        compare([first, other])


def test_what_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "a", results(1))
    with pytest.raises(InputError, match="two evaluations or more"):
        compare([first])
    with pytest.raises(InputError, match=r"evaluation\.json: is missing"):
        compare([first, tmp_path])
    (tmp_path / "b.json").write_text('{"format_version": 2}')
    with pytest.raises(InputError, match=r"b\.json: is not what it should be"):
        compare([first, tmp_path / "b.json"])


def test_it_is_shown_and_written(tmp_path: Path) -> None:
    before = results(1)
    paths = [write(tmp_path, "a[1]", before), write(tmp_path, "b[2]", improved(before))]
    comparison, read = compare(paths)
    value, bounds = comparison.evaluations[1].differences["FROC mean"].difference()
    shown = CliRunner().invoke(app, ["compare", *map(str, paths)]).stdout
    assert f" {value}  {bounds} " in shown
    assert value.startswith("+")
    assert "Difference from a[1]" in shown
    assert "b[2]" in shown
    assert "[dim]" not in shown
    write_comparison(comparison, read, tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["notice"].startswith("Research tool")
    write_comparison(comparison, read, tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Research tool, not for clinical use." in page
    assert bounds in page
    assert page.count("<svg") == 1
    with pytest.raises(InputError, match=r"end it in \.json or \.html"):
        write_comparison(comparison, read, tmp_path / "c.txt")
    with pytest.raises(InputError, match="is what an evaluation is called; choose another name"):
        write_comparison(comparison, read, tmp_path / "evaluation.json")


def test_a_full_disk_leaves_the_earlier_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, read = compare([write(tmp_path, "a", results(1))] * 2)
    write_comparison(comparison, read, tmp_path / "c.json")
    before = (tmp_path / "c.json").read_bytes()

    def full(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match=r"c\.json: cannot be written \(No space left on device\)"):
        write_comparison(comparison, read, tmp_path / "c.json")
    assert (tmp_path / "c.json").read_bytes() == before


def test_a_single_patient_has_no_interval(tmp_path: Path) -> None:
    one = results(1, cases=1)
    comparison, _ = compare([write(tmp_path, "a", one), write(tmp_path, "b", improved(one))])
    estimate = comparison.evaluations[1].differences["FROC mean"]
    assert estimate.value is not None
    assert estimate.low is None
