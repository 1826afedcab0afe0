"""Segments as label maps, and label maps from one node's coordinates to another's."""

from typing import Any

import slicer
import vtk


def asLabelmaps(node: Any) -> Any:
    """A copy of a segmentation node with label maps, which one drawn as surfaces lacks; None where it cannot be."""
    copy = slicer.vtkMRMLSegmentationNode()
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    return copy if copy.CreateBinaryLabelmapRepresentation() else None


def labelmap(node: Any, segmentId: str) -> Any:
    """A segment, in its node's own coordinates."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentId, image)
    return image


def transformed(image: Any, source: Any, target: Any) -> Any:
    """A copy of ``image``, from the coordinates of node ``source`` to those of ``target``; None is the world."""
    moved = slicer.vtkOrientedImageData()
    moved.DeepCopy(image)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        source and source.GetParentTransformNode(), target and target.GetParentTransformNode(), transform
    )
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(moved, transform)
    return moved


def imageToWorld(image: Any) -> vtk.vtkMatrix4x4:
    """Where an oriented image lies: its index to its coordinates."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix
