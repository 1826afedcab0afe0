"""The user's annotation, and the only ways in which it is changed: a lesion goes in, and out again."""

import json
from typing import Any

import numpy as np
import slicer
import vtk
from lopsided.review import RESULT_ATTRIBUTE, SUGGESTION_TAG
from slicer.i18n import tr as _

from .Labelmaps import (
    cropped,
    extentOn,
    frameOf,
    imageOf,
    isEmpty,
    labelmap,
    labelmapName,
    latticeOf,
    matrixOf,
    onLattice,
    packed,
    partOf,
    sampled,
    transformBetween,
    transformed,
    unpacked,
    voxelsOf,
)

PREVIEW_ATTRIBUTE = "LopsidedSeg.Preview"  # of the segmentation that shows what coarse marks become
_TAGS = (  # that come back with a lesion; of a segment, VTK tells no names of tags
    slicer.vtkSegment.GetTerminologyEntryTagName(),
    slicer.vtkSlicerSegmentationsModuleLogic.GetStatusTagName(),
    SUGGESTION_TAG,
    "LopsidedSeg.Confidence",
    "LopsidedSeg.Model",
    "LopsidedSeg.Reader",
)


class Annotation:
    """A segmentation node that lesions are accepted into. A lesion is a vtkOrientedImageData in world coordinates, or what is
    kept of one that was taken out: plain values, by which it goes in again where it lay among the others, also where a
    transform that moved them all is gone since."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self.node = node

    def terminologies(self) -> list[str]:
        """What its segments are, as Slicer writes terminology entries; each once."""
        segmentation, name = self.node.GetSegmentation(), slicer.vtkSegment.GetTerminologyEntryTagName()
        entries = dict.fromkeys(_tag(segmentation.GetSegment(s), name) for s in segmentation.GetSegmentIDs())
        return [entry for entry in entries if entry]

    def touching(self, lesion: Any) -> list[str]:
        """IDs of the segments that share a voxel with the lesion or border on it, and that it could be added to: of an annotation
        of surfaces none."""
        if not self._isLabelmap():
            return []
        own = transformed(lesion, None, self.node)
        extent = [int(n) for n in np.array(own.GetExtent()) + [-1, 1] * 3]
        inside = _voxels(own, extent)
        wide = np.zeros(np.array(inside.shape) + 2, bool)
        for step in np.ndindex(3, 3, 3):  # 26 neighbours
            wide[tuple(slice(s, s + n) for s, n in zip(step, inside.shape, strict=True))] |= inside
        return self._at(imageOf(wide[1:-1, 1:-1, 1:-1], own, extent))

    def overlapping(self, lesion: Any) -> list[str]:
        """IDs of the segments that share a voxel with the lesion."""
        return self._at(transformed(lesion, None, self.node))

    def _at(self, place: Any) -> list[str]:
        """IDs of the segments within a label map in the node's own coordinates."""
        segmentation, labels, found = self.node.GetSegmentation(), {}, []
        for segmentId in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segmentId)
            shared = segment.GetRepresentation(labelmapName())  # with other segments, each by its label
            if shared not in labels:
                labels[shared] = _labelsAt(place, shared)
            if segment.GetLabelValue() in labels[shared]:
                found.append(segmentId)
        return found

    def insert(
        self, segmentId: str, lesion: Any, name: str, colour: tuple[float, float, float], tags: dict[str, str]
    ) -> str:
        """A new segment for the lesion, on the voxels that the annotation is saved on: of others it would be moved there by
        the nearest voxel, or the user's own segments to it. Returns its ID, which is another where that is taken; raises
        RuntimeError, one sentence."""
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*colour)
        for key, value in tags.items():
            segment.SetTag(key, value)
        here, lattice = self._here(lesion), latticeOf(self.node)
        segment.AddRepresentation(labelmapName(), onLattice(here, lattice) if lattice else here)
        self._ensureLabelmaps()
        segmentId = self.node.GetSegmentation().GenerateUniqueSegmentID(segmentId)
        if not self.node.GetSegmentation().AddSegment(segment, segmentId):
            raise RuntimeError(_("{name} did not take the lesion.").format(name=self.node.GetName()))
        return segmentId

    def remove(self, segmentId: str, suggestion: str) -> dict[str, Any] | None:
        """Take out what :meth:`insert` put in, with that in ``SUGGESTION_TAG``. Returns what that needs to put it in again as
        the user left it; None where they have removed it, or all of its voxels, since."""
        segment = self.node.GetSegmentation().GetSegment(segmentId)
        if segment is None or _tag(segment, SUGGESTION_TAG) != suggestion:
            return None
        image, tags = labelmap(self.node, segmentId), {name: _tag(segment, name) for name in _TAGS}
        left = {
            "segmentId": segmentId,
            "name": segment.GetName(),
            "colour": segment.GetColor(),
            "tags": {name: value for name, value in tags.items() if value},
            "lesion": None if isEmpty(image) else self._kept(image),
        }
        self.node.GetSegmentation().RemoveSegment(segmentId)
        return left if left["lesion"] else None

    def grow(self, segmentId: str, lesion: Any) -> str:
        """Add the lesion to a segment. Returns what :meth:`shrink` needs, nothing where the user has drawn all of it there
        already; raises RuntimeError, one sentence."""
        self._ensureLabelmaps()
        if not self.node.GetSegmentation().GetSegment(segmentId):
            raise RuntimeError(_("The segment to add to is not there any more; accept as a new segment."))
        existing = labelmap(self.node, segmentId)
        here = onLattice(self._here(lesion), existing)
        extent = _union(existing, here)
        before = _voxels(existing, extent)
        added = _voxels(here, extent) & ~before
        if not added.any():
            return ""
        self._write(segmentId, imageOf(before | added, existing, extent))
        return json.dumps(self._kept(imageOf(added, existing, extent)))

    def shrink(self, segmentId: str, token: str) -> dict[str, Any] | None:
        """Take out what :meth:`grow` put in, and nothing else of what the segment is by now. Returns what is kept of that
        lesion, as far as the user left it; None where nothing of it is there any more."""
        if not token or not self.node.GetSegmentation().GetSegment(segmentId):
            return None
        existing = labelmap(self.node, segmentId)
        if isEmpty(existing):
            return None
        added = self._here(json.loads(token))
        if not np.allclose(matrixOf(added), matrixOf(existing), atol=1e-4):
            added = onLattice(added, existing)  # the segment was resampled
        extent = _union(existing, added)
        before, inside = _voxels(existing, extent), _voxels(added, extent)
        self._write(segmentId, imageOf(before & ~inside, existing, extent))
        left = before & inside
        return self._kept(imageOf(left, existing, extent)) if left.any() else None

    def holds(self, segment: str = "", addTo: str = "", token: str = "") -> bool:
        """Whether the ``segment`` that :meth:`insert` made is there; or in ``addTo`` a voxel of what :meth:`grow` put in."""
        there = self.node.GetSegmentation().GetSegment(segment or addTo)
        image = there and there.GetRepresentation(labelmapName())
        if not image or not token:
            return bool(there)
        added = unpacked(json.loads(token)["own"])
        return bool((voxelsOf(added) * (voxelsOf(sampled(image, added)) == there.GetLabelValue())).any())

    def _kept(self, image: Any) -> dict[str, Any]:
        """Of a lesion in the node's own coordinates: ``own``, there; ``world``, which they are once the node is hardened, None where
        it falls between two voxels; and what that is known by then: ``bent``, or ``frame`` and what it is ``hardened``."""
        image, frame, toWorld = cropped(image), frameOf(self.node), self._linearToWorld()
        world = transformed(image, self.node, None)
        known = frame is not None and toWorld is not None
        return {
            "own": packed(image),
            "world": None if isEmpty(world) else packed(world),
            "bent": toWorld is None,
            "frame": frame.tolist() if known else None,
            "hardened": (toWorld @ frame).tolist() if known else None,
        }

    def _linearToWorld(self) -> np.ndarray | None:
        """The matrix from the node's own coordinates to the world; None where a transform bends it."""
        toWorld = transformBetween(self.node, None)
        return slicer.util.arrayFromVTKMatrix(toWorld.GetMatrix()) if isinstance(toWorld, vtk.vtkTransform) else None

    def _isHardened(self, kept: dict[str, Any]) -> bool:
        """Whether the node was, since. Else a transform may be gone, or its lattice is another, and coordinates are what they were."""
        if kept["bent"]:  # which is hardened rather than taken off, to search
            return self._linearToWorld() is not None
        then, now = kept["frame"], frameOf(self.node)
        if then is None or now is None or np.allclose(then, now, atol=1e-4):
            return False
        return np.allclose(kept["hardened"], now, atol=1e-4)

    def _here(self, lesion: Any) -> Any:
        """In the node's own coordinates."""
        if isinstance(lesion, dict):
            if lesion["own"] and not self._isHardened(lesion):
                return unpacked(lesion["own"])
            lesion = lesion["world"] and unpacked(lesion["world"])
        here = lesion and transformed(lesion, None, self.node)
        if not here or isEmpty(here):  # a small one falls between two voxels of a bent grid
            raise RuntimeError(_("{name} is bent by a transform; harden it first.").format(name=self.node.GetName()))
        return here

    def _isLabelmap(self) -> bool:
        return self.node.GetSegmentation().GetSourceRepresentationName() == labelmapName()

    def _ensureLabelmaps(self) -> None:
        """What is added is a label map, and Slicer saves what is the source; raises RuntimeError where that is something else."""
        segmentation = self.node.GetSegmentation()
        if not segmentation.GetNumberOfSegments():  # whatever was in it before
            segmentation.SetSourceRepresentationName(labelmapName())
        elif not self._isLabelmap():
            sentence = _(
                "{name} is not stored as label maps; make them its source representation in the Segmentations module."
            )
            raise RuntimeError(sentence.format(name=self.node.GetName()))

    def _write(self, segmentId: str, image: Any) -> None:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if not logic.SetBinaryLabelmapToSegment(image, self.node, segmentId, logic.MODE_REPLACE):
            raise RuntimeError(_("{name} could not be changed.").format(name=self.node.GetName()))


