"""A reader's files as a reading: outlined lesions, Slicer's markups, and the decisions on suggestions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydantic import ValidationError

from ..annotation import read_annotation
from ..errors import InputError
from ..marks import BoxMark, Ellipsoid, Line, Mark, Point, crossed, rasterise, snap
from ..reading import read_array, read_image
from ..regions import Region, region_of
from ..results import CANDIDATES, SEGMENTS, SuggestionsRecord
from ..review import ReviewSession, Status, read_log
from ..volume import Volume
from .export import Decision, Lesion

ELLIPSOID = "ellipsoid"  # the description of an ROI that is one; Slicer's own are boxes


def outlined(path: Path, reference: Volume, labels: tuple[str, ...] = ()) -> list[Lesion]:
    """The lesions of a label map or segmentation: each connected piece (26 neighbours) of what is labelled is one.

    A segment that a suggestion was accepted as is one lesion, of that kind. Raises InputError as
    :func:`lopsided.annotation.read_annotation`.
    """
    accepted = _accepted(path)
    annotation = read_annotation(path, reference, labels)
    others = tuple(name for name in annotation.labels if name not in accepted)
    lesions = []
    for name, candidate in accepted.items():
        if name in annotation.labels:
            mask = read_annotation(path, reference, (name,)).mask
            lesions.append(Lesion(region_of(mask), "suggestion", candidate=candidate))
    if others:
        mask = read_annotation(path, reference, others).mask if accepted else annotation.mask
        lesions += [Lesion(region) for region in _pieces(mask)]
    return lesions


def marked(path: Path, reference: Volume, *, snapped: bool = False) -> list[Lesion]:
    """The marks of a Slicer markups file (``.mrk.json``): points, lines, boxes and ellipsoids (ROI).

    Two lines that cross are one lesion. A point's diameter (mm) is its description, as is that an ROI is an
    ``ellipsoid``. ``snapped``: trimmed to the bright region in the reference volume.

    Raises:
        InputError: not markups, of a kind that is no mark, or a mark outside of the reference volume.
    """
    lesions = []
    for mark in read_markups(path):
        try:
            region = rasterise(mark, reference.geometry)
        except ValueError as error:
            raise InputError(f"{path}: {error}; delete it or draw it again") from None
        if region is None:
            raise InputError(f"{path}: a {mark.kind} lies outside of {reference.name}; give the markups of this study")
        lesions.append(Lesion(snap(region, reference) if snapped else region, mark.kind, mark, snapped))
    return lesions


def read_markups(path: Path) -> list[Mark]:
    """The marks of a Slicer markups file; raises InputError as :func:`marked`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["markups"]
        lines: list[Line] = []
        marks: list[Mark] = []
        for markup in content:
            flip = np.array([1, 1, 1] if markup.get("coordinateSystem", "LPS") == "LPS" else [-1, -1, 1])
            points = [np.array(p["position"]) * flip for p in markup.get("controlPoints", []) if _placed(p)]
            if markup["type"] == "Fiducial":
                described = [p.get("description", "") for p in markup["controlPoints"] if _placed(p)]
                if not all(described):
                    raise InputError(f"{path}: a point has no diameter; give it in mm as the point's description")
                marks += [Point(_vector(p), float(d)) for p, d in zip(points, described, strict=True)]
            elif markup["type"] == "Line":
                start, end = points
                lines.append(Line((_vector(start), _vector(end))))
            elif markup["type"] == "ROI":
                marks.append(_roi(markup, flip))
            else:
                raise InputError(f"{path}: a {markup['type']} is no mark of a lesion; use points, lines and ROIs")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no Slicer markups file that can be read ({error!r}); save it again") from None
    return [*marks, *crossed(lines)]


def decisions(result: Path, log: Path, reference: Volume) -> tuple[list[Decision], SuggestionsRecord, ReviewSession]:
    """What a review's log says of the suggestions in a result folder.

    Raises:
        InputError: no result, no log, a log of another result, or a result on another grid.
    """
    try:
        record = SuggestionsRecord.model_validate_json((result / CANDIDATES).read_text(encoding="utf-8"))
        session = read_log(log)
    except (OSError, ValidationError, ValueError) as error:
        raise InputError(f"{result} and {log}: are no result and its review ({error}); give those of this study")
    labels = read_array(result / SEGMENTS)
    if not labels.geometry.same_grid(reference.geometry):
        raise InputError(f"{result}: is on another grid than {reference.name}; give the result of this study")
    return list(decided(record, session, labels.array)), record, session


def decided(record: SuggestionsRecord, session: ReviewSession, labels: np.ndarray) -> Iterable[Decision]:
    """Each candidate with its opinion; ``labels`` (k, j, i) is the map of candidates by label."""
    times = {event.candidate: event.time for event in session.events if event.action != "note"}
    for candidate, name in zip(record.candidates, session.candidates, strict=True):
        region = region_of(labels == candidate.label)
        status = session.opinion(name).status
        time = times.get(name) if status is not Status.PENDING else None
        yield Decision(name, status.value, candidate.confidence, region, time)


def _accepted(path: Path) -> dict[str, str]:
    """Candidate by segment name, of the segments of a .seg.nrrd that suggestions were accepted as."""
    if not path.name.endswith(".nrrd"):
        return {}
    image = read_image(path)
    found = {}
    for key in image.GetMetaDataKeys():
        if key.startswith("Segment") and key.endswith("_Tags"):
            tags = dict(tag.partition(":")[::2] for tag in image.GetMetaData(key).split("|"))
            if "LopsidedSeg.Suggestion" in tags:
                found[image.GetMetaData(key.removesuffix("Tags") + "Name")] = tags["LopsidedSeg.Suggestion"]
    return found


def _pieces(mask: np.ndarray) -> Iterable[Region]:
    if not mask.any():
        return
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(pieces)
    array = sitk.GetArrayFromImage(pieces)
    for label in shapes.GetLabels():
        i, j, k, di, dj, dk = shapes.GetBoundingBox(label)
        box = slice(k, k + dk), slice(j, j + dj), slice(i, i + di)
        yield Region(box, array[box] == label)


def _placed(point: dict[str, Any]) -> bool:
    return point.get("positionStatus", "defined") == "defined"


def _roi(markup: dict[str, Any], flip: np.ndarray) -> Mark:
    axes = np.reshape(markup["orientation"], (3, 3)) * flip[:, None]  # columns are its axes
    described = [point.get("description") for point in markup.get("controlPoints", [])]
    kind = Ellipsoid if ELLIPSOID in described else BoxMark
    x, y, z = (_vector(axis) for axis in axes.T)
    return kind(_vector(np.array(markup["center"]) * flip), _vector(np.array(markup["size"])), (x, y, z))


def _vector(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
