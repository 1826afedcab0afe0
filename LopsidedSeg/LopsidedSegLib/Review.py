"""A review in the scene: what each decision does to segments, and back."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import slicer
from lopsided.review import (
    REVIEW_ATTRIBUTE,
    SUGGESTION_TAG,
    THRESHOLD_ATTRIBUTE,
    Change,
    Opinion,
    ReviewLog,
    ReviewSession,
    Status,
    about,
    recover,
    segment_id,
)
from lopsided.wording import METASTASIS
from slicer.i18n import tr as _

from . import Scene
from .Annotation import Annotation, whyNotAnnotation
from .Labelmaps import cropped, drawnOn, isEmpty, labelmap, transformed
from .Settings import Settings, terminologyName

ANNOTATION_REFERENCE = "LopsidedSeg.Annotation"
KNOWN_REFERENCE = "LopsidedSeg.Known"  # the annotation that was searched with; nothing may have gone into it
REJECTED_COLOUR = (0.5, 0.5, 0.5)

_Taken = dict[str, Any]  # plain values: a lesion that was taken out of the annotation, as the user had left it


class Review:
    """One reader's decisions on the candidates of a suggestions node.

    Everything is kept in the node, so it is saved and restored with the scene, and each decision goes to a log file at
    once where the settings have a folder for it. The annotation changes when a candidate is accepted, when that is undone,
    and at no other time.

    Usage example::

        review = Review(node, Settings())
        review.decide("Suggestion_1", Status.ACCEPTED, annotation)
        review.undo()
    """

    def __init__(self, node: Any, settings: Settings, annotation: Any = None) -> None:
        """``annotation``: what takes lesions that the log says were accepted after the scene was saved, where the node knows
        of none; a new one for None.

        Raises ValueError for a node without suggestions, or with a review that cannot be read.
        """
        result = Scene.result(node)
        if not result:
            raise ValueError(_("{name} holds no suggestions.").format(name=node.GetName()))
        self.node = node
        self.candidates = {segment_id(c["rank"]): c for c in result["candidates"]}
        self.result = result
        self._settings = settings
        kept = json.loads(node.GetAttribute(REVIEW_ATTRIBUTE) or "{}")
        if kept:
            self._session = ReviewSession.from_json(_own(kept, node))
        else:
            self._session = ReviewSession(self.candidates, settings.reader, about(result))
        listed = result.get("threshold") or result["model"]["threshold"]  # 0 of what was searched here: all
        self._threshold = float(node.GetAttribute(THRESHOLD_ATTRIBUTE) or listed)
        self._accepted: dict[str, dict[str, str]] = {
            c: how for c, how in kept.get("accepted", {}).items() if self.opinion(c).status is Status.ACCEPTED
        }
        self._taken: dict[str, _Taken] = kept.get("taken", {})  # by the number of the event that took it out
        self._selectedOnly: str | None = None
        self._log: ReviewLog | None = None
        self._logOf: tuple[Path, str] | None = None
        if self._recover(settings.logFolder, annotation):
            with suppress(OSError):  # said with the next decision, which cannot be written there either
                self._record()
        else:
            self._keep()  # so that what a log has is known to belong to it
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

    @property
    def seconds(self) -> float:
        """How long the reader took until now, pauses left out."""
        return self._session.seconds

    @property
    def outlined(self) -> bool:
        """Whether the suggestions are drawn in slice views."""
        return bool(self.node.GetDisplayNode().GetVisibility2D())

    @outlined.setter
    def outlined(self, outlined: bool) -> None:
        self.node.GetDisplayNode().SetVisibility2D(outlined)

    def opinion(self, candidate: str) -> Opinion:
        """Status and note of a candidate."""
        return self._session.opinion(candidate)

    def count(self, status: Status) -> int:
        """How many candidates have a status."""
        return self._session.count(status)

    @property
    def absent(self) -> list[str]:
        """IDs of the candidates that were accepted and are in the annotation no more, neither as they went in nor in any segment
        where they lie: they were removed in another module, or the annotation's file is older than the scene's."""
        accepted = {c: self._accepted.get(c, {}) for c in self.candidates if self.opinion(c).status is Status.ACCEPTED}
        if not self.annotation:
            return list(accepted)
        annotation = Annotation(self.annotation)
        doubtful = {c: self._lesion(c) for c, how in accepted.items() if not annotation.holds(**how)}
        return [c for c, lesion in doubtful.items() if not lesion or not annotation.overlapping(lesion)]

    def shown(self) -> list[str]:
        """IDs of the candidates of at least the threshold, and of the decided, best first."""
        return [
            name
            for name, candidate in self.candidates.items()
            if candidate["confidence"] >= self._threshold or self.opinion(name).status is not Status.PENDING
        ]

    def showOnly(self, candidate: str | None) -> None:
        """Show this candidate's segment alone; all that are listed for None."""
        if candidate != self._selectedOnly:
            self._selectedOnly = candidate
            self._show()

    def place(self, candidate: str) -> tuple[Any, str]:
        """Node and segment to edit: in the annotation once it was accepted, else among the suggestions."""
        how = self._accepted.get(candidate, {})
        segmentId = how.get("segment") or how.get("addTo")
        accepted = self.opinion(candidate).status is Status.ACCEPTED and self.annotation and segmentId
        if accepted and self.annotation.GetSegmentation().GetSegment(segmentId):
            return self.annotation, segmentId
        return self.node, candidate

    def touching(self, candidate: str, annotation: Any) -> list[str]:
        """IDs of the annotation's segments that the candidate overlaps or borders on by now."""
        lesion = self._lesion(candidate) if annotation and not whyNotAnnotation(annotation) else None
        return Annotation(annotation).touching(lesion) if lesion else []

    def decide(self, candidate: str, status: Status, annotation: Any = None, addTo: str | None = None) -> None:
        """Accept, reject, or leave uncertain; ``PENDING`` takes a decision back.

        Accepting copies the candidate into ``annotation``, as a new segment or onto the segment ``addTo``. Raises
        RuntimeError, one sentence, where that cannot be; then nothing is decided. Raises OSError where the log cannot
        be written; the decision stands, and goes to the log with the next.
        """
        before, status = self.opinion(candidate).status, Status(status)
        if before is status:
            return
        taken = None
        if status is Status.ACCEPTED:
            self._putIn(candidate, annotation, addTo)
        elif before is Status.ACCEPTED:
            self._checkIsAlone(candidate)
            taken = self._takeOut(candidate)
        self._asReader().decide(candidate, status, threshold=self._threshold, add_to=addTo or "")
        self._record(taken)

    def writeNote(self, candidate: str, text: str) -> None:
        """The reader's words on a candidate. Raises OSError as :meth:`decide`."""
        if self._asReader().write_note(candidate, text, threshold=self._threshold):
            self._record()

    def undo(self, annotation: Any = None) -> str | None:
        """Take the last decision or note back. Returns its candidate. ``annotation``: what takes a lesion that comes back
        where the one is gone that it was in. Raises as :meth:`decide`."""
        return self._move("undo", annotation)

    def redo(self, annotation: Any = None) -> str | None:
        """Decide again what was undone last. As :meth:`undo`."""
        return self._move("redo", annotation)

    def _asReader(self) -> ReviewSession:
        self._session.reader = self._settings.reader  # of what is done now; what was done keeps its own
        return self._session

    def _move(self, action: str, annotation: Any) -> str | None:
        """The scene first, so that nothing is recorded of what cannot be."""
        change = self._session.ahead(action)
        if not change:
            return None
        candidate, into, taken = change.candidate, self.annotation or annotation, None
        was, willBe = _liesIn(change.before), _liesIn(change.after)
        if was is not None and was != willBe:
            taken = self._takeOut(candidate)
        if willBe is not None and was != willBe:
            try:
                self._putBack(candidate, into, willBe, self._taken.get(str(change.event)))
            except RuntimeError:
                if taken:
                    self._putBack(candidate, into, was, taken)
                raise
        getattr(self._asReader(), action)(threshold=self._threshold)
        self._record(taken)
        return candidate

    def _putBack(self, candidate: str, annotation: Any, addTo: str, taken: _Taken | None) -> None:
        """Put in again what was taken out, as the user had left it; or what cannot be added to its segment any more as one of
        its own."""
        own = taken and "segmentId" in taken
        gone = not annotation or not annotation.GetSegmentation().GetSegment(addTo)
        self._putIn(candidate, annotation, "" if own or gone else addTo, taken if own or not gone else None)

    def _putIn(self, candidate: str, annotation: Any, addTo: str | None, taken: _Taken | None = None) -> None:
        """``taken``: what :meth:`_takeOut` returned, rather than the suggestion itself."""
        if annotation is None:
            raise RuntimeError(_("Choose or create the annotation that lesions are accepted into."))
        if whyNot := whyNotAnnotation(annotation):
            raise RuntimeError(whyNot)
        if self.annotation not in (None, annotation) and self.count(Status.ACCEPTED):
            sentence = _("The lesions of this review went into {name}; choose it as the annotation.")
            raise RuntimeError(sentence.format(name=self.annotation.GetName()))
        # in another annotation, coordinates are not those of what was taken out of the first
        another = self.annotation is not annotation
        lesion = taken["lesion"] | ({"own": None} if another else {}) if taken else self._lesion(candidate)
        if lesion is None:
            raise RuntimeError(_("Nothing is left of this suggestion; it was erased in another module."))
        if addTo:
            how = {"addTo": addTo, "token": Annotation(annotation).grow(addTo, lesion)}
        else:
            how = {
                "segment": Annotation(annotation).insert(**{**(taken or self._segment(candidate)), "lesion": lesion})
            }
        self._accepted[candidate] = how
        self.node.SetNodeReferenceID(ANNOTATION_REFERENCE, annotation.GetID())
        for left in self._taken.values() if another else ():
            left["lesion"]["own"] = None

    def _segment(self, candidate: str) -> dict[str, Any]:
        """What the segment of an accepted suggestion is called."""
        found, entry = self.candidates[candidate], self._settings.terminology
        kind = _("Metastasis") if entry == METASTASIS else terminologyName(entry)
        name = _("{kind} (suggested, {diameter:.1f} mm)").format(kind=kind, diameter=found["longest_diameter_mm"])
        tags = {
            slicer.vtkSegment.GetTerminologyEntryTagName(): entry,
            SUGGESTION_TAG: candidate,
            "LopsidedSeg.Confidence": repr(found["confidence"]),
            "LopsidedSeg.Model": found.get("model") or self.result["model"]["digest"],
            "LopsidedSeg.Reader": self._session.reader,
        }
        colour = self.node.GetSegmentation().GetSegment(candidate).GetColor()
        return {"segmentId": self._segmentId(candidate), "name": name, "colour": colour, "tags": tags}

    def _checkIsAlone(self, candidate: str) -> None:
        """Raises RuntimeError, one sentence, where another lesion would go with this one's segment."""
        segmentId = self._accepted.get(candidate, {}).get("segment")
        there = segmentId and self.annotation and self.annotation.GetSegmentation().GetSegment(segmentId)
        added = [c for c, how in self._accepted.items() if there and how.get("addTo") == segmentId]
        if added:
            place = Scene.whereNow(self.candidates[added[0]], self.node, added[0])["centroid_ras"]
            sentence = _("The suggestion at {place} was added to this lesion; reject that one first.")
            raise RuntimeError(sentence.format(place=", ".join(f"{x:.0f}" for x in place)))

    def _takeOut(self, candidate: str) -> _Taken | None:
        """Exactly what was put in; None where nothing of it is there any more."""
        how, taken = self._accepted.get(candidate, {}), None
        if self.annotation and "segment" in how:
            taken = Annotation(self.annotation).remove(how["segment"], candidate)
        elif self.annotation and "token" in how:
            lesion = Annotation(self.annotation).shrink(how["addTo"], how["token"])
            taken = {"lesion": lesion} if lesion else None
        self._accepted.pop(candidate, None)
        return taken

    def _lesion(self, candidate: str) -> Any:
        """The candidate's label map in world coordinates; None where nothing is left of it."""
        if self.node.GetSegmentation().GetSegment(candidate) is None:
            return None
        image = labelmap(self.node, candidate)
        return None if isEmpty(image) else transformed(cropped(image), self.node, None)

    def _segmentId(self, candidate: str) -> str:
        """In the annotation: of no other lesion, whatever that is called, and known to who recovers this review."""
        return f"LopsidedSeg_{self._session.identifier}_{candidate}"

    def _recover(self, folder: Path | None, annotation: Any) -> bool:
        """Take over decisions that a log has and the scene, which was saved before them, has not: if there are any.

        One that cannot be done is taken back again, and keeps none of the others.
        """
        try:
            found = recover(self._session, folder) if folder and folder.is_dir() else self._session
        except OSError:  # a share that cannot be reached: said with the next decision, which cannot be written there
            logging.exception("LopsidedSeg: the logs in %s cannot be read", folder)
            found = self._session
        if found is self._session:
            return False
        before, self._session = self._session, found
        changes = [Change(c, before.opinion(c), found.opinion(c), len(found.events)) for c in self.candidates]
        changes = [c for c in changes if _liesIn(c.before) != _liesIn(c.after)]
        if any(_liesIn(c.after) is not None for c in changes) and not self.annotation:
            into = None if whyNotAnnotation(annotation) else annotation
            into = into or Scene.newAnnotation(drawnOn(self.node))
            self.node.SetNodeReferenceID(ANNOTATION_REFERENCE, into.GetID())
        # what was added to a lesion comes out before that, and goes in after it
        steps = [(c, False) for c in sorted(changes, key=lambda c: not c.before.add_to)]
        steps += [(c, True) for c in sorted(changes, key=lambda c: bool(c.after.add_to))]
        taken: dict[str, _Taken] = {}
        for change, goesIn in steps:
            try:
                self._recoverStep(change, goesIn, taken)
            except RuntimeError:
                candidate, opinion = change.candidate, change.before
                logging.exception("LopsidedSeg: what the log has of %s cannot be done again", candidate)
                if candidate in taken:
                    self._putBack(candidate, self.annotation, opinion.add_to, taken[candidate])
                found.decide(candidate, opinion.status, threshold=self._threshold, add_to=opinion.add_to)
        left = _lastLeft(found)
        self._taken |= {left[candidate]: lesion for candidate, lesion in taken.items()}
        return True

    def _recoverStep(self, change: Change, goesIn: bool, taken: dict[str, _Taken]) -> None:
        """``taken``: where that goes which comes out, by candidate."""
        candidate = change.candidate
        was, willBe = _liesIn(change.before), _liesIn(change.after)
        if not goesIn and was is not None:
            self._checkIsAlone(candidate)
            lesion = self._takeOut(candidate)
            if lesion:
                taken[candidate] = lesion
        elif goesIn and willBe is not None and self.opinion(candidate) == change.after:
            own = self._segmentId(candidate)
            if was is None and not willBe and self.annotation.GetSegmentation().GetSegment(own):
                self._accepted[candidate] = {"segment": own}  # this node is an older copy than the annotation
            else:
                self._putIn(candidate, self.annotation, willBe)

    def _record(self, taken: _Taken | None = None) -> None:
        """``taken``: what the last event took out of the annotation."""
        if taken:
            self._taken[str(len(self._session.events) - 1)] = taken
        self._keep()
        self._show()
        folder = self._settings.logFolder
        logOf = (folder, self._session.reader) if folder else None
        if logOf != self._logOf:  # a file of its own for each folder and reader, with the whole history
            self._log = ReviewLog(folder, self.node.GetName(), self._session) if folder else None
            self._logOf = logOf
        if self._log:
            self._log.write()

    def _keep(self) -> None:
        coming = self._session.changing  # back, once its event is undone or redone
        self._taken = {number: taken for number, taken in self._taken.items() if int(number) in coming}
        kept = {"session": self._session.to_json(), "accepted": self._accepted, "taken": self._taken}
        self.node.SetAttribute(REVIEW_ATTRIBUTE, json.dumps({**kept, "node": self.node.GetID()}))

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