def whyNotAnnotation(node: Any) -> str:
    """A sentence that says why a segmentation cannot be the annotation; empty where it can, or where there is none."""
    if node and node.GetAttribute(RESULT_ATTRIBUTE):
        return _("{name} holds suggestions; choose the segmentation of known lesions.").format(name=node.GetName())
    if node and node.GetAttribute(PREVIEW_ATTRIBUTE):
        sentence = _("{name} only shows what marks become; choose the segmentation of known lesions.")
        return sentence.format(name=node.GetName())
    return ""


def _tag(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _labelsAt(place: Any, image: Any) -> set[int]:
    """Those of a label map within another, which is small: at its voxels, and of the label map's own voxels that have their
    middle in it, of which larger ones may all lie beside those."""
    if image is None or min(image.GetDimensions()) < 1:
        return set()
    found = voxelsOf(sampled(image, place))[voxelsOf(place) > 0]
    own, reach = np.reshape(image.GetExtent(), (3, 2)), np.reshape(extentOn(image, place), (3, 2))
    low, high = np.maximum(own[:, 0], reach[:, 0]), np.minimum(own[:, 1], reach[:, 1])
    if (low <= high).all():
        part = partOf(image, np.stack([low, high], axis=1).ravel().tolist())
        inside = voxelsOf(sampled(place, part)) > 0
        found = np.append(found, voxelsOf(sampled(image, part))[inside])
    return set(found.tolist())


def _union(a: Any, b: Any) -> list[int]:
    low, high = np.minimum(a.GetExtent(), b.GetExtent()), np.maximum(a.GetExtent(), b.GetExtent())
    return [int(v) for n in (0, 2, 4) for v in (low[n], high[n + 1])]


def _voxels(image: Any, extent: list[int]) -> np.ndarray:
    """Bool (k, j, i) over ``extent``, false where the image does not reach."""
    return voxelsOf(sampled(image, partOf(image, extent))) > 0
