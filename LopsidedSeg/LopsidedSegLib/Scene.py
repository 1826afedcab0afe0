"""MRML nodes to files and back: the one place where MRML's RAS meets the files' LPS.

Nodes are written where they are in the world, parent transforms included, and none of them is changed.
"""

import json
import logging
from math import dist
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from lopsided.review import CANDIDATES, RESULT_ATTRIBUTE, SEGMENTS
from slicer.i18n import tr as _

from .Labelmaps import asLabelmaps, drawnOn, labelmapName, matrixOf, partOf, transformBetween, united, voxelsOf
from .Surfaces import addSurfaces, middleOf

_NARROWEST_VIEW_MM = 60.0  # so that a small lesion is seen in its surroundings
_VIEW_DIAMETERS = 4.0
_OUTLINE_PIXELS = 2
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def writeVolume(node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Raises RuntimeError, one sentence, if it cannot be written."""
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(node.GetImageData())
    ijkToRAS = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijkToRAS)
    image.SetGeometryFromImageToWorldMatrix(ijkToRAS)
    _write(_inWorld(image, node, linear=True), node, path)


def writeVolumes(sequences: dict[str, Any], folder: Path) -> tuple[dict[str, str], dict[Path, str]]:
    """Of each, a node or a file already, the file that it is in now, by its sequence; and the node's name by file.
    Raises as :func:`writeVolume`."""
    nodes = {sequence: image for sequence, image in sequences.items() if not isinstance(image, Path)}
    files = {**sequences, **{sequence: folder / f"{sequence}.nrrd" for sequence in nodes}}
    for sequence, node in nodes.items():
        _checkIsThere(node)  # and with it what moved it
        writeVolume(node, files[sequence])
    return (
        {sequence: str(file) for sequence, file in files.items()},
        {files[sequence]: node.GetName() for sequence, node in nodes.items()},
    )


def writeSegments(node: slicer.vtkMRMLSegmentationNode, path: Path) -> bool:
    """A ``.seg.nrrd`` of all segments with their names and tags; False, and no file, where there is none."""
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        return False
    copy = asLabelmaps(node)
    copy.ApplyTransform(transformBetween(node, None))
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not (storage.WriteData(copy) and _isWhole(path)):  # before it takes the place of an earlier one
        raise RuntimeError(_unwritten(node, path))
    return True


def writeAnnotation(node: slicer.vtkMRMLSegmentationNode, path: Path) -> bool:
    """One label of all segments, on the segmentation's grid; False, and no file, where nothing is annotated."""
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        return False
    isDrawn = node.GetSegmentation().GetSourceRepresentationName() == labelmapName()
    labels = united(node if isDrawn else asLabelmaps(node))
    if labels is None:
        return False
    _write(_inWorld(labels, node, linear=False), node, path)
    return True


def loadSuggestions(folder: Path, reference: slicer.vtkMRMLScalarVolumeNode) -> Any:
    """A new segmentation node, one segment a candidate, that carries ``candidates.json`` as an attribute."""
    result = json.loads((folder / CANDIDATES).read_text(encoding="utf-8"))
    return newSuggestions(reference, result, folder / SEGMENTS if result["candidates"] else None)


def newSuggestions(reference: Any, result: dict[str, Any], path: Path | None) -> Any:
    """As :func:`loadSuggestions`, of a ``candidates.json`` that was read already; no segments for None.

    Raises RuntimeError, one sentence, where they cannot be read, or ``reference`` is gone: nothing else says whose they are.
    """
    _checkIsThere(reference)
    node = _newSegmentation(_("{reference} suggestions").format(reference=reference.GetName()))
    try:
        if path:
            readSegments(node, path)
    except RuntimeError:
        removeNode(node)
        raise
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    node.SetAttribute(RESULT_ATTRIBUTE, json.dumps(result))
    addSurfaces(node)
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)  # the image is what decides
    display.SetSliceIntersectionThickness(_OUTLINE_PIXELS)
    return node


def readSegments(node: Any, path: Path) -> None:
    """Segments of a ``.seg.nrrd`` into a node; raises RuntimeError, one sentence."""
    import SimpleITK as sitk

    sitk.ReadImage(str(path))  # raises where the file is damaged; MRML's reader would end Slicer
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise RuntimeError(_("The segments in {path} could not be read.").format(path=path))


