"""A model is measured on scans as they come: stripped, whole, stored along other axes, with disease."""

import json
from pathlib import Path

import numpy as np
import pytest
import real_backgrounds
import SimpleITK as sitk
import typer
from backgrounds import AS_STRIPPED, HEAD, STRIPPED, Background, in_slices, read_background
from insertion import Inserted
from lopsided.intensity import median_and_spread
from lopsided.model import find_model, load_model
from lopsided.study import Study
from lopsided.volume import Volume
from searched import Searched, search, search_as_it_is

SPACING = 2.0


def ball(radius: float) -> np.ndarray:
    """Bool, 60 voxels of 2 mm a side."""
    return np.linalg.norm((np.indices((60, 60, 60)) - 30) * SPACING, axis=0) < radius


def write(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((SPACING,) * 3)
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(path))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A brain of 90 mm; and one in a bright scalp and in air that is not exactly zero, with disease on the left."""
    rng = np.random.default_rng(0)
    brain, head = ball(45), ball(57)
    tissue = rng.normal(100, 5, brain.shape).astype(np.float32)
    write(np.where(brain, tissue, np.float32(0)), tmp_path / "cases/bare/t1c.nii.gz")
    whole = np.where(brain, tissue, np.where(head, 2 * tissue, np.abs(tissue - 100)))
    write(whole.astype(np.float32), tmp_path / "cases/whole/t1c.nii.gz")
    write(brain.astype(np.uint8), tmp_path / "cases/whole/brain.nii.gz")
    sick = np.zeros(brain.shape, np.uint8)
    sick[:, :, 40:] = brain[:, :, 40:]
    write(sick, tmp_path / "cases/whole/labels.nii.gz")
    return tmp_path / "cases"


def test_lesions_may_lie_in_the_brain_away_from_disease(cases: Path) -> None:
    bare, whole = (read_background(cases / name) for name in ("bare", "whole"))
    assert (bare.kind, whole.kind) == (STRIPPED, HEAD)
    assert 0.7 < bare.allowed.sum() / ball(45).sum() < 1
    assert whole.disease is not None
    assert whole.allowed.any()
    assert not whole.allowed[~ball(45)].any()
    assert not whole.allowed[:, :, 37:].any()  # 8 mm is four voxels
    assert whole.spared()[30, 30, 36]
    assert not whole.spared()[30, 30, 34]


def test_slices_are_averaged_and_lesions_stay_where_they_are(cases: Path) -> None:
    thin = read_background(cases / "bare")
    array, labels = thin.array.copy(), np.zeros(thin.array.shape, np.uint8)
    labels[30:33, 20:22, 30:32] = 1
    labels[41, 30, 30] = 2  # a third of its slice
    array[labels > 0] += 30
    lesions = [Inserted((31.0, 20.5, 30.5), 5.0, 3.0, "even"), Inserted((41.0, 30.0, 30.0), 2.0, 3.0, "even")]
    thick, averaged, numbered, moved = in_slices(thin, array, labels, lesions, 3)
    assert averaged.shape == numbered.shape == thick.allowed.shape == (20, 60, 60)
    assert averaged[10] == pytest.approx(array[30:33].mean(0))
    assert np.argwhere(numbered == 1).tolist() == [[10, j, i] for j in (20, 21) for i in (30, 31)]
    assert np.argwhere(numbered == 2).tolist() == [[13, 30, 30]]
    _, tissue = median_and_spread(thick.array[thick.allowed])
    assert [lesion.contrast * tissue for lesion in moved] == pytest.approx([30, 10], rel=1e-4)
    for before, after in zip(lesions, moved, strict=True):
        places = [
            b.image.TransformContinuousIndexToPhysicalPoint([float(c) for c in reversed(o.centre)])
            for b, o in ((thin, before), (thick, after))
        ]
        assert places[0] == pytest.approx(places[1])


class Answer:
    """Stands for a predictor: one map, whatever is asked."""

    model = load_model(find_model(None))

    def __init__(self, likely: np.ndarray) -> None:
        self.likely = likely

    def probability_map(self, study: Study) -> Volume:
        return Volume(self.likely, study.reference.geometry)


def searched(likely: np.ndarray, background: Background, labels: np.ndarray) -> Searched:
    """With one lesion."""
    lesions = [Inserted((30.0, 30.0, 34.0), 10.0, 3.0, "even")]
    return search(Answer(likely), background, background.array, labels, lesions, name="one")  # type: ignore[arg-type]


def test_a_lesion_that_reaches_towards_disease_can_be_found(cases: Path) -> None:
    """And the disease itself is neither found nor false."""
    background = read_background(cases / "whole")
    labels = np.zeros(background.array.shape, np.uint8)
    labels[28:33, 28:33, 32:37] = 1  # into what is spared
    likely = np.where(labels > 0, 0.99, 0).astype(np.float32)
    likely[28:33, 28:33, 45:49] = 0.99
    found = searched(likely, background, labels)
    assert found.result.best().tolist() == [pytest.approx(found.result.scores[0])]
    assert found.result.hits == ((0,),)
    assert not found.false


def test_what_is_false_scores_as_it_is_counted(cases: Path) -> None:
    background = read_background(cases / "bare")
    labels = np.zeros(background.array.shape, np.uint8)
    labels[28:33, 28:33, 32:37] = 1
    likely = np.where(labels > 0, 0.99, 0).astype(np.float32)
    likely[28:33, 28:33, 18:21] = 0.9
    likely[28:33, 15:18, 28:31] = 0.3  # below the threshold
    found = searched(likely, background, labels)
    assert found.result.hits == ((0,), (), ())
    assert [place.confidence for place in found.false] == [found.result.scores[1]]


def test_disease_that_is_still_marked_beside_its_annotation_is_counted(cases: Path) -> None:
    background = read_background(cases / "whole")
    likely = np.zeros(background.array.shape, np.float32)
    likely[28:33, 28:33, 41:46] = 0.99
    likely[28:33, 28:33, 36:38] = 0.9  # at two voxels from it
    plain = search_as_it_is(Answer(likely), background)  # type: ignore[arg-type]
    assert plain.at_disease is not None
    assert (len(plain.at_disease), plain.annotated, len(plain.elsewhere)) == (1, 1, 0)


def test_a_folder_without_studies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="no folder in it has"):
        real_backgrounds.main(str(find_model(None)), tmp_path, tmp_path / "out")


def test_it_is_measured(cases: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(100, 5, ball(45).shape).astype(np.float32)
    write(np.where(ball(45), noise, np.float32(0)), tmp_path / "control.nii.gz")
    out = tmp_path / "out"
    real_backgrounds.main(
        str(find_model(None)), cases, out, control=[tmp_path / "control.nii.gz"], per_background=1, seed=4
    )
    written = json.loads((out / "results.json").read_text(encoding="utf-8"))
    kinds = [(s["name"], s["kind"]) for s in written["scans"]]
    thick = ", slices of 6 mm"  # of 10 mm nobody has
    assert kinds == [
        *(("bare-4", STRIPPED + how) for how in ("", thick)),
        *(("whole-5", HEAD + how) for how in ("", AS_STRIPPED, thick)),
    ]
    bare, _, whole, stripped, _ = written["scans"]
    assert whole["lesions"] == stripped["lesions"]
    assert len(bare["lesions"]) > 3
    assert [(p["background"], p["at_disease"] is None) for p in written["as_they_are"]] == [
        ("bare", True),
        ("whole", False),
        ("control", True),
    ]
    text = (out / "results.md").read_text(encoding="utf-8")
    assert f"| {HEAD}{AS_STRIPPED} | 1 | {len(whole['lesions'])} |" in text
    assert {p.name for p in out.glob("*.png")} == {"curves.png", "bare.png", "whole.png", "as_they_are.png"}
    assert all(f"]({p.name})" in text for p in out.glob("*.png"))
