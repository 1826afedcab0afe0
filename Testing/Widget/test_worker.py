"""The process: one answer to each request, and a crash, a cancel or an error never spoils the next."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import qt
from lopsided import __version__
from LopsidedSegLib import Scene
from LopsidedSegLib.Worker import MODULE_FOLDER, Worker
from offscreen import Heard, until


def _request(volume: Any, folder: Path, name: str = "result") -> dict[str, Any]:
    Scene.writeVolume(volume, folder / "t1c.nrrd")
    sequences = {"t1c": str(folder / "t1c.nrrd")}
    return {"suggest": {"sequences": sequences, "annotation": None, "model": None, "out": str(folder / name)}}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _process(answer: str) -> list[str]:
    """The command of one that runs ``answer`` for each request ``n``, with ``say`` and ``die`` at hand."""
    script = (
        "import json, os, sys, time\n"
        "def say(*messages): os.write(1, b''.join(json.dumps(m).encode() + b'\\n' for m in messages))\n"
        "def die(): os._exit(3)\n"
        f"say({{'ready': {{'version': {__version__!r}, 'pid': os.getpid()}}}})\n"
        f"for line in sys.stdin: n = json.loads(line); {answer}"
    )
    return [sys.executable, "-c", script]


def test_two_requests_are_answered_by_one_process(worker: Any, volume: Any, tmp_path: Path) -> None:
    """Progress, then one answer, for each; the process stays."""
    heard, pids = Heard(), set()
    for name in ("first", "second"):
        worker.send(_request(volume("T1c"), tmp_path, name), heard.callbacks)
        assert worker.busy
        worker.wait()
        pids.add(worker._ready["pid"])
    assert heard.done == [{"out": str(tmp_path / "first")}, {"out": str(tmp_path / "second")}]
    assert heard.progress == [("Searching for lesions", 0.42)] * 2
    assert heard.errors == []
    assert len(pids) == 1


def test_an_answer_is_never_taken_for_that_to_the_next_request(worker: Any) -> None:
    """Cancel and another request from within a callback, when the first one's answer is read already."""
    worker.command = _process("say({'progress': {'what': '', 'part': 0}}, {'done': n})")
    second = Heard()

    def again(*_: Any) -> None:
        worker.stop()
        worker.send("second", second.callbacks)

    worker.send("first", Heard().callbacks._replace(progress=again))
    until(lambda: not worker.busy)
    assert (second.done, second.errors) == (["second"], [])


