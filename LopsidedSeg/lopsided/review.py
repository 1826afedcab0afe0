"""What a reader decided about each suggestion: a history that is only ever added to.

Nothing here needs more than Python itself, so that the Slicer module can use it with nothing installed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from .errors import InputError

# by what a search's result and the review of it are known: files, attributes of nodes in Slicer, and the tag of a segment that a
# suggestion was accepted as
CANDIDATES, SEGMENTS = "candidates.json", "suggestions.seg.nrrd"
AHEAD = "ahead"  # the folder, in that of a reader's work on a case, of a search that was made before it was opened
RESULT_ATTRIBUTE, REVIEW_ATTRIBUTE = "LopsidedSeg.Result", "LopsidedSeg.Review"
THRESHOLD_ATTRIBUTE = "LopsidedSeg.Threshold"
SUGGESTION_TAG = "LopsidedSeg.Suggestion"
LOG = ".review.jsonl"
PAUSE_S = 300.0  # a longer time between two decisions is not reading


def segment_id(rank: int) -> str:
    """Of the segment in ``suggestions.seg.nrrd`` that is the candidate of this rank."""
    return f"Suggestion_{rank}"


def about(result: dict[str, Any]) -> dict[str, Any]:
    """What of a search's ``candidates.json`` heads the log of its review: no two searches have it alike."""
    return {key: result.get(key) for key in ("software", "model", "sequences", "reference_grid", "created")}


