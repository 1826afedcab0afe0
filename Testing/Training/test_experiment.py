"""The censoring experiment: what is hidden, what is chosen, that it resumes, and tables worked out by hand."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lopsided.errors import InputError
from lopsided_training import train as training
from lopsided_training.config import FitConfig, PatchConfig, read_settings
from lopsided_training.dataset import read_dataset
from lopsided_training.experiment import censoring, results
from lopsided_training.experiment.censor import censor
from lopsided_training.experiment.censoring import _take, compared, experiment, read_results
from lopsided_training.experiment.plan import ExperimentConfig, Run, choosing, chosen, comparing
from lopsided_training.experiment.run import CaseRecord, RunRecord, check, memory_of, searched, shortened
from lopsided_training.experiment.tables import rows, write_tables
from lopsided_training.froc import CaseResult
from lopsided_training.losses.settings import LopsidedConfig, WeightedCrossEntropyConfig
from lopsided_training.patches import PreparedCase
from prepared import prepared_case
from scipy import ndimage

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)
STANDARD = WeightedCrossEntropyConfig(alpha=1.0, beta=1.0)


def make_cases(number: int = 4) -> list[PreparedCase]:
    """Each with lesions of 1, 8, 27 and 64 voxels."""
    lesion = np.zeros((12, 12, 40), bool)
    for side in range(1, 5):
        lesion[2 : 2 + side, 2 : 2 + side, 9 * side - 7 : 10 * side - 7] = True
    nothing = np.zeros((1, *lesion.shape))
    return [prepared_case(nothing, lesion, name=str(n), trusted=~lesion) for n in range(number)]


def sizes(masks: list[np.ndarray]) -> list[int]:
    found = [np.bincount(ndimage.label(mask)[0].ravel())[1:] for mask in masks]
    return sorted(int(v) for v in np.concatenate(found))


def test_what_is_hidden() -> None:
    cases = make_cases()
    assert sizes([c.lesion for c in cases]) == [1] * 4 + [8] * 4 + [27] * 4 + [64] * 4
    for condition, number in (("none", 0), ("random-50", 8), ("smallest-30", 5), ("readers-27", 4)):
        censored = censor(cases, condition, seed=3)
        assert len(sizes([c.hidden for c in censored])) == number
        for before, after in zip(cases, censored, strict=True):
            assert np.array_equal(after.lesion | after.hidden, before.lesion)
            assert not (after.lesion & after.hidden).any()
            assert len(after.centres) == ndimage.label(after.lesion)[1]
            assert not after.trusted.any(), "nobody who misses lesions says where there is none"
    assert sizes([c.hidden for c in censor(cases, "smallest-30", 3)]) == [1, 1, 1, 1, 8]
    with pytest.raises(ValueError, match="unknown condition 'largest-50'"):
        censor(cases, "largest-50", 1)


def test_the_smallest_are_so_by_volume_whatever_the_voxels() -> None:
    thin, thick = make_cases(2)
    thick = replace(thick, spacing_mm=(1.0, 1.0, 5.0))  # its lesions: 5, 40, 135 and 320 mm³
    censored = censor([thin, thick], "smallest-50", 1)
    assert [sizes([case.hidden]) for case in censored] == [[1, 8, 27], [1]]


def test_readers_miss_the_small_ones_more_often_but_not_only_those() -> None:
    cases = make_cases()
    hidden = [sizes([c.hidden for c in censor(cases, "readers-27", seed)]) for seed in range(60)]
    counts = {size: sum(row.count(size) for row in hidden) for size in (1, 8, 27, 64)}
    assert counts[1] > counts[8] > counts[27] > counts[64] > 0
    assert hidden[0] == sizes([c.hidden for c in censor(cases, "readers-27", 0)])
    assert len({str(row) for row in hidden}) > 5


def test_each_lesion_is_missed_as_likely_as_it_is_said_to_be() -> None:
    cases, sides = make_cases(1), np.arange(1, 5)
    for condition, weights in (("random-25", np.ones(4)), ("readers-25", 1.0 / sides**2)):
        hidden = [sizes([censor(cases, condition, seed)[0].hidden])[0] for seed in range(150)]
        shares = [hidden.count(int(side) ** 3) / len(hidden) for side in sides]
        assert shares == pytest.approx(weights / weights.sum(), abs=0.1)


def config(small: FitConfig, **changes: object) -> ExperimentConfig:
    settings: dict[str, object] = {
        "fit": small.model_copy(update={"steps": 4, "checkpoint_every": 1}),
        "losses": {"standard": (STANDARD,), "lopsided-hard": (LopsidedConfig(beta=0.1), LopsidedConfig(beta=0.4))},
        "seeds": {"none": 1, "random-50": 2},
        "choose_at": "readers-27",
    }
    return ExperimentConfig.model_validate(settings | changes)


def test_settings_are_chosen_once_and_used_everywhere(small: FitConfig) -> None:
    plan = config(small)
    names = [run.name for run in choosing(plan)]
    assert names == [f"readers-27_{n}_seed1" for n in ("standard_0", "lopsided-hard_0", "lopsided-hard_1")]
    scores = dict(zip(names, (0.3, 0.2, 0.25), strict=True))
    assert chosen(plan, {names[0]: 0.3, names[1]: 0.2}) == {"standard": 0}, "one of the scores is not there yet"
    settings = chosen(plan, scores)
    assert settings == {"standard": 0, "lopsided-hard": 1}
    assert list(comparing(plan, settings)) == [
        Run(condition, loss, setting, seed)
        for seed, conditions in ((1, ("none", "random-50")), (2, ("random-50",)))
        for condition in conditions
        for loss, setting in settings.items()
    ]


def test_the_main_losses_are_compared_further(small: FitConfig) -> None:
    main = {"losses": ["standard"], "seeds": {"none": 2, "random-10": 1}}
    plan = config(small, main=main, patches={"lopsided-hard": {"paste": 0.5}})
    runs = [(run.condition, run.loss, run.seed) for run in comparing(plan, {"standard": 0, "lopsided-hard": 0})]
    both = ("standard", "lopsided-hard")
    assert runs == [
        *(("none", loss, 1) for loss in both), *(("random-50", loss, 1) for loss in both),
        ("none", "standard", 2), *(("random-50", loss, 2) for loss in both), ("random-10", "standard", 1),
    ]  # fmt: skip
    assert (plan.patches_of("standard"), plan.patches_of("lopsided-hard").paste) == (plan.fit.patches, 0.5)
    with pytest.raises(ValueError, match=r"patches: lopsided is not among the losses"):
        config(small, patches={"lopsided": {"paste": 0.5}})
    with pytest.raises(ValueError, match=r"paste"):
        config(small, patches={"standard": {"paste": 2.0}})


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    """All cases to train on, and one to validate and to test on, for it is searches that take long."""
    for part in ("train", "validation", "test"):
        labels = sorted((shutil.copytree(dataset, tmp_path / "data" / part) / "labelsTr").iterdir())
        for label in labels[:-1] if part != "train" else ():
            label.unlink()
    return tmp_path / "data"


def test_it_goes_on_where_it_was_stopped_and_ends_the_same(
    data: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = config(small, seeds={"none": 1})
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert experiment(plan, data, whole, accelerator="cpu", say=lambda line: None)
    assert not experiment(plan, data, pieces, minutes=0, accelerator="cpu", say=lambda line: None)
    assert list((pieces / "results").iterdir()) == [], "there was no time to start anything"
    clock = iter([0.0, 0.0, *[1e9] * 9])  # time is over after the first checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(results, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert not experiment(plan, data, pieces, minutes=1, accelerator="cpu", say=lambda line: None)
    assert (pieces / "work" / "readers-27_standard_0_seed1" / "checkpoint.ckpt").exists()
    lines: list[str] = []
    longer = plan.model_copy(update={"fit": plan.fit.model_copy(update={"steps": 9})})
    with pytest.raises(InputError, match=r"readers-27_standard_0_seed1: was begun with other settings or other data"):
        experiment(longer, data, pieces, accelerator="cpu", say=lines.append)
    lines.clear()
    assert experiment(plan, data, pieces, accelerator="cpu", say=lines.append)
    assert len(lines) == 2 * 5, "three runs to choose, two to compare"
    for path in (whole / "results").glob("*.json"):
        one, two = (RunRecord.model_validate_json((f / "results" / path.name).read_text()) for f in (whole, pieces))
        assert one.model_copy(update={"seconds": 0}) == two.model_copy(update={"seconds": 0})
        assert one.steps == 4
        assert {"annotated", "hidden", "step"} >= set(one.memory[0])
    lines.clear()
    assert experiment(plan, data, pieces, accelerator="cpu", say=lines.append)
    assert lines == [], "nothing is done twice"
    write_tables(compared(plan, whole), whole)
    assert {path.name for path in whole.glob("*.*")} == {"summary.csv", "table.md", "operating_point.png"}
    with (whole / "summary.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    (itself,) = [r for r in table if (r["condition"], r["loss"], r["measure"]) == ("none", "standard", "half_fp")]
    assert itself["part"] in ("1.0000", "nan")
    other = config(small, losses={"standard": (STANDARD,), "lopsided-hard": (LopsidedConfig(beta=0.3),)})
    with pytest.raises(InputError, match="was made with other settings of lopsided-hard"):
        read_results(other, whole)
    with pytest.raises(InputError, match="was made with other settings of fit"):
        compared(longer, whole)
    label = str(read_dataset(data / "test")[0].label)
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(label), sitk.sitkInt32), label)
    with pytest.raises(InputError, match="was made with other data"):
        experiment(plan, data, whole, accelerator="cpu")
    one = next((pieces / "results").glob("none*.json"))
    mixed = RunRecord.model_validate_json(one.read_text()).model_copy(update={"data_sha256": "0"})
    one.write_text(mixed.model_dump_json())
    with pytest.raises(InputError, match="was made with other data"):
        compared(plan, pieces)
    one.write_text(mixed.model_copy(update={"data_sha256": None, "fit": None}).model_dump_json())
    assert len(compared(plan, pieces)) == 2, "older results do not say, and are not compared"


def test_a_training_that_ended_is_not_lost_before_its_result_is_kept(
    data: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = config(small, losses={"standard": (STANDARD,)}, seeds={"readers-27": 1})
    work, said = tmp_path / "out" / "work" / "readers-27_standard_0_seed1", []

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(censoring, "keep", killed)
        experiment(plan, data, tmp_path / "out", accelerator="cpu", say=said.append)
    assert (work / "checkpoint.ckpt").exists()
    monkeypatch.setattr(training, "training_loss", None)  # no step is left
    assert experiment(plan, data, tmp_path / "out", accelerator="cpu", say=said.append)
    assert len(read_results(plan, tmp_path / "out")) == 1
    assert not work.exists()


def test_a_network_takes_the_sequences_that_there_are(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    """As `fit` does; the settings stay those of the experiment, for its tables know no data."""
    for part, absent in (("train", "[123]"), ("validation", "[13]"), ("test", "[123]")):
        shutil.copytree(dataset, tmp_path / part, ignore=shutil.ignore_patterns(f"*_000{absent}.nii.gz"))
    plan = config(small, losses={"standard": (STANDARD,)}, seeds={"none": 1})
    lines: list[str] = []
    assert experiment(plan, tmp_path, tmp_path / "out", accelerator="cpu", say=lines.append)
    assert lines[0] == "no case to train on has t1, t2, flair: the network does not take them"
    assert len(compared(plan, tmp_path / "out")) == 1
    cases, _ = results.prepared(tmp_path, ("train",), plan.fit, lines.append)
    assert {len(case.image) for case in cases["train"]} == {1}


def test_each_process_takes_another_run_those_of_the_main_losses_first(tmp_path: Path, small: FitConfig) -> None:
    plan = config(small, main={"losses": ["lopsided-hard"], "seeds": {}})
    (tmp_path / "work").mkdir()
    held = []
    for name in ("lopsided-hard_0", "lopsided-hard_1", "standard_0"):
        taken = _take(plan, tmp_path)
        assert taken is not None
        assert taken[0].name == f"readers-27_{name}_seed1"
        held.append(taken[1])
    assert _take(plan, tmp_path) is None, "all are being done"
    done = record("readers-27", "lopsided-hard", 1, (0.9, 0.8, 0.6, 0.1))
    done = done.model_copy(update={"settings": LopsidedConfig(beta=0.1), "patches": plan.fit.patches})
    results.keep(done, results.path_of(tmp_path, "readers-27_lopsided-hard_0_seed1"))
    for lock in held:
        lock.release()
    taken = _take(plan, tmp_path)
    assert taken is not None
    assert taken[0].name == "readers-27_lopsided-hard_1_seed1", "the first is done, the second was given up"
    taken[1].release()


@pytest.mark.parametrize(
    "change",
    [{"setting": 1}, {"loss": "dice-ce"}, {"settings": LopsidedConfig()}, {"patches": PatchConfig(size=24)}],
    ids=["a setting too many", "no such loss", "other settings", "other patches"],
)
def test_results_of_other_settings_are_refused(tmp_path: Path, small: FitConfig, change: dict[str, Any]) -> None:
    plan = config(small)
    mine = record("none", "standard", 1, (0.9, 0.8, 0.6, 0.1)).model_copy(update={"patches": plan.fit.patches})
    results.keep(mine, results.path_of(tmp_path, "none_standard_0_seed1"))
    assert read_results(plan, tmp_path) == [mine]
    other = mine.model_copy(update=change)
    results.keep(other, results.path_of(tmp_path, "none_standard_0_seed1"))
    with pytest.raises(InputError, match=f"was made with other settings of {other.loss}; move it away"):
        read_results(plan, tmp_path)


def test_a_condition_that_leaves_no_lesion_is_refused_before_anything_is_trained() -> None:
    (one,) = make_cases(1)  # four lesions
    many = make_cases(3)
    parts = {"train": many, "validation": [one], "test": [one]}
    check(parts, Path("data"), ("random-50", "none"))
    check({"train": many, "test": [one]}, Path("data"), ("random-90",))
    with pytest.raises(InputError, match="validation: random-90 leaves none of its 4 lesions; use more studies"):
        check(parts, Path("data"), ("random-50", "random-90"))
    assert not any(len(case.centres) for case in censor([one], "random-90", 1)), "as it is then done"


def test_studies_smaller_than_a_patch_are_watched() -> None:
    cases = censor(make_cases(2), "random-50", 1)  # 12 voxels high and deep
    network: Any = torch.nn.Conv3d(1, 1, 1)
    torch.nn.init.ones_(network.weight)
    torch.nn.init.constant_(network.bias, -1.0)
    assert memory_of(cases, 16, "32-true")(network) == {"annotated": 0.0, "hidden": 0.0}
    bright = [replace(case, image=np.where(case.hidden, 2, 0)[None].astype(np.float16)) for case in cases]
    assert memory_of(bright, 16, "32-true")(network) == {"annotated": 0.0, "hidden": 1.0}


def test_intervals_are_over_patients() -> None:
    result = CaseResult("a", np.array([0.5]), ((0,),), np.array([4.0]), "p")
    assert shortened(result).result().patient == "p"
    (case,) = make_cases(1)
    network: Any = torch.nn.Conv3d(1, 1, 1)
    network.stride = network.halo = 1
    (found,) = searched(network.eval(), [replace(case, patient="p")], FitConfig())
    assert found.patient == "p"


def record(condition: str, loss: str, seed: int, scores: tuple[float, ...]) -> RunRecord:
    """Two cases with two lesions each, of 4 and 8 mm; candidates hit them in order, then hit nothing."""
    test = tuple(
        CaseRecord(name=name, diameters=(4.0, 8.0), scores=scores, hits=((0,), (1,), (), ())) for name in ("a", "b")
    )
    return RunRecord(
        condition=condition, loss=loss, setting=0, settings=STANDARD, patches=PatchConfig(), seed=seed, steps=1, seconds=1, machine="m",
        memory=(), validation_froc=0, test=test,
    )  # fmt: skip


def test_a_table_by_hand() -> None:
    records = [
        record("none", "standard", 1, (0.9, 0.8, 0.6, 0.1)),  # all found at ½, one false a scan
        record("none", "standard", 2, (0.9, 0.2, 0.1, 0.05)),  # a poor seed
        record("random-50", "standard", 1, (0.2, 0.6, 0.1, 0.05)),  # the small one is below ½; none false above it
        record("random-50", "standard", 2, (0.9, 0.8, 0.6, 0.1)),
        record("none", "dice-ce", 1, (0.9, 0.3, 0.1, 0.1)),
        record("random-50", "dice-ce", 1, (0.9, 0.3, 0.1, 0.1)),
        record("random-50", "nnpu", 1, (0.9, 0.8, 0.1, 0.1)),
        record("random-50", "tversky", 3, (0.9, 0.8, 0.1, 0.1)),
    ]
    every = rows(records)
    table = {(row.condition, row.measure): row for row in every if row.loss == "standard"}
    others = {row.loss: row for row in every if (row.condition, row.measure) == ("random-50", "half")}
    assert table["none", "half"].value == pytest.approx(0.75)
    assert table["random-50", "half"].value == pytest.approx(0.75)
    assert table["random-50", "half"].part == pytest.approx(1)
    assert (others["dice-ce"].part, others["dice-ce"].own) == (0.5, 1), "of the baseline's in this seed, and of its own"
    assert others["nnpu"].part == 1
    assert np.isnan(others["tversky"].part), "the baseline was not trained with that seed"
    assert np.isnan(others["nnpu"].own), "it was never trained on all labels"
    assert table["random-50", "half"].spread == pytest.approx(0.5 / np.sqrt(2))
    assert table["random-50", "half_fp"].value == pytest.approx(0.5)
    assert table["random-50", "froc"].value == 1, "the order of scores is right in every run"
    assert table["random-50", "half"].seeds == 2
    assert np.isnan(others["nnpu"].spread)
    with pytest.raises(InputError, match="no result of standard with all labels yet"):
        rows(records[2:])


def test_memory_and_conditions_are_drawn_where_half_is_missing(tmp_path: Path) -> None:
    memory = ({"step": 1.0, "annotated": 0.5, "hidden": 0.1}, {"step": 2.0, "annotated": 1.0, "hidden": 0.0})
    scores = (0.9, 0.8, 0.6, 0.1)
    half = record("random-50", "standard", 1, scores).model_copy(update={"memory": memory})
    write_tables([record("none", "standard", 1, scores), half], tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"memory.png", "by_condition.png", "operating_point.png"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("'none'", "'all'"), "choose_at: .*use none"),
        (("random-50 = 1", "half = 1"), "seeds: .*half = 1: use none"),
        (("weighted-ce", "best-ce"), "losses"),
        (("[fit]", "[fit]\npatches.size = 23"), r"e\.toml: fit: patches\.size 23 is not a multiple of 8"),
        (("[fit]", "[fit]\nbatch = 1\npatches.size = 8"), r"e\.toml: fit: patches\.size 8 leaves one voxel"),
        (("[fit]", "[fit]\nloss.beta = 2"), r"e\.toml: fit\.loss\.beta: .*less than or equal to 1"),
        (
            ("[fit]", "patches.standard.size = 23\n[fit]"),
            r"e\.toml: patches of standard: patches\.size 23 is not a multiple of 8",
        ),
        (("[fit]", "patches.standard.paste = 2\n[fit]"), r"e\.toml: patches of standard: paste: .*less than"),
        (("[fit]", "patches.other.paste = 0.5\n[fit]"), r"e\.toml: patches: other is not among the losses"),
        (("[losses]", "[losses"), "cannot be read as TOML .*; mend it, or check its path$"),
    ],
)
def test_wrong_experiments_are_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    right = "choose_at = 'none'\nseeds = {random-50 = 1}\n[fit]\n[losses]\nstandard = [{kind = 'weighted-ce'}]\n"
    (tmp_path / "e.toml").write_text(right)
    assert read_settings(tmp_path / "e.toml", ExperimentConfig).choose_at == "none"
    (tmp_path / "e.toml").write_text(right.replace(*change))
    with pytest.raises(InputError, match=words):
        read_settings(tmp_path / "e.toml", ExperimentConfig)


def test_the_experiments_that_ship_are_valid() -> None:
    for name in ("censoring", "memorising"):
        path = Path(__file__).parents[2] / "training" / "experiments" / name / f"{name}.toml"
        assert "standard" in read_settings(path, ExperimentConfig).losses
