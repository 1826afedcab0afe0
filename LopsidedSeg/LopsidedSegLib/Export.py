"""A case as a request to export it to a coarse-label dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from .Annotation import whyNotAnnotation
from .Review import Review, whyNotOn
from .Scene import writeVolumes
from .Settings import Settings
from .WorkFiles import checkPlace, writeWork

if TYPE_CHECKING:
    from .Marks import Marks  # which needs SimpleITK, and that takes its time to import


@dataclass
class Export:
    """What a reader did on a case, and where it goes. ``sequences``: nodes or files by sequence, ``t1c`` among them.

    ``work`` is a folder that all of it is kept in (:mod:`lopsided.dataset.work`), in the place of ``annotation`` to
    ``wholeCase``, and ``reader`` is whose it is. ``opened`` is the post-contrast T1 of the case of a worklist that is open:
    another's is not exported under its name.

    Usage example::

        export = Export({"t1c": getNode("T1c")}, dataset=Path("/data/lesions"), patient="0815", case="2026-01-01")
        export.annotation = getNode("Lesions")
        logic.beginExport(Callbacks(print, print, print), export)
    """

    sequences: dict[str, Any]
    dataset: Path | None
    patient: str
    case: str
    annotation: Any = None
    review: Review | None = None
    marks: Marks | None = None
    snapped: bool = False
    wholeCase: bool = False
    work: Path | None = None
    reader: str | None = None
    again: bool = False
    opened: Any = None

    def whyNot(self) -> str:
        """A sentence that says what is missing; empty where nothing is."""
        reference = self.sequences.get("t1c")
        if not reference:
            return _("Choose the post-contrast T1 of the case.")
        if self.opened and self.opened is not reference:
            sentence = _("{name} is not of the case that is open; choose its post-contrast T1, {own}.")
            return sentence.format(name=reference.GetName(), own=self.opened.GetName())
        whyNot = whyNotOn(self.review.node, reference) if self.review and not isinstance(reference, Path) else ""
        whyNot = whyNot or whyNotAnnotation(self.annotation)
        if whyNot:
            return whyNot
        if not self.dataset:
            return _("Choose the dataset's folder.")
        if not self.patient:
            return _("Say who the patient is; only a pseudonym is written.")
        return ""

    def write(self, settings: Settings, folder: Path) -> tuple[dict[str, Any], dict[Path, str]]:
        """The request, and the node's name by file.

        Raises:
            RuntimeError, OSError: a file cannot be written, or the volume was moved since the work on it was kept.
            ValueError: a point has no diameter.
        """
        if self.marks:
            self.marks.check()
        files, names = writeVolumes({s: image for s, image in self.sequences.items() if image}, folder)
        if not self.work:
            suggestions = self.review and self.review.node
            writeWork(folder, self.annotation, suggestions, self.marks, self.snapped, self.wholeCase)
        elif not isinstance(self.sequences["t1c"], Path):  # which is where it was
            checkPlace(self.work, self.sequences["t1c"])
        request = {
            "sequences": files,
            "work": str(self.work or folder),
            "reader": self.reader or settings.reader,
            "dataset": str(self.dataset),
            "key": str(settings.keyFile),
            "patient": self.patient,
            "case": self.case,
            "again": self.again,
        }
        return {"export": request}, names
