"""A reader's files as a reading: outlined lesions, Slicer's markups, and the decisions on suggestions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from ..annotation import annotation_of, described, on_reference, read_labels, united
from ..errors import InputError
from ..marks import ELLIPSOID, BoxMark, Ellipsoid, Line, Mark, Point, crossed, diameter_of, rasterise, snap
from ..reading import read_image
from ..regions import Region, region_of
from ..resampling import resample
from ..results import SuggestionsRecord
from ..review import CANDIDATES, SEGMENTS, SUGGESTION_TAG, ReviewSession, Status, about, read_log, segment_id
from ..schema import briefly
from ..segmentation import headers
from ..volume import Volume, geometry_of, vector
from ..wording import beyond, counted
from .export import Decision, Lesion, Reading

_TO_LPS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1), "1": (1, 1, 1), "0": (-1, -1, 1)}  # numbers, as Slicer had them first
_MOST = 0.5  # of the smaller of two: more is the same lesion


class Reviewed(NamedTuple):
    """The ``result`` of a search, its ``segments`` as a .seg.nrrd, and the ``review`` of them. ``accepted_as``: the identifier of
    the annotation's segment that a candidate was accepted as, and ``threshold``: the least confidence that is shown now, where
    that is known."""

    result: SuggestionsRecord
    review: ReviewSession
    segments: Path
    accepted_as: Mapping[str, str] = MappingProxyType({})
    threshold: float | None = None


def outlined(
    path: Path,
    reference: Volume,
    labels: tuple[str, ...] = (),
    accepted_as: Mapping[str, str] = MappingProxyType({}),
    *,
    lacking: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Lesion]:
    """The lesions of a label map or segmentation: each connected piece (26 neighbours) of what is labelled is one.

    A segment that a suggestion was accepted as is one lesion, of that kind; of which candidate, its identifier says by
    ``accepted_as``, else its tag. ``labels`` and ``lacking`` are those of :func:`lopsided.annotation.read_annotation`; ``say``
    gets a sentence on lesions beyond the reference, where there are any, or on that it lacks all of ``labels``. Raises InputError
    as that.
    """
    drawn = read_labels(path)
    chosen = annotation_of(drawn, reference, labels, lacking=lacking)
    if chosen.beyond:
        say(beyond(chosen.beyond))
    if drawn.masks and not chosen.labels:
        named = ", ".join(map(repr, labels))
        say(f"its annotation has none of the labels {named}, but {described(drawn)}, so it has no lesion")
    accepted: dict[str, str | None] = {
        name: drawn.tags[name][SUGGESTION_TAG] for name in chosen.labels if SUGGESTION_TAG in drawn.tags.get(name, ())
    }
    if accepted_as:
        by_segment = {segment: candidate for candidate, segment in accepted_as.items()}
        accepted = {name: by_segment.get(drawn.identifiers.get(name, "")) for name in accepted}
    others = [name for name in chosen.labels if name not in accepted]
    lesions = []
    for name, candidate in accepted.items():
        mask = on_reference(united(drawn, [name]), reference)
        lesions.append(Lesion(region_of(mask), "suggestion", candidate=candidate))
    if others:
        mask = on_reference(united(drawn, others), reference) if accepted else chosen.mask
        lesions += [Lesion(region) for region in _pieces(mask)]
    return lesions


def marked(marks: Iterable[tuple[Mark, str | None]], reference: Volume, *, snapped: bool = False) -> list[Lesion]:
    """Marks, each with the time that it was made, as lesions; ``snapped``: fitted to the bright region in each.

    Raises:
        InputError: a mark without size, or outside of the reference volume.
    """
    lesions = []
    for mark, time in marks:
        try:
            region = rasterise(mark, reference.geometry)
        except ValueError as error:
            raise InputError(f"{error}; delete it or draw it again") from None
        if region is None:
            raise InputError(f"a {mark.kind} lies outside of {reference.name}; give the marks of this study")
        lesions.append(Lesion(snap(region, reference) if snapped else region, mark.kind, mark, snapped, time=time))
    return lesions


def read_markups(*paths: Path) -> list[Mark]:
    """The marks of Slicer markups files (``.mrk.json``): points, lines, boxes and ellipsoids (ROI).

    Two lines that cross are one lesion, whichever files they are in: Slicer saves each line to one of its own. A point's
    diameter (mm) is its description, as is that an ROI is an ``ellipsoid``.

    Raises:
        InputError: not markups, of a kind that is no mark, or in coordinates that Slicer does not write.
    """
    return crossed(mark for path in paths for mark in _read_markups(path))


def _read_markups(path: Path) -> Iterable[Mark]:
    """The marks of one file, each line by itself."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["markups"]
        for markup in content:
            flip = _flip(path, markup)
            points = [np.array(p["position"]) * flip for p in markup.get("controlPoints", []) if _placed(p)]
            if markup["type"] == "Fiducial":
                described = [p.get("description", "") for p in markup["controlPoints"] if _placed(p)]
                yield from (Point(vector(p), _diameter(path, d)) for p, d in zip(points, described, strict=True))
            elif markup["type"] == "Line":
                if len(points) != 2:
                    raise InputError(f"{path}: a line has {counted(len(points), 'end')}; place both, or delete it")
                start, end = points
                yield Line((vector(start), vector(end)))
            elif markup["type"] == "ROI":
                yield _roi(markup, flip)
            else:
                raise InputError(f"{path}: a {markup['type']} is no mark of a lesion; use points, lines and ROIs")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is no Slicer markups file (.mrk.json); save the markups from Slicer again") from None


