"""What was found as Markdown tables for a model card, with 95 % bootstrap intervals over scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from backgrounds import AGAIN, AS_STRIPPED
from insertion import Inserted
from lopsided_training.calibration import brier_score, calibration_error
from lopsided_training.evaluation import Estimate
from lopsided_training.froc import CaseResult, counts_at, patient_weights, ratio, sensitivities, threshold_at
from searched import AsItIs, Searched

BUDGETS = (0.5, 1.0, 2.0, 4.0)  # false positives a scan
PAIRED = 2.0  # the budget at which full heads and stripped ones are compared
GROUPS: dict[str, Callable[[Inserted], bool]] = {
    "all": lambda lesion: True,
    "≥ 3 mm and z ≥ 2": lambda lesion: lesion.diameter_mm >= 3 and lesion.contrast >= 2,
    "2–3 mm": lambda lesion: lesion.diameter_mm < 3,
    "3–6 mm": lambda lesion: 3 <= lesion.diameter_mm < 6,
    "6–10 mm": lambda lesion: 6 <= lesion.diameter_mm < 10,
    "≥ 10 mm": lambda lesion: lesion.diameter_mm >= 10,
    "z < 2": lambda lesion: lesion.contrast < 2,
    "z 2–3": lambda lesion: 2 <= lesion.contrast < 3,
    "z 3–5": lambda lesion: 3 <= lesion.contrast < 5,
    "z ≥ 5": lambda lesion: lesion.contrast >= 5,
}
_SIZES_MM, _CONTRASTS = (2.0, 3.0, 4.0, 6.0), (1.0, 1.5, 2.0, 3.0)  # where rows and columns of both together begin
_COUNTED = (0.0, 1e6)  # of a lesion that does not count, the size is set to infinity


def by_kind(searched: Sequence[Searched]) -> dict[str, list[Searched]]:
    """In the order in which kinds are first met."""
    kinds = list(dict.fromkeys(s.kind for s in searched))
    return {kind: [s for s in searched if s.kind == kind] for kind in kinds}


def only(searched: Sequence[Searched], wanted: Callable[[Inserted], bool]) -> list[CaseResult]:
    """Results in which other lesions than those wanted do not count; what hits one is no false positive."""
    return [
        replace(
            s.result,
            diameters=np.array([p.lesion.diameter_mm if p.lesion and wanted(p.lesion) else np.inf for p in s.lesions]),
        )
        for s in searched
    ]


def at_budgets(results: Sequence[CaseResult]) -> list[Estimate]:
    """Sensitivity at each of ``BUDGETS``."""
    return [Estimate.of(v) for v in sensitivities(results, BUDGETS, _COUNTED, patient_weights(results)).T]


def at_threshold(results: Sequence[CaseResult], threshold: float) -> list[Estimate]:
    """Sensitivity, and false positives a scan."""
    counts, weights = counts_at(results, threshold, _COUNTED), patient_weights(results)
    parts = ((counts.found, counts.lesions), (counts.false, np.ones(len(results))))
    return [Estimate.of(ratio(weights @ part, weights @ whole)) for part, whole in parts]


def head_less_stripped(heads: Sequence[CaseResult], stripped: Sequence[CaseResult]) -> Estimate:
    """Sensitivity at ``PAIRED`` false positives a scan of full heads less that of the same scans stripped."""
    weights = patient_weights(heads)
    ours, others = (sensitivities(r, (PAIRED,), _COUNTED, weights)[:, 0] for r in (heads, stripped))
    return Estimate.of(ours - others)


def markdown(
    searched: Sequence[Searched],
    plain: Sequence[AsItIs],
    threshold: float,
    seed: int,
    pictures: Sequence[tuple[str, str]],
) -> str:
    """All tables; ``pictures`` are titles and file names."""
    return "\n".join(_lines(searched, plain, threshold, seed, pictures)) + "\n"


def _lines(
    searched: Sequence[Searched],
    plain: Sequence[AsItIs],
    threshold: float,
    seed: int,
    pictures: Sequence[tuple[str, str]],
) -> Iterator[str]:
    kinds = by_kind(searched)
    sizes = np.array([p.lesion.diameter_mm for s in searched for p in s.lesions if p.lesion and AGAIN not in s.kind])
    yield (
        f"Measured by `Testing/Evaluation/real_backgrounds.py`, seed {seed}, on {len(sizes)} lesions of "
        f"{sizes.min():.0f}–{sizes.max():.0f} mm, median {np.median(sizes):.1f} mm, that another program than the training "
        "simulator drew into scans. z: a lesion's contrast beside what is around it, in robust "
        "standard deviations of brain tissue; in averaged slices what is left of it. A lesion is hit when a candidate "
        "overlaps it dilated by one voxel. In brackets: 95 % bootstrap intervals over scans; scans of one background share their brain and vessels, so other "
        "patients vary by more.\n"
    )
    head = " | ".join(f"at {b:g} FP/scan" for b in BUDGETS)
    yield "**Sensitivity by kind of scan** (FP: false positives)\n"
    yield f"| kind | scans | lesions | {head} | at the default ({threshold:.2f}) | FP/scan there |"
    yield "| --- | ---: | ---: |" + " ---: |" * (len(BUDGETS) + 2)
    for kind, of_kind in kinds.items():
        results = [s.result for s in of_kind]
        cells = [*at_budgets(results), *at_threshold(results, threshold)]
        yield f"| {kind} | {len(results)} | {sum(len(s.lesions) for s in of_kind)} | {row(cells)} |"
    for kind, of_kind in kinds.items():
        if kind + AS_STRIPPED in kinds:
            pair = [[s.result for s in group] for group in (of_kind, kinds[kind + AS_STRIPPED])]
            value, between = head_less_stripped(*pair).difference(2)
            yield f"\nOf {kind}s less the same stripped, at {PAIRED:g} FP/scan: {value}" + (
                f" ({between})" if between else ""
            )
    for kind, of_kind in kinds.items():
        if kind.endswith(AS_STRIPPED):
            continue
        yield f"\n**Sensitivity by size and contrast: {kind}**\n"
        yield f"| lesions | number | {head} | at the default |"
        yield "| --- | ---: |" + " ---: |" * (len(BUDGETS) + 1)
        for name, wanted in GROUPS.items():
            results = only(of_kind, wanted)
            number = int(sum(np.isfinite(r.diameters).sum() for r in results))
            if number:
                cells = [*at_budgets(results), at_threshold(results, threshold)[0]]
                yield f"| {name} | {number} | {row(cells)} |"
        if AGAIN not in kind:
            yield from _together(kind, of_kind)
    yield "\n**By background, at the default threshold**\n"
    yield "| background | kind | scans | lesions | found | FP/scan |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for (kind, name), group in groupby(searched_in_order(searched), lambda s: (s.kind, s.background)):
        results = [s.result for s in group]
        counts = counts_at(results, threshold)
        yield (
            f"| {name} | {kind} | {len(results)} | {counts.lesions.sum()} | {counts.found.sum()} "
            f"| {counts.false.mean():.2f} |"
        )
    if plain:
        yield "\n**Real scans as they are**, nothing inserted: candidates at the default threshold\n"
        yield "| scan | at the patient's own disease | there and within 5 voxels, when it is annotated | elsewhere |"
        yield "| --- | ---: | ---: | ---: |"
        for scan in plain:
            own = "–" if scan.at_disease is None else len(scan.at_disease)
            again = "–" if scan.annotated is None else scan.annotated
            yield f"| {scan.background} | {own} | {again} | {len(scan.elsewhere)} |"
    yield "\n**Calibration**\n"
    yield "| kind | candidates | Brier score | expected calibration error |"
    yield "| --- | ---: | ---: | ---: |"
    for kind, of_kind in kinds.items():
        results = [s.result for s in of_kind]
        number = sum(len(r.scores) for r in results)
        brier, error = (Estimate(value=f(results)).text(3) for f in (brier_score, calibration_error))
        yield f"| {kind} | {number} | {brier} | {error} |"
    yield (
        "\n**Pictures**: of each place an axial and a coronal view, 40 mm wide. Below a lesion: its diameter, its contrast, and "
        "the confidence of what hits it."
    )
    for title, file in pictures:
        yield f"\n![{title}]({file})"


def _together(kind: str, searched: Sequence[Searched]) -> Iterator[str]:
    """How many are found, by size and contrast together, at ``PAIRED`` false positives a scan."""
    threshold = threshold_at([s.result for s in searched], PAIRED)
    lesions = [(p.lesion.diameter_mm, p.lesion.contrast, p.confidence) for s in searched for p in s.lesions if p.lesion]
    sizes, contrasts, confidence = np.array(lesions).reshape(-1, 3).T
    rows = np.searchsorted(_SIZES_MM, sizes, side="right") - 1
    columns = np.searchsorted(_CONTRASTS, contrasts, side="right") - 1
    found = (confidence >= threshold) & (confidence > -np.inf)
    yield f"\n**Found, of how many, at {PAIRED:g} FP/scan: {kind}**\n"
    yield "| diameter | " + " | ".join(f"z {_between(_CONTRASTS, n)}" for n in range(len(_CONTRASTS))) + " |"
    yield "| --- |" + " ---: |" * len(_CONTRASTS)
    for r in range(len(_SIZES_MM)):
        here = [(rows == r) & (columns == c) for c in range(len(_CONTRASTS))]
        cells = [f"{found[h].sum()} of {h.sum()}" if h.any() else "–" for h in here]
        yield f"| {_between(_SIZES_MM, r)} mm | " + " | ".join(cells) + " |"


def _between(begins: Sequence[float], n: int) -> str:
    return f"{begins[n]:g}–{begins[n + 1]:g}" if n + 1 < len(begins) else f"≥ {begins[n]:g}"


def searched_in_order(searched: Sequence[Searched]) -> list[Searched]:
    """By kind, then background, each in the order in which they are first met."""
    order = [list(dict.fromkeys(values)) for values in zip(*((s.kind, s.background) for s in searched), strict=True)]
    return sorted(searched, key=lambda s: (order[0].index(s.kind), order[1].index(s.background)))


def row(estimates: Sequence[Estimate]) -> str:
    """The cells of a row of Markdown, each with its interval."""
    return " | ".join(e.words() for e in estimates)
