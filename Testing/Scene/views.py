"""Slicer's slice and 3D views, drawn off screen by its own displayable managers, for tests and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


class _View:
    """``node`` is the view's; what it shows is drawn anew by each :meth:`pixels`."""

    def __init__(self, node: Any, factory: Any, manager: str, size: int) -> None:
        self.node = node
        self.renderer, self.window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(size, size)
        self.window.AddRenderer(self.renderer)
        interactor = vtk.vtkRenderWindowInteractor()
        interactor.SetRenderWindow(self.window)
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        if not factory.IsDisplayableManagerRegistered(manager):
            factory.RegisterDisplayableManager(manager)
        self._group = factory.InstantiateDisplayableManagers(self.renderer)
        self._group.SetMRMLDisplayableNode(node)

    def pixels(self) -> np.ndarray:
        """Uint8 (row, column, RGB), the top row first."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def save(self, path: Path) -> None:
        """A PNG."""
        from PIL import Image

        Image.fromarray(self.pixels()).save(path)

    def close(self) -> None:
        """Let go of the scene."""
        self._group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class SliceView(_View):
    """One of Red, Green, Yellow, over a volume. The scene's node of that name is taken, if it has one."""

    def __init__(self, name: str, volume: Any, size: int = 400) -> None:
        slicer.modules.colors.logic().AddDefaultColorNodes()
        volume.CreateDefaultDisplayNodes()
        for node in list(slicer.util.getNodesByClass("vtkMRMLSliceNode")):
            if node.GetLayoutName() == name:
                slicer.mrmlScene.RemoveNode(node)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        node = self._logic.AddSliceNode(name)
        node.SetDimensions(size, size, 1)
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        super().__init__(node, factory, "vtkMRMLSegmentationsDisplayableManager2D", size)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def pixels(self) -> np.ndarray:
        self._logic.UpdatePipeline()
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())
        return super().pixels()


class ThreeDView(_View):
    """The 3D view; ``look`` turns it to a point."""

    def __init__(self, size: int = 400) -> None:
        node = slicer.vtkMRMLViewNode()
        node.SetLayoutName("1")
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        manager = "vtkMRMLSegmentationsDisplayableManager3D"
        super().__init__(slicer.mrmlScene.AddNode(node), factory, manager, size)

    def look(self, ras: tuple[float, float, float], reach: float) -> None:
        """From the front at a point, ``reach`` mm of it from top to bottom."""
        camera = self.renderer.GetActiveCamera()
        camera.ParallelProjectionOn()
        camera.SetParallelScale(reach / 2)
        camera.SetFocalPoint(*ras)
        camera.SetPosition(ras[0], ras[1] + 300, ras[2])
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCameraClippingRange()
