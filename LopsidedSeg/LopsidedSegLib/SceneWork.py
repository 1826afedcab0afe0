"""A case of a worklist whose images are in the scene already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Annotation import PREVIEW_ATTRIBUTE
from .CaseWork import CaseWork
from .Marks import TIMES_ATTRIBUTE
from .Settings import Settings
from .WorkFiles import checkPlace


class SceneWork(CaseWork):
    """As :class:`CaseWork`, of nodes in the place of files: the user's own are read, and stay as they are.

    The case is opened beside them, as nodes that share their voxels. What was drawn and decided on the user's own is what
    the reader begins with. While a case is open, other segmentations and marks are not shown.
    """

    def __init__(self, case: Any, folder: Path, settings: Settings) -> None:
        """``case``: a :class:`.SceneCases.SceneCase`."""
        super().__init__(case, folder, settings)
        self._hidden: list[Any] = []

    def close(self) -> None:
        super().close()
        for node in self._hidden:
            if slicer.mrmlScene.IsNodePresent(node):
                node.SetDisplayVisibility(True)
        self._hidden = []

    def _images(self) -> dict[str, Any]:
        if "t1c" not in self.case.sequences:
            raise RuntimeError(
                _("no volume's name says post-contrast T1; rename it, as in: Doe T1c, and use the scene again.")
            )
        for own in self.case.sequences.values():
            if not slicer.mrmlScene.IsNodePresent(own):
                sentence = _("{name} is not in the scene any more; use the scene again.")
                raise RuntimeError(sentence.format(name=own.GetName()))
        self._hidden = [node for node in _drawn() if node.GetDisplayVisibility()]
        for node in self._hidden:
            node.SetDisplayVisibility(False)
        return {sequence: self._sharing(own, sequence) for sequence, own in self.case.sequences.items()}

    def _sharing(self, own: Any, sequence: str) -> Any:
        """A node with the voxels of another, where that is."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", self._name(sequence))
        node.SetAndObserveImageData(own.GetImageData())
        node.CopyOrientation(own)
        node.SetAndObserveTransformNodeID(own.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        if own.GetDisplayNode():
            node.GetDisplayNode().CopyContent(own.GetDisplayNode())
        return self._ours(node)

    def _begin(self) -> None:
        ahead = None if self.case.suggestions else self._searchedAhead()
        self._keep(self.case.annotation, self.case.suggestions, self.case.sequences["t1c"], False, False)
        self._restore(asCopy=True)
        self.snapped = None
        parameters = self._parameters
        if parameters.annotation:
            parameters.annotation.SetName(_("{reference} lesions").format(reference=parameters.reference.GetName()))
        parameters.suggestions = parameters.suggestions or ahead

    def _restore(self, asCopy: bool = False) -> None:
        checkPlace(self.folder, self.case.sequences["t1c"])
        super()._restore(asCopy)


def _drawn() -> list[Any]:
    """Segmentations, and marks of lesions."""
    nodes = slicer.util.getNodesByClass("vtkMRMLDisplayableNode")
    drawn = [n for n in nodes if n.IsA("vtkMRMLSegmentationNode") or n.GetAttribute(TIMES_ATTRIBUTE)]
    return [node for node in drawn if not node.GetAttribute(PREVIEW_ATTRIBUTE)]
