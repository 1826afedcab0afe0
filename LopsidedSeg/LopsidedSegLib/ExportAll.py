"""Many cases to a dataset, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .Export import Export
from .Worker import Callbacks


class ExportAll:
    """Exports cases in turn. One that fails does not stop the rest.

    ``exported`` counts those that are in the dataset; ``failed`` has the others' names, each with the reason.

    Usage example::

        ExportAll(exports, logic.beginExport, Callbacks(print, lambda all: print(all.summary()), print)).begin()
    """

    def __init__(
        self, exports: dict[str, Export], begin: Callable[[Callbacks, Export], None], callbacks: Callbacks
    ) -> None:
        """``exports``: by what each is called. ``begin`` starts one; ``callbacks.done`` gets this object, once, when all had
        their turn."""
        self.exports, self._begin, self._callbacks = exports, begin, callbacks
        self.exported = 0
        self.failed: list[tuple[str, str]] = []
        self._starting = False

    def begin(self) -> None:
        """Start, and return."""
        self._starting = True
        while self._turn < len(self.exports):
            turn = self._turn
            self._begin(Callbacks(self._onProgress, self._onDone, self._onError), self.exports[self._name])
            if self._turn == turn:  # it is under way; one that could not be started has failed by now
                self._starting = False
                return
        self._callbacks.done(self)

    def summary(self) -> str:
        """How many were exported, and a line for each that was not."""
        sentence = _("{exported} of {all} reviewed cases are exported.")
        lines = [f"{case}: {reason}" for case, reason in self.failed]
        return "\n".join([sentence.format(exported=self.exported, all=len(self.exports)), *lines])

    @property
    def _turn(self) -> int:
        return self.exported + len(self.failed)

    @property
    def _name(self) -> str:
        return list(self.exports)[self._turn]

    def _onProgress(self, what: str, part: float) -> None:
        sentence = _("{number} of {all}, {case}: {what}")
        case, count = self._name, len(self.exports)
        self._callbacks.progress(
            sentence.format(number=self._turn + 1, all=count, case=case, what=what), (self._turn + part) / count
        )

    def _onDone(self, found: Any) -> None:
        self.exported += 1
        self._goOn()

    def _onError(self, sentence: str) -> None:
        self.failed.append((self._name, sentence))
        self._goOn()

    def _goOn(self) -> None:
        if not self._starting:
            self.begin()
