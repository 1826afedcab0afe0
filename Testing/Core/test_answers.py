"""What the worker answers, without a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided import worker
from lopsided.marks import Point
from lopsided.model import load_card
from lopsided.predict import Predictor
from lopsided.volume import Volume, to_sitk
from lopsided.writing import write_image

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The last word on a request; without the installed model, which would be warmed up first."""
    monkeypatch.setattr(worker, "find_model", lambda name: Path(name or "none"))

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        said: list[dict[str, Any]] = []
        worker.serve([json.dumps(request)], said.append)
        return said[-1]

    return ask


@pytest.fixture
def request_of(head: Callable[..., Volume], geometry: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """To search a head by a model folder."""
    image = head(geometry((40, 40, 40), (4.0, 4.0, 4.0)))
    write_image(to_sitk(image.array.astype(np.float32), image.geometry), tmp_path / "t1c.nii.gz")

    def of(model: Path, out: str) -> dict[str, Any]:
        content = {"sequences": {"t1c": str(tmp_path / "t1c.nii.gz")}, "model": str(model), "out": str(tmp_path / out)}
        return {"suggest": content}

    return of


def test_a_model_trained_again_in_its_folder_is_used(
    ask: Ask, request_of: Callable[..., Any], model_folder: Path, deeplab_folder: Path, tmp_path: Path
) -> None:
    """Else decisions would be kept, and exported, under a model that made none of the suggestions."""
    folder = tmp_path / "model"
    for number, source in enumerate((model_folder, deeplab_folder)):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        answer = ask(request_of(folder, f"result{number}"))
        result = json.loads((Path(answer["done"]["out"]) / "candidates.json").read_text(encoding="utf-8"))
        assert result["model"]["digest"] == load_card(folder).digest


def test_a_case_of_a_list_may_lack_labels_that_others_have(
    ask: Ask, request_of: Callable[..., Any], model_folder: Path, tmp_path: Path
) -> None:
    request = request_of(model_folder, "result")
    image = sitk.ReadImage(request["suggest"]["sequences"]["t1c"])
    sitk.WriteImage(sitk.Cast(image > image[20, 20, 20], sitk.sitkUInt8), str(tmp_path / "labels.nii.gz"))
    request["suggest"] |= {"annotation": str(tmp_path / "labels.nii.gz"), "labels": ["2", "1"]}
    assert "done" in ask(request)


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "not enough memory; close other programs and try again"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "not enough memory; close other programs and try again",
        ),
        (KeyError("x"), "this failed (KeyError: 'x'); please report this"),
    ],
)
def test_what_fails_in_a_search_is_not_laid_to_the_request(
    ask: Ask,
    request_of: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Any,
    sentence: str,
) -> None:
    def fail(_folder: Path) -> Any:
        raise raised

    monkeypatch.setattr(worker, "_predictor", fail)
    assert ask(request_of(tmp_path, "result")) == {"error": sentence}
    assert "does not understand" in ask({"suggest": {}})["error"]


@pytest.mark.usefixtures("ask")
def test_a_line_that_is_too_deep_is_answered() -> None:
    said: list[dict[str, Any]] = []
    worker.serve(["[" * 200_000, "{}"], said.append)
    assert ["does not understand" in message["error"] for message in said] == [True, True]


def test_the_process_ends_after_a_line_that_is_no_utf_8() -> None:
    done = subprocess.run([sys.executable, "-m", "lopsided.worker"], input=b'"\xff"\n', check=False, timeout=60)
    assert done.returncode == 0


def test_a_search_whose_asker_is_gone_as_soon_as_it_asked_is_interrupted() -> None:
    """As one that Slicer asked for, and died, while the model was loaded: the request and the end are read at once."""
    script = """
import os, signal, time
from lopsided import worker
signal.signal(signal.SIGINT, signal.default_int_handler)
worker._GRACE_S = 60
ends = []
for _ in range(50):
    end, start = os.pipe()
    os.dup2(end, 0)
    os.write(start, b"{}")
    os.close(start)
    try:
        for line in worker._requests():
            time.sleep(0.1)
        ends.append("searched")
    except KeyboardInterrupt:
        ends.append("interrupted")
print(*sorted(set(ends)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["interrupted"]


def test_memory_goes_back_once_nobody_has_asked_for_a_while() -> None:
    """Once: it is not looked for again and again."""
    script = """
import os, threading, time
from lopsided import worker
worker._IDLE_S = 0.3
worker._rest = lambda: print("rest")
end, start = os.pipe()
os.dup2(end, 0)

def ask():
    for wait in (0, 0.1, 1.2):
        time.sleep(wait)
        os.write(start, b"{}\\n")
    time.sleep(0.2)
    os.close(start)

threading.Thread(target=ask).start()
for line in worker._requests():
    print("request")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["request", "request", "rest", "request"]


def test_memory_goes_back_from_whatever_model_is_loaded(
    ask: Ask, request_of: Callable[..., Any], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or not, if that fails: the worker goes on."""
    released = Mock(side_effect=RuntimeError("CUDA error"))
    monkeypatch.setattr(Predictor, "release_memory", released)
    ask(request_of(model_folder, "result"))
    worker._rest()
    assert released.call_count == 1


def test_a_model_that_cannot_be_loaded_leaves_the_last_one_loaded(
    ask: Ask, request_of: Callable[..., Any], model_folder: Path, deeplab_folder: Path, tmp_path: Path
) -> None:
    """And with it the map of the last search."""
    assert "done" in ask(request_of(model_folder, "result"))
    before = list(worker._loaded.values())
    broken = shutil.copytree(deeplab_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    assert "error" in ask(request_of(broken, "nothing"))
    assert list(worker._loaded.values()) == before


def test_a_search_that_does_not_hear_the_interrupt_leaves_nothing_either(tmp_path: Path) -> None:
    """As one in the middle of a long pass of the network."""
    script = f"""
import signal, time
from pathlib import Path
from lopsided import worker
signal.signal(signal.SIGINT, lambda *_: None)
worker._GRACE_S = 0.1
for line in worker._requests():
    with worker.all_or_nothing(Path({str(tmp_path / "out")!r}), overwrite=False) as folder:
        (folder / "candidates.json").touch()
        print("begun", flush=True)
        time.sleep(60)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("{}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "begun\n"
        assert list(tmp_path.iterdir())
        process.stdin.close()
        assert process.wait(30) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_marked_is_not_suggested(ask: Ask, request_of: Callable[..., Any], model_folder: Path) -> None:
    def search(out: str, marks: list[dict[str, Any]]) -> dict[str, Any]:
        request = request_of(model_folder, out)
        request["suggest"]["marks"] = marks
        answer = ask(request)
        found: dict[str, Any] = json.loads(
            (Path(answer["done"]["out"]) / "candidates.json").read_text(encoding="utf-8")
        )
        return found

    before = search("before", [])
    first = before["candidates"][0]
    outside = Point((900.0, 0.0, 0.0), 5.0)
    marks = [asdict(mark) for mark in (Point(tuple(first["centroid_lps"]), 12.0), outside)]
    after = search("after", marks)
    assert first["centroid_lps"] not in [c["centroid_lps"] for c in after["candidates"]]
    assert len(after["recognised"]) > len(before["recognised"])
