"""A case of a worklist in the scene: opened from its files, and a reader's work on it kept in a folder."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import slicer
from lopsided.review import AHEAD, RESULT_ATTRIBUTE, REVIEW_ATTRIBUTE, SEGMENTS
from slicer.i18n import tr as _

from . import Scene
from .Annotation import whyNotAnnotation
from .JoinedSuggestions import decidedOf, joined
from .Labelmaps import drawnOn, imageOfRegion, labelmapName, transformBetween
from .Review import ANNOTATION_REFERENCE, renewed
from .Settings import Settings
from .WorkFiles import besideOf, heal, isSearchedAhead, makeWay, writeWork

APART = "apart-"  # folders of segmentations that are the case's, but not chosen
CASE_ATTRIBUTE = "LopsidedSeg.Case"  # of a volume that a worklist put into the scene
_PARAMETERS = {"t1c": "reference", "t1": "t1", "t2": "t2", "flair": "flair"}
_COLOUR = (0.2, 0.8, 0.45)


class CaseWork:
    """The nodes of one case. What else is in the scene is left alone.

    Usage example::

        work = CaseWork(case, worklist.folder(case), Settings())
        work.open(parameterNode)
        work.save()
        work.close()
    """

    def __init__(self, case: Any, folder: Path, settings: Settings) -> None:
        """``case``: a :class:`lopsided.dataset.cases.CaseFiles`."""
        self.case, self.folder = case, folder
        self.snapped: bool | None = None  # as the reader left it; None for a case that they never had open
        self.wholeCase = False  # the reader says that they looked at all of it
        self._settings = settings
        self._parameters: Any = None
        self._reference: Any = None
        self._places: dict[Any, Any] = {}  # of its volumes, where they were opened
        self._toWorld: dict[Any, Any] = {}  # from below each transform that the volume was opened under, as they were
        self._made: list[Any] = []
        self._ownedByUser: set[str] = set()

    def open(self, parameterNode: Any) -> None:
        """Load the case, as this reader left it, and choose it in the module.

        Raises:
            InputError: an image, the annotation or the work that was kept cannot be used; nothing of the case is left in
                the scene.
            RuntimeError, OSError, ValueError: as that.
        """
        from lopsided.dataset.work import is_kept

        self._parameters = parameterNode
        self._ownedByUser = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
        try:
            heal(self.folder)
            images = self._images()
            for sequence, parameter in _PARAMETERS.items():
                setattr(parameterNode, parameter, images.get(sequence))
            self._reference = parameterNode.reference
            for node in images.values():
                with suppress(RuntimeError):  # a transform bends it: no grid of its own to compare
                    self._places[node] = Scene.geometry(node)
            self._toWorld = {parent: transformBetween(node, None) for node, parent in _moving(self._reference)}
            Scene.show(self._reference)
            if is_kept(self.folder):
                self._restore()
            else:
                self._begin()
        except BaseException:
            self.close()
            raise

    def save(self, snapped: bool = False, wholeCase: bool = False) -> str:
        """Keep the annotation, the suggestions with what was decided, and the marks: whole, or as it was kept before.

        The case's segmentations that are not chosen any more are kept apart: there again with the case, in no export. Returns
        a sentence where the reader has to look at what they drew; else an empty one.

        Raises:
            OSError, RuntimeError: it could not be written, or what is chosen as the annotation is none.
        """
        whyNot = whyNotAnnotation(self._parameters.annotation)
        if whyNot:
            raise RuntimeError(whyNot)
        moved = self._putBack()
        annotation, suggestions = self._parameters.annotation, self._suggestions()
        self._keep(annotation, suggestions, self._reference, snapped, wholeCase)
        for node in (annotation, suggestions):
            if node and node not in self._made and node.GetID() not in self._ownedByUser:
                self._ours(node)
        return moved

    def _putBack(self) -> str:
        """The volume to where it was opened, for work is kept by places there, and what else of the case its transform moved;
        a sentence where it was moved."""
        with suppress(RuntimeError):
            place = self._places.get(self._reference)
            if place is None or Scene.geometry(self._reference).same_grid(place):
                return ""
        chain = _moving(self._reference)
        # the volume last, for by it the others are told
        for node in sorted(self._nodes(), key=lambda node: node is self._reference):
            own = [parent for _child, parent in _moving(node)]
            shared = [(child, parent) for child, parent in chain if parent in own]
            if node in self._places and (shared or node is self._reference):
                node.SetAndObserveTransformNodeID(None)
                node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(Scene.ijkToRasOf(self._places[node])))
            elif shared:
                alone = transformBetween(node, shared[0][0])  # which stays
                opened = [self._toWorld[parent] for _child, parent in shared if parent in self._toWorld]
                node.SetAndObserveTransformNodeID(None)
                for transform in (alone, *opened[:1]):
                    node.ApplyTransform(transform)
        sentence = _(
            "{name} was moved, and is put back where its file has it, with all of the case that the same transform moved: "
            "look at what you drew in the meantime."
        )
        return sentence.format(name=self._reference.GetName())

    def goOn(self, found: Any) -> None:
        """Choose the suggestions of a new search. What was decided on those before it stays in the list. Those of a volume
        that is not the case's are no part of it."""
        if drawnOn(found) not in self._made:
            self._parameters.suggestions = found
            return
        earlier, chosen = self._suggestions(), self._ours(found)
        decided = decidedOf(earlier)
        if decided and drawnOn(earlier) is not drawnOn(found):
            self._parameters.suggestions = chosen
            return  # the earlier are kept apart
        if decided:
            chosen = self._ours(joined(earlier, found))
        self._parameters.suggestions = chosen
        for node in (earlier, found):
            if node in self._made and node is not chosen:
                Scene.removeNode(node)

    @property
    def reference(self) -> Any:
        """The case's post-contrast T1, which its work is drawn on."""
        return self._reference

    def hold(self) -> None:
        """Know the case's marks even when the volume is gone that they are on."""
        self._made += self._marks()

    def close(self) -> None:
        """Take the case's nodes, and what was made for it, out of the scene."""
        self.hold()
        for node in [*self._segmentations(), *self._made]:
            if slicer.mrmlScene.IsNodePresent(node):
                Scene.removeNode(node)
        self._made = []

    def _images(self) -> dict[str, Any]:
        """A new node for each sequence."""
        from lopsided.reading import read_volume

        if self.case.problem:
            raise RuntimeError(self.case.problem)
        volumes = {sequence: read_volume(path) for sequence, path in self.case.sequences.items()}
        return {
            sequence: self._ours(
                slicer.util.addVolumeFromArray(volume.array, Scene.ijkToRasOf(volume.geometry), self._name(sequence))
            )
            for sequence, volume in volumes.items()
        }

    def _name(self, sequence: str) -> str:
        return f"{self.case.case} {sequence}"

    def _ours(self, node: Any) -> Any:
        """The node, which goes with the case."""
        self._made.append(node)
        if node.IsA("vtkMRMLVolumeNode"):
            node.SetAttribute(CASE_ATTRIBUTE, self.case.case)
        return node

    def _suggestions(self) -> Any:
        """Those chosen, or the case's last ones that were decided on, where what is chosen is of another volume."""
        chosen = self._parameters.suggestions
        if not chosen or chosen in self._made or drawnOn(chosen) in self._made:
            return chosen
        return next((node for node in reversed(self._made) if decidedOf(node)), None)

    def _segmentations(self) -> list[Any]:
        """Those of the case that are in the scene: made or chosen for it, or drawn on a volume of it."""
        return [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
            if node in self._made or (node.GetID() not in self._ownedByUser and drawnOn(node) in self._made)
        ]

    def _marks(self) -> list[Any]:
        from .Marks import Marks

        return [mark for node in self._made for mark in Marks.nodesOf(node)]

    def _nodes(self) -> list[Any]:
        """All that is kept, and the images."""
        chosen = (self._parameters.annotation, self._suggestions())
        there = [*self._made, *self._segmentations(), *self._marks(), *chosen]
        return [node for node in dict.fromkeys(there) if node and slicer.mrmlScene.IsNodePresent(node)]

    def _apart(self) -> list[Any]:
        """Of those, what is not chosen and has something of the reader's."""
        chosen = (self._parameters.annotation, self._suggestions())
        others = [node for node in self._segmentations() if node not in chosen]
        return [
            node
            for node in others
            if (
                decidedOf(node) if node.GetAttribute(RESULT_ATTRIBUTE) else node.GetSegmentation().GetNumberOfSegments()
            )
        ]

    def _begin(self) -> None:
        """The annotation that the case comes with, and suggestions that were searched ahead."""
        self._parameters.annotation = self._outlined() if self.case.annotation else None
        self._parameters.suggestions = self._searchedAhead()

    def _searchedAhead(self) -> Any:
        if not isSearchedAhead(self.folder, self._settings):
            return None
        return self._ours(Scene.loadSuggestions(self.folder / AHEAD, self._parameters.reference))

    def _outlined(self) -> Any:
        """The case's annotation, each connected piece a segment."""
        from lopsided.dataset.inputs import outlined
        from lopsided.volume import Volume

        reference = self._parameters.reference
        image = Volume(slicer.util.arrayFromVolume(reference), Scene.geometry(reference), reference.GetName())
        node = self._ours(Scene.newAnnotation(reference))
        lattice = Scene.lattice(reference)
        lesions = outlined(self.case.annotation, image, self.case.labels, lacking=True)
        for number, lesion in enumerate(lesions, start=1):
            segment = slicer.vtkSegment()
            segment.SetName(_("Lesion {number}").format(number=number))
            segment.SetColor(*_COLOUR)
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), self._settings.terminology)
            segment.AddRepresentation(labelmapName(), imageOfRegion(lesion.region, lattice))
            node.GetSegmentation().AddSegment(segment, f"Lesion_{number}")
        return node

    def _keep(self, annotation: Any, suggestions: Any, marked: Any, snapped: bool, wholeCase: bool) -> None:
        """``marked``: the volume that the marks are on."""
        from lopsided.dataset.work import WORK_FILE

        from .Marks import Marks

        partial, before = self.folder.with_name(self.folder.name + ".partial"), besideOf(self.folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        marks = Marks(marked, self._settings)
        apart = {f"{APART}{number}": node for number, node in enumerate(self._apart())}
        into = suggestions and suggestions.GetNodeReference(ANNOTATION_REFERENCE)
        acceptedInto = next((name for name, node in apart.items() if node is into), "" if into is annotation else None)
        try:
            for name, node in apart.items():
                (partial / name).mkdir()
                writeWork(partial / name, **{"suggestions" if decidedOf(node) else "annotation": node})
            writeWork(partial, annotation, suggestions, marks, snapped, wholeCase, acceptedInto)
        finally:
            marks.close()
        if (self.folder / WORK_FILE).exists():  # else what is beside it is all that there is
            shutil.rmtree(before, ignore_errors=True)
            self.folder.rename(before)
        else:
            makeWay(self.folder, partial)  # of a search ahead, which is in the scene
        try:
            partial.rename(self.folder)
        except OSError:
            heal(self.folder)
            raise
        shutil.rmtree(before, ignore_errors=True)

    def _restore(self, asCopy: bool = False) -> None:
        """``asCopy``: the review goes on as another, for it is a copy of one that the user may go on with."""
        from lopsided.dataset.work import read_work

        from .Marks import Marks

        parameters, work = self._parameters, read_work(self.folder)
        parameters.annotation = parameters.suggestions = None
        annotation, suggestions = self._restored(self.folder, work, asCopy)
        annotations = {"": annotation}
        for folder in sorted(self.folder.glob(f"{APART}*")):
            nodes = self._restored(folder, read_work(folder))
            annotations[folder.name] = nodes[0]
            for node in nodes:
                if node:
                    node.SetDisplayVisibility(False)
        into = annotations.get(work.accepted_into)
        if suggestions and into:
            suggestions.SetNodeReferenceID(ANNOTATION_REFERENCE, into.GetID())
        # not before: once they are chosen, the review takes over what a log has, and out of that annotation
        parameters.annotation, parameters.suggestions = annotation, suggestions
        marks = Marks(parameters.reference, self._settings)
        for mark, time in work.marks:
            marks.add(mark, time)
        marks.close()
        self.snapped, self.wholeCase = work.snapped, work.whole_case

    def _restored(self, folder: Path, work: Any, asCopy: bool = False) -> tuple[Any, Any]:
        """New nodes of the annotation and the suggestions that are kept in a folder; None where there is none."""
        from lopsided.dataset.work import ANNOTATION

        annotation = suggestions = None
        if work.annotation is not None:
            annotation = self._ours(Scene.newAnnotation(self._reference))
            annotation.SetName(work.annotation)
            if (folder / ANNOTATION).exists():  # else it has no segment
                Scene.readSegments(annotation, folder / ANNOTATION)
        if work.suggestions is not None:
            result, segments = json.loads(work.suggestions[RESULT_ATTRIBUTE]), folder / SEGMENTS
            there = segments if segments.exists() else None  # else the user removed them all
            suggestions = self._ours(Scene.newSuggestions(self._reference, result, there))
            for name, value in work.suggestions.items():
                suggestions.SetAttribute(name, value)
            if asCopy and REVIEW_ATTRIBUTE in work.suggestions:
                review = renewed(json.loads(work.suggestions[REVIEW_ATTRIBUTE]))
                suggestions.SetAttribute(REVIEW_ATTRIBUTE, json.dumps(review))
        return annotation, suggestions


def _moving(node: Any) -> list[tuple[Any, Any]]:
    """The transforms that a node is under, each after what it moves directly."""
    found = []
    while parent := node.GetParentTransformNode():
        found.append((node, parent))
        node = parent
    return found
