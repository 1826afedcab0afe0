"""Slicer's application around real MRML, for tests: what the ``slicer-core`` wheel leaves out, as small as will do.

MRML, segmentations, transforms, storage and ``slicer.util`` are Slicer's own. What passes on this passes on a stand-in.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import types
import typing
import unittest
from functools import partial
from pathlib import Path

import slicer
import slicer.util
import vtk

SLICE_VIEWS = ("Red", "Green", "Yellow")
_cache = tempfile.TemporaryDirectory(prefix="LopsidedSeg-cache-")  # until the process ends


def boot() -> None:
    """Make ``slicer.mrmlScene`` and the modules that the wheel lacks; a second call does nothing."""
    if hasattr(slicer, "mrmlScene"):
        return
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    cache, files = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(_cache.name)
    files.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(files)
    slicer.modules = types.SimpleNamespace()
    logics = {
        "Colors": "ColorLogic",
        "Volumes": "VolumesLogic",
        "Segmentations": "SegmentationsModuleLogic",
        "Markups": "MarkupsLogic",
    }
    for name, kind in logics.items():
        logic = getattr(slicer, f"vtkSlicer{kind}")()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), types.SimpleNamespace(logic=lambda logic=logic: logic))
    slicer.app = types.SimpleNamespace(
        temporaryPath=tempfile.gettempdir(), testingEnabled=lambda: True, applicationLogic=lambda: application
    )
    slicer.app.connect = lambda signal, slot: None  # the application has started already
    slicer.util.loadVolume = partial(_load, "ScalarVolume", "VolumeArchetype")
    slicer.util.loadLabelVolume = partial(_load, "LabelMapVolume", "VolumeArchetype")
    slicer.util.loadSegmentation = partial(_load, "Segmentation", "Segmentation")
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    # as in Slicer's testing mode: nothing is installed
    _module("slicer.packaging", load_requirements=lambda path: [], pip_ensure=lambda requirements, requester: None)
    _module("slicer.parameterNodeWrapper", parameterNodeWrapper=parameterNodeWrapper)
    bases = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    _module("slicer.ScriptedLoadableModule", **{base.__name__: base for base in bases})


def clear() -> None:
    """An empty scene with three slice views."""
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.SetURL("")
    for name in SLICE_VIEWS:
        node = slicer.vtkMRMLSliceNode()
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        slicer.mrmlScene.AddNode(node)


def place(*points_ras: typing.Iterable[float]) -> None:
    """What clicks in a slice view do in Slicer's place mode."""
    node = slicer.mrmlScene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID())
    for point in points_ras:
        node.AddControlPointWorld(vtk.vtkVector3d(*point))


def _module(name: str, **content: object) -> None:
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(content)
    setattr(slicer, name.split(".")[-1], module)


def _load(node_kind: str, storage_kind: str, path: str) -> typing.Any:
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{node_kind}Node", Path(path).name.split(".")[0])
    storage = getattr(slicer, f"vtkMRML{storage_kind}StorageNode")()
    storage.SetFileName(path)
    if not storage.ReadData(node):
        raise RuntimeError(f"cannot load {path}")
    return node


def parameterNodeWrapper(cls: type) -> type:
    """Slicer's decorator, for parameters that are nodes."""

    def reference(name: str, nodeType: type) -> property:
        def write(self: typing.Any, value: typing.Any) -> None:
            if value is not None and not isinstance(value, nodeType):
                raise ValueError(f"{name}: {value} is not a {nodeType.__name__}")
            self.parameterNode.SetParameter(name, "")
            self.parameterNode.SetNodeReferenceID(name, value.GetID() if value else None)

        return property(lambda self: self.parameterNode.GetNodeReference(name), write)

    class Wrapper(cls):
        def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
            self.parameterNode = parameterNode
            self._guis: dict[int, list[tuple[typing.Any, typing.Any]]] = {}

        def AddObserver(self, event: int, callback: typing.Any, priority: float = 0.0) -> int:
            return self.parameterNode.AddObserver(event, callback, priority)

        def RemoveObserver(self, tag: int) -> None:
            self.parameterNode.RemoveObserver(tag)

        def connectGui(self, ui: object) -> int:
            widgets = {w.property("SlicerParameterName"): w for w in vars(ui).values()}
            widgets.pop(None, None)
            connections = []
            for name, widget in widgets.items():
                widget.setCurrentNode(getattr(self, name))  # AttributeError: no such parameter
                connections.append((widget, lambda node, name=name: setattr(self, name, node)))
                widget.currentNodeChanged.connect(connections[-1][1])

            def show(*_: object) -> None:
                for name, widget in widgets.items():
                    widget.setCurrentNode(getattr(self, name))

            tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, show)
            self._guis[tag] = connections
            return tag

        def disconnectGui(self, tag: int) -> None:
            self.RemoveObserver(tag)
            for widget, slot in self._guis.pop(tag):
                widget.currentNodeChanged.disconnect(slot)

    for name, nodeType in typing.get_type_hints(cls).items():
        setattr(Wrapper, name, reference(name, nodeType))
    return Wrapper


class ScriptedLoadableModule:
    def __init__(self, parent: typing.Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: object = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: typing.Any) -> None:
        self.parent = parent
        self.layout = parent.layout()

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return str(Path(inspect.getfile(type(self))).parent / "Resources" / name)


class ScriptedLoadableModuleTest(unittest.TestCase):
    pass