def whyNotOn(suggestions: Any, reference: Any) -> str:
    """A sentence that says why suggestions are not of a volume; empty where they are. Those of one that is gone are of none."""
    volume, name = drawnOn(suggestions), suggestions.GetName()
    if not volume:
        sentence = _(
            "The volume of {name} is not in the scene any more. Load it again, and search anew; or, to go on with them, choose it "
            "in Segment Editor as the geometry of {name}, by Specify geometry."
        )
        return sentence.format(name=name)
    if volume is not reference:
        return _("{name} are of {volume}, another volume; choose that.").format(name=name, volume=volume.GetName())
    return ""


def _liesIn(opinion: Opinion) -> str | None:
    """The segment that an accepted lesion was added to, empty for one of its own; None where it is not accepted."""
    return opinion.add_to if opinion.status is Status.ACCEPTED else None


def _lastLeft(session: ReviewSession) -> dict[str, str]:
    """The number of the event by which each candidate was last taken out of where it was accepted to."""
    lies: dict[str, str | None] = {}
    left = {}
    for number, event in enumerate(session.events):
        if event.action != "note":
            place = event.add_to if event.value == Status.ACCEPTED else None
            if lies.get(event.candidate) not in (None, place):
                left[event.candidate] = str(number)
            lies[event.candidate] = place
    return left


def _own(kept: dict[str, Any], node: Any) -> dict[str, Any]:
    """The session that a node keeps: its own from now on, where the node is a copy of another one that is in the scene, for
    neither takes over what was decided on the other."""
    original = slicer.mrmlScene.GetNodeByID(kept.get("node") or "")
    if original not in (None, node):
        others = json.loads(original.GetAttribute(REVIEW_ATTRIBUTE) or "{}")
        if others and others["session"]["header"]["session"] == kept["session"]["header"]["session"]:
            kept = renewed(kept)
    session: dict[str, Any] = kept["session"]
    return session


def renewed(kept: dict[str, Any]) -> dict[str, Any]:
    """What ``REVIEW_ATTRIBUTE`` keeps, with the same history as a session of its own: it takes nothing over from logs of the
    other."""
    kept["session"]["header"]["session"] = uuid4().hex
    return kept
