"""The bundled model's recipe: it is what the model was made by, and the whole of it runs."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from lopsided.errors import InputError
from lopsided.model import bundled_models, load_card, load_model
from lopsided.resources import resource_folder
from lopsided_training.calibration import fit_calibration
from lopsided_training.config import bundled, read_config, read_settings
from lopsided_training.quantise import STUDIES
from lopsided_training.reproduce import Recipe, Studies, reproduce, simulate_studies

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)
REAL = resource_folder() / "SampleStudy" / "t1c.nii.gz"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_settings(bundled("recipes", "default"), Recipe)


def test_the_bundled_model_is_the_recipes(recipe: Recipe) -> None:
    settings = read_config(bundled("configs", recipe.config))
    card = load_card({folder.name: folder for folder in bundled_models()}[recipe.name])
    assert (card.title, card.input, card.architecture) == (recipe.title, settings.input, settings.network)
    assert card.scales == recipe.scales
    made = card.provenance
    assert (made.data, made.evaluated_on, made.limitations) == (recipe.data, recipe.evaluated_on, recipe.limitations)
    assert card.licence == recipe.licence == "Apache-2.0"
    assert (made.steps, made.seed) == (settings.steps, settings.seed)
    assert settings.model_dump_json() in made.command, "every setting of its training"
    assert card.calibration.studies == recipe.calibrate.studies
    assert card.integers is not None
    assert card.integers.data.startswith(f"{STUDIES} studies, digest ")


def test_no_background_is_in_two_datasets(recipe: Recipe) -> None:
    """Or the model would be measured on heads that it knows."""
    used = [set(part.backgrounds) for part in (recipe.train, recipe.calibrate, recipe.evaluate)]
    assert sum(map(len, used)) == len(set.union(*used))


@pytest.fixture
def anatomies(label_map: Path, tmp_path: Path, recipe: Recipe) -> Path:
    folder = tmp_path / "anatomies"
    folder.mkdir()
    for part in (recipe.train, recipe.calibrate, recipe.evaluate):
        for name in part.backgrounds:
            shutil.copyfile(label_map, folder / f"{name}.nii.gz")
    return folder


def test_all_of_it_runs_at_a_small_scale_and_goes_on_where_it_was(
    anatomies: Path, tmp_path: Path, recipe: Recipe
) -> None:
    network = "network={channels=[4,8],encoder_blocks=[1,1],decoder_blocks=[0]}"
    changes = ["steps=300", "batch=1", "learning_rate=1e-2", "patches.size=32", network]
    said: list[str] = []

    def again(recipe: Recipe = recipe) -> Path:
        said.clear()
        return reproduce(
            recipe, anatomies, REAL, tmp_path / "out", changes=changes, studies=3, accelerator="cpu", say=said.append
        )

    def done() -> list[str]:
        return [line.removesuffix(": there already") for line in said if "there already" in line]

    model = load_model(again())
    assert (model.card.name, model.card.licence) == (recipe.name, recipe.licence)
    assert model.card.calibration.studies == 3
    assert model.card.provenance.steps == 300
    assert (model.integers is None) == (find_spec("nncf") is None)
    run = tmp_path / "out" / "run"
    weights = (run / "model.safetensors").stat().st_mtime_ns
    shutil.rmtree(run / "evaluation")
    assert load_model(again()).card.weights_sha256 == model.card.weights_sha256
    parts = ["train", "calibrate", "evaluate", "run"]
    assert done() == (parts := ["train", "calibrate", "evaluate", "run"])
    assert (run / "model.safetensors").stat().st_mtime_ns == weights
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / recipe.name).iterdir()}
    again()
    assert done() == [*parts, "evaluation", "model"] + ["integers"] * bool(find_spec("nncf"))
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / recipe.name).iterdir()} == files
    told = recipe.model_copy(update={"limitations": "others"})
    assert load_card(again(told)).provenance.limitations == "others"
    assert done() == [*parts, "evaluation"]
    assert load_card(again(told.model_copy(update={"scales": (1.1,)}))).scales == (1.1,)
    assert done() == parts
    again(told.model_copy(update={"scales": (1.1,), "false_positives": 3.0}))
    assert done() == parts
    shutil.rmtree(tmp_path / "out" / "train")
    with pytest.raises(InputError, match=r"run: holds a run with other settings, or on other studies; choose another"):
        again(recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 9})}))
    shutil.rmtree(tmp_path / "out" / "train")
    changes.append("seed=2")
    with pytest.raises(InputError, match=r"run: holds a run with other settings, or on other studies; choose another"):
        again()


def test_studies_of_anything_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backgrounds, out = (tmp_path / "a.nii.gz", tmp_path / "real.nii.gz"), tmp_path / "train"
    wanted = Studies(backgrounds=("a", "real"), studies=2, seed=1)
    written = ["records/sim_000001.json"]  # by a simulation that is interrupted

    def simulate(_: list[str], out: Path, **__: object) -> None:
        for name in written:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("{}", encoding="utf-8")

    monkeypatch.setattr("lopsided_training.reproduce.simulate", simulate)

    def said(**update: object) -> str:
        lines: list[str] = []
        other = wanted.model_copy(update=update)
        simulate_studies(other, tmp_path, backgrounds[1], out, sequences=("t1c",), say=lines.append)
        return "".join(lines)

    def refused(**update: object) -> None:
        with pytest.raises(InputError, match=r"train: holds other studies than these \(train\.json\).*another --out$"):
            said(**update)

    for background in backgrounds:
        background.write_bytes(b"0")
    assert said() == "train: simulating 2 studies"
    refused(seed=2)
    written.append("dataset.json")
    assert said() == "train: simulating 2 studies"
    assert said() == "train: there already"
    refused(mean_lesions=3.0)
    refused(studies=1)
    for background in backgrounds:
        background.write_bytes(b"1")
        refused()
        background.write_bytes(b"0")
    (tmp_path / "train.json").unlink()
    refused()
    shutil.rmtree(out)
    assert said(seed=2) == "train: simulating 2 studies"


def test_what_cannot_be_reproduced_is_said(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(InputError, match=r"none of the bundled recipes: default"):
        bundled("recipes", "defualt")
    with pytest.raises(InputError, match="no such background"):
        reproduce(recipe, tmp_path, REAL, tmp_path / "out")
    text = bundled("recipes", "default").read_text(encoding="utf-8")
    wrong = tmp_path / "recipe.toml"
    wrong.write_text(text.replace("studies = 304", "studies = 0"), encoding="utf-8")
    with pytest.raises(InputError, match=r"recipe\.toml: train\.studies"):
        read_settings(wrong, Recipe)
    wrong.write_text(text.replace('config = "default"', 'config = "other"'), encoding="utf-8")
    with pytest.raises(InputError, match=r"none of the bundled configs: deeplab, default$"):
        reproduce(read_settings(wrong, Recipe), tmp_path, REAL, tmp_path / "out")


def test_a_recipe_need_not_state_a_licence(tmp_path: Path) -> None:
    text = bundled("recipes", "default").read_text(encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(text.replace('licence = "Apache-2.0"\n', ""), encoding="utf-8")
    assert read_settings(tmp_path / "recipe.toml", Recipe).licence is None


def test_what_was_trained_too_little_to_calibrate_is_to_be_trained_elsewhere(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For in this folder steps and studies are what they are."""
    for name in ("simulate_studies", "read_dataset", "hashes", "fit"):
        monkeypatch.setattr(f"lopsided_training.reproduce.{name}", lambda *_, **__: None)
    monkeypatch.setattr("lopsided_training.reproduce.evaluate", lambda *_, **__: fit_calibration([]))
    with pytest.raises(
        InputError, match=r"no candidate of 0 hits a lesion; choose another --out, with more steps or studies$"
    ):
        reproduce(recipe, tmp_path, REAL, tmp_path / "out")


def test_bundled_settings_can_be_read() -> None:
    for path in bundled("configs", "default").parent.glob("*.toml"):
        assert read_config(path) == read_config(bundled("configs", path.stem))
