"""The user's annotation, and the only ways in which it is changed: a lesion goes in, and out again."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .Labelmaps import asLabelmaps, imageToWorld, labelmap, transformed


class Annotation:
    """A segmentation node that lesions are accepted into. A lesion is a vtkOrientedImageData in world coordinates."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self.node = node

    def touching(self, lesion: Any) -> list[str]:
        """IDs of the segments that share a voxel with the lesion or border on it."""
        copy = asLabelmaps(self.node)
        if copy is None:
            return []
        own = transformed(lesion, None, self.node)
        extent = [int(n) for n in np.array(own.GetExtent()) + [-1, 1] * 3]
        inside = _voxels(own, extent)
        wide = np.zeros(np.array(inside.shape) + 2, bool)
        for step in np.ndindex(3, 3, 3):  # 26 neighbours
            wide[tuple(slice(s, s + n) for s, n in zip(step, inside.shape, strict=True))] |= inside
        around = _image(own, extent, wide[1:-1, 1:-1, 1:-1])
        found = []
        for segmentId in copy.GetSegmentation().GetSegmentIDs():
            existing = labelmap(copy, segmentId)
            if min(existing.GetDimensions()) < 1:
                continue
            # on the lesion's grid, which is small: a surface's own may be very fine
            here = _onGridOf(existing, around, pad=False)
            if (_voxels(here, extent) & _voxels(around, extent)).any():
                found.append(segmentId)
        return found

    def insert(self, lesion: Any, name: str, colour: tuple[float, float, float], tags: dict[str, str]) -> str:
        """A new segment for the lesion. Returns its ID; raises RuntimeError, one sentence."""
        self._checkIsLabelmap()
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*colour)
        for key, value in tags.items():
            segment.SetTag(key, value)
        segment.AddRepresentation(_labelmapName(), transformed(lesion, None, self.node))
        segmentId = self.node.GetSegmentation().GenerateUniqueSegmentID(name)
        if not self.node.GetSegmentation().AddSegment(segment, segmentId):
            raise RuntimeError(_("{name} did not take the lesion.").format(name=self.node.GetName()))
        return segmentId

    def remove(self, segmentId: str) -> None:
        """Take out what :meth:`insert` put in; nothing where the user has removed it since."""
        if self.node.GetSegmentation().GetSegment(segmentId):
            self.node.GetSegmentation().RemoveSegment(segmentId)

    def grow(self, segmentId: str, lesion: Any) -> str:
        """Add the lesion to a segment. Returns what :meth:`shrink` needs; raises RuntimeError, one sentence."""
        self._checkIsLabelmap()
        if not self.node.GetSegmentation().GetSegment(segmentId):
            raise RuntimeError(_("The segment to add to is not there any more; accept as a new segment."))
        existing = labelmap(self.node, segmentId)
        here = _onGridOf(transformed(lesion, None, self.node), existing, pad=True)
        extent = _union(existing, here)
        before = _voxels(existing, extent)
        added = _voxels(here, extent) & ~before
        if not added.any():
            raise RuntimeError(_("Nothing of the lesion is new to that segment; accept as a new segment."))
        self._write(segmentId, _image(existing, extent, before | added))
        bits = base64.b64encode(zlib.compress(np.packbits(added).tobytes())).decode()
        return json.dumps({"extent": extent, "bits": bits})

    def shrink(self, segmentId: str, token: str) -> None:
        """Take out what :meth:`grow` put in, and nothing else of what the segment is by now."""
        if not self.node.GetSegmentation().GetSegment(segmentId):
            return
        content = json.loads(token)
        bits = np.frombuffer(zlib.decompress(base64.b64decode(content["bits"])), np.uint8)
        shape = _shape(content["extent"])
        existing = labelmap(self.node, segmentId)
        added = _image(existing, content["extent"], np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape))
        extent = _union(existing, added)
        self._write(segmentId, _image(existing, extent, _voxels(existing, extent) & ~_voxels(added, extent)))

    def _checkIsLabelmap(self) -> None:
        segmentation = self.node.GetSegmentation()
        if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != _labelmapName():
            sentence = _(
                "{name} is not stored as label maps; make them its source representation in the Segmentations module."
            )
            raise RuntimeError(sentence.format(name=self.node.GetName()))

    def _write(self, segmentId: str, image: Any) -> None:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if not logic.SetBinaryLabelmapToSegment(image, self.node, segmentId, logic.MODE_REPLACE):
            raise RuntimeError(_("{name} could not be changed.").format(name=self.node.GetName()))


def _labelmapName() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _onGridOf(image: Any, reference: Any, *, pad: bool) -> Any:
    """``image`` on the lattice of ``reference``: as far as that reaches, or with ``pad`` as far as either does."""
    moved = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, moved, False, pad
    )
    return moved


def _union(a: Any, b: Any) -> list[int]:
    low, high = np.minimum(a.GetExtent(), b.GetExtent()), np.maximum(a.GetExtent(), b.GetExtent())
    return [int(v) for n in (0, 2, 4) for v in (low[n], high[n + 1])]


def _shape(extent: list[int]) -> tuple[int, int, int]:
    i, j, k = (extent[n + 1] - extent[n] + 1 for n in (0, 2, 4))
    return k, j, i


def _voxels(image: Any, extent: list[int]) -> np.ndarray:
    """Bool (k, j, i) over ``extent``, false where the image does not reach."""
    whole = np.zeros(_shape(extent), bool)
    own = image.GetExtent()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(_shape(own)) > 0
    low = [max(own[n], extent[n]) for n in (4, 2, 0)]
    end = [min(own[n + 1], extent[n + 1]) + 1 for n in (4, 2, 0)]
    if all(a < b for a, b in zip(low, end, strict=True)):
        target, source = (
            tuple(slice(a - e[n], b - e[n]) for a, b, n in zip(low, end, (4, 2, 0), strict=True)) for e in (extent, own)
        )
        whole[target] = array[source]
    return whole


def _image(lattice: Any, extent: list[int], mask: np.ndarray) -> Any:
    """``mask`` (k, j, i) over ``extent``, on the lattice of an image."""
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(imageToWorld(lattice))
    image.SetExtent(extent)
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    return image
