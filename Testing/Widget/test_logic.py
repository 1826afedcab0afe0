"""What a script can call: nodes in, a new node out, everything else as it was."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from LopsidedSegLib import Dependencies

INSTALLED = Dependencies.installed  # which no test has, but those that ask for it


def test_suggest_returns_a_new_node_and_changes_none(
    logic: Any, volume: Any, annotation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One segment a candidate, the annotation and volumes untouched, no patient data left on the disk."""
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path))
    reference, flair = volume("T1c"), volume("FLAIR")
    known = annotation(reference)
    voxels = slicer.util.arrayFromVolume(reference).copy()
    before = (known.GetSegmentation().GetMTime(), reference.GetMTime(), flair.GetMTime())
    nodes = set(slicer.util.getNodes(useLists=True))
    node = logic.suggest(reference, flair=flair, annotation=known)
    assert (known.GetSegmentation().GetMTime(), reference.GetMTime(), flair.GetMTime()) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(reference), voxels)
    assert set(slicer.util.getNodes(useLists=True)) - nodes == {"T1c suggestions", node.GetDisplayNode().GetName()}
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    assert [c["rank"] for c in logic.result(node)["candidates"]] == [1, 2]
    assert list(tmp_path.iterdir()) == []


def test_after_a_result_that_cannot_be_read_the_scene_is_as_before_and_a_search_works(
    logic: Any, worker: Any, volume: Any, fake: Any
) -> None:
    reference = volume("T1c")
    before = slicer.mrmlScene.GetNumberOfNodes()
    worker.command = fake("garbage")
    with pytest.raises(RuntimeError):
        logic.suggest(reference)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    worker.stop()
    worker.command = fake("done")
    assert logic.suggest(reference).GetSegmentation().GetNumberOfSegments() == 2


