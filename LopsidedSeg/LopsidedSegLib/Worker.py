"""The computing process, and the JSON lines that Slicer exchanges with it."""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import qt
from lopsided import __version__
from slicer.i18n import tr as _

MODULE_FOLDER = Path(__file__).parents[1]
SILENCE_S = 60.0  # it says every two seconds that it is alive
_WATCH_S = 1.0
_SAID = 200  # bytes of what is not understood, in the log


class Callbacks(NamedTuple):
    """Who hears how a request goes: ``progress`` any number of times, then one of the others, once."""

    progress: Callable[[str, float], None]
    done: Callable[[dict[str, Any]], None]
    error: Callable[[str], None]


class Worker:
    """Answers one request at a time, in a process of its own that stays alive between requests.

    A crash or a lack of memory in there ends that process alone; the next request starts another. One that is not heard
    of any more is ended.

    Usage example::

        worker = Worker()
        worker.send({"suggest": {...}}, Callbacks(progress=print, done=print, error=print))
        worker.wait()  # only where no event loop runs
    """

    def __init__(self, command: list[str] | None = None) -> None:
        self.command = command or [sys.executable, "-m", "lopsided.worker"]
        self.silence = SILENCE_S
        self._heard = self._watched = 0.0
        self._ready: dict[str, Any] | None = None
        self._request: dict[str, Any] | None = None
        self._callbacks: Callbacks | None = None
        self._untouched = False  # nothing was heard of the request yet, and it was sent once at most
        self._unread = b""
        self._lastWords = ""
        self._absent = False
        environment = qt.QProcessEnvironment.systemEnvironment()
        environment.remove("PYTHONHOME")  # Slicer's own; the Python that is started knows better
        environment.insert("PYTHONPATH", str(MODULE_FOLDER))
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(environment)
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("readyReadStandardError()", self._onLog)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._watch = qt.QTimer()
        self._watch.interval = int(1000 * _WATCH_S)
        self._watch.connect("timeout()", self._onWatch)

    @property
    def busy(self) -> bool:
        return self._callbacks is not None

    def send(self, request: dict[str, Any], callbacks: Callbacks) -> None:
        """Start the process if there is none, and give it the request. Returns at once."""
        if self.busy:
            raise RuntimeError("the worker answers one request at a time")
        self._request, self._callbacks, self._untouched = request, callbacks, True
        self._watch.start()
        self.start()
        if self._ready:
            self._sendRequest()

    def start(self) -> None:
        """Start the process if there is none, so that its model is loaded by the first request. Returns at once."""
        if self._process.state() == qt.QProcess.NotRunning:
            self._ready, self._unread, self._lastWords, self._absent = None, b"", "", False
            self._process.start(self.command[0], self.command[1:])

    def wait(self) -> None:
        """Block until the request is answered."""
        while self.busy:
            self._process.waitForReadyRead(100)
            self._onWatch()

    def stop(self) -> None:
        """Kill the process, whatever it is doing; nobody hears of the request again."""
        self._callbacks = None
        self._watch.stop()
        if self._process.state() == qt.QProcess.NotRunning:
            return
        pid = (self._ready or {}).get("pid")
        if pid:  # PythonSlicer is a launcher: killed alone, it would leave Python behind
            with suppress(OSError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.kill()
        self._process.waitForFinished(3000)

    def _sendRequest(self) -> None:
        self._heard = self._watched = time.monotonic()
        self._lastWords = ""
        self._process.write(json.dumps(self._request).encode() + b"\n")

    def _onOutput(self) -> None:
        self._unread += self._process.readAllStandardOutput().data()
        while b"\n" in self._unread:  # not kept here: a callback may start another process
            line, self._unread = self._unread.split(b"\n", 1)
            message = _understood(line)
            if message:
                self._onMessage(*message)
            else:
                logging.warning(f"LopsidedSeg: not understood from the worker: {line[:_SAID]!r}")

    def _onMessage(self, kind: str, content: Any) -> None:
        self._heard = time.monotonic()
        if kind == "ready":
            self._ready = content
            if content["version"] != __version__:
                sentence = _("The computing process is LopsidedSeg {other}, the module is {own}; install it again.")
                self._giveUp(sentence.format(other=content["version"], own=__version__))
            elif self.busy:
                self._sendRequest()
        elif self.busy and kind == "progress":
            self._untouched = False
            self._callbacks.progress(content["what"], content["part"])
        elif self.busy and kind in ("done", "error"):
            self._end(kind, content)

    def _onLog(self) -> None:
        text = self._process.readAllStandardError().data().decode("utf-8", "replace").strip()
        if text:
            logging.info(f"LopsidedSeg worker: {text}")
            self._lastWords = text.splitlines()[-1]

    def _onFinished(self, *_exit: Any) -> None:
        self._onOutput()
        self._onLog()
        if self._process.state() != qt.QProcess.NotRunning:
            return  # whoever heard the answer just now has asked for more, of another process
        if self.busy and self._ready and self._untouched:  # it had ended before it was asked, and nobody knew yet
            self._untouched = False
            self.start()
            return
        self._fail(_("The computing process ended unexpectedly. {details}").format(details=self._lastWords).strip())

    def _onProcessError(self, error: Any) -> None:
        # said by the watch: from in here, the process cannot be started again for a next request
        self._absent = error == qt.QProcess.FailedToStart

    def _onWatch(self) -> None:
        """Give up a process that says nothing; none before it is ready, for imports can take their time."""
        if self._absent:
            self._absent = False
            self._fail(_("The computing process could not be started: {command}").format(command=self.command[0]))
        if not self.busy or not self._ready:
            return
        now = time.monotonic()
        # while the computer is asleep or Slicer busy, nobody hears it: that is none of its silence
        self._heard = min(now, self._heard + max(0.0, now - self._watched - _WATCH_S))
        self._watched = now
        if now - self._heard >= self.silence:
            sentence = _("The computing process did not answer for {seconds:.0f} s and was ended; try again.")
            self._giveUp(sentence.format(seconds=self.silence))

    def _giveUp(self, sentence: str) -> None:
        callbacks = self._callbacks
        self.stop()
        if callbacks:
            callbacks.error(sentence)

    def _fail(self, sentence: str) -> None:
        if self.busy:
            self._end("error", sentence)

    def _end(self, how: str, content: Any) -> None:
        callbacks, self._callbacks = self._callbacks, None
        self._watch.stop()
        getattr(callbacks, how)(content)


def _understood(line: bytes) -> tuple[str, Any] | None:
    """What the process says, and of what; None for what a launcher or a library prints."""
    try:
        [(kind, content)] = json.loads(line).items()
    except (ValueError, AttributeError):
        return None
    return kind, content
