"""A list of cases that a reader works through, and how far they are. Each reader's state is in files of their own."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from .dataset.cases import CaseFiles, find_cases

WORK = "lopsided-work"  # beside the cases
STATUS = "status.json"


class CaseStatus(StrEnum):
    """How far a reader is with a case."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    REVIEWED = "reviewed"
    FLAGGED = "flagged"


class Worklist:
    """The cases of a folder or CSV, for one reader.

    Example::

        worklist = Worklist(Path("cases.csv"), reader="Dr. Ray")
        case = worklist.resume()
        worklist.set_status(case, CaseStatus.REVIEWED)
        case = worklist.step(case, 1, {CaseStatus.NOT_STARTED, CaseStatus.IN_PROGRESS})
    """

    def __init__(self, source: Path, reader: str) -> None:
        """Raises InputError as :func:`lopsided.dataset.cases.find_cases`; OSError for a state that cannot be read."""
        self.source, self.reader = source, reader
        self.cases: list[CaseFiles] = find_cases(source)
        self._folder = (source if source.is_dir() else source.parent) / WORK / _safe(reader)
        self._status: dict[str, dict[str, str]] = {}
        if (self._folder / STATUS).exists():
            self._status = json.loads((self._folder / STATUS).read_text(encoding="utf-8"))

    @property
    def logs(self) -> Path:
        """Where this reader's logs of decisions go."""
        return self._folder / "logs"

    def folder(self, case: CaseFiles) -> Path:
        """Where this reader's work on a case is kept; it need not be there."""
        return self._folder / _safe(_key(case))

    def status(self, case: CaseFiles) -> CaseStatus:
        """As it was set last."""
        return CaseStatus(self._status.get(_key(case), {}).get("status", CaseStatus.NOT_STARTED))

    def set_status(self, case: CaseFiles, status: CaseStatus) -> None:
        """Through to the disk, whole or not at all.

        Raises:
            OSError: it could not be written; the status is as it was.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        changed = {**self._status, _key(case): {"status": CaseStatus(status).value, "time": time}}
        write_whole(self._folder / STATUS, json.dumps(changed, indent=1, ensure_ascii=False) + "\n")
        self._status = changed

    def count(self) -> Counter[CaseStatus]:
        """Cases by status."""
        return Counter(self.status(case) for case in self.cases)

    def resume(self) -> CaseFiles:
        """The first case in progress, else the first that was not started, else the first."""
        for wanted in (CaseStatus.IN_PROGRESS, CaseStatus.NOT_STARTED):
            for case in self.cases:
                if self.status(case) is wanted:
                    return case
        return self.cases[0]

    def step(self, case: CaseFiles, by: int, wanted: set[CaseStatus] | None = None) -> CaseFiles | None:
        """The next case (``by`` 1) or the one before (-1), of a status that is ``wanted``; None where there is none."""
        at = self.cases.index(case) + by
        while 0 <= at < len(self.cases):
            if wanted is None or self.status(self.cases[at]) in wanted:
                return self.cases[at]
            at += by
        return None


def write_whole(path: Path, text: str) -> None:
    """Through to the disk, beside itself first, so that it is never half there. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _key(case: CaseFiles) -> str:
    return f"{case.patient}/{case.case}"


def _safe(name: str) -> str:
    """A folder's name; two that differ stay apart."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:40]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
