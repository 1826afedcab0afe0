"""The process that runs the network for Slicer: JSON lines in on stdin, JSON lines out on stdout.

Says ``{"ready": {"version": …, "pid": …}}`` (the pid, because a launcher may stand in between) and from then on, every
two seconds, ``{"alive": {}}``. Answers each request::

    {"suggest": {"sequences": {"t1c": PATH, …}, "annotation": PATH or null, "model": FOLDER or null, "out": FOLDER, …}}
    {"export": {"sequences": {"t1c": PATH, …}, "work": FOLDER, "dataset": FOLDER, …}}    (see ExportRequest)

with any number of ``{"progress": {"what": …, "part": 0…1}}`` and one ``{"done": {"out": FOLDER}}``, or
``{"done": {"case": NAME, "lesions": COUNT}}``, or ``{"error": "one sentence"}``. Of a result, the candidates are
written, and no map: this process keeps the last one. The model that is installed is loaded at once; the one asked for last
stays loaded, unless its folder holds another by then, and after a minute without a request the memory of its last search goes
back to the system. The process ends when stdin does, in the middle of a search too: who asked is gone.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Lock, Thread
from typing import Annotated, Any

from pydantic import Field

from . import __version__, runtime
from .annotation import Annotation, read_annotation
from .dataset.export import export_reading
from .dataset.pseudonyms import read_key
from .dataset.work import reading_of_work
from .errors import InputError, is_shortage
from .marks import Mark, crossed, rasterise
from .model import find_model, load_card, load_model
from .predict import Predictor, RememberingPredictor
from .reading import read_study
from .results import all_or_nothing, remove_unfinished, write_candidates
from .schema import Record
from .suggest import suggest

_GRACE_S = 5.0
_HEARTBEAT_S = 2.0
_IDLE_S = 60.0  # suggestions are being reviewed


class SuggestRequest(Record):
    """What to search, and the folder that the results go to."""

    sequences: dict[str, Path]
    annotation: Path | None = None
    labels: tuple[str, ...] = ()  # of a list of cases, of which each may lack some
    marks: tuple[Annotated[Mark, Field(discriminator="kind")], ...] = ()
    model: str | None = None
    out: Path


class ExportRequest(Record):
    """A reader's ``work`` on a case, a folder that it is kept in (:mod:`.dataset.work`), and the dataset that it goes to."""

    sequences: dict[str, Path]
    work: Path
    reader: str
    dataset: Path
    key: Path
    patient: str
    case: str
    again: bool = False


def serve(requests: Iterable[str], say: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until there are no more."""
    with suppress(Exception):  # whatever is wrong with it is said to the one who asks for it
        _predictor(find_model(None)).warm_up()
    for line in requests:
        try:
            [(kind, content)] = json.loads(line).items()
            Request, answer = _ANSWERS[kind]  # noqa: N806  a class
            request = Request.model_validate(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            say({"error": f"the worker does not understand the request ({error!r})"})
            continue
        try:
            say({"done": answer(request, lambda what, part: say({"progress": {"what": what, "part": part}}))})
        except InputError as error:
            say({"error": str(error)})
        except Exception as error:  # the process must outlive a failed request
            if is_shortage(error):
                say({"error": "not enough memory; close other programs and try again"})
            else:
                say({"error": f"this failed ({type(error).__name__}: {error}); please report this"})


_loaded: dict[tuple[Path, str], Predictor] = {}  # the last one alone


def _predictor(folder: Path) -> Predictor:
    key = folder, load_card(folder).digest  # of a model that was trained again it is another
    if key not in _loaded:
        loaded = RememberingPredictor(load_model(folder))  # or what is wrong with it, and the last one stays
        _loaded.clear()
        _loaded[key] = loaded
    return _loaded[key]


def _rest() -> None:
    for predictor in _loaded.values():
        with suppress(Exception):  # a GPU that failed, for one: whoever asks next is told
            predictor.release_memory()


def _suggest(request: SuggestRequest, progress: Callable[[str, float], None]) -> dict[str, Any]:
    with all_or_nothing(request.out, overwrite=False) as folder:
        progress("Loading the model", 0.0)
        predictor = _predictor(find_model(request.model))
        study = read_study(request.sequences)
        annotation = Annotation.empty(study.reference.geometry)
        if request.annotation:
            annotation = read_annotation(request.annotation, study.reference, request.labels, lacking=True)
        for mark in crossed(request.marks):  # what is marked is annotated, too
            with suppress(ValueError):  # without size, or outside: nothing is marked by it
                region = rasterise(mark, study.reference.geometry)
                if region:
                    annotation.mask[region.box] |= region.mask
        # every candidate: Slicer moves the threshold over them
        write_candidates(suggest(predictor, study, annotation, threshold=0.0, progress=progress), folder)
    return {"out": str(request.out)}


def _export(request: ExportRequest, progress: Callable[[str, float], None]) -> dict[str, Any]:
    progress("Reading the case", 0.0)
    study = read_study(request.sequences)
    reading = reading_of_work(request.work, request.reader, study.reference)
    progress("Writing the dataset", 0.5)
    key = read_key(request.key)
    name = export_reading(
        request.dataset, study, reading, patient=request.patient, case=request.case, key=key, again=request.again
    )
    return {"case": name, "lesions": len(reading.lesions)}


_ANSWERS: dict[str, tuple[type[Record], Callable[..., dict[str, Any]]]] = {
    "suggest": (SuggestRequest, _suggest),
    "export": (ExportRequest, _export),
}


def main() -> None:
    """Serve on this process's stdin and stdout."""
    runtime.keep_memory()
    # the protocol gets a descriptor of its own, so that a library's print cannot break it
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    one_at_a_time = Lock()

    def say(message: dict[str, Any]) -> None:
        with one_at_a_time:
            print(json.dumps(message), file=channel, flush=True)

    def beat() -> None:
        with suppress(OSError, ValueError):  # nobody listens any more
            while True:
                time.sleep(_HEARTBEAT_S)
                say({"alive": {}})

    with suppress(KeyboardInterrupt):
        say({"ready": {"version": __version__, "pid": os.getpid()}})
        Thread(target=beat, daemon=True).start()
        serve(_requests(), say)


def _requests() -> Iterator[str]:
    """Lines of stdin; when it ends, a search that runs is interrupted, and has a moment to leave nothing behind."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        with open(0, encoding="utf-8", errors="replace", closefd=False) as requests:
            for line in requests:
                lines.put(line)
        searching = lines.unfinished_tasks  # or about to: this may come with the request
        lines.put(None)
        if searching:
            _thread.interrupt_main()
            time.sleep(_GRACE_S)  # what runs for longer without a look at interrupts is one pass of the network
            remove_unfinished()
            os._exit(1)

    def next_line() -> str | None:
        try:
            return lines.get(timeout=_IDLE_S)
        except Empty:
            _rest()
            return lines.get()

    Thread(target=read, daemon=True).start()
    while (line := next_line()) is not None:
        yield line
        lines.task_done()


if __name__ == "__main__":
    main()
