"""The process: one answer to each request, and a crash, a cancel or an error never spoils the next."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Fake = Callable[[str], list[str]]


class Heard:
    """Callbacks that remember."""

    def __init__(self) -> None:
        from LopsidedSegLib.Worker import Callbacks

        self.progress: list[tuple[str, float]] = []
        self.done: list[Any] = []
        self.errors: list[str] = []
        self.callbacks = Callbacks(lambda *p: self.progress.append(p), self.done.append, self.errors.append)


def _request(volume: Any, folder: Path, name: str = "result") -> dict[str, Any]:
    from LopsidedSegLib.Scene import Scene

    Scene().writeVolume(volume, folder / "t1c.nrrd")
    sequences = {"t1c": str(folder / "t1c.nrrd")}
    return {"suggest": {"sequences": sequences, "annotation": None, "model": None, "out": str(folder / name)}}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [("crash", "The computing process ended unexpectedly. out of memory"), ("error", "every voxel is 0")],
)
def test_a_failure_is_one_sentence_and_the_next_request_succeeds(
    worker: Any, volume: Any, tmp_path: Path, fake: Fake, behaviour: str, sentence: str
) -> None:
    """Whether the process reports an error or dies."""
    failed, later = Heard(), Heard()
    worker.command = fake(behaviour)
    request = _request(volume("T1c"), tmp_path)
    worker.send(request, failed.callbacks)
    worker.wait()
    [heard] = failed.errors
    assert sentence in heard
    assert failed.done == []
    if behaviour == "error":
        worker.stop()
    worker.command = fake("done")
    worker.send(request, later.callbacks)
    worker.wait()
    assert later.done == [{"out": str(tmp_path / "result")}]


def test_a_command_that_does_not_exist_is_named(worker: Any) -> None:
    """Instead of waiting for ever."""
    heard = Heard()
    worker.command = ["/no/such/python", "-m", "lopsided.worker"]
    worker.send({}, heard.callbacks)
    worker.wait()
    assert heard.errors == ["The computing process could not be started: /no/such/python"]
    assert not worker.busy


def test_stop_kills_the_python_behind_a_launcher_too(worker: Any, volume: Any, tmp_path: Path, fake: Fake) -> None:
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
    from LopsidedSegLib.Worker import MODULE_FOLDER, Worker

    monkeypatch.setenv("PYTHONHOME", "/slicer/lib/Python")
    monkeypatch.setenv("PYTHONPATH", "/slicer/bin/Python")
    code = "import json, lopsided.volume; print(json.dumps({'done': lopsided.__path__[0]}))"
    worker, heard = Worker([sys.executable, "-c", code]), Heard()
    worker.send({}, heard.callbacks)
    worker.wait()
    assert heard.done == [str(MODULE_FOLDER / "lopsided")]
