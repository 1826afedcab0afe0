"""Real MRML and off-screen Qt for the tests in this folder, and a worker that only pretends."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

HERE = Path(__file__).parent
pytest.importorskip("slicer", reason="slicer-core is not installed, so there is no MRML")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed, so there is no Qt")
sys.path.insert(0, str(HERE))
import offscreen  # makes MRML and Qt ready
import slicer
import slicer_standin


@pytest.fixture(autouse=True)
def _scene(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty scene; and no process that a test did not ask for."""
    from LopsidedSegLib import Dependencies

    slicer_standin.clear()
    slicer.app.userSettings().clear()
    monkeypatch.setattr(Dependencies, "installed", lambda: False)


@pytest.fixture
def fake() -> Callable[[str], list[str]]:
    """The command of a worker that behaves in a certain way."""
    return lambda behaviour: [sys.executable, str(HERE / "fake_worker.py"), behaviour]


@pytest.fixture
def worker(fake: Callable[[str], list[str]]) -> Iterator[Any]:
    """A worker whose ``command`` a test can change; by default it finds two lesions."""
    from LopsidedSegLib.Worker import Worker

    worker = Worker(fake("done"))
    yield worker
    worker.stop()


@pytest.fixture
def logic(worker: Any) -> Any:
    """The logic on the fake worker."""
    from LopsidedSeg import LopsidedSegLogic

    return LopsidedSegLogic(worker)


@pytest.fixture
def panel(logic: Any) -> Iterator[Any]:
    """The module's panel, open, on the fake worker."""
    with offscreen.open_panel(logic, (440, 1700)) as panel:
        yield panel


@pytest.fixture
def cases(tmp_path: Path) -> Callable[..., Path]:
    """Writes a worklist of cases by these names, of patients p0, p1 and so on."""

    def write(*names: str) -> Path:
        for n, _name in enumerate(names):
            image = np.random.default_rng(n).integers(0, 500, (24, 22, 20)).astype(np.int16)
            sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / f"{n}.nii.gz"))
        rows = "".join(f"p{n},{name},{n}.nii.gz,\n" for n, name in enumerate(names))
        (tmp_path / "cases.csv").write_text("patient,case,t1c,annotation\n" + rows, encoding="utf-8")
        return tmp_path / "cases.csv"

    return write


@pytest.fixture
def found(panel: Any, volume: Any, annotation: Any) -> Any:
    """A module's panel with two suggestions, and an annotation chosen."""
    reference = volume("T1c")
    panel.ui.referenceSelector.setCurrentNode(reference)
    panel.ui.annotationSelector.setCurrentNode(annotation(reference))
    offscreen.search(panel)
    return panel


@pytest.fixture
def volume() -> Callable[[str], Any]:
    """Adds a volume of some texture to the scene."""

    def add(name: str) -> Any:
        array = np.random.default_rng(0).integers(0, 500, (24, 22, 20)).astype(np.int16)
        ijkToRAS = np.array([[0, 2.0, 0, -10], [1.5, 0, 0, 20], [0, 0, 3, -5], [0, 0, 0, 1]])
        return slicer.util.addVolumeFromArray(array, ijkToRAS, name)

    return add


@pytest.fixture
def annotation() -> Callable[[Any], Any]:
    """Adds a segmentation with one small lesion on a volume's grid."""

    def add(reference: Any) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Annotation")
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        mask = np.zeros((24, 22, 20), np.uint8)
        mask[3:6, 4:6, 15:18] = 1
        segment = node.GetSegmentation().AddEmptySegment("Known", "Known")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, reference)
        return node

    return add
