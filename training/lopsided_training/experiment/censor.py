"""Lesions are taken out of labels, as careless readers would leave them out."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from ..matching import lesions_of
from ..patches import PreparedCase, centres_of

CONDITION = re.compile(r"^(none|(random|smallest|readers)-(\d{1,2}))$")


def censor(cases: list[PreparedCase], condition: str, seed: int) -> list[PreparedCase]:
    """The cases with lesions moved from ``lesion`` to ``hidden``, and nothing trusted to be negative.

    Patients stay, with fewer lesions or none.

    ``none``; ``random-P``: P percent of all lesions of all cases, each as likely; ``smallest-P``: the smallest P percent
    by volume; ``readers-P``: P percent, drawn one after the other with a probability proportional to the inverse
    square of the diameter, since what readers miss is mostly small.

    Args:
        cases: as prepared, nothing hidden.
        condition: as above.
        seed: of what is drawn; the same seed hides the same lesions.

    Raises:
        ValueError: an unknown condition.
    """
    named = CONDITION.match(condition)
    if not named:
        raise ValueError(f"unknown condition {condition!r}; use none, random-P, smallest-P or readers-P")
    cases = [replace(case, trusted=np.zeros(case.lesion.shape, bool)) for case in cases]
    if condition == "none":
        return cases
    components = [lesions_of(case.lesion)[0] for case in cases]
    volumes = [
        np.bincount(labels.ravel())[1:] * np.prod(case.spacing_mm)  # in mm³: cases may differ in their voxels
        for case, labels in zip(cases, components, strict=True)
    ]
    lesions = [(n, value) for n, found in enumerate(volumes) for value in range(1, len(found) + 1)]
    volume = np.concatenate(volumes)
    number = taken_out(condition, len(lesions))
    rng = np.random.default_rng((seed, len(lesions)))
    if named[2] == "smallest":
        hidden = np.lexsort((rng.random(len(lesions)), volume))[:number]
    else:
        weight = np.ones_like(volume) if named[2] == "random" else volume ** (-2 / 3)
        hidden = rng.choice(len(lesions), number, replace=False, p=weight / weight.sum())
    by_case: dict[int, list[int]] = {}
    for which in hidden:
        case, value = lesions[which]
        by_case.setdefault(case, []).append(value)
    return [_hide(case, components[n], by_case.get(n, [])) for n, case in enumerate(cases)]


def taken_out(condition: str, lesions: int) -> int:
    """How many of so many lesions a condition takes out of the labels."""
    return 0 if condition == "none" else round(int(condition.split("-")[1]) / 100 * lesions)


def _hide(case: PreparedCase, components: np.ndarray, values: list[int]) -> PreparedCase:
    hidden = np.isin(components, values)
    lesion = case.lesion & ~hidden
    return replace(case, lesion=lesion, hidden=hidden, centres=centres_of(lesion))
