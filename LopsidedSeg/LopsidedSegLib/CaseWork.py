"""A case of a worklist in the scene: opened from its files, and a reader's work on it kept in a folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from .Labelmaps import imageOfRegion, labelmapName
from .Review import ANNOTATION_REFERENCE
from .Scene import CANDIDATES, RESULT_ATTRIBUTE, SUGGESTIONS, Scene, ijkToRasOf
from .Settings import Settings

if TYPE_CHECKING:
    from .Marks import Marks  # which needs SimpleITK, and that takes its time to import

AHEAD = "ahead"  # a search that was made before the case was opened
CASE_ATTRIBUTE = "LopsidedSeg.Case"  # of a volume that a worklist put into the scene
_PARAMETERS = {"t1c": "reference", "t1": "t1", "t2": "t2", "flair": "flair"}
_COLOUR = (0.2, 0.8, 0.45)


class CaseWork:
    """The nodes of one case. What else is in the scene is left alone.

    Usage example::

        work = CaseWork(case, worklist.folder(case), Scene(), Settings())
        work.open(parameterNode)
        work.save()
        work.close()
    """

    def __init__(self, case: Any, folder: Path, scene: Scene, settings: Settings) -> None:
        """``case``: a :class:`lopsided.dataset.cases.CaseFiles`."""
        self.case, self.folder = case, folder
        self.snapped: bool | None = None  # as the reader left it; None for a case that they never had open
        self.wholeCase = False  # the reader says that they looked at all of it
        self._scene, self._settings = scene, settings
        self._parameters: Any = None
        self._made: list[Any] = []
        self._ownedByUser: set[str] = set()

    def open(self, parameterNode: Any) -> None:
        """Load the case, as this reader left it, and choose it in the module.

        Raises:
            InputError: an image, the annotation or the work that was kept cannot be used; nothing of the case is left in
                the scene.
            RuntimeError, OSError, ValueError: as that.
        """
        self._parameters = parameterNode
        self._ownedByUser = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
        if self._beside(".before").exists() and not self.folder.exists():
            self._beside(".before").rename(self.folder)  # the last save was interrupted at its very end
        try:
            images = self._images()
            for sequence, parameter in _PARAMETERS.items():
                setattr(parameterNode, parameter, images.get(sequence))
            self._scene.show(parameterNode.reference)
            if self._isKept():
                self._restore()
            else:
                self._begin()
        except BaseException:
            self.close()
            raise

    def save(self, marks: Marks | None = None, snapped: bool = False, wholeCase: bool = False) -> None:
        """Keep the annotation, the suggestions with what was decided, and the marks: whole, or as it was kept before.

        Raises:
            OSError, RuntimeError: it could not be written.
        """
        parameters = self._parameters
        self._keep(parameters.annotation, parameters.suggestions, marks, snapped, wholeCase)
        self.snapped, self.wholeCase = snapped, wholeCase

    def close(self) -> None:
        """Take the case's nodes, and what was made for it, out of the scene."""
        from .Marks import Marks

        parameters = self._parameters
        chosen = [parameters.annotation, parameters.suggestions]
        made = [node for node in chosen if node and node.GetID() not in self._ownedByUser]
        marks = [mark for node in self._made for mark in Marks.nodesOf(node)]
        for node in [*made, *marks, *self._made]:
            if slicer.mrmlScene.IsNodePresent(node):
                _remove(node)
        self._made = []

    def _beside(self, ending: str) -> Path:
        return self.folder.with_name(self.folder.name + ending)

    def _isKept(self) -> bool:
        from lopsided.dataset.work import WORK

        return (self.folder / WORK).exists()

    def _images(self) -> dict[str, Any]:
        """A new node for each sequence."""
        from lopsided.reading import read_volume

        volumes = {sequence: read_volume(path) for sequence, path in self.case.sequences.items()}
        return {
            sequence: self._ours(
                slicer.util.addVolumeFromArray(volume.array, ijkToRasOf(volume.geometry), self._name(sequence))
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

    def _begin(self) -> None:
        """The annotation that the case comes with, and suggestions that were searched ahead."""
        self._parameters.annotation = self._outlined() if self.case.annotation else None
        self._parameters.suggestions = self._searchedAhead()

    def _searchedAhead(self) -> Any:
        ahead = self.folder / AHEAD
        if not (ahead / CANDIDATES).exists():
            return None
        return self._ours(self._scene.loadSuggestions(ahead, self._parameters.reference))

    def _outlined(self) -> Any:
        """The case's annotation, each connected piece a segment."""
        from lopsided.dataset.inputs import outlined
        from lopsided.volume import Volume

        reference = self._parameters.reference
        image = Volume(slicer.util.arrayFromVolume(reference), self._scene.geometry(reference), reference.GetName())
        node = self._ours(self._scene.newAnnotation(reference))
        lattice = self._scene.lattice(reference)
        for number, lesion in enumerate(outlined(self.case.annotation, image, self.case.labels), start=1):
            segment = slicer.vtkSegment()
            segment.SetName(_("Lesion {number}").format(number=number))
            segment.SetColor(*_COLOUR)
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), self._settings.terminology)
            segment.AddRepresentation(labelmapName(), imageOfRegion(lesion.region, lattice))
            node.GetSegmentation().AddSegment(segment, f"Lesion_{number}")
        return node

    def _keep(self, annotation: Any, suggestions: Any, marks: Marks | None, snapped: bool, wholeCase: bool) -> None:
        partial, before = self._beside(".partial"), self._beside(".before")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        writeWork(partial, self._scene, annotation, suggestions, marks, snapped, wholeCase)
        shutil.rmtree(before, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(before)
        partial.rename(self.folder)
        shutil.rmtree(before, ignore_errors=True)

    def _restore(self) -> None:
        from lopsided.dataset.work import ANNOTATION, read_work

        from .Marks import Marks

        parameters, work = self._parameters, read_work(self.folder)
        parameters.annotation = parameters.suggestions = None
        if work.annotation is not None:
            node = self._ours(self._scene.newAnnotation(parameters.reference))
            node.SetName(work.annotation)
            if (self.folder / ANNOTATION).exists():  # else it has no segment
                self._scene.readSegments(node, self.folder / ANNOTATION)
            parameters.annotation = node
        if work.suggestions is not None:
            result = json.loads(work.suggestions[RESULT_ATTRIBUTE])
            node = self._ours(self._scene.newSuggestions(parameters.reference, result, self.folder / SUGGESTIONS))
            for name, value in work.suggestions.items():
                node.SetAttribute(name, value)
            if parameters.annotation:
                node.SetNodeReferenceID(ANNOTATION_REFERENCE, parameters.annotation.GetID())
            parameters.suggestions = node
        marks = Marks(parameters.reference, self._scene, self._settings)
        for mark, time in work.marks:
            marks.add(mark, time)
        marks.close()
        self.snapped, self.wholeCase = work.snapped, work.whole_case


def _remove(node: Any) -> None:
    """With what displays it, which would stay and keep its voxels in memory."""
    shown = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    for each in [node, node.GetStorageNode(), *shown]:
        if each and slicer.mrmlScene.IsNodePresent(each):
            slicer.mrmlScene.RemoveNode(each)


def writeWork(
    folder: Path,
    scene: Scene,
    annotation: Any = None,
    suggestions: Any = None,
    marks: Marks | None = None,
    snapped: bool = False,
    wholeCase: bool = False,
) -> None:
    """A reader's work on a case into a folder that is there, as :mod:`lopsided.dataset.work` reads it.

    Raises:
        OSError, RuntimeError: it could not be written.
    """
    from lopsided.dataset.work import ANNOTATION, WORK, WorkRecord
    from lopsided.worklist import write_whole

    content: dict[str, Any] = {"snapped": snapped, "whole_case": wholeCase}
    if annotation:
        content["annotation"] = annotation.GetName()
        scene.writeSegments(annotation, folder / ANNOTATION)
    if suggestions:
        names = [name for name in suggestions.GetAttributeNames() if name.startswith("LopsidedSeg.")]
        content["suggestions"] = {name: suggestions.GetAttribute(name) for name in names}
        scene.writeSegments(suggestions, folder / SUGGESTIONS)
    if marks:
        content["marks"] = [(asdict(item.mark), marks.time(item)) for item in marks.items()]
    write_whole(folder / WORK, WorkRecord.model_validate(content).model_dump_json(indent=1))
