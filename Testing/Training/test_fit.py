"""Training: it learns, a kill at any step makes no difference, and what cannot work is said before it starts."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from lopsided.architectures import DeepLabSizes
from lopsided.dataset.cases import find_cases
from lopsided.errors import InputError
from lopsided.model import bundled_models, load_model
from lopsided.networks import build_network
from lopsided.reading import read_volume
from lopsided.study import searched_voxels
from lopsided.volume import voxel_digest
from lopsided_training import fit as fitting
from lopsided_training import train as training
from lopsided_training.config import FitConfig, PatchConfig, ValidationConfig, read_config
from lopsided_training.dataset import Case, read_dataset
from lopsided_training.losses.settings import (
    LopsidedTeacherConfig,
    LossConfig,
    OracleIgnoreConfig,
    TeacherMiningConfig,
    WeightedCrossEntropyConfig,
)
from lopsided_training.patches import PreparedCase, draw, prepare
from lopsided_training.runs import read_run
from lopsided_training.validation import hold_out
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)


DEEPLAB = DeepLabSizes(channels=(4, 6, 6), blocks=(0, 0, 1), output_stride=4, atrous_rates=(1,), pyramid_channels=6)
VALIDATED = ValidationConfig(folds=3, every=2, cases=1)


def run(dataset: Path, out: Path, config: FitConfig, **options: object) -> list[str]:
    """On cases that are prepared once for all tests of a dataset."""
    lines: list[str] = []
    options = {"cache": dataset.parent / "cache"} | options
    fitting.fit(dataset, out, config, accelerator="cpu", say=lines.append, **options)  # type: ignore[arg-type]
    return lines


@pytest.mark.parametrize("network", [None, DEEPLAB], ids=["residual-unet-3d", "deeplabv3-2.5d"])
def test_training_learns(dataset: Path, tmp_path: Path, small: FitConfig, network: DeepLabSizes | None) -> None:
    patches = PatchConfig(size=16, on_lesion=1.0, on_bright=0.0, drop=0.0)
    changes = {"steps": 150, "learning_rate": 1e-2, "checkpoint_every": 150, "patches": patches}
    changes["network"] = network or small.network
    lines = run(dataset, tmp_path, small.model_copy(update=changes))
    assert lines[0].startswith("3 cases to train on with ")
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]
    assert len(losses) == 3
    assert losses[2] < 0.8 * losses[0]
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """The training in the block is."""
    computed, calls = training.training_loss, []

    def killed(*arguments: object, **settings: object) -> object:
        calls.append(1)
        if len(calls) == step:
            raise Killed
        return computed(*arguments, **settings)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "training_loss", killed)
        yield


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory, small: FitConfig) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(dataset, folder, small.model_copy(update={"validation": VALIDATED}))
    return folder


def same_end(one: Path, other: Path) -> None:
    states = [torch.load(folder / "checkpoint.ckpt", weights_only=True) for folder in (one, other)]
    for name, tensor in states[0]["model"].items():
        assert torch.equal(tensor, states[1]["model"][name]), name
    runs = [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in (one, other)]
    for key in ("steps", "history", "best_step", "held_out", "data_sha256"):
        assert runs[0][key] == runs[1][key], key
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_a_killed_run_goes_on_and_ends_the_same(
    dataset: Path, tmp_path: Path, whole: Path, small: FitConfig, step: int
) -> None:
    config = small.model_copy(update={"validation": VALIDATED})
    with killed_at(step):
        run(dataset, tmp_path, config)
    assert not (tmp_path / "run.json").exists()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in ("config.json", "data.json")}
    begun = (tmp_path / "checkpoint.ckpt").exists()
    lines = run(dataset, tmp_path, config)
    after = {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    assert (after == before) == begun, "a kill could lose them"
    kept = (step - 1) // config.checkpoint_every * config.checkpoint_every
    assert (f"resumed at step {kept}" in lines) == (kept > 0)
    same_end(whole, tmp_path)


def test_a_killed_run_keeps_its_teacher(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    unlooked = Path(shutil.copytree(dataset, tmp_path / "data", ignore=shutil.ignore_patterns("trust")))
    config = small.model_copy(update={"loss": LopsidedTeacherConfig(variant="soft", decay=0.5, warm_up=1)})
    run(unlooked, tmp_path / "whole", config)
    with killed_at(6):
        run(unlooked, tmp_path / "killed", config)
    assert "resumed at step 4" in run(unlooked, tmp_path / "killed", config)
    ends = [torch.load(tmp_path / n / "checkpoint.ckpt", weights_only=True)["teacher"] for n in ("whole", "killed")]
    assert ends[0]["n_averaged"] == small.steps
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    same_end(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    "victim", ["config.partial", "data.partial", "checkpoint.partial", "best.partial", "last.partial"]
)
def test_a_kill_while_files_are_written_leaves_those_before(
    dataset: Path, tmp_path: Path, whole: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    config = small.model_copy(update={"validation": VALIDATED})
    replace, written = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        written.append(self.name)
        if self.name == victim and (victim != "checkpoint.partial" or written.count(victim) == 2):
            self.write_bytes(self.read_bytes()[: self.stat().st_size // 2])
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", killed)
        run(dataset, tmp_path, config)
    run(dataset, tmp_path, config)
    same_end(whole, tmp_path)


def test_a_finished_run_stays_as_it_is(dataset: Path, whole: Path, small: FitConfig) -> None:
    before = (whole / "model.safetensors").read_bytes()
    lines = run(dataset, whole, small.model_copy(update={"validation": VALIDATED}))
    assert "resumed at step 6" in lines
    assert (whole / "model.safetensors").read_bytes() == before


def test_the_best_weights_are_kept_and_training_may_end_early(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    weights = []

    def measure(network: torch.nn.Module, _: object) -> dict[str, float]:
        weights.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return {"froc": next(found)}

    monkeypatch.setattr(fitting, "validate", measure)
    validation = VALIDATED.model_copy(update={"patience": 2, "every": 1})
    lines = run(dataset, tmp_path, small.model_copy(update={"validation": validation, "steps": 20}))
    assert lines[-1] == "step 4: no better since step 2, so it ends here"
    kept = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights[1].items())
    assert not all(torch.equal(kept[name], tensor) for name, tensor in weights[3].items())
    facts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (facts["steps"], facts["best_step"]) == (4, 2)
    assert run(dataset, tmp_path, small.model_copy(update={"validation": validation, "steps": 20}))[1:] == [
        "resumed at step 4"
    ]


def test_patients_are_not_split_between_training_and_validation(tmp_path: Path) -> None:
    cases = [Case(f"{p}-{n}", f"P{p}", {}, Path()) for p in range(7) for n in range(2)]
    config = ValidationConfig(folds=3, fold=1)
    training_cases, held = hold_out(cases, config, seed=4)
    assert {c.patient for c in training_cases}.isdisjoint(c.patient for c in held)
    assert len(training_cases) + len(held) == 14
    every = [hold_out(cases, config.model_copy(update={"fold": n}), seed=4)[1] for n in range(3)]
    assert sorted(c.name for part in every for c in part) == sorted(c.name for c in cases)
    with pytest.raises(
        InputError, match=r"14 cases of 7 patients \(P0, P1, P2, …\) cannot be .* 8 folds; set validation\.folds"
    ):
        hold_out(cases, ValidationConfig(folds=8), seed=4)
    with pytest.raises(
        InputError, match=r"2 cases of 1 patient \(P0\) cannot be split into 3 folds; .* in a CSV, under patient"
    ) as refused:
        hold_out(cases[:2], config, seed=4)
    named = re.findall(r"[\w-]+-\d{3}", str(refused.value))
    for name in named:
        (tmp_path / f"{name}-t1c.nii.gz").touch()
    assert [case.patient for case in find_cases(tmp_path)] == ["MET-00005"] * 2


def test_the_teacher_sees_what_the_network_sees_and_lags_behind(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, called, make = [], training.training_loss, training.make_teacher

    def watched(config: LossConfig, logits: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        taught = named["teacher_logits"]
        assert isinstance(taught, torch.Tensor)
        assert not taught.requires_grad
        assert taught.shape == logits.shape
        return called(config, logits, *rest, **named)  # type: ignore[arg-type]

    def made(config: LossConfig, network: nn.Module) -> AveragedModel | None:
        teacher = make(config, network)
        assert teacher
        pairs.append((teacher, network))
        return teacher

    monkeypatch.setattr(training, "training_loss", watched)
    monkeypatch.setattr(training, "make_teacher", made)
    config = small.model_copy(update={"loss": TeacherMiningConfig(decay=0.9), "learning_rate": 1e-2})
    run(dataset, tmp_path, config)
    ((teacher, network),) = pairs
    assert teacher.n_averaged == config.steps
    apart = {
        name: float((tensor - network.state_dict()[name]).abs().max())
        for name, tensor in teacher.module.state_dict().items()
    }
    assert 1e-3 < apart["stem.0.weight"] < 1
    assert 0 < apart["stem.1.running_mean"] < 1, "statistics are averaged too"


def test_an_oracle_is_refused_where_nobody_knows_what_is_missing(
    dataset: Path, tmp_path: Path, small: FitConfig
) -> None:
    config = small.model_copy(update={"loss": OracleIgnoreConfig()})
    with pytest.raises(InputError, match=r"loss\.kind oracle-ignore: .*choose another loss\.kind"):
        run(dataset, tmp_path, config)


def test_two_processes_train_one_network(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    """Each rank draws other patches; the gradients' mean is what both step by, so both end with the same weights."""
    content = small.model_dump_json(exclude={"loaders"})
    script = (
        "import sys; from pathlib import Path\n"
        "from lopsided_training.config import FitConfig\n"
        "from lopsided_training.fit import fit\n"
        "config = FitConfig.model_validate_json(sys.argv[1])\n"
        "fit(Path(sys.argv[2]), Path(sys.argv[3]), config, accelerator='cpu', devices=2)\n"
    )
    (tmp_path / "train.py").write_text(script)
    out = tmp_path / "run"
    command = [sys.executable, str(tmp_path / "train.py"), content, str(dataset), str(out)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["machine"].startswith("2 x cpu")
    assert done.stdout.count("step 6/6") == 1, "only the first process speaks"
    assert (out / "data.json").exists(), "or it could go on with other data"
    run(dataset, tmp_path / "alone", small)
    one, two = (load_file(folder / "model.safetensors") for folder in (tmp_path / "alone", out))
    assert not all(torch.equal(one[name], two[name]) for name in one), "the second process had no say"


def test_what_ends_one_process_is_no_fault_of_the_other(dataset: Path, tmp_path: Path) -> None:
    script = (
        "import lopsided_training.train as training\n"
        "from lopsided.errors import InputError\n"
        "from lopsided_training.cli import main\n"
        "def full(path):\n"
        "    raise InputError(f'{path}: cannot be written')\n"
        "training.whole = full  # what the first process alone does\n"
        "main()\n"
    )
    (tmp_path / "train.py").write_text(script)
    settings = "batch = 1\ncheckpoint_every = 1\n[patches]\nsize = 16\n[validation]\nfolds = 0\n"
    (tmp_path / "c.toml").write_text(settings)
    command = [sys.executable, str(tmp_path / "train.py"), "fit", str(dataset), "--out", str(tmp_path / "run")]
    command += ["--config", str(tmp_path / "c.toml"), "--accelerator", "cpu", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert done.returncode == 2
    assert "checkpoint.ckpt: cannot be written" in done.stderr
    assert "internal error" not in done.stderr


def test_it_starts_from_a_model(dataset: Path, tmp_path: Path, small: FitConfig, model_folder: Path) -> None:
    card = load_model(model_folder).card
    config = small.model_copy(
        update={"network": card.architecture, "input": card.input, "steps": 1, "learning_rate": 1e-12}
    )
    said = run(dataset, tmp_path / "run", config, start_from=model_folder)
    assert len([line for line in said if "`evaluate` cannot refuse them; measure on others" in line]) == 1
    said = run(dataset, tmp_path / "second", config, start_from=tmp_path / "run")
    assert len([line for line in said if "the model that it began with was trained is not written down" in line]) == 1
    run(dataset, tmp_path / "third", config, start_from=tmp_path / "second")
    assert read_run(tmp_path / "third").began_with_a_model()
    weights = load_file(tmp_path / "run" / "model.safetensors")
    learnt = dict(build_network(4, card.architecture).named_parameters())  # statistics move with every step
    for name, array in load_model(model_folder).weights.items():
        if name in learnt:
            assert torch.allclose(weights[name], torch.from_numpy(array), atol=1e-6), name
    with pytest.raises(InputError, match="another architecture or input than"):
        run(dataset, tmp_path / "other", small, start_from=model_folder)
    assert not (tmp_path / "other" / "config.json").exists()
    with pytest.raises(InputError, match="another architecture or input than"):
        run(dataset, tmp_path / "other", small, start_from=Path(bundled_models()[0].name))


def test_it_goes_on_from_a_run_and_says_so(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    run(dataset, tmp_path / "first", small)
    elsewhere = tmp_path / "first" / "run.json"
    facts = json.loads(elsewhere.read_text(encoding="utf-8")) | {"machine": "1 x another"}
    elsewhere.write_text(json.dumps(facts), encoding="utf-8")
    second = small.model_copy(update={"seed": 2, "learning_rate": 1e-12})
    run(dataset, tmp_path / "second", second, start_from=tmp_path / "first")
    elsewhere.write_text(
        json.dumps(facts | {"cases": {n: c | {"t1c": "of another file"} for n, c in facts["cases"].items()}})
    )
    watched = small.model_copy(update={"validation": VALIDATED})
    said = run(dataset, tmp_path / "third", watched, start_from=tmp_path / "first")
    assert not [line for line in said if "not written down" in line]
    [learnt_before] = [line for line in said if "has learnt from them" in line]
    assert learnt_before.endswith(read_run(tmp_path / "third").facts["held_out"][0])
    first_weights, weights = (load_file(tmp_path / n / "model.safetensors") for n in ("first", "second"))
    learnt = dict(build_network(len(small.input.sequences), small.network).named_parameters())
    assert all(torch.allclose(weights[name], first_weights[name], atol=1e-6) for name in learnt)
    made = read_run(tmp_path / "second").model().card.provenance
    assert made.steps == 2 * small.steps
    here = json.loads((tmp_path / "second" / "run.json").read_text(encoding="utf-8"))["machine"]
    assert made.machine == f"1 x another; then {here}"
    for config in (small, second):
        assert config.model_dump_json() in made.command
    knows = list(read_run(tmp_path / "second").trained_on())
    assert len(knows) == 6
    assert knows[:3] == knows[3:]
    images = {case.name: voxel_digest(read_volume(case.images["t1c"])) for case in read_dataset(dataset)}
    assert {seen.name: seen.patient for seen in knows} == {name: c["patient"] for name, c in facts["cases"].items()}
    assert all(seen.images == {facts["cases"][seen.name]["t1c"], images[seen.name]} for seen in knows)


def without(dataset: Path, out: Path, *names: str) -> Path:
    """A list of the dataset's cases without these sequences."""
    with out.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "t1c", "t1", "t2", "flair", "annotation"])
        for case in read_dataset(dataset):
            images = ["" if name in names else case.images[name] for name in ("t1c", "t1", "t2", "flair")]  # type: ignore[index]
            rows.writerow([case.name, *images, case.label])
    return out


def test_a_sequence_that_it_was_never_shown_is_no_input_of_the_network(
    dataset: Path, tmp_path: Path, small: FitConfig
) -> None:
    """Its weights would be those that chance gave it."""
    alone = without(dataset, tmp_path / "alone.csv", "t1", "t2", "flair")
    said = run(alone, tmp_path / "run", small)
    assert said[0] == "no case to train on has t1, t2, flair: the network does not take them"
    assert "resumed at step 6" in run(alone, tmp_path / "run", small)
    finished = read_run(tmp_path / "run")
    assert finished.config == small.model_copy(update={"input": finished.model().card.input})
    assert finished.config.input == small.input.model_copy(update={"sequences": small.input.sequences[:1]})
    run(alone, tmp_path / "on", small, start_from=tmp_path / "run")
    with pytest.raises(InputError, match=r"holds a run with other data.*data\.json"):
        run(dataset, tmp_path / "run", small)
    run(dataset, tmp_path / "four", small)
    two = without(dataset, tmp_path / "two.csv", "t1", "t2")
    said = run(two, tmp_path / "more", small, start_from=tmp_path / "four")
    assert not [line for line in said if "does not take" in line], "the model knows them"
    assert read_run(tmp_path / "more").config == small
    run(two, tmp_path / "two", small)
    assert [sequence.name for sequence in read_run(tmp_path / "two").config.input.sequences] == ["t1c", "flair"]
    (_, t1, *others) = small.input.sequences
    needed = (small.input.sequences[0], t1.model_copy(update={"required": True}), *others)
    config = small.model_copy(update={"input": small.input.model_copy(update={"sequences": needed})})
    with pytest.raises(InputError, match="needs T1 of the same study too"):
        run(alone, tmp_path / "needed", config)


def test_a_run_folder_of_other_settings_is_refused(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    run(dataset, tmp_path, small)
    with pytest.raises(InputError, match="other settings"):
        run(dataset, tmp_path, small.model_copy(update={"seed": 2}))


def test_a_loss_scaled_too_far_is_scaled_less_and_training_goes_on(
    dataset: Path, tmp_path: Path, small: FitConfig
) -> None:
    """In half precision: steps whose gradients overflow are left out, and how far it was scaled is kept."""
    config = small.model_copy(update={"precision": "16-mixed", "loss": WeightedCrossEntropyConfig()})
    cases = prepare(read_dataset(dataset), config, tmp_path / "cache")

    def scaled(steps: int) -> float:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
        fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
        network = build_network(len(config.input.sequences), config.network)
        assert (
            training.train(
                fabric, network, cases, config, tmp_path, stop=lambda: steps < config.steps, say=lambda line: None
            )
            is None
            or steps == config.steps
        )
        assert all(torch.isfinite(weight).all() for weight in network.state_dict().values())
        return float(scaler.get_scale())

    first = scaled(config.checkpoint_every)
    assert first == 2.0 ** (40 - config.checkpoint_every)
    assert scaled(config.steps) == 2.0 ** (40 - config.steps), "not from the beginning again"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_that_runs_away_says_which_setting_to_change(
    dataset: Path, tmp_path: Path, small: FitConfig, precision: str
) -> None:
    config = small.model_copy(update={"learning_rate": 1e30, "precision": precision})
    instead = "lower learning_rate" + (", or set precision to 32-true" if precision != "32-true" else "")
    with pytest.raises(InputError, match=f"at step [1-6]: training has run away; {instead}$"):
        run(dataset, tmp_path, config)


def test_gradients_that_are_not_finite_are_said_as_a_loss_is(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = training.training_loss

    def steep(config: LossConfig, logits: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        return computed(config, logits, *rest, **named) + (0 * logits.sum()).sqrt()  # type: ignore[arg-type]

    monkeypatch.setattr(training, "training_loss", steep)
    with pytest.raises(InputError, match=r"the norm of the gradients is nan at step 0: .*lower learning_rate"):
        run(dataset, tmp_path, small)


@pytest.mark.parametrize(
    ("accelerator", "why"),
    [
        ("gpuu", "invalid accelerator name"),
        pytest.param(
            "cuda", "not available", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
        ),
    ],
)
def test_an_accelerator_that_is_not_here_is_refused(
    dataset: Path, tmp_path: Path, small: FitConfig, accelerator: str, why: str
) -> None:
    with pytest.raises(InputError, match=rf"--accelerator {accelerator}.*{why}.*\); try --accelerator auto or cpu$"):
        fitting.fit(dataset, tmp_path / "run", small, accelerator=accelerator)
    assert not (tmp_path / "run").exists()


def test_as_many_processes_as_a_job_has_not_are_refused(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of SLURM, which starts them."""
    job = {"JOB_NAME": "fit", "NTASKS": "4", "NTASKS_PER_NODE": "4", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InputError, match=r"--devices 2: .*ntasks-per-node=4.*, or lower --devices$"):
        run(dataset, tmp_path / "run", small, devices=2)


def test_too_little_memory_is_said_with_what_to_lower(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.\nframe #0")

    monkeypatch.setattr(training, "training_loss", short)
    with pytest.raises(InputError, match=r"^not enough memory \(.*8 bytes\.\); lower batch or patches\.size$"):
        run(dataset, tmp_path, small)


@pytest.mark.parametrize("left", [0, 100, 20000])
def test_a_damaged_checkpoint_is_said_to_be_that(dataset: Path, tmp_path: Path, small: FitConfig, left: int) -> None:
    run(dataset, tmp_path, small)
    checkpoint = tmp_path / "checkpoint.ckpt"
    whole = checkpoint.read_bytes()
    assert len(whole) > left
    checkpoint.write_bytes(whole[:left])
    with pytest.raises(InputError, match=r"checkpoint\.ckpt: is damaged \(.+\); delete it to begin again$"):
        run(dataset, tmp_path, small)
    checkpoint.unlink()
    run(dataset, tmp_path, small)


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(
    dataset: Path, tmp_path: Path, whole: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small.model_copy(update={"validation": VALIDATED})
    save, saved = Fabric.save, []

    def full(self: Fabric, path: Path, state: dict[str, object]) -> None:
        saved.append(path)
        if len(saved) > 1:
            path.write_bytes(b"what there was space for")
            raise OSError(28, "No space left on device")
        save(self, path, state)

    with monkeypatch.context() as patch:
        patch.setattr(Fabric, "save", full)
        with pytest.raises(InputError, match=r"checkpoint\.ckpt: cannot be written \(No space left on device\); free"):
            run(dataset, tmp_path, config)
    assert not list(tmp_path.glob("*.partial"))
    assert "resumed at step 2" in run(dataset, tmp_path, config)
    same_end(whole, tmp_path)


def test_a_run_is_no_file(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match=r"run: cannot be written \(Not a directory\); .*choose another --out"):
        run(dataset, tmp_path / "run", small)


def test_a_run_that_began_on_other_data_is_refused(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    """Or cases that were trained on may be held out when it goes on, and run.json says what is not so."""
    changed = tmp_path / "changed"
    shutil.copytree(dataset, changed)
    label = next(iter(sorted((changed / "labelsTr").iterdir())))
    sitk.WriteImage(sitk.ReadImage(str(label)) * 0, str(label))
    run(dataset, tmp_path / "run", small)
    with pytest.raises(InputError, match=r"holds a run with other data, or another start \(data\.json\)"):
        run(changed, tmp_path / "run", small)
    with pytest.raises(InputError, match="another start"):
        run(dataset, tmp_path / "run", small, start_from=tmp_path / "run")
    (tmp_path / "run" / "checkpoint.ckpt").unlink()
    with pytest.raises(InputError, match="other data"):
        run(changed, tmp_path / "run", small)  # it ended
    (tmp_path / "run" / "run.json").unlink()  # it had not begun
    run(changed, tmp_path / "run", small)


def test_until_training_begins_its_folder_is_free(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    """For what the refusal advises: other settings, or mended data."""
    empty = tmp_path / "data"
    shutil.copytree(dataset, empty)
    for label in (empty / "labelsTr").iterdir():
        sitk.WriteImage(sitk.ReadImage(str(label)) * 0, str(label))
    with pytest.raises(InputError, match=r"not one lesion is annotated in the cases to train on; add labels$"):
        run(empty, tmp_path / "run", small)
    mistyped = small.model_copy(update={"lesion_labels": (1,)})
    with pytest.raises(InputError, match=r"add labels, or see whether lesion_labels \[1\] are those of lesions$"):
        run(empty, tmp_path / "run", mistyped)
    run(dataset, tmp_path / "run", small.model_copy(update={"seed": 2}))


def test_a_folder_that_holds_something_else_is_refused(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty \(report\.html\); choose another folder"):
        run(dataset, tmp_path, small)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "report.html").unlink()
    for name in (".DS_Store", "fit.log"):
        (tmp_path / name).touch()
    run(dataset, tmp_path, small.model_copy(update={"steps": 1}))


def test_two_processes_leave_a_folder_of_something_else_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / ".c.toml").write_text("[validation]\nfolds = 0\n")
    command = [sys.executable, "-m", "lopsided_training", "fit", str(dataset), "--out", str(tmp_path)]
    command += ["--config", str(tmp_path / ".c.toml"), "--accelerator", "cpu", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert done.returncode == 2
    assert "is not empty (report.html)" in done.stderr
    assert "internal error" not in done.stderr, "what one refuses the other does not call a fault"
    assert {path.name for path in tmp_path.iterdir()} == {".c.toml", "report.html"}


def test_other_lesions_are_prepared_anew(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    found = []
    for lesion in (frozenset({1}), frozenset({7})):
        (case, *_) = (replace(case, lesion=lesion) for case in read_dataset(dataset))
        found.append(len(prepare([case], small, tmp_path)[0].centres))
    assert found[0] > 0
    assert found[1] == 0


def test_lesions_out_of_sight_are_counted(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = prepare(read_dataset(dataset), small, tmp_path / "cache")
    (first, *others) = (replace(case, left_out=n) for n, case in enumerate(cases))
    monkeypatch.setattr(fitting, "prepare", lambda *_: [first, *others])
    lines = run(dataset, tmp_path / "run", small)
    names = f"1 lesion of {others[0].name}, 2 lesions of {others[1].name}"
    assert lines[0] == f"outside of the brain, where the network sees nothing, and so left out: {names}"


def test_cases_with_lesions_are_watched_first(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or, of many held out, none that has any may be among the first by name."""
    cases = read_dataset(dataset)
    every = [replace(case, name=f"{n:02d}", patient=f"P{n}") for n, case in enumerate(cases * 2)]
    config = small.model_copy(update={"validation": ValidationConfig(folds=2, cases=2, every=6)})
    held = [case.name for case in hold_out(every, config.validation, config.seed)[1]]
    prepared = [
        replace(case, name=one.name) for case, one in zip(prepare(cases, small, tmp_path) * 2, every, strict=True)
    ]
    watched: list[list[str]] = []

    def measure(_: nn.Module, cases: list[PreparedCase]) -> dict[str, float]:
        watched.append([case.name for case in cases])
        return {"froc": 0.0}

    def lesions_in(*names: str) -> None:
        emptied = {name for name in held if name not in names}
        told = [replace(case, centres=case.centres[: 0 if case.name in emptied else None]) for case in prepared]
        monkeypatch.setattr(fitting, "prepare", lambda *_: told)

    monkeypatch.setattr(fitting, "read_dataset", lambda *_: every)
    monkeypatch.setattr(fitting, "validate", measure)
    lesions_in(held[2])
    run(dataset, tmp_path / "run", config)
    assert watched == [[held[2], held[0]]]
    lesions_in()
    with pytest.raises(InputError, match="not one lesion is annotated in the 3 cases held out; choose another"):
        run(dataset, tmp_path / "none", config)


def test_a_cache_that_does_not_fit_is_refused_before_training(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"2 more cases need about .* GB, and 0\.0 GB are free; free some space"):
        run(dataset, tmp_path, small, cache=tmp_path / "cache")


def test_cases_prepared_side_by_side_are_the_same(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    cases = read_dataset(dataset)
    one, two = (prepare(cases, small, tmp_path / str(jobs), jobs) for jobs in (1, 2))
    assert [case.name for case in two] == [case.name for case in cases]
    for first, second in zip(one, two, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.lesion, second.lesion)
    broken = [replace(cases[0], name="a"), replace(cases[1], name="b", label=cases[1].images["t1c"])]
    with pytest.raises(InputError, match=cases[1].images["t1c"].name):
        prepare(broken, small, tmp_path / "broken", 2)


def test_each_scale_is_for_as_many_cases_and_for_no_head_alone(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    """Simulated studies take their heads in turn."""
    scales, heads = (1.0, 0.9, 0.8), 3
    case = read_dataset(dataset)[0]
    cases = [replace(case, name=f"{n:02d}") for n in range(9 * heads)]
    seen = [case.spacing_mm for case in prepare(cases, small.model_copy(update={"scales": scales}), tmp_path)]
    assert sorted(Counter(seen).values()) == [9, 9, 9]
    assert all(len(set(seen[head::heads])) > 1 for head in range(heads))


def test_cases_are_seen_at_each_scale(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    cases = read_dataset(dataset)[:2]
    plain = prepare(cases, small, tmp_path)
    first, second = prepare(cases, small.model_copy(update={"scales": (1.0, 0.5)}), tmp_path)
    assert np.array_equal(first.image, plain[0].image)
    (searched,) = searched_voxels(cases[1].study(), small.input, (0.5,))
    assert second.spacing_mm == pytest.approx(searched)
    assert searched[:2] == pytest.approx((searched[2] / 2,) * 2), "its slices are thick"
    assert 0.5 < searched[0] < plain[1].spacing_mm[0]
    finer = np.prod(plain[1].spacing_mm) / np.prod(searched)
    assert second.lesion.sum() == pytest.approx(finer * plain[1].lesion.sum(), rel=0.2)
    assert len(second.centres) == len(plain[1].centres)
    assert all(second.lesion[tuple(centre)] for centre in np.round(second.centres).astype(int))
    weighs = small.patches.model_copy(update={"small": 1.5, "on_lesion": 1.0, "on_bright": 0.0})
    weights = [draw([case], weighs, 40, np.random.default_rng(0)).emphasis for case in (plain[1], second)]
    one, other = (float(torch.as_tensor(weight).max()) for weight in weights)
    assert other == pytest.approx(one, rel=0.2), "by millimetres, not voxels"


def test_thick_slices_are_seen_as_they_are_searched(dataset: Path, tmp_path: Path, small: FitConfig) -> None:
    case = read_dataset(dataset)[0]
    files = {"t1c": case.images["t1c"], "label": case.label, "trust": case.trust}
    for name, path in files.items():
        assert path
        image = sitk.ReadImage(str(path))
        i, j, k = image.GetSpacing()
        image.SetSpacing((i, j, 5 * k))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    images = {"t1c": tmp_path / "t1c.nii.gz"}
    thick = replace(case, images=images, label=tmp_path / "label.nii.gz", trust=tmp_path / "trust.nii.gz")
    (seen,) = prepare([thick], small.model_copy(update={"scales": (0.5,)}), tmp_path / "cache")
    study = thick.study()
    (searched,) = searched_voxels(study, small.input, (0.5,))
    assert seen.spacing_mm == pytest.approx(searched)
    assert searched[2] > 1.9 * searched[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = 0", "steps"),
        ("stepz = 5", "stepz: no such setting"),
        ("seed = -1", "seed"),
        ("lesion_labels = [0]", r"lesion_labels\.0: .*greater than or equal to 1"),
        ("learning_rate = inf", "learning_rate: .*finite"),
        ("weight_decay = inf", "weight_decay: .*finite"),
        ("batch = 1\npatches.size = 8", "one voxel on the network's lowest level.*larger patches.size"),
        ("[loss]\nbeta = 2", r"loss\.beta"),
        ("[patches]\nsize = 20", "patches.size 20 is not a multiple of 8"),
        (
            '[input]\nspacing_mm = [1, 1, 1]\nclip = [-5, 10]\nsequences = [{ name = "t2" }, { name = "t1c" }]',
            "input: .*begin with t1c",
        ),
        ("[network]\nchannels = [8, 16]", r"network\.encoder_blocks: Field required"),
        ('[network]\nkind = "mixer"', r"network\.kind: .*'mixer'.*'residual-unet-3d', 'deeplabv3-2.5d'"),
        ('[network]\nkind = "deeplabv3-2.5d"\nslices = 4', "network: .*4 slices have none in"),
        ('patches.size = 40\n[network]\nkind = "deeplabv3-2.5d"\noutput_stride = 16', "40 is not a multiple of 16"),
        ("steps = ", "TOML .*; mend it, or check its path$"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_config(tmp_path / "c.toml")


def test_a_flag_goes_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("steps = 7\n[loss]\nalpha = 3.0\n")
    config = read_config(tmp_path / "c.toml", ["loss.beta=0.25", "steps=9", 'precision="bf16-mixed"'])
    assert (config.steps, config.loss.alpha, config.loss.beta, config.precision) == (9, 3.0, 0.25, "bf16-mixed")
    with pytest.raises(InputError, match=r"--set loss\.betta=1: loss\.betta: no such setting"):
        read_config(tmp_path / "c.toml", ["loss.betta=1"])
    with pytest.raises(
        InputError, match=r"--set loss\.kind=\"mean-teacher\": loss\.kind: .*'mean-teacher'.*'lopsided-teacher'"
    ):
        read_config(tmp_path / "c.toml", ['loss.kind="mean-teacher"'])
    (tmp_path / "wrong.toml").write_text("stepz = 7\n")
    with pytest.raises(InputError, match=r"wrong\.toml: stepz: no such setting"):
        read_config(tmp_path / "wrong.toml", ["steps=9"])
    with pytest.raises(InputError, match=r"text needs quotes: --set 'loss\.kind=\"weighted-ce\"'$"):
        read_config(None, ["loss.kind=weighted-ce"])
    for value in ("1,5", "007", "[1,"):
        with pytest.raises(InputError, match=r"cannot be read as TOML \(.*\); write NAME=VALUE, as steps=20000$"):
            read_config(None, [f"steps={value}"])
    one_slice = ["batch=1", "patches.size=8", 'network={kind="deeplabv3-2.5d",output_stride=8}']
    assert read_config(None, one_slice).patches.size == 8


def test_a_network_of_no_kind_is_a_residual_u_net(tmp_path: Path, small: FitConfig) -> None:
    sizes = "channels = [4, 6]\nencoder_blocks = [0, 1]\ndecoder_blocks = [1]"
    (tmp_path / "c.toml").write_text(f"[network]\n{sizes}")
    assert read_config(tmp_path / "c.toml", ["patches.size=16"]).network == small.network
    (tmp_path / "c.toml").write_text('[network]\nkind = "deeplabv3-2.5d"')
    assert read_config(tmp_path / "c.toml").network == DeepLabSizes()
