"""A review in the scene: what each decision does to segments, and back."""

import json
from pathlib import Path
from typing import Any

import slicer
from lopsided import METASTASIS
from lopsided.review import Change, Opinion, ReviewLog, ReviewSession, Status, recover, segment_id
from slicer.i18n import tr as _

from .Annotation import Annotation
from .Labelmaps import labelmap, transformed
from .Scene import Scene

REVIEW_ATTRIBUTE = "LopsidedSeg.Review"
THRESHOLD_ATTRIBUTE = "LopsidedSeg.Threshold"
ANNOTATION_REFERENCE = "LopsidedSeg.Annotation"
REJECTED_COLOUR = (0.5, 0.5, 0.5)


class Review:
    """One reader's decisions on the candidates of a suggestions node.

    Everything is kept in the node, so it is saved and restored with the scene, and each decision goes to a log file at
    once where a folder for them is given. The annotation changes when a candidate is accepted, when that is undone,
    and at no other time.

    Usage example::

        review = Review(node, Scene(), reader="ab", folder=Path("reviews"))
        review.decide("Suggestion_1", Status.ACCEPTED, annotation)
        review.undo()
    """

    def __init__(self, node: Any, scene: Scene, reader: str, folder: Path | None = None) -> None:
        """Raises ValueError for a node without suggestions, or with a review that cannot be read."""
        result = scene.result(node)
        if not result:
            raise ValueError(_("{name} holds no suggestions.").format(name=node.GetName()))
        self.node = node
        self.candidates = {segment_id(c["rank"]): c for c in result["candidates"]}
        self.result = result
        kept = json.loads(node.GetAttribute(REVIEW_ATTRIBUTE) or "{}")
        if kept:
            self._session = ReviewSession.from_json(kept["session"])
            self._session.reader = reader  # who goes on with it; what is in its history keeps its own
        else:
            about = {key: result.get(key) for key in ("software", "model", "sequences", "reference_grid", "created")}
            self._session = ReviewSession(self.candidates, reader, about)
        self._threshold = float(node.GetAttribute(THRESHOLD_ATTRIBUTE) or result["model"]["threshold"])
        self._accepted: dict[str, dict[str, str]] = kept.get("accepted", {})
        self._selectedOnly: str | None = None
        recovered = self._recover(folder)
        self._log = ReviewLog(folder, node.GetName(), self._session) if folder else None
        if recovered:
            self._record()
        else:
            self._show()

    @property
    def annotation(self) -> Any:
        """The node that lesions are accepted into; None before the first."""
        return self.node.GetNodeReference(ANNOTATION_REFERENCE)

    @property
    def threshold(self) -> float:
        """The least confidence of an undecided candidate that is shown."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = value
        self.node.SetAttribute(THRESHOLD_ATTRIBUTE, str(value))  # not the whole review at each step of a slider
        self._show()

    @property
    def canUndo(self) -> bool:
        return self._session.can_undo

    @property
    def canRedo(self) -> bool:
        return self._session.can_redo

    def opinion(self, candidate: str) -> Opinion:
        """Status and note of a candidate."""
        return self._session.opinion(candidate)

    def count(self, status: Status) -> int:
        """How many candidates have a status."""
        return self._session.count(status)

    def shown(self) -> list[str]:
        """IDs of the candidates of at least the threshold, and of the decided, best first."""
        return [
            name
            for name, candidate in self.candidates.items()
            if candidate["confidence"] >= self._threshold or self.opinion(name).status is not Status.PENDING
        ]

    def showOnly(self, candidate: str | None) -> None:
        """Show this candidate's segment alone; all that are listed for None."""
        self._selectedOnly = candidate
        self._show()

    def touching(self, candidate: str, annotation: Any) -> list[str]:
        """IDs of the annotation's segments that the candidate overlaps or borders on by now."""
        return Annotation(annotation).touching(self._lesion(candidate)) if annotation else []

    def decide(self, candidate: str, status: Status, annotation: Any = None, addTo: str | None = None) -> None:
        """Accept, reject, or leave uncertain; ``PENDING`` takes a decision back.

        Accepting copies the candidate into ``annotation``, as a new segment or onto the segment ``addTo``. Raises
        RuntimeError, one sentence, where that cannot be; then nothing is decided. Raises OSError where the log cannot
        be written; the decision stands, and goes to the log with the next.
        """
        before, status = self.opinion(candidate).status, Status(status)
        if before is status:
            return
        if status is Status.ACCEPTED:
            self._putIn(candidate, annotation, addTo)
        elif before is Status.ACCEPTED:
            self._takeOut(candidate)
        self._session.decide(candidate, status, threshold=self._threshold)
        self._record()

    def writeNote(self, candidate: str, text: str) -> None:
        """The reader's words on a candidate. Raises OSError as :meth:`decide`."""
        if self._session.write_note(candidate, text, threshold=self._threshold):
            self._record()

    def undo(self) -> str | None:
        """Take the last decision or note back. Returns its candidate. Raises as :meth:`decide`."""
        return self._move(self._session.undo, self._session.redo)

    def redo(self) -> str | None:
        """Decide again what was undone last. Returns its candidate. Raises as :meth:`decide`."""
        return self._move(self._session.redo, self._session.undo)

    def _move(self, there: Any, back: Any) -> str | None:
        change = there(threshold=self._threshold)
        if not change:
            return None
        try:
            self._apply(change)
        except RuntimeError:
            back(threshold=self._threshold)
            raise
        self._record()
        return change.candidate

    def _apply(self, change: Change) -> None:
        was, willBe = (o.status is Status.ACCEPTED for o in (change.before, change.after))
        if willBe and not was:
            addTo = self._accepted.get(change.candidate, {}).get("addTo")
            self._putIn(change.candidate, self.annotation, addTo)
        elif was and not willBe:
            self._takeOut(change.candidate)

    def _putIn(self, candidate: str, annotation: Any, addTo: str | None) -> None:
        if annotation is None:
            raise RuntimeError(_("Choose or create the annotation that lesions are accepted into."))
        lesion = self._lesion(candidate)
        if addTo:
            token = Annotation(annotation).grow(addTo, lesion)
            self._accepted[candidate] = {"addTo": addTo, "token": token}
        else:
            found = self.candidates[candidate]
            tags = {
                slicer.vtkSegment.GetTerminologyEntryTagName(): METASTASIS,
                "LopsidedSeg.Suggestion": candidate,
                "LopsidedSeg.Confidence": f"{found['confidence']:.4f}",
                "LopsidedSeg.Model": self.result["model"]["digest"],
                "LopsidedSeg.Reader": self._session.reader,
            }
            name = _("Metastasis (suggested, {diameter:.1f} mm)").format(diameter=found["longest_diameter_mm"])
            segment = self.node.GetSegmentation().GetSegment(candidate)
            self._accepted[candidate] = {
                "segment": Annotation(annotation).insert(lesion, name, segment.GetColor(), tags)
            }
        self.node.SetNodeReferenceID(ANNOTATION_REFERENCE, annotation.GetID())

    def _takeOut(self, candidate: str) -> None:
        how = self._accepted.get(candidate, {})
        if self.annotation and "segment" in how:
            Annotation(self.annotation).remove(how["segment"])
        elif self.annotation and "token" in how:
            Annotation(self.annotation).shrink(how["addTo"], how["token"])

    def _lesion(self, candidate: str) -> Any:
        """The candidate's label map in world coordinates."""
        return transformed(labelmap(self.node, candidate), self.node, None)

    def _recover(self, folder: Path | None) -> bool:
        """Take over decisions that a log has and the scene, which was saved before them, has not: if there are any."""
        found = recover(self._session, folder) if folder and folder.is_dir() else self._session
        if found is self._session:
            return False
        for candidate in self.candidates:
            change = Change(candidate, self.opinion(candidate), found.opinion(candidate))
            if change.before != change.after:
                self._apply(change)
        self._session = found
        return True

    def _record(self) -> None:
        self._keep()
        self._show()
        if self._log:
            self._log.write()

    def _keep(self) -> None:
        kept = {"session": self._session.to_json(), "accepted": self._accepted}
        self.node.SetAttribute(REVIEW_ATTRIBUTE, json.dumps(kept))

    def _show(self) -> None:
        """Segment status and display, natively: what qMRMLSegmentsTableView and Segment Editor show too."""
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        native = {Status.PENDING: logic.NotStarted, Status.UNCERTAIN: logic.Flagged}
        shown = {self._selectedOnly} if self._selectedOnly else set(self.shown())
        display = self.node.GetDisplayNode()
        modifying = display.StartModify(), self.node.StartModify()
        for candidate in self.candidates:
            status = self.opinion(candidate).status
            segment = self.node.GetSegmentation().GetSegment(candidate)
            if segment is None:  # removed by the user, in another module
                continue
            if logic.GetSegmentStatus(segment) != native.get(status, logic.Completed):
                logic.SetSegmentStatus(segment, native.get(status, logic.Completed))
            # what was accepted is seen in the annotation
            display.SetSegmentVisibility(candidate, candidate in shown and status is not Status.ACCEPTED)
            if status is Status.REJECTED:
                display.SetSegmentOverrideColor(candidate, *REJECTED_COLOUR)
            else:
                display.UnsetSegmentOverrideColor(candidate)
        self.node.EndModify(modifying[1])
        display.EndModify(modifying[0])
