"""The studies that are loaded in the scene, as the cases of a worklist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from lopsided.naming import case_name, guess_sequence, guess_sequences
from slicer.i18n import tr as _

from .Annotation import whyNotAnnotation
from .CaseWork import CASE_ATTRIBUTE
from .Labelmaps import drawnOn
from .Review import ANNOTATION_REFERENCE
from .Scene import suggestionsOn

_Place = tuple[Any, str, str]  # what is the same for all volumes of a case; its patient; its name


@dataclass(frozen=True)
class SceneCase:
    """As :class:`lopsided.dataset.cases.CaseFiles`, but of the user's own nodes. ``suggestions``: those made on it."""

    patient: str
    case: str
    sequences: dict[str, Any]
    annotation: Any = None
    suggestions: Any = None
    labels: tuple[str, ...] = ()  # all of the annotation's segments


def sceneCases() -> list[SceneCase]:
    """The scene's volumes whose names say a sequence, case by case.

    A case is a study of the subject hierarchy, or a patient without studies, or a folder with one post-contrast T1. Of
    the other volumes, it is those whose names begin alike (:func:`lopsided.naming.case_name`); or that were loaded from
    one folder, which has one post-contrast T1; or each post-contrast T1 by itself. Where a case has several, it is the
    one with the thinnest slices.

    Raises:
        RuntimeError: there is none, or two have the same name; one sentence.
    """
    left = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _isImage(node)]
    cases: list[SceneCase] = []
    for place in (_inStudy, _inFolder, _byName, _inFile, _alone):
        for (_key, patient, case), volumes in _grouped(left, place).items():
            if place in (_inFolder, _inFile) and len(_contrast(volumes)) > 1:
                continue  # of several cases
            cases.append(_case(patient, case, volumes))
            left = [node for node in left if node not in volumes]
    if not cases:
        raise RuntimeError(_("No volume's name says which sequence it is; call them as in: Doe T1c, Doe FLAIR."))
    names = [(case.patient, case.case) for case in cases]
    for patient, name in names:
        if names.count((patient, name)) > 1:
            sentence = _("Two cases of the scene are called {name}; rename one of them in the Data module.")
            raise RuntimeError(sentence.format(name=name if name == patient else f"{patient}, {name}"))
    return cases


def _isImage(node: Any) -> bool:
    """Whether it is an image, the user's own, of a sequence that is known."""
    scalar = node.GetClassName() == "vtkMRMLScalarVolumeNode" and node.GetImageData() is not None
    return scalar and not node.GetAttribute(CASE_ATTRIBUTE) and guess_sequence(node.GetName() or "") is not None


def _grouped(volumes: Iterable[Any], place: Callable[[Any], _Place | None]) -> dict[_Place, list[Any]]:
    groups: dict[_Place, list[Any]] = {}
    for node in volumes:
        where = place(node)
        if where:
            groups.setdefault(where, []).append(node)
    return groups


def _case(patient: str, name: str, volumes: list[Any]) -> SceneCase:
    found = guess_sequences({node.GetID(): node.GetName() for node in volumes})
    sequences = {sequence: slicer.mrmlScene.GetNodeByID(identifier) for sequence, identifier in found.items()}
    if _contrast(volumes):
        sequences["t1c"] = min(_contrast(volumes), key=lambda node: max(node.GetSpacing()))
    suggestions = suggestionsOn(volumes)
    annotation = suggestions and suggestions.GetNodeReference(ANNOTATION_REFERENCE)
    if not annotation:
        drawn = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        own = [n for n in drawn if not whyNotAnnotation(n) and _isOn(n, drawnOn(n), volumes, name)]
        annotation = own[0] if len(own) == 1 else None
    return SceneCase(patient, name, sequences, annotation, suggestions)


def _isOn(segmentation: Any, drawnOn: Any, volumes: list[Any], case: str) -> bool:
    """Whether a segmentation is of a case: by the volume that it was drawn on, else by its place, else by its name."""
    if drawnOn:
        return drawnOn in volumes
    for place in (_inStudy, _inFolder):
        where = place(segmentation)
        if where:
            return where in [place(node) for node in volumes]
    if re.match(rf"{re.escape(case)}(?![a-z0-9])", segmentation.GetName() or "", re.IGNORECASE):
        return True
    where = _inFile(segmentation)
    return bool(where) and all(_inFile(node) == where and not _byName(node) for node in volumes)


def _contrast(volumes: list[Any]) -> list[Any]:
    return [node for node in volumes if guess_sequence(node.GetName()) == "t1c"]


def _inStudy(node: Any) -> _Place | None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(node)
    patient, study = (tree.GetItemAncestorAtLevel(item, level) if item else 0 for level in ("Patient", "Study"))
    if not patient and not study:
        return None
    return study or patient, tree.GetItemName(patient or study), tree.GetItemName(study or patient)


def _inFolder(node: Any) -> _Place | None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(node)
    folder = tree.GetItemAncestorAtLevel(item, "Folder") if item else 0
    name = tree.GetItemName(folder) if folder else ""
    return (folder, name, name) if folder else None


def _byName(node: Any) -> _Place | None:
    name = case_name(node.GetName() or "")
    return (name, name, name) if name else None


def _inFile(node: Any) -> _Place | None:
    storage = node.GetStorageNode()
    folder = Path((storage and storage.GetFileName()) or "").parent
    return (folder, folder.name, folder.name) if folder.name else None


def _alone(node: Any) -> _Place | None:
    name = node.GetName()
    return (node.GetID(), name, name) if guess_sequence(name) == "t1c" else None