def _flip(path: Path, markup: dict[str, Any]) -> np.ndarray:
    """What takes its coordinates to LPS."""
    system, units = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
    if system not in _TO_LPS:
        raise InputError(f"{path}: has its coordinates in {system!r}; save the markups from Slicer, in LPS or RAS")
    if units != "mm" and units[:2] != ["mm", "UCUM"]:
        raise InputError(f"{path}: has its coordinates in units of {units!r}; give them in mm")
    return np.array(_TO_LPS[system])


def _diameter(path: Path, description: str) -> float:
    try:
        return diameter_of(description)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def read_reading(
    reader: str,
    reference: Volume,
    *,
    annotation: Path | None = None,
    labels: tuple[str, ...] = (),
    marks: Iterable[tuple[Mark, str | None]] = (),
    snapped: bool = False,
    reviewed: Reviewed | None = None,
    whole_case: bool = False,
    lacking: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Reading:
    """A reader's work on a case.

    Args:
        reader: who.
        reference: the post-contrast T1.
        annotation: what is outlined, and accepted suggestions (:func:`outlined`), of it ``labels``.
        marks: coarse marks, each with its time; ``snapped`` as :func:`marked`.
        reviewed: what was decided about suggestions. An accepted one of which the annotation has no voxel is a lesion
            too.
        whole_case: the reader looked at all of it.
        lacking: the annotation may lack some of ``labels``.
        say: gets a sentence on what of the annotation is left out, as :func:`outlined`.

    Raises:
        InputError: one of them cannot be read, or is of another study.
    """
    accepted_as = reviewed.accepted_as if reviewed else {}
    drawn = outlined(annotation, reference, labels, accepted_as, lacking=lacking, say=say) if annotation else []
    coarse = marked(marks, reference, snapped=snapped)
    if reviewed is None:
        return Reading(reader, tuple(_once(_of_review(drawn, []), coarse)), whole_case=whole_case)
    record, session = reviewed.result, reviewed.review
    # the module is given all of them, with a threshold of 0, and shows those of the model's
    first = record.threshold or record.model.threshold
    last = first if reviewed.threshold is None else reviewed.threshold
    threshold = min(first, last, *(event.threshold for event in session.events))
    everything = _decided(record, session, reviewed.segments, reference)
    # those that were never shown say nothing
    decided = [d for d in everything if d.status != "pending" or d.confidence >= threshold]
    accepted = [d for d in decided if d.status == "accepted"]
    if not accepted_as:
        drawn = list(_of_review(drawn, accepted))
    own = {lesion.candidate for lesion in drawn}  # wherever the reader has moved it
    # one that was added to a segment has no segment of its own, but its voxels are there
    absent = [
        d for d in accepted if d.candidate not in own and not any(d.region.shared(lesion.region) for lesion in drawn)
    ]
    added = [Lesion(d.region, "suggestion", candidate=d.candidate, time=d.time) for d in absent]
    lesions = _once([*drawn, *added], coarse)
    return Reading(
        reader,
        tuple(lesions),
        tuple(decided),
        whole_case,
        record.model.digest,
        threshold,
        sum(confidence >= threshold for confidence in record.recognised),
    )


def read_reviewed(result: Path, review: Path, reference: Volume) -> Reviewed:
    """The folder of a search in ``reference``, and the log of what was decided about it.

    Raises:
        InputError: one of them cannot be read, or a line of the log is spoilt, or they do not belong together.
    """
    try:
        content = json.loads((result / CANDIDATES).read_text(encoding="utf-8"))
        record = SuggestionsRecord.model_validate(content)
        session = read_log(review)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"{result} and {review}: are no result and its review ({briefly(error)}); give those of this study"
        ) from None
    found = [segment_id(c.rank) for c in record.candidates]
    if session.about != about(content) or list(session.candidates) != found:
        raise InputError(
            f"{review}: is the review of another search than {result}; give the folder that was reviewed. "
            "What was searched in Slicer is exported there"
        )
    searched = record.sequences["t1c"]
    if searched != reference.name or not record.reference_grid.same_grid(reference.geometry):
        raise InputError(f"{result}: was searched in another image than {reference.name}, in {searched}; give that one")
    return Reviewed(record, session, result / SEGMENTS)