def test_a_callback_that_fails_loses_no_answer(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read with the next that the process says."""
    worker.command = _process(
        "say({'progress': {'what': '', 'part': 0}}, {'done': n}); time.sleep(0.5); say({'alive': {}})"
    )
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    heard = Heard()
    worker.send("first", heard.callbacks._replace(progress=lambda *_: 1 / 0))
    until(lambda: not worker.busy)
    assert heard.done == ["first"]


@pytest.mark.parametrize(
    "line",
    ["Loading modules...", "null", '{"one": 1, "two": 2}', "{}"],
)
def test_what_is_no_message_is_passed_over(worker: Any, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: raised.append(error))
    worker.command = _process(f"os.write(1, b{line!r} + b'\\n'); say({{'done': n}})")
    heard = Heard()
    worker.send("first", heard.callbacks)
    until(lambda: not worker.busy)
    assert (heard.done, heard.progress, heard.errors, raised) == (["first"], [], [], [])


def test_the_last_words_are_of_this_request(worker: Any) -> None:
    """Another's may be of another patient."""
    worker.command = _process(
        "say({'progress': {'what': '', 'part': 0}}); n == 2 and die(); os.write(2, b'DOE^JANE'); say({'done': n})"
    )
    heard = Heard()
    for n in (1, 2):
        worker.send(n, heard.callbacks)
        until(lambda: not worker.busy)
    assert (heard.done, heard.errors) == ([1], ["The computing process ended unexpectedly."])


@pytest.mark.parametrize("loop", [True, False], ids=["in an event loop", "waited for"])
def test_a_process_that_ended_while_idle_is_replaced(worker: Any, loop: bool) -> None:
    """Though nobody knows yet, for no event loop runs; or the next request is sent by who hears the answer."""
    worker.command = _process("say({'done': n}); die()")
    heard = Heard()

    def next_one(n: int) -> None:
        heard.done.append(n)
        if n < 5:
            worker.send(n + 1, heard.callbacks._replace(done=next_one))

    if loop:
        next_one(0)
        until(lambda: not worker.busy)
    for n in range(6 if not loop else 0):
        worker.send(n, heard.callbacks)
        worker.wait()
        time.sleep(0.1)
    assert (heard.done, heard.errors) == (list(range(6)), [])


def test_a_request_that_ends_each_process_is_sent_twice_at_most(worker: Any) -> None:
    worker.command = _process("die()")
    heard = Heard()
    worker.send(1, heard.callbacks)
    worker.wait()
    assert heard.errors == ["The computing process ended unexpectedly."]


def test_a_command_that_does_not_exist_is_named(worker: Any) -> None:
    """Instead of waiting for ever."""
    heard = Heard()
    worker.command = ["/no/such/python", "-m", "lopsided.worker"]
    worker.send({}, heard.callbacks)
    worker.wait()
    assert heard.errors == ["The computing process could not be started: /no/such/python"]
    assert not worker.busy


@pytest.mark.parametrize("busy", [True, False], ids=["in an event loop", "waited for"])
def test_a_process_that_says_nothing_any_more_is_ended(worker: Any, fake: Any, busy: bool) -> None:
    """And one that is only slow is not."""
    for behaviour, expected in (("hang", ["did not answer for 1 s and was ended; try again."]), ("patient", [])):
        heard, worker.command, worker.silence = Heard(), fake(behaviour), 1.0
        worker.send({"suggest": {"sequences": {}}}, heard.callbacks)
        if busy:
            until(lambda: not worker.busy)
        else:
            worker.wait()
        if behaviour == "hang":
            assert [error.removeprefix("The computing process ") for error in heard.errors] == expected
            assert worker._process.state() == qt.QProcess.NotRunning
        else:
            assert not any("did not answer" in error for error in heard.errors)


def test_a_computer_that_was_asleep_does_not_end_the_search(
    worker: Any, fake: Any, volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process slept too, and on Windows clocks go on meanwhile. One that hangs afterwards is still ended."""
    slept = 0.0
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + slept)
    for behaviour in ("slow", "hang"):
        heard, worker.command, worker.silence = Heard(), fake(behaviour), 3.0
        worker.send(_request(volume("T1c"), tmp_path, behaviour), heard.callbacks)
        while not heard.progress:
            worker._process.waitForReadyRead(100)
        slept += 3600
        worker._onWatch()
        assert worker.busy
        until(lambda: not worker.busy)
        worker.stop()
        assert len(heard.done) == (behaviour == "slow")
        assert len(heard.errors) == (behaviour == "hang")


def test_a_process_of_another_version_is_refused_and_both_are_named(worker: Any, fake: Any) -> None:
    heard, worker.command = Heard(), fake("old")
    worker.send({}, heard.callbacks)
    worker.wait()
    assert heard.errors == [f"The computing process is LopsidedSeg 0, the module is {__version__}; install it again."]
    assert worker._process.state() == qt.QProcess.NotRunning


def test_a_launcher_stopped_before_its_python_is_ready_leaves_none(worker: Any, tmp_path: Path) -> None:
    """The real one, in the middle of its imports."""
    launcher = (
        "import subprocess, sys, pathlib\n"
        "process = subprocess.Popen([sys.executable, '-m', 'lopsided.worker'], stdin=sys.stdin)\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(process.pid))\n"
        "process.wait()"
    )
    worker.command = [sys.executable, "-c", launcher]
    worker.start()
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    assert worker._ready is None
    worker.stop()
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not _alive(pid))


def test_stop_kills_the_python_behind_a_launcher_too(worker: Any, volume: Any, tmp_path: Path, fake: Any) -> None:
    """As PythonSlicer is one; and nobody hears of it."""
    heard = Heard()
    launcher = f"import subprocess, sys; subprocess.run({fake('hang')!r}, stdin=sys.stdin)"
    worker.command = [sys.executable, "-c", launcher]
    worker.send(_request(volume("T1c"), tmp_path), heard.callbacks)
    while not heard.progress:
        worker._process.waitForReadyRead(100)
    pid = worker._ready["pid"]
    assert _alive(pid)
    start = time.monotonic()
    worker.stop()
    while _alive(pid) and time.monotonic() < start + 5:
        time.sleep(0.02)
    assert not _alive(pid)
    assert not worker.busy
    assert heard.errors == heard.done == []


def test_the_process_finds_lopsided_and_not_slicers_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Slicer's own environment says."""
    monkeypatch.setenv("PYTHONHOME", "/slicer/lib/Python")
    monkeypatch.setenv("PYTHONPATH", "/slicer/bin/Python")
    code = "import json, lopsided.volume; print(json.dumps({'done': lopsided.__path__[0]}))"
    worker, heard = Worker([sys.executable, "-c", code]), Heard()
    worker.send({}, heard.callbacks)
    worker.wait()
    assert heard.done == [str(MODULE_FOLDER / "lopsided")]
