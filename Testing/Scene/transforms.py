"""Nodes that a transform moves or bends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

Place = Iterable[float]  # RAS, mm


def move(nodes: Iterable[Any], x: float) -> Any:
    """Put nodes under a new transform that moves them, mm to the right; returns it."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4) + np.eye(4, k=3) * x))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def bend(node: Any, places: Iterable[tuple[Place, Place]]) -> None:
    """Put a node under a new transform of :func:`bending`."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    transform.SetAndObserveTransformToParent(bending(places))
    node.SetAndObserveTransformNodeID(transform.GetID())


def bending(places: Iterable[tuple[Place, Place]]) -> vtk.vtkThinPlateSplineTransform:
    """From each first place to the second, and smoothly between them."""
    spline, source, target = vtk.vtkThinPlateSplineTransform(), vtk.vtkPoints(), vtk.vtkPoints()
    for here, there in places:
        source.InsertNextPoint(*here)
        target.InsertNextPoint(*there)
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    return spline