def _decided(record: SuggestionsRecord, session: ReviewSession, path: Path, reference: Volume) -> Iterable[Decision]:
    """Each candidate with its opinion, of the segments in a .seg.nrrd; without those whose segment was removed."""
    image = read_image(path)
    array = sitk.GetArrayFromImage(image)
    layers = [array] if array.ndim == 3 else list(np.moveaxis(array, -1, 0))
    moved = [resample(Volume(layer, geometry_of(image)), reference.geometry, nearest=True).array for layer in layers]
    places = {header.identifier: place for place, header in headers(image, str(path)).items()}
    times = {event.candidate: event.time for event in session.events if event.action != "note"}
    for candidate in record.candidates:
        name = segment_id(candidate.rank)
        if name not in places:
            continue
        layer, value = places[name]
        mask = moved[layer] == value  # one at a time: each is as large as the image
        if not mask.any():
            continue
        status = session.opinion(name).status
        time = times.get(name) if status is not Status.PENDING else None
        yield Decision(name, status.value, candidate.confidence, region_of(mask), time, candidate.model)


def _of_review(drawn: Iterable[Lesion], accepted: list[Decision]) -> Iterable[Lesion]:
    """Lesions with the candidates of this review alone: another search's are called alike, and lie elsewhere."""
    for lesion in drawn:
        here = any(d.candidate == lesion.candidate and d.region.shared(lesion.region) for d in accepted)
        yield lesion if here else replace(lesion, candidate=None)


def _once(lesions: Iterable[Lesion], coarse: Iterable[Lesion]) -> list[Lesion]:
    """A mark that has at least half of an accepted suggestion, or is in it by half, is one lesion with it, and has both's voxels:
    none that was marked may look as if nothing had been found there. What shares less is a neighbour."""
    found, apart = list(lesions), []
    suggested = {n: lesion.region for n, lesion in enumerate(found) if lesion.kind == "suggestion"}
    for mark in coarse:
        shared = {n: _share(mark.region, region) for n, region in suggested.items()}
        most = max(shared, key=shared.__getitem__, default=None)
        if most is None or shared[most] < _MOST:
            apart.append(mark)
            continue
        one = replace(found[most], region=found[most].region.joined(mark.region))
        first = replace(one, mark=mark.mark, snapped=mark.snapped, time=mark.time or one.time)
        found[most] = one if one.mark else first
    return found + apart


def _share(one: Region, other: Region) -> float:
    """What both have, of the smaller."""
    return one.shared(other) / min(np.count_nonzero(one.mask), np.count_nonzero(other.mask))


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
    x, y, z = (vector(axis) for axis in axes.T)
    return kind(vector(np.array(markup["center"]) * flip), vector(np.array(markup["size"])), (x, y, z))
