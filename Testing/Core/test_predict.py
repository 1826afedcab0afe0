"""From study to probability map."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lopsided import predict
from lopsided.errors import InputError
from lopsided.model import Model, load_model
from lopsided.networks import ResidualUNet
from lopsided.predict import Predictor, RememberingPredictor
from lopsided.resampling import resample
from lopsided.study import Study, network_inputs, searched_voxels
from lopsided.volume import Geometry, Vector, Volume, part_of
from scipy import ndimage


def test_the_map_is_on_the_inputs_grid(model: Model, head: Callable[..., Volume], oblique: Geometry) -> None:
    study = Study(head(oblique))
    probability = Predictor(model, "cpu").probability_map(study)
    assert probability.geometry == oblique
    assert probability.array.shape == oblique.shape
    assert probability.array.dtype == np.float32
    assert 0 <= probability.array.min() < probability.array.max() <= 1


def test_nothing_is_found_outside_of_the_brain(model: Model, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the network's answer there, to darkness that it was hardly trained on, is not zero."""
    brain = np.zeros(study.reference.geometry.shape, np.uint8)
    brain[8:-8, 10:-10, 20:40] = 1
    brain[8:24, 10:24, 20:28] = 0
    monkeypatch.setattr(predict, "find_brain", lambda volume, device: Volume(brain, volume.geometry))
    found = Predictor(model, "cpu").probability_map(study).array
    assert found[brain > 0].min() > 0
    deep_outside = ~ndimage.binary_dilation(brain, iterations=3)
    assert deep_outside[10:20, 12:20, 22:26].any(), "within the box of the brain too"
    assert not found[deep_outside].any()


def test_storage_order_does_not_change_what_is_found(model: Model, study: Study) -> None:
    """The same patient stored with other axes: the same map in physical space."""
    predictor = Predictor(model, "cpu")
    plain = predictor.probability_map(study)
    g = study.reference.geometry
    turned = Geometry(
        (g.size[2], g.size[0], g.size[1]),
        (1.0, 1.0, 1.0),
        tuple(g.physical(np.array([g.size[2] - 1, 0, 0])).tolist()),
        (0.0, 1, 0, 0, 0, 1, -1, 0, 0),
    )
    other = predictor.probability_map(Study(resample(study.reference, turned, nearest=True)))
    back = resample(other, g)
    assert np.abs(back.array - plain.array).max() < 1e-3


def test_optional_sequences_are_zeros_and_are_used_when_there(model: Model, study: Study) -> None:
    spec = model.card.input
    alone = network_inputs(study, spec, [spec.spacing_mm], 4)[0]
    both = network_inputs(Study(study.reference, {"flair": study.reference}), spec, [spec.spacing_mm], 4)[0]
    assert not alone.array[1:].any()
    assert both.array[3].any()
    assert np.array_equal(both.array[3], both.array[0])


def test_where_a_sequence_was_not_imaged_it_is_dark(model: Model, study: Study) -> None:
    """Not as bright as tissue, which what surrounds a slab would stand out of."""
    spec = model.card.input
    slab = part_of(study.reference, (slice(0, 28), slice(0, 64), slice(0, 72)))
    seen = network_inputs(Study(study.reference, {"flair": slab}), spec, [spec.spacing_mm], 4)[0]
    at = seen.geometry.physical(np.stack(np.indices(seen.geometry.shape), axis=-1))
    above = study.reference.geometry.index(at)[..., 0] > 27.5
    [dark] = np.unique(seen.array[3][above])
    assert spec.clip[0] <= dark < np.percentile(seen.array[0][8:-8, 8:-8, 8:-8], 2)


