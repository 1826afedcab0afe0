"""A list of cases that a reader works through, and how far they are. Each reader's state is in files of their own."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from .annotation import absent, described, read_labels
from .dataset.cases import CaseFiles, find_cases
from .errors import InputError
from .reading import readable
from .schema import briefly
from .wording import counted
from .writing import whole

WORK_FOLDER = "lopsided-work"  # beside the cases
STATUS = "status.json"
_LOOKED_AT = 20  # annotations for a label, in seconds, while Slicer waits


class CaseStatus(StrEnum):
    """How far a reader is with a case."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    REVIEWED = "reviewed"
    FLAGGED = "flagged"


class _State(BaseModel):
    """Of one case, since ``time``: ISO 8601, UTC."""

    status: CaseStatus
    time: str


_STATES = TypeAdapter(dict[str, _State])  # by what names the case


class Case(Protocol):
    """What a worklist has to know of a case; where its images are is not its concern."""

    @property
    def patient(self) -> str:
        """Who."""

    @property
    def case(self) -> str:
        """Which of the patient's studies; with ``patient``, it names the case."""


_C = TypeVar("_C", bound=Case)


class Worklist(Generic[_C]):
    """Cases, for one reader.

    Example::

        worklist = Worklist.of(Path("cases.csv"), reader="Dr. Ray")
        case = worklist.resume()
        worklist.set_status(case, CaseStatus.REVIEWED)
        case = worklist.step(case, 1, {CaseStatus.NOT_STARTED, CaseStatus.IN_PROGRESS})
    """

    def __init__(self, cases: list[_C], work: Path, reader: str) -> None:
        """``work`` is the folder of all readers' work; there need not be one.

        Raises:
            InputError: this reader's state is damaged, or cannot be read.
        """
        self.cases, self.reader = cases, reader
        self._folder = work / _safe(reader)
        self._status = self._read()
        self._called = Counter(case.case for case in cases)

    @staticmethod
    def of(source: Path, reader: str) -> Worklist[CaseFiles]:
        """The cases of a folder or CSV, with the work beside them.

        Raises:
            InputError: as :func:`lopsided.dataset.cases.find_cases` and the constructor; labels that no annotation has.
        """
        cases = find_cases(source)
        _refuse_labels_of_none(source, cases)
        return Worklist(cases, (source if source.is_dir() else source.parent) / WORK_FOLDER, reader)

    @property
    def logs(self) -> Path:
        """Where this reader's logs of decisions go."""
        return self._folder / "logs"

    def folder(self, case: _C) -> Path:
        """Where this reader's work on a case is kept; it need not be there."""
        return self._folder / _safe(_key(case))

    def status(self, case: _C) -> CaseStatus:
        """As it was set last."""
        state = self._status.get(_key(case))
        return state.status if state else CaseStatus.NOT_STARTED

    def set_status(self, case: _C, status: CaseStatus) -> None:
        """Through to the disk, whole or not at all; and take over what another window of this reader has set.

        Raises:
            InputError: the state is damaged, or cannot be read.
            OSError: it could not be written; the status is as it was.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        changed = {**self._read(), _key(case): _State(status=status, time=time)}
        self._folder.mkdir(parents=True, exist_ok=True)
        with whole(self._folder / STATUS) as partial:
            partial.write_bytes(_STATES.dump_json(changed, indent=1) + b"\n")
        self._status = changed

    def _read(self) -> dict[str, _State]:
        path = self._folder / STATUS
        try:
            with readable(path):
                return _STATES.validate_json(path.read_bytes()) if path.exists() else {}
        except ValidationError as error:
            raise InputError(f"{path}: is damaged ({briefly(error)}); restore it from a copy, or remove it") from None

    def label(self, case: _C) -> str:
        """What a case is called in this list: with the patient, where another patient's is called the same."""
        return case.case if self._called[case.case] == 1 else f"{case.patient}, {case.case}"

    def count(self) -> Counter[CaseStatus]:
        """Cases by status."""
        return Counter(self.status(case) for case in self.cases)

    def reviewed(self) -> list[_C]:
        """The cases that are done."""
        return [case for case in self.cases if self.status(case) is CaseStatus.REVIEWED]

    def resume(self) -> _C:
        """The first case in progress, else the first that was not started, else the first."""
        for wanted in (CaseStatus.IN_PROGRESS, CaseStatus.NOT_STARTED):
            for case in self.cases:
                if self.status(case) is wanted:
                    return case
        return self.cases[0]

    def step(self, case: _C, by: int, wanted: set[CaseStatus] | None = None) -> _C | None:
        """The next case (``by`` 1) or the one before (-1), of a status that is ``wanted``; None where there is none."""
        at = self.cases.index(case) + by
        while 0 <= at < len(self.cases):
            if wanted is None or self.status(self.cases[at]) in wanted:
                return self.cases[at]
            at += by
        return None


def _refuse_labels_of_none(source: Path, cases: list[CaseFiles]) -> None:
    """Raises InputError for labels of which none of the first cases that are to have them has one, as where they were mistyped:
    what is known of it would be opened as nothing. One that has none of them, beside another that has, is a negative."""
    for wanted in dict.fromkeys(frozenset(case.labels) for case in cases if case.labels and case.annotation):
        there: list[str] = []
        asked = [case.annotation for case in cases if set(case.labels) == wanted and case.annotation]
        for annotation in asked[:_LOOKED_AT]:
            try:
                drawn = read_labels(annotation)
            except InputError:
                continue  # it is said where the case is opened
            if len(absent(drawn, wanted)) < len(wanted):
                break
            there += [described(drawn)] if drawn.masks else []
        else:
            if there:
                raise InputError(
                    f"{source}: none of the first {counted(len(asked[:_LOOKED_AT]), 'annotation')} of which "
                    f"{' or '.join(map(repr, sorted(wanted)))} is to be a lesion has such a label; one has {there[0]}: give names, or "
                    "the values in brackets"
                )


def _key(case: Case) -> str:
    """The first slash is between patient and case: a patient's name may have some too."""
    return f"{case.patient.replace('/', chr(0x1F))}/{case.case}"


def _safe(name: str) -> str:
    """A folder's name; two that differ stay apart."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:40]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
