"""Segments as label maps, and label maps from one node's coordinates to another's."""

import base64
import zlib
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

_REFERENCE = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()


def drawnOn(segmentation: Any) -> Any:
    """The volume whose grid a segmentation node is on."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def labelmapName() -> str:
    """Of the representation, as Slicer calls it."""
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def latticeOf(node: Any) -> Any:
    """An image without voxels, on the lattice that a segmentation node is saved on: its reference's, or a segment's where that
    is finer by its longest side, for small lesions would be lost in the other. None where it has neither."""
    segmentation = node.GetSegmentation()
    reference = _latticeFrom(segmentation.GetConversionParameter(_REFERENCE))
    if reference is None:  # Slicer takes the segment of the smallest voxels
        return _latticeFrom(
            segmentation.DetermineCommonLabelmapGeometry(segmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS, None)
        )
    segments = (segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs())
    images = (segment.GetRepresentation(labelmapName()) for segment in segments)
    lattices = [reference, *(image for image in images if image and min(image.GetDimensions()) > 0)]
    finest = min(lattices, key=lambda image: sorted(np.round(image.GetSpacing(), 3), reverse=True))
    if finest is reference:
        return reference
    return partOf(finest, extentOn(finest, reference))  # beyond it nothing can be drawn


def frameOf(node: Any) -> np.ndarray | None:
    """The matrix of a lattice in a segmentation node's own coordinates, which Slicer hardens with it; None where it has none."""
    lattice = _latticeFrom(node.GetSegmentation().GetConversionParameter(_REFERENCE)) or latticeOf(node)
    return matrixOf(lattice) if lattice else None


def asLabelmaps(node: Any) -> Any:
    """A copy of a segmentation node as label maps, which one drawn as surfaces lacks, to be saved on :func:`latticeOf`.
    Raises RuntimeError, one sentence, where it cannot be."""
    copy = slicer.vtkMRMLSegmentationNode()
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    if not copy.CreateBinaryLabelmapRepresentation():
        sentence = _("{name} cannot be made a label map; choose an annotation that is drawn in Segment Editor.")
        raise RuntimeError(sentence.format(name=node.GetName()))
    copy.GetSegmentation().SetSourceRepresentationName(labelmapName())  # which is what Slicer writes to a file
    if copy.GetSegmentation().GetConversionParameter(_REFERENCE):
        lattice = latticeOf(copy)
        geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(lattice)
        copy.GetSegmentation().SetConversionParameter(_REFERENCE, geometry)
        _putOn(copy, lattice)
    return copy


def united(node: Any) -> Any:
    """All segments of a node of label maps as one, on :func:`latticeOf`; None where nothing is drawn. Slicer's own merging, and
    a copy that is removed again, go over the image that segments share once for each: 8 s for 60 (512 x 512 x 300)."""
    segmentation, lattice = node.GetSegmentation(), latticeOf(node)
    segments = [segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()]
    shared = dict.fromkeys(segment.GetRepresentation(labelmapName()) for segment in segments)
    images = [_on(lattice, image) for image in shared if image and min(image.GetDimensions()) > 0]
    if not images:
        return None
    extents = np.array([image.GetExtent() for image in images])
    extent = np.where(np.arange(6) % 2, extents.max(axis=0), extents.min(axis=0))
    whole = np.zeros(shapeOf(extent.tolist()), bool)
    for image, own in zip(images, extents, strict=True):
        i, j, k = (slice(own[n] - extent[n], own[n + 1] - extent[n] + 1) for n in (0, 2, 4))
        whole[k, j, i] |= voxelsOf(image) > 0
    return imageOf(whole, lattice, extent.tolist()) if whole.any() else None


def labelmap(node: Any, segmentId: str) -> Any:
    """A segment, in its node's own coordinates."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentId, image)
    return image


def transformBetween(source: Any, target: Any) -> vtk.vtkAbstractTransform:
    """From the coordinates of node ``source`` to those of ``target``; None is the world."""
    parents = [node and node.GetParentTransformNode() for node in (source, target)]
    if all(parent is None or parent.IsTransformToWorldLinear() for parent in parents):
        # as one matrix: of several in a general transform, vtkOrientedImageDataResample takes the product the other way round
        matrix, linear = vtk.vtkMatrix4x4(), vtk.vtkTransform()
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(*parents, matrix)
        linear.SetMatrix(matrix)
        return linear
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, transform)
    return transform


def transformed(image: Any, source: Any, target: Any) -> Any:
    """A copy of ``image``, from the coordinates of node ``source`` to those of ``target``; None is the world."""
    moved = slicer.vtkOrientedImageData()
    moved.DeepCopy(image)
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(moved, transformBetween(source, target))
    return moved


def matrixOf(image: Any) -> np.ndarray:
    """Where an oriented image lies: its index to its coordinates."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def shapeOf(extent: list[int]) -> tuple[int, int, int]:
    """Voxels along k, j, i."""
    i, j, k = (extent[n + 1] - extent[n] + 1 for n in (0, 2, 4))
    return k, j, i