def test_through_thick_slices_voxels_are_longer_whichever_way_these_are_stored(model: Model) -> None:
    spec = model.card.input

    def searched(spacing: Vector, direction: tuple[float, ...]) -> list[Vector]:
        volume = Volume(np.zeros((4, 4, 4), np.float32), Geometry((4, 4, 4), spacing, (0.0, 0.0, 0.0), direction))
        return searched_voxels(Study(volume), spec, (1.0, 0.5))

    axial, sagittal = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (0.0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)
    assert searched((0.4, 0.4, 2.0), axial) == [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5)]
    assert searched((0.4, 0.4, 3.0), axial) == [(1.0, 1.0, 1.0), (0.5, 0.5, 0.75)]
    assert searched((0.4, 0.4, 5.0), axial) == [(1.0, 1.0, 1.25), (0.625, 0.625, 1.25)], "twice as long as wide at most"
    assert searched((0.4, 0.4, 5.0), sagittal) == [(1.25, 1.0, 1.0), (1.25, 0.625, 0.625)]


def test_a_sequence_that_the_model_needs_is_asked_for_in_words_of_any_interface(model: Model, study: Study) -> None:
    spec = model.card.input
    needed = tuple(s.model_copy(update={"required": True}) if s.name == "t1" else s for s in spec.sequences)
    with pytest.raises(InputError, match="the model needs T1 of the same study too") as caught:
        network_inputs(study, spec.model_copy(update={"sequences": needed}), [spec.spacing_mm], 4)
    assert "--" not in str(caught.value)
    assert str(caught.value).startswith(study.reference.name)


def test_what_is_surest_at_any_scale_counts(model: Model, study: Study) -> None:
    told: list[tuple[str, float]] = []

    def at(*scales: float) -> np.ndarray:
        card = model.card.model_copy(update={"scales": scales})
        told.clear()
        found = Predictor(replace(model, card=card), "cpu").probability_map(study, lambda *what: told.append(what))
        parts = [part for _, part in told]
        assert parts == sorted(parts)
        assert parts[-1] == 1
        return found.array

    small, large, both = at(0.8), at(1.25), at(1.25, 0.8)
    inside = (small > 0) & (large > 0)
    assert inside.sum() > 1000
    assert np.abs(small - large)[inside].max() > 1e-3
    assert np.array_equal(both, np.maximum(small, large))
    first_ends = next(part for what, part in told if what == "Mapping back")
    assert first_ends == pytest.approx(0.2, abs=0.05), "small voxels are most of the work"


def test_cancel_stops_it(model: Model, study: Study) -> None:
    seen = []

    def progress(what: str, part: float) -> None:
        seen.append((what, part))
        if part > 0.05:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Predictor(model, "cpu").probability_map(study, progress)
    assert len(seen) == 2


def test_progress_rises_to_the_end(model: Model, study: Study) -> None:
    parts: list[float] = []
    Predictor(model, "cpu").probability_map(study, lambda what, part: parts.append(part))
    assert parts == sorted(parts)
    assert parts[-1] == 1