class Status(StrEnum):
    """What was decided about a candidate."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class Opinion:
    """Of one candidate, as it stands: a status, and the reader's words.

    ``add_to``: the segment of the annotation that it was accepted onto; empty where it became one of its own.
    """

    status: Status = Status.PENDING
    note: str = ""
    add_to: str = ""


@dataclass(frozen=True)
class Event:
    """One line of the log.

    ``action``: ``decide`` (``value`` is a status), ``note`` (``value`` is the text), ``undo`` or ``redo``, which name
    the candidate whose opinion they changed. ``threshold``: the least confidence that was shown. ``time``: ISO 8601,
    UTC. ``add_to``: as the opinion has it since.
    """

    action: str
    candidate: str
    value: str
    reader: str
    threshold: float
    time: str
    add_to: str = ""


@dataclass(frozen=True)
class Change:
    """The opinion of ``candidate`` goes from ``before`` to ``after``. ``event``: the number of the one by which it last did,
    either way."""

    candidate: str
    before: Opinion
    after: Opinion
    event: int

    @property
    def back(self) -> Change:
        """The same the other way."""
        return replace(self, before=self.after, after=self.before)


class ReviewSession:
    """One reader's decisions on the suggestions of one search, with undo and redo without limit.

    Example::

        session = ReviewSession(["Suggestion_1", "Suggestion_2"], reader="ab", about={"model": digest})
        session.decide("Suggestion_1", Status.ACCEPTED, threshold=0.3)
        session.undo(threshold=0.3)
        restored = ReviewSession.from_json(session.to_json())
    """

    def __init__(self, candidates: Iterable[str], reader: str, about: dict[str, Any]) -> None:
        """
        Args:
            candidates: their identifiers.
            reader: who decides.
            about: what the suggestions come from (model digest, geometry, software), JSON; it heads the log.
        """
        self.identifier = uuid4().hex
        self.reader = reader
        self.about = about
        self.started = _now()
        self.events: list[Event] = []
        self._opinions = {candidate: Opinion() for candidate in candidates}
        self._done: list[Change] = []
        self._undone: list[Change] = []

    @property
    def candidates(self) -> tuple[str, ...]:
        """All identifiers, in the order given."""
        return tuple(self._opinions)

    def opinion(self, candidate: str) -> Opinion:
        """Raises KeyError for a candidate that is not of this session."""
        return self._opinions[candidate]

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether something was undone, and nothing decided since."""
        return bool(self._undone)

    def ahead(self, action: str) -> Change | None:
        """What ``undo`` or ``redo`` would change; None where there is nothing."""
        if action == "undo":
            return self._done[-1].back if self._done else None
        return self._undone[-1] if self._undone else None

    @property
    def changing(self) -> set[int]:
        """The numbers of the events that may yet be undone or redone."""
        return {change.event for change in (*self._done, *self._undone)}

    def count(self, status: Status) -> int:
        """How many candidates have this status."""
        return sum(opinion.status is status for opinion in self._opinions.values())

    @property
    def seconds(self) -> float:
        """From the start to the last decision, without pauses of more than ``PAUSE_S``."""
        times = [datetime.fromisoformat(time) for time in (self.started, *(event.time for event in self.events))]
        gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
        return sum(gap for gap in gaps if 0 <= gap <= PAUSE_S)

    def decide(self, candidate: str, status: Status, *, threshold: float, add_to: str = "") -> Change | None:
        """None, and no event, where that was decided already."""
        after = replace(self._opinions[candidate], status=status, add_to=add_to)
        return self._do("decide", candidate, after, status, threshold)

    def write_note(self, candidate: str, text: str, *, threshold: float) -> Change | None:
        """None, and no event, where that was the note already."""
        return self._do("note", candidate, replace(self._opinions[candidate], note=text), text, threshold)

    def undo(self, *, threshold: float) -> Change | None:
        """Take the last decision or note back; None where there is none."""
        return self._move("undo", threshold) if self._done else None

    def redo(self, *, threshold: float) -> Change | None:
        """Decide again what was undone last; None where nothing was."""
        return self._move("redo", threshold) if self._undone else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_json` makes the same session."""
        return {"header": self._header(), "events": [asdict(event) for event in self.events]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ReviewSession:
        """Raises ValueError, saying what is wrong, for anything but the output of :meth:`to_json`."""
        try:
            header = content["header"]
            if header["format_version"] != 1:
                raise ValueError(f"review of format {header['format_version']}; this version reads 1")
            session = cls(header["candidates"], header["reader"], header["about"])
            session.identifier, session.started = header["session"], header["started"]
            for event in content["events"]:
                session._replay(Event(**event))
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a review ({type(error).__name__}: {str(error)[:80]})") from None
        return session

    def _header(self) -> dict[str, Any]:
        return {
            "format_version": 1,
            "session": self.identifier,
            "reader": self.reader,
            "started": self.started,
            "about": self.about,
            "candidates": list(self._opinions),
        }

    def _do(self, action: str, candidate: str, after: Opinion, value: str, threshold: float) -> Change | None:
        change = Change(candidate, self._opinions[candidate], after, len(self.events))
        if change.before == change.after:
            return None
        self._done.append(change)
        self._undone.clear()
        self._record(action, change, value, threshold)
        return change

    def _move(self, action: str, threshold: float) -> Change:
        source, target = (self._done, self._undone) if action == "undo" else (self._undone, self._done)
        change = replace(source.pop(), event=len(self.events))
        target.append(change)
        if action == "undo":
            change = change.back
        self._record(action, change, change.after.status, threshold)
        return change

    def _record(self, action: str, change: Change, value: str, threshold: float) -> None:
        self._opinions[change.candidate] = change.after
        add_to = change.after.add_to
        self.events.append(Event(action, change.candidate, str(value), self.reader, threshold, _now(), add_to))

    def _replay(self, event: Event) -> None:
        before = len(self.events)
        if event.action == "decide":
            self.decide(event.candidate, Status(event.value), threshold=event.threshold, add_to=event.add_to)
        elif event.action == "note":
            self.write_note(event.candidate, event.value, threshold=event.threshold)
        elif event.action in ("undo", "redo"):
            self._move(event.action, event.threshold)
        else:
            raise ValueError(f"not a review (unknown action {event.action!r})")
        self.events[before:] = [event]  # as it was, with its own time


class ReviewLog:
    """The file that a session's decisions go to, each written through to the disk before the next.

    A line that cannot be written (no space, no permission, folder gone) is kept and written with the next one. The
    file's name holds the time and a random part: nobody ever writes to a file that another log began, and a session
    that was interrupted goes on, with its whole history, in a new one. So does a log whose file is not as it was left.
    """

    def __init__(self, folder: Path, study: str, session: ReviewSession) -> None:
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in f"{study}-{session.reader}")
        self._folder, self._name = folder, safe.encode()[:120].decode(errors="ignore")  # a file name has 255 bytes
        self.path = self._new_path()
        self._session = session
        self._lines = 0  # of the header and the events, how many are on the disk
        self._size = 0  # of those, bytes

    def write(self) -> None:
        """Bring the file up to date.

        Raises:
            OSError: it could not be; nothing is lost, call again.
        """
        lines = [self._session._header(), *map(asdict, self._session.events)]
        if len(lines) == self._lines:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        found = self.path.stat().st_size if self.path.exists() else 0
        if found != self._size:  # a share that is gone leaves an empty folder, and may come back
            self.path = self._new_path() if found else self.path
            self._lines = self._size = 0
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines[self._lines :]).encode()
        with self.path.open("ab", buffering=0) as file:
            try:
                if file.write(text) != len(text):
                    raise OSError(errno.ENOSPC, "not written whole", str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._size)  # not half a line: the next attempt writes it whole
                raise
        self._lines, self._size = len(lines), self._size + len(text)

    def _new_path(self) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return self._folder / f"{self._name}-{stamp}-{uuid4().hex[:8]}{LOG}"


def recover(session: ReviewSession, folder: Path) -> ReviewSession:
    """The session as far as any log in ``folder`` knows it: further than ``session`` where Slicer ended before saving.

    Only a log whose history begins with all of this session's is taken; one that went another way is left alone. Who
    goes on with it is the reader of ``session``.
    """
    best = session
    for path in sorted(folder.glob(f"*{LOG}")):
        try:
            found = read_log(path, spoilt=True)
        except (ValueError, OSError):
            continue  # another's file, which is not ours to judge
        same = found.identifier == session.identifier and found.events[: len(session.events)] == session.events
        if same and len(found.events) > len(best.events):
            best = found
    best.reader = session.reader
    return best


def read_log(path: Path, *, spoilt: bool = False) -> ReviewSession:
    """The session that a log holds, without a last line that was not written to its end.

    ``spoilt``: another line may be spoilt, too; what follows it is left out, for it cannot be understood without.

    Raises:
        InputError: a line is spoilt.
        ValueError: it is not a log.
        OSError: it cannot be read.
    """
    whole: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # what follows the last newline was cut off
        if not line.strip():
            continue
        found = _object(line)
        if not found:
            if whole and not spoilt:
                raise InputError(f"{path}: line {number} is spoilt; restore it from a copy")
            break
        whole.append(found)
    if not whole:
        raise ValueError(f"{path}: not a review log (its first line cannot be read)")
    header, *events = whole
    return ReviewSession.from_json({"header": header, "events": events})


def _object(line: bytes) -> dict[str, Any]:
    """Of a line of a log; empty for one that a crash or a disk has spoilt."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
