"""A reader's work on a case as files: written, and whether what is there can be gone on with."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from lopsided.review import AHEAD, CANDIDATES, SEGMENTS
from slicer.i18n import tr as _

from . import Scene
from .Labelmaps import transformBetween
from .Scene import lpsOf
from .Settings import Settings

if TYPE_CHECKING:
    from .Marks import Marks  # which needs SimpleITK, and that takes its time to import

_SAME_MM = 0.01


def unwritten(error: Exception, folder: Path, orAnother: bool = False) -> str:
    """What is said of an error in writing to ``folder``: of what the system refused, why and what to do. ``orAnother``: the user
    may choose another folder."""
    if not isinstance(error, OSError):
        return str(error)
    sentence = _("nothing can be written in {folder} ({why}); see that there is room and that you may write there")
    if orAnother:
        sentence = _("{unwritten}, or choose another folder").format(unwritten=sentence)
    return sentence.format(folder=folder, why=error.strerror or error)


def besideOf(folder: Path) -> Path:
    """Where a reader's work on a case is while a newer save of it takes its place in ``folder``."""
    return folder.with_name(folder.name + ".before")


def heal(folder: Path) -> None:
    """Put it back where that was interrupted. Raises OSError, or as :func:`makeWay`, where that cannot be."""
    from lopsided.dataset.work import WORK_FILE

    before = besideOf(folder)
    if (before / WORK_FILE).exists() and not (folder / WORK_FILE).exists():
        makeWay(folder, before)
        before.rename(folder)


def makeWay(folder: Path, work: Path) -> None:
    """Remove what is in the place of a reader's work, which is in the folder ``work``: a search ahead, and what systems put there.

    Raises RuntimeError, one sentence, where there is more, and OSError.
    """
    from lopsided.dataset.work import is_kept

    if is_kept(folder):
        sentence = _("{folder} is in the way of your work on this case, which is in {work}; move it away.")
        raise RuntimeError(sentence.format(folder=folder, work=work))
    if folder.exists():
        shutil.rmtree(folder)


def checkPlace(folder: Path, volume: Any) -> None:
    """Work is kept by places in the world: raises RuntimeError, one sentence, where the volume is at another by now."""
    from lopsided.dataset.work import read_work

    place = read_work(folder).place
    if place and not np.allclose(place, _place(volume), rtol=0, atol=_SAME_MM):
        sentence = _("{name} was moved since your work on it was kept; move it back, or remove {folder} to begin anew.")
        raise RuntimeError(sentence.format(name=volume.GetName(), folder=folder))


def _place(volume: Any) -> list[tuple[float, float, float]]:
    """Points all over a volume, where they are in the world (LPS), also where a transform bends it."""
    toWorld, ijkToRAS = transformBetween(volume, None), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijkToRAS)
    sides = [np.linspace(0, n - 1, 3) for n in volume.GetImageData().GetDimensions()]
    ijk = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 3)
    return [lpsOf(toWorld.TransformPoint(ijkToRAS.MultiplyPoint((*point, 1))[:3])) for point in ijk]


def writeWork(
    folder: Path,
    annotation: Any = None,
    suggestions: Any = None,
    marks: Marks | None = None,
    snapped: bool = False,
    wholeCase: bool = False,
    acceptedInto: str | None = "",
) -> None:
    """A reader's work on a case into a folder that is there, as :mod:`lopsided.dataset.work` reads it. Whatever else is to be
    kept in that folder is in it already.

    ``acceptedInto``: the folder in it of the segmentation that suggestions were accepted into, where that is not
    ``annotation``; None where it is in none.

    Raises:
        OSError, RuntimeError: it could not be written.
    """
    from lopsided.dataset.records import seen
    from lopsided.dataset.work import ANNOTATION, WORK_FILE, WorkRecord
    from lopsided.writing import whole

    content: dict[str, Any] = {"snapped": snapped, "whole_case": wholeCase, "accepted_into": acceptedInto}
    if annotation:
        content["annotation"] = annotation.GetName()
        Scene.writeSegments(annotation, folder / ANNOTATION)
    if suggestions:
        names = [name for name in suggestions.GetAttributeNames() if name.startswith("LopsidedSeg.")]
        content["suggestions"] = {name: suggestions.GetAttribute(name) for name in names}
        Scene.writeSegments(suggestions, folder / SEGMENTS)
    if marks:
        content["marks"] = [(asdict(item.mark), marks.time(item)) for item in marks.items()]
        content["place"] = _place(marks.reference)
    content["files"] = [path.relative_to(folder).as_posix() for path in seen(folder, "**/*") if path.is_file()]
    with whole(folder / WORK_FILE) as partial:
        partial.write_text(WorkRecord.model_validate(content).model_dump_json(indent=1), encoding="utf-8")


def isSearchedAhead(folder: Path, settings: Settings) -> bool:
    """Whether a search of a case is kept there, by the model that searches use now; one by another is removed."""
    from lopsided.model import find_model, load_card

    ahead = folder / AHEAD
    try:
        chosen = load_card(find_model(settings.model)).digest
    except (OSError, ValueError):
        return False  # said when it is to search; what is there may be right once it can be read
    try:
        same = bool(json.loads((ahead / CANDIDATES).read_text(encoding="utf-8"))["model"]["digest"] == chosen)
    except (OSError, ValueError, KeyError):
        same = False
    if not same:
        shutil.rmtree(ahead, ignore_errors=True)
    return same
