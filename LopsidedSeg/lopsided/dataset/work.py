"""A reader's work on a case of a worklist, as the Slicer module keeps it in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ..characters import is_hidden
from ..errors import InputError
from ..marks import Mark, timed
from ..results import SuggestionsRecord
from ..review import AHEAD, RESULT_ATTRIBUTE, REVIEW_ATTRIBUTE, SEGMENTS, THRESHOLD_ATTRIBUTE, ReviewSession
from ..schema import Record, briefly
from ..volume import Vector, Volume
from .export import Reading
from .inputs import Reviewed, read_reading
from .records import read_record

WORK_FILE = "work.json"
ANNOTATION = "annotation.seg.nrrd"


class WorkRecord(Record):
    """``work.json``, written last. Segments are in ``annotation.seg.nrrd`` and ``suggestions.seg.nrrd``, where there are any."""

    format_version: Literal[1] = 1
    annotation: str | None = Field(default=None, description="the segmentation's name; null where there is none")
    suggestions: dict[str, str] | None = Field(default=None, description="their node's attributes")
    marks: list[tuple[Annotated[Mark, Field(discriminator="kind")], str | None]] = Field(
        default=[], description="as they were drawn, lines one by one, each with its time"
    )
    snapped: bool = Field(default=False, description="marks are fitted to the bright region in each")
    accepted_into: str | None = Field(
        default="",
        description="the folder in this one whose annotation suggestions were accepted into; empty for this one's own",
    )
    whole_case: bool = Field(default=False, description="the reader says that they looked at all of the case")
    place: list[Vector] | None = Field(
        default=None,
        description="points all over the volume, where they were in the world (LPS, mm); null if not known",
    )
    files: list[str] | None = Field(
        default=None,
        description="all others in this folder that are not hidden, which were whole when this was written; null if not known",
    )


def is_kept(folder: Path) -> bool:
    """Whether work is in a folder, or what a copy by half has left of it: all but a search ahead, and what systems put anywhere.

    Raises OSError where that cannot be known, for what is there would be begun anew, and written over.
    """
    try:
        names = [path.name for path in folder.iterdir()]  # glob would pass over what it may not read
    except FileNotFoundError:
        return False
    return any(name != AHEAD and not is_hidden(name) for name in names)


def read_work(folder: Path) -> WorkRecord:
    """What is kept in a folder.

    Raises:
        InputError: nothing is, or it cannot be read, or a file of it is missing: no file may not be taken for no lesion.
    """
    if not (folder / WORK_FILE).exists() and is_kept(folder):
        raise InputError(f"{folder}: {WORK_FILE} is missing; restore it from a copy")
    if not (folder / WORK_FILE).exists():
        raise InputError(f"{folder}: no work is kept here; open the case in Slicer's worklist first")
    work = read_record(folder / WORK_FILE, WorkRecord)
    missing = [name for name in work.files or () if not (folder / name).exists()]
    if missing:
        raise InputError(f"{folder}: {', '.join(missing)} is missing; restore it from a copy")
    return work


def reading_of_work(folder: Path, reader: str, reference: Volume) -> Reading:
    """What is kept in a folder as a reading of the case whose post-contrast T1 is ``reference``.

    Raises:
        InputError: as :func:`read_work` and :func:`.inputs.read_reading`.
    """
    work = read_work(folder)
    reviewed = None
    if work.suggestions and REVIEW_ATTRIBUTE in work.suggestions and (folder / SEGMENTS).exists():
        try:
            review = json.loads(work.suggestions[REVIEW_ATTRIBUTE])
            session = ReviewSession.from_json(review["session"])
            accepted_as = {c: how["segment"] for c, how in review["accepted"].items() if "segment" in how}
            result = SuggestionsRecord.model_validate_json(work.suggestions[RESULT_ATTRIBUTE])
            moved = work.suggestions.get(THRESHOLD_ATTRIBUTE)
            shown = float(moved) if moved else None
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{folder / WORK_FILE}: its review cannot be read ({briefly(error)}); restore it from a copy"
            ) from None
        reviewed = Reviewed(result, session, folder / SEGMENTS, accepted_as, shown)
    annotation = folder / ANNOTATION
    return read_reading(
        reader,
        reference,
        annotation=annotation if annotation.exists() else None,
        marks=timed(work.marks),
        snapped=work.snapped,
        reviewed=reviewed,
        whole_case=work.whole_case,
    )
