"""Coarse marks of lesions in the scene: Slicer's own markups, and the voxels that they become."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from lopsided.marks import (
    ELLIPSOID,
    BoxMark,
    Ellipsoid,
    Line,
    Mark,
    Point,
    crossed,
    diameter_of,
    rasterise,
    snap,
)
from lopsided.regions import Region
from lopsided.volume import Volume
from slicer.i18n import tr as _

from . import Scene
from .Annotation import PREVIEW_ATTRIBUTE
from .Labelmaps import imageOfRegion, labelmapName
from .Scene import lpsOf, rasOf
from .Settings import Settings

KINDS = {  # an ROI is a box or an ellipsoid by its description
    "point": "vtkMRMLMarkupsFiducialNode",
    "line": "vtkMRMLMarkupsLineNode",
    "box": "vtkMRMLMarkupsROINode",
    "ellipsoid": "vtkMRMLMarkupsROINode",
}
TIMES_ATTRIBUTE = "LopsidedSeg.Times"
REFERENCE_ROLE = "LopsidedSeg.Reference"
_COLOUR = (0.18, 0.83, 0.9)
_MOVED = "PointEndInteractionEvent"
_CHANGES = ("PointPositionDefinedEvent", _MOVED, "PointRemovedEvent")


class Item(NamedTuple):
    """A mark, the node that it is of, and for one of several points in a node the point's ID."""

    node: Any
    point: str
    mark: Mark


class _Was(NamedTuple):
    """A mark, in its node's own coordinates; which transform the node was under; its time."""

    mark: Mark
    transform: str | None
    time: str | None


_Key = tuple[str, str]  # a mark's node, and its point