def test_a_temporary_folder_without_room_is_named(logic: Any, volume: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    sentence = (
        f"nothing can be written in {slicer.app.temporaryPath} (No space left on device); see that there is room "
        "and that you may write there, or choose another folder"
    )
    with pytest.raises(RuntimeError, match=re.escape(sentence)):
        logic.suggest(volume("T1c"))


def test_what_cannot_be_searched_is_said_before_a_process_starts(logic: Any, worker: Any, volume: Any) -> None:
    """No reference, no image, or one volume twice; or suggestions in the place of what is known."""
    reference = volume("T1c")
    suggestions = logic.suggest(reference)
    worker.stop()
    worker.command = ["/must/not/start"]
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    for inputs, sentence in (
        ({"reference": None}, "Choose the post-contrast T1 volume to search."),
        ({"reference": empty}, "Empty holds no image; choose another volume."),
        ({"reference": reference, "t2": reference}, "T1c is chosen twice; choose each volume once."),
        (
            {"reference": reference, "annotation": suggestions},
            "T1c suggestions holds suggestions; choose the segmentation of known lesions.",
        ),
    ):
        with pytest.raises(RuntimeError, match=sentence):
            logic.suggest(**inputs)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packages that were installed through Slicer's two ways; nothing is, really."""
    calls: list[str] = []
    packaging = types.ModuleType("slicer.packaging")
    packaging.load_requirements = lambda path: Path(path).read_text(encoding="utf-8").splitlines()  # type: ignore[attr-defined]
    packaging.pip_ensure = lambda requirements, requester: calls.extend(requirements)  # type: ignore[attr-defined]
    torch = types.ModuleType("PyTorchUtils")
    torch.PyTorchUtilsLogic = lambda: types.SimpleNamespace(  # type: ignore[attr-defined]
        installTorch=lambda askConfirmation, torchVersionRequirement: calls.append("torch" + torchVersionRequirement)
    )
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", torch)
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    monkeypatch.setattr(Dependencies, "_asked", False)
    return calls


def test_dependencies_are_asked_for_when_they_are_needed(
    installed: list[str], worker: Any, volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the logic is made; and a refusal is a sentence."""
    from LopsidedSegLib.Logic import Logic

    logic = Logic(worker)
    assert installed == []
    logic.suggest(volume("T1c"))
    assert any(line.startswith("pydantic") for line in installed)
    assert any(line.startswith("safetensors") for line in installed)

    def absent(name: str) -> str:
        raise Dependencies.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(Dependencies.importlib.metadata, "version", absent)
    with pytest.raises(RuntimeError, match="PyTorch is needed and was not installed"):
        logic.suggest(volume("T1c"))  # the stand-in returns None, as installTorch does when the user declines
    assert installed[-1] == "torch>=2.4,<2.14"
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(RuntimeError, match="Install the PyTorch extension"):
        logic.suggest(volume("T1c"))


@pytest.mark.parametrize("error", [RuntimeError("User declined"), subprocess.CalledProcessError(1, "pip")], ids=repr)
def test_what_a_search_can_do_without_is_asked_for_once(
    installed: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def decline(*_: object, **__: object) -> None:
        installed.append("asked")
        raise error

    needed = True
    monkeypatch.setattr(slicer.packaging, "pip_ensure", decline)
    monkeypatch.setattr(Dependencies, "installed", lambda: needed)
    for _ in range(2):
        Dependencies.ensureDependencies()
    assert installed == ["asked"]
    needed = False
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"declined|could not be installed"):
            Dependencies.ensureDependencies()
    assert installed == ["asked"] * 3


@pytest.fixture
def versions(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says which version of a package is there; the others are as they are."""
    assert installed == []
    real = Dependencies.importlib.metadata.version
    monkeypatch.setattr(Dependencies, "installed", INSTALLED)
    return lambda **those: monkeypatch.setattr(
        Dependencies.importlib.metadata, "version", lambda name: those[name] if name in those else real(name)
    )


@pytest.mark.parametrize("there", ["1.10.0", None], ids=["older", "left by half"])
def test_a_package_that_cannot_be_used_is_none(
    versions: Callable[..., None], monkeypatch: pytest.MonkeyPatch, there: str | None
) -> None:
    """Another extension's, or what an installation that was interrupted left: declined, nothing is begun with it."""

    def decline(*_: object, **__: object) -> None:
        raise RuntimeError("User declined package installation")

    versions(pydantic=there)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", decline)
    assert not Dependencies.installed()
    with pytest.raises(RuntimeError, match="declined"):
        Dependencies.ensureDependencies()


def test_a_pytorch_that_is_too_old_is_said_and_a_newer_one_is_used(
    installed: list[str], versions: Callable[..., None]
) -> None:
    """It is the user who takes it from the extension that wanted it."""
    versions(torch="2.2.2+cu121")
    with pytest.raises(
        RuntimeError, match=r"PyTorch 2\.2\.2\+cu121 is installed, and >=2\.4 is needed; uninstall it in"
    ):
        Dependencies.ensureDependencies()
    assert installed == []
    versions(torch="2.99.0a0+cu150")
    assert Dependencies.installed()
    Dependencies.ensureDependencies()
    assert not any(line.startswith("torch") for line in installed)


def test_whatever_fails_in_installing_is_said_to_be_that(
    versions: Callable[..., None], worker: Any, volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not taken for a folder that cannot be written; also where no search asked for it."""
    from LopsidedSegLib.Logic import Logic

    def install(**_: object) -> None:
        raise OSError(22, "A DLL initialization routine failed. Error loading c10.dll")

    versions(torch=None)
    monkeypatch.setattr(
        sys.modules["PyTorchUtils"], "PyTorchUtilsLogic", lambda: types.SimpleNamespace(installTorch=install)
    )
    logic = Logic(worker)
    for begin in (lambda: logic.suggest(volume("T1c")), lambda: logic.openWorklist(Path("cases.csv"))):
        with pytest.raises(
            RuntimeError, match=r"could not be installed \(.*Error loading c10\.dll.*\); check the network"
        ):
            begin()


def test_the_process_is_warm_before_the_first_search(
    logic: Any, worker: Any, volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If what it needs is installed; else nothing starts, and nothing is asked."""
    with monkeypatch.context() as patch:
        started: list[bool] = []
        patch.setattr(worker, "start", lambda: started.append(True))
        logic.warmUp()
        assert started == []
    monkeypatch.setattr(Dependencies, "installed", lambda: True)
    logic.warmUp()
    worker.command = ["/must/not/start"]
    assert not logic.busy
    assert logic.suggest(volume("T1c")).GetSegmentation().GetNumberOfSegments() == 2


def test_what_is_installed_is_known_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch in this process could take Slicer with it."""
    monkeypatch.undo()
    assert Dependencies.installed()

    def absent(name: str) -> str:
        raise Dependencies.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(Dependencies.importlib.metadata, "version", absent)
    assert not Dependencies.installed()


def test_the_sample_study_is_offered_as_sample_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """From files that are there, and named so that the inputs are guessed."""
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    from lopsided.naming import guess_sequences

    import LopsidedSeg

    registered: list[dict[str, Any]] = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))  # type: ignore[arg-type]
    connected: dict[str, Any] = {}
    monkeypatch.setattr(slicer.app, "connect", connected.__setitem__)
    LopsidedSeg.LopsidedSeg(types.SimpleNamespace(path=LopsidedSeg.__file__))
    connected["startupCompleted()"]()
    [source] = registered
    assert all(Path(url2pathname(urlparse(uri).path)).is_file() for uri in source["uris"])
    assert Path(source["thumbnailFileName"]).is_file()
    assert len(source["uris"]) == len(source["fileNames"]) == len(source["nodeNames"]) == len(source["loadFileTypes"])
    for uri, checksum in zip(source["uris"], source["checksums"], strict=True):
        content = Path(url2pathname(urlparse(uri).path)).read_bytes()
        assert checksum == f"SHA256:{hashlib.sha256(content).hexdigest()}"
    names = dict(zip(source["uris"], source["nodeNames"], strict=True))
    assert set(guess_sequences(names)) == {"t1c", "t1", "t2", "flair"}


def test_slicer_never_imports_torch() -> None:
    """Not with the module loaded."""
    here = Path(__file__).parent
    folders = [str(here), str(here.parent / "Scene"), str(here.parents[1] / "LopsidedSeg")]
    code = (
        f"import sys; sys.path[:0] = {folders!r}\n"
        "import slicer_standin, qt_standin; slicer_standin.boot(); qt_standin.boot()\n"
        "import LopsidedSeg; LopsidedSeg.LopsidedSegLogic()\n"
        "print(sorted({'torch', 'pydantic', 'safetensors', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("folder", ["model_folder", "deeplab_folder"])
def test_the_real_worker_speaks_the_same_protocol(
    folder: str, volume: Any, annotation: Any, request: pytest.FixtureRequest
) -> None:
    """A network of each kind with random weights, in the process that users get."""
    from LopsidedSeg import LopsidedSegLogic

    model_folder = request.getfixturevalue(folder)
    reference = volume("T1c")
    logic = LopsidedSegLogic()
    try:
        node = logic.suggest(reference, annotation=annotation(reference), model=str(model_folder))
        with pytest.raises(RuntimeError, match="no model"):
            logic.suggest(reference, model="absent")
    finally:
        logic.cancel()
    result = logic.result(node)
    assert result["model"]["name"] == "small"
    assert result["annotation"].keys() == {"label 1"}
    assert node.GetSegmentation().GetNumberOfSegments() == len(result["candidates"])
    for candidate in result["candidates"]:
        ids = [node.GetSegmentation().GetNthSegmentID(n) for n in range(len(result["candidates"]))]
        assert candidate["volume_mm3"] > 0
        assert node.GetSegmentation().GetSegment(ids[candidate["rank"] - 1]).GetLabelValue() == candidate["label"]
