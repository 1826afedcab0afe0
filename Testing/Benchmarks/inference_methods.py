"""A network on a device, the ways to search with it, and what each stage of each of them takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch
from inference_machine import operations, seconds
from inference_peers import PEERS, Search, in_one_piece, peers
from lopsided import predict
from lopsided import suggest as suggest_module
from lopsided.annotation import Annotation
from lopsided.model import Model
from lopsided.predict import Predictor, network_of
from lopsided.regions import region_of
from lopsided.study import Study
from lopsided.suggest import Suggestions, suggest
from lopsided.volume import Geometry, Volume

OURS, FLOATING = "LopsidedSeg", "LopsidedSeg, without integers"
REFERENCE, OWN_CROP = "in one piece, float32", "own crop"
TIMED = {  # each in one thread, so that they add up
    "brain": [(predict, "find_brain")],
    "normalise, resample": [(predict, "network_inputs")],  # all sequences and scales side by side
    "network": [(Predictor, "_logits")],
    "resample back": [(predict, "resample")],
    "candidates": [(suggest_module, "find_candidates")],
}
Row = dict[str, Any]


class Bench:
    """A model on a device, and how the methods search with it."""

    def __init__(self, model: Model, device: str | None) -> None:
        self.model = model
        ours = Predictor(model, device)
        self.device = ours.device
        self.kept: dict[int, tuple[Study, list[Geometry]]] = {}
        plain = network_of(model).to(self.device)  # the peers' own, so that nothing done to ours is done to theirs
        others, self.missing = peers(plain, self.device)
        self.methods = {OURS: ours}
        floating = replace(model, integers=None)
        if ours.in_integers:
            self.methods[FLOATING] = Predictor(floating, device)
        wider = {f"{name}, {OWN_CROP}": _padded(search, self) for name, search in others.items() if name in PEERS}
        for name, search in {**others, **wider, REFERENCE: in_one_piece(plain, self.device)}.items():
            self.methods[name] = Predictor(floating, device)
            self.methods[name]._logits = _instead(search)  # type: ignore[method-assign]
        self.operations = operations(plain, (1, len(model.card.input.sequences), 64, 64, 64)) / 64**3

    def run(self, name: str, study: Study) -> tuple[Suggestions, dict[str, float]]:
        """The suggestions of a method, with the seconds of each stage and of all (``suggest``)."""
        predictor = self.methods[name]
        self.around = {grid.shape: around_what_is_not_zero(study.reference, grid) for grid in self.grids(study)}
        annotation = Annotation.empty(study.reference.geometry)
        kept: list[Suggestions] = []
        with stages(self.device, predictor) as spent:
            whole = seconds(lambda: kept.append(suggest(predictor, study, annotation)), self.device)
        return kept[0], {**spent, "other": whole - sum(spent.values()), "suggest": whole}

    def compare(self, study: Study, names: list[str], repetitions: int, title: str) -> list[Row]:
        """A row for each method: medians over interleaved repetitions, and how it agrees with the reference."""
        reference, _ = self.run(REFERENCE, study)
        results, times = {}, defaultdict(list)
        for _ in range(repetitions + 1):  # the first one warms up
            for name in names:
                results[name], spent = self.run(name, study)
                times[name].append(spent)
        sizes = [grid.shape for grid in self.grids(study)]
        voxels = sum(int(np.prod(size)) for size in sizes)
        rows = []
        for name in names:
            spent = {k: median(t[k] for t in times[name][1:] or times[name]) for k in times[name][0]}
            apart = np.abs(results[name].probability.array - reference.probability.array).max()
            rows.append(
                {
                    "study": title,
                    "input": " and ".join("×".join(map(str, size)) for size in sizes),
                    "method": name,
                    **spent,
                    "largest difference": float(apart),
                    **agreement(results[name], reference),
                    "GFLOP/s": self.operations * voxels / spent["network"] / 1e9,
                }
            )
        return rows

    def grids(self, study: Study) -> list[Geometry]:
        """The network's, around the brain, at each of its scales."""
        if id(study) not in self.kept:
            self.kept[id(study)] = study, [seen.geometry for seen in self.methods[OURS].inputs(study)]
        return self.kept[id(study)][1]


def around_what_is_not_zero(volume: Volume, grid: Geometry) -> list[int]:
    """By how many voxels ``grid`` has to grow to cover all that is not zero: before and after, for i, j and k."""
    box = region_of(volume.array != 0).box
    corners = np.array(list(product(*((s.start, s.stop - 1) for s in box))))
    places = grid.index(volume.geometry.physical(corners))
    before = np.maximum(np.ceil(-places.min(0)), 0).astype(int)
    after = np.maximum(np.ceil(places.max(0) - (np.array(grid.shape) - 1)), 0).astype(int)
    return [int(n) for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]


def _padded(search: Search, bench: Bench) -> Search:
    """On what MONAI's and nnU-Net's pipelines crop to, all that is not zero, rather than on the brain that ours found."""

    def on_more(images: torch.Tensor) -> torch.Tensor:
        # the corner of a box around a brain is outside of it: what was made dark
        k, j, i = images.shape[2:]
        around = bench.around[k, j, i]
        channels = [torch.nn.functional.pad(c, around, value=float(c[0, 0, 0])) for c in images[0]]
        logits = search(torch.stack(channels)[None])
        return logits[..., around[4] :, around[2] :, around[0] :][..., :k, :j, :i]

    return on_more


def _instead(search: Search) -> Callable[..., torch.Tensor]:
    return lambda images, progress: search(images)


@contextmanager
def stages(device: torch.device, predictor: Predictor) -> Iterator[dict[str, float]]:
    """The seconds spent in each of ``TIMED``, while in the block."""
    spent = dict.fromkeys(TIMED, 0.0)
    originals = []

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result: list[Any] = []
            spent[stage] += seconds(lambda: result.append(function(*args, **kwargs)), device)
            return result[0]

        return call

    for stage, places in TIMED.items():
        for place, name in places:
            owner = predictor if place is Predictor else place
            originals.append((owner, name, owner.__dict__.get(name)))
            setattr(owner, name, timed(stage, getattr(owner, name)))
    try:
        yield spent
    finally:
        for owner, name, original in reversed(originals):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def agreement(found: Suggestions, reference: Suggestions) -> Row:
    """How many candidates are in both, each holding the peak of the other: in words, and whether all are that either shows.

    Of all candidates, some are so near the lowest probability that is looked at that rounding makes or unmakes them.
    """

    def holds(a: Any, b: Any) -> bool:
        inside = [p - s.start for p, s in zip(b.peak_kji, a.box, strict=True)]
        return all(0 <= n < d for n, d in zip(inside, a.mask.shape, strict=True)) and bool(a.mask[tuple(inside)])

    def in_both(a: Any, among: Any) -> bool:
        return any(holds(a, b) and holds(b, a) for b in among)

    ours, theirs = found.found.missed, reference.found.missed
    both = sum(in_both(a, theirs) for a in ours)
    shown = sum(in_both(a, reference.shown) for a in found.shown)
    # of a candidate whose confidence is the threshold itself, rounding decides whether it is shown
    same_shown = all(in_both(a, theirs) for a in found.shown) and all(in_both(b, ours) for b in reference.shown)
    words = f"{both} of {len(theirs)}, {len(ours) - both} more; shown {shown} of {len(reference.shown)}"
    if both == len(ours) == len(theirs) and shown == len(found.shown) == len(reference.shown):
        words = f"same {both}, {shown} shown"
    return {"agreement": words, "same shown": same_shown}
