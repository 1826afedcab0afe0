"""Model folders: read whole, or refused in words."""

import hashlib
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lopsided.architectures import DeepLabSizes
from lopsided.errors import InputError
from lopsided.model import ModelCard, bundled_models, find_model, load_card, load_model
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "model.json").write_text(json.dumps(content))


def test_a_good_folder_loads_and_names_itself(model_folder: Path) -> None:
    model = load_model(model_folder)
    assert model.card.name == "small"
    assert model.card.digest == model.card.computed_digest()
    assert "stem.0.weight" in model.weights


def test_a_changed_byte_in_the_weights_is_refused(copy: Path) -> None:
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="hash is not the one"):
        load_model(copy)


def test_truncated_weights_are_refused(copy: Path) -> None:
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_model(copy)


@pytest.mark.parametrize("of", [torch.bfloat16, torch.float8_e4m3fn])
def test_weights_that_numpy_has_no_type_for_are_refused(copy: Path, of: torch.dtype) -> None:
    save_file({"a": torch.zeros(3, dtype=of)}, copy / "model.safetensors")
    digest = hashlib.sha256((copy / "model.safetensors").read_bytes()).hexdigest()
    card = load_card(copy).model_copy(update={"weights_sha256": digest}).signed()
    (copy / "model.json").write_text(card.model_dump_json(), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.safetensors: not a safetensors file that can be used"):
        load_model(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(threshold=0.49), "digest does not match"),
        (lambda c: c["architecture"].update(channels=[4, 6, 9]), "digest does not match"),
        (lambda c: c.update(format_version=2), "format_version is 2, this software reads 1"),
        (lambda c: c.pop("format_version"), "format_version is None"),
        (lambda c: c.pop("calibration"), "calibration: Field required"),
        (lambda c: c.update(surprise=1), "surprise: Extra inputs"),
        (lambda c: c["architecture"].update(decoder_blocks=[1]), "decoder_blocks"),
        (lambda c: c["architecture"].update(kind="deeplabv3-2.5d"), "encoder_blocks: Extra inputs"),
        (
            lambda c: c["architecture"].update(kind="mixer"),
            "architecture: .*'mixer'.*'residual-unet-3d', 'deeplabv3-2.5d'",
        ),
        (lambda c: c["input"].update(sequences=[{"name": "t1"}]), "t1c"),
        (lambda c: c["input"].update(clip=[-math.inf, 10]), r"input\.clip\.0: Input should be a finite number"),
        (lambda c: c["input"].update(spacing_mm=[1, 1, math.nan]), r"input\.spacing_mm\.2: Input should be a finite"),
        (lambda c: c["calibration"].update(intercept=math.nan), r"calibration\.intercept: Input should be a finite"),
        (lambda c: c["calibration"].update(peak=-1), r"calibration\.peak: Input should be greater than 0"),
    ],
)
def test_a_changed_card_is_refused_by_name(copy: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    edit(copy, change)
    with pytest.raises(InputError, match=words) as caught:
        load_model(copy)
    assert str(copy / "model.json") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slices": 4}, "4 slices have none in their middle"),
        ({"slices": -5}, "slices: Input should be greater than 0"),
        ({"channels": [4, 6]}, "2 channels need 2 blocks"),
        ({"channels": [4, 0, 8]}, "channels.1: Input should be greater than 0"),
        ({"blocks": [0, -1, 1]}, "blocks.1: Input should be greater than or equal to 0"),
        ({"output_stride": 8}, "an output_stride of 8 needs more channels than 3"),
        ({"output_stride": 6}, "output_stride: Input should be 4, 8 or 16"),
        ({"atrous_rates": []}, "atrous_rates: Tuple should have at least 1 item"),
        ({"atrous_rates": [0]}, "atrous_rates.0: Input should be greater than 0"),
        ({"pyramid_channels": 0}, "pyramid_channels: Input should be greater than 0"),
    ],
)
def test_sizes_that_make_no_deeplab_are_refused_by_name(
    deeplab_folder: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = Path(shutil.copytree(deeplab_folder, tmp_path / "copy"))
    edit(folder, lambda c: c["architecture"].update(change))
    with pytest.raises(InputError, match=words):
        load_model(folder)


def test_a_card_says_which_network_it_is(deeplab_folder: Path) -> None:
    card = load_model(deeplab_folder).card
    assert isinstance(card.architecture, DeepLabSizes)
    assert card.architecture.atrous_rates == (1, 2)
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_a_card_without_a_kind_is_a_residual_u_net(copy: Path) -> None:
    before = load_model(copy).card
    edit(copy, lambda c: c["architecture"].pop("kind"))
    assert load_model(copy).card == before
    assert before.architecture.kind == "residual-unet-3d"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '"text"', "\x00", "[" * 200_000, "1" * 5_000],
    ids=["nothing", "cut", "a list", "a text", "binary", "nested", "a long number"],
)
def test_what_is_not_json_is_refused(copy: Path, content: str) -> None:
    (copy / "model.json").write_text(content)
    with pytest.raises(InputError, match=r"model\.json"):
        load_model(copy)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    names = [folder.name for folder in bundled_models()]
    assert names, "a model ships with the project"
    with pytest.raises(InputError, match=names[0]):
        find_model("no-such-model")
    with pytest.raises(InputError, match=names[0]):
        find_model("x" * 5_000)


def test_every_bundled_model_loads_is_small_and_says_what_it_is_not_for() -> None:
    for folder in bundled_models():
        card = load_model(folder).card
        assert card.name == folder.name
        assert "not for clinical use" in card.intended_use
        assert any(p.confidence == card.threshold for p in card.operating_points)
    assert sum((folder / "model.safetensors").stat().st_size for folder in bundled_models()) < 25e6


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone")
def test_a_clone_by_git_for_windows_has_models_that_can_be_used(tmp_path: Path) -> None:
    """It changes line endings by default, of one that is text by its content: the graph in integers."""
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "LopsidedSeg/Resources/Models").glob("*/model*")]
    checkout = ["git", "-c", "core.autocrlf=true", "checkout-index", f"--prefix={tmp_path.as_posix()}/", "--", *files]
    subprocess.run(checkout, cwd=ROOT, check=True)
    folders = {(tmp_path / file).parent for file in files}
    assert folders
    for folder in folders:
        load_model(folder)
