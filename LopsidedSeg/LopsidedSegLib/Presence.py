"""Which suggestions an annotation has, by their voxels: segments are merged, renamed and emptied in other modules."""

from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .Labelmaps import labelmapName, matrixOf, transformBetween, voxelsOf


class Presence:
    """Of the suggestions of one node in annotations. It is asked at each refresh of a panel, and looks only at what changed."""

    def __init__(self, suggestions: Any) -> None:
        self._suggestions = suggestions
        self._found: dict[str, tuple[str, Any]] = {}  # by candidate, the segment that has it, as that was
        self._last: tuple[Any, list[str]] = (None, [])
        self._points: tuple[Any, dict[str, np.ndarray]] = (None, {})

    def absent(self, annotation: Any, own: dict[str, str]) -> list[str]:
        """Of the candidates in ``own``, each with the segment that it was accepted as or empty, those of which neither that
        segment has a voxel, wherever it was moved, nor any segment one where the candidate lies."""
        images, moved = _images(annotation), _transformTime(annotation) + _transformTime(self._suggestions)
        state = {segmentId: (image and image.GetMTime(), moved) for segmentId, image in images.items()}
        key = own, state, [image and image.GetMTime() for image in _images(self._suggestions).values()]
        if key == self._last[0]:
            return self._last[1]
        self._found = {c: (s, was) for c, (s, was) in self._found.items() if c in own and state.get(s) == was}
        labels = {s: annotation.GetSegmentation().GetSegment(s).GetLabelValue() for s in images}
        marked: dict[int, set[int]] = {}
        for candidate, segmentId in own.items():
            if candidate in self._found or segmentId not in images:
                continue
            image = images[segmentId]
            if image and id(image) not in marked:
                marked[id(image)] = set(np.unique(voxelsOf(image)).tolist()) if _hasVoxels(image) else set()
            if image is None or labels[segmentId] in marked[id(image)]:  # of surfaces, nothing more is known
                self._found[candidate] = segmentId, state[segmentId]
        left = [candidate for candidate in own if candidate not in self._found]
        if left:
            segmentAt = _Segments(images, labels)
            toAnnotation = transformBetween(self._suggestions, annotation)
            points = self._pointsOfAll(key[2])
            for candidate in left:
                found = segmentAt.any(_moved(points[candidate], toAnnotation)) if candidate in points else None
                if found:
                    self._found[candidate] = found, state[found]
        self._last = key, [candidate for candidate in own if candidate not in self._found]
        return self._last[1]

    def _pointsOfAll(self, state: Any) -> dict[str, np.ndarray]:
        """The middles of each suggestion's voxels, in their node's coordinates."""
        if self._points[0] != state:
            images, places = _images(self._suggestions), {}
            for image in {id(image): image for image in images.values() if image and _hasVoxels(image)}.values():
                at = np.argwhere(voxelsOf(image))
                values = voxelsOf(image)[tuple(at.T)]
                order = np.argsort(values, kind="stable")
                each, begins = np.unique(values[order], return_index=True)
                index = at[order, ::-1] + np.array(image.GetExtent()[::2])
                matrix = matrixOf(image)
                parts = np.split(index @ matrix[:3, :3].T + matrix[:3, 3], begins[1:])
                places[id(image)] = dict(zip(each.tolist(), parts, strict=True))
            labels = {s: self._suggestions.GetSegmentation().GetSegment(s).GetLabelValue() for s in images}
            there = {s: places.get(id(image), {}).get(labels[s]) for s, image in images.items()}
            self._points = state, {s: points for s, points in there.items() if points is not None}
        return self._points[1]


class _Segments:
    """An annotation's segments, by place."""

    def __init__(self, images: dict[str, Any], labels: dict[str, int]) -> None:
        self._segments: dict[int, dict[int, str]] = {}
        lattices: dict[bytes, list[Any]] = {}
        for segmentId, image in images.items():
            if image is None or not _hasVoxels(image):
                continue
            if id(image) not in self._segments:
                lattices.setdefault(matrixOf(image).round(6).tobytes(), []).append(image)
            self._segments.setdefault(id(image), {})[labels[segmentId]] = segmentId
        self._lattices = [
            (np.linalg.inv(matrixOf(those[0])), those, np.array([image.GetExtent() for image in those]))
            for those in lattices.values()
        ]

    def any(self, points: np.ndarray) -> str | None:
        """One that has a voxel at any of the points."""
        for matrix, images, extents in self._lattices:
            index = np.round(points @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
            near = (extents[:, ::2] <= index.max(axis=0)) & (extents[:, 1::2] >= index.min(axis=0))
            for n in np.flatnonzero(near.all(axis=1)):
                low, high = extents[n, ::2], extents[n, 1::2]
                inside = index[((index >= low) & (index <= high)).all(axis=1)] - low
                values = np.unique(voxelsOf(images[n])[tuple(inside.T[::-1])]).tolist()
                found = [self._segments[id(images[n])].get(value) for value in values]
                if any(found):
                    return next(filter(None, found))
        return None


def _images(node: Any) -> dict[str, Any]:
    """The label map of each segment, which several may share; None for one without."""
    segmentation, name = node.GetSegmentation(), labelmapName()
    return {s: segmentation.GetSegment(s).GetRepresentation(name) for s in segmentation.GetSegmentIDs()}


def _hasVoxels(image: Any) -> bool:
    return bool(min(image.GetDimensions()) > 0)


def _transformTime(node: Any) -> int:
    parent = node.GetParentTransformNode()
    return int(parent.GetTransformToWorldMTime()) if parent else 0


def _moved(points: np.ndarray, transform: Any) -> np.ndarray:
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points, float), deep=True))
    after.SetDataTypeToDouble()
    transform.TransformPoints(before, after)
    return vtk_to_numpy(after.GetData())
