"""The process that runs the network for Slicer: JSON lines in on stdin, JSON lines out on stdout.

Says ``{"ready": {"version": …, "pid": …}}`` (the pid, because a launcher may stand in between), then answers each request::

    {"suggest": {"sequences": {"t1c": PATH, …}, "annotation": PATH or null, "model": FOLDER or null, "out": FOLDER}}

with any number of ``{"progress": {"what": …, "part": 0…1}}`` and one ``{"done": {"out": FOLDER}}`` or
``{"error": "one sentence"}``. It ends when stdin does. The model stays loaded between requests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError

from . import __version__
from .annotation import Annotation, read_annotation
from .errors import InputError
from .model import find_model, load_model
from .predict import Predictor
from .reading import read_volume
from .results import all_or_nothing, write_results
from .study import Study
from .suggest import suggest


class SuggestRequest(BaseModel):
    """What to search, and the folder that the results go to."""

    model_config = ConfigDict(extra="forbid")

    sequences: dict[str, Path]
    annotation: Path | None = None
    model: str | None = None
    out: Path


def serve(requests: TextIO, say: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until there are no more."""
    say({"ready": {"version": __version__, "pid": os.getpid()}})
    for line in requests:
        try:
            request = SuggestRequest.model_validate(json.loads(line)["suggest"])
            _suggest(request, lambda what, part: say({"progress": {"what": what, "part": part}}))
            say({"done": {"out": str(request.out)}})
        except InputError as error:
            say({"error": str(error)})
        except (ValidationError, json.JSONDecodeError, KeyError, TypeError) as error:
            say({"error": f"the worker does not understand the request ({error!r})"})
        except Exception as error:  # the process must outlive a failed request
            say({"error": f"the search failed ({type(error).__name__}: {error}); please report this"})


@lru_cache(maxsize=1)
def _predictor(folder: Path) -> Predictor:
    return Predictor(load_model(folder))


def _suggest(request: SuggestRequest, progress: Callable[[str, float], None]) -> None:
    if "t1c" not in request.sequences:
        raise InputError("no reference volume (post-contrast T1); choose one")
    with all_or_nothing(request.out, overwrite=False) as folder:
        progress("Loading the model", 0.0)
        predictor = _predictor(find_model(request.model))
        volumes = {name: read_volume(path) for name, path in request.sequences.items()}
        study = Study(volumes.pop("t1c"), volumes)
        annotation = Annotation.empty(study.reference.geometry)
        if request.annotation:
            annotation = read_annotation(request.annotation, study.reference)
        # every candidate: Slicer moves the threshold over them
        write_results(suggest(predictor, study, annotation, threshold=0.0, progress=progress), folder)


def main() -> None:
    """Serve on this process's stdin and stdout."""
    # the protocol gets a descriptor of its own, so that a library's print cannot break it
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    with open(0, encoding="utf-8", closefd=False) as requests:
        serve(requests, lambda message: print(json.dumps(message), file=channel, flush=True))


if __name__ == "__main__":
    main()
