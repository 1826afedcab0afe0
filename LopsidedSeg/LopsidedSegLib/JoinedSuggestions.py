"""Suggestions of a new search together with those before it that something was decided on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import slicer
import vtk
from lopsided.review import RESULT_ATTRIBUTE, REVIEW_ATTRIBUTE, about, segment_id

from .Labelmaps import copied, drawnOn, isEmpty, labelmap, transformed, voxelsOf
from .Review import ANNOTATION_REFERENCE, renewed
from .Scene import newSuggestions
from .Surfaces import addSurfaces


def decidedOf(suggestions: Any) -> set[str]:
    """The candidates that something was decided or noted on."""
    review = json.loads((suggestions and suggestions.GetAttribute(REVIEW_ATTRIBUTE)) or "{}")
    return {event["candidate"] for event in review["session"]["events"]} if review else set()


def joined(earlier: Any, found: Any) -> Any:
    """A new node of the ``earlier`` suggestions that were decided on and of those ``found``, which are numbered on; one that
    shares a voxel with a decided one is that one."""
    decided = decidedOf(earlier)
    result, before = (json.loads(node.GetAttribute(RESULT_ATTRIBUTE)) for node in (found, earlier))
    again = _overlapping(earlier, decided, found)
    last = max(c["rank"] for c in before["candidates"])
    found_by, digest = before["model"]["digest"], result["model"]["digest"]
    kept = [c for c in before["candidates"] if segment_id(c["rank"]) in decided]
    for candidate in kept:
        model = candidate.get("model") or found_by
        candidate["model"] = None if model == digest else model
    sources = [(c, c["rank"], earlier) for c in kept]
    sources += [(c, last + c["rank"], found) for c in result["candidates"] if segment_id(c["rank"]) not in again]
    sources.sort(key=lambda source: source[0]["confidence"], reverse=True)
    result["candidates"] = [{**c, "rank": rank, "label": rank} for c, rank, _source in sources]
    result["recognised"] = before.get("recognised", [])  # an accepted suggestion is no lesion that was known
    node = newSuggestions(drawnOn(found), result, None)
    node.SetName(earlier.GetName())
    for candidate, rank, source in sources:
        segment = source.GetSegmentation().GetSegment(segment_id(candidate["rank"]))
        image = segment and transformed(labelmap(source, segment_id(candidate["rank"])), source, node)
        if image and not isEmpty(image):
            copy = copied(segment, image)
            copy.SetName(segment.GetName().replace(f"Suggestion {candidate['rank']}", f"Suggestion {rank}", 1))
            node.GetSegmentation().AddSegment(copy, segment_id(rank))
    addSurfaces(node)
    review = renewed(json.loads(earlier.GetAttribute(REVIEW_ATTRIBUTE)))
    header = review["session"]["header"]
    header["candidates"] = [segment_id(rank) for _candidate, rank, _source in sources]
    header["about"] = {**about(result), "earlier": header["about"]}
    node.SetAttribute(REVIEW_ATTRIBUTE, json.dumps(review))
    node.SetNodeReferenceID(ANNOTATION_REFERENCE, earlier.GetNodeReferenceID(ANNOTATION_REFERENCE))
    return node


def _overlapping(earlier: Any, decided: set[str], found: Any) -> set[str]:
    """Segments of ``found`` that share a voxel with one of ``earlier`` that was ``decided``."""
    before, now = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    kept, names = vtk.vtkStringArray(), list(found.GetSegmentation().GetSegmentIDs())
    for name in set(earlier.GetSegmentation().GetSegmentIDs()) & decided:
        kept.InsertNextValue(name)
    if not kept.GetNumberOfValues() or not names:
        return set()
    extents = slicer.vtkSegmentation
    earlier.GenerateMergedLabelmapForAllSegments(before, extents.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS, None, kept)
    if isEmpty(before):
        return set()
    before = transformed(before, earlier, found)
    found.GenerateMergedLabelmapForAllSegments(now, extents.EXTENT_REFERENCE_GEOMETRY, before)
    return {names[n - 1] for n in np.unique(voxelsOf(now)[voxelsOf(before) > 0]) if n}
