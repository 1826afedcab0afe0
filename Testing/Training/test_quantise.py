"""Model folders get their network in 8-bit integers, or stay as they are."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lopsided.errors import InputError
from lopsided.model import INTEGER_GRAPH, INTEGER_WEIGHTS, IntegerFiles, bundled_models, load_card, load_model
from lopsided.networks import import_openvino
from lopsided_training.cli import app
from lopsided_training.quantise import quantise
from typer.testing import CliRunner


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(model_folder, tmp_path / "small"))
    digest = load_model(copy).card.digest
    (copy / "README.md").write_text(f"Größe. Digest `{digest}`.\n", encoding="utf-8")
    return copy


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_says_what_was_added(folder: Path, heads: Path) -> None:
    pytest.importorskip("nncf")
    before = load_model(folder).card
    lines: list[str] = []
    card = quantise(folder, heads, say=lines.append)
    assert lines == ["1/2 head_0", "2/2 head_1"]
    model = load_model(folder)
    assert model.card == card
    assert model.integers is not None
    assert model.integers.graph == (folder / INTEGER_GRAPH).read_bytes()
    assert model.integers.weights == (folder / INTEGER_WEIGHTS).read_bytes()
    assert card.integers is not None
    assert card.integers.data.startswith("2 studies, digest ")
    assert set(card.integers.software) == {"nncf", "openvino"}
    assert card.model_copy(update={"integers": None, "digest": before.digest}) == before
    said, told = f"Größe. Digest `{card.digest}`.\n", (folder / "README.md").read_text(encoding="utf-8")
    assert told.startswith(said)
    assert told.count("8-bit integers") == 1


def test_again_it_gives_the_same_numbers(folder: Path, heads: Path) -> None:
    pytest.importorskip("nncf")
    first, again = (quantise(folder, heads, say=lambda line: None).integers for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.weights_sha256 == again.weights_sha256  # of the same process, names within the graph differ
    assert load_model(folder).card.integers == again


def test_what_is_copied_to_more_voxels_is_not_rounded_again(folder: Path, heads: Path) -> None:
    """OpenVINO would hold it as float32 until then, at full resolution."""
    pytest.importorskip("nncf")
    openvino = import_openvino()
    quantise(folder, heads, studies=1, say=lambda line: None)
    graph = openvino.Core().read_model(folder / INTEGER_GRAPH)
    copies = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Interpolate"]
    assert copies
    for node in copies:
        assert node.input(0).get_source_output().get_node().get_type_name() == "FakeQuantize", "rounded before"
        assert [to.get_node().get_type_name() for to in node.output(0).get_target_inputs()] == ["Add"]


def test_of_many_studies_the_first_are_enough(folder: Path, heads: Path) -> None:
    pytest.importorskip("nncf")
    integers = quantise(folder, heads, studies=1, say=lambda line: None).integers
    assert integers is not None
    assert integers.data.startswith("1 study, ")


def test_the_command_to_copy_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / ("m" * 80)
    monkeypatch.setattr("lopsided_training.quantise.quantise", lambda *_, **__: load_card(bundled_models()[0]))
    said = CliRunner().invoke(app, ["quantise", str(model), str(tmp_path)]).output
    assert f"lopsided-train evaluate {model} OTHER_DATASET --device cpu --out FOLDER\n" in said


def test_a_bundled_model_goes_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cases here"):
        quantise(Path(bundled_models()[0].name), tmp_path / "none", say=lambda line: None)


def test_a_folder_goes_before_a_bundled_model_of_its_name(
    deeplab_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Path(bundled_models()[0].name)
    shutil.copytree(deeplab_folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="only residual U-Nets"):
        quantise(name, tmp_path / "none", say=lambda line: None)


def test_a_deeplab_is_refused(deeplab_folder: Path, heads: Path) -> None:
    before = content(deeplab_folder)
    with pytest.raises(InputError, match=r"only residual U-Nets can be run in integers, and this is deeplabv3-2\.5d"):
        quantise(deeplab_folder, heads)
    assert content(deeplab_folder) == before


def test_without_nncf_it_is_said_what_to_install(folder: Path, heads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    before = content(folder)
    with pytest.raises(InputError, match="pip install nncf openvino"):
        quantise(folder, heads, say=lambda line: None)
    assert content(folder) == before


def test_where_nothing_can_be_written_the_model_stays_as_it_is(
    folder: Path, heads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    before = content(folder)
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name.startswith(f".{INTEGER_WEIGHTS}"):
            write(self, data[:10])
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"small: cannot be written \(No space left on device\)"):
        quantise(folder, heads, say=lambda line: None)
    assert content(folder) == before
    assert load_model(folder).integers is None


def test_interrupted_at_any_step_it_leaves_a_model_and_can_be_done_again(
    folder: Path, heads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(range(100))

    def integers(*_: object) -> IntegerFiles:
        return IntegerFiles(b"graph", b"weights %d" % next(made))

    monkeypatch.setattr("lopsided_training.quantise._tiles", lambda *_: iter(()))
    monkeypatch.setattr("lopsided_training.quantise._integers", integers)
    replace = Path.replace

    def stopping(after: int) -> Callable[[Path, Path], Path]:
        left = iter(range(after))

        def stopped(self: Path, target: Path) -> Path:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return replace(self, target)

        return stopped

    for after in range(5):
        card = quantise(folder, heads, say=lambda line: None)
        assert load_model(folder).card == card
        assert f"Digest `{card.digest}`" in (folder / "README.md").read_text(encoding="utf-8")
        monkeypatch.setattr(Path, "replace", stopping(after))
        with pytest.raises(KeyboardInterrupt):
            quantise(folder, heads, say=lambda line: None)
        monkeypatch.setattr(Path, "replace", replace)
        assert load_model(folder).integers is None or after == 0
        assert all(path.name.startswith(".") for path in folder.glob("*.partial")), "what no other command minds"
    quantise(folder, heads, say=lambda line: None)
    assert (folder / "README.md").read_text(encoding="utf-8").count("8-bit integers") == 1
    assert not list(folder.glob("*.partial"))