class Marks:
    """The marks on one volume. All points are in one node; each line, box and ellipsoid is a node of its own.

    Usage example::

        marks = Marks(getNode("T1c"), Settings())
        marks.add(Point((10.0, -20.0, 30.0), 6.5))  # LPS, mm
        marks.start("line")  # the user draws it
        marks.undo()
    """

    def __init__(self, reference: Any, settings: Settings, changed: Any = lambda: None) -> None:
        """``changed`` is called after each change of the marks, whoever made it."""
        self.reference = reference
        self._settings, self._changed = settings, changed
        self._observed: list[tuple[Any, int]] = []
        self._busy = self._drawn = False
        self._observe()
        self._complete()  # what was drawn while another module was shown
        self._last = self._state()
        self._steps: list[dict[_Key, _Was | None]] = []  # of each change, the marks that it was of, as they were before

    def close(self) -> None:
        """Stop following the scene; the marks stay, the preview that was drawn here goes."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        if self._drawn:
            self.preview(False, False)

    def items(self) -> list[Item]:
        """What is marked, complete marks alone."""
        return self._items("World")

    def _items(self, space: str) -> list[Item]:
        """``space``: "World", or nothing for each node's own coordinates."""
        found = []
        for node in self._nodes():
            position = getattr(node, f"GetNthControlPointPosition{space}")
            placed = [n for n in range(node.GetNumberOfControlPoints()) if self._isPlaced(node, n)]
            if node.IsA(KINDS["point"]):
                for n in placed:
                    mark: Mark = Point(lpsOf(position(n)), _diameter(node.GetNthControlPointDescription(n)))
                    found.append(Item(node, node.GetNthControlPointID(n), mark))
            elif node.IsA(KINDS["line"]) and len(placed) == 2:
                found.append(Item(node, "", Line(tuple(lpsOf(position(n)) for n in placed))))
            elif node.IsA(KINDS["box"]) and placed and min(_got(node.GetSizeWorld)) > 0:
                found.append(Item(node, "", self._solid(node, space)))
        return found

    def lesions(self) -> list[Mark]:
        """The marks, where two lines that cross are one."""
        return crossed(item.mark for item in self.items())

    def check(self) -> None:
        """Raises ValueError, one sentence, where the description of a point, which users write too, says no diameter."""
        for item in self.items():
            if item.point:
                diameter_of(item.node.GetNthControlPointDescription(item.node.GetNthControlPointIndexByID(item.point)))

    def time(self, item: Item) -> str | None:
        """When it was made, ISO 8601, UTC."""
        return json.loads(item.node.GetAttribute(TIMES_ATTRIBUTE) or "{}").get(item.point)

    def start(self, kind: str) -> None:
        """Have the user draw a mark in the slice views; points one after the other, until they press Escape."""
        node = self._newNode(kind) if kind != "point" else self._pointsNode()
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetReferenceActivePlaceNodeClassName(KINDS[kind])
        selection.SetActivePlaceNodeID(node.GetID())
        slicer.modules.markups.logic().StartPlaceMode(kind == "point")

    def add(self, mark: Mark, time: str | None = None) -> Item:
        """Make a mark without drawing it; ``time`` is when it was made, now where it is not given."""
        self._busy = True
        node = self._newNode(mark.kind) if not isinstance(mark, Point) else self._pointsNode()
        if isinstance(mark, Point):
            n = node.AddControlPointWorld(vtk.vtkVector3d(*rasOf(mark.centre_lps)))
            node.SetNthControlPointDescription(n, f"{mark.diameter_mm:g}")
        else:
            self._put(node, mark)
        self._busy = False
        item = [item for item in self.items() if item.node is node][-1]
        if time:
            self._setTime(item, time)
        self._onChange()
        return item

    @staticmethod
    def _put(node: Any, mark: Mark) -> None:
        """A line, box or ellipsoid to where it is to be in its node's own coordinates."""
        if isinstance(mark, Line):
            for n, end in enumerate(mark.ends_lps):
                if n == node.GetNumberOfControlPoints():
                    node.AddControlPoint(*rasOf(end))
                node.SetNthControlPointPosition(n, *rasOf(end))
        else:
            matrix = np.eye(4)
            matrix[:3, :3] = np.stack([rasOf(axis) for axis in mark.axes], axis=1)
            matrix[:3, 3] = rasOf(mark.centre_lps)
            node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
            node.SetSize(*mark.size_mm)
            if mark.kind != _solidKind(node):
                _describe(node, mark.kind)

    def resize(self, item: Item, diameter: float) -> None:
        """Another diameter (mm) for a point."""
        n = item.node.GetNthControlPointIndexByID(item.point)
        item.node.SetNthControlPointDescription(n, f"{diameter:g}")
        self._onChange(item.node)

    def remove(self, item: Item) -> None:
        if item.point:
            item.node.RemoveNthControlPoint(item.node.GetNthControlPointIndexByID(item.point))
        else:
            Scene.removeNode(item.node)

    @property
    def canUndo(self) -> bool:
        return bool(self._steps)

    def undo(self) -> None:
        """As it was before the last mark that was made, moved, resized or removed, since a transform last moved them or the
        volume; what that left alone stays as it is."""
        if not self.canUndo:
            return
        self._busy = True
        made: dict[str, Any] = {}
        new = [key for key, was in self._steps[-1].items() if was is None]
        for item in self._items(""):
            if _key(item) in new:
                self.remove(item)
        while left := [key for key, was in self._steps[-1].items() if was]:
            key = left[0]
            now = self._again(key, self._steps[-1].pop(key), made)
            swapped = {key: now, now: key}  # the key that it has now may be that of another mark in an older step
            self._steps = [{swapped.get(k, k): was for k, was in step.items()} for step in self._steps]
        self._steps.pop()
        self._busy = False
        self._last = self._state()
        self._changed()

    def _again(self, key: _Key, was: _Was, made: dict[str, Any]) -> _Key:
        """Have a mark as it was; returns its key, which is another where it was gone. ``made``: nodes by the ID of the one
        that each is in the place of."""
        node = slicer.mrmlScene.GetNodeByID(key[0]) or made.get(key[0])
        if node is None:
            node = made[key[0]] = self._newNode(was.mark.kind)
            if was.transform and slicer.mrmlScene.GetNodeByID(was.transform):
                node.SetAndObserveTransformNodeID(was.transform)
        point = key[1]
        if isinstance(was.mark, Point):
            n, place = node.GetNthControlPointIndexByID(point), rasOf(was.mark.centre_lps)
            if n < 0:
                n = node.AddControlPoint(*place)
            node.SetNthControlPointPosition(n, *place)
            node.SetNthControlPointDescription(n, f"{was.mark.diameter_mm:g}")
            point = node.GetNthControlPointID(n)
        else:
            self._put(node, was.mark)
        if was.time:
            self._setTime(Item(node, point, was.mark), was.time)
        return node.GetID(), point

    def regions(self, snapped: bool) -> list[tuple[Mark, Region]]:
        """The voxels of each lesion on the volume's grid; without those that lie outside of it.

        Raises:
            ValueError: a mark is without size.
        """
        self.check()
        geometry = Scene.geometry(self.reference)
        image = Volume(slicer.util.arrayFromVolume(self.reference), geometry, self.reference.GetName())
        found = []
        for mark in self.lesions():
            region = rasterise(mark, geometry)
            if region:
                found.append((mark, snap(region, image) if snapped else region))
        return found

    def preview(self, shown: bool, snapped: bool) -> Any:
        """Draw the voxels that the marks become, in a node that is not saved; None where it is not ``shown``."""
        node, self._drawn = self._previewNode(), shown
        if not shown:
            if node:
                Scene.removeNode(node)
            return None
        if node is None:
            node = slicer.vtkMRMLSegmentationNode()
            node.SetName(_("Preview of coarse marks"))
            node.SetAttribute(PREVIEW_ATTRIBUTE, "1")
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            node = slicer.mrmlScene.AddNode(node)
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetSaveWithScene(False)
            node.GetDisplayNode().SetOpacity2DFill(0.25)
        node.GetSegmentation().RemoveAllSegments()
        regions, lattice = self.regions(snapped), Scene.lattice(self.reference)
        modifying = node.StartModify()
        for number, (mark, region) in enumerate(regions):
            segment = slicer.vtkSegment()
            segment.SetName(mark.kind)
            segment.SetColor(*_COLOUR)
            segment.AddRepresentation(labelmapName(), imageOfRegion(region, lattice))
            node.GetSegmentation().AddSegment(segment, f"Mark_{number}")
        node.EndModify(modifying)
        return node

    def _nodes(self) -> list[Any]:
        return self.nodesOf(self.reference)

    @staticmethod
    def nodesOf(reference: Any) -> list[Any]:
        """The markups that are marks on a volume."""
        found = []
        for kind in dict.fromkeys(KINDS.values()):
            found += [
                node for node in slicer.util.getNodesByClass(kind) if node.GetNodeReference(REFERENCE_ROLE) is reference
            ]
        return found

    def _newNode(self, kind: str) -> Any:
        name = slicer.mrmlScene.GenerateUniqueName(_("Lesion, {kind}").format(kind=kind))
        node = slicer.mrmlScene.AddNewNodeByClass(KINDS[kind], name)
        node.SetNodeReferenceID(REFERENCE_ROLE, self.reference.GetID())
        node.CreateDefaultDisplayNodes()
        if kind == ELLIPSOID:  # it has no point yet that could say so
            node.AddObserver(node.PointPositionDefinedEvent, lambda caller, _event: _describe(caller, kind))
        self._follow(node)
        return node

    def _pointsNode(self) -> Any:
        points = [node for node in self._nodes() if node.IsA(KINDS["point"])]
        return points[0] if points else self._newNode("point")

    def _previewNode(self) -> Any:
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        return next((node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)), None)

    def _observe(self) -> None:
        self._followTransform(self.reference)
        for node in self._nodes():
            self._follow(node)
        scene = slicer.mrmlScene
        tag = scene.AddObserver(scene.NodeRemovedEvent, lambda *_event: self._onChange())
        self._observed.append((scene, tag))

    def _follow(self, node: Any) -> None:
        for event in _CHANGES:
            moved = node if event == _MOVED else None
            tag = node.AddObserver(getattr(node, event), lambda *_event, moved=moved: self._onChange(moved))
            self._observed.append((node, tag))
        self._followTransform(node)

    def _followTransform(self, node: Any) -> None:
        tag = node.AddObserver(node.TransformModifiedEvent, lambda *_event: self._onTransform())
        self._observed.append((node, tag))

    def _onTransform(self) -> None:
        """Undo goes back to here and no further: where marks were before, there may be other tissue now."""
        if self._busy:
            return
        couldUndo, self._steps, self._last = self.canUndo, [], self._state()
        if couldUndo:  # not at each step of a transform that is drawn
            self._changed()

    def _onChange(self, moved: Any = None) -> None:
        """Remember how it was. ``moved``: the node of a mark that was moved or resized, none where one was made or removed. What
        changed elsewhere since, as where a place was typed in, is nothing to undo."""
        if self._busy:
            return
        self._complete()
        before, self._last = self._last, self._state()
        step: dict[_Key, _Was | None] = {}
        for key in {**before, **self._last}:
            was, now = before.get(key), self._last.get(key)
            isMoved = was and now and moved and key[0] == moved.GetID() and was.mark != now.mark
            if isMoved or not (was and now):
                step[key] = was
        if step:
            self._steps.append(step)
            self._changed()

    def _complete(self) -> None:
        """Give marks that were just drawn their time, and points their diameter."""
        self._busy = True
        for item in self.items():
            if self.time(item) is None:
                self._setTime(item, datetime.now(UTC).isoformat(timespec="seconds"))
            if item.point:
                n = item.node.GetNthControlPointIndexByID(item.point)
                if not item.node.GetNthControlPointDescription(n):
                    item.node.SetNthControlPointDescription(n, f"{self._settings.diameter:g}")
        self._busy = False

    @staticmethod
    def _setTime(item: Item, time: str) -> None:
        times = json.loads(item.node.GetAttribute(TIMES_ATTRIBUTE) or "{}")
        item.node.SetAttribute(TIMES_ATTRIBUTE, json.dumps({**times, item.point: time}))

    def _state(self) -> dict[_Key, _Was]:
        return {
            _key(item): _Was(item.mark, item.node.GetTransformNodeID(), self.time(item)) for item in self._items("")
        }

    @staticmethod
    def _isPlaced(node: Any, n: int) -> bool:
        return node.GetNthControlPointPositionStatus(n) == node.PositionDefined

    @staticmethod
    def _solid(node: Any, space: str) -> Mark:
        axes = [lpsOf(_got(getattr(node, f"Get{name}Axis{space}"))) for name in "XYZ"]
        make = Ellipsoid if _solidKind(node) == ELLIPSOID else BoxMark
        size = _got(node.GetSizeWorld) if space else node.GetSize()
        return make(lpsOf(_got(getattr(node, f"GetCenter{space}"))), tuple(size), tuple(axes))


def _diameter(description: str) -> float:
    """0 where it says none: a mark without size, which is listed and kept, and refused wherever it would be used."""
    try:
        return diameter_of(description)
    except ValueError:
        return 0.0


def _solidKind(node: Any) -> str:
    """Of an ROI, as Slicer's files of it say too."""
    return ELLIPSOID if node.GetNthControlPointDescription(0) == ELLIPSOID else "box"


def _describe(node: Any, kind: str) -> None:
    node.SetNthControlPointDescription(0, ELLIPSOID if kind == ELLIPSOID else "")


def _key(item: Item) -> _Key:
    return item.node.GetID(), item.point


def _got(get: Any) -> list[float]:
    """What a method of VTK writes into a vector."""
    vector = [0.0] * 3
    get(vector)
    return vector