def voxelsOf(image: Any) -> np.ndarray:
    """The voxels (k, j, i) over an image's extent; a view, not a copy."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shapeOf(image.GetExtent()))


def imageOf(mask: np.ndarray, lattice: Any, extent: list[int]) -> Any:
    """``mask`` (k, j, i) over ``extent``, on the lattice of an image."""
    image = partOf(lattice, extent)
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    return image


def imageOfRegion(region: Any, lattice: Any) -> Any:
    """A :class:`lopsided.regions.Region` of the volume that has this lattice."""
    return imageOf(region.mask, lattice, [n for side in region.box[::-1] for n in (side.start, side.stop - 1)])


def isEmpty(image: Any) -> bool:
    """Whether nothing is marked in a label map."""
    return min(image.GetDimensions()) < 1 or not voxelsOf(image).any()


def cropped(image: Any) -> Any:
    """A copy of a label map that is not empty, as far as it is marked."""
    extent = [0] * 6
    slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(image, extent)
    return imageOf(voxelsOf(sampled(image, partOf(image, extent))) > 0, image, extent)


def packed(image: Any) -> dict[str, Any]:
    """A label map that is not empty, as plain values of which :func:`unpacked` makes it again."""
    small = cropped(image)
    bits = base64.b64encode(zlib.compress(np.packbits(voxelsOf(small) > 0).tobytes())).decode()
    return {"extent": list(small.GetExtent()), "bits": bits, "lattice": matrixOf(small).tolist()}


def unpacked(content: dict[str, Any]) -> Any:
    """What :func:`packed` made plain values of."""
    lattice, shape = slicer.vtkOrientedImageData(), shapeOf(content["extent"])
    lattice.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(np.array(content["lattice"])))
    bits = np.frombuffer(zlib.decompress(base64.b64decode(content["bits"])), np.uint8)
    return imageOf(np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape), lattice, content["extent"])


def copied(segment: Any, image: Any) -> Any:
    """A new segment with all that a segment is called and tagged with, and the label map ``image``, as small as it can be."""
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    copy.SetLabelValue(1)  # as :func:`cropped` has it; read from a file, it had another
    copy.AddRepresentation(labelmapName(), image if isEmpty(image) else cropped(image))
    return copy


def sampled(image: Any, reference: Any) -> Any:
    """``image`` at the voxels of ``reference``, of each the nearest."""
    moved = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, moved, False, False
    )
    return moved


def extentOn(lattice: Any, image: Any) -> list[int]:
    """Of the voxels of ``lattice`` that an image covers."""
    there, extent = vtk.vtkTransform(), [0] * 6
    there.SetMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(matrixOf(lattice)) @ matrixOf(image)))
    slicer.vtkOrientedImageDataResample.TransformExtent(image.GetExtent(), there, extent)
    return extent


def partOf(lattice: Any, extent: list[int]) -> Any:
    """An image without voxels, on some of a lattice."""
    part = slicer.vtkOrientedImageData()
    part.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrixOf(lattice)))
    part.SetExtent(extent)
    return part


def onLattice(image: Any, lattice: Any) -> Any:
    """A label map, not empty, on the voxels of ``lattice``: those that it covers by half, or where they are too large
    for any, by half of what it covers of one. By the nearest voxel it could fall between two slices."""
    index = np.linalg.inv(matrixOf(lattice)) @ matrixOf(image)
    sides = np.reshape(image.GetExtent(), (3, 2)) + np.array([-0.5, 0.5])
    corners = np.array(np.meshgrid(*sides)).reshape(3, 8)
    there = index[:3, :3] @ corners + index[:3, 3:]
    low, high = np.floor(there.min(axis=1)).astype(int), np.ceil(there.max(axis=1)).astype(int)
    # parts of a voxel, each less than half as long as one of the image's; an odd number of them, and looked at a little
    # to one side, so that of two voxels that are covered by half one is taken
    parts = 2 * np.ceil(np.abs(np.linalg.inv(index[:3, :3])).max(axis=0) - 1e-3).astype(int) + 1
    fine = slicer.vtkOrientedImageData()
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = np.diag(1 / parts), (1 / parts - 1) / 2 + 1e-3
    fine.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrixOf(lattice) @ step))
    fine.SetExtent(np.stack([low * parts, (high + 1) * parts - 1], axis=1).ravel().tolist())
    (k, j, i), (c, b, a) = (high - low + 1)[::-1], parts[::-1]
    covered = (voxelsOf(sampled(image, fine)) > 0).reshape(k, c, j, b, i, a).sum(axis=(1, 3, 5))
    extent = [int(n) for pair in zip(low, high, strict=True) for n in pair]
    return cropped(imageOf(2 * covered > covered.max(), lattice, extent))


def _latticeFrom(geometry: str) -> Any:
    """What MRML has written of a lattice; None for nothing."""
    lattice, read = slicer.vtkOrientedImageData(), slicer.vtkSegmentationConverter.DeserializeImageGeometry
    return lattice if geometry and read(geometry, lattice, False) else None  # of nothing, it is an error of Slicer's


def _putOn(node: Any, lattice: Any) -> None:
    """Have all segments on one lattice: of two on different ones, Slicer overlooks that they overlap, and saves one alone."""
    for segmentId in node.GetSegmentation().GetSegmentIDs():
        segment = node.GetSegmentation().GetSegment(segmentId)
        if _isOn(lattice, segment.GetRepresentation(labelmapName())) or isEmpty(image := labelmap(node, segmentId)):
            continue
        segment.SetLabelValue(1)
        segment.AddRepresentation(labelmapName(), _on(lattice, image))


def _isOn(lattice: Any, image: Any) -> bool:
    return np.allclose(matrixOf(image), matrixOf(lattice), atol=1e-4)


def _on(lattice: Any, image: Any) -> Any:
    """``image`` at the voxels of a lattice: itself, if it is there already."""
    return image if _isOn(lattice, image) else sampled(image, partOf(lattice, extentOn(lattice, image)))