def result(node: slicer.vtkMRMLSegmentationNode | None) -> dict[str, Any] | None:
    """``candidates.json`` of a node that :func:`loadSuggestions` made; None for any other."""
    text = node.GetAttribute(RESULT_ATTRIBUTE) if node else None
    return json.loads(text) if text else None


def suggestionsOn(volumes: list[Any]) -> Any:
    """The last suggestions that were made on one of these volumes; None where none were."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    found = [node for node in nodes if node.GetAttribute(RESULT_ATTRIBUTE) and drawnOn(node) in volumes]
    return found[-1] if found else None


def lattice(node: slicer.vtkMRMLScalarVolumeNode) -> Any:
    """An image without voxels, on a volume's grid as it is in the world.

    Raises RuntimeError, one sentence, where its parent transform bends it.
    """
    toWorld = transformBetween(node, None)
    if not slicer.vtkOrientedImageDataResample.IsTransformLinear(toWorld, vtk.vtkTransform()):
        raise RuntimeError(_("{name} is bent by a transform; harden it first.").format(name=node.GetName()))
    ijkToRAS = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijkToRAS)
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(node.GetImageData().GetDimensions())
    image.SetGeometryFromImageToWorldMatrix(ijkToRAS)
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(image, toWorld, True)
    return image


def geometry(node: slicer.vtkMRMLScalarVolumeNode) -> Any:
    """A volume's grid as it is in the world, a :class:`lopsided.volume.Geometry`; raises as :func:`lattice`."""
    return _geometryOf(lattice(node))


def newAnnotation(reference: Any) -> Any:
    """An empty segmentation node for lesions."""
    name = _("{reference} lesions").format(reference=reference.GetName()) if reference else _("Lesions")
    node = _newSegmentation(name)
    if reference:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node


def show(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """A volume in all slice views, whole."""
    application = slicer.app.applicationLogic()
    application.GetSelectionNode().SetActiveVolumeID(volume.GetID())
    application.PropagateVolumeSelection(1)


def jumpTo(candidate: dict[str, Any]) -> None:
    """Centre all slice views on a candidate of :func:`result`, near enough that it fills a good part of them."""
    ras = (_RAS_FROM_LPS @ [*candidate["centroid_lps"], 1])[:3]
    mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, mode)
    reach = max(_NARROWEST_VIEW_MM, _VIEW_DIAMETERS * candidate["longest_diameter_mm"])
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        width, height, _depth = view.GetDimensions()
        scale = reach / max(1, min(width, height))
        view.SetFieldOfView(scale * width, scale * height, view.GetFieldOfView()[2])
    for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):  # as it looked, but at the candidate
        step = ras - camera.GetFocalPoint()
        camera.SetPosition(*(step + camera.GetPosition()))
        camera.SetFocalPoint(*ras)
        camera.ResetClippingRange()


def edit(node: Any, segmentId: str, image: Any) -> None:
    """Have Segment Editor, when it is opened next, open on this segment, over this volume."""
    tag = "SegmentEditor"
    editor = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if editor is None:
        editor = slicer.vtkMRMLSegmentEditorNode()
        editor.SetSingletonTag(tag)
        editor = slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(image)
    editor.SetSelectedSegmentID(segmentId)


