"""What was found, missed and falsely found, as pictures small enough for a model card; and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby
from pathlib import Path

import numpy as np
from backgrounds import AGAIN
from found_tables import by_kind, searched_in_order
from lopsided_training.calibration import reliability
from lopsided_training.figures import BUDGETS, COLOURS
from lopsided_training.froc import FALSE_POSITIVES, interval, patient_weights, sensitivities
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageColor, ImageDraw, ImageFont
from searched import SEEN_MM, AsItIs, Place, Searched

COLUMNS = 6  # places in a row
SMALL = 80_000  # bytes of a picture of a background, at most: so much noise is in them that greys are taken away
_TILE, _GAP, _CAPTION, _HEADING = 96, 8, 17, 25  # pixels
_FINER = 2  # drawn so, and then made smaller
_FOUND, _MISSED, _FALSE = "#35b779", "#ff9f1c", "#ff5a5f"
_FEW = 10  # candidates in a bin: what they say is mostly chance
_SAME_MM = 4.0  # so near, what is falsely found in several scans of a background is one thing


@dataclass(frozen=True)
class Repeated:
    """What was falsely found, where it was surest, and in how many scans of the background."""

    place: Place
    scans: int


@dataclass(frozen=True)
class _Row:
    heading: str
    colour: str
    places: Sequence[Place | Repeated]


def write(searched: Sequence[Searched], plain: Sequence[AsItIs], threshold: float, out: Path) -> list[tuple[str, str]]:
    """Write ``curves.png``, a picture of each background, and ``as_they_are.png``. Gives titles and file names."""
    curves(searched, out / "curves.png")
    written = [("Sensitivity against false positives a scan, and calibration", "curves.png")]
    for (kind, name), group in groupby(searched_in_order(searched), lambda s: (s.kind, s.background)):
        if AGAIN not in kind:
            _save(sheet(list(group), threshold), out / f"{name}.png")
            written.append((f"{name}, {kind}: found, missed and falsely found", f"{name}.png"))
    if plain:
        _save(sheet_as_they_are(plain), out / "as_they_are.png")
        written.append(("Real scans with nothing inserted: what is found", "as_they_are.png"))
    return written


def sheet(scans: Sequence[Searched], threshold: float) -> Image.Image:
    """Three rows, axial and coronal: found, missed, false. ``scans``: of one background."""
    lesions = [p for s in scans for p in s.lesions]
    found = sorted((p for p in lesions if p.confidence >= threshold), key=lambda p: _conspicuous(p))
    missed = sorted((p for p in lesions if p.confidence < threshold), key=lambda p: -_conspicuous(p))
    false = repeated(scans)
    spread = [found[round(n)] for n in np.linspace(0, len(found) - 1, min(COLUMNS, len(found)))]
    per_scan = sum(len(s.false) for s in scans) / len(scans)
    rows = [
        _Row(f"Found: {len(found)} of {len(lesions)} lesions, from the least conspicuous to the most", _FOUND, spread),
        _Row(f"Missed: {len(missed)}, the most conspicuous first", _MISSED, missed),
        _Row(f"False: {per_scan:.1f} a scan, the surest first", _FALSE, false),
    ]
    return _drawn(rows, len(scans))


def sheet_as_they_are(plain: Sequence[AsItIs]) -> Image.Image:
    """One or two rows a scan: candidates at its disease, where that is known, and elsewhere; the surest first."""
    rows = []
    for scan in plain:
        if scan.at_disease is not None:
            rows.append(_Row(f"{scan.background}: {len(scan.at_disease)} at the disease", _FOUND, scan.at_disease))
        rows.append(_Row(f"{scan.background}: {len(scan.elsewhere)} elsewhere", _FALSE, scan.elsewhere))
    return _drawn(rows, 1)


def repeated(scans: Sequence[Searched]) -> list[Repeated]:
    """The surest first, each thing once."""
    groups: list[tuple[Place, set[str]]] = []
    for place, scan in sorted(
        ((p, s.result.name) for s in scans for p in s.false), key=lambda item: -item[0].confidence
    ):
        for other, names in groups:
            if np.linalg.norm(np.subtract(place.lps, other.lps)) < _SAME_MM:
                names.add(scan)
                break
        else:
            groups.append((place, {scan}))
    return [Repeated(place, len(names)) for place, names in groups]


def curves(searched: Sequence[Searched], path: Path) -> None:
    """Sensitivity against false positives a scan with 95 % bands, and the reliability of the confidence, by kind."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    budgets = np.geomspace(FALSE_POSITIVES[0], FALSE_POSITIVES[-1], 61)
    right.plot([0, 1], [0, 1], "--", color="#5b6675", linewidth=1)
    for colour, (kind, scans) in zip(cycle(COLOURS), by_kind(searched).items(), strict=False):
        results = [s.result for s in scans]
        values = sensitivities(results, budgets.tolist(), weights=patient_weights(results))
        left.fill_between(budgets, *interval(values), color=colour, alpha=0.14, linewidth=0)
        left.plot(budgets, values[0], color=colour, linewidth=1.8, label=kind)
        for b in reliability(results):
            fill = colour if b.candidates >= _FEW else "white"
            size = min(3.0 + 1.5 * b.candidates**0.35, 10.0)  # there are very many of next to no confidence
            right.plot(b.mean_score, b.true, "o", color=colour, markerfacecolor=fill, markersize=size, clip_on=False)
    left.set_xscale("log", base=2)
    left.set_xticks(FALSE_POSITIVES, BUDGETS)
    left.minorticks_off()
    left.set(xlabel="false positives a scan", ylabel="sensitivity", xlim=(budgets[0], budgets[-1]))
    right.set(
        xlabel=f"confidence (hollow: fewer than {_FEW} candidates)",
        ylabel="part that is a lesion",
        xlim=(0, 1),
    )
    right.xaxis.set_major_formatter(PercentFormatter(1))
    for axes, title in ((left, "Sensitivity"), (right, "Calibration")):
        axes.set_title(title, loc="left", size=11, weight="bold", color="#1c2430")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(color="#eceff3")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def _drawn(rows: Sequence[_Row], scans: int) -> Image.Image:
    """As many places of each row as there is room for; ``scans``: that they are from."""
    width = COLUMNS * (2 * _TILE + 1 + _GAP) - _GAP
    heights = [_HEADING + (_TILE + _CAPTION if row.places else 0) for row in rows]
    picture = Image.new("RGB", (_FINER * width, _FINER * sum(heights)), "white")
    draw = ImageDraw.Draw(picture)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        y = _FINER * (top + _HEADING - 5)
        draw.ellipse((0, y - 18, 16, y - 2), fill=row.colour)
        draw.text((26, y), row.heading, "#1c2430", ImageFont.load_default(26), anchor="ls")
        for n, place in enumerate(row.places[:COLUMNS]):
            x = _FINER * n * (2 * _TILE + 1 + _GAP)
            _tile(picture, draw, (x, _FINER * (top + _HEADING)), place, row.colour, scans)
        top += height
    return picture.resize((width, sum(heights)), Image.Resampling.LANCZOS)


def _save(picture: Image.Image, path: Path) -> None:
    """In as many greys as make a small file, and the colours of the marks on dark, grey and white."""
    marks = [ImageColor.getrgb(c) for c in (_FOUND, _MISSED, _FALSE)]
    beside = [(g, g, g) for g in (0, 60, 120, 255)]
    mixed = [
        tuple(round(t * m + (1 - t) * g) for m, g in zip(mark, grey, strict=True))
        for mark in marks
        for grey in beside
        for t in (0.35, 0.7)
    ]
    for greys in (40, 28, 20, 14, 10):
        palette = Image.new("P", (1, 1))
        ramp = [(g, g, g) for g in np.linspace(0, 255, greys).round().astype(int).tolist()]
        palette.putpalette([v for colour in (*ramp, *marks, *mixed) for v in colour])
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= SMALL:
            return


def _conspicuous(place: Place) -> float:
    return place.lesion.contrast * place.lesion.diameter_mm if place.lesion else 0.0


def _tile(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    item: Place | Repeated,
    colour: str,
    scans: int,
) -> None:
    place = item.place if isinstance(item, Repeated) else item
    side, lesion = _FINER * _TILE, place.lesion
    radius = side / SEEN_MM * ((lesion.diameter_mm / 2 if lesion else 2.0) + 2.5)
    for n, view in enumerate(place.views):
        x, y = corner[0] + n * (side + _FINER), corner[1]
        picture.paste(Image.fromarray(view).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        if radius < side / 2:
            low, high = side / 2 - radius, side / 2 + radius
            draw.ellipse((x + low, y + low, x + high, y + high), outline=colour, width=4)
    sure = f"{place.confidence:.2f}" if np.isfinite(place.confidence) else "no candidate"
    if isinstance(item, Repeated):
        words = f"{sure}" + (f", in {item.scans} of {scans} scans" if scans > 1 else "")
    else:
        words = f"{lesion.diameter_mm:.1f} mm, z {lesion.contrast:.1f}: {sure}" if lesion else sure
    font = ImageFont.load_default(22)
    draw.text((corner[0], corner[1] + side + 4), words, "#5b6675", font, anchor="lt")
