"""Nodes that a transform moves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer


def move(nodes: Iterable[Any], x: float) -> Any:
    """Put nodes under a new transform that moves them, mm to the right; returns it."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4) + np.eye(4, k=3) * x))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform
