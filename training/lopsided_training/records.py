"""What a simulated study will look like, drawn once and written down.

All randomness of the simulator is here: :func:`sample` draws a :class:`StudyRecord`, and
:mod:`lopsided_training.rendering` is a function of that record and the anatomy. Distributions follow the field's
figures: heavy-tailed numbers of lesions, log-normal diameters (median 5.5 mm, σ 0.65, 2 to 40 mm, about a fifth
below 3 mm), enhancement of +1 to +12 robust standard deviations of tissue (median 3.2; for one protocol +1.5 to +10, median
4), rings above about 8 mm. Enhancement is measured in images, where blur has taken its part of a small lesion's, so small
lesions are made brighter, by none to all of that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import erf

from .anatomy import CSF, GREY, PLEXUS, WHITE, Anatomy

SEQUENCES = ("t1c", "t1", "t2", "flair")
MOST_LESIONS = 40
# typical signal of white matter, grey matter, CSF, choroid plexus; white matter of T1 is one
TISSUE_SIGNAL = {
    "t1c": {WHITE: 1.0, GREY: 0.82, CSF: 0.35, PLEXUS: 1.5},
    "t1": {WHITE: 1.0, GREY: 0.78, CSF: 0.30, PLEXUS: 0.6},
    "t2": {WHITE: 0.7, GREY: 0.95, CSF: 2.0, PLEXUS: 1.5},
    "flair": {WHITE: 0.8, GREY: 1.0, CSF: 0.25, PLEXUS: 0.8},
}
_MEDIAN_MM, _SIGMA, _SMALLEST_MM, _LARGEST_MM = 5.5, 0.65, 2.0, 40.0
_SMALL_MM = 4.0
_LEFT = 0.4  # at least, of a lesion's contrast after blur: enhancement has its limits
_REAL_BLUR = 0.3  # of what is drawn: a real image is blurred already
_GAP_MM = 3.0  # between two lesions, so that each is one connected component


@dataclass(frozen=True)
class Lesion:
    """``centre``: k, j, i. ``radii``: mm, along the columns of ``rotation``. ``contrast``: enhancement in robust
    standard deviations of tissue. ``core``: radius of the non-enhancing core as a part of the whole (0: solid), and
    ``core_contrast`` its contrast. ``oedema_mm``: how far oedema reaches (0: none). ``wobble``: departure from an
    ellipsoid. ``other``: contrast in the other sequences. ``lobes``: how many it has beside its body, ``ragged``: how
    uneven its edges are, and ``mottle``: its enhancement, as a part of it."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    rotation: tuple[float, ...]
    contrast: float
    core: float
    core_contrast: float
    oedema_mm: float
    wobble: float
    seed: int
    other: dict[str, float]
    lobes: int = 0
    ragged: float = 0.0
    mottle: float = 0.0

    @property
    def diameter_mm(self) -> float:
        """Of the sphere of the same volume."""
        return float(2 * np.prod(self.radii) ** (1 / 3))


@dataclass(frozen=True)
class Acquisition:
    """How one sequence is imaged. Signals by label, and of what is drawn on top; ``thickness_mm`` along ``axis`` (0, 1, 2 = k,
    j, i); a ``ghost`` of so much of the signal, ``ghost_shift`` voxels away."""

    signal: dict[int, float]
    vessel: float
    dura: float
    oedema: float
    texture: float
    bias: float
    noise: float
    blur_mm: float
    axis: int
    thickness_mm: float
    gain: float
    seed: int
    fluid: float = 0.0
    plexus: float = 0.0
    ghost: float = 0.0
    ghost_shift: int = 0


@dataclass(frozen=True)
class StudyRecord:
    """Everything a simulated study is made from, beside the anatomy named in it.

    ``vessels`` wander through the brain and over it, ``sulcal`` ones keep to the fluid. ``cavities`` are resections and old
    infarcts: fluid, not enhancing, and no lesions.
    """

    anatomy: str
    seed: int
    stripped: bool
    strip_mm: float
    vessels: int
    sinus_mm: float
    lesions: tuple[Lesion, ...]
    acquisitions: dict[str, Acquisition]
    sulcal: int = 0
    cavities: tuple[Lesion, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a JSON file beside the study."""
        return asdict(self)


def sample(
    anatomy: Anatomy,
    seed: int,
    *,
    mean_lesions: float = 7.0,
    more_small: float = 0.0,
    stripped: bool | None = None,
    one_protocol: bool = False,
) -> StudyRecord:
    """Draw a study.

    Args:
        anatomy: to draw it on.
        seed: of everything drawn.
        mean_lesions: on average, before those above MOST_LESIONS are left out: of 25, 21 are drawn.
        more_small: the share of lesions that are 2 to 4 mm across whatever the distribution says, for networks to train on.
        stripped: as given, or drawn where None (an anatomy without a head is always stripped).
        one_protocol: as if every study came from the same good scanner, skull-stripped, with strong enhancement and
            few vessels: for experiments whose question is not how scanners differ, and which many small networks are to
            be trained for.
    """
    rng = np.random.default_rng(seed)
    drawn = bool(rng.random() < 0.5)
    lesions = _lesions(anatomy, rng, mean_lesions, more_small)
    sequences = SEQUENCES if anatomy.image is None else SEQUENCES[:1]
    labels, first = np.unique(anatomy.labels, return_index=True)
    tissues = dict(zip(labels.tolist(), anatomy.tissue.flat[first].tolist(), strict=True))
    bright_blood = bool(rng.random() < 0.75) or one_protocol
    acquisitions = {name: _acquisition(tissues, rng, name, bright_blood) for name in sequences}
    if one_protocol:
        acquisitions = {name: _applied(_usual(how, tissues, rng, name), anatomy) for name, how in acquisitions.items()}
        lesions = tuple(_as_seen(lesion, acquisitions["t1c"], 1.0) for lesion in lesions)
    record = StudyRecord(
        anatomy=anatomy.name,
        seed=seed,
        stripped=one_protocol or (drawn if stripped is None else stripped),
        strip_mm=float(rng.uniform(-1.0, 3.0)),
        vessels=int(rng.integers(*((30, 80) if one_protocol else (120, 420)))),
        sinus_mm=float(rng.uniform(2.0, 4.5)),
        lesions=lesions,
        acquisitions=acquisitions,
    )
    return record if one_protocol else _of_many_scanners(record, anatomy, np.random.default_rng((seed, 1)))


def _of_many_scanners(record: StudyRecord, anatomy: Anatomy, rng: np.random.Generator) -> StudyRecord:
    """With all that makes studies hard: coarse voxels, motion, sulcal vessels, cavities, faint and jagged lesions."""
    acquisitions = {name: _applied(_poorer(how, name, rng), anatomy) for name, how in record.acquisitions.items()}
    holes = int(rng.integers(1, 3)) if rng.random() < 0.25 else 0
    inside = np.argwhere(anatomy.depth > 3)
    cavities = [
        replace(
            _jagged(
                _lesion(rng, inside[rng.integers(len(inside))], float(np.exp(rng.uniform(np.log(4), np.log(35))))), rng
            ),
            core=0.0,
        )
        for _ in range(holes)
    ]
    return replace(
        record,
        lesions=tuple(
            _as_seen(_jagged(_fainter(x, rng), rng), acquisitions["t1c"], rng.random()) for x in record.lesions
        ),
        acquisitions=acquisitions,
        sulcal=int(rng.integers(200, 1200)),
        cavities=tuple(cavities),
    )


def _poorer(how: Acquisition, name: str, rng: np.random.Generator) -> Acquisition:
    fluid = TISSUE_SIGNAL[name][CSF] * rng.uniform(0.4, 1.2)
    how = replace(how, fluid=float(fluid), plexus=float(how.vessel * rng.uniform(0.5, 1.0)))
    if name == "t1c" and how.vessel > 1.2:  # blood is bright
        how = replace(how, vessel=float(np.exp(rng.uniform(np.log(1.25), np.log(4.5)))))
    if rng.random() < 0.35:  # thick slices, or large pixels
        how = replace(how, thickness_mm=float(np.exp(rng.uniform(np.log(1.2), np.log(6.5)))))
    if rng.random() < 0.3:
        how = replace(how, blur_mm=float(rng.uniform(0.6, 1.0)))
    if rng.random() < 0.15:
        how = replace(how, ghost=float(rng.uniform(0.02, 0.1)), ghost_shift=int(rng.integers(15, 80)))
    return how


def _applied(how: Acquisition, anatomy: Anatomy) -> Acquisition:
    """With the blur that this anatomy gets."""
    return how if anatomy.image is None else replace(how, blur_mm=_REAL_BLUR * how.blur_mm)


def _fainter(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    """Or brighter: as wide a range as scanners, doses and delays make of it. Many cores are fluid."""
    contrast = float(np.clip(np.exp(rng.normal(np.log(3.2), 0.55)), 1.0, 12))
    core = float(rng.uniform(-6.0, -2.0)) if rng.random() < 0.4 else lesion.core_contrast
    return replace(lesion, contrast=contrast, core_contrast=core)


def _jagged(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    """The larger, the less like an ellipsoid."""
    size = min(lesion.diameter_mm / 20, 1.0)
    if rng.random() > 0.35 + 0.5 * size:
        return lesion
    lobes = int(rng.integers(0, 2 + round(4 * size))) if lesion.diameter_mm > 4 else 0
    return replace(
        lesion, lobes=lobes, ragged=float(rng.uniform(0.0, 0.15 + 0.25 * size)), mottle=float(rng.uniform(0, 0.6))
    )


def _acquisition(tissues: dict[int, int], rng: np.random.Generator, name: str, bright_blood: bool) -> Acquisition:
    """``tissues``: by label."""
    typical = TISSUE_SIGNAL[name]
    spread = rng.uniform(0.3, 1.5)  # how far apart the tissues are, beside their mean
    signal = {0: float(max(rng.normal(0.03, 0.02), 0.0))}
    shared = {t: typical[t] * rng.normal(1, 0.08) for t in typical}
    for label, tissue in tissues.items():
        if tissue in (WHITE, GREY, CSF):
            value = shared[WHITE] + spread * (shared[tissue] - shared[WHITE])
            signal[label] = float(max(value * rng.normal(1, 0.04), 0.02))
        elif tissue == PLEXUS:
            signal[label] = float(shared[PLEXUS] * rng.uniform(0.5, 1.5))
        elif label != 0:
            signal[label] = float(rng.uniform(0.02, 2.2))
    if name == "t1c":
        vessel = rng.uniform(1.2, 3.2) if bright_blood else rng.uniform(0.1, 1.1)
        dura = rng.uniform(0.5, 2.0)
    else:
        vessel, dura = rng.uniform(0.1, 1.0), rng.uniform(0.3, 0.9)
    thick = rng.random() < (0.3 if name == "t1c" else 0.6)
    return Acquisition(
        signal=signal,
        vessel=float(vessel),
        dura=float(dura),
        oedema=float({"t1c": -0.15, "t1": -0.2, "t2": 0.6, "flair": 0.6}[name] * rng.uniform(0.4, 1.6)),
        texture=float(rng.uniform(0.01, 0.06)),
        bias=float(rng.uniform(0.0, 0.25)),
        noise=float(rng.uniform(0.01, 0.06)),
        blur_mm=float(rng.uniform(0.15, 0.75)),
        axis=int(rng.choice(3, p=(0.7, 0.2, 0.1))),
        thickness_mm=float(rng.uniform(1.3, 3.5 if name == "t1c" else 6.0)) if thick else 1.0,
        gain=float(np.exp(rng.uniform(np.log(80), np.log(2000)))),
        seed=int(rng.integers(2**31)),
    )


def _usual(how: Acquisition, tissues: dict[int, int], rng: np.random.Generator, name: str) -> Acquisition:
    """The same sequence from a scanner that always does the same: 1 mm, little noise, tissues as typical."""
    typical = {tissue: value * rng.normal(1, 0.02) for tissue, value in TISSUE_SIGNAL[name].items()}
    return replace(
        how,
        signal={label: float(typical.get(tissues[label], value)) for label, value in how.signal.items()},
        vessel=float(rng.uniform(1.7, 2.4)) if name == "t1c" else how.vessel,
        dura=float(rng.uniform(0.9, 1.5)) if name == "t1c" else how.dura,
        texture=0.025,
        bias=0.08,
        noise=0.025,
        blur_mm=0.5,
        thickness_mm=1.0,
        gain=300.0,
    )


def _lesions(anatomy: Anatomy, rng: np.random.Generator, mean: float, more_small: float) -> tuple[Lesion, ...]:
    number = min(int(rng.negative_binomial(1.5, 1.5 / (1.5 + mean))), MOST_LESIONS) if mean else 0
    tissue = np.isin(anatomy.tissue, (WHITE, GREY)) & (anatomy.depth > 1)
    everywhere = np.argwhere(tissue)
    junction = np.argwhere(tissue & (anatomy.depth < 12))  # the grey-white junction, where metastases lodge
    lesions: list[Lesion] = []
    for _ in range(number):
        diameter = float(np.exp(rng.normal(np.log(_MEDIAN_MM), _SIGMA)))
        if more_small and rng.random() < more_small:
            diameter = float(rng.uniform(_SMALLEST_MM, _SMALL_MM))
        diameter = min(max(diameter, _SMALLEST_MM), _LARGEST_MM)
        for _attempt in range(20):
            places = junction if rng.random() < 0.6 else everywhere
            centre = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 3)
            if anatomy.depth[tuple(np.round(centre).astype(int))] < 0.25 * diameter:
                continue
            if all(np.linalg.norm(centre - o.centre) > max(o.radii) * 1.3 + diameter * 0.75 + _GAP_MM for o in lesions):
                lesions.append(_lesion(rng, centre, diameter))
                break
    return tuple(lesions)


def _as_seen(lesion: Lesion, how: Acquisition, amount: float) -> Lesion:
    """The lesion, so bright that after blur its centre has the contrast that was drawn (where it can be had).

    ``amount``: 1 for all of that, 0 for nothing of it.
    """
    through = how.blur_mm**2 + (how.thickness_mm**2 - 1) / 2.355**2
    width = np.sqrt((2 * how.blur_mm**2 + through) / 3)
    beside = lesion.diameter_mm / 2 / width
    # of a ball under a Gaussian of that standard deviation, at its centre
    left = erf(beside / np.sqrt(2)) - np.sqrt(2 / np.pi) * beside * np.exp(-(beside**2) / 2)
    return replace(lesion, contrast=float(lesion.contrast / max(left, _LEFT) ** amount))


def _lesion(rng: np.random.Generator, centre: np.ndarray, diameter: float) -> Lesion:
    stretch = np.exp(rng.normal(0, 0.12, 3))
    radii = diameter / 2 * stretch / np.prod(stretch) ** (1 / 3)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    ring = rng.random() < (0.65 if diameter > 8 else 0.15 if diameter > 6 else 0.0)
    oedema = rng.random() < (0.8 if diameter > 8 else 0.35)
    x, y, z = (float(v) for v in centre)
    a, b, c = (float(v) for v in radii)
    return Lesion(
        centre=(x, y, z),
        radii=(a, b, c),
        rotation=tuple(float(v) for v in rotation.ravel()),
        contrast=float(np.clip(np.exp(rng.normal(np.log(4.0), 0.45)), 1.5, 10)),
        core=float(rng.uniform(0.4, 0.85)) if ring else 0.0,
        core_contrast=float(rng.uniform(-2.5, 1.5)),
        oedema_mm=float(rng.uniform(2, 4 + diameter)) if oedema else 0.0,
        wobble=float(rng.uniform(0.0, 0.25)),
        seed=int(rng.integers(2**31)),
        other={"t1": float(rng.uniform(-2, 0.5)), "t2": float(rng.uniform(-1, 3)), "flair": float(rng.uniform(-1, 3))},
    )