def _newSegmentation(name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    return node


def _inWorld(image: Any, node: Any, *, linear: bool) -> Any:
    """``image`` of ``node`` in world coordinates, resampled only if its parent transform bends its axes."""
    toWorld = transformBetween(node, None)
    Resample = slicer.vtkOrientedImageDataResample
    if Resample.IsTransformLinear(toWorld, vtk.vtkTransform()):
        moved = slicer.vtkOrientedImageData()
        moved.ShallowCopy(image)
        Resample.TransformOrientedImage(moved, toWorld)
        axes = _geometryOf(moved).axes
        if np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
            return moved
    grid = partOf(image, _extentInWorld(image, toWorld))
    moved = slicer.vtkOrientedImageData()
    Resample.ResampleOrientedImageToReferenceOrientedImage(image, grid, moved, linear, False, toWorld)
    return moved


def _isWhole(path: Path) -> bool:
    """Whether an image was written that can be read again."""
    import SimpleITK as sitk

    try:
        sitk.ReadImage(str(path))
    except RuntimeError:
        logging.exception("LopsidedSeg: %s", path)
        return False
    return True


def _write(image: Any, node: Any, path: Path) -> None:
    import SimpleITK as sitk
    from lopsided.volume import to_sitk

    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfComponents() != 1:
        raise RuntimeError(_("{name} is not a scalar volume.").format(name=node.GetName()))
    try:
        sitk.WriteImage(to_sitk(voxelsOf(image), _geometryOf(image)), str(path))
    except RuntimeError:
        logging.exception("LopsidedSeg: %s", path)
        raise RuntimeError(_unwritten(node, path)) from None


def _unwritten(node: Any, path: Path) -> str:
    """The folder that is said is that of ours, which goes again."""
    sentence = _("{name} could not be written; is there room in {folder}?")
    return sentence.format(name=node.GetName(), folder=path.parent.parent)


def _checkIsThere(node: Any) -> None:
    if not slicer.mrmlScene.IsNodePresent(node):
        raise RuntimeError(_("{name} is not in the scene any more.").format(name=node.GetName()))


def removeNode(node: Any) -> None:
    """With what displays and stores it, which would stay and keep its voxels in memory."""
    shown = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    for each in [node, node.GetStorageNode(), *shown]:
        if each and slicer.mrmlScene.IsNodePresent(each):
            slicer.mrmlScene.RemoveNode(each)


def whereNow(candidate: dict[str, Any], node: Any, segmentId: str, atOnce: bool = False) -> dict[str, Any]:
    """A candidate of :func:`result`, where a transform has put it since; in the middle of its segment where a hardened one
    has. ``atOnce``: as for a list of many, where the middle is looked at only if it is known from a surface."""
    middle, toWorld = middleOf(node, segmentId, atOnce), transformBetween(node, None)
    if middle is None and not (atOnce and node.GetSegmentation().GetSegment(segmentId)):
        return candidate
    ras = toWorld.TransformPoint(rasOf(candidate["centroid_lps"]))
    if middle is not None and dist(ras, toWorld.TransformPoint(middle)) > candidate["longest_diameter_mm"]:
        ras = toWorld.TransformPoint(middle)
    return {**candidate, "centroid_lps": lpsOf(ras), "centroid_ras": ras}


def ijkToRasOf(geometry: Any) -> np.ndarray:
    """The IJK-to-RAS matrix of a :class:`lopsided.volume.Geometry`."""
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.axes * geometry.spacing
    matrix[:3, 3] = geometry.origin
    return _RAS_FROM_LPS @ matrix


def lpsOf(ras: Any) -> tuple[float, float, float]:
    """A point or direction of MRML's in LPS."""
    return -float(ras[0]), -float(ras[1]), float(ras[2])


def rasOf(lps: Any) -> tuple[float, float, float]:
    """A point or direction in LPS in MRML's RAS."""
    return lpsOf(lps)


def _geometryOf(image: Any) -> Any:
    """The grid of an image in the world, in LPS: a :class:`lopsided.volume.Geometry`."""
    from lopsided.volume import Geometry

    ijkToLPS = _RAS_FROM_LPS @ matrixOf(image)
    spacing = np.linalg.norm(ijkToLPS[:3, :3], axis=0)
    origin = (ijkToLPS @ [*image.GetExtent()[::2], 1])[:3]
    direction = (ijkToLPS[:3, :3] / spacing).ravel().tolist()
    return Geometry(image.GetDimensions(), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction))


def _extentInWorld(image: Any, toWorld: vtk.vtkAbstractTransform) -> list[int]:
    """The index extent, on the grid that ``image`` has, of everything that it covers after ``toWorld``."""
    low, high = np.array(image.GetExtent()).reshape(3, 2).T
    lattice = np.stack(np.meshgrid(*np.linspace(low - 0.5, high + 0.5, 9).T, indexing="ij"), -1).reshape(-1, 3)
    matrix = matrixOf(image)
    world = [toWorld.TransformPoint(p) for p in lattice @ matrix[:3, :3].T + matrix[:3, 3]]
    index = (np.array(world) - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    return np.stack([np.floor(index.min(0)), np.ceil(index.max(0))], axis=1).astype(int).ravel().tolist()
