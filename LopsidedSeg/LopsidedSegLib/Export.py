"""A case of the scene as a request to export it to a coarse-label dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lopsided.review import ReviewLog, ReviewSession
from slicer.i18n import tr as _

from .Review import Review
from .Scene import CANDIDATES, RESULT_ATTRIBUTE, SUGGESTIONS, Scene
from .Settings import Settings

if TYPE_CHECKING:
    from .Marks import Marks  # which needs SimpleITK, and that takes its time to import


@dataclass
class Export:
    """What a reader did on a case, and where it goes. ``sequences``: nodes by sequence, ``t1c`` among them.

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
    again: bool = False

    def whyNot(self) -> str:
        """A sentence that says what is missing; empty where nothing is."""
        if not self.sequences.get("t1c"):
            return _("Choose the post-contrast T1 of the case.")
        if not self.dataset:
            return _("Choose the dataset's folder.")
        if not self.patient:
            return _("Say who the patient is; only a pseudonym is written.")
        return ""

    def write(self, scene: Scene, settings: Settings, folder: Path) -> tuple[dict[str, Any], dict[Path, str]]:
        """The request, and the node's name by file. Raises RuntimeError or OSError where a file cannot be written."""
        files, names = scene.writeVolumes({s: node for s, node in self.sequences.items() if node}, folder)
        annotation, review = folder / "annotation.seg.nrrd", None
        if not self.annotation or not scene.writeSegments(self.annotation, annotation):
            annotation = None
        if self.review and scene.writeSegments(self.review.node, folder / SUGGESTIONS):
            (folder / CANDIDATES).write_text(self.review.node.GetAttribute(RESULT_ATTRIBUTE), encoding="utf-8")
            log = ReviewLog(folder, "case", ReviewSession.from_json(self.review.toJson()))
            log.write()
            review = str(log.path)
        request = {
            "sequences": files,
            "annotation": annotation and str(annotation),
            "marks": [{"mark": asdict(mark), "time": time} for mark, time in self.marks.timed()] if self.marks else [],
            "snapped": self.snapped,
            "result": str(folder) if review else None,
            "review": review,
            "reader": settings.reader,
            "whole_case": self.wholeCase,
            "dataset": str(self.dataset),
            "key": str(settings.keyFile),
            "patient": self.patient,
            "case": self.case,
            "again": self.again,
        }
        return {"export": request}, names