def test_the_same_images_are_searched_once(model: Model, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second search after the annotation changed; but any other voxel or place is another search."""
    predictor = RememberingPredictor(model, "cpu")
    calls: list[int] = []
    forward = ResidualUNet.forward
    monkeypatch.setattr(ResidualUNet, "forward", lambda self, x: calls.append(1) or forward(self, x))
    first = predictor.probability_map(study)
    again = Study(Volume(study.reference.array.copy(), study.reference.geometry, "another name"))
    assert predictor.probability_map(again) is first
    assert len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        first.array[0, 0, 0] = 1
    changed = study.reference.array.copy()
    changed[tuple(n // 2 for n in changed.shape)] += 50
    predictor.probability_map(Study(Volume(changed, study.reference.geometry)))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("head.bias"), r"head\.bias"),
        (lambda w: w.update(more=w["head.bias"]), "more"),
        (lambda w: w.update({"stem.0.weight": w["stem.0.weight"][:, :1]}), r"stem\.0\.weight"),
    ],
    ids=["one missing", "one too many", "another number of sequences"],
)
def test_weights_of_other_sizes_are_refused(
    model: Model, change: Callable[[dict[str, np.ndarray]], object], words: str
) -> None:
    weights = dict(model.weights)
    change(weights)
    with pytest.raises(InputError, match=rf"\(residual-unet-3d\) disagree at {words};"):
        Predictor(Model(model.folder, model.card, weights))


@pytest.mark.parametrize("channels", [(4, 6, 10**6), (4, 6, 10**15), (4, 6, 10**30)])
def test_sizes_of_another_network_are_refused_before_there_is_memory_for_them(
    model: Model, channels: tuple[int, ...]
) -> None:
    sizes = model.card.architecture.model_copy(update={"channels": channels})
    with pytest.raises(InputError, match=r"architecture \(residual-unet-3d\).*; install the model again"):
        Predictor(replace(model, card=model.card.model_copy(update={"architecture": sizes})))


def test_weights_of_another_architecture_are_refused(model: Model, deeplab_folder: Path) -> None:
    other = load_model(deeplab_folder)
    with pytest.raises(InputError, match=r"\(residual-unet-3d\) disagree at"):
        Predictor(Model(model.folder, model.card, other.weights))
    with pytest.raises(InputError, match=r"\(deeplabv3-2\.5d\) disagree at"):
        Predictor(Model(other.folder, other.card, model.weights))


@pytest.mark.parametrize("bias", [np.nan, np.inf, -np.inf])
def test_a_network_that_gives_no_numbers_is_not_taken_for_one_that_finds_nothing(
    model: Model, study: Study, bias: float
) -> None:
    broken = replace(model, weights=model.weights | {"head.bias": np.full(1, bias, np.float32)})
    with pytest.raises(
        InputError, match="its network gives values that are no numbers; install the model again"
    ) as caught:
        Predictor(broken, "cpu").probability_map(study)
    assert str(caught.value).startswith(str(model.folder))


def test_a_deeplab_gives_a_map(deeplab_folder: Path, head: Callable[..., Volume], oblique: Geometry) -> None:
    probability = Predictor(load_model(deeplab_folder), "cpu").probability_map(Study(head(oblique)))
    assert probability.geometry == oblique
    assert 0 <= probability.array.min() < probability.array.max() <= 1


@pytest.mark.parametrize("name", ["abacus", "cpu:", "cpu:x", "cuda:", "cuda:x"])
def test_an_absent_device_is_refused(model: Model, name: str) -> None:
    with pytest.raises(InputError, match=rf"--device {name}: not available here, .*available: .*cpu"):
        Predictor(model, name)


def test_a_sequence_of_another_patient_is_refused(study: Study) -> None:
    g = study.reference.geometry
    far = Volume(study.reference.array, Geometry(g.size, g.spacing, (900.0, 0, 0), g.direction), "far.nii.gz")
    with pytest.raises(InputError, match=r"far\.nii\.gz \(FLAIR\) does not overlap head"):
        Study(study.reference, {"flair": far})


@pytest.mark.parametrize("name", ["adc", "t1c"])
def test_a_sequence_that_there_is_not_is_refused(study: Study, name: str) -> None:
    with pytest.raises(InputError, match=rf"unknown sequence '{name}'; known are t1c, t1, t2, flair"):
        Study(study.reference, {name: study.reference})


def test_more_than_the_network_can_be_given_is_refused_at_any_scale(model: Model) -> None:
    image = np.random.default_rng(0).normal(100, 10, (50, 50, 50)).astype(np.float32)
    grid = Geometry((50, 50, 50), (9.0, 9.0, 9.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    with pytest.raises(InputError, match=r"t\.nii: covers .* more than a head; check the spacing in its header"):
        network_inputs(Study(Volume(image, grid, "t.nii")), model.card.input, [(9.0,) * 3, (1.0,) * 3], 4)


@pytest.mark.parametrize("wrong", ["reference", "other"])
def test_a_spacing_that_makes_a_giant_is_refused_before_anything_is_laid_over_it(study: Study, wrong: str) -> None:
    """A grid of 3 mm over metres does not fit into memory."""
    giant = replace(
        study.reference, geometry=replace(study.reference.geometry, spacing=(20.0, 20.0, 20.0)), name="t.nii"
    )
    volumes = (giant, {}) if wrong == "reference" else (study.reference, {"t2": giant})
    with pytest.raises(InputError, match=r"t\.nii: covers 72×64×56 voxels of 20×20×20 mm.*more than a head; check the"):
        Study(*volumes)
