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

WORK = "work.json"
ANNOTATION = "annotation.seg.nrrd"
AHEAD = "ahead"  # a search that was made before the case was opened
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
        self._scene, self._settings = scene, settings
        self._parameters: Any = None
        self._loaded: list[Any] = []
        self._ownedByUser: set[str] = set()

    def open(self, parameterNode: Any) -> None:
        """Load the case, as this reader left it, and choose it in the module.

        Raises:
            InputError: an image or the annotation cannot be used; nothing of the case is left in the scene.
            OSError, ValueError: the work that was kept cannot be read.
        """
        from lopsided.reading import read_volume

        self._parameters = parameterNode
        self._ownedByUser = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")}
        if self._beside(".before").exists() and not self.folder.exists():
            self._beside(".before").rename(self.folder)  # the last save was interrupted at its very end
        try:
            volumes = {sequence: read_volume(path) for sequence, path in self.case.sequences.items()}
            for sequence, parameter in _PARAMETERS.items():
                node = self._add(volumes[sequence], sequence) if sequence in volumes else None
                setattr(parameterNode, parameter, node)
            self._scene.show(parameterNode.reference)
            kept = self.folder / WORK
            if kept.exists():
                self._restore(json.loads(kept.read_text(encoding="utf-8")))
            else:
                parameterNode.annotation = self._annotation(volumes["t1c"])
                ahead = self.folder / AHEAD
                found = (ahead / CANDIDATES).exists()
                parameterNode.suggestions = (
                    self._scene.loadSuggestions(ahead, parameterNode.reference) if found else None
                )
        except BaseException:
            self.close()
            raise

    def save(self, marks: Marks | None = None) -> None:
        """Keep the annotation, the suggestions with what was decided, and the marks: whole, or as it was kept before.

        Raises:
            OSError, RuntimeError: it could not be written.
        """
        partial, before = self._beside(".partial"), self._beside(".before")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        content: dict[str, Any] = {"format_version": 1}
        annotation, suggestions = self._parameters.annotation, self._parameters.suggestions
        if annotation:
            content["annotation"] = annotation.GetName()
            self._scene.writeSegments(annotation, partial / ANNOTATION)
        if suggestions:
            names = [name for name in suggestions.GetAttributeNames() if name.startswith("LopsidedSeg.")]
            content["suggestions"] = {name: suggestions.GetAttribute(name) for name in names}
            self._scene.writeSegments(suggestions, partial / SUGGESTIONS)
        if marks:
            content["marks"] = [[asdict(item.mark), marks.time(item)] for item in marks.items()]
        from lopsided.worklist import write_whole

        write_whole(partial / WORK, json.dumps(content))
        shutil.rmtree(before, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(before)
        partial.rename(self.folder)
        shutil.rmtree(before, ignore_errors=True)

    def close(self) -> None:
        """Take the case's nodes, and what was made for it, out of the scene."""
        from .Marks import Marks

        parameters = self._parameters
        chosen = [parameters.annotation, parameters.suggestions] if parameters else []
        made = [node for node in chosen if node and node.GetID() not in self._ownedByUser]
        reference = parameters and parameters.reference
        if reference:
            for item in Marks.nodesOf(reference):
                slicer.mrmlScene.RemoveNode(item)
        for node in [*made, *self._loaded]:
            if slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self._loaded = []

    def _beside(self, ending: str) -> Path:
        return self.folder.with_name(self.folder.name + ending)

    def _add(self, volume: Any, sequence: str) -> Any:
        name = f"{self.case.case} {sequence}"
        node = slicer.util.addVolumeFromArray(volume.array, ijkToRasOf(volume.geometry), name)
        self._loaded.append(node)
        return node

    def _annotation(self, reference: Any) -> Any:
        """The case's own, each connected piece a segment; None where it has none."""
        if not self.case.annotation:
            return None
        from lopsided.dataset.inputs import outlined

        node = self._scene.newAnnotation(self._parameters.reference)
        lattice = self._scene.lattice(self._parameters.reference)
        for number, lesion in enumerate(outlined(self.case.annotation, reference, self.case.labels), start=1):
            segment = slicer.vtkSegment()
            segment.SetName(_("Lesion {number}").format(number=number))
            segment.SetColor(*_COLOUR)
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), self._settings.terminology)
            segment.AddRepresentation(labelmapName(), imageOfRegion(lesion.region, lattice))
            node.GetSegmentation().AddSegment(segment, f"Lesion_{number}")
        return node

    def _restore(self, content: dict[str, Any]) -> None:
        from lopsided.marks import Mark
        from pydantic import TypeAdapter

        from .Marks import Marks

        parameters = self._parameters
        parameters.annotation = parameters.suggestions = None
        if "annotation" in content:
            node = self._scene.newAnnotation(parameters.reference)
            node.SetName(content["annotation"])
            if (self.folder / ANNOTATION).exists():  # else it has no segment
                self._scene.readSegments(node, self.folder / ANNOTATION)
            parameters.annotation = node
        if "suggestions" in content:
            result = json.loads(content["suggestions"][RESULT_ATTRIBUTE])
            node = self._scene.newSuggestions(parameters.reference, result, self.folder / SUGGESTIONS)
            for name, value in content["suggestions"].items():
                node.SetAttribute(name, value)
            if parameters.annotation:
                node.SetNodeReferenceID(ANNOTATION_REFERENCE, parameters.annotation.GetID())
            parameters.suggestions = node
        marks, reader = Marks(parameters.reference, self._scene, self._settings), TypeAdapter(Mark)
        for mark, time in content.get("marks", ()):
            marks.add(reader.validate_python(mark), time)
        marks.close()
